//! Another host that has an address of the node's: seen in its ARP, kept for `bcastctl stats`, and told by the log.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use ctl_node::AddressConflict;
use engine::counters::Counters;
use engine::punt::Conflict;

/// Time between two lines of the log.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// The last conflict; `None`: there was none since the daemon started.
pub type LastConflict = Arc<Mutex<Option<AddressConflict>>>;

/// Watch over conflicts, for the TAP's thread.
pub struct ConflictWatch {
    counters: Arc<Counters>,
    last: LastConflict,
    seen: u64,
    logged: Option<(Instant, u64)>,
}

impl ConflictWatch {
    /// Nothing seen yet.
    pub fn new(counters: Arc<Counters>, last: LastConflict) -> Self {
        Self { counters, last, seen: 0, logged: None }
    }

    /// Takes in what workers have counted; `conflict` is the last one.
    pub fn look(&mut self, conflict: impl FnOnce() -> Option<Conflict>) {
        let frames = self.counters.sum(|worker| &worker.conflicts);
        if frames != self.seen
            && let Some(Conflict { address, mac }) = conflict()
        {
            self.seen = frames;
            let found = AddressConflict { address, mac: mac.0, frames, last: SystemTime::now() };
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        }
        let (due, logged) = self.logged.map_or((true, 0), |(at, frames)| (at.elapsed() >= LOG_EVERY, frames));
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(AddressConflict { address, mac, .. }) = last.filter(|_| due && self.seen > logged) {
            let (mac, frames) = (wire::MacAddr(mac), self.seen - logged);
            tracing::warn!(%address, %mac, frames, "another host has this node's address: find it by its MAC address");
            self.logged = Some((Instant::now(), self.seen));
        }
    }
}
