//! Effects of changes, through the API, seen by a worker.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use ctl_api::client::RefusalKind;
use ctl_api::model::{Batch, Change, Conditions, Revision};

#[test]
fn an_answered_change_is_what_a_worker_finds() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let reply = rig.commit(vec![add(1), add_named(2, "hv2"), create(5001), join(5001, &[1])]);
    assert_eq!((reply.revision, reply.changed), (1, 4));
    assert_eq!(rig.members(5001), addresses(&[1]));
    rig.commit(vec![Change::Join { vni: 5001.into(), teps: [named("hv2")].into_iter().collect() }]);
    assert_eq!(rig.members(5001), addresses(&[1, 2]));
    rig.commit(vec![leave(5001, &[1])]);
    assert_eq!(rig.members(5001), addresses(&[2]));
    rig.commit(vec![remove_domain(5001)]);
    assert_eq!(rig.members(5001), None);
    assert_eq!(rig.server().revision(), Revision::new(4));
    assert!(rig.observed.load(std::sync::atomic::Ordering::Relaxed) >= 4);
}

#[test]
fn what_is_so_already_succeeds_changes_nothing_and_says_when_something_to_remove_was_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add_named(1, "hv1"), add(2), create(5001), join(5001, &[1])]);
    for (change, note) in [
        (add(1), None),
        (add_named(1, "hv1"), None),
        (create(5001), None),
        (join(5001, &[1]), None),
        (set(5001, &[1]), None),
        (join(5001, &[1, 1]), None),
        (leave(5001, &[2]), Some("change 1: TEP 198.18.0.2 is no member of domain 5001")),
        (leave(5001, &[2, 9]), Some("change 1: TEP 198.18.0.2 and 1 more are no members of domain 5001")),
        (leave(7, &[1]), Some("change 1: domain 7 does not exist")),
        (remove(9, false), Some("change 1: TEP 198.18.0.9 is not registered")),
        (remove_domain(7), Some("change 1: domain 7 does not exist")),
    ] {
        let reply = rig.commit(vec![change.clone()]);
        assert_eq!((reply.revision, reply.changed), (1, 0), "{change:?}");
        assert_eq!(reply.notes.first().map(String::as_str), note, "{change:?}");
    }
    let reply = rig.commit(vec![join(5001, &[2]), leave(5001, &[2])]);
    assert_eq!(reply.revision, 1, "what is undone within a batch makes no revision");
}

#[test]
fn a_change_that_cannot_be_made_is_refused_by_its_position_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add_named(1, "hv1"), add(2), create(5001), join(5001, &[1])]);
    let own = Change::tep(bcast_domain::Tep::new(OWN).unwrap(), None);
    for (changes, refusal, words) in [
        (vec![join(5001, &[9])], RefusalKind::NotFound, "change 1: TEP 198.18.0.9 is not registered"),
        (
            vec![create(6), set(7, &[1, 9])],
            RefusalKind::NotFound,
            "change 2: TEP 198.18.0.9 is not registered",
        ),
        (vec![join(6, &[1])], RefusalKind::NotFound, "change 1: domain 6 does not exist"),
        (
            vec![add(3), remove(1, false)],
            RefusalKind::Precondition,
            "change 2: TEP 198.18.0.1 is a member of 1 domain; let it leave first, or remove it with --force",
        ),
        (vec![add_named(2, "hv1")], RefusalKind::Exists, "change 1: the name hv1 is TEP 198.18.0.1's"),
        (vec![add(3), own], RefusalKind::Invalid, "change 2: TEP 198.19.255.254 is this node's own address"),
    ] {
        let (kind, text) = rig.try_commit(Batch::new(changes.clone())).unwrap_err();
        assert_eq!(kind, refusal, "{changes:?}: {text}");
        assert!(text.contains(words), "{text}");
    }
    assert_eq!(rig.server().revision(), Revision::new(1));
    assert_eq!(rig.server().counts().teps, 2);
    assert_eq!(rig.members(6), None);
}

