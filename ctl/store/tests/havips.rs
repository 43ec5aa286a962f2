//! HAVIPs in the embedded store: with their bindings, their history, and what receivers have still to be told.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use ctl_api::model::{ArpInspection, DomainEntry, Event, HavipEntry, Revision, TepEntry};
use ctl_store::{Changes, DEAD_LETTERS, DeadLetter, Group, HISTORY_OF_ONE, OutboxRows, Store};

fn havips(store: &impl Store) -> Vec<HavipEntry> {
    store.snapshot().unwrap().havips().unwrap().map(Result::unwrap).collect()
}

fn tep_set(hop: Option<&str>, hop6: Option<&str>) -> Event {
    let (route_gateway, route_gateway6) = (hop.map(|h| h.parse().unwrap()), hop6.map(|h| h.parse().unwrap()));
    Event::TepSet(TepEntry {
        address: tep(1),
        name: None,
        limit: Default::default(),
        route_gateway,
        route_gateway6,
    })
}

fn domain_set(arp_inspection: ArpInspection) -> Event {
    let vni = 5001.into();
    Event::DomainSet(DomainEntry {
        vni,
        name: None,
        limit: Default::default(),
        arp_inspection,
        stated: Default::default(),
        pinned: Vec::new(),
        members: vec![tep(1)],
    })
}

#[test]
fn havips_route_gateways_and_modes_are_kept_and_logged_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    assert!(havips(&store).is_empty());
    let both = Some("198.18.0.9").zip(Some("fe80::9"));
    let events = vec![
        tep_set(both.map(|hops| hops.0), both.map(|hops| hops.1)),
        domain_set(ArpInspection::Sticky),
        set(&entry("web", 2)),
        set(&entry("db", 1)),
        happened("web", 1),
    ];
    let first = record(1, events.clone());
    store.commit(&group(0, vec![first.clone()])).unwrap();
    drop(store);
    let store = open(folder.path());
    assert_eq!(havips(&store), [entry("db", 1), entry("web", 2)], "by name");
    let snapshot = store.snapshot().unwrap();
    let stored = |events: &[Event]| {
        let tep = Event::TepSet(snapshot.teps().unwrap().next().unwrap().unwrap());
        let domain = Event::DomainSet(snapshot.domains().unwrap().next().unwrap().unwrap());
        assert_eq!([tep, domain], events[..2]);
    };
    stored(&events);
    assert_eq!(store.changes(Revision::new(1)).unwrap(), Changes::Records(vec![first]));
    let mut base = 1;
    for (hop, hop6) in [(Some("198.18.0.9"), None), (None, Some("fd00::9")), (None, None)] {
        store.commit(&group(base, vec![record(base + 1, vec![tep_set(hop, hop6)])])).unwrap();
        base += 1;
        let tep = store.snapshot().unwrap().teps().unwrap().next().unwrap().unwrap();
        assert_eq!(Event::TepSet(tep), tep_set(hop, hop6));
        let Changes::Records(logged) = store.changes(Revision::new(base)).unwrap() else { panic!("kept") };
        assert_eq!(logged[0].events, [tep_set(hop, hop6)]);
    }
    let last = record(5, vec![removed("web"), domain_set(ArpInspection::Off), happened("web", 5)]);
    store.commit(&group(4, vec![last.clone()])).unwrap();
    assert_eq!(havips(&store), [entry("db", 1)]);
    assert_eq!(store.changes(Revision::new(5)).unwrap(), Changes::Records(vec![last]));
}

#[test]
fn a_havips_last_events_are_kept_until_it_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let many = HISTORY_OF_ONE as u64 + 20;
    let events = |name: &'static str| (1..=many).map(move |n| happened(name, n));
    let first =
        record(1, [set(&entry("web", 1)), set(&entry("we", 1))].into_iter().chain(events("web")).collect());
    store.commit(&group(0, vec![first])).unwrap();
    drop(store);
    let store = open(folder.path());
    store.commit(&group(1, vec![record(2, vec![happened("we", 7), happened("gone", 8)])])).unwrap();
    let kept = |name: &str| {
        let events = store.history(&name.parse().unwrap()).unwrap();
        events.into_iter().map(|event| event.generation).collect::<Vec<_>>()
    };
    assert_eq!(kept("web"), (21..=many).collect::<Vec<_>>(), "the oldest first");
    assert_eq!((kept("we"), kept("gone")), (vec![7], vec![]), "a name that begins alike is another's");
    store.commit(&group(2, vec![record(3, vec![removed("web"), happened("web", 3)])])).unwrap();
    assert_eq!((kept("web"), kept("we")), (vec![], vec![7]));
    let anew = record(4, vec![set(&entry("web", 4)), happened("web", 4)]);
    store.commit(&group(3, vec![anew])).unwrap();
    assert_eq!(kept("web"), [4], "one of the same name begins anew");
}

