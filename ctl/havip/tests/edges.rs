//! Late announcements, reused announcer ids, diagnosis and events.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bcast_domain::{AnnouncerId, LastAnnounced, RejectReason, VlanTags};
use common::{Act::*, *};
use ctl_api::model::{HavipEventKind, HavipState, Revision, Why};
use ctl_havip::{
    Alarms, BindingChange, Damping, Decisions, Effect, Frozen, Machine, Options, RejectedSender, SECOND,
    Thaw, enact, name,
};

fn claim(who: u32, at_ns: u64) -> (AnnouncerId, LastAnnounced) {
    (id(who), LastAnnounced { claim_ns: at_ns, ..LastAnnounced::default() })
}

fn step(machine: &mut Machine, latest: &[(AnnouncerId, LastAnnounced)], now_ns: u64) -> Decisions {
    let before = format!("{machine:?}");
    let (decisions, undo) = machine.step(latest, now_ns, &Damping::default(), &mut Alarms::new());
    let mut back = machine.clone();
    back.take_back(undo);
    assert_eq!(format!("{back:?}"), before, "a step leaves nothing behind that is taken back");
    decisions
}

fn unbound(announcers: &[u32], now_ns: u64) -> Machine {
    let announcers: Vec<_> = announcers.iter().map(|&who| attached(who)).collect();
    Machine::new(&announcers, (HavipState::Unbound, None), Options::default(), now_ns)
}

#[test]
fn a_claim_that_is_seen_late_does_not_undo_a_newer_one() {
    let mut machine = unbound(&[1, 2], 0);
    step(&mut machine, &[claim(2, 11)], 12);
    assert!(
        step(&mut machine, &[claim(1, 10), claim(2, 11)], 13).is_settled(),
        "another worker's store came late"
    );
    assert_eq!(machine.holder(), Some(id(2)));
}

#[test]
fn a_claim_that_is_seen_late_does_not_make_a_frozen_one_thaw_to_its_sender() {
    let damping = Damping { flap_moves: 0, ..Damping::default() };
    let mut machine =
        Machine::new(&[attached(1), attached(2)], (HavipState::Bound, Some(id(1))), Options::default(), 0);
    machine.step(&[claim(2, 11)], 12, &damping, &mut Alarms::new());
    assert_eq!(machine.state(), HavipState::Frozen);
    machine.step(&[claim(1, 10), claim(2, 11)], 13, &damping, &mut Alarms::new());
    machine.step(&[], 31 * SECOND, &damping, &mut Alarms::new());
    assert_eq!((machine.state(), machine.holder()), (HavipState::Bound, Some(id(2))));
}

#[test]
fn announcements_before_an_attachment_do_not_count_for_it() {
    let mut machine = unbound(&[1], 0);
    step(&mut machine, &[claim(1, 5)], 6);
    let bound = (HavipState::Bound, Some(id(1)));
    machine.follow(&[attached(1), attached(2)], bound, Options::default(), 20, |_| None);
    assert!(step(&mut machine, &[claim(1, 5), claim(2, 19)], 21).is_settled());
    assert_eq!(machine.holder(), Some(id(1)));
    step(&mut machine, &[claim(1, 5), claim(2, 20)], 22);
    assert_eq!(machine.holder(), Some(id(2)), "it counts from then on");
}

#[test]
fn a_decision_that_could_not_be_kept_is_made_again() {
    let mut machine = unbound(&[1, 2], 0);
    let (damping, mut alarms) = (Damping::default(), Alarms::new());
    let latest = [claim(2, 5)];
    let (first, undo) = machine.step(&latest, 6, &damping, &mut alarms);
    assert_eq!(first.change.map(|change| change.holder), Some(Some(id(2))));
    machine.take_back(undo);
    assert_eq!(machine.holder(), None);
    assert_eq!(machine.step(&latest, 7, &damping, &mut alarms).0, first);
}

#[test]
fn a_stored_holder_that_is_not_attached_is_ignored() {
    let machine = Machine::new(&[attached(1)], (HavipState::Bound, Some(id(2))), Options::default(), 0);
    assert_eq!((machine.state(), machine.holder()), (HavipState::Unbound, None));
}

/// Name, script, rejected announcements, and beginnings of the diagnosis lines.
type Case<'c> = (&'c str, &'c [(u64, Act)], &'c [RejectedSender], &'c [&'c str]);

