//! Large fan-outs: whole and in order, cut where they must be, and in nobody's way.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    net::Ipv4Addr,
    sync::mpsc::RecvTimeoutError,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use testkit::{
    frame::{Copy, broadcast, ethernet, overlay, tag_and_number},
    lab::{Host, Lab, NODE, mac_text},
    node::{Config, Metrics, Node},
    ping::Ping,
    sender::Sender,
    sniffer::Sniffer,
};

const LARGE: u32 = 5001;
const SMALL: u32 = 5002;
const DROPS: &str = "bcast_drops_total";
const COPY_DROPS: &str = "bcast_copy_drops_total";

/// So many addresses of TEPs that are all behind one host.
fn behind(count: u16) -> Vec<Ipv4Addr> {
    (1..=count)
        .map(|number| Ipv4Addr::from([198, 18, 100 + number.to_be_bytes()[0], number.to_be_bytes()[1]]))
        .collect()
}

/// A node without limits that sends all copies to one host, and that host.
fn node(lab: &Lab) -> (Node<'_>, Host) {
    node_with_limits(lab, false)
}

fn node_with_limits(lab: &Lab, limits: bool) -> (Node<'_>, Host) {
    let host = lab.host();
    let config = Config::new(lab.folder())
        .set("underlay.tap", "")
        .set("underlay.gateway_mac", mac_text(host.mac))
        .set("limits.enabled", limits);
    (Node::start(lab, &config), host)
}

/// An ARP frame.
fn arp() -> Vec<u8> {
    ethernet([0xff; 6], [2, 0, 0, 0, 9, 9], 0x0806, &[0; 46])
}

/// Floods domains from a thread until the guard is dropped, a round of a frame each every half a millisecond.
fn flood<'s>(scope: &'s thread::Scope<'s, '_>, host: &Host, vnis: std::ops::Range<u32>) -> Flood {
    let (stop, stopped) = std::sync::mpsc::channel();
    let sender = Sender::new(&host.namespace, "eth0");
    let frames: Vec<_> = vnis.map(|vni| overlay(host, vni, &broadcast(vni, 1, 60))).collect();
    scope.spawn(move || {
        while stopped.recv_timeout(Duration::from_micros(500)) == Err(RecvTimeoutError::Timeout) {
            frames.iter().for_each(|frame| sender.send(frame));
        }
    });
    stop
}

/// Ends a flood when it is dropped.
type Flood = std::sync::mpsc::Sender<()>;

/// Makes domains of TEPs, all at once.
fn apply(lab: &Lab, node: &Node, host: &Host, domains: &[(u32, &[Ipv4Addr])]) {
    let mut file = format!("teps:\n- {{address: {}}}\n", host.address);
    let teps: BTreeSet<_> = domains.iter().flat_map(|(_, teps)| *teps).collect();
    teps.iter().for_each(|tep| writeln!(file, "- {{address: {tep}}}").expect("memory"));
    file += "domains:\n";
    for (vni, teps) in domains {
        let members: Vec<_> = teps.iter().map(Ipv4Addr::to_string).collect();
        writeln!(file, "- {{vni: {vni}, members: [{}, {}]}}", host.address, members.join(", "))
            .expect("memory");
    }
    let path = lab.folder().join("domains.yaml");
    fs::write(&path, file).expect("the lab's folder can be written");
    node.must(&format!("apply -f {}", path.display()));
}

/// The numbers that each address got of a network's frames, in order.
fn numbers(sniffer: &Sniffer, vni: u32) -> BTreeMap<Ipv4Addr, Vec<u64>> {
    let mut numbers = BTreeMap::<_, Vec<_>>::new();
    for copy in sniffer.seen().iter().filter_map(|seen| Copy::parse(&seen.bytes)) {
        if let Some((tag, number)) = tag_and_number(&copy.inner).filter(|(tag, _)| *tag == vni) {
            assert_eq!(copy.key, tag, "misdelivered");
            numbers.entry(copy.destination).or_default().push(number);
        }
    }
    numbers
}

