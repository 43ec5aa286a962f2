//! Authors of changes, and the line in the log that names them.

use std::fmt;

use ctl_api::REASON_METADATA;
use ctl_api::model::{Batch, Change, Reason, Set, SetResource, Target};
use ctl_store::Answer;
use tokio::net::UnixStream;
use tonic::Request;

use crate::job::Work;
use crate::refusal::Refusal;
use crate::summary::Summary;

/// Process at the other end of a connection, as the kernel knew it when it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer {
    uid: u32,
    /// Its number in the daemon's PID namespace; `None`: it is in another one.
    pid: Option<i32>,
}

impl Peer {
    /// Peer of a connection; `None` where the kernel does not tell.
    pub fn of(stream: &UnixStream) -> Option<Self> {
        let credentials = stream.peer_cred().ok()?;
        Some(Self { uid: credentials.uid(), pid: credentials.pid().filter(|&pid| pid > 0) })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "uid {} pid {pid}", self.uid),
            None => write!(f, "uid {}, pid unknown", self.uid),
        }
    }
}

/// Author of a request: its peer, and the reason that it gives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Author {
    peer: Option<Peer>,
    reason: Option<Reason>,
}

impl Author {
    /// Author of a request.
    ///
    /// # Errors
    ///
    /// A reason that is none.
    pub fn of<T>(request: &Request<T>) -> Result<Self, Refusal> {
        let reason = request.metadata().get_bin(REASON_METADATA).map(|value| match value.to_bytes() {
            Ok(bytes) => Reason::from_bytes(&bytes),
            Err(_) => Err(ctl_api::model::ReasonError::Encoding),
        });
        let peer = request.extensions().get::<Peer>().copied();
        Ok(Self { peer, reason: reason.transpose().map_err(Refusal::Reason)? })
    }

    /// Logs a change that made this revision.
    pub fn log(&self, change: &str, answer: &Answer) {
        let (peer, reason) = self.fields();
        let Answer { revision, changed, .. } = answer;
        tracing::info!(%revision, change, changed, peer, reason, "configuration changed");
    }

    /// Logs a change of something that has no revision: `count` of them, of the thing `name`.
    pub fn log_other(&self, change: &str, name: &dyn fmt::Display, count: usize) {
        let (peer, reason) = self.fields();
        tracing::info!(change, %name, changed = count, peer, reason, "changed");
    }

    /// Logs that the node is drained, or that this ends.
    pub fn log_drain(&self, drained: bool) {
        let (peer, reason) = self.fields();
        let change = if drained { "drain node" } else { "undrain node" };
        tracing::info!(change, peer, reason, "changed");
    }

    fn fields(&self) -> (impl tracing::Value + use<'_>, impl tracing::Value + use<'_>) {
        let peer = self.peer.as_ref().map(tracing::field::display);
        (peer, self.reason.as_ref().map(tracing::field::display))
    }
}

/// Kinds of a request's changes with their numbers, as in `join 2, delete domain 1`.
pub(crate) fn kinds(work: &Work, summary: Option<&Summary>) -> String {
    match (work, summary) {
        (Work::Changes(batch, _), _) => kinds_of(batch),
        (Work::Apply(..), Some(summary)) => {
            let count = |what, count: &ctl_api::proto::Count| {
                format!("{what} +{} ~{} -{}", count.added, count.changed, count.removed)
            };
            let Summary { teps, domains, havips, memberships_added, memberships_removed, .. } = summary;
            let counts = [count("TEPs", teps), count("domains", domains), count("HAVIPs", havips)].join(", ");
            format!("apply: {counts}, memberships +{memberships_added} -{memberships_removed}")
        }
        (Work::Apply(..), None) => "apply".to_owned(),
        (Work::Restore(_), _) => "restore".to_owned(),
    }
}

fn kinds_of(batch: &Batch) -> String {
    let mut kinds: Vec<(&str, usize)> = Vec::new();
    for change in &batch.changes {
        let kind = kind(change);
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => kinds.push((kind, 1)),
        }
    }
    let kinds: Vec<_> = kinds.into_iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    kinds.join(", ")
}

fn kind(change: &Change) -> &'static str {
    match change {
        Change::Set(set) => match set.as_ref() {
            Set { resource: SetResource::Tep(..), .. } => "set TEP",
            Set { resource: SetResource::Domain(..), .. } => "set domain",
            Set { resource: SetResource::Havip(..), .. } => "set HAVIP",
        },
        Change::Delete { target: Target::Tep(_), .. } => "delete TEP",
        Change::Delete { target: Target::Domain(_), .. } => "delete domain",
        Change::Delete { target: Target::Havip(_), .. } => "delete HAVIP",
        Change::Join { .. } => "join",
        Change::Leave { .. } => "leave",
        Change::SetAttachment { .. } => "attach",
        Change::DeleteAttachment { .. } => "detach",
        Change::Unfreeze { .. } => "unfreeze",
        Change::SetGateway { .. } => "set gateway",
        Change::DeleteGateway { .. } => "delete gateway",
    }
}
