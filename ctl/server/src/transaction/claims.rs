//! Keys that at most one owner may have at the end of a request: names, addresses, EIPs.

use std::hash::Hash;

use super::write_set::{Prepare, WriteSet};

/// Owners by key. Within a request a key may have several: the last one that took it counts.
#[derive(Debug)]
pub(super) struct Claims<K, O>(WriteSet<K, Vec<(O, usize)>>);

/// A key that two owners have at the end of a request.
pub(super) struct Conflict<K, O> {
    pub key: K,
    pub holder: O,
    /// Number of the change that took the key last.
    pub position: usize,
}

impl<K, O> Default for Claims<K, O> {
    fn default() -> Self {
        Self(WriteSet::default())
    }
}

impl<K: Hash + Eq + Clone, O: Clone + PartialEq> Claims<K, O> {
    /// The owner; `base` is the state's.
    pub fn get(&self, key: &K, base: impl FnOnce() -> Option<O>) -> Option<O> {
        match self.0.get(key) {
            Some(owners) => owners.last().map(|(owner, _)| owner.clone()),
            None => base(),
        }
    }

    /// A change takes a key for an owner.
    pub fn take(&mut self, key: &K, owner: O, position: usize, base: impl FnOnce() -> Option<O>) {
        let owners = self.owners(key, base);
        owners.retain(|(other, _)| *other != owner);
        owners.push((owner, position));
    }

    /// An owner lets a key go.
    pub fn release(&mut self, key: &K, owner: &O, base: impl FnOnce() -> Option<O>) {
        self.owners(key, base).retain(|(other, _)| other != owner);
    }

    fn owners(&mut self, key: &K, base: impl FnOnce() -> Option<O>) -> &mut Vec<(O, usize)> {
        self.0.edit(key.clone(), || base().into_iter().map(|owner| (owner, 0)).collect())
    }

    /// The conflict of the first change that has one.
    pub fn conflict(&self) -> Option<Conflict<K, O>> {
        let conflict = |(key, _, owners): (&K, _, &Vec<(O, usize)>)| {
            let [.., (holder, _), (_, position)] = owners.as_slice() else { return None };
            Some(Conflict { key: key.clone(), holder: holder.clone(), position: *position })
        };
        self.0.touched().filter_map(conflict).min_by_key(|conflict| conflict.position)
    }
}

impl<K: Hash + Eq + Clone, O: Clone> Prepare for Claims<K, O> {
    fn end(&mut self, keep: bool) {
        self.0.end(keep);
    }
}
