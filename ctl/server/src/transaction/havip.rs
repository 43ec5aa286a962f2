//! HAVIPs in a transaction: changes of them, of their bindings, and of who holds which address.
//!
//! A binding changes here only where a change takes the holder away, or states where it went. All else is for
//! [`crate::machines`].

use std::net::IpAddr;

use bcast_domain::limits::{MAX_ANNOUNCERS, MAX_VIPS};
use bcast_domain::{Tep, Vni};
use ctl_api::model::{
    Attachment, AttachmentFields, Binding, Existing, Field, Havip, HavipEntry, HavipEvent, HavipEventKind,
    HavipFields, HavipState, Holder, Name, TepRef, Why,
};
use hashbrown::HashSet;

use super::claims::{Claims, Conflict};
use super::domain::twice;
use super::write_set::{Prepare, WriteSet};
use super::{Effect, Totals, Transaction};
use crate::havips::{announcers, teps};
use crate::refusal::Problem;

/// HAVIPs that are prepared.
#[derive(Debug, Default)]
pub(super) struct Havips {
    /// Entries by name; `None`: not there.
    pub entries: WriteSet<Name, Option<HavipEntry>>,
    /// HAVIPs by address.
    addresses: Claims<(Vni, IpAddr), Name>,
    /// HAVIPs by EIP.
    eips: Claims<IpAddr, Name>,
    /// Number of HAVIPs of a domain.
    domains: WriteSet<Vni, u32>,
    /// Number of HAVIPs of a domain that an instance is attached to.
    instances: WriteSet<(Vni, Name), u32>,
    /// Number of HAVIPs with attachments on a TEP.
    teps: WriteSet<Tep, u32>,
    /// Events of the request under way, in their order. Generation and time are set at its end.
    pub events: Vec<HavipEvent>,
}

impl Havips {
    /// Two HAVIPs with one address in one domain.
    pub fn address_conflict(&self) -> Option<(usize, Problem)> {
        let Conflict { key: (vni, address), holder, position } = self.addresses.conflict()?;
        Some((position, Problem::AddressTaken { vni, address, holder }))
    }

    /// Two HAVIPs with one EIP.
    pub fn eip_conflict(&self) -> Option<(usize, Problem)> {
        let Conflict { key: eip, holder, position } = self.eips.conflict()?;
        Some((position, Problem::EipTaken { eip, holder }))
    }
}

