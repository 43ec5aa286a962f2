//! Changes of the underlay, the TAP or the port under a running node.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use testkit::{
    frame::{broadcast, ethernet, overlay},
    lab::{Lab, NODE, mac_text},
    node::{Config, Node, get},
    process::wait_for,
    sender::Sender,
    sniffer::Sniffer,
};

const VNI: u32 = 5001;

#[test]
fn many_frames_to_many_unresolved_teps_are_counted_and_the_node_lives_on() {
    const TEPS: u64 = 70;
    const FRAMES: u64 = 200;
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let (from, to) = (lab.host(), lab.host());
    node.serve(VNI, &[from.address]);
    // Addresses without a host, in as many chunks as a frame's fan-out has.
    let absent: Vec<String> = (0..TEPS).map(|number| format!("198.18.200.{}", number + 1)).collect();
    for tep in &absent {
        node.must(&format!("tep add {tep}"));
    }
    node.must(&format!("domain join {VNI} {}", absent.join(" ")));
    let sender = Sender::new(&from.namespace, "eth0");
    for number in 0..FRAMES {
        sender.send(&overlay(&from, VNI, &broadcast(1, number, 60)));
    }
    let metrics = node.wait_metrics("all to be accepted", |m| m.sum("bcast_rx_accepted_total") == FRAMES);
    assert_eq!(metrics.reason("bcast_copy_drops_total", "tep_unresolved"), TEPS * FRAMES);
    assert!(metrics.adds_up(), "{metrics:?}");
    node.serve(VNI, &[to.address]);
    let sniffer = Sniffer::copies_to(&to, lab.folder());
    sender.send(&overlay(&from, VNI, &broadcast(1, FRAMES, 60)));
    assert_eq!(sniffer.copies_until(1, FRAMES).len(), 1);
}

#[test]
fn teps_are_added_while_many_read_the_node() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let done = AtomicBool::new(false);
    let (namespace, done) = (&lab.node, &done);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                while !done.load(Relaxed) {
                    get(namespace, "/metrics").expect("an answer");
                }
            });
        }
        for number in 1..=60 {
            node.must(&format!("tep add 198.18.201.{number}"));
            node.must(&format!("tep rm 198.18.201.{number}"));
        }
        done.store(true, Relaxed);
    });
}

#[test]
fn a_mac_address_that_changes_silently_is_followed() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let (from, to) = (lab.host(), lab.host());
    node.serve(VNI, &[from.address, to.address]);
    // The host says nothing of it by itself.
    to.namespace.run("sysctl -q -w net.ipv4.conf.eth0.arp_notify=0");
    let moved = mac_text([2, 0, 0, 0, 7, 8]);
    to.namespace.ip(&format!("link set dev eth0 address {moved}"));
    let start = std::time::Instant::now();
    wait_for("the new MAC address in `tep show`", || {
        node.must(&format!("tep show {}", to.address)).contains(&moved).then_some(())
    });
    println!("followed after {:.1} s", start.elapsed().as_secs_f32());
}

#[test]
fn a_neighbour_that_the_operator_has_set_is_used_and_left_alone() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let (from, to) = (lab.host(), lab.host());
    lab.node.ip(&format!("neigh add 198.18.202.1 lladdr {} dev bcast0", mac_text(to.mac)));
    node.serve(VNI, &[from.address, "198.18.202.1".parse().expect("an address")]);
    let filter = "proto gre and dst host 198.18.202.1";
    let sniffer = Sniffer::start(&to.namespace, "eth0", filter, lab.folder(), "static");
    Sender::new(&from.namespace, "eth0").send(&overlay(&from, VNI, &broadcast(1, 1, 60)));
    assert_eq!(sniffer.copies_until(1, 1).len(), 1);
    node.must("tep rm --force 198.18.202.1");
    assert!(lab.node.ip("neigh show dev bcast0").contains("198.18.202.1"), "it is the operator's");
}

#[test]
fn the_way_to_the_gateway_comes_back_with_the_taps_link() {
    let lab = Lab::new();
    let config = Config::new(lab.folder())
        .set("underlay.addresses", vec![format!("{NODE}/24")])
        .set("underlay.gateway", "198.18.0.1");
    let (_gateway, from) = (lab.host(), lab.host());
    let node = Node::start(&lab, &config);
    let far = "198.18.77.1".parse().expect("an address");
    node.serve(VNI, &[from.address, far]);
    lab.node.ip("link set dev bcast0 down");
    lab.node.ip("link set dev bcast0 up");
    // It may be unresolved in between; then it is reached again.
    thread::sleep(std::time::Duration::from_millis(500));
    node.wait_resolved(&[far]);
    assert!(node.must("tep show 198.18.77.1").contains("198.18.0.1"));
}

