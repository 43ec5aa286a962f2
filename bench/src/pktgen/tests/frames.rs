//! Inner frames.

use super::super::frames::*;
use Kind::*;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};

const KINDS: [Kind; 5] = [Broadcast, Arp, Garp, Multicast, Vrrp];

#[test]
fn every_kind_has_a_least_size_and_no_other_size_than_asked_for() {
    for kind in KINDS {
        for size in [kind.least(), 200, 1472] {
            assert_eq!(kind.inner(size, 1472).unwrap().len(), usize::from(size), "{kind:?}");
        }
        for size in [0, kind.least() - 1, 1473] {
            let error = kind.inner(size, 1472).unwrap_err().to_string();
            let said =
                format!("{size} bytes is no size for a frame of kind {kind:?}: {} to 1472", kind.least());
            assert!(error.starts_with(&said), "{error}");
        }
    }
}

#[test]
fn a_foreign_parser_reads_every_kind_as_what_it_is() {
    for kind in KINDS {
        let frame = kind.inner(100, 1472).unwrap();
        let packet = SlicedPacket::from_ethernet(&frame).unwrap();
        let ethernet = etherparse::Ethernet2Slice::from_slice_without_fcs(&frame).unwrap();
        assert!(ethernet.destination()[0] & 1 == 1 && ethernet.source()[0] & 1 == 0, "{kind:?}");
        match (kind, packet.net, packet.transport) {
            (Broadcast, None, None) => assert_eq!(ethernet.ether_type().0, 0x88b5),
            (Arp | Garp, Some(NetSlice::Arp(arp)), None) => {
                assert_eq!(arp.operation().0, 1);
                assert_eq!(arp.sender_hw_addr(), SENDER_MAC);
                assert_eq!(arp.sender_protocol_addr(), SENDER.octets());
                assert_eq!(arp.target_protocol_addr() == SENDER.octets(), kind == Garp);
            }
            (Multicast, Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Udp(udp))) => {
                assert_eq!(ip.header().destination_addr(), GROUP);
                assert_eq!(ip.header().header_checksum(), ip.header().to_header().calc_header_checksum());
                // Group bits as in RFC 1112 section 6.4.
                assert_eq!(ethernet.destination(), [1, 0, 0x5e, 1, 2, 3]);
                assert_eq!(usize::from(udp.length()), 100 - 34);
            }
            (Vrrp, Some(NetSlice::Ipv4(ip)), None) => {
                let header = ip.header();
                assert_eq!((header.ttl(), header.protocol().0), (255, 112));
                assert_eq!(header.destination_addr(), VRRP_GROUP);
                assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
                assert_eq!(ip.payload().payload.len(), 12);
            }
            (kind, net, transport) => panic!("{kind:?}: {net:?}, {transport:?}"),
        }
    }
}

#[test]
fn an_advertisement_verifies() {
    use wire::view::{Ipv4Packet, Vrrp as View};
    let frame = Vrrp.inner(Vrrp.least(), 1472).unwrap();
    let packet = Ipv4Packet::parse(&frame[14..]).unwrap();
    let advert = View::from_ipv4(&packet).unwrap();
    assert!(advert.checksum_verifies());
    assert_eq!(advert.virtual_router(), VIRTUAL_ROUTER);
}
