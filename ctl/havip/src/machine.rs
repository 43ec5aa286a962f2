//! State machine of one HAVIP. Start reading at [`Machine::step`].

use crate::damping::{EarlyThaws, Freeze, Moves};
use bcast_domain::{AnnouncerId, LastAnnounced, RejectReason, VlanTags};
use ctl_api::model::{HavipState, Why};

use crate::attachment::{Attachment, News, same_instance};
use crate::decision::{BindingChange, Decisions, Effect, Frozen};
use crate::refresh::Stopped;
use crate::rejected::{Alarms, RejectedSender, RejectedSenders, Replayed};
use crate::undo::Undo;
use crate::{Damping, adverts};

/// Options of a HAVIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Options {
    /// Period of announcements for the holder, nanoseconds; only while the holder's instance is heard.
    pub refresh_ns: Option<u64>,
}

/// State between decisions. Not stored: after a start the holder keeps the address until another announcer claims
/// it.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) holder: Option<AnnouncerId>,
    /// Time since which the holder holds the address, at the earliest the start of the daemon.
    pub(crate) held_since_ns: u64,
    /// Time of the newest claim of any announcer.
    pub(crate) last_claim_ns: u64,
    pub(crate) moves: Moves,
    pub(crate) freeze: Option<Freeze>,
    pub(crate) early_thaws: EarlyThaws,
    /// Latest announcer before a thaw by hand.
    pub(crate) thawed_to: Option<AnnouncerId>,
    /// Masters of the current conflict.
    pub(crate) double: Option<(AnnouncerId, AnnouncerId)>,
    pub(crate) conflict_reported: bool,
    /// Announcements that were rejected before their sender was attached.
    pub(crate) replays: Vec<(AnnouncerId, RejectedSender)>,
    pub(crate) rejected: Option<Box<RejectedSenders>>,
    /// Latest announcement that was replayed.
    pub(crate) replayed: Option<Replayed>,
    pub(crate) options: Options,
    pub(crate) refresh_at_ns: u64,
    /// VLAN tags that are stored with the binding, and their holder.
    pub(crate) stored_tags: Option<(AnnouncerId, VlanTags)>,
    /// Time at which they were stored.
    pub(crate) tags_stored_ns: u64,
    /// Start and reason of the pause of periodic announcements.
    pub(crate) refresh_stopped: Option<(u64, Stopped)>,
    pub(crate) started_ns: u64,
    pub(crate) due_ns: Option<u64>,
}

/// Announcements since the last step.
#[derive(Debug, Default)]
struct Summary {
    /// Newest claim.
    claim: Option<Candidate>,
    /// First announcement of another kind.
    first: Option<Candidate>,
    /// Two announcers that advertise at the same time.
    rivals: Option<(AnnouncerId, AnnouncerId)>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) announcer: AnnouncerId,
    pub(crate) at_ns: u64,
    pub(crate) why: Why,
}

impl Machine {
    /// Machine of a stored HAVIP. A holder that is not among the announcers is ignored.
    ///
    /// Each announcer comes with the number of its instance: the same instance at another TEP has the same number.
    #[must_use]
    pub fn new(
        announcers: &[(AnnouncerId, u32)],
        (state, holder): (HavipState, Option<AnnouncerId>),
        options: Options,
        now_ns: u64,
    ) -> Self {
        let attachments: Vec<Attachment> =
            announcers.iter().map(|&announcer| Attachment::new(announcer, now_ns)).collect();
        let mut machine = Self {
            holder: holder.filter(|holder| announcers.iter().any(|(announcer, _)| announcer == holder)),
            attachments,
            held_since_ns: now_ns,
            last_claim_ns: 0,
            moves: Moves::default(),
            freeze: (state == HavipState::Frozen).then_some(Freeze { since_ns: now_ns, announcer: None }),
            early_thaws: EarlyThaws::default(),
            thawed_to: None,
            double: None,
            conflict_reported: state == HavipState::Conflict,
            replays: Vec::new(),
            rejected: None,
            replayed: None,
            options,
            refresh_at_ns: 0,
            stored_tags: None,
            tags_stored_ns: 0,
            refresh_stopped: None,
            started_ns: now_ns,
            due_ns: Some(now_ns),
        };
        machine.schedule_refresh(now_ns, announcers.first().map_or(0, |(first, _)| u64::from(first.get())));
        machine
    }

