//! BFD with Open vSwitch: the hypervisors' sessions come up, leave the node when it does not replicate, and no VM changes them.

use std::{collections::BTreeMap, time::Duration};

use frames::bfd;
use testkit::{
    frame::broadcast,
    freeze::Frozen,
    lab::{Lab, NODE},
    node::{Config, Node},
    openflow::Places,
    overlay::{Hypervisor, Overlay},
    process::wait_for,
    sender::Sender,
    sniffer::Sniffer,
};

#[path = "../../dataplane/engine/tests/frames/mod.rs"]
mod frames;

const VNI: u32 = 5001;
/// Forged frames that one attack takes.
const FORGED: u64 = 10;

/// Slow enough for a machine that others use: 300 ms three times.
fn config(lab: &Lab) -> Config {
    let config = Config::new(lab.folder()).set("bfd.interval_ms", 300).set("bfd.multiplier", 3);
    config.set("bfd.hold_back_s", 0)
}

/// Adds the port by which a hypervisor monitors the node; what comes out of it goes to this port.
fn monitor(hypervisor: &Hypervisor, vm_port: &str) {
    hypervisor.vsctl(&format!(
        "add-port br-int node1 -- set interface node1 type=gre options:remote_ip={NODE} options:key=flow \
         bfd:enable=true bfd:min_tx=300 bfd:min_rx=300 bfd:check_tnl_key=true"
    ));
    hypervisor.ofctl(&format!("add-flow br-int table=0,priority=10,in_port=node1,actions=output:{vm_port}"));
}

/// State of a hypervisor's session, as Open vSwitch tells it.
#[derive(Debug, PartialEq, Eq)]
struct Seen(BTreeMap<String, String>);

impl Seen {
    fn of(hypervisor: &Hypervisor) -> Self {
        let text = hypervisor.vsctl("get interface node1 bfd_status");
        let pairs = text.trim().trim_matches(['{', '}']).split(", ").filter_map(|pair| pair.split_once('='));
        Self(pairs.map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned())).collect())
    }

    fn get(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    fn flaps(&self) -> u64 {
        self.get("flap_count").parse().unwrap_or_else(|_| panic!("{self:?}"))
    }

    fn is(&self, state: &str, forwarding: bool) -> bool {
        self.get("state") == state && self.get("forwarding") == if forwarding { "true" } else { "false" }
    }
}

fn wait_seen(what: &str, hypervisor: &Hypervisor, is_wanted: impl Fn(&Seen) -> bool) -> Seen {
    wait_for(what, || Some(Seen::of(hypervisor)).filter(|seen| is_wanted(seen)))
}

fn wait_forwarding(hypervisors: &[Hypervisor]) {
    for hypervisor in hypervisors {
        wait_seen("a session that is up", hypervisor, |seen| seen.is("up", true));
    }
}

/// A cloud of hypervisors with a VM each, that monitor the node.
fn cloud(lab: &Lab, hypervisors: usize) -> Overlay {
    let overlay = Overlay::new(lab, Places::Told, &vec![&[VNI][..]; hypervisors]);
    overlay.introduce();
    for (hypervisor, vm) in overlay.hypervisors.iter().zip(&overlay.vms) {
        monitor(hypervisor, &vm.port);
    }
    overlay
}

#[test]
fn hypervisors_leave_a_node_that_drains_hangs_or_dies_and_come_back() {
    let lab = Lab::new();
    let mut node = Node::start(&lab, &config(&lab));
    let overlay = cloud(&lab, 2);
    node.serve(VNI, &overlay.teps());
    wait_forwarding(&overlay.hypervisors);
    let sessions = |node: &Node, state: &str| node.metrics().labelled("bcast_bfd_sessions", "state", state);
    wait_for("the node's side", || (sessions(&node, "up") == 2).then_some(()));
    let shown = node.must(&format!("tep show {} -o json", overlay.teps()[0]));
    assert!(shown.contains("\"local\":\"up\",\"remote\":\"up\",\"diagnostic\":0"), "{shown}");
    assert!(shown.contains("\"transmit_interval_us\":300000,\"detection_time_us\":3000000"), "{shown}");
    let first = &overlay.hypervisors[0];

    // A drain: the session stays up, and says diagnostic 6.
    assert!(node.must("node drain -o json").contains("\"state\":\"leaving\",\"reasons\":[\"drained\"]"));
    let seen = wait_seen("the drain", first, |seen| seen.is("up", false));
    assert_eq!(seen.get("remote_diagnostic"), "Concatenated Path Down", "{seen:?}");
    assert_eq!(node.metrics().labelled("bcast_bfd_leaving", "reason", "drained"), 1);
    assert!(node.must("node undrain -o json").contains("\"state\":\"serving\",\"reasons\":[]"));
    wait_forwarding(&overlay.hypervisors);
    assert_eq!(node.metrics().sum("bcast_bfd_flaps_total"), 0);

    // A worker that hangs, while all else runs.
    let frozen = Frozen::thread(node.process(), "worker-0");
    wait_seen("the hang", first, |seen| seen.get("state") != "up");
    drop(frozen);
    wait_forwarding(&overlay.hypervisors);

    // One that dies.
    node.kill9();
    let seen = wait_seen("the death", first, |seen| seen.is("down", false));
    assert_eq!(seen.get("diagnostic"), "Control Detection Time Expired", "{seen:?}");
    node.restart();
    wait_forwarding(&overlay.hypervisors);
    node.wait_metrics("counters that add up", testkit::node::Metrics::adds_up);
    assert!(node.stop().success());
}

