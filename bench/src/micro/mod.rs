//! CPU time of lookups and changes of the table of domains, next to crossbeam-epoch's, and of announcements.
//!
//! All tables hold the same domains, of 16 members each, and stay there for the whole run. In each round each has its
//! turn: its reader looks up bursts of 32 domains in a random order, the same for all, while one thread changes its
//! lists at a given rate. Each burst is timed by the reader's own CPU clock, what the clock itself takes subtracted,
//! and each answer is verified. Rounds begin with another table each time. So slow hours and neighbours hit all
//! alike, and time asleep is nobody's.

mod announce;
mod check;
mod clock;
mod contenders;
mod cores;
mod lookup;
mod publish;
mod results;
#[cfg(test)]
mod tests;
mod work;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

pub use self::clock::cpu_ns;

use self::announce::Announcements;
use self::contenders::{CHECKED, FLOOR};
use self::cores::Cores;
use self::results::Row;
use crate::harness::{Report, report};

/// Options of `bench micro`. A run takes about four minutes and 2 GB.
#[derive(clap::Args)]
pub struct Args {
    /// Only these
    #[arg(long, value_delimiter = ',', default_value = "lookup,publish,announce")]
    only: Vec<Part>,
    /// Domains that lookups are measured on
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
    domains: Vec<u32>,
    /// Changes a second while lookups are measured
    #[arg(long, value_delimiter = ',', default_values_t = [0, 10_000, 100_000])]
    changes: Vec<u32>,
    /// Rounds of each
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Milliseconds of CPU time of each turn in a round
    #[arg(long, default_value_t = 100)]
    turn_ms: u64,
    /// Core of the thread that is measured; the one beside it gets another [default: the last]
    #[arg(long)]
    core: Option<usize>,
    /// Folder of micro.json [default: bench/results]
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Lookup in bulk under changes
    Lookup,
    /// Changes by one publisher
    Publish,
    /// Announcements of virtual IPs
    Announce,
}

/// Length and number of turns, and where they run.
#[derive(Clone, Copy, Debug)]
struct Turns {
    /// Rounds in which each contender has one turn.
    rounds: usize,
    /// CPU time of the reader in each turn; as much again goes before it to warm the caches.
    turn: Duration,
    /// Cores of the threads.
    cores: Cores,
}

/// Virtual IPs in all, and in each domain, whose announcements are measured.
const ANNOUNCED: [(u32, u32); 4] = [(1_000, 50), (1_000, 1), (100_000, 50), (100_000, 1)];
/// Domains that changes are published to.
const PUBLISH_DOMAINS: u32 = 100_000;

impl Args {
    /// Measures; tells whether the targets are met. A run on a busy machine is void, and misses them.
    ///
    /// # Errors
    /// A table gives wrong answers, or the core is not there.
    pub fn run(self) -> Result<bool> {
        for contender in &CHECKED {
            check::agrees(contender)?;
        }
        let (rounds, turn) = (self.rounds, Duration::from_millis(self.turn_ms));
        let turns = Turns { rounds, turn, cores: Cores::choose(self.core)? };
        turns.cores.enter_measured();
        let mut rows = Vec::new();
        if self.only.contains(&Part::Lookup) {
            let [ours, epoch] = CHECKED;
            for &domains in &self.domains {
                let measured = lookup::measure(&[ours, epoch, FLOOR], domains, &self.changes, turns)?;
                rows.extend(measured.into_iter().map(Row::Lookup));
            }
        }
        if self.only.contains(&Part::Publish) {
            let measured = publish::measure(&CHECKED, PUBLISH_DOMAINS, turns)?;
            rows.extend(measured.into_iter().map(Row::Publish));
        }
        if self.only.contains(&Part::Announce) {
            for (havips, per_domain) in ANNOUNCED {
                rows.push(Row::Announce(Announcements::new(havips, per_domain)?.measure(turns)?));
            }
        }
        results::print(&rows);
        let mut report = Report::new("micro", results::figures(&rows), rows);
        report.void = results::void(&report.rows);
        let met = report.keep(&self.out.unwrap_or_else(report::folder))?;
        report.void.iter().for_each(|void| println!("void: {void}"));
        Ok(met && report.void.is_none())
    }
}
