//! The machines of all HAVIPs: what workers heard goes in, what shall commit comes out.
//!
//! ```text
//! heard, refused ──┐
//! time ────────────┼─▶ ready ─▶ step ─▶ decisions ─▶ one record ─▶ commit ─▶ keep ─▶ announce
//! committed changes┘                                     └─ the store does not take it ─▶ undo, and try again
//! ```
//!
//! A machine decides in place; a step that is not durable is taken back. All its times are of the steady clock
//! ([`crate::clock`]); workers' stamps are translated as they come in.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use bcast_domain::{
    AnnouncementBoard, AnnouncerId, LastAnnounced, RejectReason, Rejected, VipId, Vni, is_virtual_mac,
};
use crossbeam::channel::Receiver;
use ctl_api::model::{Event, Havip, HavipEntry, HavipEvent, HavipEventKind, Holder, Offender, Revision};
use ctl_havip::{Alarms, Damping, Diagnosis, Machine, Options, RejectedSender, SECOND, Undo, enact};
use ctl_node::{Holding, Moment, Node};
use ctl_store::Record;
use hashbrown::HashMap;

use crate::clock::{AnnouncedAt, AnnouncerTimes, Clock};
use crate::havips::{HavipRow, Havips, NamedAnnouncer, vip};
use crate::hook::{REPORTS, Report};
use crate::teps::Teps;

/// Most decisions in one record, so that it stays well below what the log takes.
const MOST_DECISIONS: usize = 1_000;
/// Most machines that step in one tick; the next tick is then at once, but a group of requests comes first.
const MOST_STEPS: usize = 10_000;
/// Most refused announcements taken in one tick: all that the data plane keeps.
const MOST_REFUSED: usize = 4_096;
/// Pause before decisions are made again that the store did not take.
const RETRY_NS: u64 = SECOND;

/// The machines of all HAVIPs.
#[derive(Default)]
pub(crate) struct Machines {
    damping: Damping,
    alarms: Alarms,
    clock: Clock,
    /// Slots by number.
    slots: Vec<Option<Box<Slot>>>,
    len: usize,
    /// Times at which machines want to decide. An entry for which its slot is not armed is void.
    due: BinaryHeap<Reverse<(u64, VipId)>>,
    /// HAVIPs that are to step now, each once.
    ready: VecDeque<VipId>,
    /// HAVIPs that are to be announced on their holder's behalf, each once.
    announcing: VecDeque<VipId>,
    /// Nothing is decided before: the store did not take what was.
    paused_until_ns: u64,
    /// Reports that the store did not take.
    reports: Vec<Report>,
    /// Scratch space of a step: announcers with their last announcements.
    last_announced: Vec<(AnnouncerId, LastAnnounced)>,
}

struct Slot {
    machine: Machine,
    announcer_times: AnnouncerTimes,
    /// The time in `due` that counts.
    armed_ns: u64,
    is_ready: bool,
    is_announcing: bool,
}

/// The machines' view of the node.
pub(crate) struct View<'v> {
    pub havips: &'v Havips,
    pub teps: &'v Teps,
    pub node: &'v dyn Node,
}

impl View<'_> {
    /// Announcer that a refused sender is by now.
    fn who(&self, held: &HavipRow, stranger: &RejectedSender) -> Option<AnnouncerId> {
        let tep = self.teps.index(stranger.tep)?;
        vip(held, |tep| self.teps.index(tep)).binder(stranger.mac, stranger.bound, tep).ok()
    }
}

/// Decisions of the machines, to be committed as one record; then it is [kept](Machines::keep) or [undone](Machines::undo).
#[derive(Default)]
pub(crate) struct Tick {
    pub events: Vec<Event>,
    /// Alarms that make no revision.
    pub alarms: Vec<HavipEvent>,
    /// The steps, to be taken back.
    undo: Vec<(VipId, Undo)>,
    announce: Vec<VipId>,
    /// Reports of listeners.
    reports: Vec<Report>,
}

