//! Copies: who gets one, in which order, and what becomes of those that cannot be made or sent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod common;
mod frames;
#[path = "common/parties.rs"]
mod parties;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering::Relaxed;

use bcast_domain::{TepIndex, VlanTags};
use common::{FakeClock, FakePort, FakeRig, NEXT_HOP, NODE, Options, PORT_MAC, Pool, Rig, Totals, tep};
use engine::police::RateLimits;
use engine::runtime::{OuterSource, RuntimeSettings};
use engine::teps::TepArray;
use frames::{at, broadcast};
use parties::parties;
use wire::CopyDropReason::{self, LinkDown, MtuExceeded, NoHeadroom, NoMbuf, TepUnresolved, TxFull};
use wire::MacAddr;
use wire::gratuitous::{Form, advertisement, garp};

const VNI: u32 = 5001;

fn gratuitous(address: Ipv4Addr) -> Vec<u8> {
    frames::garp([0x52, 0x54, 0, 0, 0, 1], address)
}

fn rig(teps: usize, members: usize) -> FakeRig {
    let mut rig = FakeRig::new(Options { teps, ..Options::default() });
    rig.domain(VNI, members);
    rig
}

/// Copies that are expected of one frame, byte by byte.
fn expected(from: Ipv4Addr, to: impl Iterator<Item = usize>, inner: &[u8]) -> Vec<Vec<u8>> {
    let gre = [&[0x20, 0, 0x65, 0x58], &VNI.to_be_bytes()[..], inner].concat();
    to.map(|member| {
        let packet = frames::ipv4(from, tep(member).address(), 47, &gre);
        frames::ethernet(NEXT_HOP.0, PORT_MAC.0, 0x0800, &packet)
    })
    .collect()
}

fn dropped(totals: &Totals) -> Vec<(CopyDropReason, u64)> {
    totals.copy_drops.clone()
}

#[test]
fn every_member_but_the_source_gets_each_frame_byte_for_byte_however_it_is_copied() {
    // Alone, copied with the last in place, shared, copied whole where nothing is shared, more than a batch, a fan-out job.
    for (members, len, can_share) in [
        (2, 60, true),
        (2, 1400, true),
        (3, 60, true),
        (65, 256, true),
        (66, 1400, true),
        (129, 60, true),
        (129, 257, false),
        (130, 60, true),
        (300, 1400, true),
        (300, 1400, false),
        (1000, 60, true),
    ] {
        for sender in [0, members / 2, members - 1] {
            let mut rig = FakeRig::new(Options { teps: members + 3, can_share, ..Options::default() });
            rig.domain(VNI, members);
            let inner = broadcast(7, len);
            rig.receive(parties(sender).overlay(&inner));
            let totals = rig.settle();
            let others = (0..members).filter(|&member| member != sender);
            assert!(rig.sent() == expected(NODE, others, &inner), "{members} members, {len} bytes, {sender}");
            assert_eq!(totals.copy_drops, []);
            rig.no_buffer_is_missing();
        }
    }
}

#[test]
fn a_frame_behind_a_priority_tag_makes_the_same_copies_as_one_without() {
    // VLAN id 0 with priorities 0 and 7; twice, as a provider's and a customer's.
    for tags in [&[0x81, 0, 0, 0][..], &[0x81, 0, 0xe0, 0], &[0x88, 0xa8, 0xe0, 0, 0x81, 0, 0x10, 0]] {
        for (members, len) in [(2, 60), (3, 1400), (65, 256), (300, 60), (300, 1400)] {
            let mut rig = FakeRig::new(Options { teps: members, ..Options::default() });
            rig.domain(VNI, members);
            let inner = broadcast(7, len);
            let frame = parties(0).overlay(&inner);
            rig.receive([&frame[..12], tags, &frame[12..]].concat());
            let totals = rig.settle();
            assert!(
                rig.sent() == expected(NODE, 1..members, &inner),
                "{members} members, {len} bytes, {tags:x?}"
            );
            assert_eq!(totals.copy_drops, []);
            rig.no_buffer_is_missing();
        }
    }
}

