//! The views of what travels inside the overlay, against etherparse and against bytes written by hand.

#![allow(clippy::expect_used, reason = "tests")]

mod common;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use common::internet_checksum;
use etherparse::checksum::Sum16BitWords;
use etherparse::{ArpEthIpv4Packet, ArpOperation, ArpPacketSlice, Ipv4Header, Ipv6Header, SlicedPacket};
use proptest::prelude::*;
use wire::view::{Arp, Ipv4Packet, Ipv6Packet, Vrrp, link};
use wire::{Class, MacAddr, header::ethertype};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);

fn config() -> ProptestConfig {
    ProptestConfig { cases: 1_024, failure_persistence: None, ..ProptestConfig::default() }
}

fn arp(operation: u16, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let (sender_ipv4, target_ipv4) = (sender.octets(), target.octets());
    let (sender_mac, target_mac) = ([2, 0, 0, 0, 0, 1], [0; 6]);
    let operation = ArpOperation(operation);
    ArpEthIpv4Packet { operation, sender_mac, sender_ipv4, target_mac, target_ipv4 }.to_bytes().to_vec()
}

#[test]
fn arp_tells_gratuitous_and_probes_apart() {
    let (zero, host) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(10, 0, 0, 1));
    let rows = [
        ("gratuitous request", 1, VIP, VIP, (true, false)),
        ("gratuitous reply", 2, VIP, VIP, (true, false)),
        ("probe", 1, zero, VIP, (false, true)),
        ("request", 1, host, VIP, (false, false)),
        ("reply", 2, VIP, host, (false, false)),
        ("a reply from nobody is no probe", 2, zero, VIP, (false, false)),
        ("a probe for nothing", 1, zero, zero, (false, false)),
        ("reverse ARP's operation", 3, VIP, VIP, (false, false)),
    ];
    for (what, operation, sender, target, expected) in rows {
        let bytes = arp(operation, sender, target);
        let arp = Arp::parse(&bytes).expect(what);
        assert_eq!((arp.is_gratuitous(), arp.is_probe()), expected, "{what}");
    }
}

#[test]
fn arp_of_other_kinds_is_not_read() {
    let good = arp(1, VIP, VIP);
    assert!(Arp::parse(&[good.as_slice(), &[0; 18]].concat()).is_some(), "padding is allowed");
    assert!(Arp::parse(&good[..27]).is_none(), "27 bytes are too few");
    for at in 0..6 {
        let mut other = good.clone();
        other[at] ^= 1;
        assert!(Arp::parse(&other).is_none(), "byte {at}");
    }
}

/// Description, bytes from the first ethertype on, VLAN ids, ethertype, payload.
type TagRow = (&'static str, &'static [u8], &'static [u16], u16, &'static [u8]);

#[test]
fn up_to_two_vlan_tags_are_skipped() {
    let macs = [[0xff; 6], [2, 0, 0, 0, 0, 1]].concat();
    let frame = |rest: &[u8]| [macs.as_slice(), rest].concat();
    let rows: [TagRow; 6] = [
        ("untagged", &[0x08, 0x06, 1, 2], &[], 0x0806, &[1, 2]),
        ("tagged", &[0x81, 0, 0xa0, 42, 0x08, 0x06, 1, 2], &[42], 0x0806, &[1, 2]),
        ("priority only", &[0x81, 0, 0xe0, 0, 0x08, 0x00], &[0], 0x0800, &[]),
        ("provider", &[0x88, 0xa8, 0x1f, 0xff, 0x86, 0xdd], &[4095], 0x86dd, &[]),
        ("both", &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 8, 0x08, 0x06, 9], &[7, 8], 0x0806, &[9]),
        ("three", &[0x81, 0, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3, 8, 6], &[1, 2], 0x8100, &[0, 3, 8, 6]),
    ];
    for (what, rest, ids, ethertype, payload) in rows {
        let frame = frame(rest);
        let link = link(&frame).expect(what);
        assert_eq!(
            (link.ethernet.destination, link.ethernet.source.0),
            (MacAddr::BROADCAST, [2, 0, 0, 0, 0, 1])
        );
        assert_eq!(link.tags.iter().map(|tag| tag.id()).collect::<Vec<_>>(), ids, "{what}");
        assert_eq!((link.ethertype, link.payload), (ethertype, payload), "{what}");
    }
    let both = frame(&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 8, 0x08, 0x06]);
    for len in 0..both.len() {
        assert!(link(&both[..len]).is_none(), "{len} bytes end before the last ethertype does");
    }
}

