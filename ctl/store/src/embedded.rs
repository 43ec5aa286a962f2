//! The embedded store: one redb file, owned by this process alone.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use ctl_api::model::{HavipEvent, Name, RequestId, Revision};
use redb::{
    Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase, TableDefinition, WriteTransaction,
};

use crate::codec::Malformed;
use crate::revision_file::{self, Mark, RevisionFile};
use crate::{
    Answer, Body, Changes, DeadLetter, Group, OutboxKey, OutboxRow, Snapshot, Store, StoreError, history,
    log, outbox,
};

mod answers;
mod open;
mod snapshot;
mod write;

pub(crate) use open::make_tables;
use open::open_database;
use snapshot::EmbeddedSnapshot;
pub(crate) use write::count;
use write::write_group;

pub use open::Accepted;

/// Version of the file's layout. A file of an older one is migrated when it is opened.
pub const SCHEMA: u64 = 4;
/// Bytes of file pages kept in memory (redb's own default is 1 GiB). The table holds what forwarding needs; this
/// serves commits and snapshots only.
const CACHE_BYTES: usize = 16 << 20;

pub(crate) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// Key in [`META`]: the last revision that committed.
pub(crate) const REVISION: &str = "revision";
/// Key in [`META`]: the last revision that changed the configuration.
const CONFIGURED: &str = "configured";
/// Key in [`META`]: the revision at which that was so. Another one: a release that does not know of it went on since.
const CONFIGURED_AT: &str = "configured_at";
/// Key in [`META`]: how many durable transactions there were.
const WRITES: &str = "writes";
/// Key in [`META`]: when the last group committed, Unix time in milliseconds.
const COMMITTED_MS: &str = "committed_ms";
/// Key in [`META`]: a random number of this store's own.
const IDENTITY: &str = "identity";
/// Key in [`META`]: the store has a revision file.
const HAS_REVISION_FILE: &str = "revision_file";
/// Key in [`META`]: the schema version.
pub(crate) const SCHEMA_KEY: &str = "schema";
/// Address in network order -> `Tep`.
pub(crate) const TEPS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("tep_rows");
/// VNI -> `Domain`.
pub(crate) const DOMAINS: TableDefinition<u32, &[u8]> = TableDefinition::new("domain_rows");
/// Name -> `HavipEntry`.
pub(crate) const HAVIPS: TableDefinition<&str, &[u8]> = TableDefinition::new("havip_rows");
/// Opens the database anew, with the settings given.
type Opener = Box<dyn Fn(&Builder) -> Result<Database, DatabaseError> + Send + Sync>;

/// The embedded store.
pub struct EmbeddedStore {
    path: PathBuf,
    opener: Opener,
    /// None after a failed commit, until it could be opened again. Held for reading only while a transaction begins or
    /// writes, so that a long read keeps nobody from opening the file again.
    database: RwLock<Option<Database>>,
    /// Held while a transaction writes, until its outcome is known: whoever else writes finds the file open again.
    writing: Mutex<()>,
    revision_file: Mutex<RevisionFile>,
    /// Most answers kept.
    answers: u64,
}

/// Failure inside a transaction.
#[derive(Debug)]
pub(crate) enum Failure {
    Redb(redb::Error),
    Malformed(Malformed),
    /// The store is at this revision, not at the group's base.
    At(Revision),
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
            Self::Malformed(Malformed(kind)) => write!(f, "{kind} was expected in a row"),
            Self::At(revision) => write!(f, "it is at revision {revision}"),
        }
    }
}

impl Failure {
    /// Error of a reader.
    fn unreadable(&self, path: &Path) -> StoreError {
        let path = path.to_owned();
        match self {
            // What a reader finds once a failed commit had the file closed, or is about to.
            Self::Redb(redb::Error::DatabaseClosed | redb::Error::PreviousIo) => StoreError::CutShort(path),
            other if other.is_damage() => StoreError::Damaged { path, detail: self.to_string() },
            other => StoreError::Read { path, reason: other.to_string() },
        }
    }

    /// Error of a writer that changed nothing.
    fn refused(&self, path: &Path) -> StoreError {
        let path = path.to_owned();
        match self.is_damage() {
            true => StoreError::Damaged { path, detail: self.to_string() },
            false => StoreError::Refused { path, reason: self.to_string() },
        }
    }

    fn is_damage(&self) -> bool {
        matches!(self, Self::Malformed(_) | Self::Redb(redb::Error::Corrupted(_)))
    }
}

impl EmbeddedStore {
    /// The same store, which keeps so many answers at most.
    #[doc(hidden)]
    #[must_use]
    pub fn keeping_answers(self, most: u64) -> Self {
        Self { answers: most, ..self }
    }

    /// Does something with the database; opened again where a failed commit closed it.
    fn with_database<T>(&self, mut act: impl FnMut(&Database) -> T) -> Result<T, StoreError> {
        loop {
            if let Some(database) = &*self.database.read().unwrap_or_else(PoisonError::into_inner) {
                return Ok(act(database));
            }
            let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
            if slot.is_none() {
                let database = open_database(&self.path, &self.opener, false)?;
                // What a failed commit left is told to nobody before the revision file says it too.
                let begun = database.begin_read().map_err(Failure::from);
                let mark =
                    begun.and_then(|begun| mark(&begun)).map_err(|failure| failure.unreadable(&self.path))?;
                self.check_and_note(mark)?;
                *slot = Some(database);
            }
        }
    }

