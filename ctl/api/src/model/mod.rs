//! The validated model: what a message may say, in types that cannot say anything else.

mod batch;
mod change;
mod convert;
mod event;
mod havip;
mod limit;
mod name;
mod rows;
mod subnet;

pub use batch::{Batch, BatchError, Parts};
pub use change::{Change, ChangeError};
pub use convert::HavipMessageError;
pub use event::{HappeningKind, HavipEvent, Offender};
pub use havip::{
    Attachment, Binding, GarpMode, Havip, HavipEntry, HavipError, HavipState, Holder, MAX_ATTACHMENT_TEPS,
    MAX_REFRESH_S, Why, WordError,
};
pub use name::{Name, NameError, RequestId, RequestIdError, TepRef, TepRefError};
pub use rows::{DomainEntry, Event, RowError, TepEntry};
pub use subnet::{NotUnicast, Subnet, SubnetError, unicast};

use std::fmt;

/// Most changes in one message.
pub const MAX_CHANGES: usize = 10_000;
/// Most bytes of one encoded message.
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// The number that each committed change of the domains gets; it only grows. 0: nothing was ever committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(u64);

impl Revision {
    /// Greatest revision that a request may ask to be above: 2^52. What follows it is exact in JSON, too.
    pub const MAX_ABOVE: Self = Self(1 << 52);
    /// Greatest revision that a backup or an export may be of: 2^62. What a node that was asked to be above [`Self::MAX_ABOVE`]
    /// gives for centuries is below it.
    pub const MAX_SAVED: Self = Self(1 << 62);

    /// The revision with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after it.
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
