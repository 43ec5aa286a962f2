//! A payload that many copies share.

use crate::Mbuf;
use dpdk_sys::rte_mbuf;
use std::{
    ops::Range,
    ptr::NonNull,
    sync::atomic::{AtomicU16, Ordering},
};

/// A received mbuf, stripped to its payload, with references for so many chains. From here on its bytes and
/// its place do not change any more, whoever holds it. Dropping it gives back the references that no chain
/// took.
pub struct SharedPayload {
    segment: NonNull<rte_mbuf>,
    /// Count of references that are not taken yet. While it is above zero the segment is ours to read; at zero it may be gone.
    references: u16,
    len: u16,
}

// SAFETY: the pointer hides that a segment's references may be held and given back by any thread.
unsafe impl Send for SharedPayload {}

impl Mbuf {
    /// Narrows the mbuf to `range` of its data and shares it among up to `references` chains. The mbuf comes
    /// back unchanged if `references` is 0, the range is not within its data, or it has more than one
    /// segment.
    pub fn share(mut self, range: Range<usize>, references: u16) -> Result<SharedPayload, Mbuf> {
        let inside = range.start <= range.end && range.end <= self.len();
        if !inside || !self.is_contiguous() || references == 0 {
            return Err(self);
        }
        if !self.trim(self.len() - range.end) || !self.adj(range.start) {
            return Err(self);
        }
        let len = u16::try_from(self.len()).unwrap_or(u16::MAX);
        let segment = self.into_raw();
        let payload = SharedPayload { segment, references, len };
        // Nobody else has the mbuf yet; handing a chain to another thread orders this before what that thread
        // does.
        payload.counter().store(references, Ordering::Relaxed);
        Ok(payload)
    }
}

impl SharedPayload {
    /// Bytes of payload.
    pub fn len(&self) -> u16 {
        self.len
    }

    /// True if the payload has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// References that no chain has taken yet.
    pub fn references(&self) -> usize {
        usize::from(self.references)
    }

    pub(crate) fn as_ptr(&self) -> *mut rte_mbuf {
        self.segment.as_ptr()
    }

    /// `count` chains have a reference each now. At most as many as are left.
    #[inline]
    pub(crate) fn take(&mut self, count: u16) {
        self.references -= count;
    }

    /// `count` chains that were to have a reference were not made.
    #[cold]
    pub(crate) fn put_back(&mut self, count: u16) {
        self.references += count;
    }

    fn counter(&self) -> &AtomicU16 {
        // SAFETY: the segment lives while references are left, which both callers see to, and shared
        // reference counts are only accessed atomically: by drivers through rte_mbuf_refcnt_update, here
        // through this.
        unsafe { AtomicU16::from_ptr(&raw mut (*self.segment.as_ptr()).refcnt) }
    }
}

impl Drop for SharedPayload {
    fn drop(&mut self) {
        if self.references == 0 {
            return;
        }
        // Release: what was read of the payload happens before the last holder frees it. Acquire: if that is
        // us, after what the others read.
        if self.counter().fetch_sub(self.references, Ordering::AcqRel) != self.references {
            return;
        }
        self.counter().store(1, Ordering::Relaxed);
        // SAFETY: all references are back, so the segment is ours alone; it is freed as one with reference
        // count 1.
        unsafe { dpdk_sys::shim_mbuf_free(self.segment.as_ptr()) }
    }
}
