//! Member lists: one immutable allocation each, reached by a pointer of 8 bytes.

use std::{
    alloc::{Layout, alloc, handle_alloc_error},
    fmt,
    mem::{align_of, offset_of, size_of},
    ptr::{self, NonNull},
};

use super::sync::Life;
use crate::{DomainId, TepIndex};

/// The members of a domain as they were at one moment: sorted, without duplicates, never changed.
///
/// A reference to one borrows the reader (until its next quiescent point) or the publisher (until its next change).
#[repr(C)]
pub struct MemberList {
    domain: DomainId,
    len: u32,
    life: Life,
    members: [TepIndex],
}

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
        &self.members
    }

    /// Where in [`members`](Self::members) this one stands, if it is one.
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
            .finish()
    }
}

/// What stands before the members; what a slot points to. The members follow it in the same allocation.
#[repr(C)]
pub(super) struct Header {
    domain: DomainId,
    len: u32,
    life: Life,
}

// `MemberList` is a `Header` and then its members, with nothing between: one is reached through the other.
const _: () =
    assert!(offset_of!(Header, len) == 4 && size_of::<Header>().is_multiple_of(align_of::<TepIndex>()));
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
    let len = unsafe {
        (*header).life.used();
        (*header).len
    };
    // SAFETY: the allocation that `header` points to (with provenance over all of it) holds `len` members, and
    // `MemberList` has the layout of `Header` followed by them. The length in the pointer is that of the slice.
    unsafe { &*(ptr::slice_from_raw_parts(header.cast::<TepIndex>(), len as usize) as *const MemberList) }
}

/// The one who will free a list that readers may be using.
pub(super) struct OwnedList(NonNull<Header>);

// SAFETY: needed since `NonNull` is not `Send`. A list is plain numbers, which any thread may read and free.
unsafe impl Send for OwnedList {}

impl OwnedList {
    fn layout(len: usize) -> Layout {
        let size = size_of::<Header>() + len * size_of::<TepIndex>();
        // At most 64 KiB, so the constructor's only errors (overflow, alignment of zero) cannot be.
        Layout::from_size_align(size, align_of::<Header>()).unwrap_or(Layout::new::<Header>())
    }

    /// Allocates a list. `members` is sorted, without duplicates, and no longer than `MAX_MEMBERS`.
    pub(super) fn new(domain: DomainId, members: &[TepIndex]) -> Self {
        let layout = Self::layout(members.len());
        debug_assert!(members.is_sorted_by(|a, b| a < b));
        let len = u32::try_from(members.len()).unwrap_or(u32::MAX);
        // SAFETY: the layout is not of size zero. The writes stay within it: a header, then `len` members behind it.
        unsafe {
            let Some(header) = NonNull::new(alloc(layout).cast::<Header>()) else {
                handle_alloc_error(layout)
            };
            header.write(Header { domain, len, life: Life::begin() });
            let first = header.add(1).cast::<TepIndex>().as_ptr();
            ptr::copy_nonoverlapping(members.as_ptr(), first, members.len());
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
        // SAFETY: allocated by `new` with the layout of its length; this is its one owner, and by the promise of
        // `unlinked` no reader is left. Under loom the memory stays, so that a use after the end is seen.
        unsafe {
            self.0.as_ref().life.end();
            #[cfg(not(loom))]
            std::alloc::dealloc(self.0.as_ptr().cast(), Self::layout(self.0.as_ref().len as usize));
        }
    }
}
