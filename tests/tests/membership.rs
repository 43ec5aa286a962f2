//! Domains change while traffic flows: whoever stays loses nothing, and an answered change holds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bcast_domain::{Tep, Vni};
use ctl_api::{
    client::Client,
    model::{Batch, Change, TepSet},
};
use testkit::{
    frame::{broadcast, overlay},
    lab::{Host, Lab},
    node::{Metrics, Node},
    sender::Sender,
    sniffer::Sniffer,
    traffic::{Traffic, counts, not_once},
};
use tokio::task::JoinSet;

const VNI: u32 = 5001;
const FENCE: u32 = 9000;
const ACCEPTED: &str = "bcast_rx_accepted_total";

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970")
}

/// Sends the frame after which nothing more comes.
fn send_fence(from: &Host) {
    Sender::new(&from.namespace, "eth0").send(&overlay(from, FENCE, &broadcast(FENCE, 1, 60)));
}

#[test]
fn after_the_answer_to_a_leave_not_one_copy_goes_there_and_the_others_lose_nothing() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let hosts = [lab.host(), lab.host(), lab.host()];
    let teps = hosts.each_ref().map(|host| host.address);
    node.serve(FENCE, &teps);
    node.serve(VNI, &teps);
    let stays = Sniffer::copies_to(&hosts[1], lab.folder());
    // At the node's cable: the kernel stamps what the node sends as it is sent, however late it arrives.
    let filter = format!("proto gre and dst host {}", teps[2]);
    let leaves = Sniffer::start(&lab.switch, "node", &filter, lab.folder(), "leaves");

    let base = node.metrics().sum(ACCEPTED);
    let traffic = Traffic::start(&hosts[0], VNI);
    let (mut away, mut there) = (Vec::new(), Vec::new());
    let mut joined = 0;
    for _ in 0..50 {
        let reached = joined + 52;
        node.wait_metrics("50 more frames", |metrics| metrics.sum(ACCEPTED) >= base + reached);
        // The frame after `joined` may have been on its way while the join was answered.
        there.push((joined + 2, reached));
        node.must(&format!("domain leave {VNI} {}", teps[2]));
        let left = now();
        let seen = traffic.sent();
        node.wait_metrics("30 more frames", |metrics| metrics.sum(ACCEPTED) >= base + seen + 30);
        away.push((left, now()));
        node.must(&format!("domain join {VNI} {}", teps[2]));
        joined = traffic.sent();
    }
    let sent = traffic.stop();
    send_fence(&hosts[0]);

    let received = counts(&stays.copies_until(FENCE, 1), VNI);
    assert_eq!(not_once(&received, 1, sent), [], "of {sent} frames for the TEP that stays");
    let copies = leaves.copies_until(FENCE, 1);
    for (left, back) in away {
        let late: Vec<_> = copies.iter().filter(|(at, _)| (left..back).contains(at)).collect();
        assert!(late.is_empty(), "left at {left:?}, and then {late:?}");
    }
    let received = counts(&copies, VNI);
    for (from, to) in there {
        assert_eq!(not_once(&received, from, to), [], "after the answer to a join");
    }
    assert!(received.values().all(|times| *times == 1), "nothing is doubled");
    node.wait_metrics("counters that add up", Metrics::adds_up);
}

/// Work of one client in the churn: each has its own network, so that its last answer is the state that must be there.
async fn churn(
    mut client: Client,
    vni: u32,
    tep: Tep,
    until: Instant,
    changes: Arc<AtomicU64>,
) -> (u32, bool) {
    let teps = || TepSet::from(vec![tep]);
    let mut member = false;
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    while Instant::now() < until {
        tick.tick().await;
        let domain = Vni::from(vni);
        let change = if member {
            Change::Leave { vni: domain, teps: teps() }
        } else {
            Change::Join { vni: domain, teps: teps() }
        };
        client.commit(Batch::new(vec![change])).await.expect("a join or leave is no error");
        member = !member;
        changes.fetch_add(1, Ordering::Relaxed);
    }
    (vni, member)
}

#[test]
fn under_a_thousand_changes_a_second_nothing_is_lost_doubled_or_misdelivered() {
    const CLIENTS: u32 = 20;
    const SECONDS: u64 = 20;
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let hosts = [lab.host(), lab.host(), lab.host(), lab.host()];
    let teps = hosts.each_ref().map(|host| host.address);
    node.serve(FENCE, &teps);
    for vni in 0..CLIENTS {
        node.serve(VNI + vni, &teps[..2]);
    }
    let [stays, moves, stranger] =
        [1, 2, 3].map(|host: usize| Sniffer::copies_to(&hosts[host], lab.folder()));
    let moving = Tep::new(teps[2]).expect("a host's address is a TEP's");

    let traffic = Traffic::start(&hosts[0], VNI);
    let changes = Arc::new(AtomicU64::new(0));
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    let members: Vec<(u32, bool)> = runtime.block_on(async {
        let client = Client::connect(&node.socket()).await.expect("the daemon listens");
        let until = Instant::now() + Duration::from_secs(SECONDS);
        let mut clients = JoinSet::new();
        for vni in VNI..VNI + CLIENTS {
            clients.spawn(churn(client.clone(), vni, moving, until, Arc::clone(&changes)));
        }
        clients.join_all().await
    });
    let sent = traffic.stop();
    println!(
        "{} changes a second, {} frames a second",
        changes.load(Ordering::Relaxed) / SECONDS,
        sent / SECONDS
    );
    send_fence(&hosts[0]);

    let received = counts(&stays.copies_until(FENCE, 1), VNI);
    let lost = not_once(&received, 1, sent);
    assert!(
        lost.is_empty(),
        "of {sent} frames for the TEP that stays: {lost:?}; {:#?}",
        node.metrics().drops()
    );
    let received = counts(&moves.copies_until(FENCE, 1), VNI);
    assert!(received.values().all(|times| *times == 1), "nothing is doubled");
    assert_eq!(counts(&stranger.copies_until(FENCE, 1), VNI).len(), 0, "a TEP that was no member");
    for (vni, member) in members {
        let shown = node.must(&format!("domain show {vni}"));
        assert_eq!(shown.contains(&teps[2].to_string()), member, "{shown}");
    }
    node.wait_metrics("counters that add up", Metrics::adds_up);
}
