//! Opening a store: its file, its schema, and whether it is as new as its revision file says.

use std::collections::hash_map::RandomState;
use std::fs::{DirBuilder, File};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use ctl_api::model::Revision;
use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableError,
    WriteTransaction,
};

use super::{
    CACHE_BYTES, COMMITTED_MS, DOMAINS, EmbeddedStore, Failure, HAS_REVISION_FILE, HAVIPS, IDENTITY, META,
    Opener, REVISION, SCHEMA, SCHEMA_KEY, TEPS, WRITES, answers, mark,
};
use crate::migrate::migrate;
use crate::revision_file::{self, Mark, Noted, RevisionFile, WriteAt};
use crate::{ANSWERS, StoreError, history, log, outbox, unknown_since};

/// A file is made smaller only where so much of it is free.
const SHRINK_FROM_BYTES: u64 = 16 << 20;
/// A file with more bytes in use than this is not made smaller: moving them would take too long at a start.
const SHRINK_UPTO_BYTES: u64 = 128 << 20;

/// Result of accepting a store by the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// The revision that the store was found at.
    pub found: Revision,
    /// The first revision that it will give.
    pub next: Revision,
    /// True if there was anything to accept.
    pub changed: bool,
}

impl EmbeddedStore {
    /// Opens the store at `path`; makes it, for its owner alone, where there is no file, and also its folder.
    ///
    /// # Errors
    ///
    /// Each of [`StoreError`] that is about opening; those about the revision file tell how to accept the store as it
    /// is.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self::open_inner(path, opener(path), revision_file::write_durably(), false)?.0)
    }

    /// Accepts a store that is older than its revision file says, or whose revision file is missing or damaged: it
    /// goes on above each revision that may have been given. The log starts anew.
    ///
    /// # Errors
    ///
    /// As [`EmbeddedStore::open`], but for those that are accepted.
    pub fn accept(path: &Path) -> Result<Accepted, StoreError> {
        Ok(Self::open_inner(path, opener(path), revision_file::write_durably(), true)?.1)
    }

    /// Opens it through an opener and a writer of the revision file of the caller's: for stores on storage that fails
    /// when it is told to.
    #[doc(hidden)]
    pub fn open_with(path: &Path, opener: Opener, note: WriteAt) -> Result<Self, StoreError> {
        Ok(Self::open_inner(path, opener, note, false)?.0)
    }

    fn open_inner(
        path: &Path,
        opener: Opener,
        note: WriteAt,
        accept: bool,
    ) -> Result<(Self, Accepted), StoreError> {
        make_folder(path)?;
        let file = revision_file::path_of(path);
        let unusable = |reason| StoreError::RevisionFile { file: file.clone(), reason };
        let noted = revision_file::read(&file).map_err(unusable)?;
        if !accept && is_absent(path) {
            refuse_new(path, noted)?;
        }
        // Whatever was done to the file while nobody owned it is found now: past this, a page is trusted.
        let database = open_database(path, &opener, true)?;
        check_schema(path, &database, if accept { Noted::Missing } else { noted })?;
        let refused = |failure: Failure| failure.refused(path);
        let (found, has_file) = state(&database).map_err(refused)?;
        let (now, changed) = match check(path, found, has_file, noted) {
            Ok(()) => (found, false),
            Err(_) if accept => (raise(&database, found, noted).map_err(refused)?, true),
            Err(wrong) => return Err(wrong),
        };
        let is_old = matches!(schema(&database).map_err(refused)?, Found::Schema(..SCHEMA));
        if is_old {
            migrate(&database).map_err(refused)?;
        }
        let now = if is_old { state(&database).map_err(refused)?.0 } else { now };
        if changed || noted == Noted::Missing {
            revision_file::create(&file, now).map_err(unusable)?;
        }
        introduce(&database).map_err(refused)?;
        let mut revision_file = RevisionFile::open(&file, note).map_err(unusable)?;
        revision_file.note(now).map_err(unusable)?;
        let database = shrink(path, &opener, database)?;
        let (found, next) = (Revision::new(found.revision), Revision::new(now.revision).next());
        let accepted = Accepted { found, next, changed };
        let store = Self {
            path: path.to_owned(),
            opener,
            database: RwLock::new(Some(database)),
            writing: Mutex::new(()),
            revision_file: Mutex::new(revision_file),
            answers: ANSWERS,
        };
        Ok((store, accepted))
    }
}

