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
