//! HAVIPs: what a change makes of them, of their bindings, and of who holds what.
//!
//! A binding changes here only where a change takes the holder away, or states where it went. All else is for
//! [`crate::machines`].

use std::net::IpAddr;

use bcast_domain::limits::{MAX_ANNOUNCERS, MAX_VIPS};
use bcast_domain::{Mac, Tep, Vni};
use ctl_api::model::{
    Attachment, Binding, Change, HappeningKind, Havip, HavipEntry, HavipEvent, HavipState, Holder, Name,
    Subnet, TepRef, Why,
};
use hashbrown::HashSet;

use super::{Effect, Transaction};
use crate::havips::{announcers, teps};
use crate::refusal::Problem;
use crate::write_set::WriteSet;

/// What is prepared of HAVIPs.
#[derive(Debug, Default)]
pub(super) struct Havips {
    /// By name; `None`: not there.
    pub entries: WriteSet<Name, Option<HavipEntry>>,
    /// Whose an address is.
    addresses: WriteSet<(Vni, IpAddr), Option<Name>>,
    /// Whose an EIP is.
    eips: WriteSet<IpAddr, Option<Name>>,
    /// How many HAVIPs a domain has.
    domains: WriteSet<Vni, u32>,
    /// To how many HAVIPs of a domain an instance is attached.
    instances: WriteSet<(Vni, Name), u32>,
    /// How many HAVIPs have attachments on a TEP.
    teps: WriteSet<Tep, u32>,
    /// What the batch under way makes happen, in its order. Generation and time are set at its end.
    pub events: Vec<HavipEvent>,
}

impl Havips {
    pub fn keep(&mut self) {
        self.entries.keep();
        self.addresses.keep();
        self.eips.keep();
        self.domains.keep();
        self.instances.keep();
        self.teps.keep();
        self.events.clear();
    }

    pub fn take_back(&mut self) {
        self.entries.take_back();
        self.addresses.take_back();
        self.eips.take_back();
        self.domains.take_back();
        self.instances.take_back();
        self.teps.take_back();
        self.events.clear();
    }
}

fn count<T>(items: impl ExactSizeIterator<Item = T>) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}

fn absent(name: &Name) -> Effect {
    Effect::absent(format!("HAVIP {name} does not exist"))
}