#[test]
fn ipv4_with_options_is_read_and_its_lengths_are_held() {
    let mut header =
        Ipv4Header::new(3, 64, etherparse::IpNumber::ICMP, [10, 0, 0, 1], [10, 0, 0, 2]).expect("short");
    header.options = [0x94, 0x04, 0, 0].into();
    header.set_payload_len(3).expect("short");
    header.header_checksum = header.calc_header_checksum();
    let packet = [&header.to_bytes()[..], &[1, 2, 3], &[0; 9]].concat();
    let ip = Ipv4Packet::parse(&packet).expect("a packet");
    assert_eq!((ip.options, ip.payload), (&[0x94, 4, 0, 0][..], &[1, 2, 3][..]));
    assert!(ip.checksum_verifies() && !ip.is_fragment());

    let with = |at: usize, value: u8| {
        let mut bytes = packet.clone();
        bytes[at] = value;
        bytes
    };
    assert!(Ipv4Packet::parse(&packet[..26]).is_none(), "shorter than its total length");
    assert!(Ipv4Packet::parse(&with(0, 0x66)).is_none(), "version 6");
    assert!(Ipv4Packet::parse(&with(0, 0x44)).is_none(), "header length 4");
    assert!(Ipv4Packet::parse(&with(0, 0x47)).is_none(), "header longer than the packet");
    assert!(Ipv4Packet::parse(&with(3, 23)).is_none(), "total length under the header");
    let wrong = with(20, 0x95);
    assert!(!Ipv4Packet::parse(&wrong).expect("a packet").checksum_verifies(), "options are summed");
    let fragment = with(6, 0x20);
    assert!(Ipv4Packet::parse(&fragment).expect("a packet").is_fragment());
}

/// An IPv4 packet of `protocol` to the VRRP group, with TTL 255.
fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).expect("short");
    let mut header =
        Ipv4Header::new(len, 255, protocol.into(), [10, 0, 0, 1], [224, 0, 0, 18]).expect("short");
    header.header_checksum = header.calc_header_checksum();
    [&header.to_bytes()[..], payload].concat()
}

fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let header = Ipv6Header {
        payload_length: u16::try_from(payload.len()).expect("short"),
        next_header: next_header.into(),
        hop_limit: 255,
        source: "fe80::1".parse::<Ipv6Addr>().expect("an address").octets(),
        destination: "ff02::12".parse::<Ipv6Addr>().expect("an address").octets(),
        ..Ipv6Header::default()
    };
    [&header.to_bytes()[..], payload].concat()
}

/// `message` with the checksum that it needs after `pseudo_header`.
fn summed(message: &[u8], pseudo_header: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    let checksum = internet_checksum(&[pseudo_header, &message].concat());
    message[6..8].copy_from_slice(&checksum.to_be_bytes());
    message
}

const V2: [u8; 20] = [0x21, 51, 150, 1, 0, 1, 0, 0, 10, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0, 0];
const V3: [u8; 16] = [0x31, 51, 255, 2, 0x00, 10, 0, 0, 10, 0, 0, 100, 10, 0, 0, 101];

#[test]
fn vrrp_version_2_is_read() {
    let packet = ipv4(112, &summed(&V2, &[]));
    let advert = Vrrp::from_ipv4(&Ipv4Packet::parse(&packet).expect("a packet")).expect("an advertisement");
    assert_eq!((advert.version(), advert.virtual_router(), advert.priority()), (2, 51, 150));
    assert_eq!(advert.interval(), Duration::from_secs(1));
    assert_eq!(advert.addresses().collect::<Vec<_>>(), [IpAddr::from(VIP)]);
    assert!(advert.checksum_verifies());
}

#[test]
fn vrrp_version_2_has_its_interval_beside_the_authentication_type() {
    let mut message = V2;
    (message[4], message[5]) = (1, 255);
    let packet = ipv4(112, &message);
    let advert = Vrrp::from_ipv4(&Ipv4Packet::parse(&packet).expect("a packet")).expect("an advertisement");
    assert_eq!(advert.interval(), Duration::from_secs(255));
}