#[test]
fn a_domain_with_one_member_makes_no_copy_of_its_frames() {
    let mut rig = rig(3, 1);
    rig.receive(parties(0).overlay(&broadcast(1, 60)));
    let totals = rig.settle();
    assert_eq!((totals.accepted, totals.wanted), (1, 0));
    rig.no_buffer_is_missing();
}

#[test]
fn control_frames_go_before_data_of_the_same_burst_and_each_class_keeps_its_order() {
    let mut rig = rig(4, 2);
    let mut inner: Vec<Vec<u8>> = (0..6).map(|number| broadcast(number, 60)).collect();
    inner.splice(2..2, (10..13).map(|last| gratuitous(Ipv4Addr::new(10, 0, 0, last))));
    inner.iter().for_each(|inner| rig.receive(parties(0).overlay(inner)));
    rig.settle();
    let seen: Vec<_> = rig.sent().iter().map(|copy| copy[at::INNER..].to_vec()).collect();
    let wanted: Vec<_> = [2, 3, 4, 0, 1, 5, 6, 7, 8].map(|at: usize| inner[at].clone()).into();
    assert_eq!(seen, wanted);
}

#[test]
fn copies_carry_the_origins_address_where_that_is_configured() {
    let settings = RuntimeSettings { outer_source: OuterSource::Origin, ..common::settings() };
    let mut rig = FakeRig::new(Options { settings, ..Options::default() });
    rig.domain(VNI, 3);
    rig.receive(parties(1).overlay(&broadcast(1, 60)));
    rig.settle();
    let origin = tep(1).address();
    assert!(rig.sent() == expected(origin, [0, 2].into_iter(), &broadcast(1, 60)));
}

#[test]
fn copies_longer_than_the_ports_mtu_are_counted_whether_they_are_a_job_or_not() {
    for members in [3, 200] {
        let mut rig = rig(members, members);
        rig.receive(parties(0).overlay(&broadcast(1, 1473)));
        rig.receive(parties(0).overlay(&broadcast(2, 1472)));
        let totals = rig.settle();
        let others = members as u64 - 1;
        assert_eq!((totals.accepted, totals.sent), (2, others));
        assert_eq!(dropped(&totals), [(MtuExceeded, others)]);
        rig.no_buffer_is_missing();
    }
}

#[test]
fn teps_without_a_next_hop_or_no_longer_there_are_counted_and_the_others_get_their_copies() {
    for (members, len) in [(8, 60), (8, 1400), (200, 60), (200, 1400)] {
        let mut rig = rig(members, members);
        // One in four has no next hop; the last index is of nobody.
        let hop = |number| if number % 4 == 3 { None } else { Some(NEXT_HOP) };
        let teps: Vec<_> = (0..members - 1).map(|number| Some((tep(number), hop(number)))).collect();
        rig.array.replace(TepArray::build(PORT_MAC, &teps));
        rig.receive(parties(0).overlay(&broadcast(1, len)));
        let totals = rig.settle();
        let missing = (1..members).filter(|&number| number % 4 == 3 || number == members - 1).count() as u64;
        assert_eq!(dropped(&totals), [(TepUnresolved, missing)], "{members} members, {len} bytes");
        assert_eq!(totals.sent, members as u64 - 1 - missing);
        assert_eq!(rig.cells.tep_drops(TepIndex::from(3)).of_copies(TepUnresolved), 1);
        rig.no_buffer_is_missing();
    }
}

#[test]
fn a_full_ring_is_tried_again_for_longer_for_control_frames_and_then_counted() {
    let control = gratuitous(Ipv4Addr::new(10, 0, 0, 1));
    for (inner, drains_after, sent) in [
        (broadcast(1, 60), Some(60), 119),
        (broadcast(1, 60), Some(1000), 100),
        (broadcast(1, 60), None, 100),
        (control.clone(), Some(1000), 119),
        (control, None, 100),
    ] {
        let mut rig = rig(120, 120);
        {
            let mut cable = rig.port().cable.borrow_mut();
            (cable.ring_size, cable.drains_after) = (100, drains_after);
        }
        rig.receive(parties(0).overlay(&inner));
        let totals = rig.settle();
        assert_eq!(totals.sent, sent, "{drains_after:?}");
        let refused = 119 - sent;
        assert_eq!(
            totals.copy_drops.iter().find(|(reason, _)| *reason == TxFull).map_or(0, |drop| drop.1),
            refused
        );
        // The last members' copies are those that found no room, and they are counted for their TEPs and the domain.
        let last = rig.cells.tep_drops(TepIndex::from(119)).of_copies(TxFull);
        assert_eq!(last, u64::from(refused > 0));
        let domain = rig.domains.get(VNI.into()).unwrap().domain();
        assert_eq!(rig.cells.domain(domain).copies.get(), sent);
        assert_eq!(rig.cells.domain(domain).drops.get(), refused);
        rig.no_buffer_is_missing();
    }
}

