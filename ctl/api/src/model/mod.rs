//! The validated model of the contract's messages.

mod address;
mod apply;
mod batch;
mod change;
mod domain;
mod error;
mod event;
mod havip;
mod name;
mod nodes;
mod reason;
mod refused;
mod stated;
mod tep;
mod word;

pub use address::bytes as ip_bytes;
pub use address::{NotUnicast, Subnet, SubnetError, ip, mac, tep, unicast};
pub use apply::{Apply, ApplyParts, Difference, Resource};
pub use batch::{Batch, BatchError, Conditions, Parts};
pub use change::{Change, Existing, Set, SetResource, Target};
pub use domain::{ArpInspection, DomainEntry, DomainFields};
pub use error::ModelError;
pub use event::{Event, HavipEvent, HavipEventKind, Offender};
pub use havip::{
    Attachment, AttachmentFields, Binding, Havip, HavipEntry, HavipError, HavipFields, HavipState, Holder,
    MAX_ATTACHMENT_TEPS, MAX_REFRESH_S, Place, Why,
};
pub use name::{Name, NameError, RequestId, RequestIdError, TepRef, TepRefError, TepSet};
pub use nodes::{MAX_NODES, OuterSource};
pub use reason::{Reason, ReasonError};
pub use refused::{RefusalReason, RefusedAnnouncement};
pub use stated::{Gateway, StatedAddresses};
pub use tep::{TepEntry, TepFields};
pub use word::{Word, WordError};

use std::fmt;

/// Most changes in one message.
pub const MAX_CHANGES: usize = 10_000;
/// Most bytes of one encoded message.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// Number of a committed change of the domains; it only grows. 0: nothing was ever committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(u64);

impl Revision {
    /// Greatest revision that a request may ask to be above: 2^52. Revisions after it are exact in JSON, too.
    pub const MAX_ABOVE: Self = Self(1 << 52);
    /// Greatest revision that a backup or an export may be of: 2^62. A node that was asked to be above
    /// [`Self::MAX_ABOVE`] stays below it for centuries.
    pub const MAX_SAVED: Self = Self(1 << 62);

    /// The revision with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Number of the revision.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The revision after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A field of a resource in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Field<T> {
    /// It stays as it is; with `replace` it is cleared.
    #[default]
    Absent,
    /// It is cleared.
    Clear,
    /// It gets this value.
    Value(T),
}

impl<T> Field<T> {
    /// The field after the request, where it was `old` before.
    #[must_use]
    pub fn over(&self, old: Option<T>, replace: bool) -> Option<T>
    where
        T: Clone,
    {
        match self {
            Self::Absent if !replace => old,
            Self::Absent | Self::Clear => None,
            Self::Value(value) => Some(value.clone()),
        }
    }

    /// The field of a resource as it is; absent where it is not set.
    pub(crate) fn present(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Self::Value)
    }

    /// Parses the field of a message; the empty value clears.
    pub(crate) fn parse<M: Default + PartialEq, E>(
        message: Option<M>,
        parse: impl FnOnce(M) -> Result<T, E>,
    ) -> Result<Self, E> {
        match message {
            None => Ok(Self::Absent),
            Some(empty) if empty == M::default() => Ok(Self::Clear),
            Some(given) => parse(given).map(Self::Value),
        }
    }

    /// The field of a message.
    pub(crate) fn message<M: Default>(self, message: impl FnOnce(T) -> M) -> Option<M> {
        match self {
            Self::Absent => None,
            Self::Clear => Some(M::default()),
            Self::Value(value) => Some(message(value)),
        }
    }
}
