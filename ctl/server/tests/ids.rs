//! Request ids, and revisions that are raised.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use ctl_api::client::RefusalKind;
use ctl_api::model::{Batch, Change, Conditions, Revision};
use ctl_api::proto::watch_event::Kind;
use ctl_store::EmbeddedStore;

/// Changes with a request id.
fn with_id(id: &str, changes: Vec<Change>) -> Batch {
    with(Batch::new(changes), Conditions { request_id: Some(id.parse().unwrap()), ..Default::default() })
}

/// The same with other conditions.
fn with_id_and(id: &str, changes: Vec<Change>, set: impl FnOnce(&mut Conditions)) -> Batch {
    let mut batch = with_id(id, changes);
    set(&mut batch.conditions);
    batch
}

#[test]
fn the_same_request_gets_the_first_answer_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(folder.path());
    let batch = || with_id("r-1", vec![add(1), leave(7, &[1])]);
    let first = rig.try_commit(batch()).unwrap();
    assert_eq!((first.revision, first.changed, first.notes.len()), (1, 1, 1));
    rig.commit(vec![remove(1, false)]);
    assert_eq!(rig.try_commit(batch()).unwrap(), first);
    rig.stop();
    drop(rig);
    let rig = Rig::new(folder.path());
    assert_eq!(rig.try_commit(batch()).unwrap(), first);
    assert_eq!(rig.run(rig.client().commit_stream(batch())).unwrap(), first, "in parts it is the same");
    assert_eq!((rig.server().revision(), rig.server().counts().teps), (Revision::new(2), 0));
    // A refused request keeps no answer.
    rig.try_commit(with_id("r-2", vec![join(9, &[1])])).unwrap_err();
    assert_eq!(rig.try_commit(with_id("r-2", vec![create(9)])).unwrap().revision, 3);
}

#[test]
fn a_request_id_belongs_to_its_request_also_after_a_restart_and_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(folder.path());
    let first = rig.try_commit(with_id("r-1", vec![add(1), add(2)])).unwrap();
    let others = || {
        [
            with_id("r-1", vec![add(1), add(3)]),
            with_id("r-1", vec![add(2), add(1)]),
            with_id("r-1", vec![]),
            with_id_and("r-1", vec![add(1), add(2)], |conditions| {
                conditions.expected = Some(Revision::new(1))
            }),
            with_id_and("r-1", vec![add(1), add(2)], |conditions| conditions.above = Some(Revision::new(9))),
            dry_run(with_id("r-1", vec![add(3)])),
        ]
    };
    let check = |rig: &Rig| {
        for other in others() {
            let streamed = rig.run(rig.client().commit_stream(other.clone())).map_err(refused);
            for refusal in [rig.try_commit(other).unwrap_err(), streamed.unwrap_err()] {
                assert_eq!(refusal.0, RefusalKind::Exists, "{refusal:?}");
                assert!(refusal.1.contains("the request id r-1 belongs to another request"), "{refusal:?}");
            }
        }
        // What would be done is told by a dry run of the same, and that is nothing.
        let dry = dry_run(with_id("r-1", vec![add(1), add(2)]));
        assert_eq!(rig.try_commit(dry).unwrap(), first);
        assert_eq!((rig.server().revision(), rig.server().counts().teps), (Revision::new(1), 2));
    };
    check(&rig);
    rig.stop();
    drop(rig);
    let rig = Rig::new(folder.path());
    check(&rig);
    // A dry run keeps no id.
    let dry = dry_run(with_id("r-2", vec![add(8)]));
    assert_eq!(rig.try_commit(dry).unwrap().changed, 1);
    assert_eq!(rig.try_commit(with_id("r-2", vec![add(9)])).unwrap().revision, 2);
}

