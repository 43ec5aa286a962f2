//! Attempts: their number, pauses and deadlines.

use std::time::Duration;

/// The times and numbers of delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Age at which an event becomes a dead letter.
    pub keep: Duration,
    /// Pause after the first failure; it doubles with each one more.
    pub pause_min: Duration,
    /// The longest pause.
    pub pause_max: Duration,
    /// A receiver that asks for a longer pause (`Retry-After`) is asked again after this.
    pub retry_after_max: Duration,
    /// Time limit of name lookup, connection and TLS together; and again of the answer's headers.
    pub timeout: Duration,
    /// Requests under way to one receiver, about as many different virtual IPs.
    pub concurrency: usize,
    /// Time for which accepted rows are gathered before they leave the store together.
    pub settle_every: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            keep: Duration::from_secs(24 * 3600),
            pause_min: Duration::from_secs(1),
            pause_max: Duration::from_secs(60),
            retry_after_max: Duration::from_secs(600),
            timeout: Duration::from_secs(5),
            concurrency: 8,
            settle_every: Duration::from_millis(100),
        }
    }
}

impl Policy {
    /// The pause after this many failures in a row (1 or more), or what the receiver asked for if that is longer; spread by a
    /// quarter up and down, so that receivers and events do not come back in step.
    pub(crate) fn pause(&self, failures: u32, retry_after: Option<Duration>) -> Duration {
        let doubled =
            self.pause_min.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(self.pause_max);
        let spread = doubled.mul_f64(0.75 + fastrand::f64() / 2.0);
        spread.max(retry_after.unwrap_or_default().min(self.retry_after_max))
    }

    /// Interval of the search for rows that are too old.
    pub(crate) fn sweep_every(&self) -> Duration {
        (self.keep / 60).clamp(Duration::from_millis(10), Duration::from_secs(60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_a_longer_retry_after_is_honoured_up_to_ten() {
        let policy = Policy::default();
        let s = Duration::from_secs;
        // Failures, Retry-After, shortest and longest pause.
        for (failures, asked, least, most) in [
            (1, None, 0.75, 1.25),
            (2, None, 1.5, 2.5),
            (4, None, 6.0, 10.0),
            (7, None, 45.0, 75.0),
            (u32::MAX, None, 45.0, 75.0),
            (1, Some(s(0)), 0.75, 1.25),
            (1, Some(s(120)), 120.0, 120.0),
            (1, Some(s(86_400)), 600.0, 600.0),
        ] {
            for _ in 0..100 {
                let pause = policy.pause(failures, asked).as_secs_f64();
                assert!((least..=most).contains(&pause), "{failures} {asked:?}: {pause}");
            }
        }
    }
}
