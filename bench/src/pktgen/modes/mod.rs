//! Modes of measurement, after RFC 3918 (multicast benchmarking) where it has a name for it.

mod capacity;
mod change;
mod count;
mod fair;
mod latency;
mod limits;
mod storm;
mod throughput;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use testkit::metrics::Metrics;

use self::change::Direction;
use super::flow::{Domain, Plan, Rate, Teps};
use super::node::Node;
use super::outcome::{Outcome, Row};
use super::rig::{Rig, Running};
use super::settings::Settings;
use crate::harness::plot::{self, Axis, Curve};
use crate::harness::{Figure, Report};

#[cfg(test)]
pub(super) use self::{
    change::gaps,
    throughput::{MOST_TRIALS, Search},
};

/// The modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Sends at one rate, and accounts for every copy, by member
    Count,
    /// The highest rate at which no copy is lost
    Throughput,
    /// From the sender to the receiver
    Latency,
    /// The same beside another domain's load
    Burdened,
    /// From the request and the answer of a join to the first copy
    Join,
    /// From the request and the answer of a leave to the last copy
    Leave,
    /// Number of domains that can be made and all forward
    Capacity,
    /// Delay and loss of a domain's VRRP adverts beside another domain's flood
    Fair,
    /// Copies of a domain over its limit, and losses of the others
    Limits,
    /// Losses of a virtual IP's holder beside ARP of another TEP of its domain at a hundred times the limit
    Storm,
}

/// Options, port and node of a run.
pub struct Session {
    /// The options.
    pub settings: Settings,
    /// The port.
    pub rig: Rig,
    /// The node.
    pub node: Node,
}

/// Results of a plan that was run.
struct Trial {
    outcome: Outcome,
    /// Changes of the node's metrics meanwhile, if it told.
    counted: Option<Metrics>,
}

impl Trial {
    /// Increase of one of the node's counters.
    fn counted(&self, metric: &str) -> Result<f64> {
        Ok(self.counted.as_ref().with_context(|| no_metric(metric))?.total(metric, ""))
    }

    fn stream(&self, place: usize) -> &Row {
        &self.outcome.streams[place]
    }

    /// Prints how many frames (and copies) the node dropped, by reason.
    fn print_drops(&self, metrics: &[&str]) {
        for (reason, count) in
            metrics.iter().flat_map(|name| self.counted.iter().flat_map(|m| m.nonzero(name)))
        {
            println!("the node dropped {count} {reason}");
        }
    }
}

fn no_metric(metric: &str) -> String {
    format!("the node does not tell {metric}: see --metrics, and whether bcastd is of this version")
}

impl Mode {
    /// Runs it; tells whether it passed.
    ///
    /// # Errors
    /// The node or the port refuse, or nothing comes back at all.
    pub fn run(self, session: &mut Session) -> Result<bool> {
        if matches!(self, Self::Join | Self::Leave | Self::Capacity | Self::Limits | Self::Storm)
            && !session.settings.register
        {
            let name = format!("{self:?}").to_lowercase();
            bail!("mode {name} makes and changes domains: leave --register false out");
        }
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
            Self::Storm => storm::run(session),
        }
    }
}

impl Session {
    /// A plan of these settings, without streams, with so many TEPs.
    fn plan(&self, teps: u32) -> Plan {
        Plan::new(Teps::new(self.settings.first_tep, teps), self.settings.node)
    }

    /// A plan of one stream to the domains that were asked for, or 16, of `fan_out` members and a source each.
    fn plain_plan(&self, name: &'static str, size: u16, fan_out: u32, rate: Rate) -> Result<Plan> {
        let domains = self.settings.domains.unwrap_or(16);
        let teps = fan_out + 1 + domains.min(16);
        let mut plan = self.plan(teps);
        plan.add(name, self.settings.inner(size)?, rate, self.domains(domains, fan_out, teps));
        Ok(plan)
    }

    /// Domains of `fan_out` members and a source each, by turns among `teps` TEPs.
    fn domains(&self, count: u32, fan_out: u32, teps: u32) -> impl Iterator<Item = Domain> + use<> {
        let first_vni = self.settings.first_vni;
        let starts = (teps - fan_out).max(1);
        (0..count).map(move |domain| {
            let start = domain % starts;
            Domain::plain(first_vni.wrapping_add(domain), start..start + fan_out + 1)
        })
    }