fn copies_to(lab: &Lab, host: &Host) -> Sniffer {
    let filter = format!("proto gre and not src host {}", host.address);
    Sniffer::start(&host.namespace, "eth0", &filter, lab.folder(), "copies")
}

#[test]
fn frames_to_more_members_than_a_quantum_reach_each_once_and_in_order() {
    let lab = Lab::new();
    let (node, host) = node(&lab);
    let teps = behind(600);
    apply(&lab, &node, &host, &[(LARGE, &teps)]);
    let sniffer = copies_to(&lab, &host);
    let sender = Sender::new(&host.namespace, "eth0");
    for number in 1..=20 {
        let length = if number % 2 == 0 { 60 } else { 1400 };
        sender.send(&overlay(&host, LARGE, &broadcast(LARGE, number, length)));
    }
    sniffer.wait_for_count(20 * teps.len());
    let metrics = node.wait_metrics("counters that add up", Metrics::adds_up);
    assert_eq!(metrics.sum("bcast_tx_copies_total"), 20 * 600);
    let numbers = numbers(&sniffer, LARGE);
    assert_eq!(numbers.keys().copied().collect::<Vec<_>>(), teps, "all but the source");
    for (tep, numbers) in numbers {
        assert_eq!(numbers, (1..=20).collect::<Vec<_>>(), "{tep}");
    }
    node.wait_metrics("all buffers", |metrics| metrics.sum("bcast_mbufs_in_use") == 0);
}

#[test]
fn a_flood_to_a_large_domain_is_dropped_by_name_and_another_domain_loses_nothing() {
    const FRAMES: u64 = 300;
    let lab = Lab::new();
    let (node, host) = node(&lab);
    let (large, small) = (behind(2000), [Ipv4Addr::new(198, 18, 200, 1), Ipv4Addr::new(198, 18, 200, 2)]);
    apply(&lab, &node, &host, &[(LARGE, &large), (SMALL, &small)]);
    // Of the flood's copies those to one member are enough: all of them are too many for tcpdump.
    let filter = format!("proto gre and (dst net 198.18.200.0/24 or dst host {})", large[1999]);
    let sniffer = Sniffer::start(&host.namespace, "eth0", &filter, lab.folder(), "copies");
    let sender = Sender::new(&host.namespace, "eth0");
    for number in 1..=FRAMES {
        for _ in 0..5 {
            sender.send(&overlay(&host, LARGE, &broadcast(LARGE, number, 1400)));
        }
        sender.send(&overlay(&host, SMALL, &broadcast(SMALL, number, 60)));
        sender.send(&overlay(&host, SMALL, &arp()));
        if number % 10 == 0 {
            // The kernel's ring before the port holds a few hundred frames, and what it loses nobody counts.
            node.wait_metrics("the frames so far", |metrics| {
                metrics.sum("bcast_rx_frames_total") >= 7 * number
            });
        }
    }
    let metrics = node.wait_metrics("all frames", |metrics| {
        metrics.sum("bcast_rx_frames_total") >= 7 * FRAMES && metrics.adds_up()
    });
    assert!(metrics.reason(DROPS, "fanout_queue_full") > 0, "{metrics:#?}");
    let own = metrics.reason(DROPS, "punt_off");
    assert_eq!(
        metrics.sum(DROPS),
        metrics.reason(DROPS, "fanout_queue_full") + own,
        "and for no other reason"
    );
    assert_eq!(metrics.sum(COPY_DROPS), 0, "what was begun was finished: nobody waited for its end");
    let count =
        |class: &str, name: &str| metrics.labelled(&format!("bcast_forwarding_{name}_count"), "class", class);
    assert_eq!(count("control", "seconds"), FRAMES);
    assert_eq!(count("data", "seconds"), metrics.sum("bcast_rx_accepted_total") - FRAMES);
    assert_eq!(count("data", "quanta"), count("data", "seconds"));
    let waited = |class: &str| metrics.labelled("bcast_forwarding_quanta_sum", "class", class);
    assert_eq!(waited("control"), 0, "ARP went before all other frames");
    let flooded = metrics.sum("bcast_rx_accepted_total") - 2 * FRAMES;
    let expected = 2 * small.len() * 300 + usize::try_from(flooded).expect("few");
    sniffer.wait_for_count(expected);
    for (tep, numbers) in numbers(&sniffer, SMALL) {
        assert_eq!(numbers, (1..=FRAMES).collect::<Vec<_>>(), "{tep} lost frames, or their order");
    }
    for (tep, numbers) in numbers(&sniffer, LARGE) {
        assert!(numbers.is_sorted(), "{tep}: out of order: {numbers:?}");
    }
}

