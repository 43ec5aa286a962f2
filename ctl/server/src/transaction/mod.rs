//! Validation: the changes of a request over the state and what was prepared before it. Nothing here touches the
//! state; a request with one bad change is taken back as a whole.
//!
//! Names of TEPs, addresses and EIPs of HAVIPs, and the node's totals are checked for the state after the request, so
//! that they may be swapped and passed on within it.

use bcast_domain::{Tep, Vni};
use ctl_api::model::{
    Batch, Change, Conditions, DomainEntry, Existing, Name, Revision, SetResource, Target, TepEntry, TepRef,
};
use ctl_node::Node;
use ctl_store::{Answer, Record};
use hashbrown::{HashMap, HashSet};

use crate::refusal::{Problem, Refusal};
use crate::state::State;
use crate::summary::Summary;
use claims::Claims;
use write_set::WriteSet;

mod apply;
mod claims;
mod domain;
mod end;
mod havip;
mod removals;
mod restore;
mod tep;
mod write_set;

/// Most notes in an answer; a last one says how many more there would be.
pub const NOTES: usize = 1_000;

/// Changes that are prepared for one group of requests.
pub(crate) struct Transaction<'s> {
    state: &'s State,
    node: &'s dyn Node,
    /// Registered TEPs; `None`: not registered.
    teps: WriteSet<Tep, Option<TepEntry>>,
    /// TEPs by name.
    names: Claims<Name, Tep>,
    /// Domains, their members ascending; `None`: not there.
    domains: WriteSet<Vni, Option<DomainEntry>>,
    /// Number of domains of a TEP.
    memberships: WriteSet<Tep, u32>,
    havips: havip::Havips,
    totals: Totals,
    revision: Revision,
    /// The last revision that changed the configuration.
    configured: Revision,
    /// Time of the request under way, Unix time in milliseconds.
    unix_ms: u64,
    /// Number of the change under way, from 1.
    position: usize,
    /// The change since which a total is over its limit.
    excess: Option<(usize, Problem)>,
    /// TEPs that the request under way deleted; one that it adds again keeps its index.
    deleted: HashSet<Tep>,
    /// The state's domains of TEPs that are deleted by force.
    holders: HashMap<Tep, Vec<Vni>>,
}

#[derive(Debug, Clone, Copy)]
struct Totals {
    domains: usize,
    members: usize,
    /// Indices taken: those of TEPs that this group deletes are free only after it.
    teps: usize,
    havips: usize,
    /// Numbers of HAVIPs and of announcers that are taken, in the same way.
    vips: usize,
    announcers: usize,
}

/// Outcome of a request.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub answer: Answer,
    /// `None` where nothing has to change.
    pub record: Option<Record>,
    /// A TEP gets no more copies that it got before.
    pub removes: bool,
    /// Differences that a desired state made.
    pub summary: Option<Box<Summary>>,
}

