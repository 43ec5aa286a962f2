//! Each reason to drop a frame, by frames: its counter grows by one, no other does, and good frames around it are forwarded.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod common;
mod frames;
#[path = "common/parties.rs"]
mod parties;

use std::sync::atomic::Ordering::Relaxed;

use bcast_domain::{AnnouncerId, Rate};
use common::{FakeRig, Options, settings};
use engine::police::RateLimits;
use frames::{Case, State, broadcast};
use parties::parties;
use wire::DropReason;

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
        State::Any | State::Fragments | State::VirtualIp => {}
        State::Limited(key) => (options.settings.limits, before) = (limits(key), 1),
        State::Queued => (options.teps, members, before) = (16_384, 16_384, 2),
        State::PuntRate => options.settings.punt_rate = 0,
        State::NoTap => options.tap = false,
    }
    let mut rig = FakeRig::new(options);
    let other = [1, 2].map(common::index);
    rig.domains.set(5002.into(), &other).unwrap();
    rig.domain(5001, members);
    if state == State::VirtualIp {
        rig.virtual_ip(5001, frames::VIP);
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
            rig.receive(frame);
            let totals = rig.settle();
            assert_eq!(totals.drops, [(reason, 1)], "{reason}, {what}");
            assert_eq!((totals.accepted, totals.punted), (before as u64, 0), "{reason}, {what}");
            rig.no_buffer_is_missing();
        }
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
