//! Validation: what a batch would change, over the state and what was prepared before it. Nothing here touches the
//! state; a batch with one bad entry is taken back as a whole.

use std::net::{Ipv4Addr, Ipv6Addr};

use bcast_domain::{DomainLimit, Tep, TepIndex, TepLimit, Vni, limits};
use ctl_api::model::{Batch, Change, DomainEntry, GarpMode, Name, Revision, TepEntry, TepRef};
use ctl_store::{Answer, Record};
use hashbrown::{HashMap, HashSet};

use crate::node::Node;
use crate::refusal::{Problem, Refusal};
use crate::state::State;
use crate::write_set::WriteSet;

mod end;
mod havip;
mod limit;

/// Most notes in an answer; a last one says how many more there would be.
pub const NOTES: usize = 1_000;

/// What is prepared for one group of batches.
pub(crate) struct Transaction<'s> {
    state: &'s State,
    node: &'s dyn Node,
    /// Registered TEPs; `None`: not registered.
    teps: WriteSet<Tep, Option<Registered>>,
    /// Whose a TEP's name is.
    names: WriteSet<Name, Option<Tep>>,
    /// Domains; `None`: not there.
    domains: WriteSet<Vni, Option<Domain>>,
    /// Of how many domains a TEP is a member.
    memberships: WriteSet<Tep, u32>,
    havips: havip::Havips,
    totals: Totals,
    revision: Revision,
    /// The time of the batch under way, Unix time in milliseconds.
    unix_ms: u64,
    /// TEPs that the batch under way took out; one that it adds again keeps its index.
    taken_out: HashSet<Tep>,
    /// In which of the state's domains a TEP is that is to be removed by force.
    holders: HashMap<Tep, Vec<Vni>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Registered {
    name: Option<Name>,
    limit: TepLimit,
    next_hop: Option<Ipv4Addr>,
    next_hop6: Option<Ipv6Addr>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Domain {
    name: Option<Name>,
    limit: DomainLimit,
    garp: GarpMode,
    /// Ascending.
    members: Vec<Tep>,
}

#[derive(Debug, Clone, Copy)]
struct Totals {
    domains: usize,
    members: usize,
    /// Indices taken: those of TEPs that this group removes are free only after it.
    teps: usize,
    havips: usize,
    /// Numbers of HAVIPs and of announcers that are taken, in the same way.
    vips: usize,
    announcers: usize,
}

/// What a batch does.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub answer: Answer,
    /// `None` where nothing has to change.
    pub record: Option<Record>,
    /// Whether a TEP gets no more copies that it got before.
    pub removes: bool,
}

/// What a change did.
struct Effect {
    changed: bool,
    /// What was to go and is not there.
    note: Option<String>,
}

impl Effect {
    const CHANGED: Self = Self::changed(true);
    const NOTHING: Self = Self::changed(false);

    const fn changed(changed: bool) -> Self {
        Self { changed, note: None }
    }

    const fn absent(note: String) -> Self {
        Self { changed: false, note: Some(note) }
    }
}

impl<'s> Transaction<'s> {
    pub fn new(state: &'s State, node: &'s dyn Node) -> Self {
        let counts = state.counts();
        let totals = Totals {
            domains: counts.domains,
            members: counts.members,
            teps: state.teps.taken(),
            havips: counts.havips,
            vips: state.havips.taken(),
            announcers: state.havips.announcers_taken(),
        };
        Self {
            state,
            node,
            teps: WriteSet::default(),
            names: WriteSet::default(),
            domains: WriteSet::default(),
            memberships: WriteSet::default(),
            havips: havip::Havips::default(),
            totals,
            revision: state.revision,
            unix_ms: 0,
            taken_out: HashSet::new(),
            holders: HashMap::new(),
        }
    }

