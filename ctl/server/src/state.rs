//! State of the node: the table, which is a projection of the store, and all that belongs to it.
//!
//! Member lists are in the table alone. Only the commit thread changes the state; the lock around it keeps readers
//! (the queries) apart from that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bcast_domain::{
    DomainId, DomainLimit, DomainPublisher, Epoch, Grace, LearnedBindings, LimitError, MemberList,
    StrictDomain, Tep, TepIndex, VipTable, Vni,
};
use crossbeam::channel::Receiver;
use ctl_api::model::{
    ArpInspection, DomainEntry, Event, HavipEvent, Name, Revision, StatedAddresses, TepEntry, TepRef,
};
use ctl_havip::Damping;
use ctl_node::{DomainCounters, Drops, Moment, Node};
use ctl_store::{Record, Snapshot, StoreError};
use hashbrown::{HashMap, HashSet};

use crate::alarms::AlarmHistory;
use crate::havips::Havips;
use crate::hook::Report;
use crate::limits::{HavipLimits, OwnRates};
use crate::machines::{Machines, Tick, View};
use crate::nodes::ClusterNodes;
use crate::teps::Teps;

/// Time to wait for workers to leave the numbers of removed domains, before a new one goes without.
const NUMBER_WAIT: Duration = Duration::from_secs(5);

/// State of the node.
pub(crate) struct State {
    pub revision: Revision,
    /// The last revision that changed the configuration.
    pub configured: Revision,
    pub teps: Teps,
    /// Stored TEPs that the node refuses since it has other addresses; they join no domain any more.
    pub refused: HashSet<Tep>,
    pub havips: Havips,
    pub havip_limits: HavipLimits,
    pub machines: Machines,
    pub alarms: AlarmHistory,
    /// Nodes that take part in the placement of VNIs.
    pub nodes: ClusterNodes,
    /// The domains whose ARP inspection is sticky, with the bindings that workers learned since it is.
    sticky: HashMap<Vni, Arc<LearnedBindings>>,
    /// The domains that have subnets or gateways, with these.
    stated: HashMap<Vni, StatedAddresses>,
    /// The domains that have pinned nodes, with these.
    pinned: HashMap<Vni, Vec<Name>>,
    publisher: DomainPublisher,
    grace: Grace,
    node: Arc<dyn Node>,
    limits: OwnRates,
    /// Names of the domains that have one.
    names: HashMap<Vni, Name>,
    /// Counters and drops of a domain's number when the domain was created, unless all were zero.
    counted_before: HashMap<DomainId, (DomainCounters, Drops)>,
}

/// The last published revision, and how many there are at it.
pub(crate) type Figures = (Revision, Counts);

/// Counts of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Domains.
    pub domains: usize,
    /// Registered TEPs.
    pub teps: usize,
    /// Memberships in all domains.
    pub members: usize,
    /// HAVIPs.
    pub havips: usize,
    /// Replaced lists that wait to be freed.
    pub retired: usize,
}

impl State {
    pub fn new(
        publisher: DomainPublisher,
        grace: Grace,
        node: Arc<dyn Node>,
        havip_limits: HavipLimits,
        damping: Damping,
    ) -> Self {
        Self {
            revision: Revision::default(),
            configured: Revision::default(),
            teps: Teps::default(),
            refused: HashSet::new(),
            havips: Havips::default(),
            havip_limits,
            machines: Machines::new(damping),
            alarms: AlarmHistory::default(),
            nodes: ClusterNodes::default(),
            sticky: HashMap::new(),
            stated: HashMap::new(),
            pinned: HashMap::new(),
            publisher,
            grace,
            limits: OwnRates::new(Arc::clone(&node)),
            node,
            names: HashMap::new(),
            counted_before: HashMap::new(),
        }
    }

    pub fn counts(&self) -> Counts {
        Counts {
            domains: self.publisher.len(),
            teps: self.teps.len(),
            members: self.publisher.memberships(),
            havips: self.havips.len(),
            retired: self.publisher.retired(),
        }
    }

