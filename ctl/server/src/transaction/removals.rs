//! Removals of many memberships or HAVIPs, which have to be confirmed.

use ctl_api::model::{Batch, Change, SetResource};
use ctl_api::proto::Removals;

use super::end::missing;
use super::{Totals, Transaction};
use crate::refusal::Refusal;

/// One in so many memberships or HAVIPs may go without being confirmed.
const UNCONFIRMED_SHARE: u64 = 5;
/// So many memberships or HAVIPs may go by a batch without being confirmed, however few there are.
const BATCH_REMOVALS: u64 = 10;

impl Transaction<'_> {
    /// Memberships and HAVIPs that the request under way removes.
    pub(super) fn removals(&self) -> Removals {
        let memberships = self.domains.touched().map(|(&vni, before, now)| match before {
            Some(before) => missing(before.as_ref(), now.as_ref()),
            None => missing(self.state.domain(vni).as_ref(), now.as_ref()),
        });
        let havips = self.havip_changes().filter(|(_, before, now)| before.is_some() && now.is_none());
        Removals { memberships: memberships.sum(), havips: havips.count() as u64 }
    }

    /// Refuses a batch that removes many of those that were there before, where nobody confirmed it. A single change says
    /// by itself what it removes.
    pub(super) fn check_batch(&self, batch: &Batch, before: Totals) -> Result<(), Refusal> {
        let is_checked = batch.changes.len() > 1 && !batch.conditions.dry_run;
        if is_checked && batch.changes.iter().any(may_remove) {
            check_removals(self.removals(), before, batch.conditions.confirmed, BATCH_REMOVALS)?;
        }
        Ok(())
    }
}

fn may_remove(change: &Change) -> bool {
    match change {
        Change::Delete { .. } | Change::Leave { .. } => true,
        Change::Set(set) => match &set.resource {
            SetResource::Domain(_, fields) => fields.members.is_some() || set.replace,
            SetResource::Tep(..) | SetResource::Havip(..) => false,
        },
        _ => false,
    }
}

/// Refuses removals of over 20 % of what was there, and of more than `free`, unless they are confirmed.
pub(super) fn check_removals(
    removed: Removals,
    before: Totals,
    confirmed: Removals,
    free: u64,
) -> Result<(), Refusal> {
    let is_many = |removed: u64, of: usize| removed > free && removed * UNCONFIRMED_SHARE > of as u64;
    let Removals { memberships, havips } = removed;
    if is_many(memberships, before.members) && memberships > confirmed.memberships
        || is_many(havips, before.havips) && havips > confirmed.havips
    {
        let (of_memberships, of_havips) = (before.members, before.havips);
        return Err(Refusal::RemovalsUnconfirmed { memberships, of_memberships, havips, of_havips });
    }
    Ok(())
}
