//! Join and leave delay (RFC 3918 sections 6.1 and 6.2): frames flow, and TEPs join or leave one after another.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use bcast_domain::Vni;
use ctl_api::model::{Change, TepSet};
use serde::Serialize;

use super::{Session, Trial};
use crate::harness::plot::Axis;
use crate::harness::stats::Times;
use crate::harness::{Figure, table};
use crate::pktgen::clock::Clock;
use crate::pktgen::flow::{Domain, Rate};
use crate::pktgen::node;
use crate::pktgen::outcome::print_trials;
use crate::pktgen::receive::Watch;
use crate::pktgen::rig::Running;

/// TEPs that join and leave, one after another.
const CHANGES: u32 = 100;
/// Shortest time from one answer to the next request.
const PAUSE: Duration = Duration::from_millis(20);
/// Frames that are sent in between.
const FRAMES_BETWEEN: u64 = 10;
/// Frames per second: a copy tells the time to half a millisecond.
const RATE: Rate = Rate(2_000);

/// Change that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A TEP becomes a member.
    Join,
    /// A member ceases to be one.
    Leave,
}

/// Times of a request and its answer: ticks.
#[derive(Clone, Copy, Debug)]
struct Asked {
    request: u64,
    answer: u64,
}

/// One change, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Row {
    /// Time from the request to the answer.
    answer_ms: f64,
    /// Time from the request to the first copy that came, or the last.
    copy_ms: f64,
    /// Time from the answer to it; negative where the copy was there before the answer.
    after_answer_ms: f64,
    /// For a join: frames missing between the first copy and the last. For a leave: 1 if a frame still came that was
    /// sent after the answer.
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

/// Joins and leaves of one TEP after another. Each joins and leaves, so that the number of copies stays what it is.
pub fn run(session: &mut Session, direction: Direction) -> Result<bool> {
    let (name, _) = direction.words();
    let (fan_out, vni) = (session.fan_out(8), session.settings.first_vni);
    let rate = session.settings.rate.unwrap_or(RATE);
    let mut plan = session.plan(fan_out + 1 + CHANGES);
    let inner = session.settings.inner(session.size(60))?;
    plan.add(name, inner, rate, [Domain { watched: CHANGES, ..Domain::plain(vni, 0..fan_out + 1) }]);
    session.node.arrange(&plan)?;
    let clock = session.rig.clock.clone();
    let (trial, asked) = session.trial_while(&plan, false, Duration::MAX, |running, node| {
        let mut ask = |change| {
            let request = clock.ticks();
            node.commit(vec![change])?;
            let answer = clock.ticks();
            pause(running);
            Ok::<_, anyhow::Error>(Asked { request, answer })
        };
        pause(running);
        let asked = (0..CHANGES).map(|place| {
            let (vni, teps) =
                (Vni::new(vni), TepSet::from_iter([node::tep(plan.teps, fan_out + 1 + place)?]));
            let join = ask(Change::Join { vni, teps: teps.clone() })?;
            let leave = ask(Change::Leave { vni, teps })?;
            Ok(if direction == Direction::Join { join } else { leave })
        });
        asked.collect::<Result<Vec<_>>>()
    })?;
    print_trials(&trial.outcome.streams);
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

fn judge(session: &Session, direction: Direction, rate: Rate, trial: &Trial, rows: &[Row]) -> Result<bool> {
    let (name, copy) = direction.words();
    let never = CHANGES as usize - rows.len();
    let mut table = table("milliseconds|min|median|p99|max");
    let parts = [
        ("request to answer".into(), (|row| row.answer_ms) as fn(&Row) -> f64),
        (format!("request to {copy}"), |row| row.copy_ms),
        (format!("answer to {copy}"), |row| row.after_answer_ms),
    ];
    let (mut figures, mut curves) = (Vec::new(), Vec::new());
    for (what, pick) in parts {
        let times = Times(rows.iter().map(pick).collect());
        let quantiles = [0.0, 0.5, 0.99, 1.0].map(|share| times.at(share));
        let [_, median, p99, _] = quantiles;
        let measured = format!("median {median:.2} ms, p99 {p99:.2} ms");
        figures.push(Figure::plain(format!("{name}: {what}"), measured));
        table.add_row([&[what.clone()][..], &quantiles.map(|value| format!("{value:.2}"))].concat());
        if times.0.iter().all(|&value| value > 0.0) {
            curves.push(times.curve(what));
        }
    }
    println!("{table}");
    let wrong = rows.iter().map(|row| row.wrong).sum::<u64>();
    let meaning = match direction {
        Direction::Join => "frames missing after a first copy",
        Direction::Leave => "leaves after whose answer a new frame still came",
    };
    println!("{CHANGES} {name}s, {never} without any copy, {wrong} {meaning}");
    let title = format!("Time of a {name}, {} frames/s", rate.0);
    session.plot_quantiles(name, &title, Axis::log("milliseconds"), &curves)?;
    session.write(name, figures, rows.to_vec())?;
    Ok(never == 0 && wrong == 0 && trial.outcome.passes(session.settings.loss))
}

/// Frames that a TEP missed between its first copy and its last.
pub fn gaps(watch: &Watch) -> u64 {
    (watch.last_sequence - watch.first_sequence + 1).saturating_sub(watch.received)
}
