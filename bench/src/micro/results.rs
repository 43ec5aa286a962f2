//! Results: rows for the JSON, tables to read, and figures.

use serde::Serialize;

use super::contenders::{EPOCH, FLOOR, OURS};
use crate::harness::{Figure, Spread, table};

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

/// Bursts of 32 lookups at one rate of changes. Times are CPU time of the reading thread; each quantile is taken of
/// each turn, and the spread is that of the turns: so one noisy turn does not make the figure.
#[derive(Clone, Debug, Serialize)]
pub struct LookupRow {
    /// Name of the table.
    pub contender: String,
    /// Domains in the table.
    pub domains: u32,
    /// Rate of changes that was asked for.
    pub changes_wanted_per_s: u32,
    /// Rate that the publisher attained.
    pub changes_per_s: f64,
    /// A 32nd of the median burst.
    pub ns_per_lookup: Spread,
    /// Median burst.
    pub burst_p50_ns: Spread,
    /// Burst at the 99th percentile.
    pub burst_p99_ns: Spread,
    /// Burst at the 99.9th percentile.
    pub burst_p999_ns: Spread,
    /// Longest burst.
    pub burst_max_ns: Spread,
    /// Bursts that were timed, in all turns.
    pub bursts: u64,
}

/// Changes by one publisher that does nothing else, replaced lists freed.
#[derive(Clone, Debug, Serialize)]
pub struct PublishRow {
    /// Name of the table.
    pub contender: String,
    /// Domains in the table.
    pub domains: u32,
    /// Changes that are published together.
    pub changes_per_lot: u64,
    /// Changes in a second of the publisher's CPU time.
    pub changes_per_cpu_s: Spread,
}

/// Bursts of 32 gratuitous ARPs from holders of random virtual IPs: parsing, lookup, membership, and the announcement
/// up to its note on the board. CPU time of one frame, in nanoseconds.
#[derive(Clone, Debug, Serialize)]
pub struct AnnounceRow {
    /// Virtual IPs in all.
    pub havips: u32,
    /// Virtual IPs of each domain.
    pub per_domain: u32,
    /// A frame that announces a virtual IP.
    pub ns_with: Spread,
    /// The same frame in a domain without any.
    pub ns_without: Spread,
    /// The difference, round by round.
    pub ns_beyond: Spread,
}

/// Figures of these rows, with their targets.
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
    figures.extend(rows.iter().filter_map(|row| match row {
        Row::Publish(row) if row.contender == OURS.name => {
            let what = format!("changes published by one publisher, {}k domains", row.domains / 1000);
            Some(Figure::at_least(what, row.changes_per_cpu_s.median / 1e6, 1.0, " million/s"))
        }
        Row::Announce(row) => {
            let virtual_ips = format!("{} virtual IPs, {} a domain", row.havips, row.per_domain);
            let what = format!("the holder announces again, {virtual_ips}: beyond the frame");
            let most = if row.havips > 1000 { 80.0 } else { 30.0 };
            Some(Figure::at_most(what, row.ns_beyond.median, most, " ns"))
        }
        _ => None,
    }));
    figures
}

/// Reason why the tails of a run are void, if so: the machine was so busy that memory alone was over the limit.
pub fn void(rows: &[Row]) -> Option<String> {
    let tail = hardest_lookup(rows, FLOOR.name)?.burst_p999_ns.median / 1e3;
    (tail > 10.0).then(|| {
        format!(
            "the machine was busy: 64 reads and nothing else took {tail:.1} us at the 99.9th percentile; \
             measure again when it is quiet"
        )
    })
}

/// The row of a table at a million domains and 100,000 changes a second.
fn hardest_lookup<'r>(rows: &'r [Row], contender: &str) -> Option<&'r LookupRow> {
    rows.iter().find_map(|row| match row {
        Row::Lookup(row) => {
            let hardest = row.domains == 1_000_000 && row.changes_wanted_per_s == 100_000;
            (hardest && row.contender == contender).then_some(row)
        }
        _ => None,
    })
}

/// Prints a table of each kind of row.
pub fn print(rows: &[Row]) {
    let head = "lookup of 32, CPU time|domains|changes/s|ns each|p50 us|p99 us|p99.9 us|max us";
    let mut lookups = table(head);
    let mut changes = table("million changes per CPU-second|domains|min|median|max");
    let mut announced = table("announcements, CPU ns a frame|with|without|beyond|min|max");
    for row in rows {
        match row {
            Row::Lookup(row) => {
                let bursts = [row.burst_p50_ns, row.burst_p99_ns, row.burst_p999_ns, row.burst_max_ns];
                let times = bursts.map(|ns| format!("{:.2}", ns.median / 1e3));
                let rate = format!("{:.0}", row.changes_per_s);
                let each = format!("{:.1}", row.ns_per_lookup.median);
                let first = [row.contender.clone(), row.domains.to_string(), rate, each];
                lookups.add_row(first.into_iter().chain(times));
            }
            Row::Publish(row) => {
                let first = [row.contender.clone(), row.domains.to_string()];
                changes.add_row(first.into_iter().chain(row.changes_per_cpu_s.cells(1e-6, 3)));
            }
            Row::Announce(row) => {
                let what = format!("{} virtual IPs, {} a domain", row.havips, row.per_domain);
                let [with, without] = [row.ns_with, row.ns_without].map(|ns| format!("{:.1}", ns.median));
                let [min, median, max] = row.ns_beyond.cells(1.0, 1);
                announced.add_row([what, with, without, median, min, max]);
            }
        }
    }
    for table in [lookups, changes, announced].iter().filter(|table| !table.is_empty()) {
        println!("{table}\n");
    }
}
