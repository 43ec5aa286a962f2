//! The innermost loop: one frame, many copies. Written for the instruction count; read the crate's page
//! first.

#[cfg(target_arch = "x86_64")]
use crate::vectors::has_512;
use crate::{
    Heads, Mbuf, Mempool, SharedPayload,
    heads::{BODY_OFFSET, Layout},
    mempool::MIN_DATA_ROOM,
    vectors::{Common, LINE, Vector, Vectors},
};
use dpdk_sys::rte_mbuf;
use std::{ffi::c_uint, mem, ops::Range, ptr};

/// Most mbufs in a batch.
pub const BATCH: usize = 64;

/// Longest payload that [`TxBatch::copies`] takes, in bytes.
pub const MAX_BODY: usize = 256;

/// Port number of an mbuf that no port received.
const NO_PORT: u16 = u16::MAX;

/// Distance, in mbufs, at which the lines to be written are prefetched.
const AHEAD: usize = 4;

const _: () = assert!(BODY_OFFSET + MAX_BODY <= MIN_DATA_ROOM as usize + crate::HEADROOM);

/// `rte_mbuf` from data_off to ol_flags: what a fresh mbuf of a pool needs set.
#[repr(C)]
struct Rearm {
    data_off: u16,
    refcnt: u16,
    nb_segs: u16,
    port: u16,
    ol_flags: u64,
}

/// `rte_mbuf` from packet_type to the hash's low half.
#[repr(C)]
struct Lengths {
    packet_type: u32,
    pkt_len: u32,
    data_len: u16,
    vlan_tci: u16,
    hash_low: u32,
}

/// Fields that all mbufs made for one frame have in common: 32 bytes in one cache line.
#[derive(Clone, Copy)]
struct Fields {
    rearm: Vector,
    lengths: Vector,
}

const REARM_AT: usize = mem::offset_of!(rte_mbuf, data_off);
const LENGTHS_AT: usize = mem::offset_of!(rte_mbuf, packet_type);
const _: () = assert!(REARM_AT.is_multiple_of(16) && LENGTHS_AT == REARM_AT + 16);

/// Mbufs to be transmitted, owned; what is left in it is freed with it.
pub struct TxBatch {
    mbufs: [*mut rte_mbuf; BATCH],
    /// At most [`BATCH`].
    len: u16,
    chains: bool,
}

// SAFETY: the pointers hide that the batch owns its mbufs; see Mbuf.
unsafe impl Send for TxBatch {}

impl Default for TxBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl TxBatch {
    /// An empty one.
    pub const fn new() -> Self {
        TxBatch { mbufs: [ptr::null_mut(); BATCH], len: 0, chains: false }
    }

    /// Mbufs in it.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// True if it is empty.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of mbufs that it still takes.
    #[inline]
    pub fn room(&self) -> usize {
        BATCH - self.len()
    }

    pub(crate) fn has_chains(&self) -> bool {
        self.chains
    }

    /// Adds an mbuf; gives it back if there is no room.
    pub fn push(&mut self, mbuf: Mbuf) -> Result<(), Mbuf> {
        let Some(slot) = self.mbufs.get_mut(usize::from(self.len)) else {
            return Err(mbuf);
        };
        self.chains |= !mbuf.is_contiguous();
        *slot = mbuf.into_raw().as_ptr();
        self.len += 1;
        Ok(())
    }

