//! What a node does with a batch, written down as plainly as can be: the strictest node that the contract allows.

#[path = "havips.rs"]
mod havips;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use bcast_domain::{DomainLimit, Tep, TepLimit, Vni};
use ctl_api::model::{Batch, Change, GarpMode, Havip, Name, TepRef};

/// A node's TEPs, domains and HAVIPs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    pub revision: u64,
    pub teps: BTreeMap<Tep, Option<Name>>,
    pub domains: BTreeMap<Vni, (Option<Name>, BTreeSet<Tep>)>,
    /// Of those that have one of their own.
    pub tep_limits: BTreeMap<Tep, TepLimit>,
    /// The same.
    pub domain_limits: BTreeMap<Vni, DomainLimit>,
    /// Of the TEPs that have one.
    pub next_hops: BTreeMap<Tep, (Option<Ipv4Addr>, Option<Ipv6Addr>)>,
    /// The domains whose mode it is.
    pub strict: BTreeSet<Vni>,
    pub havips: BTreeMap<Name, Havip>,
}

/// Why a batch is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    Moved {
        at: u64,
    },
    Unregistered(TepRef),
    NameTaken(Name),
    StillMember(TepRef),
    NoDomain(Vni),
    HasHavips(Vni),
    NoHavip(Name),
    /// What is wrong with a HAVIP.
    Havip(String),
}

/// What a batch did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub changed: u64,
    pub notes: Vec<String>,
}

impl Model {
    /// Commits all of the batch or nothing; what is refused comes with its position, from 1.
    pub fn commit(&mut self, batch: Batch) -> Result<Done, (usize, Refused)> {
        if batch.expected.is_some_and(|expected| expected.get() != self.revision) {
            return Err((0, Refused::Moved { at: self.revision }));
        }
        let mut next = self.clone();
        let mut done = Done::default();
        // Of a large batch every change counts: to compare the whole state that often takes too long.
        let compare = batch.changes.len() < 100;
        for (position, change) in (1..).zip(batch.changes) {
            let before = compare.then(|| next.clone());
            let mut notes = Vec::new();
            next.change(change, &mut notes).map_err(|refused| (position, refused))?;
            done.notes.extend(notes.into_iter().map(|note| format!("change {position}: {note}")));
            done.changed += u64::from(before.as_ref() != Some(&next));
        }
        let above = batch.above.map_or(0, |above| above.get());
        if done.changed > 0 || above > 0 && above >= next.revision {
            next.revision = next.revision.max(above) + 1;
        }
        if !batch.dry_run {
            *self = next;
        }
        Ok(done)
    }

