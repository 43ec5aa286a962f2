//! The embedded store: one redb file, owned by this process alone.

use std::fmt;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ctl_api::model::{Happening, Name, RequestId, Revision};
use redb::backends::FileBackend;
use redb::{
    Builder, Database, DatabaseError, ReadOnlyTable, ReadTransaction, ReadableDatabase, StorageError,
    TableDefinition, TableError, WriteTransaction,
};

use crate::codec::Malformed;
use crate::{
    ANSWERS, Answer, Changes, DeadLetter, Group, OutboxKey, OutboxRow, Snapshot, Store, StoreError, history,
    log, outbox,
};

mod snapshot;
mod write;

use snapshot::EmbeddedSnapshot;
use write::{oldest_kept, write_group};

/// The newest version of the file's layout.
pub const SCHEMA: u64 = 3;
/// What a file has until anything is stored that is about HAVIPs: a daemon that knows none still reads it.
const SCHEMA_WITHOUT_HAVIPS: u64 = 2;
/// What a new file has, until a limit is stored.
const SCHEMA_WITHOUT_LIMITS: u64 = 1;
/// Bytes of file pages kept in memory (redb's own default is 1 GiB). The table holds what forwarding needs; this
/// serves commits and snapshots only.
const CACHE_BYTES: usize = 16 << 20;

pub(crate) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// Key in [`META`]: the last revision that committed.
pub(crate) const REVISION: &str = "revision";
/// Key in [`META`]: the schema version.
const SCHEMA_KEY: &str = "schema";
/// Address -> name.
const TEPS: TableDefinition<u32, &str> = TableDefinition::new("teps");
/// Address -> frames a second, of the TEPs that have a limit of their own.
const TEP_LIMITS: TableDefinition<u32, u64> = TableDefinition::new("tep_limits");
/// Address -> next hop for IPv4, for IPv6; 0: none. Of the TEPs that have one.
const TEP_HOPS: TableDefinition<u32, (u32, u128)> = TableDefinition::new("tep_hops");
/// Name -> HAVIP and binding.
const HAVIPS: TableDefinition<&str, &[u8]> = TableDefinition::new("havips");
/// VNI -> name, rates, GARP mode and members.
const DOMAINS: TableDefinition<u32, &[u8]> = TableDefinition::new("domains");
/// Request id -> Unix milliseconds, revision, changed, notes (a line each).
const ANSWER_ROWS: TableDefinition<&str, (u64, u64, u64, &str)> = TableDefinition::new("answers");
/// The request ids by age.
const ANSWER_AGES: TableDefinition<(u64, &str), ()> = TableDefinition::new("answer_ages");

/// Opens the database anew, with the settings given.
type Opener = Box<dyn Fn(&Builder) -> Result<Database, DatabaseError> + Send + Sync>;

/// The embedded store.
pub struct EmbeddedStore {
    path: PathBuf,
    opener: Opener,
    /// None after a failed commit, until it could be opened again.
    database: Mutex<Option<Arc<Database>>>,
    /// Held while a transaction writes, until its outcome is known: whoever else writes finds the file open again.
    writing: Mutex<()>,
}

/// What can happen inside a transaction.
#[derive(Debug)]
pub(crate) enum Failure {
    Redb(redb::Error),
    Malformed(Malformed),
    /// The store is at this revision, not at the group's base.
    At(Revision),
    /// No more answers can be kept.
    AnswersFull,
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redb(error) => error.fmt(f),
            Self::Malformed(Malformed(what)) => write!(f, "{what} was expected in a row"),
            Self::At(revision) => write!(f, "it is at revision {revision}"),
            Self::AnswersFull => {
                write!(f, "{ANSWERS} request ids were used within 10 minutes; go on without ids, or later")
            }
        }
    }
}

