//! Re-encapsulation throughput (RFC 3918 section 4.4.3): the highest rate at which no copy is lost, by bisection.

use anyhow::Result;

use super::Session;
use crate::harness::Figure;
use crate::harness::plot::{self, Axis, Curve};
use crate::pktgen::flow::Rate;
use crate::pktgen::outcome::{Row, print_trials};

/// A search for each size and number of copies.
pub fn run(session: &mut Session) -> Result<bool> {
    let (mut rows, mut figures, mut curves) = (Vec::new(), Vec::new(), Vec::new());
    let mut passed = true;
    for size in session.sizes() {
        let mut points = Vec::new();
        for fan_out in session.fan_outs(&[1, 8, 32, 128]) {
            let Some(row) = highest(session, size, fan_out)? else {
                passed = false;
                println!("{size} B to {fan_out}: copies were lost at every rate that was tried");
                continue;
            };
            points.push((f64::from(fan_out), row.copies_per_second / 1e6));
            let what = format!("highest rate without loss, {size} B inner, {fan_out} copies");
            let (frames, copies) = (row.reached_per_second, row.copies_per_second);
            figures.push(Figure::plain(what, format!("{frames} frames/s, {copies:.0} copies/s")));
            rows.push(row);
        }
        curves.push(Curve::new(format!("{size} B"), points));
    }
    print_trials(&rows);
    if !rows.is_empty() {
        let (x, y) = (Axis::log("copies of each frame"), "million copies/s");
        session.plot("throughput", |path| {
            plot::curves(path, "Highest rate without loss", x, Axis::linear(y), &curves)
        })?;
    }
    session.write("throughput", figures, rows)?;
    Ok(passed)
}

/// The trial at the highest rate that passed, if any did.
pub fn highest(session: &mut Session, size: u16, fan_out: u32) -> Result<Option<Row>> {
    let (loss, most) = (session.settings.loss, session.settings.rate.unwrap_or(Rate::MAX));
    let (mut search, mut best) = (Search::new(most), None);
    while let Some(rate) = search.next() {
        let plan = session.plain_plan("throughput", size, fan_out, rate)?;
        let trial =
            session.try_plan(&plan, &format!("{size} B to {fan_out}, trial {}", search.trials + 1))?;
        let passed = trial.outcome.passes(loss);
        search.enter(trial.outcome.streams[0].reached_per_second, passed);
        if passed {
            best = trial.outcome.streams.into_iter().next();
        }
    }
    Ok(best)
}

/// Between the highest rate that passed and the lowest that did not.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    pub passed: u64,
    failed: u64,
    pub trials: u32,
}

/// A rate under which nothing is searched.
const LEAST: u64 = 10;
/// Trials of one search.
pub const MOST_TRIALS: u32 = 20;

impl Search {
    pub fn new(highest: Rate) -> Self {
        Self { passed: 0, failed: highest.0, trials: 0 }
    }

    /// The rate to try, until the two bounds are within 2 %.
    pub fn next(&self) -> Option<Rate> {
        let Self { passed, failed, trials } = *self;
        match (trials, passed) {
            (0, _) => Some(Rate(failed)),
            (MOST_TRIALS.., _) => None,
            // Nothing passed yet: go down by halves.
            (_, 0) => (failed / 2 >= LEAST).then_some(Rate(failed / 2)),
            _ => (failed.saturating_sub(passed) > passed / 50).then_some(Rate(passed.midpoint(failed))),
        }
    }

    /// Enters a trial by the rate that was reached, which may be under the one that was asked for.
    pub fn enter(&mut self, reached: u64, passed: bool) {
        let asked = self.next().unwrap_or(Rate(reached)).0;
        let reached = reached.min(asked).max(1);
        if passed {
            self.passed = self.passed.max(reached);
            // The first is the highest there is; and a sender that reached no more will not.
            if self.trials == 0 || reached < asked - asked / 50 {
                self.failed = self.passed;
            }
        } else {
            self.failed = self.failed.min(reached);
        }
        self.trials += 1;
    }
}
