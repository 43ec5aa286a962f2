//! Announcement board: latest announcements of each announcer.
//!
//! A worker stores an announcement in the announcer's cells, then sets the virtual IP's mark (`BoardNote`). The
//! control side takes the marks of 64 virtual IPs at a time (`BoardDrain`), then reads the cells of their
//! announcers.
//!
//! No announcement is lost, unless a later one of the same announcer replaces it. A worker always sets the mark
//! by a read-modify-write, even if it is set. So either the worker or the control side comes first. If the worker
//! does, whoever takes the mark reads these cells or newer ones; a second worker's mark does not break this, as a
//! release continues through read-modify-writes. If the control side does, the mark stays set for the next time.
//! A worker that only tested the mark could leave while the mark is being taken, and its cells would stay unread.
//!
//! The cells of one announcer may be of different times, if an announcement arrives while they are read. Then the
//! mark is set again, and they are read again.

#[cfg(loom)]
use crate::table::sync::AtomicU64;
use crate::table::{
    slots::prefetch,
    sync::{Ordering, Site, order},
};
use crate::{AnnouncementKind, AnnouncerId, VipId, VlanTags};
#[cfg(not(loom))]
use {
    crate::limits::{MAX_ANNOUNCERS, MAX_VIPS},
    crate::table::{
        slots::{ask_for_large_pages, zeroed},
        sync::AtomicU64,
    },
};

/// Virtual IPs in one word of marks.
const WORD: usize = 64;

/// Latest announcements of one announcer. A cache line.
#[repr(C, align(64))]
#[cfg_attr(not(loom), derive(zerocopy::FromZeros))]
struct Cells {
    claim_ns: AtomicU64,
    /// MAC address in the latest claim, in the lower 48 bits.
    claim_mac: AtomicU64,
    use_ns: AtomicU64,
    advert_ns: AtomicU64,
    /// Latest advertisement: interval in bits 0 to 15, priority in bits 16 to 23.
    advert: AtomicU64,
    arrival_ns: AtomicU64,
    presence_ns: AtomicU64,
    /// [`HeardTags`] as [bits](HeardTags::to_bits).
    tags: AtomicU64,
}

impl Cells {
    const fn all(&self) -> [&AtomicU64; 8] {
        [
            &self.claim_ns,
            &self.claim_mac,
            &self.use_ns,
            &self.advert_ns,
            &self.advert,
            &self.arrival_ns,
            &self.presence_ns,
            &self.tags,
        ]
    }

    /// Records the tags of an announcement: those of claims and uses always, others where they tell more than is known.
    #[inline]
    fn note_tags(&self, kind: AnnouncementKind, tags: VlanTags) {
        match kind {
            AnnouncementKind::Claim { .. } | AnnouncementKind::Use => {
                self.tags.store(HeardTags::Used(tags).to_bits(), Ordering::Relaxed);
            }
            AnnouncementKind::Advert { .. } => self.note_lesser_tags(HeardTags::Advert(tags)),
            _ if tags == VlanTags::NONE => {}
            _ => self.note_lesser_tags(HeardTags::Elsewhere),
        }
    }

    /// Records tags unless a variant is known that tells more. Another worker's claim or use wins at any time.
    fn note_lesser_tags(&self, tags: HeardTags) {
        let (new, known) = (tags.to_bits(), self.tags.load(Ordering::Relaxed));
        if known >> u32::BITS <= new >> u32::BITS && known != new {
            // Where another worker was faster, its tags are as new as these.
            let _ = self.tags.compare_exchange(known, new, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// Times of an announcer's latest announcements, by kind: nanoseconds of the node's clock; 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastAnnounced {
    /// Time of the last [`AnnouncementKind::Claim`].
    pub claim_ns: u64,
    /// MAC address to which that claim bound the address.
    pub mac: [u8; 6],
    /// Time of the last [`AnnouncementKind::Use`].
    pub use_ns: u64,
    /// Time of the last [`AnnouncementKind::Advert`].
    pub advert_ns: u64,
    /// Interval in that advertisement, hundredths of a second.
    pub interval_cs: u16,
    /// Priority in that advertisement.
    pub priority: u8,
    /// Time of the last [`AnnouncementKind::Arrival`].
    pub arrival_ns: u64,
    /// Time of the last [`AnnouncementKind::Presence`].
    pub presence_ns: u64,
    /// VLAN tags of its announcements.
    pub tags: HeardTags,
}

/// VLAN tags of one announcer's announcements, by what they tell about the VLAN of the address. A later variant tells
/// more: it replaces the earlier ones, and is never replaced by them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HeardTags {
    /// No tagged frame, and no claim, use or advertisement of the address.
    #[default]
    None,
    /// Tagged frames about other addresses alone: the address may be in the same VLAN or in another.
    Elsewhere,
    /// Tags of the latest advertisement that lists the address. It may go through another VLAN than the address is in.
    Advert(VlanTags),
    /// Tags of the latest claim or use of the address.
    Used(VlanTags),
}

impl HeardTags {
    const ELSEWHERE: u64 = 1 << u32::BITS;
    const ADVERT: u64 = 2 << u32::BITS;
    const USED: u64 = 3 << u32::BITS;

    /// Adds what its announcer's instance said about another address at the same endpoint.
    #[must_use]
    pub fn with_elsewhere(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, Self::Elsewhere) => Self::Elsewhere,
            (Self::None, Self::Advert(tags) | Self::Used(tags)) if tags != VlanTags::NONE => Self::Elsewhere,
            _ => self,
        }
    }