    /// Stages a batch, all of it or nothing.
    ///
    /// # Errors
    ///
    /// The first change that cannot be made, or another revision than expected.
    pub fn batch(&mut self, batch: &Batch, unix_ms: u64) -> Result<Prepared, Refusal> {
        if let Some(expected) = batch.expected.filter(|&expected| expected != self.revision) {
            return Err(Refusal::Revision { expected, found: self.revision });
        }
        let totals = self.totals;
        self.unix_ms = unix_ms;
        self.taken_out.clear();
        match self.changes(&batch.changes) {
            Ok(answer) if !batch.dry_run => Ok(self.keep(answer, batch.above)),
            outcome => {
                self.take_back(totals);
                outcome.map(|answer| Prepared { answer, record: None, removes: false })
            }
        }
    }

    fn changes(&mut self, changes: &[Change]) -> Result<Answer, Refusal> {
        let mut answer = Answer { revision: self.revision, ..Answer::default() };
        let mut untold = 0_usize;
        for (index, change) in changes.iter().enumerate() {
            let position = index + 1;
            let effect =
                self.change(change, changes).map_err(|problem| Refusal::Change { position, problem })?;
            answer.changed += u64::from(effect.changed);
            match effect.note {
                Some(note) if answer.notes.len() < NOTES => {
                    answer.notes.push(format!("change {position}: {note}"))
                }
                Some(_) => untold += 1,
                None => {}
            }
        }
        if untold > 0 {
            answer.notes.push(format!("and {untold} more like these"));
        }
        Ok(answer)
    }

    fn change(&mut self, change: &Change, batch: &[Change]) -> Result<Effect, Problem> {
        match change {
            Change::TepAdd { address, name } => self.tep_add(*address, name.as_ref()),
            Change::TepRemove { tep, force } => self.tep_remove(tep, *force, batch),
            Change::DomainCreate { vni, name } => self.domain_create(*vni, name.as_ref()),
            Change::DomainRemove { vni, force } => self.domain_remove(*vni, *force),
            Change::DomainSet { vni, name, members } => self.domain_set(*vni, name.as_ref(), members),
            Change::Join { vni, teps } => self.join(*vni, teps),
            Change::Leave { vni, teps } => Ok(self.leave(*vni, teps)),
            Change::DomainLimit { vni, limit, reset } => self.domain_limit(*vni, *limit, *reset),
            Change::TepLimit { tep, limit, reset } => self.tep_limit(tep, *limit, *reset),
            Change::TepNextHop { tep, next_hop, next_hop6, reset } => {
                self.tep_next_hop(tep, *next_hop, *next_hop6, *reset)
            }
            Change::DomainGarp { vni, mode } => self.domain_garp(*vni, *mode),
            about_a_havip => self.havip(about_a_havip),
        }
    }

    fn tep_add(&mut self, tep: Tep, name: Option<&Name>) -> Result<Effect, Problem> {
        self.node.tep_allowed(tep)?;
        if let Some(havip) = self.havip_with_eip(tep.address().into()) {
            return Err(Problem::TepIsEip { tep, havip });
        }
        if let Some((name, holder)) = name.and_then(|n| self.holder(n).map(|h| (n, h)))
            && holder != tep
        {
            return Err(Problem::NameTaken { name: name.clone(), holder });
        }
        match self.registered(tep) {
            None => {
                let is_new = !self.taken_out.remove(&tep);
                if is_new && self.totals.teps >= limits::MAX_TEPS {
                    return Err(Problem::Teps(tep));
                }
                self.totals.teps += usize::from(is_new);
                self.set_tep(tep, Some(Registered { name: name.cloned(), ..Registered::default() }));
                Ok(Effect::CHANGED)
            }
            Some(old) if name.is_some() && old.name.as_ref() != name => {
                self.set_tep(tep, Some(Registered { name: name.cloned(), ..old }));
                Ok(Effect::CHANGED)
            }
            Some(_) => Ok(Effect::NOTHING),
        }
    }

