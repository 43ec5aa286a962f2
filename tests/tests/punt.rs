//! The way to the node's kernel, with a real one: floods starve nobody, strangers fill no table, and what the underlay tells is shown.

use std::{
    net::Ipv4Addr,
    thread::sleep,
    time::{Duration, Instant},
};

use frames::Parties;
use testkit::{
    frame::{broadcast, overlay},
    icmp::link_local,
    lab::{Host, Lab, NODE, NODE_MAC, mac_text},
    node::{Config, Metrics, Node},
    sender::Sender,
    sniffer::Sniffer,
};

#[path = "../../dataplane/engine/tests/frames/mod.rs"]
mod frames;

const VNI: u32 = 5001;
const DROPS: &str = "bcast_drops_total";
const KINDS: &str = "bcast_punted_frames_total";
/// Strangers that become neighbours at once, and in each minute from then on.
const STRANGERS: usize = 64;
/// Forged addresses of each kind.
const FORGED: u16 = 700;

fn parties(host: &Host) -> Parties {
    Parties { node: NODE, node_mac: NODE_MAC, tep: host.address, tep_mac: host.mac, vni: VNI, other_vni: 0 }
}

fn ping(from: Ipv4Addr, mac: [u8; 6]) -> Vec<u8> {
    let message = [8, 0, 0xf7, 0xff, 0, 0, 0, 0];
    frames::ethernet(NODE_MAC, mac, 0x0800, &frames::ipv4(from, NODE, 1, &message))
}

fn kind(metrics: &Metrics, kind: &str) -> u64 {
    metrics.labelled(KINDS, "kind", kind)
}

/// Entries of the node's neighbour table, of one family.
fn neighbours(lab: &Lab, family: &str) -> Vec<String> {
    let all = lab.node.ip(&format!("{family} neigh show dev bcast0 nud all"));
    // Groups and the host's own address are entries without an address that anyone resolves.
    all.lines().filter(|line| !line.contains("NOARP")).map(str::to_owned).collect()
}

/// Most entries of strangers that there can be so long after the first forged frame, with one that waits in each bucket.
fn bound(start: Instant) -> usize {
    STRANGERS + 2 + usize::try_from(start.elapsed().as_secs()).expect("a test is short") * STRANGERS / 60
}

#[test]
fn forged_arp_makes_no_neighbour_and_who_forges_packets_of_the_link_makes_few() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let (tep, forger, monitor, late) = (lab.host(), lab.host(), lab.host(), lab.host());
    node.serve(VNI, &[tep.address]);
    assert!(monitor.namespace.succeeds("ping -c 1 -W 5 198.18.0.254"), "a stranger can ping the node");
    let before = neighbours(&lab, "-4");
    let sender = Sender::new(&forger.namespace, "eth0");

    let forged = |number: u16| Ipv4Addr::from_bits(0xc612_8000 + u32::from(number));
    let answered = kind(&node.metrics(), "answered");
    for number in 0..FORGED {
        sender.send(&parties(&tep).request(forged(number)));
        sleep(Duration::from_micros(200));
    }
    node.wait_metrics("answers to forged requests", |metrics| {
        kind(metrics, "answered") >= answered + u64::from(FORGED)
    });
    let after = neighbours(&lab, "-4");
    assert!(after.len() <= before.len(), "{before:#?}\n{after:#?}");
    assert!(late.namespace.succeeds("ping -c 1 -W 5 198.18.0.254"), "a stranger is kept out");

    let start = Instant::now();
    let already = neighbours(&lab, "-4").len();
    let stranger = |metrics: &Metrics| metrics.reason(DROPS, "punt_stranger");
    for number in 0..FORGED {
        sender.send(&ping(forged(number), forger.mac));
        sleep(Duration::from_micros(200));
    }
    let most = u64::from(FORGED) - bound(start) as u64;
    node.wait_metrics("forged packets", |metrics| stranger(metrics) >= most);
    let entries = neighbours(&lab, "-4");
    assert!(entries.len() > already, "those that get through are answered");
    assert!(entries.len() <= already + bound(start), "{} entries", entries.len());
    for host in [&monitor, &late] {
        assert!(host.namespace.succeeds("ping -c 1 -W 5 198.18.0.254"), "a host that is known is kept out");
    }
    node.wait_resolved(&[tep.address]);
}

#[test]
fn forged_hosts_of_ipv6_make_few_neighbours_too() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let forger = lab.host();
    let own = link_local(NODE_MAC);
    testkit::process::wait_for("the TAP's link-local address", || {
        lab.node.ip("-o -6 addr show dev bcast0 -tentative").contains(&own.to_string()).then_some(())
    });
    let (start, sender) = (Instant::now(), Sender::new(&forger.namespace, "eth0"));
    for number in 0..FORGED {
        let [high, low] = number.to_be_bytes();
        let from = link_local([2, 9, 9, 9, high, low]);
        // A solicitation, and a ping.
        for body in
            [[&[135, 0, 0, 0, 0, 0, 0, 0][..], &own.octets()].concat(), vec![128, 0, 0, 0, 0, 0, 0, 1]]
        {
            sender.send(&icmpv6(from.octets(), own.octets(), [2, 9, 9, 9, high, low], body));
        }
        sleep(Duration::from_micros(200));
    }
    let most = 2 * (u64::from(FORGED) - bound(start) as u64);
    node.wait_metrics("forged packets", |metrics| metrics.reason(DROPS, "punt_stranger") >= most);
    let entries = neighbours(&lab, "-6");
    assert!(entries.len() > STRANGERS / 2, "those that get through are answered: {entries:#?}");
    assert!(entries.len() <= bound(start), "{} entries", entries.len());
}

