//! Rig of one HAVIP: plays a script of announcements and changes, and steps the machine in every millisecond with
//! input or a due time, as the commit thread does.
#![allow(dead_code)]

use std::collections::BTreeMap;

use bcast_domain::{AnnouncerId, LastAnnounced, Mac, RejectReason, Tep, VlanTags};
use ctl_api::model::{Binding, Havip, HavipEntry, HavipState, Holder, Revision};
use ctl_havip::{Alarms, Damping, Decisions, Effect, Machine, Options, RejectedSender, Thaw, enact};

/// Nanoseconds of a millisecond.
pub const MS: u64 = 1_000_000;

/// Input of the rig.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// A gratuitous ARP.
    Claim(u32),
    /// Any other ARP.
    Use(u32),
    /// One advert, of the rig's interval.
    Advert(u32),
    /// Adverts every second until this millisecond.
    Master(u32, u64),
    /// Adverts every tenth of a second until this millisecond.
    Fast(u32, u64),
    /// An advert of priority 0.
    Resign(u32),
    /// Reverse ARP at its TEP.
    Arrive(u32),
    /// Something about other addresses.
    Present(u32),
    Attach(u32),
    Detach(u32),
    /// Unfreeze by hand.
    Unfreeze,
    /// Gratuitous ARP of a sender with this number that is not attached.
    RejectedClaim(u32),
    /// Ordinary ARP of such a sender.
    RejectedUse(u32),
    /// Reverse ARP of such a sender, which is attached elsewhere.
    EarlyArrival(u32),
    /// Restart of the daemon with the stored state.
    Restart,
}

pub fn mac(who: u32) -> [u8; 6] {
    let [a, b, c, d] = who.to_be_bytes();
    [0x52, 0x54, a, b, c, d]
}

pub fn tep(who: u32) -> Tep {
    Tep::new(std::net::Ipv4Addr::from(0xc612_0000 + (who & 0xffff))).unwrap()
}

pub fn id(who: u32) -> AnnouncerId {
    AnnouncerId::new(who).unwrap()
}

/// An announcer with the number of its instance: 11 is the same instance as 1, at another TEP.
pub fn attached(who: u32) -> (AnnouncerId, u32) {
    (id(who), who % 10)
}

pub fn holder(who: AnnouncerId) -> Holder {
    let mac = Mac::new(mac(who.get())).unwrap();
    Holder { instance: format!("vm{who}").parse().unwrap(), mac, tep: tep(who.get()) }
}

pub fn entry() -> HavipEntry {
    let havip = Havip {
        name: "web".parse().unwrap(),
        vni: 5001.into(),
        subnet: "10.0.0.0/24".parse().unwrap(),
        address: "10.0.0.100".parse().unwrap(),
        attachments: Vec::new(),
        vrids: Vec::new(),
        refresh_s: None,
        eip: None,
        group: None,
    };
    HavipEntry { havip, binding: Binding::unbound(0) }
}

const FROZEN: HavipState = HavipState::Frozen;
const CONFLICT: HavipState = HavipState::Conflict;

/// A HAVIP with its machine and its announcers.
pub struct Rig {
    pub machine: Machine,
    pub cells: BTreeMap<u32, LastAnnounced>,
    pub damping: Damping,
    pub interval_cs: u16,
    pub alarms: Alarms,
    pub options: Options,
    /// Committed state and holder.
    pub stored: (HavipState, Option<AnnouncerId>),
    pub effects: Vec<(u64, Effect)>,
    /// Milliseconds with an announcement by the node.
    pub announced: Vec<u64>,
    /// Committed entry.
    pub entry: HavipEntry,
    revision: Revision,
    now: u64,
    dirty: bool,
}

impl Rig {
    pub fn new(announcers: &[u32], options: Options) -> Self {
        let ids: Vec<_> = announcers.iter().map(|&who| attached(who)).collect();
        let stored = (HavipState::Unbound, None);
        Self {
            machine: Machine::new(&ids, stored, options, 0),
            cells: announcers.iter().map(|&who| (who, LastAnnounced::default())).collect(),
            damping: Damping::default(),
            interval_cs: 100,
            alarms: Alarms::new(),
            options,
            stored,
            effects: Vec::new(),
            announced: Vec::new(),
            entry: entry(),
            revision: Revision::default(),
            now: 0,
            dirty: false,
        }
    }

