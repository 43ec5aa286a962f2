//! Frames for the node itself, on their way from workers to the kernel, and back.
//!
//! Workers never make the TAP's system calls. They pass whole packet buffers through bounded queues to and from one thread of
//! the control side.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use wire::DropReason;

use crate::police::Ticks;
use crate::port::{Packet, Port};
use crate::replicate::Transmitter;

/// Frames that wait on their way to the kernel, and on their way from it, at most.
const QUEUE: usize = 1024;
/// Tokens that a worker may have saved up: this part of a second's.
const DEPTH: u64 = 10;

/// The queues between workers and the TAP's thread.
pub struct PuntQueues<K> {
    /// Frames for the kernel.
    pub to_kernel: ArrayQueue<K>,
    /// Frames from the kernel.
    pub from_kernel: ArrayQueue<K>,
}

impl<K> PuntQueues<K> {
    /// Queues without frames.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { to_kernel: ArrayQueue::new(QUEUE), from_kernel: ArrayQueue::new(QUEUE) })
    }
}

/// A worker's end of the punt.
pub struct PuntPort<K> {
    queues: Option<Arc<PuntQueues<K>>>,
    /// True for the one worker that sends the kernel's frames.
    sends: bool,
    /// Frames that may be punted now.
    tokens: u64,
    /// The share of the node's rate that is this worker's: 1 / workers.
    workers: u32,
    /// Tick up to which tokens were given.
    refilled: u64,
}

impl<K: Packet> PuntPort<K> {
    /// End of worker number `worker` of `workers`; no queues: there is no TAP.
    pub fn new(queues: Option<Arc<PuntQueues<K>>>, worker: usize, workers: usize) -> Self {
        let workers = u32::try_from(workers).unwrap_or(1).max(1);
        Self { queues, sends: worker == 0, tokens: 0, workers, refilled: 0 }
    }

    /// Passes a frame on to the kernel, unless `rate` (frames a second of the whole node) or the queue forbids. Redirects never
    /// get there: the TAP's own setting does not keep the host from following those of IPv4 while `conf/all/accept_redirects`, which
    /// is the host's, allows it.
    ///
    /// # Errors
    /// Why the frame was freed.
    pub fn offer(&mut self, packet: K, rate: u32, now: Ticks) -> Result<(), DropReason> {
        if wire::redirect::is_redirect(packet.data()) {
            return Err(DropReason::PuntRedirect);
        }
        let Some(queues) = &self.queues else { return Err(DropReason::PuntOff) };
        if self.tokens == 0 {
            self.tokens = refill(&mut self.refilled, now, rate.div_ceil(self.workers).into());
        }
        self.tokens = self.tokens.checked_sub(1).ok_or(DropReason::PuntLimited)?;
        queues.to_kernel.push(packet).map_err(|_| DropReason::PuntLimited)
    }

    /// Sends up to a burst of the kernel's frames. Says whether there were any.
    pub fn send_kernel_frames<P: Port<Packet = K>>(&mut self, tx: &mut Transmitter<P>) -> bool {
        match &self.queues {
            Some(queues) if self.sends && !queues.from_kernel.is_empty() => {
                tx.send_plain(std::iter::from_fn(|| queues.from_kernel.pop())) > 0
            }
            _ => false,
        }
    }
}

/// Tokens for the time since `refilled`, at most a tenth of a second's worth (and at least one frame where any are allowed). A clock that
/// went backwards begins anew.
fn refill(refilled: &mut u64, Ticks { now, per_second }: Ticks, rate: u64) -> u64 {
    if now < *refilled {
        *refilled = now;
    }
    let (elapsed, per_second) = (u128::from(now - *refilled), u128::from(per_second.max(1)));
    let tokens = u64::try_from(elapsed * u128::from(rate) / per_second).unwrap_or(u64::MAX);
    let most = (rate / DEPTH).max(1);
    if tokens > most {
        *refilled = now;
    } else if tokens > 0 {
        // What has passed since the last whole token counts for the next one.
        let used = (u128::from(tokens) * per_second).div_ceil(u128::from(rate.max(1)));
        *refilled += u64::try_from(used).unwrap_or(u64::MAX).min(now - *refilled);
    }
    tokens.min(most)
}
