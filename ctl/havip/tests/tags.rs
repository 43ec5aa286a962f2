//! VLAN tags of what the node announces on a holder's behalf.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bcast_domain::{AnnouncerId, HeardTags, LastAnnounced, RejectReason, VlanTags};
use common::*;
use ctl_api::model::{HavipState, Revision};
use ctl_havip::{Alarms, Damping, Decisions, Machine, Options, RejectedSender, SECOND, enact};

/// An instance at two TEPs, and another.
const ONE: (u32, u32) = (1, 0);
const ONE_ELSEWHERE: (u32, u32) = (3, 0);
const OTHER: (u32, u32) = (2, 1);
const UNTAGGED: Option<VlanTags> = Some(VlanTags::NONE);

fn machine(holder: Option<u32>) -> Machine {
    let state = if holder.is_some() { HavipState::Bound } else { HavipState::Unbound };
    let announcers = [ONE, OTHER, ONE_ELSEWHERE].map(|(who, instance)| (id(who), instance));
    Machine::new(&announcers, (state, holder.map(id)), Options::default(), 0)
}

fn vlan(id: u16) -> VlanTags {
    VlanTags::NONE.with(0x8100, id)
}

type Heard = (AnnouncerId, LastAnnounced);

fn claim(who: u32, at_ns: u64, tags: VlanTags) -> Heard {
    (id(who), LastAnnounced { claim_ns: at_ns, tags: HeardTags::Used(tags), ..LastAnnounced::default() })
}

fn advert(who: u32, advert_ns: u64, tags: HeardTags) -> Heard {
    let last = LastAnnounced { advert_ns, interval_cs: 100, priority: 100, ..LastAnnounced::default() };
    (id(who), LastAnnounced { tags, ..last })
}

fn arrival(who: u32, arrival_ns: u64, tags: HeardTags) -> Heard {
    (id(who), LastAnnounced { arrival_ns, tags, ..LastAnnounced::default() })
}

/// A step that can be taken back; its decisions are committed.
fn step(machine: &mut Machine, latest: &[Heard], now_ns: u64) -> Decisions {
    let before = format!("{machine:?}");
    let (decisions, undo) = machine.step(latest, now_ns, &Damping::default(), &mut Alarms::new());
    let mut back = machine.clone();
    back.take_back(undo);
    assert_eq!(format!("{back:?}"), before, "a step leaves nothing behind that is taken back");
    if decisions.change.is_some() || decisions.tags.is_some() {
        machine.recall(decisions.tags);
    }
    decisions
}

fn is_unknown(machine: &Machine, now_ns: u64) -> bool {
    machine.codes(now_ns).any(|code| code == "vlan-unknown")
}

#[test]
fn a_holder_that_arrives_at_another_tep_by_reverse_arp_keeps_the_tags_of_its_claim() {
    for heard in [HeardTags::None, HeardTags::Elsewhere] {
        let mut machine = machine(None);
        step(&mut machine, &[claim(1, 10, vlan(10))], 11);
        step(&mut machine, &[claim(1, 10, vlan(10)), arrival(3, 20, heard)], 21);
        assert_eq!((machine.holder(), machine.tags()), (Some(id(3)), Some(vlan(10))));
        // Its old attachment goes: what is stored with the binding stays.
        let state = (HavipState::Bound, Some(id(3)));
        machine.follow(&[(id(2), 1), (id(3), 0)], state, Options::default(), 30, |_| None);
        machine.recall(Some(vlan(10)));
        assert_eq!((machine.tags(), is_unknown(&machine, 31)), (Some(vlan(10)), false));
        // A use there tells anew.
        let (_, last) = claim(3, 40, vlan(20));
        step(&mut machine, &[(id(3), LastAnnounced { use_ns: 40, claim_ns: 0, ..last })], 41);
        assert_eq!(machine.tags(), Some(vlan(20)));
    }
}

#[test]
fn the_latest_claim_or_use_of_an_instance_tells_at_whichever_of_its_teps() {
    let mut machine = machine(None);
    let here = claim(1, 10, vlan(10));
    step(&mut machine, &[here], 11);
    let there = claim(3, 20, vlan(20));
    step(&mut machine, &[here, there], 21);
    let back = claim(1, 30, vlan(30));
    step(&mut machine, &[back, there], 31);
    assert_eq!((machine.holder(), machine.tags()), (Some(id(1)), Some(vlan(30))));
    // The other instance has its own.
    step(&mut machine, &[back, there, claim(2, 40, VlanTags::NONE)], 41);
    assert_eq!((machine.holder(), machine.tags()), (Some(id(2)), UNTAGGED));
}