    /// Plays the script until the last millisecond.
    pub fn play(&mut self, script: &[(u64, Act)], last: u64) {
        let mut acts: Vec<(u64, Act)> = Vec::new();
        for &(at, act) in script {
            match act {
                Act::Master(_, until) => acts.extend((at..until).step_by(1_000).map(|at| (at, act))),
                Act::Fast(_, until) => acts.extend((at..until).step_by(100).map(|at| (at, act))),
                _ => acts.push((at, act)),
            }
        }
        acts.sort_by_key(|&(at, _)| at);
        let mut acts = acts.into_iter().peekable();
        while self.now < last {
            // Skip milliseconds without input.
            let next = acts.peek().map_or(last, |&(at, _)| at);
            // The commit thread steps in the middle of each millisecond.
            let due = self.machine.due_ns().map_or(last, |due| due.saturating_sub(MS / 2).div_ceil(MS));
            self.now = (self.now + 1).max(next.min(due)).min(last);
            let mut order = 0;
            while let Some((_, act)) = acts.next_if(|&(at, _)| at == self.now) {
                order += 1;
                self.act(act, self.now * MS + order);
            }
            self.step(self.now * MS + MS / 2);
        }
    }

    pub fn act(&mut self, act: Act, at_ns: u64) {
        self.dirty = true;
        match act {
            Act::Claim(who) => self.announce(who, |cell| cell.claim_ns = at_ns),
            Act::Use(who) => self.announce(who, |cell| cell.use_ns = at_ns),
            Act::Advert(who) => self.advert(who, at_ns, self.interval_cs, 100),
            Act::Master(who, _) => self.advert(who, at_ns, 100, 100),
            Act::Fast(who, _) => self.advert(who, at_ns, 10, 100),
            Act::Resign(who) => self.advert(who, at_ns, self.interval_cs, 0),
            Act::Arrive(who) => self.announce(who, |cell| cell.arrival_ns = at_ns),
            Act::Present(who) => self.announce(who, |cell| cell.presence_ns = at_ns),
            Act::Attach(who) => {
                self.cells.entry(who).or_default();
                self.follow(at_ns);
            }
            Act::Detach(who) => {
                self.cells.remove(&who);
                if self.stored.1 == Some(id(who)) {
                    self.stored = (HavipState::Unbound, None);
                    self.entry.binding.previous = self.entry.binding.holder.take();
                    self.entry.binding.tags = None;
                }
                self.follow(at_ns);
            }
            Act::Unfreeze => {
                let bound = if self.stored.1.is_some() { HavipState::Bound } else { HavipState::Unbound };
                self.stored.0 = bound;
                self.follow(at_ns);
            }
            Act::RejectedClaim(who) => self.refused(who, RejectReason::Unattached, true, at_ns),
            Act::RejectedUse(who) => self.refused(who, RejectReason::Unattached, false, at_ns),
            Act::EarlyArrival(who) => self.refused(who, RejectReason::Arrival, false, at_ns),
            Act::Restart => {
                self.machine = Machine::new(&self.announcers(), self.stored, self.options, at_ns);
                self.machine.recall(self.entry.binding.tags);
                self.cells.values_mut().for_each(|cell| *cell = LastAnnounced::default());
            }
        }
    }

    fn announce(&mut self, who: u32, what: impl FnOnce(&mut LastAnnounced)) {
        // Workers record nothing of a sender that is not attached.
        if let Some(cell) = self.cells.get_mut(&who) {
            what(cell);
        }
    }

    fn advert(&mut self, who: u32, at_ns: u64, interval_cs: u16, priority: u8) {
        self.announce(who, |cell| {
            *cell = LastAnnounced { advert_ns: at_ns, interval_cs, priority, ..*cell };
        });
    }

    fn refused(&mut self, who: u32, reason: RejectReason, claims: bool, at_ns: u64) {
        let sender = RejectedSender {
            mac: mac(who),
            bound: mac(who),
            tep: tep(who),
            reason,
            claims,
            tags: VlanTags::NONE,
            at_ns,
        };
        self.machine.refused(sender, None);
    }

    fn announcers(&self) -> Vec<(AnnouncerId, u32)> {
        self.cells.keys().map(|&who| attached(who)).collect()
    }

