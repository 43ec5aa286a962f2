//! Naive model of the machine: decides every millisecond from the whole history.

use std::collections::BTreeMap;

use ctl_havip::{Damping, SECOND};

use crate::common::{Act, MS};

/// Interval of all adverts, nanoseconds.
pub const INTERVAL: u64 = 100 * MS;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Claim,
    Use,
    Advert,
    Resign,
    Arrival,
}

/// Time, announcer and kind of an announcement.
type Announcement = (u64, u32, Kind);

#[derive(Debug, Clone, Default)]
pub struct Model {
    pub damping: Damping,
    /// Announcers with the time of their attachment.
    attached: BTreeMap<u32, u64>,
    /// Announcements before this millisecond, in order of time.
    history: Vec<Announcement>,
    fresh: Vec<Announcement>,
    pub holder: Option<u32>,
    held_since: u64,
    /// Time of the freeze, and the latest announcer with the time since which it is the only one.
    frozen: Option<(u64, Option<(u32, u64)>)>,
    thawed_to: Option<u32>,
    moves: Vec<u64>,
    /// Number of early thaws without a window between two of them, and the time of the latest.
    early: (u32, u64),
    double: Option<(u32, u32)>,
    conflict: bool,
    pub story: Vec<String>,
}

impl Model {
    pub fn new(announcers: &[u32], damping: Damping) -> Self {
        Self { attached: announcers.iter().map(|&who| (who, 0)).collect(), damping, ..Self::default() }
    }

    /// The same after a restart: what is stored is known, what was heard is not.
    #[allow(dead_code)]
    pub fn restarted(&self, at: u64) -> Self {
        Self {
            damping: self.damping,
            attached: self.attached.keys().map(|&who| (who, at)).collect(),
            holder: self.holder,
            held_since: at,
            frozen: self.frozen.map(|_| (at, None)),
            conflict: self.conflict,
            story: self.story.clone(),
            ..Self::default()
        }
    }

    /// Held still.
    #[allow(dead_code)]
    pub fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    pub fn act(&mut self, act: Act, at: u64) {
        let kind = match act {
            Act::Claim(_) => Kind::Claim,
            Act::Use(_) => Kind::Use,
            Act::Advert(_) => Kind::Advert,
            Act::Arrive(_) => Kind::Arrival,
            _ => Kind::Resign,
        };
        match act {
            Act::Claim(who) | Act::Use(who) | Act::Advert(who) | Act::Resign(who) | Act::Arrive(who) => {
                self.fresh.extend(self.attached.contains_key(&who).then_some((at, who, kind)));
            }
            Act::Attach(who) => drop(self.attached.entry(who).or_insert(at)),
            Act::Detach(who) => self.detach(who, at),
            Act::Unfreeze => self.unfreeze(),
            Act::Present(_) => {}
            _ => unreachable!("not modelled"),
        }
    }

    fn detach(&mut self, who: u32, at: u64) {
        self.attached.remove(&who);
        self.fresh.retain(|announcement| announcement.1 != who);
        self.history.retain(|announcement| announcement.1 != who);
        self.double = self.double.filter(|&(one, other)| one != who && other != who);
        if let Some((_, announcer)) = &mut self.frozen {
            *announcer = announcer.filter(|&(announcer, _)| announcer != who);
        }
        self.thawed_to = self.thawed_to.filter(|&to| to != who);
        if self.holder == Some(who) {
            (self.holder, self.held_since) = (None, at);
            // The new state is neither frozen nor a conflict.
            self.conflict = false;
            self.unfreeze();
        }
    }

    fn unfreeze(&mut self) {
        if let Some((_, announcer)) = self.frozen.take() {
            self.thawed_to = announcer.map(|(who, _)| who);
            self.moves.clear();
            self.early = (0, 0);
        }
        self.conflict = false;
    }

    /// Decides at the end of a millisecond.
    pub fn step(&mut self, now: u64) {
        let announcement = std::mem::take(&mut self.fresh);
        let newest = announcement
            .iter()
            .rev()
            .find(|announcement| announcement.2 == Kind::Claim)
            .map(|announcement| (announcement.1, announcement.0));
        let first = announcement
            .iter()
            .find(|announcement| is_word(announcement))
            .map(|announcement| (announcement.1, announcement.0));
        let why = |who: u32| {
            let of = announcement
                .iter()
                .find(|announcement| announcement.1 == who && is_word(announcement))
                .unwrap();
            if of.2 == Kind::Use { "arp" } else { "advert" }
        };
        for &announcement in &announcement {
            self.record(announcement);
        }
        let was_frozen = self.frozen.is_some();
        self.thaw(now);
        let before = self.holder;
        if self.frozen.is_none() {
            let to = self.thawed_to.take();
            match (newest.filter(|_| !was_frozen), to, first.filter(|_| self.holder.is_none())) {
                (Some((who, at)), ..) => self.try_move(who, "garp", at, now),
                (None, Some(who), _) => self.set_holder(self.whereabouts(who), "thawed", now),
                (None, None, Some((who, at))) => self.try_move(who, why(who), at, now),
                _ => {}
            }
        }
        if let Some(holder) = self.holder.filter(|_| self.frozen.is_none() && self.holder == before) {
            let there = self.whereabouts(holder);
            if there != holder {
                self.try_move(there, "migrated", self.evidence(there), now);
            }
        }
        self.update_conflict(self.holder == before, now);
        if self.holder == before {
            self.take_over(now);
        }
    }

