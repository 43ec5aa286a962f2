//! What can be measured, after RFC 3918 (multicast benchmarking) where it has a name for it.

mod capacity;
mod change;
mod count;
mod fair;
mod latency;
mod limits;
mod throughput;

use std::path::Path;
use std::time::Duration;

use bench::report::{Figure, Report};
use serde::Serialize;

use self::change::Direction;
use crate::error::Error;
use crate::flow::{Domain, Plan, Teps};
use crate::node::{Metrics, Node};
use crate::outcome::Outcome;
use crate::rig::{Rig, Running};
use crate::settings::Settings;

/// The modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Sends at one rate, and accounts for every copy, by member.
    Count,
    /// The highest rate at which no copy is lost.
    Throughput,
    /// From the sender to the receiver.
    Latency,
    /// The same beside another domain's load.
    Burdened,
    /// From the request and the answer of a join to the first copy.
    Join,
    /// From the request and the answer of a leave to the last copy.
    Leave,
    /// How many domains can be made, and all forward.
    Capacity,
    /// Whether one domain's flood delays or loses another's VRRP adverts.
    Fair,
    /// Whether a domain keeps to its limit, and who suffers when it does not.
    Limits,
}

/// What a mode works with.
pub struct Session {
    /// The options.
    pub settings: Settings,
    /// The port.
    pub rig: Rig,
    /// The node.
    pub node: Node,
}

/// A run of a plan.
pub struct Trial {
    /// What came of it.
    pub outcome: Outcome,
    /// For how long it was sent, at most.
    pub length: Duration,
    /// What the node counted meanwhile, if it told.
    pub counted: Option<Metrics>,
}

impl Trial {
    /// What was added to one of the node's counters.
    ///
    /// # Errors
    /// The node did not tell.
    fn counted(&self, metric: &'static str) -> Result<f64, Error> {
        self.counted.as_ref().map(|counted| counted.sum(metric)).ok_or(Error::NoMetric(metric))
    }
}

/// Whether what was asked for was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was, or nothing was asked.
    Passed,
    /// Copies were lost or wrong, or a target was missed.
    Failed,
}

impl From<bool> for Verdict {
    fn from(passed: bool) -> Self {
        if passed { Self::Passed } else { Self::Failed }
    }
}

impl Mode {
    /// Runs it.
    ///
    /// # Errors
    /// The node or the port refuse, or nothing comes back at all.
    pub fn run(self, session: &mut Session) -> Result<Verdict, Error> {
        match self {
            Self::Count => count::run(session),
            Self::Throughput => throughput::run(session),
            Self::Latency => latency::alone(session),
            Self::Burdened => latency::burdened(session),
            Self::Join => change::run(session, Direction::Join),
            Self::Leave => change::run(session, Direction::Leave),
            Self::Capacity => capacity::run(session),
            Self::Fair => fair::run(session),
            Self::Limits => limits::run(session),
        }
    }
}

impl Session {
    /// A plan of these settings, without streams, with so many TEPs.
    pub fn plan(&self, teps: u32) -> Plan {
        Plan::new(Teps::new(self.settings.first_tep, teps), self.settings.node)
    }

    /// So many domains of `fan_out` members and a source each, by turns among `teps` TEPs.
    pub fn domains(&self, count: u32, fan_out: u32, teps: u32) -> impl Iterator<Item = Domain> + use<> {
        let first_vni = self.settings.first_vni;
        let starts = (teps - fan_out).max(1);
        (0..count).map(move |domain| {
            let start = domain % starts;
            Domain::plain(first_vni.wrapping_add(domain), start..start + fan_out + 1)
        })
    }

