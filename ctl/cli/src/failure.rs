//! Failures of commands: one line on standard error, and the exit status.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;

use ctl_api::ClientError;
use ctl_api::client::RefusalKind;
use thiserror::Error;

use crate::apply::syntax::SyntaxError;
use crate::backup::file::BackupError;

/// Exit status of a refusal.
const REFUSED: u8 = 1;
/// Exit status of wrong usage, as clap has it.
const USAGE: u8 = 2;
/// Exit status where nobody answers.
const UNREACHABLE: u8 = 3;

/// Reason why a command was not done.
#[derive(Debug, Error)]
pub enum Failure {
    /// The daemon refused, or cannot be reached.
    #[error("{}", client_words(.0))]
    Client(#[from] ClientError),
    /// Two gateways of one family.
    #[error("{one} and {other} are of one family; give one IPv4 address, one IPv6 address, or one of each")]
    SameFamily {
        /// First gateway.
        one: IpAddr,
        /// Second gateway.
        other: IpAddr,
    },
    /// Commands about nodes where none is configured.
    #[error(
        "no nodes are configured; list them all, this one too, in the daemon's configuration as [[cluster.nodes]]"
    )]
    NoNodes,
    /// Nodes of the daemon among which no placement can be made.
    #[error("the daemon's nodes cannot be placed: {0}")]
    Placement(#[from] ctl_placement::PlacementError),
    /// A watch ended from the other side.
    #[error("{why}; go on with --from {next}")]
    WatchEnded {
        /// Reason of its end.
        why: String,
        /// First revision that was not seen whole.
        next: u64,
    },
    /// A file that cannot be read.
    #[error("cannot read {}: {reason}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The kernel's error.
        reason: io::Error,
    },
    /// An apply file with an error in its text.
    #[error("{}: {reason}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Error and its place.
        reason: SyntaxError,
    },
    /// An entry of an apply file that the node refuses.
    #[error("{}: {entry}: {reason}", file.display())]
    Entry {
        /// The file.
        file: PathBuf,
        /// Entry, as in `domains[2]`.
        entry: String,
        /// The daemon's words.
        reason: String,
    },
    /// A file that is no whole backup.
    #[error("{}: {reason}", file.display())]
    Backup {
        /// The file.
        file: PathBuf,
        /// Error in it.
        reason: BackupError,
    },
    /// A backup that cannot be written.
    #[error("cannot write {}: {reason}; the file is as it was before", file.display())]
    BackupWrite {
        /// The file.
        file: PathBuf,
        /// The kernel's error.
        reason: io::Error,
    },
    /// Removal of something that is not there.
    #[error("{0}; nothing was changed (with --if-exists this is no failure)")]
    Absent(String),
    /// Removal of much that nobody confirmed.
    #[error("{0}: nothing was changed; run it again with --yes if it is meant")]
    Unconfirmed(String),
    /// The node changed each time after the removals of a restore were counted.
    #[error(
        "the node changed each time before the backup was sent: nothing was changed; run it again with --yes"
    )]
    RestoreMoved,
    /// Standard output is full or gone otherwise.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    /// The reader of standard output has read enough: no failure at all.
    #[error("standard output was closed")]
    Closed,
    /// The I/O driver could not start.
    #[error("cannot start: {0}")]
    Runtime(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Output(error),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        io::Error::from(error).into()
    }
}

impl Failure {
    /// Says why on standard error, in one line.
    pub fn report(&self) {
        if !matches!(self, Self::Closed) {
            let words = self.to_string();
            let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
            // Where standard error is closed as well, nobody is left to tell.
            let _ = writeln!(io::stderr(), "bcastctl: {line}");
        }
    }

    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::SameFamily { .. } => USAGE,
            Self::Client(
                ClientError::Unreachable { .. }
                | ClientError::Lost { .. }
                | ClientError::Silent { .. }
                | ClientError::Refused { kind: RefusalKind::Unconfirmed(None), .. },
            )
            | Self::WatchEnded { .. } => UNREACHABLE,
            _ => REFUSED,
        }
    }
}

fn client_words(error: &ClientError) -> String {
    match error {
        ClientError::Unreachable { reason, .. } => match reason.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                format!("{error}: start bcastd, or name its socket with --socket")
            }
            io::ErrorKind::PermissionDenied => {
                format!("{error}: run this as root or as the user that bcastd runs as")
            }
            _ => error.to_string(),
        },
        ClientError::Refused { kind: RefusalKind::Unconfirmed(Some(revision)), .. } => format!(
            "committed as revision {revision}, but not every worker has confirmed within 1 s; see bcastctl stats"
        ),
        other => other.to_string(),
    }
}
