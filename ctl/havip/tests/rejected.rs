//! Rejected announcements: bounded reports, exact counts, replay.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;

use bcast_domain::{Announcer, LastAnnounced, RejectReason, TepIndex, Vip, VipId, VlanTags};
use common::*;
use ctl_api::model::HavipState;
use ctl_havip::{Alarms, Damping, Effect, Machine, Options, RejectedSender, Replayed, SECOND, codes};

fn machine() -> Machine {
    Machine::new(&[attached(1), attached(2)], (HavipState::Bound, Some(id(1))), Options::default(), 0)
}

fn forged(who: u32, reason: RejectReason, at_ns: u64) -> RejectedSender {
    RejectedSender {
        mac: mac(who),
        bound: mac(who),
        tep: tep(who),
        reason,
        claims: true,
        tags: VlanTags::NONE,
        at_ns,
    }
}

fn count(effects: &[Effect]) -> u64 {
    effects.iter().map(|effect| if let Effect::Spoof { count, .. } = effect { *count } else { 0 }).sum()
}

#[test]
fn a_hundred_thousand_forgeries_are_a_few_events_that_count_them_all() {
    let (mut machine, mut alarms, damping) = (machine(), Alarms::new(), Damping::default());
    let mut effects = Vec::new();
    // 10,000 a second of all kinds, each from another sender.
    let kinds = [RejectReason::Unattached, RejectReason::Advert, RejectReason::Hidden, RejectReason::Unsound];
    for n in 0..100_000_u32 {
        let now_ns = u64::from(n) * SECOND / 10_000;
        machine.refused(forged(n, kinds[n as usize % 4], now_ns), None);
        if machine.due_ns().is_some_and(|due| due <= now_ns) {
            effects.extend(machine.step(&[], now_ns, &damping, &mut alarms).0.effects);
        }
    }
    assert_eq!(effects.len(), 4, "one of each kind in ten seconds: {effects:?}");
    let due_ns = machine.due_ns().expect("the rest is reported later");
    assert!(due_ns <= 11 * SECOND);
    effects.extend(machine.step(&[], 11 * SECOND, &damping, &mut alarms).0.effects);
    assert_eq!((effects.len(), count(&effects)), (8, 100_000));
    assert_eq!(machine.due_ns(), None, "all is reported");
    assert_eq!((machine.state(), machine.holder()), (HavipState::Bound, Some(id(1))), "nothing moved");
}

#[test]
fn a_node_tells_a_hundred_a_second_and_adds_up_the_rest() {
    let (mut alarms, damping) = (Alarms::new(), Damping::default());
    let mut machines: Vec<Machine> = (0..2_000).map(|_| machine()).collect();
    for machine in &mut machines {
        machine.refused(forged(9, RejectReason::Unattached, SECOND), None);
    }
    let mut effects = Vec::new();
    let mut step = |machines: &mut Vec<Machine>, from_s: u64, until_s: u64| {
        let before = effects.len();
        for ms in (from_s * 1_000..until_s * 1_000).step_by(10) {
            for machine in
                machines.iter_mut().filter(|machine| machine.due_ns().is_some_and(|due| due <= ms * MS))
            {
                effects.extend(machine.step(&[], ms * MS, &damping, &mut alarms).0.effects);
            }
        }
        (effects.len() - before, count(&effects))
    };
    assert_eq!(step(&mut machines, 1, 2), (100, 100), "a hundred at once");
    for machine in &mut machines {
        machine.refused(forged(9, RejectReason::Unattached, 2 * SECOND), None);
    }
    let (events, counted) = step(&mut machines, 2, 600);
    assert!((2_000..=2_100).contains(&events), "each of them once more at most: {events}");
    assert_eq!(counted, 4_000, "none is lost");
}

