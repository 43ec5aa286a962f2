//! Frames that the node makes itself, on their way to the worker that replicates them.

use std::net::Ipv4Addr;
use std::sync::Arc;

use bcast_domain::{Tep, Vni};
use crossbeam::queue::ArrayQueue;
use dpdk::{BURST, Burst, Mbuf, Mempool};
use wire::{FrameHeader, MacAddr, Template};

/// Frames that wait for the worker, at most. They take the buffers of the kernel's frames, so that they cannot take all of them.
const QUEUE: usize = 1024;

/// The way of such frames to the worker that sends them.
pub struct LocalFrames {
    queue: ArrayQueue<Mbuf>,
    pool: Mempool,
    /// What hypervisors send to the node: the header's destination.
    to_node: Template,
}

impl LocalFrames {
    /// For the node with this address; frames are written into buffers of this pool.
    pub fn new(node: Ipv4Addr, pool: Mempool) -> Arc<Self> {
        // Nobody looks at the MAC addresses of what was received.
        let to_node = Template::new(MacAddr::ZERO, Some(MacAddr::ZERO), node);
        Arc::new(Self { queue: ArrayQueue::new(QUEUE), pool, to_node })
    }

    /// Queues frames as the TEP would have sent them into the domain, all or none. False if too much waits, or no buffer is free.
    pub fn send(&self, vni: Vni, tep: Tep, inner: &[&[u8]]) -> bool {
        // The one thread of the control side is the only one that fills the queue.
        if self.queue.len() + inner.len() > self.queue.capacity() {
            return false;
        }
        let frames: Option<Vec<Mbuf>> = inner.iter().map(|inner| self.frame(vni, tep, inner)).collect();
        frames.is_some_and(|frames| frames.into_iter().all(|frame| self.queue.push(frame).is_ok()))
    }

    fn frame(&self, vni: Vni, tep: Tep, inner: &[u8]) -> Option<Mbuf> {
        let len = u16::try_from(inner.len()).ok()?;
        let header = FrameHeader::new(tep.address(), 0, vni.get(), len).head(&self.to_node);
        Mbuf::from_bytes(&self.pool, &[&header.to_bytes(), inner].concat())
    }

    /// Puts up to a burst of the frames that wait into an empty burst. For the worker. Says whether there were any.
    #[inline(always)]
    pub fn fill(&self, burst: &mut Burst) -> bool {
        !self.queue.is_empty() && self.take(burst)
    }

    #[cold]
    fn take(&self, burst: &mut Burst) -> bool {
        burst.clear();
        while burst.len() < BURST
            && let Some(frame) = self.queue.pop()
        {
            // The burst has room.
            drop(burst.push(frame));
        }
        !burst.is_empty()
    }
}
