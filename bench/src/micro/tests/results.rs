//! Figures of known rows.

use super::super::contenders::{EPOCH, FLOOR, OURS};
use super::super::results::{LookupRow, PublishRow, Row, figures, void};
use crate::harness::Spread;

fn lookup(contender: &str, domains: u32, ns: f64, p999_us: f64) -> Row {
    let spread = |median: f64| Spread { min: 0.0, median, max: 1e9 };
    Row::Lookup(LookupRow {
        contender: contender.to_owned(),
        domains,
        changes_wanted_per_s: 100_000,
        changes_per_s: 99_000.0,
        ns_per_lookup: spread(ns),
        burst_p50_ns: spread(ns * 32.0),
        burst_p99_ns: spread(ns * 64.0),
        burst_p999_ns: spread(p999_us * 1e3),
        burst_max_ns: spread(1e9),
        bursts: 1000,
    })
}

#[test]
fn figures_are_medians_of_the_hardest_case_held_against_their_targets() {
    let mut rows = vec![
        lookup(OURS.name, 10_000, 900.0, 900.0),
        lookup(OURS.name, 1_000_000, 60.0, 12.0),
        lookup(EPOCH.name, 1_000_000, 240.0, 3.0),
    ];
    rows.push(Row::Publish(PublishRow {
        contender: OURS.name.to_owned(),
        domains: 100_000,
        changes_per_lot: 32,
        changes_per_cpu_s: Spread { min: 1.0, median: 1.5e6, max: 2e6 },
    }));
    let figures = figures(&rows);
    let judged: Vec<_> = figures.iter().map(|figure| (figure.measured.as_str(), figure.met)).collect();
    let expected = [
        ("60.0 ns", Some(true)),
        ("0.25", Some(true)),
        ("12.0 us", Some(false)),
        ("1.50 million/s", Some(true)),
    ];
    assert_eq!(judged, expected);
}

#[test]
fn a_run_is_void_when_memory_alone_was_over_the_limit() {
    let cases = [(9.9, false), (10.1, true)];
    for (p999_us, is_void) in cases {
        let rows = [lookup(FLOOR.name, 1_000_000, 20.0, p999_us), lookup(OURS.name, 1_000_000, 20.0, 3.0)];
        assert_eq!(void(&rows).is_some(), is_void, "{p999_us} us");
    }
}
