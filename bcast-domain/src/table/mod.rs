//! The lock-free table of domains.
//!
//! # Trade-offs
//!
//! One thread writes, many threads read, and a read must cost nothing but the memory that it reads.
//!
//! - **Reads are wait-free.** A lookup takes no lock, no fence and no atomic read-modify-write. Readers never wait for the writer.
//! - **Writes pay for it.** A change copies the whole member list of its domain, even if one member joins.
//! - **Memory is freed late.** A replaced list stays until every reader has reported a quiescent point: a moment without
//!   references. One reader that neither reports nor goes offline keeps all memory that is retired from then on.
//! - **Readers cooperate.** A reader must report once per burst, and go offline before it sleeps.
//! - **Changes are visible one by one.** A reader may see one change of a batch before the others.
//!   Only [`Grace`] tells when all readers have seen all of it.
//! - **There is one writer of domains.** A second one would need a lock.
//!
//! So the table fits data that is read millions of times a second and changed some thousand times. For data that changes
//! as often as it is read, a lock is simpler and as fast.
//!
//! This is the one module of the crate with unsafe code.
#![allow(unsafe_code)]

mod array;
mod list;
mod owned;
mod publisher;
mod qsbr;
mod reader;
mod row;
pub(crate) mod slots;
pub(crate) mod sync;

use std::sync::Arc;

pub use array::ArrayPublisher;
pub use list::MemberList;
pub use publisher::DomainPublisher;
pub use qsbr::{Epoch, Grace, Laggards, Offline};
pub use reader::{HeldList, Reader, Readers};
pub use row::SharedRow;
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
