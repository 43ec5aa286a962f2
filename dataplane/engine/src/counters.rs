//! What is counted, and where: each worker writes its own cells, everybody reads the sums.
//!
//! A cell has one writer, so it is raised by a load and a store, without a locked instruction. The sums are exact at rest:
//! received = accepted + drops + punted, and copies wanted = copies sent + copies dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::inspect::KINDS;
use bcast_domain::limits::{MAX_DOMAINS, MAX_TEPS};
use bcast_domain::{DomainId, TepIndex};
use crossbeam::utils::CachePadded;
use wire::{CopyDropReason, DropReason};
use zerocopy::{FromZeros, IntoBytes};

use crate::fanout::Class;

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

    /// Makes it this. For its one writer.
    #[inline(always)]
    pub fn set(&self, to: u64) {
        self.0.store(to, Relaxed);
    }

    /// Lowers it. For its one writer, who knows that it is no less.
    #[inline(always)]
    pub fn spend(&self, by: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(by), Relaxed);
    }
}

/// Of one domain: what a worker did for it, and what else the worker keeps by domain.
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
    /// Copies that the worker may still make of what it took from the domain's bucket; see [`crate::police`].
    pub copies_left: Cell,
    /// The same in bits.
    pub bits_left: Cell,
    /// Frames of the domain that wait in the worker's lines: those of data in the low half, of control in the high one.
    waiting: Cell,
    /// As `copies_left`, of control frames.
    pub control_left: Cell,
    /// Copies dropped.
    pub drops: Cell,
}

const _: () = assert!(size_of::<DomainCells>() == 64 && align_of::<DomainCells>() <= 16);

impl DomainCells {
    const fn shift(class: Class) -> u32 {
        match class {
            Class::Data => 0,
            Class::Control => 32,
        }
    }

    /// Jobs of the domain that wait; see [`crate::fanout`].
    #[inline(always)]
    pub fn waiting(&self, class: Class) -> u64 {
        self.waiting.get() >> Self::shift(class) & u64::from(u32::MAX)
    }

    /// One more job waits, or one less.
    pub fn wait(&self, class: Class, more: bool) {
        let one = 1 << Self::shift(class);
        if more { self.waiting.add(one) } else { self.waiting.spend(one) }
    }
}