#[test]
fn of_two_requests_with_one_id_at_a_time_one_is_carried_out_and_the_same_one_twice_once() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    for n in 0..50_u16 {
        let id = format!("r-{n}");
        let clients = [rig.client(), rig.client(), rig.client(), rig.client()];
        let [mut one, mut two, mut three, mut four] = clients;
        let (a, b) = (|| with_id(&id, vec![add(2 * n)]), || with_id(&id, vec![add(2 * n + 1)]));
        let answers = rig.run(async {
            tokio::join!(one.commit(a()), two.commit(b()), three.commit(a()), four.commit(b()))
        });
        let same = [(answers.0, answers.2), (answers.1, answers.3)];
        let done: Vec<_> = same.into_iter().filter(|(one, _)| one.is_ok()).collect();
        let [(one, other)] = done.as_slice() else { panic!("{n}: {} were carried out", done.len()) };
        assert_eq!(one.as_ref().unwrap(), other.as_ref().unwrap());
        assert_eq!(rig.server().counts().teps, usize::from(n) + 1);
    }
}

#[test]
fn a_full_table_of_request_ids_refuses_those_requests_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&folder.path().join("domains.redb")).unwrap().keeping_answers(3);
    let rig = Rig::with_store(folder.path(), store);
    let requests: Vec<_> = (0..12_u16)
        .map(|n| {
            let batch =
                if n < 6 { with_id(&format!("r-{n}"), vec![add(n)]) } else { Batch::new(vec![add(n)]) };
            let mut client = rig.client();
            rig.runtime.spawn(async move { client.commit(batch).await })
        })
        .collect();
    let outcomes: Vec<_> = requests.into_iter().map(|request| rig.run(request).unwrap()).collect();
    assert_eq!(outcomes[..6].iter().filter(|outcome| outcome.is_ok()).count(), 3);
    assert!(outcomes[6..].iter().all(Result::is_ok), "those without ids are carried out");
    let (kind, text) = rig.try_commit(with_id("more", vec![add(99)])).unwrap_err();
    assert_eq!(kind, RefusalKind::Limit);
    assert!(text.contains("request ids were used within 10 minutes; go on without ids"), "{text}");
    let first = outcomes[..6].iter().position(Result::is_ok).unwrap();
    let again = with_id(&format!("r-{first}"), vec![add(u16::try_from(first).unwrap())]);
    assert!(rig.try_commit(again).is_ok(), "an id that is kept gets its answer");
    let dry = dry_run(with_id("more", vec![add(99)]));
    assert!(rig.try_commit(dry).is_ok(), "a dry run keeps none");
}

#[test]
fn a_revision_can_be_raised_and_watchers_start_over_behind_the_gap() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add(1)]);
    let mut watch = rig.run(rig.client().watch(Some(Revision::new(2)), Default::default())).unwrap();
    let above = |revision, changes| {
        let conditions = Conditions { above: Some(Revision::new(revision)), ..Default::default() };
        with(Batch::new(changes), conditions)
    };
    let mut told = || {
        let mut kinds = Vec::new();
        loop {
            let event = rig.run(watch.message()).unwrap().unwrap();
            let kind = event.kind.unwrap();
            let ends = matches!(kind, Kind::Committed(_));
            kinds.push((event.revision, matches!(kind, Kind::Reset(_))));
            if ends {
                return kinds;
            }
        }
    };
    assert_eq!(rig.try_commit(above(1, vec![add(2)])).unwrap().revision, 2);
    assert_eq!(told(), [(2, false), (2, false)], "no gap");
    assert_eq!(rig.try_commit(above(500, vec![add(3)])).unwrap().revision, 501);
    assert_eq!(told(), [(501, true), (501, false), (501, false), (501, false), (501, false)]);
    assert_eq!(rig.try_commit(above(700, vec![])).unwrap().revision, 701, "though nothing changes");
    assert_eq!(told()[0], (701, true));
    assert_eq!(rig.try_commit(above(600, vec![])).unwrap().revision, 701, "it is above that");
    let dry = dry_run(above(900, vec![add(4)]));
    assert_eq!(rig.try_commit(dry).unwrap().revision, 701);
    assert_eq!(rig.commit(vec![add(4)]).revision, 702);
    assert_eq!(told(), [(702, false), (702, false)], "behind the gap it goes on");
    let (kind, text) = rig.try_commit(above(u64::MAX, vec![])).unwrap_err();
    assert_eq!(kind, RefusalKind::Invalid);
    assert!(text.contains("is not from 1 to 4503599627370496; give the revision of an export"), "{text}");
}
