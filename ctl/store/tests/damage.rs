//! A store that was damaged after kill -9, or replaced: it opens with all that was answered, or is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::cast_possible_truncation)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::*;
use ctl_api::model::{DomainEntry, Event, HavipEntry, HavipEvent, Revision};
use ctl_store::{
    Answer, Answered, DeadLetter, EmbeddedStore, Group, OutboxRow, OutboxRows, Store, StoreError,
};

/// redb's page of two commit slots: the byte that says which is the newer, and the slots.
const WHICH: usize = 9;
const SLOTS: [usize; 2] = [64, 192];
const SLOT_BYTES: usize = 128;
const PAGE: usize = 4096;

/// All that a store keeps.
#[derive(Debug, PartialEq)]
struct Contents {
    revision: u64,
    domains: Vec<DomainEntry>,
    havips: Vec<HavipEntry>,
    history: Vec<HavipEvent>,
    outbox: Vec<OutboxRow>,
    dead: Vec<DeadLetter>,
    answered: bool,
}

fn contents(store: &EmbeddedStore) -> Result<Contents, StoreError> {
    let snapshot = store.snapshot()?;
    Ok(Contents {
        revision: snapshot.revision().get(),
        domains: snapshot.domains()?.collect::<Result<_, _>>()?,
        havips: snapshot.havips()?.collect::<Result<_, _>>()?,
        history: snapshot.history()?.collect::<Result<_, _>>()?,
        outbox: store.outbox()?,
        dead: store.dead_letters(&"noc".parse().unwrap())?,
        answered: store.answer(&"last".parse().unwrap(), 5_001)?.is_some(),
    })
}

fn domain(vni: u32, members: u8) -> Event {
    Event::DomainSet(DomainEntry {
        vni: vni.into(),
        name: None,
        limit: Default::default(),
        arp_inspection: Default::default(),
        stated: Default::default(),
        pinned: Vec::new(),
        members: (1..=members).map(tep).collect(),
    })
}

/// A move with all that belongs to it.
fn moved(base: u64) -> Group {
    let events = vec![domain(base as u32, 9), set(&entry("web", base + 1)), happened("web", base + 1)];
    let outbox = OutboxRows { insert: vec![row("noc", base + 1, 0)], delete: vec![] };
    Group { outbox, ..group(base, vec![record(base + 1, events)]) }
}

/// Files as they are at a kill -9: all that was written, and nothing closed.
struct Killed {
    store: Vec<u8>,
    revision_file: Vec<u8>,
}

fn revision_file(store: &Path) -> PathBuf {
    store.with_extension("redb.revision")
}

fn kill(path: &Path) -> Killed {
    Killed { store: fs::read(path).unwrap(), revision_file: fs::read(revision_file(path)).unwrap() }
}

impl Killed {
    fn put(&self, path: &Path) {
        fs::write(path, &self.store).unwrap();
        fs::write(revision_file(path), &self.revision_file).unwrap();
    }
}

/// Numbers that only look like chance: the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }
}

/// Single damages of a file, each with its name.
fn damages(good: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut damage = |name: String, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bad = good.to_vec();
        change(&mut bad);
        all.push((name, bad));
    };
    for at in (0..320).step_by(2) {
        damage(format!("byte {at} of the header is another"), &|bad| bad[at] ^= 0xff);
        damage(format!("bit of byte {at} of the header flipped"), &|bad| bad[at] ^= 1 << (at / 2 % 8));
    }
    for bit in 0..8 {
        damage(format!("bit {bit} of which slot is newer flipped"), &|bad| bad[WHICH] ^= 1 << bit);
    }
    let mut numbers = Numbers(7);
    for _ in 0..300 {
        let (at, bit) = (numbers.below(good.len()), numbers.below(8));
        damage(format!("bit {bit} of byte {at} flipped"), &|bad| bad[at] ^= 1 << bit);
    }
    for page in 0..good.len() / PAGE {
        let bytes = page * PAGE..(page + 1) * PAGE;
        damage(format!("page {page} zeroed"), &|bad| bad[bytes.clone()].fill(0));
        damage(format!("cut to {page} pages"), &|bad| bad.truncate(page * PAGE));
        damage(format!("cut within page {page}"), &|bad| bad.truncate(page * PAGE + 1_000));
    }
    let [first, second] = SLOTS;
    let slot = |at: usize| good[at..at + SLOT_BYTES].to_vec();
    damage("slots swapped".to_owned(), &|bad| {
        bad[first..first + SLOT_BYTES].copy_from_slice(&slot(second));
        bad[second..second + SLOT_BYTES].copy_from_slice(&slot(first));
    });
    for (from, to) in [(first, second), (second, first)] {
        damage(format!("slot {from} in place of {to}"), &|bad| {
            bad[to..to + SLOT_BYTES].copy_from_slice(&slot(from));
        });
        damage(format!("slot {to} zeroed"), &|bad| bad[to..to + SLOT_BYTES].fill(0));
    }
    all
}