impl Tick {
    /// The alarms that are to be told now. Those of steps that are taken back come again with the next step.
    pub fn take_alarms(&mut self, is_durable: bool, havips: &Havips) -> Vec<HavipEvent> {
        let mut alarms = std::mem::take(&mut self.alarms);
        if !is_durable {
            let undone = |alarm: &HavipEvent| {
                let id = havips.id(&alarm.havip);
                self.undo.iter().any(|(undone, _)| Some(*undone) == id)
            };
            alarms.retain(|alarm| !undone(alarm));
        }
        alarms
    }

    /// All of it as a record; `None`: nothing was decided.
    pub fn record(&mut self, revision: Revision, unix_ms: u64) -> Option<Record> {
        let events = std::mem::take(&mut self.events);
        (!events.is_empty()).then_some(Record { revision, unix_ms, events })
    }
}

impl Machines {
    pub fn new(damping: Damping) -> Self {
        Self { damping, ..Self::default() }
    }

    /// Nothing can happen.
    pub fn is_idle(&self) -> bool {
        self.len == 0
    }

    /// Some are ready, so the next tick should be at once.
    pub fn is_ready(&self, now_ns: u64) -> bool {
        !self.ready.is_empty() && now_ns >= self.paused_until_ns
    }

    /// Diagnosis of a HAVIP; a line for each trouble.
    pub fn diagnosis(&self, held: &HavipRow, now_ns: u64) -> Vec<Diagnosis> {
        let name =
            |announcer| held.identity(announcer).map_or_else(|| format!("{announcer}"), ctl_havip::name);
        let machine = self.slots.get(held.id.index()).and_then(Option::as_ref).map(|slot| &slot.machine);
        machine.map(|machine| machine.diagnosis(now_ns, &self.damping, name)).unwrap_or_default()
    }

