//! Frames for the node itself: from workers to the kernel through a TAP device, and back.
//!
//! Workers never make the TAP's system calls. They pass whole packet buffers through bounded queues to and from one thread of
//! the control side, which polls the TAP.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crossbeam::queue::ArrayQueue;
use dpdk::{BURST, Mbuf, Mempool};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tun_rs::SyncDevice;
use wire::DropReason;

use crate::outbox::Outbox;

/// Frames that wait on their way to the kernel, and on their way from it, at most.
const QUEUE: usize = 1024;
/// How long the TAP's thread sleeps at most before it looks for punted frames: what a ping to the node takes longer.
const POLL: Duration = Duration::from_micros(500);

/// The queues between workers and the TAP's thread.
pub struct PuntQueues {
    to_kernel: ArrayQueue<Mbuf>,
    from_kernel: ArrayQueue<Mbuf>,
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
    /// is the host's, allows it ([`crate::tap`]).
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

/// Moves frames between the queues and the TAP until `stop` is set, and counts its turns. For a thread of the control side.
pub fn run(
    tap: &SyncDevice,
    queues: &PuntQueues,
    pool: &Mempool,
    max_frame: usize,
    (stop, turns): (&AtomicBool, &AtomicU64),
) {
    let mut buffer = vec![0_u8; max_frame.max(2048)];
    let mut failing = false;
    while !stop.load(Relaxed) {
        turns.fetch_add(1, Relaxed);
        for _ in 0..BURST {
            let Some(mbuf) = queues.to_kernel.pop() else { break };
            // The kernel may refuse a frame (its queue is full, the device is down): as on any link, it is then lost.
            let _lost = tap.send(mbuf.data());
        }
        match receive(tap, queues, pool, &mut buffer).map_err(|error| (error.kind(), error)) {
            Ok(()) | Err((io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted, _)) => failing = false,
            Err((_, error)) => {
                if !failing {
                    tracing::warn!(%error, "reading from the TAP failed");
                }
                failing = true;
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        if queues.to_kernel.is_empty() {
            let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(POLL.subsec_nanos()) };
            let _woken = poll(&mut [PollFd::new(&tap.as_fd(), PollFlags::IN)], Some(&timeout));
        }
    }
}

/// Reads frames of the kernel's until there are none.
fn receive(tap: &SyncDevice, queues: &PuntQueues, pool: &Mempool, buffer: &mut [u8]) -> io::Result<()> {
    for _ in 0..BURST {
        let length = tap.recv(buffer)?;
        if let Some(mut mbuf) = Mbuf::alloc(pool)
            && let Some(place) = mbuf.append(length)
        {
            place.copy_from_slice(&buffer[..length]);
            // A full queue: the frame is lost, as on any link.
            drop(queues.from_kernel.push(mbuf));
        }
    }
    Ok(())
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