/// Opens the store after each damage. Returns how many times it was found older than answered.
fn check(good: &Killed, expected: &Contents) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("domains.redb");
    let (mut opened, mut behind) = (0, 0);
    for (name, bad) in damages(&good.store) {
        Killed { store: bad, revision_file: good.revision_file.clone() }.put(&path);
        match EmbeddedStore::open(&path).and_then(|store| contents(&store)) {
            Ok(found) => {
                assert_eq!(found, *expected, "{name}");
                opened += 1;
            }
            Err(StoreError::Behind { answered, found, .. }) => {
                assert!(answered.get() == expected.revision && found <= answered, "{name}: {found}");
                behind += 1;
            }
            Err(_) => {}
        }
    }
    assert!(opened > 0, "damage of what is free does not matter");
    behind
}

#[test]
fn after_any_single_damage_a_killed_store_has_all_that_was_answered_or_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("domains.redb");
    let store = open(folder.path());
    (0..40).for_each(|base| store.commit(&moved(base)).unwrap());
    let mut behind = check(&kill(&path), &contents(&store).unwrap());
    // Also where what was answered last is no revision: an answer that is kept, a dead letter.
    let answer = Answer { revision: Revision::new(40), ..Answer::default() };
    let answers = vec![Answered { id: "last".parse().unwrap(), body: [1; 32], answer }];
    store.commit(&Group { base: Revision::new(40), unix_ms: 5_000, answers, ..Group::default() }).unwrap();
    behind += check(&kill(&path), &contents(&store).unwrap());
    let letter = DeadLetter { row: row("noc", 3, 0), died_unix_ms: 9, reason: "410 Gone".to_owned() };
    store.settle(&[], &[letter]).unwrap();
    behind += check(&kill(&path), &contents(&store).unwrap());
    assert!(behind > 0, "some damages make redb take the older slot");
    let expected = contents(&store).unwrap();
    drop(store);
    check(&kill(&path), &expected);
}

#[test]
fn a_crash_between_the_stores_commit_and_the_revision_file_leaves_the_newer_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("domains.redb");
    let store = open(folder.path());
    store.commit(&moved(0)).unwrap();
    let before = fs::read(revision_file(&path)).unwrap();
    store.commit(&moved(1)).unwrap();
    let crashed = Killed { revision_file: before, ..kill(&path) };
    let expected = contents(&store).unwrap();
    drop(store);
    crashed.put(&path);
    let store = open(folder.path());
    assert_eq!(contents(&store).unwrap(), expected);
    store.commit(&moved(2)).unwrap();
    drop(store);
    // From then on the revision file says it: an older store is refused.
    fs::write(&path, &crashed.store).unwrap();
    assert!(matches!(EmbeddedStore::open(&path).unwrap_err(), StoreError::Behind { .. }));
}

