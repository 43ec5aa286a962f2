//! Outer and inner headers of any frame: a parser that we did not write accepts each frame that the node accepts.
#![no_main]

use std::net::Ipv4Addr;

use etherparse::checksum::Sum16BitWords;
use etherparse::{EtherType, SlicedPacket, TransportSlice, Ethernet2HeaderSlice, IpNumber, Ipv4HeaderSlice, SingleVlanHeaderSlice};
use libfuzzer_sys::fuzz_target;
use wire::{Class, DropReason, HostFrame, NodeAddresses, host, parse as parse_outer, view};

/// Address of the node in the corpus' frames.
const NODE: Ipv4Addr = Ipv4Addr::new(198, 18, 255, 254);

fuzz_target!(|frame: &[u8]| {
    parse(frame);
    // What is read of a frame for the kernel has no second opinion: it must not panic.
    let _ = (HostFrame::read(frame), host::receiver(frame), view::is_in_vlan(frame));
    // A changed byte seldom leaves the checksum right: with the right one the checks behind it are reached, too.
    let mut sealed = frame.to_vec();
    if let Some(header) = sealed.get_mut(14..34) {
        header[10..12].fill(0);
        let sum = Sum16BitWords::new().add_slice(header).ones_complement();
        header[10..12].copy_from_slice(&sum.to_ne_bytes());
        parse(&sealed);
    }
});

fn parse(frame: &[u8]) {
    let node = NodeAddresses::new(&[NODE]).expect("a node has one address or more");
    let Ok(outer) = parse_outer(frame, &node) else { return };
    assert_eq!(outer.destination, NODE);
    assert!(outer.inner_range().end <= frame.len(), "an inner frame that is not in the frame");
    let ethernet = Ethernet2HeaderSlice::from_slice(frame).expect("accepted: an Ethernet header");
    // Priority tags are no VLAN (IEEE 802.1Q section 6.9).
    let (mut ether_type, mut at) = (ethernet.ether_type(), 14);
    while matches!(ether_type, EtherType::VLAN_TAGGED_FRAME | EtherType::PROVIDER_BRIDGING) {
        let tag = SingleVlanHeaderSlice::from_slice(&frame[at..]).expect("accepted: a whole tag");
        assert_eq!(tag.vlan_identifier().value(), 0, "a frame of a VLAN");
        (ether_type, at) = (tag.ether_type(), at + 4);
    }
    assert!(at <= 22, "more than two tags");
    assert_eq!(ether_type, EtherType::IPV4);
    let ip = Ipv4HeaderSlice::from_slice(&frame[at..]).expect("accepted: an IPv4 header");
    assert_eq!((ip.protocol(), ip.ihl(), ip.source_addr()), (IpNumber::GRE, 5, outer.source));
    assert!(!ip.is_fragmenting_payload() && ip.ttl() > 0, "a fragment, or a packet that has lived too long");
    assert_eq!(Sum16BitWords::new().add_slice(ip.slice()).ones_complement(), 0, "a wrong checksum");
    // RFC 2890, section 2: the key follows the optional checksum.
    let gre = at + 20;
    let at = gre + 4 + if frame[gre] & 0x80 != 0 { 4 } else { 0 };
    assert_eq!(outer.key.to_be_bytes(), frame[at..at + 4]);

    match outer.inner(frame) {
        Ok(inner) => {
            assert_eq!(inner.len(), usize::from(outer.inner_len()));
            assert_eq!(inner[0] & 1, 1, "an inner frame to one station");
            assert_eq!(inner[6] & 1, 0, "an inner frame from a group");
            match outer.classify(|| frame) {
                Ok(class) => assert_eq!(class, Class::of(inner)),
                Err(reason) => assert_eq!((reason, Class::of(inner)), (DropReason::InnerBfd, Class::Data)),
            }
            if is_bfd(inner) {
                assert_eq!(outer.classify(|| frame), Err(DropReason::InnerBfd), "BFD as etherparse reads it");
            }
            if let Some(link) = view::link(inner) {
                assert!(link.tags.len() <= 2 && link.payload.len() < inner.len());
            }
        }
        Err(reason) => {
            assert_eq!(outer.classify(|| frame), Err(reason), "the short way and the long one differ")
        }
    }
}

/// True if a whole frame is UDP to port 3784 for a parser that we did not write.
fn is_bfd(inner: &[u8]) -> bool {
    let packet = SlicedPacket::from_ethernet(inner).ok();
    matches!(packet.and_then(|packet| packet.transport), Some(TransportSlice::Udp(udp)) if udp.destination_port() == 3784)
}
