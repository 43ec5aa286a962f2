//! The way to the kernel: how many frames of which class get there in which time, what strangers get, and what the node learns.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod common;
mod frames;
#[path = "common/parties.rs"]
mod parties;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use common::{FakePacket, FakeRig, NEXT_HOP, NODE, Options, PORT_MAC, Pool, identity, index, settings, tep};
use engine::hosts::STRANGERS;
use engine::police::Ticks;
use engine::punt::{Conflict, PuntKind, PuntPort, PuntQueues};
use engine::runtime::RuntimeSettings;
use engine::teps::TepArray;
use frames::{ethernet, ipv4};
use parties::parties;
use wire::encap::Gre;
use wire::{CopyErrorKind, DropReason, MacAddr};

/// A worker's end of the punt, whose clock ticks in microseconds.
struct Bench {
    punt: PuntPort<FakePacket>,
    queues: Arc<PuntQueues<FakePacket>>,
    pool: Pool,
}

impl Bench {
    /// One that has used all its tokens at `start`.
    fn new(start: u64, rate: u32) -> Self {
        let queues = PuntQueues::new(identity(STRANGERS)).unwrap();
        let punt = PuntPort::new(Some(queues.clone()), 0);
        let mut bench = Self { punt, queues, pool: Pool::new(16, 64) };
        bench.passed(start, rate);
        bench
    }

    /// Frames of one source that pass at a moment.
    fn passed(&mut self, now: u64, rate: u32) -> u64 {
        let (now, teps) = (Ticks { now, per_second: 1_000_000 }, TepArray::<Gre>::empty());
        let pass = |_: &u64| {
            let packet = self.pool.packet(&[0; 60]).unwrap();
            let (_, offered) = self.punt.offer(packet, (&teps, rate), now);
            assert!(matches!(offered, Ok(_) | Err(DropReason::PuntLimited)));
            // The kernel takes it at once.
            self.queues.for_kernel().for_each(drop);
            offered.is_ok()
        };
        (0..100_000).take_while(pass).count() as u64
    }
}

const START: u64 = 60_000_000;

#[test]
fn a_class_that_is_alone_has_the_whole_rate_over_time_and_saves_up_little() {
    for rate in [0, 1, 5, 1_000, 20_000] {
        let mut bench = Bench::new(START, rate);
        let passed: u64 = (1..=10_000).map(|number| bench.passed(START + number * 1_000, rate)).sum();
        // Its own part and all, where a bucket grants one frame more than it holds; a rate of one frame is a part of one.
        let (least, most) = (u64::from(rate) * 10, u64::from(rate) * 10 + 2);
        let most = if rate == 1 { 2 * most } else { most };
        assert!((least.saturating_sub(2)..=most).contains(&passed), "{passed} in 10 s at {rate}/s");
        let saved = bench.passed(START + 100_000_000, rate);
        assert!(saved <= u64::from(rate) * 3 / 20 + 2, "{saved} at once at {rate}/s");
    }
}

#[test]
fn a_clock_that_goes_backwards_gives_no_flood_and_no_drought() {
    let mut bench = Bench::new(START, 1_000);
    let passed: u64 = (0..5_000).map(|ms| bench.passed(1_000 + ms * 1_000, 1_000)).sum();
    assert!((4_998..5_160).contains(&passed), "{passed}");
}

const SECOND: u64 = 1_000_000_000;
/// Frames a second to the kernel in what follows.
const RATE: u32 = 1_000;

fn rig(options: Options) -> FakeRig {
    let mut rig =
        FakeRig::new(Options { settings: RuntimeSettings { punt_rate: RATE, ..settings() }, ..options });
    rig.domain(5001, 3);
    rig
}

fn kinds(rig: &FakeRig) -> [u64; PuntKind::ALL.len()] {
    rig.cells.totals.punted_by.each_ref().map(|cell| cell.get())
}

fn ping(from: Ipv4Addr, number: u16) -> Vec<u8> {
    let message = [&[8, 0, 0, 0, 0, 0][..], &number.to_be_bytes()].concat();
    ethernet(PORT_MAC.0, NEXT_HOP.0, 0x0800, &ipv4(from, NODE, 1, &message))
}

fn tcp(from: Ipv4Addr, port: u16) -> Vec<u8> {
    let ports = [40_000_u16.to_be_bytes(), port.to_be_bytes()].concat();
    ethernet(PORT_MAC.0, NEXT_HOP.0, 0x0800, &ipv4(from, NODE, 6, &[&ports[..], &[0; 16]].concat()))
}

