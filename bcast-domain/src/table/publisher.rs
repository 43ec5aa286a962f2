//! The one writer of the domains.

use std::{iter, sync::Arc};

use super::{
    list::{self, Header, MemberList, OwnedList},
    owned::{Owned, Shared},
    qsbr::{Epoch, Epochs, Limbo},
    slots::{Place, Slots},
    sync::{AtomicPtr, Mutex, Ordering, Site, lock, order},
};
use crate::{
    DomainId, TepIndex, VipTable, Vni,
    limits::{LimitError, MAX_DOMAINS, MAX_MEMBERS, MAX_MEMBERSHIPS},
};

/// Pointer to the current slot array, shared by publisher and readers.
pub(super) struct Domains {
    slots: AtomicPtr<Shared<Slots>>,
    /// Retired memory of a dropped publisher. Freed with the last of publisher and readers.
    left_over: Mutex<Vec<Retired>>,
}

/// Memory that is no longer reachable, by reason.
enum Retired {
    /// The domain has a newer list.
    Replaced(OwnedList),
    /// The domain was removed: its number is free when the list is.
    Removed(OwnedList),
    /// A slot array that was rebuilt. The lists moved on; this is the array alone.
    Slots(Owned<Slots>),
}

impl Domains {
    pub(super) fn new(domains: usize) -> Self {
        let slots = Owned::new(Slots::for_domains(domains.min(MAX_DOMAINS))).publish();
        Self { slots: AtomicPtr::new(slots), left_over: Mutex::new(Vec::new()) }
    }

    /// The current slot array, for an online reader.
    ///
    /// # Safety
    /// The caller is online, and stays so during `'a`.
    #[inline(always)]
    pub(super) unsafe fn slots<'a>(&self) -> &'a Slots {
        // SAFETY: published, and retired arrays are freed only when this reader has reported a quiescent point.
        unsafe { Shared::get(self.slots.load(order(Site::SlotsRead))) }
    }
}

impl Drop for Domains {
    fn drop(&mut self) {
        // SAFETY: the publisher and all readers hold a reference count on this, so none is left: what is
        // still published is taken back here, once, and freed.
        unsafe {
            let slots = Owned::unlinked(self.slots.load(Ordering::Relaxed));
            slots.get().entries().for_each(|(_, header)| drop(OwnedList::unlinked(header)));
        }
    }
}

/// Changes the domains. There is one; it may move between threads.
///
/// A change is visible to readers at once and one by one. What it replaced is kept until every online reader has left
/// it behind; [`reclaim`](Self::reclaim) frees that, and should be called now and then.
pub struct DomainPublisher {
    domains: Arc<Domains>,
    limbo: Limbo<Retired>,
    live: usize,
    /// Keys in the slot array, dead ones included.
    used: usize,
    memberships: usize,
    /// Numbers that were used before and are free now; beyond `next_id` all are.
    free_ids: Vec<DomainId>,
    next_id: u32,
    /// Members that came unsorted, sorted here. Kept for its memory.
    sorted: Vec<TepIndex>,
}

impl DomainPublisher {
    pub(super) fn new(domains: Arc<Domains>, epochs: &Arc<Epochs>) -> Self {
        Self {
            domains,
            limbo: Limbo::new(epochs),
            live: 0,
            used: 0,
            memberships: 0,
            free_ids: Vec::new(),
            next_id: 0,
            sorted: Vec::new(),
        }
    }

    /// Creates a domain with these members, or replaces those it had. They may come in any order.
    ///
    /// One allocation and one store; no fence: readers meet the new list when they next look. A domain keeps its
    /// number and its VIP table when its members are replaced.
    ///
    /// # Errors
    /// A limit, or a member given twice. Then nothing has changed.
    pub fn set(&mut self, vni: Vni, members: &[TepIndex]) -> Result<DomainId, LimitError> {
        if members.len() > MAX_MEMBERS {
            return Err(LimitError::Members { vni, count: members.len() });
        }
        let mut sorted = std::mem::take(&mut self.sorted);
        let set = in_order(vni, members, &mut sorted).and_then(|members| self.set_in_order(vni, members));
        self.sorted = sorted;
        set
    }

