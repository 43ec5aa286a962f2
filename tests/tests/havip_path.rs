//! Virtual IPs on the packet path, by real frames: whose announcements pass, whose do not, and what the node announces itself.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use testkit::{
    frame::{Copy, broadcast, checksum, ethernet, overlay},
    lab::{Host, Lab},
    node::{Metrics, Node},
    process::wait_for,
    sender::Sender,
    sniffer::Sniffer,
};
use wire::{
    MacAddr, announcement,
    gratuitous::{Form, advertisement, garp},
};

const VNI: u32 = 5001;
const HOLDER: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
const BACKUP: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];
const STRANGER: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0x66];
const FOUR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
const SIX: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x100);
const ORDINARY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 7);

/// A node, and three hosts of a domain with two virtual IPs: the holder's, the backup's, and one where nobody is attached.
fn havips<'l>(lab: &'l Lab, options: &str) -> (Node<'l>, [Host; 3]) {
    let node = Node::plain(lab);
    let hosts = [lab.host(), lab.host(), lab.host()];
    let teps = hosts.each_ref().map(|host| host.address);
    node.serve(VNI, &teps);
    node.must(&format!("havip create web --vni {VNI} --subnet 10.0.0.0/24 --address {FOUR} {options}"));
    node.must(&format!("havip create six --vni {VNI} --subnet fd00::/64 --address {SIX}"));
    for name in ["web", "six"] {
        for (instance, mac, tep) in [("vm1", HOLDER, teps[0]), ("vm2", BACKUP, teps[1])] {
            let mac = MacAddr(mac);
            node.must(&format!("havip attach {name} --instance {instance} --mac {mac} --tep {tep}"));
        }
    }
    (node, hosts)
}

fn claim(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    garp(MacAddr(mac), address, Form::Request).to_vec()
}

fn tagged(frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x81, 0, 0, 0], &frame[12..]].concat()
}

/// An ordinary ARP request: who has `ORDINARY`? Tell this one.
fn request(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let mut frame = claim(mac, address);
    frame[38..42].copy_from_slice(&ORDINARY.octets());
    frame
}

/// VRRP version 3, one address.
fn advert(mac: [u8; 6], address: Ipv4Addr) -> Vec<u8> {
    let mut message = [&[0x31, 51, 100, 1, 0, 100, 0, 0][..], &address.octets()].concat();
    let sum = checksum(&message);
    message[6..8].copy_from_slice(&sum.to_be_bytes());
    let mut ip = vec![0x45, 0xc0, 0, 32, 0, 0, 0, 0, 255, 112, 0, 0, 10, 0, 0, 1, 224, 0, 0, 18];
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    ethernet([1, 0, 0x5e, 0, 0, 18], mac, 0x0800, &[ip, message].concat())
}

/// A neighbour advertisement behind destination options.
fn hidden(mac: [u8; 6]) -> Vec<u8> {
    let plain = advertisement(MacAddr(mac), SIX);
    let mut frame = [&plain[..54], &[58, 0, 1, 4, 0, 0, 0, 0], &plain[54..]].concat();
    (frame[19], frame[20]) = (40, 60);
    frame
}

fn announcements(metrics: &Metrics) -> [u64; 3] {
    ["claim", "use", "advert"].map(|kind| metrics.labelled("bcast_announcements_total", "kind", kind))
}

fn drops(metrics: &Metrics) -> [u64; 2] {
    ["garp_spoof", "vrrp_spoof"].map(|reason| metrics.reason("bcast_drops_total", reason))
}

/// The inner frames that a host got until a fence that `from` sends; the fence itself is not among them.
fn got(sniffer: &Sniffer, sender: &Sender, from: &Host, fence: u64) -> Vec<Vec<u8>> {
    sender.send(&overlay(from, VNI, &broadcast(9, fence, 60)));
    let copies = sniffer.copies_until(9, fence);
    let inner = copies.into_iter().map(|(_, Copy { inner, .. })| inner);
    inner.filter(|inner| testkit::frame::tag_and_number(inner).is_none()).collect()
}

