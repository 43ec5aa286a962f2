//! A store on storage that fails: a full disk, and one that fails at any single write.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bcast_domain::{DomainLimit, Vni};
use ctl_api::model::{ArpInspection, DomainEntry, Event, Revision};
use ctl_store::{DeadLetter, EmbeddedStore, Group, OutboxRows, Record, Store, StoreError};
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

/// Writes, growths and syncs that still succeed; below zero they fail.
type Left = Arc<AtomicI64>;

#[derive(Debug)]
struct Faulty {
    file: FileBackend,
    left: Left,
}

fn spend(left: &Left) -> io::Result<()> {
    match left.fetch_sub(1, Ordering::Relaxed) {
        1.. => Ok(()),
        _ => Err(io::Error::from_raw_os_error(28)), // ENOSPC
    }
}

impl Faulty {
    fn spend(&self) -> io::Result<()> {
        spend(&self.left)
    }
}

impl StorageBackend for Faulty {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.spend()?;
        self.file.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.spend()?;
        self.file.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.spend()?;
        self.file.write(offset, data)
    }
    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }
    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

const PLENTY: i64 = i64::MAX / 2;

fn faulty(path: &Path) -> (EmbeddedStore, Left) {
    let left = Left::new(AtomicI64::new(PLENTY));
    let (file, counter) = (PathBuf::from(path), Arc::clone(&left));
    let of_the_revision_file = Arc::clone(&left);
    let store = EmbeddedStore::open_with(
        path,
        Box::new(move |builder| {
            let file = File::options().read(true).write(true).create(true).truncate(false).open(&file)?;
            builder.create_with_backend(Faulty { file: FileBackend::new(file)?, left: Arc::clone(&counter) })
        }),
        Box::new(move |file, bytes, offset| {
            spend(&of_the_revision_file)?;
            file.write_all_at(bytes, offset)?;
            spend(&of_the_revision_file)?;
            file.sync_data()
        }),
    );
    (store.unwrap(), left)
}

fn group(base: u64, domains: std::ops::Range<u32>) -> Group {
    let set = |vni| {
        Event::DomainSet(DomainEntry {
            vni: Vni::from(vni),
            name: None,
            limit: DomainLimit::default(),
            arp_inspection: ArpInspection::Off,
            stated: Default::default(),
            pinned: Vec::new(),
            members: vec![],
        })
    };
    let events = domains.map(set).collect();
    let record = Record { revision: Revision::new(base + 1), unix_ms: 1, events };
    Group { base: Revision::new(base), unix_ms: 1, records: vec![record], ..Group::default() }
}

fn domains(store: &EmbeddedStore) -> usize {
    store.snapshot().unwrap().domains().unwrap().map(Result::unwrap).count()
}

#[test]
fn a_full_disk_refuses_changes_and_when_there_is_room_again_they_work() {
    let folder = tempfile::tempdir().unwrap();
    let (store, left) = faulty(&folder.path().join("domains.redb"));
    store.commit(&group(0, 0..100)).unwrap();
    left.store(0, Ordering::Relaxed);
    for _ in 0..3 {
        let error = store.commit(&group(1, 100..50_000)).unwrap_err().to_string();
        assert!(error.contains("No space left on device") || error.contains("domains.redb"), "{error}");
    }
    left.store(PLENTY, Ordering::Relaxed);
    assert_eq!((store.revision().unwrap().get(), domains(&store)), (1, 100), "nothing changed");
    store.commit(&group(1, 100..200)).unwrap();
    assert_eq!((store.revision().unwrap().get(), domains(&store)), (2, 200));
}

#[test]
fn a_snapshot_that_a_failed_commit_cuts_short_says_so_and_the_next_one_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (store, left) = faulty(&folder.path().join("domains.redb"));
    store.commit(&group(0, 0..50_000)).unwrap();
    let snapshot = store.snapshot().unwrap();
    left.store(0, Ordering::Relaxed);
    store.commit(&group(1, 50_000..60_000)).unwrap_err();
    left.store(PLENTY, Ordering::Relaxed);
    assert_eq!(store.revision().unwrap().get(), 1, "it is open again");
    let cut = match snapshot.domains() {
        Ok(mut domains) => domains.find_map(Result::err),
        Err(error) => Some(error),
    };
    let text = cut.expect("pages that were not in memory cannot be read").to_string();
    assert!(text.ends_with("a failed commit cut this short; ask again"), "{text}");
    assert_eq!(domains(&store), 50_000);
}