    /// The first segment of each mbuf in it, in order: a copy's outer header, or all of a frame.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> {
        self.mbufs.iter().take(usize::from(self.len)).map(|slot| {
            // SAFETY: the batch owns its first `len` mbufs; Mbuf is such a pointer, and the borrow is the
            // batch's.
            unsafe { &*ptr::from_ref(slot).cast::<Mbuf>() }.data()
        })
    }

    /// Frees all that is in it: how many.
    pub fn discard_all(&mut self) -> usize {
        let count = mem::replace(&mut self.len, 0);
        self.chains = false;
        // SAFETY: FFI; the batch owned the first `count` mbufs until `len` was set to 0.
        unsafe { dpdk_sys::rte_pktmbuf_free_bulk(self.mbufs.as_mut_ptr(), c_uint::from(count)) };
        usize::from(count)
    }

    /// Lets `transmit` take mbufs over (it gets them and their number, and returns how many of the first it
    /// took), and moves the rest to the front.
    ///
    /// # Safety
    /// `transmit` owns the mbufs that it counts, and leaves the others as they were.
    #[inline]
    pub(crate) unsafe fn hand_over(
        &mut self,
        transmit: impl FnOnce(*mut *mut rte_mbuf, u16) -> u16,
    ) -> usize {
        let accepted = transmit(self.mbufs.as_mut_ptr(), self.len).min(self.len);
        if accepted < self.len {
            self.mbufs.copy_within(usize::from(accepted)..usize::from(self.len), 0);
        }
        self.len -= accepted;
        self.chains &= self.len > 0;
        usize::from(accepted)
    }

    /// Adds `count` copies of `body`, each behind an outer header of its own. False, and nothing added, if it is longer than
    /// [`MAX_BODY`], the pool has not that many mbufs left, the batch has no room for them, or there are fewer headers.
    #[inline(always)]
    pub fn copies<H: Heads>(&mut self, pool: &Mempool, count: usize, body: &[u8], heads: &H) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            if has_512() {
                // SAFETY: the processor has what the function needs.
                return unsafe { self.copies_512(pool, count, body, heads) };
            }
            if is_x86_feature_detected!("avx2") {
                // SAFETY: as above.
                return unsafe { self.copies_256(pool, count, body, heads) };
            }
        }
        self.copies_by::<[Vector; 4], H>(pool, count, body, heads)
    }

    /// [`TxBatch::copies`] in vectors of 64 bytes.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx2,bmi1,bmi2")]
    fn copies_512<H: Heads>(&mut self, pool: &Mempool, count: usize, body: &[u8], heads: &H) -> bool {
        self.copies_by::<[std::arch::x86_64::__m512i; 1], H>(pool, count, body, heads)
    }

    /// [`TxBatch::copies`] in vectors of 32 bytes.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    fn copies_256<H: Heads>(&mut self, pool: &Mempool, count: usize, body: &[u8], heads: &H) -> bool {
        self.copies_by::<[std::arch::x86_64::__m256i; 2], H>(pool, count, body, heads)
    }

    #[inline(always)]
    fn copies_by<V: Vectors, H: Heads>(
        &mut self,
        pool: &Mempool,
        count: usize,
        body: &[u8],
        heads: &H,
    ) -> bool {
        // One loop per number of lines, so that the body stays in registers where it fits.
        match body.len().div_ceil(LINE) {
            0 | 1 => self.copy_lines::<V, H, 1>(pool, count, body, heads),
            2 => self.copy_lines::<V, H, 2>(pool, count, body, heads),
            3 => self.copy_lines::<V, H, 3>(pool, count, body, heads),
            4 => self.copy_lines::<V, H, 4>(pool, count, body, heads),
            _ => false,
        }
    }

    #[inline(always)]
    fn copy_lines<V: Vectors, H: Heads, const LINES: usize>(
        &mut self,
        pool: &Mempool,
        count: usize,
        body: &[u8],
        heads: &H,
    ) -> bool {
        let Ok(length) = u16::try_from(body.len() + H::LEN) else { return false };
        let fields = Fields::new(1, u32::from(length), length, Layout::<H>::DATA_OFFSET);
        // Into registers here, once: the compiler cannot know that the mbufs written to are elsewhere.
        let mut lines = [V::of_bytes(body); LINES];
        for (number, line) in lines.iter_mut().enumerate().skip(1) {
            *line = V::of_bytes(body.get(number * LINE..).unwrap_or_default());
        }
        let (own, common) = (heads.own(), heads.common().line::<V>());
        let Some(fresh) = self.fresh(pool, count) else { return false };
        let mut made = 0;
        for (index, (&mbuf, own)) in fresh.iter().zip(own).enumerate() {
            if let Some(&later) = fresh.get(index + AHEAD) {
                prefetch_mbuf(later);
            }
            made = index + 1;
            // SAFETY: `fresh` hands over mbufs of a plain pool, whose buffers hold BODY_OFFSET + MAX_BODY bytes.
            unsafe {
                let buffer = write_header::<V, H>(mbuf, fields, common, own);
                let to = buffer.add(BODY_OFFSET).cast::<V>();
                for (number, line) in lines.iter().enumerate() {
                    to.add(number).write(*line);
                }
            }
        }
        if made < count {
            return give_back(pool, fresh);
        }
        self.own(count);
        true
    }

    /// Adds `count` chains of two: an outer header, as in [`TxBatch::copies`], in an mbuf of its own, and
    /// `payload`, shared by all. False, and nothing added, if the pool has not that many mbufs left, the
    /// batch has no room for them, or fewer references are left in `payload` or fewer headers are there.
    #[inline(always)]
    pub fn chains<H: Heads>(
        &mut self,
        pool: &Mempool,
        count: usize,
        payload: &mut SharedPayload,
        heads: &H,
    ) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            if has_512() {
                // SAFETY: the processor has what the function needs.
                return unsafe { self.chains_512(pool, count, payload, heads) };
            }
        }
        self.chains_by::<[Vector; 4], H>(pool, count, payload, heads)
    }

    /// [`TxBatch::chains`] in vectors of 64 bytes.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx2,bmi1,bmi2")]
    fn chains_512<H: Heads>(
        &mut self,
        pool: &Mempool,
        count: usize,
        payload: &mut SharedPayload,
        heads: &H,
    ) -> bool {
        self.chains_by::<[std::arch::x86_64::__m512i; 1], H>(pool, count, payload, heads)
    }

    #[inline(always)]
    fn chains_by<V: Vectors, H: Heads>(
        &mut self,
        pool: &Mempool,
        count: usize,
        payload: &mut SharedPayload,
        heads: &H,
    ) -> bool {
        let taken = match u16::try_from(count) {
            Ok(taken) if count <= payload.references() => taken,
            _ => return false,
        };
        let len = Layout::<H>::LEN;
        let fields = Fields::new(2, u32::from(len) + u32::from(payload.len()), len, Layout::<H>::DATA_OFFSET);
        let segment = payload.as_ptr();
        let chains = self.chains | (count > 0);
        let (own, common) = (heads.own(), heads.common().line::<V>());
        let Some(fresh) = self.fresh(pool, count) else { return false };
        // Before the first chain is made: were `heads` to panic, references would be lost, and none given back twice.
        payload.take(taken);
        let mut made = 0;
        for (index, (&mbuf, own)) in fresh.iter().zip(own).enumerate() {
            if let Some(&later) = fresh.get(index + AHEAD) {
                prefetch_mbuf(later);
            }
            made = index + 1;
            // SAFETY: as in `copy_lines`. The chain owns the reference that was taken from `payload` above.
            unsafe {
                write_header::<V, H>(mbuf, fields, common, own);
                (*mbuf).next = segment;
            }
        }
        if made < count {
            payload.put_back(taken);
            return give_back(pool, fresh);
        }
        self.own(count);
        self.chains = chains;
        true
    }

    /// Adds a received mbuf itself: its payload stays at `payload` of the data, behind a new outer header, which is the last
    /// `header_len` bytes of `head`. What is before and behind goes. False, and the mbuf freed, if it is not
    /// [plain](Mbuf::is_plain), the payload is not within the data, `head` is shorter than the header, or there is no room: in the
    /// batch, or for all of `head` before the payload.
    #[inline(always)]
    pub fn in_place(&mut self, mbuf: Mbuf, payload: Range<usize>, header_len: u16, head: &[u64]) -> bool {
        let Some(slot) = self.mbufs.get_mut(usize::from(self.len)) else { return false };
        let Some((start, length)) = mbuf.place(payload).filter(|_| mbuf.is_plain()) else { return false };
        let (Some(place), Some(length)) = (start.checked_sub(header_len), length.checked_add(header_len))
        else {
            return false;
        };
        let head_len = size_of_val(head);
        if usize::from(start) < head_len || head_len < usize::from(header_len) {
            return false;
        }
        let raw = mbuf.into_raw().as_ptr();
        let fields = Fields::new(1, u32::from(length), length, place);
        // SAFETY: the mbuf is ours alone and of one segment, so both vectors may be written (see `write_header`; `next` is null).
        // The head's bytes end where the payload starts, which is that far inside the buffer.
        unsafe {
            let mbuf = raw.cast::<u8>();
            mbuf.add(REARM_AT).cast::<Vector>().write(fields.rearm);
            mbuf.add(LENGTHS_AT).cast::<Vector>().write(fields.lengths);
            let payload = (*raw).buf_addr.cast::<u8>().add(usize::from(start));
            ptr::copy_nonoverlapping(head.as_ptr().cast::<u8>(), payload.sub(head_len), head_len);
        }
        *slot = raw;
        self.len += 1;
        true
    }

    /// Takes `count` mbufs from the pool, all or none, to the slots where they go in the batch. When they have been written the
    /// batch [owns](Self::own) them. Were something to panic before, they would be lost, and nothing sent as it was.
    #[inline(always)]
    fn fresh(&mut self, pool: &Mempool, count: usize) -> Option<&[*mut rte_mbuf]> {
        let fresh = self.mbufs.get_mut(usize::from(self.len)..).and_then(|free| free.get_mut(..count))?;
        let wanted = c_uint::try_from(count).ok()?;
        // SAFETY: FFI; the slice has room for as many pointers, and the pool is alive.
        let short = count > 0
            && unsafe { dpdk_sys::shim_mbuf_get_bulk(pool.as_ptr(), fresh.as_mut_ptr(), wanted) } != 0;
        (!short).then_some(fresh)
    }

    /// The next `count` slots hold mbufs now.
    #[inline(always)]
    fn own(&mut self, count: usize) {
        self.len += u16::try_from(count).unwrap_or_default();
    }
}

