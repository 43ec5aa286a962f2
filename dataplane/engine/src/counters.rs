//! Counters. Each worker writes its own cells, and everybody reads the sums.
//!
//! A cell has one writer, so it is raised by a load and a store, without a locked instruction. The sums are exact at rest:
//! received = accepted + drops + punted, and copies wanted = copies sent + copies dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::inspect::KINDS;
use bcast_domain::limits::{MAX_DOMAINS, MAX_TEPS};
use bcast_domain::{DomainId, TepIndex};
use crossbeam::utils::CachePadded;
use wire::{CopyDropReason, CopyErrorKind, DropReason, Offender};
use zerocopy::{FromZeros, IntoBytes};

use crate::fanout::{Class, JOBS};
use crate::offenders::{Offence, Offenders};
use crate::punt::PuntKind;

/// A counter with one writer and any number of readers.
#[derive(Default, FromZeros, IntoBytes)]
#[repr(transparent)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Raises the counter. For its one writer.
    #[inline(always)]
    pub fn add(&self, by: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(by), Relaxed);
    }

    /// The count.
    #[inline(always)]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Sets the count. For its one writer.
    #[inline(always)]
    pub fn set(&self, to: u64) {
        self.0.store(to, Relaxed);
    }

    /// Lowers the count, which is no less. For its one writer.
    #[inline(always)]
    pub fn spend(&self, by: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(by), Relaxed);
    }
}

/// Cells of one domain: counters, and state that the worker keeps by domain.
///
/// 64 bytes, of which an ordinary frame touches the first 48. They are not aligned to a cache line, as zeroed memory of such
/// an alignment is written, and so resident, where other zeroed memory is not there until it is used. The C library puts a large
/// array 16 bytes into a page: so those 48 are in one line all the same.
#[derive(Default, FromZeros, IntoBytes)]
#[repr(C)]
pub struct DomainCells {
    /// Frames accepted.
    pub frames: Cell,
    /// Copies sent.
    pub copies: Cell,
    /// Bytes of inner frames in the copies sent.
    pub bytes: Cell,
    /// Tokens (copies) leased from the domain's bucket; see [`crate::police`].
    pub copies_left: Cell,
    /// Tokens (bits) leased from the domain's bucket.
    pub bits_left: Cell,
    /// [`Backlog`] of each class, in 21 bits.
    backlog: Cell,
    /// Tokens (copies) leased from the domain's bucket of control frames.
    pub control_left: Cell,
    /// Frames and copies dropped; by reason they are in the domain's drop cells.
    pub drops: Cell,
}

const _: () = assert!(size_of::<DomainCells>() == 64 && align_of::<DomainCells>() <= 16);

impl DomainCells {
    const fn shift(class: Class) -> u32 {
        class as u32 * (Backlog::JOB_BITS + Backlog::FLOW_BITS)
    }

    /// Fan-outs of the domain that wait.
    #[inline(always)]
    pub fn backlog(&self, class: Class) -> Backlog {
        let word = self.backlog.get() >> Self::shift(class);
        let (jobs, flow) = (word & Backlog::MOST_JOBS, word >> Backlog::JOB_BITS & Backlog::MOST_FLOW);
        Backlog { jobs: low(jobs), flow: low(flow) }
    }

    /// Sets it. For the one queue that knows.
    pub(crate) fn set_backlog(&self, class: Class, backlog: Backlog) {
        let word = u64::from(backlog.jobs) | u64::from(backlog.flow) << Backlog::JOB_BITS;
        let mask = Backlog::MOST_JOBS | Backlog::MOST_FLOW << Backlog::JOB_BITS;
        let others = self.backlog.get() & !(mask << Self::shift(class));
        self.backlog.set(others | (word & mask) << Self::shift(class));
    }
}

/// Fan-outs of one domain and class that wait in a worker's queue; see [`crate::fanout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Jobs.
    pub jobs: u16,
    /// Number of their flow; of no meaning where there is no job.
    pub flow: u16,
}

/// The low 16 bits.
fn low(word: u64) -> u16 {
    let [a, b, ..] = word.to_le_bytes();
    u16::from_le_bytes([a, b])
}