#[test]
fn a_commit_that_fails_at_any_point_happened_wholly_or_not_at_all_and_the_error_says_which() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("domains.redb");
    let (store, left) = faulty(&path);
    store.commit(&group(0, 0..10)).unwrap();
    let mut base = 1;
    let mut refused = 0;
    for point in 0.. {
        let next = u32::try_from(base).unwrap() * 1_000;
        left.store(point, Ordering::Relaxed);
        let outcome = store.commit(&group(base, next..next + 300));
        left.store(PLENTY, Ordering::Relaxed);
        let before = 10 + 300 * (usize::try_from(base).unwrap() - 1);
        let found = store.revision().unwrap().get();
        assert_eq!(
            domains(&store),
            before + 300 * usize::try_from(found - base).unwrap(),
            "at point {point}"
        );
        match outcome {
            Ok(()) => {
                assert_eq!(found, base + 1);
                break;
            }
            Err(StoreError::Refused { .. }) => {
                assert_eq!(found, base, "refused at point {point}");
                refused += 1;
            }
            Err(StoreError::Unknown { .. }) => base = found,
            Err(other) => panic!("at point {point}: {other}"),
        }
        assert!(point < 10_000, "a commit ends");
    }
    assert!(refused > 0 || base > 1, "no point failed");
    drop(store);
    assert!(EmbeddedStore::open(&path).is_ok(), "and the file is sound");
}

/// A move of a HAVIP, with what happened and who is to be told.
fn moved(base: u64) -> Group {
    let revision = base + 1;
    let events = vec![common::set(&common::entry("web", revision)), common::happened("web", revision)];
    let outbox = OutboxRows { insert: vec![common::row("noc", revision, 0)], delete: vec![] };
    Group { outbox, ..common::group(base, vec![common::record(revision, events)]) }
}

/// All of a move is in the store, or nothing of it.
fn check_moves(store: &EmbeddedStore, revision: u64, point: i64) {
    let web = "web".parse().unwrap();
    let havips: Vec<_> = store.snapshot().unwrap().havips().unwrap().map(Result::unwrap).collect();
    let told: Vec<u64> = store.outbox().unwrap().iter().map(|row| row.key.id.revision.get()).collect();
    let history: Vec<u64> = store.history(&web).unwrap().iter().map(|h| h.generation).collect();
    let all: Vec<u64> = (1..=revision).collect();
    assert_eq!(havips.first().map_or(0, |entry| entry.binding.generation), revision, "at point {point}");
    assert_eq!((told, history), (all.clone(), all), "at point {point}");
}

#[test]
fn a_move_its_history_and_who_is_to_be_told_are_there_together_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let (store, left) = faulty(&folder.path().join("domains.redb"));
    let mut refused = 0;
    for point in 0.. {
        let base = store.revision().unwrap().get();
        left.store(point, Ordering::Relaxed);
        let outcome = store.commit(&moved(base));
        left.store(PLENTY, Ordering::Relaxed);
        let found = store.revision().unwrap().get();
        check_moves(&store, found, point);
        match outcome {
            Ok(()) => {
                assert_eq!(found, base + 1);
                break;
            }
            Err(StoreError::Refused { .. }) => assert_eq!(found, base, "at point {point}"),
            Err(StoreError::Unknown { .. }) => {}
            Err(other) => panic!("at point {point}: {other}"),
        }
        refused += 1;
        assert!(point < 10_000, "a commit ends");
    }
    assert!(refused > 0, "no point failed");
}

#[test]
fn an_event_that_is_settled_while_the_disk_fails_is_in_one_place() {
    let folder = tempfile::tempdir().unwrap();
    let (store, left) = faulty(&folder.path().join("domains.redb"));
    let noc = "noc".parse().unwrap();
    store.commit(&moved(0)).unwrap();
    let mut failed = 0;
    for point in 0.. {
        let row = store.outbox().unwrap().remove(0);
        let letter = DeadLetter { row: row.clone(), died_unix_ms: 1, reason: "404 Not Found".to_owned() };
        left.store(point, Ordering::Relaxed);
        let outcome = store.settle(&[], &[letter]);
        left.store(PLENTY, Ordering::Relaxed);
        let (waits, dead) = (store.outbox().unwrap().len(), store.dead_letters(&noc).unwrap().len());
        assert_eq!(waits + dead, 1, "at point {point}");
        match outcome {
            Ok(()) => {
                assert_eq!(dead, 1);
                break;
            }
            Err(StoreError::Unknown { .. }) => failed += 1,
            Err(other) => panic!("at point {point}: {other}"),
        }
        store.revive(&noc, row.since_unix_ms).unwrap();
        assert!(point < 10_000, "a settlement ends");
    }
    assert!(failed > 0, "no point failed");
}

