//! Pending events of one receiver, and the order of attempts. No I/O, and time is an argument.
//!
//! Each virtual IP has a *line*: its events in order, of which the first alone may be under way (*flying*). Lines take scheduled. A
//! failure that is the event's (the receiver refused this one) delays its line; a failure that is the receiver's (no
//! connection, too many requests) opens the *breaker*: nothing is sent until it closes, then one event at a time until
//! one is accepted.
//!
//! A line is *held* while the commit of its coalesced event is under way, so that what is left out has not been sent either.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ctl_api::model::Name;

use crate::backoff::Policy;
use ctl_store::{EventId, OutboxRow};

/// Most lines that one receiver has beyond its `pending`. Beyond that, events of further virtual IPs are not stored: only
/// names that come and go by the hundred thousand while a receiver is dead get there.
pub const MOST_LINES: usize = 131_072;

/// Failure of the event or of the receiver, with the pause that the receiver asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    /// It answered, but would not have this event.
    Event(Option<Duration>),
    /// It did not answer, or would have none.
    Receiver(Option<Duration>),
}

/// Due time of a line, and a counter that keeps lines of the same time in order.
type Schedule = (Instant, u64);

#[derive(Default)]
struct Line {
    rows: VecDeque<OutboxRow>,
    flying: Option<EventId>,
    held: bool,
    /// Failures in a row that were the first event's.
    failures: u32,
    schedule: Option<Schedule>,
    /// Why the first event failed last.
    reason: Option<Arc<str>>,
}

/// Closed as long as there are no failures.
#[derive(Default)]
struct Breaker {
    failures: u32,
    until: Option<Instant>,
}

/// The queue of one receiver.
pub(crate) struct Queue {
    policy: Policy,
    lines: HashMap<Name, Line>,
    scheduled: BTreeMap<Schedule, Name>,
    counter: u64,
    rows: usize,
    flying: usize,
    breaker: Breaker,
}

