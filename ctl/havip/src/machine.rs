//! The machine of one HAVIP. Read [`Machine::step`], top to bottom.

use crate::damping::{Ice, Moves};
use bcast_domain::{AnnouncerId, LastAnnounced};
use ctl_api::model::{HavipState, Why};

use crate::attachment::Attachment;
use crate::attachment::News;
use crate::decision::{BindingChange, Decisions, Effect, Frozen, Thaw};
use crate::strangers::{Alarms, RejectedSender, Strangers};
use crate::undo::Undo;
use crate::{Damping, SECOND, adverts};

/// A conflict that was under way when the daemon started is not over before its masters could be heard.
const SETTLE_NS: u64 = 3 * SECOND;
/// The periodic announcements of a node's HAVIPs are spread over so many parts of their period.
const SPREAD: u64 = 64;

/// What a HAVIP is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Options {
    /// Announce the address on its holder's behalf every so many nanoseconds, while the holder is heard.
    pub refresh_ns: Option<u64>,
}

/// What is remembered of a HAVIP between decisions. Not stored: after a start the holder keeps the address until
/// somebody claims it.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) holder: Option<AnnouncerId>,
    /// Since when; the start of the daemon where it is older.
    pub(crate) held_since_ns: u64,
    /// The newest claim of anybody.
    pub(crate) last_claim_ns: u64,
    pub(crate) moves: Moves,
    pub(crate) ice: Option<Ice>,
    /// Who was last to announce when it was thawed by hand.
    pub(crate) thawed_to: Option<AnnouncerId>,
    /// Two masters.
    pub(crate) double: Option<(AnnouncerId, AnnouncerId)>,
    pub(crate) conflict_told: bool,
    /// Refused before their sender was attached.
    pub(crate) replays: Vec<(AnnouncerId, RejectedSender)>,
    pub(crate) strangers: Option<Box<Strangers>>,
    options: Options,
    pub(crate) refresh_at_ns: u64,
    started_ns: u64,
    pub(crate) due_ns: Option<u64>,
}

/// What was said since the last step.
#[derive(Debug, Default)]
struct Said {
    /// The newest claim.
    claim: Option<AnnouncementKind>,
    /// The first other announcement.
    first: Option<AnnouncementKind>,
    /// Two that advertise at the same time.
    rivals: Option<(AnnouncerId, AnnouncerId)>,
}

#[derive(Clone, Copy, Debug)]
struct AnnouncementKind {
    announcer: AnnouncerId,
    at_ns: u64,
    why: Why,
}

impl Machine {
    /// A machine for a HAVIP with these announcers, as it is stored. A holder that is no announcer is none.
    #[must_use]
    pub fn new(
        announcers: &[AnnouncerId],
        (state, holder): (HavipState, Option<AnnouncerId>),
        options: Options,
        now_ns: u64,
    ) -> Self {
        let attachments: Vec<Attachment> =
            announcers.iter().map(|&announcer| Attachment::new(announcer, now_ns)).collect();
        let mut machine = Self {
            holder: holder.filter(|holder| announcers.contains(holder)),
            attachments,
            held_since_ns: now_ns,
            last_claim_ns: 0,
            moves: Moves::default(),
            ice: (state == HavipState::Frozen).then_some(Ice { since_ns: now_ns, announcer: None }),
            thawed_to: None,
            double: None,
            conflict_told: state == HavipState::Conflict,
            replays: Vec::new(),
            strangers: None,
            options,
            refresh_at_ns: 0,
            started_ns: now_ns,
            due_ns: Some(now_ns),
        };
        machine.wind(now_ns, announcers.first().map_or(0, |announcer| u64::from(announcer.get())));
        machine
    }

