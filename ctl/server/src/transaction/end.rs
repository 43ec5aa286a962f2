//! The end of a batch: kept or taken back, and what it changed.

use bcast_domain::Tep;
use ctl_api::model::{DomainEntry, Event, HavipEntry, Name, Revision, TepEntry};
use ctl_store::{Answer, Record};
use hashbrown::HashSet;

use super::{Domain, Prepared, Registered, Totals, Transaction, base_domain, base_tep};

impl Transaction<'_> {
    /// The revision is greater than `above` afterwards, also where nothing else changes.
    pub(super) fn keep(&mut self, mut answer: Answer, above: Option<Revision>) -> Prepared {
        let next = self.revision.max(above.unwrap_or_default()).next();
        let is_raised = above.is_some_and(|above| above >= self.revision);
        self.stamp(next);
        let (events, removes) = self.events();
        let record = (!events.is_empty() || is_raised).then(|| {
            self.revision = next;
            Record { revision: self.revision, unix_ms: self.unix_ms, events }
        });
        answer.revision = self.revision;
        self.teps.keep();
        self.names.keep();
        self.domains.keep();
        self.memberships.keep();
        self.havips.keep();
        Prepared { answer, record, removes }
    }

    pub(super) fn take_back(&mut self, totals: Totals) {
        self.totals = totals;
        self.teps.take_back();
        self.names.take_back();
        self.domains.take_back();
        self.memberships.take_back();
        self.havips.take_back();
    }

    /// Sets the generation of each binding that is other than before, and of what happened.
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
            events.retain(|happening| !passing.contains(&happening.havip));
        }
        for happening in &mut events {
            (happening.generation, happening.unix_ms) = (revision.get(), self.unix_ms);
        }
        self.havips.events = events;
    }

    /// What the batch touched: as it was before it, and as it is now.
    fn havip_changes(&self) -> impl Iterator<Item = (&Name, Option<&HavipEntry>, Option<&HavipEntry>)> {
        self.havips.entries.touched().map(|(name, before, now)| {
            let before = before.map_or_else(|| self.state.havips.entry(name), Option::as_ref);
            (name, before, now.as_ref())
        })
    }

    /// What is other than before the batch: TEPs, HAVIPs that are gone, domains, HAVIPs, TEPs that are gone; then what
    /// happened to HAVIPs. And whether a domain lost a member.
    fn events(&self) -> (Vec<Event>, bool) {
        let (mut events, gone) = self.tep_events();
        let (havips, havips_gone) = self.havip_events();
        events.extend(havips_gone);
        let mut removes = false;
        for (&vni, before, now) in self.domains.touched() {
            let before = before.cloned().unwrap_or_else(|| base_domain(self.state, vni));
            if before == *now {
                continue;
            }
            let stays =
                |tep: &Tep| now.as_ref().is_some_and(|domain| domain.members.binary_search(tep).is_ok());
            removes |= !before.iter().flat_map(|domain| &domain.members).all(stays);
            events.push(match now.clone() {
                Some(Domain { name, limit, garp, members }) => {
                    Event::DomainSet(DomainEntry { vni, name, limit, garp, members })
                }
                None => Event::DomainRemoved(vni),
            });
        }
        events.extend(havips);
        events.extend(gone);
        events.extend(self.havips.events.iter().cloned().map(Box::new).map(Event::Happened));
        (events, removes)
    }

    /// TEPs that are new or are other than they were, and TEPs that are gone.
    fn tep_events(&self) -> (Vec<Event>, Vec<Event>) {
        let (mut set, mut gone) = (Vec::new(), Vec::new());
        for (&tep, before, now) in self.teps.touched() {
            let before = before.cloned().unwrap_or_else(|| base_tep(self.state, tep));
            match now.clone() {
                now if before == now => {}
                Some(Registered { name, limit, next_hop, next_hop6 }) => {
                    set.push(Event::TepSet(TepEntry { address: tep, name, limit, next_hop, next_hop6 }));
                }
                None => gone.push(Event::TepRemoved(tep)),
            }
        }
        (set, gone)
    }

    /// The same of HAVIPs.
    fn havip_events(&self) -> (Vec<Event>, Vec<Event>) {
        let (mut set, mut gone) = (Vec::new(), Vec::new());
        for (name, before, now) in self.havip_changes() {
            match now {
                now if before == now => {}
                Some(entry) => set.push(Event::HavipSet(Box::new(entry.clone()))),
                None => gone.push(Event::HavipRemoved(name.clone())),
            }
        }
        (set, gone)
    }
}
