//! Each reason to drop, by a real frame: its counter grows by one, no other does, and the next good frame gets through. The frames are
//! the engine's table, which runs there on a port without a device and on capture files.

use frames::{Parties, State};
use testkit::{
    frame::{at, broadcast, ethernet, overlay, patched},
    lab::{Host, Lab, NODE, NODE_MAC, mac_text},
    node::{Config, Metrics, Node},
    sender::Sender,
    sniffer::Sniffer,
};
use wire::{CopyDropReason, DropReason};

#[path = "../../dataplane/engine/tests/frames/mod.rs"]
mod frames;

const VNI: u32 = 5001;
const OTHER_VNI: u32 = 5002;
const DROPS: &str = "bcast_drops_total";
const COPY_DROPS: &str = "bcast_copy_drops_total";

fn drops(metrics: &Metrics) -> Vec<u64> {
    DropReason::ALL.iter().map(|reason| metrics.reason(DROPS, reason.as_str())).collect()
}

#[test]
fn every_reason_counts_its_frame_and_the_next_good_one_is_forwarded() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let hosts = [lab.host(), lab.host(), lab.host()];
    let teps = hosts.each_ref().map(|host| host.address);
    node.serve(VNI, &teps[..2]);
    node.serve(OTHER_VNI, &teps[1..]);
    let sniffer = Sniffer::copies_to(&hosts[1], lab.folder());
    let sender = Sender::new(&hosts[0].namespace, "eth0");
    let parties = Parties {
        node: NODE,
        node_mac: NODE_MAC,
        tep: hosts[0].address,
        tep_mac: hosts[0].mac,
        vni: VNI,
        other_vni: OTHER_VNI,
    };
    let mut good = 0;
    for reason in DropReason::ALL {
        // Other states have tests of their own, here and in limits.rs, fairness.rs and havip_path.rs. A device sends whole headers.
        let cases = parties.frames(reason).into_iter();
        for case in cases.filter(|case| case.state == State::Any && case.frame.len() >= at::IP) {
            let (what, frame) = (case.what, case.frame);
            let mut expected = drops(&node.metrics());
            expected[reason.index()] += 1;
            sender.send(&frame);
            good += 1;
            sender.send(&overlay(&hosts[0], VNI, &broadcast(2, good, 60)));
            let copies = sniffer.copies_until(2, good);
            assert_eq!(copies.len() as u64, good, "{reason}, {what}: it was forwarded");
            // The workers' counters are read while they count: the frame is out, its count may be a moment late.
            let metrics =
                node.wait_metrics(&format!("{reason}, {what}"), |metrics| drops(metrics) == expected);
            assert_eq!(metrics.sum(COPY_DROPS), 0);
        }
    }
    let metrics = node.wait_metrics("counters that add up", Metrics::adds_up);
    assert_eq!(metrics.sum("bcast_rx_accepted_total"), good);
}

/// DPDK's af_packet has the kernel reassemble fragments (PACKET_FANOUT_FLAG_DEFRAG) before it sees them, so that there
/// what arrives is the whole packet. af_xdp sees what is on the wire.
#[test]
fn fragments_are_counted_and_dropped_where_the_device_shows_them() {
    let lab = Lab::new();
    let node = Node::start(&lab, &Config::new(lab.folder()).set("port.device", "af_xdp:eth0"));
    let (from, to) = (lab.host(), lab.host());
    node.serve(VNI, &[from.address, to.address]);
    let sniffer = Sniffer::copies_to(&to, lab.folder());
    let sender = Sender::new(&from.namespace, "eth0");
    let good = overlay(&from, VNI, &broadcast(1, 0, 60));
    for (count, (what, flags)) in (1..).zip([("more fragments", [0x20, 0]), ("an offset", [0, 1])]) {
        sender.send(&patched(&good, &[(at::IP + 6, &flags)]));
        node.wait_metrics(what, |metrics| metrics.reason(DROPS, "ip_fragment") == count);
        sender.send(&overlay(&from, VNI, &broadcast(2, count, 60)));
        assert_eq!(sniffer.copies_until(2, count).len() as u64, count, "{what}: it was forwarded");
    }
}

/// Frames for the node itself that nobody answers.
fn send_to_the_node(from: &Host, count: usize) {
    let sender = Sender::new(&from.namespace, "eth0");
    let frame = ethernet(NODE_MAC, from.mac, testkit::frame::LOCAL_EXPERIMENT, &[0; 46]);
    (0..count).for_each(|_| sender.send(&frame));
}

