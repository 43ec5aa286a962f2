//! Store of the broadcast domains: its trait, and the embedded store.
//!
//! A store holds the TEPs and domains with their limits, the HAVIPs with their bindings and history, the events that
//! webhook receivers have still to accept, the answers to requests that carried an id, and a bounded log of revisions.
//! The forwarding table is rebuilt from it; nothing that was answered is anywhere else. TEPs, domains, HAVIPs and
//! events are stored as the contract's messages. Beside it the revision file says which revision was answered last: a
//! store that is older is refused.
#![forbid(unsafe_code)]

mod check;
mod codec;
mod embedded;
mod error;
mod history;
mod log;
mod migrate;
mod outbox;
mod revision_file;
#[doc(hidden)]
pub mod rows;

pub use check::{CheckError, check};
pub use embedded::{Accepted, EmbeddedStore, SCHEMA};
pub use error::StoreError;
pub use history::{HISTORY_OF_ALL, HISTORY_OF_ONE};
pub use log::{LOG_BYTES, LOG_RECORD_BYTES, LOG_REVISIONS};
pub use outbox::{DEAD_LETTERS, DeadLetter, EventId, OutboxKey, OutboxRow, OutboxRows};

use std::time::Duration;

use bcast_domain::{Tep, Vni};
use ctl_api::model::{DomainEntry, Event, HavipEntry, HavipEvent, Name, RequestId, Revision, TepEntry};

/// Time for which the answer to a request with an id is kept.
pub const ANSWER_KEPT: Duration = Duration::from_secs(600);
/// Most answers kept at a time.
pub const ANSWERS: u64 = 1_000_000;

/// SHA-256 of a request's changes and conditions: what its id belongs to.
pub type Body = [u8; 32];

/// Limit of revisions that may have been made beyond one that was seen at `then_ms`, if nobody knows what came
/// after it until `now_ms` (Unix time in milliseconds): a hundred each millisecond for ten years at most, and a
/// million for clocks that are not right. No node commits as fast.
#[must_use]
pub fn unknown_since(then_ms: u64, now_ms: u64) -> u64 {
    const EACH_MS: u64 = 100;
    const LONGEST_MS: u64 = 10 * 366 * 86_400_000;
    1_000_000 + EACH_MS * now_ms.saturating_sub(then_ms).min(LONGEST_MS)
}

/// Changes of one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The revision.
    pub revision: Revision,
    /// Commit time, Unix time in milliseconds.
    pub unix_ms: u64,
    /// Changes, at most one of each TEP, domain and HAVIP: TEPs, deleted HAVIPs, domains, HAVIPs, deleted TEPs; then
    /// the events of HAVIPs, in their order.
    pub events: Vec<Event>,
}

/// Answer to a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The revision that it made, or found.
    pub revision: Revision,
    /// Number of its changes that changed something.
    pub changed: u64,
    /// One line for each removal of what was not there; no line has a line break in it.
    pub notes: Vec<String>,
}

/// A request that carried an id, and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Id of the request.
    pub id: RequestId,
    /// Fingerprint of the request that the id belongs to.
    pub body: Body,
    /// Answer that was given.
    pub answer: Answer,
}

/// Revisions that commit together: all of them or none.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// The revision that the store has to be at.
    pub base: Revision,
    /// The time, Unix time in milliseconds.
    pub unix_ms: u64,
    /// The revisions after `base`, ascending. The log starts anew behind a gap.
    pub records: Vec<Record>,
    /// The records were made by clients' requests: they change the configuration. Those by what workers heard do not.
    pub configures: bool,
    /// Answers to be kept.
    pub answers: Vec<Answered>,
    /// Events for webhook receivers.
    pub outbox: OutboxRows,
    /// The log starts anew after this group: its records are not logged, and whoever watches starts over.
    pub anew: bool,
    /// History of HAVIPs, in place of all that is kept of it; events in the records are not added.
    pub history: Option<Vec<HavipEvent>>,
}

impl Group {
    /// Nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.answers.is_empty() && self.outbox.is_empty()
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

/// Durable domains. Each method fails where the store cannot be read or written.
pub trait Store: Send + Sync + 'static {
    /// The last revision that committed.
    ///
    /// # Errors
    ///
    /// [`StoreError`], where the store cannot be read; so for all that follow.
    fn revision(&self) -> Result<Revision, StoreError>;

    /// Everything as of one revision, however long the reading takes.
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError>;

