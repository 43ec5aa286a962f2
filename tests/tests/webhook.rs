//! Events of virtual IPs reach a receiver by HTTP, whatever dies on the way.

use std::{collections::BTreeSet, fs, net::Ipv4Addr, path::Path};

use nix::sys::signal::Signal;
use serde_json::Value;
use testkit::{
    frame::{ethernet, overlay},
    lab::{Host, Lab, mac_text},
    node::{Config, Node},
    process::{Process, wait_for},
    sender::Sender,
};

const VNI: u32 = 5001;
const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
const PORT: u16 = 8080;

/// A VM on a hypervisor, as far as its announcements go.
struct Speaker<'lab> {
    host: &'lab Host,
    mac: [u8; 6],
    sender: Sender,
}

impl<'lab> Speaker<'lab> {
    fn new(host: &'lab Host, last: u8) -> Self {
        Self { host, mac: [0x52, 0x54, 0, 0, 0, last], sender: Sender::new(&host.namespace, "eth0") }
    }

    /// A gratuitous ARP request for the address.
    fn claim(&self) {
        let vip = VIP.octets();
        let arp = [&[0, 1, 8, 0, 6, 4, 0, 1], &self.mac[..], &vip, &[0; 6], &vip].concat();
        self.sender.send(&overlay(self.host, VNI, &ethernet([0xff; 6], self.mac, 0x0806, &arp)));
    }
}

fn secret(lab: &Lab) -> std::path::PathBuf {
    let file = lab.folder().join("secret");
    fs::write(&file, "whsec_c2VjcmV0IGVub3VnaCBmb3IgYW55Ym9keSBhdCBhbGw=\n")
        .expect("the lab's folder is ours");
    file
}

/// The receiver of the crate's own tests, which verifies signatures, inside the node's namespace.
fn receiver(lab: &Lab, log: &Path) -> Process {
    let plan = lab.folder().join("plan.json");
    fs::write(&plan, r#"{"*": ["verify"]}"#).expect("the lab's folder is ours");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../ctl/webhook/tests/receiver.py");
    let mut command = lab.node.command("/usr/bin/python3");
    command.arg(script).arg(plan).arg(lab.folder().join("secret")).env("PORT", PORT.to_string());
    Process::start(&mut command, log)
}

/// Requests that it has received: whole lines of JSON.
fn received(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().skip(1).map(|line| serde_json::from_str(line).expect("the receiver prints JSON")).collect()
}

/// Type and generation of what happened.
type Story = Vec<(String, u64)>;

/// By the webhook: what comes again after a kill was there before.
fn told(requests: &[Value]) -> Story {
    let mut seen = BTreeSet::new();
    let events = requests.iter().map(|request| &request["event"]);
    let first = events.filter(|event| seen.insert(event["id"].to_string()));
    let story = first.map(|event| {
        let kind = event["type"].as_str().expect("a type").trim_start_matches("bcast.havip.");
        (kind.to_owned(), event["data"]["generation"].as_u64().expect("a generation"))
    });
    story.collect()
}

/// By the node itself.
fn history(node: &Node<'_>) -> Story {
    let story = node.history("web").into_iter();
    story.map(|(kind, value)| (kind, value["generation"].as_u64().expect("a generation"))).collect()
}

#[test]
fn a_receiver_that_was_away_while_the_node_was_killed_is_told_every_move_in_order() {
    let lab = Lab::new();
    let (one, other) = (lab.host(), lab.host());
    let url = format!("http://127.0.0.1:{PORT}/");
    let config = Config::new(lab.folder()).set("havip.flap_moves", 1000).webhook("noc", &url, &secret(&lab));
    let mut node = Node::start(&lab, &config);
    node.serve(VNI, &[one.address, other.address]);
    node.must(&format!("havip create web --vni {VNI} --subnet 10.0.0.0/24 --address {VIP}"));
    let speakers = [Speaker::new(&one, 1), Speaker::new(&other, 2)];
    for (number, speaker) in speakers.iter().enumerate() {
        let (mac, tep) = (mac_text(speaker.mac), speaker.host.address);
        node.must(&format!("havip attach web --instance vm{number} --mac {mac} --tep {tep}"));
    }
    let log = lab.folder().join("received.log");
    let moves = |node: &Node<'_>, count: usize| {
        for number in 0..count {
            let speaker = &speakers[number % 2];
            speaker.claim();
            let mac = mac_text(speaker.mac);
            node.wait_havip("web", "the next holder", |havip| havip.holder().is_some_and(|it| it.mac == mac));
        }
    };

    moves(&node, 10);
    wait_for("the receiver to be missed", || node.must("webhook list").contains("away").then_some(()));
    node.kill9();
    node.restart();
    moves(&node, 10);
    assert_eq!(node.metrics().labelled("bcast_webhook_pending", "receiver", "noc"), 20);
    let running = receiver(&lab, &log);
    let all = history(&node);
    assert_eq!(all.len(), 20, "{all:?}");
    wait_for("all that happened", || (told(&received(&log)).len() >= all.len()).then_some(()));
    assert_eq!(told(&received(&log)), all);

    // It dies with its receiver there, too.
    for _ in 0..3 {
        moves(&node, 4);
        node.kill9();
        node.restart();
    }
    let all = history(&node);
    wait_for("the rest", || (told(&received(&log)).len() >= all.len()).then_some(()));
    let requests = received(&log);
    assert_eq!(told(&requests), all);
    assert!(requests.iter().all(|request| request["signed"] == true && request["fresh"] == true));
    node.wait_metrics("nothing to be pending", |metrics| {
        metrics.labelled("bcast_webhook_pending", "receiver", "noc") == 0
    });
    drop(running);
}

