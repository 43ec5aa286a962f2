//! Faults of virtual IPs that heal: double masters, flapping, caches that missed an announcement, daemons
//! that die.

use std::{
    net::{IpAddr, Ipv4Addr},
    thread,
    time::Duration,
};

use testkit::{
    forge::{self, Arping, FrameSender, arping},
    keepalived::{Keepalived, ROUTER, Settings, VIP, VIP6, VIRTUAL_MAC, VirtualMac},
    lab::{Lab, mac_text},
    node::{Config, Node},
    openflow::Places,
    overlay::{Overlay, Vm},
    process::wait_for,
};

const VNI: u32 = 5001;
const WEB: &str = "web";

/// Three hypervisors with a VM each; the first two VMs may have the address.
fn cloud<'lab>(lab: &'lab Lab, options: &str) -> (Overlay, Node<'lab>) {
    let overlay = Overlay::new(lab, Places::Told, &[&[VNI], &[VNI], &[VNI]]);
    let node = Node::plain(lab);
    overlay.introduce();
    node.serve(VNI, &overlay.teps());
    node.create_havip(WEB, VNI, VIP, options);
    overlay.vms[..2].iter().for_each(|vm| node.attach(WEB, &overlay, vm));
    (overlay, node)
}

/// The well-known blackhole: the true master is cut off for a while, the other one takes over, and when both hear each other
/// again the true one, which never noticed, says nothing. Caches keep the other's MAC address for hours.
#[test]
fn a_double_master_is_healed_and_third_ones_learn_the_true_master() {
    let lab = Lab::new();
    let (overlay, node) = cloud(&lab, "");
    let [one, two, third] = &overlay.vms[..] else { panic!("three VMs") };
    let teps = overlay.teps();
    // It may not help itself: whoever hears a lesser master would announce the address anew.
    let settings = Settings { reasserts: false, nopreempt: false, ..Settings::FAST };
    let start = |vm: usize, priority: u8| {
        let folder = lab.folder().join(format!("keepalived-{vm}"));
        Keepalived::start(&overlay.vms[vm], Settings { priority, ..settings }, folder)
    };
    let mut first = start(0, 200);
    first.wait_entered("MASTER", 1);
    let mut second = start(1, 100);
    second.wait_entered("BACKUP", 1);
    let before = node.wait_holder(WEB, &overlay, one);
    third.set_neighbour(VIP, one.mac);

    node.must(&format!("domain leave {VNI} {}", teps[0]));
    second.wait_entered("MASTER", 1);
    let meanwhile = node.wait_holder(WEB, &overlay, two);
    wait_for("the other one in the third's cache", || {
        (third.neighbour(VIP) == Some(mac_text(two.mac))).then_some(())
    });
    node.must(&format!("domain join {VNI} {}", teps[0]));
    second.wait_entered("BACKUP", 2);
    let after = node.wait_holder(WEB, &overlay, one);
    assert_eq!(
        (first.entered("MASTER"), first.entered("BACKUP")),
        (1, 1),
        "it never noticed:\n{}",
        first.log()
    );
    wait_for("the true one in the third's cache", || {
        (third.neighbour(VIP) == Some(mac_text(one.mac))).then_some(())
    });
    assert_eq!((after.why(), after.previous()), ("healed", meanwhile.holder()));
    assert!(before.generation() < meanwhile.generation() && meanwhile.generation() < after.generation());
}

