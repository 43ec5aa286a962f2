//! The punt's rate: how many frames go to the kernel in which time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod common;

use std::sync::Arc;

use common::{FakePacket, Pool};
use engine::police::Ticks;
use engine::punt::{PuntPort, PuntQueues};
use wire::DropReason;

/// A worker's end of the punt, whose clock ticks in microseconds.
struct Bench {
    punt: PuntPort<FakePacket>,
    queues: Arc<PuntQueues<FakePacket>>,
    pool: Pool,
}

impl Bench {
    /// One that has used all its tokens at `start`.
    fn new(start: u64, rate: u32) -> Self {
        let queues = PuntQueues::new();
        let punt = PuntPort::new(Some(queues.clone()), 0, 1);
        let mut bench = Self { punt, queues, pool: Pool::new(16, 64) };
        bench.passed(start, rate);
        bench
    }

    /// Frames that pass at a moment.
    fn passed(&mut self, now: u64, rate: u32) -> usize {
        let now = Ticks { now, per_second: 1_000_000 };
        let mut pass = |_: &u32| {
            let offered = self.punt.offer(self.pool.packet(&[0; 60]).unwrap(), rate, now);
            assert!(matches!(offered, Ok(()) | Err(DropReason::PuntLimited)));
            // The kernel takes it at once.
            drop(self.queues.to_kernel.pop());
            offered.is_ok()
        };
        (0..10_000).take_while(|number| pass(number)).count()
    }
}

const START: u64 = 60_000_000;

#[test]
fn tokens_follow_the_rate_and_are_bounded_by_a_tenth_of_a_second() {
    // Time since the last token, rate, tokens, and the time of theirs: what has passed since counts for the next one.
    for (elapsed_us, rate, expected, used_us) in [
        (0, 1_000, 0, 0),
        (999, 1_000, 0, 0),
        (1_999, 1_000, 1, 1_000),
        (50_000, 1_000, 50, 50_000),
        (100_000, 1_000, 100, 100_000),
        (10_000_000, 1_000, 100, 10_000_000),
        (40, 20_000, 0, 0),
        (90, 20_000, 1, 50),
        (50_000, 0, 0, 0),
        (10_000_000, 0, 0, 0),
        (199_999, 5, 0, 0),
        (250_000, 5, 1, 200_000),
        (10_000_000, 5, 1, 10_000_000),
    ] {
        let mut bench = Bench::new(START, rate);
        assert_eq!(bench.passed(START + elapsed_us, rate), expected, "{elapsed_us} us at {rate}/s");
        if let Some(each) = 1_000_000_u32.checked_div(rate) {
            let next = START + used_us + u64::from(each);
            let (early, late) = (bench.passed(next - 1, rate), bench.passed(next, rate));
            assert_eq!((early, late), (0, 1), "{elapsed_us} us at {rate}/s: no time is lost");
        }
    }
}

#[test]
fn a_clock_that_goes_backwards_gives_no_flood_and_no_drought() {
    let mut bench = Bench::new(START, 1_000);
    assert_eq!(bench.passed(1_000, 1_000), 0);
    assert_eq!(bench.passed(3_000, 1_000), 2);
}