#[test]
fn a_store_that_is_behind_is_refused_also_where_the_newest_half_of_the_revision_file_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("domains.redb");
    let store = open(folder.path());
    (0..3).for_each(|base| store.commit(&moved(base)).unwrap());
    let older = kill(&path);
    store.commit(&moved(3)).unwrap();
    let newest = kill(&path);
    drop(store);
    // The halves whose bytes the last commit changed, and not.
    let changed = usize::from(older.revision_file[..PAGE] == newest.revision_file[..PAGE]) * PAGE;
    let damaged = |half: usize, zeroed: bool| {
        let mut bytes = newest.revision_file.clone();
        match zeroed {
            true => bytes[half..half + 32].fill(0),
            false => bytes[half + 9] ^= 4,
        }
        bytes
    };
    let cut = newest.revision_file[..PAGE].to_vec();
    let mut lost = vec![damaged(changed, true), damaged(changed, false)];
    lost.extend((changed == PAGE).then_some(cut));
    for revision_file in lost {
        // As after a crash within the note: the store has its transaction, and goes on.
        Killed { store: newest.store.clone(), revision_file: revision_file.clone() }.put(&path);
        assert_eq!(open(folder.path()).revision().unwrap().get(), 4);
        assert!(fs::read(self::revision_file(&path)).unwrap() != revision_file, "it is whole again");
        Killed { store: older.store.clone(), revision_file }.put(&path);
        let error = EmbeddedStore::open(&path).unwrap_err();
        assert!(matches!(error, StoreError::RevisionFileHalf { .. }), "{error}");
        let accepted = EmbeddedStore::accept(&path).unwrap();
        assert_eq!((accepted.found.get(), accepted.changed), (3, true));
        assert!(accepted.next.get() > 1_000_000, "above each that may have been given");
        assert!(!EmbeddedStore::accept(&path).unwrap().changed, "it is done once");
    }
    // Where the other half is damaged, the newer mark stands: an older store is behind it.
    let other = damaged(PAGE - changed, true);
    Killed { store: older.store, revision_file: other }.put(&path);
    assert!(matches!(EmbeddedStore::open(&path).unwrap_err(), StoreError::Behind { .. }));
}

#[test]
fn a_pipe_in_place_of_the_store_or_its_revision_file_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("domains.redb");
    let pipe = |path: &Path| {
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    };
    pipe(&path);
    let text = EmbeddedStore::open(&path).unwrap_err().to_string();
    assert!(text.contains("it is no regular file; move it away"), "{text}");
    fs::remove_file(&path).unwrap();
    drop(open(folder.path()));
    fs::remove_file(revision_file(&path)).unwrap();
    pipe(&revision_file(&path));
    let text = EmbeddedStore::open(&path).unwrap_err().to_string();
    assert!(text.contains("redb.revision: it is no regular file; move it away"), "{text}");
}

#[test]
fn an_older_copy_is_refused_with_both_revisions_and_accepted_it_gives_no_number_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("domains.redb");
    let store = open(folder.path());
    (0..3).for_each(|base| store.commit(&moved(base)).unwrap());
    let old = kill(&path);
    (3..9).for_each(|base| store.commit(&moved(base)).unwrap());
    drop(store);
    fs::write(&path, &old.store).unwrap();
    let text = EmbeddedStore::open(&path).unwrap_err().to_string();
    for words in
        ["is at revision 3 and", "revision 9 was answered", "domains.redb.revision", "--accept-store"]
    {
        assert!(text.contains(words), "{text}");
    }
    assert!(EmbeddedStore::open(&path).is_err(), "it is not taken the second time either");
    let accepted = EmbeddedStore::accept(&path).unwrap();
    assert_eq!((accepted.found.get(), accepted.next.get(), accepted.changed), (3, 10, true));
    let again = EmbeddedStore::accept(&path).unwrap();
    assert_eq!((again.found.get(), again.next.get(), again.changed), (9, 10, false), "it is done once");
    let store = open(folder.path());
    assert_eq!((contents(&store).unwrap().revision, contents(&store).unwrap().domains.len()), (9, 3));
    assert_eq!(store.changes(Revision::new(4)).unwrap(), ctl_store::Changes::Gone, "its log starts anew");
    assert!(matches!(store.commit(&moved(3)).unwrap_err(), StoreError::Diverged { .. }));
    store.commit(&moved(9)).unwrap();
    assert_eq!(store.revision().unwrap().get(), 10);
}

