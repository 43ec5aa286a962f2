//! Naive model of a node's changes and desired states.

use std::collections::{BTreeMap, BTreeSet};

use bcast_domain::{Tep, Vni};
use ctl_api::model::{
    Apply, Attachment, AttachmentFields, Batch, Change, Conditions, Difference, DomainEntry, DomainFields,
    Existing, Field, Havip, HavipFields, Name, Resource, Revision, SetResource, Target, TepEntry, TepRef,
    TepSet,
};
use tonic::{Code, Status};

/// Most attachments of a HAVIP.
const ATTACHMENTS: usize = 10;

/// A node's TEPs, domains and HAVIPs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    pub revision: u64,
    pub teps: BTreeMap<Tep, TepEntry>,
    /// Members are ascending.
    pub domains: BTreeMap<Vni, DomainEntry>,
    pub havips: BTreeMap<Name, Havip>,
}

/// Result of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub changed: u64,
    pub notes: Vec<String>,
}

type Refused = (Code, String);

fn refuse<T>(code: Code, words: String) -> Result<T, Refused> {
    Err((code, words))
}

impl Model {
    /// Commits all of the batch or nothing.
    pub fn commit(&mut self, batch: Batch) -> Result<Done, Status> {
        self.expect(&batch.conditions)?;
        let mut next = self.clone();
        let mut done = Done::default();
        for (position, change) in (1..).zip(batch.changes) {
            let before = next.clone();
            let mut notes = Vec::new();
            let refused = |(code, words)| Status::new(code, format!("change {position}: {words}"));
            next.change(change, &mut notes).map_err(refused)?;
            if let (true, Some(note)) = (batch.conditions.must_exist, notes.first()) {
                return Err(absent(format!("change {position}: {note}; nothing was changed")));
            }
            for (name, havip) in &next.havips {
                if before.havips.get(name) != Some(havip) {
                    next.check_havip(havip).map_err(refused)?;
                }
            }
            next.check().map_err(refused)?;
            done.notes.extend(notes.into_iter().map(|note| format!("change {position}: {note}")));
            done.changed += u64::from(before != next);
        }
        self.finish(next, done.changed > 0, &batch.conditions);
        Ok(done)
    }

    /// Commits the differences between a desired state and this one, and returns them. The refusal of an entry comes with its
    /// position.
    pub fn apply(&mut self, apply: Apply) -> Result<Vec<Difference>, (Option<usize>, Status)> {
        self.expect(&apply.conditions).map_err(|status| (None, status))?;
        let mut next = self.clone();
        let mut named = BTreeSet::new();
        for (position, resource) in (1..).zip(&apply.resources) {
            let key = match resource {
                SetResource::Tep(tep, _) => format!("TEP {tep}"),
                SetResource::Domain(vni, _) => format!("VNI {vni}"),
                SetResource::Havip(name, _) => format!("HAVIP {name}"),
            };
            let done = match named.insert(key.clone()) {
                true => next.set(resource.clone(), Existing::Any, apply.prune),
                false => refuse(Code::InvalidArgument, format!("{key} is named twice")),
            };
            done.map_err(|(code, words)| {
                (Some(position), Status::new(code, format!("entry {position}: {words}")))
            })?;
        }
        if apply.prune {
            next.teps.retain(|tep, _| named.contains(&format!("TEP {tep}")));
            next.domains.retain(|vni, _| named.contains(&format!("VNI {vni}")));
            next.havips.retain(|name, _| named.contains(&format!("HAVIP {name}")));
        }
        for (position, resource) in (1..).zip(&apply.resources) {
            if let SetResource::Havip(name, _) = resource {
                let refused =
                    |(code, words)| (Some(position), Status::new(code, format!("entry {position}: {words}")));
                next.check_havip(&next.havips[name]).map_err(refused)?;
            }
        }
        next.check().map_err(|(code, words)| (None, Status::new(code, words)))?;
        let differences = self.differences(&next);
        let removed = removed(&differences);
        let all = [self.domains.values().map(|domain| domain.members.len()).sum(), self.havips.len()];
        let confirmed = apply.conditions.confirmed;
        let confirmed = [confirmed.memberships, confirmed.havips];
        for (at, what) in ["memberships", "HAVIPs"].into_iter().enumerate() {
            let (removed, all): (usize, usize) = (removed[at], all[at]);
            if removed * 5 > all && removed as u64 > confirmed[at] {
                let words = format!(
                    "this removes {removed} of {all} {what}, over 20 %: nothing was changed; confirm"
                );
                return Err((None, unconfirmed(words)));
            }
        }
        self.finish(next, !differences.is_empty(), &apply.conditions);
        Ok(differences)
    }

