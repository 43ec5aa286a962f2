//! Frames of an unattached VM that would keep an instance from its address, or make it give the address up: duplicate address
//! detection, probes, and announcements in fragments. The holder is a real kernel, or Keepalived.

use std::net::IpAddr;

use testkit::{
    forge::{self, Announcement, Arping, FromUnattached, arping},
    havip::{VNI, WEB, bare_cloud, cloud},
    keepalived::{Keepalived, Settings, VIP, VIP6},
    lab::{Lab, mac_text},
    node::Node,
    openflow::Places,
    overlay::Vm,
    process::wait_for,
    sender::Sender,
    sniffer::Sniffer,
};

/// IP protocol numbers of IPv6 extension headers.
const HOP_BY_HOP: u8 = 0;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
const UDP: u8 = 17;
const IPV6: [u8; 2] = [0x86, 0xdd];

fn refused(node: &Node) -> u64 {
    let metrics = node.metrics();
    ["garp_spoof", "vrrp_spoof"].iter().map(|reason| metrics.reason("bcast_drops_total", reason)).sum()
}

/// Gives the VM [`VIP6`] as its kernel does it by default: it asks around whether another has it, here for 15 seconds.
fn take_address(vm: &Vm) {
    vm.namespace.run("sysctl -q -w net.ipv6.conf.eth0.accept_dad=1 net.ipv6.conf.eth0.dad_transmits=15");
    vm.namespace.ip(&format!("address add {VIP6}/64 dev eth0"));
}

/// The kernel's line about [`VIP6`] on the VM, with `tentative` and `dadfailed`; empty where it does not have it.
fn address_line(vm: &Vm) -> String {
    let all = vm.namespace.ip("-6 address show dev eth0");
    all.lines().find(|line| line.contains(&format!("{VIP6}/"))).unwrap_or_default().to_owned()
}

/// Frames of IPv6 that the node refuses from this MAC address.
fn discoveries(mac: [u8; 6]) -> Vec<Announcement> {
    let refused = |frame: &Announcement| frame.from_unattached != FromUnattached::Passes;
    let all = forge::announcements(mac).into_iter().filter(refused);
    all.filter(|frame| frame.bytes[12..14] == IPV6).collect()
}

#[test]
fn no_frame_of_an_unattached_vm_keeps_a_kernel_from_its_ipv6_address() {
    let lab = Lab::new();
    let (overlay, node) = bare_cloud(&lab, Places::Told);
    let [one, two, stranger] = &overlay.vms[..] else { panic!("three VMs") };
    node.create_havip(WEB, VNI, VIP6, "");
    let sender = Sender::new(&stranger.namespace, "eth0");
    let detection = forge::announcement(stranger.mac, "duplicate address detection");
    // Nobody is attached, so nothing is refused, and the kernel gives the address up.
    take_address(one);
    assert!(address_line(one).contains("tentative"), "{}", address_line(one));
    sender.send(&detection.bytes);
    wait_for("the address given up", || address_line(one).contains("dadfailed").then_some(()));
    one.namespace.ip(&format!("address del {VIP6}/64 dev eth0"));

    node.attach(WEB, &overlay, one);
    node.attach(WEB, &overlay, two);
    take_address(one);
    let frames = discoveries(stranger.mac);
    frames.iter().for_each(|frame| sender.send(&frame.bytes));
    wait_for("the refusals", || (refused(&node) >= frames.len() as u64).then_some(()));
    assert!(frames.len() > 15, "{} frames", frames.len());
    assert!(address_line(one).contains("tentative"), "they came in time: {}", address_line(one));
    wait_for("the address in use", || {
        assert!(!address_line(one).contains("dadfailed"), "{}", address_line(one));
        (!address_line(one).contains("tentative")).then_some(())
    });
    // An instance that is attached may ask, and is told that the address is in use.
    two.namespace.run("sysctl -q -w net.ipv6.conf.eth0.accept_dad=1");
    two.namespace.ip(&format!("address add {VIP6}/64 dev eth0"));
    wait_for("the other one to give it up", || address_line(two).contains("dadfailed").then_some(()));
}

