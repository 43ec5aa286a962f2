//! Fresh mbufs at hand.

use crate::{BATCH, Mempool};
use dpdk_sys::rte_mbuf;
use std::{ffi::c_uint, ptr};

/// Fresh mbufs of one pool for one thread, so that few copies do not cost a visit to the pool, which takes as long as some
/// of them. To the pool they are in use: [`Stash::give_back`] them when there is nothing to do.
pub struct Stash {
    pool: Mempool,
    mbufs: [*mut rte_mbuf; BATCH],
    /// At most [`BATCH`].
    len: usize,
}

// SAFETY: the pointers hide that the stash owns its mbufs; see Mbuf.
unsafe impl Send for Stash {}

impl Stash {
    /// An empty one.
    pub fn new(pool: Mempool) -> Self {
        Stash { pool, mbufs: [ptr::null_mut(); BATCH], len: 0 }
    }

    /// The pool that they are from.
    pub fn pool(&self) -> &Mempool {
        &self.pool
    }

    /// Gives back all that are left.
    #[inline]
    pub fn give_back(&mut self) {
        if self.len > 0 {
            let count = c_uint::try_from(self.len).unwrap_or_default();
            self.len = 0;
            // SAFETY: FFI; the stash owned its first `count` mbufs until `len` was set to 0, and they are as the pool gave them.
            unsafe { dpdk_sys::shim_mbuf_put_bulk(self.pool.as_ptr(), self.mbufs.as_mut_ptr(), count) };
        }
    }

    /// Takes `count` out, all or none: they are the caller's now.
    #[inline(always)]
    pub(crate) fn take(&mut self, count: usize) -> Option<&[*mut rte_mbuf]> {
        if self.len < count {
            self.fill(count);
        }
        let left = self.len.checked_sub(count)?;
        let taken = self.mbufs.get(left..self.len)?;
        self.len = left;
        Some(taken)
    }

    /// Makes them as many as there is room for, or `count` at least, if the pool has them.
    #[inline(never)]
    fn fill(&mut self, count: usize) {
        for wanted in [BATCH, count.min(BATCH)] {
            let Some(room) = self.mbufs.get_mut(self.len..wanted) else { return };
            let Ok(missing) = c_uint::try_from(room.len()) else { return };
            // SAFETY: FFI; the slice has room for as many pointers, and the pool is alive.
            if unsafe { dpdk_sys::shim_mbuf_get_bulk(self.pool.as_ptr(), room.as_mut_ptr(), missing) } == 0 {
                self.len = wanted;
                return;
            }
        }
    }
}

impl Drop for Stash {
    fn drop(&mut self) {
        self.give_back();
    }
}
