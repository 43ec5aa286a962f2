//! Health of the store and heartbeats of the commit thread, for readers that must not wait for the state.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ctl_store::StoreError;

/// Interval at which the store is tried while it takes no changes.
pub(crate) const PROBE_EVERY: Duration = Duration::from_secs(1);
/// At most one line in the log says that the store takes no changes, or still takes none, in this time.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Health of the commit thread and the store.
#[derive(Debug)]
pub(crate) struct Health {
    started: Instant,
    /// Last heartbeat of the commit thread, milliseconds after `started`. Alone, so it needs no ordering.
    beat_ms: AtomicU64,
    /// The same of the confirming thread.
    confirm_beat_ms: AtomicU64,
    /// Why the store takes no changes, in one line.
    trouble: Mutex<Option<String>>,
    /// Transactions that the store failed.
    store_errors: AtomicU64,
}

impl Health {
    pub fn new(now: Instant) -> Self {
        Self {
            started: now,
            beat_ms: AtomicU64::new(0),
            confirm_beat_ms: AtomicU64::new(0),
            trouble: Mutex::default(),
            store_errors: AtomicU64::new(0),
        }
    }

    /// Transactions of changes that the store failed, tries while it takes none included.
    pub fn store_errors(&self) -> u64 {
        self.store_errors.load(Ordering::Relaxed)
    }

    /// Heartbeat of the commit thread.
    pub fn beat(&self, now: Instant) {
        self.beat_ms.store(self.ms(now), Ordering::Relaxed);
    }

    /// Heartbeat of the confirming thread.
    pub fn confirm_beat(&self, now: Instant) {
        self.confirm_beat_ms.store(self.ms(now), Ordering::Relaxed);
    }

    /// Time since the last heartbeat of the commit thread.
    pub fn since_beat(&self, now: Instant) -> Duration {
        self.since(&self.beat_ms, now)
    }

    /// Time since the last heartbeat of the confirming thread.
    pub fn since_confirm_beat(&self, now: Instant) -> Duration {
        self.since(&self.confirm_beat_ms, now)
    }

    fn ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    fn since(&self, beat_ms: &AtomicU64, now: Instant) -> Duration {
        let beat = Duration::from_millis(beat_ms.load(Ordering::Relaxed));
        now.saturating_duration_since(self.started).saturating_sub(beat)
    }

    /// Success if the store takes changes; the trouble if not.
    pub fn takes_changes(&self) -> Result<(), String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    fn set_trouble(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

/// A store that takes no changes, as the commit thread sees it: when to try it again, and what to say in the log. A
/// disk that is full for a day makes a line a minute, whatever is refused.
#[derive(Debug)]
pub(crate) struct Trouble {
    health: Arc<Health>,
    /// Time of the next try; `None`: the store takes changes.
    probe_at: Option<Instant>,
    /// Time of the last line in the log.
    logged_at: Option<Instant>,
    /// True after a line was logged: the line of the recovery is owed.
    is_logged: bool,
    /// Requests refused since the last line.
    refused: usize,
}

/// A line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Begins,
    GoesOn,
    Ends,
}

impl Trouble {
    pub fn new(health: Arc<Health>) -> Self {
        Self { health, probe_at: None, logged_at: None, is_logged: false, refused: 0 }
    }

    /// Longest wait before it is [time](Trouble::is_time) to try the store.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        self.probe_at.map(|at| at.saturating_duration_since(now))
    }

    /// The store is to be tried.
    pub fn is_time(&self, now: Instant) -> bool {
        self.probe_at.is_some_and(|at| now >= at)
    }

    /// It took no changes of so many requests, or does not take any yet.
    pub fn failed(&mut self, error: &StoreError, requests: usize, now: Instant) {
        let refused = self.refused + requests;
        match self.fails(requests, now) {
            Some(Line::Begins) => {
                tracing::error!(%error, refused, "the store takes no changes; it is tried each second");
            }
            Some(_) => tracing::warn!(%error, refused, "the store still takes no changes"),
            None => {}
        }
        self.health.store_errors.fetch_add(1, Ordering::Relaxed);
        self.health.set_trouble(Some(error.to_string()));
    }

    /// It takes changes.
    pub fn works(&mut self) {
        let refused = self.refused;
        if self.ends() == Some(Line::Ends) {
            tracing::info!(refused, "the store takes changes again");
        }
        self.health.set_trouble(None);
    }

    fn fails(&mut self, requests: usize, now: Instant) -> Option<Line> {
        self.probe_at = Some(now + PROBE_EVERY);
        self.refused += requests;
        if self.logged_at.is_some_and(|at| now.saturating_duration_since(at) < LOG_EVERY) {
            return None;
        }
        let line = if self.is_logged { Line::GoesOn } else { Line::Begins };
        (self.logged_at, self.is_logged, self.refused) = (Some(now), true, 0);
        Some(line)
    }

    fn ends(&mut self) -> Option<Line> {
        self.probe_at = None;
        if !self.is_logged {
            return None;
        }
        (self.is_logged, self.refused) = (false, 0);
        Some(Line::Ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_fails_for_long_is_told_once_a_minute_and_one_that_fails_now_and_then_no_more_often() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut trouble = Trouble::new(Arc::new(Health::new(start)));
        let lines = |trouble: &mut Trouble, from: u64, upto: u64| -> Vec<(u64, Line)> {
            (from..upto).filter_map(|second| Some((second, trouble.fails(10, at(second))?))).collect()
        };
        assert_eq!(trouble.ends(), None, "nothing is said of a store that works");
        let first = lines(&mut trouble, 0, 150);
        assert_eq!(first, [(0, Line::Begins), (60, Line::GoesOn), (120, Line::GoesOn)]);
        assert_eq!((trouble.refused, trouble.ends()), (290, Some(Line::Ends)));
        // It works and fails by turns, each second.
        let mut lines = Vec::new();
        for second in 150..400 {
            lines.extend(trouble.fails(1, at(second)).map(|line| (second, line)));
            lines.extend(trouble.ends().map(|line| (second, line)));
        }
        let both = |second| [(second, Line::Begins), (second, Line::Ends)];
        assert_eq!(lines, [both(180), both(240), both(300), both(360)].concat());
    }

    #[test]
    fn a_store_that_fails_is_tried_a_second_later_and_health_says_why() {
        let start = Instant::now();
        let health = Arc::new(Health::new(start));
        let mut trouble = Trouble::new(Arc::clone(&health));
        assert_eq!((health.takes_changes(), trouble.wait(start)), (Ok(()), None));
        let error = StoreError::Refused { path: "s".into(), reason: "No space left on device".to_owned() };
        trouble.failed(&error, 1, start);
        assert_eq!(health.store_errors(), 1);
        assert!(health.takes_changes().unwrap_err().contains("No space left on device"));
        assert!(!trouble.is_time(start) && trouble.is_time(start + PROBE_EVERY));
        assert_eq!(trouble.wait(start), Some(PROBE_EVERY));
        trouble.works();
        assert_eq!((health.takes_changes(), trouble.wait(start)), (Ok(()), None));
    }

    #[test]
    fn a_thread_that_does_not_turn_is_told_by_its_last_turn() {
        let start = Instant::now();
        let health = Health::new(start);
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(health.since_beat(at(700)), Duration::from_millis(700));
        health.beat(at(900));
        assert_eq!(health.since_beat(at(900)), Duration::ZERO);
        assert_eq!(health.since_beat(at(1_900)), Duration::from_secs(1));
    }
}
