//! TEPs as they are registered and shown, without a task or with one that never runs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use bcast_domain::{Tep, TepIndex};
use underlay::Health;

mod common;
use common::underlay;

fn tep(last: u8) -> Tep {
    Tep::new([198, 18, 0, last].into()).unwrap()
}

#[test]
fn teps_are_registered_and_shown_while_nobody_answers_for_the_kernel() {
    let underlay = underlay(true);
    let index = TepIndex::new(0).unwrap();
    let first = underlay.set_teps(&[(index, tep(1))], &[]);
    let shown = underlay.get(index).unwrap();
    assert_eq!((shown.gateway, shown.mac), (None, None));
    assert!(underlay.set_teps(&[], &[index]) > first);
    assert_eq!(underlay.get(index), None);
    for round in 0..20 {
        underlay.set_teps(&[(index, tep(round + 1))], &[]);
        underlay.set_teps(&[], &[index]);
    }
}

#[test]
fn who_waits_for_next_hops_is_woken_by_the_end_and_waits_for_no_kernel_that_is_not_followed() {
    let underlay = underlay(true);
    underlay.set_teps(&[(TepIndex::new(0).unwrap(), tep(1))], &[]);
    let waiting = underlay.clone();
    let long = Duration::from_secs(3_600);
    let waiter = std::thread::spawn(move || waiting.settle(long));
    underlay.stop();
    waiter.join().unwrap();
    common::underlay(false).settle(long);
}

#[test]
fn health_is_that_of_the_task_where_there_is_one() {
    assert_eq!(underlay(true).health(), Health { answers: true, asked: false });
    assert_eq!(underlay(false).health(), Health { answers: true, asked: true });
}
