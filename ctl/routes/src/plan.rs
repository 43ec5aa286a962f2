//! Desired routes, kept up to date change by change.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use bcast_domain::Tep;
use ctl_api::model::Name;

use crate::config::RoutesConfig;
use crate::route::{Gateways, Hop, Key, OnLink, Virtual, Why, asks, routes};

/// A route that shall be, or the reason why it cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// HAVIP of the route.
    pub havip: Name,
    /// The generation of its binding.
    pub generation: u64,
    /// Next hop.
    pub hop: Result<Hop, Why>,
}

/// All HAVIPs and TEPs, and the routes that follow from them.
///
/// At all times it is what [`routes`] says of each HAVIP, but only what a change touches is computed anew.
#[derive(Debug)]
pub struct Plan {
    config: RoutesConfig,
    havips: HashMap<Name, Virtual>,
    /// The gateways of those TEPs that have any.
    teps: HashMap<Tep, Gateways>,
    /// HAVIPs by the TEP of their holder.
    held: HashMap<Tep, BTreeSet<Name>>,
    wanted: HashMap<Key, Wanted>,
    /// HAVIPs whose routes must be computed anew.
    dirty: HashSet<Name>,
    /// Routes of HAVIPs that changed, as they were.
    left: HashMap<Key, Name>,
}

impl Plan {
    /// Nothing yet.
    #[must_use]
    pub fn new(config: RoutesConfig) -> Self {
        Self {
            config,
            havips: HashMap::new(),
            teps: HashMap::new(),
            held: HashMap::new(),
            wanted: HashMap::new(),
            dirty: HashSet::new(),
            left: HashMap::new(),
        }
    }

    /// A HAVIP is so now, or (`None`) gone.
    pub fn set_havip(&mut self, name: Name, havip: Option<Virtual>) {
        let before = match havip {
            Some(havip) => self.havips.insert(name.clone(), havip),
            None => self.havips.remove(&name),
        };
        if before == havip {
            return;
        }
        if let Some(before) = before {
            for key in crate::route::keys(&before, &self.config) {
                self.left.insert(key, name.clone());
            }
        }
        let [was, is] = [before, havip].map(|havip| havip.and_then(|havip| havip.holder));
        if was != is {
            if let Some(Entry::Occupied(mut held)) = was.map(|tep| self.held.entry(tep)) {
                held.get_mut().remove(&name);
                if held.get().is_empty() {
                    held.remove();
                }
            }
            if let Some(tep) = is {
                self.held.entry(tep).or_default().insert(name.clone());
            }
        }
        self.dirty.insert(name);
    }

    /// A TEP is reached by these gateways now.
    pub fn set_tep(&mut self, tep: Tep, gateways: Gateways) {
        let before = match gateways == Gateways::default() {
            true => self.teps.remove(&tep),
            false => self.teps.insert(tep, gateways),
        };
        if before.unwrap_or_default() != gateways {
            self.dirty.extend(self.held.get(&tep).into_iter().flatten().cloned());
        }
    }

    /// On-link is what it was not, or the other way round.
    pub fn links_changed(&mut self) {
        self.dirty.extend(self.havips.keys().cloned());
    }

    /// The addresses about which [`Self::settle`] must be told: those of HAVIPs that changed, or of all.
    #[must_use]
    pub fn asks(&self, all: bool) -> HashSet<IpAddr> {
        let teps: HashSet<Tep> = if all {
            self.held.keys().copied().collect()
        } else {
            let changed = self.dirty.iter().filter_map(|name| self.havips.get(name));
            changed.filter_map(|havip| havip.holder).collect()
        };
        teps.into_iter().flat_map(|tep| asks(tep, self.gateways(tep))).collect()
    }

    /// Computes anew what changed; returns the places of routes that may not be what they were.
    pub fn settle(&mut self, on_link: &OnLink) -> BTreeSet<Key> {
        let mut touched = BTreeSet::new();
        // First what is left, then what is new: an address may have gone from one HAVIP to another.
        for (key, name) in std::mem::take(&mut self.left) {
            if self.wanted.get(&key).is_some_and(|wanted| wanted.havip == name) {
                self.wanted.remove(&key);
                touched.insert(key);
            }
        }
        for name in std::mem::take(&mut self.dirty) {
            let Some(havip) = self.havips.get(&name) else { continue };
            let gateways = havip.holder.map(|tep| self.gateways(tep)).unwrap_or_default();
            for (key, hop) in routes(havip, gateways, &self.config, on_link) {
                let wanted = Wanted { havip: name.clone(), generation: havip.generation, hop };
                self.wanted.insert(key, wanted);
                touched.insert(key);
            }
        }
        touched
    }

    /// The route that shall be there.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Wanted> {
        self.wanted.get(key)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, &Wanted)> {
        self.wanted.iter()
    }

    fn gateways(&self, tep: Tep) -> Gateways {
        self.teps.get(&tep).copied().unwrap_or_default()
    }
}