    /// Codes of the same, each once.
    pub fn codes(&self, held: &HavipRow, now_ns: u64) -> impl Iterator<Item = &'static str> {
        let slot = self.slots.get(held.id.index()).and_then(Option::as_ref);
        slot.into_iter().flat_map(move |slot| slot.machine.codes(now_ns))
    }

    /// Latest announcements of each announcer of a HAVIP, and their times, in their order. Stamps are the workers' own.
    /// The machine takes note of when they were heard about other addresses, so ask this before its diagnosis.
    pub fn announcer_times<'h>(
        &mut self,
        held: &'h HavipRow,
        havips: &Havips,
        node: &dyn Node,
    ) -> Vec<(&'h NamedAnnouncer, LastAnnounced, AnnouncedAt)> {
        let vni = held.entry.havip.vni;
        let last = |named| havips.last_announced(vni, named, node.board());
        let read: Vec<_> = held.announcers.iter().map(|named| (named, last(named))).collect();
        // After the stamps were read, so that each lies before a moment that is known.
        self.clock.mark(node.now());
        let (clock, mut unknown) = (&self.clock, AnnouncerTimes::default());
        let mut slot = self.slots.get_mut(held.id.index()).and_then(Option::as_mut);
        let times = |(named, last): (&'h NamedAnnouncer, LastAnnounced)| {
            let announcer_times = slot.as_mut().map_or(&mut unknown, |slot| &mut slot.announcer_times);
            let (steady, at) = announcer_times.follow(named.id, last, clock);
            if let Some(slot) = &mut slot {
                slot.machine.notice(&[(named.id, steady)]);
            }
            (named, last, at)
        };
        read.into_iter().map(times).collect()
    }

    /// Follows committed changes of these HAVIPs. `now` is a time before workers could know of them.
    pub fn follow(&mut self, changed: impl IntoIterator<Item = VipId>, view: &View<'_>, now: Moment) {
        for id in changed {
            match view.havips.get(id) {
                Some(held) => self.follow_one(held, view, now.steady_ns),
                None => self.remove(id),
            }
        }
    }

    fn follow_one(&mut self, held: &HavipRow, view: &View<'_>, now_ns: u64) {
        let number = |who: &Holder| {
            let before = held.announcers.iter().take_while(|named| named.identity.instance != who.instance);
            u32::try_from(before.count()).unwrap_or(u32::MAX)
        };
        let announcers: Vec<_> =
            held.announcers.iter().map(|named| (named.id, number(&named.identity))).collect();
        let stored = (held.entry.binding.state, held.holder());
        let refresh_ns = held.entry.havip.refresh_s.map(|seconds| u64::from(seconds) * SECOND);
        let options = Options { refresh_ns };
        let place = held.id.index();
        if self.slots.len() <= place {
            self.slots.resize_with(place + 1, || None);
        }
        let Some(slot) = self.slots.get_mut(place) else { return };
        match slot {
            Some(slot) => {
                let who = |stranger: &RejectedSender| view.who(held, stranger);
                slot.machine.follow(&announcers, stored, options, now_ns, who);
                slot.machine.recall(held.entry.binding.tags);
                slot.announcer_times.retain(&held.announcers);
            }
            None => {
                let mut machine = Machine::new(&announcers, stored, options, now_ns);
                machine.recall(held.entry.binding.tags);
                *slot = Some(Box::new(Slot {
                    machine,
                    announcer_times: AnnouncerTimes::default(),
                    armed_ns: u64::MAX,
                    is_ready: false,
                    is_announcing: false,
                }));
                self.len += 1;
            }
        }
        self.arm(held.id);
    }

    fn remove(&mut self, id: VipId) {
        if self.slots.get_mut(id.index()).and_then(Option::take).is_some() {
            self.len -= 1;
        }
    }

    fn slot(&mut self, id: VipId) -> Option<&mut Slot> {
        self.slots.get_mut(id.index())?.as_deref_mut()
    }

    /// It steps in the next tick.
    fn make_ready(&mut self, id: VipId) {
        if let Some(slot) = self.slot(id)
            && !slot.is_ready
        {
            slot.is_ready = true;
            self.ready.push_back(id);
        }
    }

    /// Wakes it when it wants to decide.
    fn arm(&mut self, id: VipId) {
        let Some(slot) = self.slot(id) else { return };
        // One that is armed earlier finds nothing to do then, and is armed anew.
        if let Some(due_ns) = slot.machine.due_ns().filter(|&due_ns| due_ns < slot.armed_ns) {
            slot.armed_ns = due_ns;
            self.due.push(Reverse((due_ns, id)));
        }
    }

    /// Takes in what was heard and refused, and has all decide that have reason to.
    pub fn tick(
        &mut self,
        view: &View<'_>,
        reports: &Receiver<Report>,
        revision: Revision,
        unix_ms: u64,
    ) -> Tick {
        let now = view.node.now();
        let now_ns = now.steady_ns;
        self.clock.mark(now);
        if now_ns < self.paused_until_ns {
            return Tick::default();
        }
        view.node.board().drain(|id| self.make_ready(id));
        self.take_rejected(view);
        while let Some(&Reverse((due_ns, id))) = self.due.peek().filter(|due| due.0.0 <= now_ns) {
            self.due.pop();
            if let Some(slot) = self.slot(id).filter(|slot| slot.armed_ns == due_ns) {
                slot.armed_ns = u64::MAX;
                self.make_ready(id);
            }
        }
        let (mut tick, mut happened) = (Tick::default(), Vec::new());
        for _ in 0..MOST_STEPS {
            if tick.undo.len() == MOST_DECISIONS {
                break;
            }
            let Some(id) = self.ready.pop_front() else { break };
            let turned = self.step(id, view, (now_ns, revision, unix_ms), &mut tick, &mut happened);
            tick.events.extend(turned.map(Box::new).map(Event::HavipSet));
        }
        tick.reports = std::mem::take(&mut self.reports);
        tick.reports.extend(reports.try_iter().take(REPORTS));
        happened.extend(tick.reports.iter().filter_map(|Report { havip, kind, detail }| {
            let entry = view.havips.entry(havip)?;
            let (generation, detail) = (revision.get(), detail.clone());
            Some(HavipEvent { generation, detail, ..HavipEvent::of(entry, *kind, unix_ms) })
        }));
        tick.events.extend(happened.into_iter().map(Box::new).map(Event::HavipEvent));
        tick
    }

    fn take_rejected(&mut self, view: &View<'_>) {
        let mut cut: HashMap<(Vni, bool), (RejectedSender, u64)> = HashMap::new();
        for _ in 0..MOST_REFUSED {
            let Some(refused) = view.node.take_rejected() else { break };
            self.clock.mark(view.node.now());
            let at_ns = self.clock.stamp(refused.at_ns).steady_ns;
            let (Some(tep), Some(slot)) = (view.teps.address(refused.tep), self.slot(refused.vip)) else {
                continue;
            };
            let Rejected { mac, bound, reason, claims, tags, .. } = refused;
            let stranger = RejectedSender { mac, bound, tep, reason, claims, tags, at_ns };
            let Some(held) = view.havips.get(refused.vip) else { continue };
            if reason == (RejectReason::Cut { any: true }) {
                let Havip { vni, address, .. } = held.entry.havip;
                let of = cut.entry((vni, address.is_ipv4())).or_insert((stranger, 0));
                *of = (stranger, of.1 + 1);
                continue;
            }
            slot.machine.refused(stranger, view.who(held, &stranger));
            self.arm(refused.vip);
        }
        for (of, (stranger, times)) in cut {
            self.take_cut(view, of, stranger, times);
        }
    }

    /// Fragments that name no HAVIP could name any guarded one of their domain and address family: each of these tells of them.
    fn take_cut(&mut self, view: &View<'_>, (vni, is_v4): (Vni, bool), stranger: RejectedSender, times: u64) {
        let stranger = RejectedSender { reason: RejectReason::Cut { any: false }, ..stranger };
        for held in view.havips.of_domain(vni).filter_map(|id| view.havips.get(id)) {
            if held.entry.havip.address.is_ipv4() == is_v4
                && !held.announcers.is_empty()
                && let Some(slot) = self.slot(held.id)
            {
                slot.machine.refused_often(stranger, None, times);
                self.arm(held.id);
            }
        }
    }

    /// Steps one machine. Returns its entry if its binding has changed.
    fn step(
        &mut self,
        id: VipId,
        view: &View<'_>,
        (now_ns, revision, unix_ms): (u64, Revision, u64),
        tick: &mut Tick,
        happened: &mut Vec<HavipEvent>,
    ) -> Option<HavipEntry> {
        let mut announced = std::mem::take(&mut self.last_announced);
        announced.clear();
        let held = view.havips.get(id)?;
        let slot = self.slots.get_mut(id.index())?.as_deref_mut()?;
        let vni = held.entry.havip.vni;
        let last = |named| view.havips.last_announced(vni, named, view.node.board());
        announced.extend(held.announcers.iter().map(|named| (named.id, last(named))));
        // After the stamps were read, so that each lies before a moment that is known.
        self.clock.mark(view.node.now());
        for (announcer, last) in &mut announced {
            *last = slot.announcer_times.follow(*announcer, *last, &self.clock).0;
        }
        slot.is_ready = false;
        let (decisions, undo) = slot.machine.step(&announced, now_ns, &self.damping, &mut self.alarms);
        self.last_announced = announced;
        self.arm(id);
        if decisions.is_settled() {
            if decisions.reannounce {
                self.make_announced(id);
            }
            return None;
        }
        let who = |announcer| held.identity(announcer).cloned();
        let (entry, events) = enact(&held.entry, &decisions, who, revision, unix_ms);
        let is_alarm = |event: &HavipEvent| event.kind == HavipEventKind::Spoof;
        let (alarms, events): (Vec<_>, Vec<_>) = events.into_iter().partition(is_alarm);
        tick.alarms.extend(alarms);
        // An alarm alone commits nothing, so there is nothing to take back.
        if entry.is_none() && events.is_empty() {
            if decisions.reannounce {
                self.make_announced(id);
            }
            return None;
        }
        tick.undo.push((id, undo));
        tick.announce.extend(decisions.reannounce.then_some(id));
        happened.extend(events);
        entry
    }

    /// Decisions are durable.
    pub fn keep(&mut self, tick: Tick) {
        tick.announce.into_iter().for_each(|id| self.make_announced(id));
    }

    /// Decisions are not durable: they are made anew later. If the store took them after all, the HAVIPs show it by
    /// now, and there is nothing left to decide.
    pub fn undo(&mut self, tick: Tick, view: &View<'_>) {
        let now_ns = view.node.now().steady_ns;
        self.paused_until_ns = now_ns.saturating_add(RETRY_NS);
        self.reports = tick.reports;
        for (id, undo) in tick.undo {
            let (Some(slot), Some(held)) = (self.slot(id), view.havips.get(id)) else { continue };
            slot.machine.take_back(undo);
            self.follow_one(held, view, now_ns);
            self.make_ready(id);
        }
    }

    fn make_announced(&mut self, id: VipId) {
        if let Some(slot) = self.slot(id)
            && !slot.is_announcing
        {
            slot.is_announcing = true;
            self.announcing.push_back(id);
        }
    }

    /// Announces what is to be announced, as far as the data plane takes it.
    pub fn announce(&mut self, view: &View<'_>) {
        while let Some(&id) = self.announcing.front() {
            let held = view.havips.get(id);
            let machine = self.slots.get(id.index()).and_then(Option::as_ref).map(|slot| &slot.machine);
            if let Some(holding) = held.and_then(|held| holding(held, machine, view.node.board()))
                && !view.node.announce(&holding)
            {
                return;
            }
            self.announcing.pop_front();
            if let Some(slot) = self.slot(id) {
                slot.is_announcing = false;
            }
        }
    }
}

