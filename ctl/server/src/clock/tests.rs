//! A simulated processor whose counter does not go as it should.

use super::*;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
const DAY: u64 = 86_400 * SECOND;

/// Real time goes on, and three clocks with it.
struct World {
    real_ns: u64,
    worker_ns: u64,
    /// Excess of the workers' clock over real time, parts in a million.
    ppm: i64,
    /// Unix time less real time.
    wall_ns: u64,
    clock: Clock,
}

impl World {
    fn new(ppm: i64) -> Self {
        let wall_ns = 1_700_000_000 * SECOND;
        let mut world = Self { real_ns: SECOND, worker_ns: SECOND, ppm, wall_ns, clock: Clock::default() };
        world.mark();
        world
    }

    fn now(&self) -> Moment {
        Moment { worker_ns: self.worker_ns, steady_ns: self.real_ns, unix_ns: self.real_ns + self.wall_ns }
    }

    fn mark(&mut self) {
        let now = self.now();
        self.clock.mark(now);
    }

    /// Time passes, and nobody looks at a clock.
    fn pass(&mut self, ns: u64) {
        self.real_ns += ns;
        let drift = i128::from(ns) * i128::from(self.ppm) / 1_000_000;
        self.worker_ns = u64::try_from(i128::from(self.worker_ns) + i128::from(ns) + drift).unwrap();
    }

    /// Time passes, and the clocks are looked at every so often.
    fn watch(&mut self, ns: u64, every_ns: u64) {
        for _ in 0..ns / every_ns {
            self.pass(every_ns);
            self.mark();
        }
    }
}

/// The stamp is that of the moment: to the millisecond by Unix time, closer by the steady clock.
fn is_right(stamp: Stamp, event: Moment, what: &str) {
    let (shown, wall) = (stamp.unix_ms, event.unix_ns / MS);
    assert!(shown.abs_diff(wall) <= 1, "{what}: shown {shown}, was {wall}");
    let off = stamp.steady_ns.abs_diff(event.steady_ns);
    assert!(off < MS / 10, "{what}: {off} ns off by the steady clock");
}

#[test]
fn a_time_that_was_heard_is_within_a_millisecond_a_day_later_with_a_counter_that_is_0_2_percent_off() {
    for ppm in [2_000, -2_000, 0, 37] {
        let mut world = World::new(ppm);
        let (mut cell, mut known) = (AnnouncerTimes::default(), Vec::new());
        for number in 0..24 * 60 {
            world.watch(DAY / 24 / 60 - MS, 100 * MS - MS);
            world.pass(MS / 3);
            let event = world.now();
            world.pass(MS / 2);
            world.mark();
            let announcer = AnnouncerId::new(number).unwrap();
            let last = LastAnnounced { advert_ns: event.worker_ns, ..LastAnnounced::default() };
            let (steady, times) = cell.follow(announcer, last, &world.clock);
            assert_eq!(steady.advert_ns, times.advert.steady_ns);
            known.push((announcer, last, event, times));
        }
        for (announcer, last, event, times) in known {
            assert_eq!(
                cell.follow(announcer, last, &world.clock).1,
                times,
                "it stays what it was found to be"
            );
            is_right(times.advert, event, &format!("{ppm} ppm, {announcer}"));
            assert_eq!((times.claim, times.usage), (Stamp::default(), Stamp::default()), "never");
        }
    }
}

#[test]
fn a_counter_that_changes_its_rate_shows_right_times() {
    let mut world = World::new(0);
    for ppm in [2_000, 0, -2_000, 500_000, -500_000, 12] {
        world.ppm = ppm;
        for _ in 0..100 {
            world.watch(50 * MS, MS);
            world.pass(MS / 4);
            let event = world.now();
            world.pass(MS * 3 / 4);
            world.mark();
            is_right(world.clock.stamp(event.worker_ns), event, &format!("{ppm} ppm"));
        }
    }
}

