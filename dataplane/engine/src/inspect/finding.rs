//! Findings in frames: an announcement that is to be noted, or the reason for which the frame is dropped.

use bcast_domain::{AnnouncementKind, RejectReason, Rejected, StrictRefusal, VlanTags};
use wire::DropReason;

/// Announcement of virtual IPs in a frame, to be noted once the frame is accepted and its copies are sent or queued.
#[derive(Clone, Copy, Debug)]
pub struct Announced {
    pub(super) kind: AnnouncementKind,
    pub(super) tags: VlanTags,
    /// Virtual IPs and announcers: a part of [`ArpInspector::announced`].
    pub(super) from: usize,
    /// From here on, those that it does not name: of the group of a listed one, or those for which an early reverse ARP
    /// is remembered.
    pub(super) listed: usize,
    pub(super) to: usize,
    /// Number of the frame, plus one, of a reverse ARP whose sender is attached elsewhere alone; 0: of any other
    /// announcement. A whole word as the others: what is written in pieces is read the later.
    pub(super) early: usize,
}

/// Kinds of announcements: values of the metric's label.
pub const KINDS: [&str; 5] = ["claim", "use", "advert", "arrival", "presence"];

impl Announced {
    /// True if a virtual IP may move by it, or stay where it is: all kinds but presence, of a sender that is attached.
    pub fn moves(self) -> bool {
        self.kind != AnnouncementKind::Presence && self.early == 0
    }

    /// True if its sender is attached. If not, it is remembered until that may be.
    pub fn is_attached(self) -> bool {
        self.early == 0
    }

    /// Position in [`KINDS`].
    pub fn kind(self) -> usize {
        match self.kind {
            AnnouncementKind::Claim { .. } => 0,
            AnnouncementKind::Use => 1,
            AnnouncementKind::Advert { .. } | AnnouncementKind::GroupAdvert { .. } => 2,
            AnnouncementKind::Arrival => 3,
            AnnouncementKind::Presence => 4,
        }
    }
}

/// Reason for which an announcement's frame is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// It names a virtual IP, and its sender may not. The control side gets a [report](super::ArpInspector::report).
    Rejected(Rejected),
    /// A strict domain refuses it: it names an address that is no virtual IP, and its sender may not. The control side gets a
    /// report.
    Strict(StrictRefusal),
    /// A fragment that leaves open which address it names: it could be any virtual IP. `vrrp`: in an advertisement.
    Cut {
        /// True if it is VRRP.
        vrrp: bool,
        /// Report to the control side; `None`: the domain has no virtual IP of this address family.
        report: Option<Rejected>,
    },
}

impl Violation {
    /// Drop reason of the frame.
    pub fn reason(self) -> DropReason {
        match self {
            Self::Rejected(Rejected { reason: RejectReason::Advert, .. }) | Self::Cut { vrrp: true, .. } => {
                DropReason::VrrpSpoof
            }
            Self::Rejected(_) | Self::Strict(_) | Self::Cut { vrrp: false, .. } => DropReason::GarpSpoof,
        }
    }
}

/// Announcement in a frame, or why it is dropped.
pub type Finding = Result<Announced, Violation>;
