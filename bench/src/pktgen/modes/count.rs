//! Sends at one rate, and accounts for every copy, by member.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::Session;
use crate::pktgen::flow::Rate;
use crate::pktgen::outcome::MemberOutcome;
use crate::pktgen::report::{self, Row};

/// TEPs up to which each one's latency is kept, and shown.
const MOST_MEMBERS: u32 = 512;

/// A trial with its members.
#[derive(Serialize)]
struct Account {
    #[serde(flatten)]
    row: Row,
    members: Vec<MemberOutcome>,
}

/// A trial for each size and number of copies.
pub fn run(session: &mut Session) -> Result<bool> {
    let settings = session.settings.clone();
    let rate = settings.rate.unwrap_or(Rate(1000));
    let (mut rows, mut accounts, mut passed) = (Vec::new(), Vec::new(), true);
    for size in session.sizes() {
        for fan_out in session.fan_outs(&[8]) {
            let mut plan = session.plain_plan("count", size, fan_out, rate)?;
            plan.streams[0].frames = settings.frames;
            session.node.arrange(&plan)?;
            let length = settings.frames.map(|frames| Duration::from_secs(60 + frames / rate.0));
            let length = length.unwrap_or(settings.seconds);
            let per_member = plan.teps.count() <= MOST_MEMBERS;
            let trial = session.trial(&plan, per_member, length, &format!("{size} B to {fan_out}"))?;
            passed &= trial.outcome.passes(settings.loss);
            if per_member {
                println!("{}", report::members(&trial.outcome));
            }
            if trial.outcome.foreign > 0 {
                println!("frames of others: {}", trial.outcome.foreign);
            }
            rows.extend(trial.rows.clone());
            let members = trial.outcome.members;
            accounts.extend(trial.rows.into_iter().map(|row| Account { row, members: members.clone() }));
        }
    }
    println!("{}", report::table(&rows));
    session.write("count", Vec::new(), accounts)?;
    Ok(passed)
}
