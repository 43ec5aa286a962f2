//! Large fan-outs: whose turn it is, in which order copies are made, and when a fan-out is aborted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod common;
mod frames;

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use common::{FakeRig, NEXT_HOP, NODE, Options, PORT_MAC, tep};
use engine::fanout::{Class, QUANTUM};
use frames::{Parties, advert, at, broadcast, garp};
use proptest::prelude::*;
use wire::{CopyDropReason, DropReason};

/// A turn's budget and more, nanoseconds: with it a clock that moves at each reading gives each class one quantum a turn.
const STEP: u64 = 20_000;

/// VNI of the domain with number 0: VNI 0 is no domain's.
const FIRST_VNI: u32 = 1;

/// Frame number `number` of a class into a domain.
fn frame(vni: u32, class: Class, number: u32) -> Vec<u8> {
    let parties = Parties {
        node: NODE,
        node_mac: PORT_MAC.0,
        tep: tep(0).address(),
        tep_mac: NEXT_HOP.0,
        vni: FIRST_VNI + vni,
        other_vni: 0,
    };
    parties.overlay(&match class {
        Class::Data => broadcast(number, 60),
        Class::Control => garp([2, 0, 0, 0, 0, 1], Ipv4Addr::from_bits(number)),
        Class::Failover => advert([2, 0, 0, 0, 0, 1], Ipv4Addr::from_bits(number)),
    })
}

/// The number of a copy's frame.
fn number(copy: &[u8]) -> u32 {
    let inner = &copy[at::INNER..];
    let at = match inner[12..14] {
        [0x08, 0x06] => 28..32,
        [0x08, 0x00] => 42..46,
        _ => 14..18,
    };
    u32::from_be_bytes(inner[at].try_into().unwrap())
}

/// Numbers of copies in a row, each with how many there were.
fn runs(copies: &[Vec<u8>]) -> Vec<(u32, usize)> {
    let mut runs: Vec<(u32, usize)> = Vec::new();
    for number in copies.iter().map(|copy| number(copy)) {
        match runs.last_mut() {
            Some((last, count)) if *last == number => *count += 1,
            _ => runs.push((number, 1)),
        }
    }
    runs
}

fn rig(domains: &[usize]) -> FakeRig {
    let most = domains.iter().copied().max().unwrap_or(1);
    let mut rig = FakeRig::new(Options { teps: most, ..Options::default() });
    (0..).zip(domains).for_each(|(vni, &members)| rig.domain(FIRST_VNI + vni, members));
    rig.worker.clock.step.store(STEP, Relaxed);
    rig
}

#[test]
fn domains_take_turns_of_a_quantum_and_a_small_one_does_not_wait_for_a_large_one() {
    let mut rig = rig(&[1001, 301, 3]);
    for vni in [0, 1, 2] {
        rig.receive(frame(vni, Class::Data, vni));
    }
    rig.settle();
    let quantum = QUANTUM;
    let expected = [
        (2, 2),
        (0, quantum),
        (1, quantum),
        (0, quantum),
        (1, quantum),
        (0, quantum),
        (1, 300 - 2 * quantum),
        (0, 1000 - 3 * quantum),
    ];
    assert_eq!(runs(&rig.sent()), expected);
}

#[test]
fn a_short_frame_of_a_domain_whose_large_one_waits_stays_behind_it() {
    let mut rig = rig(&[1001]);
    rig.receive(frame(0, Class::Data, 1));
    rig.poll();
    rig.domain(FIRST_VNI, 3);
    rig.receive(frame(0, Class::Data, 2));
    rig.settle();
    assert_eq!(runs(&rig.sent()), [(1, 1000), (2, 2)], "and the first goes to the members of its time");
}

