//! State of a machine before a step, so that the step can be undone. Made for every step, nearly always without
//! an allocation.

use bcast_domain::{AnnouncerId, VlanTags};

use crate::Machine;
use crate::attachment::Attachment;
use crate::damping::{EarlyThaws, Freeze, Moves};
use crate::refresh::Stopped;
use crate::rejected::{Kinds, RejectedSender, Replayed};

/// State of a machine before a step.
#[derive(Debug)]
pub struct Undo {
    holder: Option<AnnouncerId>,
    held_since_ns: u64,
    last_claim_ns: u64,
    freeze: Option<Freeze>,
    early_thaws: EarlyThaws,
    thawed_to: Option<AnnouncerId>,
    double: Option<(AnnouncerId, AnnouncerId)>,
    conflict_reported: bool,
    replayed: Option<Replayed>,
    stored_tags: Option<(AnnouncerId, VlanTags)>,
    tags_stored_ns: u64,
    refresh_at_ns: u64,
    refresh_stopped: Option<(u64, Stopped)>,
    due_ns: Option<u64>,
    /// No allocation for an address that does not move.
    moves: Moves,
    /// Attachments that announced.
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
            freeze: machine.freeze,
            early_thaws: machine.early_thaws,
            thawed_to: machine.thawed_to,
            double: machine.double,
            conflict_reported: machine.conflict_reported,
            replayed: machine.replayed,
            stored_tags: machine.stored_tags,
            tags_stored_ns: machine.tags_stored_ns,
            refresh_at_ns: machine.refresh_at_ns,
            refresh_stopped: machine.refresh_stopped,
            due_ns: machine.due_ns,
            moves: machine.moves.clone(),
            attachments: Vec::new(),
            replays: Vec::new(),
            kinds: machine.rejected.as_ref().and_then(|rejected| rejected.before_report(now_ns)),
        }
    }

    pub(crate) fn restore(self, machine: &mut Machine) {
        machine.holder = self.holder;
        machine.held_since_ns = self.held_since_ns;
        machine.last_claim_ns = self.last_claim_ns;
        machine.freeze = self.freeze;
        machine.early_thaws = self.early_thaws;
        machine.thawed_to = self.thawed_to;
        machine.double = self.double;
        machine.conflict_reported = self.conflict_reported;
        machine.replayed = self.replayed;
        machine.stored_tags = self.stored_tags;
        machine.tags_stored_ns = self.tags_stored_ns;
        machine.refresh_at_ns = self.refresh_at_ns;
        machine.refresh_stopped = self.refresh_stopped;
        machine.due_ns = self.due_ns;
        machine.moves = self.moves;
        machine.replays.splice(0..0, self.replays);
        for old in self.attachments {
            let mut attachments = machine.attachments.iter_mut();
            if let Some(attachment) = attachments.find(|attachment| attachment.announcer == old.announcer) {
                *attachment = old;
            }
        }
        if let (Some(kinds), Some(rejected)) = (self.kinds, &mut machine.rejected) {
            rejected.restore(kinds);
        }
    }
}