impl Drop for TxBatch {
    fn drop(&mut self) {
        self.discard_all();
    }
}

impl Fields {
    #[inline(always)]
    fn new(nb_segs: u16, pkt_len: u32, data_len: u16, data_off: u16) -> Self {
        let lengths = Lengths { packet_type: 0, pkt_len, data_len, vlan_tci: 0, hash_low: 0 };
        // SAFETY: a vector is its bytes; the struct is as long and has no padding.
        let lengths = unsafe { mem::transmute::<Lengths, Vector>(lengths) };
        let rearm = Rearm { data_off, refcnt: 1, nb_segs, port: NO_PORT, ol_flags: 0 };
        // SAFETY: as above.
        let rearm = unsafe { mem::transmute::<Rearm, Vector>(rearm) };
        Fields { rearm, lengths }
    }
}

/// Writes the mbuf's fields and the line of the outer header, and returns the buffer. `next` is null in a fresh mbuf.
///
/// # Safety
/// The mbuf is the caller's alone, fresh from a plain pool: its buffer follows the struct, on a cache line.
#[inline(always)]
unsafe fn write_header<V: Vectors, H: Heads>(
    mbuf: *mut rte_mbuf,
    fields: Fields,
    common: V,
    (own, checksum): (&[u64; 8], u16),
) -> *mut u8 {
    // SAFETY: raw stores, two for ten fields; both are aligned and inside the struct, as asserted above. The header's line and the
    // checksum in it are inside the buffer, whose address is known without a load.
    unsafe {
        let start = mbuf.cast::<u8>();
        start.add(REARM_AT).cast::<Vector>().write(fields.rearm);
        start.add(LENGTHS_AT).cast::<Vector>().write(fields.lengths);
        let buffer = mbuf.add(1).cast::<u8>();
        let line = buffer.add(BODY_OFFSET - LINE);
        line.cast::<V>().write(V::of(own).or(common));
        line.add(Layout::<H>::CHECKSUM_AT).cast::<u16>().write(checksum);
        buffer
    }
}