#[test]
fn duplicate_address_detection_of_an_unattached_kernel_reaches_nobody() {
    let lab = Lab::new();
    let (overlay, node) = cloud(&lab, Places::Told, VIP6, "");
    let [one, two, stranger] = &overlay.vms[..] else { panic!("three VMs") };
    one.namespace.ip(&format!("address add {VIP6}/64 dev eth0 nodad"));
    Sender::new(&one.namespace, "eth0").send(&forge::announcement(one.mac, "NA").bytes);
    let before = node.wait_holder(WEB, &overlay, one);
    two.set_neighbour(VIP6, one.mac);
    // Solicitations for the address, or from it; behind the IPv6 header are type, code, checksum, 4 bytes, and the target.
    let filter = format!("icmp6 and ip6[40] == 135 and ether src {}", mac_text(stranger.mac));
    let sniffers = [one, two].map(|vm| {
        let name = format!("solicitations-{}", vm.port);
        Sniffer::start(&vm.namespace, "eth0", &filter, lab.folder(), &name)
    });
    stranger.namespace.run("sysctl -q -w net.ipv6.conf.eth0.accept_dad=1");
    stranger.namespace.ip(&format!("address add {VIP6}/64 dev eth0"));
    wait_for("its refusal", || (refused(&node) >= 1).then_some(()));
    wait_for("the stranger's kernel to use it", || {
        let line = address_line(stranger);
        (!line.is_empty() && !line.contains("tentative")).then_some(())
    });
    let asked = refused(&node);
    // From the address it reaches nobody either; from its own address it does.
    stranger.namespace.succeeds(&format!("ping -n -c 1 -W 1 -I {VIP6} {}", two.address6));
    wait_for("the refusal of its solicitation", || (refused(&node) > asked).then_some(()));
    stranger.namespace.run(&format!("ping -n -c 1 -w 20 -I {} {}", stranger.address6, two.address6));
    let seen = sniffers[1].wait_for_count(1);
    let names = |bytes: &[u8]| bytes.windows(16).any(|part| part == VIP6.octets());
    assert!(!seen.iter().any(|seen| names(&seen.bytes)), "{seen:?}");
    assert!(!sniffers[0].seen().iter().any(|seen| names(&seen.bytes)));
    assert!(!address_line(one).contains("dadfailed"), "{}", address_line(one));
    assert_eq!(two.neighbour(VIP6), Some(mac_text(one.mac)));
    let after = node.havip(WEB);
    assert_eq!((after.holder(), after.generation()), (before.holder(), before.generation()));
    assert!(after.diagnosis().contains("unattached-probe"), "{}", after.diagnosis());
}

#[test]
fn an_arp_probe_of_an_attached_vm_is_answered_and_one_of_another_vm_reaches_nobody() {
    let lab = Lab::new();
    let (overlay, node) = cloud(&lab, Places::Told, VIP, "");
    let [one, two, stranger] = &overlay.vms[..] else { panic!("three VMs") };
    one.namespace.ip(&format!("address add {VIP}/16 dev eth0"));
    arping(one, Arping::Request);
    let before = node.wait_holder(WEB, &overlay, one);
    let filter = format!("arp and ether src {}", mac_text(stranger.mac));
    let sniffer = Sniffer::start(&one.namespace, "eth0", &filter, lab.folder(), "probes");
    let probe = format!("arping -q -i eth0 -0 -c 3 -C 1 -w 10 {VIP}");
    assert!(two.namespace.succeeds(&probe), "an attached VM learns that the address is in use");
    assert_eq!(refused(&node), 0);
    assert!(!stranger.namespace.succeeds(&probe), "a stranger's probe is answered");
    wait_for("the refusals", || (refused(&node) >= 3).then_some(()));
    // A probe for another address passes, and is the first that the holder sees of it.
    let own = format!("arping -q -i eth0 -0 -c 3 -C 1 -w 10 {}", one.address);
    assert!(stranger.namespace.succeeds(&own));
    let first = sniffer.wait_for_count(1).remove(0);
    assert_eq!(first.bytes[38..42], one.address.octets(), "{first:?}");
    let after = node.havip(WEB);
    assert_eq!((after.holder(), after.generation()), (before.holder(), before.generation()));
}

/// The fragments of an IPv6 frame: its message behind these extension headers of 8 bytes each, cut at these places; later
/// fragments state `later` for what follows.
fn fragments6(frame: &[u8], chain: &[u8], cuts: &[usize], later: Option<u8>) -> Vec<Vec<u8>> {
    let mut protocol = frame[20];
    let mut message = frame[54..].to_vec();
    for header in chain.iter().rev() {
        message = [&[protocol, 0, 1, 4, 0, 0, 0, 0], &message[..]].concat();
        protocol = *header;
    }
    let bounds: Vec<usize> = [&[0], cuts, &[message.len()]].concat();
    let fragment = |part: &[usize]| {
        let (start, end) = (part[0], part[1]);
        let offset = u16::try_from(start).expect("it is short") | u16::from(end < message.len());
        let stated = if start == 0 { protocol } else { later.unwrap_or(protocol) };
        let head = [&[stated, 0], &offset.to_be_bytes()[..], &[0, 0, 0, 7]].concat();
        let body = [&head, &message[start..end]].concat();
        let length = u16::try_from(body.len()).expect("it is short").to_be_bytes();
        let mut whole = [&frame[..54], &body].concat();
        whole[18..20].copy_from_slice(&length);
        whole[20] = FRAGMENT;
        whole
    };
    bounds.windows(2).map(fragment).collect()
}