    fn set_in_order(&mut self, vni: Vni, members: &[TepIndex]) -> Result<DomainId, LimitError> {
        let mut place = self.slots().place(vni);
        let old = self.at(&place);
        let memberships = self.memberships - old.map_or(0, |old| old.members().len()) + members.len();
        if memberships > MAX_MEMBERSHIPS {
            return Err(LimitError::Memberships { vni, count: memberships });
        }
        let id = match old {
            Some(old) => old.domain(),
            None => self.new_id(vni)?,
        };
        if matches!(place, Place::Free(_)) && self.used == self.slots().max_used() {
            self.rebuild();
            place = self.slots().place(vni);
        }
        let vip_table = self.at(&place).and_then(MemberList::share_guard);
        let list = OwnedList::new(id, members, vip_table).publish();
        match place {
            Place::Taken(at) => match self.swap(at, list) {
                Some(old) => self.limbo.retire(Retired::Replaced(old)),
                None => self.live += 1,
            },
            Place::Free(at) => {
                self.slots().insert(at, vni, list);
                self.live += 1;
                self.used += 1;
            }
        }
        self.limbo.published();
        self.memberships = memberships;
        Ok(id)
    }

    /// Gives a domain these virtual IPs, or none, instead of those it had; false if it is not there. The VIP table goes with the
    /// domain, and is freed like its lists: when every online reader has left the last list with it behind.
    ///
    /// One allocation and one store, as [`set`](Self::set): the list is published once more, with the other VIP table.
    pub fn set_vip_table(&mut self, vni: Vni, vip_table: Option<Arc<VipTable>>) -> bool {
        let place = self.slots().place(vni);
        let Some(old) = self.at(&place) else { return false };
        let list = OwnedList::new(old.domain(), old.members(), vip_table).publish();
        if let Place::Taken(at) = place
            && let Some(old) = self.swap(at, list)
        {
            self.limbo.retire(Retired::Replaced(old));
        }
        true
    }

    /// Removes a domain; false if it was not there.
    pub fn remove(&mut self, vni: Vni) -> bool {
        let Place::Taken(at) = self.slots().place(vni) else { return false };
        let Some(old) = self.swap(at, std::ptr::null_mut()) else { return false };
        self.live -= 1;
        self.memberships -= old.get().members().len();
        self.limbo.retire(Retired::Removed(old));
        true
    }

    /// The members of a domain as they are published now.
    pub fn get(&self, vni: Vni) -> Option<&MemberList> {
        self.at(&self.slots().place(vni))
    }

