//! The procedures that show a HAVIP.

use bcast_domain::LastAnnounced;
use ctl_api::model::{HavipEntry, Name};
use ctl_api::proto;
use ctl_havip::{Diagnosis, codes};

use crate::clock::AnnouncedAt;
use crate::havips::NamedAnnouncer;
use crate::refusal::Refusal;
use crate::shared::Shared;
use crate::state::{State, lock};

/// Holder, times at which the attachments were last heard, and diagnosis.
pub(super) fn status(shared: &Shared, name: Name) -> Result<proto::HavipStatus, Refusal> {
    let mut state = lock(&shared.state);
    let state = &mut *state;
    let held = state.havips.named(&name).ok_or_else(|| Refusal::NoHavip(name.clone()))?;
    let announced = state
        .machines
        .announcer_times(held, &state.havips, shared.node.as_ref())
        .into_iter()
        .map(announced_of)
        .collect();
    let found = state.machines.diagnosis(held, shared.node.now().steady_ns);
    let found = found.into_iter().map(|Diagnosis { code, text }| (code, text));
    let diagnosis = found
        .chain(outside(state, &held.entry))
        .map(|(code, text)| proto::Diagnosis { code: code.to_owned(), text });
    let diagnosis = diagnosis.collect();
    Ok(proto::HavipStatus { entry: Some(held.entry.clone().into()), diagnosis, announced })
}

/// Code and line for each attachment outside of the domain: its frames are dropped.
fn outside(state: &State, entry: &HavipEntry) -> Vec<(&'static str, String)> {
    let vni = entry.havip.vni;
    let members = state.members(vni).unwrap_or_default();
    let attached = entry
        .havip
        .attachments
        .iter()
        .flat_map(|attachment| attachment.teps.iter().map(|tep| (&attachment.instance, *tep)));
    let strangers = attached.filter(|(_, tep)| members.binary_search(tep).is_err());
    let line = |(instance, tep)| {
        let outside = format!("TEP {tep}, which is no member of domain {vni}; let it join");
        (codes::TEP_NOT_MEMBER, format!("instance {instance} is attached at {outside}"))
    };
    strangers.map(line).collect()
}

fn announced_of((named, last, times): (&NamedAnnouncer, LastAnnounced, AnnouncedAt)) -> proto::LastAnnounced {
    let NamedAnnouncer { identity: who, .. } = named;
    let proto::Holder { instance, mac, tep } = who.clone().into();
    proto::LastAnnounced {
        instance,
        mac,
        tep,
        claim_unix_ms: times.claim.unix_ms,
        use_unix_ms: times.usage.unix_ms,
        advert_unix_ms: times.advert.unix_ms,
        advert_interval_cs: last.interval_cs.into(),
        advert_priority: last.priority.into(),
    }
}

/// Events of a HAVIP.
pub(super) fn history(shared: &Shared, name: Name) -> Result<proto::HavipHistoryReply, Refusal> {
    let alarms = {
        let state = lock(&shared.state);
        if state.havips.named(&name).is_none() {
            return Err(Refusal::NoHavip(name));
        }
        state.alarms.of(&name)
    };
    let mut events = shared.store.history(&name)?;
    events.extend(alarms);
    // An alarm comes after the revision at which it was told.
    events.sort_by_key(|event| event.generation);
    Ok(proto::HavipHistoryReply { events: events.into_iter().map(Into::into).collect() })
}
