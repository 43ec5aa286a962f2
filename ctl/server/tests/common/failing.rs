//! A store whose writes fail as a test wants.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ctl_api::model::{HavipEvent, Name, RequestId, Revision};
use ctl_store::{
    Answer, Body, Changes, DeadLetter, EmbeddedStore, Group, OutboxKey, OutboxRow, Snapshot, Store,
    StoreError,
};

/// Faults of a store's writes: each method writes to the store, or fails. The defaults write.
pub trait Faults: Send + Sync + 'static {
    fn commit(&self, store: &EmbeddedStore, group: &Group) -> Result<(), StoreError> {
        store.commit(group)
    }
    fn probe(&self, store: &EmbeddedStore) -> Result<(), StoreError> {
        store.probe()
    }
    fn settle(
        &self,
        store: &EmbeddedStore,
        gone: &[OutboxKey],
        dead: &[DeadLetter],
    ) -> Result<(), StoreError> {
        store.settle(gone, dead)
    }
}

/// An embedded store with faults; reads never fail.
pub struct FaultyStore<F> {
    pub store: EmbeddedStore,
    pub faults: F,
}

/// The disk is full: nothing was written.
pub fn refused() -> StoreError {
    StoreError::Refused { path: "domains.redb".into(), reason: "No space left on device".to_owned() }
}

/// The disk failed: nobody knows if it was written.
pub fn unknown() -> StoreError {
    StoreError::Unknown { path: "domains.redb".into(), reason: "I/O error".to_owned() }
}

/// Faults while `fails` is set.
struct FailWhile {
    fails: Arc<AtomicBool>,
    late: bool,
}

/// A store that fails while `fails` is set; if `late`, after it has committed, and says that it does not know.
pub fn failing(store: EmbeddedStore, fails: &Arc<AtomicBool>, late: bool) -> impl Store {
    FaultyStore { store, faults: FailWhile { fails: Arc::clone(fails), late } }
}

impl Faults for FailWhile {
    fn commit(&self, store: &EmbeddedStore, group: &Group) -> Result<(), StoreError> {
        match (self.fails.load(Ordering::Relaxed), self.late) {
            (false, _) => store.commit(group),
            (true, false) => Err(refused()),
            (true, true) => store.commit(group).and(Err(unknown())),
        }
    }
    fn probe(&self, store: &EmbeddedStore) -> Result<(), StoreError> {
        if self.fails.load(Ordering::Relaxed) { Err(unknown()) } else { store.probe() }
    }
}

impl<F: Faults> Store for FaultyStore<F> {
    fn revision(&self) -> Result<Revision, StoreError> {
        self.store.revision()
    }
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.store.snapshot()
    }
    fn commit(&self, group: &Group) -> Result<(), StoreError> {
        self.faults.commit(&self.store, group)
    }
    fn probe(&self) -> Result<(), StoreError> {
        self.faults.probe(&self.store)
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
        self.faults.settle(&self.store, gone, dead)
    }
    fn dead_letters(&self, receiver: &Name) -> Result<Vec<DeadLetter>, StoreError> {
        self.store.dead_letters(receiver)
    }
    fn revive(&self, receiver: &Name, unix_ms: u64) -> Result<Vec<OutboxRow>, StoreError> {
        self.store.revive(receiver, unix_ms)
    }
    fn drop_dead(&self, receiver: &Name) -> Result<usize, StoreError> {
        self.store.drop_dead(receiver)
    }
}
