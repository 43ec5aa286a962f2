//! Hosts that the node's kernel has neighbour entries of, and the bound on new ones.
//!
//! A packet that the kernel answers makes a neighbour entry of its sender, if that is on the link. The kernel's table is small, and the
//! host's. So of senders that are no TEPs and no next hops, only some get through in a time: [`KnownHosts::admits`]. A host that was let through,
//! or that the kernel sent something to, is known for a minute from then on, and makes no new entry.

use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::police::{Bucket, Depth, Ticks};

/// Seconds for which a host is known.
const KNOWN: u64 = 60;
/// Hosts that are known at a time, of IPv4 and IPv6 together.
const HOSTS: usize = 2048;
/// Places among which a host's address chooses; the oldest of them is given up.
const WAYS: usize = 8;
/// Bits of a place that hold the second; the others hold a tag of the address.
const SECOND_BITS: u32 = 24;
const SECONDS: u64 = (1 << SECOND_BITS) - 1;
/// Strangers of IPv4, and of IPv6, that are let through at once, and in each minute from then on. Linux keeps 128 entries without cleaning up, and
/// 1,024 at most (`gc_thresh1`, `gc_thresh3`).
pub const STRANGERS: u64 = 64;
/// A bucket that is full holds all that a minute brings.
const MINUTE: Depth = Depth { of_second: 1, lease: 0, frame: 1, shares: 0 };

/// An IPv4 network of the node's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// An address in it.
    pub address: Ipv4Addr,
    /// Prefix length, bits.
    pub prefix_len: u8,
}

impl Network {
    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix_len.min(32))).unwrap_or(0)
    }

    fn contains(self, address: Ipv4Addr) -> bool {
        (self.address.to_bits() ^ address.to_bits()) & self.mask() == 0
    }

    /// True for the address of all hosts.
    fn is_broadcast(self, address: Ipv4Addr) -> bool {
        self.prefix_len < 31 && address.to_bits() == self.address.to_bits() | !self.mask()
    }
}

/// Hosts that are known, and the bound on strangers. Shared by workers and the TAP's thread.
pub struct KnownHosts {
    networks: Box<[Network]>,
    hasher: RandomState,
    places: Box<[AtomicU64]>,
    /// Strangers of IPv4 and of IPv6.
    strangers: [Bucket; 2],
    per_minute: u64,
}

impl KnownHosts {
    /// Nobody is known. `networks`: those of the node's addresses. `per_minute`: strangers that are let through, see [`STRANGERS`].
    pub fn new(networks: &[Network], per_minute: u64) -> Self {
        Self {
            networks: networks.into(),
            hasher: RandomState::new(),
            places: (0..HOSTS).map(|_| AtomicU64::new(0)).collect(),
            strangers: Default::default(),
            per_minute,
        }
    }

