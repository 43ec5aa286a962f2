//! Frames for the node's kernel: sender, content, and whether the kernel may answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use wire::host::{Content, HostFrame, arp_reply, receiver};
use wire::view::is_in_vlan;
use wire::{CopyErrorKind, MacAddr};

const FROM: [u8; 4] = [198, 18, 0, 7];
const TO: [u8; 4] = [198, 18, 0, 254];

fn frame(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 254, 2, 0, 0, 0, 0, 7][..], &ethertype.to_be_bytes(), payload].concat()
}

fn ipv4(to: [u8; 4], flags: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let flags = flags.to_be_bytes();
    let head = [0x45, 0, length[0], length[1], 0, 0, flags[0], flags[1], 64, protocol, 0, 0];
    frame(0x0800, &[&head[..], &FROM, &to, payload].concat())
}

fn v6(last: u8) -> [u8; 16] {
    [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]
}

const GROUP: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16];

fn ipv6(from: [u8; 16], to: [u8; 16], next: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [0x60, 0, 0, 0, length[0], length[1], next, 255];
    frame(0x86dd, &[&head[..], &from, &to, payload].concat())
}

fn arp(operation: u8) -> Vec<u8> {
    let parts = [&[0, 1, 8, 0, 6, 4, 0, operation][..], &[2, 0, 0, 0, 0, 7], &FROM, &[0; 6], &TO];
    frame(0x0806, &parts.concat())
}

fn ports(source: u16, destination: u16) -> Vec<u8> {
    [source.to_be_bytes(), destination.to_be_bytes(), [0; 2], [0; 2]].concat()
}

#[test]
fn bgp_and_bfd_are_told_from_all_else_in_both_families() {
    for (protocol, source, destination, routing) in [
        (6, 40_000, 179, true),
        (6, 179, 40_000, true),
        (6, 40_000, 22, false),
        (17, 49_152, 3784, true),
        (17, 49_152, 4784, true),
        (17, 49_152, 6784, true),
        (17, 3784, 49_152, false),
        (17, 49_152, 179, false),
        (132, 40_000, 179, false),
    ] {
        let (payload, what) = (ports(source, destination), format!("{protocol}: {source} to {destination}"));
        for frame in [ipv4(TO, 0, protocol, &payload), ipv6(v6(7), v6(254), protocol, &payload)] {
            assert_eq!(HostFrame::read(&frame).content == Content::Routing, routing, "{what}");
        }
        let later = ipv4(TO, 1, protocol, &payload);
        assert_eq!(HostFrame::read(&later).content, Content::Other, "{what}: a later fragment has no ports");
    }
}

#[test]
fn what_the_kernel_may_answer_is_told_from_what_it_never_does() {
    let answered = |frame: &[u8]| HostFrame::read(frame).may_be_answered;
    let listener = |options: [u8; 8], kind: u8| [&options[..], &[kind, 0, 0, 0], &[0; 20]].concat();
    let alert = [58, 0, 5, 2, 0, 0, 1, 0];
    for (what, frame, expected) in [
        ("a ping", ipv4(TO, 0, 1, &[8, 0, 0, 0, 0, 0, 0, 0]), true),
        ("a later fragment", ipv4(TO, 9, 1, &[0; 8]), true),
        ("a group", ipv4([224, 0, 0, 5], 0, 89, &[0; 24]), false),
        ("all", ipv4([255; 4], 0, 17, &ports(68, 67)), false),
        ("ARP", arp(1), false),
        ("solicitation", ipv6(v6(7), GROUP, 58, &[135, 0, 0, 0]), true),
        ("advertisement of a router", ipv6(v6(7), GROUP, 58, &[134, 0, 0, 0]), true),
        ("a ping to a group", ipv6(v6(7), GROUP, 58, &[128, 0, 0, 0]), true),
        ("advertisement of a neighbour", ipv6(v6(7), v6(254), 58, &[136, 0, 0, 0]), false),
        ("duplicate address detection", ipv6([0; 16], GROUP, 58, &[135, 0, 0, 0]), false),
        ("a forged group as source", ipv6(GROUP, v6(254), 58, &[128, 0, 0, 0]), false),
        ("listener report", ipv6(v6(7), GROUP, 0, &listener(alert, 143)), false),
        ("another message behind such options", ipv6(v6(7), GROUP, 0, &listener(alert, 128)), true),
        (
            "options that ask for an error",
            ipv6(v6(7), GROUP, 0, &listener([58, 0, 0x82, 4, 0, 0, 0, 0], 143)),
            true,
        ),
        ("a header chain that is cut off", ipv6(v6(7), v6(254), 0, &[58]), true),
        ("mDNS", ipv6(v6(7), GROUP, 17, &ports(5353, 5353)), false),
        ("UDP", ipv6(v6(7), v6(254), 17, &ports(1, 2)), true),
        ("nothing that anyone reads", frame(0x88b5, &[0; 46]), false),
        ("an IPv4 packet that is cut off", frame(0x0800, &[0x45; 19]), false),
    ] {
        assert_eq!(answered(&frame), expected, "{what}");
    }
}

