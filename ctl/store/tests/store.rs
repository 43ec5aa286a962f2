//! The embedded store: what it keeps, and what it says of files that are no store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bcast_domain::{DomainLimit, Rate, Tep, TepLimit, Vni};
use ctl_api::model::{ArpInspection, DomainEntry, Event, RequestId, Revision, TepEntry};
use ctl_store::{
    ANSWER_KEPT, Answer, Answered, Changes, EmbeddedStore, Group, LOG_RECORD_BYTES, LOG_REVISIONS, Record,
    Store, StoreError,
};
use redb::{Database, TableDefinition};

fn tep(last: u16) -> Tep {
    let [high, low] = last.to_be_bytes();
    Tep::new(Ipv4Addr::new(198, 18, high, low)).unwrap()
}

fn tep_set(last: u16, name: Option<&str>) -> Event {
    Event::TepSet(TepEntry {
        address: tep(last),
        name: name.map(|n| n.parse().unwrap()),
        limit: TepLimit::default(),
        route_gateway: None,
        route_gateway6: None,
    })
}

fn domain_set(vni: u32, members: &[u16]) -> Event {
    let members = members.iter().map(|&m| tep(m)).collect();
    Event::DomainSet(DomainEntry {
        vni: Vni::from(vni),
        name: None,
        limit: DomainLimit::default(),
        arp_inspection: ArpInspection::Off,
        stated: Default::default(),
        pinned: Vec::new(),
        members,
    })
}

fn record(revision: u64, events: Vec<Event>) -> Record {
    Record { revision: Revision::new(revision), unix_ms: 1_000 + revision, events }
}

fn group(base: u64, records: Vec<Record>) -> Group {
    Group { base: Revision::new(base), unix_ms: 5_000, records, ..Group::default() }
}

fn open(folder: &Path) -> EmbeddedStore {
    EmbeddedStore::open(&folder.join("domains.redb")).unwrap()
}

fn everything(store: &EmbeddedStore) -> (u64, Vec<TepEntry>, Vec<DomainEntry>) {
    let snapshot = store.snapshot().unwrap();
    let teps = snapshot.teps().unwrap().map(Result::unwrap).collect();
    let domains = snapshot.domains().unwrap().map(Result::unwrap).collect();
    (snapshot.revision().get(), teps, domains)
}

#[test]
fn a_new_store_and_its_folder_are_for_their_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/domains.redb");
    drop(EmbeddedStore::open(&path).unwrap());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
}

#[test]
fn what_was_committed_is_there_after_the_store_was_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    assert_eq!(everything(&store), (0, vec![], vec![]));
    let first = record(
        1,
        vec![tep_set(2, None), tep_set(1, Some("hv1")), domain_set(7, &[2, 1]), domain_set(5, &[])],
    );
    let second =
        record(2, vec![domain_set(9, &[2]), Event::DomainDeleted(5.into()), Event::TepDeleted(tep(3))]);
    store.commit(&group(0, vec![first, second])).unwrap();
    let expected = everything(&store);
    drop(store);
    let (revision, teps, domains) = everything(&open(folder.path()));
    assert_eq!((revision, &teps, &domains), (expected.0, &expected.1, &expected.2));
    assert_eq!(revision, 2);
    assert_eq!(teps.iter().map(|t| t.address).collect::<Vec<_>>(), [tep(1), tep(2)], "by address");
    assert_eq!(domains.iter().map(|d| d.vni.get()).collect::<Vec<_>>(), [7, 9], "by VNI");
    assert_eq!(domains[0].members, [tep(1), tep(2)], "ascending");
}

fn rate(per_second: u64) -> Option<Rate> {
    Some(Rate::new(per_second).unwrap())
}

fn limited_tep(last: u16, frames: u64) -> Event {
    let limit = TepLimit { frames: rate(frames) };
    let name = Some("hv".parse().unwrap());
    Event::TepSet(TepEntry { address: tep(last), name, limit, route_gateway: None, route_gateway6: None })
}

fn limited_domain(vni: u32, members: &[u16], limit: DomainLimit) -> Event {
    let (name, members) = (Some("x".repeat(63).parse().unwrap()), members.iter().map(|&m| tep(m)).collect());
    Event::DomainSet(DomainEntry {
        vni: Vni::from(vni),
        name,
        limit,
        arp_inspection: ArpInspection::Off,
        stated: Default::default(),
        pinned: Vec::new(),
        members,
    })
}

/// Each rate given and not.
fn limits() -> impl Iterator<Item = DomainLimit> {
    let given = |bits: u32, bit: u32, number| rate(number).filter(|_| bits >> bit & 1 == 1);
    (0..8).map(move |bits| DomainLimit {
        copies: given(bits, 0, 1),
        bits: given(bits, 1, Rate::MAX),
        control: given(bits, 2, 250_000),
    })
}

