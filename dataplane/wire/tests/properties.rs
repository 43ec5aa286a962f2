//! Properties for all bytes: nothing panics, nothing broken is accepted, and etherparse agrees on IPv4.

#![allow(clippy::expect_used, reason = "tests")]

mod common;

use common::{C, Frame, K, S, inner, internet_checksum, judge, node};
use etherparse::checksum::Sum16BitWords;
use etherparse::{Ethernet2HeaderSlice, Ipv4HeaderSlice};
use proptest::prelude::*;
use wire::view::{Arp, Ipv4Packet, Ipv6Packet, Vrrp};
use wire::{DropReason, Offender, Rejection, checksum, view};

fn config() -> ProptestConfig {
    ProptestConfig { cases: 4_096, failure_persistence: None, ..ProptestConfig::default() }
}

/// Calls everything that reads bytes.
fn read_all(bytes: &[u8]) {
    let _ = judge(bytes);
    let _ = checksum::sum(bytes);
    let _ = Offender::of_frame(bytes);
    let _ = view::link(bytes).map(|link| (link.tags.len(), link.payload.len()));
    let starts = [bytes, view::link(bytes).map_or(&[][..], |link| link.payload)];
    for payload in starts {
        let _ =
            Arp::parse(payload).map(|arp| (arp.sender(), arp.target(), arp.is_gratuitous(), arp.is_probe()));
        let v4 = Ipv4Packet::parse(payload).inspect(|ip| _ = ip.checksum_verifies());
        let v6 = Ipv6Packet::parse(payload);
        let adverts = [v4.and_then(|ip| Vrrp::from_ipv4(&ip)), v6.and_then(|ip| Vrrp::from_ipv6(&ip))];
        for advert in adverts.into_iter().flatten() {
            let _ = (advert.interval(), advert.checksum_verifies(), advert.addresses().count());
        }
    }
}

/// A frame that is accepted, with any choice that keeps it so.
fn good_frame() -> impl Strategy<Value = Frame> {
    let words = prop::sample::select(vec![K, K | S, K | C, K | C | S]);
    (words, any::<(u8, u32, u32, u16)>(), 1..=u8::MAX, 14_usize..1_500, 0_usize..64).prop_map(
        |(gre_flags, (tos, key, sequence, id), ttl, len, padding)| {
            let inner = inner(len);
            Frame {
                gre_flags,
                tos,
                key,
                sequence,
                id,
                ttl,
                inner,
                padding: vec![0x55; padding],
                ..Frame::default()
            }
        },
    )
}

