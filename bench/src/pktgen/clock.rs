//! The clock of sender and receiver: the time stamp counter, which both cores count alike where it is constant and
//! nonstop, or the system's monotonic clock where it is not.

use std::time::Duration;

/// Cheap to clone; all clones count alike.
#[derive(Clone, Debug)]
pub struct Clock {
    clock: quanta::Clock,
    ticks_per_second: f64,
}

impl Clock {
    /// Calibrates the counter, which takes some milliseconds.
    pub fn new() -> Self {
        let clock = quanta::Clock::new();
        let ticks = 1_u64 << 40;
        let ticks_per_second = ticks as f64 * 1e9 / clock.delta_as_nanos(0, ticks) as f64;
        Self { clock, ticks_per_second }
    }

    /// Now, in ticks.
    #[inline]
    pub fn ticks(&self) -> u64 {
        self.clock.raw()
    }

    /// Time from one tick to a later one, nanoseconds; 0 where it is not later.
    #[inline]
    pub fn ns(&self, from: u64, to: u64) -> u64 {
        self.clock.delta_as_nanos(from, to)
    }

    /// Time from one tick to another, seconds; negative where the second is the earlier.
    pub fn seconds(&self, from: u64, to: u64) -> f64 {
        (to as f64 - from as f64) / self.ticks_per_second
    }

    /// Ticks of a time.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the time is no negative one")]
    pub fn ticks_of(&self, time: Duration) -> u64 {
        (time.as_secs_f64() * self.ticks_per_second) as u64
    }

    /// Name of the clock.
    pub fn name(&self) -> String {
        // The monotonic clock counts nanoseconds.
        if (self.ticks_per_second - 1e9).abs() < 1.0 {
            return "the system's monotonic clock".into();
        }
        format!("the time stamp counter, {:.0} MHz", self.ticks_per_second / 1e6)
    }
}