    /// Follows a committed change of its HAVIP: announcers, holder, options; a state other than frozen thaws it.
    /// `who` gives the announcer that the sender of a rejected announcement now is, so that it can be replayed.
    ///
    /// `now_ns` is a time before the change was published: announcements of a new announcer count from then on.
    pub fn follow(
        &mut self,
        announcers: &[(AnnouncerId, u32)],
        (state, holder): (HavipState, Option<AnnouncerId>),
        options: Options,
        now_ns: u64,
        mut who: impl FnMut(&RejectedSender) -> Option<AnnouncerId>,
    ) {
        if let Some(rejected) = &mut self.rejected {
            rejected.attached(|sender| who(sender).is_some());
        }
        for attachment in &mut self.attachments {
            let now = announcers.iter().find(|(announcer, _)| *announcer == attachment.announcer);
            attachment.instance = now.map_or(attachment.instance, |&(_, instance)| instance);
        }
        let attached = announcers;
        let announcers: Vec<AnnouncerId> = attached.iter().map(|&(announcer, _)| announcer).collect();
        let holder = holder.filter(|holder| announcers.contains(holder));
        let as_before = announcers.len() == self.attachments.len()
            && announcers.iter().all(|&announcer| self.attachment(announcer).is_some())
            && (self.state(), self.holder, self.options) == (state, holder, options);
        if as_before {
            return;
        }
        self.attachments.retain(|attachment| announcers.contains(&attachment.announcer));
        let is_new = |new: &&(AnnouncerId, u32)| self.attachment(new.0).is_none();
        let new: Vec<(AnnouncerId, u32)> = attached.iter().filter(is_new).copied().collect();
        self.attachments.extend(new.iter().map(|&announcer| Attachment::new(announcer, now_ns)));
        if let Some(rejected) = self.rejected.as_mut().filter(|_| !new.is_empty()) {
            let replays = &mut self.replays;
            rejected.replay(now_ns, |sender| {
                let announcer = who(sender).filter(|who| new.iter().any(|(announcer, _)| announcer == who));
                replays.extend(announcer.map(|announcer| (announcer, *sender)));
                announcer.is_some()
            });
        }
        self.double =
            self.double.filter(|(one, other)| announcers.contains(one) && announcers.contains(other));
        if holder != self.holder {
            (self.holder, self.held_since_ns) = (holder, now_ns);
            self.refresh_stopped = None;
        }
        self.follow_state(state, &announcers, now_ns);
        if options != self.options {
            self.options = options;
            self.refresh_stopped = None;
            self.schedule_refresh(now_ns, 0);
        }
        self.due_ns = Some(now_ns);
    }

    fn follow_state(&mut self, state: HavipState, announcers: &[AnnouncerId], now_ns: u64) {
        if let Some(freeze) = &mut self.freeze {
            freeze.announcer = freeze.announcer.filter(|(announcer, _)| announcers.contains(announcer));
        }
        match (state == HavipState::Frozen, &self.freeze) {
            (true, None) => self.freeze = Some(Freeze { since_ns: now_ns, announcer: None }),
            (false, Some(freeze)) => {
                self.thawed_to = freeze.announcer.map(|(announcer, _)| announcer);
                self.freeze = None;
                self.moves.clear();
                self.early_thaws = EarlyThaws::default();
            }
            _ => {}
        }
        // A conflict ends with the binding that it was reported for; a freeze keeps it.
        if state != HavipState::Frozen {
            self.conflict_reported = state == HavipState::Conflict;
        }
    }

    /// Records a rejected announcement. `by_now` is the announcer that its sender now is: workers may reject while
    /// the change that attaches the sender is under way. Then the announcement is replayed at once.
    pub fn refused(&mut self, sender: RejectedSender, by_now: Option<AnnouncerId>) {
        self.refused_often(sender, by_now, 1);
    }

    /// Records so many rejected announcements, of which this is the latest.
    pub fn refused_often(&mut self, sender: RejectedSender, by_now: Option<AnnouncerId>, times: u64) {
        let rejected = self.rejected.get_or_insert_default();
        let can_be_replayed = rejected.refused(sender, by_now.is_none(), times);
        if let Some(announcer) = by_now.filter(|_| can_be_replayed) {
            self.replays.push((announcer, sender));
            self.due_ns = Some(0);
        }
        self.due_ns = self.due_ns.into_iter().chain(rejected.due_ns()).min();
    }

    /// Decides on the latest announcements of announcers at `now_ns`.
    ///
    /// Each announcement counts once. If the commit of a decision fails, the step is [undone](Machine::take_back);
    /// the machine then decides the same again on the same input.
    pub fn step(
        &mut self,
        latest: &[(AnnouncerId, LastAnnounced)],
        now_ns: u64,
        damping: &Damping,
        alarms: &mut Alarms,
    ) -> (Decisions, Undo) {
        let mut undo = Undo::of(self, now_ns);
        let decisions = self.decide(latest, now_ns, damping, alarms, &mut undo);
        (decisions, undo)
    }