/// True if etherparse finds an IPv4 packet here that is to be parsed further; the rules on TTL, options
/// and fragments are ours.
fn etherparse_accepts(frame: &[u8]) -> bool {
    let Ok(ip) = Ipv4HeaderSlice::from_slice(frame.get(14..).unwrap_or_default()) else { return false };
    Ethernet2HeaderSlice::from_slice(frame).is_ok_and(|e| e.ether_type() == etherparse::EtherType::IPV4)
        && ip.ihl() == 5
        && ip.ttl() > 0
        && ip.protocol() == etherparse::IpNumber::GRE
        // Over the bytes: etherparse's header struct has no place for the reserved flag.
        && Sum16BitWords::new().add_slice(ip.slice()).ones_complement() == 0
        && ip.payload_len().is_ok_and(|len| usize::from(len) + 34 <= frame.len())
        && !ip.is_fragmenting_payload()
        && node().contains(ip.destination_addr())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_sender_of_a_good_frame_is_named_as_parsing_finds_it(frame in good_frame()) {
        let bytes = frame.bytes();
        let outer = wire::parse(&bytes, &node()).expect("it is good");
        let inner = &bytes[outer.inner_range()];
        prop_assert_eq!(Offender::of_frame(&bytes), Offender::of_inner(outer.source, outer.key, inner));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..=2_048)) {
        read_all(&bytes);
    }

    #[test]
    fn no_mutation_of_a_good_frame_panics(
        frame in good_frame(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(), grow in 0_usize..64,
    ) {
        let mut bytes = frame.bytes();
        for (at, value) in edits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        read_all(&bytes);
        read_all(&bytes[..cut.index(bytes.len())]);
        bytes.resize(bytes.len() + grow, 0xa5);
        read_all(&bytes);
    }

    #[test]
    fn good_frames_are_accepted_byte_for_byte(frame in good_frame()) {
        let bytes = frame.bytes();
        prop_assert_eq!(judge(&bytes), Ok((frame.key, frame.inner.as_slice())));
    }

    #[test]
    fn one_flipped_bit_in_the_ip_header_is_never_accepted(frame in good_frame()) {
        let bytes = frame.bytes();
        for bit in 0..20 * 8 {
            let mut flipped = bytes.clone();
            flipped[14 + bit / 8] ^= 1 << (bit % 8);
            let verdict = judge(&flipped);
            // The protocol and the destination are looked at before the header is verified; one bit away from
            // the node's address is its other one.
            let destination: [u8; 4] = flipped[30..34].try_into().expect("four bytes");
            let punted = bit / 8 == 9 || !node().contains(destination.into());
            let expected = if punted { Rejection::Punt } else { Rejection::Drop(DropReason::IpHeader) };
            prop_assert_eq!(verdict, Err(expected), "bit {}", bit);
        }
    }

    #[test]
    fn one_flipped_bit_under_a_gre_checksum_is_never_accepted(
        frame in good_frame(), at in any::<prop::sample::Index>(),
    ) {
        let frame = Frame { gre_flags: frame.gre_flags | C, ..frame };
        let mut bytes = frame.bytes();
        let bit = at.index((bytes.len() - 34 - frame.padding.len()) * 8);
        bytes[34 + bit / 8] ^= 1 << (bit % 8);
        // The one bit that a checksum does not protect is the one that says there is a checksum: without it
        // the words after it move up, and what was the key is a part of the inner frame.
        if bit == 7 {
            prop_assert_ne!(judge(&bytes), Ok((frame.key, frame.inner.as_slice())));
        } else {
            prop_assert!(judge(&bytes).is_err(), "bit {}", bit);
        }
    }

    #[test]
    fn etherparse_agrees_on_ipv4(
        frame in good_frame(), at in 12_usize..34, value in any::<u8>(), mend in any::<bool>(),
        cut in 0_usize..40,
    ) {
        let mut bytes = frame.bytes();
        bytes[at] = value;
        if mend {
            bytes[24..26].fill(0);
            let checksum = internet_checksum(&bytes[14..34]);
            bytes[24..26].copy_from_slice(&checksum.to_be_bytes());
        }
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
        let outer = wire::parse(&bytes, &node());
        let refused = match outer {
            Ok(_) => false,
            Err(Rejection::Punt) => true,
            Err(Rejection::Drop(why)) => why <= DropReason::IpFragment,
        };
        prop_assert_eq!(!refused, etherparse_accepts(&bytes), "{:?}", outer);
        if let Ok(outer) = outer {
            let ip = Ipv4HeaderSlice::from_slice(&bytes[14..]).expect("accepted");
            prop_assert_eq!((outer.source, outer.destination), (ip.source_addr(), ip.destination_addr()));
            prop_assert_eq!(outer.tos, (ip.dcp().value() << 2) | ip.ecn().value());
        }
    }

    #[test]
    fn the_checksum_is_the_textbook_one(bytes in prop::collection::vec(any::<u8>(), 0..=2_048)) {
        let ours = u16::from_be_bytes(checksum::sum(&bytes).to_ne_bytes());
        prop_assert_eq!(!ours, internet_checksum(&bytes));
        let theirs = Sum16BitWords::new().add_slice(&bytes).ones_complement();
        prop_assert_eq!(!ours, theirs.to_be());
    }

    #[test]
    fn sums_of_parts_add_up(
        bytes in prop::collection::vec(any::<u8>(), 0..=512), at in any::<prop::sample::Index>(),
    ) {
        let (a, b) = bytes.split_at(at.index(bytes.len() / 2 + 1) * 2);
        prop_assert_eq!(checksum::add(checksum::sum(a), checksum::sum(b)), checksum::sum(&bytes));
    }
}

#[test]
fn the_checksum_of_extremes_is_the_textbook_one() {
    for (len, byte) in [(0, 0), (1, 0xff), (2, 0xff), (3, 0xff), (65_535, 0xff), (65_535, 0), (65_534, 0x80)]
    {
        let bytes = vec![byte; len];
        let ours = u16::from_be_bytes(checksum::sum(&bytes).to_ne_bytes());
        assert_eq!(!ours, internet_checksum(&bytes), "{len} times {byte:#x}");
    }
}
