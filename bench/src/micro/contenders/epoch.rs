//! The same slots as bcast's, with crossbeam-epoch to protect the lists: what the way of reclaiming costs by itself.
//!
//! The one module of this crate with unsafe code: crossbeam-epoch's pointers have no safe way to be read.
#![allow(unsafe_code)]

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crossbeam::epoch::{self, Atomic, Guard, Owned};

use super::super::work::{BURST, List, MEMBERS};
use super::{Found, Read, Sides, Write};

/// One lookup after the other, pinned once for a burst.
pub(super) fn table(domains: u32) -> Sides {
    let table = Arc::new(Table::new(domains));
    (Box::new(Writer(Arc::clone(&table))), Box::new(OneByOne(table)))
}

const USED: u64 = 1 << 32;

#[derive(Default)]
struct Slot {
    /// Zero, or `USED | vni` from then on.
    key: AtomicU64,
    /// Null for a domain that was removed.
    list: Atomic<[u32; MEMBERS]>,
}

/// Half full when all domains are there; it does not grow.
struct Table(Box<[Slot]>);

impl Table {
    fn new(domains: u32) -> Self {
        let capacity = (domains as usize * 2).next_power_of_two().max(64);
        Self((0..capacity).map(|_| Slot::default()).collect())
    }

    #[inline(always)]
    fn start(&self, vni: u32) -> usize {
        let mut hash = vni;
        hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
        hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
        (hash ^ (hash >> 16)) as usize & (self.0.len() - 1)
    }

    /// The slot of a key, or the empty one where it would go; and whether it is there.
    #[inline(always)]
    fn slot(&self, vni: u32) -> (&Slot, bool) {
        let wanted = USED | u64::from(vni);
        let mut at = self.start(vni);
        loop {
            let slot = &self.0[at];
            match slot.key.load(Ordering::Relaxed) {
                key if key == wanted => return (slot, true),
                0 => return (slot, false),
                _ => at = (at + 1) & (self.0.len() - 1),
            }
        }
    }

    #[inline(always)]
    fn list<'g>(&self, vni: u32, guard: &'g Guard) -> Option<&'g [u32; MEMBERS]> {
        let (slot, there) = self.slot(vni);
        let list = if there { slot.list.load(Ordering::Acquire, guard) } else { return None };
        // SAFETY: loaded while pinned. The writer unlinks a list before it defers its end to when all pins of now are
        // gone.
        unsafe { list.as_ref() }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        for slot in &mut self.0 {
            let list = std::mem::replace(&mut slot.list, Atomic::null());
            // SAFETY: reader and writer are gone, so this is the one pointer to the list.
            drop(unsafe { list.try_into_owned() });
        }
    }
}

struct Writer(Arc<Table>);

impl Writer {
    fn swap(slot: &Slot, list: Option<Owned<[u32; MEMBERS]>>) {
        let guard = epoch::pin();
        let old = match list {
            Some(list) => slot.list.swap(list, Ordering::AcqRel, &guard),
            None => slot.list.swap(epoch::Shared::null(), Ordering::AcqRel, &guard),
        };
        if !old.is_null() {
            // SAFETY: just unlinked by the one writer, so nobody finds it from now on, and it is deferred once.
            unsafe { guard.defer_destroy(old) };
        }
    }
}

impl Write for Writer {
    fn set(&mut self, vni: u32, list: &List) {
        let (slot, there) = self.0.slot(vni);
        Self::swap(slot, Some(Owned::new(list.map(|member| member.get()))));
        if !there {
            slot.key.store(USED | u64::from(vni), Ordering::Relaxed);
        }
    }

    fn remove(&mut self, vni: u32) {
        if let (slot, true) = self.0.slot(vni) {
            Self::swap(slot, None);
        }
    }

    /// Changes are visible already, and crossbeam-epoch frees in passing.
    fn publish(&mut self) {}
}

struct OneByOne(Arc<Table>);

impl Read for OneByOne {
    fn burst(&mut self, vnis: &[u32; BURST], found: &mut Found) {
        let guard = epoch::pin();
        for (found, &vni) in found.iter_mut().zip(vnis) {
            *found = self.0.list(vni, &guard).map(|list| list[0]);
        }
    }
}
