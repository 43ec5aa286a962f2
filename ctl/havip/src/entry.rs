//! Decisions as a HAVIP's entry shows them, and as they are told.

use bcast_domain::{Refusal, SpeakerId};
use ctl_api::model::{Happening, HappeningKind, HavipEntry, HavipState, Holder, Offender, Revision, Why};

use crate::{Decisions, SECOND, Thaw, Told, Turn};

/// What a machine's decisions make of its HAVIP: the new entry, where the binding changes, and what happened.
///
/// `who` says who a speaker is; `revision` and `unix_ms` are those of the record that all of it is part of.
#[must_use]
pub fn enact(
    entry: &HavipEntry,
    decisions: &Decisions,
    who: impl Fn(SpeakerId) -> Option<Holder>,
    revision: Revision,
    unix_ms: u64,
) -> (Option<HavipEntry>, Vec<Happening>) {
    let turned = decisions.turn.map(|turn| {
        let mut turned = entry.clone();
        bind(&mut turned, turn, turn.holder.and_then(&who), unix_ms);
        turned.binding.generation = revision.get();
        turned
    });
    let entry = turned.as_ref().unwrap_or(entry);
    let happened = decisions.told.iter().map(|told| {
        let (kind, why) = kind(told);
        let offender = match *told {
            Told::Spoof { mac, tep, count, .. } => Some(Offender { mac, tep, count }),
            _ => None,
        };
        let detail = detail(told, &who);
        Happening { generation: revision.get(), why, detail, offender, ..Happening::of(entry, kind, unix_ms) }
    });
    let happened = happened.collect();
    (turned, happened)
}

fn bind(entry: &mut HavipEntry, turn: Turn, holder: Option<Holder>, unix_ms: u64) {
    let binding = &mut entry.binding;
    let by_state = match turn.state {
        HavipState::Frozen => Why::Flapping,
        HavipState::Conflict => Why::DoubleMaster,
        _ if binding.state == HavipState::Frozen => Why::Thawed,
        _ => Why::Healed,
    };
    if binding.holder != holder {
        let left = std::mem::replace(&mut binding.holder, holder);
        binding.moves += u64::from(left.is_some() && binding.holder.is_some());
        // Of an unbound one the previous holder is known already.
        binding.previous = left.or(binding.previous.take());
    }
    binding.state = turn.state;
    binding.since_unix_ms = unix_ms;
    binding.why = Some(turn.moved.unwrap_or(by_state));
}

fn kind(told: &Told) -> (HappeningKind, Option<Why>) {
    match told {
        Told::Bound { why, .. } => (HappeningKind::Bound, Some(*why)),
        Told::Moved { why, .. } => (HappeningKind::Moved, Some(*why)),
        Told::Frozen(_) => (HappeningKind::Frozen, Some(Why::Flapping)),
        Told::Thawed(_) => (HappeningKind::Thawed, Some(Why::Thawed)),
        Told::Conflict { .. } => (HappeningKind::Conflict, Some(Why::DoubleMaster)),
        Told::ConflictEnded { .. } => (HappeningKind::ConflictEnded, Some(Why::Healed)),
        Told::Spoof { .. } => (HappeningKind::Spoof, None),
    }
}

/// One line for people.
fn detail(told: &Told, who: &impl Fn(SpeakerId) -> Option<Holder>) -> String {
    let name = |speaker| who(speaker).map_or_else(|| "one that is gone".to_owned(), |holder| name(&holder));
    match *told {
        Told::Bound { .. } | Told::Moved { .. } => String::new(),
        Told::Frozen(frozen) => {
            let (moves, s) = (frozen.moves, if frozen.moves == 1 { "" } else { "s" });
            let (window, to) = (frozen.window_ns / SECOND, name(frozen.refused));
            format!("more than {moves} move{s} in {window} s; the last, to {to}, is not made any more")
        }
        Told::Thawed(Thaw::Quiet) => "one alone announced it for long enough".to_owned(),
        Told::Thawed(Thaw::After) => "it was frozen for long enough".to_owned(),
        Told::Conflict { one, other } => format!("{} and {} both advertise it", name(one), name(other)),
        Told::ConflictEnded { left: Some(left) } => format!("{} alone advertises it", name(left)),
        Told::ConflictEnded { left: None } => "nobody advertises it any more".to_owned(),
        Told::Spoof { what, .. } => match what {
            Refusal::Stranger => "announced by one that is not attached there",
            Refusal::Unsound => "bound to another MAC address than the sender's",
            Refusal::Advert => "advertised (VRRP) by one that is not attached there",
            Refusal::Hidden => "announced in fragments or behind extension headers",
        }
        .to_owned(),
    }
}

/// An instance and where it is, for people.
#[must_use]
pub fn name(holder: &Holder) -> String {
    format!("{} ({} at {})", holder.instance, holder.mac, holder.tep)
}
