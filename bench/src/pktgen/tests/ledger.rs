//! The account of copies.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use etherparse::{NetSlice, SlicedPacket};
use wire::{FrameHeader, MacAddr, OVERHEAD, Template};

use zerocopy::IntoBytes;

use super::super::clock::Clock;
use super::super::flow::{Domain, Plan, Rate, Teps};
use super::super::frames::{Kind, TRAILER, Trailer};
use super::super::receive::{Counts, Finding, Ledger, Watch};

const NODE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 254);
const RUN: u32 = 7;
const VNI: u32 = 5001;

/// One flow from TEP 2 to TEPs 0 to 4, of which 5 and 6 may join; there are ten TEPs.
fn ledger() -> Ledger {
    let teps = Teps::new(Ipv4Addr::new(198, 19, 0, 1), 10);
    let mut plan = Plan::new(teps, NODE);
    let inner = Kind::Broadcast.inner(60, 1472).unwrap();
    plan.add("test", inner, Rate(1), [Domain { vni: VNI, members: 0..5, watched: 2, source: 2 }]);
    Ledger::new(Arc::new(plan), Clock::new(), RUN, 0, true).unwrap()
}

/// The copy of frame `sequence` for TEP `to`, as the node makes it.
fn copy(to: u32, sequence: u64) -> Vec<u8> {
    frame(NODE, VNI, to, RUN, 0, sequence)
}

fn frame(source: Ipv4Addr, vni: u32, to: u32, run: u32, flow: u32, sequence: u64) -> Vec<u8> {
    let teps = Teps::new(Ipv4Addr::new(198, 19, 0, 1), 10);
    let template = Template::new(MacAddr([2; 6]), Some(MacAddr([4; 6])), teps.address(to));
    let mut inner = Kind::Broadcast.inner(60, 1472).unwrap();
    let trailer = Trailer { run: run.into(), flow: flow.into(), sequence: sequence.into(), ticks: 0.into() };
    inner[60 - TRAILER..].copy_from_slice(trailer.as_bytes());
    [&FrameHeader::new(source, 0, vni, 60).head(&template).to_bytes()[..], &inner].concat()
}

#[test]
fn the_copies_that_are_accounted_for_are_what_a_foreign_parser_reads() {
    let frame = copy(3, 9);
    let packet = SlicedPacket::from_ethernet(&frame).unwrap();
    let Some(NetSlice::Ipv4(ip)) = packet.net else { panic!("{packet:?}") };
    assert_eq!(ip.header().destination_addr(), Ipv4Addr::new(198, 19, 0, 4));
    assert_eq!(ip.payload().ip_number.0, 47);
    let gre = ip.payload().payload;
    assert_eq!(gre[..8], [0x20, 0, 0x65, 0x58, 0, 0, 0x13, 0x89]);
    let inner = etherparse::Ethernet2Slice::from_slice_without_fcs(&gre[8..]).unwrap();
    assert_eq!((inner.destination(), inner.ether_type().0), ([0xff; 6], 0x88b5));
    assert_eq!(gre[8 + 60 - 16..8 + 60 - 8], 9_u64.to_be_bytes());
    assert_eq!(ledger().enter(&frame, 1), Finding::Good);
}

