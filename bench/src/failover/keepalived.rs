//! Keepalived fails over, again and again: who is away for how long, and why.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use testkit::frame::Copy;
use testkit::keepalived::{Keepalived, Settings, VIP};
use testkit::lab::{Lab, NODE};
use testkit::node::{Config, Node};
use testkit::openflow::Places;
use testkit::overlay::{Overlay, Vm};
use testkit::ping::{Ping, outage};
use testkit::process::wait_for;
use testkit::sniffer::{Seen, Sniffer};

use super::layer3::{self, Layer3};
use super::lines::{Lines, now};
use super::{FLAP_MOVES, Part, report_parts};
use crate::harness::Figure;
use crate::harness::stats::{Times, ms};

const VNI: u32 = 5001;
const HAVIP: &str = "vip";
/// Between two pings: what an outage is known to.
const PING: Duration = Duration::from_millis(5);
/// Target of the whole outage: 99th percentile.
const OUTAGE_MS: f64 = 700.0;
/// Target from an announcement to the route at a BGP neighbour.
const ROUTE_MS: f64 = 1000.0;

/// One failover; all in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Row {
    /// Number of the round, from 1.
    round: u32,
    /// Between two answers to a third VM's pings.
    outage_ms: f64,
    /// Time from the old master's last answer to the new one's first announcement at the node's port.
    election_ms: f64,
    /// Time from there to the last copy of it that leaves the node.
    node_ms: f64,
    /// Time from there to the third VM's interface, hypervisors included.
    announce_ms: f64,
    /// Time from there to the event in `bcastctl watch`.
    told_ms: f64,
    /// Time from the third VM's interface to the first answer of the new master.
    service_ms: f64,
    /// Time from the announcement at the node's port to the route at a router that learns it by BGP.
    route_ms: f64,
}

/// Lab, node and captures of all rounds.
struct Stage<'lab> {
    lab: &'lab Lab,
    overlay: Overlay,
    watch: Lines,
    node: Node<'lab>,
    /// ARP at the node's port, in both directions.
    wire: Sniffer,
    /// ARP at the third VM.
    client: Sniffer,
    layer3: Layer3,
}

/// Measures; tells whether all targets were met.
pub fn run(count: u32, results: &Path) -> Result<bool> {
    let lab = Lab::new();
    let stage = Stage::set(&lab)?;
    let mut keepaliveds = [0, 1].map(|vm| {
        let folder = lab.folder().join(format!("keepalived-{vm}"));
        let mut keepalived = Keepalived::start(&stage.overlay.vms[vm], Settings::FAST, folder);
        keepalived.wait_entered(if vm == 0 { "MASTER" } else { "BACKUP" }, 1);
        keepalived
    });
    stage.node.wait_holder(HAVIP, &stage.overlay, &stage.overlay.vms[0]);
    stage.layer3.wait_for(&lab, stage.overlay.teps()[0]);
    let mut rows = Vec::new();
    for round in 1..=count {
        let row = stage.fail_over(round, &mut keepaliveds)?;
        println!("{round:4}: {:.0} ms", row.outage_ms);
        rows.push(row);
    }
    report(&rows, results)
}

impl<'lab> Stage<'lab> {
    fn set(lab: &'lab Lab) -> Result<Self> {
        let overlay = Overlay::new(lab, Places::Told, &[&[VNI], &[VNI], &[VNI]]);
        let config = Config::new(lab.folder()).set("havip.flap_moves", FLAP_MOVES);
        let node = Node::start(lab, &layer3::configured(config));
        node.serve(VNI, &overlay.teps());
        overlay.introduce();
        node.create_havip(HAVIP, VNI, VIP, "");
        overlay.vms[..2].iter().for_each(|vm| node.attach(HAVIP, &overlay, vm));
        let watch = Lines::watch(&node)?;
        let wire =
            Sniffer::start(&lab.switch, "node", "proto gre and ether[54:2] = 0x0806", lab.folder(), "wire");
        let client = Sniffer::start(&overlay.vms[2].namespace, "eth0", "arp", lab.folder(), "client");
        let layer3 = Layer3::start(lab, &node, HAVIP)?;
        Ok(Self { lab, overlay, watch, node, wire, client, layer3 })
    }

    /// Cuts off the master, waits until the other one serves, and mends the cable.
    fn fail_over(&self, round: u32, keepaliveds: &mut [Keepalived; 2]) -> Result<Row> {
        let (old, new) = if round % 2 == 1 { (0, 1) } else { (1, 0) };
        let [from, to] = [old, new].map(|vm| &self.overlay.vms[vm]);
        let ping = Ping::every(
            PING,
            &self.overlay.vms[2].namespace,
            VIP.into(),
            &self.lab.folder().join(format!("ping-{round}")),
        );
        let entered = keepaliveds[old].entered("BACKUP");
        let cut = now();
        self.overlay.set_connected(from, false);
        self.node.wait_holder(HAVIP, &self.overlay, to);
        let answers = ping.answers().len();
        wait_for("answers of the new master", || (ping.answers().len() > answers + 20).then_some(()));
        let answers = ping.stop();
        let row = self.time(round, cut, to, &answers);
        self.overlay.set_connected(from, true);
        keepaliveds[old].wait_entered("BACKUP", entered + 1);
        row
    }

