//! Virtual IPs follow whoever takes them: Keepalived in its variants, ucarp, arping, Windows; through migrations, and while
//! attachments change.

use std::net::{IpAddr, Ipv4Addr};

use testkit::{
    forge::{self, Arping, FrameSender, arping},
    frame::{broadcast, overlay},
    havip::{VNI, WEB, cloud},
    keepalived::{Keepalived, ROUTER, Settings, VIP, VIP6, VirtualMac},
    lab::{Lab, mac_text},
    node::Node,
    openflow::Places,
    overlay::{Overlay, Vm},
    sender::Sender,
    sniffer::Sniffer,
    traffic::{Traffic, counts, not_once},
    ucarp,
};

const DROPS: &str = "bcast_drops_total";

/// Waits until the VM gets an answer from the address.
fn reach(vm: &Vm, address: IpAddr) {
    vm.namespace.run(&format!("ping -n -c 1 -i 0.1 -w 20 {address}"));
}

/// Cuts off one VM after the other: the address, as the node knows it, is each time the other's.
fn follows(settings: Settings, options: &str) {
    let lab = Lab::new();
    let places = match settings.virtual_mac {
        VirtualMac::Unused => Places::Told,
        // Virtual MAC addresses move: only hypervisors that learn follow them.
        _ => Places::Learned,
    };
    let (overlay, node) = cloud(&lab, places, settings.address, options);
    let [one, two, third] = &overlay.vms[..] else { panic!("three VMs") };
    assert_eq!(node.havip(WEB).state(), "unbound");
    let start = |vm: &Vm, other: &Vm, state: &str| {
        let peer = settings.peer.map(|_| other.address);
        let folder = lab.folder().join(format!("keepalived-{}", vm.port));
        let mut keepalived = Keepalived::start(vm, Settings { peer, ..settings }, folder);
        keepalived.wait_entered(state, 1);
        keepalived
    };
    let mut first = start(one, two, "MASTER");
    let mut last = node.wait_holder(WEB, &overlay, one);
    reach(third, settings.address);
    let mut second = start(two, one, "BACKUP");
    for (from, to, keepalived, moves) in [(one, two, &mut first, 1), (two, one, &mut second, 2)] {
        overlay.set_connected(from, false);
        let now = node.wait_holder(WEB, &overlay, to);
        assert_eq!(now.previous(), last.holder(), "{now:?}");
        assert_eq!((now.moves(), now.why()), (moves, "garp"), "{now:?}");
        assert!(now.generation() > last.generation(), "{now:?} after {last:?}");
        reach(third, settings.address);
        overlay.set_connected(from, true);
        keepalived.wait_entered("BACKUP", 2);
        last = now;
    }
    assert_eq!(node.havip(WEB).holder(), last.holder(), "who comes back takes nothing");
    assert_eq!(node.metrics().reason(DROPS, "garp_spoof"), 0);
    assert_eq!(node.metrics().reason(DROPS, "vrrp_spoof"), 0);
}

#[test]
fn a_virtual_ip_follows_keepalived_by_vrrpv3() {
    follows(Settings::FAST, "");
}

#[test]
fn a_virtual_ip_follows_keepalived_by_vrrpv2() {
    follows(Settings::OLD, "");
}

#[test]
fn a_virtual_ip_follows_keepalived_with_a_virtual_mac() {
    let settings = Settings { virtual_mac: VirtualMac::Service, ..Settings::FAST };
    follows(settings, &format!("--vrid {ROUTER}"));
}

#[test]
fn a_virtual_ip_follows_keepalived_with_a_virtual_mac_for_adverts_too() {
    let settings = Settings { virtual_mac: VirtualMac::All, ..Settings::FAST };
    follows(settings, &format!("--vrid {ROUTER}"));
}

