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

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use bcast_domain::{
    AnnouncementBoard, AnnouncementKind, AnnouncerId, MemberList, RejectReason, Rejected, StrictDomain,
    StrictReason, StrictRefusal, TepIndex, Vip, VipEntry, VipId, VipKey, VipTable, VlanTags,
};
use crossbeam::queue::ArrayQueue;
use wire::announcement::{Kind, plain_arp};
use wire::header::ethertype;
use wire::view::{innermost, vlan_tags};
use wire::{Announcement, MacAddr, announcement};

pub use crate::port::BURST;
pub use finding::{Announced, Finding, KINDS, Violation};

use claimant::{Claimant, shares_election};

mod claimant;
mod finding;

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
    /// Announcements that strict domains refused, oldest first.
    pub refused: ArrayQueue<StrictRefusal>,
}

impl Inspection {
    /// A board without announcements, and an empty queue.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            board: AnnouncementBoard::new(),
            rejected: ArrayQueue::new(REJECTED),
            refused: ArrayQueue::new(REJECTED),
        })
    }
}

/// Inspector of a worker: it inspects the frames of a burst all at once, and is then asked for the finding of each.
pub struct ArpInspector {
    inspection: Arc<Inspection>,
    /// Sender and address, by frame.
    claimants: [(Claimant, VipKey); BURST],
    /// Findings by frame, where the bit of `found` is set.
    findings: [Option<Finding>; BURST],
    found: u32,
    /// Virtual IPs that the burst's frames announce, and announcers. It has a fixed size, and never grows.
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
            tags: VlanTags::NONE,
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
    pub fn finding(&self, index: usize) -> Option<&Finding> {
        if self.found >> index & 1 == 0 { None } else { self.findings.get(index)?.as_ref() }
    }

    /// Notes the announcement of a frame that was accepted, and whose copies were sent or queued.
    #[inline(always)]
    pub fn note(&self, announced: Announced) {
        let Announced { kind, tags, from, listed, to, .. } = announced;
        for &(vip, announcer) in self.announced.get(from..listed).unwrap_or_default() {
            self.inspection.board.note(vip, announcer, kind, tags, self.now_ns);
        }
        if listed < to {
            self.note_unlisted(announced);
        }
    }

    /// Notes an advertisement for the virtual IPs of its groups that it does not list, or has the control side remember
    /// a reverse ARP that came before its attachment.
    #[cold]
    fn note_unlisted(&self, Announced { kind, tags, listed, to, early, .. }: Announced) {
        for &(vip, announcer) in self.announced.get(listed..to).unwrap_or_default() {
            if let AnnouncementKind::Advert { interval_cs, priority } = kind {
                let kind = AnnouncementKind::GroupAdvert { interval_cs, priority };
                self.inspection.board.note(vip, announcer, kind, tags, self.now_ns);
            } else if early > 0 {
                let (claimant, _) = &self.claimants[(early - 1) % BURST];
                let arrived = claimant.rejected(vip, RejectReason::Arrival, self.now_ns);
                // One that finds no room is repeated: hypervisors send several.
                if self.inspection.rejected.push(arrived).is_err() {
                    return;
                }
            }
        }
    }

    /// Drops a frame that hides which address it announces: it could be any virtual IP of its address family.
    #[cold]
    fn cut(
        &mut self,
        index: usize,
        claimant: &Claimant,
        vip_table: &VipTable,
        announcement: &Announcement,
        is_v4: bool,
    ) {
        let vrrp = matches!(claimant.kind, Kind::Advert { .. });
        let named = announcement.addresses().find_map(|address| vip_table.find(address));
        let reason = RejectReason::Cut { any: named.is_none() };
        let mut of_family = vip_table.vips().iter().filter(|vip| vip.address.is_ipv4() == is_v4);
        let report =
            named.or_else(|| of_family.next()).map(|vip| claimant.rejected(vip.id, reason, self.now_ns));
        let refusal = |strict: &StrictDomain| {
            let address = announcement.addresses().next().unwrap_or(Ipv6Addr::UNSPECIFIED.into());
            let (mac, tep, reason) = (claimant.bound.0, claimant.from, StrictReason::Hidden);
            Violation::Strict(StrictRefusal { vni: strict.vni, address, mac, tep, reason })
        };
        let strictly = vip_table.strictly().filter(|_| report.is_none() && !vrrp).map(refusal);
        self.findings[index % BURST] = Some(Err(strictly.unwrap_or(Violation::Cut { vrrp, report })));
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
        strict: &StrictDomain,
    ) -> bool {
        let (mac, tep) = (claimant.bound.0, claimant.from);
        let gone = |tep| domain.position(tep).is_none();
        let may = match claimant.kind {
            // Its virtual IP has no attachments yet: nobody is known who may announce it, so nobody is kept from it.
            Kind::Claim | Kind::Use if domain.vip_table().is_some_and(|vips| vips.is_unguarded(address)) => {
                Ok(())
            }
            Kind::Claim | Kind::Use => strict.admit(address, mac, tep, self.now_ns, gone),
            // No cache believes these.
            Kind::Advert { .. } | Kind::Probe | Kind::Fragment | Kind::Arrival | Kind::Election => Ok(()),
            Kind::Hidden => Err(StrictReason::Hidden),
        };
        if let Err(reason) = may {
            let refusal = StrictRefusal { vni: strict.vni, address, mac, tep, reason };
            self.findings[index % BURST] = Some(Err(Violation::Strict(refusal)));
            self.found |= 1 << (index % BURST);
        }
        may.is_ok()
    }