    /// True for an address from which the kernel would be reached on the link: of IPv4 those in the networks of the node's addresses, of IPv6 any.
    pub fn is_on_link(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.networks.iter().any(|network| network.contains(address)),
            IpAddr::V6(_) => true,
        }
    }

    /// True if this is the address of all hosts of one of the networks.
    pub fn is_broadcast(&self, address: Ipv4Addr) -> bool {
        self.networks.iter().any(|network| network.is_broadcast(address))
    }

    /// Notes that the kernel has an entry of a host on the link. Others are not noted: they would crowd those out.
    pub fn note(&self, host: IpAddr, now: Ticks) {
        if self.is_on_link(host) {
            let (places, tag) = self.places_of(host);
            let second = second(now);
            let age = |place: &AtomicU64| match place.load(Relaxed) {
                0 => u64::MAX,
                word if word >> SECOND_BITS == tag => u64::MAX,
                word => second.wrapping_sub(word) & SECONDS,
            };
            // Its own place, else an empty one, else the oldest.
            let own = places.iter().find(|place| place.load(Relaxed) >> SECOND_BITS == tag);
            if let Some(place) = own.or_else(|| places.iter().max_by_key(|place| age(place))) {
                place.store(tag << SECOND_BITS | second, Relaxed);
            }
        }
    }

    /// True if the kernel has had an entry of this host within the last minute.
    pub fn knows(&self, host: IpAddr, now: Ticks) -> bool {
        let (places, tag) = self.places_of(host);
        places.iter().map(|place| place.load(Relaxed)).any(|word| {
            let age = second(now).wrapping_sub(word) & SECONDS;
            // Another core's clock may be a little ahead.
            word >> SECOND_BITS == tag && (age <= KNOWN || age == SECONDS)
        })
    }

    /// Lets a host through that is known, or one stranger more; that one is known from then on.
    pub fn admits(&self, host: IpAddr, now: Ticks) -> bool {
        if self.knows(host, now) {
            return true;
        }
        let bucket = &self.strangers[usize::from(host.is_ipv6())];
        let minute = Ticks { now: now.now, per_second: now.per_second.saturating_mul(60) };
        let admitted = self.per_minute > 0 && bucket.take(1, self.per_minute, MINUTE, 0, minute);
        if admitted {
            self.note(host, now);
        }
        admitted
    }

    /// Places of a host, and its tag, which is not 0. Keyed, so that nobody can choose addresses that share them.
    fn places_of(&self, host: IpAddr) -> (&[AtomicU64], u64) {
        let hash = self.hasher.hash_one(host);
        let set = usize::try_from(hash % (HOSTS / WAYS) as u64).unwrap_or_default() * WAYS;
        (self.places.get(set..set + WAYS).unwrap_or_default(), hash >> SECOND_BITS | 1)
    }
}

fn second(now: Ticks) -> u64 {
    (now.now / now.per_second.max(1)) & SECONDS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Ticks {
        Ticks { now: (1_000 + second) * 1_000_000, per_second: 1_000_000 }
    }

    fn host(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(0xc612_0000 + number).into()
    }

    fn hosts(strangers: u64) -> KnownHosts {
        let network = Network { address: Ipv4Addr::new(198, 18, 0, 254), prefix_len: 16 };
        KnownHosts::new(&[network], strangers)
    }

    #[test]
    fn so_many_strangers_get_through_at_once_and_as_many_in_a_minute_and_each_family_has_its_own() {
        let hosts = hosts(STRANGERS);
        let admitted = |from: u32, second| {
            (from..from + 10_000).filter(|&number| hosts.admits(host(number), at(second))).count() as u64
        };
        assert!((STRANGERS..=STRANGERS + 1).contains(&admitted(0, 0)));
        let later = admitted(20_000, 30);
        assert!((STRANGERS / 2..=STRANGERS / 2 + 1).contains(&later), "{later}");
        assert!(hosts.admits("fe80::1".parse().unwrap(), at(30)), "of IPv6 none had come");
    }

    #[test]
    fn a_host_that_the_kernel_sends_to_is_no_stranger_for_a_minute_whatever_others_do() {
        let hosts = hosts(STRANGERS);
        let known = host(60_000);
        hosts.note(known, at(0));
        (0..10_000).for_each(|number| _ = hosts.admits(host(number), at(0)));
        for (second, knows) in [(0, true), (1, true), (60, true), (61, false)] {
            assert_eq!(hosts.knows(known, at(second)), knows, "after {second} s");
        }
        hosts.note(known, at(61));
        assert!(hosts.admits(known, at(121)) && hosts.knows(known, at(60)), "a clock that is behind");
    }

    #[test]
    fn hosts_beyond_the_link_take_no_places_of_those_on_it() {
        let hosts = hosts(0);
        hosts.note(host(1), at(0));
        (0..100_000).for_each(|number| hosts.note(Ipv4Addr::from_bits(0x0a00_0000 + number).into(), at(1)));
        assert!(hosts.knows(host(1), at(1)) && !hosts.admits(host(2), at(1)));
        assert!(!hosts.knows(Ipv4Addr::new(10, 0, 0, 1).into(), at(1)));
        assert!(hosts.is_broadcast(Ipv4Addr::new(198, 18, 255, 255)));
        assert!(!hosts.is_broadcast(Ipv4Addr::new(198, 18, 0, 255)));
    }
}
