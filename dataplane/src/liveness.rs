//! What the node tells hypervisors by BFD: "Up" means that it can replicate.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use engine::counters::NoMemory;
use engine::sessions::{BfdBoard, BfdSettings, Discriminators, NodeState};
use wire::MacAddr;

use crate::config::BfdConfig;

/// Samples in a row with frames that a full ring refused, after which the ring counts as full: half a second.
const FULL_SAMPLES: u32 = 5;
/// Samples in a row without one, after which it counts as free again: two seconds.
const FREE_SAMPLES: u32 = 20;
/// Part of the TEPs that may be without a next hop: one of so many.
const MISSING_ONE_OF: usize = 20;

/// Reason for which hypervisors are to use another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The time after the start is not over, or the kernel was not asked for all next hops yet: sessions stay in Down.
    HoldBack,
    /// The operator drains the node.
    Drained,
    /// The port's link is down.
    Link,
    /// More than 5 % of the TEPs have no next hop, and more than one, or all.
    NextHops,
    /// The transmit ring stays full.
    TxRing,
}

impl Reason {
    /// All reasons.
    pub const ALL: [Self; 5] = [Self::HoldBack, Self::Drained, Self::Link, Self::NextHops, Self::TxRing];

    /// Name in metrics and in `bcastctl node show`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HoldBack => "hold_back",
            Self::Drained => "drained",
            Self::Link => "link",
            Self::NextHops => "next_hops",
            Self::TxRing => "tx_ring",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// Facts that decide, as of now.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The port's link is up.
    pub link_up: bool,
    /// The kernel was asked for the next hops of all TEPs.
    pub asked: bool,
    /// Registered TEPs.
    pub teps: usize,
    /// Those without a next hop.
    pub unresolved: usize,
    /// Frames that the transmit ring has refused since the start.
    pub refused: u64,
}

/// The transmit ring, as samples show it.
#[derive(Debug, Default)]
struct Ring {
    refused: u64,
    /// Samples in a row that were unlike what the ring counts as.
    unlike: u32,
    full: bool,
}

impl Ring {
    fn sample(&mut self, refused: u64) -> bool {
        let is_full = std::mem::replace(&mut self.refused, refused) != refused;
        self.unlike = if is_full == self.full { 0 } else { self.unlike + 1 };
        let enough = if self.full { FREE_SAMPLES } else { FULL_SAMPLES };
        if self.unlike >= enough {
            (self.full, self.unlike) = (is_full, 0);
        }
        self.full
    }
}

/// Whether the node can replicate, and the sessions that say so.
pub struct Liveness {
    /// Sessions of the workers.
    pub board: Arc<BfdBoard>,
    hold_back: Duration,
    /// Time at which the workers began.
    began: OnceLock<Instant>,
    drained: AtomicBool,
    ring: Mutex<Ring>,
    /// Bits of all reasons but [`Reason::Drained`].
    sampled: AtomicU8,
}

