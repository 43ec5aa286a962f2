//! Changes prepared over a state that stays as it is; a request's part of them can be taken back.

use std::hash::Hash;

use hashbrown::HashMap;

/// Values that differ from the base, by key; each request is kept or taken back as a whole.
#[derive(Debug)]
pub(crate) struct WriteSet<K, V> {
    /// Each value with the request that touched it last.
    prepared: HashMap<K, (u32, V)>,
    /// State before the request under way; `None`: the base.
    journal: Vec<(K, Option<(u32, V)>)>,
    request: u32,
}

impl<K, V> Default for WriteSet<K, V> {
    fn default() -> Self {
        Self { prepared: HashMap::new(), journal: Vec::new(), request: 0 }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> WriteSet<K, V> {
    /// The prepared value; `None`: it is the base's.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.prepared.get(key).map(|(_, value)| value)
    }

    /// All that is prepared, in any order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.prepared.iter().map(|(key, (_, value))| (key, value))
    }

    /// The value to be changed by the request under way, out of the base where nothing is prepared.
    pub fn edit(&mut self, key: K, base: impl FnOnce() -> V) -> &mut V {
        let request = self.request;
        let journal = &mut self.journal;
        let entry = self.prepared.entry(key);
        let (touched, value) = match entry {
            hashbrown::hash_map::Entry::Occupied(entry) => {
                if entry.get().0 != request {
                    journal.push((entry.key().clone(), Some(entry.get().clone())));
                }
                entry.into_mut()
            }
            hashbrown::hash_map::Entry::Vacant(entry) => {
                journal.push((entry.key().clone(), None));
                entry.insert((request, base()))
            }
        };
        *touched = request;
        value
    }

    /// Entries that the request under way touched, in the order of first touch, each with the value prepared before it.
    pub fn touched(&self) -> impl Iterator<Item = (&K, Option<&V>, &V)> {
        self.journal.iter().filter_map(|(key, before)| {
            let now = self.get(key)?;
            Some((key, before.as_ref().map(|(_, value)| value), now))
        })
    }
}

/// State to which a request can be taken back.
pub(super) trait Prepare {
    /// Ends the request; what it did is kept or taken back.
    fn end(&mut self, keep: bool);
}

impl<K: Hash + Eq + Clone, V: Clone> Prepare for WriteSet<K, V> {
    fn end(&mut self, keep: bool) {
        self.request += 1;
        if keep {
            return self.journal.clear();
        }
        for (key, before) in self.journal.drain(..).rev() {
            match before {
                Some(before) => self.prepared.insert(key, before),
                None => self.prepared.remove(&key),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_back_as_a_whole_and_those_before_it_stay() {
        let mut write_set = WriteSet::default();
        *write_set.edit("a", || 1) += 10;
        write_set.end(true);
        *write_set.edit("a", || 0) += 100;
        *write_set.edit("a", || 0) += 100;
        *write_set.edit("b", || 2) += 10;
        let touched: Vec<_> =
            write_set.touched().map(|(k, before, now)| (*k, before.copied(), *now)).collect();
        assert_eq!(touched, [("a", Some(11), 211), ("b", None, 12)]);
        write_set.end(false);
        assert_eq!((write_set.get(&"a"), write_set.get(&"b")), (Some(&11), None));
        assert_eq!(write_set.touched().count(), 0);
    }
}
