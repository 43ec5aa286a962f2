//! End of a freeze: when one announcer alone announces the address, or after the longest time of a freeze.

use crate::attachment::Attachment;
use crate::damping::Freeze;
use crate::decision::{Decisions, Effect, Thaw};
use crate::machine::Machine;
use crate::{Damping, adverts};

/// Part of the time alone over which an announcer without VRRP has to announce or use the address: a single claim does not
/// tell that the election has settled.
const STEADY: u64 = 3;

impl Machine {
    /// Thaws a frozen address when it is time; it then moves to the latest announcer. True if it moved.
    pub(crate) fn thaw(&mut self, now_ns: u64, damping: &Damping, decisions: &mut Decisions) -> bool {
        let Some(freeze) =
            self.freeze.filter(|_| self.thaw_ns(now_ns, damping).is_some_and(|at_ns| now_ns >= at_ns))
        else {
            return false;
        };
        let is_quiet = |(_, since_ns): (_, u64)| now_ns >= since_ns.saturating_add(damping.thaw_quiet_ns);
        let how = match freeze.announcer {
            Some(announcer) if is_quiet(announcer) => Thaw::Quiet,
            _ if now_ns >= freeze.after_ns(damping) => Thaw::After,
            _ => Thaw::Settled,
        };
        self.freeze = None;
        self.thawed_to = freeze.announcer.map(|(announcer, _)| announcer);
        if how == Thaw::Settled {
            self.early_thaws.record(now_ns, damping);
            let to = self.thawed_to.map(|to| self.whereabouts(to));
            if self.holder.is_some() && to.is_some() && self.holder != to {
                self.moves.record(now_ns);
            }
        } else {
            self.moves.clear();
        }
        decisions.effects.push(Effect::Thawed(how));
        // Caches hold the latest announcement; the node can confirm it if only one announcer announced.
        decisions.reannounce |= how != Thaw::After;
        true
    }

    /// Time at which a frozen address thaws if nothing else is heard.
    pub(crate) fn thaw_ns(&self, now_ns: u64, damping: &Damping) -> Option<u64> {
        let freeze = self.freeze?;
        let due_ns = freeze.due_ns(damping);
        Some(self.settled_ns(&freeze, now_ns, damping).map_or(due_ns, |settled_ns| settled_ns.min(due_ns)))
    }

    /// Time at which the election has settled: the latest announcer is a master that advertises alone for three intervals,
    /// or, where nobody advertises, it has announced or used the address steadily for as long as a takeover takes.
    fn settled_ns(&self, freeze: &Freeze, now_ns: u64, damping: &Damping) -> Option<u64> {
        let (announcer, since_ns) = freeze.announcer?;
        let one = self.attachment(announcer)?;
        let wait_ns = |alone_ns: u64| {
            let settle_ns = alone_ns.max(damping.settle_ns);
            self.early_thaws
                .wait_ns(settle_ns, since_ns, damping)
                .map(|wait_ns| since_ns.saturating_add(wait_ns))
        };
        if self.attachments.iter().any(|attachment| attachment.advert_ns > 0) {
            let settled_ns = wait_ns(3 * one.interval_ns)?.max(adverts::alone_ns(&self.attachments, one));
            let at_ns = settled_ns.max(now_ns);
            return adverts::is_current(one, at_ns).then_some(settled_ns);
        }
        let settled_ns = wait_ns(damping.takeover_quiet_ns)?;
        let others = |other: &&Attachment| other.instance != one.instance;
        let alone = self.attachments.iter().filter(others).all(|other| other.word_ns <= since_ns);
        let steady = one.word_ns.saturating_sub(since_ns) >= (settled_ns - since_ns) / STEADY;
        (alone && steady).then_some(settled_ns)
    }
}
