//! Sends at one rate, and accounts for every copy, by member.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::Session;
use crate::pktgen::flow::Rate;
use crate::pktgen::outcome::{Member, Row, print_members, print_trials};

/// TEPs up to which each one's latency is kept, and shown.
const MOST_MEMBERS: u32 = 512;

/// A trial with its members.
#[derive(Serialize)]
struct Account {
    #[serde(flatten)]
    row: Row,
    members: Vec<Member>,
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
                print_members(&trial.outcome.members);
            }
            if trial.outcome.foreign > 0 {
                println!("frames of others: {}", trial.outcome.foreign);
            }
            rows.extend(trial.outcome.streams.clone());
            let members = trial.outcome.members;
            accounts.extend(
                trial.outcome.streams.into_iter().map(|row| Account { row, members: members.clone() }),
            );
        }
    }
    print_trials(&rows);
    session.write("count", Vec::new(), accounts)?;
    Ok(passed)
}
