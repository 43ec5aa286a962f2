//! A backup that replaces everything: checked as a whole, then turned into what has to change.

use std::net::IpAddr;

use bcast_domain::limits::{MAX_ANNOUNCERS, MAX_VIPS};
use bcast_domain::{Tep, Vni, limits};
use ctl_api::model::{
    DomainEntry, Event, HavipEntry, HavipEvent, HavipEventKind, HavipState, Holder, Name, Revision, TepEntry,
    TepRef, Why,
};
use ctl_api::proto;
use ctl_node::Node;
use ctl_store::{Group, HISTORY_OF_ONE, Record, unknown_since};
use hashbrown::{HashMap, HashSet};

use crate::havips::{announcers, teps};
use crate::refusal::{Problem, Refusal};
use crate::state::State;

/// A backup as it comes in.
#[derive(Debug, Default)]
pub(crate) struct Restore {
    /// Compare and set.
    expected: Option<Revision>,
    /// Where the store was that the backup was read from.
    revision: Revision,
    /// The number of that store.
    identity: u64,
    /// When it was read, Unix time in milliseconds.
    unix_ms: u64,
    teps: Vec<TepEntry>,
    domains: Vec<DomainEntry>,
    havips: Vec<HavipEntry>,
    history: Vec<HavipEvent>,
    /// Nothing is missing.
    pub is_whole: bool,
}

impl Restore {
    /// Takes in a part.
    ///
    /// # Errors
    ///
    /// It holds what cannot be.
    pub fn add(&mut self, message: proto::RestoreRequest) -> Result<(), Refusal> {
        if let Some(expected) = message.expected_revision {
            self.expected = Some(Revision::new(expected));
        }
        let part = message.part.unwrap_or_default();
        if let Some(revision) = part.revision {
            if revision > Revision::MAX_SAVED.get() {
                return Err(Refusal::BackupRevision(revision));
            }
            self.revision = Revision::new(revision);
            (self.identity, self.unix_ms) = (part.store, part.unix_ms);
        }
        let wrong = |error: &dyn std::fmt::Display| Refusal::BackupEntry(error.to_string());
        for tep in part.teps {
            self.teps.push(tep.try_into().map_err(|e| wrong(&e))?);
        }
        for domain in part.domains {
            self.domains.push(domain.try_into().map_err(|e| wrong(&e))?);
        }
        for havip in part.havips {
            self.havips.push(havip.try_into().map_err(|e| wrong(&e))?);
        }
        for event in part.history {
            self.history.push(event.try_into().map_err(|e| wrong(&e))?);
        }
        self.is_whole = message.last;
        Ok(())
    }

    /// What makes the state what the backup says, as one revision.
    ///
    /// # Errors
    ///
    /// What cannot be, or another revision than expected; then nothing changes.
    pub fn stage(
        mut self,
        state: &State,
        node: &dyn Node,
        identity: u64,
        unix_ms: u64,
    ) -> Result<Group, Refusal> {
        if let Some(expected) = self.expected.filter(|&expected| expected != state.revision) {
            return Err(Refusal::Revision { expected, found: state.revision });
        }
        self.domains.iter_mut().for_each(|domain| domain.members.sort_unstable());
        self.check(state, node).map_err(Refusal::Backup)?;
        // Another store may have gone on after the backup, and told others of it.
        let beyond = if self.identity == identity { 0 } else { unknown_since(self.unix_ms, unix_ms) };
        let revision = state.revision.max(Revision::new(self.revision.get().saturating_add(beyond))).next();
        let history = std::mem::take(&mut self.history);
        let events = self.events(state, revision, unix_ms);
        let records = vec![Record { revision, unix_ms, events }];
        let base = state.revision;
        Ok(Group { base, unix_ms, records, anew: true, history: Some(history), ..Group::default() })
    }

