//! Strangers say that a virtual IP is theirs, in every way there is, and nobody hears them.

use std::{collections::BTreeMap, net::Ipv4Addr};

use testkit::{
    forge::{self, Announcement, Arping, FrameSender, FromUnattached, arping},
    havip::events,
    keepalived::{Keepalived, Settings, VIP, VIP6},
    lab::{Lab, mac_text},
    node::Node,
    openflow::Places,
    overlay::Overlay,
    ping::Ping,
    sender::Sender,
    sniffer::Sniffer,
};

const VNI: u32 = 5001;
const OTHER_VNI: u32 = 5002;
const WEB: &str = "web";
const SIX: &str = "six";
const DROPS: &str = "bcast_drops_total";
/// Forged announcements in all, at least.
const FORGED: u64 = 100_000;
/// Limit of frames that wait in the port's ring at once.
const BATCH: usize = 200;
/// Limit of the daemon's log about them: bytes.
const LOG: usize = 1 << 20;

/// A holder (VM 0) with a stranger on its hypervisor (1), another one who may have the addresses (2), and a victim (3).
fn cloud(lab: &Lab) -> (Overlay, Node<'_>) {
    let overlay = Overlay::new(lab, Places::Told, &[&[VNI, VNI], &[VNI], &[VNI]]);
    let node = Node::plain(lab);
    overlay.introduce();
    node.serve(VNI, &overlay.teps());
    node.must(&format!("domain create {OTHER_VNI}"));
    let teps: Vec<_> = overlay.teps().iter().map(Ipv4Addr::to_string).collect();
    node.must(&format!("domain join {OTHER_VNI} {}", teps.join(" ")));
    node.create_havip(WEB, VNI, VIP, "");
    node.create_havip(SIX, VNI, VIP6, "");
    for vm in [&overlay.vms[0], &overlay.vms[2]] {
        node.attach(WEB, &overlay, vm);
        node.attach(SIX, &overlay, vm);
    }
    (overlay, node)
}

/// Frames of attackers, with the number of drops of each and their reason.
struct Attack {
    frames: Vec<(FrameSender, Vec<Announcement>)>,
}

impl Attack {
    fn new(overlay: &Overlay) -> Self {
        let stranger = [2, 0, 0, 0, 0x66, 0x66];
        let [holder, _, spare, _] = &overlay.vms[..] else { panic!("four VMs") };
        let hosts: Vec<_> = overlay.hypervisors.iter().map(|hypervisor| &hypervisor.host).collect();
        let of = |mac: [u8; 6]| {
            let forged = forge::announcements(mac).into_iter();
            forged.filter(|frame| frame.from_unattached != FromUnattached::Passes).collect::<Vec<_>>()
        };
        let frames = vec![
            // A stranger elsewhere, on the holder's own hypervisor, and on that of the other one.
            (FrameSender::new(hosts[2], VNI), of(stranger)),
            (FrameSender::new(hosts[0], VNI), of(stranger)),
            (FrameSender::new(hosts[1], VNI), of(stranger)),
            // The right MAC addresses at wrong places.
            (FrameSender::new(hosts[2], VNI), of(holder.mac)),
            (FrameSender::new(hosts[1], VNI), of(holder.mac)),
            (FrameSender::new(hosts[0], VNI), of(spare.mac)),
            // A virtual MAC address, and no VRRP id was stated.
            (FrameSender::new(hosts[0], VNI), of(testkit::keepalived::VIRTUAL_MAC)),
        ];
        Self { frames }
    }

