//! Frames for the node itself: from workers to the kernel through a TAP device, and back.
//!
//! Workers never make the TAP's system calls. They pass whole packet buffers through bounded queues to and from one thread of
//! the control side, which polls the TAP.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use dpdk::{BURST, Mbuf, Mempool, Tsc};
use engine::police::Ticks;
use engine::punt::PuntQueues;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tun_rs::SyncDevice;

use crate::conflict::ConflictWatch;

/// Longest sleep of the TAP's thread between two checks for punted frames: delay that a ping to the node may get.
const POLL: Duration = Duration::from_micros(500);

/// The thread that moves frames between the queues and the TAP.
pub struct TapThread {
    /// The TAP.
    pub tap: SyncDevice,
    /// Queues to and from the workers.
    pub queues: Arc<PuntQueues<Mbuf>>,
    /// Packet buffers for what the kernel sends.
    pub pool: Mempool,
    /// Clock of the workers.
    pub clock: Tsc,
    /// Watch over hosts that have an address of the node's.
    pub conflicts: ConflictWatch,
    /// Place for the longest frame.
    pub buffer: Vec<u8>,
}

impl TapThread {
    /// Moves frames until `stop` is set, and counts its turns.
    pub fn run(&mut self, stop: &AtomicBool, rounds: &AtomicU64) {
        let mut failing = false;
        while !stop.load(Relaxed) {
            rounds.fetch_add(1, Relaxed);
            for mbuf in self.queues.for_kernel().take(BURST) {
                // The kernel may refuse a frame (its queue is full, the device is down): as on any link, it is then lost.
                let _lost = self.tap.send(mbuf.data());
            }
            match self.receive().map_err(|error| (error.kind(), error)) {
                Ok(()) | Err((io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted, _)) => failing = false,
                Err((_, error)) => {
                    if !failing {
                        tracing::warn!(%error, "reading from the TAP failed");
                    }
                    failing = true;
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
            self.conflicts.look(|| self.queues.conflict());
            if self.queues.is_idle() {
                let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(POLL.subsec_nanos()) };
                let _woken = poll(&mut [PollFd::new(&self.tap.as_fd(), PollFlags::IN)], Some(&timeout));
            }
        }
    }

    /// Reads frames of the kernel's until there are none.
    fn receive(&mut self) -> io::Result<()> {
        for _ in 0..BURST {
            let length = self.tap.recv(&mut self.buffer)?;
            let Some(frame) = self.buffer.get(..length) else { continue };
            // Before it is sent: its answer may be here at once.
            let now = Ticks { now: self.clock.now(), per_second: self.clock.per_second() };
            self.queues.note_kernel_frame(frame, now);
            if let Some(mut mbuf) = Mbuf::alloc(&self.pool)
                && let Some(place) = mbuf.append(length)
            {
                place.copy_from_slice(frame);
                // A full queue: the frame is lost, as on any link.
                drop(self.queues.from_kernel.push(mbuf));
            }
        }
        Ok(())
    }
}