fn opener(path: &Path) -> Opener {
    let path = path.to_owned();
    Box::new(move |builder: &Builder| {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = revision_file::open_regular(&path, &mut options).map_err(redb::StorageError::Io)?;
        builder.create_with_backend(FileBackend::new(file)?)
    })
}

fn is_absent(path: &Path) -> bool {
    std::fs::metadata(path)
        .map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |file| file.len() == 0)
}

/// No new store where there was one.
fn refuse_new(path: &Path, noted: Noted) -> Result<(), StoreError> {
    let file = revision_file::path_of(path);
    match noted {
        Noted::Mark(mark) | Noted::Half(mark) if mark > Mark::default() => {
            Err(StoreError::Gone { path: path.to_owned(), file, answered: Revision::new(mark.revision) })
        }
        Noted::Unreadable => Err(StoreError::RevisionFileDamaged { path: path.to_owned(), file }),
        Noted::Mark(_) | Noted::Half(_) | Noted::Missing => Ok(()),
    }
}

/// True if a store may be one whose revision file says this.
fn check(path: &Path, found: Mark, has_file: bool, noted: Noted) -> Result<(), StoreError> {
    let file = revision_file::path_of(path);
    match noted {
        Noted::Mark(noted) | Noted::Half(noted) if found < noted => Err(behind(path, found, noted)),
        // A mark is written once the store has its transaction: at the mark that is left, what was damaged may have
        // said more.
        Noted::Half(noted) if found == noted => Err(StoreError::RevisionFileHalf {
            path: path.to_owned(),
            file,
            found: Revision::new(found.revision),
        }),
        Noted::Missing if has_file => Err(StoreError::RevisionFileMissing { path: path.to_owned(), file }),
        Noted::Unreadable => Err(StoreError::RevisionFileDamaged { path: path.to_owned(), file }),
        Noted::Mark(_) | Noted::Half(_) | Noted::Missing => Ok(()),
    }
}

/// The store is older than its revision file says.
pub(super) fn behind(path: &Path, found: Mark, noted: Mark) -> StoreError {
    StoreError::Behind {
        path: path.to_owned(),
        file: revision_file::path_of(path),
        found: Revision::new(found.revision),
        answered: Revision::new(noted.revision),
    }
}

pub(super) fn open_database(path: &Path, opener: &Opener, check_all: bool) -> Result<Database, StoreError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(check_all);
    let path = || path.to_owned();
    opener(&builder).map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => StoreError::InUse(path()),
        DatabaseError::Storage(StorageError::Io(reason)) if reason.kind() == io::ErrorKind::InvalidData => {
            StoreError::Foreign(path())
        }
        DatabaseError::Storage(StorageError::Io(reason)) => StoreError::Open { path: path(), reason },
        DatabaseError::UpgradeRequired(version) => {
            StoreError::Damaged { path: path(), detail: format!("its file format has version {version}") }
        }
        other => StoreError::Damaged { path: path(), detail: other.to_string() },
    })
}

/// Checks the schema version, and writes it into a file without any table, if nothing is noted of that.
fn check_schema(path: &Path, database: &Database, noted: Noted) -> Result<(), StoreError> {
    let damaged =
        |failure: Failure| StoreError::Damaged { path: path.to_owned(), detail: failure.to_string() };
    match schema(database).map_err(damaged)? {
        Found::Schema(1..=SCHEMA) => Ok(()),
        Found::Schema(found) => Err(StoreError::Schema { path: path.to_owned(), found }),
        Found::Foreign => Err(StoreError::Foreign(path.to_owned())),
        Found::Empty => {
            refuse_new(path, noted)?;
            make(database).map_err(|failure| failure.refused(path))
        }
    }
}

/// Content of a file.
enum Found {
    Empty,
    Schema(u64),
    Foreign,
}

fn schema(database: &Database) -> Result<Found, Failure> {
    let transaction = database.begin_read()?;
    if transaction.list_tables()?.next().is_none() {
        return Ok(Found::Empty);
    }
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::Storage(error)) => return Err(error.into()),
        Err(_) => return Ok(Found::Foreign),
    };
    Ok(meta.get(SCHEMA_KEY)?.map_or(Found::Foreign, |version| Found::Schema(version.value())))
}

fn make(database: &Database) -> Result<(), Failure> {
    let transaction = database.begin_write()?;
    transaction.open_table(META)?.insert(SCHEMA_KEY, SCHEMA)?;
    make_tables(&transaction)?;
    Ok(transaction.commit()?)
}