#[test]
fn limits_are_kept_and_logged_with_their_domain_and_tep_and_go_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let domains = (0..).zip(limits()).map(|(vni, limit)| limited_domain(vni, &[1, 2], limit));
    let events: Vec<Event> = [limited_tep(1, 7), tep_set(2, None)].into_iter().chain(domains).collect();
    let first = record(1, events);
    store.commit(&group(0, vec![first.clone()])).unwrap();
    drop(store);
    let store = open(folder.path());
    let (_, teps, domains) = everything(&store);
    assert_eq!(teps.iter().map(|tep| tep.limit.frames).collect::<Vec<_>>(), [rate(7), None]);
    assert_eq!(domains.iter().map(|domain| domain.limit).collect::<Vec<_>>(), limits().collect::<Vec<_>>());
    assert!(domains.iter().all(|domain| domain.members == [tep(1), tep(2)]));
    assert_eq!(store.changes(Revision::new(1)).unwrap(), Changes::Records(vec![first]));
    let gone = vec![Event::DomainDeleted(1.into()), Event::TepDeleted(tep(1))];
    store.commit(&group(1, vec![record(2, gone)])).unwrap();
    store.commit(&group(2, vec![record(3, vec![tep_set(1, None), domain_set(1, &[1])])])).unwrap();
    let (_, teps, domains) = everything(&store);
    assert_eq!((teps[0].limit, domains[1].limit), (TepLimit::default(), DomainLimit::default()));
}

#[test]
fn a_snapshot_stays_as_it_was_while_others_commit() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.commit(&group(0, vec![record(1, vec![domain_set(1, &[])])])).unwrap();
    let snapshot = store.snapshot().unwrap();
    store.commit(&group(1, vec![record(2, vec![Event::DomainDeleted(1.into())])])).unwrap();
    assert_eq!((snapshot.revision().get(), snapshot.domains().unwrap().count()), (1, 1));
    assert_eq!(everything(&store), (2, vec![], vec![]));
}

#[test]
fn a_group_for_another_revision_is_refused_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    store.commit(&group(0, vec![record(1, vec![domain_set(1, &[])])])).unwrap();
    let error = store.commit(&group(0, vec![record(1, vec![domain_set(2, &[])])])).unwrap_err();
    assert!(
        matches!(error, StoreError::Diverged { expected, found } if expected.get() == 0 && found.get() == 1)
    );
    assert_eq!(everything(&store).2.len(), 1);
}

#[test]
fn answers_are_kept_for_ten_minutes_and_then_the_id_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let id: RequestId = "r".parse().unwrap();
    let answer = Answer { revision: Revision::new(3), changed: 2, notes: vec!["one".into(), "two".into()] };
    let keep = |unix_ms, answer: &Answer| {
        let answers = vec![Answered { id: id.clone(), body: [7; 32], answer: answer.clone() }];
        store.commit(&Group { unix_ms, answers, ..Group::default() }).unwrap();
    };
    keep(1_000, &answer);
    let kept = u64::try_from(ANSWER_KEPT.as_millis()).unwrap();
    assert_eq!(store.answer(&id, 1_000 + kept - 1).unwrap(), Some((Some([7; 32]), answer)));
    assert_eq!(store.answer(&id, 1_000 + kept).unwrap(), None);
    let second = Answer { revision: Revision::new(9), ..Answer::default() };
    keep(1_000 + kept, &second);
    assert_eq!(store.answer(&id, 1_001 + kept).unwrap(), Some((Some([7; 32]), second)));
}

#[test]
fn the_log_resumes_from_what_it_keeps_and_says_when_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let events = |n: u32| vec![domain_set(n, &[1, 2]), tep_set(1, Some("hv1")), Event::TepDeleted(tep(9))];
    let records: Vec<Record> = (1..=5).map(|n| record(n, events(u32::try_from(n).unwrap()))).collect();
    store.commit(&group(0, records.clone())).unwrap();
    let from = |n| store.changes(Revision::new(n)).unwrap();
    assert_eq!(from(1), Changes::Records(records.clone()));
    assert_eq!(from(4), Changes::Records(records[3..].to_vec()));
    assert_eq!(from(6), Changes::Records(vec![]), "the next one, which is not there yet");
    assert_eq!(from(7), Changes::Gone, "a revision of another history");
    assert_eq!(from(0), Changes::Gone);
    // A revision too large for the log empties it: who is behind starts over.
    let crowd: Vec<u16> = (1..=16_000).collect();
    let per_domain = 4 * crowd.len() as u64;
    let domains = u32::try_from(LOG_RECORD_BYTES / per_domain + 1).unwrap();
    let huge = record(6, (0..domains).map(|vni| domain_set(vni, &crowd)).collect());
    store.commit(&group(5, vec![huge])).unwrap();
    assert_eq!(from(6), Changes::Gone);
    assert_eq!(from(7), Changes::Records(vec![]));
    let next = record(7, events(1));
    store.commit(&group(6, vec![next.clone()])).unwrap();
    assert_eq!(from(7), Changes::Records(vec![next]));
}