fn bfd(from: Ipv4Addr, port: u16) -> Vec<u8> {
    let ports = [49_152_u16.to_be_bytes(), port.to_be_bytes()].concat();
    ethernet(PORT_MAC.0, NEXT_HOP.0, 0x0800, &ipv4(from, NODE, 17, &[&ports[..], &[0; 28]].concat()))
}

/// Frames that the kernel gets, counted by a mark of each.
fn drain(rig: &FakeRig, is_wanted: impl Fn(&[u8]) -> bool) -> usize {
    use engine::port::Packet;
    rig.punted.for_kernel().filter(|packet| is_wanted(packet.data())).count()
}

#[test]
fn beside_pings_at_a_hundred_times_the_rate_no_arp_of_teps_no_bgp_no_bfd_and_no_quiet_source_loses_anything()
{
    for (what, sources) in [("one source", 1_u32), ("a source each", 1 << 20)] {
        let mut rig = rig(Options::default());
        let (mut sent, mut arrived, mut quiet) = (0, 0, 0);
        for ms in 0..2_000_u32 {
            rig.worker.clock.now.fetch_add(SECOND / 1_000, Relaxed);
            // Beyond the link, so that the number of strangers is not what bounds them.
            for number in 0..RATE / 10 {
                let source = Ipv4Addr::from_bits(0x0a00_0000 + (ms * 100 + number) % sources);
                rig.receive(ping(source, 1));
            }
            if ms % 10 == 5 {
                let hypervisor = usize::try_from(ms / 10 % 8).unwrap();
                rig.receive(parties(0).request(tep(hypervisor).address()));
                rig.receive(tcp(tep(1).address(), 179));
                rig.receive(bfd(tep(2).address(), 3784));
                sent += 3;
            }
            if sources == 1 && ms % 100 == 7 {
                rig.receive(tcp(Ipv4Addr::new(192, 0, 2, 9), 22));
                quiet += 1;
            }
            rig.settle();
            arrived += drain(&rig, |frame| frame[12..14] == [8, 6] || frame[23] != 1);
        }
        let totals = rig.settle();
        assert_eq!(arrived, sent + quiet, "{what}: {totals:?}");
        // Twice the rate of a second, and what was saved up.
        let most = u64::from(RATE) * 2 + u64::from(RATE) / 5;
        assert!((u64::from(RATE) * 2..most).contains(&totals.punted), "{what}: {totals:?}");
        assert_eq!(
            totals.drops.iter().map(|(reason, _)| *reason).collect::<Vec<_>>(),
            [DropReason::PuntLimited]
        );
        let kinds = kinds(&rig);
        assert_eq!(kinds.iter().sum::<u64>(), totals.punted);
        assert_eq!(kinds[..2], [200, 400], "{what}");
        rig.no_buffer_is_missing();
    }
}

#[test]
fn arp_in_the_name_of_one_tep_takes_nothing_from_that_of_another() {
    let mut rig = rig(Options::default());
    let (storm, quiet) = (tep(0).address(), tep(1).address());
    let (mut sent, mut arrived) = (0, 0);
    for ms in 0..2_000 {
        rig.worker.clock.now.fetch_add(SECOND / 1_000, Relaxed);
        (0..RATE / 10).for_each(|_| rig.receive(parties(0).request(storm)));
        if ms % 50 == 5 {
            rig.receive(parties(0).request(quiet));
            sent += 1;
        }
        rig.settle();
        arrived += drain(&rig, |frame| frame[28..32] == quiet.octets());
    }
    assert_eq!(arrived, sent);
    rig.no_buffer_is_missing();
}

#[test]
fn what_one_class_leaves_the_others_may_use() {
    let mut rig = rig(Options::default());
    for _ in 0..2_000 {
        rig.worker.clock.now.fetch_add(SECOND / 1_000, Relaxed);
        (0..10).for_each(|_| rig.receive(bfd(tep(2).address(), 3784)));
        rig.settle();
        drain(&rig, |_| true);
    }
    let punted = rig.settle().punted;
    assert!(punted >= 2 * u64::from(RATE), "BFD alone has the whole rate: {punted}");
}

