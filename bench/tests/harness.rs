//! The harness: statistics, plots, capture files, reports, and the figures in the documents.

// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use bench::harness::api::runtime_beside;
use bench::harness::figures::{BEGIN, END, Shown, with_figures};
use bench::harness::frames::{overlay_frame, read_pcap, write_pcap};
use bench::harness::machine::{Machine, field};
use bench::harness::plot::{Axis, Curve, curves, quantiles};
use bench::harness::report::{Figure, Report, Table, read_all};
use bench::harness::stats::{Times, ms};
use bench::harness::thread::Thread;
use bench::harness::{Spread, quantile, tep};
use serde_json::Value;

#[test]
fn a_quantile_is_one_of_the_values() {
    let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
    for (share, expected) in
        [(0.0, 1.0), (0.01, 1.0), (0.5, 50.0), (0.99, 99.0), (0.991, 100.0), (1.0, 100.0)]
    {
        assert_eq!(quantile(&mut values, share), expected, "{share}");
    }
    assert!(quantile(&mut [], 0.5).is_nan());
    assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Spread { min: 1.0, median: 2.0, max: 3.0 });
    assert_eq!(Spread::of(vec![3.0, 1.0]).cells(1e3, 1), ["1000.0", "3000.0", "3000.0"]);
}

#[test]
fn times_are_told_by_their_median_and_their_worst() {
    let times = Times((1..=100).rev().map(f64::from).collect());
    assert_eq!((times.at(0.5), times.at(0.99), times.at(1.0)), (50.0, 99.0, 100.0));
    let curve = Times(vec![2.0, 0.0]).curve("two");
    assert_eq!(curve.points, [(0.5, 0.001), (1.0, 2.0)]);
    assert_eq!(ms(Duration::from_millis(3), Duration::from_millis(5)), 2.0);
    assert_eq!(ms(Duration::from_millis(5), Duration::from_millis(3)), 0.0);
}

#[test]
fn a_thread_is_found_by_its_name_and_has_used_cpu_time() {
    let thread = Thread::find(std::process::id(), "").unwrap();
    assert!(thread.cpu_ns().unwrap() > 0);
    assert!(Thread::find(std::process::id(), "no such thread").is_err());
}

#[test]
fn a_capture_file_is_read_as_it_was_written_and_a_cut_one_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.pcap");
    let frames = vec![overlay_frame(tep(1), 7, 60, 1), overlay_frame(tep(2), 8, 1400, 2)];
    write_pcap(&path, &frames).unwrap();
    assert_eq!(read_pcap(&path).unwrap(), frames);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    assert!(read_pcap(&path).is_err());
}

#[test]
fn the_machine_is_described() {
    let machine = Machine::describe();
    assert!(machine.cores >= 1, "{machine:?}");
    assert!(machine.memory_mb > 0, "{machine:?}");
    assert!(!machine.kernel.is_empty() && machine.rustc.starts_with("rustc "), "{machine:?}");
    assert!(machine.to_string().contains(&machine.kernel));
}

#[test]
fn a_field_is_what_stands_behind_its_whole_name() {
    let text = "model\t\t: 7\nmodel name\t: Fast One\nMemTotal:  12 kB\n";
    assert_eq!(field(text, "model"), "7");
    assert_eq!(field(text, "model name"), "Fast One");
    assert_eq!(field(text, "MemTotal"), "12 kB");
    assert_eq!(field(text, "name"), "");
}

/// Lines of the drawn file.
fn drawn(draw: impl Fn(&Path) -> Result<()>) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plot.svg");
    draw(&path).unwrap();
    std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect()
}

fn assert_shows(svg: &[String], texts: &[&str]) {
    for text in texts {
        assert!(svg.iter().any(|line| line == text), "{text:?} is missing in {svg:#?}");
    }
}

#[test]
fn a_plot_shows_its_curves_by_name_on_any_axes() {
    let some = [Curve::new("fast", vec![(1.0, 20.0), (512.0, 60.0)]), Curve::new("slow", vec![(1.0, 3.0)])];
    let texts = ["Copies", "members", "million/s", "fast", "slow"];
    for make in [Axis::linear, Axis::log] {
        for other in [Axis::linear, Axis::log] {
            let svg = drawn(|path| curves(path, "Copies", make("members"), other("million/s"), &some));
            assert_shows(&svg, &texts);
        }
    }
    let members = || Axis::log("members").with_ticks([1.0, 8.0, 512.0]);
    let svg = drawn(|path| curves(path, "Copies", members(), Axis::log("million/s"), &some));
    assert_shows(&svg, &["1", "8", "512", "20", "50"]);
}

