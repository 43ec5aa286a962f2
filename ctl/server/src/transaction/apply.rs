//! A desired state against the node's: deleted, set, and compared.

use bcast_domain::{Tep, Vni};
use ctl_api::model::{
    Apply, Difference, Existing, Havip, Name, Resource, SetResource, Target, TepEntry, TepRef,
};
use ctl_api::proto::{Count, Removals};
use ctl_store::Answer;
use hashbrown::HashSet;

use super::end::missing;
use super::removals::check_removals;
use super::{Prepared, Transaction};
use crate::refusal::{Problem, Refusal};
use crate::summary::Summary;

/// Resources that a desired state names.
#[derive(Default)]
struct NamedResources {
    teps: HashSet<Tep>,
    domains: HashSet<Vni>,
    havips: HashSet<Name>,
}

impl NamedResources {
    /// Each is named once.
    fn of(resources: &[SetResource]) -> Result<Self, Refusal> {
        let mut named = Self::default();
        for (index, resource) in resources.iter().enumerate() {
            let (is_new, what) = match resource {
                SetResource::Tep(TepRef::Address(tep), _) => (named.teps.insert(*tep), format!("TEP {tep}")),
                SetResource::Tep(TepRef::Name(name), _) => (false, format!("TEP {name}")),
                SetResource::Domain(vni, _) => (named.domains.insert(*vni), format!("domain {vni}")),
                SetResource::Havip(name, _) => (named.havips.insert(name.clone()), format!("HAVIP {name}")),
            };
            if !is_new {
                let problem = Problem::Twice(what);
                return Err(Refusal::Change { part: "entry", position: index + 1, problem });
            }
        }
        Ok(named)
    }
}

impl Transaction<'_> {
    /// Prepares a desired state, all of it or nothing.
    ///
    /// # Errors
    ///
    /// An entry that cannot be, a resource that cannot be deleted, removals that are not confirmed, or another
    /// revision than expected.
    pub fn apply(&mut self, apply: &Apply, unix_ms: u64) -> Result<Prepared, Refusal> {
        let before = self.totals;
        self.request(&apply.conditions, unix_ms, |transaction| {
            let named = NamedResources::of(&apply.resources)?;
            if apply.prune {
                transaction.prune_first(&named);
            }
            transaction.set_all(apply)?;
            if apply.prune {
                transaction.prune_last(&named).map_err(Refusal::Deletion)?;
            }
            transaction.check_end("entry")?;
            let summary = transaction.summary(apply.max_differences.unwrap_or(usize::MAX));
            if !apply.conditions.dry_run {
                let removed =
                    Removals { memberships: summary.memberships_removed, havips: summary.havips.removed };
                check_removals(removed, before, apply.conditions.confirmed, 0)?;
            }
            let answer =
                Answer { revision: transaction.revision, changed: summary.changed(), notes: Vec::new() };
            Ok((answer, Some(Box::new(summary))))
        })
    }

    /// Deletes HAVIPs that are not named, and takes the names of TEPs that are not: names are resolved in the desired
    /// state.
    fn prune_first(&mut self, named: &NamedResources) {
        for name in self.all_havips().into_iter().filter(|name| !named.havips.contains(name)) {
            self.delete_havip(&name);
        }
        for tep in self.all_teps().into_iter().filter(|tep| !named.teps.contains(tep)) {
            if let Some(entry) = self.tep(tep).filter(|entry| entry.name.is_some()) {
                self.put_tep(tep, Some(TepEntry { name: None, ..entry }));
            }
        }
    }

    /// Sets all resources: first TEPs, then domains, then HAVIPs.
    fn set_all(&mut self, apply: &Apply) -> Result<(), Refusal> {
        let rank = |resource: &SetResource| match resource {
            SetResource::Tep(..) => 0,
            SetResource::Domain(..) => 1,
            SetResource::Havip(..) => 2,
        };
        for kind in 0..=2 {
            let all = apply.resources.iter().enumerate();
            for (index, resource) in all.filter(|(_, resource)| rank(resource) == kind) {
                let position = index + 1;
                self.position = position;
                let set = self.set(resource, Existing::Any, apply.prune);
                set.map_err(|problem| Refusal::Change { part: "entry", position, problem })?;
            }
        }
        Ok(())
    }

    /// Deletes domains and TEPs that are not named; nothing that is named may need them.
    fn prune_last(&mut self, named: &NamedResources) -> Result<(), Problem> {
        for vni in self.all_domains().into_iter().filter(|vni| !named.domains.contains(vni)) {
            self.delete_domain(vni, false)?;
        }
        for tep in self.all_teps().into_iter().filter(|tep| !named.teps.contains(tep)) {
            self.delete_tep(&TepRef::Address(tep), false, &[])?;
        }
        Ok(())
    }

    /// Differences between the state before the request and after it.
    fn summary(&self, most: usize) -> Summary {
        let mut summary = Summary::default();
        let mut all: Vec<(Target, Difference)> = Vec::new();
        for (&tep, before, now) in self.teps.touched() {
            let before = before.cloned().unwrap_or_else(|| self.state.tep(tep));
            if count(&mut summary.teps, before.as_ref(), now.as_ref()) {
                let [before, after] = [before, now.clone()].map(|entry| entry.map(Resource::Tep));
                all.push((Target::Tep(TepRef::Address(tep)), Difference { before, after }));
            }
        }
        for (&vni, before, now) in self.domains.touched() {
            let before = before.cloned().unwrap_or_else(|| self.state.domain(vni));
            if count(&mut summary.domains, before.as_ref(), now.as_ref()) {
                summary.memberships_removed += missing(before.as_ref(), now.as_ref());
                summary.memberships_added += missing(now.as_ref(), before.as_ref());
                let [before, after] = [before, now.clone()].map(|domain| domain.map(Resource::Domain));
                all.push((Target::Domain(vni), Difference { before, after }));
            }
        }
        for (name, before, now) in self.havip_changes() {
            let [before, now] = [before, now].map(|entry| entry.map(|entry| &entry.havip));
            if count(&mut summary.havips, before, now) {
                let resource = |havip: &Havip| Resource::Havip(Box::new(havip.clone()));
                let difference = Difference { before: before.map(resource), after: now.map(resource) };
                all.push((Target::Havip(name.clone()), difference));
            }
        }
        all.sort_by(|(one, _), (other, _)| key(one).cmp(&key(other)));
        summary.differences = all.into_iter().map(|(_, difference)| difference).take(most).collect();
        summary
    }
}

/// Order of differences: TEPs by address, domains by VNI, HAVIPs by name.
fn key(target: &Target) -> (u8, u32, Option<&Name>) {
    match target {
        Target::Tep(TepRef::Address(tep)) => (0, tep.address().to_bits(), None),
        Target::Tep(TepRef::Name(name)) => (0, 0, Some(name)),
        Target::Domain(vni) => (1, vni.get(), None),
        Target::Havip(name) => (2, 0, Some(name)),
    }
}

/// Counts a resource; false where it does not differ.
fn count<T: PartialEq>(count: &mut Count, before: Option<&T>, now: Option<&T>) -> bool {
    match (before, now) {
        (None, None) => return false,
        (Some(before), Some(now)) if before == now => return false,
        (None, Some(_)) => count.added += 1,
        (Some(_), Some(_)) => count.changed += 1,
        (Some(_), None) => count.removed += 1,
    }
    true
}