impl Liveness {
    /// Held back until [`Self::begin`], and the time after it.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(config: &BfdConfig, mac: MacAddr, workers: usize) -> Result<Self, NoMemory> {
        // Random by the keys of the standard library's hash tables.
        let [a, b, ..] = RandomState::new().build_hasher().finish().to_ne_bytes();
        let salt = NonZeroU16::new(u16::from_ne_bytes([a, b])).unwrap_or(NonZeroU16::MIN);
        let settings = BfdSettings {
            interval_us: config.interval_us,
            detect_mult: config.multiplier,
            mac,
            discriminators: Discriminators::new(salt),
        };
        Ok(Self {
            board: BfdBoard::new(settings, workers)?,
            hold_back: config.hold_back,
            began: OnceLock::new(),
            drained: AtomicBool::new(false),
            ring: Mutex::default(),
            sampled: AtomicU8::new(Reason::HoldBack.bit()),
        })
    }

    /// The workers run: from now on the time of the hold-back counts.
    pub fn begin(&self) {
        self.began.get_or_init(Instant::now);
    }

    /// Time for which sessions stay in Down yet; `None`: the workers do not run.
    pub fn held_back_for(&self, now: Instant) -> Option<Duration> {
        let began = self.began.get()?;
        Some(self.hold_back.saturating_sub(now.saturating_duration_since(*began)))
    }

    /// Looks at the facts, which are sampled each 100 ms, and has the sessions tell what follows.
    pub fn sample(&self, facts: Facts, now: Instant) {
        let Facts { link_up, asked, teps, unresolved, refused } = facts;
        let full = self.ring.lock().unwrap_or_else(PoisonError::into_inner).sample(refused);
        // One that is gone is not the node's fault, unless it is the only one.
        let missing = unresolved * MISSING_ONE_OF > teps && (unresolved > 1 || unresolved == teps);
        let held_back = !asked || self.held_back_for(now) != Some(Duration::ZERO);
        let met = [
            (Reason::HoldBack, held_back),
            (Reason::Link, !link_up),
            (Reason::NextHops, missing),
            (Reason::TxRing, full),
        ];
        let bits = met.iter().filter(|(_, met)| *met).fold(0, |bits, (reason, _)| bits | reason.bit());
        self.sampled.store(bits, Relaxed);
        self.tell();
    }

    /// Drains the node, or ends that: what it was before.
    pub fn set_drained(&self, drained: bool) -> bool {
        let before = self.drained.swap(drained, Relaxed);
        self.tell();
        before
    }

    /// Reasons that there are.
    pub fn reasons(&self) -> impl Iterator<Item = Reason> {
        let drained = if self.drained.load(Relaxed) { Reason::Drained.bit() } else { 0 };
        let bits = self.sampled.load(Relaxed) | drained;
        Reason::ALL.into_iter().filter(move |reason| bits & reason.bit() != 0)
    }

    /// What the sessions say.
    pub fn state(&self) -> NodeState {
        match self.reasons().next() {
            Some(Reason::HoldBack) => NodeState::HeldBack,
            Some(_) => NodeState::Leaving,
            None => NodeState::Serving,
        }
    }

    fn tell(&self) {
        let state = self.state();
        if self.board.set_state(state) != state {
            let reasons: Vec<_> = self.reasons().map(Reason::as_str).collect();
            tracing::info!(?state, reasons = reasons.join(", "), "what BFD tells hypervisors changed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: Facts = Facts { link_up: true, asked: true, teps: 100, unresolved: 0, refused: 0 };

    fn liveness(hold_back_s: u64) -> Liveness {
        let hold_back = Duration::from_secs(hold_back_s);
        let config = BfdConfig { interval_us: 50_000, multiplier: 3, hold_back };
        Liveness::new(&config, MacAddr([2; 6]), 1).unwrap()
    }

    fn serving() -> Liveness {
        let liveness = liveness(0);
        liveness.begin();
        liveness.sample(FINE, Instant::now());
        assert_eq!(liveness.board.state(), NodeState::Serving);
        liveness
    }

    fn reasons(liveness: &Liveness) -> Vec<Reason> {
        liveness.reasons().collect()
    }

    #[test]
    fn a_node_is_held_back_until_its_time_is_over_and_next_hops_were_asked_for() {
        let liveness = liveness(10);
        assert_eq!(liveness.board.state(), NodeState::HeldBack);
        liveness.sample(FINE, Instant::now() + Duration::from_secs(60));
        assert_eq!(liveness.board.state(), NodeState::HeldBack, "the workers do not run");
        liveness.begin();
        let began = Instant::now();
        liveness.sample(FINE, began + Duration::from_secs(9));
        assert_eq!(reasons(&liveness), [Reason::HoldBack]);
        let later = began + Duration::from_secs(11);
        liveness.sample(Facts { asked: false, ..FINE }, later);
        assert_eq!(liveness.board.state(), NodeState::HeldBack);
        liveness.sample(FINE, later);
        assert_eq!(liveness.board.state(), NodeState::Serving);
    }

    #[test]
    fn a_node_leaves_when_its_link_is_down_or_over_5_percent_of_the_teps_are_unresolved() {
        let liveness = serving();
        let rows = [
            (Facts { link_up: false, ..FINE }, vec![Reason::Link]),
            (Facts { unresolved: 5, ..FINE }, vec![]),
            (Facts { unresolved: 6, ..FINE }, vec![Reason::NextHops]),
            (Facts { unresolved: 6, link_up: false, ..FINE }, vec![Reason::Link, Reason::NextHops]),
            (Facts { teps: 3, unresolved: 1, ..FINE }, vec![]),
            (Facts { teps: 3, unresolved: 2, ..FINE }, vec![Reason::NextHops]),
            (Facts { teps: 1, unresolved: 1, ..FINE }, vec![Reason::NextHops]),
            (Facts { teps: 0, ..FINE }, vec![]),
        ];
        for (facts, expected) in rows {
            liveness.sample(facts, Instant::now());
            assert_eq!(reasons(&liveness), expected, "{facts:?}");
            let state = if expected.is_empty() { NodeState::Serving } else { NodeState::Leaving };
            assert_eq!(liveness.board.state(), state, "{facts:?}");
        }
    }

    #[test]
    fn a_ring_is_full_after_half_a_second_of_refusals_and_free_after_two_without() {
        let liveness = serving();
        let mut refused = 0;
        let mut samples = |count: u32, more: u64| {
            for _ in 0..count {
                refused += more;
                liveness.sample(Facts { refused, ..FINE }, Instant::now());
            }
            liveness.board.state()
        };
        assert_eq!(samples(4, 10), NodeState::Serving);
        assert_eq!(samples(1, 0), NodeState::Serving);
        assert_eq!(samples(4, 1), NodeState::Serving, "it begins anew");
        assert_eq!(samples(1, 1), NodeState::Leaving);
        assert_eq!(samples(19, 0), NodeState::Leaving);
        assert_eq!(samples(1, 1), NodeState::Leaving);
        assert_eq!(samples(19, 0), NodeState::Leaving);
        assert_eq!(samples(1, 0), NodeState::Serving);
    }

    #[test]
    fn a_drained_node_leaves_at_once_and_comes_back_at_once() {
        let liveness = serving();
        assert!(!liveness.set_drained(true));
        assert_eq!(liveness.board.state(), NodeState::Leaving);
        liveness.sample(FINE, Instant::now());
        assert_eq!(reasons(&liveness), [Reason::Drained]);
        assert!(liveness.set_drained(false));
        assert_eq!(liveness.board.state(), NodeState::Serving);
    }
}