    fn time(&self, round: u32, cut: Duration, to: &Vm, answers: &[Duration]) -> Result<Row> {
        let unseen = |what: &str| format!("round {round}: {what} was not seen");
        let says = |frame: &[u8]| frame.get(6..12) == Some(&to.mac) && is_vips(frame);
        let tep = self.overlay.hypervisors[to.hypervisor].host.address;
        let seen = self.wire.seen();
        let arrived =
            announcement(&seen, cut, tep, says).with_context(|| unseen("the announcement at the node"))?;
        let left = copies(&seen, arrived, says, self.overlay.hypervisors.len() - 1)
            .with_context(|| unseen("every copy of the announcement"))?;
        let client = self.client.seen();
        let announced = client.iter().find(|seen| seen.at >= arrived && says(&seen.bytes));
        let announced = announced.with_context(|| unseen("the announcement at the third VM"))?.at;
        let event = |line: &str| line.contains("\"moved\"") && line.contains(&format!("\"{}\"", to.port));
        let event_at = wait_for("the event", || self.watch.first(cut, event));
        let routed = wait_for("the route", || self.layer3.first(arrived, tep));
        let lost = answers
            .iter()
            .rfind(|at| **at < arrived)
            .with_context(|| unseen("an answer of the old master"))?;
        let served = answers
            .iter()
            .find(|at| **at >= announced)
            .with_context(|| unseen("an answer of the new master"))?;
        Ok(Row {
            round,
            outage_ms: ms(Duration::ZERO, outage(answers)),
            election_ms: ms(*lost, arrived),
            node_ms: ms(arrived, left),
            announce_ms: ms(arrived, announced),
            told_ms: ms(arrived, event_at),
            service_ms: ms(announced, *served),
            route_ms: ms(arrived, routed),
        })
    }
}

/// Arrival of the first announcement from the TEP since `cut` at the node's port.
fn announcement(
    seen: &[Seen],
    cut: Duration,
    tep: Ipv4Addr,
    says: impl Fn(&[u8]) -> bool,
) -> Option<Duration> {
    let of = |seen: &&Seen| {
        seen.at >= cut
            && Copy::parse(&seen.bytes).is_some_and(|frame| frame.source == tep && says(&frame.inner))
    };
    seen.iter().find(of).map(|seen| seen.at)
}

/// Departure of the last of so many copies.
fn copies(seen: &[Seen], arrived: Duration, says: impl Fn(&[u8]) -> bool, count: usize) -> Option<Duration> {
    let copies = seen.iter().filter(|seen| {
        seen.at >= arrived
            && Copy::parse(&seen.bytes).is_some_and(|frame| frame.source == NODE && says(&frame.inner))
    });
    copies.take(count).nth(count - 1).map(|seen| seen.at)
}

/// True if the sender of an ARP frame is the virtual IP.
fn is_vips(frame: &[u8]) -> bool {
    frame.get(28..32) == Some(&VIP.octets())
}

fn report(rows: &[Row], results: &Path) -> Result<bool> {
    let of = |part: fn(&Row) -> f64| Times(rows.iter().map(part).collect());
    let parts: [Part; 7] = [
        ("whole outage, as a third VM's pings see it", "whole outage", of(|row| row.outage_ms)),
        ("election: last answer to first announcement at the node", "election", of(|row| row.election_ms)),
        ("node: announcement in to last copy out", "node", of(|row| row.node_ms)),
        ("announcement at the node to the third VM", "in to third VM", of(|row| row.announce_ms)),
        ("announcement at the node to the event in watch", "in to event", of(|row| row.told_ms)),
        ("announcement at the third VM to the first answer", "to first answer", of(|row| row.service_ms)),
        ("announcement at the node to a BGP router's route", "in to BGP route", of(|row| row.route_ms)),
    ];
    let [outage, election, node, _, event, _, route] = parts.each_ref().map(|(_, _, times)| times);
    let split = format!(
        "median {:.0} ms, of which election {:.0} ms, the node {:.2} ms; routers follow within {:.0} ms",
        outage.at(0.5),
        election.at(0.5),
        node.at(0.5),
        route.at(0.5)
    );
    let what = format!("outage of a virtual IP, {} failovers of Keepalived, adverts 0.1 s, p99", rows.len());
    let routed = "gratuitous ARP to the /32 in a BGP neighbour's table, p99";
    let figures = vec![
        Figure::at_most(what, outage.at(0.99), OUTAGE_MS, " ms").with(&split),
        Figure::at_most(routed, route.at(0.99), ROUTE_MS, " ms"),
        Figure::plain("gratuitous ARP to the event in `watch`, p99", format!("{:.1} ms", event.at(0.99))),
    ];
    let title = "Failover of a virtual IP: adverts 0.1 s";
    report_parts("failover", title, &parts, figures, rows.to_vec(), results)
}
