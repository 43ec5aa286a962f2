//! Failover beside noise: what a storm of one TEP costs the virtual IPs of its network.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod common;
mod frames;
#[path = "common/parties.rs"]
mod parties;

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering::Relaxed;

use bcast_domain::Rate;
use common::{FakeRig, Options, settings};
use engine::police::RateLimits;
use engine::runtime::RuntimeSettings;
use frames::{VIP, advert, garp};
use parties::parties;
use wire::{Class, DropReason};

const HOLDER: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
const SECOND: u64 = 1_000_000_000;
/// Frames a second that the limit of control frames allows.
const ALLOWED: u64 = 20;

/// Frames of failover that a second TEP had accepted while a first one sent ARP, of those sent; the quanta that they waited for, and
/// the storm's frames that passed.
fn storm(members: usize, per_second: u64) -> ((u64, u64), u64, u64) {
    let copies = members as u64 - 1;
    let control_copies = Rate::new(ALLOWED * copies).unwrap();
    let limits = RateLimits { control_copies, ..RateLimits::default() };
    let mut rig = FakeRig::new(Options {
        settings: RuntimeSettings { limits, ..settings() },
        teps: members,
        ..Options::default()
    });
    rig.domain(5001, members);
    rig.virtual_ip_of(5001, VIP, &[(HOLDER, 1)]);
    let (stranger, holder) = (parties(0), parties(1));
    let (mut sent, mut seconds) = (0, 0);
    for millisecond in 0..3_000 {
        rig.worker.clock.now.fetch_add(SECOND / 1_000, Relaxed);
        for number in 0..per_second / 1_000 {
            let address = Ipv4Addr::from_bits(0x0a09_0000 + u32::try_from(number).unwrap());
            rig.receive(stranger.overlay(&garp([2, 0, 0, 0, 0, 7], address)));
        }
        // Ten adverts a second, and a gratuitous ARP for each.
        if millisecond % 100 == 50 {
            rig.receive(holder.overlay(&advert(HOLDER, VIP)));
            rig.receive(holder.overlay(&garp(HOLDER, VIP)));
            sent += 2;
        }
        rig.settle();
        rig.sent();
        seconds = millisecond / 1_000 + 1;
    }
    let totals = rig.settle();
    let refused: u64 = totals.drops.iter().map(|(_, count)| count).sum();
    assert!(totals.drops.iter().all(|(reason, _)| *reason == DropReason::ControlRate), "{totals:?}");
    assert_eq!(totals.copy_drops, []);
    let failover = &rig.cells.totals.forwarding[Class::Failover as usize];
    let accepted = failover.quanta.iter().map(|cell| cell.get()).sum();
    assert_eq!(per_second * seconds - refused + sent, totals.accepted);
    ((accepted, sent), failover.quanta_sum.get(), per_second * seconds - refused)
}

#[test]
fn no_advert_and_no_announcement_of_a_holder_is_lost_or_waits_beside_arp_at_a_hundred_times_the_limit() {
    for members in [4, 129, 1_000] {
        let ((accepted, sent), waited, _) = storm(members, 0);
        assert_eq!(accepted, sent);
        let ((accepted, sent), waited_too, passed) = storm(members, 100 * ALLOWED);
        assert_eq!((accepted, waited_too), (sent, waited), "{members} members");
        // A full bucket, and three seconds.
        assert!((3 * ALLOWED..=4 * ALLOWED + 1).contains(&passed), "{members} members: {passed}");
    }
}

/// Noise: what a storm is made of.
type Noise = (&'static str, fn(Ipv4Addr) -> Vec<u8>);

const STRANGER: [u8; 6] = [2, 0, 0, 0, 0, 7];

#[test]
fn a_quiet_tep_loses_no_announcement_beside_a_storm_of_any_kind_also_where_no_virtual_ip_is_known() {
    let noise: [Noise; 3] = [
        ("a scan", |address| frames::probe(STRANGER, address)),
        ("announcements", |address| garp(STRANGER, address)),
        ("adverts", |address| advert(STRANGER, address)),
    ];
    let limit = Rate::new(100).unwrap();
    let limits = RateLimits { control_copies: limit, failover_copies: limit, ..common::no_limits() };
    for (what, frame) in noise {
        for is_known in [true, false] {
            let settings = RuntimeSettings { limits, ..settings() };
            let mut rig = FakeRig::new(Options { settings, ..Options::default() });
            rig.domain(5001, 3);
            if is_known {
                rig.virtual_ip_of(5001, VIP, &[(HOLDER, 1)]);
            }
            let told = [advert(HOLDER, VIP), garp(HOLDER, VIP)];
            for _ in 0..20 {
                // 5,000 frames a second of 50 that may pass.
                (0..500).for_each(|number| {
                    rig.receive(parties(0).overlay(&frame(Ipv4Addr::from_bits(0x0a09_0000 + number))));
                });
                told.iter().for_each(|inner| rig.receive(parties(1).overlay(inner)));
                rig.settle();
                rig.worker.clock.now.fetch_add(SECOND / 10, Relaxed);
            }
            let sent = rig.sent();
            let copies = |inner: &Vec<u8>| sent.iter().filter(|copy| copy.ends_with(inner)).count();
            assert_eq!(told.each_ref().map(copies), [40; 2], "{what}, virtual IP known: {is_known}");
            let totals = rig.settle();
            let [(DropReason::ControlRate | DropReason::FailoverRate, dropped)] = totals.drops[..] else {
                panic!("{totals:?}")
            };
            assert!(dropped > 9_700, "{dropped}");
            rig.no_buffer_is_missing();
        }
    }
}
