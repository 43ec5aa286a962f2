//! The queue alone: time is what the test says.

use bytes::Bytes;
use ctl_api::model::Revision;

use super::*;
use ctl_store::OutboxKey;

fn id(revision: u64) -> EventId {
    EventId { revision: Revision::new(revision), index: 0 }
}

fn row(havip: &str, revision: u64) -> OutboxRow {
    OutboxRow {
        key: OutboxKey { receiver: "noc".parse().unwrap(), id: id(revision) },
        havip: havip.parse().unwrap(),
        since_unix_ms: revision,
        gap: 0,
        body: Bytes::new(),
    }
}

/// A queue whose clock is set by hand, in seconds.
struct Clocked {
    queue: Queue,
    start: Instant,
}

impl Clocked {
    fn with(rows: &[(&str, u64)]) -> Self {
        let start = Instant::now();
        let mut queue = Queue::new(Policy::default());
        rows.iter().for_each(|&(havip, revision)| queue.insert(row(havip, revision), start));
        Self { queue, start }
    }

    fn at(&self, second: u64) -> Instant {
        self.start + Duration::from_secs(second)
    }

    /// Everything that can be taken at that second, by revision.
    fn take(&mut self, second: u64) -> Vec<u64> {
        let now = self.at(second);
        std::iter::from_fn(|| self.queue.take(now)).map(|row| row.key.id.revision.get()).collect()
    }

    fn accept(&mut self, havip: &str, revision: u64, second: u64) {
        self.queue.accepted(&row(havip, revision), self.at(second));
    }

    fn fail(&mut self, havip: &str, revision: u64, blame: Blame, second: u64) {
        self.queue.failed(&row(havip, revision), blame, "why".into(), self.at(second));
    }
}

#[test]
fn events_of_one_virtual_ip_go_one_at_a_time_and_those_of_others_beside_them() {
    let mut q = Clocked::with(&[("a", 1), ("a", 2), ("b", 3), ("a", 4)]);
    assert_eq!(q.take(0), [1, 3]);
    q.accept("b", 3, 0);
    assert_eq!(q.take(0), [0; 0]);
    q.accept("a", 1, 0);
    assert_eq!(q.take(0), [2]);
    q.accept("a", 2, 0);
    assert_eq!(q.take(0), [4]);
    q.accept("a", 4, 0);
    assert_eq!((q.queue.len(), q.queue.wake(), q.queue.lines.len()), (0, None, 0));
}

#[test]
fn what_waits_after_failures_is_due_at_once_when_it_is_hurried_and_in_the_same_order() {
    let mut q = Clocked::with(&[("a", 1), ("a", 2), ("b", 3), ("c", 4), ("d", 5)]);
    assert_eq!(q.take(0), [1, 3, 4, 5]);
    q.fail("a", 1, Blame::Event(Some(Duration::from_secs(600))), 0);
    q.fail("b", 3, Blame::Event(Some(Duration::from_secs(300))), 0);
    q.accept("c", 4, 0);
    // What flies is left alone.
    q.queue.hurry(q.at(1));
    assert_eq!(q.take(1), [1, 3], "each once");
    q.fail("a", 1, Blame::Receiver(None), 2);
    q.fail("b", 3, Blame::Receiver(Some(Duration::from_secs(600))), 2);
    q.accept("d", 5, 2);
    q.queue.insert(row("e", 6), q.at(2));
    assert_eq!(q.take(3).len(), 3, "the one that was accepted has closed the breaker");
    for (havip, revision) in [("a", 1), ("b", 3), ("e", 6)] {
        q.fail(havip, revision, Blame::Receiver(Some(Duration::from_secs(600))), 3);
    }
    assert_eq!(q.take(4), [0; 0]);
    q.queue.hurry(q.at(4));
    assert_eq!(q.take(4), [1], "one alone, until it is accepted");
    q.accept("a", 1, 4);
    assert_eq!(q.take(4), [3, 6, 2]);
}

#[test]
fn no_more_than_the_policy_allows_are_under_way() {
    let names: Vec<String> = (0..20).map(|i| format!("v{i}")).collect();
    let rows: Vec<(&str, u64)> = names.iter().map(String::as_str).zip(1..).collect();
    let mut q = Clocked::with(&rows);
    assert_eq!(q.take(0), (1..=8).collect::<Vec<_>>());
    assert_eq!(q.queue.wake(), None, "nobody is woken in vain");
    q.accept("v3", 4, 0);
    assert_eq!(q.take(0), [9]);
}

