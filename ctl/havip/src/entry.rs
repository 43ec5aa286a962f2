//! Decisions as a HAVIP's entry shows them, and as they are told.

use bcast_domain::{AnnouncerId, RejectReason};
use ctl_api::model::{HavipEntry, HavipEvent, HavipEventKind, HavipState, Holder, Offender, Revision, Why};

use crate::{BindingChange, Decisions, Effect, SECOND, Thaw};

/// What a machine's decisions make of its HAVIP: the new entry, where the binding changes, and what happened.
///
/// `who` says who an announcer is; `revision` and `unix_ms` are those of the record that all of it is part of.
#[must_use]
pub fn enact(
    entry: &HavipEntry,
    decisions: &Decisions,
    who: impl Fn(AnnouncerId) -> Option<Holder>,
    revision: Revision,
    unix_ms: u64,
) -> (Option<HavipEntry>, Vec<HavipEvent>) {
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
            Effect::Spoof { mac, tep, count, .. } => Some(Offender { mac, tep, count }),
            _ => None,
        };
        let detail = detail(told, &who);
        HavipEvent {
            generation: revision.get(),
            why,
            detail,
            offender,
            ..HavipEvent::of(entry, kind, unix_ms)
        }
    });
    let happened = happened.collect();
    (turned, happened)
}

fn bind(entry: &mut HavipEntry, turn: BindingChange, holder: Option<Holder>, unix_ms: u64) {
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

fn kind(told: &Effect) -> (HavipEventKind, Option<Why>) {
    match told {
        Effect::Bound { why, .. } => (HavipEventKind::Bound, Some(*why)),
        Effect::Moved { why, .. } => (HavipEventKind::Moved, Some(*why)),
        Effect::Frozen(_) => (HavipEventKind::Frozen, Some(Why::Flapping)),
        Effect::Thawed(_) => (HavipEventKind::Thawed, Some(Why::Thawed)),
        Effect::Conflict { .. } => (HavipEventKind::Conflict, Some(Why::DoubleMaster)),
        Effect::ConflictEnded { .. } => (HavipEventKind::ConflictEnded, Some(Why::Healed)),
        Effect::Spoof { .. } => (HavipEventKind::Spoof, None),
    }
}

/// One line for people.
fn detail(told: &Effect, who: &impl Fn(AnnouncerId) -> Option<Holder>) -> String {
    let name =
        |announcer| who(announcer).map_or_else(|| "one that is gone".to_owned(), |holder| name(&holder));
    match *told {
        Effect::Bound { .. } | Effect::Moved { .. } => String::new(),
        Effect::Frozen(frozen) => {
            let (moves, s) = (frozen.moves, if frozen.moves == 1 { "" } else { "s" });
            let (window, to) = (frozen.window_ns / SECOND, name(frozen.refused));
            format!("more than {moves} move{s} in {window} s; the last, to {to}, is not made any more")
        }
        Effect::Thawed(Thaw::Quiet) => "one alone announced it for long enough".to_owned(),
        Effect::Thawed(Thaw::After) => "it was frozen for long enough".to_owned(),
        Effect::Conflict { one, other } => format!("{} and {} both advertise it", name(one), name(other)),
        Effect::ConflictEnded { left: Some(left) } => format!("{} alone advertises it", name(left)),
        Effect::ConflictEnded { left: None } => "nobody advertises it any more".to_owned(),
        Effect::Spoof { what, .. } => match what {
            RejectReason::Unattached => "announced by one that is not attached there",
            RejectReason::Unsound => "bound to another MAC address than the sender's",
            RejectReason::Advert => "advertised (VRRP) by one that is not attached there",
            RejectReason::Hidden => "announced in fragments or behind extension headers",
        }
        .to_owned(),
    }
}

/// An instance and where it is, for people.
#[must_use]
pub fn name(holder: &Holder) -> String {
    format!("{} ({} at {})", holder.instance, holder.mac, holder.tep)
}
