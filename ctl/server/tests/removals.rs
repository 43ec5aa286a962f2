//! Removals of much, and of what is not there: enforced by the node, whichever client asks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::havip::*;
use common::*;
use ctl_api::ClientError;
use ctl_api::client::RefusalKind;
use ctl_api::model::{Batch, Change, Conditions, Target};
use ctl_api::proto::{CommitReply, Removals, RestoreRequest, SnapshotPart, SnapshotRequest};

type Done = Result<CommitReply, ClientError>;

/// Twelve domains of two members each, and eleven HAVIPs in the first.
fn rig(folder: &std::path::Path) -> Rig {
    let rig = Rig::new(folder);
    let domains = (1..=12).map(|vni| set(vni, &[1, 2]));
    let havips = (100..111).map(|last| create_havip(&format!("web{last}"), 1, last));
    rig.commit([add(1), add(2)].into_iter().chain(domains).chain(havips).collect());
    rig
}

fn commit(rig: &Rig, changes: Vec<Change>, confirmed: Removals) -> Done {
    let conditions = Conditions { confirmed, ..Conditions::default() };
    rig.run(rig.client().commit(Batch { changes, conditions }))
}

fn assert_unconfirmed(done: Done, memberships: u64, havips: u64) {
    let words = format!("would remove {memberships} of 24 memberships and {havips} of 11 HAVIPs");
    match done {
        Err(ClientError::Refused { kind: RefusalKind::Precondition, message, reason, .. }) => {
            assert!(message.contains(&words) && reason == "REMOVALS_UNCONFIRMED", "{reason}: {message}");
        }
        other => panic!("not refused: {other:?}"),
    }
}

const NONE: Removals = Removals { memberships: 0, havips: 0 };

#[test]
fn a_batch_that_removes_over_20_percent_step_by_step_needs_as_many_to_be_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path());
    let domains: Vec<_> = (2..=7).map(remove_domain).collect();
    let leaves: Vec<_> = (2..=12).map(|vni| leave(vni, &[2])).collect();
    let emptied: Vec<_> = (2..=7).map(|vni| set(vni, &[])).collect();
    let havips = |all: std::ops::Range<u16>| -> Vec<_> {
        all.map(|last| Change::delete(Target::Havip(format!("web{last}").parse().unwrap()))).collect()
    };
    for (changes, memberships, gone) in
        [(domains, 12, 0), (leaves, 11, 0), (emptied, 12, 0), (havips(100..111), 0, 11)]
    {
        assert_unconfirmed(commit(&rig, changes.clone(), NONE), memberships, gone);
        let less = Removals { memberships: memberships.saturating_sub(1), havips: gone.saturating_sub(1) };
        assert_unconfirmed(commit(&rig, changes.clone(), less), memberships, gone);
        let dry = Batch {
            changes: changes.clone(),
            conditions: Conditions { dry_run: true, ..Default::default() },
        };
        rig.run(rig.client().commit(dry)).unwrap();
        assert_eq!(rig.server().revision().get(), 1, "nothing was changed");
    }
    assert_unconfirmed(
        rig.run(rig.client().commit_stream(Batch::new(vec![remove(1, true), remove(2, true)]))),
        24,
        0,
    );
    let exact = Removals { memberships: 24, havips: 11 };
    let all =
        (2..=12).map(remove_domain).chain([Change::Delete { target: Target::Domain(1.into()), force: true }]);
    commit(&rig, all.collect(), exact).unwrap();
    assert_eq!(rig.server().counts().members, 0);
}

#[test]
fn a_single_change_a_batch_that_removes_ten_and_one_that_moves_within_a_domain_need_no_confirmation() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path());
    rig.commit((2..=6).map(remove_domain).collect());
    // All others of one TEP.
    rig.commit(vec![remove(1, true)]);
    rig.commit(vec![Change::Delete { target: Target::Domain(1.into()), force: true }]);
    assert_eq!(rig.server().counts().members, 6);
}

#[test]
fn a_restore_that_removes_over_20_percent_is_refused_until_it_is_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path());
    let mut parts = rig.run(rig.client().snapshot(SnapshotRequest::default())).unwrap();
    let mut backup = SnapshotPart::default();
    while let Some(part) = rig.run(parts.message()).unwrap() {
        backup.revision = part.revision.or(backup.revision);
        backup.teps.extend(part.teps);
        backup.domains.extend(part.domains.into_iter().take(10));
        backup.havips.extend(part.havips.into_iter().take(8));
    }
    backup.domains.truncate(10);
    backup.havips.truncate(8);
    let restore = |confirm_removals| {
        let part = Some(backup.clone());
        let first = RestoreRequest { part, confirm_removals, ..Default::default() };
        let requests = [first, RestoreRequest { last: true, ..Default::default() }];
        rig.run(rig.client().restore(tokio_stream::iter(requests)))
    };
    assert_unconfirmed(restore(None), 4, 3);
    assert_unconfirmed(restore(Some(Removals { memberships: 4, havips: 2 })), 4, 3);
    assert_eq!(rig.server().revision().get(), 1, "nothing was changed");
    // The memberships are under 20 %.
    restore(Some(Removals { memberships: 0, havips: 3 })).unwrap();
    assert_eq!(rig.server().counts().members, 20);
}

#[test]
fn a_batch_whose_removals_must_exist_is_refused_whole_where_one_does_not_and_is_noted_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path());
    for (change, words) in [
        (remove(9, true), "TEP 198.18.0.9 is not registered"),
        (remove_domain(77), "domain 77 does not exist"),
        (leave(1, &[1, 9]), "TEP 198.18.0.9 is no member of domain 1"),
        (Change::delete(Target::Havip("db".parse().unwrap())), "HAVIP db does not exist"),
        (detach("web100", "vm1"), "instance vm1 is not attached to HAVIP web100"),
        (
            Change::DeleteGateway { vni: 1.into(), address: "10.0.0.1".parse().unwrap() },
            "10.0.0.1 is no gateway of domain 1",
        ),
    ] {
        let changes = vec![create(500), change.clone()];
        let conditions = Conditions { must_exist: true, ..Conditions::default() };
        match rig.run(rig.client().commit(Batch { changes, conditions })) {
            Err(ClientError::Refused { kind: RefusalKind::NotFound, message, reason, position }) => {
                assert_eq!(message, format!("change 2: {words}; nothing was changed"));
                assert_eq!((reason.as_str(), position), ("ABSENT", Some(2)));
            }
            other => panic!("{change:?}: {other:?}"),
        }
        assert_eq!(rig.server().revision().get(), 1, "{change:?}");
        let mut dry = dry_run(Batch::new(vec![change.clone()]));
        dry.conditions.must_exist = false;
        let reply = rig.run(rig.client().commit(dry)).unwrap();
        assert!(reply.notes[0].contains(words), "{change:?}: {reply:?}");
    }
}
