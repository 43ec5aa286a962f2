//! The registered TEPs, their indices, and of how many domains each is a member.

use bcast_domain::{Epoch, Grace, Tep, TepIndex, limits};
use ctl_api::model::{Name, TepEntry};
use hashbrown::HashMap;

use crate::ids::Ids;

/// The registered TEPs.
#[derive(Debug)]
pub(crate) struct Teps {
    /// TEPs by index.
    entries: Vec<Option<TepEntry>>,
    /// Number of domains of a TEP, by its index.
    domains: Vec<u32>,
    by_address: HashMap<Tep, TepIndex>,
    by_name: HashMap<Name, TepIndex>,
    indices: Ids,
}

impl Default for Teps {
    fn default() -> Self {
        let (by_address, by_name) = (HashMap::new(), HashMap::new());
        let indices = Ids::new(limits::MAX_TEPS);
        Self { entries: Vec::new(), domains: Vec::new(), by_address, by_name, indices }
    }
}

impl Teps {
    /// Number of TEPs.
    pub fn len(&self) -> usize {
        self.by_address.len()
    }

    /// Number of indices that are taken, those of TEPs that just went included.
    pub fn taken(&self) -> usize {
        self.indices.taken()
    }

    pub fn index(&self, tep: Tep) -> Option<TepIndex> {
        self.by_address.get(&tep).copied()
    }

    pub fn named(&self, name: &Name) -> Option<Tep> {
        self.address(*self.by_name.get(name)?)
    }

    pub fn address(&self, index: TepIndex) -> Option<Tep> {
        self.entry(index).map(|entry| entry.address)
    }

    /// Number of domains of a TEP.
    pub fn domains(&self, index: TepIndex) -> u32 {
        self.domains.get(index.index()).copied().unwrap_or(0)
    }

    pub fn iter(&self) -> impl Iterator<Item = Tep> {
        self.by_address.keys().copied()
    }

    pub fn entry(&self, index: TepIndex) -> Option<&TepEntry> {
        self.entries.get(index.index())?.as_ref()
    }

    /// Registers a TEP, or changes it. Returns its index where it is new; `None` also where there is no room, which
    /// the transaction has made sure of.
    pub fn set(&mut self, entry: &TepEntry) -> Option<TepIndex> {
        let free = |indices: &mut Ids| indices.take().and_then(|index| TepIndex::new(index).ok());
        let index = self.index(entry.address).or_else(|| free(&mut self.indices))?;
        let place = index.index();
        if self.entries.len() <= place {
            self.entries.resize_with(place + 1, || None);
            self.domains.resize(place + 1, 0);
        }
        let old = self.entries.get_mut(place)?.replace(entry.clone());
        let is_new = old.is_none();
        self.forget_name(old, index);
        if let Some(name) = &entry.name {
            self.by_name.insert(name.clone(), index);
        }
        self.by_address.insert(entry.address, index);
        is_new.then_some(index)
    }

    /// Forgets the name of an entry. One that moved to another TEP within the revision may be that one's already.
    fn forget_name(&mut self, entry: Option<TepEntry>, index: TepIndex) {
        if let Some(name) = entry.and_then(|entry| entry.name)
            && self.by_name.get(&name) == Some(&index)
        {
            self.by_name.remove(&name);
        }
    }

    /// Takes a TEP out. Its index stays taken until it is [let go](Teps::let_go) and free again.
    pub fn remove(&mut self, tep: Tep) -> Option<TepIndex> {
        let index = self.by_address.remove(&tep)?;
        let entry = self.entries.get_mut(index.index())?.take();
        self.forget_name(entry, index);
        Some(index)
    }

    /// From `epoch` on no worker meets these indices.
    pub fn let_go(&mut self, epoch: Epoch, indices: Vec<TepIndex>) {
        self.indices.let_go(epoch, indices.into_iter().map(TepIndex::get));
    }

    /// Frees the indices that no worker can meet any more.
    pub fn reclaim(&mut self, grace: &Grace) {
        self.indices.reclaim(grace, |_| {});
    }

    /// Notes that a domain's members are `new` where they were `old`.
    pub fn recount(&mut self, old: &[TepIndex], new: &[TepIndex]) {
        for index in old {
            if let Some(domains) = self.domains.get_mut(index.index()) {
                *domains = domains.saturating_sub(1);
            }
        }
        for index in new {
            if let Some(domains) = self.domains.get_mut(index.index()) {
                *domains += 1;
            }
        }
    }
}

const _: () = assert!(limits::MAX_TEPS <= u32::MAX as usize, "an index fits");