    fn change(&mut self, change: Change, notes: &mut Vec<String>) -> Result<(), Refused> {
        match change {
            Change::TepAdd { address, name } => self.add(address, name)?,
            Change::TepRemove { tep, force } => match self.find(&tep) {
                Some(address) => self.remove(address, tep, force)?,
                None => notes.push(format!("tep {tep} is not registered")),
            },
            Change::DomainCreate { vni, name } => {
                let domain = self.domains.entry(vni).or_default();
                domain.0 = name.or(domain.0.take());
            }
            Change::DomainRemove { vni, force } => {
                if self.havips.values().any(|havip| havip.vni == vni) && !force {
                    return Err(Refused::HasHavips(vni));
                }
                self.havips.retain(|_, havip| havip.vni != vni);
                self.strict.remove(&vni);
                self.domain_limits.remove(&vni);
                if self.domains.remove(&vni).is_none() {
                    notes.push(format!("domain {vni} is not there"));
                }
            }
            Change::DomainSet { vni, name, members } => {
                let members = self.registered(members)?;
                let domain = self.domains.entry(vni).or_default();
                *domain = (name.or(domain.0.take()), members);
            }
            Change::Join { vni, teps } => {
                let teps = self.registered(teps)?;
                self.domains.get_mut(&vni).ok_or(Refused::NoDomain(vni))?.1.extend(teps);
            }
            Change::Leave { vni, teps } => {
                for tep in teps {
                    let address = self.find(&tep);
                    let domain = self.domains.get_mut(&vni).ok_or(Refused::NoDomain(vni))?;
                    if !address.is_some_and(|address| domain.1.remove(&address)) {
                        notes.push(format!("tep {tep} is not a member of domain {vni}"));
                    }
                }
            }
            Change::DomainLimit { vni, limit, reset } => {
                self.domains.get(&vni).ok_or(Refused::NoDomain(vni))?;
                let had = self.domain_limits.remove(&vni).filter(|_| !reset).unwrap_or_default();
                let limit = DomainLimit {
                    copies: limit.copies.or(had.copies),
                    bits: limit.bits.or(had.bits),
                    control: limit.control.or(had.control),
                };
                self.domain_limits.extend((limit != DomainLimit::default()).then_some((vni, limit)));
            }
            Change::TepLimit { tep, limit, reset } => {
                let address = self.find(&tep).ok_or(Refused::Unregistered(tep))?;
                let had = self.tep_limits.remove(&address).filter(|_| !reset);
                let frames = limit.frames.or(had.and_then(|had| had.frames));
                self.tep_limits.extend(frames.map(|_| (address, TepLimit { frames })));
            }
            Change::TepNextHop { tep, next_hop, next_hop6, reset } => {
                let address = self.find(&tep).ok_or(Refused::Unregistered(tep))?;
                let had = self.next_hops.remove(&address).filter(|_| !reset).unwrap_or_default();
                let hops = (next_hop.or(had.0), next_hop6.or(had.1));
                self.next_hops.extend((hops != (None, None)).then_some((address, hops)));
            }
            Change::DomainGarp { vni, mode } => {
                self.domains.get(&vni).ok_or(Refused::NoDomain(vni))?;
                match mode {
                    GarpMode::Strict => self.strict.insert(vni),
                    GarpMode::Open => self.strict.remove(&vni),
                };
            }
            change => self.change_havip(change, notes)?,
        }
        Ok(())
    }

    fn add(&mut self, address: Tep, name: Option<Name>) -> Result<(), Refused> {
        if let Some(name) = &name
            && self.teps.iter().any(|(tep, has)| *tep != address && has.as_ref() == Some(name))
        {
            return Err(Refused::NameTaken(name.clone()));
        }
        let tep = self.teps.entry(address).or_default();
        *tep = name.or(tep.take());
        Ok(())
    }

    fn remove(&mut self, address: Tep, tep: TepRef, force: bool) -> Result<(), Refused> {
        if force {
            self.domains.values_mut().for_each(|domain| {
                domain.1.remove(&address);
            });
            self.havips.values_mut().for_each(|havip| {
                havip.attachments.iter_mut().for_each(|a| a.teps.retain(|tep| *tep != address));
                havip.attachments.retain(|attachment| !attachment.teps.is_empty());
            });
        } else if self.domains.values().any(|domain| domain.1.contains(&address))
            || self.havips.values().flat_map(|havip| &havip.attachments).any(|a| a.teps.contains(&address))
        {
            return Err(Refused::StillMember(tep));
        }
        self.next_hops.remove(&address);
        self.teps.remove(&address);
        self.tep_limits.remove(&address);
        Ok(())
    }

    fn find(&self, tep: &TepRef) -> Option<Tep> {
        match tep {
            TepRef::Address(address) => self.teps.contains_key(address).then_some(*address),
            TepRef::Name(name) => {
                self.teps.iter().find(|(_, has)| has.as_ref() == Some(name)).map(|(address, _)| *address)
            }
        }
    }

    fn registered(&self, teps: Vec<TepRef>) -> Result<BTreeSet<Tep>, Refused> {
        teps.into_iter().map(|tep| self.find(&tep).ok_or(Refused::Unregistered(tep))).collect()
    }
}
