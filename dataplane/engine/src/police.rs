//! Token buckets: what a domain, a TEP and the whole node may send, so that one tenant's storm is its own trouble.
//!
//! A bucket is one atomic number that all workers share: the moment up to which its tokens are spent (the generic cell rate
//! algorithm, ITU-T I.371). Workers do not touch it for each frame: they take lots, and spend those without sharing. A bucket that
//! is not in debt grants whatever one frame asks for, and is in debt afterwards: so a frame passes whole or not at all, also where
//! one fan-out is more than a bucket holds, and over time nobody gets more than the rate.
//!
//! ARP, neighbour advertisements and VRRP have a bucket of their own in each domain and none but that: a storm of other frames
//! cannot use up what a failover needs.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use bcast_domain::limits::{MAX_DOMAINS, MAX_MEMBERS, MAX_TEPS};
use bcast_domain::{DomainId, DomainLimit, Rate, TepIndex, TepLimit};
use crossbeam::utils::CachePadded;
use wire::{DropReason, MAX_INNER_LEN};
use zerocopy::{FromZeros, IntoBytes};

use crate::counters::{Cell, DomainCells, NoMemory};

/// The `[limits]` of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Whether any limit is in force.
    pub enabled: bool,
    /// Copies a second of each domain, but for those of control frames.
    pub domain_copies: Rate,
    /// Bits a second of each domain: those of the inner frames in all copies.
    pub domain_bits: Rate,
    /// Frames a second from each TEP.
    pub tep_frames: Rate,
    /// Copies a second of all domains together, but for those of control frames.
    pub node_copies: Rate,
    /// Copies a second of ARP, neighbour advertisements and VRRP, of each domain.
    pub control_copies: Rate,
}

impl fmt::Display for LimitsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { enabled, domain_copies, domain_bits, tep_frames, node_copies, control_copies } = self;
        if !enabled {
            return f.write_str("off");
        }
        write!(f, "domain_copies {domain_copies}, domain_bits {domain_bits}, tep_frames {tep_frames}, ")?;
        write!(f, "node_copies {node_copies}, control_copies {control_copies}")
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        let rate = |per_second| Rate::new(per_second).unwrap_or(Rate::UNLIMITED);
        Self {
            enabled: true,
            domain_copies: rate(1_000_000),
            domain_bits: rate(2_000_000_000),
            tep_frames: rate(100_000),
            node_copies: rate(100_000_000),
            control_copies: rate(1_000_000),
        }
    }
}

/// How much a bucket holds, and a worker takes at once.
#[derive(Clone, Copy)]
struct Depth {
    /// The part of a second whose tokens a full bucket holds: 1 / this.
    of_second: u64,
    /// Most tokens in a lot, beyond what a frame needs. So much is left to a worker when a rate is lowered.
    lot: u64,
    /// Most tokens that one frame needs: no debt is more than that and a lot at the rate of the day, so that what was borrowed at
    /// a low rate does not outlast it.
    frame: u64,
}

/// Bytes of a control frame that count as one: ARP with tags takes 68, a neighbour advertisement 86, VRRP with 20 addresses 130.
const CONTROL_LEN: u64 = 128;

/// Copies of a frame at most.
const MAX_COPIES: u64 = MAX_MEMBERS as u64;

/// 20 ms: less than the twentieth by which a second may exceed its rate.
const DATA: Depth = Depth { of_second: 50, lot: 256, frame: MAX_COPIES };
/// As much for bits, at some 1,500 bytes a copy.
const BITS: Depth = Depth { of_second: 50, lot: 256 * 12_000, frame: MAX_COPIES * MAX_INNER_LEN as u64 * 8 };
/// A whole second: a node full of virtual IPs announces them all at once.
const CONTROL: Depth = Depth { of_second: 1, lot: 256, frame: MAX_COPIES };

/// What all workers take from.
#[derive(Default, FromZeros, IntoBytes)]
#[repr(C)]
struct Bucket {
    /// The tick up to which tokens are spent: ahead of now by the debt, behind it by what is there.
    spent_until: AtomicU64,
    /// Tokens a second; 0: the node's default.
    rate: AtomicU64,
}