    pub fn figures(&self) -> Figures {
        (self.revision, self.counts())
    }

    pub fn list(&self, vni: Vni) -> Option<&MemberList> {
        self.publisher.get(vni)
    }

    pub fn lists(&self) -> impl Iterator<Item = (Vni, &MemberList)> {
        self.publisher.iter()
    }

    pub fn name(&self, vni: Vni) -> Option<&Name> {
        self.names.get(&vni)
    }

    /// A domain's members, ascending by address.
    pub fn members(&self, vni: Vni) -> Option<Vec<Tep>> {
        let list = self.list(vni)?;
        let mut members: Vec<Tep> =
            list.members().iter().filter_map(|&index| self.teps.address(index)).collect();
        members.sort_unstable();
        Some(members)
    }

    pub fn domain(&self, vni: Vni) -> Option<DomainEntry> {
        let limit = self.limit(vni);
        Some(DomainEntry {
            vni,
            name: self.name(vni).cloned(),
            limit,
            arp_inspection: self.arp_inspection(vni),
            stated: self.stated.get(&vni).cloned().unwrap_or_default(),
            pinned: self.pinned.get(&vni).cloned().unwrap_or_default(),
            members: self.members(vni)?,
        })
    }

    /// ARP inspection of a domain.
    pub fn arp_inspection(&self, vni: Vni) -> ArpInspection {
        if self.sticky.contains_key(&vni) { ArpInspection::Sticky } else { ArpInspection::Off }
    }

    /// Learned bindings of a domain whose ARP inspection is sticky.
    pub fn learned(&self, vni: Vni) -> Option<Arc<LearnedBindings>> {
        self.sticky.get(&vni).cloned()
    }

    /// The rates of a domain's own.
    pub fn limit(&self, vni: Vni) -> DomainLimit {
        self.list(vni).map(|list| self.limits.domain(list.domain())).unwrap_or_default()
    }

    /// A registered TEP.
    pub fn tep(&self, tep: Tep) -> Option<TepEntry> {
        self.teps.entry(self.teps.index(tep)?).cloned()
    }

    /// The registered TEP that is meant.
    pub fn resolve(&self, tep: &TepRef) -> Option<Tep> {
        match tep {
            TepRef::Address(tep) => self.teps.index(*tep).map(|_| *tep),
            TepRef::Name(name) => self.teps.named(name),
        }
    }

    /// Number of domains of a TEP.
    pub fn domains_of(&self, tep: Tep) -> u32 {
        self.teps.index(tep).map_or(0, |index| self.teps.domains(index))
    }

    /// Counters of a domain since it was created.
    pub fn counters(&self, domain: DomainId) -> DomainCounters {
        let before = self.counted_before.get(&domain).map(|(counters, _)| *counters).unwrap_or_default();
        self.node.domain_counters(domain).since(before)
    }

    /// Drops of a domain since it was created; only reasons with any.
    pub fn drops(&self, domain: DomainId) -> Drops {
        let none = Drops::default();
        let before = self.counted_before.get(&domain).map_or(&none, |(_, drops)| drops);
        self.node.domain_drops(domain).since(before)
    }

    /// Frees lists and indices that no worker can meet any more.
    pub fn reclaim(&mut self) {
        self.publisher.reclaim();
        self.teps.reclaim(&self.grace);
        self.havips.reclaim(&self.grace, self.node.board());
    }

