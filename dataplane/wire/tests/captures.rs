//! Real and damaged captures (tests/captures/README.md) through every reader.

#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use wire::announcement::Kind;
use wire::view::{Arp, Ipv4Packet, Ipv6Packet, Link, Vrrp, link};
use wire::{DropReason, NodeAddresses, Rejection, announcement, header::ethertype};

/// The frames of a capture in the classic format, of either byte order.
fn frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let big_endian = matches!(bytes[..4], [0xa1, 0xb2, ..]);
    let word = |at: &[u8]| {
        let at: [u8; 4] = at[..4].try_into().expect("four bytes");
        if big_endian { u32::from_be_bytes(at) } else { u32::from_le_bytes(at) }
    };
    let mut frames = Vec::new();
    let mut rest = &bytes[24..];
    while rest.len() >= 16 {
        let len = usize::try_from(word(&rest[8..])).expect("a length");
        let (frame, after) = rest[16..].split_at(len.min(rest.len() - 16));
        frames.push(frame.to_vec());
        rest = after;
    }
    frames
}

fn capture(name: &str) -> Vec<Vec<u8>> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "captures", name].iter().collect();
    frames(&std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The verdict of a node that has the address at which an IPv4 destination would be, so that all GRE is for
/// it.
fn judge(frame: &[u8]) -> Result<(), Rejection> {
    let destination = frame.get(30..34).and_then(|octets| <[u8; 4]>::try_from(octets).ok());
    let node = NodeAddresses::new(&[destination.map_or(common::NODE, Ipv4Addr::from)]).expect("one address");
    let outer = wire::parse(frame, &node)?;
    outer.inner(frame)?;
    Ok(())
}

fn vrrp<'f>(link: &Link<'f>) -> Option<Vrrp<'f>> {
    match link.ethertype {
        ethertype::IPV4 => Vrrp::from_ipv4(&Ipv4Packet::parse(link.payload)?),
        ethertype::IPV6 => Vrrp::from_ipv6(&Ipv6Packet::parse(link.payload)?),
        _ => None,
    }
}

#[test]
fn every_capture_goes_through_every_reader() {
    // File, frames, with VLAN tags, ARP packets that are read, VRRP advertisements, of these with a right
    // checksum.
    let rows = [
        ("vrrp.pcap", 165, 0, 0, 165, 165),
        ("vrrp-vrrp_print-oobr.pcap", 3, 0, 0, 0, 0),
        ("vrrp-vrrp_print-oobr-2.pcap", 10, 0, 0, 0, 0),
        ("arp-too-long-tha.pcap", 1, 1, 0, 0, 0),
        ("gre-heapoverflow-1.pcap", 2, 0, 0, 0, 0),
        ("gre-heapoverflow-2.pcap", 2, 0, 0, 0, 0),
        ("pptp.pcap", 23, 0, 0, 0, 0),
        ("rpvstp-trunk-native-vid5.pcap", 22, 7, 0, 0, 0),
        ("802.1D_spanning_tree.pcap", 14, 0, 0, 0, 0),
    ];
    for (name, count, tagged, arps, adverts, intact) in rows {
        let frames = capture(name);
        for frame in &frames {
            // Whatever they are called, none is an overlay frame; and no cut of one makes a panic.
            assert!(judge(frame).is_err(), "{name}");
            for len in 0..frame.len() {
                let _ = judge(&frame[..len]);
                let _ = link(&frame[..len]).map(|link| (Arp::parse(link.payload), vrrp(&link).is_some()));
                let _ = Ipv6Packet::parse(&frame[..len]).and_then(|ip| Vrrp::from_ipv6(&ip));
                let _ = announcement(&frame[..len]).map(|said| said.addresses().count());
            }
        }
        let links: Vec<_> = frames.iter().filter_map(|frame| link(frame)).collect();
        let of_arp =
            |link: &&Link<'_>| link.ethertype == ethertype::ARP && Arp::parse(link.payload).is_some();
        let seen: Vec<_> = links.iter().filter_map(vrrp).collect();
        let seen_intact = seen.iter().filter(|advert| advert.checksum_verifies()).count();
        let tags = links.iter().filter(|link| !link.tags.is_empty()).count();
        let counts = (frames.len(), tags, links.iter().filter(of_arp).count(), seen.len(), seen_intact);
        assert_eq!(counts, (count, tagged, arps, adverts, intact), "{name}");
    }
}

#[test]
fn pptp_is_another_version_of_gre() {
    let verdicts: Vec<_> = capture("pptp.pcap").iter().map(|frame| judge(frame)).collect();
    let other_version = Err(Rejection::Drop(DropReason::GreHeader));
    assert_eq!(verdicts.iter().filter(|&&verdict| verdict == other_version).count(), 1, "{verdicts:?}");
    assert_eq!(
        verdicts.iter().filter(|&&verdict| verdict == Err(Rejection::Punt)).count(),
        22,
        "{verdicts:?}"
    );
}

#[test]
fn real_advertisements_are_read_as_tcpdump_reads_them() {
    let mut versions = [0; 3];
    let mut addresses = 0;
    for frame in capture("vrrp.pcap") {
        let link = link(&frame).expect("an Ethernet frame");
        let advert = vrrp(&link).expect("an advertisement");
        let over_ipv6 = link.ethertype == ethertype::IPV6;
        match (advert.version(), over_ipv6) {
            (2, false) => versions[0] += 1,
            (3, false) => versions[1] += 1,
            (3, true) => versions[2] += 1,
            other => panic!("{other:?}"),
        }
        addresses += advert.addresses().count();
        assert_eq!(advert.interval(), Duration::from_secs(10));
        assert!((42..=46).contains(&advert.virtual_router()) && (191..=197).contains(&advert.priority()));
        // RFC 9568 section 7.2: it comes from the virtual router's own MAC.
        let family = if over_ipv6 { 2 } else { 1 };
        assert_eq!(link.ethernet.source.0, [0, 0, 0x5e, 0, family, advert.virtual_router()]);
    }
    // Counted in what tcpdump prints of it (its tests/vrrp.out and vrrp-v.out).
    assert_eq!((versions, addresses), ([68, 33, 64], 426));
}

#[test]
fn real_advertisements_announce_what_they_list_and_damaged_frames_nothing_sound() {
    let mut addresses = 0;
    for frame in capture("vrrp.pcap") {
        let said = announcement(&frame).expect("an advertisement");
        let Kind::Advert { vrid, priority, interval_cs, sound } = said.kind else { panic!("{said:?}") };
        assert!((42..=46).contains(&vrid) && (191..=197).contains(&priority), "{said:?}");
        assert!(sound && interval_cs == 1_000 && said.bound == said.source, "{said:?}");
        addresses += said.addresses().count();
    }
    assert_eq!(addresses, 426);
    for name in [
        "arp-too-long-tha.pcap",
        "vrrp-vrrp_print-oobr.pcap",
        "vrrp-vrrp_print-oobr-2.pcap",
        "rpvstp-trunk-native-vid5.pcap",
        "802.1D_spanning_tree.pcap",
        "gre-heapoverflow-1.pcap",
        "gre-heapoverflow-2.pcap",
        "pptp.pcap",
    ] {
        for frame in capture(name) {
            let said = announcement(&frame).map(|said| said.kind);
            assert!(matches!(said, None | Some(Kind::Advert { sound: false, .. })), "{name}: {said:?}");
        }
    }
}