/// A message with the right checksum and hop limit.
fn icmpv6(from: [u8; 16], to: [u8; 16], mac: [u8; 6], mut message: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("it is short").to_be_bytes();
    let pseudo = [&from[..], &to, &[0, 0], &length, &[0, 0, 0, 58], &message].concat();
    message[2..4].copy_from_slice(&frames::checksum(&pseudo).to_be_bytes());
    let packet = [&[0x60, 0, 0, 0][..], &length, &[58, 255], &from, &to, &message].concat();
    frames::ethernet(NODE_MAC, mac, 0x86dd, &packet)
}

#[test]
fn a_flood_of_pings_to_the_node_costs_no_copy_and_no_tep_its_next_hop() {
    const RATE: u32 = 200;
    // Longer than the kernel keeps a neighbour that does not answer.
    const TURNS: u32 = 15_000;
    let lab = Lab::new();
    let node = Node::start(&lab, &Config::new(lab.folder()).set("underlay.punt_rate", i64::from(RATE)));
    let (from, to, flooder) = (lab.host(), lab.host(), lab.host());
    node.serve(VNI, &[from.address, to.address]);
    let sniffer = Sniffer::copies_to(&to, lab.folder());
    let (overlay_sender, flood) =
        (Sender::new(&from.namespace, "eth0"), Sender::new(&flooder.namespace, "eth0"));
    let frame = ping(flooder.address, flooder.mac);
    for turn in 0..TURNS {
        (0..RATE / 10).for_each(|_| flood.send(&frame));
        if turn % 100 == 0 {
            overlay_sender.send(&overlay(&from, VNI, &broadcast(1, u64::from(turn / 100), 60)));
        }
        sleep(Duration::from_millis(1));
    }
    let metrics = node.wait_metrics("counters that add up", Metrics::adds_up);
    let accepted = metrics.sum("bcast_rx_accepted_total");
    assert!(accepted >= u64::from(TURNS) / 200, "{metrics:#?}");
    assert_eq!(metrics.sum("bcast_copy_drops_total"), 0, "{metrics:#?}");
    assert_eq!(metrics.sum("bcast_tx_copies_total"), accepted);
    assert!(metrics.reason(DROPS, "punt_limited") > u64::from(TURNS), "{metrics:#?}");
    let last = u64::from(TURNS) / 100 + 1;
    overlay_sender.send(&overlay(&from, VNI, &broadcast(2, last, 60)));
    assert_eq!(sniffer.copies_until(2, last).len() as u64, accepted + 1);
    assert!(kind(&metrics, "neighbours") > 0, "{metrics:#?}");
}

#[test]
fn another_host_with_the_nodes_address_is_named_by_its_mac_in_stats_and_in_the_log() {
    let lab = Lab::new();
    let mut node = Node::plain(&lab);
    let host = lab.host();
    let sender = Sender::new(&host.namespace, "eth0");
    (0..20).for_each(|_| sender.send(&frames::garp(host.mac, NODE)));
    node.wait_metrics("conflicts", |metrics| metrics.sum("bcast_address_conflicts_total") == 20);
    node.process().wait_for_lines("another host has this node's address", 1);
    let mac = mac_text(host.mac);
    let log = node.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains("another host has")).collect();
    assert!(lines.len() == 1 && lines[0].contains(&mac), "{log}");
    let shown = node.must("stats");
    let words = format!("another host has the node's address {NODE}: MAC {mac}, 20 frames");
    assert!(shown.contains(&words), "{shown}");
    let json: serde_json::Value = serde_json::from_str(&node.must("-o json stats")).expect("it is JSON");
    assert_eq!(json["address_conflict"]["mac"], mac, "{json}");
}

#[test]
fn icmp_errors_about_copies_are_shown_at_their_tep() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let (from, to) = (lab.host(), lab.host());
    node.serve(VNI, &[from.address, to.address]);
    let sender = Sender::new(&from.namespace, "eth0");
    for (kind, code) in [(3, 1), (3, 4), (3, 4), (11, 0)] {
        let copy = frames::ipv4(NODE, to.address, 47, &[0x20, 0, 0x65, 0x58, 0, 0, 0x13, 0x89]);
        let mut message = [&[kind, code, 0, 0, 0, 0, 5, 0], &copy[..]].concat();
        let sum = frames::checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
        let packet = frames::ipv4(from.address, NODE, 1, &message);
        sender.send(&frames::ethernet(NODE_MAC, from.mac, 0x0800, &packet));
    }
    let errors = |metrics: &Metrics, kind: &str| metrics.labelled("bcast_icmp_errors_total", "type", kind);
    node.wait_metrics("the errors", |metrics| {
        ["unreachable", "fragmentation_needed", "time_exceeded"].map(|kind| errors(metrics, kind))
            == [1, 2, 1]
    });
    let values = |tep: &Host| {
        let shown = node.must(&format!("tep show {}", tep.address));
        let lines = shown.lines().skip_while(|line| !line.starts_with("ICMP ERRORS")).skip(1);
        lines.filter_map(|line| line.split_whitespace().last()?.parse().ok()).collect::<Vec<u64>>()
    };
    assert_eq!((values(&to), values(&from)), (vec![1, 2, 1], Vec::new()));
    node.wait_resolved(&[to.address]);
}