#[test]
fn while_the_ports_link_is_down_copies_are_dropped_and_none_comes_late() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let (from, to) = (lab.host(), lab.host());
    node.serve(VNI, &[from.address, to.address]);
    let link_is_down = || node.log().contains("up=false").then_some(());
    // The cable is pulled on the switch's side, so that the port has no carrier.
    lab.switch.ip("link set dev node down");
    wait_for("the node to see it", link_is_down);
    let before = node.metrics();
    assert!(before.adds_up(), "{before:?}");
    lab.switch.ip("link set dev node up");
    wait_for("the node to see it", || node.log().contains("up=true").then_some(()));
    let sniffer = Sniffer::copies_to(&to, lab.folder());
    let sender = Sender::new(&from.namespace, "eth0");
    let mut number = 0;
    wait_for("a copy after the link is back", || {
        number += 1;
        sender.send(&overlay(&from, VNI, &broadcast(1, number, 60)));
        (!sniffer.seen().is_empty()).then_some(())
    });
}

#[test]
fn copies_that_are_made_while_the_ports_link_is_down_are_counted_as_that_and_not_handed_to_the_port() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let (from, to) = (lab.host(), lab.host());
    node.serve(VNI, &[from.address, to.address]);
    node.must(&format!(
        "havip create web --vni {VNI} --subnet 10.0.0.0/24 --address 10.0.0.100 --refresh 1s"
    ));
    let (mac, vip) = ([0x52, 0x54, 0, 0, 0, 1], [10, 0, 0, 100]);
    node.must(&format!("havip attach web --instance vm1 --mac {} --tep {}", mac_text(mac), from.address));
    let arp = [&[0, 1, 8, 0, 6, 4, 0, 1], &mac[..], &vip, &[0; 6], &vip].concat();
    let claim = || {
        let frame = overlay(&from, VNI, &ethernet([0xff; 6], mac, 0x0806, &arp));
        Sender::new(&from.namespace, "eth0").send(&frame);
    };
    claim();
    node.wait_havip("web", "vm1 to hold it", |havip| havip.holder().is_some());
    // With the link down nothing comes in; but the node itself goes on announcing the address, for three seconds.
    claim();
    lab.node.ip("link set dev eth0 down");
    let metrics = node.wait_metrics("copies that are not made for a link that is down", |metrics| {
        metrics.reason("bcast_copy_drops_total", "link_down") > 0 && metrics.adds_up()
    });
    assert_eq!(metrics.reason("bcast_copy_drops_total", "tx_full"), 0);
    let shown = |line: &str, column: usize| {
        let text = node.must(line);
        let row = text.lines().find(|row| row.contains("link_down")).unwrap_or_else(|| panic!("{text}"));
        row.split_whitespace().nth(column).and_then(|word| word.parse::<u64>().ok()).expect("a number")
    };
    assert!(shown(&format!("tep show {}", to.address), 1) > 0);
    let holders = node.must(&format!("tep show {}", from.address));
    assert!(!holders.contains("link_down"), "the holder's own TEP gets none: {holders}");
    assert!(shown("stats", 2) > 0);
}

#[test]
fn without_its_tap_or_its_port_the_daemon_ends_and_says_why() {
    for (device, word) in [("bcast0", "the TAP was removed"), ("eth0", "network interface was removed")] {
        let lab = Lab::new();
        let mut node = Node::plain(&lab);
        lab.node.ip(&format!("link delete dev {device}"));
        let status = node.process().wait();
        assert_eq!(status.code(), Some(1), "{}", node.log());
        assert!(node.log().lines().last().unwrap_or_default().contains(word), "{}", node.log());
        assert!(!lab.node.ip("rule").contains(&NODE.to_string()));
    }
}

#[test]
fn two_workers_share_the_port_and_their_counters_add_up() {
    let lab = Lab::new();
    let node = Node::start(&lab, &Config::new(lab.folder()).set("workers.cores", vec![0, 1]));
    let hosts = [lab.host(), lab.host(), lab.host()];
    node.serve(VNI, &hosts.each_ref().map(|host| host.address));
    let sniffer = Sniffer::copies_to(&hosts[2], lab.folder());
    let senders = [0, 1].map(|from| Sender::new(&hosts[from].namespace, "eth0"));
    const FRAMES: u64 = 500;
    for number in 1..=FRAMES {
        for (from, sender) in (0_u32..).zip(&senders) {
            sender.send(&overlay(&hosts[from as usize], VNI, &broadcast(from, number, 60)));
        }
    }
    let metrics = node.wait_metrics("all copies", |m| m.sum("bcast_tx_copies_total") == 2 * 2 * FRAMES);
    assert!(metrics.adds_up(), "{metrics:?}");
    let seen = sniffer.wait_for_count(usize::try_from(2 * FRAMES).expect("few"));
    assert_eq!(seen.len() as u64, 2 * FRAMES);
}

#[test]
fn a_node_that_starts_without_a_carrier_forwards_once_it_has_one() {
    let lab = Lab::new();
    lab.switch.ip("link set dev node down");
    let node = Node::start_without(&lab, &Config::new(lab.folder()), "link");
    lab.switch.ip("link set dev node up");
    let (from, to) = (lab.host(), lab.host());
    node.serve(VNI, &[from.address, to.address]);
    assert!(node.log().contains("up=true"), "it has seen the carrier come: {}", node.log());
    let sniffer = Sniffer::copies_to(&to, lab.folder());
    Sender::new(&from.namespace, "eth0").send(&overlay(&from, VNI, &broadcast(1, 1, 60)));
    assert_eq!(sniffer.copies_until(1, 1).len(), 1);
}