    /// Undoes the last step. A change that it followed after that step must be [followed](Machine::follow) again.
    pub fn take_back(&mut self, undo: Undo) {
        undo.restore(self);
    }

    fn decide(
        &mut self,
        latest: &[(AnnouncerId, LastAnnounced)],
        now_ns: u64,
        damping: &Damping,
        alarms: &mut Alarms,
        undo: &mut Undo,
    ) -> Decisions {
        let mut decisions = Decisions::default();
        let before = (self.state(), self.holder);
        let summary = self.record(latest, undo);
        let thawed = self.thaw(now_ns, damping, &mut decisions);
        self.follow_announcements(&summary, thawed, now_ns, damping, &mut decisions);
        self.follow_instance(now_ns, damping, &mut decisions);
        self.update_conflict(summary.rivals, now_ns, damping, &mut decisions);
        self.take_over(now_ns, damping, &mut decisions);
        self.refresh(now_ns, &mut decisions);
        if let Some(rejected) = &mut self.rejected {
            rejected.report(now_ns, alarms, &mut decisions.effects);
        }
        if before != (self.state(), self.holder) {
            let moved = decisions.moved();
            decisions.change = Some(BindingChange { state: self.state(), holder: self.holder, moved });
        }
        self.store_tags(now_ns, &mut decisions);
        self.due_ns = self.next_due(now_ns, damping);
        decisions
    }

    /// Time at which a step is due even without an announcement; in the past: at once.
    #[must_use]
    pub const fn due_ns(&self) -> Option<u64> {
        self.due_ns
    }

    /// Holder of the address.
    #[must_use]
    pub const fn holder(&self) -> Option<AnnouncerId> {
        self.holder
    }

    /// State of the binding.
    #[must_use]
    pub fn state(&self) -> HavipState {
        match (&self.freeze, self.conflict_reported, self.holder) {
            (Some(_), ..) => HavipState::Frozen,
            (None, true, _) => HavipState::Conflict,
            (None, false, Some(_)) => HavipState::Bound,
            (None, false, None) => HavipState::Unbound,
        }
    }

    pub(crate) fn attachment(&self, announcer: AnnouncerId) -> Option<&Attachment> {
        self.attachments.iter().find(|attachment| attachment.announcer == announcer)
    }

    /// Records the announcements in order of time.
    fn record(&mut self, latest: &[(AnnouncerId, LastAnnounced)], undo: &mut Undo) -> Summary {
        let mut summary = Summary::default();
        let (mut announced, mut words) = (Vec::new(), Vec::new());
        let mut advertised: Vec<(u64, usize, News)> = Vec::new();
        for (index, attachment) in self.attachments.iter_mut().enumerate() {
            let Some((announcer, last)) =
                latest.iter().find(|(announcer, _)| *announcer == attachment.announcer)
            else {
                continue;
            };
            let old = *attachment;
            let news = attachment.record(last);
            attachment.notice(last);
            if *attachment != old {
                undo.attachments.push(old);
            }
            let advert_ns = news.master_ns();
            words.extend(news.words().map(|at_ns| (at_ns, *announcer)));
            summary.claim(news.claim_ns, *announcer, Why::Garp);
            summary.first(news.use_ns, *announcer, Why::Arp);
            summary.first(advert_ns, *announcer, Why::Advert);
            announced.extend(news.claim_ns.into_iter().chain(advert_ns).map(|at_ns| (at_ns, *announcer)));
            advertised.extend(news.advert_ns.map(|at_ns| (at_ns, index, news)));
        }
        words.sort_unstable();
        words.into_iter().for_each(|(at_ns, announcer)| self.hear(announcer, at_ns));
        undo.replays = std::mem::take(&mut self.replays);
        undo.replays.sort_by_key(|(_, sender)| sender.at_ns);
        for &(announcer, sender) in &undo.replays {
            if !self.replay(announcer, &sender, &mut undo.attachments) {
                continue;
            }
            let at_ns = Some(sender.at_ns);
            summary.claim(at_ns.filter(|_| sender.claims), announcer, Why::Replay);
            // An arrival takes along what its instance has, and nothing more.
            summary.first(at_ns.filter(|_| sender.reason != RejectReason::Arrival), announcer, Why::Replay);
            announced.extend(at_ns.filter(|_| sender.claims).map(|at_ns| (at_ns, announcer)));
        }
        announced.sort_unstable();
        if let Some(freeze) = &mut self.freeze {
            for (at_ns, announcer) in announced {
                let is_same = |last| same_instance(&self.attachments, last, announcer);
                freeze.announced(announcer, at_ns, is_same);
            }
        }
        advertised.sort_unstable_by_key(|&(at_ns, index, _)| (at_ns, index));
        for (at_ns, index, news) in advertised {
            let Some(attachment) = self.attachments.get_mut(index) else { continue };
            let announcer = attachment.announcer;
            let previous = attachment.advert(at_ns, news.interval_cs, news.priority);
            let rival =
                previous.and_then(|previous_ns| adverts::rival(&self.attachments, index, previous_ns, at_ns));
            summary.rivals = rival.map(|rival| (announcer, rival)).or(summary.rivals);
        }
        summary
    }