#[test]
fn an_exhausted_pool_costs_the_copies_that_need_a_buffer_and_no_other() {
    // Of short copies the last is the received buffer; shared ones need a header each; long ones a whole buffer.
    for (len, can_share, missing) in [(60, true, 8), (1400, true, 9), (1400, false, 8)] {
        let pools = [(64, 2048), (3, 384), (3, 2048)].map(|(size, room)| Pool::new(size, room));
        let mut rig = FakeRig::with_pools(Options { teps: 10, can_share, ..Options::default() }, pools);
        rig.domain(VNI, 10);
        rig.receive(parties(0).overlay(&broadcast(1, len)));
        let totals = rig.settle();
        assert_eq!(dropped(&totals), [(NoMbuf, missing)], "{len} bytes, {can_share}");
        rig.no_buffer_is_missing();
    }
}

#[test]
fn a_received_buffer_without_headroom_or_in_several_segments_is_copied_or_counted() {
    // Six bytes before the header are written as well. A buffer that is not plain is copied whole.
    for (headroom, plain, expected) in
        [(5, true, vec![(NoHeadroom, 1)]), (6, true, vec![]), (128, false, vec![])]
    {
        let mut rig = rig(2, 2);
        {
            let mut cable = rig.port().cable.borrow_mut();
            (cable.headroom, cable.plain) = (headroom, plain);
        }
        rig.receive(parties(0).overlay(&broadcast(1, 60)));
        assert_eq!(dropped(&rig.settle()), expected, "{headroom} bytes");
        rig.no_buffer_is_missing();
    }
}

#[test]
fn while_the_link_is_down_nothing_is_handed_to_the_port_and_all_is_counted() {
    let mut rig = rig(200, 200);
    rig.config.set_link_up(false);
    for len in [60, 300, 1400] {
        rig.receive(parties(0).overlay(&broadcast(1, len)));
    }
    rig.receive(parties(0).overlay(&gratuitous(Ipv4Addr::new(10, 0, 0, 1))));
    let totals = rig.settle();
    assert_eq!((totals.sent, dropped(&totals)), (0, vec![(LinkDown, 4 * 199)]));
    assert!(rig.sent().is_empty());
    rig.config.set_link_up(true);
    rig.receive(parties(0).overlay(&broadcast(2, 60)));
    assert_eq!(rig.settle().sent, 199);
    rig.no_buffer_is_missing();
}

#[test]
fn frames_for_the_node_go_to_the_kernel_and_the_kernels_go_out() {
    let mut rig = rig(3, 3);
    let node = parties(0).for_the_node();
    rig.receive(node.clone());
    rig.receive(parties(0).overlay(&broadcast(1, 60)));
    let pool = rig.port().received.clone();
    assert!(rig.punted.from_kernel.push(pool.packet(&[7; 60]).unwrap()).is_ok());
    let totals = rig.settle();
    assert_eq!((totals.punted, totals.accepted, rig.cells.totals.tx_kernel.get()), (1, 1, 1));
    assert_eq!(engine::port::Packet::data(&rig.punted.for_kernel().next().unwrap()), node);
    assert_eq!(rig.sent()[0], [7; 60], "nothing of the copies stood before it");
    // With the link down they are counted.
    rig.config.set_link_up(false);
    assert!(rig.punted.from_kernel.push(pool.packet(&[7; 60]).unwrap()).is_ok());
    rig.settle();
    assert_eq!(rig.cells.totals.tx_kernel_drops.get(), 1);
    rig.no_buffer_is_missing();
}