#[test]
fn one_bad_entry_in_ten_thousand_is_named_and_nothing_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit((1..=20).map(add).collect());
    let mut changes: Vec<Change> = (1..=10_000).map(|vni| set(vni, &[1, 2, 3])).collect();
    changes[7_776] = set(7_777, &[1, 99]);
    let (kind, text) = rig.try_commit(Batch::new(changes)).unwrap_err();
    assert_eq!(
        (kind, text.as_str()),
        (RefusalKind::NotFound, "change 7777: TEP 198.18.0.99 is not registered; add it first")
    );
    assert_eq!((rig.server().revision(), rig.server().counts().domains), (Revision::new(1), 0));
}

#[test]
fn a_member_is_removed_by_force_from_all_its_domains_in_one_revision() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add(1), add(2), add(3), set(1, &[1, 2]), set(2, &[1]), set(3, &[2, 3])]);
    let changes = vec![set(4, &[1, 2]), remove(1, true), remove(3, true), leave(3, &[2])];
    assert_eq!(rig.commit(changes).revision, 2);
    for (vni, members) in [(1, &[2_u16][..]), (2, &[]), (3, &[]), (4, &[2])] {
        assert_eq!(rig.members(vni), addresses(members), "domain {vni}");
    }
    assert_eq!(rig.server().counts().teps, 1);
    // Index and address are free again.
    rig.commit(vec![add(1), add(4), join(2, &[1, 4])]);
    assert_eq!(rig.members(2), addresses(&[1, 4]));
}

#[test]
fn a_tep_that_is_removed_and_added_in_one_batch_stays_and_has_left_its_domains() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add_named(1, "hv1"), add(2), set(1, &[1, 2])]);
    rig.commit(vec![remove(1, true), add_named(2, "hv1"), add(1), join(1, &[1])]);
    assert_eq!(rig.members(1), addresses(&[1, 2]));
    rig.commit(vec![Change::Leave { vni: 1.into(), teps: [named("hv1")].into_iter().collect() }]);
    assert_eq!(rig.members(1), addresses(&[1]), "the name is the other's now");
}

#[test]
fn a_writer_that_expects_another_revision_is_refused_and_told_both() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add(1)]);
    rig.commit(vec![add(2)]);
    let batch = |expected| {
        with(
            Batch::new(vec![add(3)]),
            Conditions { expected: Some(Revision::new(expected)), ..Default::default() },
        )
    };
    let (kind, text) = rig.try_commit(batch(1)).unwrap_err();
    assert_eq!(kind, RefusalKind::Conflict);
    assert!(
        text.contains(
            "revision 1 was expected, the node is at revision 2 and its configuration changed last at 2"
        ),
        "{text}"
    );
    assert_eq!(rig.try_commit(batch(2)).unwrap().revision, 3);
}

#[test]
fn a_dry_run_checks_everything_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let dry = |changes| dry_run(Batch::new(changes));
    let reply = rig.try_commit(dry(vec![add(1), set(1, &[1]), leave(2, &[1])])).unwrap();
    assert_eq!((reply.revision, reply.changed, reply.notes.len()), (0, 2, 1));
    assert!(rig.try_commit(dry(vec![join(1, &[1])])).is_err());
    assert_eq!((rig.server().revision(), rig.server().counts().teps), (Revision::new(0), 0));
}

#[test]
fn a_restart_finds_every_answered_change() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(folder.path());
    rig.commit(vec![add_named(1, "hv1"), add(2), add(3), set(1, &[1, 2]), set(2, &[2, 3]), create(3)]);
    rig.commit(vec![remove(3, true), leave(1, &[2])]);
    rig.stop();
    drop(rig);
    let rig = Rig::new(folder.path());
    for (vni, members) in [(1, &[1_u16][..]), (2, &[2]), (3, &[])] {
        assert_eq!(rig.members(vni), addresses(members), "domain {vni}");
    }
    assert_eq!(rig.server().revision(), Revision::new(2));
    rig.commit(vec![Change::Join { vni: 3.into(), teps: [named("hv1")].into_iter().collect() }]);
    assert_eq!(rig.members(3), addresses(&[1]));
}
