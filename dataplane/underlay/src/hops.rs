//! Next hops of all TEPs: pure state, without the kernel and without a clock.
//!
//! ```text
//! TEP added ──▶ stale ──lookup──▶ routed by a hop ──first TEP of the hop──▶ to ask ──▶ MAC known
//!                 ▲                    │                                      ▲            │
//!   route changed ┘                    └─last TEP of the hop gone─▶ to forget └── entry gone
//! ```
//!
//! The state is fed with answers and notifications of the kernel, and gives out the questions to the kernel. Each question
//! waits in a set or is a mark on its TEP, so that all of them together are bounded by the TEPs, however slow the kernel is.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use bcast_domain::{Tep, TepIndex};
use wire::MacAddr;

/// Route of a TEP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The gateway, or the TEP itself where it is on-link. An IPv6 gateway is one of RFC 8950.
    pub hop: IpAddr,
    /// The route uses a next hop object: it may lead elsewhere without a route notification.
    pub by_object: bool,
}

/// TEPs whose routes may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stale {
    /// All of them.
    All,
    /// Routes within a prefix: address, bits.
    Prefix(Ipv4Addr, u8),
    /// Routes that use next hop objects.
    ByObject,
}

/// A registered TEP.
struct Entry {
    tep: Tep,
    route: Option<Route>,
    /// The route is to be looked up; the TEP's index is in the queue.
    queued: bool,
    /// The route was looked up since the TEP was added.
    looked_up: bool,
}

/// A neighbour as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// MAC address; `None`: unresolved.
    pub mac: Option<MacAddr>,
    /// The kernel keeps it by itself (`managed`), or it is the operator's (`permanent`, `noarp`).
    pub is_kept: bool,
}

/// A next hop.
#[derive(Default)]
struct Hop {
    mac: Option<MacAddr>,
    /// TEPs that are reached by it.
    teps: usize,
    /// The kernel has an entry for it at the daemon's request. An operator's own (`ip neigh add ... lladdr`) is left alone.
    asked: bool,
}

/// Next hops of all TEPs.
#[derive(Default)]
pub struct Hops {
    /// MAC address of every next hop; without it next hops are the kernel's.
    fixed: Option<MacAddr>,
    /// TEPs by index.
    teps: Vec<Option<Entry>>,
    by_address: BTreeMap<Ipv4Addr, usize>,
    hops: HashMap<IpAddr, Hop>,
    /// Indices of TEPs whose routes were never looked up.
    fresh: VecDeque<usize>,
    /// Indices of other TEPs whose routes are to be looked up.
    stale: VecDeque<usize>,
    /// TEPs whose routes are to be looked up. The queues may hold more: marks of TEPs that are gone.
    queued: usize,
    /// TEPs whose route was never looked up.
    new: usize,
    to_ask: HashSet<IpAddr>,
    to_forget: HashSet<IpAddr>,
    /// Something changed that workers have to see.
    changed: bool,
}

impl Hops {
    /// No TEPs. `fixed`: the MAC address of every next hop.
    pub fn new(fixed: Option<MacAddr>) -> Self {
        Self { fixed, ..Self::default() }
    }

    /// Adds a TEP.
    pub fn add(&mut self, index: TepIndex, tep: Tep) {
        let place = index.index();
        if self.teps.len() <= place {
            self.teps.resize_with(place + 1, || None);
        }
        self.remove(index);
        let looked_up = self.fixed.is_some();
        self.teps[place] = Some(Entry { tep, route: None, queued: false, looked_up });
        self.by_address.insert(tep.address(), place);
        self.new += usize::from(!looked_up);
        self.queue(place);
        self.changed = true;
    }

    /// Removes marks of TEPs that are gone from the queues, where they have become many.
    fn tidy(&mut self) {
        if self.fresh.len() + self.stale.len() > 2 * self.teps.len() + 64 {
            let mut seen = HashSet::new();
            let teps = &self.teps;
            let mut keep =
                |&place: &usize| teps[place].as_ref().is_some_and(|tep| tep.queued) && seen.insert(place);
            self.fresh.retain(&mut keep);
            self.stale.retain(keep);
        }
    }

    /// Removes a TEP.
    pub fn remove(&mut self, index: TepIndex) {
        let place = index.index();
        let Some(entry) = self.teps.get_mut(place).and_then(Option::take) else { return };
        if self.by_address.get(&entry.tep.address()) == Some(&place) {
            self.by_address.remove(&entry.tep.address());
        }
        self.new -= usize::from(!entry.looked_up);
        self.queued -= usize::from(entry.queued);
        self.release(entry.route);
        self.changed = true;
    }