    /// Publishes what these records, already durable, changed. Each worker that has passed the epoch forwards by it.
    ///
    /// New TEPs are in the array before a list or a VIP table names them, and gone ones leave it after the last one
    /// did. `configures`: they change the configuration, which moves do not.
    pub fn publish(&mut self, records: &[Record], configures: bool) -> Epoch {
        let now = self.node.now();
        let events = || records.iter().flat_map(|record| &record.events);
        let (added, removed) = self.register(events());
        let mut array = None;
        if !added.is_empty() {
            array = Some(self.node.set_teps(&added, &[]));
        }
        self.publish_domains(events());
        for event in events() {
            match event {
                Event::HavipSet(entry) => self.havips.set(entry),
                Event::HavipDeleted(name) => {
                    self.havips.remove(name);
                    self.alarms.forget(name);
                }
                _ => {}
            }
        }
        self.publish_vip_tables();
        if !removed.is_empty() {
            array = Some(self.node.set_teps(&[], &removed));
        }
        let lists = self.publisher.epoch();
        let epoch = array.map_or(lists, |array| array.max(lists));
        self.teps.let_go(epoch, removed);
        self.havips.let_go(epoch);
        self.revision = records.last().map_or(self.revision, |record| record.revision);
        if configures && !records.is_empty() {
            self.configured = self.revision;
        }
        self.follow_havips(now);
        epoch
    }

    fn machines(&mut self) -> (&mut Machines, View<'_>) {
        let view = View { havips: &self.havips, teps: &self.teps, node: self.node.as_ref() };
        (&mut self.machines, view)
    }

    /// The machines follow the HAVIPs. `now` is a time before workers could know of them.
    fn follow_havips(&mut self, now: Moment) {
        let changed = self.havips.take_changed();
        let (machines, view) = self.machines();
        machines.follow(changed, &view, now);
    }

    /// Decisions of the machines, all at the next revision.
    pub fn tick(&mut self, reports: &Receiver<Report>, unix_ms: u64) -> Tick {
        let next = self.revision.next();
        let (machines, view) = self.machines();
        machines.tick(&view, reports, next, unix_ms)
    }

    /// Ends a tick, whose decisions are durable or not. Returns the alarms that are to be told, of this revision.
    pub fn end_tick(&mut self, mut tick: Tick, is_durable: bool) -> Vec<HavipEvent> {
        let mut alarms = tick.take_alarms(is_durable, &self.havips);
        for alarm in &mut alarms {
            alarm.generation = self.revision.get();
            self.alarms.add(alarm.clone());
        }
        let (machines, view) = self.machines();
        match is_durable {
            true => machines.keep(tick),
            false => machines.undo(tick, &view),
        }
        machines.announce(&view);
        alarms
    }

