//! A plan as lines to read.

mod havip;

use std::fmt::Write;
use std::net::IpAddr;

use bcast_domain::Tep;
use ctl_api::model::{GarpMode, Name, TepEntry};

use super::inventory::{DomainRow, Inventory};
use super::plan::{Count, Moves, Plan, Step, Totals, joins_and_leaves};
use crate::failure::Failure;
use crate::limit;
use crate::out::Out;

/// A plan of more lines is shown in numbers, unless it is wanted whole.
const LINES: usize = 20;
/// TEPs that a line names before it counts the rest.
const NAMED: usize = 8;

/// Prints the plan: line by line where it is short or `verbose`, and always in numbers.
pub fn plan(out: &mut Out, plan: &Plan, verbose: bool) -> Result<(), Failure> {
    let steps = plan.steps();
    if verbose || steps.len() <= LINES {
        let named = if verbose { usize::MAX } else { NAMED };
        steps.iter().try_for_each(|step| out.line(line(plan, *step, named)))?;
    } else {
        out.line(format_args!("{} lines of plan are not shown: --verbose shows them", steps.len()))?;
    }
    let Totals { teps, domains, memberships: Moves { added, removed }, havips } = plan.totals();
    let (teps, domains) = (signed(teps), signed(domains));
    let havips =
        if havips == Count::default() { String::new() } else { format!(", havips {}", signed(havips)) };
    out.line(format_args!("plan: teps {teps}, domains {domains}, memberships +{added} -{removed}{havips}"))
}

fn signed(count: Count) -> String {
    let Count { added, changed, removed } = count;
    format!("+{added} ~{changed} -{removed}")
}

fn line(plan: &Plan, step: Step, named: usize) -> String {
    let (have, want) = (plan.have(), plan.want());
    match step {
        Step::TepAdd { want: at } => tep('+', &want.teps()[at]),
        Step::TepRemove { have: at } => tep('-', &have.teps()[at]),
        Step::TepChange { have: from, want: to } => changed_tep(&have.teps()[from], &want.teps()[to]),
        Step::DomainAdd { want: at } => domain('+', want, &want.domains()[at]),
        Step::DomainRemove { have: at } => domain('-', have, &have.domains()[at]),
        Step::DomainChange { have: from, want: to } => {
            changed_domain(plan, &have.domains()[from], &want.domains()[to], named)
        }
        Step::HavipAdd { want: at } => havip::line('+', &want.havips()[at].havip),
        Step::HavipRemove { have: at } => havip::line('-', &have.havips()[at].havip),
        Step::HavipChange { have: from, want: to } => {
            havip::changed(plan, &have.havips()[from].havip, &want.havips()[to].havip)
        }
    }
}

fn tep(sign: char, tep: &TepEntry) -> String {
    let name = tep.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let hops = if sign == '+' {
        next_hops(&TepEntry { next_hop: None, next_hop6: None, ..tep.clone() }, tep)
    } else {
        vec![]
    };
    let hops: String = hops.into_iter().map(|hop| format!("; {hop}")).collect();
    format!("{sign} tep {}{name}{}{hops}", tep.address, limited(sign, &limit::of_tep(tep.limit)))
}

/// What differs, in a few words for each next hop.
fn next_hops(had: &TepEntry, wanted: &TepEntry) -> Vec<String> {
    let hops = |tep: &TepEntry| [tep.next_hop.map(IpAddr::from), tep.next_hop6.map(IpAddr::from)];
    let names = ["next hop", "IPv6 next hop"];
    let pairs = names.into_iter().zip(hops(had)).zip(hops(wanted));
    pairs.filter_map(|((what, had), wanted)| differs(what, had, wanted)).collect()
}

/// "what new, was old" of what differs.
fn differs<T: PartialEq + ToString>(what: &str, had: Option<T>, wanted: Option<T>) -> Option<String> {
    let words = |value: &Option<T>| value.as_ref().map_or_else(|| "none".to_owned(), T::to_string);
    match &had {
        _ if had == wanted => None,
        None => Some(format!("{what} {}", words(&wanted))),
        Some(_) => Some(format!("{what} {}, was {}", words(&wanted), words(&had))),
    }
}

/// "; limit ..." of what is new, or nothing where there is none of its own.
fn limited(sign: char, rates: &[limit::Named]) -> String {
    if sign == '+' && rates.iter().any(|(_, own)| own.is_some()) {
        format!("; limit {}", limit::words(rates))
    } else {
        String::new()
    }
}

fn changed_tep(had: &TepEntry, wanted: &TepEntry) -> String {
    let name = (had.name != wanted.name).then(|| renamed(had.name.as_ref(), wanted.name.as_ref()));
    let limit =
        limit::differences(&limit::of_tep(had.limit), &limit::of_tep(wanted.limit)).collect::<Vec<_>>();
    let parts: Vec<String> = name.into_iter().chain(limit).chain(next_hops(had, wanted)).collect();
    format!("~ tep {}: {}", wanted.address, parts.join("; "))
}

fn domain(sign: char, inventory: &Inventory, domain: &DomainRow) -> String {
    let name = domain.name.as_ref().map(|name| format!(" ({name})")).unwrap_or_default();
    let members = match inventory.members(domain).len() {
        1 => "1 member".to_owned(),
        count => format!("{count} members"),
    };
    let limit = limited(sign, &limit::of_domain(domain.limit));
    let strict = if sign == '+' && domain.garp == GarpMode::Strict { "; garp strict" } else { "" };
    format!("{sign} domain {}{name}: {members}{limit}{strict}", domain.vni)
}

fn changed_domain(plan: &Plan, had: &DomainRow, wanted: &DomainRow, named: usize) -> String {
    let (have, want) = (plan.have(), plan.want());
    let (joins, leaves) = joins_and_leaves(have.members(had), want.members(wanted));
    let mut parts = Vec::new();
    if had.name != wanted.name {
        parts.push(renamed(had.name.as_ref(), wanted.name.as_ref()));
    }
    for (verb, teps, of) in [("join", &joins, want), ("leave", &leaves, have)] {
        if !teps.is_empty() {
            parts.push(members(verb, teps, of, named));
        }
    }
    parts.extend(limit::differences(&limit::of_domain(had.limit), &limit::of_domain(wanted.limit)));
    parts.extend(differs("garp", Some(had.garp), Some(wanted.garp)));
    format!("~ domain {}: {}", wanted.vni, parts.join("; "))
}

fn members(verb: &str, teps: &[Tep], of: &Inventory, named: usize) -> String {
    let mut line = format!("{} {verb}:", teps.len());
    for address in teps.iter().take(named) {
        let name = of.tep(*address).and_then(|tep| tep.name.as_ref());
        // Writing to a String does not fail.
        let _ = match name {
            Some(name) => write!(line, " {name}"),
            None => write!(line, " {address}"),
        };
    }
    if teps.len() > named {
        line.push_str(" ...");
    }
    line
}

fn renamed(from: Option<&Name>, to: Option<&Name>) -> String {
    match (from, to) {
        (Some(from), Some(to)) => format!("named {to}, was {from}"),
        (None, Some(to)) => format!("named {to}"),
        (Some(from), None) => format!("no longer named {from}"),
        (None, None) => String::new(),
    }
}