    /// Where not one frame went out, or not one copy came back, something is set up wrong, and no figure means anything.
    ///
    /// # Errors
    /// [`Error::NothingSent`], [`Error::Silence`]
    fn check_silence(&self, outcome: &Outcome) -> Result<(), Error> {
        let (expected, received) = outcome
            .streams
            .iter()
            .fold((0, 0), |(e, r), stream| (e + stream.expected, r + stream.counts.received));
        if outcome.streams.iter().all(|stream| stream.sent == 0) {
            return Err(Error::NothingSent);
        }
        if expected == 0 || received > 0 {
            return Ok(());
        }
        let counted = self.node.scrape().map_or(String::new(), |metrics| {
            let drops = ["bcast_drops_total", "bcast_copy_drops_total"].map(|name| metrics.nonzero(name));
            let drops = drops.concat().into_iter().map(|(reason, count)| format!(", {reason} {count}"));
            format!("the node received {}{}", metrics.sum("bcast_rx_frames_total"), drops.collect::<String>())
        });
        Err(Error::Silence { node: self.settings.node, counted })
    }

    /// The sizes that were asked for, or 60 bytes.
    pub fn sizes(&self) -> Vec<u16> {
        self.settings.sizes.clone().unwrap_or_else(|| vec![60])
    }

    /// The first of the sizes that were asked for, or this.
    pub fn size(&self, default: u16) -> u16 {
        self.settings.sizes.iter().flatten().next().copied().unwrap_or(default)
    }

    /// The first of the numbers of copies that were asked for, or this.
    pub fn fan_out(&self, default: u32) -> u32 {
        self.settings.fan_outs.iter().flatten().next().copied().unwrap_or(default)
    }

    /// The numbers of copies that were asked for, or these.
    pub fn fan_outs(&self, default: &[u32]) -> Vec<u32> {
        self.settings.fan_outs.clone().unwrap_or_else(|| default.to_vec())
    }

    /// Runs a plan for a time, and asks the node what it counts, if it tells.
    ///
    /// # Errors
    /// As [`Session::trial_while`].
    pub fn trial(
        &mut self,
        plan: &Plan,
        per_member: bool,
        length: Duration,
        what: &str,
    ) -> Result<Trial, Error> {
        let (trial, ()) =
            self.trial_while(plan, per_member, length, |running, _node| running.wait(length, what))?;
        Ok(trial)
    }

    /// The same while the node is told something; frames are sent until `meanwhile` returns.
    ///
    /// # Errors
    /// A thread cannot be started, or nothing goes out, or nothing comes back.
    pub fn trial_while<R>(
        &mut self,
        plan: &Plan,
        per_member: bool,
        length: Duration,
        meanwhile: impl FnOnce(&Running, &mut Node) -> R,
    ) -> Result<(Trial, R), Error> {
        let before = self.node.scrape().ok();
        let node = &mut self.node;
        let (outcome, result) = self.rig.run_while(plan, per_member, |running| meanwhile(running, node))?;
        self.check_silence(&outcome)?;
        let counted = before.and_then(|before| Some(self.node.scrape().ok()?.since(&before)));
        Ok((Trial { outcome, length, counted }, result))
    }

    /// Draws `pktgen-NAME.svg`.
    ///
    /// # Errors
    /// It cannot be drawn or written.
    pub fn plot(
        &self,
        mode: &str,
        draw: impl FnOnce(&Path) -> Result<(), bench::plot::PlotError>,
    ) -> Result<(), Error> {
        std::fs::create_dir_all(&self.settings.out)?;
        let path = self.settings.out.join(format!("pktgen-{mode}.svg"));
        draw(&path).map_err(|error| Error::Plot(error.to_string()))?;
        println!("{}", path.display());
        Ok(())
    }

    /// Writes a report of this name.
    pub fn write<R: Serialize>(&self, mode: &str, figures: Vec<Figure>, rows: Vec<R>) -> Result<(), Error> {
        let report = Report::new(&format!("pktgen-{mode}"), "pktgen", figures, rows);
        let path = report.write(&self.settings.out)?;
        println!("{}", path.display());
        Ok(())
    }
}
