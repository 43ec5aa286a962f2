//! Learned bindings of a strict domain: written by all workers, without locks, in bounded memory.
//!
//! One word of a slot decides who has which address. It holds a tag of the address, the owner's TEP, and a tag of the
//! owner's MAC address. The tags are keyed hashes, so that nobody can choose two that are equal:
//!
//! ```text
//!    63          32 31      16 15       0
//!   ┌──────────────┬──────────┬──────────┐   0:          never used; ends a search
//!   │ address tag  │ TEP index│ MAC tag  │   MAC tag 0:  the address has no owner
//!   └──────────────┴──────────┴──────────┘
//! ```
//!
//! Each change of address or owner is one compare-and-swap of this word: when an announcer takes a new address, when it
//! takes the address of one who is silent or gone, when the slot of a silent address goes to another address, and when an
//! operator frees an address. A worker that decided by an old word fails, and starts again: it can not take the place of
//! the address that is there now.
//!
//! Before the word, the winner advances `at_ns`, the time of the owner's last announcement, by a compare-and-swap from
//! the value by which it found the owner silent. If the owner spoke meanwhile, or if another worker was faster, it
//! fails, and the worker starts again. A worker that sees the new owner with the old time fails in the same way. So all
//! accesses are `Relaxed`: each decision is a read-modify-write, which never works on an old value.
//!
//! After the word, the winner describes the binding: `who` (whole MAC address and TEP) and the address. A description
//! counts only where its tags are those of the word; otherwise its winner has not written it yet. The owner writes it
//! again with its next announcement if it is not its own. An announcer whose MAC address has the owner's tag by chance is
//! refused, because `who` names another.
//!
//! Bounds keep one VM from filling the table. They are counted per MAC address and TEP, and per TEP. An announcer is
//! counted before it tries to take an address; it is counted out if it fails, and when the address is given up. The counters of
//! MAC addresses are shared by hash; an announcer has four, and the lowest one counts: it shares all four with others who
//! have many addresses less than once in a million.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr},
};

use crate::table::sync::{AtomicU64, Ordering::Relaxed};
use crate::{
    TepIndex,
    limits::{MAX_LEARNED_OF_MAC, MAX_LEARNED_OF_TEP, MAX_TEPS},
    vip::{StrictReason, mac, tep, who},
};

/// Time after which a silent owner loses its address: an hour.
pub const SILENCE_NS: u64 = 3_600_000_000_000;

/// Number of addresses, about; there are twice as many slots.
const SLOTS: usize = if cfg!(loom) { 1 } else { 32_768 };
/// Slots that are tried for an address.
const PROBES: usize = if cfg!(loom) { 1 } else { 32 };
/// Rows of counters of announcers by MAC address and TEP, each with 16 bits of their hash.
const ROWS: usize = if cfg!(loom) { 1 } else { 4 };
/// Counters of announcers by MAC address and TEP, in each row.
const COUNTERS: usize = if cfg!(loom) { 1 } else { 16_384 };
const TEP_COUNTERS: usize = if cfg!(loom) { 1 } else { MAX_TEPS };
/// Attempts to take an address before it is refused: each that fails was won by another worker.
const ATTEMPTS: usize = 8;

/// Bits of the word that are the owner's.
const OWNER: u64 = 0xffff_ffff;

#[repr(C)]
#[cfg_attr(not(loom), derive(zerocopy::FromZeros))]
struct Slot {
    /// Address tag, TEP and MAC tag; see the module's head.
    word: AtomicU64,
    /// Description: MAC address and index of the TEP.
    who: AtomicU64,
    /// Description: address as IPv6, upper and lower half; an IPv4 address is mapped.
    address: [AtomicU64; 2],
    at_ns: AtomicU64,
}

/// Binding of an address to the MAC address and TEP that announced it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// Address.
    pub address: IpAddr,
    /// MAC address of the owner.
    pub mac: [u8; 6],
    /// TEP of the owner.
    pub tep: TepIndex,
    /// Time of the owner's last announcement by the workers' clock, nanoseconds.
    pub at_ns: u64,
}

/// Owners of a domain's addresses, up to some 16,384.
///
/// Address space: about 2 MiB. Memory is used only for written pages.
pub struct LearnedBindings {
    slots: Box<[Slot]>,
    /// Addresses by MAC address and TEP, [`ROWS`] of [`COUNTERS`].
    of_mac: Box<[AtomicU64]>,
    /// Addresses by TEP.
    of_tep: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Default for LearnedBindings {
    fn default() -> Self {
        Self::new()
    }
}

/// Zeroed memory.
#[cfg(not(loom))]
fn zeroed<T: zerocopy::FromZeros>(count: usize, _: impl Fn() -> T) -> Box<[T]> {
    crate::table::slots::zeroed(count)
}

/// Loom's atomics are made one by one.
#[cfg(loom)]
fn zeroed<T>(count: usize, make: impl Fn() -> T) -> Box<[T]> {
    (0..count).map(|_| make()).collect()
}

impl LearnedBindings {
    /// Empty table.
    pub fn new() -> Self {
        let zero = || AtomicU64::new(0);
        let slot = || Slot { word: zero(), who: zero(), address: [zero(), zero()], at_ns: zero() };
        Self {
            slots: zeroed(SLOTS, slot),
            of_mac: zeroed(ROWS * COUNTERS, zero),
            of_tep: zeroed(TEP_COUNTERS, zero),
            hasher: RandomState::new(),
        }
    }