impl Backlog {
    const JOB_BITS: u32 = 10;
    const FLOW_BITS: u32 = 11;
    const MOST_JOBS: u64 = (1 << Self::JOB_BITS) - 1;
    const MOST_FLOW: u64 = (1 << Self::FLOW_BITS) - 1;
}

// A flow takes no more than a quarter of the free jobs beside its first one.
const _: () = assert!(JOBS as u64 / 4 < Backlog::MOST_JOBS && JOBS as u64 <= Backlog::MOST_FLOW + 1);
const _: () = assert!(DomainCells::shift(Class::Data) + Backlog::JOB_BITS + Backlog::FLOW_BITS <= u64::BITS);

/// Bounds of [`ForwardingTimes::time`]'s buckets, nanoseconds; the last bucket has none.
pub const TIME_BOUNDS_NS: [u64; 16] = [
    500,
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    150_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    20_000_000,
    100_000_000,
];
/// Bounds of [`ForwardingTimes::quanta`]'s buckets; the last bucket has none.
pub const QUANTA_BOUNDS: [u64; 8] = [0, 1, 2, 4, 8, 16, 64, 256];

/// Times from the return of the receive call until a frame's last copy was handed to the port.
#[derive(Default)]
pub struct ForwardingTimes {
    /// Frames by time, see [`TIME_BOUNDS_NS`].
    pub time: [Cell; TIME_BOUNDS_NS.len() + 1],
    /// Sum of their times, nanoseconds.
    pub time_ns: Cell,
    /// Frames by the quanta of others' large fan-outs that they waited for, see [`QUANTA_BOUNDS`].
    pub quanta: [Cell; QUANTA_BOUNDS.len() + 1],
    /// Sum of those quanta.
    pub quanta_sum: Cell,
}

impl ForwardingTimes {
    /// Counts frames that stayed for so long, and waited for so many quanta.
    pub fn add(&self, frames: u64, ns: u64, quanta: u64) {
        self.time[TIME_BOUNDS_NS.partition_point(|&bound| bound < ns)].add(frames);
        self.time_ns.add(frames.saturating_mul(ns));
        self.quanta[QUANTA_BOUNDS.partition_point(|&bound| bound < quanta)].add(frames);
        self.quanta_sum.add(frames.saturating_mul(quanta));
    }
}

/// One worker's counters.
#[derive(Default)]
pub struct WorkerCounters {
    /// Bursts polled, empty ones included: the worker's heartbeat.
    pub polls: Cell,
    /// Polls that had something to do.
    pub busy_polls: Cell,
    /// Time of those polls, nanoseconds.
    pub busy_ns: Cell,
    /// Frames received.
    pub rx_frames: Cell,
    /// Frames accepted: replicated to as many members as there are.
    pub rx_accepted: Cell,
    /// Frames for the node itself that were handed to the kernel, or answered by the node.
    pub punted: Cell,
    /// The same by [`PuntKind`].
    pub punted_by: [Cell; PuntKind::ALL.len()],
    /// ARP frames by which another host claimed an address of the node's.
    pub conflicts: Cell,
    /// ICMP errors about copies to TEPs, by [`CopyErrorKind`].
    pub icmp_errors: [Cell; CopyErrorKind::ALL.len()],
    /// Frames dropped, by [`DropReason::index`].
    pub drops: [Cell; DropReason::ALL.len()],
    /// Accepted frames that announced virtual IPs, by [`Announced::kind`](crate::inspect::Announced::kind).
    pub announcements: [Cell; KINDS.len()],
    /// Rejected announcements that found no room in the queue to the control side.
    pub rejected_lost: Cell,
    /// Frames that the node itself made to be replicated; they count as received, too.
    pub local_frames: Cell,
    /// Copies that accepted frames asked for.
    pub copies_wanted: Cell,
    /// Copies that the port has taken.
    pub tx_copies: Cell,
    /// Copies dropped, by [`CopyDropReason::index`].
    pub copy_drops: [Cell; CopyDropReason::ALL.len()],
    /// Times that frames stayed, by [`Class`].
    pub forwarding: [ForwardingTimes; Class::ALL.len()],
    /// Frames of the kernel's that the port has taken.
    pub tx_kernel: Cell,
    /// Frames of the kernel's that the port has refused.
    pub tx_kernel_drops: Cell,
    /// Frames to one TEP that the port has taken.
    pub tx_unicast: Cell,
    /// Frames to one TEP that were dropped: no such TEP, no next hop, no room in the buffer or in the port.
    pub tx_unicast_drops: Cell,
    /// BFD frames to hypervisors that the port has taken.
    pub tx_bfd: Cell,
    /// BFD frames to hypervisors that were dropped: no next hop, no packet buffer, no room in the port, or its link is down.
    pub tx_bfd_drops: Cell,
}