    /// Follows a committed change of its HAVIP: other announcers, another holder, other options; a state that is not frozen
    /// any more thaws it. `who` tells whose a refused announcement is by now, so that it can be replayed.
    ///
    /// `now_ns` is a time before the change was published: what a new announcer says from then on counts.
    pub fn follow(
        &mut self,
        announcers: &[AnnouncerId],
        (state, holder): (HavipState, Option<AnnouncerId>),
        options: Options,
        now_ns: u64,
        mut who: impl FnMut(&RejectedSender) -> Option<AnnouncerId>,
    ) {
        let holder = holder.filter(|holder| announcers.contains(holder));
        let as_before = announcers.len() == self.attachments.len()
            && announcers.iter().all(|&announcer| self.attachment(announcer).is_some())
            && (self.state(), self.holder, self.options) == (state, holder, options);
        if as_before {
            return;
        }
        self.attachments.retain(|attachment| announcers.contains(&attachment.announcer));
        let new: Vec<AnnouncerId> =
            announcers.iter().filter(|&&announcer| self.attachment(announcer).is_none()).copied().collect();
        self.attachments.extend(new.iter().map(|&announcer| Attachment::new(announcer, now_ns)));
        if let Some(strangers) = self.strangers.as_mut().filter(|_| !new.is_empty()) {
            let replays = &mut self.replays;
            strangers.replay(now_ns, |stranger| {
                let announcer = who(stranger).filter(|announcer| new.contains(announcer));
                replays.extend(announcer.map(|announcer| (announcer, *stranger)));
                announcer.is_some()
            });
        }
        self.double =
            self.double.filter(|(one, other)| announcers.contains(one) && announcers.contains(other));
        if holder != self.holder {
            (self.holder, self.held_since_ns) = (holder, now_ns);
        }
        self.follow_state(state, announcers, now_ns);
        if options != self.options {
            self.options = options;
            self.wind(now_ns, 0);
        }
        self.due_ns = Some(now_ns);
    }

    fn follow_state(&mut self, state: HavipState, announcers: &[AnnouncerId], now_ns: u64) {
        if let Some(ice) = &mut self.ice {
            ice.announcer = ice.announcer.filter(|(announcer, _)| announcers.contains(announcer));
        }
        match (state == HavipState::Frozen, &self.ice) {
            (true, None) => self.ice = Some(Ice { since_ns: now_ns, announcer: None }),
            (false, Some(ice)) => {
                self.thawed_to = ice.announcer.map(|(announcer, _)| announcer);
                self.ice = None;
                self.moves.clear();
            }
            _ => {}
        }
        // What a conflict was told as ends with the binding that it was told of; while frozen it stays as it was.
        if state != HavipState::Frozen {
            self.conflict_told = state == HavipState::Conflict;
        }
    }

    /// Notes an announcement that was refused. `by_now` is the announcer whose it is by now: workers may have refused it while the change
    /// that attached its sender was under way, and then it is replayed at once.
    pub fn refused(&mut self, stranger: RejectedSender, by_now: Option<AnnouncerId>) {
        let strangers = self.strangers.get_or_insert_default();
        let can_be_replayed = strangers.refused(stranger, by_now.is_none());
        if let Some(announcer) = by_now.filter(|_| can_be_replayed) {
            self.replays.push((announcer, stranger));
            self.due_ns = Some(0);
        }
        self.due_ns = self.due_ns.into_iter().chain(strangers.due_ns()).min();
    }

    /// Decides: what its announcers said last, and what time it is.
    ///
    /// Nothing that was said is taken twice. Where a decision cannot be made durable, the step is [taken back](Machine::take_back),
    /// and the machine decides the same again when it is told the same again.
    pub fn step(
        &mut self,
        heard: &[(AnnouncerId, LastAnnounced)],
        now_ns: u64,
        damping: &Damping,
        alarms: &mut Alarms,
    ) -> (Decisions, Undo) {
        let mut undo = Undo::of(self, now_ns);
        let decisions = self.decide(heard, now_ns, damping, alarms, &mut undo);
        (decisions, undo)
    }

    /// Takes back the last step. Where the machine followed a change since, it has to [follow](Machine::follow) it once more.
    pub fn take_back(&mut self, undo: Undo) {
        undo.restore(self);
    }

