//! Wrong frames, each of which the check finds.

use std::net::Ipv4Addr;

use bench::harness::tep;

use crate::check::{Outer, Wrong, check, copies, copy};
use crate::workload::{Point, Workload};

const OUTER: Outer =
    Outer { node: Ipv4Addr::new(198, 18, 0, 254), source: [2, 0, 0, 0, 0, 9], next_hop: [2; 6] };

fn workload() -> Workload {
    Workload::new(&[Point { size: 60, copies: 3 }, Point { size: 1400, copies: 2 }], 2)
}

fn right() -> Vec<Vec<u8>> {
    workload().domains.iter().rev().flat_map(|domain| copies(&OUTER, domain).unwrap()).collect()
}

/// The difference that is found; there must be one.
fn wrong(sent: Vec<Vec<u8>>) -> Wrong {
    check(&workload(), &OUTER, sent).unwrap_err().downcast().unwrap()
}

#[test]
fn what_is_right_is_so_in_any_order() {
    assert_eq!(check(&workload(), &OUTER, right()).unwrap(), 10);
}

#[test]
fn a_wrong_bit_anywhere_is_found() {
    let length = right()[9].len();
    for bit in 0..length * 8 {
        let mut sent = right();
        sent[9][bit / 8] ^= 1 << (bit % 8);
        let Wrong { unexpected, missing, .. } = wrong(sent);
        assert_eq!((unexpected, missing), (1, 1), "bit {bit}");
    }
}

#[test]
fn a_frame_that_is_missing_doubled_or_misdelivered_is_found() {
    let mut sent = right();
    let lost = sent.remove(4);
    let missing = Wrong { sent: 9, unexpected: 0, expected: 10, missing: 1, first: lost };
    assert_eq!(wrong(sent.clone()), missing);
    // Instead of the lost one another twice: the count is right.
    sent.push(sent[0].clone());
    let doubled = Wrong { sent: 10, unexpected: 1, first: sent[0].clone(), ..missing };
    assert_eq!(wrong(sent), doubled);
    let mut sent = right();
    sent.push(sent[0].clone());
    assert!(matches!(wrong(sent), Wrong { sent: 11, unexpected: 1, missing: 0, .. }));
    // To the source of the frame, which must never get one.
    let mut sent = right();
    let domain = &workload().domains[0];
    let inner = &domain.frame()[42..];
    let place = sent.iter().position(|frame| frame.ends_with(inner)).unwrap();
    sent[place] = copy(&OUTER, domain.vni, tep(domain.source), inner).unwrap();
    assert!(matches!(wrong(sent), Wrong { unexpected: 1, .. }));
    assert!(matches!(wrong(vec![]), Wrong { unexpected: 0, missing: 10, .. }));
}
