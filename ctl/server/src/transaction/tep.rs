//! TEPs in a transaction.

use bcast_domain::{Tep, TepIndex, Vni, limits};
use ctl_api::model::{Change, DomainEntry, Existing, Target, TepEntry, TepFields, TepRef};
use hashbrown::{HashMap, HashSet};

use super::{Effect, Transaction};
use crate::refusal::Problem;

/// The changes.
impl Transaction<'_> {
    pub(super) fn set_tep(
        &mut self,
        tep: &TepRef,
        fields: &TepFields,
        existing: Existing,
        replace: bool,
    ) -> Result<Effect, Problem> {
        let address = match tep {
            TepRef::Address(address) => *address,
            TepRef::Name(_) => self.member(tep)?,
        };
        let old = self.tep(address);
        if old.is_none() {
            if existing == Existing::Required {
                return Err(Problem::Unregistered(tep.clone()));
            }
            self.register(address)?;
        }
        let new = old.clone().unwrap_or_else(|| TepEntry::new(address)).with(fields, replace);
        let changed = old.as_ref() != Some(&new);
        if changed {
            self.put_tep(address, Some(new));
        }
        Ok(Effect::changed(changed))
    }

    /// Checks that a TEP may be registered.
    fn register(&mut self, tep: Tep) -> Result<(), Problem> {
        self.node.tep_allowed(tep)?;
        if let Some(havip) = self.havip_with_eip(tep.address().into()) {
            return Err(Problem::TepIsEip { tep, havip });
        }
        self.take_index(tep)
    }

    /// Counts the index of a new TEP.
    pub(super) fn take_index(&mut self, tep: Tep) -> Result<(), Problem> {
        let is_new = !self.deleted.remove(&tep);
        if is_new && self.totals.teps >= limits::MAX_TEPS {
            return Err(Problem::Teps(tep));
        }
        self.totals.teps += usize::from(is_new);
        Ok(())
    }

    pub(super) fn delete_tep(
        &mut self,
        tep: &TepRef,
        force: bool,
        batch: &[Change],
    ) -> Result<Effect, Problem> {
        let Some(address) = self.resolve(tep) else {
            return Ok(Effect::absent(format!("TEP {tep} is not registered")));
        };
        match self.domains_of(address) {
            0 => {}
            domains if !force => return Err(Problem::StillMember { tep: address, domains }),
            _ => self.leave_all(address, batch),
        }
        match self.havips_on_tep(address) {
            0 => {}
            havips if !force => return Err(Problem::StillAttached { tep: address, havips }),
            _ => self.detach_all(address)?,
        }
        self.put_tep(address, None);
        self.deleted.insert(address);
        Ok(Effect::CHANGED)
    }
}

/// The TEPs that are there: prepared, or else in the state.
impl Transaction<'_> {
    /// `None`: it is not registered.
    pub(super) fn tep(&self, tep: Tep) -> Option<TepEntry> {
        self.teps.get(&tep).cloned().unwrap_or_else(|| self.state.tep(tep))
    }

    pub(super) fn is_registered(&self, tep: Tep) -> bool {
        self.teps.get(&tep).map_or_else(|| self.state.teps.index(tep).is_some(), Option::is_some)
    }

    /// All registered TEPs, in any order.
    pub(super) fn all_teps(&self) -> Vec<Tep> {
        let base = self.state.teps.iter().filter(|tep| self.teps.get(tep).is_none());
        let prepared = self.teps.iter().filter(|(_, entry)| entry.is_some()).map(|(tep, _)| *tep);
        base.chain(prepared).collect()
    }

    pub(super) fn domains_of(&self, tep: Tep) -> u32 {
        self.memberships.get(&tep).copied().unwrap_or_else(|| self.state.domains_of(tep))
    }

    /// Registers a TEP, changes it, or deletes it.
    pub(super) fn put_tep(&mut self, tep: Tep, entry: Option<TepEntry>) {
        let (state, position) = (self.state, self.position);
        let old = self.tep(tep).and_then(|old| old.name);
        let new = entry.as_ref().and_then(|entry| entry.name.clone());
        if old != new {
            if let Some(old) = old {
                self.names.release(&old, &tep, || state.teps.named(&old));
            }
            if let Some(new) = new {
                self.names.take(&new, tep, position, || state.teps.named(&new));
            }
        }
        *self.teps.edit(tep, || None) = entry;
    }

    pub(super) fn count(&mut self, tep: Tep, joined: bool) {
        let state = self.state;
        let domains = self.memberships.edit(tep, || state.domains_of(tep));
        *domains = if joined { *domains + 1 } else { domains.saturating_sub(1) };
    }

    /// Takes a TEP out of all its domains. Those of the state are looked up once for all such TEPs of a batch: a table
    /// of a million domains is not read ten thousand times.
    fn leave_all(&mut self, tep: Tep, batch: &[Change]) {
        if !self.holders.contains_key(&tep) {
            self.find_holders(tep, batch);
        }
        for vni in self.holders.get(&tep).cloned().unwrap_or_default() {
            self.leave_one(vni, tep);
        }
        if self.domains_of(tep) > 0 {
            let holds = |domain: &DomainEntry| domain.members.binary_search(&tep).is_ok();
            let prepared = self.domains.iter().filter(|(_, domain)| domain.as_ref().is_some_and(holds));
            for vni in prepared.map(|(&vni, _)| vni).collect::<Vec<_>>() {
                self.leave_one(vni, tep);
            }
        }
    }

    fn find_holders(&mut self, tep: Tep, batch: &[Change]) {
        let forced = batch.iter().filter_map(|change| match change {
            Change::Delete { target: Target::Tep(tep), force: true } => self.resolve(tep),
            _ => None,
        });
        let keys: HashSet<Tep> = forced.chain([tep]).filter(|tep| !self.holders.contains_key(tep)).collect();
        // Asked for each membership there is: an array answers that at once.
        let mut is_sought = vec![false; limits::MAX_TEPS];
        for index in keys.iter().filter_map(|&tep| self.state.teps.index(tep)) {
            if let Some(is_sought) = is_sought.get_mut(index.index()) {
                *is_sought = true;
            }
        }
        let mut found: HashMap<Tep, Vec<Vni>> = keys.into_iter().map(|tep| (tep, Vec::new())).collect();
        for (vni, list) in self.state.lists() {
            let is_key = |index: &&TepIndex| is_sought.get(index.index()).is_some_and(|&is_sought| is_sought);
            for &index in list.members().iter().filter(is_key) {
                let tep = self.state.teps.address(index);
                if let Some(vnis) = tep.and_then(|tep| found.get_mut(&tep)) {
                    vnis.push(vni);
                }
            }
        }
        self.holders.extend(found);
    }
}