#[test]
fn a_full_queue_to_the_kernel_is_counted() {
    let mut rig = rig(3, 3);
    (0..300).for_each(|_| rig.receive(parties(0).for_the_node()));
    let totals = rig.settle();
    assert_eq!((totals.punted, totals.drops), (256, vec![(wire::DropReason::PuntLimited, 44)]));
    assert!(!rig.punted.is_idle());
    rig.no_buffer_is_missing();
}

#[test]
fn frames_that_the_node_makes_for_a_domain_are_replicated_but_to_the_tep_that_they_stand_for() {
    let mut rig = rig(4, 4);
    let local = rig.local();
    let inner = gratuitous(frames::VIP);
    assert!(local.send(VNI.into(), tep(2), &[&inner, &inner]));
    let totals = rig.settle();
    assert_eq!((totals.received, totals.accepted, totals.sent), (2, 2, 6));
    assert_eq!(rig.cells.totals.local_frames.get(), 2);
    let copies = expected(NODE, [0, 1, 3].into_iter(), &inner);
    assert!(rig.sent() == [copies.clone(), copies].concat());
    // All or none, and a bounded number.
    let taken = (0..2000).take_while(|_| local.send(VNI.into(), tep(2), &[&inner, &inner])).count();
    assert_eq!(taken, 512);
    rig.settle();
    rig.no_buffer_is_missing();
}

#[test]
fn each_form_comes_to_the_worker_as_the_holders_hypervisor_would_have_sent_it_and_the_queue_is_bounded() {
    let mut rig = rig(3, 3);
    let local = rig.local();
    let mac = MacAddr([0x52, 0x54, 0, 0, 0, 1]);
    let (four, six) = (frames::VIP, "fd00::100".parse().unwrap());
    let announce = |address| local.announce(VNI.into(), tep(0), mac, VlanTags::NONE, address);
    assert!(announce(four.into()) && announce(IpAddr::V6(six)));
    rig.settle();
    let forms = [
        garp(mac, four, Form::Request).to_vec(),
        garp(mac, four, Form::Reply).to_vec(),
        advertisement(mac, six).to_vec(),
    ];
    assert!(rig.sent() == forms.map(|inner| expected(NODE, [1, 2].into_iter(), &inner)).concat());
    // Two frames each.
    assert_eq!((0..2000).take_while(|_| announce(four.into())).count(), 512);
    assert!(!announce(IpAddr::V6(six)));
    rig.poll();
    assert!(announce(IpAddr::V6(six)), "there is room again");
    rig.settle();
    rig.no_buffer_is_missing();
}

#[test]
fn what_is_announced_on_a_holders_behalf_has_the_holders_vlan_tags() {
    let mut rig = rig(3, 3);
    let local = rig.local();
    let mac = MacAddr([0x52, 0x54, 0, 0, 0, 1]);
    let six = "fd00::100".parse().unwrap();
    let tags = VlanTags::NONE.with(0x88a8, 7).with(0x8100, 0x600a);
    let tagged =
        |frame: &[u8]| [&frame[..12], &[0x88, 0xa8, 0, 7, 0x81, 0, 0x60, 0x0a], &frame[12..]].concat();
    assert!(local.announce(VNI.into(), tep(0), mac, tags, frames::VIP.into()));
    assert!(local.announce(VNI.into(), tep(0), mac, tags, IpAddr::V6(six)));
    // More tags than are known: it could reach another VLAN.
    let tags = tags.with(0x8100, 1);
    assert!(local.announce(VNI.into(), tep(0), mac, tags, frames::VIP.into()));
    rig.settle();
    let forms = [
        tagged(&garp(mac, frames::VIP, Form::Request)),
        tagged(&garp(mac, frames::VIP, Form::Reply)),
        tagged(&advertisement(mac, six)),
    ];
    assert!(rig.sent() == forms.map(|inner| expected(NODE, [1, 2].into_iter(), &inner)).concat());
    rig.no_buffer_is_missing();
}