#[test]
fn frames_for_the_node_over_the_punts_rate_are_counted_and_dropped() {
    let lab = Lab::new();
    let node = Node::start(&lab, &Config::new(lab.folder()).set("underlay.punt_rate", 1));
    let host = lab.host();
    let before = node.metrics();
    send_to_the_node(&host, 500);
    let metrics = node.wait_metrics("500 frames", |metrics| {
        metrics.sum("bcast_rx_frames_total") - before.sum("bcast_rx_frames_total") >= 500 && metrics.adds_up()
    });
    assert!(metrics.reason(DROPS, "punt_limited") >= 400, "{metrics:#?}");
    assert_eq!(metrics.sum(DROPS), metrics.reason(DROPS, "punt_limited"), "and for no other reason");
}

#[test]
fn without_a_tap_frames_for_the_node_are_counted_and_dropped() {
    let lab = Lab::new();
    let config =
        Config::new(lab.folder()).set("underlay.tap", "").set("underlay.gateway_mac", mac_text([2; 6]));
    let node = Node::start(&lab, &config);
    let host = lab.host();
    let before = node.metrics().reason(DROPS, "punt_off");
    send_to_the_node(&host, 5);
    // The host's own kernel may have something to say as well.
    node.wait_metrics("5 frames", |metrics| metrics.reason(DROPS, "punt_off") >= before + 5);
}

#[test]
fn a_copy_to_an_unresolved_tep_is_counted_and_once_it_is_resolved_it_is_sent() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let (from, to) = (lab.host(), lab.host());
    lab.set_plugged(&to, false);
    node.must(&format!("domain create {VNI}"));
    for host in [&from, &to] {
        node.must(&format!("tep add {}", host.address));
        node.must(&format!("domain join {VNI} {}", host.address));
    }
    let sender = Sender::new(&from.namespace, "eth0");
    sender.send(&overlay(&from, VNI, &broadcast(1, 1, 60)));
    node.wait_metrics("the counter", |metrics| metrics.reason(COPY_DROPS, "tep_unresolved") == 1);
    let sniffer = Sniffer::copies_to(&to, lab.folder());
    lab.set_plugged(&to, true);
    node.wait_resolved(&[to.address]);
    sender.send(&overlay(&from, VNI, &broadcast(1, 2, 60)));
    assert_eq!(sniffer.copies_until(1, 2).len(), 1);
    assert_eq!(node.metrics().reason(COPY_DROPS, "tep_unresolved"), 1);
}

#[test]
fn a_copy_that_is_longer_than_the_ports_mtu_is_counted_and_the_longest_that_is_not_is_sent() {
    let lab = Lab::new();
    let mtu = 1400_usize;
    let node = Node::start(&lab, &Config::new(lab.folder()).set("port.mtu", 1400));
    let (from, to) = (lab.host(), lab.host());
    node.serve(VNI, &[from.address, to.address]);
    let sniffer = Sniffer::copies_to(&to, lab.folder());
    let sender = Sender::new(&from.namespace, "eth0");
    // 20 bytes of IPv4 and 8 of GRE count against the MTU beside the inner frame. A sequence number is 4 bytes that
    // the copy does not have: so a frame that fits on its way here may come whose copy still fits, and never the
    // other way round; the port receives what is 4 bytes longer than it sends.
    sender.send(&overlay(&from, VNI, &broadcast(1, 1, mtu - 28 + 1)));
    sender.send(&overlay(&from, VNI, &broadcast(1, 2, mtu - 28)));
    assert_eq!(sniffer.copies_until(1, 2).len(), 1);
    node.wait_metrics("the counter", |metrics| metrics.reason(COPY_DROPS, "mtu_exceeded") == 1);
}

#[test]
fn every_reason_to_drop_a_copy_is_counted_from_the_start() {
    let lab = Lab::new();
    let metrics = Node::plain(&lab).metrics();
    for reason in CopyDropReason::ALL {
        assert_eq!(metrics.reason(COPY_DROPS, reason.as_str()), 0);
    }
}

#[test]
fn a_source_that_is_no_member_learns_nothing_and_reaches_nobody() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let hosts = [lab.host(), lab.host(), lab.host()];
    let teps = hosts.each_ref().map(|host| host.address);
    node.serve(VNI, &teps[..2]);
    node.must(&format!("tep add {}", teps[2]));
    let sniffer = Sniffer::copies_to(&hosts[1], lab.folder());
    let outsider = Sender::new(&hosts[2].namespace, "eth0");
    outsider.send(&overlay(&hosts[2], VNI, &broadcast(3, 1, 60)));
    node.wait_metrics("the counter", |metrics| metrics.reason(DROPS, "tep_not_member") == 1);
    Sender::new(&hosts[0].namespace, "eth0").send(&overlay(&hosts[0], VNI, &broadcast(1, 1, 60)));
    let copies = sniffer.copies_until(1, 1);
    assert_eq!(copies.len(), 1);
    assert_eq!(copies[0].1.source, NODE);
}