/// Makes the tables that are missing, so that whoever reads finds them.
pub(crate) fn make_tables(transaction: &WriteTransaction) -> Result<(), Failure> {
    transaction.open_table(TEPS)?;
    transaction.open_table(DOMAINS)?;
    transaction.open_table(HAVIPS)?;
    transaction.open_table(answers::ROWS)?;
    transaction.open_table(answers::AGES)?;
    transaction.open_table(answers::BODIES)?;
    transaction.open_table(log::LOG)?;
    outbox::make_tables(transaction)?;
    history::make_tables(transaction)
}

/// The store's mark, and whether it has a revision file.
fn state(database: &Database) -> Result<(Mark, bool), Failure> {
    let transaction = database.begin_read()?;
    let meta = transaction.open_table(META)?;
    let has_file = meta.get(HAS_REVISION_FILE)?.is_some();
    Ok((mark(&transaction)?, has_file))
}

/// Gives the store its number, and says in it that it has a revision file. By then it has one: a crash in between
/// leaves a store that is taken like one from before there were such files.
fn introduce(database: &Database) -> Result<(), Failure> {
    {
        let meta = database.begin_read()?.open_table(META)?;
        if meta.get(HAS_REVISION_FILE)?.is_some() && meta.get(IDENTITY)?.is_some() {
            return Ok(());
        }
    }
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(HAS_REVISION_FILE, 1)?;
        // Seeded by the kernel; 0 stands for no number.
        meta.insert(IDENTITY, RandomState::new().build_hasher().finish().max(1))?;
    }
    Ok(transaction.commit()?)
}

/// Raises the revision above all that may have been given.
fn raise(database: &Database, found: Mark, noted: Noted) -> Result<Mark, Failure> {
    let transaction = database.begin_write()?;
    let now = {
        let mut meta = transaction.open_table(META)?;
        let revision = match noted {
            // Nothing is told to anybody before it is noted.
            Noted::Mark(noted) => noted.revision.max(found.revision),
            Noted::Missing | Noted::Unreadable | Noted::Half(_) => {
                let committed_ms = meta.get(COMMITTED_MS)?.map_or(0, |at| at.value());
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let now_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
                let known = if let Noted::Half(noted) = noted { noted.revision } else { 0 };
                known.max(found.revision).saturating_add(unknown_since(committed_ms, now_ms))
            }
        };
        let writes = if let Noted::Mark(noted) | Noted::Half(noted) = noted { noted.write } else { 0 };
        let now = Mark { revision, write: writes.max(found.write).saturating_add(1) };
        meta.insert(REVISION, now.revision)?;
        meta.insert(WRITES, now.write)?;
        now
    };
    log::clear(&transaction, Revision::new(now.revision).next())?;
    transaction.commit()?;
    Ok(now)
}

/// Makes the file smaller where at least half of it is free. redb gives back what is free at the file's end by itself;
/// this moves what lies behind free space. It is done at the start alone, since nobody may read meanwhile, and its
/// time is bounded by the bytes that may be in use.
fn shrink(path: &Path, opener: &Opener, mut database: Database) -> Result<Database, StoreError> {
    let length = std::fs::metadata(path).map_or(0, |file| file.len());
    if length < 2 * SHRINK_FROM_BYTES
        || used_bytes(&database).is_none_or(|used| used > SHRINK_UPTO_BYTES.min(length / 2))
    {
        return Ok(database);
    }
    match database.compact() {
        Ok(_) => Ok(database),
        // The store is as it was, and larger than it has to be. redb takes no more from a file that failed it.
        Err(_) => {
            drop(database);
            open_database(path, opener, false)
        }
    }
}

fn used_bytes(database: &Database) -> Option<u64> {
    let transaction = database.begin_write().ok()?;
    let stats = transaction.stats().ok()?;
    transaction.abort().ok()?;
    Some(stats.allocated_pages() * stats.page_size() as u64)
}

/// Makes the folder of a store's file, where only that is missing.
fn make_folder(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Err(StoreError::IsFolder(path.to_owned()));
    }
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.exists() => DirBuilder::new()
            .mode(0o700)
            .create(folder)
            .map_err(|reason| StoreError::Folder { folder: folder.to_owned(), reason }),
        _ => Ok(()),
    }
}
