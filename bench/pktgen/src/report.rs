//! Tables for people; JSON and plots are the bench crate's.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::flow::Rate;
use crate::modes::Trial;
use crate::outcome::{Latency, Outcome};
use crate::receive::Counts;

/// One stream of a trial, as it stands in the JSON and in the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Which stream.
    pub stream: &'static str,
    /// Bytes of inner frame.
    pub size: u16,
    /// Copies that each frame makes.
    pub fan_out: u32,
    /// Domains that were sent to.
    pub domains: u32,
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
    /// What came.
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
    fn of(trial: &Trial) -> Option<Self> {
        let counted = trial.counted.as_ref()?;
        let streams = &trial.outcome.streams;
        let sent = streams.iter().map(|stream| stream.sent).sum::<u64>() as f64;
        let received = streams.iter().map(|stream| stream.counts.received).sum::<u64>() as f64;
        let copies = counted.sum("bcast_tx_copies_total");
        Some(Self {
            frames_before_node: sent - counted.sum("bcast_rx_frames_total"),
            frames_in_node: counted.sum("bcast_drops_total"),
            copies_in_node: counted.sum("bcast_copies_wanted_total") - copies,
            copies_after_node: copies - received,
        })
    }
}

impl Row {
    /// Of a trial's first stream.
    pub fn new(size: u16, fan_out: u32, domains: u32, rate: Rate, trial: &Trial) -> Self {
        Self::of_stream(0, size, fan_out, domains, rate, trial)
    }

    /// Of one of its streams.
    pub fn of_stream(place: usize, size: u16, fan_out: u32, domains: u32, rate: Rate, trial: &Trial) -> Self {
        let stream = trial.outcome.stream(place);
        Self {
            stream: stream.name,
            size,
            fan_out,
            domains,
            asked_per_second: (rate != Rate::MAX).then_some(rate.0),
            reached_per_second: stream.frames_per_second(trial.length),
            sent: stream.sent,
            skipped: stream.skipped,
            expected: stream.expected,
            lost: stream.lost,
            losses: Losses::of(trial),
            counts: stream.counts,
            copies_per_second: stream.copies_per_second(),
            latency: Latency::of(&stream.latency),
        }
    }
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

/// Trials, one a line, and below what the sender did not keep up with, and where those that lost something lost it.
pub fn table(rows: &[Row]) -> String {
    let mut text = trials(rows).to_string();
    for row in rows.iter().filter(|row| row.skipped > 0) {
        text += &format!(
            "\n{} {} B to {}: the sender was held up and skipped {} frames",
            row.stream, row.size, row.fan_out, row.skipped
        );
    }
    for row in rows.iter().filter(|row| row.lost > 0) {
        let Some(at) = row.losses else { continue };
        text += &format!(
            "\n{} {} B to {}: lost {} frames before the node and {} in it, {} copies in the node and {} after it",
            row.stream,
            row.size,
            row.fan_out,
            at.frames_before_node,
            at.frames_in_node,
            at.copies_in_node,
            at.copies_after_node
        );
    }
    text
}

fn trials(rows: &[Row]) -> Table {
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
        let latency = |pick: fn(&Latency) -> f64| {
            row.latency.as_ref().map_or("-".into(), |l| format!("{:.1}", pick(l)))
        };
        table.add_row([
            row.stream.to_owned(),
            row.size.to_string(),
            row.fan_out.to_string(),
            row.domains.to_string(),
            row.sent.to_string(),
            row.counts.received.to_string(),
            row.lost.to_string(),
            row.counts.doubled.to_string(),
            row.counts.misdelivered().to_string(),
            row.counts.out_of_order.to_string(),
            row.counts.damaged.to_string(),
            row.reached_per_second.to_string(),
            format!("{:.0}", row.copies_per_second),
            latency(|l| l.p50_us),
            latency(|l| l.p99_us),
            latency(|l| l.max_us),
        ]);
    }
    table
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
        let latency = |pick: fn(&Latency) -> f64| {
            member.latency.as_ref().map_or("-".into(), |latency| format!("{:.1}", pick(latency)))
        };
        table.add_row([
            member.tep.to_string(),
            member.expected.to_string(),
            member.received.to_string(),
            member.lost.to_string(),
            member.doubled.to_string(),
            member.misdelivered.to_string(),
            member.out_of_order.to_string(),
            latency(|l| l.p50_us),
            latency(|l| l.p99_us),
            latency(|l| l.max_us),
        ]);
    }
    table
}
