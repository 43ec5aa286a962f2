//! Each reason to drop, by a real frame: its counter grows by one, no other does, and the next good frame gets through.

use testkit::{
    frame::{at, broadcast, ethernet, ipv4, overlay, overlay_from, patched},
    icmp::{redirect, redirect6},
    lab::{Host, Lab, NODE, NODE_MAC, mac_text},
    node::{Config, Metrics, Node},
    sender::Sender,
    sniffer::Sniffer,
};
use wire::{CopyDropReason, DropReason};

const VNI: u32 = 5001;
const OTHER_VNI: u32 = 5002;
const DROPS: &str = "bcast_drops_total";
const COPY_DROPS: &str = "bcast_copy_drops_total";

/// Frames that must be dropped for this reason, each with what is wrong in it.
///
/// No wildcard: a reason that is new does not compile without frames.
fn frames(reason: DropReason, from: &Host) -> Vec<(&'static str, Vec<u8>)> {
    let good = overlay(from, VNI, &broadcast(1, 0, 60));
    let patch = |offset: usize, bytes: &[u8]| patched(&good, &[(offset, bytes)]);
    let source = |address: [u8; 4]| overlay_from(address.into(), from.mac, VNI, &broadcast(1, 0, 60));
    let gre = |payload: &[u8]| ethernet(NODE_MAC, from.mac, 0x0800, &ipv4(from.address, NODE, 47, payload));
    let inner = |inner: &[u8]| overlay(from, VNI, inner);
    match reason {
        DropReason::Runt => vec![
            ("IPv4 and nothing else", good[..at::IP].to_vec()),
            ("1 byte of IPv4 header", good[..=at::IP].to_vec()),
            ("19 bytes of IPv4 header", good[..at::IP + 19].to_vec()),
        ],
        DropReason::IpHeader => {
            let length = u8::try_from(good.len() - at::IP).expect("it is short");
            let mut unsealed = good.clone();
            unsealed[at::IP + 10] ^= 1;
            let mut options = good.clone();
            options.splice(at::GRE..at::GRE, [1, 1, 1, 1]);
            options[at::IP] = 0x46;
            options[at::IP + 3] += 4;
            options[at::IP + 10..at::IP + 12].fill(0);
            let sum = testkit::frame::checksum(&options[at::IP..at::GRE + 4]).to_be_bytes();
            options[at::IP + 10..at::IP + 12].copy_from_slice(&sum);
            vec![
                ("version 6", patch(at::IP, &[0x65])),
                ("a header of 16 bytes", patch(at::IP, &[0x44])),
                ("a header past the end", patch(at::IP, &[0x4f])[..at::IP + 24].to_vec()),
                ("a wrong checksum", unsealed),
                ("a total length under the header's", patch(at::IP + 2, &[0, 19])),
                ("a total length over the frame's", patch(at::IP + 2, &[0, length + 1])),
                ("TTL 0", patch(at::IP + 8, &[0])),
                ("options", options),
            ]
        }
        DropReason::IpSource => vec![
            ("0/8", source([0, 1, 2, 3])),
            ("127/8", source([127, 0, 0, 1])),
            ("multicast", source([224, 0, 0, 18])),
            ("broadcast", source([255; 4])),
            ("the node's own", source(NODE.octets())),
        ],
        DropReason::GreHeader => vec![
            ("3 bytes", gre(&[0x20, 0, 0x65])),
            ("6 bytes with a key", gre(&[0x20, 0, 0x65, 0x58, 0, 0])),
            ("version 1", patch(at::GRE + 1, &[1])),
            ("a reserved bit", patch(at::GRE, &[0x24])),
            ("the routing bit", patch(at::GRE, &[0x60])),
        ],
        DropReason::GreProtocol => vec![
            ("IPv4 in GRE", patch(at::GRE + 2, &[0x08, 0x00])),
            ("ERSPAN", patch(at::GRE + 2, &[0x88, 0xbe])),
        ],
        DropReason::GreNoKey => vec![("no key", patch(at::GRE, &[0]))],
        DropReason::TepUnknown => vec![("a stranger", source([198, 18, 0, 77]))],
        DropReason::VniUnknown => {
            vec![("no such domain", overlay(from, 4_294_967_295, &broadcast(1, 0, 60)))]
        }
        DropReason::TepNotMember => {
            vec![("another's domain", overlay(from, OTHER_VNI, &broadcast(1, 0, 60)))]
        }
        DropReason::GreChecksum => {
            let header = [&[0xa0, 0, 0x65, 0x58, 0xde, 0xad, 0, 0][..], &VNI.to_be_bytes()].concat();
            vec![("a wrong checksum", gre(&[header, broadcast(1, 0, 60)].concat()))]
        }
        DropReason::InnerRunt => vec![("13 bytes", inner(&[0xff; 13])), ("nothing", inner(&[]))],
        DropReason::InnerUnicast => vec![("unicast", inner(&ethernet([2; 6], [2; 6], 0x0800, &[0; 46])))],
        DropReason::InnerReserved => [("BPDU", 0), ("PAUSE", 1), ("LACP", 2), ("LLDP", 14), ("the last", 15)]
            .map(|(what, last)| {
                (what, inner(&ethernet([1, 0x80, 0xc2, 0, 0, last], [2; 6], 0x0800, &[0; 46])))
            })
            .into(),
        DropReason::InnerSource => vec![
            ("multicast", inner(&ethernet([0xff; 6], [1, 0, 0x5e, 0, 0, 1], 0x0800, &[0; 46]))),
            ("zero", inner(&ethernet([0xff; 6], [0; 6], 0x0800, &[0; 46]))),
        ],
        // Many more forms are tested in dataplane/wire/tests/redirects.rs.
        DropReason::PuntRedirect => {
            let (far, gateway) = ([203, 0, 113, 9].into(), [198, 18, 0, 2].into());
            let plain = redirect(from, far, gateway);
            let mut tagged = plain.clone();
            tagged.splice(12..12, [0x81, 0, 0xe0, 0]);
            vec![
                ("a redirect", plain),
                ("a redirect behind a priority tag", tagged),
                ("a redirect of IPv6", redirect6(from, "2001:db8::9".parse().expect("one"), [2; 6])),
            ]
        }
        // They depend on the device or the configuration: each has a test below.
        DropReason::IpFragment | DropReason::PuntLimited | DropReason::PuntOff => Vec::new(),
        // They take a virtual IP: see tests/havip_path.rs.
        DropReason::GarpSpoof | DropReason::VrrpSpoof => Vec::new(),
        // They take more than one frame: see tests/limits.rs and tests/fairness.rs.
        DropReason::TepRate
        | DropReason::DomainRate
        | DropReason::NodeRate
        | DropReason::ControlRate
        | DropReason::JobFull => Vec::new(),
    }
}

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
    let mut good = 0;
    for reason in DropReason::ALL {
        for (what, frame) in frames(reason, &hosts[0]) {
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