/// The changes.
impl Transaction<'_> {
    pub(super) fn havip(&mut self, change: &Change) -> Result<Effect, Problem> {
        match change {
            Change::HavipCreate { name, vni, subnet, address, vrids, refresh_s } => {
                self.havip_create(name, *vni, (*subnet, *address), vrids, *refresh_s)
            }
            Change::HavipSet(havip) => self.havip_set(havip),
            Change::HavipRemove { name } => Ok(self.havip_remove(name)),
            Change::HavipAttach { name, instance, mac, teps } => {
                self.havip_attach(name, instance, *mac, teps)
            }
            Change::HavipDetach { name, instance } => self.havip_detach(name, instance),
            Change::HavipBindEip { name, eip } => self.havip_bind_eip(name, *eip),
            Change::HavipUnbindEip { name } => self.havip_unbind_eip(name),
            Change::HavipUnfreeze { name } => self.havip_unfreeze(name),
            // Whatever is not about a HAVIP does not come here.
            _ => Ok(Effect::NOTHING),
        }
    }

    fn havip_create(
        &mut self,
        name: &Name,
        vni: Vni,
        (subnet, address): (Subnet, IpAddr),
        vrids: &[u8],
        refresh_s: Option<u32>,
    ) -> Result<Effect, Problem> {
        let mut entry = match self.havip_entry(name).cloned() {
            Some(entry) => {
                let Havip { vni: had_vni, subnet: had_subnet, address: had, .. } = entry.havip;
                if (had_vni, had_subnet, had) != (vni, subnet, address) {
                    return Err(Problem::HavipThere { name: name.clone(), vni: had_vni, address: had });
                }
                entry
            }
            None => HavipEntry {
                havip: Havip {
                    name: name.clone(),
                    vni,
                    subnet,
                    address,
                    attachments: Vec::new(),
                    vrids: Vec::new(),
                    refresh_s: None,
                    eip: None,
                },
                binding: Binding::unbound(self.unix_ms),
            },
        };
        if !vrids.is_empty() {
            entry.havip.vrids = vrids.to_vec();
        }
        entry.havip.refresh_s = refresh_s.or(entry.havip.refresh_s);
        self.put_havip(entry)
    }

    fn havip_set(&mut self, havip: &Havip) -> Result<Effect, Problem> {
        let mut havip = havip.clone();
        havip.sort();
        let Some(old) = self.havip_entry(&havip.name).cloned() else {
            let binding = Binding::unbound(self.unix_ms);
            return self.put_havip(HavipEntry { havip, binding });
        };
        let stays = (old.havip.vni, old.havip.address) == (havip.vni, havip.address);
        let mut entry = HavipEntry { havip, binding: old.binding.clone() };
        if stays {
            self.follow_holder(&mut entry, Why::Detached);
        } else {
            // It is another address: whoever routes to the old one has to stop.
            self.told(&old, HappeningKind::Removed, Why::Changed);
            let Binding { moves, .. } = old.binding;
            let (previous, why) = (old.binding.holder.clone(), Some(Why::Changed));
            entry.binding = Binding { moves, previous, why, ..Binding::unbound(self.unix_ms) };
        }
        self.put_havip(entry)
    }

    fn havip_remove(&mut self, name: &Name) -> Effect {
        if self.remove_havip(name, Why::Removed) { Effect::CHANGED } else { absent(name) }
    }

    fn havip_attach(
        &mut self,
        name: &Name,
        instance: &Name,
        mac: Mac,
        teps: &[TepRef],
    ) -> Result<Effect, Problem> {
        let mut entry = self.havip_entry(name).cloned().ok_or_else(|| Problem::NoHavip(name.clone()))?;
        let teps = teps.iter().map(|tep| self.member(tep)).collect::<Result<Vec<Tep>, Problem>>()?;
        let attachments = &mut entry.havip.attachments;
        attachments.retain(|attachment| attachment.instance != *instance);
        attachments.push(Attachment { instance: instance.clone(), mac, teps });
        entry.havip.sort();
        self.follow_holder(&mut entry, Why::Detached);
        self.put_havip(entry)
    }

    fn havip_detach(&mut self, name: &Name, instance: &Name) -> Result<Effect, Problem> {
        let Some(mut entry) = self.havip_entry(name).cloned() else { return Ok(absent(name)) };
        if entry.havip.attachment(instance).is_none() {
            return Ok(Effect::absent(format!("instance {instance} is not attached to HAVIP {name}")));
        }
        entry.havip.attachments.retain(|attachment| attachment.instance != *instance);
        self.follow_holder(&mut entry, Why::Detached);
        self.put_havip(entry)
    }

    fn havip_bind_eip(&mut self, name: &Name, eip: IpAddr) -> Result<Effect, Problem> {
        let mut entry = self.havip_entry(name).cloned().ok_or_else(|| Problem::NoHavip(name.clone()))?;
        if let Some(had) = entry.havip.eip.filter(|had| *had != eip) {
            return Err(Problem::HasEip { name: name.clone(), eip: had });
        }
        entry.havip.eip = Some(eip);
        self.put_havip(entry)
    }

    fn havip_unbind_eip(&mut self, name: &Name) -> Result<Effect, Problem> {
        let Some(mut entry) = self.havip_entry(name).cloned() else { return Ok(absent(name)) };
        match entry.havip.eip.take() {
            Some(_) => self.put_havip(entry),
            None => Ok(Effect::absent(format!("HAVIP {name} has no EIP"))),
        }
    }

    fn havip_unfreeze(&mut self, name: &Name) -> Result<Effect, Problem> {
        let mut entry = self.havip_entry(name).cloned().ok_or_else(|| Problem::NoHavip(name.clone()))?;
        if entry.binding.state != HavipState::Frozen {
            return Ok(Effect::absent(format!("HAVIP {name} is not frozen")));
        }
        let bound = entry.binding.holder.is_some();
        entry.binding.state = if bound { HavipState::Bound } else { HavipState::Unbound };
        self.turned(&mut entry, HappeningKind::Thawed, Why::Unfrozen);
        self.put_havip(entry)
    }
}

/// What goes with a TEP or a domain.
impl Transaction<'_> {
    /// Takes a TEP out of all attachments; those without any TEP left are gone.
    pub(super) fn detach_all(&mut self, tep: Tep) -> Result<(), Problem> {
        let on_tep = |entry: &HavipEntry| teps(&entry.havip).contains(&tep);
        for name in self.havips_where(self.state.havips.on_tep(tep), on_tep) {
            let Some(mut entry) = self.havip_entry(&name).cloned() else { continue };
            for attachment in &mut entry.havip.attachments {
                attachment.teps.retain(|other| *other != tep);
            }
            entry.havip.attachments.retain(|attachment| !attachment.teps.is_empty());
            self.follow_holder(&mut entry, Why::TepRemoved);
            self.put_havip(entry)?;
        }
        Ok(())
    }

    pub(super) fn remove_havips_of(&mut self, vni: Vni) {
        let of_domain = |entry: &HavipEntry| entry.havip.vni == vni;
        for name in self.havips_where(self.state.havips.of_domain(vni), of_domain) {
            self.remove_havip(&name, Why::DomainRemoved);
        }
    }

    /// The names, in their order, of those HAVIPs of which this is so: `base` are those of the state.
    fn havips_where(
        &self,
        base: impl Iterator<Item = bcast_domain::VipId>,
        is_so: impl Fn(&HavipEntry) -> bool,
    ) -> Vec<Name> {
        let base = base.filter_map(|id| self.state.havips.get(id)).map(|held| &held.entry.havip.name);
        let mut names: HashSet<Name> = base.cloned().collect();
        names.retain(|name| self.havip_entry(name).is_some_and(&is_so));
        let prepared = self.havips.entries.iter().filter(|(_, entry)| entry.as_ref().is_some_and(&is_so));
        names.extend(prepared.map(|(name, _)| name.clone()));
        let mut names: Vec<Name> = names.into_iter().collect();
        names.sort_unstable();
        names
    }

    pub(super) fn havips_of_domain(&self, vni: Vni) -> u32 {
        let base = || count(self.state.havips.of_domain(vni));
        self.havips.domains.get(&vni).copied().unwrap_or_else(base)
    }

    pub(super) fn havips_on_tep(&self, tep: Tep) -> u32 {
        let base = || count(self.state.havips.on_tep(tep));
        self.havips.teps.get(&tep).copied().unwrap_or_else(base)
    }
}