#[test]
fn announcements_of_those_who_are_attached_pass_byte_for_byte_and_all_others_are_dropped_by_name() {
    let lab = Lab::new();
    let (node, hosts) = havips(&lab, "");
    let sniffer = Sniffer::copies_to(&hosts[1], lab.folder());
    let senders = hosts.each_ref().map(|host| Sender::new(&host.namespace, "eth0"));
    let six = advertisement(MacAddr(HOLDER), SIX).to_vec();
    let [pass, spoof, vrrp] = [None, Some(0), Some(1)];
    let (claims, uses, adverts) = (Some(0), Some(1), Some(2));
    // Description, from which host, inner frame, what it counts as, which drop.
    let cases = [
        ("the holder's claim", 0, claim(HOLDER, FOUR), claims, pass),
        ("with a tag", 0, tagged(&claim(HOLDER, FOUR)), claims, pass),
        ("its reply", 0, garp(MacAddr(HOLDER), FOUR, Form::Reply).to_vec(), claims, pass),
        ("its request", 0, request(HOLDER, FOUR), uses, pass),
        ("its advert", 0, advert(HOLDER, FOUR), adverts, pass),
        ("IPv6", 0, six, claims, pass),
        ("no virtual IP", 2, claim(STRANGER, ORDINARY), None, pass),
        ("a stranger's claim", 2, claim(STRANGER, FOUR), None, spoof),
        ("with a tag", 2, tagged(&claim(STRANGER, FOUR)), None, spoof),
        ("a stranger on the holder's hypervisor", 0, claim(STRANGER, FOUR), None, spoof),
        ("the holder's MAC from elsewhere", 2, claim(HOLDER, FOUR), None, spoof),
        ("a stranger's request", 2, request(STRANGER, FOUR), None, spoof),
        ("IPv6", 2, advertisement(MacAddr(STRANGER), SIX).to_vec(), None, spoof),
        ("what hides", 0, hidden(HOLDER), None, spoof),
        ("a stranger's advert", 2, advert(STRANGER, FOUR), None, vrrp),
    ];
    let mut passed = Vec::new();
    let (mut counted, mut dropped) = ([0; 3], [0; 2]);
    for (fence, (case, from, inner, counts, drop)) in (1..).zip(cases) {
        senders[from].send(&overlay(&hosts[from], VNI, &inner));
        counts.into_iter().for_each(|kind: usize| counted[kind] += 1);
        drop.into_iter().for_each(|reason: usize| dropped[reason] += 1);
        passed.extend(drop.is_none().then_some(inner));
        assert_eq!(got(&sniffer, &senders[from], &hosts[from], fence), passed, "{case}");
        node.wait_metrics(case, |metrics| announcements(metrics) == counted && drops(metrics) == dropped);
    }
    let metrics = node.wait_metrics("counters that add up", Metrics::adds_up);
    assert_eq!(metrics.sum("bcast_rejected_announcements_lost_total"), 0);
}

#[test]
fn the_node_announces_for_the_holder_to_all_members_but_the_holders_own() {
    let lab = Lab::new();
    let (node, hosts) = havips(&lab, "--refresh 1s");
    let sniffers = hosts.each_ref().map(|host| Sniffer::copies_to(host, lab.folder()));
    let sender = Sender::new(&hosts[0].namespace, "eth0");
    sender.send(&overlay(&hosts[0], VNI, &claim(HOLDER, FOUR)));
    // A request and a reply, at least once.
    node.wait_metrics("what the node announces", |metrics| metrics.sum("bcast_local_frames_total") >= 2);
    let reply = garp(MacAddr(HOLDER), FOUR, Form::Reply).to_vec();
    for sniffer in &sniffers[1..] {
        sniffer.wait_for("both forms", |seen| {
            let copies: Vec<_> = seen.iter().filter_map(|seen| Copy::parse(&seen.bytes)).collect();
            let count = |frame: &[u8]| copies.iter().filter(|copy| copy.inner == frame).count();
            // The first is the holder's own.
            count(&claim(HOLDER, FOUR)) >= 2 && count(&reply) >= 1
        });
    }
    let other = Sender::new(&hosts[1].namespace, "eth0");
    assert_eq!(got(&sniffers[0], &other, &hosts[1], 1), Vec::<Vec<u8>>::new(), "split horizon");
    let metrics = node.wait_metrics("counters that add up", Metrics::adds_up);
    assert_eq!(announcements(&metrics), [1, 0, 0], "the node does not hear itself");
    assert!(announcement(&reply).is_some());
}

#[test]
fn in_a_strict_domain_an_ordinary_address_stays_where_it_was_announced_first() {
    let lab = Lab::new();
    let (node, hosts) = havips(&lab, "");
    let sniffer = Sniffer::copies_to(&hosts[2], lab.folder());
    let senders = hosts.each_ref().map(|host| Sender::new(&host.namespace, "eth0"));
    let (first, second) = (claim(HOLDER, ORDINARY), claim(BACKUP, ORDINARY));
    let send = |from: usize, inner: &[u8]| senders[from].send(&overlay(&hosts[from], VNI, inner));

    send(0, &first);
    send(1, &second);
    let mut passed = vec![first.clone(), second.clone()];
    let mut open = got(&sniffer, &senders[1], &hosts[1], 1);
    // Two hosts' frames may overtake each other.
    open.sort();
    passed.sort();
    assert_eq!(open, passed, "the default is open");

    node.must(&format!("domain arp-inspection {VNI} sticky"));
    for (fence, (from, inner, passes)) in (2..).zip([
        (0, &first, true),
        (1, &second, false),
        (0, &first, true),
        (1, &claim(BACKUP, FOUR), true),
    ]) {
        send(from, inner);
        let before = passed.len();
        passed.extend(passes.then(|| inner.clone()));
        let seen = got(&sniffer, &senders[from], &hosts[from], fence);
        assert_eq!(seen[before..], passed[before..], "{from} {fence}");
    }
    node.wait_metrics("the drop", |metrics| drops(metrics) == [1, 0]);

    node.must(&format!("domain arp-inspection {VNI} off"));
    send(1, &second);
    passed.push(second);
    assert_eq!(got(&sniffer, &senders[1], &hosts[1], 9).len(), passed.len());
    node.wait_metrics("counters that add up", Metrics::adds_up);
}

