//! Member lists: one immutable allocation each, reached by a pointer of 8 bytes.
//!
//! ```text
//!   domain | words, without a VIP table     | member | member | ...
//!   domain | words, with GUARDED set    | pointer to VIP table | member | member | ...
//! ```
//!
//! Nearly all domains have no VIP table, and their lists have no place for one: a million pointers would take as much memory
//! as the headers do. That there is one is a bit of the header, so a frame of another domain pays for one test.

use std::{
    alloc::{Layout, alloc, handle_alloc_error},
    fmt,
    mem::{MaybeUninit, align_of, offset_of, size_of},
    ptr::{self, NonNull},
    sync::Arc,
};

use super::{slots::prefetch, sync::Life};
use crate::{DomainId, TepIndex, VipTable};

/// The members of a domain as they were at one moment: sorted, without duplicates, never changed. With them its [`VipTable`], if it
/// has virtual IPs.
///
/// A reference to one borrows the reader (until its next quiescent point) or the publisher (until its next change).
#[repr(C)]
pub struct MemberList {
    domain: DomainId,
    words: u32,
    life: Life,
    /// Pointer to the VIP table in the first [`GUARD_WORDS`], if `GUARDED`; then the members.
    body: [Word],
}

/// Room for a member, or for a part of a pointer.
type Word = MaybeUninit<TepIndex>;
/// Reference count of the VIP table that a list owns: from [`Arc::into_raw`].
type GuardPointer = *const VipTable;

/// In `words`: there is a VIP table. The other bits are the length of the body, at most `MAX_MEMBERS` and a pointer.
const GUARDED: u32 = 1 << 31;
/// Words that a pointer takes.
const GUARD_WORDS: usize = size_of::<GuardPointer>() / size_of::<Word>();

/// Members up to which [`MemberList::position`] scans: 64 bytes, about what a binary search would touch anyway.
const SCAN: usize = 16;

impl MemberList {
    /// The dense number of the domain.
    #[inline]
    pub fn domain(&self) -> DomainId {
        self.life.used();
        self.domain
    }

    /// The members in ascending order.
    #[inline]
    pub fn members(&self) -> &[TepIndex] {
        self.life.used();
        // No branch: the VIP table's words are skipped if there is one.
        let skipped = (self.words >> GUARDED.trailing_zeros()) as usize * GUARD_WORDS;
        // SAFETY: the words of the body but for the VIP table's are members, initialised by `OwnedList::new` before the list
        // was published. The body of a list with a VIP table is at least as long as the VIP table's words.
        unsafe {
            let members = self.body.get_unchecked(skipped..);
            std::slice::from_raw_parts(members.as_ptr().cast::<TepIndex>(), members.len())
        }
    }

    /// The domain's virtual IPs, if it has any.
    #[inline(always)]
    pub fn vip_table(&self) -> Option<&VipTable> {
        self.life.used();
        // SAFETY: the list owns a count of this VIP table, and is there as long as `self` is borrowed.
        self.guard_pointer().map(|vip_table| unsafe { &*vip_table })
    }

    /// True if there are any; prefetches the VIP table.
    #[inline(always)]
    pub fn prefetch_vip_table(&self) -> bool {
        self.guard_pointer().inspect(|&vip_table| prefetch(vip_table)).is_some()
    }

    #[inline(always)]
    fn guard_pointer(&self) -> Option<GuardPointer> {
        // SAFETY: with this bit, `OwnedList::new` has written a pointer at the start of the body, which has room for it; not
        // at an address that is aligned for one.
        (self.words & GUARDED != 0)
            .then(|| unsafe { self.body.as_ptr().cast::<GuardPointer>().read_unaligned() })
    }

    /// The VIP table once more, for another list.
    pub(super) fn share_guard(&self) -> Option<Arc<VipTable>> {
        // SAFETY: the pointer is from `Arc::into_raw`, and the list owns a count, so that there is one to be raised; the new
        // one is what the new `Arc` owns.
        self.guard_pointer().map(|vip_table| unsafe {
            Arc::increment_strong_count(vip_table);
            Arc::from_raw(vip_table)
        })
    }

    /// Index in [`members`](Self::members) of this one, if it is a member.
    #[inline]
    pub fn position(&self, member: TepIndex) -> Option<usize> {
        let members = self.members();
        if members.len() <= SCAN {
            members.iter().position(|&m| m == member)
        } else {
            members.binary_search(&member).ok()
        }
    }
}

impl fmt::Debug for MemberList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemberList")
            .field("domain", &self.domain())
            .field("members", &self.members())
            .field("vip_table", &self.vip_table())
            .finish()
    }
}

/// Header of a list; slots point to it. The body follows in the same allocation.
#[repr(C)]
pub(super) struct Header {
    domain: DomainId,
    words: u32,
    life: Life,
}

impl Header {
    /// Words of the body.
    #[inline(always)]
    fn body_len(&self) -> usize {
        (self.words & !GUARDED) as usize
    }
}

