//! Evidence of who holds an address: what an attached announcer said last of it, in whatever form.
//!
//! A *word* is a claim, a use, or an advert of a master. A claim moves the address at once. Another word moves it only when the
//! holder is silent; see [`Machine::take_over`]. An instance at several of its TEPs is where it was heard last.

use bcast_domain::{AnnouncerId, RejectReason};
use ctl_api::model::Why;

use crate::attachment::Attachment;
use crate::machine::Candidate;
use crate::{Damping, Decisions, Machine, RejectedSender, Replayed};

/// Part of the silence during which an announcer has to use the address, if all of its words are within that silence: one stray
/// frame that was under way while the address moved is no takeover.
const STEADY: u64 = 3;

impl Machine {
    /// Records a word of an announcer. Words come in the order of time, but for late ones of other workers.
    pub(crate) fn hear(&mut self, announcer: AnnouncerId, at_ns: u64) {
        let answered_ns = self.answered_ns();
        let mut attachments = self.attachments.iter_mut();
        if let Some(attachment) = attachments.find(|attachment| attachment.announcer == announcer) {
            if attachment.unanswered_ns <= answered_ns {
                attachment.unanswered_ns = at_ns;
            }
            attachment.word_ns = attachment.word_ns.max(at_ns);
        }
    }

    /// Records a refused announcement of an announcer that is attached by now; its former state goes to `undo`. False if the
    /// holder was heard since: then the announcement is no news any more.
    pub(crate) fn replay(
        &mut self,
        announcer: AnnouncerId,
        sender: &RejectedSender,
        undo: &mut Vec<Attachment>,
    ) -> bool {
        let arrives = sender.reason == RejectReason::Arrival;
        let holder = self.holder.and_then(|holder| self.attachment(holder));
        // One that is heard at all at its old TEP has not left it.
        let heard_ns = |holder: &Attachment| {
            if arrives { holder.announced_ns().unwrap_or(0) } else { holder.word_ns }
        };
        if holder.is_some_and(|holder| heard_ns(holder) >= sender.at_ns) {
            return false;
        }
        if let Some(attachment) = self.attachment(announcer)
            && undo.iter().all(|old| old.announcer != announcer)
        {
            undo.push(*attachment);
        }
        if arrives {
            let mut attachments = self.attachments.iter_mut();
            if let Some(attachment) = attachments.find(|attachment| attachment.announcer == announcer) {
                attachment.arrival_ns = attachment.arrival_ns.max(sender.at_ns);
            }
            return true;
        }
        self.hear(announcer, sender.at_ns);
        let mut attachments = self.attachments.iter_mut();
        if let Some(attachment) = attachments.find(|attachment| attachment.announcer == announcer) {
            attachment.tags.replay(sender);
        }
        let earlier = self.replayed(announcer).and_then(|replayed| replayed.claimed_mac);
        let claimed_mac = if sender.claims { Some(sender.bound) } else { earlier };
        self.replayed = Some(Replayed { announcer, claimed_mac });
        true
    }

    /// Time at which the instance of this attachment was heard last, at any of its TEPs.
    pub(crate) fn instance_heard_ns(&self, of: &Attachment) -> Option<u64> {
        let same = self.attachments.iter().filter(|other| other.instance == of.instance);
        same.filter_map(Attachment::announced_ns).max()
    }

    /// Latest replayed announcement, if it is of this announcer.
    #[must_use]
    pub fn replayed(&self, announcer: AnnouncerId) -> Option<Replayed> {
        self.replayed.filter(|replayed| replayed.announcer == announcer)
    }

    /// Announcer of the same instance where that was heard last.
    pub(crate) fn whereabouts(&self, announcer: AnnouncerId) -> AnnouncerId {
        let Some(own) = self.attachment(announcer) else { return announcer };
        let is_later =
            |other: &&Attachment| other.instance == own.instance && other.here_ns() > own.here_ns();
        let latest = self
            .attachments
            .iter()
            .filter(is_later)
            .max_by_key(|attachment| (attachment.here_ns(), attachment.announcer));
        latest.map_or(announcer, |attachment| attachment.announcer)
    }

    /// Moves the address with its holder's instance, which was heard at another of its TEPs.
    pub(crate) fn follow_instance(&mut self, now_ns: u64, damping: &Damping, decisions: &mut Decisions) {
        if self.freeze.is_some() || decisions.moved().is_some() {
            return;
        }
        if let Some(holder) = self.holder
            && let Some(there) = self.attachment(self.whereabouts(holder))
            && there.announcer != holder
        {
            let wanted = Candidate { announcer: there.announcer, at_ns: there.here_ns(), why: Why::Migrated };
            self.try_move(wanted, now_ns, damping, decisions);
        }
    }

    /// Moves the address from a holder that is silent to another that uses or advertises it.
    ///
    /// A holder is silent when it has said no word for `takeover_quiet_ns`; a master also for three intervals. The other has used
    /// the address after that, or has said several words during the silence, over a third of `takeover_quiet_ns`. One advert is
    /// not enough: in a failover it comes a moment before the claims.
    pub(crate) fn take_over(&mut self, now_ns: u64, damping: &Damping, decisions: &mut Decisions) {
        if decisions.moved().is_some() || self.takeover_ns(damping).is_none_or(|at_ns| now_ns < at_ns) {
            return;
        }
        if let Some(taker) = self.taker(damping) {
            let wanted = Candidate { announcer: taker.announcer, at_ns: taker.word_ns, why: Why::TakenOver };
            // Some caches may hold the former holder: a use changes few of them, an advert none.
            decisions.reannounce |= self.try_move(wanted, now_ns, damping, decisions);
        }
    }

    /// Time at which another takes over, unless the holder says a word.
    pub(crate) fn takeover_ns(&self, damping: &Damping) -> Option<u64> {
        self.taker(damping).map(|_| self.silent_ns(damping))
    }

    fn taker(&self, damping: &Damping) -> Option<&Attachment> {
        let holder = self.holder?;
        // A double master is healed once one of them is alone.
        if self.freeze.is_some() || self.conflict_reported || self.double.is_some() {
            return None;
        }
        let (answered_ns, silent_ns) = (self.answered_ns(), self.silent_ns(damping));
        let takes = |other: &&Attachment| {
            let used_ns = other.use_ns.max(other.claim_ns);
            let span_ns = other.word_ns.saturating_sub(other.unanswered_ns);
            other.announcer != holder
                && other.unanswered_ns > answered_ns
                && (used_ns >= silent_ns || span_ns >= damping.takeover_quiet_ns / STEADY)
        };
        let takers = self.attachments.iter().filter(takes);
        takers.max_by_key(|attachment| (attachment.word_ns, attachment.announcer))
    }

    /// Time at which the holder counts as silent, unless it says a word.
    fn silent_ns(&self, damping: &Damping) -> u64 {
        let holder = self.holder.and_then(|holder| self.attachment(holder));
        let master = holder.filter(|holder| holder.master_ns > 0).map_or(0, Attachment::silent_ns);
        self.answered_ns().saturating_add(damping.takeover_quiet_ns).max(master)
    }

    /// Time of the holder's latest word; at the earliest, when it became the holder.
    fn answered_ns(&self) -> u64 {
        let holder = self.holder.and_then(|holder| self.attachment(holder));
        holder.map_or(0, |holder| holder.word_ns).max(self.held_since_ns)
    }
}