/// Bindings.
impl Transaction<'_> {
    /// After other attachments: the holder stays where it is attached, goes along where it is attached at one other TEP
    /// alone, and else is none; `why` then says why.
    fn follow_holder(&mut self, entry: &mut HavipEntry, why: Why) {
        let Some(holder) = entry.binding.holder.clone() else { return };
        let attachment = entry.havip.attachment(&holder.instance).filter(|now| now.mac == holder.mac);
        match attachment.map(|attachment| attachment.teps.as_slice()) {
            Some(teps) if teps.contains(&holder.tep) => {}
            Some(&[tep]) if why != Why::TepRemoved => {
                entry.binding.previous = Some(holder.clone());
                entry.binding.holder = Some(Holder { tep, ..holder });
                entry.binding.moves += 1;
                self.turned(entry, HappeningKind::Moved, Why::Migrated);
            }
            _ => {
                entry.binding.previous = entry.binding.holder.take();
                entry.binding.state = HavipState::Unbound;
                self.turned(entry, HappeningKind::Unbound, why);
            }
        }
    }

    fn turned(&mut self, entry: &mut HavipEntry, kind: HappeningKind, why: Why) {
        entry.binding.why = Some(why);
        entry.binding.since_unix_ms = self.unix_ms;
        self.told(entry, kind, why);
    }

    fn told(&mut self, entry: &HavipEntry, kind: HappeningKind, why: Why) {
        let happening = HavipEvent { why: Some(why), ..HavipEvent::of(entry, kind, self.unix_ms) };
        self.havips.events.push(happening);
    }

    /// False where it was not there.
    fn remove_havip(&mut self, name: &Name, why: Why) -> bool {
        let Some(mut entry) = self.havip_entry(name).cloned() else { return false };
        self.list_havip(Some(&entry.havip), None);
        *self.havips.entries.edit(name.clone(), || None) = None;
        // Nobody holds it any more.
        entry.binding.previous = entry.binding.holder.take().or(entry.binding.previous.take());
        self.told(&entry, HappeningKind::Removed, why);
        true
    }
}

