//! Ways back without a claim: a holder that is silent, announcements that were lost, an instance that its hypervisor moved; and
//! refused claims, which count as long as nobody was heard since.

use std::{net::IpAddr, thread, time::Duration};

use testkit::{
    forge::{self, Arping, FrameSender, NOBODY, arping},
    frame::{Copy, broadcast, overlay},
    havip::{Havip, VNI, WEB, cloud},
    keepalived::{Keepalived, Settings, VIP, VIP6},
    lab::{Host, Lab, mac_text},
    node::{Metrics, Node},
    openflow::Places,
    overlay::{Overlay, Vm},
    process::{Process, wait_for},
    sender::Sender,
    sniffer::Sniffer,
};

/// Longer than a holder has to be silent until another takes over.
const LONG_SILENCE: Duration = Duration::from_secs(5);

fn uses(metrics: &Metrics) -> u64 {
    metrics.labelled("bcast_announcements_total", "kind", "use")
}

fn refused(metrics: &Metrics) -> u64 {
    metrics.reason("bcast_drops_total", "garp_spoof")
}

/// A VM that asks for another one's address, each second, from the virtual address: it announces nothing.
fn use_address(vm: &Vm, lab: &Lab) -> Process {
    let log = lab.folder().join(format!("arping-{}", vm.port));
    vm.namespace.start(&format!("arping -q -i eth0 -S {VIP} -c 50 {NOBODY}"), &log)
}

/// True for an ARP frame that announces [`VIP`] (sender and target) for this MAC address.
fn announces(frame: &[u8], mac: [u8; 6]) -> bool {
    let vip = &VIP.octets()[..];
    frame.get(22..28) == Some(&mac) && frame.get(28..32) == Some(vip) && frame.get(38..42) == Some(vip)
}

/// A cloud whose first VM has claimed [`VIP`], and the HAVIP as it is then.
fn held(lab: &Lab) -> (Overlay, Node<'_>, Havip) {
    let (overlay, node) = cloud(lab, Places::Told, VIP, "");
    arping(&overlay.vms[0], Arping::Request);
    let havip = node.wait_holder(WEB, &overlay, &overlay.vms[0]);
    (overlay, node, havip)
}

/// Waits until a VM's neighbour cache has [`VIP`] at another's MAC address.
fn wait_cached(vm: &Vm, holder: &Vm) {
    wait_for("the new holder in the third's cache", || {
        (vm.neighbour(VIP) == Some(mac_text(holder.mac))).then_some(())
    });
}

#[test]
fn an_instance_that_uses_the_address_of_a_silent_holder_becomes_the_holder_and_is_announced() {
    let lab = Lab::new();
    let (overlay, node, before) = held(&lab);
    let [one, two, third] = &overlay.vms[..] else { panic!("three VMs") };
    third.set_neighbour(VIP, one.mac);
    let filter = format!("arp and ether src {}", mac_text(two.mac));
    let sniffer = Sniffer::start(&third.namespace, "eth0", &filter, lab.folder(), "arp");
    let _uses = use_address(two, &lab);
    let after = node.wait_holder(WEB, &overlay, two);
    assert_eq!((after.why(), after.previous(), after.moves()), ("taken_over", before.holder(), 1));
    // It announces nothing itself: these are the node's.
    for operation in [1, 2] {
        sniffer.wait_for("the node's announcement", |seen| {
            let said = |frame: &[u8]| announces(frame, two.mac) && frame[20..22] == [0, operation];
            seen.iter().any(|seen| said(&seen.bytes))
        });
    }
    wait_cached(third, two);
    assert_eq!(refused(&node.metrics()), 0);
}

#[test]
fn a_holder_that_uses_its_address_keeps_it_whoever_else_uses_it() {
    let lab = Lab::new();
    let (overlay, node, before) = held(&lab);
    let [one, two, _] = &overlay.vms[..] else { panic!("three VMs") };
    let _both = [use_address(one, &lab), use_address(two, &lab)];
    node.wait_metrics("some seconds of both", |metrics| uses(metrics) >= 20);
    let after = node.havip(WEB);
    assert_eq!((after.holder(), after.generation()), (before.holder(), before.generation()), "{after:?}");
    assert_eq!(after.diagnosis(), "[]");
}