    /// Commits a group; once this returns it survives a loss of power.
    ///
    /// # Errors
    ///
    /// [`StoreError::Refused`]: nothing changed. [`StoreError::Unknown`]: it may have committed.
    /// [`StoreError::Diverged`]: the store is not at the group's base (an unknown outcome before turned out to have
    /// committed), and nothing changed.
    fn commit(&self, group: &Group) -> Result<(), StoreError>;

    /// A small durable transaction that changes nothing: whether the store takes changes.
    ///
    /// # Errors
    ///
    /// It does not.
    fn probe(&self) -> Result<(), StoreError>;

    /// The answer that a request with this id got within the last [`ANSWER_KEPT`], and what the id belongs to; `None`
    /// where a daemon answered that did not keep it.
    fn answer(&self, id: &RequestId, unix_ms: u64) -> Result<Option<(Option<Body>, Answer)>, StoreError>;

    /// Number of further answers that can be kept, of [`ANSWERS`].
    fn answers_left(&self, unix_ms: u64) -> Result<u64, StoreError>;

    /// Changes of the revisions from `from` on.
    fn changes(&self, from: Revision) -> Result<Changes, StoreError>;

    /// History of a present HAVIP: the last [`HISTORY_OF_ONE`] events, the oldest first.
    fn history(&self, havip: &Name) -> Result<Vec<HavipEvent>, StoreError>;

    /// All events that webhook receivers have still to accept, by receiver and age.
    fn outbox(&self) -> Result<Vec<OutboxRow>, StoreError>;

    /// Deletes rows of the outbox, and moves others to the dead letters, of which the newest [`DEAD_LETTERS`] are kept
    /// for each receiver. Rows that are not there are no error. What is deleted may be there again after a crash, or
    /// after a write that failed; what is dead is durable when this returns.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: it may have happened; it may be tried again.
    fn settle(&self, gone: &[OutboxKey], dead: &[DeadLetter]) -> Result<(), StoreError>;

    /// A receiver's dead letters, the oldest event first.
    fn dead_letters(&self, receiver: &Name) -> Result<Vec<DeadLetter>, StoreError>;

    /// Makes a receiver's dead letters rows of the outbox again, waiting since `unix_ms`; returns those, the oldest
    /// event first.
    fn revive(&self, receiver: &Name, unix_ms: u64) -> Result<Vec<OutboxRow>, StoreError>;

    /// Deletes a receiver's dead letters; returns how many. Durable when it returns.
    fn drop_dead(&self, receiver: &Name) -> Result<usize, StoreError>;
}

/// Entries as they are read.
pub type Entries<'s, T> = Box<dyn Iterator<Item = Result<T, StoreError>> + 's>;

/// All of a store as of one revision, read as it is asked for. Each method fails where the store cannot be read.
pub trait Snapshot: Send {
    /// The revision.
    fn revision(&self) -> Revision;

    /// The last revision that changed the configuration; where that is not known, the current one.
    fn configured(&self) -> Revision;

    /// A random number of the store's own, which no other store has.
    fn identity(&self) -> u64;

    /// The TEPs behind this one, by address.
    fn teps_after(&self, after: Option<Tep>) -> Result<Entries<'_, TepEntry>, StoreError>;

    /// The domains behind this one, by VNI.
    fn domains_after(&self, after: Option<Vni>) -> Result<Entries<'_, DomainEntry>, StoreError>;

    /// The HAVIPs behind this one, by name.
    fn havips_after(&self, after: Option<&Name>) -> Result<Entries<'_, HavipEntry>, StoreError>;

    /// All TEPs, by address.
    fn teps(&self) -> Result<Entries<'_, TepEntry>, StoreError> {
        self.teps_after(None)
    }

    /// All domains, by VNI.
    fn domains(&self) -> Result<Entries<'_, DomainEntry>, StoreError> {
        self.domains_after(None)
    }

    /// All HAVIPs, by name.
    fn havips(&self) -> Result<Entries<'_, HavipEntry>, StoreError> {
        self.havips_after(None)
    }

    /// All TEPs, domains and HAVIPs in this order, as the events that set them.
    fn all(&self) -> Result<Entries<'_, Event>, StoreError> {
        let teps = self.teps()?.map(|tep| tep.map(Event::TepSet));
        let domains = self.domains()?.map(|domain| domain.map(Event::DomainSet));
        let havips = self.havips()?.map(|entry| entry.map(|entry| Event::HavipSet(Box::new(entry))));
        Ok(Box::new(teps.chain(domains).chain(havips)))
    }

    /// History of the HAVIPs, by name, of each the oldest first.
    fn history(&self) -> Result<Entries<'_, HavipEvent>, StoreError>;
}
