//! ARP inspection: announcements of virtual IPs are noted where their sender may announce, and dropped where it may not.
//!
//! Only frames of domains with a [`VipTable`] come here; of all others it is one test. The virtual IPs of a burst's frames are looked
//! up together, step by step, each step for all frames: so the cache misses overlap, as they do for domains.
//!
//! ```text
//!   list ──▶ VIP table ──▶ virtual IP, with its first announcers ──▶ cells of the announcement board
//! ```
//!
//! No frame waits for an answer: the control side learns of announcements later, from the [`AnnouncementBoard`] and from a queue of those
//! that were [`Rejected`].

use std::net::IpAddr;
use std::sync::Arc;

use bcast_domain::{
    AnnouncementBoard, AnnouncementKind, AnnouncerId, LearnedBindings, MemberList, RejectReason, Rejected,
    TepIndex, VipEntry, VipId, VipKey, VipTable, vrid,
};
use crossbeam::queue::ArrayQueue;
use wire::announcement::{Kind, plain_arp};
use wire::{Announcement, DropReason, MacAddr, announcement};

pub use crate::port::BURST;

/// Addresses that one frame announces at most: those of a VRRP advertisement.
const ADDRESSES: usize = 255;
/// Rejected announcements that wait for the control side, at most.
const REJECTED: usize = 4096;

/// Domains of a burst that have virtual IPs, as [`bits`]. Their VIP tables are prefetched.
#[inline(always)]
pub fn with_vips(domains: &[Option<&MemberList>; BURST]) -> u32 {
    let mut with_vips = 0;
    for (bit, domain) in domains.iter().enumerate() {
        if domain.is_some_and(MemberList::prefetch_vip_table) {
            with_vips |= 1 << bit;
        }
    }
    with_vips
}

/// State that workers and the control side share.
pub struct Inspection {
    /// Announcements that were accepted.
    pub board: AnnouncementBoard,
    /// Announcements that were rejected, oldest first.
    pub rejected: ArrayQueue<Rejected>,
}

impl Inspection {
    /// A board without announcements, and an empty queue.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { board: AnnouncementBoard::new(), rejected: ArrayQueue::new(REJECTED) })
    }
}

/// Sender of an announcement, and its claim.
#[derive(Clone, Copy)]
struct Claimant {
    kind: Kind,
    source: MacAddr,
    bound: MacAddr,
    from: TepIndex,
}

impl Claimant {
    /// Announcer and announcement, where it is about this virtual IP and receivers heed it.
    #[inline(always)]
    fn about(&self, vip: VipEntry) -> Result<Option<(AnnouncerId, AnnouncementKind)>, RejectReason> {
        let Self { kind, source, bound, from } = *self;
        let announcer = |mac: MacAddr| vip.announcer(mac.0, from);
        match (kind, announcer(source)) {
            (Kind::Hidden, _) => Err(RejectReason::Hidden),
            (Kind::Advert { .. }, None) => Err(RejectReason::Advert),
            // Receivers ignore what is not sound, and so do we.
            (Kind::Advert { interval_cs, priority, sound, .. }, Some(announcer)) => {
                Ok(sound.then_some((announcer, AnnouncementKind::Advert { interval_cs, priority })))
            }
            (Kind::Claim | Kind::Use, None) => Err(RejectReason::Unattached),
            (Kind::Claim, Some(announcer)) if bound == source => {
                Ok(Some((announcer, AnnouncementKind::Claim { vrid: vrid(source.0) })))
            }
            // An announcer has two MAC addresses where it has a virtual one.
            (Kind::Claim | Kind::Use, Some(one)) if bound == source || announcer(bound) == Some(one) => {
                Ok(Some((one, AnnouncementKind::Use)))
            }
            (Kind::Claim | Kind::Use, Some(_)) => Err(RejectReason::Unsound),
        }
    }

    /// Rejected announcement.
    #[cold]
    fn rejected(&self, vip: VipId, what: RejectReason, at_ns: u64) -> Rejected {
        // It would move what it names if its sender were attached.
        let claims = self.kind == Kind::Claim && self.bound == self.source;
        Rejected { vip, mac: self.source.0, tep: self.from, what, claims, at_ns }
    }
}

/// Announcement of virtual IPs in a frame, to be noted once the frame is accepted.
#[derive(Clone, Copy, Debug)]
pub struct Announced {
    kind: AnnouncementKind,
    /// Virtual IPs and announcers: a part of [`ArpInspector::announced`].
    from: usize,
    to: usize,
}

/// Kinds of announcements: values of the metric's label.
pub const KINDS: [&str; 3] = ["claim", "use", "advert"];

