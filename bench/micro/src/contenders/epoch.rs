//! The same slots as bcast's, with crossbeam-epoch to protect the lists: what the way of reclaiming costs by itself.
//!
//! The one module of this crate with unsafe code: crossbeam-epoch's pointers have no safe way to be read.
#![allow(unsafe_code)]

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crossbeam::epoch::{self, Atomic, Guard, Owned};

use super::{Found, Read, Sides, Write, each};
use crate::work::{BURST, List, MEMBERS};

/// One lookup after the other.
pub(super) fn one_by_one(domains: u32) -> Sides {
    let table = Arc::new(Table::new(domains));
    (Box::new(Writer(Arc::clone(&table))), Box::new(OneByOne(table)))
}

/// In bcast's three steps.
pub(super) fn prefetching(domains: u32) -> Sides {
    let table = Arc::new(Table::new(domains));
    (Box::new(Writer(Arc::clone(&table))), Box::new(Prefetching(table)))
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
    fn slot(&self, vni: u32, start: usize) -> (&Slot, bool) {
        let wanted = USED | u64::from(vni);
        let mut at = start;
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
    fn list<'g>(&self, vni: u32, start: usize, guard: &'g Guard) -> Option<&'g [u32; MEMBERS]> {
        let (slot, there) = self.slot(vni, start);
        let list = if there { slot.list.load(Ordering::Acquire, guard) } else { return None };
        // SAFETY: loaded while pinned. The writer unlinks a list before it defers its end to when all pins of now are gone.
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
        let (slot, there) = self.0.slot(vni, self.0.start(vni));
        Self::swap(slot, Some(Owned::new(list.map(|member| member.get()))));
        if !there {
            slot.key.store(USED | u64::from(vni), Ordering::Relaxed);
        }
    }

    fn remove(&mut self, vni: u32) {
        if let (slot, true) = self.0.slot(vni, self.0.start(vni)) {
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
        each(vnis, found, |vni| self.0.list(vni, self.0.start(vni), &guard).map(|list| list[0]));
    }
}

struct Prefetching(Arc<Table>);

impl Read for Prefetching {
    fn burst(&mut self, vnis: &[u32; BURST], found: &mut Found) {
        let guard = epoch::pin();
        let mut starts = [0; BURST];
        for (start, &vni) in starts.iter_mut().zip(vnis) {
            *start = self.0.start(vni);
            prefetch(&raw const self.0.0[*start]);
        }
        let mut lists = [None; BURST];
        for ((list, &start), &vni) in lists.iter_mut().zip(&starts).zip(vnis) {
            *list = self.0.list(vni, start, &guard);
            list.inspect(|list| prefetch(*list));
        }
        for (found, list) in found.iter_mut().zip(&lists) {
            *found = list.map(|list| list[0]);
        }
    }
}

/// Asks the processor to fetch the cache line at an address.
#[inline(always)]
fn prefetch<T>(pointer: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint without effect on memory, which never faults; SSE is part of x86_64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(pointer.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = pointer;
}