#[test]
fn the_kernels_frames_in_between_are_sent_and_counted_apart() {
    let lab = Lab::new();
    let host = lab.host();
    let config = Config::new(lab.folder())
        .set("underlay.gateway_mac", mac_text(host.mac))
        .set("limits.enabled", false);
    let node = Node::start(&lab, &config);
    apply(&lab, &node, &host, &[(LARGE, &behind(2000))]);
    let ping = Ping::start(&host.namespace, NODE, &lab.folder().join("ping"));
    let sender = Sender::new(&host.namespace, "eth0");
    let flood = 200;
    for _ in 0..flood {
        sender.send(&overlay(&host, LARGE, &broadcast(LARGE, 1, 60)));
        thread::sleep(Duration::from_millis(5));
    }
    let answers = ping.stop().len();
    assert!(answers > 20, "{answers} pings were answered");
    let metrics = node.wait_metrics("all frames", |metrics| {
        metrics.sum("bcast_rx_accepted_total") + metrics.reason(DROPS, "fanout_queue_full") == flood
            && metrics.adds_up()
    });
    assert_eq!(metrics.sum("bcast_tx_copies_total"), 2000 * metrics.sum("bcast_rx_accepted_total"));
    assert!(metrics.sum("bcast_kernel_tx_total") > 20);
    assert_eq!(metrics.sum("bcast_kernel_tx_drops_total"), 0);
}

#[test]
fn a_leave_is_final_and_quick_while_a_large_domain_is_flooded() {
    let lab = Lab::new();
    let (node, host) = node(&lab);
    let large = behind(2000);
    apply(&lab, &node, &host, &[(LARGE, &large)]);
    let gone = large[1999];
    let filter = format!("proto gre and dst host {gone}");
    let leaves = Sniffer::start(&lab.switch, "node", &filter, lab.folder(), "leaves");
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let (mut away, mut expired) = (Vec::new(), 0);
    thread::scope(|scope| {
        let flood = flood(scope, &host, LARGE..LARGE + 1);
        for _ in 0..5 {
            let reached = node.metrics().sum("bcast_tx_copies_total") + 20_000;
            node.wait_metrics("traffic", |metrics| metrics.sum("bcast_tx_copies_total") >= reached);
            node.must(&format!("domain leave {LARGE} {gone}"));
            let left = now();
            let reached = node.metrics().sum("bcast_tx_copies_total") + 20_000;
            let metrics =
                node.wait_metrics("more traffic", |metrics| metrics.sum("bcast_tx_copies_total") >= reached);
            expired = metrics.reason(COPY_DROPS, "fanout_aborted");
            away.push((left, now()));
            node.must(&format!("domain join {LARGE} {gone}"));
        }
        drop(flood);
    });
    assert!(expired > 0, "what was on its way was cut");
    let metrics = node.wait_metrics("counters that add up", Metrics::adds_up);
    assert_eq!(
        metrics.sum(COPY_DROPS),
        metrics.reason(COPY_DROPS, "fanout_aborted"),
        "and nothing else was lost"
    );
    let copies = leaves.seen();
    assert!(!copies.is_empty(), "it got copies while it was a member");
    for (left, back) in away {
        let late = copies.iter().filter(|copy| (left..back).contains(&copy.at)).count();
        assert_eq!(late, 0, "copies after the leave was answered");
    }
}

