//! Frames for the node itself, on their way from workers to the kernel, and back.
//!
//! Workers never make the TAP's system calls. They pass whole packet buffers through bounded queues to and from one thread of
//! the control side.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use dpdk::Mbuf;
use wire::DropReason;

use crate::replicate::Outbox;

/// Frames that wait on their way to the kernel, and on their way from it, at most.
const QUEUE: usize = 1024;

/// The queues between workers and the TAP's thread.
pub struct PuntQueues {
    /// Frames for the kernel.
    pub to_kernel: ArrayQueue<Mbuf>,
    /// Frames from the kernel.
    pub from_kernel: ArrayQueue<Mbuf>,
}

impl PuntQueues {
    /// Both empty.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { to_kernel: ArrayQueue::new(QUEUE), from_kernel: ArrayQueue::new(QUEUE) })
    }
}

/// A worker's end of the punt.
pub struct PuntPort {
    queues: Option<Arc<PuntQueues>>,
    /// Whether this worker sends what comes from the kernel; one worker does.
    sends: bool,
    /// Frames that may be punted now.
    tokens: u32,
    /// The share of the node's rate that is this worker's: 1 / workers.
    workers: u32,
    refilled: Instant,
}

impl PuntPort {
    /// For worker number `worker` of `workers`; `None`: there is no TAP.
    pub fn new(queues: Option<Arc<PuntQueues>>, worker: usize, workers: usize) -> Self {
        let workers = u32::try_from(workers).unwrap_or(1).max(1);
        Self { queues, sends: worker == 0, tokens: 0, workers, refilled: Instant::now() }
    }

    /// Passes a frame on to the kernel, unless `rate` (frames a second of the whole node) or the queue forbids. Redirects never
    /// get there: the TAP's own setting does not keep the host from following those of IPv4 while `conf/all/accept_redirects`, which
    /// is the host's, allows it (`tap.rs` of the daemon).
    ///
    /// # Errors
    /// Why the frame was freed.
    pub fn offer(&mut self, mbuf: Mbuf, rate: u32) -> Result<(), DropReason> {
        if wire::redirect::is_redirect(mbuf.data()) {
            return Err(DropReason::PuntRedirect);
        }
        let Some(queues) = &self.queues else { return Err(DropReason::PuntOff) };
        if self.tokens == 0 {
            self.tokens = refill(&mut self.refilled, Instant::now(), rate.div_ceil(self.workers));
        }
        self.tokens = self.tokens.checked_sub(1).ok_or(DropReason::PuntLimited)?;
        queues.to_kernel.push(mbuf).map_err(|_| DropReason::PuntLimited)
    }

    /// Sends up to a burst of the kernel's frames. Says whether there were any.
    pub fn send_kernel_frames(&mut self, out: &mut Outbox) -> bool {
        match &self.queues {
            Some(queues) if self.sends && !queues.from_kernel.is_empty() => {
                out.send_plain(std::iter::from_fn(|| queues.from_kernel.pop())) > 0
            }
            _ => false,
        }
    }
}

/// Tokens for the time since `refilled`, at most a tenth of a second's worth (and at least one frame where any are allowed).
fn refill(refilled: &mut Instant, now: Instant, rate: u32) -> u32 {
    let elapsed = now.saturating_duration_since(*refilled);
    let tokens = u32::try_from(elapsed.as_micros() * u128::from(rate) / 1_000_000).unwrap_or(u32::MAX);
    let most = (rate / 10).max(1);
    if tokens > most {
        *refilled = now;
    } else if tokens > 0 {
        // What has passed since the last whole token counts for the next one.
        *refilled += Duration::from_nanos(u64::from(tokens) * 1_000_000_000 / u64::from(rate));
    }
    tokens.min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_follow_the_rate_and_are_bounded_by_a_tenth_of_a_second() {
        let start = Instant::now();
        for (elapsed_us, rate, expected, used_us) in [
            (0, 1_000, 0, 0),
            (999, 1_000, 0, 0),
            (1_999, 1_000, 1, 1_000),
            (50_000, 1_000, 50, 50_000),
            (100_000, 1_000, 100, 100_000),
            (10_000_000, 1_000, 100, 10_000_000),
            (40, 20_000, 0, 0),
            (90, 20_000, 1, 50),
            (50_000, 0, 0, 0),
            (10_000_000, 0, 0, 0),
            (199_999, 5, 0, 0),
            (250_000, 5, 1, 200_000),
            (10_000_000, 5, 1, 10_000_000),
        ] {
            let mut refilled = start;
            let now = start + Duration::from_micros(elapsed_us);
            assert_eq!(refill(&mut refilled, now, rate), expected, "{elapsed_us} us at {rate}/s");
            let used = refilled.duration_since(start);
            assert_eq!(used, Duration::from_micros(used_us), "{elapsed_us} us at {rate}/s: no time is lost");
        }
    }
}