    /// All domains, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Vni, &MemberList)> {
        // SAFETY: as in `at`.
        self.slots().entries().map(|(vni, header)| (vni, unsafe { list::list(header) }))
    }

    /// Number of domains.
    pub fn len(&self) -> usize {
        self.live
    }

    /// No domain is there.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Number of members of all domains together.
    pub fn memberships(&self) -> usize {
        self.memberships
    }

    /// Stamps all that was published so far: when [`Grace::passed`](crate::Grace::passed) says so of this epoch, every
    /// online reader has seen it. One call for a batch of changes; without news it is the epoch of the last time.
    pub fn epoch(&mut self) -> Epoch {
        self.limbo.stamp()
    }

    /// Frees what every online reader has left behind, without waiting for any. Returns how many lists and slot
    /// arrays that were.
    pub fn reclaim(&mut self) -> usize {
        let free_ids = &mut self.free_ids;
        self.limbo.reclaim(|retired| match retired {
            Retired::Replaced(list) => drop(list),
            Retired::Removed(list) => free_ids.push(list.get().domain()),
            Retired::Slots(slots) => drop(slots),
        })
    }

    /// Number of lists and slot arrays that wait to be freed.
    pub fn retired(&self) -> usize {
        self.limbo.len()
    }

    fn slots(&self) -> &Slots {
        // SAFETY: the publisher alone replaces the array, which takes `&mut self`, so it lives as long as this borrow.
        unsafe { Shared::get(self.domains.slots.load(Ordering::Relaxed)) }
    }

    fn at(&self, place: &Place) -> Option<&MemberList> {
        let Place::Taken(at) = *place else { return None };
        let header = self.slots().list_at(at);
        // SAFETY: published by this publisher, who alone retires lists, which takes `&mut self`.
        (!header.is_null()).then(|| unsafe { list::list(header) })
    }

    /// Puts a list (or null) in the place of another, which no reader that looks from now on will find.
    ///
    /// A reader on an older slot array may still find it there. It loaded that array before the array was retired,
    /// so it has not been through a quiescent point since, and the list, retired later still, waits for that.
    fn swap(&mut self, at: usize, new: *mut Header) -> Option<OwnedList> {
        let old = self.slots().list_at(at);
        self.slots().put(at, new);
        // SAFETY: `old` was published in this slot and is there no more, so it is taken back once. It is dropped by
        // `Limbo`, after the grace period, or by `Domains`, after the last reader.
        (!old.is_null()).then(|| unsafe { OwnedList::unlinked(old) })
    }

    fn new_id(&mut self, vni: Vni) -> Result<DomainId, LimitError> {
        if self.live == MAX_DOMAINS {
            return Err(LimitError::Domains { vni });
        }
        if self.free_ids.is_empty() && self.next_id as usize == MAX_DOMAINS {
            self.reclaim();
        }
        if let Some(id) = self.free_ids.pop() {
            return Ok(id);
        }
        if self.next_id as usize == MAX_DOMAINS {
            return Err(LimitError::DomainIdsInGrace { vni });
        }
        self.next_id += 1;
        Ok(DomainId(self.next_id - 1))
    }

    /// Moves to a new slot array without dead keys, twice as large if it would be over half full.
    ///
    /// Takes the publisher some 50 ms at a million domains; readers do not notice.
    /// It leaves an eighth of the array or more to new keys, so over time each of those pays for eight slots at most.
    fn rebuild(&mut self) {
        let old = self.slots();
        let grows = self.live + 1 > old.capacity() / 2;
        let new = Slots::with_capacity(if grows { old.capacity() * 2 } else { old.capacity() });
        for (vni, list) in old.entries() {
            // A new array holds no key twice, so the place is always a free one.
            if let Place::Free(at) = new.place(vni) {
                new.insert(at, vni, list);
            }
        }
        self.used = self.live;
        let unlinked = self.domains.slots.load(Ordering::Relaxed);
        self.domains.slots.store(Owned::new(new).publish(), order(Site::SlotsPublish));
        // SAFETY: `unlinked` was the published array and is it no more; taken back once, dropped by `Limbo` or `Domains`.
        self.limbo.retire(Retired::Slots(unsafe { Owned::unlinked(unlinked) }));
    }
}

impl Drop for DomainPublisher {
    fn drop(&mut self) {
        self.reclaim();
        lock(&self.domains.left_over).extend(self.limbo.take_rest());
    }
}

/// The members in ascending order: as they came, or sorted in `scratch`.
fn in_order<'m>(
    vni: Vni,
    members: &'m [TepIndex],
    scratch: &'m mut Vec<TepIndex>,
) -> Result<&'m [TepIndex], LimitError> {
    if members.is_sorted_by(|a, b| a < b) {
        return Ok(members);
    }
    scratch.clear();
    scratch.extend_from_slice(members);
    scratch.sort_unstable();
    match iter::zip(&scratch[..], &scratch[1..]).find(|(a, b)| a == b) {
        Some((&member, _)) => Err(LimitError::DuplicateMember { vni, member }),
        None => Ok(scratch),
    }
}
