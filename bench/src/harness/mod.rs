//! Shared parts of the measurements: frames, statistics, the machine's description, reports, plots, the figures in
//! the documents.

pub mod api;
pub mod figures;
pub mod frames;
pub mod machine;
pub mod plot;
pub mod report;
pub mod stats;
pub mod table;
pub mod thread;

pub use frames::{NODE, tep};
pub use report::{Figure, Report};
pub use stats::{Spread, quantile};
pub use table::table;