    fn close(&self) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn revision_file(&self) -> MutexGuard<'_, RevisionFile> {
        self.revision_file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a state of the store in the revision file, which must not say a later one.
    fn check_and_note(&self, mark: Mark) -> Result<(), StoreError> {
        let mut file = self.revision_file();
        if mark < file.noted() {
            return Err(open::behind(&self.path, mark, file.noted()));
        }
        file.note(mark).map_err(|reason| self.unnoted(reason))
    }

    /// Runs `read` on one consistent state.
    fn reading<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, Failure>) -> Result<T, StoreError> {
        let begun = self.with_database(Database::begin_read)?;
        let unreadable = |failure: Failure| failure.unreadable(&self.path);
        let transaction = begun.map_err(|error| unreadable(error.into()))?;
        let mark = mark(&transaction).map_err(unreadable)?;
        // What is just being committed is told to nobody before it is noted. A read may also be older than what is.
        self.revision_file().note(mark).map_err(|reason| self.unnoted(reason))?;
        read(&transaction).map_err(unreadable)
    }

    fn unnoted(&self, reason: std::io::Error) -> StoreError {
        StoreError::RevisionFile { file: revision_file::path_of(&self.path), reason }
    }

    /// After a failed commit: redb takes no more from a file that failed it once, so the file is opened again, and
    /// tells whether the commit is in it.
    fn reopen(&self, base: Revision, failure: &Failure) -> StoreError {
        self.close();
        let (path, reason) = (self.path.clone(), failure.to_string());
        match self.revision() {
            Ok(revision) if revision == base => StoreError::Refused { path, reason },
            Ok(_) | Err(_) => StoreError::Unknown { path, reason },
        }
    }

    /// Runs `write` on a transaction that is no group's. It returns the store's mark where the transaction was durable.
    fn writing<T>(
        &self,
        write: impl FnOnce(WriteTransaction) -> Result<(T, Option<Mark>), Failure>,
    ) -> Result<T, StoreError> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut write = Some(write);
        let done = self.with_database(|database| {
            let begun = database.begin_write().map_err(Failure::from)?;
            write.take().map(|write| write(begun)).transpose()
        })?;
        let unknown = |reason: String| {
            self.close();
            StoreError::Unknown { path: self.path.clone(), reason }
        };
        let done = done.map_err(|failure| unknown(failure.to_string()))?;
        let (value, mark) = done.ok_or_else(|| unknown("the transaction did not begin".to_owned()))?;
        match mark.map(|mark| self.check_and_note(mark)) {
            Some(Err(error)) => Err(unknown(error.to_string())),
            Some(Ok(())) | None => Ok(value),
        }
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
        let snapshot = self.reading(|transaction| EmbeddedSnapshot::begin(transaction, path))?;
        Ok(Box::new(snapshot))
    }

    fn commit(&self, group: &Group) -> Result<(), StoreError> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        match self.with_database(|database| write_group(database, group))? {
            Ok(mark) => self.check_and_note(mark).map_err(|error| {
                // It is durable, but was not answered: whoever reads it from now on finds it noted, or an error.
                self.close();
                StoreError::Unknown { path: self.path.clone(), reason: error.to_string() }
            }),
            Err(Failure::At(found)) => Err(StoreError::Diverged { expected: group.base, found }),
            Err(failure) => Err(self.reopen(group.base, &failure)),
        }
    }

    fn probe(&self) -> Result<(), StoreError> {
        self.writing(|transaction| {
            let mark = write::count(&transaction)?;
            transaction.commit()?;
            Ok(((), Some(mark)))
        })
    }

    fn answer(&self, id: &RequestId, unix_ms: u64) -> Result<Option<(Option<Body>, Answer)>, StoreError> {
        self.reading(|transaction| answers::read(transaction, id, unix_ms))
    }

    fn answers_left(&self, unix_ms: u64) -> Result<u64, StoreError> {
        let kept = self.reading(|transaction| answers::kept(transaction, unix_ms))?;
        Ok(self.answers.saturating_sub(kept))
    }

    fn changes(&self, from: Revision) -> Result<Changes, StoreError> {
        self.reading(|transaction| log::read(transaction, from))
    }

    fn history(&self, havip: &Name) -> Result<Vec<HavipEvent>, StoreError> {
        self.reading(|transaction| history::read(transaction, havip))
    }

    fn outbox(&self) -> Result<Vec<OutboxRow>, StoreError> {
        self.reading(outbox::read)
    }

    fn settle(&self, gone: &[OutboxKey], dead: &[DeadLetter]) -> Result<(), StoreError> {
        self.writing(|transaction| Ok(((), outbox::settle(transaction, gone, dead)?)))
    }

    fn dead_letters(&self, receiver: &Name) -> Result<Vec<DeadLetter>, StoreError> {
        self.reading(|transaction| outbox::dead(transaction, receiver))
    }

    fn revive(&self, receiver: &Name, unix_ms: u64) -> Result<Vec<OutboxRow>, StoreError> {
        self.writing(|transaction| {
            let (rows, mark) = outbox::revive(transaction, receiver, unix_ms)?;
            Ok((rows, Some(mark)))
        })
    }

    fn drop_dead(&self, receiver: &Name) -> Result<usize, StoreError> {
        self.writing(|transaction| {
            let (dropped, mark) = outbox::drop_dead(transaction, receiver)?;
            Ok((dropped, Some(mark)))
        })
    }
}

/// The store's state, as its revision file has to say it.
fn mark(transaction: &ReadTransaction) -> Result<Mark, Failure> {
    let meta = transaction.open_table(META)?;
    let number = |key| Ok::<u64, Failure>(meta.get(key)?.map_or(0, |number| number.value()));
    Ok(Mark { revision: number(REVISION)?, write: number(WRITES)? })
}
