//! Join and leave delay (RFC 3918 sections 6.1 and 6.2): frames flow, and TEPs join or leave one after another.

use std::thread;
use std::time::{Duration, Instant};

use bcast_domain::Vni;
use bench::plot::{Axis, Curve};
use bench::report::Figure;
use ctl_api::model::{Change, TepSet};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::clock::Clock;
use crate::error::Error;
use crate::flow::{Domain, Rate};
use crate::modes::{Session, Trial, Verdict};
use crate::node;
use crate::outcome::Latency;
use crate::receive::Watch;
use crate::report::{self, Row as ReportRow};
use crate::rig::Running;

/// TEPs that join and leave, one after another.
const CHANGES: u32 = 100;
/// From one answer to the next request, at least.
const PAUSE: Duration = Duration::from_millis(20);
/// Frames that are sent in between.
const FRAMES_BETWEEN: u64 = 10;
/// Frames per second: a copy tells the time to half a millisecond.
const RATE: Rate = Rate(2_000);

/// Which of the two is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A TEP becomes a member.
    Join,
    /// A member ceases to be one.
    Leave,
}

/// When a change was asked for and answered: ticks.
#[derive(Clone, Copy, Debug)]
struct Asked {
    request: u64,
    answer: u64,
}

/// One change, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Row {
    /// From the request to the answer.
    answer_ms: f64,
    /// From the request to the first copy that came, or the last.
    copy_ms: f64,
    /// From the answer to it; negative where the copy was there before the answer.
    after_answer_ms: f64,
    /// Of a join: frames missing between the first copy and the last. Of a leave: 1 if a frame still came that was sent after
    /// the answer.
    wrong: u64,
}

impl Direction {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Join => ("join", "first copy"),
            Self::Leave => ("leave", "last copy"),
        }
    }
}

/// See the module. Each TEP joins and leaves, so that the number of copies stays what it is.
pub fn run(session: &mut Session, direction: Direction) -> Result<Verdict, Error> {
    let (name, _) = direction.words();
    if !session.settings.register {
        return Err(Error::NeedsApi(name));
    }
    let settings = session.settings.clone();
    let fan_out = session.fan_out(8);
    let rate = settings.rate.unwrap_or(RATE);
    let mut plan = session.plan(fan_out + 1 + CHANGES);
    let inner = settings.kind.inner(session.size(60), settings.longest_inner())?;
    let vni = settings.first_vni;
    plan.add(name, inner, rate, [Domain { watched: CHANGES, ..Domain::plain(vni, 0..fan_out + 1) }]);
    session.node.arrange(&plan)?;
    let clock = session.rig.clock.clone();
    let (trial, asked) = session.trial_while(&plan, false, Duration::MAX, |running, node| {
        let mut ask = |change| {
            let request = clock.ticks();
            node.commit(vec![change])?;
            let answer = clock.ticks();
            pause(running);
            Ok::<_, Error>(Asked { request, answer })
        };
        pause(running);
        let asked = (0..CHANGES).map(|place| {
            let vni = Vni::new(vni);
            let teps: TepSet = [node::tep(plan.teps, fan_out + 1 + place)?].into_iter().collect();
            let join = ask(Change::Join { vni, teps: teps.clone() })?;
            let leave = ask(Change::Leave { vni, teps })?;
            Ok(if direction == Direction::Join { join } else { leave })
        });
        asked.collect::<Result<Vec<_>, Error>>()
    })?;
    println!("{}", report::table(&[ReportRow::new(session.size(60), fan_out, 1, rate, &trial)]));
    let rows = rows(direction, &session.rig.clock, &trial.outcome.watches, &asked?);
    judge(session, direction, rate, &trial, &rows)
}

/// Until frames that were sent after a change must have come, also where the sender has to wait for its core.
fn pause(running: &Running) {
    let (sent, start) = (running.sent(), Instant::now());
    thread::sleep(PAUSE);
    while running.sent() < sent + FRAMES_BETWEEN && start.elapsed() < Duration::from_secs(2) {
        thread::sleep(Duration::from_millis(1));
    }
}

