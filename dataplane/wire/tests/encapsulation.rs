//! The outer header of copies, judged by etherparse, by hand-written bytes, and by this crate's own verdict.

#![allow(clippy::expect_used, reason = "tests")]

mod common;

use std::net::Ipv4Addr;

use common::{Frame, K, inner, internet_checksum};
use etherparse::{EtherType, Ethernet2HeaderSlice, IpNumber, Ipv4HeaderSlice};
use proptest::prelude::*;
use wire::encap::{Gre, HeadOf};
use wire::{FrameHeader, IP_OVERHEAD, MAX_INNER_LEN, MacAddr, NodeAddresses, OVERHEAD, Template};

const PORT: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0xfe]);
const NEXT_HOP: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x01]);
const NODE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 254);
const TEP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

fn template() -> Template {
    Template::new(PORT, Some(NEXT_HOP), TEP)
}

/// The 42 bytes that `head` puts before an inner frame, after a look at those that are not part of them.
fn header(head: HeadOf<Gre>) -> [u8; OVERHEAD] {
    let line: Vec<u8> = head.words().iter().flat_map(|word| word.to_ne_bytes()).collect();
    assert_eq!(line[..6], [0; 6], "nothing ahead of the frame");
    assert_eq!(line[6..], head.to_bytes(), "the header ends where the next line starts");
    head.to_bytes()
}

#[test]
fn a_header_is_these_bytes() {
    #[rustfmt::skip]
    let expected = [
        0x02, 0, 0, 0, 0, 0x01,  0x02, 0, 0, 0, 0, 0xfe,  0x08, 0x00,
        0x45, 0xb8,  0, 88,  0, 0,  0x40, 0x00,  64, 47,  0xac, 0x9b,  198, 18, 0, 254,  198, 18, 0, 1,
        0x20, 0x00,  0x65, 0x58,  0x00, 0x00, 0x13, 0x89,
    ];
    assert_eq!(internet_checksum(&expected[14..34]), 0, "the checksum above is right");
    assert_eq!(header(FrameHeader::new(NODE, 0xb8, 5001, 60).head(&template())), expected);
}

#[test]
fn the_sizes_are_those_of_the_headers() {
    assert_eq!((OVERHEAD, IP_OVERHEAD), (14 + 20 + 8, 20 + 8));
    assert_eq!((size_of::<Template>(), align_of::<Template>()), (64, 64));
    assert_eq!(FrameHeader::new(NODE, 0, 0, 0).head(&template()).words().len(), 6);
}

#[test]
fn a_template_knows_its_tep_and_whether_it_can_be_reached() {
    let resolved = template();
    assert!(resolved.is_resolved());
    assert_eq!((resolved.next_hop(), resolved.destination()), (Some(NEXT_HOP), TEP));

    let unresolved = Template::new(PORT, None, TEP);
    assert!(!unresolved.is_resolved());
    assert_eq!((unresolved.next_hop(), unresolved.destination()), (None, TEP));

    let to_zero = Template::new(PORT, Some(MacAddr::ZERO), TEP);
    assert!(to_zero.is_resolved(), "resolved is said, not guessed from the MAC");
    assert_ne!(unresolved, to_zero);
}

#[test]
fn a_length_past_the_limit_saturates() {
    let total = |len| {
        let header = FrameHeader::new(NODE, 0, 1, len).head(&template()).to_bytes();
        u16::from_be_bytes([header[16], header[17]])
    };
    assert_eq!(total(0), 28);
    assert_eq!(total(MAX_INNER_LEN - 1), 65_534);
    assert_eq!(total(MAX_INNER_LEN), u16::MAX);
    assert_eq!(total(u16::MAX), u16::MAX);
}

#[test]
fn the_checksum_is_right_for_every_length_and_tos() {
    let template = template();
    let verify = |tos, len| {
        let header = header(FrameHeader::new(NODE, tos, 0, len).head(&template));
        assert_eq!(internet_checksum(&header[14..34]), 0, "TOS {tos:#x}, {len} bytes");
    };
    (0..=MAX_INNER_LEN).for_each(|len| verify(0, len));
    (0..=u8::MAX).for_each(|tos| verify(tos, 60));
}

#[test]
fn a_copy_of_a_copy_carries_the_same_frame() {
    let first = Frame { tos: 0x2e << 2 | 1, inner: inner(1_400), ..Frame::default() };
    let received = first.bytes();
    let outer = wire::parse(&received, &common::node()).expect("accepted");
    let body = outer.inner(&received).expect("accepted");
    let head = FrameHeader::new(outer.destination, outer.tos, outer.key, outer.inner_len()).head(&template());

    let copy = [header(head).as_slice(), body].concat();
    let member = NodeAddresses::new(&[TEP]).expect("one address");
    let again = wire::parse(&copy, &member).expect("a copy passes the same checks");
    assert_eq!((again.source, again.destination), (common::NODE, TEP));
    assert_eq!((again.tos, again.key), (first.tos, first.key));
    assert_eq!(again.inner(&copy), Ok(first.inner.as_slice()));
    // Made by the tests' own builder, the copy is the same to the bit but for the MACs.
    let expected = Frame { source: common::NODE, destination: TEP, gre_flags: K, ..first };
    assert_eq!(copy[12..], expected.bytes()[12..]);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4_096, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn etherparse_reads_what_was_written(
        macs in any::<[[u8; 6]; 2]>(), addresses in any::<[[u8; 4]; 2]>(),
        tos in any::<u8>(), key in any::<u32>(), len in 0..=MAX_INNER_LEN,
    ) {
        let [port, next_hop] = macs;
        let [source, destination] = addresses;
        let template = Template::new(MacAddr(port), Some(MacAddr(next_hop)), destination.into());
        let bytes = header(FrameHeader::new(source.into(), tos, key, len).head(&template));

        let ethernet = Ethernet2HeaderSlice::from_slice(&bytes).expect("an Ethernet header");
        prop_assert_eq!((ethernet.destination(), ethernet.source()), (next_hop, port));
        prop_assert_eq!(ethernet.ether_type(), EtherType::IPV4);

        let ip = Ipv4HeaderSlice::from_slice(&bytes[14..]).expect("an IPv4 header");
        prop_assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
        prop_assert_eq!(usize::from(ip.total_len()), usize::from(len) + IP_OVERHEAD);
        prop_assert_eq!((ip.dcp().value() << 2) | ip.ecn().value(), tos);
        prop_assert_eq!((ip.ihl(), ip.identification(), ip.ttl(), ip.protocol()), (5, 0, 64, IpNumber::GRE));
        prop_assert!(ip.dont_fragment() && !ip.is_fragmenting_payload());
        prop_assert_eq!((ip.source(), ip.destination()), (source, destination));

        prop_assert_eq!(&bytes[34..38], &[0x20, 0x00, 0x65, 0x58]);
        prop_assert_eq!(&bytes[38..], &key.to_be_bytes());
    }
}
