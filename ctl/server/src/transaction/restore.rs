//! A backup in place of the state: what it does not name is deleted, what it names is set, bindings included.
//!
//! State beyond the configuration's bounds is taken, as with a limit that was lowered; so are TEPs that are not this node's, as
//! in a store that was moved.

use ctl_api::model::{
    Conditions, DomainEntry, Event, Havip, HavipEntry, HavipEvent, HavipEventKind, HavipState, Name,
    Revision, TepEntry, TepRef, Why,
};
use ctl_store::{Answer, HISTORY_OF_ONE};
use hashbrown::{HashMap, HashSet};

use super::domain::once_each;
use super::removals::check_removals;
use super::{Prepared, Transaction};
use crate::havips::announcers;
use crate::refusal::{Problem, Refusal};
use crate::restore::Backup;

impl Transaction<'_> {
    /// Prepares a backup, all of it or nothing, as a revision above `above`. Its history is checked, and left to the
    /// caller.
    ///
    /// # Errors
    ///
    /// A backup that cannot be, removals that are not confirmed, or a configuration that changed after the expected
    /// revision.
    pub fn restore(
        &mut self,
        backup: &mut Backup,
        above: Revision,
        unix_ms: u64,
    ) -> Result<Prepared, Refusal> {
        let (above, before) = (Some(above.max(self.revision)), self.totals);
        let conditions = Conditions { above, ..backup.conditions.clone() };
        let mut prepared = self.request(&conditions, unix_ms, |transaction| {
            let restored = transaction.restore_all(backup);
            let conflict = |()| transaction.conflict().map_or(Ok(()), |(_, problem)| Err(problem));
            restored.and_then(conflict).map_err(Refusal::Backup)?;
            check_removals(transaction.removals(), before, conditions.confirmed, 0)?;
            Ok((Answer::default(), None))
        })?;
        let events = prepared.record.iter().flat_map(|record| &record.events);
        let changed = events.filter(|event| !matches!(event, Event::HavipEvent(_))).count();
        prepared.answer.changed = changed as u64;
        Ok(prepared)
    }

    fn restore_all(&mut self, backup: &mut Backup) -> Result<(), Problem> {
        self.restore_teps(std::mem::take(&mut backup.teps))?;
        self.restore_domains(std::mem::take(&mut backup.domains))?;
        self.restore_havips(std::mem::take(&mut backup.havips))?;
        self.check_history(&backup.history)
    }

    fn restore_teps(&mut self, teps: Vec<TepEntry>) -> Result<(), Problem> {
        let mut named = HashSet::new();
        if let Some(twice) = teps.iter().find(|tep| !named.insert(tep.address)) {
            return Err(Problem::Twice(format!("TEP {}", twice.address)));
        }
        for tep in self.all_teps().into_iter().filter(|tep| !named.contains(tep)) {
            self.put_tep(tep, None);
            self.deleted.insert(tep);
        }
        for tep in teps {
            if !self.is_registered(tep.address) {
                self.take_index(tep.address)?;
            }
            self.put_tep(tep.address, Some(tep));
        }
        Ok(())
    }

    fn restore_domains(&mut self, domains: Vec<DomainEntry>) -> Result<(), Problem> {
        let mut named = HashSet::new();
        if let Some(twice) = domains.iter().find(|domain| !named.insert(domain.vni)) {
            return Err(Problem::Twice(format!("domain {}", twice.vni)));
        }
        for vni in self.all_domains().into_iter().filter(|vni| !named.contains(vni)) {
            self.remove_domain(vni);
        }
        domains.into_iter().try_for_each(|domain| self.restore_domain(domain))
    }

    fn restore_havips(&mut self, havips: Vec<HavipEntry>) -> Result<(), Problem> {
        let mut named = HashSet::new();
        for HavipEntry { havip: Havip { name, vni, address, .. }, .. } in &havips {
            if !named.insert(name.clone()) {
                return Err(Problem::HavipThere { name: name.clone(), vni: *vni, address: *address });
            }
        }
        for name in self.all_havips().into_iter().filter(|name| !named.contains(name)) {
            self.remove_havip(&name, Why::Restored);
        }
        havips.into_iter().try_for_each(|entry| self.restore_havip(entry))
    }

    fn restore_domain(&mut self, mut domain: DomainEntry) -> Result<(), Problem> {
        domain.members.sort_unstable();
        once_each(domain.vni, &domain.members)?;
        if let Some(&tep) = domain.members.iter().find(|tep| !self.is_registered(**tep)) {
            return Err(Problem::Unregistered(TepRef::Address(tep)));
        }
        let old = self.domain(domain.vni);
        if old.as_ref() == Some(&domain) { Ok(()) } else { self.put_domain(old, domain) }
    }

    /// A binding that is other than the node's is made so by this revision.
    fn restore_havip(&mut self, mut entry: HavipEntry) -> Result<(), Problem> {
        let HavipEntry { havip, binding } = &mut entry;
        self.position += 1;
        self.check_havip(havip)?;
        if let Some(holder) = &binding.holder
            && !announcers(havip).any(|one| one == *holder)
        {
            let (name, instance) = (havip.name.clone(), holder.instance.clone());
            return Err(Problem::HolderNotAttached { name, instance });
        }
        let old = self.havip_entry(&havip.name).cloned();
        binding.generation = old.as_ref().map_or(0, |old| old.binding.generation);
        self.list_havip(old.as_ref().map(|old| &old.havip), Some(havip));
        self.check_numbers(havip)?;
        self.havips.events.extend(turned(old.as_ref(), &entry, self.unix_ms));
        self.insert_havip(entry);
        Ok(())
    }

    fn check_history(&self, history: &[HavipEvent]) -> Result<(), Problem> {
        let mut events: HashMap<&Name, usize> = HashMap::new();
        for HavipEvent { havip, .. } in history {
            let count = events.entry(havip).or_default();
            *count += 1;
            if self.havip_entry(havip).is_none() {
                return Err(Problem::NoHavip(havip.clone()));
            }
            if *count > HISTORY_OF_ONE {
                return Err(Problem::History(havip.clone()));
            }
        }
        Ok(())
    }
}

/// Event of a HAVIP that has another holder or another state.
fn turned(before: Option<&HavipEntry>, now: &HavipEntry, unix_ms: u64) -> Option<HavipEvent> {
    let state = before.map_or(HavipState::Unbound, |before| before.binding.state);
    let held = before.and_then(|before| before.binding.holder.as_ref());
    let holder = now.binding.holder.as_ref();
    let kind = match (now.binding.state, held, holder) {
        (HavipState::Frozen, ..) if state != HavipState::Frozen => HavipEventKind::Frozen,
        (HavipState::Conflict, ..) if state != HavipState::Conflict => HavipEventKind::Conflict,
        (_, None, None) => return None,
        (_, None, Some(_)) => HavipEventKind::Bound,
        (_, Some(_), None) => HavipEventKind::Unbound,
        (_, Some(held), Some(holder)) if held != holder => HavipEventKind::Moved,
        _ if state == HavipState::Frozen && now.binding.state != state => HavipEventKind::Thawed,
        _ if state == HavipState::Conflict && now.binding.state != state => HavipEventKind::ConflictEnded,
        _ => return None,
    };
    let previous = held.cloned().filter(|_| held != holder);
    Some(HavipEvent { why: Some(Why::Restored), previous, ..HavipEvent::of(now, kind, unix_ms) })
}