    /// Reports a violation to the control side, where it has to know; false if too many wait already.
    pub fn report(&self, violation: Violation) -> bool {
        match violation {
            Violation::Rejected(rejected) => self.inspection.rejected.push(rejected).is_ok(),
            Violation::Strict(refusal) => self.inspection.refused.push(refusal).is_ok(),
            Violation::Cut { report, .. } => {
                report.is_none_or(|report| self.inspection.rejected.push(report).is_ok())
            }
        }
    }

    /// Inspects an announcement of one virtual IP; the frame may announce others, too. False if it may not.
    #[inline(always)]
    fn inspect_one(&mut self, index: usize, claimant: &Claimant, vip: VipEntry) -> bool {
        match claimant.about(vip) {
            Ok(Some((announcer, kind))) => self.announces(index, claimant, (vip.id(), announcer), kind),
            Ok(None) => {}
            Err(reason) => {
                self.reject(index, claimant, vip.id(), reason);
                return false;
            }
        }
        true
    }

    /// Adds a virtual IP to the finding in a frame that was not rejected. What does not fit is left out.
    #[inline(always)]
    fn announces(
        &mut self,
        index: usize,
        claimant: &Claimant,
        announced: (VipId, AnnouncerId),
        kind: AnnouncementKind,
    ) {
        let (index, to) = (index % BURST, self.announced.len() + 1);
        if to > BURST * ADDRESSES {
            return;
        }
        self.inspection.board.prefetch(announced.0, announced.1);
        let from = match self.findings[index] {
            Some(Ok(earlier)) if self.found >> index & 1 == 1 => earlier.from,
            _ => self.announced.len(),
        };
        self.announced.push(announced);
        self.findings[index] =
            Some(Ok(Announced { kind, tags: claimant.tags, from, listed: to, to, early: 0 }));
        self.found |= 1 << index;
    }

    #[cold]
    fn reject(&mut self, index: usize, claimant: &Claimant, vip: VipId, reason: RejectReason) {
        let rejected = claimant.rejected(vip, reason, self.now_ns);
        self.findings[index % BURST] = Some(Err(Violation::Rejected(rejected)));
        self.found |= 1 << (index % BURST);
    }

    /// An advertisement counts for all virtual IPs in the groups of those that it lists.
    #[cold]
    fn add_groups(&mut self, index: usize, claimant: &Claimant, vip_table: &VipTable) {
        let Some(&Ok(listed)) = self.finding(index) else { return };
        if !matches!(listed.kind, AnnouncementKind::Advert { .. }) {
            return;
        }
        let is_listed = |inspector: &Self, vip: &Vip| {
            let all = inspector.announced.get(listed.from..listed.to).unwrap_or_default();
            all.iter().any(|&(id, _)| id == vip.id)
        };
        let in_group = |inspector: &Self, vip: &Vip| {
            !is_listed(inspector, vip) && vip_table.group(vip).any(|other| is_listed(inspector, other))
        };
        for vip in vip_table.vips() {
            if vip.group != 0
                && in_group(self, vip)
                && let Some(announcer) = vip.announcer(claimant.source.0, claimant.from)
            {
                self.announces(index, claimant, (vip.id, announcer), listed.kind);
            }
        }
        if let Some(Ok(all)) = &mut self.findings[index % BURST] {
            all.listed = listed.to;
        }
    }

