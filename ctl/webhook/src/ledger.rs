//! What is stored of the events under way, and the store as this crate needs it.

use std::fmt;

use bytes::Bytes;
use ctl_api::model::{Name, Revision};

/// An event's number: the revision that made it, and its place therein. It grows, across restarts too, and its text is the
/// CloudEvents `id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// The revision.
    pub revision: Revision,
    /// Its place among the revision's events, from 0.
    pub index: u32,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.revision, self.index)
    }
}

/// An event for one receiver.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The receiver.
    pub receiver: Name,
    /// The event.
    pub id: EventId,
}

/// An event that a receiver has still to accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which, and for whom.
    pub key: Key,
    /// The virtual IP that it is about; the events of one go out in order.
    pub havip: Name,
    /// Since when it has been waiting: Unix time in milliseconds.
    pub since_unix_ms: u64,
    /// How many events of that virtual IP were left out before it.
    pub gap: u64,
    /// The CloudEvent, as it is sent.
    pub body: Bytes,
}

/// An event that was not accepted in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The event.
    pub row: Row,
    /// When it was given up: Unix time in milliseconds.
    pub died_unix_ms: u64,
    /// Why the last attempt failed; one line.
    pub reason: String,
}

/// Why the store did not do it.
pub type LedgerError = Box<dyn std::error::Error + Send + Sync>;

/// Where rows and dead letters are kept. New rows come by the transaction of what they tell about, not through this.
///
/// # Errors
/// Each: the store cannot be read or written; nothing changed, and it may be tried again.
pub trait Ledger: Send + Sync + 'static {
    /// All rows, in any order.
    #[allow(clippy::missing_errors_doc)]
    fn rows(&self) -> Result<Vec<Row>, LedgerError>;

    /// Deletes rows, and moves others to the dead letters, of which at most [`crate::MOST_DEAD`] are kept for each receiver, the
    /// newest. Rows that are not there are no error.
    #[allow(clippy::missing_errors_doc)]
    fn settle(&self, gone: &[Key], dead: &[DeadLetter]) -> Result<(), LedgerError>;

    /// A receiver's dead letters, the oldest event first.
    #[allow(clippy::missing_errors_doc)]
    fn dead(&self, receiver: &Name) -> Result<Vec<DeadLetter>, LedgerError>;

    /// Makes a receiver's dead letters rows again, waiting since `unix_ms`, and returns them.
    #[allow(clippy::missing_errors_doc)]
    fn revive(&self, receiver: &Name, unix_ms: u64) -> Result<Vec<Row>, LedgerError>;
}
