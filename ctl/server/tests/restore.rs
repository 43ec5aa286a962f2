//! A backup that replaces everything.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};

use bcast_domain::DomainLimit;
use common::havip::*;
use common::*;
use ctl_api::client::RefusalKind;
use ctl_api::model::{
    Attachment, Batch, Change, Conditions, HavipEntry, HavipEvent, Holder, Revision, Target,
};
use ctl_api::proto::{self, RestoreRequest, SnapshotPart};
use ctl_server::CommitHook;
use ctl_store::{EmbeddedStore, Record};

/// Everything as of one revision, as one part.
fn backup(rig: &Rig) -> SnapshotPart {
    let mut all = SnapshotPart::default();
    let mut parts = rig
        .run(rig.client().snapshot(proto::SnapshotRequest { with_history: true, ..Default::default() }))
        .unwrap();
    while let Some(part) = rig.run(parts.message()).unwrap() {
        if part.revision.is_some() {
            (all.revision, all.store, all.unix_ms) = (part.revision, part.store, part.unix_ms);
        }
        all.teps.extend(part.teps);
        all.domains.extend(part.domains);
        all.havips.extend(part.havips);
        all.history.extend(part.history);
    }
    all
}

fn requests(part: SnapshotPart) -> Vec<RestoreRequest> {
    vec![
        RestoreRequest { part: Some(part), confirm_removals: Some(ANY), ..Default::default() },
        RestoreRequest { last: true, ..Default::default() },
    ]
}

/// Removals that are confirmed in any number.
const ANY: proto::Removals = proto::Removals { memberships: u64::MAX, havips: u64::MAX };

fn restore(rig: &Rig, requests: Vec<RestoreRequest>) -> Result<proto::CommitReply, (RefusalKind, String)> {
    rig.run(rig.client().restore(tokio_stream::iter(requests))).map_err(refused)
}

/// Told what happens, as receivers of webhooks are.
#[derive(Clone, Default)]
struct Effect(Arc<Mutex<Vec<HavipEvent>>>);

impl CommitHook for Effect {
    fn committed(&mut self, records: &[Record]) {
        let events = records.iter().flat_map(|record| &record.events);
        let events = events.filter_map(|event| match event {
            ctl_api::model::Event::HavipEvent(event) => Some((**event).clone()),
            _ => None,
        });
        self.0.lock().unwrap().extend(events);
    }
}

fn rig(folder: &Path) -> (Rig, Effect) {
    let told = Effect::default();
    (Rig::listening(folder, vec![Box::new(told.clone())]), told)
}

/// A node with all that there can be: limits, next hops, modes, names, HAVIPs that are held and not.
fn full(folder: &Path) -> Rig {
    let rig = Rig::new(folder);
    rig.commit(vec![
        add_named(1, "hv1"),
        add(2),
        add(3),
        route_gateway(2, Some("198.18.0.9"), Some("2001:db8::9")),
        limit_tep(1, frames(7)),
        Change::domain(5001.into(), Some("vpc-a".parse().unwrap())),
        set(5001, &[1, 2]),
        set(5002, &[3]),
        inspect(5002, true),
        limit(5001, DomainLimit { bits: rate(9), ..copies(5) }),
    ]);
    rig.commit(vec![
        create_havip("web", 5001, 100),
        attach("web", "vm1", 1, &[1]),
        attach("web", "vm2", 2, &[2]),
        bind_eip("web", "203.0.113.7"),
        create_havip("db", 5002, 101),
    ]);
    let mut db = rig.havip("db").havip;
    (db.vrids, db.refresh_s) = (vec![51], Some(30));
    rig.commit(vec![set_havip(db)]);
    rig.hold(folder, "web", "vm1", 1)
}

/// A backup but for what tells one node, time and revision from others.
fn content(part: &SnapshotPart) -> SnapshotPart {
    let mut part = part.clone();
    (part.revision, part.store, part.unix_ms) = (None, 0, 0);
    for entry in &mut part.havips {
        entry.binding.as_mut().unwrap().generation = 0;
    }
    part
}

#[test]
fn a_node_beyond_what_a_request_may_ask_for_takes_its_own_backups() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let above = Some(Revision::MAX_ABOVE);
    let batch = with(Batch::new(vec![create(1)]), Conditions { above, ..Default::default() });
    assert_eq!(rig.run(rig.client().commit(batch)).unwrap().revision, (1 << 52) + 1);
    let saved = backup(&rig);
    assert_eq!(restore(&rig, requests(saved.clone())).unwrap().revision, (1 << 52) + 2);
    let elsewhere = tempfile::tempdir().unwrap();
    let other = Rig::new(elsewhere.path());
    assert!(restore(&other, requests(saved)).unwrap().revision > (1 << 52) + 1);
}

