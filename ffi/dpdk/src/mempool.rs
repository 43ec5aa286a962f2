//! Pools of mbufs.

use crate::{Eal, Errno, eal::PoolPointer};
use std::{
    ffi::{CString, c_int},
    ptr::NonNull,
};

/// Bytes in front of a received frame, for headers to be put before it.
pub const HEADROOM: usize = dpdk_sys::RTE_PKTMBUF_HEADROOM as usize;

/// Most mbufs that a pool's cache for one thread may hold.
pub const MAX_CACHE: u32 = dpdk_sys::RTE_MEMPOOL_CACHE_MAX_SIZE;

/// Least room for data: a body of 256 bytes that starts 128 into the buffer, and no less than DPDK's own
/// headroom before it. The copy loop counts on it.
///
/// A pool for copies alone is best made of these: a page of ordinary memory holds seven, and the copy loop is
/// then as fast as on hugepages; with mbufs of 2,048 bytes it loses a third to the TLB.
pub const MIN_DATA_ROOM: u16 = 256;

/// Any NUMA node.
const SOCKET_ID_ANY: c_int = -1;

/// Why a pool could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// Under [`MIN_DATA_ROOM`], or over what the length field holds with the headroom.
    #[error("an mbuf of {0} bytes is out of range: {MIN_DATA_ROOM} to 65407 bytes")]
    DataRoom(u16),
    /// Over [`MAX_CACHE`], or more than two thirds of the pool.
    #[error(
        "a cache of {cache} does not suit a pool of {count} mbufs: at most {MAX_CACHE} and two thirds of the pool"
    )]
    Cache {
        /// Size that was asked for.
        cache: u32,
        /// Mbufs in the pool.
        count: u32,
    },
    /// A name that C cannot take.
    #[error("the pool name {0:?} holds a NUL byte: remove it")]
    Name(String),
    /// DPDK refused; mostly for want of memory.
    #[error(
        "no pool {name:?} of {count} mbufs of {data_room} bytes ({need_mb} MiB): {errno}; raise memory_mb or take fewer"
    )]
    Create {
        /// The pool's name: at most 25 characters, and of no other pool.
        name: String,
        /// Mbufs asked for.
        count: u32,
        /// Bytes of data each.
        data_room: u16,
        /// Memory that it would have taken, in MiB.
        need_mb: u64,
        /// DPDK's reason.
        errno: Errno,
    },
    /// The copy loop could not work with what DPDK made.
    #[error(
        "this DPDK lays the mbufs of pool {0:?} out in an unknown way: use a release from 22.11 to 25.11"
    )]
    Layout(String),
}

/// A pool of mbufs: a handle, clones are the same pool. The pool itself stays until the EAL goes, so that an
/// mbuf never outlives it.
#[derive(Clone)]
pub struct Mempool {
    pointer: PoolPointer,
    count: u32,
    data_room: u16,
    _eal: Eal,
}

impl Mempool {
    /// Makes `count` mbufs (best: a power of two less one) with `data_room` bytes each behind [`HEADROOM`].
    /// Each registered thread keeps up to one and a half times `cache` of them at hand, which are then not
    /// there for the others.
    pub fn new(eal: &Eal, name: &str, count: u32, cache: u32, data_room: u16) -> Result<Mempool, PoolError> {
        let buffer = usize::from(data_room) + HEADROOM;
        let (MIN_DATA_ROOM.., Ok(buffer)) = (data_room, u16::try_from(buffer)) else {
            return Err(PoolError::DataRoom(data_room));
        };
        if cache > MAX_CACHE || u64::from(cache) * 3 / 2 > u64::from(count) {
            return Err(PoolError::Cache { cache, count });
        }
        let c_name = CString::new(name).map_err(|_| PoolError::Name(name.into()))?;
        // SAFETY: FFI; the EAL runs (`eal` proves it) and the name is a C string, which is copied.
        let pool = unsafe {
            dpdk_sys::rte_pktmbuf_pool_create(c_name.as_ptr(), count, cache, 0, buffer, SOCKET_ID_ANY)
        };
        let Some(pool) = NonNull::new(pool) else {
            let need_mb = (u64::from(count) * (u64::from(buffer) + 192)) >> 20;
            let (name, errno) = (name.into(), Errno::last());
            return Err(PoolError::Create { name, count, data_room, need_mb, errno });
        };
        eal.0.pools().push(PoolPointer(pool));
        // SAFETY: FFI; the pool was made just now and nobody else has it yet.
        if unsafe { dpdk_sys::shim_pool_is_plain(pool.as_ptr()) } == 0 {
            return Err(PoolError::Layout(name.into()));
        }
        Ok(Mempool { pointer: PoolPointer(pool), count, data_room, _eal: eal.clone() })
    }

    /// Mbufs that are out: held by someone, or in a ring of a port. Exact while no other thread takes or
    /// frees.
    pub fn in_use(&self) -> u32 {
        // SAFETY: FFI; the pool lives as long as the EAL.
        unsafe { dpdk_sys::rte_mempool_in_use_count(self.as_ptr()) }
    }

    /// Mbufs in all.
    pub fn capacity(&self) -> u32 {
        self.count
    }

    /// Bytes of data that one mbuf takes behind [`HEADROOM`].
    pub fn data_room(&self) -> u16 {
        self.data_room
    }

    pub(crate) fn as_ptr(&self) -> *mut dpdk_sys::rte_mempool {
        self.pointer.0.as_ptr()
    }
}
