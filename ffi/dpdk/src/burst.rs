//! Burst of received frames.

use crate::Mbuf;
use dpdk_sys::rte_mbuf;
use std::{ffi::c_uint, ptr};

/// Most mbufs that are received at once.
pub const BURST: usize = COUNT as usize;

/// The same as a driver wants it.
const COUNT: u16 = 32;

/// Up to [`BURST`] received mbufs, by position. What is not taken is freed by the next receive or by drop.
pub struct Burst {
    /// Null where it was taken. Past `len`: of no meaning.
    slots: [*mut rte_mbuf; BURST],
    len: usize,
    /// Number of mbufs that were taken.
    taken: usize,
}

// SAFETY: the pointers hide that the burst owns its mbufs; see Mbuf.
unsafe impl Send for Burst {}

impl Default for Burst {
    fn default() -> Self {
        Self::new()
    }
}

impl Burst {
    /// An empty one.
    pub const fn new() -> Self {
        Burst { slots: [ptr::null_mut(); BURST], len: 0, taken: 0 }
    }

    /// Number of mbufs received, those taken since included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if nothing was received.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The mbuf at a position, unless it was taken.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&Mbuf> {
        let slot = self.slots[..self.len].get(index)?;
        // SAFETY: reads the slot as what it is: Option<Mbuf> is a pointer that may be null, and the burst
        // owns it.
        unsafe { &*ptr::from_ref(slot).cast::<Option<Mbuf>>() }.as_ref()
    }

    /// Takes the mbuf at a position out. `None` where it was taken before.
    #[inline]
    pub fn take(&mut self, index: usize) -> Option<Mbuf> {
        let slot = self.slots[..self.len].get_mut(index)?;
        let mbuf = ptr::NonNull::new(std::mem::replace(slot, ptr::null_mut()))?;
        self.taken += 1;
        // SAFETY: the burst owned it, and the slot is null now.
        Some(unsafe { Mbuf::from_raw(mbuf) })
    }

    /// The mbufs that were not taken, with their positions.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Mbuf)> {
        (0..self.len).filter_map(|index| Some((index, self.get(index)?)))
    }

    /// Adds an mbuf that was not received, as if it had been.
    ///
    /// # Errors
    /// The mbuf itself, where the burst is full.
    pub fn push(&mut self, mbuf: Mbuf) -> Result<(), Mbuf> {
        let Some(slot) = self.slots.get_mut(self.len) else { return Err(mbuf) };
        *slot = mbuf.into_raw().as_ptr();
        self.len += 1;
        Ok(())
    }

    /// Frees what was not taken.
    #[inline]
    pub fn clear(&mut self) {
        let (len, taken) = (self.len, self.taken);
        (self.len, self.taken) = (0, 0);
        if len > taken {
            self.free(len);
        }
    }

    #[inline(never)]
    fn free(&mut self, len: usize) {
        let count = c_uint::try_from(len).unwrap_or_default();
        // SAFETY: FFI; the slots hold mbufs that the burst owned until its `len` was set to 0, or null, which is
        // skipped.
        unsafe { dpdk_sys::rte_pktmbuf_free_bulk(self.slots.as_mut_ptr(), count) };
    }

    /// Empties the burst, lets `receive` fill it (it gets the slots and their number, and returns how many it
    /// set), and prefetches what came.
    ///
    /// # Safety
    /// `receive` hands over an mbuf of its own in each slot that it counts.
    pub(crate) unsafe fn refill(&mut self, receive: impl FnOnce(*mut *mut rte_mbuf, u16) -> u16) -> usize {
        self.clear();
        self.len = usize::from(receive(self.slots.as_mut_ptr(), COUNT)).min(BURST);
        self.iter().for_each(|(_, mbuf)| mbuf.prefetch_data());
        self.len
    }
}

impl Drop for Burst {
    fn drop(&mut self) {
        self.clear();
    }
}
