//! Forms in which a VM could send BFD to another hypervisor, and frames next to them.
#![allow(clippy::expect_used, reason = "tests")]

mod common;

use common::bfd;
use wire::bfd::carries_bfd;
use wire::view::innermost;

const ALL: [u8; 6] = [0xff; 6];
const VM: [u8; 6] = [2, 0, 0, 0, 0, 0x11];
/// UDP from port 49,152 to port 3784.
const UDP: [u8; 8] = [0xc0, 0, 0x0e, 0xc8, 0, 32, 0, 0];

/// [`bfd`] with these bytes before its ethertype.
fn behind(tags: &[u8]) -> Vec<u8> {
    let mut frame = bfd(ALL, VM);
    frame.splice(12..12, tags.iter().copied());
    frame
}

/// [`bfd`] with bytes at these offsets of its IPv4 header.
fn with(bytes: &[(usize, u8)]) -> Vec<u8> {
    let mut frame = bfd(ALL, VM);
    bytes.iter().for_each(|&(at, byte)| frame[14 + at] = byte);
    frame
}

/// IPv6 multicast with this chain of headers; the first one is of this type.
fn ipv6(first: u8, chain: &[u8]) -> Vec<u8> {
    let length = u16::try_from(chain.len()).expect("short").to_be_bytes();
    let address = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let head = [0x60, 0, 0, 0, length[0], length[1], first, 255];
    [&[0x33, 0x33, 0, 0, 0, 1][..], &VM, &[0x86, 0xdd], &head, &address, &address, chain].concat()
}

#[test]
fn bfd_is_found_behind_tags_options_and_headers_of_both_families() {
    let mut options = bfd(ALL, VM);
    options.splice(34..34, [1; 40]);
    options[14] = 0x4f;
    let snap = [0, 60, 0xaa, 0xaa, 3, 0, 0, 0];
    let hop_by_hop = [17, 0, 1, 4, 0, 0, 0, 0];
    let first_fragment = [17, 0, 0, 1, 0, 0, 0, 9];
    let rows = [
        ("plain", bfd(ALL, VM)),
        ("to a group", bfd([1, 0, 0x5e, 0, 0, 1], VM)),
        ("a VLAN", behind(&[0x81, 0, 0, 42])),
        ("two VLANs", behind(&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 42])),
        ("five tags", behind(&[0x81, 0, 0, 0].repeat(5))),
        ("LLC and SNAP", behind(&snap)),
        ("LLC and SNAP of 802.1H", behind(&[0, 60, 0xaa, 0xaa, 3, 0, 0, 0xf8])),
        ("LLC and SNAP behind a tag", behind(&[&[0x81, 0, 0, 42], &snap[..]].concat())),
        ("40 bytes of options", options),
        ("a wrong checksum and a wrong length", with(&[(2, 0xff), (10, 1)])),
        ("a first fragment", with(&[(6, 0x20)])),
        ("TTL 1", with(&[(8, 1)])),
        ("IPv6", ipv6(17, &UDP)),
        ("IPv6 with hop-by-hop options", ipv6(0, &[hop_by_hop, UDP].concat())),
        ("IPv6, a first fragment", ipv6(44, &[first_fragment, UDP].concat())),
    ];
    for (what, frame) in rows {
        assert!(carries_bfd(&frame), "{what}: {:02x?}", innermost(&frame));
    }
}

#[test]
fn other_frames_are_no_bfd() {
    let later_fragment = [17, 0, 0, 8, 0, 0, 0, 9];
    let rows = [
        ("another port", with(&[(23, 0xc9)])),
        ("from the port", with(&[(20, 0x0e), (21, 0xc8), (22, 0)])),
        ("TCP", with(&[(9, 6)])),
        ("a later fragment", with(&[(7, 1)])),
        ("a header of 16 bytes", with(&[(0, 0x44)])),
        ("version 6 in IPv4", with(&[(0, 0x65)])),
        ("cut before the port", bfd(ALL, VM)[..37].to_vec()),
        ("an ethertype cut short", bfd(ALL, VM)[..13].to_vec()),
        ("a tag cut short", behind(&[0x81, 0, 0, 42])[..17].to_vec()),
        ("ARP", common::inner(60)),
        ("LLC without SNAP", behind(&[0, 60, 0x42, 0x42, 3, 0, 0, 0])),
        ("IPv6, another port", ipv6(17, &[0x0e, 0xc8, 0x0e, 0xc9, 0, 8, 0, 0])),
        ("IPv6, a later fragment", ipv6(44, &[later_fragment, UDP].concat())),
    ];
    for (what, frame) in rows {
        assert!(!carries_bfd(&frame), "{what}");
    }
}

#[test]
fn bfd_is_found_by_classification_whatever_hides_the_ethertype() {
    for tags in [&[][..], &[0x81, 0, 0, 42], &[0, 60, 0xaa, 0xaa, 3, 0, 0, 0]] {
        let frame = common::Frame { inner: behind(tags), ..common::Frame::default() };
        let dropped = Err(wire::Rejection::Drop(wire::DropReason::InnerBfd));
        assert_eq!(common::judge(&frame.bytes()), dropped, "{tags:02x?}");
    }
}
