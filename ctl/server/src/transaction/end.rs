//! The end of a request: checked, kept or taken back, and its events.

use ctl_api::model::{DomainEntry, Event, HavipEntry, Name, Revision};
use ctl_store::{Answer, Record};
use hashbrown::HashSet;

use super::claims::Conflict;
use super::write_set::Prepare;
use super::{Prepared, Transaction};
use crate::refusal::{Problem, Refusal};

impl Transaction<'_> {
    /// Checks what holds for the state after a request. `part` names the parts of the request: changes, or entries of a desired
    /// state.
    pub(super) fn check_end(&self, part: &'static str) -> Result<(), Refusal> {
        let refusal = |(position, problem)| Err(Refusal::Change { part, position, problem });
        self.conflict().map_or(Ok(()), refusal)
    }

    /// The first change after which a name, an address or an EIP has two owners, or a total is over its limit.
    pub(super) fn conflict(&self) -> Option<(usize, Problem)> {
        let name = |Conflict { key: name, holder, position }| (position, Problem::NameTaken { name, holder });
        let name = self.names.conflict().map(name);
        let all = [name, self.havips.address_conflict(), self.havips.eip_conflict(), self.excess.clone()];
        all.into_iter().flatten().min_by_key(|(position, _)| *position)
    }

    /// The revision is greater than `above` afterwards, also where nothing else changes.
    pub(super) fn keep(&mut self, mut answer: Answer, above: Option<Revision>) -> Prepared {
        let next = self.revision.max(above.unwrap_or_default()).next();
        let is_raised = above.is_some_and(|above| above >= self.revision);
        self.stamp(next);
        let (events, removes) = self.events();
        let record = (!events.is_empty() || is_raised).then(|| {
            (self.revision, self.configured) = (next, next);
            Record { revision: self.revision, unix_ms: self.unix_ms, events }
        });
        answer.revision = self.revision;
        self.end(true);
        Prepared { answer, record, removes, summary: None }
    }

    /// Ends the request; what it prepared is kept or taken back.
    pub(super) fn end(&mut self, keep: bool) {
        let Self { teps, names, domains, memberships, havips, .. } = self;
        let sets: [&mut dyn Prepare; 5] = [teps, names, domains, memberships, havips];
        sets.into_iter().for_each(|set| set.end(keep));
    }

    /// Sets the generation of each binding that is other than before, and of the events.
    fn stamp(&mut self, revision: Revision) {
        let mut turned: Vec<Name> = Vec::new();
        for (name, before, now) in self.havip_changes() {
            let before = before.map(|entry| &entry.binding);
            if now.is_some_and(|entry| before != Some(&entry.binding)) {
                turned.push(name.clone());
            }
        }
        for name in turned {
            if let Some(entry) = self.havips.entries.edit(name, || None) {
                entry.binding.generation = revision.get();
            }
        }
        let mut events = std::mem::take(&mut self.havips.events);
        if !events.is_empty() {
            // Nobody has heard of a HAVIP that came and went within the batch.
            let passing = self.havip_changes().filter(|(_, before, now)| before.is_none() && now.is_none());
            let passing: HashSet<&Name> = passing.map(|(name, ..)| name).collect();
            events.retain(|event| !passing.contains(&event.havip));
        }
        for event in &mut events {
            (event.generation, event.unix_ms) = (revision.get(), self.unix_ms);
        }
        self.havips.events = events;
    }

    /// HAVIPs that the request touched: before it, and now.
    pub(super) fn havip_changes(
        &self,
    ) -> impl Iterator<Item = (&Name, Option<&HavipEntry>, Option<&HavipEntry>)> {
        self.havips.entries.touched().map(|(name, before, now)| {
            let before = before.map_or_else(|| self.state.havips.entry(name), Option::as_ref);
            (name, before, now.as_ref())
        })
    }

    /// Events of the request: TEPs, HAVIPs that are gone, domains, HAVIPs, TEPs that are gone; then the HAVIPs'
    /// events. And whether a domain lost a member.
    fn events(&self) -> (Vec<Event>, bool) {
        let (mut events, mut gone, mut havips) = (Vec::new(), Vec::new(), Vec::new());
        for (&tep, before, now) in self.teps.touched() {
            let before = before.cloned().unwrap_or_else(|| self.state.tep(tep));
            match now {
                now if before == *now => {}
                Some(entry) => events.push(Event::TepSet(entry.clone())),
                None => gone.push(Event::TepDeleted(tep)),
            }
        }
        for (name, before, now) in self.havip_changes() {
            match now {
                now if before == now => {}
                Some(entry) => havips.push(Event::HavipSet(Box::new(entry.clone()))),
                None => events.push(Event::HavipDeleted(name.clone())),
            }
        }
        let mut removes = false;
        for (&vni, before, now) in self.domains.touched() {
            let before = before.cloned().unwrap_or_else(|| self.state.domain(vni));
            if before != *now {
                removes |= missing(before.as_ref(), now.as_ref()) > 0;
                events.push(now.clone().map_or(Event::DomainDeleted(vni), Event::DomainSet));
            }
        }
        events.extend(havips);
        events.extend(gone);
        events.extend(self.havips.events.iter().cloned().map(Box::new).map(Event::HavipEvent));
        (events, removes)
    }
}

/// Number of members of the one that the other does not have; both ascending.
pub(super) fn missing(one: Option<&DomainEntry>, other: Option<&DomainEntry>) -> u64 {
    let Some(one) = one else { return 0 };
    let is_missing = |tep| other.is_none_or(|other| other.members.binary_search(tep).is_err());
    one.members.iter().filter(|tep| is_missing(tep)).count() as u64
}