    /// Follows the TEPs' events in their order; returns the new indices and those no longer used.
    fn register<'e>(
        &mut self,
        events: impl Iterator<Item = &'e Event>,
    ) -> (Vec<(TepIndex, Tep)>, Vec<TepIndex>) {
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for event in events {
            match event {
                Event::TepSet(tep) => added.extend(self.set_tep(tep)),
                Event::TepDeleted(tep) => removed.extend(self.teps.remove(*tep)),
                _ => {}
            }
        }
        (added, removed)
    }

    /// Returns it with its index where it is new.
    fn set_tep(&mut self, tep: &TepEntry) -> Option<(TepIndex, Tep)> {
        let new = self.teps.set(tep);
        // Of a store or a backup from when the node had other addresses.
        if let Err(refusal) = self.node.tep_allowed(tep.address)
            && self.refused.insert(tep.address)
        {
            tracing::warn!(%refusal, "a stored TEP cannot be one of this node's any more; remove it");
        }
        if let Some(index) = self.teps.index(tep.address) {
            self.limits.set_tep(index, tep.limit);
        }
        new.map(|index| (index, tep.address))
    }

    /// Publishes the last event of each domain. Those that shrink or go come first, so that no limit is passed on
    /// the way.
    fn publish_domains<'e>(&mut self, events: impl Iterator<Item = &'e Event>) {
        let mut last: HashMap<Vni, Option<&DomainEntry>> = HashMap::new();
        for event in events {
            match event {
                Event::DomainSet(domain) => last.insert(domain.vni, Some(domain)),
                Event::DomainDeleted(vni) => last.insert(*vni, None),
                _ => None,
            };
        }
        let mut growing = Vec::new();
        for (vni, domain) in last {
            let members = self.list(vni).map(|list| list.members().len());
            match domain {
                None => self.remove_domain(vni),
                Some(domain) if members.is_some_and(|n| domain.members.len() <= n) => self.set_domain(domain),
                Some(domain) => growing.push(domain),
            }
        }
        for domain in growing {
            self.set_domain(domain);
        }
    }

    /// Publishes who may announce the HAVIPs of each domain where that changed. What goes with a domain needs nothing
    /// more.
    fn publish_vip_tables(&mut self) {
        for vni in self.havips.take_stale() {
            let vips = self.havips.vips(vni, |tep| self.teps.index(tep));
            let vip_table = match self.sticky.get(&vni) {
                // A domain with sticky inspection has a VIP table though it has no HAVIPs.
                Some(learned) => {
                    // Whoever had the address before it was a HAVIP's does not have it afterwards.
                    for vip in &vips {
                        learned.forget(vip.address);
                    }
                    Some(VipTable::new(vips).strict(self.strict(vni, learned)))
                }
                None => (!vips.is_empty()).then(|| VipTable::new(vips)),
            };
            self.publisher.set_vip_table(vni, vip_table.map(Arc::new));
        }
    }

    /// Rules of a domain with sticky inspection.
    fn strict(&self, vni: Vni, learned: &Arc<LearnedBindings>) -> StrictDomain {
        let strict = StrictDomain::new(vni, Arc::clone(learned));
        let Some(stated) = self.stated.get(&vni) else { return strict };
        StrictDomain {
            subnets: stated.subnets.iter().map(|subnet| (subnet.address(), subnet.prefix_len())).collect(),
            gateways: stated.gateways.iter().map(|one| (one.address, one.mac.octets())).collect(),
            ..strict
        }
    }

    fn remove_domain(&mut self, vni: Vni) {
        if let Some(list) = self.publisher.get(vni) {
            self.teps.recount(list.members(), &[]);
            self.counted_before.remove(&list.domain());
        }
        self.publisher.remove(vni);
        self.names.remove(&vni);
        self.sticky.remove(&vni);
        self.stated.remove(&vni);
        self.pinned.remove(&vni);
    }

    fn set_domain(&mut self, domain: &DomainEntry) {
        let members: Vec<TepIndex> = domain.members.iter().filter_map(|&tep| self.teps.index(tep)).collect();
        let old = self.publisher.get(domain.vni).map(MemberList::members);
        let is_new = old.is_none();
        self.teps.recount(old.unwrap_or_default(), &members);
        match self.set_list(domain.vni, &members) {
            Ok(id) => {
                if is_new {
                    self.note_birth(id);
                }
                // The list was published anew in any case: whoever waits for that knows that no worker still goes by
                // the rates of before.
                self.limits.set_domain(id, domain.limit);
            }
            Err(error) => {
                self.teps.recount(&members, &[]);
                tracing::error!(%error, vni = %domain.vni, "a committed domain could not be published");
            }
        }
        match &domain.name {
            Some(name) => self.names.insert(domain.vni, name.clone()),
            None => self.names.remove(&domain.vni),
        };
        match domain.pinned.is_empty() {
            false => self.pinned.insert(domain.vni, domain.pinned.clone()),
            true => self.pinned.remove(&domain.vni),
        };
        let other_mode = match domain.arp_inspection {
            ArpInspection::Off => self.sticky.remove(&domain.vni).is_some(),
            ArpInspection::Sticky => self.sticky.try_insert(domain.vni, Arc::default()).is_ok(),
        };
        let none = StatedAddresses::default();
        let other_stated = self.stated.get(&domain.vni).unwrap_or(&none) != &domain.stated;
        if other_stated {
            self.stated.remove(&domain.vni);
        }
        if other_stated && domain.stated != none {
            self.stated.insert(domain.vni, domain.stated.clone());
        }
        if other_mode || other_stated {
            self.havips.touch(domain.vni);
        }
    }

    /// Waits for the numbers of removed domains where all others are taken.
    fn set_list(&mut self, vni: Vni, members: &[TepIndex]) -> Result<DomainId, LimitError> {
        match self.publisher.set(vni, members) {
            Err(LimitError::DomainIdsInGrace { .. }) => {
                let epoch = self.publisher.epoch();
                if let Err(laggards) = self.grace.wait(epoch, NUMBER_WAIT) {
                    tracing::error!(%laggards, "workers do not leave removed domains");
                }
                self.publisher.reclaim();
                self.publisher.set(vni, members)
            }
            other => other,
        }
    }

    fn note_birth(&mut self, id: DomainId) {
        let counted = self.node.domain_counters(id);
        if counted != DomainCounters::default() {
            self.counted_before.insert(id, (counted, self.node.domain_drops(id)));
        }
    }

    /// Makes the state what the store holds: at start, and after a commit whose outcome was not known.
    ///
    /// Read as it goes, so that nothing is in memory twice.
    ///
    /// # Errors
    ///
    /// The store cannot be read; then only a part may have been followed, and it has to be tried again.
    pub fn load(&mut self, snapshot: &dyn Snapshot) -> Result<Epoch, StoreError> {
        let now = self.node.now();
        let (mut added, mut known) = (Vec::new(), HashSet::new());
        for tep in snapshot.teps()? {
            let tep = tep?;
            known.insert(tep.address);
            added.extend(self.set_tep(&tep));
        }
        let mut epoch = self.node.set_teps(&added, &[]);
        self.load_domains(snapshot)?;
        self.load_havips(snapshot)?;
        let gone: Vec<Tep> = self.teps.iter().filter(|tep| !known.contains(tep)).collect();
        let removed: Vec<TepIndex> = gone.into_iter().filter_map(|tep| self.teps.remove(tep)).collect();
        if !removed.is_empty() {
            epoch = epoch.max(self.node.set_teps(&[], &removed));
        }
        epoch = epoch.max(self.publisher.epoch());
        self.teps.let_go(epoch, removed);
        self.havips.let_go(epoch);
        (self.revision, self.configured) = (snapshot.revision(), snapshot.configured());
        self.follow_havips(now);
        Ok(epoch)
    }

    fn load_havips(&mut self, snapshot: &dyn Snapshot) -> Result<(), StoreError> {
        let mut known = HashSet::new();
        for entry in snapshot.havips()? {
            let entry = entry?;
            known.insert(entry.havip.name.clone());
            if self.havips.entry(&entry.havip.name) != Some(&entry) {
                self.havips.set(&entry);
            }
        }
        let held = self.havips.iter().map(|held| &held.entry.havip.name);
        let gone: Vec<Name> = held.filter(|name| !known.contains(*name)).cloned().collect();
        for name in &gone {
            self.havips.remove(name);
            self.alarms.forget(name);
        }
        self.publish_vip_tables();
        Ok(())
    }

    fn load_domains(&mut self, snapshot: &dyn Snapshot) -> Result<(), StoreError> {
        let mut left: HashSet<Vni> = self.publisher.iter().map(|(vni, _)| vni).collect();
        // In the rare case of a second load those that are gone make room first.
        if !left.is_empty() {
            for domain in snapshot.domains()? {
                left.remove(&domain?.vni);
            }
            left.drain().for_each(|vni| self.remove_domain(vni));
        }
        for domain in snapshot.domains()? {
            let mut domain = domain?;
            domain.members.sort_unstable();
            if domain.vni.get() == 0 {
                tracing::warn!(
                    "domain 0 is kept but not served, as GRE key 0 is for BFD: its frames are dropped (vni_unknown); \
                     create it anew with another VNI, and delete it"
                );
            }
            if self.domain(domain.vni).as_ref() != Some(&domain) {
                self.set_domain(&domain);
            }
        }
        Ok(())
    }
}

/// The state, also after a thread panicked while it held it: each change of it is complete by then or logged.
pub(crate) fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
