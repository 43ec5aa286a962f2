//! Why there are no figures.

use std::io;
use std::path::{Path, PathBuf};

use crate::check::Wrong;

/// Why a run ended.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A peer is not installed.
    #[error("{} is not there: bench/compare/install-peers installs it, --without {peer} does without", path.display())]
    Missing {
        /// Its name on the command line.
        peer: &'static str,
        /// What was looked for.
        path: PathBuf,
    },
    /// A command that prepares something.
    #[error("`{command}` failed: {output}")]
    Command {
        /// The command line.
        command: String,
        /// What it said.
        output: String,
    },
    /// A program did not say what it says when all is well.
    #[error("{peer} ended or said what it should not: {said:?}")]
    Answer {
        /// Who.
        peer: &'static str,
        /// The last that it said.
        said: String,
    },
    /// The frames that a figure is about did not all get through.
    #[error(
        "{candidate}: {lost} lost ({how}) while {of} frames came: the figure would not say what it seems to"
    )]
    Lost {
        /// Who lost them.
        candidate: String,
        /// How many frames or copies.
        lost: f64,
        /// Of so many frames.
        of: f64,
        /// Where that is seen.
        how: String,
    },
    /// What came out is not what should have.
    #[error("{candidate}: {wrong}")]
    Wrong {
        /// Who sent it.
        candidate: &'static str,
        /// What is wrong with it.
        wrong: Box<Wrong>,
    },
    /// More hugepages are needed.
    #[error(
        "{free_mb} MB of hugepages are free, {wanted_mb} are wanted: echo {pages} > /proc/sys/vm/nr_hugepages, or --no-hugepages"
    )]
    Hugepages {
        /// Free now.
        free_mb: u64,
        /// For all candidates of a point.
        wanted_mb: u64,
        /// How many there should be.
        pages: u64,
    },
    /// There is but one core.
    #[error("two cores are wanted: one forwards, the other does the rest")]
    Cores,
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// Of the system.
    #[error("{what}: {error}")]
    Io {
        /// What was done.
        what: String,
        /// What came of it.
        error: io::Error,
    },
    /// The daemon refused the domains.
    #[error("bcastd does not take the domains: {0}")]
    Api(Box<dyn std::error::Error>),
    /// No plot.
    #[error("the plot: {0}")]
    Plot(Box<dyn std::error::Error>),
}

/// Says what was done when an error came.
pub trait During<T> {
    /// Names what was done.
    ///
    /// # Errors
    /// The same, with that.
    fn during(self, what: impl Into<String>) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, what: impl Into<String>) -> Result<T, Failure> {
        self.map_err(|error| Failure::Io { what: what.into(), error: error.into() })
    }
}

/// A program that must be there.
///
/// # Errors
/// It is not.
pub fn must_be_there(peer: &'static str, path: &str) -> Result<(), Failure> {
    if Path::new(path).exists() {
        return Ok(());
    }
    Err(Failure::Missing { peer, path: path.into() })
}
