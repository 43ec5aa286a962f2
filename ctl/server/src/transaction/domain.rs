//! Domains in a transaction, and who is a member of them.

use std::net::IpAddr;

use bcast_domain::{Tep, Vni, limits};
use ctl_api::model::{DomainEntry, DomainFields, Existing, Gateway, TepRef, TepSet};

use super::{Effect, Totals, Transaction};
use crate::refusal::Problem;

/// The changes.
impl Transaction<'_> {
    pub(super) fn set_domain(
        &mut self,
        vni: Vni,
        fields: &DomainFields,
        existing: Existing,
        replace: bool,
    ) -> Result<Effect, Problem> {
        let old = self.domain(vni);
        if old.is_none() && existing == Existing::Required {
            return Err(Problem::NoDomain(vni));
        }
        // One of an older store stays as it is, and serves nobody.
        if old.is_none() && vni.get() == 0 {
            return Err(Problem::VniZero);
        }
        let mut new = old.clone().unwrap_or_else(|| DomainEntry::new(vni)).with(fields, replace);
        match &fields.members {
            Some(members) => new.members = self.members(vni, members, old.as_ref())?,
            None if replace => new.members.clear(),
            None => {}
        }
        self.check_pinned(&new, old.as_ref())?;
        if old.as_ref() == Some(&new) {
            return Ok(Effect::NOTHING);
        }
        self.put_domain(old, new)?;
        Ok(Effect::CHANGED)
    }

    /// Checks that newly pinned nodes are configured ones. One that was pinned may have left the configuration since.
    fn check_pinned(&self, new: &DomainEntry, old: Option<&DomainEntry>) -> Result<(), Problem> {
        let was_pinned = |name| old.is_some_and(|old| old.pinned.contains(name));
        let unknown = new.pinned.iter().find(|name| !was_pinned(name) && !self.state.nodes.has(name));
        unknown.map_or(Ok(()), |name| Err(self.state.nodes.unknown(name.clone())))
    }

    /// The members of a domain that had these before, ascending.
    fn members(&self, vni: Vni, members: &TepSet, old: Option<&DomainEntry>) -> Result<Vec<Tep>, Problem> {
        let mut wanted = self.registered(members)?;
        wanted.sort_unstable();
        once_each(vni, &wanted)?;
        let was_member = |tep: &Tep| old.is_some_and(|old| old.members.binary_search(tep).is_ok());
        wanted.iter().filter(|tep| !was_member(tep)).try_for_each(|tep| self.may_join(*tep))?;
        Ok(wanted)
    }

    /// The registered TEPs that are meant; one that is named twice is there twice.
    pub(super) fn registered(&self, teps: &TepSet) -> Result<Vec<Tep>, Problem> {
        teps.iter().map(|tep| self.member(&tep)).collect()
    }

    pub(super) fn set_gateway(&mut self, vni: Vni, gateway: Gateway) -> Result<Effect, Problem> {
        let gateways = &mut self.edit_domain(vni).ok_or(Problem::NoDomain(vni))?.stated.gateways;
        match gateways.binary_search_by_key(&gateway.address, |other| other.address) {
            Ok(place) if gateways.get(place) == Some(&gateway) => return Ok(Effect::NOTHING),
            Ok(place) => gateways.splice(place..=place, [gateway]).for_each(drop),
            Err(_) if gateways.len() >= limits::MAX_GATEWAYS => return Err(Problem::Gateways(vni)),
            Err(place) => gateways.insert(place, gateway),
        }
        Ok(Effect::CHANGED)
    }

    pub(super) fn delete_gateway(&mut self, vni: Vni, address: IpAddr) -> Result<Effect, Problem> {
        let gateways = &mut self.edit_domain(vni).ok_or(Problem::NoDomain(vni))?.stated.gateways;
        let before = gateways.len();
        gateways.retain(|gateway| gateway.address != address);
        if gateways.len() == before {
            return Ok(Effect::absent(format!("{address} is no gateway of domain {vni}")));
        }
        Ok(Effect::CHANGED)
    }

    pub(super) fn delete_domain(&mut self, vni: Vni, force: bool) -> Result<Effect, Problem> {
        if !self.domain_exists(vni) {
            return Ok(Effect::absent(format!("domain {vni} does not exist")));
        }
        match self.havips_of_domain(vni) {
            0 => {}
            havips if !force => return Err(Problem::HasHavips { vni, havips }),
            _ => self.delete_havips_of(vni),
        }
        self.remove_domain(vni);
        Ok(Effect::CHANGED)
    }

    /// Removes a domain, whatever HAVIPs it has.
    pub(super) fn remove_domain(&mut self, vni: Vni) {
        let Some(domain) = self.domain(vni) else { return };
        for tep in &domain.members {
            self.count(*tep, false);
        }
        self.totals.members -= domain.members.len();
        self.totals.domains -= 1;
        self.check_totals(vni);
        *self.domains.edit(vni, || None) = None;
    }

    pub(super) fn join(&mut self, vni: Vni, teps: &TepSet) -> Result<Effect, Problem> {
        let joining = self.registered(teps)?;
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
        self.check_totals(vni);
        for &tep in &joined {
            self.may_join(tep)?;
            self.count(tep, true);
        }
        Ok(Effect::changed(!joined.is_empty()))
    }

    pub(super) fn leave(&mut self, vni: Vni, teps: &TepSet) -> Effect {
        if !self.domain_exists(vni) {
            return Effect::absent(format!("domain {vni} does not exist"));
        }
        let mut absent: Vec<TepRef> = Vec::new();
        for tep in teps.iter() {
            let left = self.resolve(&tep).is_some_and(|address| self.leave_one(vni, address));
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

/// The domains that are there: prepared, or else in the state.
impl Transaction<'_> {
    /// A TEP that was registered before the node got other addresses may be one that it cannot send to now.
    fn may_join(&self, tep: Tep) -> Result<(), Problem> {
        if self.state.refused.contains(&tep) { Ok(self.node.tep_allowed(tep)?) } else { Ok(()) }
    }

    pub(super) fn domain_exists(&self, vni: Vni) -> bool {
        self.domains.get(&vni).map_or_else(|| self.state.list(vni).is_some(), Option::is_some)
    }

    pub(super) fn domain(&self, vni: Vni) -> Option<DomainEntry> {
        self.domains.get(&vni).cloned().unwrap_or_else(|| self.state.domain(vni))
    }

    /// All domains, in any order.
    pub(super) fn all_domains(&self) -> Vec<Vni> {
        let base = self.state.lists().map(|(vni, _)| vni).filter(|vni| self.domains.get(vni).is_none());
        let prepared = self.domains.iter().filter(|(_, domain)| domain.is_some()).map(|(vni, _)| *vni);
        base.chain(prepared).collect()
    }

    fn edit_domain(&mut self, vni: Vni) -> Option<&mut DomainEntry> {
        if !self.domain_exists(vni) {
            return None;
        }
        let state = self.state;
        self.domains.edit(vni, || state.domain(vni)).as_mut()
    }

    /// Creates a domain or replaces it.
    pub(super) fn put_domain(
        &mut self,
        old: Option<DomainEntry>,
        domain: DomainEntry,
    ) -> Result<(), Problem> {
        let (vni, members) = (domain.vni, domain.members.len());
        if members > limits::MAX_MEMBERS {
            return Err(Problem::Members { vni, members });
        }
        self.totals.domains += usize::from(old.is_none());
        let old = old.map(|domain| domain.members).unwrap_or_default();
        self.totals.members = self.totals.members - old.len() + members;
        self.check_totals(vni);
        if old != domain.members {
            old.into_iter().for_each(|tep| self.count(tep, false));
            domain.members.iter().for_each(|tep| self.count(*tep, true));
        }
        *self.domains.edit(vni, || None) = Some(domain);
        Ok(())
    }

    /// Notes where the node's totals are over their limits; at the end of the request it counts, if they still are.
    fn check_totals(&mut self, vni: Vni) {
        let problem = match self.totals {
            Totals { domains, .. } if domains > limits::MAX_DOMAINS => Problem::Domains(vni),
            Totals { members, .. } if members > limits::MAX_MEMBERSHIPS => Problem::Memberships(vni),
            _ => return self.excess = None,
        };
        let position = self.position;
        self.excess.get_or_insert((position, problem));
    }

    /// True where the TEP was a member.
    pub(super) fn leave_one(&mut self, vni: Vni, tep: Tep) -> bool {
        let Some(domain) = self.edit_domain(vni) else { return false };
        let Ok(place) = domain.members.binary_search(&tep) else { return false };
        domain.members.remove(place);
        self.totals.members -= 1;
        self.check_totals(vni);
        self.count(tep, false);
        true
    }
}

/// Checks that no member stands twice, of members in ascending order.
pub(super) fn once_each(vni: Vni, members: &[Tep]) -> Result<(), Problem> {
    let problem = |tep| Problem::Twice(format!("member {tep} of domain {vni}"));
    twice(members).map(problem).map_or(Ok(()), Err)
}

/// A TEP that stands twice, of TEPs in ascending order.
pub(super) fn twice(teps: &[Tep]) -> Option<Tep> {
    teps.windows(2).find(|pair| pair.first() == pair.last()).and_then(|pair| pair.first().copied())
}
