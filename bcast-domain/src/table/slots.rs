//! The slot array: open addressing with linear probing, 16 bytes a slot.
//!
//! Within one array a slot's key is written once and never changes. So a reader that has matched a key may load the
//! pointer next to it at leisure, with no version to check, and a probe never has to start over. What a removed domain
//! leaves is a key with a null pointer: the same key may fill it again, another may not. Arrays that have gathered
//! too many of those are rebuilt, as are those that are full.

use std::ptr;

use super::{
    list::Header,
    sync::{AtomicPtr, AtomicU64, Ordering, Site, order},
};
use crate::Vni;

/// Capacity of the smallest array; loom's is as small as can be, so that a model makes it grow.
const MIN_CAPACITY: usize = if cfg!(loom) { 2 } else { 64 };

/// A key that is there; its low 32 bits are the VNI, of which every value is legal. Zero is "nothing here".
const USED: u64 = 1 << 32;
const EMPTY: u64 = 0;

#[cfg_attr(not(loom), derive(zerocopy::FromZeros))]
struct Slot {
    /// `EMPTY`, or `USED | vni` from then on. Relaxed on both sides: a key by itself leads nowhere, and a reader that
    /// sees it before the list sees a null list, which is the state before the insertion.
    key: AtomicU64,
    /// The list, or null for a domain that was removed (or is just being inserted).
    list: AtomicPtr<Header>,
}

/// Result of a probe for a key.
pub(super) enum Place {
    /// The key stands at this slot, perhaps without a list.
    Taken(usize),
    /// The key is not in the array; this slot is the one to use.
    Free(usize),
}

pub(super) struct Slots {
    /// A power of two, never full: a probe always ends at an empty slot.
    slots: Box<[Slot]>,
}

impl Slots {
    /// An array for this many domains, half full when they are all there. Its memory is zeroed by the operating
    /// system, page by page, when it is first touched: pages of 2 MB where it has them.
    pub(super) fn for_domains(domains: usize) -> Self {
        Self::with_capacity(domains.saturating_mul(2).next_power_of_two().max(MIN_CAPACITY))
    }

    #[cfg(not(loom))]
    pub(super) fn with_capacity(capacity: usize) -> Self {
        // All zeroes is `EMPTY` and a null pointer.
        let slots = zeroed::<Slot>(capacity);
        ask_for_large_pages(&slots);
        Self { slots }
    }

    #[cfg(loom)]
    pub(super) fn with_capacity(capacity: usize) -> Self {
        let slot = |_| Slot { key: AtomicU64::new(EMPTY), list: AtomicPtr::new(ptr::null_mut()) };
        Self { slots: (0..capacity).map(slot).collect() }
    }

    pub(super) fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Keys, dead ones included, beyond which the array must be rebuilt: five eighths of it.
    pub(super) fn max_used(&self) -> usize {
        self.capacity() * 5 / 8
    }

    /// The slot where the probe for a key starts.
    ///
    /// The finalizer of MurmurHash3 (a bijection of 32 bits). That is mixing enough: VNIs come from the operator,
    /// sequential or in strides, and nobody else can insert one. Packets only look up, and what a hostile packet
    /// can choose is at worst the longest run of slots that the operator's own VNIs have made.
    #[inline(always)]
    pub(super) fn start(&self, vni: Vni) -> usize {
        let mut hash = vni.get();
        hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
        hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
        hash ^= hash >> 16;
        hash as usize & (self.slots.len() - 1)
    }

