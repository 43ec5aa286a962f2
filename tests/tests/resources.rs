//! Packet buffers all come back, and what is counted as sent was sent, however many copies a frame makes.

use std::collections::BTreeMap;

use testkit::{
    frame::{Copy, broadcast, overlay, tag_and_number},
    lab::{Lab, NODE},
    node::{Config, Metrics, Node},
    process::wait_for,
    sender::Sender,
    sniffer::Sniffer,
};

const VNI: u32 = 5001;
/// TEPs beside the one that sends; they are all behind one gateway and need not exist.
const MEMBERS: usize = 500;
const FRAMES: u64 = 40;

/// A burst of frames of `length` bytes to many members at once: more copies than a ring takes.
fn every_copy_is_sent_or_counted(length: usize, share_payload_from: i64) {
    let lab = Lab::new();
    let config = Config::new(lab.folder())
        .set("underlay.gateway_mac", "02:00:00:00:00:aa")
        .set("limits.enabled", false)
        .set("replication.share_payload_from", share_payload_from);
    let mut node = Node::start(&lab, &config);
    let from = lab.host();
    let teps: Vec<_> = (0..MEMBERS).map(|n| format!("198.18.{}.{}", 100 + n / 200, 1 + n % 200)).collect();
    let listed = teps.iter().map(|tep| format!("{{address: {tep}}}")).collect::<Vec<_>>().join(", ");
    let text = format!(
        "teps: [{{address: {source}}}, {listed}]\ndomains: [{{vni: {VNI}, members: [{source}, {members}]}}]\n",
        source = from.address,
        members = teps.join(", "),
    );
    let file = lab.folder().join("members.yaml");
    std::fs::write(&file, text).expect("the folder is ours");
    node.must(&format!("apply -f {}", file.display()));

    let sniffer = Sniffer::start(
        &lab.switch,
        "node",
        &format!("proto gre and src host {NODE}"),
        lab.folder(),
        "copies",
    );
    let before = node.metrics();
    let sender = Sender::new(&from.namespace, "eth0");
    for number in 1..=FRAMES {
        sender.send(&overlay(&from, VNI, &broadcast(1, number, length)));
    }
    let metrics = node.wait_metrics("all frames", |metrics| {
        metrics.sum("bcast_rx_accepted_total") == FRAMES && metrics.adds_up()
    });
    let wanted = FRAMES * u64::try_from(MEMBERS).expect("few");
    assert_eq!(metrics.sum("bcast_copies_wanted_total"), wanted);
    let sent = metrics.sum("bcast_tx_copies_total");
    println!("{sent} of {wanted} copies of {length} bytes sent");

    let seen = sniffer.wait_for_count(usize::try_from(sent).expect("few"));
    let mut times = BTreeMap::new();
    for copy in seen.iter().filter_map(|seen| Copy::parse(&seen.bytes)) {
        let (_, number) = tag_and_number(&copy.inner).expect("a frame of ours");
        assert_eq!(copy.inner, broadcast(1, number, length), "byte for byte");
        *times.entry((copy.destination, number)).or_insert(0) += 1;
    }
    assert!(times.values().all(|times| *times == 1), "no member gets a frame twice");
    assert_eq!(times.len() as u64, sent, "what is counted as sent was sent");
    wait_for("the packet buffers to come back", || {
        (node.metrics().sum("bcast_mbufs_in_use") <= before.sum("bcast_mbufs_in_use")).then_some(())
    });
    assert!(node.stop().success(), "{}", node.log());
    assert!(Metrics::adds_up(&metrics));
}

#[test]
fn twenty_thousand_short_copies_are_sent_or_counted_and_all_buffers_come_back() {
    every_copy_is_sent_or_counted(60, 256);
}

#[test]
fn twenty_thousand_copies_that_share_their_payload_are_sent_or_counted_and_all_buffers_come_back() {
    every_copy_is_sent_or_counted(1000, 256);
}

#[test]
fn twenty_thousand_long_copies_without_sharing_are_sent_or_counted_and_all_buffers_come_back() {
    every_copy_is_sent_or_counted(250, 10_000);
}
