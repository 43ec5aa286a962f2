//! Senders of announcements: whether they may announce a virtual IP.

use bcast_domain::{
    AnnouncementKind, AnnouncerId, RejectReason, Rejected, TepIndex, Vip, VipEntry, VipId, VipTable, VlanTags,
};
use wire::announcement::Kind;
use wire::{Announcement, MacAddr};

/// Sender of an announcement, and its claim.
#[derive(Clone, Copy)]
pub(super) struct Claimant {
    pub kind: Kind,
    pub source: MacAddr,
    pub bound: MacAddr,
    pub from: TepIndex,
    pub tags: VlanTags,
}

impl Claimant {
    /// Announcer and announcement, where it is about this virtual IP and receivers heed it.
    #[inline(always)]
    pub fn about(&self, vip: VipEntry) -> Result<Option<(AnnouncerId, AnnouncementKind)>, RejectReason> {
        let Self { kind, source, bound, from, .. } = *self;
        let attached = || vip.announcer(source.0, from);
        let announcement = match kind {
            Kind::Claim => AnnouncementKind::Claim { mac: bound.0 },
            Kind::Use => AnnouncementKind::Use,
            Kind::Advert { interval_cs, priority, sound, .. } => {
                let announcer = attached().ok_or(RejectReason::Advert)?;
                // Receivers ignore an advertisement that is not sound, and so does the node.
                return Ok(sound.then_some((announcer, AnnouncementKind::Advert { interval_cs, priority })));
            }
            Kind::Hidden => return Err(RejectReason::Hidden),
            // These name no address.
            Kind::Arrival | Kind::Election => return Ok(None),
            Kind::Fragment => return attached().map(|_| None).ok_or(RejectReason::Hidden),
            Kind::Probe => return attached().map(|_| None).ok_or(RejectReason::Probe),
        };
        vip.binder(source.0, bound.0, from).map(|announcer| Some((announcer, announcement)))
    }

    /// True if its instance may be known by another MAC address than the frame's source.
    #[inline]
    pub fn may_be_another(&self) -> bool {
        matches!(self.source.0, [0x00, 0x00, 0x5e, 0x00, 1 | 2, _]) || self.bound.is_multicast()
    }

    /// Virtual IPs that its instance may announce. That is known by its source, or by the multicast MAC address that it binds.
    pub fn instance<'v>(
        &self,
        vip_table: &'v VipTable,
    ) -> impl Iterator<Item = (VipId, AnnouncerId)> + use<'v> {
        let Self { source, bound, from, .. } = *self;
        let shared = Some(bound).filter(|bound| bound.is_multicast() && *bound != source);
        let by_bound = shared.map(|bound| vip_table.of_instance(bound.0, from));
        vip_table.of_source(source.0, from).chain(by_bound.into_iter().flatten())
    }

    /// Rejected announcement.
    #[cold]
    pub fn rejected(&self, vip: VipId, reason: RejectReason, at_ns: u64) -> Rejected {
        let Self { kind, source, bound, from, tags } = *self;
        // It would move the virtual IP if its sender were attached.
        let claims = kind == Kind::Claim && reason == RejectReason::Unattached;
        Rejected { vip, mac: source.0, bound: bound.0, tep: from, reason, claims, tags, at_ns }
    }
}

/// True for an advertisement whose sender is not attached to this virtual IP but to another that it lists, together with one
/// that is attached to this: both take part in one election, and only the configuration of the list differs.
#[cold]
pub(super) fn shares_election(
    claimant: &Claimant,
    vip: &Vip,
    vip_table: &VipTable,
    announcement: &Announcement,
) -> bool {
    let sender = |vip: &Vip| vip.announcer(claimant.source.0, claimant.from).is_some();
    let has = |vip: &Vip, mac| vip.announcers.iter().any(|other| other.mac == mac);
    let together =
        |other: &Vip| sender(other) && vip.announcers.iter().any(|announcer| has(other, announcer.mac));
    matches!(claimant.kind, Kind::Advert { .. })
        && !sender(vip)
        && announcement.addresses().filter_map(|address| vip_table.find(address)).any(together)
}
