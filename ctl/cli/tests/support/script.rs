//! Script of a node in this process: what it answers, and what it was asked.

use std::collections::{BTreeMap, VecDeque};

use ctl_api::model::{Apply, Batch, Difference, Havip, MAX_CHANGES, Name, Resource};
use ctl_api::proto;
use tonic::metadata::MetadataValue;
use tonic::{Code, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::model::{Model, leaves};

/// Requests that a node got, and the answers that it shall give.
#[derive(Default)]
pub struct Script {
    pub model: Model,
    /// Number of changes or entries of each commit, by call.
    pub commits: Vec<(&'static str, usize)>,
    /// Bytes and changes of the largest message.
    pub largest: (usize, usize),
    /// Batches that another client commits, one after each snapshot and each dry run.
    pub others: VecDeque<Batch>,
    /// No worker confirms.
    pub unconfirmed: bool,
    /// A snapshot stops after its first part, and goes on never.
    pub stalls: bool,
    /// Nor does it take more than one part of a batch.
    pub takes_no_more: bool,
    /// Messages that a watch sends before the node ends it.
    pub events: Vec<proto::WatchEvent>,
    /// The words that it ends it with, if any.
    pub last_words: Option<&'static str>,
    /// The node does not end the watch.
    pub stays_open: bool,
    /// Holder of each HAVIP; unbound in revision 0 by default.
    pub bindings: BTreeMap<Name, proto::Binding>,
    /// Diagnosis of each HAVIP.
    pub diagnosis: Vec<proto::Diagnosis>,
    /// Last announcements of each HAVIP.
    pub announced: Vec<proto::LastAnnounced>,
    /// Events of each HAVIP.
    pub history: Vec<proto::HavipEvent>,
    pub webhooks: Vec<proto::Webhook>,
    pub nodes: proto::ListNodesReply,
    pub letters: Vec<proto::DeadLetter>,
    /// Reason of the latest commit, apply or restore.
    pub reason: Option<String>,
    /// Latest restored backup.
    pub restored: Vec<proto::RestoreRequest>,
}

impl Script {
    pub fn commit(
        &mut self,
        call: &'static str,
        batch: Batch,
    ) -> Result<Response<proto::CommitReply>, Status> {
        self.commits.push((call, batch.changes.len()));
        let done = self.model.commit(batch)?;
        let revision = self.model.revision;
        if self.unconfirmed {
            let mut status = Status::new(Code::DeadlineExceeded, "worker 1 does not report");
            status.metadata_mut().insert(ctl_api::REVISION_TRAILER, MetadataValue::from(revision));
            return Err(status);
        }
        Ok(Response::new(proto::CommitReply { revision, changed: done.changed, notes: done.notes }))
    }

    pub fn apply(&mut self, apply: Apply) -> Result<proto::ApplyReply, Status> {
        self.commits.push(("Apply", apply.resources.len()));
        let (dry_run, most) = (apply.conditions.dry_run, apply.max_differences.unwrap_or(usize::MAX));
        let differences = self.model.apply(apply).map_err(|(position, status)| match position {
            Some(position) => at(position, status),
            None => status,
        })?;
        let reply = summary(&differences, self.model.revision);
        if let Some(batch) = self.others.pop_front().filter(|_| dry_run) {
            self.model.commit(batch)?;
        }
        let differences = differences.into_iter().take(most).map(proto::Difference::from).collect();
        Ok(proto::ApplyReply { differences, summary: Some(reply) })
    }

    pub fn weigh(&mut self, bytes: usize, changes: usize) {
        self.largest = (self.largest.0.max(bytes), self.largest.1.max(changes));
    }

    pub fn havip(&self, havip: &Havip) -> proto::HavipEntry {
        let unbound = proto::Binding { state: proto::HavipState::Unbound.into(), ..Default::default() };
        let binding = self.bindings.get(&havip.name).cloned().unwrap_or(unbound);
        proto::HavipEntry { havip: Some(havip.clone().into()), binding: Some(binding) }
    }

    pub fn receiver(&self, name: &str) -> Result<&proto::Webhook, Status> {
        let found = self.webhooks.iter().find(|webhook| webhook.name == name);
        found.ok_or_else(|| Status::not_found(format!("there is no webhook {name}")))
    }

    pub fn snapshot(&self, with_history: bool) -> Vec<proto::SnapshotPart> {
        let mut parts = vec![proto::SnapshotPart {
            revision: Some(self.model.revision),
            store: 77,
            unix_ms: 1_795_395_845_007,
            teps: self.model.teps.values().cloned().map(proto::Tep::from).collect(),
            ..Default::default()
        }];
        let domains: Vec<_> = self.model.domains.values().cloned().map(proto::Domain::from).collect();
        parts.extend(
            domains
                .chunks(1000)
                .map(|domains| proto::SnapshotPart { domains: domains.to_vec(), ..Default::default() }),
        );
        let havips = self.model.havips.values().map(|havip| self.havip(havip)).collect();
        let history = if with_history { self.history.clone() } else { vec![] };
        parts.push(proto::SnapshotPart { havips, history, ..Default::default() });
        parts
    }
}

pub fn parsed(message: proto::CommitRequest, before: usize) -> Result<Batch, Status> {
    assert!(message.changes.len() <= MAX_CHANGES);
    Batch::parse(message, before).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// The status with the position of the bad entry.
pub fn at(position: usize, status: Status) -> Status {
    let metadata = [(ctl_api::POSITION.to_owned(), position.to_string())];
    let details = ErrorDetails::with_error_info("REFUSED", ctl_api::ERROR_DOMAIN, metadata);
    Status::with_error_details(status.code(), status.message(), details)
}

pub fn summary(differences: &[Difference], revision: u64) -> proto::ApplySummary {
    let count = |of: fn(&Resource) -> bool| {
        let mut count = proto::Count::default();
        for Difference { before, after } in differences {
            match (before.as_ref().is_some_and(of), after.as_ref().is_some_and(of)) {
                (true, true) => count.changed += 1,
                (true, false) => count.removed += 1,
                (false, true) => count.added += 1,
                (false, false) => {}
            }
        }
        Some(count)
    };
    let memberships = |leave: fn(&Difference) -> usize| differences.iter().map(leave).sum::<usize>() as u64;
    proto::ApplySummary {
        reply: Some(proto::CommitReply { revision, changed: differences.len() as u64, notes: vec![] }),
        teps: count(|resource| matches!(resource, Resource::Tep(_))),
        domains: count(|resource| matches!(resource, Resource::Domain(_))),
        havips: count(|resource| matches!(resource, Resource::Havip(_))),
        memberships_added: memberships(|d| leaves(&d.after, &d.before)),
        memberships_removed: memberships(|d| leaves(&d.before, &d.after)),
    }
}
