//! A store that fails and crashes as it is told, and notes what became durable.

use std::sync::{Arc, Mutex};

use ctl_api::model::{HavipEvent, Name, RequestId, Revision};
use ctl_store::{
    Answer, Body, Changes, DeadLetter, EmbeddedStore, Group, OutboxKey, OutboxRow, Record, Snapshot, Store,
    StoreError,
};

/// What becomes of the next commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is refused, and nothing is durable.
    Refused,
    /// Nobody knows; nothing is durable.
    Lost,
    /// Nobody knows; it is durable.
    Kept,
    /// The process dies before it is durable.
    CrashBefore,
    /// The process dies once it is durable, before anybody is told.
    CrashAfter,
}

impl Fate {
    pub const ALL: [Self; 5] = [Self::Refused, Self::Lost, Self::Kept, Self::CrashBefore, Self::CrashAfter];

    pub fn is_durable(self) -> bool {
        matches!(self, Self::Kept | Self::CrashAfter)
    }

    pub fn is_crash(self) -> bool {
        matches!(self, Self::CrashBefore | Self::CrashAfter)
    }
}

/// What the simulation sees of the store, over all restarts.
#[derive(Default)]
pub struct Disk {
    pub fate: Option<Fate>,
    /// The process is dead: nothing that it does reaches the disk.
    pub dead: bool,
    /// All that is durable.
    pub records: Vec<Record>,
    /// Records of commits that failed.
    pub failed: Vec<Record>,
}

pub struct Faulty {
    pub store: EmbeddedStore,
    pub disk: Arc<Mutex<Disk>>,
}

fn refused() -> StoreError {
    StoreError::Refused { path: "domains.redb".into(), reason: "No space left on device".to_owned() }
}

fn unknown() -> StoreError {
    StoreError::Unknown { path: "domains.redb".into(), reason: "I/O error".to_owned() }
}

impl Faulty {
    fn alive(&self) -> Result<(), StoreError> {
        if self.disk.lock().unwrap().dead { Err(refused()) } else { Ok(()) }
    }
}

impl Store for Faulty {
    fn revision(&self) -> Result<Revision, StoreError> {
        self.store.revision()
    }
    fn snapshot(&self) -> Result<Box<dyn Snapshot>, StoreError> {
        self.store.snapshot()
    }
    fn commit(&self, group: &Group) -> Result<(), StoreError> {
        let mut disk = self.disk.lock().unwrap();
        if disk.dead {
            return Err(refused());
        }
        let fate = disk.fate.take();
        if fate.is_none_or(Fate::is_durable) {
            self.store.commit(group)?;
            disk.records.extend(group.records.iter().cloned());
        } else {
            disk.failed.extend(group.records.iter().cloned());
        }
        disk.dead = fate.is_some_and(Fate::is_crash);
        match fate {
            None => Ok(()),
            Some(Fate::Refused | Fate::CrashBefore | Fate::CrashAfter) => Err(refused()),
            Some(Fate::Lost | Fate::Kept) => Err(unknown()),
        }
    }
    fn probe(&self) -> Result<(), StoreError> {
        self.alive()?;
        self.store.probe()
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
        self.alive()?;
        self.store.settle(gone, dead)
    }
    fn dead_letters(&self, receiver: &Name) -> Result<Vec<DeadLetter>, StoreError> {
        self.store.dead_letters(receiver)
    }
    fn revive(&self, receiver: &Name, unix_ms: u64) -> Result<Vec<OutboxRow>, StoreError> {
        self.store.revive(receiver, unix_ms)
    }
}