#[test]
fn the_log_is_bounded_in_revisions() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let records = (1..=LOG_REVISIONS + 10).map(|n| record(n, vec![Event::DomainDeleted(1.into())])).collect();
    store.commit(&group(0, records)).unwrap();
    assert_eq!(store.changes(Revision::new(10)).unwrap(), Changes::Gone);
    let Changes::Records(first) = store.changes(Revision::new(11)).unwrap() else { panic!("11 is kept") };
    assert_eq!(first[0].revision.get(), 11);
}

#[test]
fn a_second_owner_is_refused_and_told_which_file() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(folder.path());
    let path = folder.path().join("domains.redb");
    let error = EmbeddedStore::open(&path).unwrap_err();
    assert!(matches!(&error, StoreError::InUse(file) if *file == path));
    assert!(
        error.to_string().contains(path.to_str().unwrap()) && error.to_string().contains("another daemon")
    );
}

#[test]
fn files_that_are_no_store_of_this_version_are_refused_and_left_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("text"), "precious, and certainly not a database\n".repeat(200)).unwrap();
    let foreign = Database::create(file("foreign")).unwrap();
    let transaction = foreign.begin_write().unwrap();
    transaction.open_table(TableDefinition::<u64, u64>::new("theirs")).unwrap().insert(1, 1).unwrap();
    transaction.commit().unwrap();
    drop(foreign);
    drop(EmbeddedStore::open(&file("newer")).unwrap());
    let newer = Database::open(file("newer")).unwrap();
    let transaction = newer.begin_write().unwrap();
    transaction.open_table(TableDefinition::<&str, u64>::new("meta")).unwrap().insert("schema", 5).unwrap();
    transaction.commit().unwrap();
    drop(newer);
    for (name, words) in [
        ("text", "is not a bcast store; move it away"),
        ("foreign", "is not a bcast store; move it away"),
        ("newer", "has schema version 5, this daemon reads 1 to 4"),
        ("", "is a folder; set store.path to a file in it"),
    ] {
        let error = EmbeddedStore::open(&file(name)).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(name), "{name}: {error}");
    }
    let error = EmbeddedStore::open(&file("missing/deeper/domains.redb")).unwrap_err().to_string();
    assert!(error.contains("missing/deeper for the store: No such file or directory"), "{error}");
    assert!(std::fs::read_to_string(file("text")).unwrap().starts_with("precious"));
}

#[test]
fn a_damaged_file_is_refused_wherever_the_damage_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("domains.redb");
    let store = open(folder.path());
    let events = (0..2_000).map(|vni| domain_set(vni, &[1, 2, 3, 4, 5, 6, 7, 8])).collect();
    store.commit(&group(0, vec![record(1, events)])).unwrap();
    drop(store);
    let good = std::fs::read(&path).unwrap();
    // A row's bytes: members' addresses, wherever they lie.
    let row: Vec<u8> = (1..=8_u16).flat_map(|m| tep(m).address().octets()).collect();
    let places: Vec<usize> =
        good.windows(row.len()).enumerate().filter(|(_, w)| *w == row).map(|(at, _)| at).collect();
    assert!(places.len() >= 2_000);
    for at in places.into_iter().step_by(500) {
        let mut bad = good.clone();
        bad[at] ^= 0xff;
        std::fs::write(&path, &bad).unwrap();
        let error = EmbeddedStore::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "byte {at}: {error}");
    }
    std::fs::write(&path, &good[..good.len() / 2]).unwrap();
    let error = EmbeddedStore::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. } | StoreError::Foreign(_)), "cut short: {error}");
    std::fs::write(&path, &good).unwrap();
    assert_eq!(everything(&open(folder.path())).2.len(), 2_000);
}

#[test]
fn a_store_that_much_was_removed_from_is_small_again_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("domains.redb");
    let store = open(folder.path());
    let members: Vec<u16> = (1..=1_500).collect();
    let events = (0..10_000).map(|vni| domain_set(vni, &members)).collect();
    store.commit(&group(0, vec![record(1, events)])).unwrap();
    let gone = (0..10_000).filter(|vni| vni % 50 != 0).map(|vni| Event::DomainDeleted(vni.into())).collect();
    store.commit(&group(1, vec![record(2, gone)])).unwrap();
    let expected = everything(&store);
    let length = || std::fs::metadata(&path).unwrap().len();
    let before = length();
    drop(store);
    assert!(before > 60_000_000, "{before}");
    let store = open(folder.path());
    assert!(length() < before / 10, "{} of {before}", length());
    assert_eq!(everything(&store), expected);
    store.commit(&group(2, vec![record(3, vec![domain_set(1, &[1])])])).unwrap();
}
