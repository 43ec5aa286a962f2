//! Sends at one rate, and accounts for every copy, by member.

use std::time::Duration;

use serde::Serialize;

use crate::error::Error;
use crate::flow::Rate;
use crate::modes::{Session, Verdict};
use crate::outcome::MemberOutcome;
use crate::report::{self, Row};

/// TEPs up to which each one's latency is kept, and shown.
const MOST_MEMBERS: u32 = 512;

/// A trial with its members.
#[derive(Serialize)]
struct Account {
    #[serde(flatten)]
    row: Row,
    members: Vec<MemberOutcome>,
}

/// See the module.
pub fn run(session: &mut Session) -> Result<Verdict, Error> {
    let settings = session.settings.clone();
    let (mut rows, mut accounts) = (Vec::new(), Vec::new());
    let mut passed = true;
    for size in session.sizes() {
        for fan_out in session.fan_outs(&[8]) {
            let domains = settings.domains.unwrap_or(16);
            let teps = fan_out + 1 + domains.min(16);
            let mut plan = session.plan(teps);
            let inner = settings.kind.inner(size, settings.longest_inner())?;
            let rate = settings.rate.unwrap_or(Rate(1000));
            plan.add("count", inner, rate, session.domains(domains, fan_out, teps)).frames = settings.frames;
            session.node.arrange(&plan)?;
            let length = settings.frames.map(|frames| Duration::from_secs(60 + frames / rate.0));
            let length = length.unwrap_or(settings.seconds);
            let what = format!("{size} B to {fan_out}");
            let trial = session.trial(&plan, teps <= MOST_MEMBERS, length, &what)?;
            passed &= trial.outcome.passes(settings.loss);
            let row = Row::new(size, fan_out, domains, rate, &trial);
            rows.push(row.clone());
            if teps <= MOST_MEMBERS {
                println!("{}", report::members(&trial.outcome));
            }
            if trial.outcome.foreign > 0 {
                println!("frames of others: {}", trial.outcome.foreign);
            }
            accounts.push(Account { row, members: trial.outcome.members });
        }
    }
    println!("{}", report::table(&rows));
    session.write("count", Vec::new(), accounts)?;
    Ok(passed.into())
}
