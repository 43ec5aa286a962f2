//! Results of a run: the sender's numbers held against the receiver's.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use hdrhistogram::{Counter, Histogram};
use serde::Serialize;
use testkit::metrics::Metrics;

use super::clock::Clock;
use super::flow::{Flow, Plan, Rate};
use super::receive::{Counts, Ledger, Tally, Watch};
use super::send::Sent;
use crate::harness::table;

/// Results of all streams.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Streams in the plan's order.
    pub streams: Vec<Row>,
    /// Members in the order of their addresses: those that must get something, or got a copy that is not for them.
    pub members: Vec<Member>,
    /// Frames that are not of this run.
    pub foreign: u64,
    /// Copies of each watched TEP of the first flow.
    pub watches: Vec<Watch>,
}

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
    /// Frames per second that the port took.
    pub reached_per_second: u64,
    /// Frames that the port took.
    pub sent: u64,
    /// Frames that were due while the sender was held up, and never made: above 0 the asked rate was not reached.
    pub skipped: u64,
    /// Copies that must come.
    pub expected: u64,
    /// Expected copies that did not come.
    pub lost: u64,
    /// Places of the losses, as far as the node tells.
    pub losses: Option<Losses>,
    /// Copies that came, by finding.
    #[serde(flatten)]
    pub counts: Counts,
    /// Copies per second, from the start until the last one came.
    pub copies_per_second: f64,
    /// Time from the sender to the receiver.
    pub latency: Option<Latency>,
    /// The same in nanoseconds, for plots.
    #[serde(skip)]
    pub histogram: Histogram<u64>,
    /// Copies in each tenth of a second.
    #[serde(skip)]
    pub tenths: Vec<u64>,
}

/// Losses of a trial, all streams together.
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

/// Copies of one TEP, in all domains.
#[derive(Clone, Debug, Serialize)]
pub struct Member {
    /// Address.
    pub tep: Ipv4Addr,
    /// Copies that must come.
    pub expected: u64,
    /// Different ones that came.
    pub received: u64,
    /// Expected copies that did not come.
    pub lost: u64,
    /// Copies of a frame of which one had come.
    pub doubled: u64,
    /// Copies of another VNI, of a domain that it is no member of, or of its own frames.
    pub misdelivered: u64,
    /// Copies behind a later one.
    pub out_of_order: u64,
    /// Latency, where each member's is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

/// Summary of a histogram: microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// Number of values.
    pub count: u64,
    pub min_us: f64,
    pub p50_us: f64,
    pub p90_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

impl Latency {
    /// Summary of a histogram of nanoseconds; `None` where it is empty.
    pub fn of<C: Counter>(histogram: &Histogram<C>) -> Option<Self> {
        let us = |ns: u64| ns as f64 / 1e3;
        let at = |share| us(histogram.value_at_quantile(share));
        (!histogram.is_empty()).then(|| Self {
            count: histogram.len(),
            min_us: us(histogram.min()),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: us(histogram.max()),
        })
    }

    /// Median, 99th percentile and maximum, for a table.
    fn cells(of: Option<&Self>) -> [String; 3] {
        let us = |pick: fn(&Self) -> f64| of.map_or("-".into(), |of| format!("{:.1}", pick(of)));
        [us(|l| l.p50_us), us(|l| l.p99_us), us(|l| l.max_us)]
    }
}

impl Row {
    fn new(plan: &Plan, place: usize, seconds: f64, length: Duration, sent: &Sent, tally: &Tally) -> Self {
        let stream = &plan.streams[place];
        let flows = &plan.flows[stream.flows.clone()];
        let by_flow = &sent.by_flow[stream.flows.clone()];
        let expected = flows.iter().zip(by_flow).map(|(flow, sent)| plan.copies(flow) * sent).sum::<u64>();
        let (sent_frames, received) = (by_flow.iter().sum::<u64>(), tally.counts.received);
        let sending = length.min(Duration::try_from_secs_f64(seconds).unwrap_or(length)).as_millis();
        let reached = u128::from(sent_frames) * 1000 / sending.max(1);
        Self {
            stream: stream.name,
            size: stream.inner.len(),
            fan_out: flows.first().map_or(0, Flow::fan_out),
            domains: flows.iter().map(|flow| flow.vni).collect::<HashSet<_>>().len(),
            asked_per_second: (stream.rate != Rate::MAX).then_some(stream.rate.0),
            reached_per_second: u64::try_from(reached).unwrap_or(u64::MAX),
            sent: sent_frames,
            skipped: sent.skipped[place],
            expected,
            lost: expected.saturating_sub(received),
            losses: None,
            counts: tally.counts,
            copies_per_second: if seconds > 0.0 { received as f64 / seconds } else { 0.0 },
            latency: Latency::of(&tally.latency),
            histogram: tally.latency.clone(),
            tenths: tally.tenths.clone(),
        }
    }

    /// True if no more than this share of the copies was lost, and nothing else was wrong.
    pub fn passes(&self, loss: f64) -> bool {
        self.counts.is_clean() && self.lost as f64 <= loss * self.expected as f64
    }

    /// The most copies in any whole second, by tenths; `None` where they came for less than a second.
    pub fn most_in_a_second(&self) -> Option<u64> {
        self.tenths.windows(10).map(|window| window.iter().sum()).max()
    }

