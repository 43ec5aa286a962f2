//! One packet.

use crate::Mempool;
use dpdk_sys::rte_mbuf;
use std::{mem, ops::Range, ptr::NonNull, slice};

/// A packet, with one owner: not `Clone`, given back to its pool when dropped.
///
/// Almost always one segment; [`Mbuf::is_contiguous`] tells. The bytes are those of the first.
#[repr(transparent)]
pub struct Mbuf(NonNull<rte_mbuf>);

// SAFETY: the pointer hides that an Mbuf is the only way to what it points to, and a pool takes mbufs back
// from any thread.
unsafe impl Send for Mbuf {}
// SAFETY: a shared Mbuf can only be read.
unsafe impl Sync for Mbuf {}

impl Mbuf {
    /// A fresh, empty mbuf; `None` if the pool has none left.
    pub fn alloc(pool: &Mempool) -> Option<Mbuf> {
        // SAFETY: FFI; the pool is alive.
        NonNull::new(unsafe { dpdk_sys::shim_mbuf_alloc(pool.as_ptr()) }).map(Mbuf)
    }

    /// A fresh mbuf with these bytes; `None` if the pool has none left or they do not fit in one.
    pub fn from_bytes(pool: &Mempool, bytes: &[u8]) -> Option<Mbuf> {
        let mut mbuf = Mbuf::alloc(pool)?;
        mbuf.append(bytes.len())?.copy_from_slice(bytes);
        Some(mbuf)
    }

    /// Takes an mbuf over.
    ///
    /// # Safety
    /// The caller owns it, and nobody else writes to its first segment.
    pub(crate) unsafe fn from_raw(mbuf: NonNull<rte_mbuf>) -> Mbuf {
        Mbuf(mbuf)
    }

    /// Hands the mbuf over to the caller, who frees it.
    pub(crate) fn into_raw(self) -> NonNull<rte_mbuf> {
        let raw = self.0;
        mem::forget(self);
        raw
    }

    #[inline]
    fn fields(&self) -> &rte_mbuf {
        // SAFETY: the overlay's layout is checked at compile time, and no one else writes the fields of an
        // owned mbuf.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    pub(crate) fn fields_mut(&mut self) -> &mut rte_mbuf {
        // SAFETY: as above, and `&mut self` makes it the only reference.
        unsafe { self.0.as_mut() }
    }

    /// The bytes of the first segment.
    #[inline]
    pub fn data(&self) -> &[u8] {
        let mbuf = self.fields();
        // SAFETY: the fields are raw pointers and lengths of C; all functions that change them, here and in
        // drivers, keep data_off + data_len within the buffer, which is initialised memory and the mbuf's
        // own.
        unsafe {
            let start = mbuf.buf_addr.cast::<u8>().add(usize::from(mbuf.data_off));
            slice::from_raw_parts(start, usize::from(mbuf.data_len))
        }
    }

    /// The bytes of the first segment, to be changed.
    pub fn data_mut(&mut self) -> &mut [u8] {
        let mbuf = self.fields();
        // SAFETY: as in `data`; besides, first segments are never shared: only `SharedPayload` shares, and it
        // chains what it shares behind a header of its own.
        unsafe {
            let start = mbuf.buf_addr.cast::<u8>().add(usize::from(mbuf.data_off));
            slice::from_raw_parts_mut(start, usize::from(mbuf.data_len))
        }
    }

    /// Bytes in the first segment.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.fields().data_len)
    }

    /// True if the first segment has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes in all segments.
    pub fn packet_len(&self) -> u32 {
        self.fields().pkt_len
    }

    /// True if the first segment is all there is.
    pub fn is_contiguous(&self) -> bool {
        self.fields().nb_segs == 1
    }

    /// Drops `count` bytes at the front. False, and nothing done, where there are fewer.
    #[must_use]
    pub fn adj(&mut self, count: usize) -> bool {
        let mbuf = self.fields_mut();
        match u16::try_from(count) {
            Ok(count) if count <= mbuf.data_len => {
                mbuf.data_off += count;
                mbuf.data_len -= count;
                mbuf.pkt_len -= u32::from(count);
                true
            }
            _ => false,
        }
    }

    /// Drops `count` bytes at the end. False, and nothing done, where there are fewer or there are more
    /// segments.
    #[must_use]
    pub fn trim(&mut self, count: usize) -> bool {
        let mbuf = self.fields_mut();
        match u16::try_from(count) {
            Ok(count) if count <= mbuf.data_len && mbuf.nb_segs == 1 => {
                mbuf.data_len -= count;
                mbuf.pkt_len -= u32::from(count);
                true
            }
            _ => false,
        }
    }

    /// Adds `count` bytes at the end, of whatever was there before, and returns them. `None`, and nothing
    /// done, where they do not fit or there are more segments.
    pub fn append(&mut self, count: usize) -> Option<&mut [u8]> {
        let mbuf = self.fields_mut();
        let count = u16::try_from(count).ok()?;
        let end = mbuf.data_off.checked_add(mbuf.data_len)?;
        if mbuf.nb_segs != 1 || end.checked_add(count)? > mbuf.buf_len {
            return None;
        }
        let old = self.len();
        let mbuf = self.fields_mut();
        mbuf.data_len += count;
        mbuf.pkt_len += u32::from(count);
        self.data_mut().get_mut(old..)
    }

    /// True if it is one segment, whose bytes are in its own buffer and nobody else's: what [`crate::TxBatch::in_place`] takes.
    #[inline]
    pub fn is_plain(&self) -> bool {
        let mbuf = self.fields();
        mbuf.nb_segs == 1 && mbuf.refcnt == 1 && mbuf.ol_flags & dpdk_sys::SHIM_MBUF_BYTES_ELSEWHERE == 0
    }

    /// Position of a range of the data in the buffer, and its length; `None` if it is not within the data.
    #[inline]
    pub(crate) fn place(&self, range: Range<usize>) -> Option<(u16, u16)> {
        let mbuf = self.fields();
        let inside = range.start <= range.end && range.end <= usize::from(mbuf.data_len);
        if !inside {
            return None;
        }
        let start = u16::try_from(range.start).ok()?.checked_add(mbuf.data_off)?;
        Some((start, u16::try_from(range.end - range.start).ok()?))
    }

    /// Asks for the first bytes to be brought near.
    #[inline]
    pub(crate) fn prefetch_data(&self) {
        let mbuf = self.fields();
        crate::replicate::prefetch(mbuf.buf_addr.cast::<u8>().wrapping_add(usize::from(mbuf.data_off)));
    }
}

impl Drop for Mbuf {
    fn drop(&mut self) {
        // SAFETY: FFI; the mbuf is owned, and this is its end.
        unsafe { dpdk_sys::shim_mbuf_free(self.0.as_ptr()) }
    }
}