#[test]
fn vrrp_version_2_never_has_a_pseudo_header() {
    let packet = ipv4(112, &summed(&V2, &[10, 0, 0, 1, 224, 0, 0, 18, 0, 112, 0, 20]));
    let advert = Vrrp::from_ipv4(&Ipv4Packet::parse(&packet).expect("a packet")).expect("an advertisement");
    assert!(!advert.checksum_verifies());
}

#[test]
fn vrrp_version_3_is_read_with_and_without_a_pseudo_header() {
    let pseudo = [10, 0, 0, 1, 224, 0, 0, 18, 0, 112, 0, 16];
    for (what, message) in [("without", summed(&V3, &[])), ("with", summed(&V3, &pseudo))] {
        let packet = ipv4(112, &message);
        let advert = Vrrp::from_ipv4(&Ipv4Packet::parse(&packet).expect("a packet")).expect(what);
        assert_eq!((advert.version(), advert.interval()), (3, Duration::from_millis(100)), "{what}");
        assert_eq!(advert.addresses().count(), 2, "{what}");
        assert!(advert.checksum_verifies(), "{what}");
    }
    let mut longest = V3;
    (longest[4], longest[5]) = (0xff, 0xff);
    let packet = ipv4(112, &longest);
    let advert = Vrrp::from_ipv4(&Ipv4Packet::parse(&packet).expect("a packet")).expect("an advertisement");
    assert_eq!(advert.interval(), Duration::from_millis(40_950), "the reserved bits are no part of it");
    assert!(!advert.checksum_verifies());
}

#[test]
fn vrrp_over_ipv6_is_read() {
    let address: Ipv6Addr = "2001:db8::100".parse().expect("an address");
    let message = [&[0x31, 51, 100, 1, 0, 100, 0, 0][..], &address.octets()].concat();
    let bare = ipv6(112, &message);
    let pseudo = [&bare[8..40], &[0, 0, 0, 24, 0, 0, 0, 112]].concat();
    for (right, message) in [(true, summed(&message, &pseudo)), (false, summed(&message, &[]))] {
        let packet = ipv6(112, &message);
        let advert =
            Vrrp::from_ipv6(&Ipv6Packet::parse(&packet).expect("a packet")).expect("an advertisement");
        assert_eq!(advert.addresses().collect::<Vec<_>>(), [IpAddr::from(address)]);
        assert_eq!((advert.version(), advert.interval()), (3, Duration::from_secs(1)));
        assert_eq!(advert.checksum_verifies(), right, "over IPv6 the pseudo-header belongs to it");
    }
}

#[test]
fn a_wrong_vrrp_checksum_is_seen_at_every_bit() {
    let good = summed(&V2, &[]);
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let packet = ipv4(112, &bad);
        let advert = Vrrp::from_ipv4(&Ipv4Packet::parse(&packet).expect("a packet"));
        assert!(advert.is_none_or(|advert| !advert.checksum_verifies()), "bit {bit}");
    }
}