impl EmbeddedStore {
    /// Opens the store at `path`; makes it, for its owner alone, where there is no file, and also its folder.
    ///
    /// # Errors
    ///
    /// Each of [`StoreError`]'s `Open`, `Folder`, `IsFolder`, `InUse`, `Foreign`, `Schema` and `Damaged`.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        make_folder(path)?;
        let file = path.to_owned();
        let open = move |builder: &Builder| {
            let mut options = File::options();
            let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&file)?;
            builder.create_with_backend(FileBackend::new(file)?)
        };
        Self::open_with(path, Box::new(open))
    }

    /// The same through an opener of the caller's: for stores on storage that fails when it is told to.
    #[doc(hidden)]
    pub fn open_with(path: &Path, opener: Opener) -> Result<Self, StoreError> {
        let store =
            Self { path: path.to_owned(), opener, database: Mutex::new(None), writing: Mutex::new(()) };
        // Whatever was done to the file while nobody owned it is found now: past this, a page is trusted.
        let database = store.open_database(true)?;
        store.check_schema(&database)?;
        *store.lock() = Some(Arc::new(database));
        Ok(store)
    }

    fn open_database(&self, check_all: bool) -> Result<Database, StoreError> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(check_all);
        let path = || self.path.clone();
        (self.opener)(&builder).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
                StoreError::InUse(path())
            }
            DatabaseError::Storage(StorageError::Io(reason))
                if reason.kind() == io::ErrorKind::InvalidData =>
            {
                StoreError::Foreign(path())
            }
            DatabaseError::Storage(StorageError::Io(reason)) => StoreError::Open { path: path(), reason },
            DatabaseError::UpgradeRequired(version) => {
                StoreError::Damaged { path: path(), what: format!("its file format has version {version}") }
            }
            other => StoreError::Damaged { path: path(), what: other.to_string() },
        })
    }

    /// Checks the schema version, and writes it into a file without any table.
    fn check_schema(&self, database: &Database) -> Result<(), StoreError> {
        let found = schema(database).map_err(|failure| self.damaged(&failure))?;
        match found {
            Found::Schema(SCHEMA_WITHOUT_LIMITS..=SCHEMA) => Ok(()),
            Found::Schema(found) => Err(StoreError::Schema { path: self.path.clone(), found }),
            Found::Foreign => Err(StoreError::Foreign(self.path.clone())),
            Found::Empty => make_tables(database).map_err(|failure| StoreError::Refused {
                path: self.path.clone(),
                reason: failure.to_string(),
            }),
        }
    }

    fn damaged(&self, failure: &Failure) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), what: failure.to_string() }
    }

    fn unreadable(&self, failure: Failure) -> StoreError {
        match failure {
            Failure::Redb(error) if is_closed(&error) => StoreError::CutShort(self.path.clone()),
            Failure::Malformed(_) | Failure::Redb(redb::Error::Corrupted(_)) => self.damaged(&failure),
            other => StoreError::Read { path: self.path.clone(), reason: other.to_string() },
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Database>>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The database; opened again where a failed commit closed it.
    fn database(&self) -> Result<Arc<Database>, StoreError> {
        let mut slot = self.lock();
        if let Some(database) = &*slot {
            return Ok(Arc::clone(database));
        }
        let database = Arc::new(self.open_database(false)?);
        *slot = Some(Arc::clone(&database));
        Ok(database)
    }

    /// Runs `read` on one consistent state.
    fn reading<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, Failure>) -> Result<T, StoreError> {
        let database = self.database()?;
        let transaction = database.begin_read().map_err(|e| self.unreadable(e.into()))?;
        read(&transaction).map_err(|failure| self.unreadable(failure))
    }

    /// After a failed commit: redb takes no more from a file that failed it once, so the file is opened again, and
    /// tells whether the commit is in it.
    fn reopen(&self, base: Revision, failure: &Failure) -> StoreError {
        *self.lock() = None;
        let (path, reason) = (self.path.clone(), failure.to_string());
        match self.revision() {
            Ok(revision) if revision == base => StoreError::Refused { path, reason },
            Ok(_) | Err(_) => StoreError::Unknown { path, reason },
        }
    }

    /// Runs `write` on a transaction that is no group's.
    fn writing<T>(
        &self,
        write: impl FnOnce(WriteTransaction) -> Result<T, Failure>,
    ) -> Result<T, StoreError> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let database = self.database()?;
        let done = database.begin_write().map_err(Failure::from).and_then(write);
        drop(database);
        done.map_err(|failure| {
            *self.lock() = None;
            StoreError::Unknown { path: self.path.clone(), reason: failure.to_string() }
        })
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store for EmbeddedStore {
    fn revision(&self) -> Result<Revision, StoreError> {
        self.reading(|transaction| {
            let meta = transaction.open_table(META)?;
            Ok(Revision::new(meta.get(REVISION)?.map_or(0, |r| r.value())))
        })
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        let path = self.path.clone();
        let snapshot = self.reading(|transaction| {
            let meta = transaction.open_table(META)?;
            Ok(EmbeddedSnapshot {
                path,
                revision: Revision::new(meta.get(REVISION)?.map_or(0, |r| r.value())),
                teps: transaction.open_table(TEPS)?,
                tep_limits: existing(transaction.open_table(TEP_LIMITS))?,
                tep_hops: existing(transaction.open_table(TEP_HOPS))?,
                domains: transaction.open_table(DOMAINS)?,
                havips: existing(transaction.open_table(HAVIPS))?,
            })
        })?;
        Ok(Box::new(snapshot))
    }

    fn commit(&self, group: &Group) -> Result<(), StoreError> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let database = self.database()?;
        let done = write_group(&database, group);
        // Whoever still reads holds its own handle; the file must be closed before it is opened again.
        drop(database);
        done.map_err(|failure| match failure {
            Failure::At(found) => StoreError::Diverged { expected: group.base, found },
            Failure::AnswersFull => {
                StoreError::Refused { path: self.path.clone(), reason: failure.to_string() }
            }
            failure => self.reopen(group.base, &failure),
        })
    }

    fn answer(&self, id: &RequestId, unix_ms: u64) -> Result<Option<Answer>, StoreError> {
        self.reading(|transaction| {
            let answers = transaction.open_table(ANSWER_ROWS)?;
            let Some(row) = answers.get(id.as_str())? else { return Ok(None) };
            let (at, revision, changed, notes) = row.value();
            let fresh = at > oldest_kept(unix_ms);
            let notes = notes.lines().map(str::to_owned).collect();
            Ok(fresh.then(|| Answer { revision: Revision::new(revision), changed, notes }))
        })
    }

    fn changes(&self, from: Revision) -> Result<Changes, StoreError> {
        self.reading(|transaction| log::read(transaction, from))
    }

    fn history(&self, havip: &Name) -> Result<Vec<Happening>, StoreError> {
        self.reading(|transaction| history::read(transaction, havip))
    }

    fn outbox(&self) -> Result<Vec<OutboxRow>, StoreError> {
        self.reading(outbox::read)
    }

    fn settle(&self, gone: &[OutboxKey], dead: &[DeadLetter]) -> Result<(), StoreError> {
        self.writing(|transaction| outbox::settle(transaction, gone, dead))
    }

    fn dead_letters(&self, receiver: &Name) -> Result<Vec<DeadLetter>, StoreError> {
        self.reading(|transaction| outbox::dead(transaction, receiver))
    }

    fn revive(&self, receiver: &Name, unix_ms: u64) -> Result<Vec<OutboxRow>, StoreError> {
        self.writing(|transaction| outbox::revive(transaction, receiver, unix_ms))
    }
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

/// What a reader finds once a failed commit had the file closed, or is about to.
fn is_closed(error: &redb::Error) -> bool {
    matches!(error, redb::Error::DatabaseClosed | redb::Error::PreviousIo)
}

/// What a file holds.
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

fn make_tables(database: &Database) -> Result<(), Failure> {
    let transaction = database.begin_write()?;
    transaction.open_table(META)?.insert(SCHEMA_KEY, SCHEMA_WITHOUT_LIMITS)?;
    transaction.open_table(TEPS)?;
    transaction.open_table(DOMAINS)?;
    transaction.open_table(ANSWER_ROWS)?;
    transaction.open_table(ANSWER_AGES)?;
    transaction.open_table(log::LOG)?;
    Ok(transaction.commit()?)
}

/// A table that a file lacks where it was last written before there was any of that.
pub(crate) fn existing<K: redb::Key + 'static, V: redb::Value + 'static>(
    table: Result<ReadOnlyTable<K, V>, TableError>,
) -> Result<Option<ReadOnlyTable<K, V>>, Failure> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