#[test]
fn control_fan_outs_go_before_those_of_data_that_wait_for_longer() {
    let mut rig = rig(&[2001, 401]);
    rig.receive(frame(0, Class::Data, 1));
    rig.poll();
    rig.receive(frame(1, Class::Control, 2));
    rig.settle();
    let runs = runs(&rig.sent());
    let before: usize = runs.iter().take_while(|(number, _)| *number == 1).map(|(_, count)| count).sum();
    let end = runs.iter().rposition(|(number, _)| *number == 2).unwrap();
    let between: usize = runs[..end].iter().filter(|(number, _)| *number == 1).map(|(_, count)| count).sum();
    // Each turn serves both classes, control first, and once more with the frames that came.
    assert_eq!((before, between), (QUANTUM, 3 * QUANTUM));
}

#[test]
fn each_frame_finds_its_domains_flow_however_many_wait() {
    let domains = 400;
    let mut rig = FakeRig::new(Options { teps: 130, ..Options::default() });
    (0..domains).for_each(|vni| rig.domain(FIRST_VNI + vni, 130));
    rig.worker.clock.step.store(STEP, Relaxed);
    for round in 0..2 {
        (0..domains).for_each(|vni| rig.receive(frame(vni, Class::Data, vni + round * domains)));
    }
    let totals = rig.settle();
    assert_eq!((totals.accepted, totals.drops.len()), (u64::from(2 * domains), 0));
    let sent = rig.sent();
    assert_eq!(sent.len(), 129 * 2 * domains as usize);
    let mut last = vec![0; domains as usize];
    for copy in &sent {
        let number = number(copy);
        let round = number / domains;
        let seen = &mut last[(number % domains) as usize];
        assert!(*seen <= round, "a later frame of domain {} was first", number % domains);
        *seen = round;
    }
    rig.no_buffer_is_missing();
}

#[test]
fn no_few_domains_take_all_of_the_queue_and_what_does_not_fit_is_counted() {
    let mut rig = rig(&[130, 16_384]);
    // As many short fan-outs of one domain as are a quarter of what is free, less what grows smaller with each.
    for number in 0..1000 {
        rig.receive(frame(0, Class::Data, number));
    }
    let before = rig.cells.totals.drops[DropReason::FanoutQueueFull.index()].get();
    for _ in 0..1000 / 32 {
        rig.poll();
    }
    assert_eq!(before, 0);
    let totals = rig.settle();
    let full = totals.drops[0];
    assert_eq!(full.0, DropReason::FanoutQueueFull);
    assert_eq!(totals.accepted + full.1, 1000);
    assert!((204..400).contains(&totals.accepted), "{}", totals.accepted);
    rig.no_buffer_is_missing();
}

/// Waits until somebody waits for what the worker holds.
fn until_awaited(rig: &FakeRig) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !rig.worker.reader.is_awaited() {
        assert!(Instant::now() < deadline, "nobody waits");
        std::thread::yield_now();
    }
}

#[test]
fn an_old_fan_out_is_aborted_where_a_removal_waits_for_its_end_and_goes_on_where_none_does() {
    for (removed, age_ns) in [(false, 3_000_000), (true, 1_000_000), (true, 3_000_000)] {
        let mut rig = rig(&[16_384, 10_000]);
        rig.receive(frame(0, Class::Data, 1));
        rig.receive(frame(1, Class::Data, 2));
        rig.poll();
        rig.domain(FIRST_VNI, 2);
        let (epoch, grace) = (rig.domains.epoch(), rig.grace.clone());
        rig.worker.clock.step.store(0, Relaxed);
        rig.worker.clock.now.fetch_add(age_ns, Relaxed);
        let totals = std::thread::scope(|scope| {
            if removed {
                scope.spawn(move || grace.wait(epoch, Duration::from_secs(60)));
                rig.worker.reader.quiesce();
                until_awaited(&rig);
            }
            rig.settle()
        });
        let aborted = removed && age_ns > 2_000_000;
        let dropped = totals.copy_drops.iter().map(|&(reason, count)| {
            assert_eq!(reason, CopyDropReason::FanoutAborted);
            count
        });
        let dropped: u64 = dropped.sum();
        assert_eq!(dropped > 20_000, aborted, "{dropped} after {age_ns} ns");
        assert!(aborted || dropped == 0, "{dropped}");
        rig.no_buffer_is_missing();
    }
}