/// Announcement of a HAVIP on its holder's behalf: with the MAC address that the holder last claimed it with, its own or a
/// virtual one, and in the VLAN that it has the address in. That claim may have been refused at first, and replayed. `None` where nobody
/// holds it, or its VLAN is not known.
fn holding(held: &HavipRow, machine: Option<&Machine>, heard: &AnnouncementBoard) -> Option<Holding> {
    let holder = held.entry.binding.holder.as_ref()?;
    let Havip { vni, address, vrids, .. } = &held.entry.havip;
    let tags = machine.map_or(held.entry.binding.tags, Machine::tags)?;
    let last = held.holder().map(|announcer| heard.read(announcer)).unwrap_or_default();
    let replayed = machine.zip(held.holder()).and_then(|(machine, holder)| machine.replayed(holder));
    let claimed =
        if last.claim_ns > 0 { Some(last.mac) } else { replayed.and_then(|replayed| replayed.claimed_mac) };
    let mac = claimed.filter(|&mac| is_virtual_mac(mac, vrids)).unwrap_or(holder.mac.octets());
    Some(Holding { vni: *vni, address: *address, mac, tep: holder.tep, tags })
}

/// One line in the log for each event of a HAVIP.
pub(crate) fn log(event: &HavipEvent) {
    let HavipEvent { havip, vni, address, kind, generation, holder, offender, detail, why, .. } = event;
    let holder = holder.as_ref().map(ctl_havip::name).unwrap_or_default();
    let why = why.map(|why| why.as_str()).unwrap_or_default();
    match kind {
        HavipEventKind::Spoof => {
            let last = offender.map(|Offender { mac, tep, .. }| {
                let mac = mac.map(|octet| format!("{octet:02x}")).join(":");
                format!("{mac} at {tep}")
            });
            let (last, count) = (last.unwrap_or_default(), offender.map_or(0, |offender| offender.count));
            tracing::warn!(%havip, %vni, %address, offender = last, count, detail, "refused announcements of a HAVIP");
        }
        HavipEventKind::Frozen | HavipEventKind::Conflict | HavipEventKind::RouteUnusable => {
            tracing::warn!(%havip, %vni, %address, generation, holder, detail, "HAVIP {kind}");
        }
        _ => tracing::info!(%havip, %vni, %address, generation, holder, why, detail, "HAVIP {kind}"),
    }
}
