//! Each reason to drop a frame, by frames: its counter grows by one, no other does, and good frames around it are forwarded.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod common;
mod frames;
#[path = "common/parties.rs"]
mod parties;

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering::Relaxed;

use bcast_domain::{AnnouncerId, Rate, RejectReason};
use common::{FakeRig, Options, settings};
use engine::police::RateLimits;
use engine::sessions::Heard;
use frames::{Case, State, broadcast};
use parties::parties;
use wire::DropReason::{self, *};
use wire::Offender;

fn limits(key: &str) -> RateLimits {
    let (one, mut limits) = (Rate::new(1).unwrap(), common::no_limits());
    match key {
        "tep_frames" => limits.tep_frames = one,
        "domain_copies" => limits.domain_copies = one,
        "domain_bits" => limits.domain_bits = one,
        "node_copies" => limits.node_copies = one,
        "control_copies" => limits.control_copies = one,
        "failover_copies" => limits.failover_copies = one,
        _ => panic!("{key}: no such limit"),
    }
    limits
}

/// A worker in the state of the case, and frames that it takes before the case's own.
fn rig(state: State) -> (FakeRig, usize) {
    let mut options = Options::default();
    let (mut members, mut before) = (3, 0);
    match state {
        State::Any | State::Fragments | State::VirtualIp | State::BfdRate => {}
        State::Limited(key) => (options.settings.limits, before) = (limits(key), 1),
        State::Queued => (options.teps, members, before) = (16_384, 16_384, 2),
        State::PuntRate => options.settings.punt_rate = 0,
        State::NoTap => options.tap = false,
        State::Strangers => options.strangers = 0,
    }
    let mut rig = FakeRig::new(options);
    let other = [1, 2].map(common::index);
    rig.domains.set(5002.into(), &other).unwrap();
    rig.domain(5001, members);
    if state == State::VirtualIp {
        rig.virtual_ip(5001, frames::VIP);
    }
    if state == State::BfdRate {
        // Beside the port: what is received so is not counted.
        let now_ns = rig.worker.clock.now.load(Relaxed);
        let (tep, node) = ((common::index(0), common::tep(0).address()), common::NODE);
        let heard = Heard { tep, node, inner: &[] };
        let taken = std::iter::repeat_with(|| rig.worker.bfd.receive(heard, now_ns));
        assert_eq!(taken.take(21).last(), Some(Err(BfdRate)));
    }
    (rig, before)
}

#[test]
fn every_reason_has_frames_that_are_dropped_for_it_alone() {
    let parties = parties(0);
    for reason in DropReason::ALL {
        let cases = parties.frames(reason);
        assert!(!cases.is_empty(), "{reason} has no frame");
        for Case { what, state, frame } in cases {
            let (mut rig, before) = rig(state);
            for _ in 0..before {
                rig.receive(frame.clone());
            }
            let offender = Offender::of_frame(&frame);
            rig.receive(frame);
            let totals = rig.settle();
            assert_eq!(totals.drops, [(reason, 1)], "{reason}, {what}");
            assert_eq!((totals.accepted, totals.punted), (before as u64, 0), "{reason}, {what}");
            is_attributed(&rig, reason, &offender, &format!("{reason}, {what}"));
            rig.no_buffer_is_missing();
        }
    }
}