/// A domain, and the numbers and missing copies of its jobs.
type Flow = (u32, VecDeque<(u32, usize)>);

/// Deficit round robin as it is in the books, over lists: a naive model of the queue.
#[derive(Default)]
struct Model {
    /// Flows that wait, by class.
    turns: [VecDeque<Flow>; 3],
    sent: Vec<(u32, usize)>,
}

impl Model {
    fn send(&mut self, number: u32, copies: usize) {
        match self.sent.last_mut() {
            Some((last, count)) if *last == number => *count += copies,
            _ if copies > 0 => self.sent.push((number, copies)),
            _ => {}
        }
    }

    fn receive(&mut self, class: Class, vni: u32, number: u32, copies: usize) {
        match self.turns[class as usize].iter_mut().find(|flow| flow.0 == vni) {
            Some(flow) => flow.1.push_back((number, copies)),
            None if copies > QUANTUM => {
                self.turns[class as usize].push_back((vni, [(number, copies)].into()));
            }
            None => self.send(number, copies),
        }
    }

    fn serve(&mut self, class: Class) {
        let Some((vni, mut jobs)) = self.turns[class as usize].pop_front() else { return };
        let mut deficit = QUANTUM;
        while let Some((number, left)) = jobs.front_mut()
            && deficit > 0
        {
            let copies = deficit.min(*left);
            (*left, deficit) = (*left - copies, deficit - copies);
            let (number, done) = (*number, *left == 0);
            if done {
                jobs.pop_front();
            }
            self.send(number, copies);
        }
        if !jobs.is_empty() {
            self.turns[class as usize].push_back((vni, jobs));
        }
    }

    /// A turn with a burst of frames: domain, class, number.
    fn turn(&mut self, burst: &[(u32, Class, u32)], members: &[usize]) {
        for class in Class::ALL {
            for &(vni, _, number) in burst.iter().filter(|frame| frame.1 == class) {
                self.receive(class, vni, number, members[vni as usize] - 1);
            }
            if class != Class::Data && !burst.is_empty() {
                self.serve(class);
            }
        }
        Class::ALL.into_iter().for_each(|class| self.serve(class));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_serves_as_deficit_round_robin_does(
        members in prop::collection::vec(prop_oneof![2..40_usize, 120..140_usize, 200..700_usize], 1..6),
        bursts in prop::collection::vec(prop::collection::vec((any::<prop::sample::Index>(), 0..3_usize), 0..5), 1..24),
    ) {
        let mut rig = rig(&members);
        let (mut model, mut number) = (Model::default(), 0);
        for burst in &bursts {
            let burst: Vec<_> = burst.iter().map(|(domain, class)| {
                number += 1;
                (u32::try_from(domain.index(members.len())).unwrap(), Class::ALL[*class], number)
            }).collect();
            burst.iter().for_each(|&(vni, class, number)| rig.receive(frame(vni, class, number)));
            rig.poll();
            model.turn(&burst, &members);
            prop_assert_eq!(runs(&rig.sent()), std::mem::take(&mut model.sent));
        }
        // What is left goes turn by turn, too.
        while model.turns.iter().any(|turns| !turns.is_empty()) {
            rig.poll();
            model.turn(&[], &members);
            prop_assert_eq!(runs(&rig.sent()), std::mem::take(&mut model.sent));
        }
        let totals = rig.settle();
        prop_assert!(rig.worker.queue.is_empty());
        prop_assert_eq!((totals.accepted, totals.drops.len()), (u64::from(number), 0));
        rig.no_buffer_is_missing();
    }
}
