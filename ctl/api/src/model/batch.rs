//! A batch of changes: all of them or none.

use prost::Message;
use thiserror::Error;

use super::{Change, ChangeError, MAX_CHANGES, MAX_MESSAGE_BYTES, RequestId, RequestIdError, Revision};
use crate::proto;

/// Changes that commit together or not at all, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// The changes; each sees what those before it did.
    pub changes: Vec<Change>,
    /// Compare and set: refused unless the node is at this revision.
    pub expected: Option<Revision>,
    /// The caller's mark of this request.
    pub request_id: Option<RequestId>,
    /// Check everything, change nothing.
    pub dry_run: bool,
    /// The node shall be above this revision afterwards.
    pub above: Option<Revision>,
}

/// Why a message is not a [`Batch`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BatchError {
    /// One of its changes is wrong.
    #[error("change {position}: {error}")]
    Change {
        /// Which one, counted from 1.
        position: usize,
        /// What is wrong with it.
        error: ChangeError,
    },
    /// More changes than one message may hold.
    #[error("{0} changes in one message, at most {MAX_CHANGES}; send them in parts (CommitStream)")]
    TooManyChanges(usize),
    /// The request id is wrong.
    #[error(transparent)]
    RequestId(#[from] RequestIdError),
    /// The revision to be above is none that a node can have given.
    #[error("revision {0} to be above is not from 1 to {max}; give the revision of an export, or restore a backup", max = Revision::MAX_ABOVE)]
    Above(u64),
}

impl BatchError {
    /// The same error of a part that `before` changes came ahead of.
    #[must_use]
    pub fn after(self, before: usize) -> Self {
        match self {
            Self::Change { position, error } => Self::Change { position: position + before, error },
            other => other,
        }
    }
}

impl Batch {
    /// These changes, under no condition.
    #[must_use]
    pub fn new(changes: Vec<Change>) -> Self {
        Self { changes, ..Self::default() }
    }

    /// The batch as messages for `CommitStream`, each within [`MAX_CHANGES`] and [`MAX_MESSAGE_BYTES`]; the first
    /// carries the conditions. There is always a first.
    #[must_use]
    pub fn into_parts(self) -> Parts {
        let mut head = proto::CommitRequest::from(Self { changes: Vec::new(), ..self });
        head.changes.clear();
        Parts { head: Some(head), changes: self.changes.into_iter(), held: None }
    }
}

/// The messages of a large batch, made as they are asked for.
#[derive(Debug)]
pub struct Parts {
    head: Option<proto::CommitRequest>,
    changes: std::vec::IntoIter<Change>,
    /// The change that did not fit into the part before.
    held: Option<proto::Change>,
}

/// Bytes of a part that may be filled with changes: the rest is for the conditions.
const PART_BYTES: usize = MAX_MESSAGE_BYTES - 1024;
/// Bytes that a change in a list takes beside its own: tag and length.
const FRAMING_BYTES: usize = 6;

impl Iterator for Parts {
    type Item = proto::CommitRequest;

    fn next(&mut self) -> Option<proto::CommitRequest> {
        let first = self.head.is_some();
        let mut part = self.head.take().unwrap_or_default();
        let mut bytes = 0;
        while part.changes.len() < MAX_CHANGES {
            let Some(change) = self.held.take().or_else(|| self.changes.next().map(proto::Change::from))
            else {
                break;
            };
            bytes += change.encoded_len() + FRAMING_BYTES;
            if bytes > PART_BYTES && !part.changes.is_empty() {
                self.held = Some(change);
                break;
            }
            part.changes.push(change);
        }
        (first || !part.changes.is_empty()).then_some(part)
    }
}

fn above(number: u64) -> Result<Revision, BatchError> {
    let is_one = (1..=Revision::MAX_ABOVE.get()).contains(&number);
    is_one.then_some(Revision::new(number)).ok_or(BatchError::Above(number))
}

impl TryFrom<proto::CommitRequest> for Batch {
    type Error = BatchError;

    fn try_from(message: proto::CommitRequest) -> Result<Self, BatchError> {
        if message.changes.len() > MAX_CHANGES {
            return Err(BatchError::TooManyChanges(message.changes.len()));
        }
        let parse = |(index, change): (usize, proto::Change)| {
            Change::try_from(change).map_err(|error| BatchError::Change { position: index + 1, error })
        };
        Ok(Self {
            changes: message.changes.into_iter().enumerate().map(parse).collect::<Result<_, _>>()?,
            expected: message.expected_revision.map(Revision::new),
            request_id: message.request_id.as_deref().map(str::parse).transpose()?,
            dry_run: message.dry_run,
            above: message.above_revision.map(above).transpose()?,
        })
    }
}

impl From<Batch> for proto::CommitRequest {
    fn from(batch: Batch) -> Self {
        Self {
            changes: batch.changes.into_iter().map(proto::Change::from).collect(),
            expected_revision: batch.expected.map(Revision::get),
            request_id: batch.request_id.map(|id| id.as_str().to_owned()),
            dry_run: batch.dry_run,
            above_revision: batch.above.map(Revision::get),
        }
    }
}