#[test]
fn a_latency_plot_names_percentiles() {
    let points = vec![(0.0, 2.0), (0.5, 3.0), (0.9, 4.0), (0.99, 9.0), (0.999, 30.0), (1.0, 31.0)];
    let idle = [Curve::new("idle", points)];
    let svg = drawn(|path| quantiles(path, "Latency", Axis::log("us"), &idle));
    assert_shows(&svg, &["percentile", "0", "90", "99", "99.9", "us", "idle"]);
}

#[test]
fn what_has_no_place_on_the_plot_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (linear, log) = (Axis::linear("x"), Axis::log("x"));
    let cases = [(&linear, vec![]), (&log, vec![(0.0, 1.0)]), (&linear, vec![(1.0, 1.0), (f64::NAN, 1.0)])];
    for (axis, points) in cases {
        let curve = [Curve::new("none", points)];
        assert!(curves(&folder.path().join("p.svg"), "", axis.clone(), linear.clone(), &curve).is_err());
    }
}

#[test]
fn a_report_is_read_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let figures =
        vec![Figure::at_least("copies", 0.8, 0.75, " of the floor"), Figure::plain("floor", "72 M/s")];
    let report = Report::new("some", figures, vec![serde_json::json!({"copies": 128})]);
    assert_eq!(report.write(folder.path()).unwrap(), folder.path().join("some.json"));
    assert_eq!(read_all(folder.path()).unwrap(), [report]);
}

#[test]
fn a_figure_that_just_misses_its_target_does_not_read_as_if_it_met_it() {
    let cases = [
        (0.7499, 0.75, "0.74 x", Some(false)),
        (0.75, 0.75, "0.75 x", Some(true)),
        (0.29, 0.13, "0.29 x", Some(true)),
        (11.999, 12.0, "11.9 x", Some(false)),
        (123.9, 12.0, "123 x", Some(true)),
    ];
    for (value, least, measured, met) in cases {
        let figure = Figure::at_least("copies", value, least, " x");
        assert_eq!((figure.measured.as_str(), figure.met), (measured, met), "{value}");
    }
    assert_eq!(Figure::at_most("memory", 250.5, 250.0, " MB").met, Some(false));
}

fn report() -> Report<Value> {
    let five = "against OVS-DPDK, 32 copies a frame and up";
    let figures = vec![
        Figure::at_least("copies", 0.7, 0.75, " of the floor"),
        Figure::plain("floor", "72 M/s"),
        Figure::plain(five, "14 times"),
    ];
    let head = ["", "1", "8"].map(str::to_owned).to_vec();
    let rows = vec![["bcastd", "12", "45"].map(str::to_owned).to_vec()];
    Report {
        name: "some".to_owned(),
        date: "2026-01-02 03:04".to_owned(),
        command: "cargo run --release -p some".to_owned(),
        machine: Machine::describe(),
        void: None,
        figures,
        tables: vec![Table { title: "Million".to_owned(), head, rows }],
        rows: vec![],
    }
}

#[test]
fn figures_stand_between_the_markers_with_what_to_type_for_each_and_a_second_run_changes_nothing() {
    let document = format!("# Title\n{BEGIN}\nold\n{END}\nrest\n");
    let written = with_figures(&document, &[report()], Shown::All).unwrap();
    assert!(written.starts_with("# Title\n") && written.ends_with("\nrest\n") && !written.contains("old"));
    for line in [
        "| copies | 0.70 of the floor | at least 0.75 of the floor (missed) | `cargo run --release -p some` |",
        "| floor | 72 M/s |  | `cargo run --release -p some` |",
        "|  | 1 | 8 |",
        "| --- | --- | --- |",
        "| bcastd | 12 | 45 |",
    ] {
        assert!(written.lines().any(|written| written == line), "{line} in {written}");
    }
    assert_eq!(with_figures(&written, &[report()], Shown::All).unwrap(), written);
    let five = with_figures(&document, &[report()], Shown::Five).unwrap();
    assert!(five.contains("| 14 times |") && !five.contains("72 M/s") && !five.contains("| 45 |"), "{five}");
}

#[test]
fn a_void_report_or_a_document_without_markers_is_refused() {
    for document in ["# Title\n".to_owned(), format!("{END}\n{BEGIN}\n")] {
        let error = with_figures(&document, &[report()], Shown::All).unwrap_err().to_string();
        assert!(error.contains("put both where the figures shall be"), "{error}");
    }
    let void = Report { void: Some("too slow".to_owned()), ..report() };
    let refused = with_figures(&format!("{BEGIN}{END}"), &[void], Shown::All).unwrap_err().to_string();
    assert!(refused.contains("void: too slow"), "{refused}");
}

#[test]
fn a_connection_is_served_also_while_nobody_waits_for_an_answer() {
    let (tell, told) = std::sync::mpsc::channel();
    let runtime = runtime_beside().unwrap();
    runtime.spawn(async move { tell.send(()) });
    told.recv_timeout(Duration::from_secs(60)).unwrap();
}