#[test]
fn a_virtual_ip_follows_keepalived_by_vrrpv2_with_a_virtual_mac() {
    let settings = Settings { virtual_mac: VirtualMac::All, ..Settings::OLD };
    follows(settings, &format!("--vrid {ROUTER}"));
}

#[test]
fn a_virtual_ip_follows_keepalived_by_unicast_vrrp() {
    follows(Settings { peer: Some(Ipv4Addr::UNSPECIFIED), ..Settings::FAST }, "");
}

#[test]
fn a_virtual_ip_follows_keepalived_over_ipv6() {
    follows(Settings { address: VIP6.into(), ..Settings::FAST }, "");
}

#[test]
fn a_virtual_ip_follows_keepalived_over_ipv6_with_a_virtual_mac() {
    let settings = Settings { address: VIP6.into(), virtual_mac: VirtualMac::All, ..Settings::FAST };
    follows(settings, &format!("--vrid {ROUTER}"));
}

#[test]
fn a_virtual_ip_follows_ucarp() {
    let lab = Lab::new();
    let (overlay, node) = cloud(&lab, Places::Told, VIP, "");
    let [one, two, third] = &overlay.vms[..] else { panic!("three VMs") };
    let _first = ucarp::start(one, 0, &lab.folder().join("first"));
    let bound = node.wait_holder(WEB, &overlay, one);
    let _second = ucarp::start(two, 50, &lab.folder().join("second"));
    overlay.set_connected(one, false);
    let moved = node.wait_holder(WEB, &overlay, two);
    assert_eq!((moved.previous(), moved.moves()), (bound.holder(), 1));
    reach(third, VIP.into());
}

#[test]
fn a_virtual_ip_follows_arping_by_request_and_by_reply() {
    let lab = Lab::new();
    let (overlay, node) = cloud(&lab, Places::Told, VIP, "");
    let [one, two, third] = &overlay.vms[..] else { panic!("three VMs") };
    let steps = [(one, Arping::Request), (two, Arping::Reply), (one, Arping::Reply), (two, Arping::Request)];
    for (moves, (vm, form)) in (0..).zip(steps) {
        arping(vm, form);
        let now = node.wait_holder(WEB, &overlay, vm);
        assert_eq!((now.moves(), now.why()), (moves, "garp"), "{form:?} of {}", vm.port);
    }
    arping(third, Arping::Request);
    node.wait_metrics("the third one's refusal", |metrics| metrics.reason(DROPS, "garp_spoof") == 1);
    node.wait_holder(WEB, &overlay, two);
}

/// Windows asks three times whether anybody has the address (RFC 5227), and then announces it by a request.
#[test]
fn a_virtual_ip_follows_windows_when_it_announces_and_not_while_it_probes() {
    let lab = Lab::new();
    let (overlay, node) = cloud(&lab, Places::Told, VIP, "");
    let [one, two, third] = &overlay.vms[..] else { panic!("three VMs") };
    arping(one, Arping::Request);
    node.wait_holder(WEB, &overlay, one);
    let filter = format!("arp and ether src {}", mac_text(two.mac));
    let sniffer = Sniffer::start(&third.namespace, "eth0", &filter, lab.folder(), "arp");
    let windows = Sender::new(&two.namespace, "eth0");
    let probe = forge::announcement(two.mac, "ARP probe");
    (0..3).for_each(|_| windows.send(&probe.bytes));
    sniffer.wait_for_count(3);
    let probed = node.wait_holder(WEB, &overlay, one);
    assert_eq!(probed.moves(), 0);
    windows.send(&forge::announcement(two.mac, "GARP request").bytes);
    assert_eq!(node.wait_holder(WEB, &overlay, two).moves(), 1);
}

