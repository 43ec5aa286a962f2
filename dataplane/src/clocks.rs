//! Time by the workers' clock and by those of the kernel.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ctl_node::Moment;
use dpdk::Tsc;

/// Three clocks cannot be read at once. Read within this time they are taken for one moment.
const AT_ONCE: Duration = Duration::from_micros(20);
/// Limit of readings of the clocks for one pair.
const TRIES: usize = 8;
/// Reading of the steady clock when the daemon starts; not 0, as announcements before the first reading have a time.
const STEADY_START: Duration = Duration::from_secs(3600);

/// The node's clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// The workers' clock.
    pub tsc: Tsc,
    /// Time at which the steady clock showed [`STEADY_START`].
    start: Instant,
}

impl Clocks {
    /// Clocks that start now.
    pub fn new(tsc: Tsc) -> Self {
        Self { tsc, start: Instant::now() }
    }

    /// Present time by all clocks.
    pub fn now(&self) -> Moment {
        let tsc = self.tsc;
        closest(|| {
            let before = tsc.now();
            let (steady, unix) = (self.start.elapsed(), SystemTime::now());
            let gap = tsc.since(before);
            let moment = Moment {
                worker_ns: tsc.clock_ns(before.saturating_add(gap / 2)),
                steady_ns: nanoseconds(STEADY_START.saturating_add(steady)),
                unix_ns: nanoseconds(unix.duration_since(UNIX_EPOCH).unwrap_or_default()),
            };
            (tsc.nanoseconds(gap), moment)
        })
    }
}

/// Reads the clocks until they are read nearly at once, and gives the best reading: a thread may lose its core in between.
fn closest(mut read: impl FnMut() -> (u64, Moment)) -> Moment {
    let (mut gap_ns, mut best) = read();
    for _ in 1..TRIES {
        if u128::from(gap_ns) <= AT_ONCE.as_nanos() {
            break;
        }
        let (next_ns, next) = read();
        // Of equals the latest, so that time does not stand still where clocks are coarse.
        if next_ns <= gap_ns {
            (gap_ns, best) = (next_ns, next);
        }
    }
    best
}

/// Saturates after 584 years.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_that_took_long_is_taken_again_and_the_closest_one_counts() {
        // Microseconds between the clocks of each reading; which one counts, and how many were taken.
        for (gaps, expected, taken) in [
            (&[1][..], 0, 1),
            (&[20, 5], 0, 1),
            (&[21, 20], 1, 2),
            (&[5_000, 300, 19], 2, 3),
            (&[900, 300, 400, 500, 600, 700, 800, 850, 1], 1, 8),
            (&[50, 50, 50, 50, 50, 50, 50, 50], 7, 8),
        ] {
            let mut number = 0;
            let best = closest(|| {
                let moment = Moment { worker_ns: number, steady_ns: 1, unix_ns: 1 };
                number += 1;
                (gaps[usize::try_from(number).unwrap() - 1] * 1_000, moment)
            });
            assert_eq!((best.worker_ns, number), (expected, taken), "{gaps:?}");
        }
    }
}
