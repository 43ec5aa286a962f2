//! The HAVIPs as the node knows them: by name, address, EIP and TEP, with the numbers that workers go by.
//!
//! A HAVIP's number stays while its address does; that of an announcer (an attached instance at one of its TEPs) while
//! MAC and TEP do. So what was heard of an announcer is never taken for what another said.

use std::net::IpAddr;

use bcast_domain::limits::{MAX_ANNOUNCERS, MAX_VIPS};
use bcast_domain::{
    AnnouncementBoard, Announcer, AnnouncerId, Epoch, Grace, LastAnnounced, Mac, Tep, TepIndex, Vip, VipId,
    Vni,
};
use ctl_api::model::{Attachment, Havip, HavipEntry, Holder, Name};
use hashbrown::{HashMap, HashSet};

use crate::ids::Ids;

/// A HAVIP of this node.
#[derive(Debug)]
pub(crate) struct HavipRow {
    pub id: VipId,
    pub entry: HavipEntry,
    /// Announcers, in the order of attachments and TEPs.
    pub announcers: Vec<NamedAnnouncer>,
}

/// One that may announce a HAVIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedAnnouncer {
    pub id: AnnouncerId,
    /// Instance, MAC address and TEP.
    pub identity: Holder,
}

impl HavipRow {
    /// Instance, MAC address and TEP of an announcer.
    pub fn identity(&self, announcer: AnnouncerId) -> Option<&Holder> {
        self.announcers.iter().find(|named| named.id == announcer).map(|named| &named.identity)
    }

    /// Announcer that holds the address.
    pub fn holder(&self) -> Option<AnnouncerId> {
        let holder = self.entry.binding.holder.as_ref()?;
        self.announcers.iter().find(|named| named.identity == *holder).map(|named| named.id)
    }
}

/// All HAVIPs.
#[derive(Debug)]
pub(crate) struct Havips {
    /// HAVIPs by number.
    held: Vec<Option<Box<HavipRow>>>,
    by_name: HashMap<Name, VipId>,
    by_address: HashMap<(Vni, IpAddr), VipId>,
    by_eip: HashMap<IpAddr, VipId>,
    by_vni: HashMap<Vni, HashSet<VipId>>,
    by_tep: HashMap<Tep, HashSet<VipId>>,
    /// Announcers of one instance at one TEP, of all HAVIPs of a domain.
    by_announcer: HashMap<(Vni, Mac, Tep), Vec<AnnouncerId>>,
    /// Count of HAVIPs to which an instance is attached.
    by_instance: HashMap<(Vni, Name), u32>,
    vips: Ids,
    announcers: Ids,
    /// Given back since the last [`Havips::let_go`].
    gone: (Vec<u32>, Vec<u32>),
    /// Domains whose VIP table is not what is published.
    stale: HashSet<Vni>,
    /// HAVIPs that are new, gone or other than they were, since they were last [taken](Havips::take_changed).
    changed: HashSet<VipId>,
}

/// The TEPs of all attachments, each once.
pub(crate) fn teps(havip: &Havip) -> HashSet<Tep> {
    havip.attachments.iter().flat_map(|attachment| &attachment.teps).copied().collect()
}

/// Announcers of a HAVIP, in the order of attachments and TEPs.
pub(crate) fn announcers(havip: &Havip) -> impl Iterator<Item = Holder> {
    havip.attachments.iter().flat_map(|Attachment { instance, mac, teps }| {
        teps.iter().map(|&tep| Holder { instance: instance.clone(), mac: *mac, tep })
    })
}

impl Default for Havips {
    fn default() -> Self {
        Self {
            held: Vec::new(),
            by_name: HashMap::new(),
            by_address: HashMap::new(),
            by_eip: HashMap::new(),
            by_vni: HashMap::new(),
            by_tep: HashMap::new(),
            by_announcer: HashMap::new(),
            by_instance: HashMap::new(),
            vips: Ids::new(MAX_VIPS),
            announcers: Ids::new(MAX_ANNOUNCERS),
            gone: (Vec::new(), Vec::new()),
            stale: HashSet::new(),
            changed: HashSet::new(),
        }
    }
}