/// The fragments of an IPv4 frame without options, cut at this place.
fn fragments4(frame: &[u8], cut: usize) -> Vec<Vec<u8>> {
    let (head, message) = (&frame[..34], &frame[34..34 + usize::from(frame[17]) - 20]);
    let fragment = |start: usize, end: usize| {
        let mut whole = [head, &message[start..end]].concat();
        whole[17] = u8::try_from(20 + end - start).expect("it is short");
        let offset = u16::try_from(start / 8).expect("it is short");
        let more = if end < message.len() { 0x2000 } else { 0 };
        whole[20..22].copy_from_slice(&(offset | more).to_be_bytes());
        whole[24..26].fill(0);
        let sum = testkit::frame::checksum(&whole[14..34]);
        whole[24..26].copy_from_slice(&sum.to_be_bytes());
        whole
    };
    vec![fragment(0, cut), fragment(cut, message.len())]
}

/// Packets in fragments that Linux puts together: neighbour discovery and adverts with a higher priority.
fn packets(mac: [u8; 6], address: IpAddr) -> Vec<(String, Vec<Vec<u8>>)> {
    let frame = |name: &str| forge::announcement(mac, name).bytes;
    if address.is_ipv4() {
        return vec![("an advert".to_owned(), fragments4(&frame("VRRPv3"), 8))];
    }
    let names = ["NA", "NA, solicited", "duplicate address detection", "NS with its MAC", "VRRPv3 over IPv6"];
    let ways: [(&[u8], &[usize], Option<u8>); 9] = [
        (&[], &[8], None),
        (&[], &[16], None),
        (&[], &[8, 16], Some(UDP)),
        (&[], &[], None),
        (&[DESTINATION_OPTIONS], &[8], None),
        (&[DESTINATION_OPTIONS], &[8], Some(UDP)),
        (&[DESTINATION_OPTIONS], &[16], None),
        (&[DESTINATION_OPTIONS, DESTINATION_OPTIONS], &[8], Some(UDP)),
        (&[HOP_BY_HOP, DESTINATION_OPTIONS], &[8], None),
    ];
    let mut all = Vec::new();
    for name in names {
        for (chain, cuts, later) in ways {
            let forwards = fragments6(&frame(name), chain, cuts, later);
            let backwards = forwards.iter().rev().cloned().collect();
            let title = format!("{name} behind {chain:?}, cut at {cuts:?}, later {later:?}");
            all.extend([(title.clone(), forwards), (format!("{title}, backwards"), backwards)]);
        }
    }
    all
}

/// Keepalived's master gives its address up for an advert in fragments while there is no HAVIP, and for nothing afterwards.
fn gives_nothing_up(address: IpAddr) {
    let lab = Lab::new();
    let (overlay, node) = bare_cloud(&lab, Places::Told);
    let [one, two, stranger] = &overlay.vms[..] else { panic!("three VMs") };
    let settings = Settings { address, ..Settings::FAST };
    let mut keepalived = Keepalived::start(one, settings, lab.folder().join("keepalived"));
    keepalived.wait_entered("MASTER", 1);
    let sender = Sender::new(&stranger.namespace, "eth0");
    let packets = packets(stranger.mac, address);
    let adverts: Vec<_> =
        packets.iter().filter(|(name, _)| name.contains("advert") || name.contains("VRRP")).collect();
    adverts[0].1.iter().for_each(|frame| sender.send(frame));
    keepalived.wait_entered("BACKUP", 2);
    keepalived.wait_entered("MASTER", 2);

    node.create_havip(WEB, VNI, address, "");
    node.attach(WEB, &overlay, one);
    node.attach(WEB, &overlay, two);
    let before = node.wait_holder(WEB, &overlay, one);
    for (name, frames) in &packets {
        let due = refused(&node) + 1;
        frames.iter().for_each(|frame| sender.send(frame));
        wait_for(&format!("the refusal of {name}"), || (refused(&node) >= due).then_some(()));
    }
    let kept = one.namespace.ip("address show dev eth0");
    assert!(kept.contains(&format!("{address}/")) && !kept.contains("dadfailed"), "{kept}");
    assert_eq!((keepalived.entered("BACKUP"), keepalived.entered("MASTER")), (2, 2), "{}", keepalived.log());
    let after = node.havip(WEB);
    assert_eq!((after.holder(), after.generation()), (before.holder(), before.generation()), "{after:?}");
}

#[test]
fn no_ipv6_packet_in_fragments_of_an_unattached_vm_makes_keepalived_give_its_address_up() {
    gives_nothing_up(VIP6.into());
}

#[test]
fn no_ipv4_packet_in_fragments_of_an_unattached_vm_makes_keepalived_give_its_address_up() {
    gives_nothing_up(VIP.into());
}