impl Prepare for Havips {
    fn end(&mut self, keep: bool) {
        let Self { entries, addresses, eips, domains, instances, teps, events } = self;
        let sets: [&mut dyn Prepare; 6] = [entries, addresses, eips, domains, instances, teps];
        sets.into_iter().for_each(|set| set.end(keep));
        events.clear();
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
    pub(super) fn set_havip(
        &mut self,
        name: &Name,
        fields: &HavipFields,
        existing: Existing,
        replace: bool,
    ) -> Result<Effect, Problem> {
        let old = self.havip_entry(name).cloned();
        let place = match (fields.place, &old) {
            (Some(place), Some(HavipEntry { havip, .. }))
                if existing == Existing::Same && havip.place() != place =>
            {
                let Havip { vni, address, .. } = *havip;
                return Err(Problem::HavipThere { name: name.clone(), vni, address });
            }
            (None, None) => return Err(Problem::NoHavip(name.clone())),
            (_, None) if existing == Existing::Required => return Err(Problem::NoHavip(name.clone())),
            (Some(place), _) => place,
            (None, Some(old)) => old.havip.place(),
        };
        if let (Existing::Same, Field::Value(eip), Some(HavipEntry { havip, .. })) =
            (existing, &fields.eip, &old)
            && let Some(other) = havip.eip.filter(|other| other != eip)
        {
            return Err(Problem::HasEip { name: name.clone(), eip: other });
        }
        let mut havip = old.as_ref().map_or_else(|| Havip::new(name.clone(), place), |old| old.havip.clone());
        (havip.vni, havip.subnet, havip.address) = (place.vni, place.subnet, place.address);
        havip.refresh_s = fields.refresh_s.over(havip.refresh_s, replace);
        havip.eip = fields.eip.over(havip.eip, replace);
        havip.group = fields.group.over(havip.group, replace);
        match &fields.vrids {
            Some(vrids) => havip.vrids.clone_from(vrids),
            None if replace => havip.vrids.clear(),
            None => {}
        }
        match &fields.attachments {
            Some(attachments) => {
                let all = attachments.iter().map(|attachment| self.attachment(attachment));
                havip.attachments = all.collect::<Result<_, Problem>>()?;
            }
            None if replace => havip.attachments.clear(),
            None => {}
        }
        havip.sort();
        self.replace_havip(old, havip)
    }

    /// The attachment with its TEPs resolved.
    fn attachment(
        &self,
        AttachmentFields { instance, mac, teps }: &AttachmentFields,
    ) -> Result<Attachment, Problem> {
        let mut teps = self.registered(teps)?;
        teps.sort_unstable();
        if let Some(tep) = twice(&teps) {
            return Err(Problem::Twice(format!("TEP {tep} of instance {instance}")));
        }
        Ok(Attachment { instance: instance.clone(), mac: *mac, teps })
    }

    /// Replaces a HAVIP with a sorted one. At another address it has no holder yet.
    fn replace_havip(&mut self, old: Option<HavipEntry>, havip: Havip) -> Result<Effect, Problem> {
        let Some(old) = old else {
            let binding = Binding::unbound(self.unix_ms);
            return self.put_havip(HavipEntry { havip, binding });
        };
        let stays = (old.havip.vni, old.havip.address) == (havip.vni, havip.address);
        let mut entry = HavipEntry { havip, binding: old.binding.clone() };
        if stays {
            self.follow_holder(&mut entry, Why::Detached);
        } else {
            // It is another address: whoever routes to the old one has to stop.
            self.push_event(&old, HavipEventKind::Removed, Why::Changed);
            let Binding { moves, .. } = old.binding;
            let (previous, why) = (old.binding.holder.clone(), Some(Why::Changed));
            entry.binding = Binding { moves, previous, why, ..Binding::unbound(self.unix_ms) };
        }
        self.put_havip(entry)
    }

    pub(super) fn delete_havip(&mut self, name: &Name) -> Effect {
        if self.remove_havip(name, Why::Removed) { Effect::CHANGED } else { absent(name) }
    }

    pub(super) fn set_attachment(
        &mut self,
        name: &Name,
        fields: &AttachmentFields,
    ) -> Result<Effect, Problem> {
        let mut entry = self.havip_entry(name).cloned().ok_or_else(|| Problem::NoHavip(name.clone()))?;
        let attachment = self.attachment(fields)?;
        let attachments = &mut entry.havip.attachments;
        attachments.retain(|attachment| attachment.instance != fields.instance);
        attachments.push(attachment);
        entry.havip.sort();
        self.follow_holder(&mut entry, Why::Detached);
        self.put_havip(entry)
    }

    pub(super) fn delete_attachment(&mut self, name: &Name, instance: &Name) -> Result<Effect, Problem> {
        let Some(mut entry) = self.havip_entry(name).cloned() else { return Ok(absent(name)) };
        if entry.havip.attachment(instance).is_none() {
            return Ok(Effect::absent(format!("instance {instance} is not attached to HAVIP {name}")));
        }
        entry.havip.attachments.retain(|attachment| attachment.instance != *instance);
        self.follow_holder(&mut entry, Why::Detached);
        self.put_havip(entry)
    }

    pub(super) fn unfreeze(&mut self, name: &Name) -> Result<Effect, Problem> {
        let mut entry = self.havip_entry(name).cloned().ok_or_else(|| Problem::NoHavip(name.clone()))?;
        if entry.binding.state != HavipState::Frozen {
            return Ok(Effect::absent(format!("HAVIP {name} is not frozen")));
        }
        let bound = entry.binding.holder.is_some();
        entry.binding.state = if bound { HavipState::Bound } else { HavipState::Unbound };
        self.record_change(&mut entry, HavipEventKind::Thawed, Why::Unfrozen);
        self.put_havip(entry)
    }
}

/// HAVIPs that change or go with a TEP or a domain.
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

