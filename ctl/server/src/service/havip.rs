//! The procedures that show a HAVIP.

use ctl_api::model::{HavipEntry, Name};
use ctl_api::proto;

use super::Shared;
use crate::commit::{lock, now_ms};
use crate::havips::Seat;
use crate::refusal::Refusal;
use crate::state::State;

/// Who holds it, when its attachments were last heard, and what may be wrong.
pub(super) fn status(shared: &Shared, name: Name) -> Result<proto::HavipStatus, Refusal> {
    let (entry, speakers, diagnosis) = {
        let state = lock(&shared.state);
        let held = state.havips.named(&name).ok_or_else(|| Refusal::NoHavip(name.clone()))?;
        let mut lines = state.machines.diagnosis(held, shared.node.now_ns());
        lines.extend(diagnosis(&state, &held.entry));
        (held.entry.clone(), held.speakers.clone(), lines)
    };
    Ok(proto::HavipStatus {
        entry: Some(entry.into()),
        diagnosis,
        heard: speakers.into_iter().map(|seat| heard(shared, seat)).collect(),
    })
}

/// What the state alone tells: an attachment whose frames never come so far.
fn diagnosis(state: &State, entry: &HavipEntry) -> Vec<String> {
    let vni = entry.havip.vni;
    let members = state.members(vni).unwrap_or_default();
    let attached = entry
        .havip
        .attachments
        .iter()
        .flat_map(|attachment| attachment.teps.iter().map(|tep| (&attachment.instance, *tep)));
    let strangers = attached.filter(|(_, tep)| members.binary_search(tep).is_err());
    let line = |(instance, tep)| {
        format!(
            "instance {instance} is attached at TEP {tep}, which is no member of domain {vni}; let it join"
        )
    };
    strangers.map(line).collect()
}

fn heard(shared: &Shared, Seat { id, who }: Seat) -> proto::LastHeard {
    let spoken = shared.node.heard().read(id);
    let (now_ns, now_ms) = (shared.node.now_ns(), now_ms());
    // 0 is never.
    let unix_ms = |at_ns: u64| match at_ns {
        0 => 0,
        at_ns => now_ms.saturating_sub(now_ns.saturating_sub(at_ns) / 1_000_000),
    };
    proto::LastHeard {
        instance: who.instance.to_string(),
        mac: who.mac.to_string(),
        tep: who.tep.to_string(),
        claim_unix_ms: unix_ms(spoken.claim_ns),
        use_unix_ms: unix_ms(spoken.use_ns),
        advert_unix_ms: unix_ms(spoken.advert_ns),
        advert_interval_cs: spoken.interval_cs.into(),
        advert_priority: spoken.priority.into(),
    }
}

/// What happened to it.
pub(super) fn history(shared: &Shared, name: Name) -> Result<proto::HavipHistoryReply, Refusal> {
    if lock(&shared.state).havips.named(&name).is_none() {
        return Err(Refusal::NoHavip(name));
    }
    let happenings = shared.store.history(&name)?;
    Ok(proto::HavipHistoryReply { happenings: happenings.into_iter().map(Into::into).collect() })
}