/// Holds the copies of each watched TEP against its change; none for one that got no copy.
fn rows(direction: Direction, clock: &Clock, watches: &[Watch], asked: &[Asked]) -> Vec<Row> {
    let seen = watches.iter().zip(asked).filter(|(watch, _)| watch.received > 0);
    let row = |(watch, asked): (&Watch, &Asked)| {
        let (at, wrong) = match direction {
            Direction::Join => (watch.first_at, gaps(watch)),
            Direction::Leave => (watch.last_at, u64::from(watch.last_sent > asked.answer)),
        };
        Row {
            answer_ms: clock.seconds(asked.request, asked.answer) * 1e3,
            copy_ms: clock.seconds(asked.request, at) * 1e3,
            after_answer_ms: clock.seconds(asked.answer, at) * 1e3,
            wrong,
        }
    };
    seen.map(row).collect()
}

fn judge(
    session: &Session,
    direction: Direction,
    rate: Rate,
    trial: &Trial,
    rows: &[Row],
) -> Result<Verdict, Error> {
    let (name, copy) = direction.words();
    let never = CHANGES as usize - rows.len();
    let mut table = report::plain_table(&["milliseconds", "min", "median", "p99", "max"]);
    let parts = [
        ("request to answer".into(), (|row| row.answer_ms) as fn(&Row) -> f64),
        (format!("request to {copy}"), |row| row.copy_ms),
        (format!("answer to {copy}"), |row| row.after_answer_ms),
    ];
    let (mut figures, mut curves) = (Vec::new(), Vec::new());
    for (what, pick) in parts {
        let mut values: Vec<f64> = rows.iter().map(pick).collect();
        let quantiles = [0.0, 0.5, 0.99, 1.0].map(|share| bench::quantile(&mut values, share));
        let [_, median, p99, _] = quantiles;
        figures.push(Figure::plain(
            format!("{name}: {what}"),
            format!("median {median:.2} ms, p99 {p99:.2} ms"),
        ));
        let cells = quantiles.map(|value| format!("{value:.2}"));
        table.add_row([&[what.clone()][..], &cells].concat());
        if values.len() > 1 && values.iter().all(|&value| value > 0.0) {
            curves.push(Curve::new(what, curve(&values)?));
        }
    }
    println!("{table}");
    let wrong = rows.iter().map(|row| row.wrong).sum::<u64>();
    let meaning = match direction {
        Direction::Join => "frames missing after a first copy",
        Direction::Leave => "leaves after whose answer a new frame still came",
    };
    println!("{CHANGES} {name}s, {never} without any copy, {wrong} {meaning}");
    if !curves.is_empty() {
        let title = format!("Time of a {name}, {} frames/s", rate.0);
        session
            .plot(name, |path| bench::plot::quantiles(path, &title, Axis::log("milliseconds"), &curves))?;
    }
    session.write(name, figures, rows.to_vec())?;
    Ok((never == 0 && wrong == 0 && trial.outcome.passes(session.settings.loss)).into())
}

/// Frames that a TEP missed between its first copy and its last.
fn gaps(watch: &Watch) -> u64 {
    (watch.last_sequence - watch.first_sequence + 1).saturating_sub(watch.received)
}

/// (share, milliseconds)
fn curve(milliseconds: &[f64]) -> Result<Vec<(f64, f64)>, Error> {
    let mut histogram = Histogram::<u64>::new_with_bounds(100, 60_000_000_000, 3)?;
    for &value in milliseconds {
        let time = Duration::try_from_secs_f64(value / 1e3).unwrap_or_default();
        histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(Latency::curve(&histogram).into_iter().map(|(share, us)| (share, us / 1e3)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_a_new_member_missed_is_a_gap() {
        let watch = |first_sequence, last_sequence, received| Watch {
            first_sequence,
            last_sequence,
            received,
            ..Watch::default()
        };
        for (watch, missing) in [(watch(5, 5, 1), 0), (watch(5, 9, 5), 0), (watch(5, 9, 3), 2)] {
            assert_eq!(gaps(&watch), missing, "{watch:?}");
        }
    }
}
