//! Decisions on next hops: a state machine without I/O and without a clock.
//!
//! ```text
//!                  ┌── Tick: nothing under way, and due ──┬────────────────┐
//!                  ▼                                      ▼                ▼
//!   Lookup: up to 64 routes                  Full: Links ─▶ Tap ─▶ Rules   Rules
//!                  │ all answered                                  │         │
//!                  ▼                                   Gateway ◀───┘         │
//!   Resolve: up to 64 next hops,                          ▼                  │
//!            up to 64 to forget                       Neighbours             │
//!                  └──────────────────▶ at rest ◀─────────┴──────────────────┘
//! ```
//!
//! [`Machine::decide`] takes an event and returns actions. Requests of one job are under way at a time; their answers may come
//! in any order. A request that fails ends its job, and is made again later.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use bcast_domain::{Tep, TepIndex};
use netlink::RequestError;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::rule::RuleMessage;
use wire::MacAddr;

use crate::effect::{Effect, Tables, Watched, link_is_up, matching};
use crate::event::{Action, Answer, Event, Fatal, Request};
use crate::hops::{Hops, Published, Stale};

/// Changes of routes are gathered for so long before routes are looked up again.
const ROUTES_SETTLE: Duration = Duration::from_millis(50);
/// Time between two reads of links, rules and neighbours in full, in which what is unresolved is tried again.
const RESYNC_EVERY: Duration = Duration::from_secs(5);
/// Time between lost notifications and the read in full that makes up for them; more may be lost until then.
pub const RESYNC_AFTER_LOSS: Duration = Duration::from_millis(200);
/// Time between two lines of the log about lost notifications.
const LOG_LOSS_EVERY: Duration = Duration::from_secs(10);
/// Time for which a kernel that did not answer is left alone.
const SILENCE: Duration = Duration::from_secs(1);
/// Time until requests are made again that the kernel refused.
const RETRY_REFUSED: Duration = Duration::from_millis(500);
/// Time between two ticks where nothing happens.
const IDLE_TICK: Duration = Duration::from_millis(250);
/// TEPs beyond which sweeps over all of them are spaced out, and the time between the end of one and the next.
const MANY: usize = 1_024;
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Requests of one kind that are under way at a time.
const AT_ONCE: usize = 64;

/// The kernel's error number for a full neighbour table, ENOBUFS.
const NO_BUFFERS: i32 = -105;
/// For an interface that is down, ENETDOWN.
const NETWORK_DOWN: i32 = -100;

/// Requests that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Job {
    Lookup,
    Resolve,
    Rules,
    Full,
}

/// TEPs, their next hops, and all that is to be asked of the kernel about them.
#[derive(Default)]
pub struct Machine {
    pub(crate) hops: Hops,
    watched: Watched,
    /// Address that packets are routed by.
    node: Option<Ipv4Addr>,
    /// Job that is under way, number of its unanswered requests, and the failure of one.
    job: Option<Job>,
    under_way: usize,
    failure: Option<RequestError>,
    /// Time at which routes that were marked are looked up; `None`: none were marked, or they are being looked up.
    settle_at: Option<Instant>,
    /// Routes of many TEPs that are to be marked, and when; and when such were marked last.
    sweep: Option<Stale>,
    sweep_at: Option<Instant>,
    swept: Option<Instant>,
    /// Time at which routing rules are read; and those that can match the node's packets, as they were read last.
    rules_at: Option<Instant>,
    rules: Option<Vec<RuleMessage>>,
    /// Time at which links, rules and neighbours are read in full; `None`: the kernel is not followed.
    resync_at: Option<Instant>,
    /// Routes are to be looked up anew with the next read in full.
    lost: bool,
    /// Time at which lost notifications were logged last.
    logged_loss: Option<Instant>,
    /// Next hops that the kernel refused to resolve, while the TAP was down for one, and when they are tried again.
    refused: Vec<IpAddr>,
    retry_at: Option<Instant>,
    /// The kernel did not answer the last request.
    silent: bool,
    /// Routes and next hops are not asked for until then, after a failure.
    paused_until: Option<Instant>,
    /// The kernel's error numbers for which the log says that it keeps no neighbour for some next hop.
    warned: HashSet<Option<i32>>,
}

