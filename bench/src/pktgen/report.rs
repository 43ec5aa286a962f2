//! Tables for people, and rows for the JSON.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;
use testkit::metrics::Metrics;

use super::flow::{Plan, Rate};
use super::outcome::{Latency, Outcome};
use super::receive::Counts;

/// One stream of a trial, as it stands in the JSON and in the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Name of the stream.
    pub stream: &'static str,
    /// Bytes of inner frame.
    pub size: usize,
    /// Copies that each frame makes.
    pub fan_out: u64,
    /// Domains that were sent to.
    pub domains: usize,
    /// Frames per second that were asked for; none: as many as it goes.
    pub asked_per_second: Option<u64>,
    /// Frames per second that were reached.
    pub reached_per_second: u64,
    /// Frames that the port took.
    pub sent: u64,
    /// Frames that were due and never made, since the sender was held up.
    pub skipped: u64,
    /// Copies that must come.
    pub expected: u64,
    /// Those that did not.
    pub lost: u64,
    /// Where, as far as the node tells.
    pub losses: Option<Losses>,
    /// Copies that came, by finding.
    #[serde(flatten)]
    pub counts: Counts,
    /// From the start to the last copy.
    pub copies_per_second: f64,
    /// From the sender to the receiver.
    pub latency: Option<Latency>,
}

/// Where a trial lost something, all streams together.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Losses {
    /// Frames that the node did not receive.
    pub frames_before_node: f64,
    /// Frames that the node dropped, whatever the reason.
    pub frames_in_node: f64,
    /// Copies that the node wanted to send and did not.
    pub copies_in_node: f64,
    /// Copies that the node sent and that did not come.
    pub copies_after_node: f64,
}

impl Losses {
    fn of(outcome: &Outcome, counted: &Metrics) -> Self {
        let sent = outcome.streams.iter().map(|stream| stream.sent).sum::<u64>() as f64;
        let received = outcome.streams.iter().map(|stream| stream.counts.received).sum::<u64>() as f64;
        let total = |name| counted.total(name, "");
        Self {
            frames_before_node: sent - total("bcast_rx_frames_total"),
            frames_in_node: total("bcast_drops_total"),
            copies_in_node: total("bcast_copies_wanted_total") - total("bcast_tx_copies_total"),
            copies_after_node: total("bcast_tx_copies_total") - received,
        }
    }
}

/// A row for each stream of a plan that was sent for `length` at most.
pub fn rows(
    plan: &Plan,
    outcome: &Outcome,
    length: std::time::Duration,
    counted: Option<&Metrics>,
) -> Vec<Row> {
    let losses = counted.map(|counted| Losses::of(outcome, counted));
    let streams = plan.streams.iter().zip(&outcome.streams);
    let row = streams.map(|(planned, stream)| {
        let flows = &plan.flows[planned.flows.clone()];
        let vnis: std::collections::HashSet<_> = flows.iter().map(|flow| flow.vni).collect();
        Row {
            stream: stream.name,
            size: planned.inner.len(),
            fan_out: flows.first().map_or(0, |flow| flow.fan_out()),
            domains: vnis.len(),
            asked_per_second: (planned.rate != Rate::MAX).then_some(planned.rate.0),
            reached_per_second: stream.frames_per_second(length),
            sent: stream.sent,
            skipped: stream.skipped,
            expected: stream.expected,
            lost: stream.lost,
            losses,
            counts: stream.counts,
            copies_per_second: stream.copies_per_second(),
            latency: Latency::of(&stream.latency),
        }
    });
    row.collect()
}

/// A table without lines, numbers to the right.
pub fn plain_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(header.iter().copied());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Trials, one a line; below them the frames that the sender skipped, and the places of losses.
pub fn table(rows: &[Row]) -> String {
    let mut table = plain_table(&[
        "stream",
        "bytes",
        "copies",
        "domains",
        "sent",
        "received",
        "lost",
        "doubled",
        "misdelivered",
        "out of order",
        "damaged",
        "frames/s",
        "copies/s",
        "p50 us",
        "p99 us",
        "max us",
    ]);
    for row in rows {
        let counts = &row.counts;
        let numbers = [row.size as u64, row.fan_out, row.domains as u64, row.sent, counts.received, row.lost];
        let wrong = [counts.doubled, counts.misdelivered(), counts.out_of_order, counts.damaged];
        let numbers = numbers.iter().chain(&wrong).chain([&row.reached_per_second]);
        let cells = [row.stream.to_owned()].into_iter().chain(numbers.map(u64::to_string));
        let speed = [format!("{:.0}", row.copies_per_second)];
        table.add_row(cells.chain(speed).chain(latencies(row.latency.as_ref())));
    }
    let mut text = table.to_string();
    let which = |row: &Row| format!("\n{} {} B to {}", row.stream, row.size, row.fan_out);
    for row in rows.iter().filter(|row| row.skipped > 0) {
        text += &format!("{}: the sender was held up and skipped {} frames", which(row), row.skipped);
    }
    for row in rows.iter().filter(|row| row.lost > 0) {
        let Some(at) = row.losses else { continue };
        text += &format!(
            "{}: lost {} frames before the node and {} in it, {} copies in the node and {} after it",
            which(row),
            at.frames_before_node,
            at.frames_in_node,
            at.copies_in_node,
            at.copies_after_node
        );
    }
    text
}

/// Members, one a line.
pub fn members(outcome: &Outcome) -> Table {
    let mut table = plain_table(&[
        "member",
        "expected",
        "received",
        "lost",
        "doubled",
        "misdelivered",
        "out of order",
        "p50 us",
        "p99 us",
        "max us",
    ]);
    for member in &outcome.members {
        let wrong = [member.lost, member.doubled, member.misdelivered, member.out_of_order];
        let numbers = [member.expected, member.received].into_iter().chain(wrong);
        let cells = [member.tep.to_string()].into_iter().chain(numbers.map(|number| number.to_string()));
        table.add_row(cells.chain(latencies(member.latency.as_ref())));
    }
    table
}

/// Median, 99th percentile and maximum.
fn latencies(latency: Option<&Latency>) -> [String; 3] {
    let Some(latency) = latency else { return [const { String::new() }; 3].map(|_| "-".into()) };
    [latency.p50_us, latency.p99_us, latency.max_us].map(|us| format!("{us:.1}"))
}