impl Bucket {
    /// Takes `tokens` if there is no debt.
    fn take(&self, tokens: u64, rate: u64, depth: Depth, clock: Clock) -> bool {
        let full = clock.now.saturating_sub(clock.per_second / depth.of_second);
        let cost = |tokens: u64| {
            let ticks = u128::from(tokens) * u128::from(clock.per_second) / u128::from(rate.max(1));
            u64::try_from(ticks).unwrap_or(u64::MAX)
        };
        let (most, cost) = (clock.now.saturating_add(cost(depth.frame + depth.lot)), cost(tokens));
        let mut granted = false;
        let spend = |until: u64| {
            let from = until.clamp(full, most);
            granted = from <= clock.now;
            if granted { Some(from.saturating_add(cost)) } else { (until > most).then_some(most) }
        };
        let _unchanged = self.spent_until.fetch_update(Relaxed, Relaxed, spend);
        granted
    }

    fn set(&self, rate: Option<Rate>) {
        let rate = rate.map_or(0, Rate::per_second);
        // What is default stays untouched memory: there may be a million of these.
        if self.rate.load(Relaxed) != rate {
            self.rate.store(rate, Relaxed);
            self.spent_until.store(0, Relaxed);
        }
    }

    fn rate_or(&self, default: &AtomicU64) -> u64 {
        match self.rate.load(Relaxed) {
            0 => default.load(Relaxed),
            rate => rate,
        }
    }
}

/// A moment, in ticks of a steady clock.
#[derive(Clone, Copy)]
pub struct Clock {
    /// Ticks since some moment before.
    pub now: u64,
    /// Ticks in a second.
    pub per_second: u64,
}

/// Of one domain. Only refills come here.
#[derive(Default, FromZeros, IntoBytes)]
#[repr(C)]
struct DomainBuckets {
    copies: Bucket,
    bits: Bucket,
    control: Bucket,
}

/// The limits of a node, and what is left of each.
pub struct Limits {
    enabled: AtomicBool,
    domain_copies: AtomicU64,
    domain_bits: AtomicU64,
    tep_frames: AtomicU64,
    node_copies: AtomicU64,
    control_copies: AtomicU64,
    node: CachePadded<Bucket>,
    /// By [`DomainId`]. Memory is taken page by page as it is written.
    domains: Vec<DomainBuckets>,
    /// By [`TepIndex`].
    teps: Vec<Bucket>,
}

/// What a worker has taken from the node's bucket and the TEPs', and not spent. What it has of a domain's stands in
/// [`DomainCells`].
pub struct Lots {
    node: Cell,
    teps: Vec<Cell>,
}

impl Lots {
    /// None at all.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new() -> Result<Self, NoMemory> {
        Ok(Self { node: Cell::default(), teps: Cell::new_vec_zeroed(MAX_TEPS).map_err(|_| NoMemory)? })
    }
}

/// What one frame asks for.
#[derive(Clone, Copy)]
pub struct Ask {
    /// Where it came from.
    pub tep: TepIndex,
    /// Where it goes.
    pub domain: DomainId,
    /// How many copies it makes.
    pub copies: u64,
    /// Bytes of its inner frame.
    pub inner_len: u64,
    /// It is ARP, a neighbour advertisement, or VRRP.
    pub control: bool,
}