/// Moves of a virtual IP that the node knows, once it is held by this instance.
fn moves_to(node: &Node, name: &str, instance: &str) -> u64 {
    let held =
        |havip: &testkit::havip::Havip| havip.holder().is_some_and(|holder| holder.instance == instance);
    node.wait_havip(name, instance, held).moves()
}

#[test]
fn each_gratuitous_arp_of_carp_moves_it_though_source_and_sender_are_different_mac_addresses() {
    let lab = Lab::new();
    let (node, hosts) = havips(&lab, "--vrid 7");
    let senders = hosts.each_ref().map(|host| Sender::new(&host.namespace, "eth0"));
    let carp = [0x00, 0x00, 0x5e, 0x00, 0x01, 7];
    // The interface's MAC address outside, the virtual one inside.
    let four = |nic: [u8; 6]| [&[0xff; 6], &nic[..], &claim(carp, FOUR)[12..]].concat();
    for (moves, from) in [0, 1, 0, 1].into_iter().enumerate() {
        senders[from].send(&overlay(&hosts[from], VNI, &four([HOLDER, BACKUP][from])));
        assert_eq!(moves_to(&node, "web", ["vm1", "vm2"][from]), moves as u64);
    }
    let metrics = node.wait_metrics("counters that add up", Metrics::adds_up);
    assert_eq!((announcements(&metrics), drops(&metrics)), ([4, 0, 0], [0, 0]));
}

#[test]
fn what_the_node_announces_stays_in_the_holders_vlan() {
    let lab = Lab::new();
    let (node, hosts) = havips(&lab, "--refresh 1s");
    let sniffer = Sniffer::copies_to(&hosts[1], lab.folder());
    let sender = Sender::new(&hosts[0].namespace, "eth0");
    let tagged = |frame: &[u8]| [&frame[..12], &[0x81, 0, 0, 10], &frame[12..]].concat();
    let first = tagged(&claim(HOLDER, FOUR));
    sender.send(&overlay(&hosts[0], VNI, &first));
    node.wait_metrics("what the node announces", |metrics| metrics.sum("bcast_local_frames_total") >= 4);
    let reply = tagged(&garp(MacAddr(HOLDER), FOUR, Form::Reply));
    let seen = sniffer.wait_for("both forms, twice", |seen| {
        let copies: Vec<_> = seen.iter().filter_map(|seen| Copy::parse(&seen.bytes)).collect();
        let count = |frame: &[u8]| copies.iter().filter(|copy| copy.inner == frame).count();
        count(&first) >= 3 && count(&reply) >= 2
    });
    let copies: Vec<_> = seen.iter().filter_map(|seen| Copy::parse(&seen.bytes)).collect();
    assert!(copies.iter().all(|copy| copy.inner[12..16] == [0x81, 0, 0, 10]), "{copies:?}");
}

#[test]
fn nobody_but_the_attached_keeps_an_instance_from_taking_the_address() {
    let lab = Lab::new();
    let (node, hosts) = havips(&lab, "");
    let sniffer = Sniffer::copies_to(&hosts[1], lab.folder());
    let senders = hosts.each_ref().map(|host| Sender::new(&host.namespace, "eth0"));
    let probe = |mac: [u8; 6], address: Ipv4Addr| {
        let mut frame = claim(mac, address);
        frame[28..32].fill(0);
        frame
    };
    let mut passed = Vec::new();
    for (fence, (from, inner, passes)) in (1..).zip([
        (0, probe(HOLDER, FOUR), true),
        (2, probe(STRANGER, FOUR), false),
        (2, probe(HOLDER, FOUR), false),
        (2, probe(STRANGER, ORDINARY), true),
    ]) {
        senders[from].send(&overlay(&hosts[from], VNI, &inner));
        passed.extend(passes.then_some(inner));
        assert_eq!(got(&sniffer, &senders[from], &hosts[from], fence), passed, "{fence}");
    }
    node.wait_metrics("the drops", |metrics| drops(metrics) == [2, 0]);
    let told = || {
        node.history("web").iter().any(|(kind, event)| kind == "spoof" && event.to_string().contains("probe"))
    };
    testkit::process::wait_for("the event", || told().then_some(()));
    node.wait_metrics("counters that add up", Metrics::adds_up);
}