#[test]
fn an_event_that_is_refused_delays_its_own_virtual_ip_alone() {
    let mut q = Clocked::with(&[("a", 1), ("a", 2), ("b", 3)]);
    assert_eq!(q.take(0), [1, 3]);
    q.fail("a", 1, Blame::Event(None), 0);
    q.accept("b", 3, 0);
    q.queue.insert(row("b", 4), q.start);
    assert_eq!(q.take(0), [4], "b goes on");
    assert_eq!(q.take(2), [1], "and a, from where it was");
    q.fail("a", 1, Blame::Event(Some(Duration::from_secs(30))), 2);
    assert_eq!(q.take(31), [0; 0], "the receiver asked for 30 s");
    assert_eq!(q.take(32), [1]);
    q.accept("a", 1, 32);
    assert_eq!(q.take(32), [2], "the next one starts without a pause");
}

#[test]
fn a_receiver_that_is_away_gets_one_attempt_at_a_time_each_with_another_virtual_ip() {
    let mut q = Clocked::with(&[("a", 1), ("b", 2), ("c", 3)]);
    assert_eq!(q.take(0), [1, 2, 3]);
    for (havip, revision) in [("a", 1), ("b", 2), ("c", 3)] {
        q.fail(havip, revision, Blame::Receiver(None), 0);
    }
    assert_eq!(q.queue.breaker.failures, 1, "three at once count once");
    assert_eq!(q.take(0), [0; 0]);
    assert_eq!(q.take(2), [1], "one alone, after a second or so");
    q.fail("a", 1, Blame::Receiver(None), 2);
    assert_eq!(q.take(5), [2], "another, in case it was a's fault");
    q.fail("b", 2, Blame::Receiver(Some(Duration::from_secs(100))), 5);
    assert_eq!(q.take(104), [0; 0], "the receiver asked for 100 s");
    assert_eq!(q.take(105), [3]);
    q.accept("c", 3, 105);
    assert!(!q.queue.backing_off());
    assert_eq!(q.take(105), [1, 2], "all others, as soon as one is accepted");
}

#[test]
fn what_waits_too_long_is_taken_out_with_the_reason_but_not_what_is_under_way() {
    let mut q = Clocked::with(&[("a", 1), ("a", 5), ("b", 2), ("c", 3), ("d", 9)]);
    assert_eq!(q.take(0), [1, 2, 3, 9]);
    q.fail("a", 1, Blame::Event(None), 0);
    q.fail("d", 9, Blame::Event(None), 0);
    q.accept("c", 3, 0);
    let expired = q.queue.expire(4);
    let expired: Vec<_> =
        expired.iter().map(|(row, why)| (row.key.id.revision.get(), why.as_deref())).collect();
    assert_eq!(expired, [(1, Some("why"))], "b flies");
    q.fail("b", 2, Blame::Event(None), 0);
    assert_eq!(q.queue.expire(4).len(), 1);
    assert_eq!((q.queue.len(), q.queue.lines.len(), q.queue.scheduled.len()), (2, 2, 2), "a's second, and d");
    assert_eq!(q.queue.oldest_unix_ms(), Some(5));
}

#[test]
fn a_row_finds_its_place_by_number_and_is_there_once() {
    let mut q = Clocked::with(&[("a", 5), ("a", 3), ("a", 5), ("a", 4), ("a", 3)]);
    assert_eq!(q.queue.len(), 3);
    for revision in [3, 4, 5] {
        assert_eq!(q.take(0), [revision]);
        q.accept("a", revision, 0);
    }
}

#[test]
fn a_held_line_stands_still_and_goes_on_without_what_was_left_out() {
    let mut q = Clocked::with(&[("a", 1), ("a", 2), ("a", 3)]);
    assert_eq!(q.take(0), [1]);
    let name = "a".parse().unwrap();
    assert_eq!(q.queue.hold(&name), [(id(2), 0), (id(3), 0)], "what flies is not left out");
    q.accept("a", 1, 0);
    assert_eq!(q.take(0), [0; 0]);
    q.queue.insert(row("a", 4), q.start);
    q.queue.release(&name, &[id(2), id(3)], q.start);
    assert_eq!((q.take(0), q.queue.len()), (vec![4], 1));
}

#[test]
fn a_line_whose_commit_failed_goes_on_as_it_was() {
    let mut q = Clocked::with(&[("a", 1), ("a", 2)]);
    let name = "a".parse().unwrap();
    q.queue.hold(&name);
    assert_eq!(q.take(0), [0; 0]);
    q.queue.release(&name, &[], q.start);
    assert_eq!(q.take(0), [1]);
}

#[test]
fn a_failure_is_told_while_its_event_waits_whatever_else_is_accepted() {
    let mut q = Clocked::with(&[("a", 1), ("b", 2), ("a", 3)]);
    assert_eq!(q.queue.failing(), None);
    assert_eq!(q.take(0), [1, 2]);
    q.fail("a", 1, Blame::Event(None), 0);
    q.accept("b", 2, 0);
    assert_eq!(q.queue.failing(), Some(("why".into(), 1)));
    q.accept("a", 1, 1);
    assert_eq!(q.queue.failing(), None);
}