impl Limits {
    /// As configured.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(config: LimitsConfig) -> Result<Self, NoMemory> {
        let limits = Self {
            enabled: AtomicBool::default(),
            domain_copies: AtomicU64::default(),
            domain_bits: AtomicU64::default(),
            tep_frames: AtomicU64::default(),
            node_copies: AtomicU64::default(),
            control_copies: AtomicU64::default(),
            node: CachePadded::default(),
            domains: DomainBuckets::new_vec_zeroed(MAX_DOMAINS).map_err(|_| NoMemory)?,
            teps: Bucket::new_vec_zeroed(MAX_TEPS).map_err(|_| NoMemory)?,
        };
        limits.set(config);
        Ok(limits)
    }

    /// Takes effect at each worker's next burst.
    pub fn set(&self, config: LimitsConfig) {
        self.domain_copies.store(config.domain_copies.per_second(), Relaxed);
        self.domain_bits.store(config.domain_bits.per_second(), Relaxed);
        self.tep_frames.store(config.tep_frames.per_second(), Relaxed);
        self.node_copies.store(config.node_copies.per_second(), Relaxed);
        self.control_copies.store(config.control_copies.per_second(), Relaxed);
        self.enabled.store(config.enabled, Relaxed);
    }

    /// Gives a domain rates of its own, or the node's. Call it too when a number goes to another domain.
    pub fn set_domain(&self, domain: DomainId, limit: DomainLimit) {
        let buckets = &self.domains[domain.index()];
        buckets.copies.set(limit.copies);
        buckets.bits.set(limit.bits);
        buckets.control.set(limit.control);
    }

    /// Gives a TEP a rate of its own, or the node's. Call it too when an index goes to another TEP.
    pub fn set_tep(&self, tep: TepIndex, limit: TepLimit) {
        self.teps[tep.index()].set(limit.frames);
    }

    /// Whether any limit is in force.
    pub fn enabled(&self) -> bool {
        self.enabled.load(Relaxed)
    }

    /// Lets a frame pass, and takes what it asks for from every bucket that it is under; or says which is empty, and takes
    /// nothing.
    ///
    /// # Errors
    /// The limit that it is over.
    #[inline(always)]
    pub fn admit(&self, ask: Ask, lots: &Lots, cells: &DomainCells, clock: Clock) -> Result<(), DropReason> {
        let (domain, tep, copies) = (ask.domain.index(), ask.tep.index(), ask.copies);
        if ask.control {
            // They are short; what claims to be one and is long costs as much as so many.
            let copies = copies * ask.inner_len.div_ceil(CONTROL_LEN).max(1);
            let bucket = || (&self.domains[domain].control, &self.control_copies);
            if !covers(&cells.control_left, copies, bucket, CONTROL, clock) {
                return Err(DropReason::ControlRate);
            }
            cells.control_left.spend(copies);
            return Ok(());
        }
        // First all lots are made to suffice, then all are spent: what a later limit refuses costs nothing with an earlier.
        let bits = copies * ask.inner_len * 8;
        let of_tep = &lots.teps[tep];
        if !covers(of_tep, 1, || (&self.teps[tep], &self.tep_frames), DATA, clock) {
            return Err(DropReason::TepRate);
        }
        let copies_bucket = || (&self.domains[domain].copies, &self.domain_copies);
        let bits_bucket = || (&self.domains[domain].bits, &self.domain_bits);
        if !covers(&cells.copies_left, copies, copies_bucket, DATA, clock)
            || !covers(&cells.bits_left, bits, bits_bucket, BITS, clock)
        {
            return Err(DropReason::DomainRate);
        }
        if !covers(&lots.node, copies, || (&*self.node, &self.node_copies), DATA, clock) {
            return Err(DropReason::NodeRate);
        }
        of_tep.spend(1);
        lots.node.spend(copies);
        cells.copies_left.spend(copies);
        cells.bits_left.spend(bits);
        Ok(())
    }
}

/// Whether a worker's lot holds `need` tokens, once it has taken another from the bucket (given with its default rate) if it must.
#[inline(always)]
fn covers<'b>(
    lot: &Cell,
    need: u64,
    bucket: impl FnOnce() -> (&'b Bucket, &'b AtomicU64),
    depth: Depth,
    clock: Clock,
) -> bool {
    lot.get() >= need || refill(lot, need, bucket(), depth, clock)
}

#[cold]
fn refill(
    lot: &Cell,
    need: u64,
    (bucket, default): (&Bucket, &AtomicU64),
    depth: Depth,
    clock: Clock,
) -> bool {
    let rate = bucket.rate_or(default);
    // No more than a millisecond's worth, or slow buckets would be emptied by one lot.
    let full = need + depth.lot.min(rate / 1000);
    let granted = bucket.take(full - lot.get(), rate, depth, clock);
    if granted {
        lot.set(full);
    }
    granted
}

