//! Token buckets: what a domain, a TEP and the whole node may send, so that one tenant's storm is its own trouble.
//!
//! A bucket is one atomic number that all workers share: the moment up to which its tokens are spent (the generic cell rate
//! algorithm, ITU-T I.371). Workers do not touch it for each frame: they take leases, and spend those without sharing. A bucket that
//! is not in debt grants whatever one frame asks for, and is in debt afterwards: so a frame passes whole or not at all, also where
//! one fan-out is more than a bucket holds, and over time nobody gets more than the rate.
//!
//! The classes [`Class::Failover`] and [`Class::Control`] each have a bucket of their own in each domain and none but that: a storm of
//! other frames cannot use up what a failover needs. Within such a bucket each TEP has a fair share; see [`crate::shares`].

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use bcast_domain::limits::{MAX_DOMAINS, MAX_MEMBERS, MAX_TEPS};
use bcast_domain::{DomainId, DomainLimit, Rate, TepIndex, TepLimit};
use crossbeam::utils::CachePadded;
use wire::{Class, DropReason, MAX_INNER_LEN};
use zerocopy::{FromZeros, IntoBytes};

use crate::counters::{Cell, DomainCells, NoMemory};
use crate::shares::{Asked, Shares, SourceCount};

/// Rates of the configuration's `[limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// True if any limit is in force.
    pub enabled: bool,
    /// Copies a second of each domain, but for those of control frames.
    pub domain_copies: Rate,
    /// Bits a second of each domain: those of the inner frames in all copies.
    pub domain_bits: Rate,
    /// Frames a second from each TEP.
    pub tep_frames: Rate,
    /// Copies a second of all domains together, but for those of control frames.
    pub node_copies: Rate,
    /// Copies a second of ARP and neighbour advertisements, of each domain.
    pub control_copies: Rate,
    /// Copies a second of VRRP and of announcements of virtual IPs by those who may announce them, of each domain.
    pub failover_copies: Rate,
}

impl fmt::Display for RateLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { enabled, domain_copies, domain_bits, tep_frames, node_copies, .. } = self;
        let Self { control_copies, failover_copies, .. } = self;
        if !enabled {
            return f.write_str("off");
        }
        write!(f, "domain_copies {domain_copies}, domain_bits {domain_bits}, tep_frames {tep_frames}, ")?;
        write!(
            f,
            "node_copies {node_copies}, control_copies {control_copies}, failover_copies {failover_copies}"
        )
    }
}

impl Default for RateLimits {
    fn default() -> Self {
        let rate = |per_second| Rate::new(per_second).unwrap_or(Rate::UNLIMITED);
        Self {
            enabled: true,
            domain_copies: rate(1_000_000),
            domain_bits: rate(2_000_000_000),
            tep_frames: rate(100_000),
            node_copies: rate(100_000_000),
            control_copies: rate(1_000_000),
            failover_copies: rate(1_000_000),
        }
    }
}

/// Depth of a bucket, and size of a lease.
#[derive(Clone, Copy)]
pub(crate) struct Depth {
    /// Part of a second whose tokens a full bucket holds: 1 / this.
    pub(crate) of_second: u64,
    /// Most tokens in a lease, beyond what a frame needs. So much is left to a worker when a rate is lowered.
    pub(crate) lease: u64,
    /// Most tokens that one frame needs: no debt is more than that and a lease at the rate of the day, so that what was borrowed at
    /// a low rate does not outlast it.
    pub(crate) frame: u64,
    /// Seconds of debt beyond that, for sources that have not had their share.
    pub(crate) shares: u64,
}

/// Bytes of a control frame that count as one: ARP with tags takes 68, a neighbour advertisement 86, VRRP with 20 addresses 130.
const CONTROL_LEN: u64 = 128;

/// Copies of a frame at most.
const MAX_COPIES: u64 = MAX_MEMBERS as u64;

/// Places of each row of the sketch of TEPs' shares.
const SHARE_PLACES: usize = 1 << 15;