    /// Sends every frame of every attacker once, and gives how often each reason is due.
    fn round(
        &self,
        due: &mut BTreeMap<&'static str, u64>,
        mut pause: impl FnMut(&BTreeMap<&'static str, u64>),
    ) {
        let frames =
            self.frames.iter().flat_map(|(sender, frames)| frames.iter().map(move |frame| (sender, frame)));
        for (number, (sender, frame)) in (1..).zip(frames) {
            sender.send(&frame.bytes);
            if let FromUnattached::Dropped(reason) = frame.from_unattached {
                *due.entry(reason).or_default() += 1;
            }
            if number % BATCH == 0 {
                pause(due);
            }
        }
        pause(due);
    }
}

#[test]
fn a_hundred_thousand_forged_announcements_move_nothing_and_are_heard_by_nobody() {
    let lab = Lab::new();
    let (overlay, node) = cloud(&lab);
    let [holder, _, spare, victim] = &overlay.vms[..] else { panic!("four VMs") };
    let mut keepalived = Keepalived::start(holder, Settings::FAST, lab.folder().join("keepalived"));
    keepalived.wait_entered("MASTER", 1);
    node.wait_holder(WEB, &overlay, holder);
    let six = forge::announcement(holder.mac, "NA");
    Sender::new(&holder.namespace, "eth0").send(&six.bytes);
    let before = [node.wait_holder(WEB, &overlay, holder), node.wait_holder(SIX, &overlay, holder)];
    let watch = node.watch(&lab.folder().join("watch"));
    let ping = Ping::start(&victim.namespace, VIP, &lab.folder().join("ping"));
    let cache = victim.namespace.start("ip -4 monitor neigh dev eth0", &lab.folder().join("neigh"));
    assert_eq!(victim.neighbour(VIP), Some(mac_text(holder.mac)));
    let heard = Sniffer::start(
        &victim.namespace,
        "eth0",
        &format!("ether src 02:00:00:00:66:66 or ether src {}", mac_text(spare.mac)),
        lab.folder(),
        "heard",
    );

    let attack = Attack::new(&overlay);
    let mut due = BTreeMap::new();
    while due.values().sum::<u64>() < FORGED {
        attack.round(&mut due, |due| {
            node.wait_metrics("all of them to be dropped", |metrics| {
                due.iter().all(|(reason, count)| metrics.reason(DROPS, reason) == *count)
            });
        });
    }

    println!("{due:?}");
    let after = [node.havip(WEB), node.havip(SIX)];
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((after.state(), after.holder()), ("bound", before.holder()));
        assert_eq!((after.moves(), after.generation()), (before.moves(), before.generation()));
    }
    assert_eq!(victim.neighbour(VIP), Some(mac_text(holder.mac)));
    let changes = cache.log();
    let foreign: Vec<_> = changes.lines().filter(|line| line.contains("lladdr") && names_vip(line)).collect();
    assert!(foreign.iter().all(|line| line.contains(&mac_text(holder.mac))), "{foreign:#?}");
    assert_eq!(ping.unanswered(), [0; 0], "the holder's service was interrupted");
    assert_eq!(keepalived.entered("BACKUP"), 1, "{}", keepalived.log());
    assert!(node.log().len() < LOG, "{} bytes of log", node.log().len());
    for (name, text) in
        [("history", node.must(&format!("-o json havip history {WEB}"))), ("watch", watch.log())]
    {
        assert!(events(&text).iter().any(|(kind, _)| kind == "spoof"), "no spoof in {name}: {text}");
    }
    // Who may take it still does, once the holder is gone, and that is the first that the victim hears of anybody else.
    drop(keepalived);
    arping(spare, Arping::Request);
    assert_eq!(node.wait_holder(WEB, &overlay, spare).moves(), before[0].moves() + 1);
    let first = heard.wait_for_count(1).remove(0);
    assert_eq!(first.bytes[6..12], spare.mac, "{first:?}");
}

fn names_vip(line: &str) -> bool {
    line.split_whitespace().any(|word| word == VIP.to_string())
}