/// Checks that the only drop is counted for its TEP and domain where it has them, and that the sender is the only offender.
fn is_attributed(rig: &FakeRig, reason: DropReason, offender: &Offender, case: &str) {
    let without = matches!(
        reason,
        Runt | OuterVlan
            | IpHeader
            | IpFragment
            | IpSource
            | GreHeader
            | GreProtocol
            | GreNoKey
            | TepUnknown
            | PuntRedirect
            | PuntStranger
            | PuntLimited
            | PuntOff
    );
    let one = if without { vec![] } else { vec![(reason, 1)] };
    let of_tep: Vec<_> = rig.cells.tep_drops(common::index(0)).frames().collect();
    assert_eq!(of_tep, one, "{case}");
    // One that names another domain than that of the case, or none.
    let domain = |vni: u32| rig.domains.get(vni.into()).unwrap().domain();
    let of_domain: Vec<_> = [5001, 5002]
        .iter()
        .flat_map(|&vni| rig.cells.domain_drops(domain(vni)).frames().collect::<Vec<_>>())
        .collect();
    let without = matches!(reason, BfdRate | BfdMalformed | BfdDiscarded | VniUnknown);
    assert_eq!(of_domain, if without { vec![] } else { one }, "{case}");
    let counted = [5001, 5002].map(|vni| rig.cells.domain(domain(vni)).drops.get()).iter().sum::<u64>();
    assert_eq!(counted, of_domain.len() as u64, "{case}");
    for other in DropReason::ALL {
        let offences: Vec<_> = rig.cells.offenders.of(other).collect();
        let [offence] = &offences[..] else {
            assert!(offences.is_empty() && other != reason, "{case}: {offences:?}");
            continue;
        };
        assert_eq!((other, offence.reason, offence.count), (reason, reason, 1), "{case}");
        let named = offence.offender;
        assert_eq!((named.source, named.key), (offender.source, offender.key), "{case}");
        // Behind a short inner frame there may be padding.
        assert!(named.macs == offender.macs || reason == InnerRunt, "{case}: {named:?}, {offender:?}");
    }
}

#[test]
fn an_offender_is_a_source_and_a_vni_with_the_macs_of_its_latest_frame_and_the_last_ones_are_kept() {
    let mut rig = FakeRig::new(Options { teps: 3, ..Options::default() });
    rig.domain(5001, 3);
    let unicast = |mac: u8| frames::ethernet([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 7, mac], 0x0800, &[0; 46]);
    for mac in 1..=3 {
        rig.receive(parties(0).overlay(&unicast(mac)));
    }
    rig.receive(parties(1).overlay(&unicast(9)));
    rig.settle();
    let mut offences: Vec<_> = rig.cells.offenders.of(InnerUnicast).collect();
    offences.sort_by_key(|offence| offence.offender.source);
    let seen = |mac: u8| Some([[2, 0, 0, 0, 7, mac], [2, 0, 0, 0, 0, 1]].map(wire::MacAddr));
    let expected = [(parties(0).tep, 3, seen(3)), (parties(1).tep, 1, seen(9))];
    let got: Vec<_> =
        offences.iter().map(|o| (o.offender.source.unwrap(), o.count, o.offender.macs)).collect();
    assert_eq!(got, expected);
    // A flood from forged addresses fills no more rows than there are, and the latest are among them.
    for number in 0..10_000 {
        let stranger =
            frames::Parties { tep: std::net::Ipv4Addr::from_bits(0x0a00_0001 + number), ..parties(0) };
        rig.receive(stranger.overlay(&broadcast(number, 60)));
        if number % 1000 == 999 {
            rig.worker.clock.now.fetch_add(1_000, Relaxed);
            rig.settle();
        }
    }
    let known: Vec<_> = rig.cells.offenders.of(TepUnknown).collect();
    assert!((engine::offenders::WAYS..=engine::offenders::ROWS).contains(&known.len()), "{}", known.len());
    let last = std::net::Ipv4Addr::from_bits(0x0a00_0001 + 9_999);
    assert!(known.iter().any(|offence| offence.offender.source == Some(last)), "{known:?}");
    assert_eq!(rig.cells.offenders.of(InnerUnicast).count(), 2, "of other reasons they take no room");
}