#[test]
fn what_is_not_a_whole_vrrp_advertisement_is_not_read() {
    let v4 = |protocol, message: &[u8]| {
        let packet = ipv4(protocol, message);
        Vrrp::from_ipv4(&Ipv4Packet::parse(&packet).expect("a packet")).is_some()
    };
    let v6 = |message: &[u8]| {
        let packet = ipv6(112, message);
        Vrrp::from_ipv6(&Ipv6Packet::parse(&packet).expect("a packet")).is_some()
    };
    let of_type = |first: u8| [&[first], &V3[1..]].concat();
    assert!(v4(112, &V2) && v4(112, &V3));
    assert!(!v4(17, &V2), "another protocol");
    assert!(!v4(112, &V2[..19]), "version 2 without all its authentication data");
    assert!(!v4(112, &V3[..15]), "fewer addresses than counted");
    assert!(!v4(112, &V3[..7]) && !v4(112, &[]), "shorter than its header");
    assert!(!v4(112, &of_type(0x32)) && !v4(112, &of_type(0x41)) && !v4(112, &of_type(0x11)), "other types");
    assert!(!v6(&V2), "version 2 over IPv6");
    assert!(!v6(&V3), "IPv4 addresses over IPv6");

    let mut fragment = ipv4(112, &V2);
    fragment[6] = 0x20;
    assert!(Vrrp::from_ipv4(&Ipv4Packet::parse(&fragment).expect("a packet")).is_none(), "a fragment");
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn etherparse_agrees_on_arp(bytes in any::<[u8; 28]>(), right_kind in any::<bool>()) {
        let mut bytes = bytes;
        if right_kind {
            bytes[..6].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
        }
        let theirs = ArpPacketSlice::from_slice(&bytes).ok();
        let theirs = theirs.and_then(|arp| arp.to_packet().try_eth_ipv4().ok());
        let ours = Arp::parse(&bytes);
        prop_assert_eq!(ours.is_some(), theirs.is_some());
        if let (Some(ours), Some(theirs)) = (ours, theirs) {
            prop_assert_eq!(ours.operation.get(), theirs.operation.0);
            prop_assert_eq!(ours.sender_mac.0, theirs.sender_mac);
            prop_assert_eq!(ours.sender(), theirs.sender_ipv4_addr());
            prop_assert_eq!(ours.target_mac.0, theirs.target_mac);
            prop_assert_eq!(ours.target(), theirs.target_ipv4_addr());
        }
    }

    #[test]
    fn etherparse_agrees_on_tags(
        tags in prop::collection::vec((any::<bool>(), 0_u16..4096), 0..=2), rest in any::<[u8; 8]>(),
    ) {
        let mut frame = vec![2; 12];
        for &(provider, id) in &tags {
            let tpid = if provider { ethertype::PROVIDER_VLAN } else { ethertype::VLAN };
            frame.extend([tpid.to_be_bytes(), id.to_be_bytes()].concat());
        }
        frame.extend([0x88, 0xb5]);
        frame.extend(rest);
        let theirs = SlicedPacket::from_ethernet(&frame).expect("an Ethernet frame");
        let ours = link(&frame).expect("an Ethernet frame");
        prop_assert!(ours.tags.iter().map(|tag| tag.id()).eq(theirs.vlan_ids().iter().map(|id| id.value())));
        prop_assert_eq!(Some(ours.ethertype), theirs.payload_ether_type().map(|ethertype| ethertype.0));
        prop_assert_eq!(ours.payload, theirs.ether_payload().expect("a payload").payload);
    }

    #[test]
    fn etherparse_agrees_on_ip(
        bytes in prop::collection::vec(any::<u8>(), 0..128),
        version in prop::sample::select(vec![4_u8, 6]), words in 0_u8..16,
    ) {
        let mut bytes = bytes;
        if let [first, _, high, low, five, ..] = &mut bytes[..] {
            (*first, *high, *five) = (version << 4 | words, 0, 0);
            *low %= 128;
        }
        let ours = Ipv4Packet::parse(&bytes);
        let theirs = Ipv4Header::from_slice(&bytes).ok().and_then(|(header, rest)| {
            Some((header.clone(), rest.get(..usize::from(header.payload_len().ok()?))?))
        });
        let parts = theirs.as_ref().map(|(header, rest)| (&header.options[..], *rest));
        prop_assert_eq!(ours.map(|ip| (ip.options, ip.payload)), parts);
        if let (Some(ours), Some((header, _))) = (ours, theirs) {
            // Over the bytes: etherparse's header struct has no place for the reserved flag.
            let sum = Sum16BitWords::new().add_slice(&bytes[..header.header_len()]);
            let right = sum.ones_complement() == 0;
            prop_assert_eq!(ours.checksum_verifies(), right);
            prop_assert_eq!(ours.is_fragment(), header.is_fragmenting_payload());
        }

        let theirs = Ipv6Header::from_slice(&bytes).ok().and_then(|(header, rest)| {
            let payload = rest.get(..usize::from(header.payload_length))?;
            Some((header.source_addr(), header.destination_addr(), payload))
        });
        let ours = Ipv6Packet::parse(&bytes);
        let ours = ours.map(|ip| (ip.header.source(), ip.header.destination(), ip.payload));
        prop_assert_eq!(ours, theirs);
    }
}

