//! Pairs of Keepalived as they are in the field: in a guest's VLAN, there before their HAVIP, and healthy.

use std::{thread, time::Duration};

use testkit::{
    frame::Copy,
    havip::{VNI, WEB, bare_cloud, cloud},
    keepalived::{Keepalived, Settings, VIP},
    lab::{Lab, mac_text},
    node::Node,
    openflow::Places,
    overlay::{Overlay, Vm},
    process::wait_for,
    sniffer::Sniffer,
};

/// The tag of VLAN 10 (IEEE 802.1Q).
const TAG: [u8; 4] = [0x81, 0, 0, 10];
/// A MAC address that nobody has.
const NOBODY: [u8; 6] = [2, 9, 9, 9, 9, 9];

fn start(lab: &Lab, vm: &Vm, settings: Settings, state: &str) -> Keepalived {
    let mut keepalived =
        Keepalived::start(vm, settings, lab.folder().join(format!("keepalived-{}", vm.port)));
    keepalived.wait_entered(state, 1);
    keepalived
}

/// Puts a VM into VLAN 10: its hypervisor adds the tag to its frames, and takes it off those for it. Others of the hypervisor,
/// `beside`, are outside of the VLAN.
fn enter_vlan(overlay: &Overlay, vm: &Vm, beside: &[&Vm]) {
    let (port, vni) = (&vm.port, vm.vni);
    let outputs: String = beside.iter().map(|vm| format!("output:{},", vm.port)).collect();
    let group = format!("table=10,tun_id={vni},in_port=gre0,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00");
    for rule in [
        format!(
            "table=0,priority=20,in_port={port},actions=mod_vlan_vid:10,set_field:{vni}->tun_id,resubmit(,10)"
        ),
        format!("{group},priority=50,dl_vlan=10,actions={outputs}strip_vlan,output:{port}"),
        // Whatever is not in the VLAN.
        format!("{group},priority=40,actions={outputs}resubmit(,11)"),
    ] {
        overlay.hypervisors[vm.hypervisor].ofctl(&format!("add-flow br-int {rule}"));
    }
}

/// Waits until the VM's cache has this MAC address for [`VIP`].
fn wait_neighbour(vm: &Vm, mac: [u8; 6]) {
    let text = mac_text(mac);
    wait_for(&format!("{text} in the cache of {}", vm.port), || {
        (vm.neighbour(VIP).as_ref() == Some(&text)).then_some(())
    });
}

#[test]
fn a_double_master_in_a_guests_vlan_is_healed_and_refreshed_in_that_vlan_alone() {
    let lab = Lab::new();
    let overlay = Overlay::new(&lab, Places::Told, &[&[VNI], &[VNI], &[VNI, VNI]]);
    let node = Node::plain(&lab);
    overlay.introduce();
    let teps = overlay.teps();
    node.serve(VNI, &teps);
    let [one, two, third, outside] = &overlay.vms[..] else { panic!("four VMs") };
    [one, two].into_iter().for_each(|vm| enter_vlan(&overlay, vm, &[]));
    enter_vlan(&overlay, third, &[outside]);
    node.create_havip(WEB, VNI, VIP, "--refresh 1s");
    [one, two].into_iter().for_each(|vm| node.attach(WEB, &overlay, vm));
    let copies = Sniffer::copies_to(&overlay.hypervisors[third.hypervisor].host, lab.folder());
    // It is the node that heals: no master announces the address anew because it hears a lesser one.
    let settings = Settings { reasserts: false, nopreempt: false, ..Settings::FAST };
    third.set_neighbour(VIP, NOBODY);
    // Outside of the VLAN the same address is another machine's.
    outside.set_neighbour(VIP, NOBODY);
    let _first = start(&lab, one, Settings { priority: 200, ..settings }, "MASTER");
    let mut second = start(&lab, two, settings, "BACKUP");
    node.wait_holder(WEB, &overlay, one);
    wait_neighbour(third, one.mac);
    node.must(&format!("domain leave {VNI} {}", teps[0]));
    second.wait_entered("MASTER", 1);
    node.wait_holder(WEB, &overlay, two);
    wait_neighbour(third, two.mac);
    node.must(&format!("domain join {VNI} {}", teps[0]));
    second.wait_entered("BACKUP", 2);
    assert_eq!(node.wait_holder(WEB, &overlay, one).why(), "healed");
    wait_neighbour(third, one.mac);
    let local = node.metrics().sum("bcast_local_frames_total");
    node.wait_metrics("some refreshes", |metrics| metrics.sum("bcast_local_frames_total") >= local + 4);
    let is_arp = |inner: &Vec<u8>| inner[12..14] == [8, 6] || inner[16..18] == [8, 6];
    let seen = copies.seen().into_iter().filter_map(|seen| Copy::parse(&seen.bytes));
    let inner: Vec<_> = seen.map(|copy| copy.inner).filter(is_arp).collect();
    assert!(inner.len() > 10 && inner.iter().all(|inner| inner[12..16] == TAG), "{inner:02x?}");
    assert_eq!(outside.neighbour(VIP), Some(mac_text(NOBODY)), "nothing is changed outside of the VLAN");
}