impl Machine {
    /// No TEPs. `fixed`: the MAC address of every next hop.
    pub fn new(fixed: Option<MacAddr>) -> Self {
        Self { hops: Hops::new(fixed), ..Self::default() }
    }

    /// Follows the kernel from now on. `tap`: index of the TAP, 0: there is none. `port`: index of the interface behind the
    /// port. `node`: the address that packets are routed by.
    pub fn follow(&mut self, now: Instant, tap: u32, port: Option<u32>, node: Option<Ipv4Addr>) {
        self.watched = Watched { tap, port, tables: Tables::Any };
        (self.node, self.resync_at) = (node, Some(now));
    }

    /// Adds and removes TEPs; the next [`Event::Tick`] asks for their routes.
    pub fn set_teps(&mut self, added: &[(TepIndex, Tep)], removed: &[TepIndex]) {
        removed.iter().for_each(|&index| self.hops.remove(index));
        added.iter().for_each(|&(index, tep)| self.hops.add(index, tep));
    }

    /// Each TEP with its next hop, by index. Workers are about to see it.
    pub fn publish(&mut self) -> Vec<Option<Published>> {
        self.hops.publish()
    }

    /// Number of next hops in use, where nothing is to be asked and nothing under way; otherwise `None`.
    pub fn at_rest(&self) -> Option<usize> {
        let busy =
            self.job.is_some() || !self.hops.is_settled() || self.hops.has_work() || self.hops.has_stale();
        (!busy).then(|| self.hops.len())
    }

