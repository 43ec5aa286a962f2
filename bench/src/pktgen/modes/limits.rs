//! Limits: a domain that sends a hundred times its limit, and one beside it that sends little.

use anyhow::{Context, Result};
use bcast_domain::{Rate as Limit, Vni};
use ctl_api::model::{DomainFields, Existing, Field, SetResource};

use super::Session;
use crate::harness::Figure;
use crate::pktgen::flow::{Domain, Rate};
use crate::pktgen::outcome::print_trials;

/// Offered load, in limits.
const TIMES: u64 = 100;
/// Most copies in a second, in limits.
const ALLOWED: f64 = 1.05;
/// Frames per second of the other domain.
const BESIDE: Rate = Rate(1000);

/// One trial of both domains.
pub fn run(session: &mut Session) -> Result<bool> {
    let settings = session.settings.clone();
    let fan_out = session.fan_out(8);
    let inner = settings.inner(session.size(60))?;
    let rate = Rate((settings.limit * TIMES / u64::from(fan_out)).clamp(1, Rate::MAX.0));
    let mut plan = session.plan(2 * (fan_out + 1));
    let vni = settings.first_vni;
    let beside = Domain::plain(vni.wrapping_add(1), fan_out + 1..2 * (fan_out + 1));
    plan.add("beside", inner.clone(), BESIDE, [beside]);
    // Every member sends: each by itself stays within the limit of a TEP.
    let sources = (0..fan_out + 1).map(|source| Domain { source, ..Domain::plain(vni, 0..fan_out + 1) });
    plan.add("limited", inner, rate, sources);
    session.node.arrange(&plan)?;
    let copies = Limit::new(settings.limit).ok().map(Field::Value).unwrap_or_default();
    let fields = DomainFields { copies, ..DomainFields::default() };
    session.node.commit(vec![SetResource::Domain(Vni::new(vni), fields).set_if(Existing::Required)])?;
    let trial = session.trial(&plan, false, settings.seconds, "over the limit")?;
    print_trials(&trial.outcome.streams);
    let (beside, limited) = (trial.stream(0), trial.stream(1));
    let most =
        limited.most_in_a_second().context("a limit is told by whole seconds: give --seconds 2 or more")?;
    let times = most as f64 / settings.limit as f64;
    println!(
        "limit {} copies/s, offered {} times as much: at most {most} copies in any second, {times:.3} times the limit; \
         {:.0} copies/s over all",
        settings.limit,
        trial.outcome.streams[1].reached_per_second * u64::from(fan_out) / settings.limit,
        limited.copies_per_second,
    );
    trial.print_drops(&["bcast_drops_total"]);
    let figures = vec![
        Figure::at_most("most copies in a second, by the limit", times, ALLOWED, ""),
        Figure::at_most("copies that the domain beside it lost", beside.lost as f64, 0.0, ""),
    ];
    session.write("limits", figures, trial.outcome.streams.clone())?;
    Ok(times <= ALLOWED && beside.passes(0.0) && limited.counts.is_clean())
}
