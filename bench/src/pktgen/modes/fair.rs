//! Fairness: a domain of 10,000 members is flooded with ten times what the worker can replicate, and another domain's
//! VRRP adverts must neither be lost nor wait.

use anyhow::{Context, Result};

use super::{Session, Trial, no_metric};
use crate::harness::Figure;
use crate::pktgen::flow::{Domain, Rate};
use crate::pktgen::frames::Kind;
use crate::pktgen::outcome::print_trials;

/// Members of the flooded domain.
const MEMBERS: u32 = 10_000;
/// Members of the other, and how often it advertises.
const VICTIMS: u32 = 8;
const ADVERTS: Rate = Rate(100);
/// Offered flood, in replication capacities of the worker; and its upper bound, in percent of the frames that a
/// worker can receive and judge.
const TIMES: f64 = 10.0;
const OF_VERDICTS: f64 = 80.0;
/// Far more than any worker replicates to [`MEMBERS`].
const MUCH: Rate = Rate(5_000);
/// Bytes of the flood's inner frames that are compared: a receiver slower than the worker would fill the port, and
/// lose everybody's.
const COMPARED: usize = 64;
/// Target of the 99th percentile of the adverts' time inside the worker.
const P99_US: f64 = 200.0;

/// Measures both capacities of the worker, then runs the flood with the adverts.
pub fn run(session: &mut Session) -> Result<bool> {
    let seconds = session.settings.seconds.as_secs_f64();
    let (members, size) = (session.fan_out(MEMBERS), session.size(1400));
    let verdicts = receive_rate(session, size)?;
    let trial = flood(session, members, size, MUCH, false, "replication capacity")?;
    // Those that found the port full were made as well.
    let made = trial.counted("bcast_tx_copies_total")? + trial.counted("bcast_copy_drops_total")?;
    let capacity = made / seconds;
    let wanted = TIMES * capacity / f64::from(members);
    let rate = wanted.min(verdicts * OF_VERDICTS / 100.0);
    println!(
        "one worker: {capacity:.0} copies/s of {size} B to {members}; {verdicts:.0} frames/s received and judged"
    );
    let of = rate * f64::from(members) / capacity;
    println!(
        "flood: {rate:.0} frames/s, {of:.1} times the capacity, {:.1} % of what is judged",
        100.0 * rate / verdicts
    );
    let trial = flood(session, members, size, whole(rate), true, "adverts beside the flood")?;
    report(session, &trial)
}

fn flood(
    session: &mut Session,
    members: u32,
    size: u16,
    rate: Rate,
    adverts: bool,
    what: &str,
) -> Result<Trial> {
    let mut plan = session.plan(members + 1 + VICTIMS + 1);
    let (vni, longest) = (session.settings.first_vni, session.settings.longest_inner());
    if adverts {
        let advert = Kind::Vrrp.inner(Kind::Vrrp.least(), longest)?;
        let victims = Domain::plain(vni.wrapping_add(1), members + 1..members + 1 + VICTIMS + 1);
        plan.add("adverts", advert, ADVERTS, [victims]);
    }
    let inner = Kind::Broadcast.inner(size, longest)?;
    plan.add("flood", inner, rate, [Domain::plain(vni, 0..members + 1)]).compared = COMPARED;
    session.try_plan(&plan, what)
}

fn report(session: &mut Session, trial: &Trial) -> Result<bool> {
    print_trials(&trial.outcome.streams);
    let control = |metric: &str| {
        let counted = trial.counted.as_ref();
        let buckets = counted.and_then(|counted| counted.buckets(metric, "class=\"control\""));
        buckets.with_context(|| no_metric(metric))
    };
    let (residence, quanta) = (control("bcast_forwarding_seconds")?, control("bcast_forwarding_quanta")?);
    let p99_us = residence.at_most(0.99) * 1e6;
    println!(
        "inside the worker, {} adverts: half within {:.0} us, 99 of 100 within {p99_us:.0} us, all within {:.0} us",
        residence.count(),
        residence.at_most(0.5) * 1e6,
        residence.at_most(1.0) * 1e6,
    );
    println!(
        "they waited for at most {} quanta of other frames in half of the cases, {} in 99 of 100, {} in all",
        quanta.at_most(0.5),
        quanta.at_most(0.99),
        quanta.at_most(1.0)
    );
    trial.print_drops(&["bcast_drops_total", "bcast_copy_drops_total"]);
    if let Some(dropped) = session.node.copies_dropped(session.settings.first_vni.wrapping_add(1))? {
        println!("of the adverts' copies the node dropped {dropped}");
    }
    let (adverts, flood) = (trial.stream(0), trial.stream(1));
    let figures = vec![
        Figure::at_most("adverts lost beside the flood", adverts.lost as f64, 0.0, " copies"),
        Figure::at_most("99 of 100 adverts inside the worker within", p99_us, P99_US, " us"),
        Figure::plain("quanta waited for, 99 of 100 adverts", quanta.at_most(0.99).to_string()),
    ];
    session.write("fair", figures, trial.outcome.streams.clone())?;
    // Most of the flood must be lost; what comes must be right.
    Ok(adverts.passes(0.0) && flood.counts.is_clean() && p99_us <= P99_US)
}

/// Frames per second that the worker receives and judges, where all are dropped: for a domain that is not there.
fn receive_rate(session: &mut Session, size: u16) -> Result<f64> {
    let mut plan = session.plan(2);
    let inner = Kind::Broadcast.inner(size, session.settings.longest_inner())?;
    let nowhere = session.settings.first_vni.wrapping_sub(1);
    plan.add("nowhere", inner, Rate::MAX, [Domain { vni: nowhere, members: 0..0, watched: 0, source: 0 }])
        .registered = false;
    let trial = session.try_plan(&plan, "receive and judge")?;
    Ok(trial.counted("bcast_rx_frames_total")? / session.settings.seconds.as_secs_f64())
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is neither negative nor that large"
)]
fn whole(rate: f64) -> Rate {
    Rate((rate as u64).max(1))
}
