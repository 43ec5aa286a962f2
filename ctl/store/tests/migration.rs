//! Stores of older schemas: migrated once when they are opened, with all that was promised.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::{Path, PathBuf};

use bcast_domain::Rate;
use common::{open, tep};
use ctl_api::model::{ArpInspection, HavipEventKind, HavipState, Name, Revision, Why};
use ctl_store::{Changes, EmbeddedStore, Group, SCHEMA, Store};
use redb::{Database, ReadableDatabase, TableDefinition};

fn schema(path: &Path) -> u64 {
    let database = Database::open(path).unwrap();
    let transaction = database.begin_read().unwrap();
    let meta = transaction.open_table(TableDefinition::<&str, u64>::new("meta")).unwrap();
    meta.get("schema").unwrap().unwrap().value()
}

/// A copy of the store that the release before schema 4 left.
fn previous_release(folder: &Path) -> PathBuf {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/previous-release");
    for file in ["domains.redb", "domains.redb.revision"] {
        std::fs::copy(fixture.join(file), folder.join(file)).unwrap();
    }
    folder.join("domains.redb")
}

/// Content of the snapshot of a store.
fn contents(store: &EmbeddedStore) -> String {
    let snapshot = store.snapshot().unwrap();
    let teps: Vec<_> = snapshot.teps().unwrap().map(Result::unwrap).collect();
    let domains: Vec<_> = snapshot.domains().unwrap().map(Result::unwrap).collect();
    let havips: Vec<_> = snapshot.havips().unwrap().map(Result::unwrap).collect();
    let history: Vec<_> = snapshot.history().unwrap().map(Result::unwrap).collect();
    format!("{} {teps:?} {domains:?} {havips:?} {history:?}", snapshot.revision())
}

#[test]
fn a_store_of_the_previous_release_keeps_teps_domains_holders_history_and_dead_letters() {
    let folder = tempfile::tempdir().unwrap();
    let path = previous_release(folder.path());
    assert_eq!(schema(&path), 3);
    let store = open(folder.path());
    let snapshot = store.snapshot().unwrap();
    let teps: Vec<_> = snapshot.teps().unwrap().map(Result::unwrap).collect();
    let names: Vec<_> = teps.iter().map(|tep| tep.name.as_ref().map(Name::as_str)).collect();
    assert_eq!(names, [Some("hv1"), Some("hv2"), None]);
    assert_eq!(teps[0].limit.frames, Some(Rate::new(1_000_000).unwrap()));
    assert_eq!(teps[0].route_gateway, Some([198, 18, 0, 77].into()));
    assert_eq!(teps[0].route_gateway6, Some("fd00:1::77".parse().unwrap()));
    let domains: Vec<_> = snapshot.domains().unwrap().map(Result::unwrap).collect();
    let vnis: Vec<_> = domains.iter().map(|domain| (domain.vni.get(), domain.arp_inspection)).collect();
    assert_eq!(
        vnis,
        [(5001, ArpInspection::Off), (5002, ArpInspection::Sticky), (16_777_215, ArpInspection::Off)]
    );
    assert_eq!(domains[0].members, [tep(1), tep(2), tep(3)]);
    assert_eq!(domains[0].limit.copies, Some(Rate::new(250_000).unwrap()));
    let havips: Vec<_> = snapshot.havips().unwrap().map(Result::unwrap).collect();
    assert_eq!(
        havips.iter().map(|entry| entry.havip.name.as_str()).collect::<Vec<_>>(),
        ["idle", "six", "web"]
    );
    let web = &havips[2];
    let holder = web.binding.holder.as_ref().unwrap();
    assert_eq!((web.binding.state, holder.tep, web.binding.generation), (HavipState::Bound, tep(2), 23));
    assert_eq!((web.binding.why, web.binding.moves), (Some(Why::Garp), 3));
    assert_eq!((web.havip.refresh_s, &web.havip.vrids[..]), (Some(60), &[51][..]));
    let history = store.history(&"web".parse().unwrap()).unwrap();
    let kinds: Vec<_> = history.iter().map(|event| (event.kind, event.generation)).collect();
    use HavipEventKind::{Bound, Moved, Spoof};
    assert_eq!(kinds, [(Bound, 20), (Moved, 21), (Moved, 22), (Moved, 23), (Spoof, 24)]);
    assert_eq!(history[4].offender.map(|offender| (offender.mac[5], offender.tep)), Some((0x66, tep(3))));
    let dead = store.dead_letters(&"ops".parse().unwrap()).unwrap();
    assert_eq!(store.outbox().unwrap().len() + dead.len(), 5, "each event waits for its receiver");
    let revision = store.revision().unwrap();
    assert!(revision.get() >= 24);
    assert_eq!(store.changes(revision).unwrap(), Changes::Gone, "watchers start over");
    assert_eq!(store.changes(revision.next()).unwrap(), Changes::Records(vec![]));
}

