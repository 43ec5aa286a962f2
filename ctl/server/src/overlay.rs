//! What was staged over a state that stays as it is, and how to take a request's part of it back.

use std::hash::Hash;

use hashbrown::HashMap;

/// Values that differ from the base, by key; each request is kept or taken back as a whole.
#[derive(Debug)]
pub(crate) struct Overlay<K, V> {
    /// Each value with the request that touched it last.
    staged: HashMap<K, (u32, V)>,
    /// What the request under way found before it touched it; `None`: the base.
    journal: Vec<(K, Option<(u32, V)>)>,
    request: u32,
}

impl<K, V> Default for Overlay<K, V> {
    fn default() -> Self {
        Self { staged: HashMap::new(), journal: Vec::new(), request: 0 }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Overlay<K, V> {
    /// The staged value; `None`: it is the base's.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.staged.get(key).map(|(_, value)| value)
    }

    /// All that is staged, in any order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.staged.iter().map(|(key, (_, value))| (key, value))
    }

    /// The value to be changed by the request under way, out of the base where nothing is staged.
    pub fn edit(&mut self, key: K, base: impl FnOnce() -> V) -> &mut V {
        let request = self.request;
        let journal = &mut self.journal;
        let entry = self.staged.entry(key);
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

    /// What the request under way touched, in the order of first touch, each with the value staged before it.
    pub fn touched(&self) -> impl Iterator<Item = (&K, Option<&V>, &V)> {
        self.journal.iter().filter_map(|(key, before)| {
            let now = self.get(key)?;
            Some((key, before.as_ref().map(|(_, value)| value), now))
        })
    }

    /// Ends the request and keeps what it did.
    pub fn keep(&mut self) {
        self.journal.clear();
        self.request += 1;
    }

    /// Ends the request and takes back what it did.
    pub fn take_back(&mut self) {
        for (key, before) in self.journal.drain(..).rev() {
            match before {
                Some(before) => self.staged.insert(key, before),
                None => self.staged.remove(&key),
            };
        }
        self.request += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_back_as_a_whole_and_those_before_it_stay() {
        let mut overlay = Overlay::default();
        *overlay.edit("a", || 1) += 10;
        overlay.keep();
        *overlay.edit("a", || 0) += 100;
        *overlay.edit("a", || 0) += 100;
        *overlay.edit("b", || 2) += 10;
        let touched: Vec<_> = overlay.touched().map(|(k, before, now)| (*k, before.copied(), *now)).collect();
        assert_eq!(touched, [("a", Some(11), 211), ("b", None, 12)]);
        overlay.take_back();
        assert_eq!((overlay.get(&"a"), overlay.get(&"b")), (Some(&11), None));
        assert_eq!(overlay.touched().count(), 0);
    }
}