#[test]
fn the_outbox_is_written_with_its_revision_and_empties_as_it_is_settled() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    assert!(store.outbox().unwrap().is_empty());
    let rows = [row("noc", 1, 0), row("noc", 1, 1), row("noc", 10, 0), row("ops", 1, 0)];
    let outbox = OutboxRows { insert: rows.iter().rev().cloned().collect(), delete: vec![] };
    store.commit(&Group { outbox, ..group(0, vec![record(1, vec![set(&entry("web", 1))])]) }).unwrap();
    drop(store);
    let store = open(folder.path());
    assert_eq!(store.outbox().unwrap(), rows, "by receiver and age");
    // A group that is refused writes nothing.
    let outbox = OutboxRows { insert: vec![row("noc", 99, 0)], delete: vec![rows[0].key.clone()] };
    store.commit(&Group { outbox, ..group(7, vec![]) }).unwrap_err();
    assert_eq!(store.outbox().unwrap(), rows);
    let outbox = OutboxRows { insert: vec![], delete: vec![rows[0].key.clone(), row("noc", 77, 0).key] };
    store.commit(&Group { outbox, ..group(1, vec![]) }).unwrap();
    store.settle(&[rows[1].key.clone(), row("ops", 77, 0).key], &[]).unwrap();
    assert_eq!(store.outbox().unwrap(), rows[2..]);
    drop(store);
    assert_eq!(open(folder.path()).outbox().unwrap(), rows[2..]);
}

#[test]
fn dead_letters_are_kept_for_their_receiver_and_come_back_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let rows: Vec<_> = (1..=3).map(|n| row("noc", n, 0)).chain([row("ops", 1, 0)]).collect();
    let outbox = OutboxRows { insert: rows.clone(), delete: vec![] };
    store.commit(&Group { outbox, ..group(0, vec![record(1, vec![])]) }).unwrap();
    let letter = |row: &ctl_store::OutboxRow| DeadLetter {
        row: row.clone(),
        died_unix_ms: 9,
        reason: "503 Service Unavailable".to_owned(),
    };
    let letters: Vec<_> = rows[..2].iter().map(letter).collect();
    store.settle(&[rows[3].key.clone()], &letters).unwrap();
    let (noc, ops) = ("noc".parse().unwrap(), "ops".parse().unwrap());
    drop(store);
    let store = open(folder.path());
    assert_eq!((store.dead_letters(&noc).unwrap(), store.dead_letters(&ops).unwrap()), (letters, vec![]));
    assert_eq!(store.outbox().unwrap(), rows[2..3]);
    let revived: Vec<_> =
        rows[..2].iter().map(|row| ctl_store::OutboxRow { since_unix_ms: 77, ..row.clone() }).collect();
    assert_eq!(store.revive(&ops, 77).unwrap(), []);
    assert_eq!(store.revive(&noc, 77).unwrap(), revived);
    assert_eq!(store.dead_letters(&noc).unwrap(), []);
    assert_eq!(store.outbox().unwrap(), [revived, rows[2..3].to_vec()].concat());
}

#[test]
fn of_too_many_dead_letters_the_oldest_go() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let letter = |n| DeadLetter { row: row("noc", n, 0), died_unix_ms: 9, reason: String::new() };
    let many = DEAD_LETTERS as u64 + 5;
    store.settle(&[], &[DeadLetter { row: row("a", 1, 0), ..letter(1) }]).unwrap();
    store.settle(&[], &(1..=many).map(letter).collect::<Vec<_>>()).unwrap();
    let noc = store.dead_letters(&"noc".parse().unwrap()).unwrap();
    assert_eq!((noc.len(), noc[0].row.key.id.revision.get()), (DEAD_LETTERS, 6));
    assert_eq!(store.dead_letters(&"a".parse().unwrap()).unwrap().len(), 1, "those of others stay");
}

#[test]
fn dropped_dead_letters_are_gone_for_good_and_those_of_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let letter = |row| DeadLetter { row, died_unix_ms: 9, reason: String::new() };
    store.settle(&[], &[row("noc", 1, 0), row("noc", 2, 0), row("ops", 1, 0)].map(letter)).unwrap();
    let (noc, ops) = ("noc".parse().unwrap(), "ops".parse().unwrap());
    assert_eq!(store.drop_dead(&noc).unwrap(), 2);
    drop(store);
    let store = open(folder.path());
    assert_eq!((store.dead_letters(&noc).unwrap(), store.drop_dead(&noc).unwrap()), (vec![], 0));
    assert_eq!((store.dead_letters(&ops).unwrap().len(), store.outbox().unwrap()), (1, vec![]));
}