/// Present HAVIPs.
impl Havips {
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// Number of announcer numbers that are taken, those of announcers that just went included.
    pub fn announcers_taken(&self) -> usize {
        self.announcers.taken()
    }

    /// The same of HAVIPs.
    pub fn taken(&self) -> usize {
        self.vips.taken()
    }

    /// One more than the greatest number that a HAVIP has had.
    pub fn numbers(&self) -> usize {
        self.held.len()
    }

    pub fn get(&self, id: VipId) -> Option<&HavipRow> {
        self.held.get(id.index())?.as_deref()
    }

    pub fn id(&self, name: &Name) -> Option<VipId> {
        self.by_name.get(name).copied()
    }

    pub fn named(&self, name: &Name) -> Option<&HavipRow> {
        self.get(self.id(name)?)
    }

    pub fn entry(&self, name: &Name) -> Option<&HavipEntry> {
        self.named(name).map(|held| &held.entry)
    }

    pub fn iter(&self) -> impl Iterator<Item = &HavipRow> {
        self.held.iter().flatten().map(Box::as_ref)
    }

    fn name(&self, id: Option<&VipId>) -> Option<&Name> {
        self.get(*id?).map(|held| &held.entry.havip.name)
    }

    /// HAVIP that has this address.
    pub fn at(&self, vni: Vni, address: IpAddr) -> Option<&Name> {
        self.name(self.by_address.get(&(vni, address)))
    }

    /// HAVIP that has this public address.
    pub fn with_eip(&self, eip: IpAddr) -> Option<&Name> {
        self.name(self.by_eip.get(&eip))
    }

    /// HAVIPs of a domain, in any order.
    pub fn of_domain(&self, vni: Vni) -> impl ExactSizeIterator<Item = VipId> {
        self.by_vni.get(&vni).map(HashSet::iter).unwrap_or_default().copied()
    }

    /// HAVIPs with an attachment on this TEP, in any order.
    pub fn on_tep(&self, tep: Tep) -> impl ExactSizeIterator<Item = VipId> {
        self.by_tep.get(&tep).map(HashSet::iter).unwrap_or_default().copied()
    }

    /// Latest announcements of an announcer of this domain. What its instance said there of other HAVIPs is presence,
    /// too, and tells whether its frames are tagged: workers note it for those alone.
    pub fn last_announced(
        &self,
        vni: Vni,
        named: &NamedAnnouncer,
        board: &AnnouncementBoard,
    ) -> LastAnnounced {
        let mut last = board.read(named.id);
        let key = (vni, named.identity.mac, named.identity.tep);
        let all = self.by_announcer.get(&key).map(Vec::as_slice).unwrap_or_default();
        for &other in all.iter().filter(|&&other| other != named.id) {
            let LastAnnounced { claim_ns, use_ns, advert_ns, arrival_ns, presence_ns, tags, .. } =
                board.read(other);
            let heard_ns = [claim_ns, use_ns, advert_ns, arrival_ns, presence_ns];
            last.presence_ns = heard_ns.into_iter().fold(last.presence_ns, u64::max);
            last.tags = last.tags.with_elsewhere(tags);
        }
        last
    }

    /// Number of HAVIPs of a domain that an instance is attached to.
    pub fn of_instance(&self, vni: Vni, instance: &Name) -> u32 {
        self.by_instance.get(&(vni, instance.clone())).copied().unwrap_or(0)
    }
}

/// Changes that were committed.
impl Havips {
    /// A HAVIP is there, or other than it was.
    pub fn set(&mut self, entry: &HavipEntry) {
        let old = self.id(&entry.havip.name);
        let moved = old.and_then(|id| self.get(id)).filter(|held| {
            (held.entry.havip.vni, held.entry.havip.address) != (entry.havip.vni, entry.havip.address)
        });
        match old {
            // Another address is another number: what was heard of the old one does not count.
            Some(_) if moved.is_some() => {
                self.remove(&entry.havip.name);
                self.add(entry);
            }
            Some(id) => self.replace(id, entry),
            None => self.add(entry),
        }
    }