// `MemberList` is a `Header` and then its body, with nothing between: one is reached through the other.
const _: () =
    assert!(offset_of!(Header, words) == 4 && size_of::<Header>().is_multiple_of(align_of::<Word>()));
const _: () = assert!(crate::limits::MAX_MEMBERS + GUARD_WORDS < GUARDED as usize);
#[cfg(not(loom))]
const _: () = assert!(size_of::<Header>() == 8 && align_of::<Header>() == 4);

/// The list at a published pointer.
///
/// # Safety
/// `header` comes from [`OwnedList::publish`], was loaded with acquire ordering (or by the publisher itself), and
/// is not freed during `'a`.
#[inline(always)]
pub(super) unsafe fn list<'a>(header: *const Header) -> &'a MemberList {
    // SAFETY: the caller's promise: the header is there, initialised before it was published, and never written again.
    let words = unsafe {
        (*header).life.used();
        (*header).body_len()
    };
    // SAFETY: the allocation that `header` points to (with provenance over all of it) holds so many words, and
    // `MemberList` has the layout of `Header` followed by them. The length in the pointer is that of the slice.
    unsafe { &*(ptr::slice_from_raw_parts(header.cast::<Word>(), words) as *const MemberList) }
}

/// Owner of a list that readers may still use: frees it when dropped.
pub(super) struct OwnedList(NonNull<Header>);

// SAFETY: needed since `NonNull` is not `Send`. A list is plain numbers, which any thread may read and free, and a count of a
// VIP table, which any thread may read and drop: see below.
unsafe impl Send for OwnedList {}

const _: () = {
    const fn any_thread_may_use_and_drop<T: Send + Sync>() {}
    any_thread_may_use_and_drop::<Arc<VipTable>>();
};

impl OwnedList {
    fn layout(words: usize) -> Layout {
        let size = size_of::<Header>() + words * size_of::<Word>();
        // At most 64 KiB and some bytes, so the constructor's only errors (overflow, alignment of zero) cannot be.
        Layout::from_size_align(size, align_of::<Header>()).unwrap_or(Layout::new::<Header>())
    }

    /// Allocates a list. `members` is sorted, without duplicates, and no longer than `MAX_MEMBERS`.
    pub(super) fn new(domain: DomainId, members: &[TepIndex], vip_table: Option<Arc<VipTable>>) -> Self {
        debug_assert!(members.is_sorted_by(|a, b| a < b));
        let skipped = if vip_table.is_some() { GUARD_WORDS } else { 0 };
        let flag = if vip_table.is_some() { GUARDED } else { 0 };
        let layout = Self::layout(skipped + members.len());
        let words = u32::try_from(skipped + members.len()).unwrap_or(!GUARDED) | flag;
        // SAFETY: the layout is not of size zero. The writes stay within it: a header, the VIP table's words if there is one, and
        // the members behind them.
        unsafe {
            let Some(header) = NonNull::new(alloc(layout).cast::<Header>()) else {
                handle_alloc_error(layout)
            };
            header.write(Header { domain, words, life: Life::begin() });
            let body = header.add(1).cast::<TepIndex>().as_ptr();
            if let Some(vip_table) = vip_table {
                body.cast::<GuardPointer>().write_unaligned(Arc::into_raw(vip_table));
            }
            ptr::copy_nonoverlapping(members.as_ptr(), body.add(skipped), members.len());
            Self(header)
        }
    }

    pub(super) fn get(&self) -> &MemberList {
        // SAFETY: it lives as long as its owner.
        unsafe { list(self.0.as_ptr()) }
    }

    /// Gives the list away to a slot. [`OwnedList::unlinked`] takes it back.
    pub(super) fn publish(self) -> *mut Header {
        let header = self.0.as_ptr();
        std::mem::forget(self);
        header
    }

    /// Takes back what was published.
    ///
    /// # Safety
    /// `header` comes from [`OwnedList::publish`], and is taken back once. Whoever drops the result must know that
    /// no reader can still be using it.
    pub(super) unsafe fn unlinked(header: *mut Header) -> Self {
        // SAFETY: a published pointer is never null.
        Self(unsafe { NonNull::new_unchecked(header) })
    }
}

impl Drop for OwnedList {
    fn drop(&mut self) {
        let vip_table = self.get().guard_pointer();
        // SAFETY: allocated by `new` with the layout of its length; this is its one owner, and by the promise of
        // `unlinked` no reader is left, neither of the list nor of the VIP table, whose count from `Arc::into_raw` is given back
        // once. Under loom the memory stays, so that a use after the end is seen.
        unsafe {
            self.0.as_ref().life.end();
            drop(vip_table.map(|vip_table| Arc::from_raw(vip_table)));
            #[cfg(not(loom))]
            std::alloc::dealloc(self.0.as_ptr().cast(), Self::layout(self.0.as_ref().body_len()));
        }
    }
}
