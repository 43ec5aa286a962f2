//! Batches of changes: all of them or none.

use prost::Message;
use thiserror::Error;

use super::{Change, MAX_CHANGES, MAX_MESSAGE_BYTES, ModelError, RequestId, RequestIdError, Revision};
use crate::proto;

/// Conditions of a request that changes something.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conditions {
    /// Compare and set: refused where the configuration changed after this revision, or the node is not there yet. What
    /// workers hear (moves, events) makes revisions that do not count.
    pub expected: Option<Revision>,
    /// The caller's mark of this request.
    pub request_id: Option<RequestId>,
    /// Everything is checked, nothing is changed.
    pub dry_run: bool,
    /// The node is above this revision afterwards.
    pub above: Option<Revision>,
    /// A deletion of something that is not there is refused, instead of noted.
    pub must_exist: bool,
    /// Removals that may be: of memberships, of HAVIPs.
    pub confirmed: proto::Removals,
}

/// Changes that commit together or not at all, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// The changes; each sees what those before it did.
    pub changes: Vec<Change>,
    /// Conditions.
    pub conditions: Conditions,
}

/// Why a message is no batch, and no part of a desired state.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the texts name the fields")]
pub enum BatchError {
    /// One of its changes or entries is wrong, in `field`, a path in it like "set.domain.members". `what` is "change"
    /// or "entry"; `position` is its number, from 1 over all parts.
    #[error("{part} {position}: {error}")]
    Item { part: &'static str, position: usize, field: String, error: ModelError },
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

impl Conditions {
    /// Parses the conditions of a message.
    pub(super) fn parse(
        expected: Option<u64>,
        request_id: Option<&str>,
        dry_run: bool,
        above: Option<u64>,
    ) -> Result<Self, BatchError> {
        let above = above.map(|number| match number {
            1.. if number <= Revision::MAX_ABOVE.get() => Ok(Revision::new(number)),
            _ => Err(BatchError::Above(number)),
        });
        Ok(Self {
            expected: expected.map(Revision::new),
            request_id: request_id.map(str::parse).transpose()?,
            dry_run,
            above: above.transpose()?,
            ..Self::default()
        })
    }
}

impl Batch {
    /// Batch of these changes, without conditions.
    #[must_use]
    pub fn new(changes: Vec<Change>) -> Self {
        Self { changes, ..Self::default() }
    }

    /// Parses a message that `before` changes of the same stream came ahead of.
    ///
    /// # Errors
    ///
    /// Too many changes, one that is wrong, or wrong conditions.
    pub fn parse(message: proto::CommitRequest, before: usize) -> Result<Self, BatchError> {
        if message.changes.len() > MAX_CHANGES {
            return Err(BatchError::TooManyChanges(message.changes.len()));
        }
        let parse = |(index, change): (usize, proto::Change)| {
            let position = before + index + 1;
            Change::parse(change).map_err(|(field, error)| BatchError::Item {
                part: "change",
                position,
                field,
                error,
            })
        };
        let id = message.request_id.as_deref();
        let conditions =
            Conditions::parse(message.expected_revision, id, message.dry_run, message.above_revision)?;
        Ok(Self {
            conditions: Conditions {
                must_exist: message.must_exist,
                confirmed: message.confirm_removals.unwrap_or_default(),
                ..conditions
            },
            changes: message.changes.into_iter().enumerate().map(parse).collect::<Result<_, _>>()?,
        })
    }

    /// The batch as messages for `CommitStream`, each within [`MAX_CHANGES`] and [`MAX_MESSAGE_BYTES`]; the first
    /// carries the conditions. There is always a first.
    #[must_use]
    pub fn into_parts(self) -> Parts {
        let to_message: fn(Change) -> proto::Change = proto::Change::from;
        let head = Self { changes: Vec::new(), conditions: self.conditions }.into();
        Parts { head: Some(head), changes: Packer::new(self.changes.into_iter().map(to_message)) }
    }
}

impl From<Batch> for proto::CommitRequest {
    fn from(Batch { changes, conditions }: Batch) -> Self {
        Self {
            changes: changes.into_iter().map(proto::Change::from).collect(),
            expected_revision: conditions.expected.map(Revision::get),
            request_id: conditions.request_id.map(|id| id.as_str().to_owned()),
            dry_run: conditions.dry_run,
            above_revision: conditions.above.map(Revision::get),
            must_exist: conditions.must_exist,
            confirm_removals: Some(conditions.confirmed).filter(|some| *some != proto::Removals::default()),
        }
    }
}

type Changes = std::iter::Map<std::vec::IntoIter<Change>, fn(Change) -> proto::Change>;

/// The messages of a large batch, made as they are asked for.
#[derive(Debug)]
pub struct Parts {
    head: Option<proto::CommitRequest>,
    changes: Packer<Changes>,
}

impl Iterator for Parts {
    type Item = proto::CommitRequest;

    fn next(&mut self) -> Option<proto::CommitRequest> {
        let head = self.head.take();
        let changes = self.changes.next_part(MAX_CHANGES);
        let is_part = head.is_some() || !changes.is_empty();
        is_part.then(|| proto::CommitRequest { changes, ..head.unwrap_or_default() })
    }
}

/// Messages that are cut into parts of a bounded number of bytes.
#[derive(Debug)]
pub(super) struct Packer<I: Iterator> {
    items: I,
    /// The item that did not fit into the part before.
    next: Option<I::Item>,
}

/// Bytes of a part that may be filled with items: the rest is for the conditions.
const PART_BYTES: usize = MAX_MESSAGE_BYTES - 1024;
/// Bytes that an item in a list takes beside its own: tag and length.
const FRAMING_BYTES: usize = 6;

impl<I: Iterator<Item: Message>> Packer<I> {
    pub fn new(items: I) -> Self {
        Self { items, next: None }
    }

    /// The items of the next part, at most so many; none at the end.
    pub fn next_part(&mut self, most: usize) -> Vec<I::Item> {
        let (mut part, mut bytes) = (Vec::new(), 0);
        while part.len() < most {
            let Some(item) = self.next.take().or_else(|| self.items.next()) else { break };
            bytes += item.encoded_len() + FRAMING_BYTES;
            if bytes > PART_BYTES && !part.is_empty() {
                self.next = Some(item);
                break;
            }
            part.push(item);
        }
        part
    }

    /// No item is left.
    pub fn is_done(&mut self) -> bool {
        if self.next.is_none() {
            self.next = self.items.next();
        }
        self.next.is_none()
    }
}
