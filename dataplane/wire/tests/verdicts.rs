//! Each drop reason by the frames that it is for, with the frames next to them on the other side of the line.

#![allow(clippy::expect_used, reason = "tests")]

mod common;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use common::{C, Frame, K, NODE, NODE_TOO, S, TEP, inner, inner_with, judge, node};
use wire::DropReason as Why;
use wire::Rejection::{Drop, Punt};
use wire::{CopyDropReason, DropReason, Rejection};

const STATION: [u8; 6] = [0x02, 0, 0, 0, 0, 0x11];
const BROADCAST: [u8; 6] = [0xff; 6];
/// A priority tag: VLAN id 0, priority 6.
const PRIORITY: [u8; 4] = [0x81, 0, 0xc0, 0];

fn base() -> Frame {
    Frame::default()
}

/// Verdict on one frame in the table below.
type Row = (&'static str, Frame, DropReason);

fn ip_rows() -> Vec<Row> {
    let tagged = |tags: &[[u8; 4]]| Frame { tags: tags.to_vec(), ..base() };
    let from = |a, b, c, d| Frame { source: Ipv4Addr::new(a, b, c, d), ..base() };
    vec![
        ("nothing at all", Frame { cut: Some(0), ..base() }, Why::Runt),
        ("13 bytes", Frame { cut: Some(13), ..base() }, Why::Runt),
        ("13 bytes of ARP", Frame { ethertype: 0x0806, cut: Some(13), ..base() }, Why::Runt),
        ("IPv4 ethertype and nothing more", Frame { cut: Some(14), ..base() }, Why::Runt),
        ("19 bytes of IPv4", Frame { cut: Some(33), ..base() }, Why::Runt),
        ("19 bytes of IPv4 behind a tag", Frame { cut: Some(37), ..tagged(&[PRIORITY]) }, Why::Runt),
        ("VLAN 100", tagged(&[[0x81, 0, 0, 100]]), Why::OuterVlan),
        ("VLAN 1 with a priority", tagged(&[[0x81, 0, 0xe0, 1]]), Why::OuterVlan),
        ("a provider's VLAN", tagged(&[[0x88, 0xa8, 0, 7]]), Why::OuterVlan),
        ("a VLAN behind a priority", tagged(&[PRIORITY, [0x81, 0, 0x0f, 0xff]]), Why::OuterVlan),
        ("a priority behind a VLAN", tagged(&[[0x88, 0xa8, 0, 7], PRIORITY]), Why::OuterVlan),
        (
            "options behind a priority",
            Frame { version_ihl: 0x46, options: vec![1; 4], ..tagged(&[PRIORITY]) },
            Why::IpHeader,
        ),
        ("version 6", Frame { version_ihl: 0x65, ..base() }, Why::IpHeader),
        ("version 0", Frame { version_ihl: 0x05, ..base() }, Why::IpHeader),
        ("header length 4", Frame { version_ihl: 0x44, ..base() }, Why::IpHeader),
        ("header length past the end", Frame { version_ihl: 0x4f, cut: Some(34), ..base() }, Why::IpHeader),
        ("options", Frame { version_ihl: 0x46, options: vec![1, 1, 1, 0], ..base() }, Why::IpHeader),
        ("checksum one too high", Frame { checksum_error: 1, ..base() }, Why::IpHeader),
        ("checksum one too low", Frame { checksum_error: 0xffff, ..base() }, Why::IpHeader),
        ("total length 0", Frame { total_length: Some(0), ..base() }, Why::IpHeader),
        ("total length under the header", Frame { total_length: Some(19), ..base() }, Why::IpHeader),
        ("total length over the frame", Frame { total_length: Some(20 + 8 + 61), ..base() }, Why::IpHeader),
        ("total length at its most", Frame { total_length: Some(0xffff), ..base() }, Why::IpHeader),
        ("TTL 0", Frame { ttl: 0, ..base() }, Why::IpHeader),
        ("more fragments", Frame { fragment: 0x2000, ..base() }, Why::IpFragment),
        ("more fragments and don't fragment", Frame { fragment: 0x6000, ..base() }, Why::IpFragment),
        ("the smallest offset", Frame { fragment: 0x0001, ..base() }, Why::IpFragment),
        ("the largest offset", Frame { fragment: 0x1fff, ..base() }, Why::IpFragment),
        ("from 0.0.0.0", from(0, 0, 0, 0), Why::IpSource),
        ("from 0/8", from(0, 255, 255, 255), Why::IpSource),
        ("from 127/8, first", from(127, 0, 0, 0), Why::IpSource),
        ("from 127/8, last", from(127, 255, 255, 255), Why::IpSource),
        ("from multicast, first", from(224, 0, 0, 0), Why::IpSource),
        ("from multicast, last", from(239, 255, 255, 255), Why::IpSource),
        ("from broadcast", from(255, 255, 255, 255), Why::IpSource),
        ("from the node", Frame { source: NODE, ..base() }, Why::IpSource),
        ("from another address of the node", Frame { source: NODE_TOO, ..base() }, Why::IpSource),
    ]
}

fn gre_rows() -> Vec<Row> {
    let gre_cut = |flags, len: u16| Frame { gre_flags: flags, total_length: Some(20 + len), ..base() };
    vec![
        ("no GRE at all", gre_cut(K, 0), Why::GreHeader),
        ("3 bytes of GRE", gre_cut(K, 3), Why::GreHeader),
        ("a promised key cut off", gre_cut(K, 4), Why::GreHeader),
        ("a promised key cut short", gre_cut(K, 7), Why::GreHeader),
        ("a promised checksum cut short", gre_cut(C, 7), Why::GreHeader),
        ("a promised sequence number cut short", gre_cut(S, 7), Why::GreHeader),
        ("a key after a checksum cut short", gre_cut(C | K, 11), Why::GreHeader),
        ("a sequence number after a key cut short", gre_cut(K | S, 11), Why::GreHeader),
        ("all three, cut short", gre_cut(C | K | S, 15), Why::GreHeader),
        ("version 1 (PPTP)", Frame { gre_flags: K | 1, ..base() }, Why::GreHeader),
        ("version 7", Frame { gre_flags: K | 7, ..base() }, Why::GreHeader),
        ("routing bit", Frame { gre_flags: K | 0x4000, ..base() }, Why::GreHeader),
        ("strict source route bit", Frame { gre_flags: K | 0x0800, ..base() }, Why::GreHeader),
        ("recursion control", Frame { gre_flags: K | 0x0100, ..base() }, Why::GreHeader),
        ("acknowledgement bit (PPTP)", Frame { gre_flags: K | 0x0080, ..base() }, Why::GreHeader),
        ("lowest reserved bit", Frame { gre_flags: K | 0x0008, ..base() }, Why::GreHeader),
        ("IPv4 in GRE", Frame { gre_protocol: 0x0800, ..base() }, Why::GreProtocol),
        ("ERSPAN", Frame { gre_protocol: 0x88be, ..base() }, Why::GreProtocol),
        ("the protocol's bytes swapped", Frame { gre_protocol: 0x5865, ..base() }, Why::GreProtocol),
        ("no optional word", Frame { gre_flags: 0, ..base() }, Why::GreNoKey),
        ("a sequence number in the key's place", Frame { gre_flags: S, ..base() }, Why::GreNoKey),
        ("a checksum in the key's place", Frame { gre_flags: C, ..base() }, Why::GreNoKey),
    ]
}

fn inner_rows() -> Vec<Row> {
    let to = |destination| Frame { inner: inner_with(destination, STATION), ..base() };
    let from = |source| Frame { inner: inner_with(BROADCAST, source), ..base() };
    let summed = |error| Frame { gre_flags: C | K, gre_checksum_error: error, ..base() };
    let short = |flags, len| Frame { gre_flags: flags, inner: inner(len), padding: vec![0; 46], ..base() };
    let mut flipped = Frame { gre_flags: C | K | S, ..base() };
    flipped.gre_checksum_error = 0x8000;
    vec![
        ("GRE checksum one too high", summed(1), Why::GreChecksum),
        ("GRE checksum one too low", summed(0xffff), Why::GreChecksum),
        ("GRE checksum with its top bit flipped", flipped, Why::GreChecksum),
        ("no inner frame", short(K, 0), Why::InnerRunt),
        ("13 bytes of inner frame", short(K, 13), Why::InnerRunt),
        ("13 bytes under a right checksum", short(C | K | S, 13), Why::InnerRunt),
        ("to a station", to(STATION), Why::InnerUnicast),
        ("to zero", to([0; 6]), Why::InnerUnicast),
        ("to a VRRP virtual MAC", to([0, 0, 0x5e, 0, 1, 51]), Why::InnerUnicast),
        ("to all bits but the group bit", to([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff]), Why::InnerUnicast),
        ("BPDU", to([0x01, 0x80, 0xc2, 0, 0, 0x00]), Why::InnerReserved),
        ("PAUSE", to([0x01, 0x80, 0xc2, 0, 0, 0x01]), Why::InnerReserved),
        ("LACP", to([0x01, 0x80, 0xc2, 0, 0, 0x02]), Why::InnerReserved),
        ("LLDP", to([0x01, 0x80, 0xc2, 0, 0, 0x0e]), Why::InnerReserved),
        ("the last reserved", to([0x01, 0x80, 0xc2, 0, 0, 0x0f]), Why::InnerReserved),
        ("from broadcast", from(BROADCAST), Why::InnerSource),
        ("from a group", from([0x01, 0, 0x5e, 0, 0, 1]), Why::InnerSource),
        ("from zero", from([0; 6]), Why::InnerSource),
        ("a VM's BFD", Frame { inner: common::bfd(BROADCAST, STATION), ..base() }, Why::InnerBfd),
        (
            "BFD to a group under a checksum",
            Frame { gre_flags: C | K, inner: common::bfd([1, 0, 0x5e, 0, 0, 1], STATION), ..base() },
            Why::InnerBfd,
        ),
    ]
}

#[test]
fn each_bad_frame_is_dropped_for_its_reason() {
    for (what, frame, reason) in [ip_rows(), gre_rows(), inner_rows()].concat() {
        let bytes = frame.bytes();
        assert_eq!(judge(&bytes), Err(Drop(reason)), "{what}: {bytes:02x?}");
    }
}

#[test]
fn every_reason_that_bytes_decide_has_a_frame() {
    let tested: BTreeSet<_> =
        [ip_rows(), gre_rows(), inner_rows()].concat().into_iter().map(|r| r.2).collect();
    // These take a table or a queue, which this crate does not have.
    let tables = [
        Why::TepUnknown,
        Why::BfdRate,
        Why::BfdMalformed,
        Why::BfdDiscarded,
        Why::VniUnknown,
        Why::TepNotMember,
        Why::GarpSpoof,
        Why::VrrpSpoof,
    ];
    let rates = [
        Why::TepRate,
        Why::DomainRate,
        Why::NodeRate,
        Why::ControlRate,
        Why::FailoverRate,
        Why::FanoutQueueFull,
    ];
    const PUNTED: [Why; 4] = [Why::PuntRedirect, Why::PuntStranger, Why::PuntLimited, Why::PuntOff];
    let callers = [&tables[..], &rates, &PUNTED].concat();
    for reason in DropReason::ALL {
        assert_eq!(tested.contains(&reason), !callers.contains(&reason), "{reason}");
    }
}

#[test]
fn good_frames_are_accepted_whole() {
    let multicast = inner_with([0x01, 0, 0x5e, 0, 0, 18], STATION);
    let mut tagged = inner(64);
    tagged[12..16].copy_from_slice(&[0x81, 0, 0, 42]);
    let rows = [
        ("key", base()),
        ("key and sequence", Frame { gre_flags: K | S, sequence: 7, ..base() }),
        ("right checksum", Frame { gre_flags: C | K, ..base() }),
        ("checksum, key and sequence", Frame { gre_flags: C | K | S, sequence: u32::MAX, ..base() }),
        ("right checksum over an odd length", Frame { gre_flags: C | K, inner: inner(61), ..base() }),
        ("Reserved1 is not looked at", Frame { gre_flags: C | K, reserved1: 0xbeef, ..base() }),
        ("padding", Frame { inner: inner(14), padding: vec![0xee; 4], ..base() }),
        ("padding under a checksum", Frame { gre_flags: C | K, padding: vec![0xee; 4], ..base() }),
        ("14 bytes of inner frame", Frame { inner: inner(14), ..base() }),
        ("jumbo", Frame { inner: inner(8_972), ..base() }),
        ("the longest packet there is", Frame { inner: inner(65_507), ..base() }),
        ("key 0", Frame { key: 0, ..base() }),
        ("the largest key", Frame { key: u32::MAX, ..base() }),
        ("TTL 1", Frame { ttl: 1, ..base() }),
        ("TTL 255", Frame { ttl: 255, ..base() }),
        ("may be fragmented, but is not", Frame { fragment: 0, id: 0x1234, ..base() }),
        ("the reserved IP flag", Frame { fragment: 0x8000, ..base() }),
        ("multicast", Frame { inner: multicast, ..base() }),
        ("group bit alone", Frame { inner: inner_with([1, 0, 0, 0, 0, 0], STATION), ..base() }),
        ("before the reserved", Frame { inner: inner_with([1, 0x80, 0xc1, 0, 0, 15], STATION), ..base() }),
        ("after the reserved", Frame { inner: inner_with([1, 0x80, 0xc2, 0, 0, 16], STATION), ..base() }),
        ("VLAN-tagged inside", Frame { inner: tagged, ..base() }),
        ("a priority tag outside", Frame { tags: vec![PRIORITY], ..base() }),
        ("no priority in it", Frame { tags: vec![[0x81, 0, 0, 0]], ..base() }),
        ("drop eligible", Frame { tags: vec![[0x88, 0xa8, 0xf0, 0]], ..base() }),
        ("two of them and a checksum", Frame { tags: vec![PRIORITY; 2], gre_flags: C | K | S, ..base() }),
        ("to another address of the node", Frame { destination: NODE_TOO, ..base() }),
        ("from 1.0.0.0", Frame { source: Ipv4Addr::new(1, 0, 0, 0), ..base() }),
        ("from 126.255.255.255", Frame { source: Ipv4Addr::new(126, 255, 255, 255), ..base() }),
        ("from 128.0.0.0", Frame { source: Ipv4Addr::new(128, 0, 0, 0), ..base() }),
        ("from 223.255.255.255", Frame { source: Ipv4Addr::new(223, 255, 255, 255), ..base() }),
        ("from 240.0.0.0, for the TEP table", Frame { source: Ipv4Addr::new(240, 0, 0, 0), ..base() }),
        ("from 255.255.255.254", Frame { source: Ipv4Addr::new(255, 255, 255, 254), ..base() }),
    ];
    for (what, frame) in rows {
        assert_eq!(judge(&frame.bytes()), Ok((frame.key, frame.inner.as_slice())), "{what}");
    }
}

#[test]
fn the_outer_header_is_reported_as_received() {
    for tos in 0..=u8::MAX {
        let frame = Frame { tos, key: 0x0102_0304, destination: NODE_TOO, ..base() };
        let outer = wire::parse(&frame.bytes(), &node()).expect("accepted");
        assert_eq!((outer.source, outer.destination), (TEP, NODE_TOO));
        assert_eq!((outer.tos, outer.key), (tos, 0x0102_0304));
    }
}

#[test]
fn what_is_not_an_overlay_frame_to_the_node_is_punted() {
    let other = Ipv4Addr::new(198, 18, 0, 253);
    let rows = [
        ("ARP", Frame { ethertype: 0x0806, ..base() }),
        ("IPv6", Frame { ethertype: 0x86dd, ..base() }),
        ("ARP in a VLAN", Frame { tags: vec![[0x81, 0, 0, 7]], ethertype: 0x0806, ..base() }),
        ("ICMP in a VLAN", Frame { tags: vec![[0x81, 0, 0, 7]], protocol: 1, ..base() }),
        ("ICMP behind a priority", Frame { tags: vec![PRIORITY], protocol: 1, ..base() }),
        ("a tag cut short", Frame { tags: vec![PRIORITY], cut: Some(17), ..base() }),
        ("three tags", Frame { tags: vec![PRIORITY; 3], ..base() }),
        ("802.3 length", Frame { ethertype: 0x0026, ..base() }),
        ("a bare Ethernet header of ARP", Frame { ethertype: 0x0806, cut: Some(14), ..base() }),
        ("ICMP", Frame { protocol: 1, ..base() }),
        ("TCP with options", Frame { protocol: 6, version_ihl: 0x46, options: vec![1, 1, 1, 0], ..base() }),
        ("a fragment of ICMP", Frame { protocol: 1, fragment: 0x2000, ..base() }),
        ("ICMP with a bad header", Frame { protocol: 1, checksum_error: 1, ttl: 0, ..base() }),
        ("GRE to another host", Frame { destination: other, ..base() }),
        ("GRE to broadcast", Frame { destination: Ipv4Addr::BROADCAST, ..base() }),
        ("bad GRE to another host", Frame { destination: other, gre_flags: 0xffff, ttl: 0, ..base() }),
    ];
    for (what, frame) in rows {
        assert_eq!(judge(&frame.bytes()), Err(Punt), "{what}");
    }
}

/// A reason and what it takes to break a good frame that way.
type Fault = (DropReason, fn(&mut Frame));

/// One fault for each reason, in the order of the checks; they do not undo one another.
fn faults() -> [Fault; 14] {
    [
        (Why::Runt, |f| f.cut = Some(33)),
        (Why::OuterVlan, |f| f.tags = vec![[0x81, 0, 0, 7]]),
        (Why::IpHeader, |f| f.ttl = 0),
        (Why::IpFragment, |f| f.fragment = 0x2000),
        (Why::IpSource, |f| f.source = Ipv4Addr::LOCALHOST),
        (Why::GreHeader, |f| f.gre_flags |= 0x4000),
        (Why::GreProtocol, |f| f.gre_protocol = 0x0800),
        (Why::GreNoKey, |f| f.gre_flags &= !K),
        (Why::GreChecksum, |f| (f.gre_flags, f.gre_checksum_error) = (f.gre_flags | C, 1)),
        (Why::InnerRunt, |f| f.inner.truncate(13)),
        (Why::InnerUnicast, |f| f.inner[0] = 0x02),
        (Why::InnerReserved, |f| f.inner[..6].copy_from_slice(&[1, 0x80, 0xc2, 0, 0, 0])),
        (Why::InnerSource, |f| f.inner[6] = 0xff),
        (Why::InnerBfd, |f| f.inner = common::bfd(BROADCAST, STATION)),
    ]
}

#[test]
fn of_two_faults_the_first_in_order_names_the_drop() {
    let faults = faults();
    for (i, (first, make_first)) in faults.iter().enumerate() {
        for (second, make_second) in &faults[i..] {
            // An inner destination is unicast or reserved, not both.
            if (*first, *second) == (Why::InnerUnicast, Why::InnerReserved) {
                continue;
            }
            let mut frame = base();
            make_second(&mut frame);
            make_first(&mut frame);
            assert_eq!(judge(&frame.bytes()), Err(Drop(*first)), "{first} before {second}");
        }
    }
}

#[test]
fn the_order_of_the_list_is_the_order_of_the_checks() {
    let order: Vec<_> = faults().iter().map(|(reason, _)| reason.index()).collect();
    assert!(order.is_sorted(), "{order:?}");
}

#[test]
fn a_frame_cut_anywhere_is_a_runt_or_a_bad_header() {
    let whole = Frame { gre_flags: C | K | S, ..base() }.bytes();
    for len in 0..whole.len() {
        let reason = if len < 34 { Why::Runt } else { Why::IpHeader };
        assert_eq!(judge(&whole[..len]), Err(Drop(reason)), "{len} bytes");
    }
}

#[test]
fn each_total_length_has_its_verdict() {
    let full = 20 + 12 + 60;
    for len in 0..=full + 1 {
        let frame = Frame { gre_flags: K | S, total_length: Some(len), ..base() };
        let expected = match len {
            0..20 => Err(Drop(Why::IpHeader)),
            20..32 => Err(Drop(Why::GreHeader)),
            32..46 => Err(Drop(Why::InnerRunt)),
            _ if len <= full => Ok((5001, &frame.inner[..usize::from(len) - 32])),
            _ => Err(Drop(Why::IpHeader)),
        };
        assert_eq!(judge(&frame.bytes()), expected, "total length {len}");
    }
}

#[test]
fn each_value_of_a_header_field_has_its_verdict() {
    let accepted = |accept: bool, reason| if accept { None } else { Some(Drop(reason)) };
    let verdict = |frame: Frame| judge(&frame.bytes()).err();
    for value in 0..=u8::MAX {
        let frame = Frame { version_ihl: value, ..base() };
        assert_eq!(verdict(frame), accepted(value == 0x45, Why::IpHeader), "version and length {value:#x}");
        let frame = Frame { protocol: value, ..base() };
        assert_eq!(verdict(frame), (value != 47).then_some(Punt), "protocol {value}");
        let frame = Frame { source: Ipv4Addr::new(value, 1, 2, 3), ..base() };
        let source = !matches!(value, 0 | 127 | 224..=239);
        assert_eq!(verdict(frame), accepted(source, Why::IpSource), "source {value}.1.2.3");
        let inner = inner_with([1, 0x80, 0xc2, 0, 0, value], STATION);
        assert_eq!(verdict(Frame { inner, ..base() }), accepted(value > 15, Why::InnerReserved), "{value:x}");
    }
    for value in 0..=u16::MAX {
        let frame = Frame { ethertype: value, ..base() };
        assert_eq!(verdict(frame), (value != 0x0800).then_some(Punt), "ethertype {value:#x}");
        let frame = Frame { fragment: value, ..base() };
        assert_eq!(verdict(frame), accepted(value & 0x3fff == 0, Why::IpFragment), "fragment {value:#x}");
        let frame = Frame { gre_protocol: value, ..base() };
        assert_eq!(verdict(frame), accepted(value == 0x6558, Why::GreProtocol), "GRE protocol {value:#x}");
        let frame = Frame { gre_flags: value, ..base() };
        let flags: Option<Rejection> = match value {
            0x2000 | 0x3000 | 0xa000 | 0xb000 => None,
            0x0000 | 0x1000 | 0x8000 | 0x9000 => Some(Drop(Why::GreNoKey)),
            _ => Some(Drop(Why::GreHeader)),
        };
        assert_eq!(verdict(frame), flags, "GRE flags {value:#06x}");
        let frame = Frame { checksum_error: value, ..base() };
        assert_eq!(verdict(frame), accepted(value == 0, Why::IpHeader), "IP checksum off by {value}");
        let frame = Frame { gre_flags: C | K, gre_checksum_error: value, ..base() };
        assert_eq!(verdict(frame), accepted(value == 0, Why::GreChecksum), "GRE checksum off by {value}");
    }
}

#[test]
fn another_frame_than_the_judged_one_is_refused_without_panic() {
    let judged = Frame { gre_flags: C | K, inner: inner(1_400), ..base() }.bytes();
    let outer = wire::parse(&judged, &node()).expect("accepted");
    for len in 0..judged.len() {
        assert_eq!(outer.inner(&judged[..len]), Err(Why::InnerRunt), "{len} bytes");
    }
}

#[test]
fn labels_and_numbers_of_reasons_are_distinct_and_in_order() {
    let labels: BTreeSet<_> = DropReason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(labels.len(), DropReason::ALL.len());
    assert!(DropReason::ALL.iter().enumerate().all(|(i, reason)| reason.index() == i));
    assert!(CopyDropReason::ALL.iter().enumerate().all(|(i, reason)| reason.index() == i));
    let copies: Vec<_> = CopyDropReason::ALL.iter().map(|reason| reason.as_str()).collect();
    let expected = [
        "tep_unresolved",
        "mtu_exceeded",
        "no_mbuf",
        "no_headroom",
        "link_down",
        "tx_full",
        "fanout_aborted",
    ];
    assert_eq!(copies, expected);
    assert_eq!(format!("{:>12}|", DropReason::GreNoKey), "  gre_no_key|");
}