/// An Ethernet frame of this type, with these VLAN tags, around a payload.
fn tagged(tags: &[(u16, u16)], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let tags = tags.iter().flat_map(|(tpid, tci)| [tpid.to_be_bytes(), tci.to_be_bytes()]).flatten();
    let addresses = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1];
    addresses.into_iter().chain(tags).chain(ethertype.to_be_bytes()).chain(payload.iter().copied()).collect()
}

#[test]
fn arp_neighbour_advertisements_and_vrrp_are_control_and_nothing_else_is() {
    let v4 = |protocol: u8, payload: &[u8]| {
        let length = u16::try_from(payload.len()).expect("short");
        let mut header =
            Ipv4Header::new(length, 255, protocol.into(), [10, 0, 0, 1], [224, 0, 0, 18]).expect("fine");
        header.header_checksum = header.calc_header_checksum();
        [header.to_bytes().to_vec(), payload.to_vec()].concat()
    };
    let v6 = |next: u8, payload: &[u8]| {
        let header = Ipv6Header {
            payload_length: u16::try_from(payload.len()).expect("short"),
            next_header: next.into(),
            hop_limit: 255,
            ..Ipv6Header::default()
        };
        [header.to_bytes().to_vec(), payload.to_vec()].concat()
    };
    let (request, fragment) = (arp(1, Ipv4Addr::new(10, 0, 0, 1), VIP), {
        let mut packet = v4(112, &[0x31, 51, 100, 1, 0, 10, 0, 0, 10, 0, 0, 100]);
        packet[7] = 1;
        packet
    });
    let vrrp = [0x31, 51, 100, 1, 0, 10, 0, 0, 10, 0, 0, 100];
    let (customer, provider) = ((0x8100, 7), (0x88a8, 9));
    let rows = [
        ("an ARP request", Class::Control, tagged(&[], 0x0806, &request)),
        ("gratuitous ARP", Class::Control, tagged(&[], 0x0806, &arp(2, VIP, VIP))),
        ("ARP with a tag", Class::Control, tagged(&[customer], 0x0806, &request)),
        ("ARP with two tags", Class::Control, tagged(&[provider, customer], 0x0806, &request)),
        ("ARP with three tags", Class::Data, tagged(&[provider, customer, customer], 0x0806, &request)),
        ("VRRP over IPv4", Class::Failover, tagged(&[], 0x0800, &v4(112, &vrrp))),
        ("VRRP with a tag", Class::Failover, tagged(&[customer], 0x0800, &v4(112, &vrrp))),
        ("VRRP over IPv6", Class::Failover, tagged(&[], 0x86dd, &v6(112, &vrrp))),
        ("a neighbour advertisement", Class::Control, tagged(&[], 0x86dd, &v6(58, &[136, 0, 0, 0]))),
        ("a neighbour solicitation", Class::Data, tagged(&[], 0x86dd, &v6(58, &[135, 0, 0, 0]))),
        ("ICMPv6 without a type", Class::Data, tagged(&[], 0x86dd, &v6(58, &[]))),
        ("a fragment of VRRP", Class::Data, tagged(&[], 0x0800, &fragment)),
        (
            "VRRP behind an authentication header",
            Class::Failover,
            tagged(&[], 0x0800, &v4(51, &[112, 4, 0, 0])),
        ),
        ("UDP behind an authentication header", Class::Data, tagged(&[], 0x0800, &v4(51, &[17, 4, 0, 0]))),
        ("an authentication header without a type", Class::Data, tagged(&[], 0x0800, &v4(51, &[]))),
        ("UDP", Class::Data, tagged(&[], 0x0800, &v4(17, &[0; 8]))),
        ("an IPv4 header cut short", Class::Data, tagged(&[], 0x0800, &v4(112, &vrrp)[..19])),
        ("an IPv6 header cut short", Class::Data, tagged(&[], 0x86dd, &v6(112, &vrrp)[..39])),
        ("another ethertype", Class::Data, tagged(&[], 0x88b5, &request)),
        ("a frame cut short", Class::Data, vec![0xff; 13]),
        ("nothing", Class::Data, Vec::new()),
    ];
    for (what, expected, frame) in rows {
        assert_eq!(Class::of(&frame), expected, "{what}");
    }
}
