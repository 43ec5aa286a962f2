//! The registered TEPs: their indices, names, and of how many domains each is a member. Their limits stand in
//! [`crate::limits`].

use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr};

use bcast_domain::{Epoch, Grace, Tep, TepIndex, limits};
use ctl_api::model::Name;
use hashbrown::HashMap;

/// A registered TEP.
#[derive(Debug)]
struct Entry {
    address: Tep,
    name: Option<Name>,
}

/// Gateways of the routes of HAVIPs on a TEP, for IPv4 and IPv6.
pub(crate) type RouteGateways = (Option<Ipv4Addr>, Option<Ipv6Addr>);

/// The registered TEPs.
#[derive(Debug, Default)]
pub(crate) struct Teps {
    /// By index.
    entries: Vec<Option<Entry>>,
    /// By index: of how many domains it is a member.
    domains: Vec<u32>,
    by_address: HashMap<Tep, TepIndex>,
    by_name: HashMap<Name, TepIndex>,
    /// Of those that have any.
    route_gateways: HashMap<TepIndex, RouteGateways>,
    free: Vec<TepIndex>,
    /// Indices that a worker may still meet in a list or in the array, and until when.
    leaving: VecDeque<(Epoch, TepIndex)>,
}

impl Teps {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_address.len()
    }

    /// How many indices are taken, those of TEPs that just went included.
    pub fn taken(&self) -> usize {
        self.by_address.len() + self.leaving.len()
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

    pub fn name(&self, index: TepIndex) -> Option<&Name> {
        self.entry(index)?.name.as_ref()
    }

    /// Gateways of the routes of HAVIPs on it.
    pub fn route_gateways(&self, index: TepIndex) -> RouteGateways {
        self.route_gateways.get(&index).copied().unwrap_or_default()
    }

    /// Gives it these gateways.
    pub fn set_route_gateways(&mut self, index: TepIndex, gateways: RouteGateways) {
        match gateways {
            (None, None) => self.route_gateways.remove(&index),
            gateways => self.route_gateways.insert(index, gateways),
        };
    }

    /// Of how many domains it is a member.
    pub fn domains(&self, index: TepIndex) -> u32 {
        self.domains.get(index.index()).copied().unwrap_or(0)
    }

    pub fn iter(&self) -> impl Iterator<Item = Tep> {
        self.by_address.keys().copied()
    }

    fn entry(&self, index: TepIndex) -> Option<&Entry> {
        self.entries.get(index.index())?.as_ref()
    }

    /// Registers a TEP, or gives it this name. Returns the index of a new one; `None` also where there is no room,
    /// which staging has made sure of.
    pub fn set(&mut self, tep: Tep, name: Option<Name>) -> Option<TepIndex> {
        match self.index(tep) {
            Some(index) => {
                self.rename(index, name);
                None
            }
            None => self.add(tep, name),
        }
    }

    fn rename(&mut self, index: TepIndex, name: Option<Name>) {
        let Some(Some(entry)) = self.entries.get_mut(index.index()) else { return };
        let old = std::mem::replace(&mut entry.name, name.clone());
        self.forget_name(old, index);
        if let Some(name) = name {
            self.by_name.insert(name, index);
        }
    }

    /// A name that moves to another TEP within one revision may be that one's already.
    fn forget_name(&mut self, name: Option<Name>, index: TepIndex) {
        if let Some(name) = name
            && self.by_name.get(&name) == Some(&index)
        {
            self.by_name.remove(&name);
        }
    }

    fn add(&mut self, tep: Tep, name: Option<Name>) -> Option<TepIndex> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = TepIndex::new(u32::try_from(self.entries.len()).ok()?).ok()?;
                self.entries.push(None);
                self.domains.push(0);
                index
            }
        };
        if let Some(name) = name.clone() {
            self.by_name.insert(name, index);
        }
        self.by_address.insert(tep, index);
        *self.entries.get_mut(index.index())? = Some(Entry { address: tep, name });
        Some(index)
    }

    /// Takes a TEP out. Its index stays taken until it is [let go](Teps::let_go) and free again.
    pub fn remove(&mut self, tep: Tep) -> Option<TepIndex> {
        let index = self.by_address.remove(&tep)?;
        let entry = self.entries.get_mut(index.index())?.take();
        self.route_gateways.remove(&index);
        self.forget_name(entry.and_then(|e| e.name), index);
        Some(index)
    }

    /// From `epoch` on no worker meets these indices.
    pub fn let_go(&mut self, epoch: Epoch, indices: Vec<TepIndex>) {
        self.leaving.extend(indices.into_iter().map(|index| (epoch, index)));
    }

    /// Frees the indices that no worker can meet any more.
    pub fn reclaim(&mut self, grace: &Grace) {
        while let Some(&(epoch, index)) = self.leaving.front()
            && grace.passed(epoch)
        {
            self.leaving.pop_front();
            self.free.push(index);
        }
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