    /// Latency curve for a plot: (share of the copies, microseconds).
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let points = self.histogram.iter_quantiles(4);
        points.map(|point| (point.quantile(), point.value_iterated_to() as f64 / 1e3)).collect()
    }
}

impl Outcome {
    /// Holds the frames that were sent, for `length` at most, against the copies that came.
    pub fn new(
        plan: &Plan,
        clock: &Clock,
        (start, length): (u64, Duration),
        sent: &Sent,
        ledger: &Ledger,
    ) -> Self {
        let row = |(place, tally): (usize, &Tally)| {
            Row::new(plan, place, clock.seconds(start, tally.last_at), length, sent, tally)
        };
        let watches = plan.flows.first().filter(|_| !ledger.watches.is_empty()).map(|flow| {
            let from = flow.accounts + (flow.watched_from - flow.teps.start) as usize;
            ledger.watches[from..flow.accounts + flow.teps.len()].to_vec()
        });
        Self {
            streams: ledger.tallies.iter().enumerate().map(row).collect(),
            members: members(plan, sent, ledger),
            foreign: ledger.foreign,
            watches: watches.unwrap_or_default(),
        }
    }

    /// Adds the places of losses, by the increase of the node's counters.
    pub fn locate_losses(&mut self, counted: &Metrics) {
        let sum = |of: fn(&Row) -> u64| self.streams.iter().map(of).sum::<u64>() as f64;
        let total = |name| counted.total(name, "");
        let copies = total("bcast_tx_copies_total");
        let losses = Losses {
            frames_before_node: sum(|row| row.sent) - total("bcast_rx_frames_total"),
            frames_in_node: total("bcast_drops_total"),
            copies_in_node: total("bcast_copies_wanted_total") - copies,
            copies_after_node: copies - sum(|row| row.counts.received),
        };
        self.streams.iter_mut().for_each(|row| row.losses = Some(losses));
    }

    /// True if every stream passes.
    pub fn passes(&self, loss: f64) -> bool {
        self.streams.iter().all(|stream| stream.passes(loss))
    }
}

fn members(plan: &Plan, sent: &Sent, ledger: &Ledger) -> Vec<Member> {
    let blank = |place| Member {
        tep: plan.teps.address(place),
        expected: 0,
        received: 0,
        lost: 0,
        doubled: 0,
        misdelivered: ledger.misdelivered[place as usize],
        out_of_order: 0,
        latency: ledger.latencies.get(place as usize).and_then(Latency::of),
    };
    let mut all: Vec<_> = (0..plan.teps.count()).map(blank).collect();
    for (flow, sent) in plan.flows.iter().zip(&sent.by_flow) {
        for tep in flow.receivers().filter(|_| plan.streams[flow.stream].registered) {
            let account = &ledger.accounts[flow.accounts + (tep - flow.teps.start) as usize];
            let member = &mut all[tep as usize];
            member.expected += sent;
            member.received += account.received;
            member.doubled += u64::from(account.doubled);
            member.out_of_order += u64::from(account.late);
        }
    }
    for member in &mut all {
        member.lost = member.expected.saturating_sub(member.received);
    }
    all.retain(|member| member.expected + member.misdelivered > 0);
    all
}

/// Columns of a table of trials.
const TRIAL: &str = "stream|bytes|copies|domains|sent|received|lost|doubled|misdelivered|out of order|damaged|frames/s|\
                     copies/s|p50 us|p99 us|max us";
/// Columns of a table of members.
const MEMBER: &str = "member|expected|received|lost|doubled|misdelivered|out of order|p50 us|p99 us|max us";

/// Prints trials, one a line; below them the frames that the sender skipped, and the places of losses.
pub fn print_trials(rows: &[Row]) {
    let mut table = table(TRIAL);
    for row in rows {
        let counts = &row.counts;
        let numbers = [row.size as u64, row.fan_out, row.domains as u64, row.sent, counts.received, row.lost];
        let wrong = [counts.doubled, counts.misdelivered(), counts.out_of_order, counts.damaged];
        let numbers = numbers.iter().chain(&wrong).chain([&row.reached_per_second]).map(u64::to_string);
        let cells = [row.stream.to_owned()].into_iter().chain(numbers);
        let speed = [format!("{:.0}", row.copies_per_second)];
        table.add_row(cells.chain(speed).chain(Latency::cells(row.latency.as_ref())));
    }
    println!("{table}");
    let which = |row: &Row| format!("{} {} B to {}", row.stream, row.size, row.fan_out);
    for row in rows.iter().filter(|row| row.skipped > 0) {
        println!("{}: the sender was held up and skipped {} frames", which(row), row.skipped);
    }
    for row in rows.iter().filter(|row| row.lost > 0) {
        let Some(at) = row.losses else { continue };
        println!(
            "{}: lost {} frames before the node and {} in it, {} copies in the node and {} after it",
            which(row),
            at.frames_before_node,
            at.frames_in_node,
            at.copies_in_node,
            at.copies_after_node
        );
    }
}

/// Prints members, one a line.
pub fn print_members(members: &[Member]) {
    let mut table = table(MEMBER);
    for member in members {
        let wrong = [member.lost, member.doubled, member.misdelivered, member.out_of_order];
        let numbers = [member.expected, member.received].into_iter().chain(wrong);
        let cells = [member.tep.to_string()].into_iter().chain(numbers.map(|number| number.to_string()));
        table.add_row(cells.chain(Latency::cells(member.latency.as_ref())));
    }
    println!("{table}");
}
