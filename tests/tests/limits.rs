//! Limits: what is over one is dropped and counted, and nobody else loses anything.
//!
//! A rate of 1 a second is spent by the first frame, which passes on credit. The next one passes when that is paid back: after a
//! second where a frame costs one, and after its 480 bits' 480 seconds where it is bits that count.

use std::{fs, time::Instant};

use nix::sys::signal::Signal;
use testkit::{
    frame::{broadcast, ethernet, overlay},
    lab::{Host, Lab},
    node::{Config, Metrics, Node},
    process::wait_for,
    sender::Sender,
    sniffer::Sniffer,
};
use wire::DropReason;

const VNI: u32 = 5001;
const OTHER_VNI: u32 = 5002;
const DROPS: &str = "bcast_drops_total";
const ACCEPTED: &str = "bcast_rx_accepted_total";

/// An ARP request, as far as anyone on the way looks.
fn arp() -> Vec<u8> {
    ethernet([0xff; 6], [2, 0, 0, 0, 9, 9], 0x0806, &[0; 46])
}

fn data() -> Vec<u8> {
    broadcast(VNI, 0, 60)
}

/// Fate of frames.
#[derive(Debug, PartialEq)]
struct Fate {
    passed: u64,
    /// Drops by reason, zero counts left out.
    drops: Vec<(DropReason, u64)>,
}

/// Sends `count` frames with this inner one, and says what became of them.
fn send(node: &Node, from: &Host, vni: u32, inner: &[u8], count: u64) -> Fate {
    let before = node.metrics();
    let sender = Sender::new(&from.namespace, "eth0");
    let frame = overlay(from, vni, inner);
    (0..count).for_each(|_| sender.send(&frame));
    let decided = |metrics: &Metrics| metrics.sum(ACCEPTED) + metrics.sum(DROPS);
    let after = node.wait_metrics("all frames", |metrics| {
        decided(metrics) == decided(&before) + count && metrics.adds_up()
    });
    let dropped = |reason: &str| after.reason(DROPS, reason) - before.reason(DROPS, reason);
    let drops = DropReason::ALL.map(|reason| (reason, dropped(reason.as_str())));
    Fate {
        passed: after.sum(ACCEPTED) - before.sum(ACCEPTED),
        drops: drops.into_iter().filter(|(_, count)| *count > 0).collect(),
    }
}

fn all_pass(count: u64) -> Fate {
    Fate { passed: count, drops: Vec::new() }
}

fn one_passes(count: u64, reason: DropReason) -> Fate {
    Fate { passed: 1, drops: vec![(reason, count - 1)] }
}

#[test]
fn each_limit_drops_what_is_over_it_for_its_own_reason() {
    let lab = Lab::new();
    let (from, to) = (lab.host(), lab.host());
    let frames = 50;
    for (key, inner, reason) in [
        ("limits.tep_frames", data(), DropReason::TepRate),
        ("limits.domain_copies", data(), DropReason::DomainRate),
        ("limits.domain_bits", data(), DropReason::DomainRate),
        ("limits.node_copies", data(), DropReason::NodeRate),
        ("limits.control_copies", arp(), DropReason::ControlRate),
    ] {
        let node = Node::start(&lab, &Config::new(lab.folder()).set(key, 1));
        node.serve(VNI, &[from.address, to.address]);
        let start = Instant::now();
        let fate = send(&node, &from, VNI, &inner, frames);
        // One on credit, one for each second, and one that a full bucket holds.
        let at_most = 2 + start.elapsed().as_secs() + 1;
        assert!((1..=at_most).contains(&fate.passed), "{key}: {fate:?}, at most {at_most}");
        assert_eq!(fate.drops, [(reason, frames - fate.passed)], "{key}");
        assert_eq!(node.metrics().sum("bcast_tx_copies_total"), fate.passed, "{key}");
    }
}

#[test]
fn a_domain_over_its_limit_loses_neither_its_arp_nor_another_domains_frames() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let (from, to) = (lab.host(), lab.host());
    node.serve(VNI, &[from.address, to.address]);
    node.serve(OTHER_VNI, &[from.address, to.address]);
    node.must(&format!("domain limit {VNI} --bits 1"));
    let sniffer = Sniffer::copies_to(&to, lab.folder());
    let sender = Sender::new(&from.namespace, "eth0");
    let frames = 100;
    for number in 1..=frames {
        sender.send(&overlay(&from, VNI, &broadcast(VNI, number, 60)));
        sender.send(&overlay(&from, VNI, &arp()));
        sender.send(&overlay(&from, OTHER_VNI, &broadcast(OTHER_VNI, number, 60)));
    }
    node.wait_metrics("all frames", |metrics| {
        metrics.sum(ACCEPTED) == 1 + 2 * frames
            && metrics.reason(DROPS, "domain_rate") == frames - 1
            && metrics.sum(DROPS) == frames - 1
            && metrics.adds_up()
    });
    sniffer.wait_for_count(usize::try_from(1 + 2 * frames).expect("few"));
    let copies = sniffer.copies_until(OTHER_VNI, frames);
    let arps = copies.iter().filter(|(_, copy)| copy.key == VNI && copy.inner == arp()).count();
    assert_eq!(arps as u64, frames, "ARP passes");
    let counts = testkit::traffic::counts(&copies, OTHER_VNI);
    assert_eq!(testkit::traffic::not_once(&counts, 1, frames), [], "another domain loses nothing");
    let counts = testkit::traffic::counts(&copies, VNI);
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), [(1, 1)], "the first passed on credit");
}

