//! What workers have heard of virtual IPs: one place for each announcer, where the latest counts.
//!
//! A worker stores what it heard in the announcer's cells, then sets the virtual IP's mark (`BoardNote`). The control side takes
//! the marks of 64 virtual IPs at a time (`BoardDrain`), then reads the cells of the marked ones' announcers.
//!
//! Nothing that was noted is lost. The mark is set by a read-modify-write, always, be it set already or not: so of a worker that
//! marks and a control side that takes, one comes first. If it is the worker, then the one who takes the mark finds the cells as
//! they were stored before it, or newer (also when another worker has marked in between, as a release continues through
//! read-modify-writes). If it is the control side, then the mark stays set for the next time. Had the worker only looked whether the
//! mark was set, it could leave with its cells unseen and its mark about to be taken.
//!
//! The cells of one announcer may be newer than each other (another announcement came while they were read). Then the mark is set
//! again too, and they are read once more.

#[cfg(loom)]
use crate::table::sync::AtomicU64;
use crate::table::{
    slots::prefetch,
    sync::{Ordering, Site, order},
};
use crate::{AnnouncementKind, AnnouncerId, VipId};
#[cfg(not(loom))]
use {
    crate::limits::{MAX_ANNOUNCERS, MAX_VIPS},
    crate::table::{
        slots::{ask_for_large_pages, zeroed},
        sync::AtomicU64,
    },
};

/// Virtual IPs of which one word has the marks.
const WORD: usize = 64;

/// What was last heard of one announcer. Half a cache line.
#[repr(C)]
#[cfg_attr(not(loom), derive(zerocopy::FromZeros))]
struct Cells {
    /// The time of the last claim in the upper 56 bits (two years), and of whose virtual MAC address it was below.
    claim: AtomicU64,
    use_ns: AtomicU64,
    advert_ns: AtomicU64,
    /// Of the last advertisement: the interval, and the priority in bits 16 to 23.
    advert: AtomicU64,
}

/// When an announcer was last heard, by kind. Times are the node's clock, nanoseconds; 0: never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastAnnounced {
    /// Its last [`AnnouncementKind::Claim`].
    pub claim_ns: u64,
    /// The VRRP id of the virtual MAC address that it claimed with; 0: its own MAC address.
    pub vrid: u8,
    /// Its last [`AnnouncementKind::Use`].
    pub use_ns: u64,
    /// Its last [`AnnouncementKind::Advert`].
    pub advert_ns: u64,
    /// That advertisement's interval, hundredths of a second.
    pub interval_cs: u16,
    /// That advertisement's priority.
    pub priority: u8,
}

/// What workers have heard of all virtual IPs: written by all workers, read by the control side, without locks.
///
/// Its memory (some 34 MB for all [`AnnouncerId`]s) is the system's until it is written, in pages of 2 MB if it has them.
pub struct AnnouncementBoard {
    announcers: Box<[Cells]>,
    marks: Box<[AtomicU64]>,
}

impl Default for AnnouncementBoard {
    fn default() -> Self {
        Self::new()
    }
}

impl AnnouncementBoard {
    /// Nothing was heard.
    #[cfg(not(loom))]
    pub fn new() -> Self {
        let board = Self { announcers: zeroed(MAX_ANNOUNCERS), marks: zeroed(MAX_VIPS / WORD) };
        ask_for_large_pages(&board.announcers);
        board
    }

    /// Nothing was heard; for few virtual IPs, as loom has few atomics.
    #[cfg(loom)]
    pub fn new() -> Self {
        let zero = || AtomicU64::new(0);
        let cells = |_| Cells { claim: zero(), use_ns: zero(), advert_ns: zero(), advert: zero() };
        Self { announcers: (0..2).map(cells).collect(), marks: [zero()].into() }
    }

    /// Notes what an announcer said of a virtual IP. For workers: four stores at most, and one locked instruction.
    #[inline]
    pub fn note(&self, vip: VipId, announcer: AnnouncerId, what: AnnouncementKind, at_ns: u64) {
        let cells = &self.announcers[announcer.index()];
        match what {
            AnnouncementKind::Claim { vrid } => {
                cells.claim.store(at_ns << u8::BITS | u64::from(vrid), Ordering::Relaxed);
            }
            AnnouncementKind::Use => cells.use_ns.store(at_ns, Ordering::Relaxed),
            AnnouncementKind::Advert { interval_cs, priority } => {
                let advert = u64::from(interval_cs) | u64::from(priority) << u16::BITS;
                cells.advert.store(advert, Ordering::Relaxed);
                cells.advert_ns.store(at_ns, Ordering::Relaxed);
            }
        }
        let (word, mark) = (vip.index() / WORD, 1 << (vip.index() % WORD));
        self.marks[word].fetch_or(mark, order(Site::BoardNote));
    }

    /// Calls `each` for every virtual IP of which something was noted since the last time. For one thread; a scan of 16 KiB.
    pub fn drain(&self, mut each: impl FnMut(VipId)) {
        for (word, marks) in (0_u32..).zip(&self.marks) {
            // Most are zero, and a look costs no write. What is marked just now is for the next time.
            if marks.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut marked = marks.swap(0, order(Site::BoardDrain));
            while marked != 0 {
                // The bound of `VipId` is a multiple of a word.
                if let Ok(vip) = VipId::new(word * u64::BITS + marked.trailing_zeros()) {
                    each(vip);
                }
                marked &= marked - 1;
            }
        }
    }

    /// When an announcer was last heard. For the control side, of virtual IPs that [`drain`](Self::drain) has just named.
    pub fn read(&self, announcer: AnnouncerId) -> LastAnnounced {
        let cells = &self.announcers[announcer.index()];
        let [interval_low, interval_high, priority, ..] = cells.advert.load(Ordering::Relaxed).to_le_bytes();
        let claim = cells.claim.load(Ordering::Relaxed);
        LastAnnounced {
            claim_ns: claim >> u8::BITS,
            vrid: claim.to_le_bytes()[0],
            use_ns: cells.use_ns.load(Ordering::Relaxed),
            advert_ns: cells.advert_ns.load(Ordering::Relaxed),
            interval_cs: u16::from_le_bytes([interval_low, interval_high]),
            priority,
        }
    }

    /// Forgets what was heard of an announcer, before another gets its number: once no worker can hear the old one any more.
    pub fn forget(&self, announcer: AnnouncerId) {
        let cells = &self.announcers[announcer.index()];
        for cell in [&cells.claim, &cells.use_ns, &cells.advert_ns, &cells.advert] {
            cell.store(0, Ordering::Relaxed);
        }
    }

    /// Asks the processor to fetch what [`note`](Self::note) will write.
    #[inline(always)]
    pub fn prefetch(&self, vip: VipId, announcer: AnnouncerId) {
        prefetch(&raw const self.announcers[announcer.index()]);
        prefetch(&raw const self.marks[vip.index() / WORD]);
    }
}
