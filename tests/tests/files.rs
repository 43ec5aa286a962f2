//! From one capture file to another, without privileges and without hugepages: what comes out is golden.

use testkit::{
    frame::{self, broadcast, ethernet, overlay_from},
    lab::{Lab, NODE},
    node::{Config, Metrics, Node},
    sniffer::{read, write},
};

/// One copy a line, in hex; written by scapy (`golden.py` beside it).
const GOLDEN: &str = include_str!("golden/copies.hex");

/// Frames of the input: three TEPs of network 5001, two of network 4294967295, and frames that are dropped.
fn input() -> Vec<Vec<u8>> {
    let from = |last: u8, vni: u32, inner: &[u8]| {
        overlay_from([198, 18, 0, last].into(), [2, 0, 0, 0, 0, last], vni, inner)
    };
    let arp = ethernet([0xff; 6], [2, 0, 0, 0, 1, 1], 0x0806, &[0x11; 28]);
    let unicast = ethernet([2; 6], [2, 0, 0, 0, 1, 1], 0x0800, &[0; 46]);
    vec![
        from(1, 5001, &arp),
        from(2, 5001, &broadcast(7, 1, 60)),
        frame::patched(&from(3, 5001, &broadcast(7, 2, 255)), &[(frame::at::IP + 1, &[0xb8])]),
        from(1, 5001, &broadcast(7, 3, 256)),
        from(1, 5001, &broadcast(7, 4, 1400)),
        from(1, u32::MAX, &broadcast(7, 5, 61)),
        from(1, 5001, &unicast),
        from(3, u32::MAX, &arp),
        from(4, 5001, &arp),
    ]
}

#[test]
fn a_capture_file_in_gives_the_golden_one_out_for_a_user_without_privileges() {
    let lab = Lab::new();
    let config = Config::new(lab.folder())
        .set("underlay.tap", "")
        .set("underlay.gateway_mac", "02:00:00:00:00:aa")
        .unprivileged();
    // The domains are made first: a capture file is read as soon as the port is there.
    let mut node = Node::start(&lab, &config.clone().set("port.device", "vdev:net_null0,no-rx=1"));
    for tep in 1..=3 {
        node.must(&format!("tep add 198.18.0.{tep}"));
    }
    for line in ["create 5001", "create 4294967295", "join 5001 198.18.0.1 198.18.0.2 198.18.0.3"] {
        node.must(&format!("domain {line}"));
    }
    node.must("domain join 4294967295 198.18.0.1 198.18.0.2");
    assert!(node.stop().success(), "{}", node.log());

    let (incoming, outgoing) = (lab.folder().join("in.pcap"), lab.folder().join("out.pcap"));
    let input = input();
    write(&incoming, &input);
    let device = format!("pcap:{},{}", incoming.display(), outgoing.display());
    let mut node = Node::start(&lab, &config.set("port.device", device));
    let all = u64::try_from(input.len()).expect("few");
    let metrics = node.wait_metrics("all frames", |metrics| {
        metrics.sum("bcast_rx_frames_total") == all && metrics.adds_up()
    });
    assert!(metrics.adds_up());
    for (reason, count) in [("inner_unicast", 1), ("tep_not_member", 1), ("tep_unknown", 1)] {
        assert_eq!(metrics.reason("bcast_drops_total", reason), count, "{reason}");
    }
    assert!(node.stop().success(), "{}", node.log());

    // The copies carry the MAC address of the port, which a file does not have: net_pcap makes one up.
    let copies = read(&outgoing).into_iter().map(|seen| {
        let mut frame = seen.bytes;
        frame[6..12].fill(0);
        frame.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    });
    let (copies, golden): (Vec<_>, Vec<_>) = (copies.collect(), GOLDEN.lines().collect());
    assert_eq!(copies, golden, "copies of {NODE}");
    assert!(Metrics::adds_up(&metrics));
}