#[test]
fn a_limit_is_in_force_when_it_is_answered_and_after_kill_9() {
    let lab = Lab::new();
    let mut node = Node::plain(&lab);
    let (from, to) = (lab.host(), lab.host());
    node.serve(VNI, &[from.address, to.address]);
    node.must(&format!("domain limit {VNI} --bits 1"));
    assert_eq!(send(&node, &from, VNI, &data(), 20), one_passes(20, DropReason::DomainRate));
    node.kill9();
    node.restart();
    node.wait_resolved(&[to.address]);
    let shown = node.must(&format!("domain limit {VNI} -o json"));
    assert_eq!(shown, "{\"vni\":5001,\"limit\":{\"copies\":null,\"bits\":1,\"control\":null}}\n");
    // Credit is not kept, the limit is.
    assert_eq!(send(&node, &from, VNI, &data(), 20), one_passes(20, DropReason::DomainRate));
    node.must(&format!("domain limit {VNI} --default"));
    assert_eq!(send(&node, &from, VNI, &data(), 20), all_pass(20));

    node.must(&format!("tep limit {} --frames 1", to.address));
    let start = Instant::now();
    let fate = send(&node, &to, VNI, &data(), 20);
    let at_most = 2 + start.elapsed().as_secs() + 1;
    assert!((1..=at_most).contains(&fate.passed), "{fate:?}, at most {at_most}");
    assert_eq!(fate.drops, [(DropReason::TepRate, 20 - fate.passed)]);
    assert_eq!(send(&node, &from, VNI, &data(), 20), all_pass(20), "another TEP's frames");
    node.must(&format!("tep limit {} --default", to.address));
    assert_eq!(send(&node, &to, VNI, &data(), 20), all_pass(20));
}

#[test]
fn a_domain_made_anew_has_none_of_the_limits_of_the_one_before() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let (from, to) = (lab.host(), lab.host());
    node.serve(VNI, &[from.address, to.address]);
    for line in [
        format!("domain limit {VNI} --copies 1 --bits 1 --control 1"),
        format!("tep limit {} --frames 1", from.address),
        format!("domain rm {VNI}"),
        format!("tep rm {}", from.address),
        format!("tep rm {}", to.address),
    ] {
        node.must(&line);
    }
    node.serve(VNI, &[from.address, to.address]);
    assert_eq!(send(&node, &from, VNI, &data(), 50), all_pass(50));
    assert_eq!(send(&node, &from, VNI, &arp(), 50), all_pass(50));
}

/// Reloads the daemon with this configuration, and waits until it is in force.
fn reload(node: &mut Node, lab: &Lab, config: &Config) {
    let reloads = |node: &Node| node.log().matches("reloaded").count();
    let before = reloads(node);
    fs::write(lab.folder().join("bcastd.toml"), config.text()).expect("the lab's folder is ours");
    node.process().signal(Signal::SIGHUP);
    wait_for("the new configuration", || (reloads(node) > before).then_some(()));
}

#[test]
fn sighup_changes_the_nodes_limits_and_turns_them_off_and_on() {
    let lab = Lab::new();
    let plain = Config::new(lab.folder());
    let mut node = Node::start(&lab, &plain);
    let (from, to) = (lab.host(), lab.host());
    node.serve(VNI, &[from.address, to.address]);
    let little = plain.set("limits.domain_bits", 1);
    reload(&mut node, &lab, &little);
    assert!(node.log().contains("domain_bits 1,"), "{}", node.log());
    assert_eq!(send(&node, &from, VNI, &data(), 20), one_passes(20, DropReason::DomainRate));
    reload(&mut node, &lab, &little.clone().set("limits.enabled", false));
    assert!(node.log().contains("limits=off"), "{}", node.log());
    assert_eq!(send(&node, &from, VNI, &data(), 20), all_pass(20));
    reload(&mut node, &lab, &little);
    let none = Fate { passed: 0, drops: vec![(DropReason::DomainRate, 20)] };
    assert_eq!(send(&node, &from, VNI, &data(), 20), none, "its debt is not forgotten");
}

#[test]
fn without_limits_nothing_is_over_one() {
    let lab = Lab::new();
    let keys = ["tep_frames", "domain_copies", "domain_bits", "node_copies", "control_copies"];
    let config = Config::new(lab.folder()).set("limits.enabled", false);
    let config = keys.iter().fold(config, |config, key| config.set(&format!("limits.{key}"), 1));
    let node = Node::start(&lab, &config);
    let (from, to) = (lab.host(), lab.host());
    node.serve(VNI, &[from.address, to.address]);
    node.must(&format!("domain limit {VNI} --copies 1 --bits 1 --control 1"));
    node.must(&format!("tep limit {} --frames 1", from.address));
    assert_eq!(send(&node, &from, VNI, &data(), 100), all_pass(100));
    assert_eq!(send(&node, &from, VNI, &arp(), 100), all_pass(100));
}