#[test]
fn two_hundred_virtual_ips_of_a_large_domain_are_announced_at_once() {
    let lab = Lab::new();
    let (node, host) = node_with_limits(&lab, true);
    apply(&lab, &node, &host, &[(LARGE, &behind(500))]);
    let sender = Sender::new(&host.namespace, "eth0");
    let frame = overlay(&host, LARGE, &arp());
    (0..200).for_each(|_| sender.send(&frame));
    let metrics = node.wait_metrics("all of them", |metrics| {
        metrics.sum("bcast_rx_accepted_total") + metrics.reason(DROPS, "fanout_queue_full") == 200
            && metrics.adds_up()
    });
    assert_eq!(metrics.sum("bcast_tx_copies_total"), 200 * 500, "{metrics:#?}");
}

#[test]
fn eight_flooded_domains_leave_room_for_the_announcements_of_a_ninth() {
    let lab = Lab::new();
    let (node, host) = node(&lab);
    let teps = behind(400);
    let domains: Vec<_> = (LARGE..LARGE + 9).map(|vni| (vni, &teps[..])).collect();
    apply(&lab, &node, &host, &domains);
    thread::scope(|scope| {
        let flood = flood(scope, &host, LARGE..LARGE + 8);
        node.wait_metrics("a flood", |metrics| metrics.reason(DROPS, "fanout_queue_full") > 100);
        let sender = Sender::new(&host.namespace, "eth0");
        let frame = overlay(&host, LARGE + 8, &arp());
        for _ in 0..40 {
            sender.send(&frame);
            thread::sleep(Duration::from_millis(2));
        }
        let count =
            |metrics: &Metrics| metrics.labelled("bcast_forwarding_seconds_count", "class", "control");
        node.wait_metrics("all announcements", |metrics| count(metrics) == 40);
        drop(flood);
    });
    let metrics = node.wait_metrics("counters that add up", Metrics::adds_up);
    assert_eq!(metrics.sum(COPY_DROPS), 0);
}

#[test]
fn a_join_elsewhere_cuts_no_fan_out() {
    let lab = Lab::new();
    let (node, host) = node(&lab);
    let large = behind(2000);
    apply(&lab, &node, &host, &[(LARGE, &large), (SMALL, &[])]);
    let sender = Sender::new(&host.namespace, "eth0");
    for (number, tep) in (1..=40).zip(&large) {
        sender.send(&overlay(&host, LARGE, &broadcast(LARGE, number, 60)));
        node.must(&format!("domain join {SMALL} {tep}"));
        // Three fan-outs at a time: more may find no place among the jobs on a machine that is slow.
        node.wait_metrics("earlier fan-outs to end", |metrics| {
            metrics.sum("bcast_tx_copies_total") + metrics.sum(COPY_DROPS) >= number.saturating_sub(3) * 2000
        });
    }
    let metrics = node.wait_metrics("all frames", |metrics| {
        metrics.sum("bcast_rx_accepted_total") == 40 && metrics.adds_up()
    });
    assert_eq!(metrics.sum("bcast_tx_copies_total"), 40 * 2000);
}

#[test]
fn a_leave_is_answered_while_many_large_domains_are_flooded() {
    let lab = Lab::new();
    let (node, host) = node(&lab);
    let teps = behind(1000);
    let mut domains: Vec<_> = (LARGE..LARGE + 16).map(|vni| (vni, &teps[..])).collect();
    domains.push((9000, &teps[..1]));
    apply(&lab, &node, &host, &domains);
    thread::scope(|scope| {
        let flood = flood(scope, &host, LARGE..LARGE + 16);
        node.wait_metrics("a flood", |metrics| metrics.reason(DROPS, "fanout_queue_full") > 100);
        for _ in 0..5 {
            // An answer that does not come within a second is a refusal.
            node.must(&format!("domain leave 9000 {}", teps[0]));
            node.must(&format!("domain join 9000 {}", teps[0]));
        }
        drop(flood);
    });
    node.wait_metrics("counters that add up", Metrics::adds_up);
}