    /// The variant above bit 31, and the tags below. More is the variant that tells more.
    fn to_bits(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Elsewhere => Self::ELSEWHERE,
            Self::Advert(tags) => Self::ADVERT | u64::from(tags.to_bits()),
            Self::Used(tags) => Self::USED | u64::from(tags.to_bits()),
        }
    }

    fn from_bits(bits: u64) -> Self {
        let [.., variant, tags_3, tags_2, tags_1, tags_0] = bits.to_be_bytes();
        let tags = VlanTags::from_bits(u32::from_be_bytes([tags_3, tags_2, tags_1, tags_0]));
        match variant {
            0 => Self::None,
            1 => Self::Elsewhere,
            2 => Self::Advert(tags),
            _ => Self::Used(tags),
        }
    }
}

/// Latest announcements of all virtual IPs: written by all workers, read by the control side, without locks.
///
/// Address space: some 67 MB for all [`AnnouncerId`]s. Memory is used only for written pages; pages have 2 MB if
/// the system has them.
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
    /// Board without announcements.
    #[cfg(not(loom))]
    pub fn new() -> Self {
        let board = Self { announcers: zeroed(MAX_ANNOUNCERS), marks: zeroed(MAX_VIPS / WORD) };
        ask_for_large_pages(&board.announcers);
        board
    }

    /// Board without announcements, for few virtual IPs: loom has few atomics.
    #[cfg(loom)]
    pub fn new() -> Self {
        let zero = || AtomicU64::new(0);
        let cells = |_| Cells {
            claim_ns: zero(),
            claim_mac: zero(),
            use_ns: zero(),
            advert_ns: zero(),
            advert: zero(),
            arrival_ns: zero(),
            presence_ns: zero(),
            tags: zero(),
        };
        Self { announcers: (0..2).map(cells).collect(), marks: [zero()].into() }
    }

    /// Records an announcement of a virtual IP. For workers: three stores at most, and one locked instruction.
    #[inline]
    pub fn note(
        &self,
        vip: VipId,
        announcer: AnnouncerId,
        kind: AnnouncementKind,
        tags: VlanTags,
        at_ns: u64,
    ) {
        let cells = &self.announcers[announcer.index()];
        cells.note_tags(kind, tags);
        match kind {
            AnnouncementKind::Claim { mac: [a, b, c, d, e, f] } => {
                let mac = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
                cells.claim_mac.store(mac, Ordering::Relaxed);
                cells.claim_ns.store(at_ns, Ordering::Relaxed);
            }
            AnnouncementKind::Use => cells.use_ns.store(at_ns, Ordering::Relaxed),
            AnnouncementKind::Advert { interval_cs, priority }
            | AnnouncementKind::GroupAdvert { interval_cs, priority } => {
                let advert = u64::from(interval_cs) | u64::from(priority) << u16::BITS;
                cells.advert.store(advert, Ordering::Relaxed);
                cells.advert_ns.store(at_ns, Ordering::Relaxed);
            }
            AnnouncementKind::Arrival => cells.arrival_ns.store(at_ns, Ordering::Relaxed),
            // Nothing has to be decided about it, so it sets no mark.
            AnnouncementKind::Presence => return cells.presence_ns.store(at_ns, Ordering::Relaxed),
        }
        let (word, mark) = (vip.index() / WORD, 1 << (vip.index() % WORD));
        self.marks[word].fetch_or(mark, order(Site::BoardNote));
    }

    /// Calls `each` for every virtual IP with announcements since the last call. For one thread; scans 16 KiB.
    pub fn drain(&self, mut each: impl FnMut(VipId)) {
        for (word, marks) in (0_u32..).zip(&self.marks) {
            // Most words are zero, and a load costs no write. A mark that is set now is for the next call.
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

    /// Latest announcements of an announcer. For the control side, for virtual IPs from [`drain`](Self::drain).
    pub fn read(&self, announcer: AnnouncerId) -> LastAnnounced {
        let cells = &self.announcers[announcer.index()];
        let [interval_low, interval_high, priority, ..] = cells.advert.load(Ordering::Relaxed).to_le_bytes();
        let [a, b, c, d, e, f, ..] = cells.claim_mac.load(Ordering::Relaxed).to_le_bytes();
        LastAnnounced {
            claim_ns: cells.claim_ns.load(Ordering::Relaxed),
            mac: [a, b, c, d, e, f],
            use_ns: cells.use_ns.load(Ordering::Relaxed),
            advert_ns: cells.advert_ns.load(Ordering::Relaxed),
            interval_cs: u16::from_le_bytes([interval_low, interval_high]),
            priority,
            arrival_ns: cells.arrival_ns.load(Ordering::Relaxed),
            presence_ns: cells.presence_ns.load(Ordering::Relaxed),
            tags: HeardTags::from_bits(cells.tags.load(Ordering::Relaxed)),
        }
    }

    /// Clears an announcer's cells before its id is used again. No worker may find the old announcer any more.
    pub fn forget(&self, announcer: AnnouncerId) {
        let cells = &self.announcers[announcer.index()];
        for cell in cells.all() {
            cell.store(0, Ordering::Relaxed);
        }
    }

    /// Prefetches the lines that [`note`](Self::note) writes.
    #[inline(always)]
    pub fn prefetch(&self, vip: VipId, announcer: AnnouncerId) {
        prefetch(&raw const self.announcers[announcer.index()]);
        prefetch(&raw const self.marks[vip.index() / WORD]);
    }
}
