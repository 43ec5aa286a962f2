//! Commit hooks: webhooks and routes follow what commits.

use crossbeam::channel::Sender;
use ctl_api::model::{HavipEvent, HavipEventKind, Name, RefusedAnnouncement};
use ctl_store::{OutboxRows, Record, Snapshot, StoreError};

/// Most reports that wait.
pub(crate) const REPORTS: usize = 1_024;

/// One that is told, by the commit thread, all that commits: in order, once, before the requests are answered. So no
/// method may wait for anything.
///
/// Each group is prepared, then either committed or aborted. After a commit of which nobody knows whether it happened,
/// all is told anew.
pub trait CommitHook: Send + 'static {
    /// This is all there is: at the start, before anything is served, and when the store was found elsewhere than
    /// thought.
    ///
    /// # Errors
    ///
    /// The snapshot cannot be read. At the start the server does not start then; later it is tried again.
    fn loaded(&mut self, _snapshot: &dyn Snapshot) -> Result<(), StoreError> {
        Ok(())
    }

    /// These records are about to commit. What it returns is written and deleted in their transaction.
    fn stage(&mut self, _records: &[Record]) -> OutboxRows {
        OutboxRows::default()
    }

    /// They are durable and published.
    fn committed(&mut self, _records: &[Record]) {}

    /// Nothing of them is in the store.
    fn aborted(&mut self) {}

    /// Alarms, which are part of no revision: each has the generation of the last one that committed.
    fn alarmed(&mut self, _alarms: &[HavipEvent]) {}

    /// Announcements that domains with sticky ARP inspection refused, which are part of no revision either.
    fn refused(&mut self, _refused: &[RefusedAnnouncement]) {}
}

/// Sender of a listener's reports about HAVIPs; each makes a revision of its own.
#[derive(Debug, Clone)]
pub struct Reporter(pub(crate) Sender<Report>);

/// Messages to be sent.
#[derive(Debug)]
pub(crate) struct Report {
    pub havip: Name,
    pub kind: HavipEventKind,
    pub detail: String,
}

impl Reporter {
    /// No layer-3 network can be told where this HAVIP is; `detail` is one line that says why. Never waits; false
    /// where too much waits already, or the server is gone.
    pub fn route_unusable(&self, havip: Name, detail: String) -> bool {
        let report = Report { havip, kind: HavipEventKind::RouteUnusable, detail };
        self.0.try_send(report).is_ok()
    }
}

/// All listeners, as one.
#[derive(Default)]
pub(crate) struct CommitHooks(pub Vec<Box<dyn CommitHook>>);

impl CommitHooks {
    pub fn loaded(&mut self, snapshot: &dyn Snapshot) -> Result<(), StoreError> {
        self.0.iter_mut().try_for_each(|listener| listener.loaded(snapshot))
    }

    pub fn stage(&mut self, records: &[Record]) -> OutboxRows {
        let mut rows = OutboxRows::default();
        if records.is_empty() {
            return rows;
        }
        for listener in &mut self.0 {
            let more = listener.stage(records);
            rows.insert.extend(more.insert);
            rows.delete.extend(more.delete);
        }
        rows
    }

    pub fn committed(&mut self, records: &[Record]) {
        if !records.is_empty() {
            self.0.iter_mut().for_each(|listener| listener.committed(records));
        }
    }

    pub fn aborted(&mut self) {
        self.0.iter_mut().for_each(|listener| listener.aborted());
    }

    pub fn alarmed(&mut self, alarms: &[HavipEvent]) {
        self.0.iter_mut().for_each(|listener| listener.alarmed(alarms));
    }

    pub fn refused(&mut self, refused: &[RefusedAnnouncement]) {
        self.0.iter_mut().for_each(|listener| listener.refused(refused));
    }
}
