//! Very many virtual IPs announced at once, as after a power cut: how long until all are bound.

use std::fmt::Write as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;
use testkit::forge;
use testkit::frame::overlay;
use testkit::lab::{Host, Lab};
use testkit::node::{Config, Node};
use testkit::process::wait_for;
use testkit::sender::Sender;

use super::lines::{Lines, now};
use crate::harness::stats::ms;
use crate::harness::{Figure, Report};

/// HAVIPs of a VNI, and of an instance: the default limits.
const OF_VNI: u16 = 50;
const OF_INSTANCE: u16 = 5;
const FIRST_VNI: u32 = 10_000;
/// Length of the burst.
const WITHIN: Duration = Duration::from_secs(1);
/// Target of the last binding, from the first announcement on.
const BOUND_MS: f64 = 3000.0;

/// One run; in milliseconds from the first announcement.
#[derive(Clone, Copy, Debug, Serialize)]
struct Row {
    /// Virtual IPs.
    havips: u16,
    /// Last announcement.
    announced_ms: f64,
    /// Event in `bcastctl watch` by which half of them were bound.
    half_ms: f64,
    /// Event of the last one.
    bound_ms: f64,
}

/// Number of a HAVIP, from which all else of it follows.
#[derive(Clone, Copy)]
struct Number(u16);

impl Number {
    fn vni(self) -> u32 {
        FIRST_VNI + u32::from(self.0 / OF_VNI)
    }

    fn address(self) -> [u8; 4] {
        let [_, low] = (self.0 % OF_VNI + 1).to_be_bytes();
        [198, 19, 0, low]
    }

    fn mac(self) -> [u8; 6] {
        let [high, low] = (self.0 / OF_INSTANCE).to_be_bytes();
        [2, 0, 0, 1, high, low]
    }
}

/// Measures; tells whether the target is met.
pub fn run(havips: u16, results: &Path) -> Result<bool> {
    let lab = Lab::new();
    let hosts = [lab.host(), lab.host()];
    let node = Node::start(&lab, &Config::new(lab.folder()));
    let numbers: Vec<_> = (0..havips).map(Number).collect();
    apply(&lab, &node, &hosts, &numbers)?;
    let watch = Lines::watch(&node)?;
    let frames = garps(&hosts[0], &numbers);
    let sender = Sender::new(&hosts[0].namespace, "eth0");
    let (start, since) = (Instant::now(), now());
    for (place, frame) in (0..).zip(&frames) {
        // Evenly: a power cut is over for all at once, but their machines do not start in the same millisecond.
        thread::sleep((WITHIN.mul_f64(0.9) * place / u32::from(havips)).saturating_sub(start.elapsed()));
        sender.send(frame);
    }
    let announced_ms = ms(Duration::ZERO, start.elapsed());
    let events = wait_for("all to be bound", || {
        let events = watch.all(since, |line| line.contains("\"kind\":\"bound\""));
        (events.len() >= usize::from(havips)).then_some(events)
    });
    let at = |place: usize| events.get(place).map_or(f64::NAN, |at| ms(since, *at));
    let row = Row { havips, announced_ms, half_ms: at(events.len() / 2), bound_ms: at(events.len() - 1) };
    println!("{row:?}");
    let figure = Figure::at_most(
        format!("{havips} virtual IPs announced within 1 s: the last one bound after"),
        row.bound_ms,
        BOUND_MS,
        " ms",
    );
    let in_time = row.announced_ms <= 1000.0;
    Ok(Report::new("burst", vec![figure], vec![row]).keep(results)? && in_time)
}

/// Makes the domains and their HAVIPs, all attached on the first host, in one file.
fn apply(lab: &Lab, node: &Node, hosts: &[Host; 2], numbers: &[Number]) -> Result<()> {
    let [here, there] = hosts.each_ref().map(|host| host.address);
    let mut file = format!("teps: [{{address: {here}}}, {{address: {there}}}]\ndomains:\n");
    let vnis: std::collections::BTreeSet<_> = numbers.iter().map(|number| number.vni()).collect();
    // A string takes whatever is written to it.
    for vni in vnis {
        let _ = writeln!(file, "- {{vni: {vni}, members: [{here}, {there}]}}");
    }
    file += "havips:\n";
    for number in numbers {
        let (name, vni, [a, b, c, d]) = (number.0, number.vni(), number.address());
        let (mac, instance) = (testkit::lab::mac_text(number.mac()), number.0 / OF_INSTANCE);
        let _ = writeln!(
            file,
            "- {{name: vip-{name}, vni: {vni}, subnet: 198.19.0.0/16, address: {a}.{b}.{c}.{d}, \
             attachments: [{{instance: vm{instance}, mac: \"{mac}\", teps: [{here}]}}]}}"
        );
    }
    let path = lab.folder().join("havips.yaml");
    std::fs::write(&path, file)?;
    node.must(&format!("apply -f {}", path.display()));
    Ok(())
}

/// A gratuitous ARP of each, as its hypervisor sends it.
fn garps(host: &Host, numbers: &[Number]) -> Vec<Vec<u8>> {
    let template = forge::announcement([2, 0, 0, 0, 0, 1], "GARP request").bytes;
    let of = |number: &Number| {
        let mut garp = template.clone();
        // Ethernet source; ARP's sender MAC and address, and target address.
        for (at, bytes) in [
            (6, &number.mac()[..]),
            (22, &number.mac()[..]),
            (28, &number.address()[..]),
            (38, &number.address()[..]),
        ] {
            garp[at..at + bytes.len()].copy_from_slice(bytes);
        }
        overlay(host, number.vni(), &garp)
    };
    numbers.iter().map(of).collect()
}