    /// Admits an announcement of the address by this MAC address at this endpoint at `now_ns` (not 0): it is the owner,
    /// or there is no owner, or the owner was silent for [`SILENCE_NS`], or the owner's endpoint is `gone`. Then it becomes
    /// the owner.
    ///
    /// Without room for one more address, the announcement is admitted and not remembered.
    ///
    /// # Errors
    /// [`StrictReason::OtherOwner`]; or [`StrictReason::OverBound`] if the announcer would have more addresses than
    /// [`MAX_LEARNED_OF_MAC`] or its TEP more than [`MAX_LEARNED_OF_TEP`].
    pub fn admit(
        &self,
        address: IpAddr,
        mac: [u8; 6],
        tep: TepIndex,
        now_ns: u64,
        gone: impl Fn(TepIndex) -> bool,
    ) -> Result<(), StrictReason> {
        let who = who(mac, tep);
        let (tag, start) = self.place(address);
        let mine = tag | self.owner(who);
        for _ in 0..ATTEMPTS {
            let Some((slot, has)) = self.slot(tag, start, now_ns) else { return Ok(()) };
            if has == mine {
                return self.renew(slot, address, who, now_ns);
            }
            let at_ns = slot.at_ns.load(Relaxed);
            let is_held = has & OWNER != 0 && !is_silent(at_ns, now_ns);
            if is_held && has & !OWNER != tag {
                // The other address of this slot is not silent any more.
                continue;
            }
            if is_held && !gone(tep_of(has)) {
                return if self.is_of_another(slot, address, tag) {
                    Ok(())
                } else {
                    Err(StrictReason::OtherOwner)
                };
            }
            if !self.count(mine) {
                return Err(StrictReason::OverBound);
            }
            if slot.at_ns.compare_exchange(at_ns, now_ns, Relaxed, Relaxed).is_ok()
                && slot.word.compare_exchange(has, mine, Relaxed, Relaxed).is_ok()
            {
                self.count_out(has);
                slot.describe(address, who);
                return Ok(());
            }
            self.count_out(mine);
        }
        Err(StrictReason::OtherOwner)
    }

    /// Takes the address from its owner. False if it has none.
    pub fn forget(&self, address: IpAddr) -> bool {
        let (tag, start) = self.place(address);
        for _ in 0..ATTEMPTS {
            let Some((slot, has)) = self.find(tag, start) else { return false };
            if has & OWNER == 0 {
                return false;
            }
            if slot.word.compare_exchange(has, tag, Relaxed, Relaxed).is_ok() {
                self.count_out(has);
                return true;
            }
        }
        false
    }

    /// Bindings, in no order. One that a worker is writing now may be left out.
    pub fn all(&self) -> impl Iterator<Item = Learned> + use<'_> {
        self.slots.iter().filter_map(|slot| {
            let word = slot.word.load(Relaxed);
            if word & OWNER == 0 {
                return None;
            }
            let who = slot.who.load(Relaxed);
            let address = forms(slot.address()).find(|&address| self.place(address).0 == word & !OWNER)?;
            let at_ns = slot.at_ns.load(Relaxed);
            let binding = Learned { address, mac: mac(who), tep: tep(who), at_ns };
            (self.owner(who) == word & OWNER).then_some(binding)
        })
    }