#[test]
fn only_what_would_be_right_from_an_attached_one_is_replayed() {
    for (reason, replays) in [
        (RejectReason::Unattached, true),
        (RejectReason::Advert, true),
        (RejectReason::Unsound, false),
        (RejectReason::Hidden, false),
    ] {
        let mut machine = machine();
        machine.refused(forged(3, reason, SECOND), None);
        let announcers = [attached(1), attached(2), attached(3)];
        let bound = (HavipState::Bound, Some(id(1)));
        machine.follow(&announcers, bound, Options::default(), 2 * SECOND, |_| Some(id(3)));
        machine.step(&[], 2 * SECOND, &Damping::default(), &mut Alarms::new());
        assert_eq!(machine.holder(), Some(id(if replays { 3 } else { 1 })), "{reason:?}");
    }
}

#[test]
fn of_each_tep_the_newest_rejected_sender_is_remembered_whatever_others_forge() {
    // 64 are remembered. Instance 3 speaks first; then others at their own TEPs, or many at one.
    for (teps, per_tep, is_remembered) in [(8, 1, true), (1, 1_000, true), (8, 1_000, true), (64, 1, false)] {
        let mut machine = machine();
        machine.refused(forged(3, RejectReason::Unattached, SECOND), None);
        for n in 0..teps * per_tep {
            let sender = forged(1_000 + n, RejectReason::Unattached, SECOND + 1 + u64::from(n));
            machine.refused(RejectedSender { tep: tep(10 + n % teps), ..sender }, None);
        }
        let mut offered = BTreeSet::new();
        let bound = (HavipState::Bound, Some(id(1)));
        machine.follow(
            &[attached(1), attached(2), attached(3)],
            bound,
            Options::default(),
            2 * SECOND,
            |sender| {
                offered.insert((sender.mac, sender.at_ns));
                None
            },
        );
        assert!(offered.len() <= 64, "{} of {teps} TEPs", offered.len());
        assert_eq!(offered.contains(&(mac(3), SECOND)), is_remembered, "{teps} TEPs with {per_tep} each");
        let newest = (mac(1_000 + teps * per_tep - 1), SECOND + u64::from(teps * per_tep));
        assert!(offered.contains(&newest), "the newest of all");
    }
}

#[test]
fn an_attachment_of_its_sender_ends_a_diagnosis_at_once_and_another_sender_keeps_it() {
    let (bound, damping) = ((HavipState::Bound, Some(id(1))), Damping::default());
    let kinds = [
        (RejectReason::Unattached, codes::UNATTACHED_ANNOUNCEMENT),
        (RejectReason::Advert, codes::UNATTACHED_ADVERT),
        (RejectReason::Probe, codes::UNATTACHED_PROBE),
        (RejectReason::Unsound, codes::WRONG_MAC),
    ];
    let who = |sender: &RejectedSender| (sender.mac == mac(3) && sender.tep == tep(3)).then(|| id(3));
    let attach = |machine: &mut Machine| {
        let announcers = [attached(1), attached(2), attached(3)];
        machine.follow(&announcers, bound, Options::default(), 60 * SECOND, who);
        machine.step(&[], 60 * SECOND, &damping, &mut Alarms::new());
    };
    let codes_of = |machine: &Machine| -> Vec<_> { machine.codes(61 * SECOND).collect() };
    for (reason, code) in kinds {
        let mut one = machine();
        one.refused(forged(3, reason, SECOND), None);
        one.step(&[], SECOND, &damping, &mut Alarms::new());
        assert_eq!(codes_of(&one), [code]);
        attach(&mut one);
        assert_eq!(codes_of(&one), [""; 0], "{reason:?}");
        one.refused(forged(3, reason, 60 * SECOND), Some(id(3)));
        assert_eq!(codes_of(&one), [""; 0], "refused while the change was under way");
        // Its MAC address at another TEP is another sender; so is whoever forged before it.
        for others in [
            vec![RejectedSender { tep: tep(4), ..forged(3, reason, SECOND) }],
            vec![forged(9, reason, SECOND); 9],
        ] {
            let mut one = machine();
            others.iter().for_each(|other| one.refused(*other, None));
            one.refused(forged(3, reason, 2 * SECOND), None);
            attach(&mut one);
            assert_eq!(codes_of(&one), [code], "{reason:?}");
            let text = one.diagnosis(61 * SECOND, &damping, |_| String::new()).remove(0).text;
            let other = holder_of(&others[0]);
            assert!(text.contains(&other) && text.contains("60 s ago"), "{text}");
        }
    }
    let mut one = machine();
    one.refused(forged(3, RejectReason::Hidden, SECOND), None);
    attach(&mut one);
    assert_eq!(codes_of(&one), [codes::HIDDEN_DISCOVERY], "whoever sends it");
}