/// First reason for which a frame's source is known to be a TEP.
const FIRST: usize = DropReason::BfdRate.index();
/// Number of reasons from there on; those of frames for the node itself come behind them.
const ATTRIBUTED: usize = DropReason::FanoutQueueFull.index() - FIRST + 1;

/// Drops of one domain or TEP, by reason. Touched where something is dropped, and nowhere else.
#[derive(Default, FromZeros, IntoBytes)]
#[repr(C)]
struct DropCells {
    frames: [Cell; ATTRIBUTED],
    copies: [Cell; CopyDropReason::ALL.len()],
}

/// Numbers of drops of one domain or TEP, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropCounts {
    frames: [u64; ATTRIBUTED],
    copies: [u64; CopyDropReason::ALL.len()],
}

impl DropCounts {
    /// Frames that were dropped, by reason; only reasons with any.
    pub fn frames(&self) -> impl Iterator<Item = (DropReason, u64)> {
        let counted = DropReason::ALL.iter().skip(FIRST).copied().zip(self.frames);
        counted.filter(|&(_, count)| count > 0)
    }

    /// Copies that were dropped, by reason; all reasons.
    pub fn copies(&self) -> impl Iterator<Item = (CopyDropReason, u64)> {
        CopyDropReason::ALL.into_iter().zip(self.copies)
    }

    /// Copies that were dropped for one reason.
    pub fn of_copies(&self, reason: CopyDropReason) -> u64 {
        self.copies[reason.index()]
    }

    /// Number since `base`.
    #[must_use]
    pub fn since(mut self, base: &Self) -> Self {
        let pairs = self.frames.iter_mut().zip(&base.frames).chain(self.copies.iter_mut().zip(&base.copies));
        pairs.for_each(|(count, before)| *count = count.saturating_sub(*before));
        self
    }

    /// Sum of both.
    #[must_use]
    fn plus(mut self, other: Self) -> Self {
        let pairs = self.frames.iter_mut().zip(other.frames).chain(self.copies.iter_mut().zip(other.copies));
        pairs.for_each(|(sum, count)| *sum += count);
        self
    }
}

impl From<&DropCells> for DropCounts {
    fn from(DropCells { frames, copies }: &DropCells) -> Self {
        Self { frames: frames.each_ref().map(Cell::get), copies: copies.each_ref().map(Cell::get) }
    }
}

/// Counters of one worker. The arrays have the limits' size; memory is taken page by page as it is written.
pub struct WorkerCells {
    /// Totals.
    pub totals: CachePadded<WorkerCounters>,
    /// Last offenders.
    pub offenders: Offenders,
    domains: Vec<DomainCells>,
    domain_drops: Vec<DropCells>,
    tep_drops: Vec<DropCells>,
    icmp_errors: Vec<[Cell; CopyErrorKind::ALL.len()]>,
}

/// There was no memory for the counters.
#[derive(Debug, thiserror::Error)]
#[error("no memory for a worker's counters; free some, or run fewer workers (workers.cores)")]
pub struct NoMemory;

