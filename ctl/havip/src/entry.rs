//! Decisions as changes of a HAVIP's entry, and as events.

use bcast_domain::{AnnouncerId, RejectReason};
use ctl_api::model::{HavipEntry, HavipEvent, HavipEventKind, HavipState, Holder, Offender, Revision, Why};

use crate::{BindingChange, Decisions, Effect, SECOND, Thaw};

/// Changes of a HAVIP by a machine's decisions: the new entry, if the binding or its VLAN tags change, and the events.
///
/// `who` looks up an announcer; `revision` and `unix_ms` are those of the commit.
#[must_use]
pub fn enact(
    entry: &HavipEntry,
    decisions: &Decisions,
    who: impl Fn(AnnouncerId) -> Option<Holder>,
    revision: Revision,
    unix_ms: u64,
) -> (Option<HavipEntry>, Vec<HavipEvent>) {
    let is_changed = decisions.change.is_some() || decisions.tags.is_some();
    let moved = is_changed.then(|| {
        let mut moved = entry.clone();
        if let Some(change) = decisions.change {
            bind(&mut moved, change, change.holder.and_then(&who), unix_ms);
            moved.binding.generation = revision.get();
        }
        moved.binding.tags = decisions.tags;
        moved
    });
    let entry = moved.as_ref().unwrap_or(entry);
    let events = decisions.effects.iter().map(|effect| {
        let (kind, why) = kind(effect);
        let offender = match *effect {
            Effect::Spoof { mac, tep, count, .. } => Some(Offender { mac, tep, count }),
            _ => None,
        };
        let detail = detail(effect, &who);
        HavipEvent {
            generation: revision.get(),
            why,
            detail,
            offender,
            ..HavipEvent::of(entry, kind, unix_ms)
        }
    });
    let events = events.collect();
    (moved, events)
}

fn bind(entry: &mut HavipEntry, change: BindingChange, holder: Option<Holder>, unix_ms: u64) {
    let binding = &mut entry.binding;
    let by_state = match change.state {
        HavipState::Frozen => Why::Flapping,
        HavipState::Conflict => Why::DoubleMaster,
        _ if binding.state == HavipState::Frozen => Why::Thawed,
        _ => Why::Healed,
    };
    if binding.holder != holder {
        let left = std::mem::replace(&mut binding.holder, holder);
        binding.moves += u64::from(left.is_some() && binding.holder.is_some());
        // An unbound HAVIP already knows its previous holder.
        binding.previous = left.or(binding.previous.take());
    }
    binding.state = change.state;
    binding.since_unix_ms = unix_ms;
    binding.why = Some(change.moved.unwrap_or(by_state));
}

fn kind(effect: &Effect) -> (HavipEventKind, Option<Why>) {
    match effect {
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
fn detail(effect: &Effect, who: &impl Fn(AnnouncerId) -> Option<Holder>) -> String {
    let name =
        |announcer| who(announcer).map_or_else(|| "one that is gone".to_owned(), |holder| name(&holder));
    match *effect {
        Effect::Bound { .. } | Effect::Moved { .. } => String::new(),
        Effect::Frozen(frozen) => {
            let (moves, s) = (frozen.moves, if frozen.moves == 1 { "" } else { "s" });
            let (window, to) = (frozen.window_ns / SECOND, name(frozen.refused));
            format!("more than {moves} move{s} in {window} s; the last, to {to}, is not made any more")
        }
        Effect::Thawed(Thaw::Settled) => "its election has settled: one alone announces it".to_owned(),
        Effect::Thawed(Thaw::Quiet) => "one alone announced it for long enough".to_owned(),
        Effect::Thawed(Thaw::After) => "it was frozen for long enough".to_owned(),
        Effect::Conflict { one, other } => format!("{} and {} both advertise it", name(one), name(other)),
        Effect::ConflictEnded { left: Some(left) } => format!("{} alone advertises it", name(left)),
        Effect::ConflictEnded { left: None } => "nobody advertises it any more".to_owned(),
        Effect::Spoof { reason, .. } => match reason {
            RejectReason::Unattached => "announced by one that is not attached there",
            RejectReason::Unsound => "bound to another MAC address than the sender's",
            RejectReason::Advert => "advertised (VRRP) by one that is not attached there",
            RejectReason::Hidden => "announced in fragments or behind extension headers",
            RejectReason::Cut { .. } => "possibly named by a first fragment that ends before what it names",
            RejectReason::Arrival => "reverse ARP of one that is not attached there",
            RejectReason::Probe => "asked for by a probe, which keeps its holders from it",
        }
        .to_owned(),
    }
}

/// An instance and its TEP, for people.
#[must_use]
pub fn name(holder: &Holder) -> String {
    format!("{} ({} at {})", holder.instance, holder.mac, holder.tep)
}
