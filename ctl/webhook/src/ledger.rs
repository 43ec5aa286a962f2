//! The store as this crate needs it.

use std::sync::Arc;

use ctl_api::model::Name;
use ctl_store::{DeadLetter, OutboxKey, OutboxRow, Store};

/// Why the store did not do it.
pub type LedgerError = Box<dyn std::error::Error + Send + Sync>;

/// Storage of rows and dead letters; a [`Store`] is one. New rows come by the transaction of what they tell about, not
/// through this.
pub trait Ledger: Send + Sync + 'static {
    /// All rows, in any order.
    ///
    /// # Errors
    /// The store cannot be read or written, and it may be tried again; so for all that follow.
    fn rows(&self) -> Result<Vec<OutboxRow>, LedgerError>;

    /// Deletes rows, and moves others to the dead letters, of which a bounded number is kept. Rows that are not there are no
    /// error. What is deleted may be there again after a crash.
    ///
    /// # Errors
    /// As [`Ledger::rows`].
    fn settle(&self, gone: &[OutboxKey], dead: &[DeadLetter]) -> Result<(), LedgerError>;

    /// A receiver's dead letters, the oldest event first.
    ///
    /// # Errors
    /// As [`Ledger::rows`].
    fn dead(&self, receiver: &Name) -> Result<Vec<DeadLetter>, LedgerError>;

    /// Makes a receiver's dead letters rows again, waiting since `unix_ms`, and returns them.
    ///
    /// # Errors
    /// As [`Ledger::rows`].
    fn revive(&self, receiver: &Name, unix_ms: u64) -> Result<Vec<OutboxRow>, LedgerError>;

    /// Deletes a receiver's dead letters, and returns how many they were.
    ///
    /// # Errors
    /// As [`Ledger::rows`].
    fn drop_dead(&self, receiver: &Name) -> Result<usize, LedgerError>;
}

impl<S: Store + ?Sized> Ledger for Arc<S> {
    fn rows(&self) -> Result<Vec<OutboxRow>, LedgerError> {
        Ok(self.outbox()?)
    }

    fn settle(&self, gone: &[OutboxKey], dead: &[DeadLetter]) -> Result<(), LedgerError> {
        Ok(Store::settle(self.as_ref(), gone, dead)?)
    }

    fn dead(&self, receiver: &Name) -> Result<Vec<DeadLetter>, LedgerError> {
        Ok(self.dead_letters(receiver)?)
    }

    fn revive(&self, receiver: &Name, unix_ms: u64) -> Result<Vec<OutboxRow>, LedgerError> {
        Ok(Store::revive(self.as_ref(), receiver, unix_ms)?)
    }

    fn drop_dead(&self, receiver: &Name) -> Result<usize, LedgerError> {
        Ok(Store::drop_dead(self.as_ref(), receiver)?)
    }
}
