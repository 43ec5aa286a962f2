//! Real hypervisors, by the rules of `docs/ovs.md`: VMs behind three Open vSwitches are on one Ethernet segment.

use testkit::{
    keepalived::{Keepalived, Settings, VIP, VIRTUAL_MAC, VirtualMac, has_vip},
    lab::{Lab, mac_text},
    node::{Config, Node},
    openflow::Places,
    overlay::Overlay,
    ping::{Ping, outage},
    process::wait_for,
    sniffer::Sniffer,
};

const VNI: u32 = 5001;

fn node<'lab>(lab: &'lab Lab, overlay: &Overlay) -> Node<'lab> {
    let config = Config::new(lab.folder()).set("replication.outer_source", overlay.places.outer_source());
    let node = Node::start(lab, &config);
    node.serve(VNI, &overlay.teps());
    node
}

fn every_vm_reaches_every_other(places: Places) {
    let lab = Lab::new();
    let overlay = Overlay::new(&lab, places, &[&[VNI, VNI], &[VNI], &[VNI]]);
    let _node = node(&lab, &overlay);
    for from in &overlay.vms {
        for to in overlay.vms.iter().filter(|to| to.address != from.address) {
            from.namespace.run(&format!("ping -n -c 2 -i 0.1 -w 10 {}", to.address));
            let found = from.neighbour(to.address);
            assert_eq!(found, Some(mac_text(to.mac)), "{} in the cache of {}", to.address, from.address);
        }
    }
}

#[test]
fn four_vms_on_three_hypervisors_resolve_and_ping_each_other_by_told_places() {
    every_vm_reaches_every_other(Places::Told);
}

#[test]
fn four_vms_on_three_hypervisors_resolve_and_ping_each_other_by_learned_places() {
    every_vm_reaches_every_other(Places::Learned);
}

#[test]
fn vms_of_another_network_hear_nothing() {
    let lab = Lab::new();
    let overlay = Overlay::new(&lab, Places::Told, &[&[VNI], &[VNI, 5002], &[5002]]);
    let [one, two, other_here, other_there] = &overlay.vms[..] else { panic!("four VMs") };
    let node = node(&lab, &overlay);
    node.serve(5002, &overlay.teps());
    let sniffers = [other_here, other_there]
        .map(|vm| Sniffer::start(&vm.namespace, "eth0", "arp", lab.folder(), &format!("arp-{}", vm.port)));
    one.namespace.run(&format!("ping -n -c 2 -w 10 {}", two.address));
    // A question of their own, after it on the same ways, is the first that they see.
    other_here.namespace.run(&format!("ping -n -c 1 -w 10 {}", other_there.address));
    for sniffer in sniffers {
        let seen = sniffer.wait_for("an ARP request", |seen| !seen.is_empty());
        let foreign =
            seen.iter().find(|frame| frame.bytes[6..12] == one.mac || frame.bytes[6..12] == two.mac);
        assert_eq!(foreign, None);
    }
}

#[test]
fn multicast_vrrp_is_seen_by_all() {
    let lab = Lab::new();
    let overlay = Overlay::new(&lab, Places::Told, &[&[VNI, VNI], &[VNI], &[VNI]]);
    let _node = node(&lab, &overlay);
    let sniffers: Vec<_> = overlay.vms[1..]
        .iter()
        .map(|vm| {
            Sniffer::start(&vm.namespace, "eth0", "ip proto 112", lab.folder(), &format!("vrrp-{}", vm.port))
        })
        .collect();
    let _master = Keepalived::start(&overlay.vms[0], Settings::FAST, lab.folder().join("keepalived"));
    for sniffer in &sniffers {
        for advert in sniffer.wait_for_count(10) {
            assert_eq!(advert.bytes[..6], [1, 0, 0x5e, 0, 0, 18], "to 224.0.0.18");
            assert_eq!(advert.bytes[6..12], overlay.vms[0].mac);
        }
    }
}

#[test]
fn a_gratuitous_arp_as_request_and_as_reply_updates_a_third_vms_cache() {
    let lab = Lab::new();
    let overlay = Overlay::new(&lab, Places::Told, &[&[VNI], &[VNI], &[VNI]]);
    let [one, two, third] = &overlay.vms[..] else { panic!("three VMs") };
    let _node = node(&lab, &overlay);
    third
        .namespace
        .ip(&format!("neighbour add {VIP} lladdr {} dev eth0 nud stale", mac_text([2, 9, 9, 9, 9, 9])));
    for (vm, kind) in [(one, "-U"), (two, "-U -P"), (one, "-U -P"), (two, "-U")] {
        let mac = Some(mac_text(vm.mac));
        wait_for(&format!("{VIP} at {mac:?} by arping {kind}"), || {
            // Again and again: for a second after a change the kernel takes no other by a plain reply (`locktime`).
            vm.namespace.succeeds(&format!("arping -q -i eth0 {kind} -c 1 -w 1 -S {VIP} {VIP}"));
            (third.neighbour(VIP) == mac).then_some(())
        });
    }
}

#[test]
fn a_virtual_ip_with_a_virtual_mac_moves_by_learned_places() {
    let lab = Lab::new();
    let overlay = Overlay::new(&lab, Places::Learned, &[&[VNI], &[VNI], &[VNI]]);
    let [one, two, third] = &overlay.vms[..] else { panic!("three VMs") };
    let _node = node(&lab, &overlay);
    for vm in [one, two] {
        // What Keepalived's manual asks for: no interface speaks for another one's address.
        vm.namespace.run("sysctl -q -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2");
    }
    let settings = Settings { virtual_mac: VirtualMac::Service, ..Settings::FAST };
    let mut first = Keepalived::start(one, settings, lab.folder().join("first"));
    first.wait_entered("MASTER", 1);
    let mut second = Keepalived::start(two, settings, lab.folder().join("second"));
    second.wait_entered("BACKUP", 1);
    let ping = Ping::start(&third.namespace, VIP, &lab.folder().join("ping"));
    assert_eq!(third.neighbour(VIP), Some(mac_text(VIRTUAL_MAC)));
    for (from, to, other, times) in [(one, two, &mut first, 2), (two, one, &mut second, 2)] {
        overlay.set_connected(from, false);
        wait_for("the virtual IP on the other VM", || has_vip(to).then_some(()));
        let answers = ping.answers().len();
        wait_for("answers from there", || (ping.answers().len() > answers + 10).then_some(()));
        assert_eq!(
            third.neighbour(VIP),
            Some(mac_text(VIRTUAL_MAC)),
            "the MAC address has moved with the VIP"
        );
        overlay.set_connected(from, true);
        other.wait_entered("BACKUP", times);
    }
    println!("longest outage {:?}", outage(&ping.stop()));
}
