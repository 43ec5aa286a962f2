//! Rate limit of publications of the TEP array.

use std::time::{Duration, Instant};

/// Publications that may follow one another at once.
const AT_ONCE: usize = 4;
/// Time for that many publications on average: one in 10 ms, since each copies the whole array.
const WINDOW: Duration = Duration::from_millis(40);

/// Bound on publications: the last [`AT_ONCE`] of them took at least [`WINDOW`].
#[derive(Default)]
pub struct Gate {
    last: [Option<Instant>; AT_ONCE],
    next: usize,
}

impl Gate {
    /// Time until one more may be published.
    pub fn wait(&self, now: Instant) -> Duration {
        self.last[self.next].map_or(Duration::ZERO, |oldest| (oldest + WINDOW).saturating_duration_since(now))
    }

    /// One was published.
    pub fn pass(&mut self, now: Instant) {
        self.last[self.next] = Some(now);
        self.next = (self.next + 1) % AT_ONCE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_pass_at_once_and_many_one_in_ten_milliseconds() {
        let (mut gate, mut now) = (Gate::default(), Instant::now());
        let start = now;
        for _ in 0..AT_ONCE {
            assert_eq!(gate.wait(now), Duration::ZERO);
            gate.pass(now);
        }
        for _ in 0..100 {
            now += gate.wait(now);
            gate.pass(now);
        }
        assert_eq!(now - start, Duration::from_millis(1_000));
    }
}