#[test]
fn a_store_is_migrated_once_and_goes_on_from_its_revision() {
    let folder = tempfile::tempdir().unwrap();
    let path = previous_release(folder.path());
    let store = open(folder.path());
    let (first, revision) = (contents(&store), store.revision().unwrap());
    drop(store);
    assert_eq!(schema(&path), SCHEMA);
    let migrated = std::fs::read(&path).unwrap();
    let store = open(folder.path());
    assert_eq!(contents(&store), first);
    let record = common::record(revision.next().get(), vec![common::happened("web", 25)]);
    store.commit(&common::group(revision.get(), vec![record])).unwrap();
    assert_eq!(store.history(&"web".parse().unwrap()).unwrap().len(), 6, "numbers of events go on");
    drop(store);
    assert_ne!(std::fs::read(&path).unwrap(), migrated);
}

#[test]
fn a_store_with_a_row_that_cannot_be_is_refused_and_stays_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = previous_release(folder.path());
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let domains = TableDefinition::<u32, &[u8]>::new("domains");
    transaction.open_table(domains).unwrap().insert(7, &b"\x00\x01\x02"[..]).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = EmbeddedStore::open(&path).unwrap_err().to_string();
    assert!(error.contains("a list of members was expected in a row"), "{error}");
    assert_eq!(schema(&path), 3, "nothing was changed");
}

/// The tables as they were written before there were limits, byte for byte.
fn old_file(path: &Path) {
    let database = Database::create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut meta = transaction.open_table(TableDefinition::<&str, u64>::new("meta")).unwrap();
        for (key, value) in [("schema", 1), ("revision", 1), ("log_bytes", 36), ("log_start", 1)] {
            meta.insert(key, value).unwrap();
        }
        let mut teps = transaction.open_table(TableDefinition::<u32, &str>::new("teps")).unwrap();
        teps.insert(0xc612_0001, "hv1").unwrap();
        let mut domains = transaction.open_table(TableDefinition::<u32, &[u8]>::new("domains")).unwrap();
        domains.insert(5001, &b"\x05vpc-a\x01\x00\x12\xc6"[..]).unwrap();
        let mut log = transaction.open_table(TableDefinition::<u64, &[u8]>::new("log")).unwrap();
        let set_tep = b"\x01\x01\x00\x12\xc6\x03hv1";
        let set_domain = b"\x03\x89\x13\x00\x00\x01\x00\x00\x00\x05vpc-a\x01\x00\x12\xc6";
        let time = 1_001_u64.to_le_bytes();
        log.insert(1, [&time[..], set_tep, set_domain].concat().as_slice()).unwrap();
        let answers = TableDefinition::<&str, (u64, u64, u64, &str)>::new("answers");
        transaction.open_table(answers).unwrap().insert("id", (5_000, 1, 2, "")).unwrap();
        let ages = TableDefinition::<(u64, &str), ()>::new("answer_ages");
        transaction.open_table(ages).unwrap().insert((5_000, "id"), ()).unwrap();
    }
    transaction.commit().unwrap();
}

#[test]
fn a_file_from_before_limits_is_migrated_with_its_answers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("domains.redb");
    old_file(&path);
    let store = open(folder.path());
    let snapshot = store.snapshot().unwrap();
    let tep1 = snapshot.teps().unwrap().next().unwrap().unwrap();
    let domain = snapshot.domains().unwrap().next().unwrap().unwrap();
    assert_eq!((tep1.address, tep1.name.as_ref().map(Name::as_str)), (tep(1), Some("hv1")));
    assert_eq!((domain.vni.get(), domain.name.as_ref().map(Name::as_str)), (5001, Some("vpc-a")));
    assert_eq!((snapshot.revision().get(), domain.members), (1, vec![tep(1)]));
    assert_eq!(store.changes(Revision::new(1)).unwrap(), Changes::Gone);
    let answer = store.answer(&"id".parse().unwrap(), 5_001).unwrap();
    assert_eq!(answer.map(|(body, answer)| (body, answer.changed)), Some((None, 2)), "its body is not known");
    assert!(
        store.outbox().unwrap().is_empty() && store.snapshot().unwrap().havips().unwrap().next().is_none()
    );
    drop((snapshot, store));
    assert_eq!(schema(&path), SCHEMA);
}

/// Moves make revisions that do not change the configuration.
#[test]
fn the_last_revision_of_the_configuration_is_kept_and_where_it_is_not_known_it_is_the_current_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = previous_release(folder.path());
    let known = |store: &EmbeddedStore| {
        let snapshot = store.snapshot().unwrap();
        (snapshot.revision().get(), snapshot.configured().get())
    };
    let commit = |store: &EmbeddedStore, base, configures| {
        let group = common::group(base, vec![common::record(base + 1, vec![])]);
        store.commit(&Group { configures, ..group }).unwrap();
        known(store)
    };
    let store = open(folder.path());
    let (from, configured) = known(&store);
    assert_eq!(configured, from, "an older release did not keep it");
    assert_eq!(commit(&store, from, false), (from + 1, from));
    assert_eq!(commit(&store, from + 1, true), (from + 2, from + 2));
    assert_eq!(commit(&store, from + 2, false), (from + 3, from + 2));
    drop(store);
    assert_eq!(known(&open(folder.path())), (from + 3, from + 2));
    // A release that does not know of it goes on for a while.
    {
        let database = Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let meta = TableDefinition::<&str, u64>::new("meta");
        transaction.open_table(meta).unwrap().insert("revision", from + 9).unwrap();
        transaction.commit().unwrap();
    }
    assert_eq!(known(&open(folder.path())), (from + 9, from + 9));
}