impl Announced {
    /// Position in [`KINDS`].
    pub fn kind(self) -> usize {
        match self.kind {
            AnnouncementKind::Claim { .. } => 0,
            AnnouncementKind::Use => 1,
            AnnouncementKind::Advert { .. } => 2,
        }
    }
}

/// Reason for which an announcement's frame is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// It names a virtual IP, and its sender may not. The control side gets a [report](ArpInspector::report).
    Rejected(Rejected),
    /// It would move an address of a strict domain from another who has it.
    Strict,
    /// A fragment that leaves open which address it names: it could be any virtual IP. `vrrp`: in an advertisement.
    Cut {
        /// True if it is VRRP.
        vrrp: bool,
    },
}

impl Violation {
    /// Drop reason of the frame.
    pub fn reason(self) -> DropReason {
        match self {
            Self::Rejected(Rejected { what: RejectReason::Advert, .. }) | Self::Cut { vrrp: true } => {
                DropReason::VrrpSpoof
            }
            Self::Rejected(_) | Self::Strict | Self::Cut { vrrp: false } => DropReason::GarpSpoof,
        }
    }
}

/// Announcement in a frame, or why it is dropped.
type Finding = Result<Announced, Violation>;

/// Inspector of a worker: it inspects the frames of a burst all at once, and is then asked for the finding of each.
pub struct ArpInspector {
    inspection: Arc<Inspection>,
    /// Sender and address, by frame.
    claimants: [(Claimant, VipKey); BURST],
    /// Findings by frame, where the bit of `found` is set.
    findings: [Option<Finding>; BURST],
    found: u32,
    /// Virtual IPs that the burst's frames name, and announcers. It has room for all that a burst can name, so it never grows.
    announced: Vec<(VipId, AnnouncerId)>,
    /// Time of the burst by the workers' clock, nanoseconds.
    now_ns: u64,
}

impl ArpInspector {
    /// Inspector of one worker.
    pub fn new(inspection: Arc<Inspection>) -> Self {
        let announced = Vec::with_capacity(BURST * ADDRESSES);
        let none = Claimant {
            kind: Kind::Use,
            source: MacAddr::ZERO,
            bound: MacAddr::ZERO,
            from: TepIndex::default(),
        };
        let claimants = [(none, VipKey::default()); BURST];
        Self { inspection, claimants, findings: [None; BURST], found: 0, announced, now_ns: 0 }
    }

    /// Forgets the last burst, where there is nothing to [`inspect`](Self::inspect).
    #[inline(always)]
    pub fn forget(&mut self) {
        self.found = 0;
    }

    /// Begins with a burst that came at `now_ns` by the workers' clock.
    ///
    /// Nothing is noted yet: a frame that is dropped for another reason has announced nothing.
    #[inline(always)]
    pub fn inspect<'b>(&mut self, now_ns: u64) -> InspectedBurst<'_, 'b> {
        self.forget();
        self.announced.clear();
        self.now_ns = now_ns;
        InspectedBurst { inspector: self, single: 0, domains: [None; BURST] }
    }

    /// Finding in the frame with this number, if it announces anything.
    #[inline(always)]
    pub fn finding(&self, index: usize) -> Option<Result<Announced, Violation>> {
        if self.found >> index & 1 == 0 { None } else { *self.findings.get(index)? }
    }

    /// Notes the announcement of an accepted frame.
    #[inline(always)]
    pub fn note(&self, announced: Announced) {
        for &(vip, announcer) in self.announced.get(announced.from..announced.to).unwrap_or_default() {
            self.inspection.board.note(vip, announcer, announced.kind, self.now_ns);
        }
    }

    /// Drops a frame that hides which address it announces.
    #[cold]
    fn cut(&mut self, index: usize, kind: Kind) {
        let vrrp = matches!(kind, Kind::Advert { .. });
        self.findings[index % BURST] = Some(Err(Violation::Cut { vrrp }));
        self.found |= 1 << (index % BURST);
    }

    /// Inspects an announcement of an address of a strict domain that is no virtual IP. False if it may not.
    #[cold]
    fn inspect_strictly(
        &mut self,
        index: usize,
        claimant: &Claimant,
        address: IpAddr,
        domain: &MemberList,
        learned: &LearnedBindings,
    ) -> bool {
        let gone = |tep| domain.position(tep).is_none();
        let may = match claimant.kind {
            Kind::Claim | Kind::Use => {
                learned.admit(address, claimant.bound.0, claimant.from, self.now_ns, gone)
            }
            // No cache believes an advertisement.
            Kind::Advert { .. } => true,
            Kind::Hidden => false,
        };
        if !may {
            self.findings[index % BURST] = Some(Err(Violation::Strict));
            self.found |= 1 << (index % BURST);
        }
        may
    }

    /// Reports a rejected announcement to the control side; false if too many wait already.
    pub fn report(&self, rejected: Rejected) -> bool {
        self.inspection.rejected.push(rejected).is_ok()
    }

    /// Inspects an announcement of one virtual IP; the frame may announce others, too. False if it may not.
    #[inline(always)]
    fn inspect_one(&mut self, index: usize, claimant: &Claimant, vip: VipEntry) -> bool {
        let index = index % BURST;
        match claimant.about(vip) {
            Ok(Some((announcer, kind))) => {
                self.inspection.board.prefetch(vip.id(), announcer);
                let to = self.announced.len() + 1;
                let from = match self.findings[index] {
                    Some(Ok(earlier)) if self.found >> index & 1 == 1 => earlier.from,
                    _ => self.announced.len(),
                };
                self.announced.push((vip.id(), announcer));
                self.findings[index] = Some(Ok(Announced { kind, from, to }));
            }
            Ok(None) => return true,
            Err(what) => {
                let rejected = claimant.rejected(vip.id(), what, self.now_ns);
                self.findings[index] = Some(Err(Violation::Rejected(rejected)));
            }
        }
        self.found |= 1 << index;
        matches!(self.findings[index], Some(Ok(_)))
    }
}