#[test]
fn a_wall_clock_that_is_set_moves_no_time_from_before_and_all_after() {
    let mut world = World::new(2_000);
    let (mut announcer_times, announcer) = (AnnouncerTimes::default(), AnnouncerId::new(7).unwrap());
    for step in [3_600 * SECOND, 1_000 * DAY, 5 * MS] {
        for forward in [true, false] {
            world.watch(SECOND, MS);
            world.pass(MS / 2);
            let before = world.now();
            world.pass(MS / 2);
            world.mark();
            let last = LastAnnounced { claim_ns: before.worker_ns, ..LastAnnounced::default() };
            let times = announcer_times.follow(announcer, last, &world.clock).1;
            world.pass(MS / 4);
            world.wall_ns = if forward { world.wall_ns + step } else { world.wall_ns - step };
            world.pass(MS / 2);
            let after = world.now();
            world.pass(MS / 4);
            world.mark();
            is_right(world.clock.stamp(after.worker_ns), after, "after the clock was set");
            is_right(
                world.clock.stamp(before.worker_ns),
                before,
                "before it was set, and asked for only now",
            );
            world.watch(10 * SECOND, MS);
            assert_eq!(announcer_times.follow(announcer, last, &world.clock).1, times);
            is_right(times.claim, before, "before it was set");
        }
    }
}

#[test]
fn what_was_heard_while_the_commit_thread_was_held_up_has_its_right_time() {
    let mut world = World::new(2_000);
    world.watch(3 * SECOND, MS);
    let mut events = vec![world.now()];
    for _ in 0..600 {
        world.pass(100 * MS);
        events.push(world.now());
    }
    world.mark();
    for event in &events {
        is_right(world.clock.stamp(event.worker_ns), *event, "a minute without a look");
    }
    // Nor does it matter that it is taken later, as long as it is not much later.
    world.watch(SECOND, MS);
    for event in events.iter().rev().take(10) {
        is_right(world.clock.stamp(event.worker_ns), *event, "a second later");
    }
}

#[test]
fn what_is_older_or_newer_than_all_marks_goes_by_the_rate_that_they_show() {
    let mut world = World::new(2_000);
    let old = world.now();
    world.pass(10 * SECOND);
    world.clock = Clock::default();
    world.mark();
    world.watch(3 * SECOND, MS);
    is_right(world.clock.stamp(old.worker_ns), old, "ten seconds before the first mark");
    world.pass(SECOND);
    let new = world.now();
    is_right(world.clock.stamp(new.worker_ns), new, "a second behind the last");
}

#[test]
fn a_counter_that_is_set_back_starts_anew() {
    let mut world = World::new(0);
    world.watch(10 * SECOND, MS);
    // Two cores' counters differ by a little: no reason to forget anything.
    let (now, marks) = (world.now(), world.clock.moments.len());
    world.clock.mark(Moment { worker_ns: now.worker_ns - 50, ..now });
    assert_eq!(world.clock.moments.len(), marks);
    world.worker_ns = 5 * SECOND;
    world.mark();
    world.pass(MS / 2);
    let event = world.now();
    world.pass(MS / 2);
    world.mark();
    is_right(world.clock.stamp(event.worker_ns), event, "after a move to another host");
}

#[test]
fn marks_are_bounded_and_reach_back_for_a_second() {
    let mut world = World::new(2_000);
    for every_ns in [MS / 10, MS, 7 * MS, 40 * MS] {
        world.watch(20 * SECOND, every_ns);
        let (first, last) = (world.clock.moments.front().unwrap(), world.clock.moments.back().unwrap());
        assert!(world.clock.moments.len() <= MOMENTS);
        assert!(last.steady_ns - first.steady_ns >= SECOND, "a mark each {every_ns} ns");
    }
}

#[test]
fn nothing_and_the_ends_of_numbers_are_times_too() {
    let mut clock = Clock::default();
    assert_eq!(clock.stamp(0), Stamp::default());
    assert_eq!(clock.stamp(5), Stamp::default(), "no clock was read yet");
    for worker_ns in [1, 1, 2, u64::MAX / 2, u64::MAX] {
        clock.mark(Moment { worker_ns, steady_ns: worker_ns, unix_ns: u64::MAX });
        for stamp in [0, 1, 2, 3, u64::MAX - 1, u64::MAX] {
            assert_eq!(clock.stamp(stamp).steady_ns, stamp, "{stamp} of {worker_ns}");
        }
    }
    clock.mark(Moment { worker_ns: 1, steady_ns: 1, unix_ns: 0 });
    assert_eq!(clock.stamp(u64::MAX).steady_ns, u64::MAX);
    assert_eq!(clock.stamp(1).unix_ms, 0);
}
