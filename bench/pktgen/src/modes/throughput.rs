//! Re-encapsulation throughput (RFC 3918 section 4.4.3): the highest rate at which no copy is lost, by bisection.

use bench::plot::{Axis, Curve};
use bench::report::Figure;

use crate::error::Error;
use crate::flow::Rate;
use crate::modes::{Session, Verdict};
use crate::report::{self, Row};

/// See the module.
pub fn run(session: &mut Session) -> Result<Verdict, Error> {
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
    println!("{}", report::table(&rows));
    if !rows.is_empty() {
        let (x, y) = (Axis::log("copies of each frame"), "million copies/s");
        session.plot("throughput", |path| {
            bench::plot::curves(path, "Highest rate without loss", x, Axis::linear(y), &curves)
        })?;
    }
    session.write("throughput", figures, rows)?;
    Ok(passed.into())
}

/// The trial at the highest rate that passed, if any did.
pub fn highest(session: &mut Session, size: u16, fan_out: u32) -> Result<Option<Row>, Error> {
    let settings = session.settings.clone();
    let domains = settings.domains.unwrap_or(16);
    let teps = fan_out + 1 + domains.min(16);
    let inner = settings.kind.inner(size, settings.longest_inner())?;
    let mut search = Search::new(settings.rate.unwrap_or(Rate::MAX));
    let mut best = None;
    while let Some(rate) = search.next() {
        let mut plan = session.plan(teps);
        plan.add("throughput", inner.clone(), rate, session.domains(domains, fan_out, teps));
        session.node.arrange(&plan)?;
        let what = format!("{size} B to {fan_out}, {}", search.describe());
        let trial = session.trial(&plan, false, settings.seconds, &what)?;
        let row = Row::new(size, fan_out, domains, rate, &trial);
        let passed = trial.outcome.passes(settings.loss);
        search.enter(trial.outcome.stream(0).frames_per_second(settings.seconds), passed);
        if passed {
            best = Some(row);
        }
    }
    Ok(best)
}

/// Between the highest rate that passed and the lowest that did not.
#[derive(Clone, Copy, Debug)]
struct Search {
    passed: u64,
    failed: u64,
    trials: u32,
}

/// A rate under which nothing is searched.
const LEAST: u64 = 10;
/// Trials of one search.
const MOST_TRIALS: u32 = 20;

impl Search {
    fn new(highest: Rate) -> Self {
        Self { passed: 0, failed: highest.0, trials: 0 }
    }

    /// The rate to try, until the two bounds are within 2 %.
    fn next(&self) -> Option<Rate> {
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
    fn enter(&mut self, reached: u64, passed: bool) {
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

    fn describe(&self) -> String {
        format!("trial {}", self.trials + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rate that is found where a node takes `capacity` and the sender makes at most `sender`.
    fn search(capacity: u64, sender: u64, highest: Rate) -> (u64, u32) {
        let mut search = Search::new(highest);
        while let Some(rate) = search.next() {
            let reached = rate.0.min(sender);
            search.enter(reached, reached <= capacity);
        }
        (search.passed, search.trials)
    }

    #[test]
    fn the_highest_rate_that_passes_is_found_within_two_percent() {
        for (capacity, sender, highest, from, to) in [
            (100_000, 5_000_000, Rate::MAX, 98_000, 100_000),
            (5_000_000, 5_000_000, Rate::MAX, 4_900_000, 5_000_000),
            (9_000_000, 5_000_000, Rate::MAX, 5_000_000, 5_000_000),
            (9_000_000, 5_000_000, Rate(1000), 1000, 1000),
            (700, 5_000_000, Rate(1000), 686, 700),
            (5, 5_000_000, Rate::MAX, 0, 0),
        ] {
            let (found, trials) = search(capacity, sender, highest);
            assert!((from..=to).contains(&found), "{capacity} {sender} {highest:?}: {found}");
            assert!(trials <= MOST_TRIALS, "{trials}");
        }
    }
}