#[test]
fn a_strangers_arp_request_is_answered_by_the_node_and_the_kernel_sees_none_of_it() {
    let mut rig = rig(Options { strangers: 0, ..Options::default() });
    let stranger = Ipv4Addr::new(198, 18, 9, 9);
    let request = parties(0).request(stranger);
    rig.receive(request.clone());
    let mut tagged = request.clone();
    tagged.splice(12..12, [0x81, 0, 0xe0, 0]);
    rig.receive(tagged);
    // A probe (RFC 5227) is answered, too.
    rig.receive(parties(0).request(Ipv4Addr::UNSPECIFIED));
    let totals = rig.settle();
    assert_eq!((totals.punted, totals.drops, rig.punted.is_idle()), (3, vec![], true));
    assert_eq!(kinds(&rig)[PuntKind::Answered as usize], 3);
    let answers = rig.sent();
    let sender = &request[22..32];
    let body = [&[0, 1, 8, 0, 6, 4, 0, 2][..], &PORT_MAC.0, &NODE.octets(), sender, &[0; 18]].concat();
    let expected = ethernet(request[6..12].try_into().unwrap(), PORT_MAC.0, 0x0806, &body);
    assert_eq!(answers[..2], [expected.clone(), expected]);
    assert_eq!(rig.cells.totals.tx_kernel.get(), 3);
    rig.no_buffer_is_missing();
}

#[test]
fn arp_that_makes_no_neighbour_or_of_one_that_is_known_goes_to_the_kernel() {
    let mut rig = rig(Options { strangers: 0, ..Options::default() });
    let teps: Vec<_> = (0..8).map(|number| Some((tep(number), Some(NEXT_HOP)))).collect();
    let (stranger, gateway) = (Ipv4Addr::new(198, 18, 9, 9), Ipv4Addr::new(198, 18, 9, 1));
    rig.array.replace(TepArray::build(PORT_MAC, &teps).with_gateways([gateway.into()]));
    let (mut reply, mut vlan, mut elsewhere) =
        (parties(0).request(stranger), parties(0).request(stranger), parties(0).request(stranger));
    reply[21] = 2;
    vlan.splice(12..12, [0x81, 0, 0, 5]);
    elsewhere[0] = 4;
    let frames = [
        parties(0).request(tep(3).address()),
        parties(0).request(gateway),
        reply,
        vlan,
        elsewhere,
        frames::garp([2; 6], stranger),
    ];
    frames.iter().for_each(|frame| rig.receive(frame.clone()));
    assert_eq!(rig.settle().punted, 6);
    assert_eq!(kinds(&rig), [2, 0, 4, 0, 0, 0]);
    // The kernel asks for the stranger: its answers and requests are now of a host that is known.
    let now = Ticks { now: rig.worker.clock.now.load(Relaxed), per_second: SECOND };
    let mut asks = frames::garp(PORT_MAC.0, NODE);
    asks[38..42].copy_from_slice(&stranger.octets());
    rig.punted.note_kernel_frame(&asks, now);
    rig.receive(parties(0).request(stranger));
    rig.receive(ping(stranger, 1));
    rig.settle();
    assert_eq!(kinds(&rig), [3, 0, 5, 0, 0, 0]);
    rig.no_buffer_is_missing();
}

#[test]
fn forged_packets_of_hosts_on_the_link_get_through_up_to_a_bound_and_those_that_are_known_always() {
    let mut rig = rig(Options::default());
    let forged = |number: u32| Ipv4Addr::from_bits(0xc613_0000 + number);
    (0..200).for_each(|number| rig.receive(ping(forged(number), 1)));
    let totals = rig.settle();
    assert_eq!(totals.drops[0].0, DropReason::PuntStranger);
    assert!((STRANGERS..=STRANGERS + 1).contains(&totals.punted), "{totals:?}");
    drain(&rig, |_| true);
    // One that got through, a TEP, a host beyond the link; and what makes no neighbour.
    let multicast = ethernet([1, 0, 0x5e, 0, 0, 5], [2; 6], 0x0800, &{
        ipv4(forged(300), Ipv4Addr::new(224, 0, 0, 5), 89, &[0; 24])
    });
    let others =
        [ping(forged(0), 2), ping(tep(0).address(), 1), ping(Ipv4Addr::new(10, 9, 9, 9), 1), multicast];
    others.iter().for_each(|frame| rig.receive(frame.clone()));
    assert_eq!(rig.settle().punted, totals.punted + 4);
    rig.no_buffer_is_missing();
}