#[test]
fn a_limit_names_the_tep_and_the_domain_that_were_over_it() {
    for (key, reason) in [
        ("tep_frames", TepRate),
        ("domain_copies", DomainRate),
        ("control_copies", ControlRate),
        ("failover_copies", FailoverRate),
    ] {
        let settings = engine::runtime::RuntimeSettings { limits: limits(key), ..settings() };
        let mut rig = FakeRig::new(Options { settings, ..Options::default() });
        rig.domain(5001, 3);
        rig.virtual_ip_of(5001, frames::VIP, &[([0x52, 0x54, 0, 0, 0, 1], 1)]);
        let inner = match reason {
            ControlRate => frames::garp([2, 0, 0, 0, 9, 9], std::net::Ipv4Addr::new(10, 0, 0, 7)),
            FailoverRate => frames::garp([0x52, 0x54, 0, 0, 0, 1], frames::VIP),
            _ => broadcast(1, 60),
        };
        for _ in 0..6 {
            rig.receive(parties(1).overlay(&inner));
        }
        let drops = rig.settle().drops;
        let [(found, count)] = drops[..] else { panic!("{key}: {drops:?}") };
        assert_eq!(found, reason);
        let [offence] = rig.cells.offenders.of(reason).collect::<Vec<_>>()[..] else { panic!("{key}") };
        let named = offence.offender;
        assert_eq!(
            (named.source, named.key, offence.count),
            (Some(parties(1).tep), Some(5001), count),
            "{key}"
        );
        assert_eq!(named.macs.unwrap()[0].0, inner[6..12], "{key}");
        assert_eq!(rig.cells.tep_drops(common::index(1)).frames().collect::<Vec<_>>(), drops, "{key}");
    }
}

#[test]
fn good_frames_around_those_that_are_dropped_are_forwarded_in_order() {
    let parties = parties(0);
    let mut rig = FakeRig::new(Options::default());
    rig.domain(5001, 3);
    rig.domains.set(5002.into(), &[1, 2].map(common::index)).unwrap();
    let mut dropped = 0;
    for reason in DropReason::ALL {
        for Case { frame, .. } in parties.frames(reason).into_iter().filter(|case| case.state == State::Any) {
            rig.receive(parties.overlay(&broadcast(dropped, 60)));
            rig.receive(frame);
            dropped += 1;
        }
    }
    assert!(dropped > 40, "{dropped}");
    let totals = rig.settle();
    let drops: u64 = totals.drops.iter().map(|(_, count)| count).sum();
    assert_eq!((totals.accepted, drops), (dropped.into(), dropped.into()));
    let numbers: Vec<u32> =
        rig.sent().iter().map(|copy| frames::number(&copy[frames::at::INNER..])).collect();
    let expected: Vec<u32> = (0..dropped).flat_map(|number| [number; 2]).collect();
    assert_eq!(numbers, expected);
    rig.no_buffer_is_missing();
}

#[test]
fn a_limit_that_is_off_drops_nothing() {
    let parties = parties(0);
    let limits = RateLimits { enabled: false, ..limits("tep_frames") };
    let mut rig = FakeRig::new(Options {
        settings: engine::runtime::RuntimeSettings { limits, ..settings() },
        ..Options::default()
    });
    rig.domain(5001, 3);
    (0..100).for_each(|number| rig.receive(parties.overlay(&broadcast(number, 60))));
    assert_eq!(rig.settle().accepted, 100);
}

#[test]
fn an_announcement_counts_only_if_its_frame_is_sent_or_queued() {
    let parties = parties(0);
    let mut rig = FakeRig::new(Options { teps: 16_384, ..Options::default() });
    rig.domain(5001, 16_384);
    let (one, other) = ([0x52, 0x54, 0, 0, 0, 1], [0x52, 0x54, 0, 0, 0, 2]);
    rig.virtual_ip_of(5001, frames::VIP, &[(one, 0), (other, 0)]);
    let claims =
        |rig: &FakeRig| [0, 1].map(|id| rig.inspection.board.read(AnnouncerId::new(id).unwrap()).claim_ns);
    let claim = |mac| parties.overlay(&frames::garp(mac, frames::VIP));

    // The port does not carry it, padded as it is.
    let mut long = frames::garp(one, frames::VIP);
    long.resize(1_473, 0);
    rig.receive(parties.overlay(&long));
    rig.settle();
    assert_eq!(claims(&rig), [0, 0], "too long");

    // Queued: a turn serves a quantum, as time passes with each reading of the clock.
    rig.worker.clock.step.store(50_000, Relaxed);
    rig.receive(claim(one));
    rig.poll();
    let [queued, none] = claims(&rig);
    assert!(queued > 0 && none == 0, "queued");

    // A domain's control frames have at most 1,048,576 copies waiting.
    (0..96).for_each(|_| rig.receive(claim(one)));
    (0..3).for_each(|_| _ = rig.poll());
    let full = |rig: &FakeRig| rig.cells.totals.drops[DropReason::FanoutQueueFull.index()].get();
    let before = full(&rig);
    assert!(before > 0, "the queue is full");
    rig.receive(claim(other));
    rig.poll();
    assert_eq!((full(&rig), claims(&rig)[1]), (before + 1, 0), "no room");
    rig.worker.clock.step.store(0, Relaxed);
    rig.settle();

    // Sent, to a domain without so many members.
    rig.domain(5001, 3);
    rig.receive(claim(other));
    rig.settle();
    assert!(claims(&rig)[1] > queued, "sent");
    rig.no_buffer_is_missing();
}