/// Sender as a diagnosis names it.
fn holder_of(sender: &RejectedSender) -> String {
    format!("{} at {}", sender.mac.map(|octet| format!("{octet:02x}")).join(":"), sender.tep)
}

#[test]
fn a_replayed_claim_is_announced_with_the_mac_address_that_it_bound() {
    let mut machine = machine();
    let bound = [0, 0, 0x5e, 0, 1, 51];
    machine.refused(RejectedSender { bound, ..forged(3, RejectReason::Unattached, SECOND) }, None);
    let state = (HavipState::Bound, Some(id(1)));
    machine.follow(&[attached(1), attached(2), attached(3)], state, Options::default(), 2 * SECOND, |_| {
        Some(id(3))
    });
    machine.step(&[], 2 * SECOND, &Damping::default(), &mut Alarms::new());
    let claimed = |machine: &Machine| machine.replayed(id(3)).and_then(|replayed| replayed.claimed_mac);
    assert_eq!((machine.holder(), claimed(&machine)), (Some(id(3)), Some(bound)));
    assert_eq!(machine.replayed(id(1)), None);
}

#[test]
fn the_newest_replayed_announcement_says_the_vlan_and_the_newest_claim_the_mac_address() {
    let mut machine = machine();
    let (bound, tags) = ([0, 0, 0x5e, 0, 1, 51], |vlan| VlanTags::NONE.with(0x8100, vlan));
    let use_later =
        RejectedSender { claims: false, tags: tags(20), ..forged(3, RejectReason::Unattached, 3) };
    let claim = RejectedSender { bound, tags: tags(10), ..forged(3, RejectReason::Unattached, 2) };
    let state = (HavipState::Bound, Some(id(1)));
    machine.follow(&[attached(1), attached(2), attached(3)], state, Options::default(), 1, |_| None);
    // Both were refused while the change that attaches their sender was under way; the later one is heard of first.
    machine.refused(use_later, Some(id(3)));
    machine.refused(claim, Some(id(3)));
    let (_, undo) = machine.step(&[], SECOND, &Damping::default(), &mut Alarms::new());
    let expected = Some(Replayed { announcer: id(3), claimed_mac: Some(bound) });
    assert_eq!((machine.holder(), machine.replayed(id(3))), (Some(id(3)), expected));
    machine.take_back(undo);
    assert_eq!(machine.replayed(id(3)), None);
    machine.step(&[], SECOND, &Damping::default(), &mut Alarms::new());
    assert_eq!(machine.replayed(id(3)), expected, "again, after the commit failed");
}

#[test]
fn a_virtual_mac_is_told_apart_by_its_tep() {
    let announcer =
        |who: u32| Announcer { mac: holder(id(who)).mac, tep: TepIndex::new(who).unwrap(), id: id(who) };
    let vip = Vip {
        id: VipId::new(0).unwrap(),
        address: "10.0.0.100".parse().unwrap(),
        vrids: [51].into(),
        announcers: [announcer(1), announcer(2)].into(),
        group: 0,
    };
    let virtual_mac = [0, 0, 0x5e, 0, 1, 51];
    let (mut machine, mut alarms) = (machine(), Alarms::new());
    // The same MAC address, from one TEP and then from the other.
    for (at_ns, tep, expected) in [(5, 2, 2), (6, 1, 1), (7, 2, 2)] {
        let who = vip.announcer(virtual_mac, TepIndex::new(tep).unwrap()).expect("an announcer");
        let last = LastAnnounced { claim_ns: at_ns, ..LastAnnounced::default() };
        machine.step(&[(who, last)], at_ns, &Damping::default(), &mut alarms);
        assert_eq!(machine.holder(), Some(id(expected)));
    }
    assert_eq!(
        vip.announcer(virtual_mac, TepIndex::new(3).unwrap()),
        None,
        "from elsewhere it is a stranger's"
    );
}
