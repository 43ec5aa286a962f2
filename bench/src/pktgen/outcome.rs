//! What a run showed: the sender's numbers held against the receiver's.

use std::time::Duration;

use hdrhistogram::{Counter, Histogram};
use serde::Serialize;

use super::clock::Clock;
use super::flow::Plan;
use super::receive::{Counts, Ledger, Watch};
use super::send::Sent;

/// Of all streams.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// In the plan's order.
    pub streams: Vec<StreamOutcome>,
    /// In the order of their addresses: those that must get something, or got what they should not.
    pub members: Vec<MemberOutcome>,
    /// Frames that are not of this run.
    pub foreign: u64,
    /// Of each watched TEP of the first stream's first flow, in their order.
    pub watches: Vec<Watch>,
}

/// Of one stream.
#[derive(Clone, Debug)]
pub struct StreamOutcome {
    /// Its name in the plan.
    pub name: &'static str,
    /// Frames that the port took.
    pub sent: u64,
    /// Frames that were due while the sender was held up, and never made: above 0 the asked rate was not reached.
    pub skipped: u64,
    /// Copies that must come.
    pub expected: u64,
    /// Those of them that did not.
    pub lost: u64,
    /// What came.
    pub counts: Counts,
    /// Nanoseconds.
    pub latency: Histogram<u64>,
    /// From the start until the last copy came.
    pub seconds: f64,
    /// Copies in each tenth of a second.
    pub tenths: Vec<u64>,
}

impl StreamOutcome {
    /// Whether no more than this share of the copies was lost, and nothing else was wrong.
    pub fn passes(&self, loss: f64) -> bool {
        self.counts.is_clean() && self.lost as f64 <= loss * self.expected as f64
    }

    /// Frames per second that the port took, of a run of this length or less.
    pub fn frames_per_second(&self, length: Duration) -> u64 {
        let millis = length.min(Duration::try_from_secs_f64(self.seconds).unwrap_or(length)).as_millis();
        u64::try_from(u128::from(self.sent) * 1000 / millis.max(1)).unwrap_or(u64::MAX)
    }

    /// Copies per second, from the start until the last one came.
    pub fn copies_per_second(&self) -> f64 {
        if self.seconds > 0.0 { self.counts.received as f64 / self.seconds } else { 0.0 }
    }

    /// The most copies in any whole second, by tenths; `None` where they came for less than a second.
    pub fn most_in_a_second(&self) -> Option<u64> {
        self.tenths.windows(10).map(|window| window.iter().sum()).max()
    }
}

/// Of one TEP, in all domains.
#[derive(Clone, Debug, Serialize)]
pub struct MemberOutcome {
    /// Its address.
    pub tep: std::net::Ipv4Addr,
    /// Copies that must come.
    pub expected: u64,
    /// Different ones that came.
    pub received: u64,
    /// Those that did not.
    pub lost: u64,
    /// Copies of what had come.
    pub doubled: u64,
    /// Copies of another VNI, of a domain that it is no member of, or of what it sent itself.
    pub misdelivered: u64,
    /// Copies behind a later one.
    pub out_of_order: u64,
    /// Where it was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
}

/// What a histogram says, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// How many values.
    pub count: u64,
    /// The least.
    pub min_us: f64,
    /// Half are not above.
    pub p50_us: f64,
    /// And so on.
    pub p90_us: f64,
    /// And so on.
    pub p99_us: f64,
    /// And so on.
    pub p999_us: f64,
    /// The greatest.
    pub max_us: f64,
}

impl Latency {
    /// Of a histogram of nanoseconds. `None` where it is empty.
    pub fn of<C: Counter>(histogram: &Histogram<C>) -> Option<Self> {
        let at = |share| histogram.value_at_quantile(share) as f64 / 1e3;
        (!histogram.is_empty()).then(|| Self {
            count: histogram.len(),
            min_us: histogram.min() as f64 / 1e3,
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: histogram.max() as f64 / 1e3,
        })
    }

    /// The curve for a plot: (share of the values, microseconds).
    pub fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
        let points = histogram.iter_quantiles(4);
        points.map(|point| (point.quantile(), point.value_iterated_to() as f64 / 1e3)).collect()
    }
}

impl Outcome {
    /// Holds what was sent against what came.
    pub fn new(plan: &Plan, clock: &Clock, start: u64, sent: &Sent, ledger: &Ledger) -> Self {
        let streams =
            plan.streams.iter().zip(&ledger.tallies).zip(&sent.skipped).map(|((stream, tally), &skipped)| {
                let flows =
                    || plan.flows[stream.flows.clone()].iter().zip(&sent.by_flow[stream.flows.clone()]);
                let expected = flows().map(|(flow, sent)| plan.copies(flow) * sent).sum::<u64>();
                StreamOutcome {
                    name: stream.name,
                    sent: flows().map(|(_, sent)| sent).sum(),
                    skipped,
                    expected,
                    lost: expected.saturating_sub(tally.counts.received),
                    counts: tally.counts,
                    latency: tally.latency.clone(),
                    seconds: clock.seconds(start, tally.last_at),
                    tenths: tally.tenths.clone(),
                }
            });
        let watches = plan.flows.first().filter(|_| !ledger.watches.is_empty()).map(|flow| {
            let from = flow.accounts + (flow.watched_from - flow.teps.start) as usize;
            ledger.watches[from..flow.accounts + flow.teps.len()].to_vec()
        });
        Self {
            streams: streams.collect(),
            members: members(plan, sent, ledger),
            foreign: ledger.foreign,
            watches: watches.unwrap_or_default(),
        }
    }

    /// The stream of this place; every plan has as many as its mode added.
    pub fn stream(&self, place: usize) -> &StreamOutcome {
        &self.streams[place]
    }

    /// Whether every stream passes.
    pub fn passes(&self, loss: f64) -> bool {
        self.streams.iter().all(|stream| stream.passes(loss))
    }
}

fn members(plan: &Plan, sent: &Sent, ledger: &Ledger) -> Vec<MemberOutcome> {
    let blank = |place| MemberOutcome {
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
