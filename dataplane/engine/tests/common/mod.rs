//! A port whose ring, pools, link and clock the test controls, and a worker on a port with domains and TEPs.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "each test uses its own part"
)]

pub mod port;
pub mod rig;

pub use port::*;
pub use rig::*;
