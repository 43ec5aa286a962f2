//! Receive and transmit queues: each used by one thread at a time.

use crate::{Burst, TxBatch, port::OpenPort};
use std::{cell::Cell, marker::PhantomData, sync::Arc};

/// A receive queue of a started port.
pub struct RxQueue {
    pub(crate) port: Arc<OpenPort>,
    pub(crate) queue: u16,
    /// Used by one thread at a time: `Send`, not `Sync`.
    pub(crate) one_user: PhantomData<Cell<()>>,
}

impl RxQueue {
    /// Frees what is left in the burst and fills it with what has come in: how many.
    #[inline]
    pub fn receive(&mut self, burst: &mut Burst) -> usize {
        let (port, queue) = (self.port.number, self.queue);
        // SAFETY: FFI; the port is started (queues are only made by `configure`, and the port stops after the
        // last of them is gone), `&mut self` makes this the queue's only user, and the driver hands its mbufs
        // over.
        unsafe { burst.refill(|slots, count| dpdk_sys::shim_rx_burst(port, queue, slots, count)) }
    }
}

/// A transmit queue of a started port.
pub struct TxQueue {
    pub(crate) port: Arc<OpenPort>,
    pub(crate) queue: u16,
    pub(crate) takes_chains: bool,
    /// Used by one thread at a time: `Send`, not `Sync`.
    pub(crate) one_user: PhantomData<Cell<()>>,
}

impl TxQueue {
    /// Offers the whole batch to the driver: how many it accepted. The rest, if any, stays in the batch, in
    /// order.
    ///
    /// A batch with chains is not offered to a driver that would not understand them: nothing is accepted.
    #[inline]
    pub fn transmit(&mut self, batch: &mut TxBatch) -> usize {
        if batch.is_empty() || (batch.has_chains() && !self.takes_chains) {
            return 0;
        }
        let (port, queue) = (self.port.number, self.queue);
        // SAFETY: FFI; the port is started and `&mut self` makes this the queue's only user, as in `receive`.
        // The driver takes over the mbufs that it counts, which are the first ones, and leaves the others
        // alone.
        unsafe { batch.hand_over(|mbufs, count| dpdk_sys::shim_tx_burst(port, queue, mbufs, count)) }
    }

    /// True if batches with chains are accepted.
    pub fn takes_chains(&self) -> bool {
        self.takes_chains
    }
}