    pub(super) fn delete_havips_of(&mut self, vni: Vni) {
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
                self.record_change(entry, HavipEventKind::Moved, Why::Migrated);
            }
            _ => {
                entry.binding.previous = entry.binding.holder.take();
                (entry.binding.state, entry.binding.tags) = (HavipState::Unbound, None);
                self.record_change(entry, HavipEventKind::Unbound, why);
            }
        }
    }

    fn record_change(&mut self, entry: &mut HavipEntry, kind: HavipEventKind, why: Why) {
        entry.binding.why = Some(why);
        entry.binding.since_unix_ms = self.unix_ms;
        self.push_event(entry, kind, why);
    }

    fn push_event(&mut self, entry: &HavipEntry, kind: HavipEventKind, why: Why) {
        let event = HavipEvent { why: Some(why), ..HavipEvent::of(entry, kind, self.unix_ms) };
        self.havips.events.push(event);
    }

    /// False where it was not there.
    pub(super) fn remove_havip(&mut self, name: &Name, why: Why) -> bool {
        let Some(mut entry) = self.havip_entry(name).cloned() else { return false };
        self.list_havip(Some(&entry.havip), None);
        *self.havips.entries.edit(name.clone(), || None) = None;
        // Nobody holds it any more.
        entry.binding.previous = entry.binding.holder.take().or(entry.binding.previous.take());
        self.push_event(&entry, HavipEventKind::Removed, why);
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
        let (old, new) = (old.as_ref().map(|old| &old.havip), &entry.havip);
        self.check_havip(new)?;
        new.check_subnet(old.map(|old| old.subnet))?;
        self.list_havip(old, Some(new));
        self.check_limits(new, old)?;
        self.check_numbers(new)?;
        self.insert_havip(entry);
        Ok(Effect::CHANGED)
    }

    /// Checks a HAVIP by itself, and that its domain and TEPs are there.
    pub(super) fn check_havip(&self, havip: &Havip) -> Result<(), Problem> {
        havip.check()?;
        if !self.domain_exists(havip.vni) {
            return Err(Problem::NoDomain(havip.vni));
        }
        if let Some(&tep) = teps(havip).iter().find(|&&tep| !self.is_registered(tep)) {
            return Err(Problem::Unregistered(TepRef::Address(tep)));
        }
        self.check_eip(havip)
    }

    pub(super) fn insert_havip(&mut self, entry: HavipEntry) {
        let name = entry.havip.name.clone();
        *self.havips.entries.edit(name, || None) = Some(entry);
    }

    /// All HAVIPs, in any order.
    pub(super) fn all_havips(&self) -> Vec<Name> {
        let base = self.state.havips.iter().map(|row| &row.entry.havip.name);
        let base = base.filter(|name| self.havips.entries.get(name).is_none());
        let prepared = self.havips.entries.iter().filter(|(_, entry)| entry.is_some()).map(|(name, _)| name);
        base.chain(prepared).cloned().collect()
    }

    /// The HAVIP whose EIP this is.
    pub(super) fn havip_with_eip(&self, eip: IpAddr) -> Option<Name> {
        self.havips.eips.get(&eip, || self.state.havips.with_eip(eip).cloned())
    }

    /// An EIP is no address of the underlay.
    fn check_eip(&self, havip: &Havip) -> Result<(), Problem> {
        if let Some(eip @ IpAddr::V4(v4)) = havip.eip
            && let Ok(tep) = Tep::new(v4)
            && (self.is_registered(tep) || self.node.tep_allowed(tep).is_err())
        {
            return Err(Problem::EipOfUnderlay(eip));
        }
        Ok(())
    }

    /// No limit is passed by what is more than before; what was there before a limit was lowered stays.
    fn check_limits(&self, havip: &Havip, old: Option<&Havip>) -> Result<(), Problem> {
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
        Ok(())
    }

    /// There are numbers for all HAVIPs and announcers.
    pub(super) fn check_numbers(&self, havip: &Havip) -> Result<(), Problem> {
        match self.totals {
            Totals { vips, announcers, .. } if vips > MAX_VIPS || announcers > MAX_ANNOUNCERS => {
                Err(Problem::Numbers(havip.name.clone()))
            }
            _ => Ok(()),
        }
    }

    fn havips_of_instance(&self, vni: Vni, instance: &Name) -> u32 {
        let base = || self.state.havips.of_instance(vni, instance);
        self.havips.instances.get(&(vni, instance.clone())).copied().unwrap_or_else(base)
    }

    /// Notes in all indexes that a HAVIP is `new` where it was `old`.
    pub(super) fn list_havip(&mut self, old: Option<&Havip>, new: Option<&Havip>) {
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
        let (place, position) = ((*vni, *address), self.position);
        let holder = || state.havips.at(*vni, *address).cloned();
        match listed {
            true => self.havips.addresses.take(&place, name.clone(), position, holder),
            false => self.havips.addresses.release(&place, name, holder),
        }
        if let Some(eip) = eip {
            let holder = || state.havips.with_eip(*eip).cloned();
            match listed {
                true => self.havips.eips.take(eip, name.clone(), position, holder),
                false => self.havips.eips.release(eip, name, holder),
            }
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
