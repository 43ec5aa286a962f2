//! The probe: which frames are sampled, with which verdict, and what it does when its ring is full.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod common;
mod frames;
#[path = "common/parties.rs"]
mod parties;

use common::{FakeRig, Options, tep};
use engine::probe::{Filter, RING, SAMPLE_LEN, Sample, Verdict};
use frames::{State, broadcast};
use parties::parties;
use wire::DropReason;

fn rig() -> FakeRig {
    let mut rig = FakeRig::new(Options::default());
    rig.domain(5001, 3);
    rig.domains.set(5002.into(), &[1, 2].map(common::index)).unwrap();
    rig
}

fn samples(rig: &FakeRig) -> Vec<Sample> {
    std::iter::from_fn(|| rig.config.probe.take()).collect()
}

#[test]
fn every_frame_is_sampled_with_its_verdict_and_its_first_bytes() {
    let mut rig = rig();
    let good = parties(0).overlay(&broadcast(1, 300));
    rig.receive(good.clone());
    rig.settle();
    assert_eq!(samples(&rig), [], "it is off");
    rig.config.probe.start(Filter::default());
    let cases = DropReason::ALL.into_iter().flat_map(|reason| {
        let cases = parties(0).frames(reason).into_iter().filter(|case| case.state == State::Any);
        cases.map(move |case| (Verdict::Dropped(reason), case.frame))
    });
    let others = [(Verdict::Accepted, good.clone()), (Verdict::Punted, parties(0).for_the_node())];
    for (verdict, frame) in cases.chain(others) {
        rig.receive(frame.clone());
        rig.settle();
        let samples = samples(&rig);
        assert_eq!(samples.len(), 1, "{verdict:?}");
        assert_eq!((samples[0].verdict, samples[0].len), (verdict, frame.len()));
        assert_eq!(samples[0].bytes(), &frame[..frame.len().min(SAMPLE_LEN)]);
        if verdict == Verdict::Accepted {
            assert_eq!((samples[0].vni, samples[0].tep), (Some(5001.into()), Some(tep(0).address())));
            assert!(samples[0].at_ns > 0);
        }
    }
    rig.config.probe.stop();
    rig.receive(good);
    rig.settle();
    assert_eq!((samples(&rig), rig.config.probe.lost()), (vec![], 0));
    rig.no_buffer_is_missing();
}

#[test]
fn a_filter_lets_those_through_that_match_all_of_it() {
    let (dropped, accepted) = (Verdict::Dropped(DropReason::TepNotMember), Verdict::Accepted);
    let vni = |vni: u32| Filter { vni: Some(vni.into()), ..Filter::default() };
    let from = |sender| Filter { tep: Some(tep(sender).address()), ..Filter::default() };
    let with = |verdict| Filter { verdict: Some(verdict), ..Filter::default() };
    for (filter, expected) in [
        (Filter::default(), 4),
        (vni(5001), 2),
        (vni(5002), 1),
        (vni(9), 0),
        (from(0), 3),
        (from(1), 1),
        (with(accepted), 2),
        (with(dropped), 1),
        (with(Verdict::Punted), 0),
        (Filter { tep: Some(tep(0).address()), ..with(accepted) }, 1),
        (Filter { verdict: Some(dropped), ..vni(5001) }, 0),
    ] {
        let mut rig = rig();
        rig.config.probe.start(filter);
        rig.receive(parties(0).overlay(&broadcast(1, 60)));
        rig.receive(parties(1).overlay(&broadcast(2, 60)));
        rig.receive(parties(0).overlay_from(tep(0).address(), 5002, &broadcast(3, 60)));
        rig.receive(parties(0).overlay_from(tep(0).address(), 77, &broadcast(4, 60)));
        rig.settle();
        assert_eq!(samples(&rig).len(), expected, "{filter:?}");
    }
}

#[test]
fn a_fan_out_that_finds_no_room_is_sampled_as_dropped() {
    let mut rig = FakeRig::new(Options { teps: 16_384, ..Options::default() });
    rig.domain(5001, 16_384);
    rig.config.probe.start(Filter::default());
    (0..3).for_each(|number| rig.receive(parties(0).overlay(&broadcast(number, 60))));
    rig.poll();
    let verdicts: Vec<_> = samples(&rig).iter().map(|sample| sample.verdict).collect();
    let full = Verdict::Dropped(DropReason::FanoutQueueFull);
    assert_eq!(verdicts, [Verdict::Accepted, Verdict::Accepted, full]);
}

#[test]
fn a_full_ring_loses_samples_counts_them_and_forwards_as_ever() {
    let mut rig = rig();
    rig.config.probe.start(Filter::default());
    (0..2000).for_each(|number| rig.receive(parties(0).overlay(&broadcast(number, 60))));
    assert_eq!(rig.settle().accepted, 2000);
    assert_eq!(rig.config.probe.lost(), 2000 - RING as u64);
    assert_eq!(samples(&rig).len(), RING);
    // A new start forgets what was lost.
    rig.config.probe.start(Filter::default());
    assert_eq!(rig.config.probe.lost(), 0);
}
