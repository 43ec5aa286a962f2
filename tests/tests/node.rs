//! The node as a host on the underlay: it answers for its own address, finds its neighbours and follows them.

use nix::sys::signal::Signal;
use testkit::{
    frame::{broadcast, overlay},
    lab::{Lab, NODE, NODE_MAC, mac_text},
    node::{Config, Metrics, Node},
    process::wait_for,
    sender::Sender,
    sniffer::Sniffer,
};

const VNI: u32 = 5001;

#[test]
fn the_node_answers_arp_and_ping_for_its_address_once() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let host = lab.host();
    let answer = host.namespace.run(&format!("arping -i eth0 -C 1 -c 10 {NODE}"));
    assert!(answer.contains(&mac_text(NODE_MAC)), "{answer}");
    let answer = host.namespace.run(&format!("ping -n -c 5 -i 0.2 -w 20 {NODE}"));
    assert!(answer.contains("5 received") && !answer.contains("duplicates"), "{answer}");
    let metrics = node.wait_metrics("counters that add up", Metrics::adds_up);
    assert!(metrics.sum("bcast_punted_total") >= 6, "{metrics:#?}");
}

#[test]
fn gre_to_the_node_is_never_answered_by_its_kernel() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let host = lab.host();
    let sniffer = Sniffer::start(&host.namespace, "eth0", "icmp", lab.folder(), "icmp");
    Sender::new(&host.namespace, "eth0").send(&overlay(&host, VNI, &broadcast(1, 1, 60)));
    node.wait_metrics("the frame", |metrics| metrics.reason("bcast_drops_total", "tep_unknown") == 1);
    // What the kernel had to say would have come before the answer to a later ping.
    host.namespace.run(&format!("ping -n -c 1 -w 20 {NODE}"));
    let seen = sniffer.wait_for("the ping", |seen| seen.len() >= 2);
    const UNREACHABLE: u8 = 3;
    assert!(seen.iter().all(|frame| frame.bytes[34] != UNREACHABLE), "{seen:?}");
}

#[test]
fn a_new_mac_address_of_a_hypervisor_is_followed() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let (from, to) = (lab.host(), lab.host());
    node.serve(VNI, &[from.address, to.address]);
    let moved = [2, 0, 0, 0, 7, 7];
    to.namespace.ip(&format!("link set dev eth0 address {}", mac_text(moved)));
    wait_for("the new MAC address in `tep show`", || {
        to.namespace.succeeds(&format!("arping -q -U -i eth0 -c 1 -w 1 -S {0} {0}", to.address));
        node.must(&format!("tep show {}", to.address)).contains(&mac_text(moved)).then_some(())
    });
    let sniffer = Sniffer::copies_to(&to, lab.folder());
    Sender::new(&from.namespace, "eth0").send(&overlay(&from, VNI, &broadcast(1, 1, 60)));
    let copies = sniffer.copies_until(1, 1);
    assert_eq!(copies[0].1.destination_mac, moved);
}

#[test]
fn a_tep_behind_a_gateway_gets_its_copies_by_way_of_it() {
    let lab = Lab::new();
    let config = Config::new(lab.folder())
        .set("underlay.addresses", vec![format!("{NODE}/24")])
        .set("underlay.gateway", "198.18.0.1");
    // The gateway is the first host; the TEP has an address in another prefix.
    let (gateway, from) = (lab.host(), lab.host());
    let node = Node::start(&lab, &config);
    let far = "198.18.77.1".parse().expect("an address");
    node.serve(VNI, &[from.address, far]);
    let filter = format!("proto gre and dst host {far}");
    let sniffer = Sniffer::start(&gateway.namespace, "eth0", &filter, lab.folder(), "gateway");
    Sender::new(&from.namespace, "eth0").send(&overlay(&from, VNI, &broadcast(1, 1, 60)));
    assert_eq!(sniffer.copies_until(1, 1)[0].1.destination_mac, gateway.mac);
}

#[test]
fn sigterm_ends_it_in_order_and_leaves_no_tap_and_no_shield() {
    let lab = Lab::new();
    let mut node = Node::plain(&lab);
    let (from, to) = (lab.host(), lab.host());
    node.serve(VNI, &[from.address, to.address]);
    let traffic = testkit::traffic::Traffic::start(&from, VNI);
    node.wait_metrics("traffic", |metrics| metrics.sum("bcast_tx_copies_total") > 100);
    assert!(lab.node.succeeds("ip link show dev bcast0"));
    let status = node.stop();
    traffic.stop();
    assert!(status.success(), "{status}: {}", node.log());
    assert!(!lab.node.succeeds("ip link show dev bcast0"));
    assert_eq!(lab.node.run("nft list tables"), "");
}

#[test]
fn kill_9_leaves_no_shield_either_and_a_restart_serves_the_same_domains() {
    let lab = Lab::new();
    let mut node = Node::plain(&lab);
    let (from, to) = (lab.host(), lab.host());
    node.serve(VNI, &[from.address, to.address]);
    node.kill9();
    wait_for("the shield to go", || lab.node.run("nft list tables").is_empty().then_some(()));
    node.restart();
    node.wait_resolved(&[to.address]);
    let sniffer = Sniffer::copies_to(&to, lab.folder());
    Sender::new(&from.namespace, "eth0").send(&overlay(&from, VNI, &broadcast(1, 1, 60)));
    assert_eq!(sniffer.copies_until(1, 1).len(), 1);
}

#[test]
fn a_broken_configuration_leaves_the_old_one_in_force_at_sighup_and_a_good_one_is_taken() {
    let lab = Lab::new();
    let mut node = Node::plain(&lab);
    let (from, to) = (lab.host(), lab.host());
    node.serve(VNI, &[from.address, to.address]);
    let sniffer = Sniffer::copies_to(&to, lab.folder());
    let sender = Sender::new(&from.namespace, "eth0");
    let file = lab.folder().join("bcastd.toml");
    let good = std::fs::read_to_string(&file).expect("it was written");
    let mut number = 0;
    let mut source_of_a_copy = || {
        number += 1;
        sender.send(&overlay(&from, VNI, &broadcast(1, number, 60)));
        sniffer.copies_until(1, number).last().map(|(_, copy)| copy.source)
    };

    std::fs::write(&file, format!("{good}\n[replication]\nouter_source = \"nowhere\"\n")).expect("writable");
    let lines = node.log().lines().count();
    node.process().signal(Signal::SIGHUP);
    wait_for("a word about the broken file", || (node.log().lines().count() > lines).then_some(()));
    assert_eq!(source_of_a_copy(), Some(NODE), "{}", node.log());

    std::fs::write(&file, format!("{good}\n[replication]\nouter_source = \"origin\"\n")).expect("writable");
    node.process().signal(Signal::SIGHUP);
    wait_for("a copy in the origin's name", || (source_of_a_copy() == Some(from.address)).then_some(()));
}