    /// Refuses a run in which no frame went out, or no copy came back: the setup is wrong, and no figure means
    /// anything.
    fn check_silence(&self, outcome: &Outcome) -> Result<()> {
        let expected = outcome.streams.iter().map(|stream| stream.expected).sum::<u64>();
        let received = outcome.streams.iter().map(|stream| stream.counts.received).sum::<u64>();
        ensure!(
            outcome.streams.iter().any(|stream| stream.sent > 0),
            "the port took not one frame: is the other side of the link up, and does it receive?"
        );
        if expected == 0 || received > 0 {
            return Ok(());
        }
        let counted = self.node.scrape().map_or(String::new(), |metrics| {
            let drops = ["bcast_drops_total", "bcast_copy_drops_total"].map(|name| metrics.nonzero(name));
            let drops = drops.concat().into_iter().map(|(reason, count)| format!(", {reason} {count}"));
            let frames = metrics.total("bcast_rx_frames_total", "");
            format!("the node received {frames}{}", drops.collect::<String>())
        });
        bail!(
            "no copy came back from {}: is it up, does it know these TEPs, is its next hop this port? {counted}",
            self.settings.node
        )
    }

    /// The sizes that were asked for, or 60 bytes.
    fn sizes(&self) -> Vec<u16> {
        if self.settings.sizes.is_empty() { vec![60] } else { self.settings.sizes.clone() }
    }

    /// The first of the sizes that were asked for, or this.
    fn size(&self, default: u16) -> u16 {
        self.settings.sizes.first().copied().unwrap_or(default)
    }

    /// The first of the numbers of copies that were asked for, or this.
    fn fan_out(&self, default: u32) -> u32 {
        self.settings.fan_outs.first().copied().unwrap_or(default)
    }

    /// The numbers of copies that were asked for, or these.
    fn fan_outs(&self, default: &[u32]) -> Vec<u32> {
        let given = &self.settings.fan_outs;
        if given.is_empty() { default.to_vec() } else { given.clone() }
    }

    /// Arranges a plan at the node and runs it for the length that was asked for.
    fn try_plan(&mut self, plan: &Plan, what: &str) -> Result<Trial> {
        self.node.arrange(plan)?;
        self.trial(plan, false, self.settings.seconds, what)
    }

    /// Runs a plan for a time, and reads the node's metrics before and after it. With `per_member` each member's
    /// latency is kept.
    fn trial(&mut self, plan: &Plan, per_member: bool, length: Duration, what: &str) -> Result<Trial> {
        let wait = |running: &Running, _: &mut Node| running.wait(length, what);
        Ok(self.trial_while(plan, per_member, length, wait)?.0)
    }

    /// The same, where frames are sent until `meanwhile` returns.
    fn trial_while<R>(
        &mut self,
        plan: &Plan,
        per_member: bool,
        length: Duration,
        meanwhile: impl FnOnce(&Running, &mut Node) -> R,
    ) -> Result<(Trial, R)> {
        let before = self.node.scrape();
        let node = &mut self.node;
        let (mut outcome, result) =
            self.rig.run_while(plan, per_member, length, |running| meanwhile(running, node))?;
        self.check_silence(&outcome)?;
        let counted = before.and_then(|before| Some(self.node.scrape()?.since(&before)));
        counted.iter().for_each(|counted| outcome.locate_losses(counted));
        Ok((Trial { outcome, counted }, result))
    }

    /// Draws `pktgen-MODE.svg` at a path that is given to `draw`.
    fn plot(&self, mode: &str, draw: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        std::fs::create_dir_all(&self.settings.out)?;
        let path = self.settings.out.join(format!("pktgen-{mode}.svg"));
        draw(&path).context("cannot draw the plot")?;
        println!("{}", path.display());
        Ok(())
    }

    /// Draws quantiles of latency.
    fn plot_quantiles(&self, mode: &str, title: &str, y: Axis, curves: &[Curve]) -> Result<()> {
        if !curves.iter().any(|curve| curve.points.iter().any(|point| point.0 < 1.0)) {
            return Ok(());
        }
        self.plot(mode, |path| plot::quantiles(path, title, y, curves))
    }

    /// Writes `pktgen-MODE.json`.
    fn write<R: Serialize>(&self, mode: &str, figures: Vec<Figure>, rows: Vec<R>) -> Result<()> {
        println!(
            "{}",
            Report::new(&format!("pktgen-{mode}"), figures, rows).write(&self.settings.out)?.display()
        );
        Ok(())
    }
}