    #[inline(always)]
    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }

    /// The list pointer of a key, for a reader; null if the domain is not there.
    #[inline(always)]
    pub(super) fn find(&self, vni: Vni, start: usize) -> *mut Header {
        let wanted = USED | u64::from(vni.get());
        // Three of four keys stand where their probe starts, most others right behind. Which, no processor can
        // predict, so the first step is counted and not branched on.
        let away = self.slots[start].key.load(Ordering::Relaxed) != wanted;
        let mut at = (start + usize::from(away)) & (self.slots.len() - 1);
        loop {
            let slot = &self.slots[at];
            match slot.key.load(Ordering::Relaxed) {
                key if key == wanted => return slot.list.load(order(Site::ListRead)),
                EMPTY => return ptr::null_mut(),
                _ => at = self.next(at),
            }
        }
    }

    /// Slot of a key, or the slot to put it in; for the publisher.
    pub(super) fn place(&self, vni: Vni) -> Place {
        let wanted = USED | u64::from(vni.get());
        let mut at = self.start(vni);
        loop {
            match self.slots[at].key.load(Ordering::Relaxed) {
                key if key == wanted => return Place::Taken(at),
                EMPTY => return Place::Free(at),
                _ => at = self.next(at),
            }
        }
    }

    /// The list at a slot, for the publisher, who wrote it.
    pub(super) fn list_at(&self, at: usize) -> *mut Header {
        self.slots[at].list.load(Ordering::Relaxed)
    }

    /// Publishes a list, or null, at a slot; for the publisher.
    pub(super) fn put(&self, at: usize, list: *mut Header) {
        self.slots[at].list.store(list, order(Site::ListPublish));
    }

    /// Fills an empty slot; for the publisher. The order of the two stores does not matter to readers.
    pub(super) fn insert(&self, at: usize, vni: Vni, list: *mut Header) {
        self.put(at, list);
        self.slots[at].key.store(USED | u64::from(vni.get()), Ordering::Relaxed);
    }

    /// All domains, for the publisher.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Vni, *mut Header)> {
        self.slots.iter().filter_map(|slot| {
            let list = slot.list.load(Ordering::Relaxed);
            // The low half of the key is the VNI.
            let vni = u32::try_from(slot.key.load(Ordering::Relaxed) & u64::from(u32::MAX)).ok()?;
            (!list.is_null()).then_some((Vni::from(vni), list))
        })
    }

    /// Asks the processor to fetch the slot at which a probe starts.
    #[inline(always)]
    pub(super) fn prefetch(&self, start: usize) {
        prefetch(&raw const self.slots[start]);
    }
}

/// Asks the system for 2 MB pages, where it has them, behind memory that was just allocated.
///
/// Lookups start at random slots, so with small pages each waits for the page tables first. The price: what is touched
/// becomes resident 2 MB at a time, so some tens of domains already take all of the array, 32 MiB for a million.
/// Small arrays hold no whole page of 2 MB and stay as they are.
#[cfg(all(target_os = "linux", not(loom)))]
pub(crate) fn ask_for_large_pages<T>(array: &[T]) {
    /// Of the smallest page; `madvise` takes whole ones.
    const PAGE: usize = 4096;
    const LARGE_PAGE: usize = 2 << 20;
    let (memory, size) = (array.as_ptr().cast::<u8>(), size_of_val(array));
    if size < LARGE_PAGE {
        return;
    }
    let skipped = memory.align_offset(PAGE);
    let whole = (size - skipped) / PAGE * PAGE;
    // SAFETY: FFI. The range lies within the allocation and the advice changes no byte of it. If it is not taken (a kernel without
    // such pages, or with larger small ones), nothing is lost.
    unsafe { libc::madvise(memory.add(skipped).cast_mut().cast(), whole, libc::MADV_HUGEPAGE) };
}

#[cfg(not(any(target_os = "linux", loom)))]
pub(crate) fn ask_for_large_pages<T>(_array: &[T]) {}

/// So many values of all zeroes, at least one. Their memory is not there until it is touched.
#[cfg(not(loom))]
pub(crate) fn zeroed<T: zerocopy::FromZeros>(count: usize) -> Box<[T]> {
    use std::alloc::{Layout, handle_alloc_error};
    let count = count.max(1);
    let failed = |_: zerocopy::AllocError| -> Box<[T]> {
        handle_alloc_error(Layout::array::<T>(count).unwrap_or(Layout::new::<T>()))
    };
    zerocopy::FromZeros::new_box_zeroed_with_elems(count).unwrap_or_else(failed)
}

/// Asks the processor to fetch the cache line at an address, which may be any: a prefetch never faults.
#[inline(always)]
pub(crate) fn prefetch<T>(pointer: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint without effect on memory; SSE is part of x86_64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(pointer.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = pointer;
}