#[test]
fn every_fault_is_detected_as_what_it_is() {
    use Finding::*;
    let changed = |at: usize, value: u8| {
        let mut frame = copy(0, 0);
        frame[at] = value;
        frame
    };
    let mut longer = copy(0, 0);
    longer.extend([0; 6]);
    let shorter = copy(0, 0)[..101].to_vec();
    for (what, frames, expected) in [
        ("each member's own copies", vec![copy(0, 0), copy(1, 0), copy(3, 0), copy(4, 0)], vec![Good; 4]),
        ("in order", vec![copy(0, 0), copy(0, 1), copy(0, 2)], vec![Good; 3]),
        ("a gap is no fault of what comes after it", vec![copy(0, 0), copy(0, 5), copy(0, 6)], vec![Good; 3]),
        ("out of order", vec![copy(0, 0), copy(0, 2), copy(0, 1), copy(0, 3)], vec![Good, Good, Late, Good]),
        ("doubled at once", vec![copy(0, 0), copy(0, 0)], vec![Good, Doubled]),
        (
            "doubled later",
            vec![copy(0, 0), copy(0, 1), copy(0, 2), copy(0, 0)],
            vec![Good, Good, Good, Doubled],
        ),
        ("doubled after it was late", vec![copy(0, 1), copy(0, 0), copy(0, 0)], vec![Good, Late, Doubled]),
        (
            "a gap is not taken for what was there a window ago",
            vec![copy(0, 0), copy(0, 300), copy(0, 256)],
            vec![Good, Good, Late],
        ),
        ("older than the window", vec![copy(0, 1000), copy(0, 0)], vec![Good, Late]),
        ("of the same number, to another member", vec![copy(0, 0), copy(1, 0)], vec![Good, Good]),
        ("back to its source", vec![copy(2, 0)], vec![ToSource]),
        ("to a TEP of another domain", vec![copy(7, 0)], vec![NotMember]),
        ("to an address that is nobody's", vec![copy(10, 0)], vec![NotMember]),
        ("with another VNI", vec![frame(NODE, VNI + 1, 0, RUN, 0, 0)], vec![WrongVni]),
        ("with another VNI, to its source", vec![frame(NODE, VNI + 1, 2, RUN, 0, 0)], vec![WrongVni]),
        ("from its origin", vec![frame(Ipv4Addr::new(198, 19, 0, 3), VNI, 0, RUN, 0, 0)], vec![Good]),
        ("from somebody else", vec![frame(Ipv4Addr::new(198, 19, 0, 4), VNI, 0, RUN, 0, 0)], vec![Damaged]),
        ("of another run", vec![frame(NODE, VNI, 0, RUN + 1, 0, 0)], vec![Foreign]),
        ("of a flow that is not there", vec![frame(NODE, VNI, 0, RUN, 1, 0)], vec![Foreign]),
        ("with a byte of the inner frame changed", vec![changed(OVERHEAD + 20, 0xee)], vec![Damaged]),
        ("with the IP checksum wrong", vec![changed(24, 0xee)], vec![Damaged]),
        ("with a GRE sequence bit", vec![changed(34, 0x30)], vec![Damaged]),
        ("not GRE", vec![changed(23, 17)], vec![Foreign]),
        ("not IPv4", vec![changed(12, 0x86)], vec![Foreign]),
        ("padded", vec![longer], vec![Good]),
        ("cut short", vec![shorter], vec![Foreign]),
        ("a runt", vec![vec![0; 13], vec![]], vec![Foreign, Foreign]),
    ] {
        let mut ledger = ledger();
        let found: Vec<_> = frames.iter().map(|frame| ledger.enter(frame, 1)).collect();
        assert_eq!(found, expected, "{what}");
        let counts = ledger.tallies[0].counts;
        let of = |kind| expected.iter().filter(|&&copy| copy == kind).count() as u64;
        let counted = Counts {
            received: of(Good) + of(Late),
            out_of_order: of(Late),
            doubled: of(Doubled),
            wrong_vni: of(WrongVni),
            not_member: of(NotMember),
            to_source: of(ToSource),
            damaged: of(Damaged),
        };
        assert_eq!((counts, ledger.foreign), (counted, of(Foreign)), "{what}");
        assert_eq!(
            counts.is_clean(),
            counted == Counts { received: counted.received, ..Counts::default() },
            "{what}"
        );
    }
}

#[test]
fn what_did_not_come_is_lost_by_member_and_misdelivery_is_told_by_tep() {
    let mut ledger = ledger();
    // Three frames were sent: member 0 gets all, 1 one of them twice, 3 none, 4 all, and TEP 8 one that is not for it.
    for (to, numbers) in [(0, &[0, 1, 2][..]), (1, &[1, 1]), (4, &[2, 1, 0]), (8, &[0])] {
        for &number in numbers {
            ledger.enter(&copy(to, number), 1);
        }
    }
    let sent = crate::pktgen::send::Sent { by_flow: vec![3], skipped: vec![0] };
    let outcome =
        crate::pktgen::outcome::Outcome::new(&ledger.plan, &ledger.clock, (0, Duration::MAX), &sent, &ledger);
    let rows: Vec<_> = outcome
        .members
        .iter()
        .map(|m| (m.tep.octets()[3] - 1, m.received, m.lost, m.doubled, m.misdelivered, m.out_of_order))
        .collect();
    assert_eq!(
        rows,
        [(0, 3, 0, 0, 0, 0), (1, 1, 2, 1, 0, 0), (3, 0, 3, 0, 0, 0), (4, 3, 0, 0, 0, 2), (8, 0, 0, 0, 1, 0)]
    );
    let stream = &outcome.streams[0];
    assert_eq!((stream.sent, stream.expected, stream.lost), (3, 12, 5));
    assert!(!stream.passes(0.5) && stream.counts.misdelivered() == 1);
}

#[test]
fn a_watched_tep_is_neither_missed_nor_counted_but_seen() {
    let mut ledger = ledger();
    for (sequence, now) in [(4, 100), (5, 200), (6, 300)] {
        assert_eq!(ledger.enter(&copy(5, sequence), now), Finding::Good);
    }
    let watch = ledger.watches[5];
    assert_eq!((watch.first_at, watch.first_sequence, watch.last_at, watch.last_sequence), (100, 4, 300, 6));
    assert_eq!((watch.received, ledger.received, ledger.tallies[0].counts.received), (3, 0, 0));
    assert_eq!(ledger.watches[6], Watch::default());
}

#[test]
fn latency_is_from_the_trailer_to_the_receiver() {
    let mut ledger = ledger();
    let ticks = ledger.clock.ticks_of(Duration::from_micros(250));
    ledger.enter(&copy(0, 0), ticks);
    let told = ledger.tallies[0].latency.max();
    assert!((249_000..=251_000).contains(&told), "{told}");
    assert_eq!(ledger.latencies[0].len(), 1);
    assert_eq!(ledger.latencies[1].len(), 0);
}
