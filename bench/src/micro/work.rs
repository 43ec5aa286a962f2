//! The work that all contenders do: the same keys, lists, order of lookups and order of changes.

use bcast_domain::TepIndex;

/// Keys of one lookup in bulk: the daemon's receive burst.
pub const BURST: usize = 32;
/// Members of every domain.
pub const MEMBERS: usize = 16;

/// Entries of the random order, a power of two. At 4 bytes each it is read in sequence, which costs next to nothing.
const ORDER: usize = 1 << 20;

/// A member list, ascending.
pub type List = [TepIndex; MEMBERS];

/// Domains `0..domains` by number, each with a VNI, and the order in which they are asked for and changed.
pub struct Work {
    /// Number of domains.
    pub domains: u32,
    order: Vec<u32>,
}

/// The VNI of domain `number`: distinct, and spread as an operator's are who numbers in steps.
pub fn vni(number: u32) -> u32 {
    number.wrapping_mul(4099).wrapping_add(5001)
}

/// SplitMix64: a sequence of numbers that looks random, from any state.
pub fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// First member of a domain's list, but for the lowest 3 bits, which are the version's.
#[inline]
pub fn first_member(vni: u32) -> u16 {
    let [high, low, ..] = vni.wrapping_mul(0x9e37_79b1).to_be_bytes();
    u16::from_be_bytes([high, low]) >> 4 << 3
}

/// The members of a domain in a version: which versions these are, modulo 8, is told by the first member.
pub fn list(vni: u32, version: u8) -> List {
    let first = first_member(vni) | u16::from(version & 7);
    let mut next = first;
    std::array::from_fn(|_| {
        let member = TepIndex::from(next);
        // At most 32,767 + 15 * 2,001: below the limit, and no member twice.
        next += 2001;
        member
    })
}

/// True if a first member can be that of this domain, in any version.
#[inline]
pub fn is_first_of(vni: u32, member: Option<u32>) -> bool {
    member.is_some_and(|member| member & !7 == u32::from(first_member(vni)))
}

impl Work {
    /// The work on this many domains; more than none.
    pub fn new(domains: u32) -> Self {
        let mut state = 1;
        let order = (0..ORDER)
            // The remainder is below `domains`; the bias of one in four thousand does not matter here.
            .map(|_| vni(u32::try_from(random(&mut state) % u64::from(domains.max(1))).unwrap_or(0)))
            .collect();
        Self { domains, order }
    }

    /// All VNIs.
    pub fn vnis(&self) -> impl Iterator<Item = u32> {
        (0..self.domains).map(vni)
    }

    /// Burst number `number` of the endless random order.
    #[inline]
    pub fn burst(&self, number: usize) -> &[u32; BURST] {
        let bursts = self.order.as_chunks().0;
        &bursts[number % bursts.len()]
    }

    /// The VNI that change number `number` changes, and its new list. Another order than that of the lookups.
    #[inline]
    pub fn change(&self, number: u64) -> (u32, List) {
        let mut state = number ^ 0x5eed;
        let random = random(&mut state).to_be_bytes();
        let [a, b, c, d, version, ..] = random;
        let place = u32::from_be_bytes([a, b, c, d]) as usize % ORDER;
        let vni = self.order[place];
        (vni, list(vni, version))
    }
}