    /// The events that turn the state into this, in the order in which records have them.
    fn events(self, state: &State, revision: Revision, unix_ms: u64) -> Vec<Event> {
        let (mut events, mut happened, mut set) = (Vec::new(), Vec::new(), Vec::new());
        let registered: HashSet<Tep> = self.teps.iter().map(|tep| tep.address).collect();
        let gone = state.teps.iter().filter(|tep| !registered.contains(tep)).map(Event::TepDeleted);
        let gone: Vec<Event> = gone.collect();
        let changed = |tep: &TepEntry| state.tep(tep.address).as_ref() != Some(tep);
        events.extend(self.teps.into_iter().filter(changed).map(Event::TepSet));
        let kept: HashSet<Name> = self.havips.iter().map(|entry| entry.havip.name.clone()).collect();
        for held in state.havips.iter().filter(|held| !kept.contains(&held.entry.havip.name)) {
            events.push(Event::HavipDeleted(held.entry.havip.name.clone()));
            happened.push(removed(&held.entry, revision, unix_ms));
        }
        for entry in self.havips {
            let before = state.havips.entry(&entry.havip.name);
            let now = restored(before, entry, revision);
            if before != Some(&now) {
                happened.extend(turned(before, &now, unix_ms));
                set.push(Event::HavipSet(Box::new(now)));
            }
        }
        let vnis: HashSet<Vni> = self.domains.iter().map(|domain| domain.vni).collect();
        let no_more = state.lists().map(|(vni, _)| vni).filter(|vni| !vnis.contains(vni));
        events.extend(no_more.map(Event::DomainDeleted));
        let changed = |domain: &DomainEntry| state.domain(domain.vni).as_ref() != Some(domain);
        events.extend(self.domains.into_iter().filter(changed).map(Event::DomainSet));
        events.extend(set);
        events.extend(gone);
        events.extend(happened.into_iter().map(Box::new).map(Event::HavipEvent));
        events
    }
}

/// A HAVIP of the backup, as it is from now on. A binding that is other than the node's is made so by this revision.
fn restored(before: Option<&HavipEntry>, mut entry: HavipEntry, revision: Revision) -> HavipEntry {
    entry.binding.generation = before.map_or(0, |before| before.binding.generation);
    if before.is_none_or(|before| before.binding != entry.binding) {
        entry.binding.generation = revision.get();
    }
    entry
}

/// What is told of a HAVIP that is there, where another holds it or it is in another state.
fn turned(before: Option<&HavipEntry>, now: &HavipEntry, unix_ms: u64) -> Option<HavipEvent> {
    let state = before.map_or(HavipState::Unbound, |before| before.binding.state);
    let held = before.and_then(|before| before.binding.holder.as_ref());
    let holder = now.binding.holder.as_ref();
    let kind = match (now.binding.state, held, holder) {
        (HavipState::Frozen, ..) if state != HavipState::Frozen => HavipEventKind::Frozen,
        (HavipState::Conflict, ..) if state != HavipState::Conflict => HavipEventKind::Conflict,
        (_, None, None) => return None,
        (_, None, Some(_)) => HavipEventKind::Bound,
        (_, Some(_), None) => HavipEventKind::Unbound,
        (_, Some(held), Some(holder)) if held != holder => HavipEventKind::Moved,
        _ if state == HavipState::Frozen && now.binding.state != state => HavipEventKind::Thawed,
        _ if state == HavipState::Conflict && now.binding.state != state => HavipEventKind::ConflictEnded,
        _ => return None,
    };
    let previous = held.cloned().filter(|_| held != holder);
    Some(HavipEvent { why: Some(Why::Restored), previous, ..HavipEvent::of(now, kind, unix_ms) })
}

fn removed(before: &HavipEntry, revision: Revision, unix_ms: u64) -> HavipEvent {
    let mut entry = before.clone();
    entry.binding.previous = entry.binding.holder.take().or(entry.binding.previous.take());
    entry.binding.generation = revision.get();
    HavipEvent { why: Some(Why::Restored), ..HavipEvent::of(&entry, HavipEventKind::Removed, unix_ms) }
}

/// The checks: what a change may not make, a backup may not either. What the configuration bounds is taken, as with a limit
/// that was lowered; so are TEPs that are not this node's, as in a store that was moved.
impl Restore {
    fn check(&self, state: &State, node: &dyn Node) -> Result<(), Problem> {
        let registered = self.check_teps(state)?;
        let domains = self.check_domains(&registered)?;
        let (mut names, mut addresses) = (HashSet::new(), HashMap::new());
        let mut eips = HashMap::new();
        for entry in &self.havips {
            check_havip(entry, &registered, &domains, node)?;
            let (name, vni, address) = (&entry.havip.name, entry.havip.vni, entry.havip.address);
            if !names.insert(name) {
                return Err(Problem::HavipThere { name: name.clone(), vni, address });
            }
            if let Some(holder) = addresses.insert((vni, address), name) {
                return Err(Problem::AddressTaken { vni, address, holder: holder.clone() });
            }
            if let Some((eip, holder)) = entry.havip.eip.and_then(|eip| Some((eip, eips.insert(eip, name)?)))
            {
                return Err(Problem::EipTaken { eip, holder: holder.clone() });
            }
        }
        let mut events: HashMap<&Name, usize> = HashMap::new();
        for HavipEvent { havip, .. } in &self.history {
            let count = events.entry(havip).or_default();
            *count += 1;
            if !names.contains(havip) {
                return Err(Problem::NoHavip(havip.clone()));
            }
            if *count > HISTORY_OF_ONE {
                return Err(Problem::History(havip.clone()));
            }
        }
        self.check_numbers(state)
    }

