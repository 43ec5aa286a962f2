//! Storms of one machine: what they cost the virtual IPs of its network, and how an operator sees who it is.

use std::{net::Ipv4Addr, thread, time::Duration};

use serde_json::Value;
use testkit::{
    frame::{broadcast, ethernet, ipv4, overlay},
    havip::{VNI, WEB, cloud},
    keepalived::{Keepalived, Settings, VIP, has_vip},
    lab::{Lab, mac_text},
    node::{Metrics, Node},
    openflow::Places,
    process::wait_for,
    sender::Sender,
};

const DROPS: &str = "bcast_drops_total";
const COPY_DROPS: &str = "bcast_copy_drops_total";
const HOLDER: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
const STRANGER: [u8; 6] = [2, 0, 0, 0, 9, 9];

/// Gratuitous ARP: `address` is at `mac`.
fn garp(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let (arp, address) = ([0, 1, 8, 0, 6, 4, 0, 1], address.octets());
    ethernet([0xff; 6], mac, 0x0806, &[&arp[..], &mac, &address, &[0; 6], &address, &[0; 18]].concat())
}

/// VRRP, as far as traffic classes look.
fn advert(mac: [u8; 6]) -> Vec<u8> {
    let (from, group) = (Ipv4Addr::new(198, 19, 0, 1), Ipv4Addr::new(224, 0, 0, 18));
    let message = [0x31, 51, 200, 1, 0, 10, 0, 0, 198, 19, 0, 7];
    ethernet([1, 0, 0x5e, 0, 0, 18], mac, 0x0800, &ipv4(from, group, 112, &message))
}

