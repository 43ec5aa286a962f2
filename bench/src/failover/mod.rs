//! Outage of a virtual IP when its master fails, and the node's share of it.
//!
//! `keepalived` cuts off one Keepalived after the other and splits each outage; `fanout` times an announcement from
//! the node's port in to the last of many members out; `burst` announces very many addresses at once; `churn` times
//! answers beside a full BGP table. All run a node in a lab of namespaces, as the end-to-end tests do, and time by the
//! kernel's stamps on captured frames.

mod burst;
mod churn;
mod fanout;
mod keepalived;
mod layer3;
mod lines;
mod receiver;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::{Subcommand, value_parser};
use serde::Serialize;

use crate::harness::plot::{self, Axis};
use crate::harness::stats::Times;
use crate::harness::{Figure, Report, report, table};

/// Threshold of `havip.flap_moves` at which nothing freezes: the default is five moves in 180 s, and here each round
/// is one.
const FLAP_MOVES: i64 = 1_000_000;

/// Options of `bench failover`.
#[derive(clap::Args)]
#[command(
    after_help = "The HAVIP's freeze threshold, [havip] flap_moves, is set to 1000000 in 180 s: nothing freezes."
)]
pub struct Args {
    #[command(subcommand)]
    mode: Mode,
    /// Folder of the report and the plot; default: bench/results
    #[arg(long, global = true)]
    results: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Mode {
    /// Cuts off the master, again and again, while a third VM pings the address every 5 ms
    Keepalived {
        /// Failovers
        #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..=10_000))]
        count: u32,
    },
    /// Times gratuitous ARPs that move an address, from the node's port in to the last copy out and to a webhook's
    /// receiver
    Fanout {
        /// Copies of each
        #[arg(long, default_value_t = 128, value_parser = value_parser!(u16).range(2..=4096))]
        members: u16,
        /// Announcements
        #[arg(long, default_value_t = 500, value_parser = value_parser!(u32).range(1..=100_000))]
        count: u32,
    },
    /// Announces very many addresses within a second, and waits until all are bound
    Burst {
        /// Addresses
        #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u16).range(1..=10_000))]
        havips: u16,
    },
    /// Times answers of the control path while a full BGP table keeps changing beside 65,534 TEPs
    Churn {
        /// Routes in the table
        #[arg(long, default_value_t = 1_000_000, value_parser = value_parser!(u32).range(1..=4_000_000))]
        routes: u32,
    },
}

impl Args {
    /// Measures; tells whether all targets are met.
    ///
    /// # Errors
    /// This is not root, or a round did not show all that it must.
    pub fn run(self) -> Result<bool> {
        let own = std::fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own));
        ensure!(
            own.is_ok_and(|user| user == 0),
            "labs of network namespaces are made by root: run this as root"
        );
        let results = self.results.unwrap_or_else(report::folder);
        match self.mode {
            Mode::Keepalived { count } => keepalived::run(count, &results),
            Mode::Burst { havips } => burst::run(havips, &results),
            Mode::Churn { routes } => churn::run(routes, &results),
            Mode::Fanout { members, count } => fanout::run(members, count, &results),
        }
    }
}

/// Parts of the rounds of one measurement: name in the table, name in the plot, times.
type Part = (&'static str, &'static str, Times);

/// Prints a table of the parts, draws `NAME.svg`, and keeps the report; tells whether all targets are met.
fn report_parts<R: Serialize>(
    name: &str,
    title: &str,
    parts: &[Part],
    figures: Vec<Figure>,
    rows: Vec<R>,
    results: &Path,
) -> Result<bool> {
    println!("\n{} rounds; flap_moves = {FLAP_MOVES}", rows.len());
    let mut table = table("milliseconds|median|p99|most");
    for (part, _, times) in parts {
        let quantiles = [0.5, 0.99, 1.0].map(|share| format!("{:.2}", times.at(share)));
        table.add_row([part.to_string()].into_iter().chain(quantiles));
    }
    println!("{table}");
    let met = Report::new(name, figures, rows).keep(results)?;
    let plot = results.join(format!("{name}.svg"));
    let curves: Vec<_> = parts.iter().map(|(_, short, times)| times.curve(*short)).collect();
    plot::quantiles(&plot, title, Axis::log("milliseconds"), &curves)?;
    println!("{}", plot.display());
    Ok(met)
}