/// Staging proper.
impl Transaction<'_> {
    pub(super) fn havip_entry(&self, name: &Name) -> Option<&HavipEntry> {
        match self.havips.entries.get(name) {
            Some(prepared) => prepared.as_ref(),
            None => self.state.havips.entry(name),
        }
    }

    /// Creates a HAVIP or replaces it, if it may be as it is now.
    fn put_havip(&mut self, entry: HavipEntry) -> Result<Effect, Problem> {
        let old = self.havip_entry(&entry.havip.name).cloned();
        if old.as_ref() == Some(&entry) {
            return Ok(Effect::NOTHING);
        }
        let HavipEntry { havip, .. } = &entry;
        havip.check()?;
        if !self.domain_is_there(havip.vni) {
            return Err(Problem::NoDomain(havip.vni));
        }
        if let Some(&tep) = teps(havip).iter().find(|&&tep| !self.is_registered(tep)) {
            return Err(Problem::Unregistered(TepRef::Address(tep)));
        }
        self.check_taken(havip)?;
        self.list_havip(old.as_ref().map(|old| &old.havip), Some(havip));
        self.check_counts(havip, old.as_ref().map(|old| &old.havip))?;
        let state = self.state;
        let name = entry.havip.name.clone();
        *self.havips.entries.edit(name.clone(), || state.havips.entry(&name).cloned()) = Some(entry);
        Ok(Effect::CHANGED)
    }

    /// The HAVIP whose EIP this is.
    pub(super) fn havip_with_eip(&self, eip: IpAddr) -> Option<Name> {
        let prepared = self.havips.eips.get(&eip);
        prepared.map_or_else(|| self.state.havips.with_eip(eip), Option::as_ref).cloned()
    }

    /// Neither address nor EIP is another's.
    fn check_taken(&self, havip: &Havip) -> Result<(), Problem> {
        let Havip { name, vni, address, eip, .. } = havip;
        let prepared = self.havips.addresses.get(&(*vni, *address));
        let holder = prepared.map_or_else(|| self.state.havips.at(*vni, *address), Option::as_ref);
        if let Some(holder) = holder.filter(|holder| *holder != name) {
            return Err(Problem::AddressTaken { vni: *vni, address: *address, holder: holder.clone() });
        }
        let Some(eip) = *eip else { return Ok(()) };
        if let IpAddr::V4(v4) = eip
            && let Ok(tep) = Tep::new(v4)
            && (self.registered(tep).is_some() || self.node.tep_allowed(tep).is_err())
        {
            return Err(Problem::EipOfUnderlay(eip));
        }
        match self.havip_with_eip(eip) {
            Some(holder) if holder != *name => Err(Problem::EipTaken { eip, holder }),
            _ => Ok(()),
        }
    }

    /// No limit is passed by what is more than before; what was there before a limit was lowered stays.
    fn check_counts(&self, havip: &Havip, old: Option<&Havip>) -> Result<(), Problem> {
        let limits = self.state.havip_limits;
        let Havip { name, vni, attachments, .. } = havip;
        let of_domain = self.havips_of_domain(*vni);
        if old.is_none_or(|old| old.vni != *vni) && of_domain > limits.per_vni {
            return Err(Problem::HavipsOfDomain { name: name.clone(), vni: *vni, most: limits.per_vni });
        }
        if old.is_none() && self.totals.havips > limits.total as usize {
            return Err(Problem::Havips { name: name.clone(), most: limits.total });
        }
        let before = old.map_or(0, |old| old.attachments.len());
        if attachments.len() > before && attachments.len() > limits.attachments as usize {
            let (name, count) = (name.clone(), attachments.len());
            return Err(Problem::Attachments { name, count, most: limits.attachments });
        }
        for Attachment { instance, .. } in attachments {
            let is_new = old.is_none_or(|old| old.vni != *vni || old.attachment(instance).is_none());
            let count = self.havips_of_instance(*vni, instance);
            if is_new && count > limits.per_instance {
                let (instance, most) = (instance.clone(), limits.per_instance);
                return Err(Problem::HavipsOfInstance { instance, vni: *vni, count, most });
            }
        }
        if self.totals.announcers > MAX_ANNOUNCERS || self.totals.vips > MAX_VIPS {
            return Err(Problem::Numbers(name.clone()));
        }
        Ok(())
    }

    fn havips_of_instance(&self, vni: Vni, instance: &Name) -> u32 {
        let base = || self.state.havips.of_instance(vni, instance);
        self.havips.instances.get(&(vni, instance.clone())).copied().unwrap_or_else(base)
    }

    /// Notes in all indexes that a HAVIP is `new` where it was `old`.
    fn list_havip(&mut self, old: Option<&Havip>, new: Option<&Havip>) {
        for (havip, listed) in old.map(|old| (old, false)).into_iter().chain(new.map(|new| (new, true))) {
            self.list_one(havip, listed);
        }
        self.totals.havips = self.totals.havips + usize::from(new.is_some()) - usize::from(old.is_some());
        // A number that is given back within the group is free only after it.
        let Some(new) = new else { return };
        let stays = old.filter(|old| (old.vni, old.address) == (new.vni, new.address));
        self.totals.vips += usize::from(stays.is_none());
        let had: Vec<Holder> = stays.into_iter().flat_map(announcers).collect();
        self.totals.announcers += announcers(new).filter(|announcer| !had.contains(announcer)).count();
    }

    fn list_one(&mut self, havip: &Havip, listed: bool) {
        let state = self.state;
        let Havip { name, vni, address, attachments, eip, .. } = havip;
        let whose = listed.then(|| name.clone());
        *self.havips.addresses.edit((*vni, *address), || None) = whose.clone();
        if let Some(eip) = *eip {
            *self.havips.eips.edit(eip, || None) = whose;
        }
        let add = |count: &mut u32| *count = if listed { *count + 1 } else { count.saturating_sub(1) };
        add(self.havips.domains.edit(*vni, || count(state.havips.of_domain(*vni))));
        for Attachment { instance, .. } in attachments {
            let key = (*vni, instance.clone());
            add(self.havips.instances.edit(key, || state.havips.of_instance(*vni, instance)));
        }
        for tep in teps(havip) {
            add(self.havips.teps.edit(tep, || count(state.havips.on_tep(tep))));
        }
    }
}