#[test]
fn a_havip_created_with_attachments_binds_the_pair_that_was_there_before_and_makes_no_double_master() {
    let lab = Lab::new();
    let (overlay, node) = bare_cloud(&lab, Places::Told);
    let [one, two, third] = &overlay.vms[..] else { panic!("three VMs") };
    let mut first = start(&lab, one, Settings { priority: 200, ..Settings::FAST }, "MASTER");
    let mut second = start(&lab, two, Settings::FAST, "BACKUP");
    // Its announcements are over: five, and a second later five more.
    let filter = format!("arp and ether src {}", mac_text(one.mac));
    Sniffer::start(&third.namespace, "eth0", &filter, lab.folder(), "arp").wait_for_count(5);
    let option = |vm: &Vm| {
        let tep = overlay.hypervisors[vm.hypervisor].host.address;
        format!("--attach instance={},mac={},tep={tep}", vm.port, mac_text(vm.mac))
    };
    node.create_havip(WEB, VNI, VIP, &format!("{} {}", option(one), option(two)));
    let bound = node.wait_holder(WEB, &overlay, one);
    assert_eq!((bound.moves(), bound.previous()), (0, None), "{bound:?}");
    // The second one would take over after three adverts that it does not hear.
    let filter = format!("ip proto 112 and ether src {}", mac_text(one.mac));
    Sniffer::start(&two.namespace, "eth0", &filter, lab.folder(), "adverts").wait_for_count(20);
    assert_eq!((first.entered("MASTER"), second.entered("MASTER")), (1, 0), "a double master");
    let metrics = node.metrics();
    for reason in ["garp_spoof", "vrrp_spoof"] {
        assert_eq!(metrics.reason("bcast_drops_total", reason), 0, "{reason}");
    }
    overlay.set_connected(one, false);
    second.wait_entered("MASTER", 1);
    node.wait_holder(WEB, &overlay, two);
    overlay.set_connected(one, true);
    first.wait_entered("BACKUP", 2);
}

/// Nothing is diagnosed of a pair that does what it should, at rest and after a failover.
fn is_healthy(settings: Settings) {
    let lab = Lab::new();
    let (overlay, node) = cloud(&lab, Places::Told, settings.address, "--refresh 2s");
    let [one, two, _] = &overlay.vms[..] else { panic!("three VMs") };
    let mut first = start(&lab, one, settings, "MASTER");
    let mut second = start(&lab, two, settings, "BACKUP");
    node.wait_holder(WEB, &overlay, one);
    let watch = |seconds: u64| {
        for second in 0..seconds {
            assert_eq!(node.havip(WEB).diagnosis(), "[]", "after {second} s");
            thread::sleep(Duration::from_secs(1));
        }
    };
    watch(20);
    overlay.set_connected(one, false);
    second.wait_entered("MASTER", 1);
    node.wait_holder(WEB, &overlay, two);
    watch(10);
    overlay.set_connected(one, true);
    first.wait_entered("BACKUP", 2);
    watch(10);
    let after = node.wait_holder(WEB, &overlay, two);
    assert_eq!((after.moves(), after.diagnosis().as_str()), (1, "[]"));
}

#[test]
fn a_healthy_pair_has_no_diagnosis_before_and_after_a_failover() {
    is_healthy(Settings::FAST);
}

#[test]
fn a_healthy_pair_by_vrrpv2_has_no_diagnosis_before_and_after_a_failover() {
    is_healthy(Settings::OLD);
}
