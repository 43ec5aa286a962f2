//! Whether what came out is what should have, to the last byte, and to each receiver once. The outer headers are built by
//! etherparse: an opinion that shares no code with the daemon.

use std::net::Ipv4Addr;

use bench::tep;
use etherparse::{EtherType, Ethernet2Header, IpNumber, Ipv4Header};

use crate::workload::{Domain, Workload};

/// What is the same in all outer headers of one who sends.
pub struct Outer {
    /// The IP address that copies come from.
    pub node: Ipv4Addr,
    /// The MAC address that copies come from.
    pub source: [u8; 6],
    /// The MAC address that copies go to.
    pub next_hop: [u8; 6],
}

/// How what came out differs from what should have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Wrong {
    /// A frame that should not have come, or not so often.
    #[error(
        "of {sent} frames {unexpected} should not be, and {missing} of {expected} are missing; the first that should not be:\n{}",
        hex(first)
    )]
    Unexpected {
        /// Frames that came.
        sent: usize,
        /// Of them, those that should not have.
        unexpected: usize,
        /// Frames that should have come.
        expected: usize,
        /// Of them, those that did not.
        missing: usize,
        /// One that should not have come.
        first: Vec<u8>,
    },
    /// All that came is right, but it is not all.
    #[error("{missing} of {expected} frames are missing; the first:\n{}", hex(first))]
    Missing {
        /// How many.
        missing: usize,
        /// Of so many.
        expected: usize,
        /// One of them.
        first: Vec<u8>,
    },
    /// The expected frame itself cannot be.
    #[error("{0} bytes of inner frame have no place in an IP packet")]
    Size(usize),
}

fn hex(frame: &[u8]) -> String {
    let mut text = String::new();
    for line in frame.chunks(16) {
        text.extend(line.iter().map(|byte| format!("{byte:02x} ")));
        text.push('\n');
    }
    text
}

/// The copy of `inner` that `receiver` shall get.
fn copy(outer: &Outer, vni: u32, receiver: Ipv4Addr, inner: &[u8]) -> Result<Vec<u8>, Wrong> {
    let size = || Wrong::Size(inner.len());
    let gre = [&[0x20, 0, 0x65, 0x58][..], &vni.to_be_bytes()].concat();
    let length = u16::try_from(gre.len() + inner.len()).map_err(|_| size())?;
    let (from, to) = (outer.node.octets(), receiver.octets());
    let mut ip = Ipv4Header::new(length, 64, IpNumber::GRE, from, to).map_err(|_| size())?;
    ip.dont_fragment = true;
    ip.header_checksum = ip.calc_header_checksum();
    let ethernet =
        Ethernet2Header { source: outer.source, destination: outer.next_hop, ether_type: EtherType::IPV4 };
    Ok([&ethernet.to_bytes()[..], &ip.to_bytes(), &gre, inner].concat())
}

fn copies(outer: &Outer, domain: &Domain) -> Result<Vec<Vec<u8>>, Wrong> {
    let frame = domain.frame();
    // The inner frame is the last of the one that was sent.
    let inner = &frame[frame.len() - usize::from(domain.size)..];
    domain.receivers.iter().map(|&to| copy(outer, domain.vni, tep(to), inner)).collect()
}

/// Compares, in whatever order frames came; gives how many they were.
///
/// # Errors
/// A frame that is wrong, missing, or one too many.
pub fn check(workload: &Workload, outer: &Outer, mut sent: Vec<Vec<u8>>) -> Result<usize, Wrong> {
    let mut expected = Vec::with_capacity(workload.copies());
    for domain in &workload.domains {
        expected.extend(copies(outer, domain)?);
    }
    sent.sort_unstable();
    expected.sort_unstable();
    let (unexpected, missing) = (without(&sent, &expected), without(&expected, &sent));
    match (unexpected.first(), missing.first()) {
        (Some(first), _) => Err(Wrong::Unexpected {
            sent: sent.len(),
            unexpected: unexpected.len(),
            expected: expected.len(),
            missing: missing.len(),
            first: first.to_vec(),
        }),
        (None, Some(first)) => {
            Err(Wrong::Missing { missing: missing.len(), expected: expected.len(), first: first.to_vec() })
        }
        (None, None) => Ok(sent.len()),
    }
}

/// What of `these` has no counterpart in `those`; both are sorted, and equal ones count singly.
fn without<'a>(these: &'a [Vec<u8>], those: &[Vec<u8>]) -> Vec<&'a [u8]> {
    let mut those = those.iter().peekable();
    let left = these.iter().filter(|this| {
        while those.next_if(|that| that < this).is_some() {}
        those.next_if_eq(this).is_none()
    });
    left.map(Vec::as_slice).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Point;

    const OUTER: Outer =
        Outer { node: Ipv4Addr::new(198, 18, 0, 254), source: [2, 0, 0, 0, 0, 9], next_hop: [2; 6] };

    fn workload() -> Workload {
        Workload::new(&[Point { size: 60, copies: 3 }, Point { size: 1400, copies: 2 }], 2)
    }

    fn right() -> Vec<Vec<u8>> {
        workload().domains.iter().rev().flat_map(|domain| copies(&OUTER, domain).unwrap()).collect()
    }

    #[test]
    fn what_is_right_is_so_in_any_order() {
        assert_eq!(check(&workload(), &OUTER, right()), Ok(10));
    }

    #[test]
    fn a_wrong_bit_anywhere_is_found() {
        let length = right()[9].len();
        for bit in 0..length * 8 {
            let mut sent = right();
            sent[9][bit / 8] ^= 1 << (bit % 8);
            assert!(
                matches!(
                    check(&workload(), &OUTER, sent),
                    Err(Wrong::Unexpected { unexpected: 1, missing: 1, .. })
                ),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_frame_that_is_missing_doubled_or_misdelivered_is_found() {
        let mut sent = right();
        let lost = sent.remove(4);
        let wrong = check(&workload(), &OUTER, sent.clone());
        assert_eq!(wrong, Err(Wrong::Missing { missing: 1, expected: 10, first: lost }));
        // Instead of the lost one another twice: the count is right.
        sent.push(sent[0].clone());
        let wrong = check(&workload(), &OUTER, sent.clone());
        assert!(
            matches!(&wrong, Err(Wrong::Unexpected { unexpected: 1, missing: 1, first, .. }) if *first == sent[0])
        );
        let mut sent = right();
        sent.push(sent[0].clone());
        let wrong = check(&workload(), &OUTER, sent);
        assert!(matches!(wrong, Err(Wrong::Unexpected { sent: 11, unexpected: 1, missing: 0, .. })));
        // To the source of the frame, which must never get one.
        let mut sent = right();
        let domain = &workload().domains[0];
        let inner = &domain.frame()[42..];
        let place = sent.iter().position(|frame| frame.ends_with(inner)).unwrap();
        sent[place] = copy(&OUTER, domain.vni, tep(domain.source), inner).unwrap();
        assert!(matches!(check(&workload(), &OUTER, sent), Err(Wrong::Unexpected { unexpected: 1, .. })));
        assert!(matches!(check(&workload(), &OUTER, vec![]), Err(Wrong::Missing { missing: 10, .. })));
    }
}