    /// Reverse ARP: adds all virtual IPs that the sender's instance may announce; or, where it is attached elsewhere alone, has
    /// it remembered for those.
    #[cold]
    fn arrives(&mut self, index: usize, claimant: &Claimant, vip_table: &VipTable) {
        let Claimant { source, tags, .. } = *claimant;
        self.claimants[index % BURST] = (*claimant, VipKey::default());
        for announced in vip_table.of_instance(source.0, claimant.from) {
            self.announces(index, claimant, announced, AnnouncementKind::Arrival);
        }
        if self.found >> (index % BURST) & 1 == 1 {
            return;
        }
        let from = self.announced.len();
        for (vip, announcer) in vip_table.of_mac(source.0) {
            let is_known =
                self.announced.get(from..).is_some_and(|all| all.iter().any(|known| known.0 == vip));
            if !is_known && self.announced.len() < BURST * ADDRESSES {
                self.announced.push((vip, announcer));
            }
        }
        let to = self.announced.len();
        if from < to {
            let (kind, early) = (AnnouncementKind::Arrival, index % BURST + 1);
            self.findings[index % BURST] = Some(Ok(Announced { kind, tags, from, listed: from, to, early }));
            self.found |= 1 << (index % BURST);
        }
    }

    /// Adds all virtual IPs that the sender's instance may announce to the finding in a frame that names none.
    #[inline(never)]
    fn is_present(&mut self, index: usize, claimant: &Claimant, vip_table: &VipTable) {
        if claimant.may_be_another() {
            return self.is_present_as_another(index, claimant, vip_table);
        }
        for announced in vip_table.of_instance(claimant.source.0, claimant.from) {
            self.announces(index, claimant, announced, AnnouncementKind::Presence);
        }
    }

    /// The same of a sender that may be known by another MAC address than its frame's source.
    #[cold]
    fn is_present_as_another(&mut self, index: usize, claimant: &Claimant, vip_table: &VipTable) {
        for announced in claimant.instance(vip_table) {
            self.announces(index, claimant, announced, AnnouncementKind::Presence);
        }
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
            Some(announcement) => self.take(index, from, domain, &announcement, VlanTags::NONE),
            None => self.read_rarer(index, from, domain, inner),
        }
    }

    fn read_rarer(&mut self, index: usize, from: TepIndex, domain: &'b MemberList, inner: &[u8]) {
        if let Some(announcement) = announcement(inner) {
            if announcement.cut {
                return self.cut(index, from, domain, &announcement, inner);
            }
            self.take(index, from, domain, &announcement, vlan_tags(inner));
        }
    }

    #[cold]
    fn cut(
        &mut self,
        index: usize,
        from: TepIndex,
        domain: &MemberList,
        announcement: &Announcement,
        inner: &[u8],
    ) {
        let Some(vip_table) = domain.vip_table() else { return };
        let Announcement { kind, source, bound, .. } = *announcement;
        let claimant = Claimant { kind, source, bound, from, tags: vlan_tags(inner) };
        let is_v4 = innermost(inner).is_some_and(|(ethertype, _)| ethertype == ethertype::IPV4);
        self.inspector.cut(index, &claimant, vip_table, announcement, is_v4);
    }

    #[inline(always)]
    fn take(
        &mut self,
        index: usize,
        from: TepIndex,
        domain: &'b MemberList,
        announcement: &Announcement,
        tags: VlanTags,
    ) {
        let Some(vip_table) = domain.vip_table() else { return };
        let index = index % BURST;
        let Announcement { kind, source, bound, .. } = *announcement;
        let claimant = Claimant { kind, source, bound, from, tags };
        match kind {
            Kind::Arrival => return self.inspector.arrives(index, &claimant, vip_table),
            Kind::Election => return self.inspector.is_present(index, &claimant, vip_table),
            _ => {}
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
        let inspector = &mut *self.inspector;
        for address in announcement.addresses() {
            let passed = match (vip_table.look_up(&VipKey::new(address)), vip_table.strictly()) {
                (Some(vip), _) => {
                    shares_election(claimant, vip.vip(), vip_table, announcement)
                        || inspector.inspect_one(index, claimant, vip)
                }
                (None, Some(strict)) => inspector.inspect_strictly(index, claimant, address, domain, strict),
                (None, None) => true,
            };
            if !passed {
                return;
            }
        }
        if inspector.finding(index).is_none() {
            inspector.is_present(index, claimant, vip_table);
        } else if vip_table.has_groups() {
            inspector.add_groups(index, claimant, vip_table);
        }
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
                Some(vip) => {
                    inspector.inspect_one(index, &claimant, vip);
                    if vip_table.has_groups() {
                        inspector.add_groups(index, &claimant, vip_table);
                    }
                    // Receivers believe nothing of it, and still its sender is there.
                    if inspector.found >> index & 1 == 0 {
                        inspector.is_present(index, &claimant, vip_table);
                    }
                }
                None => {
                    let address = || key.address();
                    let may = vip_table.strictly().is_none_or(|strict| {
                        inspector.inspect_strictly(index, &claimant, address(), domain, strict)
                    });
                    if may {
                        inspector.is_present(index, &claimant, vip_table);
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
