//! What was measured: rows for the JSON, and tables to read.

use std::fmt::{self, Display};

use serde::Serialize;

use super::contenders::{EPOCH, FLOOR, OURS};
use crate::harness::{Figure, Spread};

/// One row of `bench/results/micro.json`.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "measured", rename_all = "snake_case")]
pub enum Row {
    /// Lookup in bulk under changes.
    Lookup(LookupRow),
    /// Changes by one publisher.
    Publish(PublishRow),
    /// Announcements of virtual IPs.
    Announce(AnnounceRow),
}

/// A contender's bursts of 32 lookups on so many domains, at one rate of changes. Times are CPU time of the reading thread;
/// each quantile is taken of each turn, and the spread is that of the turns: so one noisy turn does not make the figure.
#[derive(Clone, Debug, Serialize)]
pub struct LookupRow {
    /// Whose.
    pub contender: String,
    /// How many domains there are.
    pub domains: u32,
    /// The rate that was asked for.
    pub changes_wanted_per_s: u32,
    /// The rate that the publisher attained.
    pub changes_per_s: f64,
    /// The median burst's, by 32.
    pub ns_per_lookup: Spread,
    /// The median burst.
    pub burst_p50_ns: Spread,
    /// One in a hundred takes longer.
    pub burst_p99_ns: Spread,
    /// One in a thousand takes longer.
    pub burst_p999_ns: Spread,
    /// The longest.
    pub burst_max_ns: Spread,
    /// How many bursts were timed, in all turns.
    pub bursts: u64,
}

/// Changes by one publisher that does nothing else, what it replaced freed.
#[derive(Clone, Debug, Serialize)]
pub struct PublishRow {
    /// Whose.
    pub contender: String,
    /// How many domains there are.
    pub domains: u32,
    /// How many changes become visible, and what they replaced free, together.
    pub changes_per_lot: u64,
    /// Changes in a second of the publisher's CPU time.
    pub changes_per_cpu_s: Spread,
}

/// Bursts of 32 gratuitous ARPs from holders of random virtual IPs: verdict, lookup, membership, and what becomes of the announcement,
/// up to its note. CPU time of one frame, in nanoseconds.
#[derive(Clone, Debug, Serialize)]
pub struct AnnounceRow {
    /// How many virtual IPs there are.
    pub havips: u32,
    /// How many of them are in each domain.
    pub per_domain: u32,
    /// A frame that announces one.
    pub ns_with: Spread,
    /// The same frame in a domain without any.
    pub ns_without: Spread,
    /// The difference, round by round.
    pub ns_beyond: Spread,
}

/// What is asked of the table of domains, as far as these rows show it.
pub fn figures(rows: &[Row]) -> Vec<Figure> {
    let mut figures = Vec::new();
    if let Some(ours) = hardest_lookup(rows, OURS.name) {
        let what = |what: &str| format!("bulk lookup, 1M domains x 16, 100k changes/s: {what}");
        let (each, tail) = (ours.ns_per_lookup.median, ours.burst_p999_ns.median / 1e3);
        figures.push(Figure::at_most(what("one lookup, median"), each, 75.0, " ns"));
        if let Some(floor) = hardest_lookup(rows, FLOOR.name) {
            let measured = format!("{:.1} ns", floor.ns_per_lookup.median);
            figures.push(Figure::plain(what("two random cache lines and nothing else"), measured));
        }
        if let Some(epoch) = hardest_lookup(rows, EPOCH.name) {
            let share = each / epoch.ns_per_lookup.median;
            figures.push(Figure::at_most(what("share of crossbeam-epoch's"), share, 1.0 / 3.0, ""));
        }
        figures.push(Figure::at_most(what("32 lookups, 99.9th percentile"), tail, 10.0, " us"));
    }
    let publish = rows.iter().find_map(|row| match row {
        Row::Publish(row) if row.contender == OURS.name => Some(row),
        _ => None,
    });
    if let Some(row) = publish {
        let million = row.changes_per_cpu_s.median / 1e6;
        let what = format!("changes published by one publisher, {}k domains", row.domains / 1000);
        figures.push(Figure::at_least(what, million, 1.0, " million/s"));
    }
    for row in rows {
        if let Row::Announce(row) = row {
            let what = format!(
                "the holder announces again, {} virtual IPs, {} a domain: beyond the frame",
                row.havips, row.per_domain
            );
            let most = if row.havips > 1000 { 80.0 } else { 30.0 };
            figures.push(Figure::at_most(what, row.ns_beyond.median, most, " ns"));
        }
    }
    figures
}

/// Why the tails of a run say nothing, if they do: the machine was so busy that memory alone was over the limit.
pub fn void(rows: &[Row]) -> Option<String> {
    let tail = hardest_lookup(rows, FLOOR.name)?.burst_p999_ns.median / 1e3;
    (tail > 10.0).then(|| {
        format!(
            "the machine was busy: 64 reads and nothing else took {tail:.1} us at the 99.9th percentile; \
             measure again when it is quiet"
        )
    })
}

/// At a million domains and 100,000 changes a second.
fn hardest_lookup<'r>(rows: &'r [Row], contender: &str) -> Option<&'r LookupRow> {
    rows.iter().find_map(|row| match row {
        Row::Lookup(row) => {
            let hardest = row.domains == 1_000_000 && row.changes_wanted_per_s == 100_000;
            (hardest && row.contender == contender).then_some(row)
        }
        _ => None,
    })
}

/// The rows as tables, one for each kind.
pub struct Tables<'r>(pub &'r [Row]);

impl Display for Tables<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = None;
        for row in self.0 {
            let kind = std::mem::discriminant(row);
            if last.replace(kind) != Some(kind) {
                writeln!(f, "\n{}", heading(row))?;
            }
            writeln!(f, "{row}")?;
        }
        Ok(())
    }
}

fn heading(row: &Row) -> String {
    match row {
        Row::Lookup(_) => format!(
            "{:<32} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>10}",
            "lookup of 32, CPU time",
            "domains",
            "changes/s",
            "ns each",
            "p50 us",
            "p99 us",
            "p99.9 us",
            "max us"
        ),
        Row::Announce(_) => format!(
            "{:<32} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "announcements, CPU ns a frame", "with", "without", "beyond", "min", "max"
        ),
        Row::Publish(_) => format!(
            "{:<32} {:>9} {:>9} {:>9} {:>9}",
            "million changes per CPU-second", "domains", "min", "median", "max"
        ),
    }
}

/// One line of a table.
impl Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |ns: Spread| ns.median / 1e3;
        match self {
            Self::Lookup(row) => write!(
                f,
                "{:<32} {:>9} {:>9.0} {:>9.1} {:>9.2} {:>9.2} {:>9.2} {:>10.1}",
                row.contender,
                row.domains,
                row.changes_per_s,
                row.ns_per_lookup.median,
                us(row.burst_p50_ns),
                us(row.burst_p99_ns),
                us(row.burst_p999_ns),
                us(row.burst_max_ns)
            ),
            Self::Announce(row) => {
                let what = format!("{} virtual IPs, {} a domain", row.havips, row.per_domain);
                let [with, without] = [row.ns_with, row.ns_without].map(|spread| spread.median);
                let Spread { min, median, max } = row.ns_beyond;
                write!(f, "{what:<32} {with:>9.1} {without:>9.1} {median:>9.1} {min:>9.1} {max:>9.1}")
            }
            Self::Publish(PublishRow { contender, domains, changes_per_cpu_s, .. }) => {
                write!(f, "{contender:<32} {domains:>9} {}", changes_per_cpu_s.scaled(1e-6))
            }
        }
    }
}