/// Frames of a stranger's own machine on the holder's hypervisor reach the holder there, past any node; nobody else.
#[test]
fn a_stranger_on_the_holders_own_hypervisor_reaches_nobody_else() {
    let lab = Lab::new();
    let (overlay, node) = cloud(&lab);
    let [holder, stranger, _, victim] = &overlay.vms[..] else { panic!("four VMs") };
    for form in ["GARP request", "NA"] {
        Sender::new(&holder.namespace, "eth0").send(&forge::announcement(holder.mac, form).bytes);
    }
    let before = [node.wait_holder(WEB, &overlay, holder), node.wait_holder(SIX, &overlay, holder)];
    victim.set_neighbour(VIP, holder.mac);
    victim.set_neighbour(VIP6, holder.mac);
    let sender = Sender::new(&stranger.namespace, "eth0");
    let mut due = BTreeMap::<_, u64>::new();
    for frame in forge::announcements(stranger.mac) {
        if let FromUnattached::Dropped(reason) = frame.from_unattached {
            sender.send(&frame.bytes);
            *due.entry(reason).or_default() += 1;
        }
    }
    for form in [Arping::Request, Arping::Reply] {
        arping(stranger, form);
        *due.entry("garp_spoof").or_default() += 1;
    }
    node.wait_metrics("all of them to be dropped", |metrics| {
        due.iter().all(|(reason, count)| metrics.reason(DROPS, reason) == *count)
    });
    assert_eq!(victim.neighbour(VIP), Some(mac_text(holder.mac)));
    assert_eq!(victim.neighbour(VIP6), Some(mac_text(holder.mac)));
    for (name, before) in [WEB, SIX].iter().zip(&before) {
        let after = node.havip(name);
        assert_eq!((after.holder(), after.moves()), (before.holder(), before.moves()));
        assert!(after.diagnosis().contains(&mac_text(stranger.mac)), "{name}: {}", after.diagnosis());
    }
}

#[test]
fn the_same_address_in_another_network_is_ordinary_broadcast_there() {
    let lab = Lab::new();
    let (overlay, node) = cloud(&lab);
    let [holder, ..] = &overlay.vms[..] else { panic!("four VMs") };
    arping(holder, Arping::Request);
    let before = node.wait_holder(WEB, &overlay, holder);
    let there = &overlay.hypervisors[1].host;
    let sniffer = Sniffer::copies_to(there, lab.folder());
    let stranger = [2, 0, 0, 0, 0x66, 0x66];
    let sender = FrameSender::new(&overlay.hypervisors[2].host, OTHER_VNI);
    let frames = forge::announcements(stranger);
    frames.iter().for_each(|frame| sender.send(&frame.bytes));
    let seen = sniffer.wait_for("every frame", |seen| {
        let copies = seen.iter().filter_map(|seen| testkit::frame::Copy::parse(&seen.bytes));
        copies.filter(|copy| copy.key == OTHER_VNI).count() >= frames.len()
    });
    let copies: Vec<_> = seen.iter().filter_map(|seen| testkit::frame::Copy::parse(&seen.bytes)).collect();
    let mut inner: Vec<_> =
        copies.iter().filter(|copy| copy.key == OTHER_VNI).map(|copy| copy.inner.clone()).collect();
    let mut sent: Vec<_> = frames.iter().map(|frame| frame.bytes.clone()).collect();
    // Control frames may go first.
    inner.sort();
    sent.sort();
    assert_eq!(inner, sent, "untouched");
    assert!(copies.iter().all(|copy| copy.key == OTHER_VNI || copy.inner[6..12] != stranger));
    let after = node.havip(WEB);
    assert_eq!((after.holder(), after.generation()), (before.holder(), before.generation()));
}