/// The VM that has the address now said so while nobody listened; its kernel uses the address as any other.
#[test]
fn an_address_follows_the_kernel_that_uses_it_though_no_announcement_arrived() {
    let lab = Lab::new();
    let (overlay, node, before) = held(&lab);
    let [one, two, third] = &overlay.vms[..] else { panic!("three VMs") };
    third.set_neighbour(VIP, one.mac);
    two.namespace.run("sysctl -q -w net.ipv4.conf.all.arp_announce=0");
    two.namespace.ip(&format!("address add {VIP}/16 dev eth0"));
    let _ping = two.namespace.start(&format!("ping -n -c 50 -I {VIP} {NOBODY}"), &lab.folder().join("ping"));
    let after = node.wait_holder(WEB, &overlay, two);
    assert_eq!((after.why(), after.previous()), ("taken_over", before.holder()));
    wait_cached(third, two);
}

/// A failover whose gratuitous ARPs and neighbour advertisements are all lost: the adverts list one address of three.
#[test]
fn all_addresses_of_a_group_follow_the_new_master_though_its_announcements_are_lost() {
    let lab = Lab::new();
    let (overlay, node) = cloud(&lab, Places::Told, VIP, "--group election");
    let [one, two, third] = &overlay.vms[..] else { panic!("three VMs") };
    let more: IpAddr = [198, 19, 0, 101].into();
    let all = [(WEB, IpAddr::from(VIP)), ("more", more), ("six", VIP6.into())];
    for (name, address) in &all[1..] {
        node.create_havip(name, VNI, *address, "--group election");
        [one, two].into_iter().for_each(|vm| node.attach(name, &overlay, vm));
    }
    let excluded = &["198.19.0.101/16", "fd00:13::64/64"];
    let start = |vm: &Vm, state: &str| {
        let folder = lab.folder().join(format!("keepalived-{}", vm.port));
        let mut keepalived = Keepalived::start(vm, Settings { excluded, ..Settings::FAST }, folder);
        keepalived.wait_entered(state, 1);
        keepalived
    };
    let _first = start(one, "MASTER");
    all.iter().for_each(|(name, _)| drop(node.wait_holder(name, &overlay, one)));
    let mut second = start(two, "BACKUP");
    for lost in ["dl_type=0x0806", "icmp6"] {
        let rule = format!("table=0,priority=99,in_port={},{lost},actions=drop", two.port);
        overlay.hypervisors[two.hypervisor].ofctl(&format!("add-flow br-int {rule}"));
    }
    all.iter().for_each(|(_, address)| third.set_neighbour(*address, one.mac));
    overlay.set_connected(one, false);
    second.wait_entered("MASTER", 1);
    for (name, address) in all {
        assert_eq!(node.wait_holder(name, &overlay, two).why(), "healed", "{name}");
        wait_for("the new master in the third's cache", || {
            (third.neighbour(address) == Some(mac_text(two.mac))).then_some(())
        });
    }
}

/// A node with three raw hosts, and a virtual IP to which an instance on the first is attached.
fn raw<'lab>(lab: &'lab Lab) -> (Node<'lab>, [Host; 3], [FrameSender; 3]) {
    let hosts = [lab.host(), lab.host(), lab.host()];
    let node = Node::plain(lab);
    node.serve(VNI, &hosts.each_ref().map(|host| host.address));
    node.create_havip(WEB, VNI, VIP, "");
    let senders = hosts.each_ref().map(|host| FrameSender::new(host, VNI));
    attach(&node, 1, &[&hosts[0]]);
    (node, hosts, senders)
}

fn mac(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 1, number]
}

fn attach(node: &Node, number: u8, hosts: &[&Host]) {
    let teps: String = hosts.iter().map(|host| format!(" --tep {}", host.address)).collect();
    node.must(&format!("havip attach {WEB} --instance vm{number} --mac {}{teps}", mac_text(mac(number))));
}

fn frame(number: u8, name: &str) -> Vec<u8> {
    forge::announcement(mac(number), name).bytes
}

fn held_at(node: &Node, number: u8, host: &Host) -> Havip {
    let (instance, tep) = (format!("vm{number}"), host.address.to_string());
    node.wait_havip(WEB, &format!("held by {instance} at {tep}"), |havip| {
        havip.holder().is_some_and(|holder| holder.instance == instance && holder.tep == tep)
    })
}

