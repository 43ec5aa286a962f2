//! The part of DPDK that bcast uses, safe and small.
//!
//! An [`Eal`] starts DPDK, once in a process. A [`Mempool`] holds packet buffers. A device is attached by its
//! [`DeviceSpec`], opened as a [`Port`], and configured into an [`RxQueue`] and a [`TxQueue`] for each
//! worker. A worker registers its thread ([`Eal::register_thread`]), receives a [`Burst`], fills a
//! [`TxBatch`], and transmits it.
//!
//! # Who owns an mbuf
//!
//! Each has one owner at any time, and whoever owns it last frees it:
//!
//! - An [`Mbuf`] is not `Clone`. Dropping it gives it back to its pool.
//! - A [`Burst`] owns what was received until [`Burst::take`]; the next receive, or drop, frees the rest.
//! - A [`TxBatch`] owns what it was given. [`TxQueue::transmit`] hands over exactly the prefix that the
//!   driver accepted; the rest stays, in order, to be offered again, discarded and counted, or freed by drop.
//! - A [`SharedPayload`] is the one thing with several owners: a segment with a reference count, and never
//!   the first of its packet. [`Mbuf::share`] takes all references at once, each chain takes one along, drop
//!   gives back the others. From `share` on nobody changes its bytes, its place or its length, so holders
//!   need no lock. It is never made an mbuf again: the last one to go frees it.
//! - Pools stay until the EAL goes, and the EAL stays until the last handle, port, queue and registration is
//!   gone. If mbufs are still out then, it is not cleaned up at all: an mbuf never outlives its memory.
//!
//! # Chains
//!
//! A chain (a header mbuf, then the shared payload) is understood by ports that advertise MULTI_SEGS, and by
//! two drivers that do not say so ([`Capabilities::chains_by_name`]). Others, af_xdp above all, would read
//! past the first segment and send other packets' bytes. So chains are asked for in [`PortConfig`], refused
//! where they are not understood, and a batch with chains is not offered to a queue that was not configured
//! for them.
//!
//! # Why the innermost loop lives here
//!
//! [`TxBatch::copies`] and [`TxBatch::chains`] make one frame's copies: some ten nanoseconds each, of which
//! DPDK's own taking and freeing is the most. What is left is counted in instructions, and needs raw access
//! to the mbufs: their ten fields are two vector stores, the header's address is known without reading the
//! mbuf, the body stays in registers from copy to copy. None of that can be said in safe code, and all of it
//! rests on how pools are made and mbufs are laid out, which [`Mempool::new`] checks for every mbuf. The
//! caller brings the headers as [`Heads`], so that what is *in* a packet is decided elsewhere, in safe code,
//! and still compiled into the same loop.
//!
//! # Threads
//!
//! `rte_eal_init` pins the thread that calls it to a core, and threads started from it inherit that.
//! [`Eal::init`] therefore calls it on a thread of its own, which then ends: the caller's affinity stays as
//! it is. A thread that uses pools a lot registers; others may use everything as well, without a cache.
//!
//! # Tests
//!
//! DPDK starts once in a process, so each test wants its own: `cargo nextest run -p dpdk`, as root.

mod attach;
mod burst;
mod device;
mod eal;
mod errno;
mod folder;
mod heads;
mod log;
mod mbuf;
mod mempool;
mod port;
mod port_error;
mod queue;
mod replicate;
mod shared;
mod tsc;
mod vectors;

pub use attach::{AF_PACKET_MTU, AttachError};
pub use burst::{BURST, Burst};
pub use device::{DeviceSpec, DeviceSpecError};
pub use eal::{Eal, EalConfig, EalError, ThreadRegistration, version};
pub use errno::Errno;
pub use heads::Heads;
pub use mbuf::Mbuf;
pub use mempool::{HEADROOM, MAX_CACHE, MIN_DATA_ROOM, Mempool, PoolError};
pub use port::{Capabilities, Link, Port, PortConfig, PortStats, Queues};
pub use port_error::PortError;
pub use queue::{RxQueue, TxQueue};
pub use replicate::{BATCH, MAX_BODY, TxBatch};
pub use shared::SharedPayload;
pub use tsc::Tsc;
pub use vectors::Common;
