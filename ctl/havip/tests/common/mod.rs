//! A HAVIP whose speakers say what a script tells them, stepped every millisecond in which something is said or due,
//! as the commit thread does.
#![allow(dead_code)]

use std::collections::BTreeMap;

use bcast_domain::{Refusal, SpeakerId, Tep};
use ctl_api::model::HavipState;
use ctl_havip::{Alarms, Damping, Machine, Options, Spoken, Stranger, Thaw, Told};

/// Nanoseconds of a millisecond.
pub const MS: u64 = 1_000_000;

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// A gratuitous ARP.
    Claim(u32),
    /// Any other ARP.
    Use(u32),
    /// One advert, interval 1 s.
    Advert(u32),
    /// Adverts every second until then, milliseconds.
    Master(u32, u64),
    /// Adverts every tenth of a second until then.
    Fast(u32, u64),
    /// An advert of priority 0.
    Resign(u32),
    Attach(u32),
    Detach(u32),
    /// By hand.
    Unfreeze,
    /// One that is not attached, with this number, sends a gratuitous ARP.
    Stranger(u32),
    /// The same with an ordinary ARP.
    StrangerUses(u32),
    /// The daemon starts anew over what is stored.
    Restart,
}

pub fn mac(who: u32) -> [u8; 6] {
    let [a, b, c, d] = who.to_be_bytes();
    [0x52, 0x54, a, b, c, d]
}

pub fn tep(who: u32) -> Tep {
    Tep::new(std::net::Ipv4Addr::from(0xc612_0000 + (who & 0xffff))).unwrap()
}

pub fn id(who: u32) -> SpeakerId {
    SpeakerId::new(who).unwrap()
}

/// The HAVIP.
pub struct Rig {
    pub machine: Machine,
    pub cells: BTreeMap<u32, Spoken>,
    pub damping: Damping,
    pub alarms: Alarms,
    pub options: Options,
    /// What is durable.
    pub stored: (HavipState, Option<SpeakerId>),
    pub told: Vec<(u64, Told)>,
    /// Milliseconds in which it was announced anew.
    pub announced: Vec<u64>,
    pub steps: usize,
    now: u64,
    dirty: bool,
}

impl Rig {
    pub fn new(speakers: &[u32], options: Options) -> Self {
        let ids: Vec<SpeakerId> = speakers.iter().map(|&who| id(who)).collect();
        let stored = (HavipState::Unbound, None);
        Self {
            machine: Machine::new(&ids, stored, options, 0),
            cells: speakers.iter().map(|&who| (who, Spoken::default())).collect(),
            damping: Damping::default(),
            alarms: Alarms::new(),
            options,
            stored,
            told: Vec::new(),
            announced: Vec::new(),
            steps: 0,
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
            // Nothing happens in between.
            let next = acts.peek().map_or(last, |&(at, _)| at);
            let due = self.machine.due_ns().map_or(last, |due| due.div_ceil(MS));
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
            Act::Claim(who) => self.say(who, |cell| cell.claim_ns = at_ns),
            Act::Use(who) => self.say(who, |cell| cell.use_ns = at_ns),
            Act::Advert(who) | Act::Master(who, _) => self.advert(who, at_ns, 100, 100),
            Act::Fast(who, _) => self.advert(who, at_ns, 10, 100),
            Act::Resign(who) => self.advert(who, at_ns, 100, 0),
            Act::Attach(who) => {
                self.cells.entry(who).or_default();
                self.follow(at_ns);
            }
            Act::Detach(who) => {
                self.cells.remove(&who);
                if self.stored.1 == Some(id(who)) {
                    self.stored = (HavipState::Unbound, None);
                }
                self.follow(at_ns);
            }
            Act::Unfreeze => {
                let bound = if self.stored.1.is_some() { HavipState::Bound } else { HavipState::Unbound };
                self.stored.0 = bound;
                self.follow(at_ns);
            }
            Act::Stranger(who) => self.refused(who, true, at_ns),
            Act::StrangerUses(who) => self.refused(who, false, at_ns),
            Act::Restart => {
                self.machine = Machine::new(&self.speakers(), self.stored, self.options, at_ns);
                self.cells.values_mut().for_each(|cell| *cell = Spoken::default());
            }
        }
    }

    fn say(&mut self, who: u32, what: impl FnOnce(&mut Spoken)) {
        // Of one that is not attached nothing is noted.
        if let Some(cell) = self.cells.get_mut(&who) {
            what(cell);
        }
    }

    fn advert(&mut self, who: u32, at_ns: u64, interval_cs: u16, priority: u8) {
        self.say(who, |cell| {
            *cell = Spoken { advert_ns: at_ns, interval_cs, priority, ..*cell };
        });
    }

    fn refused(&mut self, who: u32, claims: bool, at_ns: u64) {
        let stranger = Stranger { mac: mac(who), tep: tep(who), what: Refusal::Stranger, claims, at_ns };
        self.machine.refused(stranger);
    }

    fn speakers(&self) -> Vec<SpeakerId> {
        self.cells.keys().map(|&who| id(who)).collect()
    }

    fn follow(&mut self, now_ns: u64) {
        let speakers = self.speakers();
        let who = |stranger: &Stranger| {
            self.cells
                .keys()
                .find(|&&who| (mac(who), tep(who)) == (stranger.mac, stranger.tep))
                .map(|&w| id(w))
        };
        self.machine.follow(&speakers, self.stored, self.options, now_ns, who);
    }

    fn step(&mut self, now_ns: u64) {
        if !self.dirty && self.machine.due_ns().is_none_or(|due| due > now_ns) {
            return;
        }
        self.dirty = false;
        self.steps += 1;
        let heard: Vec<(SpeakerId, Spoken)> =
            self.cells.iter().map(|(&who, &cell)| (id(who), cell)).collect();
        let decisions = self.machine.step(&heard, now_ns, &self.damping, &mut self.alarms);
        if let Some(turn) = decisions.turn {
            assert_eq!((turn.state, turn.holder), (self.machine.state(), self.machine.holder()));
            assert_ne!((turn.state, turn.holder), self.stored, "a turn that turns nothing");
            self.stored = (turn.state, turn.holder);
        }
        assert_eq!(self.stored, (self.machine.state(), self.machine.holder()), "told by a turn");
        assert!(self.machine.due_ns().is_none_or(|due| due > now_ns), "due, and nothing to do about it");
        self.told.extend(decisions.told.into_iter().map(|told| (self.now, told)));
        if decisions.reannounce {
            self.announced.push(self.now);
        }
    }

    /// What was told, in words.
    pub fn story(&self) -> Vec<String> {
        self.told.iter().map(|(at, told)| format!("{at} {}", words(told))).collect()
    }
}

pub fn words(told: &Told) -> String {
    match told {
        Told::Bound { to, why: by } => format!("bound {to} {by}"),
        Told::Moved { from, to, why: by } => format!("moved {from}>{to} {by}"),
        Told::Frozen(frozen) => format!("frozen, not to {}", frozen.refused.get()),
        Told::Thawed(Thaw::Quiet) => "thawed quiet".to_owned(),
        Told::Thawed(Thaw::After) => "thawed after".to_owned(),
        Told::Conflict { one, other } => {
            let (one, other) = (one.min(other).get(), one.max(other).get());
            format!("conflict {one} {other}")
        }
        Told::ConflictEnded { left: Some(left) } => format!("conflict ended, {} left", left.get()),
        Told::ConflictEnded { left: None } => "conflict ended".to_owned(),
        Told::Spoof { count, tep, .. } => format!("spoof {} x{count}", tep.address().octets()[3]),
    }
}