#[test]
fn an_address_of_a_shared_multicast_mac_is_announced_from_an_address_of_one_interface() {
    let mut rig = rig(3, 3);
    let (shared, source) = (MacAddr([1, 0, 0x5e, 0x7f, 0, 1]), [3 & !1, 0, 0x5e, 0x7f, 0, 1]);
    let (four, six) = (frames::VIP, "fd00::100".parse().unwrap());
    let local = rig.local();
    for address in [IpAddr::V4(four), IpAddr::V6(six)] {
        assert!(local.announce(VNI.into(), tep(0), shared, VlanTags::NONE, address));
    }
    rig.settle();
    let forms = [
        garp(shared, four, Form::Request).to_vec(),
        garp(shared, four, Form::Reply).to_vec(),
        advertisement(shared, six).to_vec(),
    ];
    let forms = forms.map(|mut frame| {
        frame[6..12].copy_from_slice(&source);
        frame
    });
    assert!(rig.sent() == forms.map(|inner| expected(NODE, [1, 2].into_iter(), &inner)).concat());
    rig.no_buffer_is_missing();
}

#[test]
fn a_frame_to_one_tep_goes_there_alone_or_is_counted() {
    let mut rig = rig(4, 4);
    let local = rig.local();
    let count =
        |rig: &FakeRig| [&rig.cells.totals.tx_unicast, &rig.cells.totals.tx_unicast_drops].map(|c| c.get());
    for len in [60, 300, 1472] {
        assert!(local.send_to(tep(2), VNI.into(), &broadcast(1, len)));
        rig.settle();
        assert!(rig.sent() == expected(NODE, [2].into_iter(), &broadcast(1, len)), "{len} bytes");
    }
    assert_eq!(count(&rig), [3, 0]);
    // Too long; no such TEP; no link; no room in the ring.
    let lost = |rig: &mut FakeRig, to, len, why: &str| {
        let before = count(rig);
        assert!(local.send_to(tep(to), VNI.into(), &broadcast(1, len)));
        rig.settle();
        assert_eq!(count(rig), [before[0], before[1] + 1], "{why}");
    };
    lost(&mut rig, 2, 1473, "too long");
    lost(&mut rig, 77, 60, "no such TEP");
    rig.config.set_link_up(false);
    lost(&mut rig, 2, 60, "the link is down");
    rig.config.set_link_up(true);
    let hop = |hop| [Some((tep(0), None)), Some((tep(1), hop))];
    rig.array.replace(TepArray::build(PORT_MAC, &hop(None)));
    lost(&mut rig, 1, 60, "no next hop");
    rig.array.replace(TepArray::build(PORT_MAC, &hop(Some(MacAddr([2; 6])))));
    rig.port().cable.borrow_mut().ring_size = 0;
    lost(&mut rig, 1, 60, "a full ring");
    rig.port().cable.borrow_mut().ring_size = 9;
    // The queue is bounded, and frames into domains have another.
    let taken = (0..5000).take_while(|_| local.send_to(tep(1), VNI.into(), &broadcast(1, 60))).count();
    assert_eq!(taken, 1024);
    rig.settle();
    rig.no_buffer_is_missing();
}

#[test]
fn a_clock_that_goes_backwards_makes_no_huge_time_and_stops_no_fan_out() {
    let clock = FakeClock::new();
    let pools = [(4096, 2048), (4096, 384), (256, 2048)].map(|(size, room)| Pool::new(size, room));
    let [received, small, large] = pools;
    // Limits have a test of their own: they owe for a while.
    let limits = RateLimits { enabled: false, ..common::no_limits() };
    let settings = RuntimeSettings { limits, ..common::settings() };
    let options = Options { teps: 1000, settings, ..Options::default() };
    let mut rig: Rig<FakePort> = Rig::on(FakePort::new(received, small, large), clock, options);
    rig.domain(VNI, 1000);
    for frame in 0..4 {
        rig.receive(parties(0).overlay(&broadcast(frame, 60)));
        clock.step.store(if frame % 2 == 0 { 30_000 } else { 0 }, Relaxed);
        rig.poll();
        // As after a move to another host.
        clock.now.fetch_sub(600_000_000_000, Relaxed);
        rig.receive(parties(0).for_the_node());
        rig.poll();
    }
    let totals = rig.settle();
    assert_eq!((totals.sent, totals.punted), (4 * 999, 4));
    let time_ns = rig.cells.totals.forwarding.iter().map(|class| class.time_ns.get()).sum::<u64>();
    assert!(time_ns < 10_000_000_000, "{time_ns} ns");
}
