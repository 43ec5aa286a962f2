//! A store that fails and crashes as it is told, and notes what became durable.

use std::sync::{Arc, Mutex};

use ctl_store::{DeadLetter, EmbeddedStore, Group, OutboxKey, Record, Store, StoreError};

use crate::rig::failing::{Faults, refused, unknown};

/// Fate of the next commit.
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

/// The simulation's view of the store, over all restarts.
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

/// Faults that a disk has.
pub struct DiskFaults(pub Arc<Mutex<Disk>>);

impl DiskFaults {
    fn alive(&self) -> Result<(), StoreError> {
        if self.0.lock().unwrap().dead { Err(refused()) } else { Ok(()) }
    }
}

impl Faults for DiskFaults {
    fn commit(&self, store: &EmbeddedStore, group: &Group) -> Result<(), StoreError> {
        let mut disk = self.0.lock().unwrap();
        if disk.dead {
            return Err(refused());
        }
        let fate = disk.fate.take();
        if fate.is_none_or(Fate::is_durable) {
            store.commit(group)?;
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
    fn probe(&self, store: &EmbeddedStore) -> Result<(), StoreError> {
        self.alive()?;
        store.probe()
    }
    fn settle(
        &self,
        store: &EmbeddedStore,
        gone: &[OutboxKey],
        dead: &[DeadLetter],
    ) -> Result<(), StoreError> {
        self.alive()?;
        store.settle(gone, dead)
    }
}