#[test]
fn a_node_that_has_just_started_is_held_back_and_one_without_next_hops_is_left() {
    let lab = Lab::new();
    let node = Node::start(&lab, &config(&lab).set("bfd.hold_back_s", 15));
    let overlay = cloud(&lab, 2);
    node.serve(VNI, &overlay.teps());
    let held = |node: &Node| node.must("node show -o json").contains("\"state\":\"held_back\"");
    let first = &overlay.hypervisors[0];
    assert!(held(&node), "a lab takes less than 15 s");
    // As long as it is held back, no hypervisor forwards to it, though it answers.
    while held(&node) {
        let seen = Seen::of(first);
        assert!(!seen.is("up", true) || !held(&node), "{seen:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    wait_forwarding(&overlay.hypervisors);
    let leaving = |node: &Node, reason: &str| node.metrics().labelled("bcast_bfd_leaving", "reason", reason);
    // Both hypervisors' next hops are gone from the kernel, and do not come back.
    lab.set_plugged(&overlay.hypervisors[0].host, false);
    lab.set_plugged(&overlay.hypervisors[1].host, false);
    wait_for("next hops that are gone", || (leaving(&node, "next_hops") == 1).then_some(()));
    assert!(node.must("node show").contains("next_hops"));
}

/// Sends BFD that would take a session down from the first VM into its network, and waits until the second one's hypervisor has
/// got all that was sent.
fn attack(lab: &Lab, overlay: &Overlay, number: u64) {
    let [attacker, victim] = &overlay.vms[..] else { panic!("two VMs") };
    let sniffer =
        Sniffer::start(&victim.namespace, "eth0", "inbound", lab.folder(), &format!("sniff-{number}"));
    let sender = Sender::new(&attacker.namespace, "eth0");
    (0..FORGED).for_each(|_| sender.send(&bfd([0xff; 6], 0)));
    let last = broadcast(7, number, 60);
    sniffer.wait_for("the frame behind the forged ones", |seen| {
        sender.send(&last);
        seen.iter().any(|seen| seen.bytes == last)
    });
}

#[test]
fn no_vm_changes_a_session_by_either_guard_alone_and_without_both_it_does() {
    let lab = Lab::new();
    let mut node = Node::start(&lab, &config(&lab));
    let overlay = cloud(&lab, 2);
    node.serve(VNI, &overlay.teps());
    let victim = &overlay.hypervisors[1];
    let steady = |node: &Node, number: u64, drops: u64| {
        wait_forwarding(&overlay.hypervisors);
        let (before, flaps) = (Seen::of(victim), node.metrics().sum("bcast_bfd_flaps_total"));
        attack(&lab, &overlay, number);
        let after = Seen::of(victim);
        assert_eq!(before, after, "attack {number}");
        let metrics = node.metrics();
        assert_eq!(metrics.sum("bcast_bfd_flaps_total"), flaps, "attack {number}");
        assert_eq!(metrics.reason("bcast_drops_total", "inner_bfd"), drops, "attack {number}");
    };
    // The node's guard alone.
    victim.vsctl("set interface node1 bfd:check_tnl_key=false");
    steady(&node, 1, FORGED);
    assert!(node.stop().success());
    // The hypervisor's guard alone.
    victim.vsctl("set interface node1 bfd:check_tnl_key=true");
    let node = Node::start(&lab, &config(&lab).set("bfd.allow_inner", true));
    steady(&node, 2, 0);
    // None: the attack is real.
    victim.vsctl("set interface node1 bfd:check_tnl_key=false");
    wait_forwarding(&overlay.hypervisors);
    let before = Seen::of(victim).flaps();
    attack(&lab, &overlay, 3);
    wait_seen("a flap", victim, |seen| seen.flaps() > before);
}