    fn check_teps(&self, state: &State) -> Result<HashSet<Tep>, Problem> {
        let (mut registered, mut names) = (HashSet::new(), HashMap::new());
        let mut taken = state.teps.taken();
        for tep in &self.teps {
            if !registered.insert(tep.address) {
                return Err(Problem::Twice(format!("TEP {}", tep.address)));
            }
            if let Some((name, holder)) =
                tep.name.as_ref().and_then(|name| Some((name, names.insert(name, tep.address)?)))
            {
                return Err(Problem::NameTaken { name: name.clone(), holder });
            }
            taken += usize::from(state.teps.index(tep.address).is_none());
            if taken > limits::MAX_TEPS {
                return Err(Problem::Teps(tep.address));
            }
        }
        Ok(registered)
    }

    fn check_domains(&self, registered: &HashSet<Tep>) -> Result<HashSet<Vni>, Problem> {
        let (mut domains, mut memberships) = (HashSet::new(), 0);
        for DomainEntry { vni, members, .. } in &self.domains {
            let vni = *vni;
            if !domains.insert(vni) {
                return Err(Problem::Twice(format!("domain {vni}")));
            }
            if domains.len() > limits::MAX_DOMAINS {
                return Err(Problem::Domains(vni));
            }
            if members.len() > limits::MAX_MEMBERS {
                return Err(Problem::Members { vni, members: members.len() });
            }
            memberships += members.len();
            if memberships > limits::MAX_MEMBERSHIPS {
                return Err(Problem::Memberships(vni));
            }
            if let Some(twice) = members.windows(2).find(|pair| pair.first() == pair.last()) {
                let tep = twice.first().map(ToString::to_string).unwrap_or_default();
                return Err(Problem::Twice(format!("member {tep} of domain {vni}")));
            }
            if let Some(&tep) = members.iter().find(|tep| !registered.contains(*tep)) {
                return Err(Problem::Unregistered(TepRef::Address(tep)));
            }
        }
        Ok(domains)
    }

    /// A number that is given back is free only when no worker can go by it any more.
    fn check_numbers(&self, state: &State) -> Result<(), Problem> {
        let (mut vips, mut taken) = (state.havips.taken(), state.havips.announcers_taken());
        for HavipEntry { havip, .. } in &self.havips {
            let old = state.havips.entry(&havip.name).map(|entry| &entry.havip);
            let stays = old.filter(|old| (old.vni, old.address) == (havip.vni, havip.address));
            let had: Vec<Holder> = stays.into_iter().flat_map(announcers).collect();
            vips += usize::from(stays.is_none());
            taken += announcers(havip).filter(|announcer| !had.contains(announcer)).count();
            if vips > MAX_VIPS || taken > MAX_ANNOUNCERS {
                return Err(Problem::Numbers(havip.name.clone()));
            }
        }
        Ok(())
    }
}

fn check_havip(
    entry: &HavipEntry,
    registered: &HashSet<Tep>,
    domains: &HashSet<Vni>,
    node: &dyn Node,
) -> Result<(), Problem> {
    let HavipEntry { havip, binding } = entry;
    havip.check()?;
    if !domains.contains(&havip.vni) {
        return Err(Problem::NoDomain(havip.vni));
    }
    if let Some(&tep) = teps(havip).iter().find(|tep| !registered.contains(*tep)) {
        return Err(Problem::Unregistered(TepRef::Address(tep)));
    }
    if let Some(holder) =
        binding.holder.as_ref().filter(|holder| !announcers(havip).any(|one| one == **holder))
    {
        let (name, instance) = (havip.name.clone(), holder.instance.clone());
        return Err(Problem::HolderNotAttached { name, instance });
    }
    if let Some(eip @ IpAddr::V4(v4)) = havip.eip
        && let Ok(tep) = Tep::new(v4)
        && (registered.contains(&tep) || node.tep_allowed(tep).is_err())
    {
        return Err(Problem::EipOfUnderlay(eip));
    }
    Ok(())
}