/// Outcome of a change.
struct Effect {
    changed: bool,
    /// A line for something to be deleted that is not there.
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
            names: Claims::default(),
            domains: WriteSet::default(),
            memberships: WriteSet::default(),
            havips: havip::Havips::default(),
            totals,
            revision: state.revision,
            configured: state.configured,
            unix_ms: 0,
            position: 0,
            excess: None,
            deleted: HashSet::new(),
            holders: HashMap::new(),
        }
    }

    /// Prepares a batch, all of it or nothing.
    ///
    /// # Errors
    ///
    /// The first change that cannot be made, removals that are not confirmed, or a configuration that changed after the
    /// expected revision.
    pub fn batch(&mut self, batch: &Batch, unix_ms: u64) -> Result<Prepared, Refusal> {
        let before = self.totals;
        self.request(&batch.conditions, unix_ms, |transaction| {
            let answer = transaction.changes(batch)?;
            transaction.check_end("change")?;
            transaction.check_batch(batch, before)?;
            Ok((answer, None))
        })
    }

    /// Prepares a request, all of it or nothing.
    fn request(
        &mut self,
        conditions: &Conditions,
        unix_ms: u64,
        make: impl FnOnce(&mut Self) -> Result<(Answer, Option<Box<Summary>>), Refusal>,
    ) -> Result<Prepared, Refusal> {
        let (configured, found) = (self.configured, self.revision);
        if let Some(expected) = conditions.expected
            && !(configured..=found).contains(&expected)
        {
            return Err(Refusal::Revision { expected, configured, found });
        }
        let totals = self.totals;
        (self.unix_ms, self.position, self.excess) = (unix_ms, 0, None);
        self.deleted.clear();
        match make(self) {
            Ok((answer, summary)) if !conditions.dry_run => {
                Ok(Prepared { summary, ..self.keep(answer, conditions.above) })
            }
            outcome => {
                self.end(false);
                self.totals = totals;
                let prepared = |(answer, summary)| Prepared { answer, record: None, removes: false, summary };
                outcome.map(prepared)
            }
        }
    }

    fn changes(&mut self, Batch { changes, conditions }: &Batch) -> Result<Answer, Refusal> {
        let mut answer = Answer { revision: self.revision, ..Answer::default() };
        let mut omitted = 0_usize;
        for (index, change) in changes.iter().enumerate() {
            let position = index + 1;
            self.position = position;
            let effect = self.change(change, changes).and_then(|effect| match effect.note {
                Some(note) if conditions.must_exist => Err(Problem::Absent(note)),
                _ => Ok(effect),
            });
            let effect = effect.map_err(|problem| Refusal::Change { part: "change", position, problem })?;
            answer.changed += u64::from(effect.changed);
            match effect.note {
                Some(note) if answer.notes.len() < NOTES => {
                    answer.notes.push(format!("change {position}: {note}"))
                }
                Some(_) => omitted += 1,
                None => {}
            }
        }
        if omitted > 0 {
            answer.notes.push(format!("and {omitted} more like these"));
        }
        Ok(answer)
    }

    fn change(&mut self, change: &Change, batch: &[Change]) -> Result<Effect, Problem> {
        match change {
            Change::Set(set) => self.set(&set.resource, set.existing, set.replace),
            Change::Delete { target: Target::Tep(tep), force } => self.delete_tep(tep, *force, batch),
            Change::Delete { target: Target::Domain(vni), force } => self.delete_domain(*vni, *force),
            Change::Delete { target: Target::Havip(name), .. } => Ok(self.delete_havip(name)),
            Change::Join { vni, teps } => self.join(*vni, teps),
            Change::Leave { vni, teps } => Ok(self.leave(*vni, teps)),
            Change::SetAttachment { havip, attachment } => self.set_attachment(havip, attachment),
            Change::DeleteAttachment { havip, instance } => self.delete_attachment(havip, instance),
            Change::Unfreeze { havip } => self.unfreeze(havip),
            Change::SetGateway { vni, gateway } => self.set_gateway(*vni, *gateway),
            Change::DeleteGateway { vni, address } => self.delete_gateway(*vni, *address),
        }
    }

    fn set(&mut self, resource: &SetResource, existing: Existing, replace: bool) -> Result<Effect, Problem> {
        match resource {
            SetResource::Tep(tep, fields) => self.set_tep(tep, fields, existing, replace),
            SetResource::Domain(vni, fields) => self.set_domain(*vni, fields, existing, replace),
            SetResource::Havip(name, fields) => self.set_havip(name, fields, existing, replace),
        }
    }

    /// The registered TEP that is meant.
    fn resolve(&self, tep: &TepRef) -> Option<Tep> {
        match tep {
            TepRef::Address(address) => Some(*address).filter(|&address| self.is_registered(address)),
            TepRef::Name(name) => self.names.get(name, || self.state.teps.named(name)),
        }
    }

    fn member(&self, tep: &TepRef) -> Result<Tep, Problem> {
        self.resolve(tep).ok_or_else(|| Problem::Unregistered(tep.clone()))
    }
}
