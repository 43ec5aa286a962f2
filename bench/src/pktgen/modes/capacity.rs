//! Group capacity (RFC 3918 section 7.1): how many domains can be made, and all forward; and how the speed changes
//! with them.

use std::time::{Duration, Instant};

use anyhow::Result;
use ctl_api::ClientError;
use ctl_api::client::RefusalKind;

use super::Session;
use crate::harness::Figure;
use crate::harness::plot::{self, Axis, Curve};
use crate::pktgen::flow::Rate;
use crate::pktgen::outcome::print_trials;

/// TEPs among which the domains are laid.
const TEPS: u32 = 1000;
/// Frames per second of the pass that every domain must forward.
const RATE: Rate = Rate(20_000);

/// Ten times as many domains in each step, until one of them does not forward or the node refuses more.
pub fn run(session: &mut Session) -> Result<bool> {
    let size = session.size(60);
    let fan_out = session.fan_out(2).min(TEPS - 1);
    let most = session.settings.domains.unwrap_or(100_000);
    let rate = session.settings.rate.unwrap_or(RATE);
    let inner = session.settings.inner(size)?;
    let (mut rows, mut points, mut passed, mut refused) = (Vec::new(), Vec::new(), 0, None);
    let steps = std::iter::successors(Some(10_u32), |&step| step.checked_mul(10));
    for domains in steps.take_while(|&step| step < most).chain([most]) {
        let plan = |name, rate| {
            let mut plan = session.plan(TEPS);
            plan.add(name, inner.clone(), rate, session.domains(domains, fan_out, TEPS));
            plan
        };
        let (mut each, flood) = (plan("each once", rate), plan("flood", Rate::MAX));
        each.streams[0].frames = Some(domains.into());
        let start = Instant::now();
        if let Err(error) = session.node.arrange(&each) {
            match error.downcast_ref() {
                Some(ClientError::Refused { kind: RefusalKind::Limit, message, .. }) => {
                    refused = Some(message.clone())
                }
                _ => return Err(error),
            }
            break;
        }
        println!("{domains} domains: made in {:.2} s", start.elapsed().as_secs_f64());
        let length = Duration::from_secs(10 + u64::from(domains) / rate.0);
        let trial = session.trial(&each, false, length, &format!("{domains} domains"))?;
        let good = trial.outcome.passes(session.settings.loss) && trial.stream(0).sent == u64::from(domains);
        rows.extend(trial.outcome.streams);
        let seconds = session.settings.seconds;
        let trial = session.trial(&flood, false, seconds, &format!("{domains} domains, flood"))?;
        points.push((f64::from(domains), trial.stream(0).copies_per_second / 1e6));
        rows.extend(trial.outcome.streams);
        if !good {
            break;
        }
        passed = domains;
    }
    print_trials(&rows);
    if let Some(message) = &refused {
        println!("the node refused more: {message}");
    }
    println!("{passed} domains, and every one forwards");
    let (x, y) = (Axis::log("domains"), Axis::linear("million copies/s"));
    let curve = Curve::new(format!("{size} B"), points);
    session.plot("capacity", |path| plot::curves(path, "Copies received under a flood", x, y, &[curve]))?;
    let figure = Figure::plain("domains that all forward", format!("{passed}, {most} were tried"));
    session.write("capacity", vec![figure], rows)?;
    Ok(passed == most || refused.is_some())
}
