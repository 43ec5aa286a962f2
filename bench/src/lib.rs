//! What the measurements share: the machine's description, reports and plots; a daemon on files instead of a network.

#![forbid(unsafe_code)]

pub mod daemon;
pub mod frames;
pub mod machine;
pub mod plot;
pub mod readme;
pub mod report;
pub mod stats;

pub use daemon::{Daemon, release_binary};
pub use frames::{NODE, overlay_frame, read_pcap, tep, write_pcap};
pub use stats::{quantile, spread};