/// 20 ms: less than the twentieth by which a second may exceed its rate.
const DATA: Depth = Depth { of_second: 50, lease: 256, frame: MAX_COPIES, shares: 0 };
/// Depth for bits: as much, at some 1,500 bytes a copy.
const BITS: Depth =
    Depth { of_second: 50, lease: 256 * 12_000, frame: MAX_COPIES * MAX_INNER_LEN as u64 * 8, shares: 0 };
/// A whole second: a node full of virtual IPs announces them all at once.
const CONTROL: Depth = Depth { of_second: 1, lease: 256, frame: MAX_COPIES, shares: 1 };

/// Token bucket that all workers share.
#[derive(Default, FromZeros, IntoBytes)]
#[repr(C)]
pub(crate) struct Bucket {
    /// Tick up to which tokens are spent: ahead of now by the debt, behind it by the tokens in the bucket.
    spent_until: AtomicU64,
    /// Tokens a second; 0: the node's default.
    rate: AtomicU64,
}

impl Bucket {
    /// Takes `tokens` if there is no debt, or one of at most so many ticks.
    pub(crate) fn take(&self, tokens: u64, rate: u64, depth: Depth, debt: u64, clock: Ticks) -> bool {
        let full = clock.now.saturating_sub(clock.per_second / depth.of_second);
        let cost = |tokens: u64| {
            let ticks = u128::from(tokens) * u128::from(clock.per_second) / u128::from(rate.max(1));
            u64::try_from(ticks).unwrap_or(u64::MAX)
        };
        let most = cost(depth.frame + depth.lease).saturating_add(clock.per_second * depth.shares);
        let (most, cost) = (clock.now.saturating_add(most), cost(tokens));
        let mut granted = false;
        let spend = |until: u64| {
            let from = until.clamp(full, most);
            granted = from <= clock.now.saturating_add(debt);
            if granted { Some(from.saturating_add(cost)) } else { (until > most).then_some(most) }
        };
        let _unchanged = self.spent_until.fetch_update(Relaxed, Relaxed, spend);
        granted
    }

    /// Fills the bucket.
    pub(crate) fn fill(&self) {
        self.spent_until.store(0, Relaxed);
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

/// A moment of a steady clock.
#[derive(Clone, Copy)]
pub struct Ticks {
    /// Ticks since some moment before.
    pub now: u64,
    /// Ticks in a second.
    pub per_second: u64,
}

/// Buckets of one domain. Only refills of leases come here.
#[derive(Default, FromZeros, IntoBytes)]
#[repr(C)]
struct DomainBuckets {
    copies: Bucket,
    bits: Bucket,
    control: SharedBucket,
    failover: SharedBucket,
}

/// Bucket of which each source has a share.
#[derive(Default, FromZeros, IntoBytes)]
#[repr(C)]
pub(crate) struct SharedBucket {
    pub(crate) bucket: Bucket,
    pub(crate) sources: SourceCount,
}

/// Policer of a node: rates and buckets.
pub struct Policer {
    enabled: AtomicBool,
    domain_copies: AtomicU64,
    domain_bits: AtomicU64,
    tep_frames: AtomicU64,
    node_copies: AtomicU64,
    control_copies: AtomicU64,
    failover_copies: AtomicU64,
    shares: Shares,
    node: CachePadded<Bucket>,
    /// Buckets by [`DomainId`]. Memory is taken page by page as it is written.
    domains: Vec<DomainBuckets>,
    /// Buckets by [`TepIndex`].
    teps: Vec<Bucket>,
}

/// Token leases of one worker: what it took from the node's bucket and the TEPs', and has not spent. Leases of a domain's buckets
/// are in [`DomainCells`].
pub struct TokenLeases {
    node: Cell,
    teps: Vec<Cell>,
}

impl TokenLeases {
    /// No leases.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new() -> Result<Self, NoMemory> {
        Ok(Self { node: Cell::default(), teps: Cell::new_vec_zeroed(MAX_TEPS).map_err(|_| NoMemory)? })
    }
}

/// Demand of one frame: what it takes from the buckets.
#[derive(Clone, Copy)]
pub struct Demand {
    /// TEP that the frame came from.
    pub tep: TepIndex,
    /// Domain of the frame.
    pub domain: DomainId,
    /// Copies that it makes.
    pub copies: u64,
    /// Bytes of its inner frame.
    pub inner_len: u64,
    /// Class of the frame.
    pub class: Class,
}

impl Policer {
    /// Rates as configured, full buckets.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(config: RateLimits) -> Result<Self, NoMemory> {
        let limits = Self {
            enabled: AtomicBool::default(),
            domain_copies: AtomicU64::default(),
            domain_bits: AtomicU64::default(),
            tep_frames: AtomicU64::default(),
            node_copies: AtomicU64::default(),
            control_copies: AtomicU64::default(),
            failover_copies: AtomicU64::default(),
            shares: Shares::new(SHARE_PLACES)?,
            node: CachePadded::default(),
            domains: DomainBuckets::new_vec_zeroed(MAX_DOMAINS).map_err(|_| NoMemory)?,
            teps: Bucket::new_vec_zeroed(MAX_TEPS).map_err(|_| NoMemory)?,
        };
        limits.set(config);
        Ok(limits)
    }