#[test]
fn reverse_arp_before_its_attachment_is_remembered_also_from_a_tep_that_is_no_member_yet() {
    let mut rig = FakeRig::new(Options::default());
    rig.domain(5001, 3);
    let instance = [0x52, 0x54, 0, 0, 0, 1];
    rig.virtual_ip_of(5001, frames::VIP, &[(instance, 0)]);
    let mut reverse = frames::garp(instance, Ipv4Addr::UNSPECIFIED);
    (reverse[12], reverse[13], reverse[21]) = (0x80, 0x35, 3);
    let arrivals = |rig: &FakeRig| rig.cells.totals.announcements[3].get();
    for (from, dropped, remembered, counted) in [(0, 0, false, 1), (1, 0, true, 1), (3, 1, true, 1)] {
        rig.receive(parties(from).overlay(&reverse));
        rig.settle();
        let not_member = rig.cells.totals.drops[DropReason::TepNotMember.index()].get();
        assert_eq!((not_member, arrivals(&rig)), (dropped, counted), "from TEP {from}");
        let waits = rig.inspection.rejected.pop();
        assert_eq!(waits.is_some(), remembered, "from TEP {from}");
        if let Some(waits) = waits {
            assert_eq!((waits.reason, waits.mac, waits.tep.index()), (RejectReason::Arrival, instance, from));
        }
        assert!(rig.inspection.rejected.is_empty());
    }
    assert!(rig.inspection.board.read(AnnouncerId::new(0).unwrap()).arrival_ns > 0, "where it is attached");
    rig.no_buffer_is_missing();
}

#[test]
fn refused_frames_are_charged_to_their_tep_and_no_more_of_them_are_reported() {
    let limits = RateLimits { tep_frames: Rate::new(1_000).unwrap(), ..common::no_limits() };
    let settings = engine::runtime::RuntimeSettings { limits, ..settings() };
    let mut rig = FakeRig::new(Options { settings, ..Options::default() });
    rig.domain(5001, 3);
    rig.virtual_ip(5001, frames::VIP);
    let (attacker, other) = (parties(0), parties(1));
    let forged = frames::garp([2, 0, 0, 0, 0, 6], frames::VIP);
    (0..5_000).for_each(|_| rig.receive(attacker.overlay(&forged)));
    let drops = rig.settle().drops;
    assert_eq!(drops, [(DropReason::GarpSpoof, 5_000)], "each is counted for what it is");
    // A bucket holds 20 ms.
    let reported = std::iter::from_fn(|| rig.inspection.rejected.pop()).count();
    assert!((20..25).contains(&reported), "{reported}");
    assert_eq!(rig.cells.totals.rejected_lost.get(), 5_000 - reported as u64);
    // Its other frames are over the limit now, and those of another TEP are not.
    rig.receive(attacker.overlay(&broadcast(1, 60)));
    rig.receive(other.overlay(&broadcast(2, 60)));
    rig.receive(other.overlay(&forged));
    let totals = rig.settle();
    assert_eq!(totals.drops, [(DropReason::GarpSpoof, 5_001), (DropReason::TepRate, 1)]);
    assert_eq!((totals.accepted, rig.inspection.rejected.len()), (1, 1));
}
