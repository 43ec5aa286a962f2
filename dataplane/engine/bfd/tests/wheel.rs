//! The timer wheel beside a naive model: an ordered map.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;

use bfd::{Popped, UnknownTimer, Wheel};
use proptest::prelude::*;

const TICK_NS: u64 = 1 << 17;
const TIMERS: u32 = 40;

/// Timer to time asked for, nanoseconds.
type Model = BTreeMap<u32, u64>;

#[derive(Clone, Debug)]
enum Step {
    Schedule(u32, u64),
    Cancel(u32),
    Advance(u64),
}

/// Delays of all levels: within a tick, 50 ms, seconds, hours, and beyond the last level.
fn delay() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..TICK_NS * 3,
        0..100_000_000_u64,
        0..600_000_000_u64,
        0..60_000_000_000_u64,
        0..10_000_000_000_000_u64,
        0..20_000_000_000_000_000_u64,
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..TIMERS, delay()).prop_map(|(timer, delay)| Step::Schedule(timer, delay)),
        1 => (0..TIMERS).prop_map(Step::Cancel),
        3 => prop_oneof![
            0..TICK_NS * 2, 0..700_000_000_u64, 0..40_000_000_000_u64, 0..3_000_000_000_000_u64
        ].prop_map(Step::Advance),
    ]
}

/// All timers that the wheel has for this time.
fn due(wheel: &mut Wheel, now_ns: u64) -> Vec<u32> {
    let mut timers = vec![];
    loop {
        match wheel.pop(now_ns) {
            Popped::Due(timer) => timers.push(timer),
            Popped::Unfinished => {}
            Popped::Nothing => break,
        }
    }
    timers.sort_unstable();
    timers
}

/// All timers that the model has for this time: those whose tick has begun.
fn expected(model: &mut Model, now_ns: u64) -> Vec<u32> {
    let is_due = |at_ns: u64| at_ns.div_ceil(TICK_NS) <= now_ns / TICK_NS;
    let timers: Vec<u32> = model.iter().filter(|(_, at)| is_due(**at)).map(|(timer, _)| *timer).collect();
    model.retain(|_, at| !is_due(*at));
    timers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn the_wheel_gives_what_a_naive_model_gives(
        start in 0..1_u64 << 50, steps in proptest::collection::vec(step(), 1..120),
    ) {
        let (mut now_ns, mut model) = (start, Model::new());
        let mut wheel = Wheel::new(TIMERS, now_ns);
        for step in steps {
            match step {
                Step::Schedule(timer, delay_ns) => {
                    wheel.schedule(timer, now_ns + delay_ns).unwrap();
                    model.insert(timer, now_ns + delay_ns);
                }
                Step::Cancel(timer) => {
                    wheel.cancel(timer).unwrap();
                    model.remove(&timer);
                }
                Step::Advance(by_ns) => {
                    now_ns += by_ns;
                    prop_assert_eq!(due(&mut wheel, now_ns), expected(&mut model, now_ns));
                }
            }
            prop_assert_eq!(wheel.len() as usize, model.len());
        }
        // Each timer comes in its own tick, neither before nor after.
        while let Some(&at_ns) = model.values().min() {
            let tick = at_ns.div_ceil(TICK_NS);
            if (tick * TICK_NS).saturating_sub(1) >= now_ns {
                prop_assert_eq!(due(&mut wheel, tick * TICK_NS - 1), vec![]);
            }
            now_ns = now_ns.max(tick * TICK_NS);
            prop_assert_eq!(due(&mut wheel, now_ns), expected(&mut model, now_ns));
        }
        prop_assert!(wheel.is_empty());
    }
}

#[test]
fn ten_thousand_timers_at_50_ms_each_come_once_an_interval() {
    let (timers, interval_ns) = (10_000_u32, 50_000_000_u64);
    let mut wheel = Wheel::new(timers, 0);
    let mut next: Vec<u64> = (0..timers).map(|timer| u64::from(timer) * 5_000).collect();
    for timer in 0..timers {
        wheel.schedule(timer, next[timer as usize]).unwrap();
    }
    let mut fired = vec![0_u32; timers as usize];
    for now_ns in (0..1_000_000_000).step_by(20_000) {
        while let Popped::Due(timer) = wheel.pop(now_ns) {
            let at = timer as usize;
            assert!(next[at] <= now_ns && now_ns < next[at] + TICK_NS + 20_000, "{timer} at {now_ns}");
            next[at] += interval_ns;
            fired[at] += 1;
            wheel.schedule(timer, next[at]).unwrap();
        }
    }
    assert!(fired.iter().all(|count| (19..=20).contains(count)));
    assert_eq!(wheel.len(), timers);
}

#[test]
fn a_call_moves_a_bounded_number_of_timers_and_the_next_goes_on() {
    let mut wheel = Wheel::new(1_000, 0);
    for timer in 0..1_000 {
        wheel.schedule(timer, 1_100_000_000).unwrap();
    }
    // All of them are in one slot of level 1, which begins after 2 x 537 ms.
    let mut unfinished = 0;
    while wheel.pop(1_080_000_000) == Popped::Unfinished {
        unfinished += 1;
        // A timer may be moved or cancelled in between.
        wheel.schedule(unfinished, 1_090_000_000).unwrap();
    }
    assert_eq!(unfinished, 1_000 / 64);
    assert_eq!(due(&mut wheel, 1_090_200_000).len(), unfinished as usize);
    assert_eq!(due(&mut wheel, 1_101_000_000).len(), 1_000 - unfinished as usize);
}

#[test]
fn a_timer_that_the_wheel_does_not_have_is_refused() {
    let mut wheel = Wheel::new(2, 0);
    assert_eq!(wheel.schedule(2, 5), Err(UnknownTimer { timer: 2, capacity: 2 }));
    assert_eq!(wheel.cancel(u32::MAX), Err(UnknownTimer { timer: u32::MAX, capacity: 2 }));
    wheel.schedule(1, 5).unwrap();
    wheel.schedule(1, u64::MAX).unwrap();
    assert!(wheel.is_empty(), "no deadline is no timer");
    assert_eq!(wheel.pop(u64::MAX), Popped::Nothing);
}