/// Bounds of [`Residence::time`]'s buckets, nanoseconds; the last bucket has none.
pub const RESIDENCE_NS: [u64; 16] = [
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
/// Bounds of [`Residence::quanta`]'s buckets; the last bucket has none.
pub const RESIDENCE_QUANTA: [u64; 8] = [0, 1, 2, 4, 8, 16, 64, 256];

/// How long frames stayed with a worker: from the return of the receive call until their last copy was handed to the port.
#[derive(Default)]
pub struct Residence {
    /// Frames by time, see [`RESIDENCE_NS`].
    pub time: [Cell; RESIDENCE_NS.len() + 1],
    /// The sum of their times, nanoseconds.
    pub time_ns: Cell,
    /// Frames by the quanta of others' large fan-outs that they waited for, see [`RESIDENCE_QUANTA`].
    pub quanta: [Cell; RESIDENCE_QUANTA.len() + 1],
    /// The sum of those.
    pub quanta_sum: Cell,
}

impl Residence {
    /// Counts so many frames that stayed so long.
    pub fn add(&self, frames: u64, ns: u64, quanta: u64) {
        self.time[RESIDENCE_NS.partition_point(|&bound| bound < ns)].add(frames);
        self.time_ns.add(frames * ns);
        self.quanta[RESIDENCE_QUANTA.partition_point(|&bound| bound < quanta)].add(frames);
        self.quanta_sum.add(frames * quanta);
    }
}

/// One worker's counters.
#[derive(Default)]
pub struct WorkerCounters {
    /// Bursts polled, empty ones included: the worker's heartbeat.
    pub polls: Cell,
    /// Frames received.
    pub rx_frames: Cell,
    /// Frames accepted: replicated to as many members as there are.
    pub rx_accepted: Cell,
    /// Frames handed to the kernel.
    pub punted: Cell,
    /// Frames dropped, by [`DropReason::index`].
    pub drops: [Cell; DropReason::ALL.len()],
    /// Accepted frames that announced virtual IPs, by [`Said::kind`](crate::inspect::Said::kind).
    pub announcements: [Cell; KINDS.len()],
    /// Refused announcements that the control side was not told of, as too many waited for it.
    pub refused_lost: Cell,
    /// Frames that the node itself made; they are received ones too.
    pub announced: Cell,
    /// Copies that accepted frames asked for.
    pub copies_wanted: Cell,
    /// Copies that the port has taken.
    pub tx_copies: Cell,
    /// Copies dropped, by [`CopyDropReason::index`].
    pub copy_drops: [Cell; CopyDropReason::ALL.len()],
    /// How long frames stayed, by [`Class`].
    pub residence: [Residence; Class::ALL.len()],
    /// Frames of the kernel's that the port has taken.
    pub tx_kernel: Cell,
    /// Frames of the kernel's that the port has refused.
    pub tx_kernel_drops: Cell,
}

/// All counters of one worker. The arrays are of the limits' size; memory is taken page by page as it is written.
pub struct WorkerCells {
    /// The totals.
    pub totals: CachePadded<WorkerCounters>,
    domains: Vec<DomainCells>,
    tep_drops: Vec<[Cell; CopyDropReason::ALL.len()]>,
}

/// There was no memory for the counters.
#[derive(Debug, thiserror::Error)]
#[error("no memory for a worker's counters; free some, or run fewer workers (workers.cores)")]
pub struct NoMemory;

impl WorkerCells {
    /// All zero.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new() -> Result<Self, NoMemory> {
        Ok(Self {
            totals: CachePadded::default(),
            domains: DomainCells::new_vec_zeroed(MAX_DOMAINS).map_err(|_| NoMemory)?,
            tep_drops: <[Cell; _]>::new_vec_zeroed(MAX_TEPS).map_err(|_| NoMemory)?,
        })
    }

    /// The cells of a domain.
    #[inline(always)]
    pub fn domain(&self, id: DomainId) -> &DomainCells {
        &self.domains[id.index()]
    }

    /// Counts a copy that was dropped; `None`: its TEP is not known any more.
    #[cold]
    pub fn drop_copy(&self, tep: Option<TepIndex>, domain: DomainId, reason: CopyDropReason) {
        if let Some(tep) = tep {
            self.tep_drops[tep.index()][reason.index()].add(1);
        }
        self.domain(domain).drops.add(1);
        self.totals.copy_drops[reason.index()].add(1);
    }

    /// Copies to a TEP that were dropped, by [`CopyDropReason::index`].
    pub fn tep_drops(&self, tep: TepIndex) -> [u64; CopyDropReason::ALL.len()] {
        std::array::from_fn(|reason| self.tep_drops[tep.index()][reason].get())
    }
}

/// The counters of all workers.
pub struct Counters {
    /// By worker, who has its own at hand.
    pub workers: Vec<Arc<WorkerCells>>,
}

impl Counters {
    /// For so many workers.
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
}

#[cfg(test)]
mod tests {
    use bcast_domain::Vni;

    use super::*;

    #[test]
    fn a_million_domains_cells_and_buckets_are_not_resident_until_they_are_used() {
        let resident_pages = || {
            let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
            statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap()
        };
        let before = resident_pages();
        let cells = WorkerCells::new().unwrap();
        let limits = crate::police::Limits::new(crate::police::LimitsConfig::default()).unwrap();
        let grown = resident_pages() - before;
        assert!(grown < 1024, "{grown} pages");
        drop((cells, limits));
    }

    #[test]
    fn sums_run_over_all_workers() {
        let counters = Counters::new(2).unwrap();
        let tep = TepIndex::new(3).unwrap();
        let (mut domains, ..) = bcast_domain::table(());
        let [domain, other] = [1, 2].map(|vni| domains.set(Vni::from(vni), &[]).unwrap());
        for (worker, count) in counters.workers.iter().zip([5, 7]) {
            worker.totals.rx_frames.add(count);
            worker.domain(domain).copies.add(count);
            for _ in 0..count {
                worker.drop_copy(Some(tep), domain, CopyDropReason::TxFull);
            }
        }
        assert_eq!(counters.sum(|w| &w.rx_frames), 12);
        assert_eq!(counters.sum(|w| &w.copy_drops[CopyDropReason::TxFull.index()]), 12);
        assert_eq!(counters.domain_sum(domain, |d| &d.copies), 12);
        assert_eq!(counters.domain_sum(domain, |d| &d.drops), 12);
        assert_eq!(counters.domain_sum(other, |d| &d.drops), 0);
        assert_eq!(counters.workers[1].tep_drops(tep)[CopyDropReason::TxFull.index()], 7);
    }
}
