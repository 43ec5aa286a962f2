//! Join and leave delay (RFC 3918 sections 6.1 and 6.2): frames flow, and TEPs join or leave one after another.

use std::thread;
use std::time::Duration;

use bcast_domain::Vni;
use bench::plot::{Axis, Curve};
use bench::report::Figure;
use ctl_api::model::Change;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::error::Error;
use crate::flow::{Domain, Plan, Rate};
use crate::modes::{Session, Verdict};
use crate::node;
use crate::outcome::{Latency, Outcome};
use crate::receive::Watch;
use crate::report;

/// TEPs that join, or leave.
const CHANGES: u32 = 50;
/// From one answer to the next request; and before the first and after the last.
const PAUSE: Duration = Duration::from_millis(5);
const LEAD: Duration = Duration::from_millis(200);
/// Frames per second, so that a copy tells the time to a fifth of a millisecond.
const RATE: Rate = Rate(5_000);

/// Which of the two.
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
    /// Copies of frames that were sent after a leave's answer, or frames missing between a join's first and last.
    wrong: u64,
}

impl Direction {
    fn change(self, vni: u32, teps: Vec<ctl_api::model::TepRef>) -> Change {
        let vni = Vni::new(vni);
        match self {
            Self::Join => Change::Join { vni, teps },
            Self::Leave => Change::Leave { vni, teps },
        }
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Join => ("join", "first copy"),
            Self::Leave => ("leave", "last copy"),
        }
    }
}

/// See the module.
pub fn run(session: &mut Session, direction: Direction) -> Result<Verdict, Error> {
    if !session.settings.register {
        return Err(Error::NeedsApi(direction.words().0));
    }
    let settings = session.settings.clone();
    let size = session.size(60);
    let fan_out = session.fan_out(8);
    let rate = settings.rate.unwrap_or(RATE);
    let mut plan = session.plan(fan_out + 1 + CHANGES);
    let inner = settings.kind.inner(size, settings.longest_inner())?;
    let vni = settings.first_vni;
    plan.add(
        direction.words().0,
        inner,
        rate,
        [Domain { watched: CHANGES, ..Domain::plain(vni, 0..fan_out + 1) }],
    );
    session.node.arrange(&plan)?;
    let watched = |place| node::tep(plan.teps, fan_out + 1 + place);
    if direction == Direction::Leave {
        let all = (0..CHANGES).map(watched).collect::<Result<_, _>>()?;
        session.node.commit(vec![Direction::Join.change(vni, all)])?;
    }
    let (node, clock) = (&mut session.node, session.rig.clock.clone());
    let (outcome, asked) = session.rig.run_while(&plan, false, |_running| {
        thread::sleep(LEAD);
        let asked = (0..CHANGES).map(|place| {
            let change = direction.change(vni, vec![watched(place)?]);
            let request = clock.ticks();
            node.commit(vec![change])?;
            let answer = clock.ticks();
            thread::sleep(PAUSE);
            Ok(Asked { request, answer })
        });
        let asked = asked.collect::<Result<Vec<_>, Error>>();
        thread::sleep(LEAD);
        asked
    })?;
    session.check_silence(&outcome)?;
    judge(session, direction, &plan, &outcome, &asked?)
}

/// Holds the copies of each watched TEP against its change.
fn judge(
    session: &Session,
    direction: Direction,
    plan: &Plan,
    outcome: &Outcome,
    asked: &[Asked],
) -> Result<Verdict, Error> {
    let clock = &session.rig.clock;
    let (mut rows, mut never) = (Vec::new(), 0);
    for (watch, asked) in outcome.watches.iter().zip(asked) {
        if watch.received == 0 {
            never += 1;
            continue;
        }
        let (at, wrong) = match direction {
            Direction::Join => (watch.first_at, gaps(watch)),
            Direction::Leave => (watch.last_at, u64::from(watch.last_sent > asked.answer)),
        };
        rows.push(Row {
            answer_ms: clock.seconds(asked.request, asked.answer) * 1e3,
            copy_ms: clock.seconds(asked.request, at) * 1e3,
            after_answer_ms: clock.seconds(asked.answer, at) * 1e3,
            wrong,
        });
    }
    let (name, copy) = direction.words();
    let wrong = rows.iter().map(|row| row.wrong).sum::<u64>();
    let stream = outcome.stream(0);
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
        if values.iter().all(|&value| value > 0.0) {
            curves.push(Curve::new(what, curve(&values)?));
        }
    }
    println!("{table}");
    let unit = if direction == Direction::Join {
        "frames missing after the first copy"
    } else {
        "leaves after whose answer a new frame still came"
    };
    println!("{} {name}s, {never} without a copy; {wrong} {unit}", asked.len());
    println!("members meanwhile: {} copies expected, {} lost", stream.expected, stream.lost);
    if rows.len() > 1 && !curves.is_empty() {
        let title = format!("Time of a {name}, {} frames/s", plan.streams[0].rate.0);
        session
            .plot(name, |path| bench::plot::quantiles(path, &title, Axis::log("milliseconds"), &curves))?;
    }
    session.write(name, figures, rows)?;
    Ok((never == 0 && wrong == 0 && stream.passes(session.settings.loss)).into())
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