#[test]
fn a_backup_restored_on_an_empty_node_gives_the_same_state_above_all_that_was_given() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let from = full(one.path());
    let taken = backup(&from);
    assert_eq!((taken.revision, taken.history.len()), (Some(4), 1));
    let (mut to, told) = rig(two.path());
    let mut watch = to.run(to.client().watch(Some(Revision::new(1)), Default::default())).unwrap();
    let reply = restore(&to, requests(taken.clone())).unwrap();
    // Nobody knows what the other store gave after the backup.
    assert!(reply.revision > 1_000_000, "{reply:?}");
    assert_eq!(content(&backup(&to)), content(&taken));
    assert_eq!(to.members(5001), addresses(&[1, 2]));
    assert_eq!(to.guarded(5001), [("10.0.0.100".to_owned(), vec![(1, 1), (2, 2)])]);
    assert_eq!((to.domain_limit(5001).unwrap().bits, to.tep_limit(1).unwrap()), (rate(9), frames(7)));
    let web = to.havip("web");
    assert_eq!(web.binding.holder, from.havip("web").binding.holder);
    assert_eq!(web.binding.generation, reply.revision, "it is bound here since this revision");
    // Whoever listens is told; whoever watches starts over.
    let heard: Vec<_> = told.0.lock().unwrap().iter().map(|h| (h.havip.to_string(), h.generation)).collect();
    assert_eq!(heard, [("web".to_owned(), reply.revision)]);
    let state = ["reset", "+198.18.0.1", "+198.18.0.2", "+198.18.0.3", "+5001", "+5002", "+db", "+web"];
    assert_eq!(to.revision(&mut watch), state);
    // Generations go on growing, and it is all there after a restart.
    to.commit(vec![detach("web", "vm1")]);
    let last = told.0.lock().unwrap().last().unwrap().generation;
    assert_eq!(last, reply.revision + 1);
    assert_eq!(to.revision(&mut watch), ["+web", "web unbound detached"]);
    let before = backup(&to);
    assert_eq!(before.history.len(), 2);
    to.stop();
    drop(to);
    assert_eq!(content(&backup(&Rig::new(two.path()))), content(&before));
}

#[test]
fn a_node_goes_back_to_its_own_backup_in_one_revision_more_and_tells_what_is_other() {
    let folder = tempfile::tempdir().unwrap();
    drop(full(folder.path()));
    let (to, told) = rig(folder.path());
    let taken = backup(&to);
    to.commit(vec![
        add(9),
        remove(3, true),
        Change::Delete { target: Target::Domain(5002.into()), force: true },
        set(5003, &[9]),
        set(5001, &[1, 9]),
        detach("web", "vm1"),
        create_havip("new", 5003, 100),
    ]);
    told.0.lock().unwrap().clear();
    let mut watch = to.run(to.client().watch(Some(Revision::new(5)), Default::default())).unwrap();
    to.revision(&mut watch);
    let reply = restore(&to, requests(taken.clone())).unwrap();
    assert_eq!(reply.revision, 6);
    assert_eq!(content(&backup(&to)), content(&taken));
    assert_eq!(to.members(5003), None);
    assert_eq!(to.members(5001), addresses(&[1, 2]));
    assert_eq!(to.revision(&mut watch)[0], "reset", "though no number is left out");
    let mut heard: Vec<_> =
        told.0.lock().unwrap().iter().map(|h| format!("{} {} {}", h.havip, h.kind, h.generation)).collect();
    heard.sort();
    assert_eq!(heard, ["new removed 6", "web bound 6"]);
    // Again there is nothing to tell, and the generations stay.
    let before = to.havip("web");
    told.0.lock().unwrap().clear();
    assert_eq!(restore(&to, requests(taken)).unwrap().revision, 7);
    assert_eq!((to.havip("web"), told.0.lock().unwrap().len()), (before, 0));
}

#[test]
fn a_backup_of_a_greater_revision_raises_it_and_one_that_no_node_gave_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let rig = full(folder.path());
    let mut taken = backup(&rig);
    taken.revision = Some(1 << 40);
    assert_eq!(restore(&rig, requests(taken.clone())).unwrap().revision, (1 << 40) + 1);
    assert_eq!(rig.commit(vec![add(77)]).revision, (1 << 40) + 2);
    taken.revision = Some(u64::MAX);
    let (kind, text) = restore(&rig, requests(taken)).unwrap_err();
    assert_eq!(kind, RefusalKind::Invalid);
    assert!(text.contains("a node gives none above"), "{text}");
}

#[test]
fn a_restore_that_is_cut_or_expects_another_revision_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rig = full(folder.path());
    let taken = backup(&rig);
    let mut cut = requests(SnapshotPart { revision: Some(9), ..Default::default() });
    cut.pop();
    let (kind, text) = restore(&rig, cut).unwrap_err();
    assert_eq!(kind, RefusalKind::Invalid);
    assert!(text.contains("the backup ended before its last part"), "{text}");
    assert_eq!(restore(&rig, vec![]).unwrap_err().0, RefusalKind::Invalid);
    let mut late = requests(SnapshotPart::default());
    late[0].expected_revision = Some(2);
    assert_eq!(restore(&rig, late).unwrap_err().0, RefusalKind::Conflict);
    assert_eq!(backup(&rig).revision, taken.revision);
    assert_eq!(content(&backup(&rig)), content(&taken));
}