    /// Time of an announcer's last evidence of where its instance is; 0: none.
    fn evidence(&self, who: u32) -> u64 {
        let own =
            self.history.iter().filter(|said| said.1 == who && (is_word(said) || said.2 == Kind::Arrival));
        own.map(|said| said.0).max().unwrap_or(0)
    }

    /// Announcer of the same instance that was heard last; instances differ in the last digit.
    fn whereabouts(&self, who: u32) -> u32 {
        let same = self.attached.keys().filter(|&&other| other % 10 == who % 10);
        let later = same.filter(|&&other| self.evidence(other) > self.evidence(who));
        later.copied().max_by_key(|&other| (self.evidence(other), other)).unwrap_or(who)
    }

    fn take_over(&mut self, now: u64) {
        let Some(holder) = self.holder else { return };
        if self.frozen.is_some() || self.conflict || self.double.is_some() {
            return;
        }
        let words = |who: u32| self.history.iter().filter(move |said| said.1 == who && is_word(said));
        let quiet = self.damping.takeover_quiet_ns;
        let answered = words(holder).map(|said| said.0).max().unwrap_or(0).max(self.held_since);
        let adverts =
            |said: &&Announcement| said.1 == holder && matches!(said.2, Kind::Advert | Kind::Resign);
        let advert = self.history.iter().rfind(adverts).filter(|said| said.2 == Kind::Advert);
        let silent = (answered + quiet).max(advert.map_or(0, |said| said.0 + 3 * INTERVAL));
        let takers = self.attached.keys().filter(|&&who| who != holder).filter_map(|&who| {
            let since: Vec<u64> = words(who).map(|said| said.0).filter(|&at| at > answered).collect();
            let (first, last) = (*since.first()?, *since.last()?);
            let used = words(who).any(|said| said.2 != Kind::Advert && said.0 >= silent);
            (used || last - first >= quiet / 3).then_some((last, who))
        });
        if let Some((at, who)) = takers.max().filter(|_| now >= silent) {
            self.try_move(who, "taken_over", at, now);
        }
    }

    fn record(&mut self, announcement @ (at, who, kind): Announcement) {
        if matches!(kind, Kind::Claim | Kind::Advert)
            && let Some((_, announcer)) = &mut self.frozen
        {
            let since = announcer.filter(|&(last, _)| last % 10 == who % 10).map(|(_, since)| since);
            *announcer = Some((who, since.unwrap_or(at)));
        }
        if kind == Kind::Advert {
            let own = self.run(who, at);
            let crossing = INTERVAL / 10;
            let rivals = self.attached.keys().filter(|&&other| other % 10 != who % 10).filter_map(|&other| {
                let run = self.run(other, at);
                let (first, last, previous) = (*run.first()?, *run.last()?, *own.last()?);
                let crossed = at - first < crossing || last.saturating_sub(own[0]) < crossing;
                (last > previous && !crossed).then_some((last, other))
            });
            let rival = rivals.max().map(|(_, other)| other);
            self.double = rival.map(|other| (who, other)).or(self.double);
        }
        self.history.push(announcement);
    }

    /// Adverts of the current run as a master, without a gap of three intervals.
    fn run(&self, who: u32, now: u64) -> Vec<u64> {
        let mut run: Vec<u64> = Vec::new();
        for &(at, _, kind) in self.history.iter().filter(|announcement| announcement.1 == who) {
            if kind == Kind::Resign || run.last().is_some_and(|&last| at - last >= 3 * INTERVAL) {
                run.clear();
            }
            run.extend((kind == Kind::Advert).then_some(at));
        }
        run.retain(|_| true);
        if run.last().is_some_and(|&last| now >= last + 3 * INTERVAL) { Vec::new() } else { run }
    }

    fn thaw(&mut self, now: u64) {
        let Some((since, announcer)) = self.frozen else { return };
        let quiet = announcer.is_some_and(|(_, at)| now >= at + self.damping.thaw_quiet_ns);
        if quiet || now >= since + self.damping.thaw_after_ns {
            self.report(now, format!("thawed {}", if quiet { "quiet" } else { "after" }));
            self.thawed_to = announcer.map(|(who, _)| who);
            self.frozen = None;
            self.moves.clear();
        } else if let Some((who, _)) = announcer.filter(|&(who, since)| self.settled(who, since, now)) {
            self.report(now, "thawed settled".to_owned());
            self.early = (self.early_thaws(now) + 1, now);
            self.thawed_to = Some(who);
            self.frozen = None;
            if self.holder.is_some_and(|holder| holder != self.whereabouts(who)) {
                self.moves.push(now);
            }
        }
    }