#[test]
fn packets_for_another_hosts_address_are_counted_by_a_name_of_their_own() {
    let mut rig = rig(Options::default());
    let other = Ipv4Addr::new(198, 18, 0, 99);
    let to = |mac: [u8; 6], address, protocol| {
        ethernet(mac, NEXT_HOP.0, 0x0800, &ipv4(tep(0).address(), address, protocol, &[0x20, 0, 0x65, 0x58]))
    };
    rig.receive(to(PORT_MAC.0, other, 47));
    rig.receive(to(PORT_MAC.0, other, 1));
    // To the node, to all, and to another host's MAC address.
    rig.receive(to(PORT_MAC.0, NODE, 1));
    rig.receive(to([0xff; 6], Ipv4Addr::BROADCAST, 17));
    rig.receive(to(PORT_MAC.0, Ipv4Addr::new(198, 19, 255, 255), 17));
    rig.receive(to([4; 6], other, 1));
    assert_eq!(rig.settle().punted, 6);
    assert_eq!(kinds(&rig), [0, 0, 4, 2, 0, 0]);
    rig.no_buffer_is_missing();
}

#[test]
fn another_host_with_the_nodes_address_is_noted_with_its_mac_address() {
    let mut rig = rig(Options::default());
    let other = MacAddr([2, 0, 0, 0, 0, 0x99]);
    assert_eq!(rig.punted.conflict(), None);
    rig.receive(frames::garp(PORT_MAC.0, NODE));
    rig.receive(parties(0).request(tep(0).address()));
    rig.settle();
    assert_eq!((rig.punted.conflict(), rig.cells.totals.conflicts.get()), (None, 0));
    // It announces itself, or asks for another.
    let mut asks = frames::garp(other.0, NODE);
    asks[38..42].copy_from_slice(&tep(0).address().octets());
    for frame in [frames::garp(other.0, NODE), asks] {
        rig.receive(frame);
    }
    assert_eq!(rig.settle().punted, 4);
    assert_eq!(rig.punted.conflict(), Some(Conflict { address: NODE, mac: other }));
    assert_eq!(rig.cells.totals.conflicts.get(), 2);
    rig.no_buffer_is_missing();
}

#[test]
fn icmp_errors_about_copies_are_counted_for_their_tep_by_type_and_move_nothing() {
    let mut rig = rig(Options::default());
    let error = |kind: [u8; 2], from: Ipv4Addr, to: Ipv4Addr, quoted: &[u8]| {
        let mut message = [&kind[..], &[0; 6], &ipv4(from, to, 47, quoted)].concat();
        let sum = frames::checksum(&message).to_be_bytes();
        message[2..4].copy_from_slice(&sum);
        ethernet(PORT_MAC.0, NEXT_HOP.0, 0x0800, &ipv4(Ipv4Addr::new(10, 0, 0, 1), NODE, 1, &message))
    };
    let copy = [0x20, 0, 0x65, 0x58, 0, 0, 0x13, 0x89];
    let about = tep(2).address();
    let counted = [[3, 0], [3, 1], [3, 13], [3, 4], [11, 0]];
    counted.into_iter().for_each(|kind| rig.receive(error(kind, NODE, about, &copy)));
    // Not of the node, not to a TEP, not a copy, no error about delivery, damaged, cut off.
    let mut damaged = error([3, 1], NODE, about, &copy);
    *damaged.last_mut().unwrap() ^= 1;
    let mut cut = error([3, 1], NODE, about, &copy);
    cut.truncate(50);
    let others = [
        error([3, 1], tep(1).address(), about, &copy),
        error([3, 1], NODE, Ipv4Addr::new(198, 18, 9, 9), &copy),
        error([3, 1], NODE, about, &[0x20, 0, 0x08, 0, 0, 0, 0, 0]),
        error([5 + 7, 1], NODE, about, &copy),
        damaged,
        cut,
    ];
    others.iter().for_each(|frame| rig.receive(frame.clone()));
    let totals = rig.settle();
    assert_eq!((totals.punted, totals.drops), (11, vec![]));
    let [unreachable, fragmentation, exceeded] = rig.cells.icmp_errors(index(2));
    assert_eq!((unreachable, fragmentation, exceeded), (3, 1, 1));
    assert_eq!(CopyErrorKind::ALL.map(CopyErrorKind::as_str)[1], "fragmentation_needed");
    assert_eq!(rig.cells.icmp_errors(index(1)), [0; 3]);
    // Copies go on as before.
    rig.receive(parties(0).overlay(&frames::broadcast(1, 60)));
    assert_eq!((rig.settle().sent, rig.sent().len()), (2, 2));
    rig.no_buffer_is_missing();
}