    /// Takes effect at each worker's next burst.
    pub fn set(&self, config: RateLimits) {
        self.domain_copies.store(config.domain_copies.per_second(), Relaxed);
        self.domain_bits.store(config.domain_bits.per_second(), Relaxed);
        self.tep_frames.store(config.tep_frames.per_second(), Relaxed);
        self.node_copies.store(config.node_copies.per_second(), Relaxed);
        self.control_copies.store(config.control_copies.per_second(), Relaxed);
        self.failover_copies.store(config.failover_copies.per_second(), Relaxed);
        self.enabled.store(config.enabled, Relaxed);
    }

    /// Gives a domain rates of its own, or the node's. Call it too when a number goes to another domain.
    pub fn set_domain(&self, domain: DomainId, limit: DomainLimit) {
        let buckets = &self.domains[domain.index()];
        buckets.copies.set(limit.copies);
        buckets.bits.set(limit.bits);
        buckets.control.bucket.set(limit.control);
    }

    /// Gives a TEP a rate of its own, or the node's. Call it too when an index goes to another TEP.
    pub fn set_tep(&self, tep: TepIndex, limit: TepLimit) {
        self.teps[tep.index()].set(limit.frames);
    }

    /// True if any limit is in force.
    pub fn enabled(&self) -> bool {
        self.enabled.load(Relaxed)
    }

    /// Lets a frame pass, and takes its demand from each bucket that it is under; or names the empty one, and takes nothing.
    ///
    /// # Errors
    /// The limit that it is over.
    #[inline(always)]
    pub fn admit(
        &self,
        demand: Demand,
        leases: &TokenLeases,
        cells: &DomainCells,
        clock: Ticks,
    ) -> Result<(), DropReason> {
        let (domain, tep, copies) = (demand.domain.index(), demand.tep.index(), demand.copies);
        if demand.class != Class::Data {
            return self.admit_short(demand, cells, clock);
        }
        // First all leases are made to suffice, then all are spent: what a later limit refuses costs nothing with an earlier.
        let bits = copies * demand.inner_len * 8;
        let tep_lease = &leases.teps[tep];
        if !covers(tep_lease, 1, || (&self.teps[tep], &self.tep_frames), DATA, clock) {
            return Err(DropReason::TepRate);
        }
        let copies_bucket = || (&self.domains[domain].copies, &self.domain_copies);
        let bits_bucket = || (&self.domains[domain].bits, &self.domain_bits);
        if !covers(&cells.copies_left, copies, copies_bucket, DATA, clock)
            || !covers(&cells.bits_left, bits, bits_bucket, BITS, clock)
        {
            return Err(DropReason::DomainRate);
        }
        if !covers(&leases.node, copies, || (&*self.node, &self.node_copies), DATA, clock) {
            return Err(DropReason::NodeRate);
        }
        tep_lease.spend(1);
        leases.node.spend(copies);
        cells.copies_left.spend(copies);
        cells.bits_left.spend(bits);
        Ok(())
    }

