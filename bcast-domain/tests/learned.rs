//! Who has the addresses of a strict domain. How two workers that take one at once meet is modelled in `tests/loom.rs`; what makes
//! an address free again is told by a frame each in the sniffer's tests.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use bcast_domain::{LearnedBindings, SILENCE_NS};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];

fn address(n: u32) -> IpAddr {
    // Both families.
    if n.is_multiple_of(2) { IpAddr::from(n.to_be_bytes()) } else { Ipv6Addr::from_bits(n.into()).into() }
}

fn announce(learned: &LearnedBindings, n: u32, tep: u16, now_ns: u64) -> bool {
    learned.admit(address(n), MAC, tep.into(), now_ns, |_| false)
}

#[test]
fn sixteen_thousand_addresses_stay_with_who_has_them() {
    const MANY: u32 = 16_384;
    let learned = LearnedBindings::new();
    assert!(learned.is_empty());
    assert!((0..MANY).all(|n| announce(&learned, n, 1, 1)));
    // The places are chosen by a secret key: now and then one address finds those that it may have all taken.
    let held = learned.len();
    assert!((16_300..=16_384).contains(&held), "{held}");
    let stay = (0..MANY).filter(|&n| !announce(&learned, n, 2, 2)).count();
    assert_eq!(stay, held, "each that is remembered stays");
    let still = (0..MANY).filter(|&n| announce(&learned, n, 1, 3)).count();
    assert!(still >= held, "{still}");
}

#[test]
fn what_does_not_fit_may_be_announced_and_takes_the_place_of_what_is_silent() {
    let learned = LearnedBindings::new();
    let all = 0..100_000_u32;
    assert!(all.clone().all(|n| announce(&learned, n, 1, 1)), "some are not remembered");
    let held = |tep, now_ns| all.clone().filter(|&n| !announce(&learned, n, tep, now_ns)).count();
    let first = held(2, 2);
    assert!((30_000..=32_768).contains(&first), "{first}");
    assert_eq!(held(2, 3), first, "nobody's place was taken while it is in use");
    // All are silent: others have the places now.
    let later = 3 + SILENCE_NS;
    assert!((200_000..300_000).all(|n| announce(&learned, n, 3, later)));
    let taken = (200_000..300_000_u32).filter(|&n| !announce(&learned, n, 4, later + 1)).count();
    assert!((30_000..=32_768).contains(&taken), "{taken}");
}

#[test]
fn of_many_threads_that_claim_the_same_addresses_at_once_each_address_gets_one() {
    const ADDRESSES: u32 = 5_000;
    for (round, now_ns) in [(0, 1), (1, 2 + SILENCE_NS)] {
        static LEARNED: std::sync::LazyLock<LearnedBindings> = std::sync::LazyLock::new(LearnedBindings::new);
        let admitted: Vec<AtomicUsize> = (0..ADDRESSES).map(|_| AtomicUsize::new(0)).collect();
        std::thread::scope(|scope| {
            for tep in 0..4_u16 {
                let admitted = &admitted;
                scope.spawn(move || {
                    for (n, count) in (0..ADDRESSES).zip(admitted) {
                        // In the second round no former holder is among them.
                        if announce(&LEARNED, n, 10 * round + tep, now_ns) {
                            count.fetch_add(1, Relaxed);
                        }
                    }
                });
            }
        });
        assert!(admitted.iter().all(|count| count.load(Relaxed) == 1), "round {round}");
    }
}
