//! Learned bindings of a strict domain: written by all workers, without locks, in bounded memory.
//!
//! A slot holds an address (`key`: a keyed hash, so that nobody can choose collisions), its owner (`who`) and the
//! time of the owner's last announcement (`at_ns`). One compare-and-swap of `who` decides the owner: of two
//! workers that take an address at the same time, one succeeds.
//!
//! An address whose owner is silent or gone goes to the next announcer. The time is stored first, then `who`
//! (`LearnedTake`); readers load `who` first (`LearnedRead`). So nobody sees the new owner with the old owner's
//! time, and takes the address again.
//!
//! If no slot is free, the slot of an address that was silent for [`SILENCE_NS`] is given to another address. A
//! worker that used this slot for the old address checks the key afterwards, and starts again if it changed.

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

/// Time after which a silent owner loses its address: an hour.
pub const SILENCE_NS: u64 = 3_600_000_000_000;

/// Number of addresses, about; there are twice as many slots.
#[cfg(not(loom))]
const SLOTS: usize = 32_768;
#[cfg(loom)]
const SLOTS: usize = 1;
/// Slots that are tried for an address.
const PROBES: usize = if cfg!(loom) { 1 } else { 32 };

#[repr(C)]
#[cfg_attr(not(loom), derive(zerocopy::FromZeros))]
struct Slot {
    /// Address; 0: none.
    key: AtomicU64,
    /// MAC address and index of the TEP; 0: no owner.
    who: AtomicU64,
    at_ns: AtomicU64,
}

/// Owners of a domain's addresses, up to some 16,384.
///
/// Address space: 768 KiB. Memory is used only for written pages.
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
    /// Without addresses.
    #[cfg(not(loom))]
    pub fn new() -> Self {
        let slots = crate::table::slots::zeroed(SLOTS);
        Self { slots, hasher: RandomState::new() }
    }

    /// Without addresses, for one address: loom has few atomics.
    #[cfg(loom)]
    pub fn new() -> Self {
        let zero = || AtomicU64::new(0);
        let slot = |_| Slot { key: zero(), who: zero(), at_ns: zero() };
        Self { slots: (0..SLOTS).map(slot).collect(), hasher: RandomState::new() }
    }

    /// True if this MAC address at this endpoint may announce the address at `now_ns` (not 0): it is the owner, or
    /// there is no owner, or the owner was silent for [`SILENCE_NS`], or the owner's endpoint is `gone`. Then it
    /// becomes the owner.
    ///
    /// Also true if there is no room for one more address.
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
        // Two rounds at most: the second starts after the slot was given to another address.
        for _ in 0..2 {
            let Some(slot) = self.slot(key, now_ns) else { return true };
            let admitted = slot.admit(who, now_ns, &gone);
            if slot.key.load(Ordering::Relaxed) == key {
                return admitted;
            }
        }
        true
    }

    /// Slot of an address; a new one if there is none, as long as there is room.
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

    /// Number of addresses with an owner.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.iter().filter(|slot| slot.who.load(Ordering::Relaxed) != 0).count()
    }

    /// True if no address has an owner.
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
            // Before the new owner is visible: otherwise another worker would find it silent.
            self.at_ns.store(now_ns, Ordering::Relaxed);
            if self.who.compare_exchange(has, who, order(Site::LearnedTake), Ordering::Relaxed).is_ok() {
                return true;
            }
        }
    }

    /// Time 0: the slot is being taken.
    fn is_silent(&self, now_ns: u64) -> bool {
        let at_ns = self.at_ns.load(Ordering::Relaxed);
        at_ns != 0 && now_ns.saturating_sub(at_ns) > SILENCE_NS
    }

    /// Gives the slot of a silent address to another address. False if the address is not silent.
    fn give_up(&self, to: u64, now_ns: u64) -> bool {
        let at_ns = self.at_ns.load(Ordering::Relaxed);
        // Only the thread that advances the time gives the slot away.
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