    /// Charges a frame that was refused to its TEP. False if the TEP is over its limit.
    #[cold]
    pub fn charge(&self, tep: TepIndex, leases: &TokenLeases, clock: Ticks) -> bool {
        let (lease, tep) = (&leases.teps[tep.index()], tep.index());
        let under = covers(lease, 1, || (&self.teps[tep], &self.tep_frames), DATA, clock);
        if under {
            lease.spend(1);
        }
        under
    }

    /// The same for frames of the classes above data.
    #[inline(never)]
    fn admit_short(&self, demand: Demand, cells: &DomainCells, clock: Ticks) -> Result<(), DropReason> {
        match demand.class {
            Class::Failover => self.admit_failover(demand, clock),
            _ => self.admit_control(demand, cells, clock),
        }
    }

    fn admit_control(&self, demand: Demand, cells: &DomainCells, clock: Ticks) -> Result<(), DropReason> {
        let (copies, shared) = (demand.of_short_frames(), || &self.domains[demand.domain.index()].control);
        let bucket = || (&shared().bucket, &self.control_copies);
        if covers(&cells.control_left, copies, bucket, CONTROL, clock) {
            cells.control_left.spend(copies);
            return Ok(());
        }
        let borrows = self.borrow(demand, copies, shared(), &self.control_copies, clock);
        if borrows { Ok(()) } else { Err(DropReason::ControlRate) }
    }

    /// There are no leases of these buckets: the frames are few, or soon over their limit.
    fn admit_failover(&self, demand: Demand, clock: Ticks) -> Result<(), DropReason> {
        let (copies, shared) = (demand.of_short_frames(), &self.domains[demand.domain.index()].failover);
        let rate = shared.bucket.rate_or(&self.failover_copies);
        let passes = shared.bucket.take(copies, rate, CONTROL, 0, clock)
            || self.borrow(demand, copies, shared, &self.failover_copies, clock);
        if passes { Ok(()) } else { Err(DropReason::FailoverRate) }
    }

    #[cold]
    fn borrow(
        &self,
        Demand { class, domain, tep, .. }: Demand,
        need: u64,
        SharedBucket { bucket, sources }: &SharedBucket,
        default: &AtomicU64,
        clock: Ticks,
    ) -> bool {
        let source = (class as u64) << 48 | (domain.index() as u64) << 20 | tep.index() as u64;
        let (rate, asked) = (bucket.rate_or(default), Asked { source, need });
        let take = |debt| bucket.take(need, rate, CONTROL, debt, clock);
        self.shares.borrow(asked, sources, rate, clock, take)
    }
}

impl Demand {
    /// Copies, where frames should be short: a long one counts as so many.
    fn of_short_frames(&self) -> u64 {
        self.copies * self.inner_len.div_ceil(CONTROL_LEN).max(1)
    }
}

/// True if a lease holds `need` tokens, refilled from the bucket (given with its default rate) if it must.
#[inline(always)]
fn covers<'b>(
    lease: &Cell,
    need: u64,
    bucket: impl FnOnce() -> (&'b Bucket, &'b AtomicU64),
    depth: Depth,
    clock: Ticks,
) -> bool {
    lease.get() >= need || refill(lease, need, bucket(), depth, clock)
}

#[cold]
fn refill(
    lease: &Cell,
    need: u64,
    (bucket, default): (&Bucket, &AtomicU64),
    depth: Depth,
    clock: Ticks,
) -> bool {
    let rate = bucket.rate_or(default);
    // No more than a millisecond's worth, or slow buckets would be emptied by one lease.
    let full = need + depth.lease.min(rate / 1000);
    let granted = bucket.take(full - lease.get(), rate, depth, 0, clock);
    if granted {
        lease.set(full);
    }
    granted
}
