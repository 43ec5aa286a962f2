//! Unbroken traffic: numbered broadcast frames from one host, until it is stopped.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{
    frame::{self, Copy, broadcast, overlay},
    lab::Host,
    sender::Sender,
};

/// A thread that sends overlay frames, a millisecond apart or a little more.
#[derive(Debug)]
pub struct Traffic {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Traffic {
    /// Starts to send frames of network `vni` from the host; their tag is the VNI, their numbers count from 1.
    pub fn start(host: &Host, vni: u32) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let sender = Sender::new(&host.namespace, "eth0");
        let template = overlay(host, vni, &broadcast(vni, 0, 60));
        let thread = {
            let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
            thread::spawn(move || {
                let mut frame = template;
                for number in 1_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    frame[frame::at::INNER + 18..][..8].copy_from_slice(&number.to_be_bytes());
                    sender.send(&frame);
                    sent.store(number, Ordering::Release);
                    thread::sleep(Duration::from_millis(1));
                }
            })
        };
        Self { stop, sent, thread: Some(thread) }
    }

    /// The number of the last frame that was sent wholly; the one after it may be on its way.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Acquire)
    }

    /// Stops; gives how many frames were sent.
    pub fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("it is stopped once").join().expect("the sender does not panic");
        self.sent()
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Count of each number of network `vni` among the copies.
///
/// # Panics
/// A copy with that network's tag carries another key: it was misdelivered.
pub fn counts(copies: &[(Duration, Copy)], vni: u32) -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::new();
    for (_, copy) in copies {
        if let Some((tag, number)) = frame::tag_and_number(&copy.inner).filter(|(tag, _)| *tag == vni) {
            assert_eq!(copy.key, tag, "a frame of network {tag} in network {}", copy.key);
            *counts.entry(number).or_default() += 1;
        }
    }
    counts
}

/// The numbers of `from..=to` that are not there exactly once, with how often they are.
pub fn not_once(counts: &BTreeMap<u64, u64>, from: u64, to: u64) -> Vec<(u64, u64)> {
    (from..=to)
        .map(|number| (number, counts.get(&number).copied().unwrap_or_default()))
        .filter(|(_, times)| *times != 1)
        .collect()
}