    /// Takes in an event, and returns what is to be done, in this order.
    pub fn decide(&mut self, now: Instant, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Notice(notice) => {
                if let Some(effect) = self.watched.effect(&notice) {
                    self.apply(now, effect, &mut actions);
                }
            }
            Event::Answered(request, answer) => {
                self.under_way = self.under_way.saturating_sub(1);
                match answer {
                    Ok(answer) => self.answered(now, request, answer, &mut actions),
                    Err(error) => self.failed(now, &request, error),
                }
                match self.job {
                    Some(_) if self.under_way > 0 => {}
                    Some(Job::Lookup) => self.resolve(now, &mut actions),
                    Some(_) => self.end(now, &mut actions),
                    None => {}
                }
            }
            Event::Tick => self.tick(now, &mut actions),
        }
        actions
    }

    /// Time at which the next [`Event::Tick`] is due.
    pub fn wake_at(&self, now: Instant) -> Instant {
        let work = self.has_work().then(|| self.paused_until.unwrap_or(now));
        let timers = [self.settle_at, self.retry_at, self.sweep_at, self.rules_at, self.resync_at, work];
        timers.into_iter().flatten().fold(now + IDLE_TICK, Instant::min)
    }

    /// There is something to ask the kernel now: routes of new TEPs, next hops, routes that were marked long enough ago.
    fn has_work(&self) -> bool {
        self.hops.has_work() || (self.settle_at.is_none() && self.hops.has_stale())
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        is_due(&mut self.settle_at, now);
        if is_due(&mut self.retry_at, now) {
            self.refused.drain(..).for_each(|hop| self.hops.ask_again(hop));
        }
        if is_due(&mut self.sweep_at, now) {
            self.mark_sweep(now);
        }
        if self.job.is_some() {
            return;
        }
        if is_due(&mut self.rules_at, now) {
            self.job = Some(Job::Rules);
            self.ask(Request::Rules, actions);
        } else if is_due(&mut self.resync_at, now) {
            self.resync_at = Some(now + RESYNC_EVERY);
            self.job = Some(Job::Full);
            self.ask(Request::Links, actions);
        } else if self.paused_until.is_none_or(|until| until <= now) && self.has_work() {
            self.job = Some(Job::Lookup);
            for tep in self.hops.take(AT_ONCE, self.settle_at.is_some()) {
                self.ask(Request::Route(tep), actions);
            }
            if self.under_way == 0 {
                self.resolve(now, actions);
            }
        }
    }

    fn ask(&mut self, request: Request, actions: &mut Vec<Action>) {
        self.under_way += 1;
        actions.push(Action::Ask(request));
    }

    /// All routes of a job were answered: next hops come next.
    fn resolve(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.job = Some(Job::Resolve);
        let (to_ask, to_forget) = (self.hops.take_to_ask(AT_ONCE), self.hops.take_to_forget(AT_ONCE));
        to_ask.into_iter().for_each(|hop| self.ask(Request::Resolve(hop), actions));
        to_forget.into_iter().for_each(|hop| self.ask(Request::Forget(hop), actions));
        if self.under_way == 0 {
            self.end(now, actions);
        }
    }

    /// A job has ended: notes whether the kernel answers.
    fn end(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let (job, error) = (self.job.take(), self.failure.take());
        let silent = error.as_ref().is_some_and(RequestError::is_silence);
        self.paused_until = match error {
            Some(_) if silent => Some(now + SILENCE),
            Some(_) if job == Some(Job::Resolve) => Some(now + RETRY_REFUSED),
            _ => None,
        };
        if std::mem::replace(&mut self.silent, silent) != silent {
            actions.push(Action::Silent(silent));
            match error {
                Some(error) if silent => tracing::error!(%error, "the kernel does not answer"),
                _ => tracing::info!("the kernel answers again"),
            }
        } else if let Some(error) = error.filter(|_| !silent) {
            tracing::warn!(%error, "a request to the kernel failed; it is tried again");
        }
    }

    fn answered(&mut self, now: Instant, request: Request, answer: Answer, actions: &mut Vec<Action>) {
        match (request, answer) {
            (Request::Links, Answer::Links(links)) => self.follow_links(&links, actions),
            (Request::Tap(_), Answer::Tap { missing, trouble }) => {
                if !missing.is_empty() {
                    let missing = missing.join(", ");
                    tracing::warn!(missing, "the TAP had lost what the node needs; it is back");
                    self.mark(now, Stale::All);
                }
                actions.push(Action::TapTrouble(trouble));
                self.ask(Request::Rules, actions);
            }
            (Request::Rules, Answer::Rules { rules, missing }) => {
                self.follow_rules(now, rules, missing);
                if self.job == Some(Job::Full) {
                    // Now that the TAP is as it has to be.
                    self.ask(Request::Gateway, actions);
                }
            }
            (Request::Gateway, Answer::Done) => self.ask(Request::Neighbours, actions),
            (Request::Neighbours, Answer::Neighbours(all)) => {
                self.hops.neighbours(&all);
                self.hops.mark_unresolved();
                if std::mem::take(&mut self.lost) {
                    self.mark(now, Stale::All);
                }
                actions.push(Action::CheckLimit(if self.warned.is_empty() { self.hops.len() } else { 0 }));
            }
            (Request::Route(tep), Answer::Route(route)) => self.hops.routed(tep, route),
            (Request::Resolve(hop), Answer::Resolved { mac, asked }) => {
                if asked {
                    self.hops.asked(hop);
                }
                self.hops.resolved(hop, mac);
            }
            _ => {}
        }
    }

    fn follow_links(&mut self, links: &[LinkMessage], actions: &mut Vec<Action>) {
        let link = |index: u32| links.iter().find(|link| link.header.index == index);
        match self.watched.port.map(link) {
            Some(None) => actions.push(Action::GiveUp(Fatal::Port)),
            Some(Some(link)) => actions.push(Action::PortLink(link_is_up(link))),
            None => {}
        }
        match link(self.watched.tap) {
            _ if self.watched.tap == 0 => self.lost = false,
            Some(tap) => self.ask(Request::Tap(tap.clone().into()), actions),
            None => {
                actions.push(Action::GiveUp(Fatal::Tap));
                self.ask(Request::Rules, actions);
            }
        }
    }

    fn follow_rules(&mut self, now: Instant, rules: Vec<RuleMessage>, missing: usize) {
        if missing > 0 {
            tracing::warn!(missing, "routing rules of the daemon had been removed; they are back");
        }
        self.watched.tables = Tables::of(&rules);
        let Some(node) = self.node else { return };
        let rules = matching(rules, node);
        if missing > 0 || self.rules.as_ref() != Some(&rules) {
            self.rules = Some(rules);
            self.mark(now, Stale::All);
        }
    }

    fn failed(&mut self, now: Instant, request: &Request, error: RequestError) {
        match *request {
            Request::Route(tep) => self.hops.put_back(tep),
            Request::Resolve(hop) if error.is_silence() => self.hops.ask_again(hop),
            Request::Resolve(hop) => return self.refuse(now, hop, &error),
            // The kernel has the entry still.
            Request::Forget(hop) => self.hops.asked(hop),
            _ => {}
        }
        if self.failure.as_ref().is_none_or(|failure| !failure.is_silence()) {
            self.failure = Some(error);
        }
    }

    /// The kernel refused to resolve a next hop.
    fn refuse(&mut self, now: Instant, next_hop: IpAddr, error: &RequestError) {
        let (code, next_hops) = (error.code(), self.hops.len());
        // A full table is tried again with the next read in full.
        if code != Some(NO_BUFFERS) {
            self.refused.push(next_hop);
            self.retry_at.get_or_insert(now + RETRY_REFUSED);
        }
        // Once for each cause.
        if code == Some(NETWORK_DOWN) || !self.warned.insert(code) {
            return;
        }
        let advice = match code {
            Some(NO_BUFFERS) => "raise net.ipv4.neigh.default.gc_thresh3",
            _ => "it takes a kernel from 5.16 on, and an IPv6 next hop IPv6 on the TAP",
        };
        tracing::warn!(
            %next_hop, next_hops, %error,
            "the kernel keeps no neighbour for this next hop; {advice}"
        );
    }

    fn apply(&mut self, now: Instant, effect: Effect, actions: &mut Vec<Action>) {
        match effect {
            Effect::PortLink(up) => actions.push(Action::PortLink(up)),
            // The gateway's route, and what else the TAP lacks, comes back with the read in full.
            Effect::TapLink | Effect::AddressRemoved => {
                self.resync_by(now + ROUTES_SETTLE);
                self.mark(now, Stale::All);
            }
            Effect::Setting => self.resync_by(now + RESYNC_AFTER_LOSS),
            Effect::PortGone => actions.push(Action::GiveUp(Fatal::Port)),
            Effect::TapGone => actions.push(Action::GiveUp(Fatal::Tap)),
            Effect::Resolved(hop, mac) => self.hops.resolved(hop, mac),
            Effect::Vanished(hop) => self.hops.vanished(hop),
            Effect::Routes(stale) => self.mark(now, stale),
            Effect::Rules => _ = self.rules_at.get_or_insert(now + ROUTES_SETTLE),
            Effect::Resync => {
                if self.logged_loss.is_none_or(|at| now - at >= LOG_LOSS_EVERY) {
                    self.logged_loss = Some(now);
                    tracing::warn!(
                        "netlink notifications were lost; links, neighbours and routes are read anew"
                    );
                }
                self.lost = true;
                self.resync_by(now + RESYNC_AFTER_LOSS);
            }
        }
    }

    fn resync_by(&mut self, time: Instant) {
        self.resync_at = self.resync_at.map(|at| at.min(time));
    }

    /// Marks routes, which are looked up once no more of the same is to be expected. A sweep over many TEPs waits until the
    /// last one is over, and a while: else, where causes follow one another, sweeps would be all that is done.
    fn mark(&mut self, now: Instant, stale: Stale) {
        let Stale::Prefix(..) = stale else {
            let wanted = match self.sweep.take() {
                Some(Stale::All) => Stale::All,
                _ => stale,
            };
            self.sweep = Some(wanted);
            let pause = if self.hops.teps() > MANY { SWEEP_EVERY } else { ROUTES_SETTLE };
            let earliest = self.swept.map_or(now, |swept| swept + pause);
            self.sweep_at.get_or_insert(earliest.max(now + ROUTES_SETTLE));
            return;
        };
        let had_stale = self.hops.has_stale();
        self.hops.mark(stale);
        if self.hops.has_stale() && !had_stale {
            self.settle_at = Some(now + ROUTES_SETTLE);
        }
    }

    /// Marks the routes of the sweep that waits, unless an earlier one is under way.
    fn mark_sweep(&mut self, now: Instant) {
        if self.hops.has_stale() && self.hops.teps() > MANY {
            self.sweep_at = Some(now + SWEEP_EVERY);
        } else if let Some(stale) = self.sweep.take() {
            self.hops.mark(stale);
            self.swept = Some(now);
        }
    }
}

/// Clears a timer that is due.
fn is_due(timer: &mut Option<Instant>, now: Instant) -> bool {
    timer.take_if(|at| *at <= now).is_some()
}
