//! The probe: samples of received frames with their verdicts, for an operator who asks why.
//!
//! Off, it costs a branch a frame. On, workers put samples into a bounded ring, and count what finds no room.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use bcast_domain::Vni;
use crossbeam::queue::ArrayQueue;
use wire::{DropReason, NodeAddresses};

/// Samples that wait to be taken, at most.
pub const RING: usize = 1024;
/// Bytes of each frame that a sample holds, at most.
pub const SAMPLE_LEN: usize = 128;

/// Verdict on a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is replicated.
    Accepted,
    /// It is for the node itself, and on its way to the kernel.
    Punted,
    /// It was dropped.
    Dropped(DropReason),
}

impl Verdict {
    /// Number of the verdict, from 1.
    fn number(self) -> u32 {
        match self {
            Self::Accepted => 1,
            Self::Punted => 2,
            Self::Dropped(reason) => 3 + reason as u32,
        }
    }
}

/// Frames that are sampled: those that match all that is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Key of the GRE header.
    pub vni: Option<Vni>,
    /// Source address of the outer header.
    pub tep: Option<Ipv4Addr>,
    /// Verdict on the frame.
    pub verdict: Option<Verdict>,
}

/// A received frame's first bytes, and its verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Nanoseconds by the workers' clock.
    pub at_ns: u64,
    /// Key of the GRE header, where the frame has good outer headers.
    pub vni: Option<Vni>,
    /// Source address, where the frame has good outer headers.
    pub tep: Option<Ipv4Addr>,
    /// Verdict on the frame.
    pub verdict: Verdict,
    /// Bytes of the frame.
    pub len: usize,
    bytes: [u8; SAMPLE_LEN],
}

impl Sample {
    /// First bytes of the frame, [`SAMPLE_LEN`] at most.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len.min(SAMPLE_LEN)]
    }
}

/// Ring of samples, with its filter.
///
/// The filter is three words that change one by one. A frame that is parsed meanwhile may match a mix of both filters.
pub struct Probe {
    on: AtomicBool,
    /// VNI and source address, plus 1; 0: any.
    vni: AtomicU64,
    tep: AtomicU64,
    /// [`Verdict::number`]; 0: any.
    verdict: AtomicU32,
    samples: ArrayQueue<Sample>,
    lost: AtomicU64,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            on: AtomicBool::default(),
            vni: AtomicU64::default(),
            tep: AtomicU64::default(),
            verdict: AtomicU32::default(),
            samples: ArrayQueue::new(RING),
            lost: AtomicU64::default(),
        }
    }
}

impl Probe {
    /// Starts to sample, from each worker's next burst. Samples from before are dropped.
    pub fn start(&self, filter: Filter) {
        let any_or = |word: Option<u32>| word.map_or(0, |word| u64::from(word) + 1);
        self.stop();
        while self.samples.pop().is_some() {}
        self.lost.store(0, Relaxed);
        self.vni.store(any_or(filter.vni.map(Vni::get)), Relaxed);
        self.tep.store(any_or(filter.tep.map(Ipv4Addr::to_bits)), Relaxed);
        self.verdict.store(filter.verdict.map_or(0, Verdict::number), Relaxed);
        self.on.store(true, Relaxed);
    }

    /// Stops sampling, at each worker's next burst. Samples stay until they are taken.
    pub fn stop(&self) {
        self.on.store(false, Relaxed);
    }

    /// True if frames are sampled.
    #[inline(always)]
    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// Takes the oldest sample.
    pub fn take(&self) -> Option<Sample> {
        self.samples.pop()
    }

    /// Samples that found no room since the start.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Samples a frame, if its VNI and source match. For workers.
    #[cold]
    pub(crate) fn sample(&self, frame: &[u8], node: &NodeAddresses, at_ns: u64) -> Option<Sample> {
        let matches = |wanted: &AtomicU64, word: Option<u32>| match wanted.load(Relaxed) {
            0 => true,
            wanted => word.is_some_and(|word| u64::from(word) + 1 == wanted),
        };
        let outer = wire::parse(frame, node).ok();
        let (vni, tep) = (outer.map(|outer| outer.key), outer.map(|outer| outer.source));
        if !matches(&self.vni, vni) || !matches(&self.tep, tep.map(Ipv4Addr::to_bits)) {
            return None;
        }
        let mut bytes = [0; SAMPLE_LEN];
        bytes.iter_mut().zip(frame).for_each(|(to, from)| *to = *from);
        let (vni, verdict) = (vni.map(Vni::from), Verdict::Accepted);
        Some(Sample { at_ns, vni, tep, verdict, len: frame.len(), bytes })
    }

    /// Puts a sample into the ring, if its verdict matches. For workers.
    #[cold]
    pub(crate) fn offer(&self, sample: Option<Sample>, verdict: Verdict) {
        let wanted = [0, verdict.number()].contains(&self.verdict.load(Relaxed));
        if let Some(sample) = sample.filter(|_| wanted)
            && self.samples.push(Sample { verdict, ..sample }).is_err()
        {
            self.lost.fetch_add(1, Relaxed);
        }
    }
}
