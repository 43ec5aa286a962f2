//! State that the procedures share.

use std::sync::{Arc, Mutex};

use ctl_api::model::Revision;
use ctl_node::Node;
use ctl_store::Store;
use ctl_webhook::Webhooks;
use tokio::sync::{Semaphore, watch};

use crate::alarms::AlarmSender;
use crate::blocking::Threads;
use crate::budget::Budget;
use crate::job::Intake;
use crate::state::{Figures, State};
use crate::{SNAPSHOTS, WATCHES};

/// Version that `bcastctl version` shows.
#[derive(Debug, Clone)]
pub struct Versions {
    /// The daemon's.
    pub daemon: String,
    /// Commit that the daemon was built from; empty: not known.
    pub commit: String,
    /// Version of DPDK.
    pub dpdk: String,
}

/// State that the procedures share.
pub(crate) struct Shared {
    pub state: Arc<Mutex<State>>,
    pub store: Arc<dyn Store>,
    pub node: Arc<dyn Node>,
    pub jobs: Arc<Intake>,
    /// The revision up to which watchers may read.
    pub visible: watch::Receiver<Revision>,
    /// Alarms, which are part of no revision.
    pub alarms: AlarmSender,
    /// Published figures, read without the state's lock.
    pub figures: watch::Receiver<Figures>,
    /// True once the daemon stops.
    pub stopping: watch::Receiver<bool>,
    pub versions: Versions,
    /// Memory that requests hold while they are gathered and wait.
    pub budget: Arc<Budget>,
    /// Memory of changes that watches have read and not yet sent.
    pub watched: Arc<Budget>,
    pub threads: Threads,
    pub streams: Streams,
    pub webhooks: Arc<Webhooks>,
}

/// One permit for each stream, kind by kind, so that watchers do not lock out those who export.
#[derive(Clone)]
pub(crate) struct Streams {
    pub watches: Arc<Semaphore>,
    pub snapshots: Arc<Semaphore>,
}

impl Default for Streams {
    fn default() -> Self {
        Self { watches: Arc::new(Semaphore::new(WATCHES)), snapshots: Arc::new(Semaphore::new(SNAPSHOTS)) }
    }
}

impl Streams {
    /// Number of calls under way.
    pub fn open(&self) -> usize {
        let free = self.watches.available_permits() + self.snapshots.available_permits();
        (WATCHES + SNAPSHOTS).saturating_sub(free)
    }
}
