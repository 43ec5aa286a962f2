//! Figures of known rows.

use bench::harness::machine::Machine;

use crate::results::{Results, Row, Traffic};
use crate::workload::Point;
fn row(candidate: &str, traffic: Traffic, size: u16, copies: u32, rate: f64) -> Row {
    Row::new(candidate, traffic, Point { size, copies }, vec![rate * 0.9, rate, rate * 1.2])
}

fn machine() -> Machine {
    Machine { tsc_mhz: 2000.0, ..Machine::describe() }
}

#[test]
fn a_ratio_is_one_of_medians_at_the_same_point_and_the_best_burst_is_the_floor() {
    let rows = [
        row("floor, bursts of 32", Traffic::Broadcast, 60, 128, 80.0),
        row("floor, bursts of 64", Traffic::Broadcast, 60, 128, 100.0),
        row("bcastd", Traffic::Broadcast, 60, 128, 76.0),
        row("bcastd", Traffic::Broadcast, 60, 512, 30.0),
        row("OVS-DPDK", Traffic::Broadcast, 60, 128, 5.0),
        row("OVS-DPDK", Traffic::Broadcast, 60, 512, 4.0),
        row("bcastd", Traffic::UnknownSources, 60, 0, 20.0),
        row("testpmd, rxonly", Traffic::UnknownSources, 60, 0, 50.0),
    ];
    let figures = Results(&rows).figures(&machine());
    let found = |what: &str| {
        let figure = figures.iter().find(|figure| figure.what.contains(what)).unwrap();
        (figure.measured.split(' ').next().unwrap().to_owned(), figure.met)
    };
    assert_eq!(found("60 B inner, 128 copies"), ("0.76".to_owned(), Some(true)));
    assert_eq!(found("32 copies a frame and up"), ("7.50".to_owned(), Some(false)));
    assert_eq!(found("unknown sources"), ("0.40".to_owned(), Some(false)));
    assert_eq!(found("the floor"), ("20.0".to_owned(), None));
    assert!(!figures.iter().any(|figure| figure.what.contains("two workers")), "not measured");
    let [table] = &Results(&rows).tables()[..] else { panic!("one size") };
    assert_eq!(table.head, ["", "128", "512"]);
    let cells: Vec<_> = table.rows.iter().map(|row| row.join("|")).collect();
    assert_eq!(cells, ["bcastd|76.0|30.0", "OVS-DPDK|5.0|4.0", "the floor|100.0|"]);
}

#[test]
fn a_run_whose_floor_is_too_slow_is_void() {
    for (rate, void) in [(61.0, false), (60.0, true)] {
        let rows = [
            row("floor, bursts of 32", Traffic::Broadcast, 60, 128, rate),
            row("bcastd", Traffic::Broadcast, 60, 128, 50.0),
        ];
        assert_eq!(Results(&rows).void(&machine()).is_some(), void, "{rate}");
    }
}
