//! Latency (RFC 3918 section 5.1), alone and beside a second load (section 8.1, burdened latency).

use bench::plot::{Axis, Curve};
use bench::report::Figure;

use crate::error::Error;
use crate::flow::{Domain, Rate};
use crate::modes::{Session, Verdict, throughput};
use crate::outcome::Latency;
use crate::report::{self, Row};

/// Frames per second of what is looked at, where nothing else is said.
const PROBE_RATE: Rate = Rate(1000);
/// Copies of each frame of the probe beside a load.
const PROBE_FAN_OUT: u32 = 8;
/// Loads beside it, in percent of the highest rate without loss, or of `--rate`.
const LOADS: [u64; 4] = [0, 50, 90, 150];

/// By size and number of copies.
pub fn alone(session: &mut Session) -> Result<Verdict, Error> {
    let settings = session.settings.clone();
    let (mut rows, mut curves, mut passed) = (Vec::new(), Vec::new(), true);
    for size in session.sizes() {
        for fan_out in session.fan_outs(&[1, 8, 128]) {
            let domains = settings.domains.unwrap_or(16);
            let teps = fan_out + 1 + domains.min(16);
            let rate = settings.rate.unwrap_or(PROBE_RATE);
            let mut plan = session.plan(teps);
            let inner = settings.kind.inner(size, settings.longest_inner())?;
            plan.add("latency", inner, rate, session.domains(domains, fan_out, teps));
            session.node.arrange(&plan)?;
            let what = format!("{size} B to {fan_out}");
            let trial = session.trial(&plan, false, settings.seconds, &what)?;
            passed &= trial.outcome.passes(settings.loss);
            let stream = trial.outcome.stream(0);
            curves.push(Curve::new(format!("{size} B, {fan_out} copies"), Latency::curve(&stream.latency)));
            rows.push(Row::new(size, fan_out, domains, rate, &trial));
        }
    }
    finish(session, "latency", "Latency", rows, &curves)?;
    Ok(passed.into())
}

/// The probe's latency beside more and more of another domain's frames.
pub fn burdened(session: &mut Session) -> Result<Verdict, Error> {
    let settings = session.settings.clone();
    let size = session.size(60);
    let fan_out = session.fan_out(32);
    let full = match settings.rate {
        Some(rate) => rate,
        None => {
            let row = throughput::highest(session, size, fan_out)?;
            Rate(row.map_or(1000, |row| row.asked_per_second.unwrap_or(row.reached_per_second)))
        }
    };
    println!("full load: {} frames/s of {size} B to {fan_out}", full.0);
    let (mut rows, mut curves, mut passed) = (Vec::new(), Vec::new(), true);
    let teps = fan_out + 1 + PROBE_FAN_OUT + 1;
    let inner = settings.kind.inner(size, settings.longest_inner())?;
    for percent in LOADS {
        let mut plan = session.plan(teps);
        let vni = settings.first_vni;
        let probe = Domain::plain(vni, fan_out + 1..teps);
        plan.add("probe", inner.clone(), PROBE_RATE, [probe]);
        let load = Rate(full.0.saturating_mul(percent) / 100);
        if percent > 0 {
            plan.add("load", inner.clone(), load, [Domain::plain(vni.wrapping_add(1), 0..fan_out + 1)]);
        }
        session.node.arrange(&plan)?;
        let trial = session.trial(&plan, false, settings.seconds, &format!("load {percent} %"))?;
        // Beyond the full load something must be lost.
        passed &= percent > 100 || trial.outcome.stream(0).passes(settings.loss);
        let probe = trial.outcome.stream(0);
        curves.push(Curve::new(format!("load {percent} %"), Latency::curve(&probe.latency)));
        rows.push(Row::new(size, PROBE_FAN_OUT, 1, PROBE_RATE, &trial));
        if percent > 0 {
            rows.push(Row::of_stream(1, size, fan_out, 1, load, &trial));
        }
    }
    finish(session, "burdened", "Latency of a probe beside another domain's load", rows, &curves)?;
    Ok(passed.into())
}

fn finish(session: &Session, mode: &str, title: &str, rows: Vec<Row>, curves: &[Curve]) -> Result<(), Error> {
    println!("{}", report::table(&rows));
    if curves.iter().any(|curve| curve.points.iter().any(|point| point.0 < 1.0)) {
        session.plot(mode, |path| bench::plot::quantiles(path, title, Axis::log("microseconds"), curves))?;
    }
    let figure = |row: &Row| {
        let what = format!("latency, {}, {} B inner, {} copies", row.stream, row.size, row.fan_out);
        let latency = row.latency?;
        Some(Figure::plain(what, format!("p50 {:.1} us, p99 {:.1} us", latency.p50_us, latency.p99_us)))
    };
    let figures = rows.iter().filter_map(figure).collect();
    session.write(mode, figures, rows)
}
