//! Group capacity (RFC 3918 section 7.1): how many domains can be made, and all forward; and how the speed changes with them.

use std::time::{Duration, Instant};

use bench::plot::{Axis, Curve};
use bench::report::Figure;
use ctl_api::ClientError;
use ctl_api::client::RefusalKind;

use crate::error::Error;
use crate::flow::{Plan, Rate};
use crate::modes::{Session, Verdict};
use crate::report::{self, Row};

/// TEPs among which the domains are laid.
const TEPS: u32 = 1000;
/// Frames per second of the pass that every domain must forward.
const RATE: Rate = Rate(20_000);

/// See the module.
pub fn run(session: &mut Session) -> Result<Verdict, Error> {
    if !session.settings.register {
        return Err(Error::NeedsApi("capacity"));
    }
    let settings = session.settings.clone();
    let size = session.size(60);
    let fan_out = session.fan_out(2).min(TEPS - 1);
    let most = settings.domains.unwrap_or(100_000);
    let rate = settings.rate.unwrap_or(RATE);
    let inner = settings.kind.inner(size, settings.longest_inner())?;
    let (mut rows, mut points, mut passed, mut refused) = (Vec::new(), Vec::new(), 0, None);
    let steps = std::iter::successors(Some(10_u32), |&step| {
        Some(step.saturating_mul(10)).filter(|&next| next < most)
    });
    for domains in steps.filter(|&step| step < most).chain([most]) {
        let plan = |name, rate| {
            let mut plan: Plan = session.plan(TEPS);
            plan.add(name, inner.clone(), rate, session.domains(domains, fan_out, TEPS));
            plan
        };
        let mut each = plan("each once", rate);
        each.streams[0].frames = Some(domains.into());
        let flood = plan("flood", Rate::MAX);
        let start = Instant::now();
        match session.node.arrange(&each) {
            Err(Error::Node(ClientError::Refused { kind: RefusalKind::Limit, message, .. })) => {
                refused = Some(message);
                break;
            }
            done => done?,
        }
        println!("{domains} domains: made in {:.2} s", start.elapsed().as_secs_f64());
        let length = Duration::from_secs(10 + u64::from(domains) / rate.0);
        let trial = session.trial(&each, false, length, &format!("{domains} domains"))?;
        let good = trial.outcome.passes(settings.loss) && trial.outcome.stream(0).sent == u64::from(domains);
        rows.push(Row::new(size, fan_out, domains, rate, &trial));
        let trial = session.trial(&flood, false, settings.seconds, &format!("{domains} domains, flood"))?;
        points.push((f64::from(domains), trial.outcome.stream(0).copies_per_second() / 1e6));
        rows.push(Row::new(size, fan_out, domains, Rate::MAX, &trial));
        if !good {
            break;
        }
        passed = domains;
    }
    println!("{}", report::table(&rows));
    if let Some(message) = &refused {
        println!("the node refused more: {message}");
    }
    println!("{passed} domains, and every one forwards");
    let (x, y) = (Axis::log("domains"), Axis::linear("million copies/s"));
    session.plot("capacity", |path| {
        bench::plot::curves(
            path,
            "Copies received under a flood",
            x,
            y,
            &[Curve::new(format!("{size} B"), points)],
        )
    })?;
    let figure = Figure::plain("domains that all forward", format!("{passed}, {} were tried", most));
    session.write("capacity", vec![figure], rows)?;
    Ok((passed == most || refused.is_some()).into())
}