#[test]
fn tags_outlive_a_restart_with_the_binding_and_adverts_do_not_replace_them() {
    let mut machine = machine(None);
    let decisions = step(&mut machine, &[claim(1, 10, vlan(10))], 11);
    let (entry, _) = enact(&entry(), &decisions, |announcer| Some(holder(announcer)), Revision::new(7), 0);
    let entry = entry.expect("the binding changed");
    assert_eq!((entry.binding.generation, entry.binding.tags), (7, Some(vlan(10))));
    let mut machine = self::machine(Some(1));
    machine.recall(entry.binding.tags);
    step(&mut machine, &[advert(1, 20, HeardTags::Advert(VlanTags::NONE))], 21);
    assert_eq!(machine.tags(), Some(vlan(10)));
    step(&mut machine, &[advert(1, 30, HeardTags::Elsewhere)], 31);
    assert_eq!((machine.tags(), is_unknown(&machine, 31)), (Some(vlan(10)), false));
    // Those of another instance are not this one's.
    let mut machine = self::machine(Some(1));
    machine.recall(Some(vlan(10)));
    step(&mut machine, &[advert(2, 4 * SECOND, HeardTags::Advert(VlanTags::NONE))], 4 * SECOND + 1);
    let again = advert(2, 6 * SECOND, HeardTags::Advert(VlanTags::NONE));
    let decisions = step(&mut machine, &[again], 8 * SECOND);
    assert_eq!((machine.holder(), decisions.tags, machine.tags()), (Some(id(2)), None, UNTAGGED));
}

#[test]
fn an_advert_that_lists_the_address_tells_while_no_claim_or_use_is_known() {
    let mut machine = machine(None);
    let listed = advert(1, 10, HeardTags::Advert(vlan(5)));
    let decisions = step(&mut machine, &[listed], 11);
    assert_eq!((machine.tags(), decisions.tags), (Some(vlan(5)), None), "it is not stored");
    let (_, used) = claim(1, 20, vlan(10));
    let both = (id(1), LastAnnounced { advert_ns: 30, interval_cs: 100, priority: 100, ..used });
    let decisions = step(&mut machine, &[both], 31);
    assert_eq!((machine.tags(), decisions.tags, decisions.change), (Some(vlan(10)), Some(vlan(10)), None));
}

#[test]
fn nothing_is_announced_for_a_holder_that_sends_tagged_frames_and_never_announced_the_address() {
    // By an advert of its group it holds the address.
    let mut machine = machine(None);
    step(&mut machine, &[advert(1, 10, HeardTags::None)], 11);
    assert_eq!((machine.tags(), is_unknown(&machine, 11)), (UNTAGGED, false), "nothing tagged was heard");
    step(&mut machine, &[advert(1, 20, HeardTags::Elsewhere)], 21);
    assert_eq!((machine.tags(), is_unknown(&machine, 21)), (None, true));
    let lines = machine.diagnosis(21, &Damping::default(), |_| "vm1".to_owned());
    assert!(lines.iter().any(|line| line.text.contains("vm1 sends frames with VLAN tags")), "{lines:?}");
    // At its other TEP it is the same instance.
    step(&mut machine, &[arrival(3, 30, HeardTags::None)], 31);
    assert_eq!((machine.holder(), machine.tags()), (Some(id(3)), None));
    step(&mut machine, &[claim(3, 40, VlanTags::NONE)], 41);
    assert_eq!((machine.tags(), is_unknown(&machine, 41)), (UNTAGGED, false));
    // More tags than a node can announce with.
    step(&mut machine, &[claim(3, 50, VlanTags::TOO_MANY)], 51);
    assert_eq!((machine.tags(), is_unknown(&machine, 51)), (None, true));
}

#[test]
fn a_bound_holder_that_was_never_heard_is_announced_without_a_tag_and_nobody_has_none() {
    assert_eq!((machine(Some(1)).tags(), is_unknown(&machine(Some(1)), 1)), (UNTAGGED, false));
    assert_eq!((machine(None).tags(), is_unknown(&machine(None), 1)), (None, false));
}

#[test]
fn a_refused_claim_that_counts_later_tells_its_tags_and_a_refused_advert_less() {
    let sender = |reason, at_ns, tags| {
        let (mac, tep) = (mac(2), tep(2));
        RejectedSender { mac, bound: mac, tep, reason, claims: false, tags, at_ns }
    };
    let mut machine = machine(None);
    machine.refused(sender(RejectReason::Unattached, 10, vlan(10)), Some(id(2)));
    machine.refused(sender(RejectReason::Advert, 20, vlan(20)), Some(id(2)));
    step(&mut machine, &[], 30);
    assert_eq!((machine.holder(), machine.tags()), (Some(id(2)), Some(vlan(10))));
}

#[test]
fn a_holder_that_changes_its_vlan_with_each_frame_makes_one_revision_in_ten_seconds() {
    let mut machine = machine(None);
    let mut stored = Vec::new();
    for round in 1..=300_u16 {
        let now_ns = u64::from(round) * SECOND / 10;
        let decisions = step(&mut machine, &[claim(1, now_ns, vlan(round))], now_ns);
        stored.extend(decisions.tags.map(|_| round));
        assert_eq!(machine.tags(), Some(vlan(round)), "what is announced is always the latest");
        assert!(machine.due_ns().is_none_or(|due_ns| due_ns > now_ns));
    }
    assert_eq!(stored, [1, 101, 201]);
    // The last of them is stored though nothing more is heard.
    let due_ns = machine.due_ns().expect("it is to be stored");
    assert_eq!(step(&mut machine, &[], due_ns).tags, Some(vlan(300)));
    assert_eq!(machine.due_ns(), None);
}