/// A HAVIP without attachments refuses nobody: a pair that was there before it never becomes a double master.
#[test]
fn a_keepalived_that_was_there_before_the_havip_is_bound_by_its_next_advert() {
    let lab = Lab::new();
    let overlay = Overlay::new(&lab, Places::Told, &[&[VNI], &[VNI]]);
    let node = Node::plain(&lab);
    overlay.introduce();
    node.serve(VNI, &overlay.teps());
    let [one, two] = &overlay.vms[..] else { panic!("two VMs") };
    let start = |vm, priority: u8, name: &str| {
        Keepalived::start(vm, Settings { priority, ..Settings::FAST }, lab.folder().join(name))
    };
    let mut first = start(one, 200, "first");
    first.wait_entered("MASTER", 1);
    let mut second = start(two, 100, "second");
    second.wait_entered("BACKUP", 1);
    // It announces the address five times, a second later five times more, and then never again.
    let filter = format!("arp and ether src {}", mac_text(one.mac));
    let sniffer = Sniffer::start(&two.namespace, "eth0", &filter, lab.folder(), "arp");
    sniffer.wait_for_count(5);
    node.create_havip(WEB, VNI, VIP, "");
    // The second one would take over after three that it does not hear.
    let filter = format!("ip proto 112 and ether src {}", mac_text(one.mac));
    Sniffer::start(&two.namespace, "eth0", &filter, lab.folder(), "adverts").wait_for_count(20);
    assert_eq!(node.havip(WEB).state(), "unbound");
    node.attach(WEB, &overlay, one);
    node.attach(WEB, &overlay, two);
    let bound = node.wait_holder(WEB, &overlay, one);
    assert_eq!((bound.why(), bound.moves(), bound.previous()), ("advert", 0, None), "{bound:?}");
    assert_eq!((first.entered("MASTER"), second.entered("MASTER")), (1, 0), "a double master");
    let metrics = node.metrics();
    for reason in ["garp_spoof", "vrrp_spoof"] {
        assert_eq!(metrics.reason("bcast_drops_total", reason), 0, "{reason}");
    }
}

/// While the VM is copied the controller attaches it at both places; the address follows when it is heard at the new one.
#[test]
fn a_virtual_ip_follows_an_instance_that_migrates() {
    let lab = Lab::new();
    let (mut overlay, node) = cloud(&lab, Places::Told, VIP, "");
    let teps = overlay.teps();
    // The cable is out for a moment, which in a true migration it is not.
    let settings = Settings { tracks_carrier: false, ..Settings::FAST };
    let mut keepalived = Keepalived::start(&overlay.vms[0], settings, lab.folder().join("keepalived"));
    keepalived.wait_entered("MASTER", 1);
    let before = node.wait_holder(WEB, &overlay, &overlay.vms[0]);
    node.attach_at(WEB, &overlay.vms[0], &[teps[0], teps[2]]);
    let both = node.wait_holder(WEB, &overlay, &overlay.vms[0]);
    assert_eq!((both.holder(), both.moves()), (before.holder(), 0));
    overlay.migrate(0, 2);
    // It says nothing but its adverts, from another place.
    let after = node.wait_holder(WEB, &overlay, &overlay.vms[0]);
    assert_eq!(after.previous(), before.holder());
    assert!(after.generation() > before.generation());
    node.attach_at(WEB, &overlay.vms[0], &[teps[2]]);
    let left = node.wait_holder(WEB, &overlay, &overlay.vms[0]);
    assert_eq!((left.holder(), left.moves()), (after.holder(), after.moves()));
    reach(&overlay.vms[1], VIP.into());
    assert_eq!(keepalived.entered("MASTER"), 1, "it never lost its place:\n{}", keepalived.log());
}