#[test]
fn senders_and_receivers_are_read_and_an_arp_request_has_its_answer() {
    let (from, to) = (IpAddr::from(FROM), IpAddr::from(TO));
    for frame in [arp(1), ipv4(TO, 0, 17, &ports(1, 2))] {
        assert_eq!((HostFrame::read(&frame).sender, receiver(&frame)), (Some(from), Some(to)));
    }
    let mut solicitation = [135, 0, 0, 0, 0, 0, 0, 0].to_vec();
    solicitation.extend(v6(9));
    let asked = Some(IpAddr::from(v6(9)));
    assert_eq!(receiver(&ipv6(v6(254), GROUP, 58, &solicitation)), asked);
    assert_eq!(receiver(&ipv6([0; 16], GROUP, 58, &solicitation)), None, "it asks for its own");
    assert_eq!(receiver(&arp(2)), None);
    assert_eq!(receiver(&ipv4([224, 0, 0, 5], 0, 89, &[0; 24])), None);
    let request = arp(1);
    let Content::Arp(read) = HostFrame::read(&request).content else { panic!("it is ARP") };
    let mac = [2, 0, 0, 0, 0, 254];
    let parts = [&[0, 1, 8, 0, 6, 4, 0, 2][..], &mac, &TO, &[2, 0, 0, 0, 0, 7], &FROM, &[0; 18]];
    let expected = [&[2, 0, 0, 0, 0, 7][..], &mac, &[8, 6], &parts.concat()].concat();
    assert_eq!(arp_reply(read, MacAddr(mac))[..], expected);
}

#[test]
fn a_frame_is_in_a_vlan_if_any_of_its_tags_names_one() {
    let tagged = |tags: &[[u8; 4]]| [&arp(1)[..12], &tags.concat(), &arp(1)[12..]].concat();
    for (tags, expected) in [
        (&[][..], false),
        (&[[0x81, 0, 0xe0, 0]], false),
        (&[[0x81, 0, 0, 0], [0x81, 0, 0, 0], [0x81, 0, 0x20, 0]], false),
        (&[[0x81, 0, 0, 5]], true),
        (&[[0x88, 0xa8, 0, 0], [0x81, 0, 0, 5]], true),
    ] {
        assert_eq!(is_in_vlan(&tagged(tags)), expected, "{tags:x?}");
        assert!(matches!(HostFrame::read(&tagged(tags)).content, Content::Arp(_)), "{tags:x?}");
    }
}

/// An ICMP message about a copy, with its checksum.
fn error(kind: u8, code: u8, quoted: &[u8]) -> Vec<u8> {
    let copy = [&[0x45, 0, 0, 100, 0, 0, 0x40, 0, 1, 47, 0, 0][..], &TO, &FROM, quoted].concat();
    let mut message = [&[kind, code, 0, 0, 0, 0, 5, 0xdc], &copy[..]].concat();
    let sum = !wire::checksum::sum(&message);
    message[2..4].copy_from_slice(&sum.to_ne_bytes());
    ipv4(TO, 0, 1, &message)
}

#[test]
fn icmp_errors_about_copies_are_read_by_type() {
    let copy = [0x20, 0, 0x65, 0x58, 0, 0, 0x13, 0x89];
    let read = |frame: &[u8]| match HostFrame::read(frame).content {
        Content::CopyError(error) => Some((error.from, error.to, error.kind)),
        _ => None,
    };
    let (from, to) = (Ipv4Addr::from(TO), Ipv4Addr::from(FROM));
    for (kind, code, expected) in [
        (3, 0, Some(CopyErrorKind::Unreachable)),
        (3, 2, Some(CopyErrorKind::Unreachable)),
        (3, 4, Some(CopyErrorKind::FragmentationNeeded)),
        (11, 0, Some(CopyErrorKind::TimeExceeded)),
        (12, 0, None),
        (8, 0, None),
    ] {
        assert_eq!(read(&error(kind, code, &copy)), expected.map(|kind| (from, to, kind)), "{kind}/{code}");
    }
    assert_eq!(read(&error(3, 1, &copy[..3])), None, "no GRE header");
    assert_eq!(read(&error(3, 1, &[0, 0, 0x65, 0x58, 0, 0, 0, 0])), None, "no key");
    let mut damaged = error(3, 1, &copy);
    damaged[38] ^= 1;
    assert_eq!(read(&damaged), None);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        kind in prop::sample::select(vec![0x0800_u16, 0x0806, 0x86dd, 0x8100, 0x0040]),
        bytes in prop::collection::vec(any::<u8>(), 0..120),
        cut in 0..80_usize,
    ) {
        let copy = [0x20, 0, 0x65, 0x58, 0, 0, 0x13, 0x89];
        let mut whole = error(3, 1, &copy);
        whole.truncate(cut);
        for frame in [frame(kind, &bytes), bytes, whole] {
            let read = HostFrame::read(&frame);
            if let Content::Arp(request) = read.content {
                prop_assert_eq!(arp_reply(request, MacAddr::ZERO).len(), 60);
            }
            let _ = (receiver(&frame), is_in_vlan(&frame));
        }
    }
}