/// A burst that is inspected.
pub struct InspectedBurst<'s, 'b> {
    inspector: &'s mut ArpInspector,
    /// Frames that announce one address, as bits, and their domains with their virtual IPs.
    single: u32,
    domains: [Option<(&'b MemberList, &'b VipTable)>; BURST],
}

impl<'b> InspectedBurst<'_, 'b> {
    /// Reads a frame of a domain, if that has virtual IPs or is strict: its number in the burst, its source, and the inner frame.
    #[inline(always)]
    pub fn read(&mut self, index: usize, from: TepIndex, domain: &'b MemberList, inner: &[u8]) {
        match plain_arp(inner) {
            Some(announcement) => self.take(index, from, domain, &announcement),
            None => self.read_rarer(index, from, domain, inner),
        }
    }

    fn read_rarer(&mut self, index: usize, from: TepIndex, domain: &'b MemberList, inner: &[u8]) {
        if let Some(announcement) = announcement(inner) {
            self.take(index, from, domain, &announcement);
        }
    }

    #[inline(always)]
    fn take(&mut self, index: usize, from: TepIndex, domain: &'b MemberList, announcement: &Announcement) {
        let Some(vip_table) = domain.vip_table() else { return };
        let index = index % BURST;
        let Announcement { kind, source, bound, .. } = *announcement;
        let claimant = Claimant { kind, source, bound, from };
        if announcement.cut {
            return self.inspector.cut(index, kind);
        }
        match announcement.only() {
            Some(address) => {
                self.inspector.claimants[index] = (claimant, VipKey::new(address));
                self.domains[index] = Some((domain, vip_table));
                self.single |= 1 << index;
            }
            None => self.several(index, &claimant, domain, vip_table, announcement),
        }
    }

    /// Inspects an announcement of several addresses: one after the other, up to the first that is rejected.
    #[cold]
    fn several(
        &mut self,
        index: usize,
        claimant: &Claimant,
        domain: &MemberList,
        vip_table: &VipTable,
        announcement: &Announcement,
    ) {
        let _rejected = announcement.addresses().find(|&address| !match (
            vip_table.look_up(&VipKey::new(address)),
            vip_table.learned(),
        ) {
            (Some(vip), _) => self.inspector.inspect_one(index, claimant, vip),
            (None, Some(learned)) => {
                self.inspector.inspect_strictly(index, claimant, address, domain, learned)
            }
            (None, None) => true,
        });
    }

    /// Inspects all announcements that were read.
    #[inline(always)]
    pub fn finish(self) {
        let Self { inspector, single, domains } = self;
        for index in bits(single) {
            if let Some((_, vip_table)) = domains[index] {
                vip_table.prefetch(&inspector.claimants[index].1);
            }
        }
        for index in bits(single) {
            let (claimant, key) = inspector.claimants[index];
            let Some((domain, vip_table)) = domains[index] else { continue };
            match vip_table.look_up(&key) {
                Some(vip) => _ = inspector.inspect_one(index, &claimant, vip),
                None => {
                    if let Some(learned) = vip_table.learned() {
                        inspector.inspect_strictly(index, &claimant, key.address(), domain, learned);
                    }
                }
            }
        }
    }
}

/// Numbers of the bits that are set, ascending.
#[inline(always)]
pub fn bits(mut of: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = of.trailing_zeros();
        of &= of.wrapping_sub(1);
        (bit < u32::BITS).then_some(bit as usize % BURST)
    })
}
