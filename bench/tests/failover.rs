//! A few rounds of each measurement leave a report whose parts add up. Needs root and a release build of bcastd and
//! bcastctl.

// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::process::Command;

use serde_json::Value;

/// Runs the program; gives the rows of its report, and whether it drew its plot.
fn run(words: &str, name: &str) -> (Vec<Value>, bool) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    let output =
        command.arg("failover").args(words.split(' ')).arg("--results").arg(folder.path()).output().unwrap();
    // A slow machine may miss targets; that is no error here.
    let status = output.status.code();
    assert!(matches!(status, Some(0 | 1)), "{words}: {status:?} {}", String::from_utf8_lossy(&output.stderr));
    let report = fs::read_to_string(folder.path().join(format!("{name}.json"))).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let rows = report["rows"].as_array().unwrap().clone();
    (rows, folder.path().join(format!("{name}.svg")).exists())
}

fn ms(row: &Value, part: &str) -> f64 {
    row[part].as_f64().unwrap_or_else(|| panic!("no {part} in {row}"))
}

#[test]
fn failovers_are_timed_in_parts_that_fit_into_the_outage() {
    let (rows, plotted) = run("keepalived --count 2", "failover");
    assert_eq!((rows.len(), plotted), (2, true));
    for row in rows {
        let parts = ["election_ms", "announce_ms", "service_ms"].map(|part| ms(&row, part));
        assert!(parts[0] > 0.0 && ms(&row, "node_ms") > 0.0, "{row}");
        // To the microsecond, each of them.
        assert!(parts.iter().sum::<f64>() <= ms(&row, "outage_ms") + 0.01, "{row}");
    }
}

#[test]
fn announcements_are_timed_from_the_port_to_the_last_copy() {
    let (rows, plotted) = run("fanout --members 8 --count 4", "fanout");
    assert_eq!((rows.len(), plotted), (4, true));
    for row in rows {
        assert!(ms(&row, "first_ms") <= ms(&row, "last_ms"), "{row}");
    }
}

#[test]
fn addresses_that_are_announced_at_once_are_all_bound() {
    let (rows, _) = run("burst --havips 300", "burst");
    let row = &rows[0];
    assert!(ms(row, "half_ms") <= ms(row, "bound_ms"), "{row}");
}

#[test]
fn bad_numbers_are_refused_before_anything_is_started() {
    for words in ["keepalived --count 0", "fanout --members 1", "fanout --count many", "nothing"] {
        let output = Command::new(env!("CARGO_BIN_EXE_bench"))
            .arg("failover")
            .args(words.split(' '))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{words}");
    }
}
