//! Limits: a domain that sends a hundred times what it may, and one beside it that sends little.

use bcast_domain::{Rate as Limit, Vni};
use bench::report::Figure;
use ctl_api::model::{DomainFields, Existing, Field, SetResource};

use crate::error::Error;
use crate::flow::{Domain, Rate};
use crate::modes::{Session, Verdict};
use crate::report::{self, Row};

/// How much too much is sent.
const TIMES: u64 = 100;
/// How much over the limit a second may be.
const ALLOWED: f64 = 1.05;
/// What the other domain sends.
const BESIDE: Rate = Rate(1000);

/// See the module.
pub fn run(session: &mut Session) -> Result<Verdict, Error> {
    if !session.settings.register {
        return Err(Error::NeedsApi("limits"));
    }
    let settings = session.settings.clone();
    let size = session.size(60);
    let fan_out = session.fan_out(8);
    let inner = settings.kind.inner(size, settings.longest_inner())?;
    let rate = Rate((settings.limit * TIMES / u64::from(fan_out)).clamp(1, Rate::MAX.0));
    let mut plan = session.plan(2 * (fan_out + 1));
    let vni = settings.first_vni;
    let beside = Domain::plain(vni.wrapping_add(1), fan_out + 1..2 * (fan_out + 1));
    plan.add("beside", inner.clone(), BESIDE, [beside]);
    // Every member sends: each by itself stays within what a TEP may.
    let sources = (0..fan_out + 1).map(|source| Domain { source, ..Domain::plain(vni, 0..fan_out + 1) });
    plan.add("limited", inner, rate, sources);
    session.node.arrange(&plan)?;
    let copies = Limit::new(settings.limit).ok().map(Field::Value).unwrap_or_default();
    let fields = DomainFields { copies, ..DomainFields::default() };
    session.node.commit(vec![SetResource::Domain(Vni::new(vni), fields).set_if(Existing::Required)])?;
    let trial = session.trial(&plan, false, settings.seconds, "over the limit")?;
    let rows =
        vec![Row::new(size, fan_out, 1, BESIDE, &trial), Row::of_stream(1, size, fan_out, 1, rate, &trial)];
    println!("{}", report::table(&rows));
    let (beside, limited) = (trial.outcome.stream(0), trial.outcome.stream(1));
    let Some(most) = limited.most_in_a_second() else { return Err(Error::TooShort) };
    let times = most as f64 / settings.limit as f64;
    println!(
        "limit {} copies/s, offered {} times as much: at most {most} copies in any second, {times:.3} times the limit; \
         {:.0} copies/s over all",
        settings.limit,
        limited.frames_per_second(trial.length) * u64::from(fan_out) / settings.limit,
        limited.copies_per_second(),
    );
    let drops = trial.counted.iter().flat_map(|counted| counted.nonzero("bcast_drops_total"));
    drops.for_each(|(reason, count)| println!("the node dropped {count} {reason}"));
    let figures = vec![
        Figure::at_most("most copies in a second, by the limit", times, ALLOWED, ""),
        Figure::at_most("copies that the domain beside it lost", beside.lost as f64, 0.0, ""),
    ];
    session.write("limits", figures, rows)?;
    Ok((times <= ALLOWED && beside.passes(0.0) && limited.counts.is_clean()).into())
}
