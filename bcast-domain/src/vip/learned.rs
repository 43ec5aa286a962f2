//! Where the addresses of a strict domain are: written by all workers, without locks, and bounded.
//!
//! A slot belongs to one address (its `key`, a keyed hash, so nobody can make two addresses meet), and says who has it (`who`) and
//! when that one was last heard (`at_ns`). Who has an address is decided by one compare-and-swap of `who`: of two workers
//! whose frames ask for the same address at once, one wins, and the other finds it taken.
//!
//! An address that is given up (its holder is silent, or gone) is taken over in an order that lets nobody see the new holder with
//! the old one's age, and take it again: the time is stored first, then `who` (`LearnedTake`), which others read first (`LearnedRead`).
//!
//! A slot whose address was silent for [`SILENCE_NS`] goes to another address where there is no free one. Who was just asking for
//! the old address looks, after taking it, whether it still is that slot's, and else starts over.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
};

use crate::table::sync::{AtomicU64, Ordering, Site, order};
use crate::{
    TepIndex,
    vip::{tep, who},
};

/// How long an address stays with one who is not heard: an hour.
pub const SILENCE_NS: u64 = 3_600_000_000_000;

/// Addresses that can be remembered, about; slots are twice as many.
#[cfg(not(loom))]
const SLOTS: usize = 32_768;
#[cfg(loom)]
const SLOTS: usize = 1;
/// Slots that an address may be in.
const PROBES: usize = if cfg!(loom) { 1 } else { 32 };

#[repr(C)]
#[cfg_attr(not(loom), derive(zerocopy::FromZeros))]
struct Slot {
    /// The address; 0: none yet.
    key: AtomicU64,
    /// A MAC address and the index of an endpoint; 0: nobody.
    who: AtomicU64,
    at_ns: AtomicU64,
}

/// Who last announced each address of a domain, of up to some 16,384.
///
/// Its memory (768 KiB) is the system's until it is written.
pub struct LearnedBindings {
    slots: Box<[Slot]>,
    hasher: RandomState,
}

impl Default for LearnedBindings {
    fn default() -> Self {
        Self::new()
    }
}

impl LearnedBindings {
    /// Nothing is known.
    #[cfg(not(loom))]
    pub fn new() -> Self {
        let slots = crate::table::slots::zeroed(SLOTS);
        Self { slots, hasher: RandomState::new() }
    }

    /// Nothing is known; for one address, as loom has few atomics.
    #[cfg(loom)]
    pub fn new() -> Self {
        let zero = || AtomicU64::new(0);
        let slot = |_| Slot { key: zero(), who: zero(), at_ns: zero() };
        Self { slots: (0..SLOTS).map(slot).collect(), hasher: RandomState::new() }
    }

    /// Whether an address may be announced for this MAC address, by a frame from this endpoint at `now_ns` (not 0): they have it, or
    /// nobody has, or those who have were silent for [`SILENCE_NS`] or are at an endpoint that is `gone`. Then it is noted.
    ///
    /// Where there is no room to remember one more address it may be announced.
    pub fn admit(
        &self,
        address: IpAddr,
        mac: [u8; 6],
        tep: TepIndex,
        now_ns: u64,
        gone: impl Fn(TepIndex) -> bool,
    ) -> bool {
        let key = self.hasher.hash_one(address) | 1;
        let who = who(mac, tep);
        // Twice at most: the second time the slot that was lost belongs to another.
        for _ in 0..2 {
            let Some(slot) = self.slot(key, now_ns) else { return true };
            let admitted = slot.admit(who, now_ns, &gone);
            if slot.key.load(Ordering::Relaxed) == key {
                return admitted;
            }
        }
        true
    }

    /// The slot of an address; a new one, if it has none and there is room.
    fn slot(&self, key: u64, now_ns: u64) -> Option<&Slot> {
        let [low, high, ..] = (key >> 48).to_le_bytes();
        let start = usize::from(u16::from_le_bytes([low, high]));
        let probe = || (start..start + PROBES).map(|at| &self.slots[at % SLOTS]);
        for slot in probe() {
            match slot.key.load(Ordering::Relaxed) {
                found if found == key => return Some(slot),
                0 => match slot.key.compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => return Some(slot),
                    Err(other) if other == key => return Some(slot),
                    Err(_) => {}
                },
                _ => {}
            }
        }
        probe().find(|slot| slot.give_up(key, now_ns))
    }

    /// How many addresses have somebody.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.iter().filter(|slot| slot.who.load(Ordering::Relaxed) != 0).count()
    }

    /// No address has anybody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Slot {
    fn admit(&self, who: u64, now_ns: u64, gone: &impl Fn(TepIndex) -> bool) -> bool {
        loop {
            let has = self.who.load(order(Site::LearnedRead));
            if has == who {
                self.at_ns.store(now_ns, Ordering::Relaxed);
                return true;
            }
            if has != 0 && !self.is_silent(now_ns) && !gone(tep(has)) {
                return false;
            }
            // Before it is seen who has it: else another would find it silent.
            self.at_ns.store(now_ns, Ordering::Relaxed);
            if self.who.compare_exchange(has, who, order(Site::LearnedTake), Ordering::Relaxed).is_ok() {
                return true;
            }
        }
    }

    /// Time 0 is that of a slot that is just being taken.
    fn is_silent(&self, now_ns: u64) -> bool {
        let at_ns = self.at_ns.load(Ordering::Relaxed);
        at_ns != 0 && now_ns.saturating_sub(at_ns) > SILENCE_NS
    }

    /// Gives the slot of an address that was silent to another one. False if it was not.
    fn give_up(&self, to: u64, now_ns: u64) -> bool {
        let at_ns = self.at_ns.load(Ordering::Relaxed);
        // Whoever moves the time on is the only one that gives it away.
        let silent = self.is_silent(now_ns)
            && self.at_ns.compare_exchange(at_ns, now_ns, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if silent {
            self.who.store(0, Ordering::Relaxed);
            self.key.store(to, Ordering::Relaxed);
        }
        silent
    }
}

impl fmt::Debug for LearnedBindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LearnedBindings").field("len", &self.len()).finish()
    }
}