    /// Moves the address to the newest claim; another announcement only binds an unbound address.
    fn follow_announcements(
        &mut self,
        summary: &Summary,
        thawed: bool,
        now_ns: u64,
        damping: &Damping,
        decisions: &mut Decisions,
    ) {
        let last_claim_ns = self.last_claim_ns;
        let claim = summary.claim.filter(|claim| claim.at_ns > last_claim_ns);
        self.last_claim_ns = claim.map_or(last_claim_ns, |claim| claim.at_ns);
        if self.freeze.is_some() {
            return;
        }
        let thawed_to = self.thawed_to.take().filter(|&announcer| self.attachment(announcer).is_some());
        // A claim during the freeze was considered together with the adverts.
        match (claim.filter(|_| !thawed), thawed_to) {
            (None, Some(to)) => {
                self.set_holder(self.whereabouts(to), Why::Thawed, now_ns, decisions);
            }
            (claim, _) => {
                let first = summary.first.filter(|_| self.holder.is_none());
                let Some(wanted) = claim.or(first) else { return };
                let moved = self.try_move(wanted, now_ns, damping, decisions);
                // Other members never got the original announcement: it was dropped.
                decisions.reannounce |= moved && wanted.why == Why::Replay;
            }
        }
    }

    /// Moves the address to where the wanted announcer's instance was heard last, or freezes it if that is one move too many.
    /// True if it moved.
    pub(crate) fn try_move(
        &mut self,
        wanted: Candidate,
        now_ns: u64,
        damping: &Damping,
        decisions: &mut Decisions,
    ) -> bool {
        let wanted = Candidate { announcer: self.whereabouts(wanted.announcer), ..wanted };
        let moves = self.holder.is_some_and(|holder| holder != wanted.announcer);
        if moves && !self.moves.allow(now_ns, damping) {
            self.freeze =
                Some(Freeze { since_ns: now_ns, announcer: Some((wanted.announcer, wanted.at_ns)) });
            decisions.effects.push(Effect::Frozen(Frozen {
                refused: wanted.announcer,
                moves: damping.flap_moves,
                window_ns: damping.flap_window_ns,
            }));
            return false;
        }
        self.set_holder(wanted.announcer, wanted.why, now_ns, decisions)
    }

    fn set_holder(&mut self, to: AnnouncerId, why: Why, now_ns: u64, decisions: &mut Decisions) -> bool {
        match self.holder.replace(to) {
            Some(from) if from == to => return false,
            Some(from) => decisions.effects.push(Effect::Moved { from, to, why }),
            None => decisions.effects.push(Effect::Bound { to, why }),
        }
        self.held_since_ns = now_ns;
        self.refresh_stopped = None;
        self.schedule_refresh(now_ns, 0);
        true
    }

    fn next_due(&self, now_ns: u64, damping: &Damping) -> Option<u64> {
        let freeze = self.thaw_ns(now_ns, damping);
        let refresh = self.options.refresh_ns.filter(|_| self.holder.is_some()).map(|_| self.refresh_at_ns);
        let rejected = self.rejected.as_ref().and_then(|rejected| rejected.due_ns());
        let takeover = self.takeover_ns(damping).filter(|&at_ns| at_ns > now_ns);
        let tags = self.tags_due_ns();
        [freeze, refresh, rejected, takeover, tags, self.conflict_check_ns(now_ns)]
            .into_iter()
            .flatten()
            .min()
    }
}

impl Summary {
    /// Keeps the newest claim.
    fn claim(&mut self, at_ns: Option<u64>, announcer: AnnouncerId, why: Why) {
        let newest = self.claim.map_or((0, None), |claim| (claim.at_ns, Some(claim.announcer)));
        if let Some(at_ns) = at_ns.filter(|&at_ns| (at_ns, Some(announcer)) > newest) {
            self.claim = Some(Candidate { announcer, at_ns, why });
        }
    }

    /// Keeps the first other announcement.
    fn first(&mut self, at_ns: Option<u64>, announcer: AnnouncerId, why: Why) {
        let first = self.first.map_or((u64::MAX, None), |first| (first.at_ns, Some(first.announcer)));
        if let Some(at_ns) = at_ns.filter(|&at_ns| (at_ns, Some(announcer)) < first) {
            self.first = Some(Candidate { announcer, at_ns, why });
        }
    }
}