#[cfg(test)]
mod tests {
    use bcast_domain::Vni;

    use super::*;

    const MILLION: u64 = 1_000_000;

    fn rate(per_second: u64) -> Rate {
        Rate::new(per_second).unwrap()
    }

    fn config() -> LimitsConfig {
        let most = Rate::UNLIMITED;
        LimitsConfig {
            enabled: true,
            domain_copies: most,
            domain_bits: most,
            tep_frames: most,
            node_copies: most,
            control_copies: most,
        }
    }

    /// A node with two domains, and so many workers.
    struct Bench {
        limits: Limits,
        workers: Vec<(Lots, [DomainCells; 2])>,
        domains: [DomainId; 2],
    }

    impl Bench {
        fn new(config: LimitsConfig, workers: usize) -> Self {
            let (mut table, ..) = bcast_domain::table(());
            Self {
                limits: Limits::new(config).unwrap(),
                workers: (0..workers).map(|_| (Lots::new().unwrap(), Default::default())).collect(),
                domains: [1, 2].map(|vni| table.set(Vni::from(vni), &[]).unwrap()),
            }
        }

        fn ask(&self, domain: usize, copies: u64) -> Ask {
            let tep = TepIndex::new(u32::try_from(domain).unwrap()).unwrap();
            Ask { tep, domain: self.domains[domain], copies, inner_len: 100, control: false }
        }

        fn admit(&self, worker: usize, ask: Ask, now: u64) -> Result<(), DropReason> {
            let (lots, cells) = &self.workers[worker];
            let cells = &cells[usize::from(ask.domain == self.domains[1])];
            self.limits.admit(ask, lots, cells, Clock { now, per_second: MILLION })
        }

        /// How many of 1,000 frames a millisecond, spread over the workers, pass in each of so many seconds.
        fn passed(&self, ask: Ask, seconds: std::ops::Range<u64>) -> Vec<u64> {
            let pass = |second: u64| {
                let micros = second * MILLION..(second + 1) * MILLION;
                let worker = |now: u64| usize::try_from(now).unwrap() % self.workers.len();
                micros.filter(|&now| self.admit(worker(now), ask, now).is_ok()).count() as u64
            };
            seconds.map(pass).collect()
        }
    }

    #[test]
    fn a_domain_at_a_hundred_times_its_limit_gets_that_and_no_twentieth_more() {
        for (workers, copies) in [(1, 1), (2, 1), (1, 8), (2, 8), (1, 100), (2, 100)] {
            let limit = 10_000 * copies;
            let bench = Bench::new(LimitsConfig { domain_copies: rate(limit), ..config() }, workers);
            for frames in bench.passed(bench.ask(0, copies), 10..13) {
                let ratio = (frames * copies) as f64 / limit as f64;
                assert!((0.99..1.05).contains(&ratio), "{workers} workers, {copies} copies: {ratio}");
            }
        }
    }

    #[test]
    fn each_limit_names_its_drop_and_leaves_other_domains_alone() {
        let few = rate(1000);
        let table = [
            (LimitsConfig { domain_copies: few, ..config() }, DropReason::DomainRate, 1000, false),
            (LimitsConfig { domain_bits: rate(800_000), ..config() }, DropReason::DomainRate, 1000, false),
            (LimitsConfig { tep_frames: few, ..config() }, DropReason::TepRate, 1000, false),
            (LimitsConfig { node_copies: few, ..config() }, DropReason::NodeRate, 1000, true),
        ];
        for (config, reason, expected, shared) in table {
            let bench = Bench::new(config, 1);
            let passed = bench.passed(bench.ask(0, 1), 10..12);
            for frames in passed {
                assert!((expected * 99 / 100..expected * 105 / 100).contains(&frames), "{reason}: {frames}");
            }
            let last = 12 * MILLION - 1;
            assert_eq!(bench.admit(0, bench.ask(0, 1), last), Err(reason));
            let other = bench.admit(0, bench.ask(1, 1), last);
            assert_eq!(other, if shared { Err(reason) } else { Ok(()) }, "{reason}");
            let control = Ask { control: true, ..bench.ask(0, 1) };
            assert_eq!(bench.admit(0, control, last), Ok(()), "a storm leaves ARP alone");
        }
    }