#[test]
fn a_long_read_keeps_no_store_from_opening_again_after_a_failed_commit() {
    let folder = tempfile::tempdir().unwrap();
    let (store, left) = faulty(&folder.path().join("domains.redb"));
    let insert = (0..5_000).map(|index| common::row("noc", 1, index)).collect();
    let outbox = OutboxRows { insert, delete: vec![] };
    store.commit(&Group { outbox, ..group(0, 0..10) }).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut cut = 0_usize;
                    while !done.load(Ordering::Relaxed) {
                        match store.outbox() {
                            Ok(rows) => assert_eq!(rows.len(), 5_000),
                            // Cut short, or nothing can be opened while the disk is full; but never in use by another.
                            Err(
                                StoreError::CutShort(_)
                                | StoreError::Open { .. }
                                | StoreError::Read { .. }
                                | StoreError::RevisionFile { .. },
                            ) => cut += 1,
                            Err(other) => panic!("a read under way: {other}"),
                        }
                    }
                    cut
                })
            })
            .collect();
        for round in 0..40 {
            left.store(0, Ordering::Relaxed);
            let refused = store.commit(&group(1 + round, 100..200)).unwrap_err();
            left.store(PLENTY, Ordering::Relaxed);
            assert!(!refused.to_string().contains("another daemon"), "{refused}");
            let next = u32::try_from(round).unwrap() * 100 + 1_000;
            store.commit(&group(1 + round, next..next + 100)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        let cut: usize = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        assert!(cut > 0, "some reads were under way");
    });
    assert_eq!(store.revision().unwrap().get(), 41);
}

#[test]
fn a_revision_file_that_cannot_be_written_makes_no_answer_and_later_commits_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("domains.redb");
    let full = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_full = Arc::clone(&full);
    let file = path.clone();
    let store = EmbeddedStore::open_with(
        &path,
        Box::new(move |builder| {
            let file = File::options().read(true).write(true).create(true).truncate(false).open(&file)?;
            builder.create_with_backend(FileBackend::new(file)?)
        }),
        Box::new(move |file, bytes, offset| {
            if is_full.load(Ordering::Relaxed) {
                return Err(io::Error::from_raw_os_error(28)); // ENOSPC
            }
            file.write_all_at(bytes, offset)?;
            file.sync_data()
        }),
    )
    .unwrap();
    store.commit(&group(0, 0..10)).unwrap();
    full.store(true, Ordering::Relaxed);
    let error = store.commit(&group(1, 10..20)).unwrap_err();
    assert!(matches!(&error, StoreError::Unknown { .. }), "{error}");
    assert!(error.to_string().contains("domains.redb.revision: No space left on device"), "{error}");
    // What nobody was answered is told to nobody, and no other change gets its number.
    for _ in 0..3 {
        let reading = store.revision().unwrap_err().to_string();
        assert!(
            reading.contains("cannot read or write") && reading.contains("domains.redb.revision"),
            "{reading}"
        );
        assert!(
            store.snapshot().is_err() && store.commit(&group(1, 30..40)).is_err() && store.probe().is_err()
        );
    }
    full.store(false, Ordering::Relaxed);
    assert_eq!((store.revision().unwrap().get(), domains(&store)), (2, 20), "it was durable");
    assert!(matches!(store.commit(&group(1, 30..40)).unwrap_err(), StoreError::Diverged { .. }));
    store.commit(&group(2, 20..30)).unwrap();
    // A crash while it could not be written leaves the newer store.
    full.store(true, Ordering::Relaxed);
    store.commit(&group(3, 30..40)).unwrap_err();
    drop(store);
    let store = EmbeddedStore::open(&path).unwrap();
    assert_eq!((store.revision().unwrap().get(), domains(&store)), (4, 40));
}
