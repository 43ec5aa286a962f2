//! Diagnoses of HAVIPs, counted for metrics.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bcast_domain::{AnnouncementKind, RejectReason, Rejected, VlanTags};
use common::havip::*;
use common::*;
use ctl_api::model::Batch;
use ctl_havip::codes;

/// Number of HAVIPs by code, without those that none has.
fn counted(rig: &Rig) -> BTreeMap<&'static str, u64> {
    let counts = rig.server().diagnoses().count().diagnoses;
    let all: Vec<_> = counts.iter().map(|(code, _)| *code).collect();
    assert_eq!(all, codes::ALL, "all codes are there, with 0 too");
    counts.into_iter().filter(|(_, count)| *count > 0).collect()
}

/// The same, of what `havip show` says of each.
fn shown(rig: &Rig, names: &[&str]) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for text in names {
        let status = rig.run(rig.client().havip(&name(text))).unwrap();
        let found: BTreeSet<_> = status.diagnosis.iter().map(|found| found.code.as_str()).collect();
        for code in codes::ALL.iter().filter(|code| found.contains(**code)) {
            *counts.entry(*code).or_default() += 1;
        }
    }
    counts
}

#[test]
fn havips_are_counted_by_diagnosis_and_all_codes_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    assert_eq!(counted(&rig), BTreeMap::new());
    rig.commit(vec![add(1), add(2), add(3), add(4), set(5001, &[1, 2])]);
    let names = ["nobody", "silent", "outside", "forged", "well"];
    rig.commit((1..).zip(names).map(|(last, text)| create_havip(text, 5001, last)).collect());
    rig.commit(vec![
        attach("silent", "vm1", 1, &[1]),
        // Two TEPs outside of the domain are one diagnosis of one HAVIP.
        attach("outside", "vm3", 3, &[3]),
        attach("outside", "vm4", 4, &[4]),
        attach("forged", "vm2", 2, &[2]),
        attach("well", "vm5", 5, &[1]),
    ]);
    let vip = |last: u8| rig.vips(5001).iter().find(|vip| vip.address == ip(last)).unwrap().id;
    let tep = rig.announcers(5001)[0].tep;
    for reason in [RejectReason::Unattached, RejectReason::Probe] {
        let (mac, tags) = (mac(9).octets(), VlanTags::NONE);
        let refused = Rejected { vip: vip(4), mac, bound: mac, tep, reason, claims: false, tags, at_ns: 1 };
        rig.node.refused.lock().unwrap().push_back(refused);
    }
    let claim = AnnouncementKind::Claim { mac: mac(5).octets() };
    rig.node.board.note(vip(5), rig.announcer(5001, 5, 1), claim, VlanTags::NONE, 1);
    // Instances have ten seconds to be heard for the first time.
    rig.node.now_ns.fetch_add(10 * ctl_havip::SECOND, Ordering::Relaxed);
    let expected = BTreeMap::from([
        (codes::NEVER_HEARD, 3),
        (codes::TEP_NOT_MEMBER, 1),
        (codes::UNATTACHED_ANNOUNCEMENT, 1),
        (codes::UNATTACHED_PROBE, 1),
    ]);
    let begun = Instant::now();
    while counted(&rig) != expected {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", counted(&rig));
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(shown(&rig, &names), expected);
    rig.commit(vec![remove_havip("forged"), remove_havip("silent")]);
    assert_eq!(counted(&rig), BTreeMap::from([(codes::NEVER_HEARD, 1), (codes::TEP_NOT_MEMBER, 1)]));
}