#[test]
fn a_store_without_its_revision_file_is_refused_and_accepted_it_goes_on_far_above() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("domains.redb");
    let store = open(folder.path());
    store.commit(&moved(0)).unwrap();
    drop(store);
    let good = kill(&path);
    let mut revision = 1;
    for (bytes, words) in [
        (None, "domains.redb.revision is missing"),
        (Some(vec![]), "domains.redb.revision is damaged"),
        (Some(vec![0; 8192]), "domains.redb.revision is damaged"),
        (Some(good.revision_file[4..].to_vec()), "domains.redb.revision is damaged"),
    ] {
        match bytes {
            Some(bytes) => fs::write(revision_file(&path), bytes).unwrap(),
            None => fs::remove_file(revision_file(&path)).unwrap(),
        }
        let text = EmbeddedStore::open(&path).unwrap_err().to_string();
        assert!(text.contains(words) && text.contains("bcastd --accept-store"), "{text}");
        let accepted = EmbeddedStore::accept(&path).unwrap();
        assert_eq!((accepted.found.get(), accepted.changed), (revision, true));
        // Nobody knows how old it is: by its last commit it is from 1970, so ten years of a hundred each millisecond.
        assert_eq!(accepted.next.get(), revision + ctl_store::unknown_since(5_000, u64::MAX) + 1);
        revision = accepted.next.get() - 1;
        assert_eq!(contents(&open(folder.path())).unwrap().havips.len(), 1);
    }
}

#[test]
fn no_new_store_is_made_where_there_was_one_unless_it_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("domains.redb");
    let store = open(folder.path());
    (0..5).for_each(|base| store.commit(&moved(base)).unwrap());
    drop(store);
    fs::remove_file(&path).unwrap();
    for _ in 0..2 {
        let text = EmbeddedStore::open(&path).unwrap_err().to_string();
        assert!(text.contains("there is no store") && text.contains("revision 5 was answered"), "{text}");
        assert!(!path.exists());
    }
    fs::write(&path, []).unwrap();
    assert!(matches!(EmbeddedStore::open(&path).unwrap_err(), StoreError::Gone { .. }));
    let accepted = EmbeddedStore::accept(&path).unwrap();
    assert_eq!((accepted.found.get(), accepted.next.get()), (0, 6));
    let store = open(folder.path());
    assert!(contents(&store).unwrap().havips.is_empty());
    store.commit(&moved(5)).unwrap();
}

#[test]
fn a_store_from_before_there_were_revision_files_is_taken_and_gets_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("domains.redb");
    let store = open(folder.path());
    store.commit(&moved(0)).unwrap();
    drop(store);
    // What such a daemon knows nothing of.
    let database = redb::Database::open(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut meta = transaction.open_table(redb::TableDefinition::<&str, u64>::new("meta")).unwrap();
    for key in ["writes", "committed_ms", "identity", "revision_file"] {
        meta.remove(key).unwrap().expect(key);
    }
    drop(meta);
    transaction.commit().unwrap();
    drop(database);
    fs::remove_file(revision_file(&path)).unwrap();
    let store = open(folder.path());
    assert_eq!(contents(&store).unwrap().revision, 1);
    assert_ne!(store.snapshot().unwrap().identity(), 0);
    let old = kill(&path);
    store.commit(&moved(1)).unwrap();
    drop(store);
    fs::write(&path, &old.store).unwrap();
    assert!(matches!(EmbeddedStore::open(&path).unwrap_err(), StoreError::Behind { .. }));
    fs::remove_file(revision_file(&path)).unwrap();
    assert!(matches!(EmbeddedStore::open(&path).unwrap_err(), StoreError::RevisionFileMissing { .. }));
}

#[test]
fn the_revision_file_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let file = revision_file(&folder.path().join("domains.redb"));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing else is left there");
}
