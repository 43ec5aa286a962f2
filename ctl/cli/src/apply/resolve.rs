//! From a file's entries to what shall be: names resolved, entries checked against each other and against the node.

mod havip;

use std::collections::HashMap;

use bcast_domain::{Tep, TepLimit, Vni, limits};
use ctl_api::model::{Name, TepEntry, TepRef};
use thiserror::Error;

use super::file::{ApplyFile, FileDomain, FileTep, Member};
use super::inventory::Inventory;
use crate::limit::domain_or;

pub use havip::HavipEntryError;

/// An entry that contradicts another one, or the node.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum EntryError {
    /// The same TEP stands twice.
    #[error("teps[{entry}]: {address} stands in teps[{earlier}] already: remove one of them")]
    TepTwice {
        /// The later entry, from 0.
        entry: usize,
        /// The entry before it.
        earlier: usize,
        /// The address of both.
        address: Tep,
    },
    /// Two TEPs of the file have one name.
    #[error("teps[{entry}]: the name {name} is that of teps[{earlier}] already: give each TEP its own")]
    NameTwice {
        /// The later entry, from 0.
        entry: usize,
        /// The entry before it.
        earlier: usize,
        /// The name of both.
        name: Name,
    },
    /// A TEP that stays on the node has the name.
    #[error(
        "teps[{entry}]: the name {name} belongs to {owner} on the node: choose another, or list {owner} too"
    )]
    NameTaken {
        /// The entry, from 0.
        entry: usize,
        /// Its name.
        name: Name,
        /// Whose name it is.
        owner: Tep,
    },
    /// The same domain stands twice.
    #[error("domains[{entry}]: VNI {vni} stands in domains[{earlier}] already: merge the two")]
    DomainTwice {
        /// The later entry, from 0.
        entry: usize,
        /// The entry before it.
        earlier: usize,
        /// The VNI of both.
        vni: Vni,
    },
    /// The same TEP is listed twice, perhaps once by name.
    #[error("domains[{entry}] (VNI {vni}): member {member} is listed twice")]
    MemberTwice {
        /// The entry, from 0.
        entry: usize,
        /// Its VNI.
        vni: Vni,
        /// The TEP.
        member: Tep,
    },
    /// A member that is no TEP.
    #[error(
        "domains[{entry}] (VNI {vni}): member {member} is neither registered nor in the file: add it to `teps`"
    )]
    MemberUnknown {
        /// The entry, from 0.
        entry: usize,
        /// Its VNI.
        vni: Vni,
        /// The member as it is written.
        member: String,
    },
    /// A member that is registered, but that `--prune` would remove.
    #[error(
        "domains[{entry}] (VNI {vni}): member {member} is not in the file, so --prune removes it: add it to `teps`"
    )]
    MemberPruned {
        /// The entry, from 0.
        entry: usize,
        /// Its VNI.
        vni: Vni,
        /// The member as it is written.
        member: String,
    },
    /// An entry of `havips`.
    #[error(transparent)]
    Havip(#[from] HavipEntryError),
    /// More members than a domain may have.
    #[error("domains[{entry}] (VNI {vni}): {count} members are more than the {most} that a domain may have")]
    TooManyMembers {
        /// The entry, from 0.
        entry: usize,
        /// Its VNI.
        vni: Vni,
        /// How many are listed.
        count: usize,
        /// [`limits::MAX_MEMBERS`].
        most: usize,
    },
}

/// What shall be by `file` on a node that has `have`: the file's TEPs, domains and HAVIPs, and no others.
///
/// A list of members is the whole list. What an entry leaves out (a name, a rate, the list) stays as it is; with `prune` it goes.
///
/// # Errors
/// [`EntryError`] for the first entry that contradicts another one or the node.
pub fn resolve(file: &ApplyFile, have: &Inventory, prune: bool) -> Result<Inventory, EntryError> {
    let ApplyFile { teps, domains, havips, members, names, .. } = file;
    let mut want = Inventory::default();
    let known = resolve_teps(teps, have, prune, &mut want)?;
    let by_index: Vec<Option<Tep>> = names.iter().map(|name| known.names.get(name).copied()).collect();
    let resolver = Resolver { have, prune, names, by_index, known };
    let mut seen: HashMap<Vni, usize> = HashMap::with_capacity(domains.len());
    let mut list = Vec::new();
    for (entry, domain) in domains.iter().enumerate() {
        if let Some(earlier) = seen.insert(domain.vni, entry) {
            return Err(EntryError::DomainTwice { entry, earlier, vni: domain.vni });
        }
        let had = if prune { None } else { have.domain(domain.vni) };
        let name = domain.name.clone().or_else(|| had.and_then(|had| had.name.clone()));
        let limit = domain_or(domain.limit, had.map(|had| had.limit).unwrap_or_default());
        let garp = domain.garp.or(had.map(|had| had.garp)).unwrap_or_default();
        match domain.len {
            Some(len) => {
                resolver.members(entry, domain, &members[domain.first..domain.first + len], &mut list)?;
                want.push_domain(domain.vni, name, limit, garp, list.iter().copied());
            }
            None if prune => want.push_domain(domain.vni, name, limit, garp, []),
            None => {
                let members = had.map_or(&[][..], |had| have.members(had));
                want.push_domain_as_it_is(domain.vni, name, limit, garp, members);
            }
        }
    }
    havip::resolve(&resolver, havips, |vni| seen.contains_key(&vni), &mut want)?;
    want.sort();
    Ok(want)
}