#[test]
fn rarp_of_a_live_migration_moves_the_address_to_the_holders_second_tep_and_no_other_way() {
    let lab = Lab::new();
    let (node, hosts, senders) = raw(&lab);
    attach(&node, 1, &[&hosts[0], &hosts[2]]);
    attach(&node, 2, &[&hosts[1]]);
    senders[0].send(&frame(1, "GARP request"));
    let before = held_at(&node, 1, &hosts[0]);
    for name in ["RARP", "RARP in VLAN 7"] {
        // Neither another attached instance's, nor the holder's MAC address from where it is not attached.
        senders[1].send(&frame(2, name));
        senders[1].send(&frame(1, name));
        senders[0].send(&frame(1, name));
    }
    node.wait_metrics("all of them", |metrics| metrics.sum("bcast_rx_accepted_total") >= 7);
    let still = held_at(&node, 1, &hosts[0]);
    assert_eq!((still.moves(), still.generation()), (0, before.generation()));
    senders[2].send(&frame(1, "RARP"));
    let there = held_at(&node, 1, &hosts[2]);
    assert_eq!((there.why(), there.previous(), there.moves()), ("migrated", before.holder(), 1));
    senders[0].send(&frame(1, "RARP in VLAN 7"));
    held_at(&node, 1, &hosts[0]);
}

#[test]
fn a_refused_claim_is_not_replayed_over_a_holder_that_was_heard_since() {
    let lab = Lab::new();
    let (node, hosts, senders) = raw(&lab);
    senders[0].send(&frame(1, "GARP request"));
    let before = held_at(&node, 1, &hosts[0]);
    senders[1].send(&frame(2, "GARP request"));
    node.wait_metrics("its refusal", |metrics| refused(metrics) == 1);
    let used = frame(1, "ordinary ARP request");
    for _ in 0..14 {
        senders[0].send(&used);
        thread::sleep(Duration::from_millis(500));
    }
    node.wait_metrics("what the holder said", |metrics| uses(metrics) == 14);
    let sniffer = Sniffer::copies_to(&hosts[2], lab.folder());
    attach(&node, 2, &[&hosts[1]]);
    // The holder is silent now, and the other one as well.
    thread::sleep(LONG_SILENCE);
    let after = node.havip(WEB);
    assert_eq!((after.holder(), after.moves(), after.state()), (before.holder(), 0, "bound"), "{after:?}");
    Sender::new(&hosts[0].namespace, "eth0").send(&overlay(&hosts[0], VNI, &broadcast(VNI, 1, 60)));
    let copies = sniffer.copies_until(VNI, 1);
    assert!(copies.iter().all(|(_, Copy { inner, .. })| inner[6..12] != mac(2)), "{copies:?}");
    // What it says from now on counts.
    senders[1].send(&frame(2, "GARP request"));
    assert_eq!(held_at(&node, 2, &hosts[1]).why(), "garp");
}

#[test]
fn a_refused_claim_is_replayed_over_a_silent_holder_and_the_newest_of_them_counts() {
    let lab = Lab::new();
    let (node, hosts, senders) = raw(&lab);
    senders[0].send(&frame(1, "GARP request"));
    let before = held_at(&node, 1, &hosts[0]);
    // It was at one place, and is at the other.
    for (count, from) in (1..).zip([2, 1, 2]) {
        senders[from].send(&frame(2, "GARP reply, target all ones"));
        node.wait_metrics("its refusal", |metrics| refused(metrics) == count);
    }
    let sniffer = Sniffer::copies_to(&hosts[0], lab.folder());
    attach(&node, 2, &[&hosts[1], &hosts[2]]);
    let after = held_at(&node, 2, &hosts[2]);
    assert_eq!((after.why(), after.previous(), after.moves()), ("replay", before.holder(), 1));
    // Nobody got the claim itself: it was dropped.
    sniffer.wait_for("the node's announcement", |seen| {
        let copies = seen.iter().filter_map(|seen| Copy::parse(&seen.bytes));
        copies.into_iter().any(|copy| announces(&copy.inner, mac(2)))
    });
}