#[test]
fn an_instance_that_is_heard_about_one_havip_is_heard_at_all_of_its_domain_that_it_is_attached_to() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add(1), add(2), set(5001, &[1, 2]), set(5002, &[1])]);
    rig.commit(vec![
        create_havip("one", 5001, 1),
        create_havip("two", 5001, 2),
        create_havip("at-another-tep", 5001, 3),
        create_havip("of-another", 5001, 4),
        create_havip("in-another-domain", 5002, 1),
    ]);
    rig.commit(vec![
        attach("one", "vm1", 1, &[1]),
        attach("two", "vm1", 1, &[1, 2]),
        attach("at-another-tep", "vm1", 1, &[2]),
        attach("of-another", "vm2", 2, &[1]),
        attach("in-another-domain", "vm1", 1, &[1]),
    ]);
    let vips = rig.vips(5001);
    let one = vips.iter().find(|vip| vip.address == ip(1)).unwrap();
    rig.node.now_ns.fetch_add(10 * ctl_havip::SECOND, Ordering::Relaxed);
    assert_eq!(counted(&rig), BTreeMap::from([(codes::NEVER_HEARD, 5)]));
    let note = |kind| {
        let at_ns = rig.node.now_ns.fetch_add(1_000, Ordering::Relaxed) + 1_000;
        rig.node.board.note(one.id, one.announcers[0].id, kind, VlanTags::NONE, at_ns);
    };
    note(AnnouncementKind::Claim { mac: mac(1).octets() });
    let begun = Instant::now();
    while counted(&rig) != BTreeMap::from([(codes::NEVER_HEARD, 3)]) {
        assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", counted(&rig));
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(shown(&rig, &["one", "two"]), BTreeMap::new());
    // The other HAVIP may go, and come back with an attachment to which nothing was said yet.
    rig.node.now_ns.fetch_add(ctl_havip::SECOND, Ordering::Relaxed);
    rig.commit(vec![remove_havip("two")]);
    rig.commit(vec![create_havip("two", 5001, 2), attach("two", "vm1", 1, &[1])]);
    rig.node.now_ns.fetch_add(10 * ctl_havip::SECOND, Ordering::Relaxed);
    assert_eq!(shown(&rig, &["one", "two"]), BTreeMap::from([(codes::NEVER_HEARD, 1)]));
    note(AnnouncementKind::Use);
    assert_eq!(shown(&rig, &["one", "two"]), BTreeMap::new());
}

/// Such a HAVIP may be in the same VLAN or in another, so the node announces nothing for its holder.
#[test]
fn a_tagged_frame_about_one_havip_leaves_the_vlan_of_others_open_of_which_nothing_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add(1), set(5001, &[1])]);
    rig.commit(vec![create_havip("one", 5001, 1), create_havip("two", 5001, 2)]);
    rig.commit(vec![attach("one", "vm1", 1, &[1]), attach("two", "vm1", 1, &[1])]);
    let vips = rig.vips(5001);
    let note = |last, kind, tags| {
        let vip = vips.iter().find(|vip| vip.address == ip(last)).unwrap();
        let at_ns = rig.node.now_ns.fetch_add(1_000, Ordering::Relaxed) + 1_000;
        rig.node.board.note(vip.id, vip.announcers[0].id, kind, tags, at_ns);
    };
    // An advert of its group does not tell the VLAN of the other.
    let advert = AnnouncementKind::GroupAdvert { interval_cs: 100, priority: 100 };
    note(2, advert, VlanTags::NONE);
    until("held", || rig.havip("two").binding.holder.is_some());
    let claim = AnnouncementKind::Claim { mac: mac(1).octets() };
    note(1, claim, VlanTags::NONE);
    assert_eq!(shown(&rig, &["one", "two"]), BTreeMap::new());
    note(1, claim, VlanTags::NONE.with(0x8100, 9));
    assert_eq!(shown(&rig, &["one", "two"]), BTreeMap::from([(codes::VLAN_UNKNOWN, 1)]));
    note(2, claim, VlanTags::NONE);
    until("told", || shown(&rig, &["one", "two"]).is_empty());
}

/// A scrape never waits for long: not for a commit thread that waits for the data plane with the state locked.
#[test]
fn while_the_state_cannot_be_had_the_counts_of_before_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add(1), set(5001, &[1]), create_havip("web", 5001, 1)]);
    rig.commit(vec![attach("web", "vm1", 1, &[1])]);
    assert_eq!(counted(&rig), BTreeMap::new());
    rig.node.now_ns.fetch_add(10 * ctl_havip::SECOND, Ordering::Relaxed);
    let expected = BTreeMap::from([(codes::NEVER_HEARD, 1)]);
    assert_eq!(counted(&rig), expected);
    let gate = rig.node.gate.lock().unwrap();
    let at_gate = rig.node.waits_at_gate();
    let mut client = rig.client();
    let change = rig.runtime.spawn(async move { client.commit(Batch::new(vec![add(2)])).await });
    let begun = Instant::now();
    while rig.node.waits_at_gate() == at_gate {
        assert!(begun.elapsed() < Duration::from_secs(60), "the commit thread does not come to the gate");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(counted(&rig), expected);
    drop(gate);
    assert!(rig.run(change).unwrap().is_ok());
}
