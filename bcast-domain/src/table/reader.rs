//! The readers: workers that look domains up, once per burst for the whole burst.

use std::{
    fmt,
    iter::zip,
    ops::Deref,
    ptr::{self, NonNull},
    sync::Arc,
};

use super::{
    array::Array,
    list::{self, Header, MemberList},
    publisher::Domains,
    qsbr::{Epochs, Grace, Hold, Offline, Presence},
    slots,
};
use crate::Vni;

/// Makes readers of one table. Cheap to clone.
pub struct Readers<A> {
    domains: Arc<Domains>,
    array: Arc<Array<A>>,
    epochs: Arc<Epochs>,
}

// Not derived: a clone of this does not clone an `A`.
impl<A> Clone for Readers<A> {
    fn clone(&self) -> Self {
        Self {
            domains: Arc::clone(&self.domains),
            array: Arc::clone(&self.array),
            epochs: Arc::clone(&self.epochs),
        }
    }
}

impl<A: Send + Sync + 'static> Readers<A> {
    pub(super) fn new(domains: Arc<Domains>, array: Arc<Array<A>>, epochs: Arc<Epochs>) -> Self {
        Self { domains, array, epochs }
    }

    /// A new reader, online.
    pub fn reader(&self) -> Reader<A> {
        Reader {
            presence: Presence::new(&self.epochs),
            domains: Arc::clone(&self.domains),
            array: Arc::clone(&self.array),
        }
    }

    /// Tells when readers have seen a change.
    pub fn grace(&self) -> Grace {
        Grace::new(&self.epochs)
    }
}

/// Looks domains up. One per worker: it can be sent to a thread, not shared between two.
///
/// Results borrow it, and [`quiesce`](Self::quiesce) and [`offline`](Self::offline) need it exclusively. So no
/// list and no array outlives the section it was found in:
///
/// ```compile_fail,E0502
/// # let (_domains, _array, readers) = bcast_domain::table(());
/// let mut reader = readers.reader();
/// let list = reader.lookup(5001.into());
/// reader.quiesce(); // from here on the list may be freed,
/// drop(list); // so this does not compile
/// ```
///
/// Two threads cannot share one, as a report of the one would say nothing of what the other holds:
///
/// ```compile_fail,E0277
/// # let (_domains, _array, readers) = bcast_domain::table(());
/// let reader = readers.reader();
/// std::thread::scope(|scope| scope.spawn(|| reader.lookup(5001.into()).is_some()).join());
/// ```
///
/// Dropping the reader unregisters it. One that is neither dropped, nor offline, nor reports holds everything back that
/// is retired after its last report.
pub struct Reader<A> {
    presence: Presence,
    domains: Arc<Domains>,
    array: Arc<Array<A>>,
}

impl<A: Send + Sync + 'static> Reader<A> {
    /// The array that member indices point into.
    ///
    /// Ask for it after the lookups of a burst: then it is at least as new as the lists, and holds whatever was
    /// published before them.
    #[inline]
    pub fn array(&self) -> &A {
        self.presence.assure();
        // SAFETY: online, and it stays so while `self` is borrowed: going offline and quiescing need `&mut self`.
        unsafe { self.array.get() }
    }

    /// The members of a domain, if it is there.
    #[inline]
    pub fn lookup(&self, vni: Vni) -> Option<&MemberList> {
        self.presence.assure();
        // SAFETY: online while `self` is borrowed. A list in a slot is freed only after a quiescent point of ours.
        unsafe {
            let slots = self.domains.slots();
            let header = slots.find(vni, slots.start(vni));
            (!header.is_null()).then(|| list::list(header))
        }
    }

    /// The members of up to `N` domains at once, `out[i]` for `vnis[i]`; the rest of `out` becomes `None`.
    ///
    /// Memory is waited for once per step and not once per lookup: first all slots are asked for, then all lists.
    /// Of more than `N` identifiers the first `N` are looked up.
    #[inline]
    pub fn lookup_bulk<'r, const N: usize>(&'r self, vnis: &[Vni], out: &mut [Option<&'r MemberList>; N]) {
        debug_assert!(vnis.len() <= N, "{} identifiers, room for {N}", vnis.len());
        self.presence.assure();
        // SAFETY: online while `self` is borrowed, for this and the two below.
        let slots = unsafe { self.domains.slots() };
        let mut starts = [0; N];
        for (start, &vni) in zip(&mut starts, vnis) {
            *start = slots.start(vni);
            slots.prefetch(*start);
        }
        let mut headers = [ptr::null_mut::<Header>(); N];
        for ((header, &start), &vni) in zip(zip(&mut headers, &starts), vnis) {
            *header = slots.find(vni, start);
            slots::prefetch(*header);
        }
        for (out, &header) in zip(out, &headers) {
            // SAFETY: a list in a slot is freed only after a quiescent point of ours.
            *out = (!header.is_null()).then(|| unsafe { list::list(header) });
        }
    }

    /// The members of a domain, to be kept beyond this section. Costs two reference counts.
    ///
    /// A held list is not freed, and [`Grace::passed`] of its replacement waits at least until the hold ends: hold
    /// briefly.
    pub fn hold(&self, vni: Vni) -> Option<HeldList> {
        self.lookup(vni).map(|list| HeldList {
            list: NonNull::from(list),
            hold: self.presence.hold(),
            _domains: Arc::clone(&self.domains),
        })
    }

    /// True if a thread waits for the end of this reader's holds: see [`HeldList::is_awaited`].
    #[inline]
    pub fn is_awaited(&self) -> bool {
        self.presence.is_awaited()
    }

    /// Reports a quiescent point: what was found so far is not in use any more. One load and one store; once per burst.
    #[inline]
    pub fn quiesce(&mut self) {
        self.presence.quiesce();
    }

    /// Leaves, for a sleep: while the guard lives the reader holds nothing back, but for [`HeldList`]s, and need not report.
    pub fn offline(&mut self) -> Offline<'_> {
        self.presence.go_offline()
    }
}

/// A member list that outlives the section in which it was found: [`Reader::hold`].
pub struct HeldList {
    list: NonNull<MemberList>,
    hold: Hold,
    /// Lists that were never replaced go with the table.
    _domains: Arc<Domains>,
}

// SAFETY: needed since `NonNull` is neither. The list is plain numbers that nobody writes, and the hold is atomic counts.
unsafe impl Send for HeldList {}
// SAFETY: as above.
unsafe impl Sync for HeldList {}

impl HeldList {
    /// True if a thread waits, by [`Grace::wait`], for the end of holds of this time, for a change of this domain or
    /// of another. Then drop this soon.
    #[inline]
    pub fn is_awaited(&self) -> bool {
        self.hold.is_awaited()
    }
}

impl Deref for HeldList {
    type Target = MemberList;

    #[inline]
    fn deref(&self) -> &MemberList {
        // SAFETY: found by an online reader in the section that `hold` was made in. If it was unlinked, then after that
        // section began; the reader's slot shows no later epoch as left while the hold lives. If it was not, the table lives.
        unsafe { self.list.as_ref() }
    }
}

impl fmt::Debug for HeldList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
