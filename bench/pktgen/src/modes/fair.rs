//! Fairness: a domain of 10,000 members is flooded with ten times what the worker can replicate, and another domain's
//! VRRP adverts must neither be lost nor wait.

use bench::report::Figure;

use crate::error::Error;
use crate::flow::{Domain, Rate};
use crate::frames::Kind;
use crate::modes::{Session, Trial, Verdict};
use crate::report::{self, Row};

/// Members of the flooded domain.
const MEMBERS: u32 = 10_000;
/// Members of the other, and how often it advertises.
const VICTIMS: u32 = 8;
const ADVERTS: Rate = Rate(100);
/// The flood, in worker's capacities; and what it may take of the frames that a worker can receive and judge, in percent.
const TIMES: f64 = 10.0;
const OF_VERDICTS: f64 = 80.0;
/// Far more than any worker replicates to [`MEMBERS`].
const MUCH: Rate = Rate(5_000);
/// Bytes of the flood's inner frames that are compared: a receiver slower than the worker would fill the port, and lose everybody's.
const COMPARED: usize = 64;
/// What 99 of 100 adverts may take inside the worker.
const P99_US: f64 = 200.0;

/// See the module.
pub fn run(session: &mut Session) -> Result<Verdict, Error> {
    let settings = session.settings.clone();
    let members = session.fan_out(MEMBERS);
    let size = session.size(1400);
    let verdicts = receive_rate(session, size)?;
    let flood = |session: &mut Session, rate, adverts: bool, what: &str| -> Result<Trial, Error> {
        let mut plan = session.plan(members + 1 + VICTIMS + 1);
        let vni = settings.first_vni;
        if adverts {
            let advert = Kind::Vrrp.inner(Kind::Vrrp.least(), settings.longest_inner())?;
            let victims = Domain::plain(vni.wrapping_add(1), members + 1..members + 1 + VICTIMS + 1);
            plan.add("adverts", advert, ADVERTS, [victims]);
        }
        let inner = Kind::Broadcast.inner(size, settings.longest_inner())?;
        plan.add("flood", inner, rate, [Domain::plain(vni, 0..members + 1)]).compared = COMPARED;
        session.node.arrange(&plan)?;
        session.trial(&plan, false, settings.seconds, what)
    };
    let trial = flood(session, MUCH, false, "replication capacity")?;
    // Those that found the port full were made as well.
    let made = trial.counted("bcast_tx_copies_total")? + trial.counted("bcast_copy_drops_total")?;
    let capacity = made / settings.seconds.as_secs_f64();
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
    let trial = flood(session, whole(rate), true, "adverts beside the flood")?;
    report(session, size, members, whole(rate), &trial)
}

fn report(
    session: &mut Session,
    size: u16,
    members: u32,
    rate: Rate,
    trial: &Trial,
) -> Result<Verdict, Error> {
    let rows = vec![
        Row::new(Kind::Vrrp.least(), VICTIMS, 1, ADVERTS, trial),
        Row::of_stream(1, size, members, 1, rate, trial),
    ];
    println!("{}", report::table(&rows));
    let counted = trial.counted.as_ref().ok_or(Error::NoMetric("bcast_residence_seconds"))?;
    let control = "class=\"control\"";
    let residence = counted.buckets("bcast_residence_seconds", control)?;
    let quanta = counted.buckets("bcast_residence_quanta", control)?;
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
    for (reason, count) in
        counted.nonzero("bcast_drops_total").iter().chain(&counted.nonzero("bcast_copy_drops_total"))
    {
        println!("the node dropped {count} {reason}");
    }
    if let Some(dropped) = session.node.copies_dropped(session.settings.first_vni.wrapping_add(1))? {
        println!("of the adverts' copies the node dropped {dropped}");
    }
    let (adverts, flood) = (trial.outcome.stream(0), trial.outcome.stream(1));
    let figures = vec![
        Figure::at_most("adverts lost beside the flood", adverts.lost as f64, 0.0, " copies"),
        Figure::at_most("99 of 100 adverts inside the worker within", p99_us, P99_US, " us"),
        Figure::plain("quanta waited for, 99 of 100 adverts", quanta.at_most(0.99).to_string()),
    ];
    session.write("fair", figures, rows)?;
    // Most of the flood must be lost; what comes must be right.
    Ok((adverts.passes(0.0) && flood.counts.is_clean() && p99_us <= P99_US).into())
}

/// Frames per second that the worker receives and judges, where all are dropped: for a domain that is not there.
fn receive_rate(session: &mut Session, size: u16) -> Result<f64, Error> {
    let mut plan = session.plan(2);
    let inner = Kind::Broadcast.inner(size, session.settings.longest_inner())?;
    let nowhere = session.settings.first_vni.wrapping_sub(1);
    plan.add("nowhere", inner, Rate::MAX, [Domain { vni: nowhere, members: 0..0, watched: 0, source: 0 }])
        .registered = false;
    session.node.arrange(&plan)?;
    let seconds = session.settings.seconds;
    let trial = session.trial(&plan, false, seconds, "receive and judge")?;
    Ok(trial.counted("bcast_rx_frames_total")? / seconds.as_secs_f64())
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is neither negative nor that large"
)]
fn whole(rate: f64) -> Rate {
    Rate((rate as u64).max(1))
}