/// Number of events about refusals of single addresses in a watch's log, by reason.
fn refusals(log: &str) -> BTreeMap<&'static str, usize> {
    let lines = log.lines().filter(|line| line.contains(r#""event":"announcement_refused""#));
    let single: Vec<_> = lines.filter(|line| line.contains(r#""several_addresses":false"#)).collect();
    let reasons = ["gateway_mac", "other_owner", "outside_subnets", "over_bound"];
    let count = |reason: &str| single.iter().filter(|line| line.contains(&format!("\"{reason}\""))).count();
    reasons.into_iter().map(|reason| (reason, count(reason))).collect()
}

#[test]
fn one_vm_that_announces_200_addresses_leaves_a_sticky_domain_room_to_protect_the_address_of_another() {
    let lab = Lab::new();
    let (node, hosts) = havips(&lab, "");
    let sniffer = Sniffer::copies_to(&hosts[2], lab.folder());
    let senders = hosts.each_ref().map(|host| Sender::new(&host.namespace, "eth0"));
    let send = |from: usize, inner: &[u8]| senders[from].send(&overlay(&hosts[from], VNI, inner));
    let gateway = Ipv4Addr::new(10, 0, 0, 1);
    let shared = [0x52, 0x54, 0, 0, 1, 1];
    node.must(&format!("domain arp-inspection {VNI} sticky"));
    node.must(&format!("domain subnets {VNI} 10.0.0.0/16"));
    node.must(&format!("domain gateway {VNI} {gateway} {}", MacAddr(shared)));
    let watch = node.watch(&lab.folder().join("watch"));
    let diagnoses = |metrics: &Metrics| {
        let name = "bcast_havip_diagnoses";
        [metrics.labelled(name, "code", "never-heard"), metrics.sum(name)]
    };
    node.wait_metrics("two HAVIPs that were never heard", |metrics| diagnoses(metrics) == [2, 2]);

    let mut passed: Vec<_> = (0..200).map(|last| claim(STRANGER, Ipv4Addr::new(10, 0, 3, last))).collect();
    passed.iter().for_each(|inner| send(0, inner));
    passed.truncate(64);
    assert_eq!(got(&sniffer, &senders[0], &hosts[0], 1), passed, "the first 64 of one VM");

    let outside = claim(BACKUP, Ipv4Addr::new(10, 1, 0, 7));
    let steps = [
        ("another VM's later address", 1, claim(BACKUP, ORDINARY), true),
        ("is protected", 0, claim(STRANGER, ORDINARY), false),
        ("an address of no subnet", 1, outside, false),
        ("the gateway", 0, claim(shared, gateway), true),
        ("and at another TEP", 1, claim(shared, gateway), true),
        ("a gateway's address with another MAC", 1, claim(BACKUP, gateway), false),
    ];
    for (fence, (step, from, inner, passes)) in (2..).zip(steps) {
        send(from, &inner);
        let before = passed.len();
        passed.extend(passes.then_some(inner));
        let seen = got(&sniffer, &senders[from], &hosts[from], fence);
        assert_eq!(seen[before..], passed[before..], "{step}");
    }
    node.wait_metrics("the drops", |metrics| drops(metrics) == [136 + 3, 0]);
    let expected = [("gateway_mac", 1), ("other_owner", 1), ("outside_subnets", 1), ("over_bound", 64)];
    wait_for("an event for each reason and address", || {
        (refusals(&watch.log()) == expected.into()).then_some(())
    });
    // An instance of both HAVIPs was heard meanwhile, about other addresses.
    node.wait_metrics("no diagnosis", |metrics| diagnoses(metrics) == [0, 0]);
    let learned = node.must(&format!("domain learned {VNI}"));
    assert_eq!(learned.lines().count(), 1 + 64 + 1, "{learned}");
    let of_backup = [ORDINARY.to_string(), MacAddr(BACKUP).to_string()];
    let has = |line: &str| line.split_whitespace().take(2).eq(of_backup.iter().map(String::as_str));
    assert!(learned.lines().any(has), "{learned}");

    // Freed, it goes to whoever announces it next.
    assert!(node.must(&format!("domain forget {VNI} {ORDINARY}")).contains("is free now"));
    let taken = claim(HOLDER, ORDINARY);
    send(0, &taken);
    passed.push(taken);
    assert_eq!(got(&sniffer, &senders[0], &hosts[0], 9), passed);
    node.wait_metrics("counters that add up", Metrics::adds_up);
}