    fn follow(&mut self, now_ns: u64) {
        let announcers = self.announcers();
        let who = |sender: &RejectedSender| {
            self.cells.keys().find(|&&who| (mac(who), tep(who)) == (sender.mac, sender.tep)).map(|&w| id(w))
        };
        self.machine.follow(&announcers, self.stored, self.options, now_ns, who);
        self.machine.recall(self.entry.binding.tags);
    }

    fn step(&mut self, now_ns: u64) {
        if !self.dirty && self.machine.due_ns().is_none_or(|due| due > now_ns) {
            return;
        }
        self.dirty = false;
        let latest: Vec<(AnnouncerId, LastAnnounced)> =
            self.cells.iter().map(|(&who, &cell)| (id(who), cell)).collect();
        let before = format!("{:?}", self.machine);
        let (decisions, undo) = self.machine.step(&latest, now_ns, &self.damping, &mut self.alarms);
        let mut back = self.machine.clone();
        back.take_back(undo);
        assert_eq!(format!("{back:?}"), before, "a step leaves nothing behind that is taken back");
        self.check(&decisions);
        self.machine.recall(self.entry.binding.tags);
        assert!(self.machine.due_ns().is_none_or(|due| due > now_ns), "due, and nothing to do about it");
        self.effects.extend(decisions.effects.into_iter().map(|effect| (self.now, effect)));
        if decisions.reannounce {
            self.announced.push(self.now);
        }
    }

    /// Checks the invariants, and commits the decisions.
    fn check(&mut self, decisions: &Decisions) {
        let now = (self.machine.state(), self.machine.holder());
        let changed = now != self.stored;
        assert_eq!(
            decisions.change.map(|change| (change.state, change.holder)),
            changed.then_some(now),
            "a change is reported"
        );
        assert!(
            now.1.is_none_or(|holder| self.cells.contains_key(&holder.get())),
            "held by one not attached"
        );
        assert_eq!(now.0 == HavipState::Unbound, now.1.is_none() && !matches!(now.0, FROZEN | CONFLICT));
        if (self.stored.0, now.0) == (FROZEN, FROZEN) {
            assert_eq!(self.stored.1, now.1, "moved while it was frozen");
        }
        let changes = |effect: &&Effect| matches!(effect, Effect::Bound { .. } | Effect::Moved { .. });
        assert_eq!(
            decisions.effects.iter().filter(changes).count(),
            usize::from(self.stored.1 != now.1),
            "one move"
        );
        self.revision = self.revision.next();
        let (entry, happened) =
            enact(&self.entry, decisions, |who| Some(holder(who)), self.revision, self.now);
        assert_eq!(entry.is_some(), changed);
        assert!(happened.iter().all(|event| event.generation == self.revision.get()));
        if let Some(entry) = entry {
            assert!(entry.binding.generation > self.entry.binding.generation, "generations grow");
            assert!(entry.binding.moves >= self.entry.binding.moves, "moves grow");
            assert_eq!(entry.binding.holder, now.1.map(holder));
            self.entry = entry;
        }
        self.stored = now;
    }

    /// Effects as text.
    pub fn story(&self) -> Vec<String> {
        self.effects.iter().map(|(at, effect)| format!("{at} {}", words(effect))).collect()
    }
}

pub fn words(effect: &Effect) -> String {
    match effect {
        Effect::Bound { to, why: by } => format!("bound {to} {by}"),
        Effect::Moved { from, to, why: by } => format!("moved {from}>{to} {by}"),
        Effect::Frozen(frozen) => format!("frozen, not to {}", frozen.refused.get()),
        Effect::Thawed(Thaw::Settled) => "thawed settled".to_owned(),
        Effect::Thawed(Thaw::Quiet) => "thawed quiet".to_owned(),
        Effect::Thawed(Thaw::After) => "thawed after".to_owned(),
        Effect::Conflict { one, other } => {
            let (one, other) = (one.min(other).get(), one.max(other).get());
            format!("conflict {one} {other}")
        }
        Effect::ConflictEnded { left: Some(left) } => format!("conflict ended, {} left", left.get()),
        Effect::ConflictEnded { left: None } => "conflict ended".to_owned(),
        Effect::Spoof { count, tep, .. } => format!("spoof {} x{count}", tep.address().octets()[3]),
    }
}