/// Which TEPs the file lists, and whose each name will be.
struct Known {
    listed: HashMap<Tep, usize>,
    names: HashMap<Name, Tep>,
}

fn resolve_teps(
    teps: &[FileTep],
    have: &Inventory,
    prune: bool,
    want: &mut Inventory,
) -> Result<Known, EntryError> {
    let mut listed = HashMap::with_capacity(teps.len());
    let mut named: HashMap<Name, usize> = HashMap::new();
    for (entry, tep) in teps.iter().enumerate() {
        if let Some(earlier) = listed.insert(tep.address, entry) {
            return Err(EntryError::TepTwice { entry, earlier, address: tep.address });
        }
        if let Some(name) = &tep.name
            && let Some(earlier) = named.insert(name.clone(), entry)
        {
            return Err(EntryError::NameTwice { entry, earlier, name: name.clone() });
        }
    }
    let mut names: HashMap<Name, Tep> =
        named.into_iter().map(|(name, entry)| (name, teps[entry].address)).collect();
    if !prune {
        let stays =
            |had: &&TepEntry| listed.get(&had.address).is_none_or(|&entry| teps[entry].name.is_none());
        for had in have.teps().iter().filter(stays) {
            let Some(name) = &had.name else { continue };
            if let Some(taker) = names.insert(name.clone(), had.address) {
                let entry = listed.get(&taker).copied().unwrap_or_default();
                return Err(EntryError::NameTaken { entry, name: name.clone(), owner: had.address });
            }
        }
    }
    for tep in teps {
        let had = if prune { None } else { have.tep(tep.address) };
        let frames = tep.limit.frames.or(had.and_then(|had| had.limit.frames));
        want.push_tep(TepEntry {
            address: tep.address,
            name: tep.name.clone().or_else(|| had.and_then(|had| had.name.clone())),
            limit: TepLimit { frames },
            next_hop: tep.next_hop.or(had.and_then(|had| had.next_hop)),
            next_hop6: tep.next_hop6.or(had.and_then(|had| had.next_hop6)),
        });
    }
    Ok(Known { listed, names })
}

struct Resolver<'a> {
    have: &'a Inventory,
    prune: bool,
    names: &'a [Name],
    by_index: Vec<Option<Tep>>,
    known: Known,
}

impl Resolver<'_> {
    /// The members of one entry as sorted addresses.
    fn members(
        &self,
        entry: usize,
        domain: &FileDomain,
        members: &[Member],
        list: &mut Vec<Tep>,
    ) -> Result<(), EntryError> {
        let vni = domain.vni;
        if members.len() > limits::MAX_MEMBERS {
            let (count, most) = (members.len(), limits::MAX_MEMBERS);
            return Err(EntryError::TooManyMembers { entry, vni, count, most });
        }
        list.clear();
        for member in members {
            let Some(tep) = self.tep(*member) else {
                return Err(self.refusal(entry, vni, *member));
            };
            list.push(tep);
        }
        list.sort_unstable();
        match list.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(EntryError::MemberTwice { entry, vni, member: pair[0] }),
            None => Ok(()),
        }
    }

    fn tep(&self, member: Member) -> Option<Tep> {
        let tep = match member {
            Member::Address(tep) => Some(tep),
            Member::Name(at) => self.by_index.get(at as usize).copied().flatten(),
        };
        tep.filter(|tep| self.stays(*tep))
    }

    /// Whether the TEP will be there.
    fn stays(&self, tep: Tep) -> bool {
        self.known.listed.contains_key(&tep) || (!self.prune && self.have.tep(tep).is_some())
    }

    /// The TEP that will have that address or name.
    fn find(&self, tep: &TepRef) -> Option<Tep> {
        let tep = match tep {
            TepRef::Address(tep) => Some(*tep),
            TepRef::Name(name) => self.known.names.get(name).copied(),
        };
        tep.filter(|tep| self.stays(*tep))
    }

    fn refusal(&self, entry: usize, vni: Vni, member: Member) -> EntryError {
        let (text, registered) = match member {
            Member::Address(tep) => (tep.to_string(), self.have.tep(tep).is_some()),
            Member::Name(at) => {
                let name = self.names.get(at as usize);
                let registered = self.have.teps().iter().any(|tep| tep.name.as_ref() == name);
                (name.map(Name::to_string).unwrap_or_default(), registered)
            }
        };
        if registered && self.prune {
            EntryError::MemberPruned { entry, vni, member: text }
        } else {
            EntryError::MemberUnknown { entry, vni, member: text }
        }
    }
}