fn json(node: &Node, line: &str) -> Value {
    let text = node.must(&format!("{line} -o json"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn no_frame_of_a_holder_is_lost_beside_arp_over_the_limit_and_the_storm_is_named_wherever_one_looks() {
    const ROUNDS: u64 = 30;
    const STORM: u64 = 100;
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let [stranger, holder, other] = [(); 3].map(|()| lab.host());
    node.serve(VNI, &[stranger.address, holder.address, other.address]);
    node.create_havip(WEB, VNI, VIP, "");
    node.must(&format!(
        "havip attach {WEB} --instance vm1 --mac {} --tep {}",
        mac_text(HOLDER),
        holder.address
    ));
    node.must(&format!("domain limit {VNI} --control 2"));
    let [storms, holds] = [&stranger, &holder].map(|host| Sender::new(&host.namespace, "eth0"));
    let asks = overlay(&stranger, VNI, &garp(STRANGER, Ipv4Addr::new(198, 19, 0, 77)));
    let [adverts, claims] = [advert(HOLDER), garp(HOLDER, VIP)].map(|inner| overlay(&holder, VNI, &inner));
    for round in 1..=ROUNDS {
        (0..STORM).for_each(|_| storms.send(&asks));
        [&adverts, &claims].into_iter().for_each(|frame| holds.send(frame));
        // The kernel's ring before the port holds a few hundred frames, and what it loses nobody counts.
        node.wait_metrics("the frames so far", |metrics| {
            metrics.sum("bcast_rx_accepted_total") + metrics.sum(DROPS) >= (STORM + 2) * round
        });
    }
    let metrics = node.wait_metrics("counters that add up", Metrics::adds_up);
    let failover = metrics.labelled("bcast_forwarding_seconds_count", "class", "failover");
    assert_eq!(failover, 2 * ROUNDS, "{metrics:#?}");
    let refused = metrics.reason(DROPS, "control_rate");
    assert!(refused > ROUNDS * STORM / 2, "{refused}");
    assert_eq!(metrics.sum(COPY_DROPS), 0);

    // Of the domain and of each TEP, by reason.
    let none = Value::Object(Default::default());
    let domain = json(&node, &format!("stats {VNI}"));
    assert_eq!(domain["frame_drops"]["control_rate"], refused, "{domain}");
    assert_eq!((domain["drops"].as_u64(), &domain["copy_drops"]), (Some(0), &none));
    let shown = json(&node, &format!("tep show {}", stranger.address));
    assert_eq!(shown["frame_drops"]["control_rate"], refused, "{shown}");
    let shown = json(&node, &format!("tep show {}", holder.address));
    assert_eq!(shown["frame_drops"], none, "{shown}");

    // Among the last offenders it is the only one, and the log names it.
    let drops = json(&node, "drops control_rate");
    let [named] = &drops.as_array().expect("a list")[..] else { panic!("{drops}") };
    let [source, mac] = [stranger.address.to_string(), mac_text(STRANGER)];
    assert_eq!([&named["source"], &named["mac"]], [source.as_str(), mac.as_str()]);
    assert_eq!([&named["vni"], &named["count"]].map(Value::as_u64), [Some(VNI.into()), Some(refused)]);
    assert_eq!(named["is_tep"], true, "{named}");
    assert!(node.must("drops").contains(&source));
    wait_for("a line in the log", || {
        let log = node.log();
        let line =
            log.lines().find(|line| line.contains("frames dropped") && line.contains("control_rate"))?;
        assert!(line.contains(&source) && line.contains(&mac), "{line}");
        Some(())
    });
    let answer = node.ctl(&["drops", "control"]);
    assert_eq!(answer.status, 1);
    assert!(answer.stderr.contains("\"control\" is no reason to drop a frame"), "{}", answer.stderr);
}

#[test]
fn a_stranger_is_listed_with_its_address_and_what_it_named() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let [tep, stranger] = [(); 2].map(|()| lab.host());
    node.serve(VNI, &[tep.address]);
    let sender = Sender::new(&stranger.namespace, "eth0");
    (0..3).for_each(|_| sender.send(&overlay(&stranger, VNI, &broadcast(VNI, 1, 60))));
    node.wait_metrics("three drops", |metrics| metrics.reason(DROPS, "tep_unknown") == 3);
    let drops = json(&node, "drops tep_unknown");
    let [named] = &drops.as_array().expect("a list")[..] else { panic!("{drops}") };
    assert_eq!(named["source"], stranger.address.to_string());
    assert_eq!([&named["vni"], &named["count"]].map(Value::as_u64), [Some(VNI.into()), Some(3)]);
    assert_eq!([&named["is_tep"], &named["outer"]], [false, false]);
}

#[test]
fn after_a_storm_of_one_unattached_vm_in_a_large_network_the_address_is_with_whoever_is_master() {
    let lab = Lab::new();
    let (overlay_network, node) = cloud(&lab, Places::Told, VIP, "");
    let [one, two, third] = &overlay_network.vms[..] else { panic!("three VMs") };
    // 128 members: the others are addresses of one host.
    let crowd = lab.host();
    let more: Vec<Ipv4Addr> = (1..=125).map(|last| Ipv4Addr::new(198, 18, 100, last)).collect();
    more.iter().for_each(|address| _ = crowd.namespace.ip(&format!("address add {address}/16 dev eth0")));
    let words: Vec<_> = more.iter().map(Ipv4Addr::to_string).collect();
    words.iter().for_each(|tep| drop(node.must(&format!("tep add {tep}"))));
    node.must(&format!("domain join {VNI} {}", words.join(" ")));
    node.wait_resolved(&more);
    let mut keepalived = [one, two].map(|vm| {
        Keepalived::start(vm, Settings::FAST, lab.folder().join(format!("keepalived-{}", vm.port)))
    });
    keepalived[0].wait_entered("MASTER", 1);
    node.wait_holder(WEB, &overlay_network, one);

    let attacker = &overlay_network.hypervisors[third.hypervisor].host;
    let sender = Sender::new(&attacker.namespace, "eth0");
    let frame = overlay(attacker, VNI, &garp(third.mac, third.address));
    // 100,000 a second, or as many as the machine lets through: longer where it lets few through.
    for round in 1..=3_000 {
        (0..1_000).for_each(|_| sender.send(&frame));
        thread::sleep(Duration::from_millis(4));
        if round >= 300 && round % 50 == 0 && node.metrics().sum("bcast_rx_frames_total") > 10_000 {
            break;
        }
    }
    let metrics = node.wait_metrics("counters that add up", Metrics::adds_up);
    assert!(metrics.sum("bcast_rx_frames_total") > 10_000, "a storm: {metrics:#?}");
    wait_for("one master, which holds the address", || {
        let masters = [one, two].map(has_vip);
        let [master, _] = match masters {
            [true, false] => [one, two],
            [false, true] => [two, one],
            _ => return None,
        };
        let havip = node.havip(WEB);
        (havip.state() == "bound" && havip.holder()?.instance == master.port).then_some(())
    });
}