    fn early_thaws(&self, at: u64) -> u32 {
        if at.saturating_sub(self.early.1) >= self.damping.flap_window_ns { 0 } else { self.early.0 }
    }

    /// The only announcer since that time advertises alone; or, where nobody does, it announces or uses the address steadily.
    fn settled(&self, who: u32, since: u64, now: u64) -> bool {
        let adverts = |said: &&Announcement| matches!(said.2, Kind::Advert | Kind::Resign);
        let with_adverts = self.history.iter().any(|said| adverts(&said));
        let first = if with_adverts {
            self.damping.settle_ns.max(3 * INTERVAL)
        } else {
            self.damping.takeover_quiet_ns
        };
        let wait = (0..self.early_thaws(since)).fold(first, |wait, _| wait.saturating_mul(2));
        if wait >= self.damping.thaw_quiet_ns || now < since + wait {
            return false;
        }
        if with_adverts {
            let run = self.run(who, now);
            let (Some(&first), Some(&last)) = (run.first(), run.last()) else { return false };
            let others = self.history.iter().filter(adverts).filter(|said| said.1 % 10 != who % 10);
            let others = others.map(|said| said.0).max();
            return now >= others.unwrap_or(0).max(first) + 3 * INTERVAL && now - last <= INTERVAL * 3 / 2;
        }
        let words = || self.history.iter().filter(|said| is_word(said));
        let own = |said: &&Announcement| said.1 == who;
        let steady = words().filter(own).any(|said| said.0.saturating_sub(since) >= wait / 3);
        steady && words().filter(|said| said.1 % 10 != who % 10).all(|said| said.0 <= since)
    }

    fn update_conflict(&mut self, may_heal: bool, now: u64) {
        let masters =
            || self.attached.keys().map(|&who| (self.run(who, now), who)).filter(|(run, _)| !run.is_empty());
        let latest = masters().max_by_key(|(run, who)| (run.last().copied(), *who));
        let alone = latest.as_ref().filter(|(run, who)| {
            let by_others = |announcement: &&Announcement| {
                announcement.1 % 10 != *who % 10 && matches!(announcement.2, Kind::Advert | Kind::Resign)
            };
            let others =
                self.history.iter().filter(by_others).map(|announcement| announcement.0).max().unwrap_or(0);
            now >= others.max(run[0]) + 3 * INTERVAL && now - run[run.len() - 1] <= INTERVAL * 3 / 2
        });
        let alone = alone.map(|(_, who)| *who);
        let over = alone.is_some() || (latest.is_none() && now >= 3 * SECOND);
        if over {
            self.double = None;
        }
        if self.frozen.is_some() {
            return;
        }
        let mut heal = false;
        if let Some((one, other)) = self.double
            && !self.conflict
        {
            self.conflict = true;
            self.report(now, format!("conflict {} {}", one.min(other), one.max(other)));
        } else if self.conflict && over {
            self.conflict = false;
            let left = alone.map(|who| format!(", {who} left")).unwrap_or_default();
            self.report(now, format!("conflict ended{left}"));
            heal = true;
        } else if self.double.is_none() {
            let claimed = |announcement: &&Announcement| {
                Some(announcement.1) == self.holder && announcement.2 == Kind::Claim
            };
            let claimed =
                self.history.iter().filter(claimed).map(|announcement| announcement.0).max().unwrap_or(0);
            heal = now >= self.held_since.max(claimed) + 3 * INTERVAL;
        }
        if let Some(who) = alone.filter(|_| heal && may_heal && self.holder.is_some()) {
            self.try_move(who, "healed", now, now);
        }
    }

    fn try_move(&mut self, who: u32, why: &str, at: u64, now: u64) {
        let who = self.whereabouts(who);
        if self.holder.is_some_and(|holder| holder != who) {
            let recent = self.moves.iter().filter(|&&at| now - at < self.damping.flap_window_ns).count();
            if recent >= self.damping.flap_moves as usize {
                self.frozen = Some((now, Some((who, at))));
                return self.report(now, format!("frozen, not to {who}"));
            }
            self.moves.push(now);
        }
        self.set_holder(who, why, now);
    }

    fn set_holder(&mut self, who: u32, why: &str, now: u64) {
        match self.holder {
            Some(holder) if holder == who => return,
            Some(holder) => self.report(now, format!("moved {holder}>{who} {why}")),
            None => self.report(now, format!("bound {who} {why}")),
        }
        (self.holder, self.held_since) = (Some(who), now);
    }

    fn report(&mut self, now: u64, what: String) {
        self.story.push(format!("{} {what}", now / MS));
    }
}

fn is_word(said: &Announcement) -> bool {
    matches!(said.2, Kind::Claim | Kind::Use | Kind::Advert)
}