    /// A HAVIP is gone.
    pub fn remove(&mut self, name: &Name) {
        let Some(id) = self.by_name.remove(name) else { return };
        let Some(held) = self.held.get_mut(id.index()).and_then(Option::take) else { return };
        self.unlist(id, &held.entry.havip);
        self.list_announcers(held.entry.havip.vni, &held.announcers, false);
        let place = (held.entry.havip.vni, held.entry.havip.address);
        // As with an EIP, it may be another's already.
        if self.by_address.get(&place) == Some(&id) {
            self.by_address.remove(&place);
        }
        self.stale.insert(held.entry.havip.vni);
        self.changed.insert(id);
        self.gone.0.push(id.get());
        self.gone.1.extend(held.announcers.iter().map(|named| named.id.get()));
    }

    fn add(&mut self, entry: &HavipEntry) {
        let Some(id) = self.vips.take().and_then(|id| VipId::new(id).ok()) else {
            tracing::error!(havip = %entry.havip.name, "a committed HAVIP gets no number; it is not guarded");
            return;
        };
        let Havip { name, vni, address, .. } = &entry.havip;
        self.by_name.insert(name.clone(), id);
        self.by_address.insert((*vni, *address), id);
        self.list(id, &entry.havip);
        let announcers = self.name_announcers(&entry.havip, &mut Vec::new());
        self.list_announcers(*vni, &announcers, true);
        if self.held.len() <= id.index() {
            self.held.resize_with(id.index() + 1, || None);
        }
        if let Some(place) = self.held.get_mut(id.index()) {
            *place = Some(Box::new(HavipRow { id, entry: entry.clone(), announcers }));
        }
        self.stale.insert(*vni);
        self.changed.insert(id);
    }

    fn replace(&mut self, id: VipId, entry: &HavipEntry) {
        let Some(mut held) = self.held.get_mut(id.index()).and_then(Option::take) else { return };
        self.changed.insert(id);
        if held.entry.havip != entry.havip {
            self.unlist(id, &held.entry.havip);
            self.list(id, &entry.havip);
            let mut old = std::mem::take(&mut held.announcers);
            self.list_announcers(held.entry.havip.vni, &old, false);
            held.announcers = self.name_announcers(&entry.havip, &mut old);
            self.list_announcers(entry.havip.vni, &held.announcers, true);
            self.gone.1.extend(old.iter().map(|named| named.id.get()));
            self.stale.insert(entry.havip.vni);
        }
        held.entry = entry.clone();
        if let Some(place) = self.held.get_mut(id.index()) {
            *place = Some(held);
        }
    }

    /// The announcers of a HAVIP; those that it had already are taken out of `old`.
    fn name_announcers(&mut self, havip: &Havip, old: &mut Vec<NamedAnnouncer>) -> Vec<NamedAnnouncer> {
        let mut new = Vec::new();
        for identity in announcers(havip) {
            let had =
                old.iter().position(|named| named.identity == identity).map(|place| old.swap_remove(place));
            let id = || self.announcers.take().and_then(|id| AnnouncerId::new(id).ok());
            match had.map(|named| named.id).or_else(id) {
                Some(id) => new.push(NamedAnnouncer { id, identity }),
                None => tracing::error!(havip = %havip.name, "a committed attachment gets no number"),
            }
        }
        new
    }

    /// Puts it into the indexes of what may change while the number stays.
    fn list(&mut self, id: VipId, havip: &Havip) {
        if let Some(eip) = havip.eip {
            self.by_eip.insert(eip, id);
        }
        self.by_vni.entry(havip.vni).or_default().insert(id);
        for tep in teps(havip) {
            self.by_tep.entry(tep).or_default().insert(id);
        }
        for attachment in &havip.attachments {
            *self.by_instance.entry((havip.vni, attachment.instance.clone())).or_default() += 1;
        }
    }

