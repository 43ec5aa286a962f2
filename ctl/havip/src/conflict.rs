//! Conflicts: two masters that advertise at the same time; and healing, when the only master is not the holder.

use bcast_domain::AnnouncerId;
use ctl_api::model::Why;

use crate::attachment::Attachment;
use crate::decision::{Decisions, Effect};
use crate::machine::{Candidate, Machine};
use crate::{Damping, SECOND, adverts};

/// Time after a start in which a stored conflict is not ended: its masters may not have advertised yet.
const SETTLE_NS: u64 = 3 * SECOND;

impl Machine {
    /// Starts and ends conflicts, and heals.
    pub(crate) fn update_conflict(
        &mut self,
        rivals: Option<(AnnouncerId, AnnouncerId)>,
        now_ns: u64,
        damping: &Damping,
        decisions: &mut Decisions,
    ) {
        self.double = rivals.or(self.double);
        let latest = adverts::latest(&self.attachments, now_ns).copied();
        let alone = latest.filter(|attachment| {
            now_ns >= adverts::alone_ns(&self.attachments, attachment)
                && adverts::is_current(attachment, now_ns)
        });
        let silence = latest.is_none() && now_ns >= self.started_ns.saturating_add(SETTLE_NS);
        let over = alone.is_some() || silence;
        if over {
            self.double = None;
        }
        if self.freeze.is_some() {
            return;
        }
        let left = alone.map(|attachment| attachment.announcer);
        match self.double {
            Some((one, other)) if !self.conflict_reported => {
                self.conflict_reported = true;
                decisions.effects.push(Effect::Conflict { one, other });
            }
            None if self.conflict_reported && over => {
                self.conflict_reported = false;
                decisions.effects.push(Effect::ConflictEnded { left });
                self.heal(left, now_ns, damping, decisions);
                // Some caches may hold the other master.
                decisions.reannounce |= left.is_some();
            }
            None if alone.is_some_and(|attachment| now_ns >= self.heal_ns(&attachment)) => {
                self.heal(left, now_ns, damping, decisions);
            }
            _ => {}
        }
    }

    /// Time at which an announcer that is the only advertiser has been so for three intervals, while another holds
    /// the address.
    fn heal_ns(&self, attachment: &Attachment) -> u64 {
        let claimed_ns =
            self.holder.and_then(|holder| self.attachment(holder)).map_or(0, |holder| holder.claim_ns);
        let held_ns = self.held_since_ns.max(claimed_ns).saturating_add(3 * attachment.interval_ns);
        held_ns.max(adverts::alone_ns(&self.attachments, attachment))
    }

    fn heal(&mut self, to: Option<AnnouncerId>, now_ns: u64, damping: &Damping, decisions: &mut Decisions) {
        // A new claim is not healed in the same step.
        if let Some(announcer) = to.filter(|_| self.holder.is_some() && decisions.moved().is_none()) {
            let wanted = Candidate { announcer, at_ns: now_ns, why: Why::Healed };
            decisions.reannounce |= self.try_move(wanted, now_ns, damping, decisions);
        }
    }

    /// Time of the next check for conflicts and healing without an advert.
    pub(crate) fn conflict_check_ns(&self, now_ns: u64) -> Option<u64> {
        let latest = adverts::latest(&self.attachments, now_ns);
        let is_free = self.freeze.is_none();
        let times = if self.double.is_some() || (is_free && self.conflict_reported) {
            let silent = self.attachments.iter().map(Attachment::silent_ns).max();
            let settled = self.started_ns.saturating_add(SETTLE_NS);
            [latest.map(|attachment| adverts::alone_ns(&self.attachments, attachment)), silent, Some(settled)]
        } else {
            let is_other =
                |attachment: &&Attachment| self.holder.is_some_and(|holder| holder != attachment.announcer);
            [
                latest
                    .filter(|attachment| is_free && is_other(attachment))
                    .map(|attachment| self.heal_ns(attachment)),
                None,
                None,
            ]
        };
        times.into_iter().flatten().filter(|&at| at > now_ns).min()
    }
}