    fn decide(
        &mut self,
        heard: &[(AnnouncerId, LastAnnounced)],
        now_ns: u64,
        damping: &Damping,
        alarms: &mut Alarms,
        undo: &mut Undo,
    ) -> Decisions {
        let mut decisions = Decisions::default();
        let before = (self.state(), self.holder);
        let said = self.listen(heard, undo);
        let thawed = self.thaw(now_ns, damping, &mut decisions);
        self.obey(&said, thawed, now_ns, damping, &mut decisions);
        self.judge(said.rivals, now_ns, damping, &mut decisions);
        self.refresh(now_ns, &mut decisions);
        if let Some(strangers) = &mut self.strangers {
            strangers.tell(now_ns, alarms, &mut decisions.told);
        }
        if before != (self.state(), self.holder) {
            let moved = decisions.moved();
            decisions.turn = Some(BindingChange { state: self.state(), holder: self.holder, moved });
        }
        self.due_ns = self.next_due(now_ns, damping);
        decisions
    }

    /// When it wants to decide even if nothing is heard; in the past: at once.
    #[must_use]
    pub const fn due_ns(&self) -> Option<u64> {
        self.due_ns
    }

    /// Who holds the address.
    #[must_use]
    pub const fn holder(&self) -> Option<AnnouncerId> {
        self.holder
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> HavipState {
        match (&self.ice, self.conflict_told, self.holder) {
            (Some(_), ..) => HavipState::Frozen,
            (None, true, _) => HavipState::Conflict,
            (None, false, Some(_)) => HavipState::Bound,
            (None, false, None) => HavipState::Unbound,
        }
    }

    pub(crate) fn attachment(&self, announcer: AnnouncerId) -> Option<&Attachment> {
        self.attachments.iter().find(|attachment| attachment.announcer == announcer)
    }

    /// Takes in what was said, in the order of time.
    fn listen(&mut self, heard: &[(AnnouncerId, LastAnnounced)], undo: &mut Undo) -> Said {
        let mut said = Said::default();
        let mut announced: Vec<(u64, AnnouncerId)> = Vec::new();
        let mut advertised: Vec<(u64, usize, News)> = Vec::new();
        for (place, attachment) in self.attachments.iter_mut().enumerate() {
            let Some((announcer, last)) =
                heard.iter().find(|(announcer, _)| *announcer == attachment.announcer)
            else {
                continue;
            };
            let old = *attachment;
            let news = attachment.listen(last);
            if news.is_any() {
                undo.attachments.push(old);
            }
            let advert_ns = news.advert_ns.filter(|_| news.priority > 0);
            said.claim(news.claim_ns, *announcer, Why::Garp);
            said.first(news.use_ns, *announcer, Why::Arp);
            said.first(advert_ns, *announcer, Why::Advert);
            announced.extend(news.claim_ns.into_iter().chain(advert_ns).map(|at_ns| (at_ns, *announcer)));
            advertised.extend(news.advert_ns.map(|at_ns| (at_ns, place, news)));
        }
        undo.replays = std::mem::take(&mut self.replays);
        for &(announcer, stranger) in &undo.replays {
            let at_ns = Some(stranger.at_ns);
            said.claim(at_ns.filter(|_| stranger.claims), announcer, Why::Replay);
            said.first(at_ns, announcer, Why::Replay);
            announced.extend(at_ns.filter(|_| stranger.claims).map(|at_ns| (at_ns, announcer)));
        }
        announced.sort_unstable();
        if let Some(ice) = &mut self.ice {
            announced.iter().for_each(|&(at_ns, announcer)| ice.announced(announcer, at_ns));
        }
        advertised.sort_unstable_by_key(|&(at_ns, place, _)| (at_ns, place));
        for (at_ns, place, news) in advertised {
            let Some(attachment) = self.attachments.get_mut(place) else { continue };
            let announcer = attachment.announcer;
            let previous = attachment.advert(at_ns, news.interval_cs, news.priority);
            let rival =
                previous.and_then(|previous_ns| adverts::rival(&self.attachments, place, previous_ns, at_ns));
            said.rivals = rival.map(|rival| (announcer, rival)).or(said.rivals);
        }
        said
    }

    /// A frozen one thaws in time, and then goes to whoever announced last. True where it does.
    fn thaw(&mut self, now_ns: u64, damping: &Damping, decisions: &mut Decisions) -> bool {
        let Some(ice) = self.ice.filter(|ice| now_ns >= ice.due_ns(damping)) else { return false };
        let quiet =
            ice.announcer.filter(|(_, since_ns)| now_ns >= since_ns.saturating_add(damping.thaw_quiet_ns));
        self.ice = None;
        self.moves.clear();
        self.thawed_to = ice.announcer.map(|(announcer, _)| announcer);
        decisions.told.push(Effect::Thawed(if quiet.is_some() { Thaw::Quiet } else { Thaw::After }));
        // What others believe is whatever came last; one that announces alone can be confirmed.
        decisions.reannounce |= quiet.is_some();
        true
    }

    /// The newest claim moves the address, anything else but binds it.
    fn obey(&mut self, said: &Said, thawed: bool, now_ns: u64, damping: &Damping, decisions: &mut Decisions) {
        let last_claim_ns = self.last_claim_ns;
        let claim = said.claim.filter(|claim| claim.at_ns > last_claim_ns);
        self.last_claim_ns = claim.map_or(last_claim_ns, |claim| claim.at_ns);
        if self.ice.is_some() {
            return;
        }
        let thawed_to = self.thawed_to.take().filter(|&announcer| self.attachment(announcer).is_some());
        // A claim that arrived while it was frozen has been weighed with the adverts.
        match (claim.filter(|_| !thawed), thawed_to) {
            (None, Some(to)) => {
                self.turn(to, Why::Thawed, now_ns, decisions);
            }
            (claim, _) => {
                let first = said.first.filter(|_| self.holder.is_none());
                let Some(wanted) = claim.or(first) else { return };
                let turned = self.try_turn(wanted, now_ns, damping, decisions);
                // The announcement itself was dropped: nobody else has heard it.
                decisions.reannounce |= turned && wanted.why == Why::Replay;
            }
        }
    }

    /// Conflicts, their ends, and healing.
    fn judge(
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
                && adverts::is_heard(attachment, now_ns)
        });
        let silence = latest.is_none() && now_ns >= self.started_ns.saturating_add(SETTLE_NS);
        let over = alone.is_some() || silence;
        if over {
            self.double = None;
        }
        if self.ice.is_some() {
            return;
        }
        let left = alone.map(|attachment| attachment.announcer);
        match self.double {
            Some((one, other)) if !self.conflict_told => {
                self.conflict_told = true;
                decisions.told.push(Effect::Conflict { one, other });
            }
            None if self.conflict_told && over => {
                self.conflict_told = false;
                decisions.told.push(Effect::ConflictEnded { left });
                self.heal(left, now_ns, damping, decisions);
                // Any cache may hold the other one.
                decisions.reannounce |= left.is_some();
            }
            None if alone.is_some_and(|attachment| now_ns >= self.heal_ns(&attachment)) => {
                self.heal(left, now_ns, damping, decisions);
            }
            _ => {}
        }
    }

    /// When an announcer that advertises alone has done so for three intervals of another's holding it.
    fn heal_ns(&self, attachment: &Attachment) -> u64 {
        let claimed_ns =
            self.holder.and_then(|holder| self.attachment(holder)).map_or(0, |holder| holder.claim_ns);
        let held_ns = self.held_since_ns.max(claimed_ns).saturating_add(3 * attachment.interval_ns);
        held_ns.max(adverts::alone_ns(&self.attachments, attachment))
    }

    fn heal(&mut self, to: Option<AnnouncerId>, now_ns: u64, damping: &Damping, decisions: &mut Decisions) {
        // What was just claimed is given its time.
        if let Some(announcer) = to.filter(|_| self.holder.is_some() && decisions.moved().is_none()) {
            let wanted = AnnouncementKind { announcer, at_ns: now_ns, why: Why::Healed };
            decisions.reannounce |= self.try_turn(wanted, now_ns, damping, decisions);
        }
    }

    /// Moves it, unless that is one move too many: then it freezes. True where it moved.
    fn try_turn(
        &mut self,
        wanted: AnnouncementKind,
        now_ns: u64,
        damping: &Damping,
        decisions: &mut Decisions,
    ) -> bool {
        let moves = self.holder.is_some_and(|holder| holder != wanted.announcer);
        if moves && !self.moves.allow(now_ns, damping) {
            self.ice = Some(Ice { since_ns: now_ns, announcer: Some((wanted.announcer, wanted.at_ns)) });
            decisions.told.push(Effect::Frozen(Frozen {
                refused: wanted.announcer,
                moves: damping.flap_moves,
                window_ns: damping.flap_window_ns,
            }));
            return false;
        }
        self.turn(wanted.announcer, wanted.why, now_ns, decisions)
    }

    fn turn(&mut self, to: AnnouncerId, why: Why, now_ns: u64, decisions: &mut Decisions) -> bool {
        match self.holder.replace(to) {
            Some(from) if from == to => return false,
            Some(from) => decisions.told.push(Effect::Moved { from, to, why }),
            None => decisions.told.push(Effect::Bound { to, why }),
        }
        self.held_since_ns = now_ns;
        self.wind(now_ns, 0);
        true
    }

    /// Sets when the address is announced next.
    fn wind(&mut self, now_ns: u64, spread: u64) {
        if let Some(refresh_ns) = self.options.refresh_ns {
            let less = refresh_ns / SPREAD * (spread % SPREAD);
            self.refresh_at_ns = now_ns.saturating_add(refresh_ns - less);
        }
    }

    fn refresh(&mut self, now_ns: u64, decisions: &mut Decisions) {
        let Some(refresh_ns) = self.options.refresh_ns else { return };
        if now_ns < self.refresh_at_ns {
            return;
        }
        self.wind(now_ns, 0);
        let holder = self
            .holder
            .and_then(|holder| self.attachment(holder))
            .filter(|_| self.state() == HavipState::Bound);
        decisions.reannounce |= holder.is_some_and(|attachment| {
            let lately = refresh_ns.max(attachment.interval_ns).saturating_mul(3);
            attachment.heard_ns().is_some_and(|at_ns| now_ns.saturating_sub(at_ns) <= lately)
        });
    }

    fn next_due(&self, now_ns: u64, damping: &Damping) -> Option<u64> {
        let ice = self.ice.map(|ice| ice.due_ns(damping));
        let refresh = self.options.refresh_ns.filter(|_| self.holder.is_some()).map(|_| self.refresh_at_ns);
        let strangers = self.strangers.as_ref().and_then(|strangers| strangers.due_ns());
        [ice, refresh, strangers, self.judge_ns(now_ns)].into_iter().flatten().min()
    }

    /// When the masters are to be looked at again although none of them says anything.
    fn judge_ns(&self, now_ns: u64) -> Option<u64> {
        let latest = adverts::latest(&self.attachments, now_ns);
        let is_free = self.ice.is_none();
        let times = if self.double.is_some() || (is_free && self.conflict_told) {
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

impl Said {
    /// Of several the newest counts.
    fn claim(&mut self, at_ns: Option<u64>, announcer: AnnouncerId, why: Why) {
        let newest = self.claim.map_or((0, None), |claim| (claim.at_ns, Some(claim.announcer)));
        if let Some(at_ns) = at_ns.filter(|&at_ns| (at_ns, Some(announcer)) > newest) {
            self.claim = Some(AnnouncementKind { announcer, at_ns, why });
        }
    }

    /// Of several the first counts.
    fn first(&mut self, at_ns: Option<u64>, announcer: AnnouncerId, why: Why) {
        let first = self.first.map_or((u64::MAX, None), |first| (first.at_ns, Some(first.announcer)));
        if let Some(at_ns) = at_ns.filter(|&at_ns| (at_ns, Some(announcer)) < first) {
            self.first = Some(AnnouncementKind { announcer, at_ns, why });
        }
    }
}
