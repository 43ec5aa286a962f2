//! An announcement that moves an address, from the node's port in to the last of its copies out.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use testkit::forge::{self, FrameSender};
use testkit::frame::Copy;
use testkit::keepalived::VIP;
use testkit::lab::{Lab, NODE, mac_text};
use testkit::node::{Config, Node};
use testkit::process::wait_for;
use testkit::sniffer::{Seen, Sniffer};

use super::lines::Lines;
use super::receiver::Receiver;
use super::{FLAP_MOVES, Part, report_parts};
use crate::harness::Figure;
use crate::harness::stats::{Times, ms};

const VNI: u32 = 5001;
const HAVIP: &str = "vip";
/// Instances that hand the address over: each is on a TEP of its own.
const INSTANCES: [[u8; 6]; 2] = [[2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 1, 2]];
/// Targets of the last copy: median and 99th percentile.
const MEDIAN_MS: f64 = 2.0;
const P99_MS: f64 = 20.0;
/// Target of the event at a webhook's receiver: 99th percentile.
const WEBHOOK_MS: f64 = 50.0;

/// One announcement; all in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Row {
    /// Number of the round, from 1.
    round: u32,
    /// Time from the frame at the node's port to the first copy.
    first_ms: f64,
    /// Time to the last copy.
    last_ms: f64,
    /// Time to the event in `bcastctl watch`.
    told_ms: f64,
    /// Time to the event at a webhook's receiver.
    webhook_ms: f64,
}

/// Measures; tells whether all targets were met.
pub fn run(members: u16, count: u32, results: &Path) -> Result<bool> {
    let lab = Lab::new();
    let hosts = [lab.host(), lab.host()];
    // All the members are behind the second host: nobody answers for them, so every next hop is its MAC address.
    let config = Config::new(lab.folder())
        .set("underlay.tap", "")
        .set("underlay.gateway_mac", mac_text(hosts[1].mac))
        .set("havip.flap_moves", FLAP_MOVES);
    let (receiver, config) = Receiver::start(&lab, config)?;
    let node = Node::start(&lab, &config);
    join(&lab, &node, &hosts.each_ref().map(|host| host.address), members)?;
    node.create_havip(HAVIP, VNI, VIP, "");
    for (number, (mac, host)) in (1..).zip(INSTANCES.iter().zip(&hosts)) {
        let (mac, tep) = (mac_text(*mac), host.address);
        node.must(&format!("havip attach {HAVIP} --instance vm{number} --mac {mac} --tep {tep}"));
    }
    let watch = Lines::watch(&node)?;
    let frames = INSTANCES.map(|mac| forge::announcement(mac, "GARP request").bytes);
    let senders = hosts.each_ref().map(|host| FrameSender::new(host, VNI));
    let mut rows = Vec::new();
    for round in 1..=count {
        let one = usize::from(round % 2 == 0);
        let sniffer =
            Sniffer::start(&lab.switch, "node", "proto gre", lab.folder(), &format!("wire-{round}"));
        senders[one].send(&frames[one]);
        let seen = sniffer.wait_for_count(1 + usize::from(members));
        let (arrived, copies) = split(&seen, hosts[one].address);
        let unseen = |what: &str| format!("round {round}: {what} was not seen");
        let arrived = arrived.with_context(|| unseen("the announcement"))?;
        let (first, last) = copies.iter().min().zip(copies.iter().max()).with_context(|| unseen("a copy"))?;
        let instance = format!("vm{}", one + 1);
        let holder = format!("\"holder\":{{\"instance\":\"{instance}\"");
        let event = |line: &str| line.contains("\"havip_event\"") && line.contains(&holder);
        let event_at = wait_for("the event", || watch.first(arrived, event));
        let received = wait_for("the webhook", || receiver.first(arrived, &instance));
        rows.push(Row {
            round,
            first_ms: ms(arrived, *first),
            last_ms: ms(arrived, *last),
            told_ms: ms(arrived, event_at),
            webhook_ms: ms(arrived, received),
        });
        drop(sniffer);
    }
    report(members, &rows, results)
}

/// Makes a domain of both hosts' TEPs and so many others that an announcement of either makes `copies` copies.
fn join(lab: &Lab, node: &Node, hosts: &[Ipv4Addr; 2], copies: u16) -> Result<()> {
    let others = (1..copies).map(|number| {
        let [high, low] = number.to_be_bytes();
        Ipv4Addr::new(198, 18, 100 + high, low)
    });
    let members: Vec<_> = hosts.iter().copied().chain(others).map(|address| address.to_string()).collect();
    let teps: String = members.iter().map(|address| format!("- {{address: {address}}}\n")).collect();
    let file = lab.folder().join("domain.yaml");
    std::fs::write(
        &file,
        format!("teps:\n{teps}domains:\n- {{vni: {VNI}, members: [{}]}}\n", members.join(", ")),
    )?;
    node.must(&format!("apply -f {}", file.display()));
    Ok(())
}

/// Times of the frame from the TEP, and of each of its copies.
fn split(seen: &[Seen], tep: Ipv4Addr) -> (Option<Duration>, Vec<Duration>) {
    let frames = seen.iter().filter_map(|seen| Some((seen.at, Copy::parse(&seen.bytes)?.source)));
    let frames: Vec<_> = frames.collect();
    let arrived = frames.iter().find(|(_, source)| *source == tep).map(|(at, _)| *at);
    (arrived, frames.iter().filter(|(_, source)| *source == NODE).map(|(at, _)| *at).collect())
}

fn report(members: u16, rows: &[Row], results: &Path) -> Result<bool> {
    let of = |part: fn(&Row) -> f64| Times(rows.iter().map(part).collect());
    let parts: [Part; 4] = [
        ("in to first copy", "first copy", of(|row| row.first_ms)),
        ("in to last copy", "last copy", of(|row| row.last_ms)),
        ("in to event in watch", "event in watch", of(|row| row.told_ms)),
        ("in to webhook received", "webhook received", of(|row| row.webhook_ms)),
    ];
    let [_, last, _, webhook] = parts.each_ref().map(|(_, _, times)| times);
    let what = format!("gratuitous ARP in to the last of {members} members on the wire");
    let figures = vec![
        Figure::at_most(format!("{what}, median"), last.at(0.5), MEDIAN_MS, " ms"),
        Figure::at_most(format!("{what}, p99"), last.at(0.99), P99_MS, " ms"),
        Figure::at_most("gratuitous ARP to webhook received, p99", webhook.at(0.99), WEBHOOK_MS, " ms"),
    ];
    let title = format!("A gratuitous ARP to {members} members");
    report_parts("fanout", &title, &parts, figures, rows.to_vec(), results)
}