    fn tep_remove(&mut self, tep: &TepRef, force: bool, batch: &[Change]) -> Result<Effect, Problem> {
        let Some(address) = self.resolve(tep) else {
            return Ok(Effect::absent(format!("TEP {tep} is not registered")));
        };
        match self.domains_of(address) {
            0 => {}
            domains if !force => return Err(Problem::StillMember { tep: address, domains }),
            _ => self.leave_all(address, batch),
        }
        match self.havips_on_tep(address) {
            0 => {}
            havips if !force => return Err(Problem::StillAttached { tep: address, havips }),
            _ => self.detach_all(address)?,
        }
        self.set_tep(address, None);
        self.taken_out.insert(address);
        Ok(Effect::CHANGED)
    }

    fn domain_create(&mut self, vni: Vni, name: Option<&Name>) -> Result<Effect, Problem> {
        match self.domain(vni) {
            None => self
                .set_domain(vni, Domain { name: name.cloned(), ..Domain::default() })
                .map(|()| Effect::CHANGED),
            Some(domain) => {
                let renamed = name.is_some() && domain.name.as_ref() != name;
                if renamed {
                    self.rename_domain(vni, name);
                }
                Ok(Effect::changed(renamed))
            }
        }
    }

    fn domain_remove(&mut self, vni: Vni, force: bool) -> Result<Effect, Problem> {
        let Some(domain) = self.domain(vni) else {
            return Ok(Effect::absent(format!("domain {vni} does not exist")));
        };
        match self.havips_of_domain(vni) {
            0 => {}
            havips if !force => return Err(Problem::HasHavips { vni, havips }),
            _ => self.remove_havips_of(vni),
        }
        for tep in &domain.members {
            self.count(*tep, false);
        }
        self.totals.members -= domain.members.len();
        self.totals.domains -= 1;
        *self.domains.edit(vni, || None) = None;
        Ok(Effect::CHANGED)
    }

    fn domain_set(&mut self, vni: Vni, name: Option<&Name>, members: &[TepRef]) -> Result<Effect, Problem> {
        let mut wanted = members.iter().map(|tep| self.member(tep)).collect::<Result<Vec<Tep>, Problem>>()?;
        wanted.sort_unstable();
        wanted.dedup();
        let old = self.domain(vni);
        let was_member =
            |tep: &Tep| old.as_ref().is_some_and(|domain| domain.members.binary_search(tep).is_ok());
        for &tep in &wanted {
            if let Err(problem) = self.may_join(tep)
                && !was_member(&tep)
            {
                return Err(problem);
            }
        }
        let name = name.cloned().or_else(|| old.as_ref().and_then(|domain| domain.name.clone()));
        let (limit, garp) = old.as_ref().map(|domain| (domain.limit, domain.garp)).unwrap_or_default();
        let domain = Domain { name, limit, garp, members: wanted };
        if old.as_ref() == Some(&domain) {
            return Ok(Effect::NOTHING);
        }
        self.set_domain(vni, domain)?;
        Ok(Effect::CHANGED)
    }

    fn join(&mut self, vni: Vni, teps: &[TepRef]) -> Result<Effect, Problem> {
        let joining = teps.iter().map(|tep| self.member(tep)).collect::<Result<Vec<Tep>, Problem>>()?;
        let Some(domain) = self.edit_domain(vni) else { return Err(Problem::NoDomain(vni)) };
        let mut joined = Vec::new();
        for tep in joining {
            if let Err(place) = domain.members.binary_search(&tep) {
                domain.members.insert(place, tep);
                joined.push(tep);
            }
        }
        let members = domain.members.len();
        if members > limits::MAX_MEMBERS {
            return Err(Problem::Members { vni, members });
        }
        self.totals.members += joined.len();
        if self.totals.members > limits::MAX_MEMBERSHIPS {
            return Err(Problem::Memberships(vni));
        }
        for &tep in &joined {
            self.may_join(tep)?;
            self.count(tep, true);
        }
        Ok(Effect::changed(!joined.is_empty()))
    }

