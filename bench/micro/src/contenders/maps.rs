//! Maps that are there to be taken.

use std::sync::{Arc, PoisonError, RwLock};

use dashmap::DashMap;
use hashbrown::{DefaultHashBuilder, HashMap};
use left_right::{Absorb, ReadHandle, WriteHandle};

use super::{Found, Read, Sides, Write, each};
use crate::work::{BURST, List};

/// A list that one map owns.
type Owned = Box<[u32]>;
/// A list that several maps share.
type Shared = Arc<[u32]>;

fn members(list: &List) -> [u32; crate::work::MEMBERS] {
    list.map(|member| member.get())
}

// papaya: lock-free, pinned once per burst.

struct Papaya(Arc<papaya::HashMap<u32, Owned, DefaultHashBuilder>>);

pub(super) fn papaya(domains: u32) -> Sides {
    let map = papaya::HashMap::with_capacity_and_hasher(domains as usize, DefaultHashBuilder::default());
    let map = Arc::new(map);
    (Box::new(Papaya(Arc::clone(&map))), Box::new(Papaya(map)))
}

impl Write for Papaya {
    fn set(&mut self, vni: u32, list: &List) {
        self.0.pin().insert(vni, Owned::from(members(list)));
    }

    fn remove(&mut self, vni: u32) {
        self.0.pin().remove(&vni);
    }

    /// Changes are visible already, and papaya frees in passing.
    fn publish(&mut self) {}
}

impl Read for Papaya {
    fn burst(&mut self, vnis: &[u32; BURST], found: &mut Found) {
        let map = self.0.pin();
        each(vnis, found, |vni| map.get(&vni).map(|list| list[0]));
    }
}

// DashMap: a lock per shard, taken once per lookup.

struct Dash(Arc<DashMap<u32, Owned, DefaultHashBuilder>>);

pub(super) fn dashmap(domains: u32) -> Sides {
    let map = DashMap::with_capacity_and_hasher(domains as usize, DefaultHashBuilder::default());
    let map = Arc::new(map);
    (Box::new(Dash(Arc::clone(&map))), Box::new(Dash(map)))
}

impl Write for Dash {
    fn set(&mut self, vni: u32, list: &List) {
        self.0.insert(vni, Owned::from(members(list)));
    }

    fn remove(&mut self, vni: u32) {
        self.0.remove(&vni);
    }

    /// Changes are visible already, and there is nothing to free.
    fn publish(&mut self) {}
}

impl Read for Dash {
    fn burst(&mut self, vnis: &[u32; BURST], found: &mut Found) {
        each(vnis, found, |vni| self.0.get(&vni).map(|list| list[0]));
    }
}

// hashbrown behind one lock, which readers take once per burst and the writer once per change.

struct Locked(Arc<RwLock<HashMap<u32, Owned>>>);

pub(super) fn locked(domains: u32) -> Sides {
    let map = Arc::new(RwLock::new(HashMap::with_capacity(domains as usize)));
    (Box::new(Locked(Arc::clone(&map))), Box::new(Locked(map)))
}

impl Write for Locked {
    fn set(&mut self, vni: u32, list: &List) {
        let list = Owned::from(members(list));
        // The old list is freed after the lock is.
        drop(self.0.write().unwrap_or_else(PoisonError::into_inner).insert(vni, list));
    }

    fn remove(&mut self, vni: u32) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(&vni);
    }

    /// Changes are visible already, and there is nothing to free.
    fn publish(&mut self) {}
}

impl Read for Locked {
    fn burst(&mut self, vnis: &[u32; BURST], found: &mut Found) {
        let map = self.0.read().unwrap_or_else(PoisonError::into_inner);
        each(vnis, found, |vni| map.get(&vni).map(|list| list[0]));
    }
}

// hashbrown without a lock on the map: each lot of changes makes another map, lists shared, and swaps it in.

type Map = HashMap<u32, Shared>;
type Current = Arc<RwLock<Arc<Map>>>;

struct SwappedWriter {
    current: Current,
    changes: Vec<(u32, Option<Shared>)>,
}

struct SwappedReader(Current);

pub(super) fn swapped(_domains: u32) -> Sides {
    let current = Current::default();
    let writer = SwappedWriter { current: Arc::clone(&current), changes: Vec::new() };
    (Box::new(writer), Box::new(SwappedReader(current)))
}

impl Write for SwappedWriter {
    fn set(&mut self, vni: u32, list: &List) {
        self.changes.push((vni, Some(Shared::from(members(list)))));
    }

    fn remove(&mut self, vni: u32) {
        self.changes.push((vni, None));
    }

    fn publish(&mut self) {
        let current = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        let mut next = Map::clone(&current);
        for (vni, list) in self.changes.drain(..) {
            match list {
                Some(list) => next.insert(vni, list),
                None => next.remove(&vni),
            };
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        // `current` ends here, and its map with it, unless the reader has it still: then it ends there.
    }
}

impl Read for SwappedReader {
    fn burst(&mut self, vnis: &[u32; BURST], found: &mut Found) {
        let map = Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner));
        each(vnis, found, |vni| map.get(&vni).map(|list| list[0]));
    }
}

// left-right: two maps, each change made to both, readers on one of them.

#[derive(Clone, Default)]
struct Side(Map);

enum Change {
    Set(u32, Shared),
    Remove(u32),
}

impl Absorb<Change> for Side {
    fn absorb_first(&mut self, change: &mut Change, _other: &Self) {
        match change {
            Change::Set(vni, list) => drop(self.0.insert(*vni, Arc::clone(list))),
            Change::Remove(vni) => drop(self.0.remove(vni)),
        }
    }

    fn absorb_second(&mut self, change: Change, _other: &Self) {
        match change {
            Change::Set(vni, list) => drop(self.0.insert(vni, list)),
            Change::Remove(vni) => drop(self.0.remove(&vni)),
        }
    }

    fn sync_with(&mut self, first: &Self) {
        self.clone_from(first);
    }
}

struct LeftWriter(WriteHandle<Side, Change>);
struct RightReader(ReadHandle<Side>);

pub(super) fn left_right(domains: u32) -> Sides {
    let (writer, reader) = left_right::new_from_empty(Side(Map::with_capacity(domains as usize)));
    (Box::new(LeftWriter(writer)), Box::new(RightReader(reader)))
}

impl Write for LeftWriter {
    fn set(&mut self, vni: u32, list: &List) {
        self.0.append(Change::Set(vni, Shared::from(members(list))));
    }

    fn remove(&mut self, vni: u32) {
        self.0.append(Change::Remove(vni));
    }

    fn publish(&mut self) {
        self.0.publish();
    }
}

impl Read for RightReader {
    fn burst(&mut self, vnis: &[u32; BURST], found: &mut Found) {
        // There is no map any more once the writer is gone.
        match self.0.enter() {
            Some(side) => each(vnis, found, |vni| side.0.get(&vni).map(|list| list[0])),
            None => *found = [None; BURST],
        }
    }
}
