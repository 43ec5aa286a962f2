//! The lock-free table: the one place of this crate with unsafe code.
#![allow(unsafe_code)]

mod array;
mod list;
mod owned;
mod publisher;
mod qsbr;
mod reader;
pub(crate) mod slots;
pub(crate) mod sync;

use std::sync::Arc;

pub use array::ArrayPublisher;
pub use list::MemberList;
pub use publisher::DomainPublisher;
pub use qsbr::{Epoch, Grace, Laggards, Offline};
pub use reader::{HeldList, Reader, Readers};
#[cfg(loom)]
pub use sync::{SITES, live_allocations};

/// An empty table of domains, and `array`, which their members' indices point into.
pub fn table<A: Send + Sync + 'static>(array: A) -> (DomainPublisher, ArrayPublisher<A>, Readers<A>) {
    table_with_capacity(array, 0)
}

/// An empty table with slots for this many domains (at most [`MAX_DOMAINS`]), so that it need not grow to hold them.
///
/// A slot costs 32 bytes a domain, of which the operating system provides what is touched, when it is touched, in pages
/// of 2 MB if it can.
///
/// [`MAX_DOMAINS`]: crate::limits::MAX_DOMAINS
pub fn table_with_capacity<A: Send + Sync + 'static>(
    array: A,
    domains: usize,
) -> (DomainPublisher, ArrayPublisher<A>, Readers<A>) {
    let epochs = Arc::new(qsbr::Epochs::new());
    let domains = Arc::new(publisher::Domains::new(domains));
    let array = Arc::new(array::Array::new(array));
    (
        DomainPublisher::new(Arc::clone(&domains), &epochs),
        ArrayPublisher::new(Arc::clone(&array), &epochs),
        Readers::new(domains, array, epochs),
    )
}
