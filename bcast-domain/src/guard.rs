//! A domain's virtual IPs, as workers ask for them.

use std::{fmt, net::IpAddr};

use crate::{Vip, lockfree::prefetch};

/// The virtual IPs of a domain at one moment, with who may announce them. Never changed: a change makes another.
///
/// Reached from the domain's [`MemberList`](crate::MemberList).
pub struct Guard {
    /// Open addressing with linear probing, a power of two, at most half full; each slot is [`EMPTY`] or a tag and a position.
    index: Box<[u32]>,
    vips: Box<[Vip]>,
}

/// A slot with nothing in it. Positions count from one, so no slot in use is this.
const EMPTY: u32 = 0;
/// Bits of a slot that are the position in `vips`, plus one. Those above are bits of the hash, so that a slot of another address is
/// nearly always passed by without a look at that address.
const POSITION: u32 = (1 << POSITION_BITS) - 1;
const POSITION_BITS: u32 = 18;

const _: () = assert!(crate::limits::MAX_VIPS < POSITION as usize);

impl Guard {
    /// The guard of these virtual IPs. Each address should be there once; of several with the same, the first is found.
    ///
    /// # Panics
    /// Never: beyond [`MAX_VIPS`](crate::limits::MAX_VIPS), which is more than a node can hold, virtual IPs are left out.
    pub fn new(vips: impl IntoIterator<Item = Vip>) -> Self {
        let vips: Box<[Vip]> = vips.into_iter().take(crate::limits::MAX_VIPS).collect();
        let slots = (2 * vips.len()).next_power_of_two();
        let mut guard = Self { index: vec![EMPTY; slots].into(), vips: [].into() };
        for (position, vip) in (1..).zip(&vips) {
            let hash = hash(vip.address);
            let mut at = guard.start(hash);
            while guard.index[at] != EMPTY {
                at = guard.next(at);
            }
            guard.index[at] = hash & !POSITION | position;
        }
        guard.vips = vips;
        guard
    }

    /// The virtual IP with this address.
    #[inline]
    pub fn find(&self, address: IpAddr) -> Option<&Vip> {
        let hash = hash(address);
        let mut at = self.start(hash);
        while let Some((found, vip)) = self.next_like(hash, at) {
            if vip.address == address {
                return Some(vip);
            }
            at = self.next(found);
        }
        None
    }

    /// All of them.
    pub fn vips(&self) -> &[Vip] {
        &self.vips
    }

    /// Asks the processor to fetch where [`find`](Self::find) of this address will begin.
    #[inline(always)]
    pub fn prefetch(&self, address: IpAddr) {
        prefetch(&raw const self.index[self.start(hash(address))]);
    }

    /// Asks the processor, a while later, to fetch the virtual IP that [`find`](Self::find) will look at first.
    #[inline(always)]
    pub fn prefetch_vip(&self, address: IpAddr) {
        if let Some((_, vip)) = self.next_like(hash(address), self.start(hash(address))) {
            prefetch(vip);
        }
    }

    /// From this slot on, the first with the hash's tag: where it is, and the virtual IP that it stands for.
    #[inline(always)]
    fn next_like(&self, hash: u32, mut at: usize) -> Option<(usize, &Vip)> {
        loop {
            let slot = self.index[at];
            if slot == EMPTY {
                return None;
            }
            if (slot ^ hash) & !POSITION == 0 {
                return Some((at, &self.vips[(slot & POSITION) as usize - 1]));
            }
            at = self.next(at);
        }
    }

    #[inline(always)]
    fn start(&self, hash: u32) -> usize {
        hash as usize & (self.index.len() - 1)
    }

    #[inline(always)]
    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.index.len() - 1)
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.vips).finish()
    }
}

/// Mixes an address into 32 bits; the low ones say where a probe starts, the high ones are the tag.
///
/// Addresses come from the operator's own subnets, and a packet only looks up. So mixing need not resist anybody: the worst that
/// a packet can choose is the longest run of slots that the operator's own addresses have made.
#[inline(always)]
fn hash(address: IpAddr) -> u32 {
    let mut hash = match address {
        IpAddr::V4(address) => address.to_bits(),
        IpAddr::V6(address) => {
            let [a, b, c, d] = halves(address.to_bits());
            // The low half differs most within a subnet.
            (a ^ b.rotate_left(8)).wrapping_mul(0x9e37_79b1) ^ c.wrapping_mul(0x27d4_eb2f) ^ d
        }
    };
    // The finalizer of MurmurHash3.
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

#[inline(always)]
fn halves(bits: u128) -> [u32; 4] {
    let bytes = bits.to_be_bytes();
    let (words, _) = bytes.as_chunks::<4>();
    [words[0], words[1], words[2], words[3]].map(u32::from_be_bytes)
}
