//! What a machine decides.

use bcast_domain::{AnnouncerId, RejectReason, Tep};
use ctl_api::model::{HavipState, Why};

/// What a machine decided; empty nearly always.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Decisions {
    /// The binding, where that changes.
    pub turn: Option<BindingChange>,
    /// What is to be told, in its order.
    pub told: Vec<Effect>,
    /// The node shall announce the address on its holder's behalf.
    pub reannounce: bool,
}

impl Decisions {
    /// Why it has another holder, where it has. A step moves it once at most.
    #[must_use]
    pub fn moved(&self) -> Option<Why> {
        self.told.iter().find_map(|told| match told {
            Effect::Bound { why, .. } | Effect::Moved { why, .. } => Some(*why),
            _ => None,
        })
    }

    /// Nothing has to be committed. It may still have to be announced anew.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.turn.is_none() && self.told.is_empty()
    }
}

/// A new binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindingChange {
    /// The state.
    pub state: HavipState,
    /// Who holds it.
    pub holder: Option<AnnouncerId>,
    /// Why, where the holder is another than before.
    pub moved: Option<Why>,
}

/// One thing to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// An unbound address has a holder.
    Bound {
        /// Who.
        to: AnnouncerId,
        /// Why.
        why: Why,
    },
    /// The holder is another.
    Moved {
        /// Who it was.
        from: AnnouncerId,
        /// Who it is.
        to: AnnouncerId,
        /// Why.
        why: Why,
    },
    /// It is held still from here on.
    Frozen(Frozen),
    /// It moves again.
    Thawed(Thaw),
    /// Two advertise it.
    Conflict {
        /// The one that was there.
        one: AnnouncerId,
        /// The other.
        other: AnnouncerId,
    },
    /// That has ended; `None`: because nobody advertises any more.
    ConflictEnded {
        /// Who alone is left.
        left: Option<AnnouncerId>,
    },
    /// Announcements of strangers were refused.
    Spoof {
        /// Of which kind.
        what: RejectReason,
        /// The MAC of the last of them.
        mac: [u8; 6],
        /// Where it came from.
        tep: Tep,
        /// How many there were since the last time this was told.
        count: u64,
    },
}

/// How a HAVIP came to freeze.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frozen {
    /// Whom it did not move to any more.
    pub refused: AnnouncerId,
    /// So many moves were carried out within the window.
    pub moves: u32,
    /// The window, nanoseconds.
    pub window_ns: u64,
}

/// Why a HAVIP thaws.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Thaw {
    /// One announcer alone announced for long enough.
    Quiet,
    /// It was frozen for the longest time.
    After,
}