/// Gives mbufs back whose copies lack headers: false.
#[cold]
fn give_back(pool: &Mempool, fresh: &[*mut rte_mbuf]) -> bool {
    for &mbuf in fresh {
        // SAFETY: the mbufs came fresh from the pool and were given to nobody; those that were written have one reference. In a pool
        // an mbuf is one segment.
        unsafe {
            (*mbuf).next = ptr::null_mut();
            (*mbuf).nb_segs = 1;
        }
    }
    let count = c_uint::try_from(fresh.len()).unwrap_or_default();
    // SAFETY: FFI; as above, and the array is only read.
    unsafe { dpdk_sys::shim_mbuf_put_bulk(pool.as_ptr(), fresh.as_ptr().cast_mut(), count) };
    false
}

/// The lines that a copy writes: the fields, the outer header, the start of the payload.
#[inline(always)]
fn prefetch_mbuf(mbuf: *mut rte_mbuf) {
    let start = mbuf.cast::<u8>();
    prefetch(start);
    prefetch(start.wrapping_add(size_of::<rte_mbuf>() + LINE));
    prefetch(start.wrapping_add(size_of::<rte_mbuf>() + BODY_OFFSET));
}

/// Asks for a cache line. Any address will do.
#[inline(always)]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: an intrinsic, hence unsafe; it is a hint and faults on no address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Eal, EalConfig};

    #[test]
    fn a_received_frame_without_room_for_its_new_header_is_refused_and_freed() {
        let eal = Eal::init(&EalConfig { memory_mb: 64, hugepages: false, ..EalConfig::default() }).unwrap();
        let pool = Mempool::new(&eal, "frames", 63, 0, 2048).unwrap();
        let mut batch = TxBatch::new();
        // A header takes 42 bytes, and is written with the six bytes before it.
        for (headroom, taken) in [(0, false), (5, false), (6, true), (128, true)] {
            let mut mbuf = Mbuf::from_bytes(&pool, &[0xaa; 102]).unwrap();
            // As a driver would that leaves so many bytes before what it receives.
            mbuf.fields_mut().data_off = headroom;
            assert_eq!(batch.in_place(mbuf, 42..102, 42, &[0; 6]), taken, "{headroom} bytes of headroom");
        }
        assert_eq!((batch.len(), pool.in_use()), (2, 2));
        drop(batch);
        assert_eq!(pool.in_use(), 0);
    }
}
