//! Frames for the node itself: from workers to the kernel through a TAP device, and back.
//!
//! Workers never make the TAP's system calls. They pass whole packet buffers through bounded queues to and from one thread of
//! the control side, which polls the TAP.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use dpdk::{BURST, Mbuf, Mempool};
use engine::punt::PuntQueues;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tun_rs::SyncDevice;

/// Longest sleep of the TAP's thread between two checks for punted frames: delay that a ping to the node may get.
const POLL: Duration = Duration::from_micros(500);

/// Moves frames between the queues and the TAP until `stop` is set, and counts its turns. For a thread of the control side.
pub fn run(
    tap: &SyncDevice,
    queues: &PuntQueues<Mbuf>,
    pool: &Mempool,
    max_frame: usize,
    (stop, rounds): (&AtomicBool, &AtomicU64),
) {
    let mut buffer = vec![0_u8; max_frame.max(2048)];
    let mut failing = false;
    while !stop.load(Relaxed) {
        rounds.fetch_add(1, Relaxed);
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
fn receive(tap: &SyncDevice, queues: &PuntQueues<Mbuf>, pool: &Mempool, buffer: &mut [u8]) -> io::Result<()> {
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