    #[test]
    fn control_frames_have_a_bucket_that_holds_a_second() {
        let bench = Bench::new(LimitsConfig { control_copies: rate(5_000), ..config() }, 1);
        let ask = Ask { control: true, ..bench.ask(0, 10) };
        let at_once = (0..).take_while(|_| bench.admit(0, ask, 10 * MILLION).is_ok()).count();
        assert!((500..550).contains(&at_once), "{at_once}");
        assert_eq!(bench.admit(0, ask, 10 * MILLION), Err(DropReason::ControlRate));
        assert_eq!(bench.admit(0, Ask { control: false, ..ask }, 10 * MILLION), Ok(()));
    }

    #[test]
    fn a_control_frame_that_is_long_counts_as_several() {
        for (inner_len, frames) in [(60, 500), (128, 500), (129, 250), (1_400, 46)] {
            let bench = Bench::new(LimitsConfig { control_copies: rate(5_000), ..config() }, 1);
            let ask = Ask { control: true, inner_len, ..bench.ask(0, 10) };
            let at_once = (0..).take_while(|_| bench.admit(0, ask, 10 * MILLION).is_ok()).count();
            assert!((frames..frames + 3).contains(&at_once), "{inner_len} bytes: {at_once}");
        }
    }

    #[test]
    fn one_full_fan_out_passes_on_credit_and_is_paid_back() {
        let bench = Bench::new(LimitsConfig { domain_copies: rate(1000), ..config() }, 1);
        let ask = bench.ask(0, 16_384);
        assert_eq!(bench.admit(0, ask, 10 * MILLION), Ok(()));
        let second = (10 * MILLION..60 * MILLION).step_by(1000).find(|&now| bench.admit(0, ask, now).is_ok());
        let waited = second.unwrap() - 10 * MILLION;
        assert!(
            (16 * MILLION..17 * MILLION).contains(&waited),
            "{waited} us for 16,384 copies at 1,000 a second"
        );
    }

    #[test]
    fn debt_at_a_low_rate_does_not_outlast_it() {
        let slow = LimitsConfig { domain_copies: rate(1000), ..config() };
        let bench = Bench::new(slow, 1);
        let ask = bench.ask(0, 16_384);
        assert_eq!(bench.admit(0, ask, 10 * MILLION), Ok(()));
        assert_eq!(bench.admit(0, ask, 11 * MILLION), Err(DropReason::DomainRate));
        bench.limits.set(LimitsConfig { domain_copies: rate(1_000_000), ..slow });
        assert_eq!(bench.admit(0, ask, 11 * MILLION), Err(DropReason::DomainRate), "17 ms are still owed");
        assert_eq!(bench.admit(0, ask, 11 * MILLION + 20_000), Ok(()));
    }

    #[test]
    fn a_domain_gets_a_rate_of_its_own_and_loses_it() {
        let bench = Bench::new(LimitsConfig { domain_copies: rate(1000), ..config() }, 1);
        let own = DomainLimit { copies: Some(rate(50_000)), ..DomainLimit::default() };
        bench.limits.set_domain(bench.domains[0], own);
        let of = |domain, second| bench.passed(bench.ask(domain, 1), second..second + 1)[0];
        assert!((49_500..52_500).contains(&of(0, 10)));
        assert!((990..1050).contains(&of(1, 12)));
        bench.limits.set_domain(bench.domains[0], DomainLimit::default());
        assert!((990..1050).contains(&of(0, 20)));
        bench.limits.set_tep(TepIndex::new(1).unwrap(), TepLimit { frames: Some(rate(500)) });
        assert!((495..525).contains(&of(1, 30)));
    }
}