#[test]
fn an_announcement_that_is_faster_than_the_controller_counts_once_its_sender_is_attached() {
    let lab = Lab::new();
    let (mut overlay, node) = cloud(&lab, Places::Told, VIP, "");
    let teps = overlay.teps();
    arping(&overlay.vms[0], Arping::Request);
    let before = node.wait_holder(WEB, &overlay, &overlay.vms[0]);
    overlay.migrate(0, 2);
    arping(&overlay.vms[0], Arping::Request);
    node.wait_metrics("its refusal", |metrics| metrics.reason(DROPS, "garp_spoof") == 1);
    let meanwhile = node.havip(WEB);
    assert_eq!((meanwhile.holder(), meanwhile.moves()), (before.holder(), 0));
    node.attach_at(WEB, &overlay.vms[0], &[teps[0], teps[2]]);
    let after = node.wait_holder(WEB, &overlay, &overlay.vms[0]);
    assert_eq!((after.why(), after.previous()), ("replay", before.holder()));
    assert!(after.generation() > before.generation());

    // The same of an instance that is new, at a TEP that is no member yet.
    let tep = overlay.hypervisors[overlay.vms[2].hypervisor].host.address;
    node.must(&format!("domain leave {VNI} {tep}"));
    let strangers = node.metrics().reason(DROPS, "tep_not_member");
    arping(&overlay.vms[2], Arping::Reply);
    node.wait_metrics("its refusal", |metrics| metrics.reason(DROPS, "tep_not_member") > strangers);
    node.must(&format!("domain join {VNI} {tep}"));
    node.attach(WEB, &overlay, &overlay.vms[2]);
    let last = node.wait_holder(WEB, &overlay, &overlay.vms[2]);
    assert_eq!((last.why(), last.previous()), ("replay", after.holder()));
    assert!(last.generation() > after.generation());
}

/// The controller may say it all at once: the holder is where its instance is attached.
#[test]
fn a_virtual_ip_follows_the_controller_that_attaches_its_holder_elsewhere() {
    let lab = Lab::new();
    let (mut overlay, node) = cloud(&lab, Places::Told, VIP, "");
    arping(&overlay.vms[0], Arping::Request);
    let before = node.wait_holder(WEB, &overlay, &overlay.vms[0]);
    overlay.migrate(0, 2);
    node.attach(WEB, &overlay, &overlay.vms[0]);
    let after = node.wait_holder(WEB, &overlay, &overlay.vms[0]);
    assert_eq!((after.why(), after.previous()), ("migrated", before.holder()));
    assert!(after.generation() > before.generation());
}

#[test]
fn attachments_come_and_go_while_every_frame_is_delivered_once() {
    const ROUNDS: usize = 30;
    let lab = Lab::new();
    let [one, two, three] = [lab.host(), lab.host(), lab.host()];
    let node = Node::plain(&lab);
    node.serve(VNI, &[one.address, two.address, three.address]);
    node.create_havip(WEB, VNI, VIP, "");
    let sniffer = Sniffer::copies_to(&three, lab.folder());
    let mac = [2, 0, 0, 0, 1, 1];
    let garp = forge::announcement(mac, "GARP request");
    let sender = FrameSender::new(&two, VNI);
    let traffic = Traffic::start(&one, VNI);
    let mut generation = 0;
    for round in 1..=ROUNDS {
        node.must(&format!("havip attach {WEB} --instance vm --mac {} --tep {}", mac_text(mac), two.address));
        sender.send(&garp.bytes);
        let bound = node.wait_havip(WEB, "bound", |havip| havip.state() == "bound");
        assert!(bound.generation() > generation, "round {round}: {bound:?}");
        node.must(&format!("havip detach {WEB} --instance vm"));
        let unbound = node.havip(WEB);
        assert_eq!((unbound.state(), unbound.holder()), ("unbound", None), "round {round}");
        assert!(unbound.generation() > bound.generation(), "round {round}: {unbound:?} after {bound:?}");
        generation = unbound.generation();
    }
    let sent = traffic.stop();
    let fence = sent + 1;
    let last = overlay(&one, VNI, &broadcast(VNI, fence, 60));
    Sender::new(&one.namespace, "eth0").send(&last);
    let copies = sniffer.copies_until(VNI, fence);
    assert_eq!(not_once(&counts(&copies, VNI), 1, fence), []);
}
