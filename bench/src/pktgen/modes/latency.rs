//! Latency (RFC 3918 section 5.1), alone and beside a second load (section 8.1, burdened latency).

use anyhow::Result;

use super::{Session, throughput};
use crate::harness::Figure;
use crate::harness::plot::{Axis, Curve};
use crate::pktgen::flow::{Domain, Rate};
use crate::pktgen::outcome::{Row, print_trials};

/// Frames per second of the probe, where no other rate is asked for.
const PROBE_RATE: Rate = Rate(1000);
/// Copies of each frame of the probe beside a load.
const PROBE_FAN_OUT: u32 = 8;
/// Loads beside it, in percent of the highest rate without loss, or of `--rate`.
const LOADS: [u64; 4] = [0, 50, 90, 150];

/// A trial for each size and number of copies.
pub fn alone(session: &mut Session) -> Result<bool> {
    let (loss, rate) = (session.settings.loss, session.settings.rate.unwrap_or(PROBE_RATE));
    let (mut rows, mut curves, mut passed) = (Vec::new(), Vec::new(), true);
    for size in session.sizes() {
        for fan_out in session.fan_outs(&[1, 8, 128]) {
            let plan = session.plain_plan("latency", size, fan_out, rate)?;
            let trial = session.try_plan(&plan, &format!("{size} B to {fan_out}"))?;
            passed &= trial.outcome.passes(loss);
            curves.push(Curve::new(format!("{size} B, {fan_out} copies"), trial.stream(0).curve()));
            rows.extend(trial.outcome.streams);
        }
    }
    finish(session, "latency", "Latency", rows, &curves)?;
    Ok(passed)
}

/// Latency of the probe beside more and more of another domain's frames.
pub fn burdened(session: &mut Session) -> Result<bool> {
    let (size, fan_out) = (session.size(60), session.fan_out(32));
    let full = match session.settings.rate {
        Some(rate) => rate,
        None => {
            let row = throughput::highest(session, size, fan_out)?;
            Rate(row.map_or(1000, |row| row.asked_per_second.unwrap_or(row.reached_per_second)))
        }
    };
    println!("full load: {} frames/s of {size} B to {fan_out}", full.0);
    let (mut rows, mut curves, mut passed) = (Vec::new(), Vec::new(), true);
    let teps = fan_out + 1 + PROBE_FAN_OUT + 1;
    let (inner, vni) = (session.settings.inner(size)?, session.settings.first_vni);
    for percent in LOADS {
        let mut plan = session.plan(teps);
        plan.add("probe", inner.clone(), PROBE_RATE, [Domain::plain(vni, fan_out + 1..teps)]);
        if percent > 0 {
            let load = Rate(full.0.saturating_mul(percent) / 100);
            plan.add("load", inner.clone(), load, [Domain::plain(vni.wrapping_add(1), 0..fan_out + 1)]);
        }
        let trial = session.try_plan(&plan, &format!("load {percent} %"))?;
        let probe = trial.stream(0);
        // Beyond the full load something must be lost.
        passed &= percent > 100 || probe.passes(session.settings.loss);
        curves.push(Curve::new(format!("load {percent} %"), probe.curve()));
        rows.extend(trial.outcome.streams);
    }
    finish(session, "burdened", "Latency of a probe beside another domain's load", rows, &curves)?;
    Ok(passed)
}

fn finish(session: &Session, mode: &str, title: &str, rows: Vec<Row>, curves: &[Curve]) -> Result<()> {
    print_trials(&rows);
    session.plot_quantiles(mode, title, Axis::log("microseconds"), curves)?;
    let figure = |row: &Row| {
        let what = format!("latency, {}, {} B inner, {} copies", row.stream, row.size, row.fan_out);
        let latency = row.latency?;
        Some(Figure::plain(what, format!("p50 {:.1} us, p99 {:.1} us", latency.p50_us, latency.p99_us)))
    };
    let figures = rows.iter().filter_map(figure).collect();
    session.write(mode, figures, rows)
}
