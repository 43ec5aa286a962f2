//! Comparison of all frames that came out with the right ones: to the last byte, and to each receiver once. The outer
//! headers are built by etherparse: an opinion that shares no code with the daemon.

use std::net::Ipv4Addr;

use anyhow::Result;
use bench::harness::tep;
use etherparse::{EtherType, Ethernet2Header, IpNumber, Ipv4Header};

use crate::workload::{Domain, Workload};

/// Addresses in all outer headers of one sender.
pub struct Outer {
    /// The IP address that copies come from.
    pub node: Ipv4Addr,
    /// The MAC address that copies come from.
    pub source: [u8; 6],
    /// The MAC address that copies go to.
    pub next_hop: [u8; 6],
}

/// Difference of what came out to what should have.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Frames that came.
    pub sent: usize,
    /// Frames of them that should not have come, or not so often.
    pub unexpected: usize,
    /// Frames that should have come.
    pub expected: usize,
    /// Frames of them that did not come.
    pub missing: usize,
    /// The first that should not have come; if there is none, the first that is missing.
    pub first: Vec<u8>,
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { sent, unexpected, expected, missing, first } = self;
        let which = if *unexpected > 0 { "should not be" } else { "is missing" };
        write!(f, "of {sent} frames {unexpected} should not be, and {missing} of {expected} are missing; ")?;
        write!(f, "the first that {which}:\n{}", hex(first))
    }
}

impl std::error::Error for Wrong {}

fn hex(frame: &[u8]) -> String {
    let mut text = String::new();
    for line in frame.chunks(16) {
        text.extend(line.iter().map(|byte| format!("{byte:02x} ")));
        text.push('\n');
    }
    text
}

/// The copy of `inner` that `receiver` shall get.
pub fn copy(outer: &Outer, vni: u32, receiver: Ipv4Addr, inner: &[u8]) -> Result<Vec<u8>> {
    let gre = [&[0x20, 0, 0x65, 0x58][..], &vni.to_be_bytes()].concat();
    let length = u16::try_from(gre.len() + inner.len())?;
    let (from, to) = (outer.node.octets(), receiver.octets());
    let mut ip = Ipv4Header::new(length, 64, IpNumber::GRE, from, to)?;
    ip.dont_fragment = true;
    ip.header_checksum = ip.calc_header_checksum();
    let ethernet =
        Ethernet2Header { source: outer.source, destination: outer.next_hop, ether_type: EtherType::IPV4 };
    Ok([&ethernet.to_bytes()[..], &ip.to_bytes(), &gre, inner].concat())
}

pub fn copies(outer: &Outer, domain: &Domain) -> Result<Vec<Vec<u8>>> {
    let frame = domain.frame();
    // The inner frame is the last of the one that was sent.
    let inner = &frame[frame.len() - usize::from(domain.size)..];
    domain.receivers.iter().map(|&to| copy(outer, domain.vni, tep(to), inner)).collect()
}

/// Compares, in whatever order frames came; gives how many they were.
pub fn check(workload: &Workload, outer: &Outer, mut sent: Vec<Vec<u8>>) -> Result<usize> {
    let mut expected = Vec::with_capacity(workload.copies());
    for domain in &workload.domains {
        expected.extend(copies(outer, domain)?);
    }
    sent.sort_unstable();
    expected.sort_unstable();
    let (unexpected, missing) = (without(&sent, &expected), without(&expected, &sent));
    let Some(first) = unexpected.first().or(missing.first()) else { return Ok(sent.len()) };
    let wrong = Wrong {
        sent: sent.len(),
        unexpected: unexpected.len(),
        expected: expected.len(),
        missing: missing.len(),
        first: first.to_vec(),
    };
    Err(wrong.into())
}

/// Frames of `these` without a counterpart in `those`; both are sorted, and equal ones count singly.
fn without<'a>(these: &'a [Vec<u8>], those: &[Vec<u8>]) -> Vec<&'a [u8]> {
    let mut those = those.iter().peekable();
    let left = these.iter().filter(|this| {
        while those.next_if(|that| that < this).is_some() {}
        those.next_if_eq(this).is_none()
    });
    left.map(Vec::as_slice).collect()
}