impl Queue {
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            lines: HashMap::new(),
            scheduled: BTreeMap::new(),
            counter: 0,
            rows: 0,
            flying: 0,
            breaker: Breaker::default(),
        }
    }

    /// Rows that wait or fly.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// The earliest `since` of all rows.
    pub fn oldest_unix_ms(&self) -> Option<u64> {
        self.lines.values().flat_map(|line| &line.rows).map(|row| row.since_unix_ms).min()
    }

    /// True while nothing is sent to the receiver, after a failure.
    pub fn backing_off(&self) -> bool {
        self.breaker.failures > 0
    }

    /// Adds a row at its place in its line, unless it is there already.
    pub fn insert(&mut self, row: OutboxRow, now: Instant) {
        let name = row.havip.clone();
        let line = self.lines.entry(name.clone()).or_default();
        // Nearly always the last.
        let at =
            line.rows.iter().rposition(|other| other.key.id <= row.key.id).map_or(0, |before| before + 1);
        if at > 0 && line.rows.get(at - 1).is_some_and(|other| other.key.id == row.key.id) {
            return;
        }
        line.rows.insert(at, row);
        self.rows += 1;
        self.schedule(&name, now);
    }

    /// Holds a line for the commit of its coalesced event; what waits in it (not what flies) with the gaps before each.
    pub fn hold(&mut self, havip: &Name) -> Vec<(EventId, u64)> {
        let Some(line) = self.lines.get_mut(havip) else { return Vec::new() };
        line.held = true;
        if let Some(schedule) = line.schedule.take() {
            self.scheduled.remove(&schedule);
        }
        let flying = line.flying;
        line.rows.iter().filter(|row| Some(row.key.id) != flying).map(|row| (row.key.id, row.gap)).collect()
    }

    /// Lets a line go on, without those rows (ascending) that the commit has left out.
    pub fn release(&mut self, havip: &Name, skipped: &[EventId], now: Instant) {
        let Some(line) = self.lines.get_mut(havip) else { return };
        line.held = false;
        if !skipped.is_empty() {
            let before = line.rows.len();
            line.rows.retain(|row| skipped.binary_search(&row.key.id).is_err());
            self.rows -= before - line.rows.len();
            line.failures = 0;
        }
        self.schedule(havip, now);
    }

    /// The next event to send.
    pub fn take(&mut self, now: Instant) -> Option<OutboxRow> {
        if self.wake()? > now {
            return None;
        }
        let (_, name) = self.scheduled.pop_first()?;
        let line = self.lines.get_mut(&name)?;
        line.schedule = None;
        let row = line.rows.front()?;
        line.flying = Some(row.key.id);
        self.flying += 1;
        Some(row.clone())
    }

    /// Time at which the next event may be sent. `None`: not before one is added, or one that flies has come down.
    pub fn wake(&self) -> Option<Instant> {
        let ((due, _), _) = self.scheduled.first_key_value()?;
        match self.breaker {
            _ if self.flying >= self.policy.concurrency => None,
            Breaker { failures: 0, .. } => Some(*due),
            _ if self.flying > 0 => None,
            Breaker { until, .. } => Some(until.map_or(*due, |until| until.max(*due))),
        }
    }

    /// The receiver accepted it.
    pub fn accepted(&mut self, row: &OutboxRow, now: Instant) {
        self.breaker = Breaker::default();
        if let Some(line) = self.land(row) {
            line.failures = 0;
            line.reason = None;
            let before = line.rows.len();
            line.rows.retain(|other| other.key.id != row.key.id);
            self.rows -= before - line.rows.len();
        }
        self.schedule(&row.havip, now);
    }

    /// It did not.
    pub fn failed(&mut self, row: &OutboxRow, blame: Blame, reason: Arc<str>, now: Instant) {
        let policy = self.policy;
        let failures = self.land(row).map_or(0, |line| {
            line.reason = Some(reason);
            line.failures = line.failures.saturating_add(u32::from(matches!(blame, Blame::Event(_))));
            line.failures
        });
        let due = match blame {
            Blame::Event(asked) => {
                self.breaker = Breaker::default();
                now + policy.pause(failures, asked)
            }
            Blame::Receiver(asked) => {
                // Those that flew together count once.
                if self.breaker.until.is_none_or(|until| until <= now) {
                    self.breaker.failures = self.breaker.failures.saturating_add(1);
                    self.breaker.until = Some(now + policy.pause(self.breaker.failures, asked));
                }
                // Behind all others: if this event is what the receiver does not survive, the next attempt is with another.
                now
            }
        };
        self.schedule(&row.havip, due);
    }

    /// Why the last attempt of the oldest event failed that waits after a failure, and since when it waits; Unix time in
    /// milliseconds.
    pub fn failing(&self) -> Option<(Arc<str>, u64)> {
        let waiting = self
            .lines
            .values()
            .filter_map(|line| Some((line.rows.front()?.since_unix_ms, line.reason.as_ref()?)));
        waiting.min_by_key(|(since, _)| *since).map(|(since, reason)| (Arc::clone(reason), since))
    }

    /// Schedules lines that wait after failures at once: the receiver is reached in another way.
    pub fn hurry(&mut self, now: Instant) {
        self.breaker.until = self.breaker.until.map(|until| until.min(now));
        for ((due, counter), name) in std::mem::take(&mut self.scheduled) {
            let schedule = (due.min(now), counter);
            if let Some(line) = self.lines.get_mut(&name) {
                line.schedule = Some(schedule);
            }
            self.scheduled.insert(schedule, name);
        }
    }

    /// Takes out the rows that have waited since `unix_ms` or longer, each with why it failed last. What flies stays.
    pub fn expire(&mut self, unix_ms: u64) -> Vec<(OutboxRow, Option<Arc<str>>)> {
        let (mut expired, mut emptied) = (Vec::new(), Vec::new());
        for (name, line) in self.lines.iter_mut().filter(|(_, line)| line.flying.is_none() && !line.held) {
            while line.rows.front().is_some_and(|row| row.since_unix_ms <= unix_ms) {
                line.failures = 0;
                expired.extend(line.rows.pop_front().map(|row| (row, line.reason.clone())));
            }
            if line.rows.is_empty() {
                emptied.push(name.clone());
            }
        }
        self.rows -= expired.len();
        for name in emptied {
            if let Some(schedule) = self.lines.remove(&name).and_then(|line| line.schedule) {
                self.scheduled.remove(&schedule);
            }
        }
        expired
    }

    /// Ends the attempt of an event.
    fn land(&mut self, row: &OutboxRow) -> Option<&mut Line> {
        let line = self.lines.get_mut(&row.havip)?;
        if line.flying.take_if(|flying| *flying == row.key.id).is_some() {
            self.flying -= 1;
        }
        Some(line)
    }

    /// Schedules a line that may send; removes one that is empty.
    fn schedule(&mut self, havip: &Name, due: Instant) {
        let Some(line) = self.lines.get_mut(havip) else { return };
        if line.flying.is_some() || line.held || line.schedule.is_some() {
            return;
        }
        if line.rows.is_empty() {
            self.lines.remove(havip);
            return;
        }
        let schedule = (due, self.counter);
        self.counter += 1;
        line.schedule = Some(schedule);
        self.scheduled.insert(schedule, havip.clone());
    }
}

#[cfg(test)]
mod tests;