#[test]
fn a_backup_that_cannot_be_is_refused_whole_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let rig = full(folder.path());
    let taken = backup(&rig);
    let entry = |part: &SnapshotPart, at: usize| HavipEntry::try_from(part.havips[at].clone()).unwrap();
    let with = |at: usize, change: &dyn Fn(&mut HavipEntry)| {
        let mut part = taken.clone();
        let mut havip = entry(&part, at);
        change(&mut havip);
        part.havips[at] = havip.into();
        part
    };
    let bad = |change: &dyn Fn(&mut SnapshotPart)| {
        let mut part = taken.clone();
        change(&mut part);
        part
    };
    let stranger = || Holder { instance: name("vm9"), mac: mac(9), tep: tep(1) };
    let gone = || Attachment { instance: name("vm9"), mac: mac(9), teps: vec![tep(77)] };
    for (part, words) in [
        (bad(&|part| part.teps[0].address = vec![224, 0, 0, 1]), "multicast"),
        (
            bad(&|part| part.teps[1].address = part.teps[0].address.clone()),
            "TEP 198.18.0.1 stands there twice",
        ),
        (bad(&|part| part.teps[1].name = Some("hv1".to_owned())), "the name hv1 is TEP 198.18.0.1's"),
        (bad(&|part| drop(part.teps.remove(2))), "TEP 198.18.0.3 is not registered"),
        (bad(&|part| part.domains[1].vni = 5001), "domain 5001 stands there twice"),
        (
            bad(&|part| {
                part.domains[1].members =
                    Some(proto::Teps { ipv4: [198, 18, 0, 1].repeat(2), ..Default::default() })
            }),
            "member 198.18.0.1 of domain 5002 stands",
        ),
        (bad(&|part| drop(part.domains.remove(0))), "domain 5001 does not exist"),
        (bad(&|part| part.havips[1] = part.havips[0].clone()), "HAVIP db is there already"),
        (
            with(0, &|db| (db.havip.vni, db.havip.address) = (5001.into(), ip(100))),
            "10.0.0.100 in domain 5001 is",
        ),
        (with(0, &|db| db.havip.eip = "203.0.113.7".parse().ok()), "EIP 203.0.113.7 is HAVIP db's"),
        (with(0, &|db| db.havip.eip = "198.18.0.1".parse().ok()), "EIP 198.18.0.1 is a TEP's address"),
        (with(0, &|db| db.havip.attachments.push(gone())), "TEP 198.18.0.77 is not registered"),
        (
            with(1, &|web| web.binding.holder = Some(stranger())),
            "held by instance vm9, which is not attached",
        ),
        (bad(&|part| part.history[0].havip = "other".to_owned()), "HAVIP other does not exist"),
        (
            bad(&|part| part.history = vec![part.history[0].clone(); 51]),
            "more than 50 things are told of HAVIP web",
        ),
        (bad(&|part| part.history[0].kind = 99), "99 is no kind of event"),
    ] {
        let (kind, text) = restore(&rig, requests(part)).unwrap_err();
        assert_eq!(kind, RefusalKind::Invalid, "{text}");
        assert!(text.contains(words) && text.starts_with("the backup"), "{text}");
        assert!(text.ends_with("nothing was changed"), "{text}");
    }
    assert_eq!(content(&backup(&rig)), content(&taken));
    assert_eq!(rig.server().revision(), Revision::new(4));
}

#[test]
fn what_waits_beside_a_restore_is_carried_out_before_or_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let rig = full(folder.path());
    let taken = backup(&rig);
    let changes: Vec<_> = (1..=40_u32)
        .map(|n| {
            let mut client = rig.client();
            rig.runtime.spawn(async move { client.commit(Batch::new(vec![create(n)])).await })
        })
        .collect();
    let restored = restore(&rig, requests(taken)).unwrap().revision;
    for (n, change) in (1_u32..).zip(changes) {
        let revision = rig.run(change).unwrap().unwrap().revision;
        assert_ne!(revision, restored);
        assert_eq!(rig.members(n).is_some(), revision > restored, "domain {n}");
    }
}

#[test]
fn teps_that_are_not_this_nodes_are_restored_and_join_no_domain_more() {
    let folder = tempfile::tempdir().unwrap();
    let rig = full(folder.path());
    let mut taken = backup(&rig);
    taken.teps.push(proto::Tep { address: OWN.octets().to_vec(), ..Default::default() });
    taken.domains[0].members.as_mut().unwrap().ipv4.extend(OWN.octets());
    restore(&rig, requests(taken)).unwrap();
    assert_eq!(rig.members(5001), Some([address(1), address(2), OWN].into()));
    let own = vec![bcast_domain::Tep::new(OWN).unwrap()];
    let join = Change::Join { vni: 5002.into(), teps: own.into() };
    assert_eq!(rig.try_commit(Batch::new(vec![join])).unwrap_err().0, RefusalKind::Invalid);
    let store = folder.path().join("domains.redb");
    drop(rig);
    assert!(EmbeddedStore::open(&store).is_ok());
}
