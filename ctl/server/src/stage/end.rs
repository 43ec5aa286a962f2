//! The end of a batch: kept or taken back, and what it changed.

use bcast_domain::Tep;
use ctl_api::model::{DomainEntry, Event, GarpMode, TepEntry};
use ctl_store::{Answer, Record};

use super::{Domain, Registered, Stage, Staged, Totals, base_domain, base_tep};

impl Stage<'_> {
    pub(super) fn keep(&mut self, mut answer: Answer, unix_ms: u64) -> Staged {
        let (events, removes) = self.events();
        let record = (!events.is_empty()).then(|| {
            self.revision = self.revision.next();
            Record { revision: self.revision, unix_ms, events }
        });
        answer.revision = self.revision;
        self.teps.keep();
        self.names.keep();
        self.domains.keep();
        self.memberships.keep();
        Staged { answer, record, removes }
    }

    pub(super) fn take_back(&mut self, totals: Totals) {
        self.totals = totals;
        self.teps.take_back();
        self.names.take_back();
        self.domains.take_back();
        self.memberships.take_back();
    }

    /// What is other than before the batch: TEPs, then domains, then TEPs that are gone; and whether a domain lost
    /// a member.
    fn events(&self) -> (Vec<Event>, bool) {
        let (mut events, gone) = self.tep_events();
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
                Some(Domain { name, limit, members }) => {
                    Event::DomainSet(DomainEntry { vni, name, limit, garp: GarpMode::Open, members })
                }
                None => Event::DomainRemoved(vni),
            });
        }
        events.extend(gone);
        (events, removes)
    }

    /// TEPs that are new or are other than they were, and TEPs that are gone.
    fn tep_events(&self) -> (Vec<Event>, Vec<Event>) {
        let (mut set, mut gone) = (Vec::new(), Vec::new());
        for (&tep, before, now) in self.teps.touched() {
            let before = before.cloned().unwrap_or_else(|| base_tep(self.state, tep));
            match now.clone() {
                now if before == now => {}
                Some(Registered { name, limit }) => {
                    set.push(Event::TepSet(TepEntry {
                        address: tep,
                        name,
                        limit,
                        next_hop: None,
                        next_hop6: None,
                    }));
                }
                None => gone.push(Event::TepRemoved(tep)),
            }
        }
        (set, gone)
    }
}