impl WorkerCells {
    /// Counters at zero.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new() -> Result<Self, NoMemory> {
        Ok(Self {
            totals: CachePadded::default(),
            offenders: Offenders::default(),
            domains: DomainCells::new_vec_zeroed(MAX_DOMAINS).map_err(|_| NoMemory)?,
            domain_drops: DropCells::new_vec_zeroed(MAX_DOMAINS).map_err(|_| NoMemory)?,
            tep_drops: DropCells::new_vec_zeroed(MAX_TEPS).map_err(|_| NoMemory)?,
            icmp_errors: <[Cell; _]>::new_vec_zeroed(MAX_TEPS).map_err(|_| NoMemory)?,
        })
    }

    /// Cells of a domain.
    #[inline(always)]
    pub fn domain(&self, id: DomainId) -> &DomainCells {
        &self.domains[id.index()]
    }

    /// Counts a copy that was dropped; `None`: its TEP is not known any more.
    #[cold]
    pub fn drop_copy(&self, tep: Option<TepIndex>, domain: DomainId, reason: CopyDropReason) {
        if let Some(tep) = tep {
            self.tep_drops[tep.index()].copies[reason.index()].add(1);
        }
        self.domain_drops[domain.index()].copies[reason.index()].add(1);
        self.domain(domain).drops.add(1);
        self.totals.copy_drops[reason.index()].add(1);
    }

    /// Counts a frame that was dropped, received at tick `at`, and records its sender.
    #[cold]
    pub fn drop_frame(&self, reason: DropReason, offender: &Offender, at: u64) {
        self.totals.drops[reason.index()].add(1);
        self.offenders.record(reason, offender, at);
    }

    /// Counts an ICMP error about a copy to a TEP.
    #[cold]
    pub fn icmp_error(&self, tep: TepIndex, kind: CopyErrorKind) {
        self.icmp_errors[tep.index()][kind as usize].add(1);
        self.totals.icmp_errors[kind as usize].add(1);
    }

    /// ICMP errors about copies to a TEP, by [`CopyErrorKind`].
    pub fn icmp_errors(&self, tep: TepIndex) -> [u64; CopyErrorKind::ALL.len()] {
        self.icmp_errors[tep.index()].each_ref().map(Cell::get)
    }

    /// Drops of a domain: its frames, and their copies.
    pub fn domain_drops(&self, id: DomainId) -> DropCounts {
        (&self.domain_drops[id.index()]).into()
    }

    /// Drops of a TEP: frames that it sent, and copies to it.
    pub fn tep_drops(&self, tep: TepIndex) -> DropCounts {
        (&self.tep_drops[tep.index()]).into()
    }

    /// Counts it for the TEP that sent it, and for its domain, if there is one.
    #[cold]
    pub fn charge_drop(&self, reason: DropReason, tep: TepIndex, domain: Option<DomainId>) {
        let Some(place) = reason.index().checked_sub(FIRST).filter(|&place| place < ATTRIBUTED) else {
            return;
        };
        self.tep_drops[tep.index()].frames[place].add(1);
        if let Some(domain) = domain {
            self.domain_drops[domain.index()].frames[place].add(1);
            self.domain(domain).drops.add(1);
        }
    }
}

/// Counters of all workers.
pub struct Counters {
    /// Counters by worker.
    pub workers: Vec<Arc<WorkerCells>>,
}

impl Counters {
    /// Counters of so many workers, at zero.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(workers: usize) -> Result<Self, NoMemory> {
        Ok(Self {
            workers: (0..workers).map(|_| WorkerCells::new().map(Arc::new)).collect::<Result<_, _>>()?,
        })
    }

    /// A total over all workers.
    pub fn sum(&self, cell: impl Fn(&WorkerCounters) -> &Cell) -> u64 {
        self.workers.iter().map(|worker| cell(&worker.totals).get()).sum()
    }

    /// A domain's total over all workers.
    pub fn domain_sum(&self, id: DomainId, cell: impl Fn(&DomainCells) -> &Cell) -> u64 {
        self.workers.iter().map(|worker| cell(worker.domain(id)).get()).sum()
    }

    /// Drops of a domain: its frames, and their copies.
    pub fn domain_drops(&self, id: DomainId) -> DropCounts {
        self.drops(|worker| worker.domain_drops(id))
    }

    /// Drops of a TEP: frames that it sent, and copies to it.
    pub fn tep_drops(&self, tep: TepIndex) -> DropCounts {
        self.drops(|worker| worker.tep_drops(tep))
    }

    fn drops(&self, of: impl Fn(&WorkerCells) -> DropCounts) -> DropCounts {
        self.workers.iter().map(|worker| of(worker)).fold(DropCounts::default(), DropCounts::plus)
    }

    /// Last offenders of a reason, the latest first.
    pub fn offenders(&self, reason: DropReason) -> Vec<Offence> {
        Offenders::merged(self.workers.iter().map(|worker| &worker.offenders), reason)
    }
}
