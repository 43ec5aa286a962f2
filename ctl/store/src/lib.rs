//! Where the broadcast domains live: the store's trait and the embedded store.
//!
//! A store holds the TEPs and domains with their limits, the answers to requests that carried an id, and a bounded log
//! of what each revision changed. It is what the forwarding table is rebuilt from; nothing that was answered is anywhere
//! else.
#![forbid(unsafe_code)]

mod codec;
mod embedded;
mod error;
mod log;

pub use embedded::{EmbeddedStore, SCHEMA};
pub use error::StoreError;
pub use log::{LOG_BYTES, LOG_RECORD_BYTES, LOG_REVISIONS};

use std::time::Duration;

use ctl_api::model::{DomainEntry, Event, RequestId, Revision, TepEntry};

/// How long the answer to a request with an id is kept.
pub const ANSWER_KEPT: Duration = Duration::from_secs(600);
/// Most answers kept at a time.
pub const ANSWERS: u64 = 1_000_000;

/// What one revision changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The revision.
    pub revision: Revision,
    /// When it committed, Unix time in milliseconds.
    pub unix_ms: u64,
    /// Its changes, at most one for each TEP and domain. TEPs come before domains, removed TEPs after them.
    pub events: Vec<Event>,
}

/// What a request was answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The revision that it made, or found.
    pub revision: Revision,
    /// How many of its changes changed something.
    pub changed: u64,
    /// One line for each removal of what was not there; no line has a line break in it.
    pub notes: Vec<String>,
}

/// Revisions that commit together: all of them or none.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// The revision that the store has to be at.
    pub base: Revision,
    /// The time, Unix time in milliseconds.
    pub unix_ms: u64,
    /// The revisions after `base`, without a gap.
    pub records: Vec<Record>,
    /// Answers to be kept.
    pub answers: Vec<(RequestId, Answer)>,
}

impl Group {
    /// Nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.answers.is_empty()
    }
}

/// Revisions out of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// The next ones, in order and without a gap, a bounded number of them; none where there are none yet.
    Records(Vec<Record>),
    /// Not all of them are kept: start over from a snapshot.
    Gone,
}

/// Durable domains.
pub trait Store: Send + Sync + 'static {
    /// The last revision that committed.
    ///
    /// # Errors
    ///
    /// [`StoreError`], where the store cannot be read; so for all that follow.
    fn revision(&self) -> Result<Revision, StoreError>;

    /// Everything as of one revision, however long the reading takes.
    ///
    /// # Errors
    ///
    /// As [`Store::revision`].
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError>;

    /// Commits a group; once this returns it survives a loss of power.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`]: nothing changed. [`StoreError::Unknown`]: it may have committed.
    /// [`StoreError::Diverged`]: the store is not at the group's base (an unknown outcome before turned out to have
    /// committed), and nothing changed.
    fn commit(&self, group: &Group) -> Result<(), StoreError>;

    /// The answer that a request with this id got within the last [`ANSWER_KEPT`].
    ///
    /// # Errors
    ///
    /// As [`Store::revision`].
    fn answer(&self, id: &RequestId, unix_ms: u64) -> Result<Option<Answer>, StoreError>;

    /// What the revisions from `from` on changed.
    ///
    /// # Errors
    ///
    /// As [`Store::revision`].
    fn changes(&self, from: Revision) -> Result<Changes, StoreError>;
}

/// Entries as they are read.
pub type Entries<'s, T> = Box<dyn Iterator<Item = Result<T, StoreError>> + 's>;

/// All of a store as of one revision, read as it is asked for.
pub trait Snapshot: Send {
    /// The revision.
    fn revision(&self) -> Revision;

    /// The TEPs, by address.
    ///
    /// # Errors
    ///
    /// As [`Store::revision`].
    fn teps(&self) -> Result<Entries<'_, TepEntry>, StoreError>;

    /// The domains, by VNI.
    ///
    /// # Errors
    ///
    /// As [`Store::revision`].
    fn domains(&self) -> Result<Entries<'_, DomainEntry>, StoreError>;
}