    fn leave(&mut self, vni: Vni, teps: &[TepRef]) -> Effect {
        if !self.domain_is_there(vni) {
            return Effect::absent(format!("domain {vni} does not exist"));
        }
        let mut absent = Vec::new();
        for tep in teps {
            let left = self.resolve(tep).is_some_and(|address| self.leave_one(vni, address));
            if !left {
                absent.push(tep);
            }
        }
        let note = match absent.as_slice() {
            [] => None,
            [tep] => Some(format!("TEP {tep} is no member of domain {vni}")),
            [tep, more @ ..] => {
                Some(format!("TEP {tep} and {} more are no members of domain {vni}", more.len()))
            }
        };
        Effect { changed: absent.len() < teps.len(), note }
    }
}

/// What is there: prepared, or else in the state.
impl Transaction<'_> {
    /// `None`: it is not registered.
    fn registered(&self, tep: Tep) -> Option<Registered> {
        self.teps.get(&tep).cloned().unwrap_or_else(|| base_tep(self.state, tep))
    }

    fn is_registered(&self, tep: Tep) -> bool {
        self.teps.get(&tep).map_or_else(|| self.state.teps.index(tep).is_some(), Option::is_some)
    }

    fn holder(&self, name: &Name) -> Option<Tep> {
        self.names.get(name).copied().unwrap_or_else(|| self.state.teps.named(name))
    }

    /// The registered TEP that is meant.
    fn resolve(&self, tep: &TepRef) -> Option<Tep> {
        match tep {
            TepRef::Address(address) => Some(*address).filter(|&address| self.is_registered(address)),
            TepRef::Name(name) => self.holder(name),
        }
    }

    fn member(&self, tep: &TepRef) -> Result<Tep, Problem> {
        self.resolve(tep).ok_or_else(|| Problem::Unregistered(tep.clone()))
    }

    /// A TEP that was registered before the node got other addresses may be one that it cannot send to now.
    fn may_join(&self, tep: Tep) -> Result<(), Problem> {
        if self.state.refused.contains(&tep) { Ok(self.node.tep_allowed(tep)?) } else { Ok(()) }
    }

    fn domain_is_there(&self, vni: Vni) -> bool {
        self.domains.get(&vni).map_or_else(|| self.state.list(vni).is_some(), Option::is_some)
    }

    fn domain(&self, vni: Vni) -> Option<Domain> {
        self.domains.get(&vni).cloned().unwrap_or_else(|| base_domain(self.state, vni))
    }

    fn domains_of(&self, tep: Tep) -> u32 {
        self.memberships.get(&tep).copied().unwrap_or_else(|| base_count(self.state, tep))
    }
}

fn base_tep(state: &State, tep: Tep) -> Option<Registered> {
    let TepEntry { name, limit, next_hop, next_hop6, .. } = state.tep(tep)?;
    Some(Registered { name, limit, next_hop, next_hop6 })
}

fn base_domain(state: &State, vni: Vni) -> Option<Domain> {
    let DomainEntry { name, limit, garp, members, .. } = state.domain(vni)?;
    Some(Domain { name, limit, garp, members })
}

fn base_count(state: &State, tep: Tep) -> u32 {
    state.teps.index(tep).map_or(0, |index| state.teps.domains(index))
}