    fn expect(&self, conditions: &Conditions) -> Result<(), Status> {
        match conditions.expected {
            Some(expected) if expected.get() != self.revision => {
                Err(Status::aborted(format!("the node is at revision {}", self.revision)))
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, mut next: Self, changed: bool, conditions: &Conditions) {
        let above = conditions.above.map_or(0, Revision::get);
        if changed || above > 0 && above >= next.revision {
            next.revision = next.revision.max(above) + 1;
        }
        if !conditions.dry_run {
            *self = next;
        }
    }

    fn change(&mut self, change: Change, notes: &mut Vec<String>) -> Result<(), Refused> {
        match change {
            Change::Set(set) => self.set(set.resource, set.existing, set.replace)?,
            Change::Delete { target: Target::Tep(tep), force } => match self.find(&tep) {
                Some(address) => self.delete_tep(address, &tep, force)?,
                None => notes.push(format!("tep {tep} is not registered")),
            },
            Change::Delete { target: Target::Domain(vni), force } => {
                if self.havips.values().any(|havip| havip.vni == vni) && !force {
                    return refuse(
                        Code::FailedPrecondition,
                        format!("domain {vni} has HAVIPs: --force removes them too"),
                    );
                }
                self.havips.retain(|_, havip| havip.vni != vni);
                if self.domains.remove(&vni).is_none() {
                    notes.push(format!("domain {vni} is not there"));
                }
            }
            Change::Delete { target: Target::Havip(name), .. } => {
                if self.havips.remove(&name).is_none() {
                    notes.push(format!("havip {name} is not there"));
                }
            }
            Change::Join { vni, teps } => {
                let teps = self.registered(&teps)?;
                let domain = self.domain(vni)?;
                domain.members.extend(teps);
                domain.members.sort_unstable();
                domain.members.dedup();
            }
            Change::Leave { vni, teps } => {
                for tep in teps.iter() {
                    let address = self.find(&tep);
                    let domain = self.domain(vni)?;
                    let before = domain.members.len();
                    domain.members.retain(|member| Some(*member) != address);
                    if domain.members.len() == before {
                        notes.push(format!("tep {tep} is not a member of domain {vni}"));
                    }
                }
            }
            Change::SetAttachment { havip, attachment } => {
                let attachment = self.attachment(*attachment)?;
                let havip = self.havip(&havip)?;
                havip.attachments.retain(|other| other.instance != attachment.instance);
                havip.attachments.push(attachment);
            }
            Change::DeleteAttachment { havip: name, instance } => {
                let havip = self.havip(&name)?;
                let before = havip.attachments.len();
                havip.attachments.retain(|attachment| attachment.instance != instance);
                if havip.attachments.len() == before {
                    notes.push(format!("havip {name}: {instance} is not attached"));
                }
            }
            Change::Unfreeze { havip } => {
                self.havip(&havip)?;
            }
            Change::SetGateway { vni, gateway } => {
                let gateways = &mut self.domain(vni)?.stated.gateways;
                gateways.retain(|other| other.address != gateway.address);
                gateways.push(gateway);
                gateways.sort_by_key(|gateway| gateway.address);
            }
            Change::DeleteGateway { vni, address } => {
                let gateways = &mut self.domain(vni)?.stated.gateways;
                let before = gateways.len();
                gateways.retain(|gateway| gateway.address != address);
                if gateways.len() == before {
                    notes.push(format!("{address} is no gateway of domain {vni}"));
                }
            }
        }
        self.havips.values_mut().for_each(Havip::sort);
        Ok(())
    }

    fn set(&mut self, resource: SetResource, existing: Existing, replace: bool) -> Result<(), Refused> {
        match resource {
            SetResource::Tep(tep, fields) => {
                let found = self.find(&tep);
                let address = match (found, &tep) {
                    (Some(found), _) => found,
                    (None, TepRef::Address(address)) if existing != Existing::Required => *address,
                    _ => return refuse(Code::NotFound, format!("tep {tep} is not registered: add it first")),
                };
                let entry = self.teps.remove(&address).unwrap_or(TepEntry::new(address));
                self.teps.insert(address, entry.with(&fields, replace));
            }
            SetResource::Domain(vni, fields) => self.set_domain(vni, fields, existing, replace)?,
            SetResource::Havip(name, fields) => self.set_havip(name, fields, existing, replace)?,
        }
        Ok(())
    }

    fn set_domain(
        &mut self,
        vni: Vni,
        fields: DomainFields,
        existing: Existing,
        replace: bool,
    ) -> Result<(), Refused> {
        if existing == Existing::Required {
            self.domain(vni)?;
        }
        let members = fields.members.as_ref().map(|members| self.once_each(members)).transpose()?;
        let had = self.domains.remove(&vni).unwrap_or(DomainEntry::new(vni));
        let mut domain = had.with(&fields, replace);
        match members {
            Some(members) => domain.members = members.into_iter().collect(),
            None if replace => domain.members.clear(),
            None => {}
        }
        self.domains.insert(vni, domain);
        Ok(())
    }

    fn set_havip(
        &mut self,
        name: Name,
        fields: HavipFields,
        existing: Existing,
        replace: bool,
    ) -> Result<(), Refused> {
        let had = self.havips.get(&name).cloned();
        let place = fields.place.or(had.as_ref().map(Havip::place));
        let none = || refuse(Code::NotFound, format!("there is no havip {name}"));
        if had.is_none() && existing == Existing::Required {
            return none();
        }
        let Some(place) = place else { return none() };
        if existing == Existing::Same && had.as_ref().is_some_and(|had| had.place() != place) {
            return refuse(Code::AlreadyExists, format!("havip {name} is there with another address"));
        }
        let had = had.unwrap_or(Havip::new(name.clone(), place));
        let had_eip = had.eip;
        if let (Existing::Same, Field::Value(eip), Some(other)) = (existing, fields.eip, had_eip)
            && eip != other
        {
            return refuse(Code::AlreadyExists, format!("havip {name} has EIP {other}"));
        }
        let attachments: Option<Result<_, _>> =
            fields.attachments.map(|all| all.into_iter().map(|a| self.attachment(a)).collect());
        let stays = |old| if replace { Vec::new() } else { old };
        let havip = Havip {
            attachments: attachments.transpose()?.unwrap_or_else(|| stays(had.attachments)),
            vrids: fields.vrids.unwrap_or(if replace { vec![] } else { had.vrids }),
            refresh_s: fields.refresh_s.over(had.refresh_s, replace),
            eip: fields.eip.over(had.eip, replace),
            group: fields.group.over(had.group, replace),
            ..Havip::new(name.clone(), place)
        };
        if existing == Existing::Required && had_eip.is_some() && havip.eip.is_some() && had_eip != havip.eip
        {
            return refuse(Code::InvalidArgument, format!("havip {name} has an EIP: unbind that first"));
        }
        self.havips.insert(name, havip);
        self.havips.values_mut().for_each(Havip::sort);
        Ok(())
    }

    /// True if the state is one that a node may have.
    fn check(&self) -> Result<(), Refused> {
        let mut names = BTreeSet::new();
        for name in self.teps.values().filter_map(|tep| tep.name.as_ref()) {
            if !names.insert(name) {
                return refuse(Code::AlreadyExists, format!("another tep has the name {name}"));
            }
        }
        let lost =
            self.domains.values().flat_map(|domain| &domain.members).find(|tep| !self.teps.contains_key(tep));
        if let Some(tep) = lost {
            return refuse(Code::NotFound, format!("tep {tep} is not registered: add it first"));
        }
        for havip in self.havips.values() {
            self.check_havip(havip)?;
        }
        Ok(())
    }

    fn check_havip(&self, havip: &Havip) -> Result<(), Refused> {
        havip.check().or_else(|error| refuse(Code::InvalidArgument, error.to_string()))?;
        if !self.domains.contains_key(&havip.vni) {
            return refuse(Code::NotFound, format!("there is no domain {}: create it first", havip.vni));
        }
        let count = havip.attachments.len();
        if count > ATTACHMENTS {
            return refuse(
                Code::InvalidArgument,
                format!("{count} attachments are over the limit of {ATTACHMENTS}"),
            );
        }
        for other in self.havips.values().filter(|other| other.name != havip.name) {
            if (other.vni, other.address) == (havip.vni, havip.address) {
                let (address, name) = (havip.address, &other.name);
                return refuse(Code::AlreadyExists, format!("address {address} is that of havip {name}"));
            }
            if havip.eip.is_some() && havip.eip == other.eip {
                return refuse(Code::AlreadyExists, format!("that EIP is bound to havip {}", other.name));
            }
        }
        Ok(())
    }

    fn delete_tep(&mut self, address: Tep, tep: &TepRef, force: bool) -> Result<(), Refused> {
        let attached =
            self.havips.values().flat_map(|havip| &havip.attachments).any(|a| a.teps.contains(&address));
        if !force && (attached || self.domains.values().any(|domain| domain.members.contains(&address))) {
            let words = format!("tep {tep} is a member of a domain: --force\ntakes it out");
            return refuse(Code::FailedPrecondition, words);
        }
        self.domains.values_mut().for_each(|domain| domain.members.retain(|member| *member != address));
        for havip in self.havips.values_mut() {
            havip.attachments.iter_mut().for_each(|a| a.teps.retain(|tep| *tep != address));
            havip.attachments.retain(|attachment| !attachment.teps.is_empty());
        }
        self.teps.remove(&address);
        Ok(())
    }

    fn domain(&mut self, vni: Vni) -> Result<&mut DomainEntry, Refused> {
        let found = self.domains.get_mut(&vni);
        found.ok_or_else(|| (Code::NotFound, format!("there is no domain {vni}: create it first")))
    }

    fn havip(&mut self, name: &Name) -> Result<&mut Havip, Refused> {
        self.havips.get_mut(name).ok_or_else(|| (Code::NotFound, format!("there is no havip {name}")))
    }

    fn attachment(
        &self,
        AttachmentFields { instance, mac, teps }: AttachmentFields,
    ) -> Result<Attachment, Refused> {
        Ok(Attachment { instance, mac, teps: self.once_each(&teps)?.into_iter().collect() })
    }

    /// The TEP that has that address or name.
    pub fn find(&self, tep: &TepRef) -> Option<Tep> {
        match tep {
            TepRef::Address(address) => self.teps.contains_key(address).then_some(*address),
            TepRef::Name(name) => {
                self.teps.values().find(|entry| entry.name.as_ref() == Some(name)).map(|entry| entry.address)
            }
        }
    }

    fn registered(&self, teps: &TepSet) -> Result<BTreeSet<Tep>, Refused> {
        let found = |tep: TepRef| {
            self.find(&tep)
                .ok_or_else(|| (Code::NotFound, format!("tep {tep} is not registered: add it first")))
        };
        teps.iter().map(found).collect()
    }

    /// The registered TEPs of a set that names each once.
    fn once_each(&self, teps: &TepSet) -> Result<BTreeSet<Tep>, Refused> {
        let found = self.registered(teps)?;
        match found.len() == teps.len() {
            true => Ok(found),
            false => refuse(Code::InvalidArgument, "a TEP stands there twice".to_owned()),
        }
    }

    fn differences(&self, next: &Self) -> Vec<Difference> {
        let teps = pairs(&self.teps, &next.teps, Resource::Tep);
        let domains = pairs(&self.domains, &next.domains, Resource::Domain);
        let havips = pairs(&self.havips, &next.havips, |havip| Resource::Havip(Box::new(havip)));
        [teps, domains, havips].concat()
    }
}

fn unconfirmed(words: String) -> Status {
    with_reason(Code::FailedPrecondition, "REMOVALS_UNCONFIRMED", words)
}

fn absent(words: String) -> Status {
    with_reason(Code::NotFound, "ABSENT", words)
}

fn with_reason(code: Code, reason: &str, words: String) -> Status {
    use tonic_types::{ErrorDetails, StatusExt};
    Status::with_error_details(code, words, ErrorDetails::with_error_info(reason, ctl_api::ERROR_DOMAIN, []))
}

fn pairs<K: Ord + Clone, T: Clone + PartialEq>(
    before: &BTreeMap<K, T>,
    after: &BTreeMap<K, T>,
    resource: impl Fn(T) -> Resource,
) -> Vec<Difference> {
    let keys: BTreeSet<&K> = before.keys().chain(after.keys()).collect();
    let differs = keys.into_iter().filter(|key| before.get(key) != after.get(key));
    let difference = |key: &K| Difference {
        before: before.get(key).cloned().map(&resource),
        after: after.get(key).cloned().map(&resource),
    };
    differs.map(difference).collect()
}

/// Memberships of one side of a difference that are not on the other.
pub fn leaves(one: &Option<Resource>, other: &Option<Resource>) -> usize {
    let members = |side: &Option<Resource>| match side {
        Some(Resource::Domain(domain)) => domain.members.clone(),
        _ => Vec::new(),
    };
    let stay = members(other);
    members(one).iter().filter(|tep| !stay.contains(tep)).count()
}

/// Memberships and HAVIPs that go.
fn removed(differences: &[Difference]) -> [usize; 2] {
    let memberships = differences.iter().map(|d| leaves(&d.before, &d.after)).sum();
    let gone = |d: &&Difference| matches!(d.before, Some(Resource::Havip(_))) && d.after.is_none();
    [memberships, differences.iter().filter(gone).count()]
}