/// One more IPv4 address and an IPv6 address, which no advert lists, heal with the one that is listed: they are its group.
#[test]
fn addresses_that_no_advert_lists_are_healed_with_the_advertised_one_of_their_group() {
    const MORE: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 101);
    let lab = Lab::new();
    let (overlay, node) = cloud(&lab, "--group election");
    overlay.vms.iter().for_each(Vm::enable_ipv6);
    let [one, two, third] = &overlay.vms[..] else { panic!("three VMs") };
    for (name, address) in [("more", IpAddr::from(MORE)), ("six", VIP6.into())] {
        node.create_havip(name, VNI, address, "--group election");
        [one, two].into_iter().for_each(|vm| node.attach(name, &overlay, vm));
    }
    let teps = overlay.teps();
    let excluded = &["198.19.0.101/16", "fd00:13::64/64"];
    let settings = Settings { reasserts: false, nopreempt: false, excluded, ..Settings::FAST };
    let start = |vm: usize, priority: u8| {
        let folder = lab.folder().join(format!("keepalived-{vm}"));
        Keepalived::start(&overlay.vms[vm], Settings { priority, ..settings }, folder)
    };
    let mut first = start(0, 200);
    first.wait_entered("MASTER", 1);
    let mut second = start(1, 100);
    second.wait_entered("BACKUP", 1);
    let all = [WEB, "more", "six"];
    all.iter().for_each(|name| drop(node.wait_holder(name, &overlay, one)));
    node.must(&format!("domain leave {VNI} {}", teps[0]));
    second.wait_entered("MASTER", 1);
    all.iter().for_each(|name| drop(node.wait_holder(name, &overlay, two)));
    for address in [IpAddr::from(VIP), MORE.into(), VIP6.into()] {
        third.set_neighbour(address, two.mac);
    }
    node.must(&format!("domain join {VNI} {}", teps[0]));
    second.wait_entered("BACKUP", 2);
    for (name, address) in all.iter().zip([IpAddr::from(VIP), MORE.into(), VIP6.into()]) {
        assert_eq!(node.wait_holder(name, &overlay, one).why(), "healed", "{name}");
        wait_for("the true one in the third's cache", || {
            (third.neighbour(address) == Some(mac_text(one.mac))).then_some(())
        });
    }
    assert_eq!(
        (first.entered("MASTER"), first.entered("BACKUP")),
        (1, 1),
        "it never noticed:\n{}",
        first.log()
    );
}

/// Both advertise at the same time, each deaf to the other: that is told, and its end.
#[test]
fn two_masters_at_a_time_are_told_as_a_conflict_until_one_is_left() {
    let lab = Lab::new();
    let (overlay, node) = cloud(&lab, "");
    let [one, two, third] = &overlay.vms[..] else { panic!("three VMs") };
    let deaf = "table=0,priority=99,in_port=gre0,dl_type=0x0800,nw_proto=112";
    for hypervisor in &overlay.hypervisors[..2] {
        hypervisor.ofctl(&format!("add-flow br-int {deaf},actions=drop"));
    }
    let settings = Settings { reasserts: false, nopreempt: false, ..Settings::FAST };
    let start = |vm: usize, priority: u8| {
        let folder = lab.folder().join(format!("keepalived-{vm}"));
        let mut keepalived = Keepalived::start(&overlay.vms[vm], Settings { priority, ..settings }, folder);
        keepalived.wait_entered("MASTER", 1);
        keepalived
    };
    let _first = start(0, 200);
    third.set_neighbour(VIP, one.mac);
    let mut second = start(1, 100);
    let told = node.wait_havip(WEB, "in conflict", |havip| havip.state() == "conflict");
    assert!(told.diagnosis().contains(&one.port) && told.diagnosis().contains(&two.port), "{told:?}");
    wait_for("the other one in the third's cache", || {
        (third.neighbour(VIP) == Some(mac_text(two.mac))).then_some(())
    });
    for hypervisor in &overlay.hypervisors[..2] {
        hypervisor.ofctl(&format!("--strict del-flows br-int {}", deaf));
    }
    second.wait_entered("BACKUP", 2);
    node.wait_holder(WEB, &overlay, one);
    wait_for("the true one in the third's cache", || {
        (third.neighbour(VIP) == Some(mac_text(one.mac))).then_some(())
    });
    let kinds: Vec<_> = node.history(WEB).into_iter().map(|(kind, _)| kind).collect();
    let at = |kind: &str| kinds.iter().position(|found| found == kind);
    assert!(at("conflict") < at("conflict_ended") && at("conflict").is_some(), "{kinds:?}");
}

