//! A store that fails when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ctl_api::model::{HavipEvent, Name, RequestId, Revision};
use ctl_store::{
    Answer, Body, Changes, DeadLetter, EmbeddedStore, Group, OutboxKey, OutboxRow, Snapshot, Store,
    StoreError,
};

/// A store that fails while it is told to.
pub struct Failing {
    pub store: EmbeddedStore,
    pub fails: Arc<AtomicBool>,
    /// It fails after it has committed, and says that it does not know.
    pub late: bool,
}

impl Store for Failing {
    fn revision(&self) -> Result<Revision, StoreError> {
        self.store.revision()
    }
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.store.snapshot()
    }
    fn commit(&self, group: &Group) -> Result<(), StoreError> {
        let path = || "domains.redb".into();
        match (self.fails.load(Ordering::Relaxed), self.late) {
            (false, _) => self.store.commit(group),
            (true, false) => {
                Err(StoreError::Refused { path: path(), reason: "No space left on device".to_owned() })
            }
            (true, true) => {
                self.store.commit(group)?;
                Err(StoreError::Unknown { path: path(), reason: "I/O error".to_owned() })
            }
        }
    }
    fn probe(&self) -> Result<(), StoreError> {
        match self.fails.load(Ordering::Relaxed) {
            true => Err(StoreError::Unknown { path: "domains.redb".into(), reason: "I/O error".to_owned() }),
            false => self.store.probe(),
        }
    }
    fn answer(&self, id: &RequestId, unix_ms: u64) -> Result<Option<(Option<Body>, Answer)>, StoreError> {
        self.store.answer(id, unix_ms)
    }
    fn answers_left(&self, unix_ms: u64) -> Result<u64, StoreError> {
        self.store.answers_left(unix_ms)
    }
    fn changes(&self, from: Revision) -> Result<Changes, StoreError> {
        self.store.changes(from)
    }
    fn history(&self, havip: &Name) -> Result<Vec<HavipEvent>, StoreError> {
        self.store.history(havip)
    }
    fn outbox(&self) -> Result<Vec<OutboxRow>, StoreError> {
        self.store.outbox()
    }
    fn settle(&self, gone: &[OutboxKey], dead: &[DeadLetter]) -> Result<(), StoreError> {
        self.store.settle(gone, dead)
    }
    fn dead_letters(&self, receiver: &Name) -> Result<Vec<DeadLetter>, StoreError> {
        self.store.dead_letters(receiver)
    }
    fn revive(&self, receiver: &Name, unix_ms: u64) -> Result<Vec<OutboxRow>, StoreError> {
        self.store.revive(receiver, unix_ms)
    }
}
