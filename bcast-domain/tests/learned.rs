//! Owners of the addresses of a strict domain. The race of two workers for one address is modelled in `tests/loom/`; what makes
//! an address free again is told by a frame each in the sniffer's tests.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use bcast_domain::{LearnedBindings, SILENCE_NS, StrictReason, TepIndex, limits};

/// MAC address of the VM that has this address: each has 16. Several VMs that are counted together by chance stay within
/// the bound.
fn mac(n: u32) -> [u8; 6] {
    let [a, b, c, d] = (n / 16).to_be_bytes();
    [0x52, 0x54, a, b, c, d]
}

fn address(n: u32) -> IpAddr {
    // Both families.
    if n.is_multiple_of(2) { IpAddr::from(n.to_be_bytes()) } else { Ipv6Addr::from_bits(n.into()).into() }
}

/// An announcement from a TEP of this group: 2,048 addresses have the same TEP.
fn announce(learned: &LearnedBindings, n: u32, group: u16, now_ns: u64) -> bool {
    let tep = TepIndex::new(u32::from(group) * 1000 + n / 2048).unwrap();
    learned.admit(address(n), mac(n), tep, now_ns, |_| false).is_ok()
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

#[test]
fn a_mac_address_has_64_addresses_and_a_tep_4096_and_those_that_are_given_up_are_counted_no_more() {
    let learned = LearnedBindings::new();
    let admit = |n: u32, mac, tep: u16, now_ns| learned.admit(address(n), mac, tep.into(), now_ns, |_| false);
    let one = [2, 0, 0, 0, 0, 1];
    let over = Err(StrictReason::OverBound);
    assert!((0..64).all(|n| admit(n, one, 1, 1).is_ok()));
    assert_eq!((admit(64, one, 1, 1), admit(65, one, 1, 1)), (over, over));
    assert!((0..64).all(|n| admit(n, one, 1, 2).is_ok()), "its own addresses stay");
    assert_eq!(admit(64, one, 2, 2), Ok(()), "the same MAC address at another TEP is another VM");
    assert_eq!(learned.counted(), 65);

    // One is freed, one goes to another after an hour's silence.
    assert!(learned.forget(address(5)) && !learned.forget(address(5)) && !learned.forget(address(9999)));
    assert_eq!((admit(70, one, 1, 3), admit(71, one, 1, 3)), (Ok(()), over));
    let later = 3 + SILENCE_NS;
    assert_eq!((admit(6, one, 2, later), admit(71, one, 1, later)), (Ok(()), Ok(())));
    assert_eq!(learned.counted(), 66);

    // The whole TEP: one that invents MAC addresses leaves room for the VMs of others.
    let invented = |n: u32| (100_000 + n, [2, 1, 0, 0, n.to_be_bytes()[2], n.to_be_bytes()[3]]);
    let taken = (0..5000).map(invented).filter(|&(n, mac)| admit(n, mac, 3, later).is_ok()).count();
    assert_eq!(u64::try_from(taken).unwrap(), limits::MAX_LEARNED_OF_TEP);
    assert_eq!(admit(200_000, [2, 2, 0, 0, 0, 1], 4, later), Ok(()));
    assert_eq!(admit(200_000, one, 3, later), Err(StrictReason::OtherOwner));
}

#[test]
fn all_bindings_are_listed_as_they_were_announced() {
    let learned = LearnedBindings::new();
    // An IPv4 address and the IPv6 address that contains it are two.
    let all =
        ["10.0.0.7", "::ffff:10.0.0.7", "fd00::7", "::"].map(|address| address.parse::<IpAddr>().unwrap());
    for (n, address) in (1_u16..).zip(all) {
        learned.admit(address, mac(n.into()), n.into(), n.into(), |_| false).unwrap();
    }
    let mut listed: Vec<_> = learned.all().collect();
    listed.sort_by_key(|one| one.at_ns);
    let addresses: Vec<_> = listed.iter().map(|one| one.address).collect();
    assert_eq!(addresses, all);
    assert!((1_u16..).zip(&listed).all(|(n, one)| one.tep == n.into() && one.mac == mac(n.into())));
    assert!(learned.forget(all[1]));
    assert_eq!((learned.all().count(), learned.len()), (3, 3));
}

#[test]
fn threads_that_take_and_free_addresses_at_once_leave_the_counters_right() {
    let learned = LearnedBindings::new();
    std::thread::scope(|scope| {
        for tep in 0..4_u16 {
            let learned = &learned;
            scope.spawn(move || {
                for n in 0..40_000_u32 {
                    let _ = learned.admit(address(n % 50), mac(n % 50), tep.into(), 1, |_| n % 3 == 0);
                    if n % 7 == 0 {
                        learned.forget(address(n % 50));
                    }
                }
            });
        }
    });
    assert_eq!(learned.counted(), u64::try_from(learned.len()).unwrap());
    let held = learned.len();
    assert_eq!((0..50).filter(|&n| learned.forget(address(n))).count(), held);
    assert_eq!((learned.counted(), learned.is_empty()), (0, true));
}
