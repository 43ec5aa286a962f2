//! Broadcast domains and the lock-free table that workers read them from.
#![deny(unsafe_code)]

mod id;
pub mod limits;
mod lockfree;

pub use id::{DomainId, Tep, TepError, TepIndex, Vni, VniError};
pub use limits::LimitError;
pub use lockfree::{
    ArrayPublisher, DomainPublisher, Epoch, Grace, Laggards, MemberList, Offline, Reader, Readers, table,
    table_with_capacity,
};
#[cfg(loom)]
#[doc(hidden)]
pub use lockfree::{SITES, live_allocations};
