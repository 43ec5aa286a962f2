//! The search for the highest rate, and gaps behind a join.

use super::super::flow::Rate;
use super::super::modes::{MOST_TRIALS, Search, gaps};
use super::super::receive::Watch;

/// The rate that is found where a node takes `capacity` and the sender makes at most `sender`.
fn search(capacity: u64, sender: u64, highest: Rate) -> (u64, u32) {
    let mut search = Search::new(highest);
    while let Some(rate) = search.next() {
        let reached = rate.0.min(sender);
        search.enter(reached, reached <= capacity);
    }
    (search.passed, search.trials)
}

#[test]
fn the_highest_rate_that_passes_is_found_within_two_percent() {
    for (capacity, sender, highest, from, to) in [
        (100_000, 5_000_000, Rate::MAX, 98_000, 100_000),
        (5_000_000, 5_000_000, Rate::MAX, 4_900_000, 5_000_000),
        (9_000_000, 5_000_000, Rate::MAX, 5_000_000, 5_000_000),
        (9_000_000, 5_000_000, Rate(1000), 1000, 1000),
        (700, 5_000_000, Rate(1000), 686, 700),
        (5, 5_000_000, Rate::MAX, 0, 0),
    ] {
        let (found, trials) = search(capacity, sender, highest);
        assert!((from..=to).contains(&found), "{capacity} {sender} {highest:?}: {found}");
        assert!(trials <= MOST_TRIALS, "{trials}");
    }
}

#[test]
fn a_frame_that_a_new_member_missed_is_a_gap() {
    let watch = |first_sequence, last_sequence, received| Watch {
        first_sequence,
        last_sequence,
        received,
        ..Watch::default()
    };
    for (watch, missing) in [(watch(5, 5, 1), 0), (watch(5, 9, 5), 0), (watch(5, 9, 3), 2)] {
        assert_eq!(gaps(&watch), missing, "{watch:?}");
    }
}