/// Staging proper.
impl Transaction<'_> {
    /// Registers a TEP, changes it, or takes it out.
    fn set_tep(&mut self, tep: Tep, entry: Option<Registered>) {
        let state = self.state;
        if let Some(old) = self.registered(tep).and_then(|old| old.name) {
            *self.names.edit(old.clone(), || state.teps.named(&old)) = None;
        }
        if let Some(name) = entry.as_ref().and_then(|entry| entry.name.clone()) {
            *self.names.edit(name.clone(), || state.teps.named(&name)) = Some(tep);
        }
        *self.teps.edit(tep, || None) = entry;
    }

    fn edit_domain(&mut self, vni: Vni) -> Option<&mut Domain> {
        if !self.domain_is_there(vni) {
            return None;
        }
        let state = self.state;
        self.domains.edit(vni, || base_domain(state, vni)).as_mut()
    }

    fn rename_domain(&mut self, vni: Vni, name: Option<&Name>) {
        if let Some(domain) = self.edit_domain(vni) {
            domain.name = name.cloned();
        }
    }

    /// Creates a domain or replaces it.
    fn set_domain(&mut self, vni: Vni, domain: Domain) -> Result<(), Problem> {
        let members = domain.members.len();
        if members > limits::MAX_MEMBERS {
            return Err(Problem::Members { vni, members });
        }
        let old = self.domain(vni);
        self.totals.domains += usize::from(old.is_none());
        if self.totals.domains > limits::MAX_DOMAINS {
            return Err(Problem::Domains(vni));
        }
        let old = old.map(|domain| domain.members).unwrap_or_default();
        self.totals.members = self.totals.members - old.len() + members;
        if self.totals.members > limits::MAX_MEMBERSHIPS {
            return Err(Problem::Memberships(vni));
        }
        for tep in old {
            self.count(tep, false);
        }
        for tep in &domain.members {
            self.count(*tep, true);
        }
        *self.domains.edit(vni, || None) = Some(domain);
        Ok(())
    }

    /// True where the TEP was a member.
    fn leave_one(&mut self, vni: Vni, tep: Tep) -> bool {
        let Some(domain) = self.edit_domain(vni) else { return false };
        let Ok(place) = domain.members.binary_search(&tep) else { return false };
        domain.members.remove(place);
        self.totals.members -= 1;
        self.count(tep, false);
        true
    }

    fn count(&mut self, tep: Tep, joined: bool) {
        let state = self.state;
        let domains = self.memberships.edit(tep, || base_count(state, tep));
        *domains = if joined { *domains + 1 } else { domains.saturating_sub(1) };
    }

    /// Takes a TEP out of all its domains. Those of the state are looked up once for all such TEPs of a batch: a table of
    /// a million domains is not read ten thousand times.
    fn leave_all(&mut self, tep: Tep, batch: &[Change]) {
        if !self.holders.contains_key(&tep) {
            self.find_holders(tep, batch);
        }
        for vni in self.holders.get(&tep).cloned().unwrap_or_default() {
            self.leave_one(vni, tep);
        }
        if self.domains_of(tep) > 0 {
            let holds = |domain: &Domain| domain.members.binary_search(&tep).is_ok();
            let prepared = self.domains.iter().filter(|(_, domain)| domain.as_ref().is_some_and(holds));
            for vni in prepared.map(|(&vni, _)| vni).collect::<Vec<_>>() {
                self.leave_one(vni, tep);
            }
        }
    }

    fn find_holders(&mut self, tep: Tep, batch: &[Change]) {
        let forced = batch.iter().filter_map(|change| match change {
            Change::TepRemove { tep, force: true } => self.resolve(tep),
            _ => None,
        });
        let key: HashSet<Tep> = forced.chain([tep]).filter(|tep| !self.holders.contains_key(tep)).collect();
        // Asked for each membership there is: an array answers that at once.
        let mut is_sought = vec![false; limits::MAX_TEPS];
        for index in key.iter().filter_map(|&tep| self.state.teps.index(tep)) {
            if let Some(is_sought) = is_sought.get_mut(index.index()) {
                *is_sought = true;
            }
        }
        let mut found: HashMap<Tep, Vec<Vni>> = key.into_iter().map(|tep| (tep, Vec::new())).collect();
        for (vni, list) in self.state.lists() {
            let key = |index: &&TepIndex| is_sought.get(index.index()).is_some_and(|&is_sought| is_sought);
            for &index in list.members().iter().filter(key) {
                let tep = self.state.teps.address(index);
                if let Some(vnis) = tep.and_then(|tep| found.get_mut(&tep)) {
                    vnis.push(vni);
                }
            }
        }
        self.holders.extend(found);
    }
}
