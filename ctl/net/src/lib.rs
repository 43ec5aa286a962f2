//! Bounded connections, for every server of the daemon.
//!
//! [`Connections`] bounds their number, [`serve`] accepts them, [`Guarded`] cuts those whose peer takes nothing, and
//! [`raise_descriptors`] makes room for them. [`authority`] lets HTTP/2 clients of a Unix socket name it as they like.
#![forbid(unsafe_code)]

mod accept;
pub mod authority;
mod connections;
mod descriptors;
mod guarded;

pub use accept::serve;
pub use connections::{Activity, Admitted, Connections, Figures};
pub use descriptors::raise_descriptors;
pub use guarded::{Guarded, Patience, Seen};