#[test]
fn a_new_secret_counts_from_sighup_on_and_a_broken_one_leaves_the_old_one_in_force() {
    let lab = Lab::new();
    let (one, other) = (lab.host(), lab.host());
    let url = format!("http://127.0.0.1:{PORT}/");
    let [old, new] = ["b2xkIHNlY3JldCB0aGF0IGlzIGxvbmcgZW5vdWdo", "bmV3IHNlY3JldCB0aGF0IGlzIGxvbmcgZW5vdWdo"];
    let (own, of_receiver) = (lab.folder().join("copy"), secret(&lab));
    let write = |path: &Path, text: &str| fs::write(path, text).expect("the lab's folder is ours");
    let secrets = [old, new].map(|text| format!("whsec_{text}\n"));
    write(&own, &secrets[0]);
    write(&of_receiver, &secrets[0]);
    let config = Config::new(lab.folder()).set("havip.flap_moves", 1000).webhook("noc", &url, &own);
    let mut node = Node::start(&lab, &config);
    let log = lab.folder().join("received.log");
    let _running = receiver(&lab, &log);
    node.serve(VNI, &[one.address, other.address]);
    node.must(&format!("havip create web --vni {VNI} --subnet 10.0.0.0/24 --address {VIP}"));
    let speakers = [Speaker::new(&one, 1), Speaker::new(&other, 2)];
    for (number, speaker) in speakers.iter().enumerate() {
        let (mac, tep) = (mac_text(speaker.mac), speaker.host.address);
        node.must(&format!("havip attach web --instance vm{number} --mac {mac} --tep {tep}"));
    }
    let mut number = 0;
    let mut moves = |node: &Node<'_>| {
        for _ in 0..4 {
            let speaker = &speakers[number % 2];
            number += 1;
            speaker.claim();
            let mac = mac_text(speaker.mac);
            node.wait_havip("web", "the next holder", |havip| havip.holder().is_some_and(|it| it.mac == mac));
        }
    };
    let accepted =
        || -> Vec<Value> { received(&log).into_iter().filter(|request| request["step"] == "200").collect() };
    moves(&node);
    wait_for("the first four", || (accepted().len() == 4).then_some(()));

    // A secret that is none changes nothing: the receiver goes on with the old one, and so does the node.
    write(&own, "short");
    node.process().signal(Signal::SIGHUP);
    let named = format!("secret_file {}", own.display());
    node.process().wait_for_lines(&named, 1);
    moves(&node);
    wait_for("the next four", || (accepted().len() == 8).then_some(()));

    // The receiver has a new one first. What it refuses comes when the node has it, too.
    write(&of_receiver, &secrets[1]);
    moves(&node);
    wait_for("a refusal", || received(&log).iter().any(|request| request["step"] == "401").then_some(()));
    write(&own, &secrets[1]);
    node.process().signal(Signal::SIGHUP);
    wait_for("the last four", || (accepted().len() >= 12).then_some(()));
    assert_eq!(told(&accepted()), history(&node));
    assert!(!node.log().contains("these changes take a restart"), "{}", node.log());
}
