//! One copy for each other member, and each of them right to the last byte.

use testkit::{
    frame::{self, Copy, KEY_PRESENT, at, broadcast, ethernet, overlay, patched},
    lab::{Host, Lab},
    node::{Config, Node},
    sender::Sender,
    sniffer::Sniffer,
};

const VNI: u32 = 5001;
/// A network of which all are members, for the frames that mark the end.
const FENCE: u32 = 9000;

/// Sends `frames` from the first host, then a fence to every other host (from the first) and to the first (from the
/// last), and gives what each host received before its fence.
fn copies_of(lab: &Lab, hosts: &[Host], frames: &[Vec<u8>]) -> Vec<Vec<Copy>> {
    let sniffers: Vec<_> = hosts.iter().map(|host| Sniffer::copies_to(host, lab.folder())).collect();
    let (first, last) = (&hosts[0], &hosts[hosts.len() - 1]);
    let sender = Sender::new(&first.namespace, "eth0");
    frames.iter().for_each(|frame| sender.send(frame));
    sender.send(&overlay(first, FENCE, &broadcast(FENCE, 1, 60)));
    sniffers[1..].iter().for_each(|sniffer| drop(sniffer.copies_until(FENCE, 1)));
    Sender::new(&last.namespace, "eth0").send(&overlay(last, FENCE, &broadcast(FENCE, 2, 60)));
    let copies = sniffers.iter().enumerate().map(|(host, sniffer)| {
        let fence = if host == 0 { 2 } else { 1 };
        let copies = sniffer.copies_until(FENCE, fence);
        copies.into_iter().map(|(_, copy)| copy).filter(|copy| copy.key != FENCE).collect()
    });
    copies.collect()
}

/// Four members, of whom the last is in the fence's network alone.
fn hosts(lab: &Lab, node: &Node) -> Vec<Host> {
    let hosts: Vec<_> = (0..4).map(|_| lab.host()).collect();
    let teps: Vec<_> = hosts.iter().map(|host| host.address).collect();
    node.serve(FENCE, &teps);
    node.serve(VNI, &teps[..3]);
    hosts
}

/// Inner frames of 60 to 1,400 bytes, to broadcast and multicast, with and without VLAN tags.
fn inner_frames() -> Vec<Vec<u8>> {
    let mut frames: Vec<_> = [60, 61, 64, 128, 254, 255, 256, 257, 512, 1000, 1399, 1400]
        .map(|length| broadcast(1, 0, length))
        .into();
    let source = [2, 0, 0, 0, 9, 9];
    frames.push(ethernet([1, 0, 0x5e, 0, 0, 18], source, 0x0800, &[0x45; 46]));
    frames.push(ethernet([0x33, 0x33, 0, 0, 0, 1], source, 0x86dd, &[0x60; 700]));
    frames.push(ethernet([0xff; 6], source, 0x8100, &[0x20, 0x2a, 0x08, 0x06, 1, 2, 3, 4]));
    frames.push(ethernet([0xff; 6], source, 0x88a8, &[0, 7, 0x81, 0, 0, 9, 0x08, 0x06, 5, 6, 7, 8]));
    frames.push(ethernet([0xff; 6], source, 0x0806, &[]));
    frames
}

fn every_other_member_gets_one_copy(outer_source: &str) {
    let lab = Lab::new();
    let node = Node::start(&lab, &Config::new(lab.folder()).set("replication.outer_source", outer_source));
    let hosts = hosts(&lab, &node);
    let before = node.metrics();
    let inner = inner_frames();
    let sent: Vec<_> = inner.iter().map(|inner| overlay(&hosts[0], VNI, inner)).collect();
    let received = copies_of(&lab, &hosts, &sent);
    for member in [1, 2] {
        let mut expected: Vec<_> =
            inner.iter().map(|inner| Copy::expected(&hosts[member], VNI, inner)).collect();
        if outer_source == "origin" {
            expected.iter_mut().for_each(|copy| copy.source = hosts[0].address);
        }
        // ARP may overtake the others; among themselves all frames stay in order.
        let arp = |copy: &Copy| wire::Class::of(&copy.inner) == wire::Class::Control;
        expected.sort_by_key(|copy| !arp(copy));
        let mut copies = received[member].clone();
        copies.sort_by_key(|copy| !arp(copy));
        assert_eq!(copies, expected);
    }
    assert_eq!(received[0], [], "none goes back to the source");
    assert_eq!(received[3], [], "none goes to a TEP that is no member");
    // Frames that the hosts' kernels send by themselves come and go at any time, and are punted.
    let after = node.wait_metrics("counters that add up, and all buffers", |metrics| {
        metrics.adds_up() && metrics.sum("bcast_mbufs_in_use") == 0
    });
    let made = |name: &str| after.sum(name) - before.sum(name);
    let frames = u64::try_from(inner.len()).expect("few");
    assert_eq!(made("bcast_rx_accepted_total"), frames + 2, "the frames and two fences");
    assert_eq!(made("bcast_tx_copies_total"), 2 * frames + 2 * 3);
    assert_eq!((made("bcast_drops_total"), made("bcast_copy_drops_total")), (0, 0));
}

#[test]
fn every_other_member_gets_exactly_one_identical_frame_and_nobody_else_any() {
    every_other_member_gets_one_copy("node");
}

#[test]
fn with_outer_source_origin_each_copy_comes_from_the_tep_that_sent_the_frame() {
    every_other_member_gets_one_copy("origin");
}

#[test]
fn what_is_accepted_in_the_outer_header_comes_out_as_decided() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let hosts = hosts(&lab, &node);
    let inner = broadcast(1, 0, 60);
    let good = overlay(&hosts[0], VNI, &inner);
    let gre = |header: &[u8]| {
        let packet = frame::ipv4(hosts[0].address, testkit::lab::NODE, 47, &[header, &inner].concat());
        ethernet(testkit::lab::NODE_MAC, hosts[0].mac, 0x0800, &packet)
    };
    let vni = VNI.to_be_bytes();
    let unsummed = [&[0x80 | KEY_PRESENT, 0, 0x65, 0x58, 0, 0, 0xab, 0xcd], &vni[..], &inner].concat();
    let sum = frame::checksum(&unsummed).to_be_bytes();
    let cases: Vec<(&str, Vec<u8>, u8)> = vec![
        ("as Open vSwitch sends it", good.clone(), 0),
        ("TOS and ECN bits are kept", patched(&good, &[(at::IP + 1, &[0xb9])]), 0xb9),
        ("id, no DF, TTL 1 are not", patched(&good, &[(at::IP + 4, &[9, 9, 0, 0, 1])]), 0),
        ("Ethernet padding is trimmed", [&good[..], &[0xee; 30]].concat(), 0),
        ("a sequence number is ignored", gre(&[&[0x30, 0, 0x65, 0x58], &vni[..], &[0, 0, 0, 7]].concat()), 0),
        (
            "a right checksum, any Reserved1",
            gre(&[&[0xa0, 0, 0x65, 0x58], &sum[..], &[0xab, 0xcd], &vni].concat()),
            0,
        ),
    ];
    let sent: Vec<_> = cases.iter().map(|(_, frame, _)| frame.clone()).collect();
    let received = copies_of(&lab, &hosts, &sent);
    for member in [1, 2] {
        assert_eq!(received[member].len(), cases.len(), "{:#?}", node.metrics());
        for (copy, (what, _, tos)) in received[member].iter().zip(&cases) {
            let expected = Copy { tos: *tos, ..Copy::expected(&hosts[member], VNI, &inner) };
            assert_eq!(*copy, expected, "{what}");
        }
    }
}