/// A frame that no receiver believes, or that names no virtual IP, is broadcast as any other: byte for byte.
#[test]
fn malformed_and_harmless_frames_are_forwarded_untouched_and_move_nothing() {
    let lab = Lab::new();
    let hosts = [lab.host(), lab.host(), lab.host()];
    let node = Node::plain(&lab);
    node.serve(VNI, &hosts.each_ref().map(|host| host.address));
    let speaker = [2, 0, 0, 0, 1, 1];
    for (name, address) in [(WEB, std::net::IpAddr::from(VIP)), (SIX, VIP6.into())] {
        node.create_havip(name, VNI, address, "");
        let tep = hosts[0].address;
        node.must(&format!("havip attach {name} --instance vm --mac {} --tep {tep}", mac_text(speaker)));
    }
    let sniffer = Sniffer::copies_to(&hosts[2], lab.folder());
    let mut all = Vec::new();
    for (mac, host) in [([2, 0, 0, 0, 0x66, 0x66], &hosts[1]), (speaker, &hosts[0])] {
        let sender = FrameSender::new(host, VNI);
        let frames = forge::announcements(mac).into_iter();
        for frame in frames.filter(|frame| frame.from_unattached == FromUnattached::Passes) {
            sender.send(&frame.bytes);
            all.push(frame);
        }
    }
    let seen = sniffer.wait_for_count(all.len());
    let inner = seen.iter().map(|seen| testkit::frame::Copy::parse(&seen.bytes).expect("a copy").inner);
    let mut inner: Vec<_> = inner.collect();
    let mut sent: Vec<_> = all.iter().map(|frame| frame.bytes.clone()).collect();
    inner.sort();
    sent.sort();
    assert_eq!(inner, sent);
    assert!(all.len() > 40, "{} frames", all.len());
    for name in [WEB, SIX] {
        let havip = node.havip(name);
        assert_eq!((havip.state(), havip.holder(), havip.why()), ("unbound", None, ""), "{havip:?}");
    }
    let metrics = node.metrics();
    assert_eq!((metrics.reason(DROPS, "garp_spoof"), metrics.reason(DROPS, "vrrp_spoof")), (0, 0));
}

#[test]
fn what_cannot_be_a_havip_is_refused_in_one_line() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    node.must("tep add 198.18.0.1");
    node.must("domain create 5001");
    node.must("domain join 5001 198.18.0.1");
    node.create_havip(WEB, VNI, VIP, "");
    for number in 1..=10 {
        node.must(&format!(
            "havip attach {WEB} --instance vm{number} --mac 02:00:00:00:01:{number:02x} --tep 198.18.0.1"
        ));
    }
    let subnet = "--subnet 198.19.0.0/16";
    let refused = [
        (format!("havip create a --vni 5001 {subnet} --address 10.0.0.1"), "198.19.0.0/16"),
        (format!("havip create a --vni 5001 {subnet} --address 198.19.0.0"), "198.19.0.0"),
        (format!("havip create a --vni 5001 {subnet} --address 198.19.255.255"), "198.19.255.255"),
        (format!("havip create a --vni 5001 {subnet} --address {VIP}"), WEB),
        (format!("havip create a --vni 77 {subnet} --address {VIP}"), "77"),
        (format!("havip create a --vni 5001 --subnet 198.19.0.1/16 --address {VIP}"), "198.19.0.1/16"),
        (format!("havip attach {WEB} --instance vm11 --mac 02:00:00:00:01:0b --tep 198.18.0.1"), "10"),
        (
            format!("havip attach {WEB} --instance vm1 --mac ff:ff:ff:ff:ff:ff --tep 198.18.0.1"),
            "ff:ff:ff:ff:ff:ff",
        ),
        (
            format!("havip attach {WEB} --instance vm1 --mac 00:00:00:00:00:00 --tep 198.18.0.1"),
            "00:00:00:00:00:00",
        ),
        (format!("havip attach {WEB} --instance vm1 --mac 02:00:00:00:01:0b --tep 198.18.0.9"), "198.18.0.9"),
        (format!("havip attach {WEB} --instance vm1 --mac 02:00:00:00:01:02 --tep 198.18.0.1"), "vm2"),
    ];
    let before = node.must("export");
    for (line, named) in refused {
        let answer = node.ctl(&line.split(' ').collect::<Vec<_>>());
        assert!([1, 2].contains(&answer.status), "{line}: {answer:?}");
        assert!(answer.stderr.contains(named), "{line}: {answer:?} does not name {named}");
        // What is no address at all is a mistake in the command line, and shows how to get help.
        assert!(answer.status == 2 || answer.stderr.lines().count() == 1, "{line}: {answer:?}");
    }
    assert_eq!(node.must("export"), before, "what is refused changes nothing");
}
