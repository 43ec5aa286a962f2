//! Limits of the way to the kernel: each class has a part of the node's rate, and each source a share of its class.
//!
//! A class is let through by its own bucket, which no other class can empty; beyond that by what all classes together have left. Within a
//! class that has neither, a source that has had less than its share may borrow, as in [`crate::shares`].

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use wire::host::Content;

use crate::counters::NoMemory;
use crate::police::{Depth, SharedBucket, Ticks};
use crate::shares::{Asked, Shares};

/// Class of a frame for the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PuntClass {
    /// ARP and neighbour discovery of TEPs, of next hops, and of hosts that the kernel sends to.
    Neighbours,
    /// BGP and BFD.
    Routing,
    /// All else.
    Rest,
}

impl PuntClass {
    /// All classes, in the order in which the kernel gets their frames.
    pub const ALL: [Self; 3] = [Self::Neighbours, Self::Routing, Self::Rest];

    /// Class of a frame whose sender the node knows, or not.
    pub fn of(content: &Content<'_>, known: bool) -> Self {
        match content {
            Content::Arp(_) | Content::Discovery if known => Self::Neighbours,
            Content::Routing => Self::Routing,
            _ => Self::Rest,
        }
    }

    /// Part of the node's rate that is this class's alone: 1 / this.
    const fn part(self) -> u64 {
        match self {
            Self::Neighbours | Self::Routing => 4,
            Self::Rest => 2,
        }
    }
}

/// A tenth of a second's worth, and a second's of debt to sources that have not had their share.
const DEPTH: Depth = Depth { of_second: 10, lease: 0, frame: 1, shares: 1 };
/// Places of each row of the sketch of sources.
const PLACES: usize = 1 << 12;

/// Buckets of the way to the kernel, which all workers share.
pub struct PuntLimits {
    all: SharedBucket,
    classes: [SharedBucket; PuntClass::ALL.len()],
    shares: Shares,
    /// A tick that has passed: the last one, to some sixteenth of a second.
    latest: AtomicU64,
}

impl PuntLimits {
    /// Full buckets.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new() -> Result<Self, NoMemory> {
        let (all, classes) = Default::default();
        Ok(Self { all, classes, shares: Shares::new(PLACES)?, latest: AtomicU64::default() })
    }

    /// Lets a frame of this class and source through, unless it is over `rate` (frames a second of the whole node).
    pub fn admits(&self, class: PuntClass, source: u64, rate: u32, now: Ticks) -> bool {
        if rate == 0 {
            return false;
        }
        self.follow(now);
        let rate = u64::from(rate);
        let part = (rate / class.part()).max(1);
        let (all, own) = (&self.all.bucket, &self.classes[class as usize]);
        let takes_own = |debt| {
            let granted = own.bucket.take(1, part, DEPTH, debt, now);
            // It counts among all, whatever those have left.
            granted && all.take(1, rate, DEPTH, u64::MAX, now)
        };
        if takes_own(0) || all.take(1, rate, DEPTH, 0, now) {
            return true;
        }
        let source = source << 2 | class as u64;
        self.shares.borrow(Asked { source, need: 1 }, &own.sources, part, now, takes_own)
    }
    /// Begins anew where the clock went backwards, as in a virtual machine that moved to another host: what was owed by the old clock might be
    /// owed for ever.
    fn follow(&self, Ticks { now, per_second }: Ticks) {
        let latest = self.latest.load(Relaxed);
        let backwards = now.saturating_add(per_second) < latest;
        if backwards {
            self.classes.iter().chain([&self.all]).for_each(|class| class.bucket.fill());
        }
        if backwards || now > latest.saturating_add(per_second / 16) {
            self.latest.store(now, Relaxed);
        }
    }
}