    /// Puts announcers into their index, or takes them out.
    fn list_announcers(&mut self, vni: Vni, announcers: &[NamedAnnouncer], is_there: bool) {
        for NamedAnnouncer { id, identity } in announcers {
            let key = (vni, identity.mac, identity.tep);
            let of_one = self.by_announcer.entry(key).or_default();
            if is_there {
                of_one.push(*id);
            } else {
                of_one.retain(|other| other != id);
                if of_one.is_empty() {
                    self.by_announcer.remove(&key);
                }
            }
        }
    }

    fn unlist(&mut self, id: VipId, havip: &Havip) {
        // An EIP that went to another HAVIP within one revision may be listed as that one's already.
        if let Some(eip) = havip.eip.filter(|eip| self.by_eip.get(eip) == Some(&id)) {
            self.by_eip.remove(&eip);
        }
        remove_from(&mut self.by_vni, havip.vni, id);
        for tep in teps(havip) {
            remove_from(&mut self.by_tep, tep, id);
        }
        for attachment in &havip.attachments {
            let key = (havip.vni, attachment.instance.clone());
            match self.by_instance.get_mut(&key) {
                Some(count) if *count > 1 => *count -= 1,
                _ => drop(self.by_instance.remove(&key)),
            }
        }
    }

    /// The HAVIPs that changed since this was last asked, gone ones included.
    pub fn take_changed(&mut self) -> impl Iterator<Item = VipId> + use<> {
        std::mem::take(&mut self.changed).into_iter()
    }

    /// The domains whose VIP table has to be published anew.
    pub fn take_stale(&mut self) -> impl Iterator<Item = Vni> + use<> {
        std::mem::take(&mut self.stale).into_iter()
    }

    /// The VIP table of a domain has to be published anew.
    pub fn touch(&mut self, vni: Vni) {
        self.stale.insert(vni);
    }

    /// The HAVIPs of a domain as its VIP table has them, by number.
    pub fn vips(&self, vni: Vni, index: impl Fn(Tep) -> Option<TepIndex>) -> Vec<Vip> {
        let mut rows: Vec<&HavipRow> = self.of_domain(vni).filter_map(|id| self.get(id)).collect();
        rows.sort_unstable_by_key(|held| held.id);
        // A group goes by the number of its first HAVIP, from 1: no other group of the domain has that one.
        let mut groups: HashMap<&Name, u32> = HashMap::new();
        let vips = rows.into_iter().map(|held| {
            let name = held.entry.havip.group.as_ref();
            let group = name.map_or(0, |name| *groups.entry(name).or_insert(held.id.get() + 1));
            Vip { group, ..vip(held, &index) }
        });
        vips.collect()
    }

    /// From `epoch` on no worker goes by the numbers that were given back.
    pub fn let_go(&mut self, epoch: Epoch) {
        let (vips, announcers) = std::mem::take(&mut self.gone);
        self.vips.let_go(epoch, vips);
        self.announcers.let_go(epoch, announcers);
    }

    /// Frees numbers that no worker goes by any more.
    pub fn reclaim(&mut self, grace: &Grace, board: &AnnouncementBoard) {
        self.vips.reclaim(grace, |_| {});
        self.announcers.reclaim(grace, |id| {
            if let Ok(id) = AnnouncerId::new(id) {
                board.forget(id);
            }
        });
    }
}

fn remove_from<K: std::hash::Hash + Eq>(index: &mut HashMap<K, HashSet<VipId>>, key: K, id: VipId) {
    if let hashbrown::hash_map::Entry::Occupied(mut entry) = index.entry(key) {
        entry.get_mut().remove(&id);
        if entry.get().is_empty() {
            entry.remove();
        }
    }
}

/// A HAVIP as workers know it, in no group.
pub(crate) fn vip(held: &HavipRow, index: impl Fn(Tep) -> Option<TepIndex>) -> Vip {
    let Havip { address, vrids, .. } = &held.entry.havip;
    let announcer = |named: &NamedAnnouncer| {
        Some(Announcer { mac: named.identity.mac, tep: index(named.identity.tep)?, id: named.id })
    };
    Vip {
        id: held.id,
        address: *address,
        vrids: vrids.as_slice().into(),
        announcers: held.announcers.iter().filter_map(announcer).collect(),
        group: 0,
    }
}