#[test]
fn an_address_that_moves_too_often_is_held_still_until_it_is_thawed() {
    let lab = Lab::new();
    let (overlay, node) = cloud(&lab, "");
    let [one, two, _] = &overlay.vms[..] else { panic!("three VMs") };
    let mut turns = [one, two].into_iter().cycle();
    let mut by_turns = || turns.next().expect("for ever");
    // The first binds it; five moves are carried out.
    for moves in 0..=5 {
        let vm = by_turns();
        arping(vm, Arping::Request);
        assert_eq!(node.wait_holder(WEB, &overlay, vm).moves(), moves);
    }
    let last = node.havip(WEB);
    let vm = by_turns();
    arping(vm, Arping::Request);
    let frozen = node.wait_havip(WEB, "frozen", |havip| havip.state() == "frozen");
    assert_eq!((frozen.holder(), frozen.moves()), (last.holder(), 5));
    for _ in 0..4 {
        arping(by_turns(), Arping::Request);
    }
    let still = node.havip(WEB);
    assert_eq!((still.state(), still.holder(), still.moves()), ("frozen", last.holder(), 5));
    assert!(still.diagnosis().contains("unfreeze"), "{still:?}");
    node.must(&format!("havip unfreeze {WEB}"));
    let thawed = node.wait_havip(WEB, "thawed", |havip| havip.state() == "bound");
    let vm = if thawed.holder().is_some_and(|holder| holder.instance == one.port) { two } else { one };
    arping(vm, Arping::Request);
    node.wait_holder(WEB, &overlay, vm);
    let kinds: Vec<_> = node.history(WEB).into_iter().map(|(kind, _)| kind).collect();
    let at = |kind: &str| kinds.iter().position(|found| found == kind);
    assert!(at("frozen") < at("thawed") && at("frozen").is_some(), "{kinds:?}");
}

/// The node says on the holder's behalf what the holder said: with its virtual MAC address, if it has one.
fn is_refreshed(settings: Settings, options: &str, mac: Option<[u8; 6]>) {
    let lab = Lab::new();
    let places = if mac.is_some() { Places::Learned } else { Places::Told };
    let overlay = Overlay::new(&lab, places, &[&[VNI], &[VNI], &[VNI]]);
    let config = Config::new(lab.folder()).set("replication.outer_source", places.outer_source());
    let node = Node::start(&lab, &config);
    overlay.introduce();
    node.serve(VNI, &overlay.teps());
    let [one, two, third] = &overlay.vms[..] else { panic!("three VMs") };
    node.create_havip(WEB, VNI, settings.address, &format!("--refresh 1s {options}"));
    [one, two].iter().for_each(|vm| node.attach(WEB, &overlay, vm));
    overlay.vms.iter().for_each(Vm::enable_ipv6);
    let mut keepalived = Keepalived::start(one, settings, lab.folder().join("keepalived"));
    keepalived.wait_entered("MASTER", 1);
    let before = node.wait_holder(WEB, &overlay, one);
    // Keepalived announces it when it becomes master and a second later; then the node alone does, each second.
    for _ in 0..3 {
        third.set_neighbour(settings.address, [2, 9, 9, 9, 9, 9]);
        wait_for("the holder in the third's cache", || {
            (third.neighbour(settings.address) == Some(mac_text(mac.unwrap_or(one.mac)))).then_some(())
        });
        thread::sleep(Duration::from_millis(700));
    }
    let after = node.havip(WEB);
    assert_eq!((after.moves(), after.generation()), (0, before.generation()), "its own words move nothing");
    assert_eq!(node.metrics().reason("bcast_drops_total", "garp_spoof"), 0);
}

#[test]
fn an_address_with_a_refresh_is_announced_anew_while_its_holder_is_heard() {
    is_refreshed(Settings::FAST, "", None);
}

#[test]
fn an_ipv6_address_with_a_refresh_is_announced_anew() {
    is_refreshed(Settings { address: VIP6.into(), ..Settings::FAST }, "", None);
}

