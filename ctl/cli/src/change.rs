//! Commands of one change: `tep add`, `tep rm`, `domain create`, `rm`, `join`, `leave`, `limit` of both, `tep next-hop`, `domain garp`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ctl_api::model::{Batch, Change, GarpMode, Name, TepRef};
use ctl_api::proto::CommitReply;
use ctl_api::{Client, ClientError};

use crate::args::{DomainCommand, TepCommand};
use crate::failure::Failure;
use crate::limit;
use crate::out::Out;
use crate::shapes::Changed;

/// A change, and what to say when it was made or when everything was so already.
pub struct Order {
    /// The change.
    pub change: Change,
    /// Said when it was made.
    pub done: String,
    /// Said when nothing had to change, and the daemon has no note on it.
    pub already: String,
}

/// `tep add`, `tep rm` and `tep limit`.
pub async fn tep(out: &mut Out, client: &mut Client, command: TepCommand) -> Result<(), Failure> {
    let order = match command {
        TepCommand::Add { address, name } => {
            let tep = with_name(format!("tep {address}"), name.as_ref());
            Order {
                done: format!("{tep} is registered"),
                already: format!("{tep} is registered already"),
                change: Change::TepAdd { address, name },
            }
        }
        TepCommand::Rm { tep, force } => Order {
            done: format!("tep {tep} is removed"),
            already: format!("tep {tep} is not registered"),
            change: Change::TepRemove { tep, force },
        },
        TepCommand::Limit { tep, rates } => {
            let limit = limited(&limit::of_tep(rates.limit()), false);
            Order {
                done: format!("tep {tep}: the limit is now {limit}"),
                already: format!("tep {tep}: the limit is already {limit}"),
                change: limit::tep_change(tep, rates.limit()),
            }
        }
        TepCommand::NextHop { tep, next_hops, none } => {
            let (next_hop, next_hop6) = one_of_each(&next_hops)?;
            let hops = next_hops.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" and ");
            let hops = if hops.is_empty() { "none".to_owned() } else { hops };
            Order {
                done: format!("tep {tep}: the next hop of its routes is now {hops}"),
                already: format!("tep {tep}: the next hop of its routes is already {hops}"),
                change: Change::TepNextHop { tep, next_hop, next_hop6, reset: none },
            }
        }
        // They show, and change nothing: `show.rs`.
        TepCommand::List | TepCommand::Show { .. } => return Ok(()),
    };
    commit(out, client, order).await
}

/// `domain create`, `rm`, `join`, `leave` and `limit`.
pub async fn domain(out: &mut Out, client: &mut Client, command: DomainCommand) -> Result<(), Failure> {
    let order = match command {
        DomainCommand::Create { vni, name } => {
            let domain = with_name(format!("domain {vni}"), name.as_ref());
            Order {
                done: format!("{domain} is there"),
                already: format!("{domain} is there already"),
                change: Change::DomainCreate { vni, name },
            }
        }
        DomainCommand::Rm { vni, force } => Order {
            done: format!("domain {vni} is removed"),
            already: format!("domain {vni} is not there"),
            change: Change::DomainRemove { vni, force },
        },
        DomainCommand::Join { vni, teps } => {
            let (who, are, members) = members(&teps);
            Order {
                done: format!("domain {vni}: {who} {are} now {members}"),
                already: format!("domain {vni}: {who} {are} already {members}"),
                change: Change::Join { vni, teps },
            }
        }
        DomainCommand::Leave { vni, teps } => {
            let (who, are, members) = members(&teps);
            Order {
                done: format!("domain {vni}: {who} {are} no longer {members}"),
                already: format!("domain {vni}: {who} {are} not {members}"),
                change: Change::Leave { vni, teps },
            }
        }
        DomainCommand::Limit { vni, rates } => {
            let limit = limited(&limit::of_domain(rates.limit()), rates.default);
            Order {
                done: format!("domain {vni}: the limit is now {limit}"),
                already: format!("domain {vni}: the limit is already {limit}"),
                change: Change::DomainLimit { vni, limit: rates.limit(), reset: rates.default },
            }
        }
        DomainCommand::Garp { vni, mode } => {
            let mode = mode.map(GarpMode::from).unwrap_or_default();
            Order {
                done: format!("domain {vni}: garp is now {mode}"),
                already: format!("domain {vni}: garp is already {mode}"),
                change: Change::DomainGarp { vni, mode },
            }
        }
        // They show, and change nothing: `show.rs`.
        DomainCommand::List | DomainCommand::Show { .. } => return Ok(()),
    };
    commit(out, client, order).await
}

/// Commits it, and says what came of it.
pub async fn commit(out: &mut Out, client: &mut Client, order: Order) -> Result<(), Failure> {
    let Order { change, done, already } = order;
    let mut reply = client.commit(Batch::new(vec![change])).await.map_err(alone)?;
    reply.notes.iter_mut().for_each(|note| *note = of_it(note).to_owned());
    let CommitReply { revision, changed, notes } = &reply;
    if out.is_json() {
        return out.json(&Changed { revision: *revision, changed: *changed, notes });
    }
    notes.iter().try_for_each(|note| out.line(note))?;
    match (changed, notes.is_empty()) {
        (0, false) => Ok(()),
        (0, true) => out.line(already),
        _ => out.line(format_args!("{done} (revision {revision})")),
    }
}

/// A refusal in words for a change that is the only one.
fn alone(error: ClientError) -> ClientError {
    match error {
        ClientError::Refused { refusal, message } => {
            ClientError::Refused { refusal, message: of_it(&message).to_owned() }
        }
        other => other,
    }
}

/// What is said of the only change, without its number.
fn of_it(words: &str) -> &str {
    words.strip_prefix("change 1: ").unwrap_or(words)
}

/// At most one next hop of each family.
fn one_of_each(next_hops: &[IpAddr]) -> Result<(Option<Ipv4Addr>, Option<Ipv6Addr>), Failure> {
    let (mut v4, mut v6) = (None, None);
    for &hop in next_hops {
        let other = match hop {
            IpAddr::V4(hop) => v4.replace(hop).map(IpAddr::from),
            IpAddr::V6(hop) => v6.replace(hop).map(IpAddr::from),
        };
        if let Some(one) = other {
            return Err(Failure::SameFamily { one, other: hop });
        }
    }
    Ok((v4, v6))
}

/// The rates that were given, and what becomes of the others.
fn limited(rates: &[limit::Named], others_default: bool) -> String {
    let given: Vec<limit::Named> = rates.iter().copied().filter(|(_, rate)| rate.is_some()).collect();
    let words = limit::words(&given);
    if others_default && !given.is_empty() { format!("{words}, else default") } else { words }
}

fn with_name(what: String, name: Option<&Name>) -> String {
    name.map(|name| format!("{what} ({name})")).unwrap_or(what)
}

fn members(teps: &[TepRef]) -> (String, &'static str, &'static str) {
    let who = teps.iter().map(TepRef::to_string).collect::<Vec<_>>().join(", ");
    if teps.len() == 1 { (who, "is", "a member") } else { (who, "are", "members") }
}