    /// Number of addresses with an owner.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.iter().filter(|slot| slot.word.load(Relaxed) & OWNER != 0).count()
    }

    /// Addresses that are counted for all TEPs: as many as have an owner, once no worker is about to take one.
    #[doc(hidden)]
    #[must_use]
    pub fn counted(&self) -> u64 {
        self.of_tep.iter().map(|counter| counter.load(Relaxed)).sum()
    }

    /// True if no address has an owner.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True for the slot of another address whose tag is the same by chance. Then there is no room for this one.
    #[cold]
    fn is_of_another(&self, slot: &Slot, address: IpAddr, tag: u64) -> bool {
        let described = slot.address();
        described != ipv6(address) && forms(described).any(|address| self.place(address).0 == tag)
    }

    /// An announcement by one who has the owner's tags.
    #[inline]
    fn renew(&self, slot: &Slot, address: IpAddr, who: u64, now_ns: u64) -> Result<(), StrictReason> {
        let described = slot.who.load(Relaxed);
        if described != who {
            if described != 0 && self.owner(described) == self.owner(who) {
                return Err(StrictReason::OtherOwner);
            }
            slot.describe(address, who);
        }
        slot.at_ns.store(now_ns, Relaxed);
        Ok(())
    }

    /// Tag of an address in the place that it has in a word, never 0; and the first slot that is tried for it.
    #[inline]
    fn place(&self, address: IpAddr) -> (u64, usize) {
        let hash = self.hasher.hash_one(address);
        let [low, high, ..] = hash.to_le_bytes();
        ((hash & !OWNER) | (1 << 32), usize::from(u16::from_le_bytes([low, high])))
    }

    /// Owner's part of a word.
    #[inline]
    fn owner(&self, who: u64) -> u64 {
        let tag = self.hasher.hash_one(who) >> 48;
        (who >> 48) << 16 | tag.max(1)
    }

    /// Slot of an address, with its word; one that it can take if there is none, as long as there is room.
    #[inline]
    fn slot(&self, tag: u64, start: usize, now_ns: u64) -> Option<(&Slot, u64)> {
        self.find(tag, start).or_else(|| self.reusable(start, now_ns))
    }

    /// Slots that are tried for an address.
    fn probe(&self, start: usize) -> impl Iterator<Item = &Slot> {
        (start..start + PROBES).map(|at| &self.slots[at % SLOTS])
    }

    /// Slot of an address, or the first that was never used.
    #[inline]
    fn find(&self, tag: u64, start: usize) -> Option<(&Slot, u64)> {
        let all = self.probe(start).map(|slot| (slot, slot.word.load(Relaxed)));
        all.into_iter().find(|&(_, word)| word == 0 || word & !OWNER == tag)
    }

    /// Slot of another address that has no owner, or a silent one.
    #[cold]
    fn reusable(&self, start: usize, now_ns: u64) -> Option<(&Slot, u64)> {
        let all = self.probe(start).map(|slot| (slot, slot.word.load(Relaxed)));
        all.into_iter().find(|(slot, word)| word & OWNER == 0 || is_silent(slot.at_ns.load(Relaxed), now_ns))
    }

    /// Counters of a word's owner: those of its MAC address, and that of its TEP.
    fn counters(&self, word: u64) -> ([&AtomicU64; ROWS], &AtomicU64) {
        let hash = self.hasher.hash_one(word & OWNER);
        let of_mac = std::array::from_fn(|row| {
            let [low, high, ..] = (hash >> (16 * row)).to_le_bytes();
            &self.of_mac[row * COUNTERS + usize::from(u16::from_le_bytes([low, high])) % COUNTERS]
        });
        (of_mac, &self.of_tep[tep_of(word).index() % TEP_COUNTERS])
    }

    /// Counts one address more for this owner. False if that would be over a bound; then nothing is counted.
    fn count(&self, word: u64) -> bool {
        let (of_mac, of_tep) = self.counters(word);
        let add = |counter: &AtomicU64| counter.fetch_add(1, Relaxed);
        let (of_mac, of_tep) = (of_mac.map(add), add(of_tep));
        let fits = of_mac.iter().any(|&count| count < MAX_LEARNED_OF_MAC) && of_tep < MAX_LEARNED_OF_TEP;
        if !fits {
            self.count_out(word);
        }
        fits
    }

    /// Counts one address less for the owner in a word, if it has one.
    fn count_out(&self, word: u64) {
        if word & OWNER != 0 {
            let (of_mac, of_tep) = self.counters(word);
            for counter in of_mac.into_iter().chain([of_tep]) {
                counter.fetch_sub(1, Relaxed);
            }
        }
    }
}

/// TEP in a word.
fn tep_of(word: u64) -> TepIndex {
    let [_, _, low, high, ..] = word.to_le_bytes();
    TepIndex::from(u16::from_le_bytes([low, high]))
}

/// True for an owner that last announced its address at `at_ns`; 0: the slot is being taken.
fn is_silent(at_ns: u64, now_ns: u64) -> bool {
    at_ns != 0 && now_ns.saturating_sub(at_ns) > SILENCE_NS
}

/// Address as it is described: an IPv4 address is mapped.
fn ipv6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// Addresses that are described so: an IPv4 address, and the IPv6 address that contains it.
fn forms(described: Ipv6Addr) -> impl Iterator<Item = IpAddr> {
    [described.to_canonical(), described.into()].into_iter()
}

impl Slot {
    /// Address that is described: wrong while it is being written.
    fn address(&self) -> Ipv6Addr {
        let [high, low] = [&self.address[0], &self.address[1]].map(|half| u128::from(half.load(Relaxed)));
        Ipv6Addr::from_bits(high << 64 | low)
    }

    fn describe(&self, address: IpAddr, who: u64) {
        let [a, b, c, d, e, f, g, h, low @ ..] = ipv6(address).octets();
        self.address[0].store(u64::from_be_bytes([a, b, c, d, e, f, g, h]), Relaxed);
        self.address[1].store(u64::from_be_bytes(low), Relaxed);
        self.who.store(who, Relaxed);
    }
}

impl fmt::Debug for LearnedBindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LearnedBindings").field("len", &self.len()).finish()
    }
}
