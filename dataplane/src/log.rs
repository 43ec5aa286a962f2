//! The log, on standard error: lines wait in a bounded queue, so that a reader that takes none holds nothing up.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Levels unless the environment's BCASTD_LOG says otherwise. netlink_proto warns of messages
/// that come while the daemon stops, h2 of clients that reset their streams.
const LEVELS: &str = "info,netlink_proto=error,h2=error";
/// Lines that may wait to be written; further ones are lost, and counted.
const WAITING: usize = 8_192;

static LOST: OnceLock<ErrorCounter> = OnceLock::new();

/// Starts to log. What waits is written when the guard is dropped, within about a second.
pub fn start() -> WorkerGuard {
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING).finish(std::io::stderr());
    LOST.get_or_init(|| writer.error_counter());
    let filter = EnvFilter::try_from_env("BCASTD_LOG").unwrap_or_else(|_| EnvFilter::new(LEVELS));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    guard
}

/// Lines of the log that were lost: more waited than the queue holds.
pub fn lost() -> u64 {
    LOST.get().map_or(0, |lost| lost.dropped_lines() as u64)
}