    /// Marks TEPs whose routes are to be looked up again.
    pub fn mark(&mut self, which: Stale) {
        match which {
            // All are marked already.
            Stale::All if self.queued == self.by_address.len() => {}
            Stale::All => (0..self.teps.len()).for_each(|place| self.queue(place)),
            Stale::Prefix(address, bits) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
                let first = Ipv4Addr::from_bits(address.to_bits() & mask);
                let last = Ipv4Addr::from_bits(address.to_bits() | !mask);
                let within: Vec<usize> =
                    self.by_address.range(first..=last).map(|(_, &place)| place).collect();
                within.into_iter().for_each(|place| self.queue(place));
            }
            Stale::ByObject => {
                let by_object = |entry: &Option<Entry>| {
                    entry.as_ref().and_then(|entry| entry.route).is_some_and(|route| route.by_object)
                };
                let places = self.teps.iter().enumerate().filter(|(_, entry)| by_object(entry));
                let places: Vec<usize> = places.map(|(place, _)| place).collect();
                places.into_iter().for_each(|place| self.queue(place));
            }
        }
    }

    /// Marks TEPs without a route to be looked up, and next hops without a MAC address to be asked for.
    pub fn mark_unresolved(&mut self) {
        for place in 0..self.teps.len() {
            if self.teps[place].as_ref().is_some_and(|entry| entry.route.is_none()) {
                self.queue(place);
            }
        }
        let unresolved = self.hops.iter().filter(|(_, hop)| hop.mac.is_none()).map(|(&address, _)| address);
        self.to_ask.extend(unresolved);
    }

    fn queue(&mut self, place: usize) {
        if self.fixed.is_none()
            && let Some(Some(entry)) = self.teps.get_mut(place)
            && !entry.queued
        {
            entry.queued = true;
            self.queued += 1;
            let queue = if entry.looked_up { &mut self.stale } else { &mut self.fresh };
            queue.push_back(place);
            self.tidy();
        }
    }

    /// Takes at most `most` TEPs whose routes are to be looked up, new ones first, or new ones only; each is then
    /// [routed](Self::routed) or [put back](Self::put_back).
    pub fn take(&mut self, most: usize, only_new: bool) -> Vec<Tep> {
        let mut taken = Vec::new();
        while taken.len() < most {
            let place =
                self.fresh.pop_front().or_else(|| if only_new { None } else { self.stale.pop_front() });
            let Some(place) = place else { break };
            // Otherwise it is the mark of a TEP that is gone.
            if let Some(Some(entry)) = self.teps.get_mut(place)
                && entry.queued
            {
                entry.queued = false;
                self.queued -= 1;
                taken.push(entry.tep);
            }
        }
        taken
    }

    /// Marks a TEP again whose lookup failed.
    pub fn put_back(&mut self, tep: Tep) {
        if let Some(&place) = self.by_address.get(&tep.address()) {
            self.queue(place);
        }
    }

    /// Takes in a TEP's route; `None`: there is none.
    pub fn routed(&mut self, tep: Tep, route: Option<Route>) {
        let Some(&place) = self.by_address.get(&tep.address()) else { return };
        let Some(Some(entry)) = self.teps.get_mut(place) else { return };
        if !entry.looked_up {
            entry.looked_up = true;
            self.new -= 1;
        }
        let old = std::mem::replace(&mut entry.route, route);
        if old.map(|route| route.hop) == route.map(|route| route.hop) {
            return;
        }
        self.changed = true;
        if let Some(Route { hop, .. }) = route {
            let known = self.hops.entry(hop).or_default();
            known.teps += 1;
            if known.teps == 1 {
                self.to_ask.insert(hop);
                // The kernel still has the entry that it was asked for before.
                known.asked = self.to_forget.remove(&hop);
            }
        }
        self.release(old);
    }

    /// One TEP less is reached by a hop; the last one takes along the kernel's entry that was asked for.
    fn release(&mut self, route: Option<Route>) {
        let Some(Route { hop: address, .. }) = route else { return };
        let Some(hop) = self.hops.get_mut(&address) else { return };
        hop.teps -= 1;
        if hop.teps == 0 {
            if hop.asked {
                self.to_forget.insert(address);
            }
            self.hops.remove(&address);
            self.to_ask.remove(&address);
        }
    }

    /// Takes at most `most` next hops that the kernel is to resolve.
    pub fn take_to_ask(&mut self, most: usize) -> Vec<IpAddr> {
        take(&mut self.to_ask, most)
    }

    /// Takes at most `most` next hops that the kernel may forget.
    pub fn take_to_forget(&mut self, most: usize) -> Vec<IpAddr> {
        take(&mut self.to_forget, most)
    }

    /// Marks a next hop again that the kernel was not asked for.
    pub fn ask_again(&mut self, hop: IpAddr) {
        if self.hops.contains_key(&hop) {
            self.to_ask.insert(hop);
        }
    }

    /// The kernel keeps an entry for a next hop at the daemon's request.
    pub fn asked(&mut self, hop: IpAddr) {
        match self.hops.get_mut(&hop) {
            Some(hop) => hop.asked = true,
            // Its last TEP has gone meanwhile.
            None => _ = self.to_forget.insert(hop),
        }
    }

    /// Takes in a next hop's MAC address; `None`: unresolved.
    pub fn resolved(&mut self, address: IpAddr, mac: Option<MacAddr>) {
        if let Some(hop) = self.hops.get_mut(&address)
            && hop.mac != mac
        {
            let shown = mac.map_or_else(|| "unresolved".to_owned(), |mac| mac.to_string());
            tracing::info!(next_hop = %address, mac = shown, "next hop changed");
            hop.mac = mac;
            self.changed = true;
        }
    }

    /// The kernel's entry for a next hop is gone: it is unresolved, and is to be asked for again.
    pub fn vanished(&mut self, address: IpAddr) {
        self.resolved(address, None);
        self.ask_again(address);
    }

    /// Takes in all neighbours that the kernel has. A next hop that is not among them has vanished; one that the kernel does not
    /// keep any more is to be asked for again: else a MAC address that changes would not be noticed.
    pub fn neighbours(&mut self, all: &HashMap<IpAddr, Neighbour>) {
        let known: Vec<IpAddr> = self.hops.keys().copied().collect();
        for address in known {
            match all.get(&address) {
                Some(neighbour) => {
                    self.resolved(address, neighbour.mac);
                    if !neighbour.is_kept {
                        self.ask_again(address);
                    }
                }
                None => self.vanished(address),
            }
        }
    }

    /// Number of TEPs.
    pub fn teps(&self) -> usize {
        self.by_address.len()
    }

    /// Number of next hops.
    pub fn len(&self) -> usize {
        self.hops.len()
    }

    /// There is something to ask the kernel at once: routes of new TEPs, next hops.
    pub fn has_work(&self) -> bool {
        !self.fresh.is_empty() || !self.to_ask.is_empty() || !self.to_forget.is_empty()
    }

    /// There are routes to be looked up again.
    pub fn has_stale(&self) -> bool {
        !self.stale.is_empty()
    }

    /// Every TEP's route was looked up at least once, and every next hop was asked for.
    pub fn is_settled(&self) -> bool {
        self.new == 0 && self.to_ask.is_empty()
    }

    /// Something changed that workers have to see.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// Each TEP with its next hop, and the next hop's MAC address, by index. Workers are about to see it.
    pub fn publish(&mut self) -> Vec<Option<Published>> {
        self.changed = false;
        let published = |entry: &Entry| Published {
            tep: entry.tep,
            gateway: match self.fixed {
                Some(_) => Some(entry.tep.address().into()),
                None => entry.route.map(|route| route.hop),
            },
            mac: self.fixed.or_else(|| self.hops.get(&entry.route?.hop)?.mac),
        };
        self.teps.iter().map(|entry| entry.as_ref().map(published)).collect()
    }
}

/// A TEP as workers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The TEP.
    pub tep: Tep,
    /// Next hop; `None`: there is no route.
    pub gateway: Option<IpAddr>,
    /// The next hop's MAC address; `None`: unresolved.
    pub mac: Option<MacAddr>,
}

fn take(set: &mut HashSet<IpAddr>, most: usize) -> Vec<IpAddr> {
    let taken: Vec<IpAddr> = set.iter().take(most).copied().collect();
    taken.iter().for_each(|hop| _ = set.remove(hop));
    taken
}

#[cfg(test)]
mod tests;