#[test]
fn diagnosis_says_what_is_wrong_and_nothing_else() {
    let flaps: Vec<(u64, Act)> =
        (0..7).map(|n| (1_000 + n * 1_000, Claim(1 + u32::try_from(n % 2).unwrap()))).collect();
    let forged = RejectedSender {
        mac: mac(9),
        bound: mac(9),
        tep: tep(9),
        reason: RejectReason::Unattached,
        claims: true,
        tags: VlanTags::NONE,
        at_ns: 7 * SECOND,
    };
    let other = RejectedSender { mac: mac(8), bound: mac(8), tep: tep(8), ..forged };
    let adverts = RejectedSender { reason: RejectReason::Advert, ..forged };
    let cases: [Case<'_>; 8] = [
        ("all is well", &[(1_000, Claim(1)), (2_000, Use(2))], &[], &[]),
        (
            "a healthy pair: the backup was never heard",
            &[(1_000, Claim(1)), (1_000, Master(1, 20_000))],
            &[],
            &[],
        ),
        ("nobody was ever heard", &[], &[], &["no attached instance was heard in 10 s"]),
        ("one was heard about other addresses", &[(1_000, Present(2))], &[], &[]),
        (
            "two masters",
            &[(1_000, Master(1, 20_000)), (1_500, Master(2, 20_000))],
            &[],
            &[
                "double master now: vm1 (52:54:00:00:00:01 at 198.18.0.1) and vm2 (52:54:00:00:00:02 at 198.18.0.2)",
            ],
        ),
        (
            "the master is silent",
            &[(1_000, Advert(1)), (1_500, Use(2))],
            &[],
            &["the holder's last advert came 9 s ago (vm1 "],
        ),
        (
            "rejected senders",
            &[(1_000, Claim(1)), (2_000, Use(2))],
            &[other, other, forged, adverts],
            &[
                "announced by 52:54:00:00:00:09 at 198.18.0.9, which is not attached there: refused 3 s ago, the last of 3 such from all",
                "advertised (VRRP) by 52:54:00:00:00:09 at 198.18.0.9, which is not attached there: refused 3 s ago",
            ],
        ),
        (
            "frozen",
            &flaps,
            &[],
            &["frozen for 3 s: it moved too often; vm1 (52:54:00:00:00:01 at 198.18.0.1)"],
        ),
    ];
    for (case, script, rejected, expected) in cases {
        let mut rig = Rig::new(&[1, 2], Options::default());
        rig.play(script, 10_000);
        rejected.iter().for_each(|sender| rig.machine.refused(*sender, None));
        let lines = rig
            .machine
            .diagnosis(10_000 * MS + MS, &Damping::default(), |announcer| name(&holder(announcer)));
        assert_eq!(lines.len(), expected.len(), "{case}: {lines:?}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.text.starts_with(expected), "{case}: {line:?}");
        }
    }
}

#[test]
fn an_event_says_who_and_why() {
    let decide = |effect: Effect| Decisions { effects: vec![effect], ..Decisions::default() };
    let (one, other) = (id(1), id(2));
    let frozen = Frozen { refused: other, moves: 5, window_ns: 180 * SECOND };
    let spoof = Effect::Spoof { reason: RejectReason::Advert, mac: mac(9), tep: tep(9), count: 7 };
    let cases = [
        (Effect::Bound { to: one, why: Why::Arp }, "bound", Some(Why::Arp), ""),
        (Effect::Moved { from: other, to: one, why: Why::Garp }, "moved", Some(Why::Garp), ""),
        (
            Effect::Frozen(frozen),
            "frozen",
            Some(Why::Flapping),
            "more than 5 moves in 180 s; the last, to vm2 (52:54:00:00:00:02 at 198.18.0.2), is not made any more",
        ),
        (
            Effect::Thawed(Thaw::Settled),
            "thawed",
            Some(Why::Thawed),
            "its election has settled: one alone announces it",
        ),
        (Effect::Thawed(Thaw::Quiet), "thawed", Some(Why::Thawed), "one alone announced it for long enough"),
        (Effect::Thawed(Thaw::After), "thawed", Some(Why::Thawed), "it was frozen for long enough"),
        (
            Effect::Conflict { one, other },
            "conflict",
            Some(Why::DoubleMaster),
            "vm1 (52:54:00:00:00:01 at 198.18.0.1) and vm2 (52:54:00:00:00:02 at 198.18.0.2) both advertise it",
        ),
        (
            Effect::ConflictEnded { left: Some(one) },
            "conflict_ended",
            Some(Why::Healed),
            "vm1 (52:54:00:00:00:01 at 198.18.0.1) alone advertises it",
        ),
        (
            Effect::ConflictEnded { left: None },
            "conflict_ended",
            Some(Why::Healed),
            "nobody advertises it any more",
        ),
        (spoof, "spoof", None, "advertised (VRRP) by one that is not attached there"),
    ];
    let rig = Rig::new(&[1, 2], Options::default());
    for (effect, kind, why, detail) in cases {
        let who = |announcer| Some(holder(announcer));
        let (entry, happened) = enact(&rig.entry, &decide(effect.clone()), who, Revision::new(9), 1_234);
        assert_eq!(entry, None, "no change, no other binding");
        let event = &happened[0];
        let kind: HavipEventKind = kind.parse().unwrap();
        assert_eq!((event.kind, event.why, &*event.detail), (kind, why, detail), "{effect:?}");
        assert_eq!((event.generation, event.unix_ms), (9, 1_234));
        assert_eq!(
            event.offender.map(|offender| offender.count),
            (kind == HavipEventKind::Spoof).then_some(7)
        );
    }
}

#[test]
fn a_binding_keeps_who_held_it_before_and_counts_only_moves() {
    let rig = Rig::new(&[1, 2], Options::default());
    let change = |state, who: Option<u32>, moved| Decisions {
        change: Some(BindingChange { state, holder: who.map(id), moved }),
        ..Decisions::default()
    };
    let (bound, frozen) = (HavipState::Bound, HavipState::Frozen);
    let changes = [
        (change(bound, Some(1), Some(Why::Garp)), None, Why::Garp, 0),
        (change(bound, Some(2), Some(Why::Garp)), Some(1), Why::Garp, 1),
        (change(frozen, Some(2), None), Some(1), Why::Flapping, 1),
        (change(bound, Some(2), None), Some(1), Why::Thawed, 1),
        (change(HavipState::Conflict, Some(2), None), Some(1), Why::DoubleMaster, 1),
        (change(bound, Some(1), Some(Why::Healed)), Some(2), Why::Healed, 2),
    ];
    let mut entry = rig.entry;
    for (n, (decisions, previous, why, moves)) in (10..).zip(changes) {
        let who = |announcer| Some(holder(announcer));
        entry = enact(&entry, &decisions, who, Revision::new(n), n).0.expect("another binding");
        let binding = &entry.binding;
        assert_eq!(binding.previous, previous.map(|who| holder(id(who))), "{decisions:?}");
        assert_eq!(
            (binding.why, binding.moves, binding.generation, binding.since_unix_ms),
            (Some(why), moves, n, n)
        );
    }
}