#[test]
fn an_address_with_a_virtual_mac_is_announced_anew_with_it() {
    let settings = Settings { virtual_mac: VirtualMac::All, ..Settings::FAST };
    is_refreshed(settings, &format!("--vrid {ROUTER}"), Some(VIRTUAL_MAC));
}

#[test]
fn an_ipv6_address_with_a_virtual_mac_is_announced_anew_with_it() {
    let settings = Settings { address: VIP6.into(), virtual_mac: VirtualMac::All, ..Settings::FAST };
    is_refreshed(settings, &format!("--vrid {ROUTER}"), Some([0, 0, 0x5e, 0, 2, ROUTER]));
}

#[test]
fn two_networks_with_the_same_address_have_different_holders() {
    const OTHER: u32 = 5002;
    let lab = Lab::new();
    let overlay = Overlay::new(&lab, Places::Told, &[&[VNI, OTHER], &[VNI, OTHER]]);
    let node = Node::plain(&lab);
    overlay.introduce();
    node.serve(VNI, &overlay.teps());
    node.serve(OTHER, &overlay.teps());
    node.create_havip(WEB, VNI, VIP, "");
    node.create_havip("other", OTHER, VIP, "");
    let [one, other_one, two, other_two] = &overlay.vms[..] else { panic!("four VMs") };
    [one, two].iter().for_each(|vm| node.attach(WEB, &overlay, vm));
    [other_one, other_two].iter().for_each(|vm| node.attach("other", &overlay, vm));
    arping(one, Arping::Request);
    arping(other_two, Arping::Request);
    let here = node.wait_holder(WEB, &overlay, one);
    node.wait_holder("other", &overlay, other_two);
    arping(other_one, Arping::Request);
    node.wait_holder("other", &overlay, other_one);
    let still = node.havip(WEB);
    assert_eq!((still.holder(), still.generation()), (here.holder(), here.generation()));
    arping(two, Arping::Request);
    node.wait_holder(WEB, &overlay, two);
    node.wait_holder("other", &overlay, other_one);
}

#[test]
fn a_node_that_was_killed_knows_the_holder_and_its_generations_go_on_growing() {
    let lab = Lab::new();
    let hosts = [lab.host(), lab.host()];
    let mut node = Node::plain(&lab);
    node.serve(VNI, &hosts.each_ref().map(|host| host.address));
    node.create_havip(WEB, VNI, VIP, "");
    let macs = [[2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 1, 2]];
    let attach = |node: &Node, number: usize| {
        let (mac, tep) = (mac_text(macs[number]), hosts[number].address);
        node.must(&format!("havip attach {WEB} --instance vm{number} --mac {mac} --tep {tep}"));
    };
    (0..2).for_each(|number| attach(&node, number));
    let garps = macs.map(|mac| forge::announcement(mac, "GARP request").bytes);
    let held_by = |node: &Node, number: usize| {
        node.wait_havip(WEB, &format!("held by vm{number}"), |havip| {
            havip.holder().is_some_and(|holder| holder.instance == format!("vm{number}"))
        })
    };
    let senders = [0, 1].map(|number| FrameSender::new(&hosts[number], VNI));
    senders[0].send(&garps[0]);
    let mut last = held_by(&node, 0);
    for number in [1, 0, 1] {
        node.kill9();
        node.restart();
        node.wait_resolved(&hosts.each_ref().map(|host| host.address));
        let kept = node.havip(WEB);
        assert_eq!((kept.holder(), kept.generation()), (last.holder(), last.generation()));
        assert_eq!((kept.state(), kept.moves()), ("bound", last.moves()));
        senders[number].send(&garps[number]);
        let moved = held_by(&node, number);
        assert!(moved.generation() > last.generation(), "{moved:?} after {last:?}");
        last = moved;
    }
    // Also when it is made anew.
    node.must(&format!("havip rm {WEB}"));
    node.create_havip(WEB, VNI, VIP, "");
    attach(&node, 0);
    senders[0].send(&garps[0]);
    let anew = held_by(&node, 0);
    assert!(anew.generation() > last.generation(), "{anew:?} after {last:?}");
}
