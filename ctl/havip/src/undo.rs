//! State of a machine before a step, so that the step can be taken back. Made for every step, and nearly always without memory of
//! its own.

use bcast_domain::AnnouncerId;

use crate::Machine;
use crate::attachment::Attachment;
use crate::damping::{Ice, Moves};
use crate::strangers::{Kinds, RejectedSender};

/// State of a machine before a step.
#[derive(Debug)]
pub struct Undo {
    holder: Option<AnnouncerId>,
    held_since_ns: u64,
    last_claim_ns: u64,
    ice: Option<Ice>,
    thawed_to: Option<AnnouncerId>,
    double: Option<(AnnouncerId, AnnouncerId)>,
    conflict_told: bool,
    refresh_at_ns: u64,
    due_ns: Option<u64>,
    /// Without memory for an address that stays where it is.
    moves: Moves,
    /// Attachments that were heard.
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) replays: Vec<(AnnouncerId, RejectedSender)>,
    kinds: Option<Kinds>,
}

impl Undo {
    pub(crate) fn of(machine: &Machine, now_ns: u64) -> Self {
        Self {
            holder: machine.holder,
            held_since_ns: machine.held_since_ns,
            last_claim_ns: machine.last_claim_ns,
            ice: machine.ice,
            thawed_to: machine.thawed_to,
            double: machine.double,
            conflict_told: machine.conflict_told,
            refresh_at_ns: machine.refresh_at_ns,
            due_ns: machine.due_ns,
            moves: machine.moves.clone(),
            attachments: Vec::new(),
            replays: Vec::new(),
            kinds: machine.strangers.as_ref().and_then(|strangers| strangers.before_tell(now_ns)),
        }
    }

    pub(crate) fn restore(self, machine: &mut Machine) {
        machine.holder = self.holder;
        machine.held_since_ns = self.held_since_ns;
        machine.last_claim_ns = self.last_claim_ns;
        machine.ice = self.ice;
        machine.thawed_to = self.thawed_to;
        machine.double = self.double;
        machine.conflict_told = self.conflict_told;
        machine.refresh_at_ns = self.refresh_at_ns;
        machine.due_ns = self.due_ns;
        machine.moves = self.moves;
        machine.replays.splice(0..0, self.replays);
        for old in self.attachments {
            let mut attachments = machine.attachments.iter_mut();
            if let Some(attachment) = attachments.find(|attachment| attachment.announcer == old.announcer) {
                *attachment = old;
            }
        }
        if let (Some(kinds), Some(strangers)) = (self.kinds, &mut machine.strangers) {
            strangers.restore(kinds);
        }
    }
}
