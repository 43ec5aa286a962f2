//! Decisions of a machine.

use bcast_domain::{AnnouncerId, RejectReason, Tep, VlanTags};
use ctl_api::model::{HavipState, Why};

/// Decisions of one step; nearly always empty.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Decisions {
    /// New binding, if it changes.
    pub change: Option<BindingChange>,
    /// VLAN tags of the new binding, if it changes; without a change of the binding, new tags to store with it.
    pub tags: Option<VlanTags>,
    /// Effects to report, in order.
    pub effects: Vec<Effect>,
    /// The node must announce the address for its holder.
    pub reannounce: bool,
}

impl Decisions {
    /// Reason for the change of holder, if there is one; a step makes at most one.
    #[must_use]
    pub fn moved(&self) -> Option<Why> {
        self.effects.iter().find_map(|effects| match effects {
            Effect::Bound { why, .. } | Effect::Moved { why, .. } => Some(*why),
            _ => None,
        })
    }

    /// True if nothing has to be committed. The address may still have to be announced again.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.change.is_none() && self.tags.is_none() && self.effects.is_empty()
    }
}

/// New binding of a HAVIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindingChange {
    /// State of the binding.
    pub state: HavipState,
    /// Holder of the address.
    pub holder: Option<AnnouncerId>,
    /// Reason, if the holder changed.
    pub moved: Option<Why>,
}

/// Effect of a decision, for events and history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// An unbound address got a holder.
    Bound {
        /// New holder.
        to: AnnouncerId,
        /// Reason.
        why: Why,
    },
    /// The holder changed.
    Moved {
        /// Previous holder.
        from: AnnouncerId,
        /// New holder.
        to: AnnouncerId,
        /// Reason.
        why: Why,
    },
    /// The address does not move any more until it thaws.
    Frozen(Frozen),
    /// The address may move again.
    Thawed(Thaw),
    /// Two announcers advertise the address.
    Conflict {
        /// Announcer that advertised first.
        one: AnnouncerId,
        /// Second announcer.
        other: AnnouncerId,
    },
    /// The conflict ended.
    ConflictEnded {
        /// Announcer that goes on advertising; `None`: nobody does.
        left: Option<AnnouncerId>,
    },
    /// Announcements of unattached senders were rejected.
    Spoof {
        /// Reason of the rejection.
        reason: RejectReason,
        /// MAC address of the latest sender.
        mac: [u8; 6],
        /// TEP of the latest sender.
        tep: Tep,
        /// Rejections since the last report.
        count: u64,
    },
}

/// Cause of a freeze.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// Announcer whose move was refused.
    pub refused: AnnouncerId,
    /// Moves within the window.
    pub moves: u32,
    /// Length of the window, nanoseconds.
    pub window_ns: u64,
}

/// Reason for a thaw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Thaw {
    /// The election has settled: one announcer alone advertises or announces the address.
    Settled,
    /// Only one announcer announced for long enough.
    Quiet,
    /// The longest time of a freeze was over.
    After,
}
