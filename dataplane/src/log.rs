//! The log, on standard error: lines wait in a bounded queue, so that a reader that takes none holds nothing up.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing::Level;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Levels unless the environment's BCASTD_LOG says otherwise. netlink_proto warns of messages
/// that come while the daemon stops, h2 of clients that reset their streams.
const LEVELS: &str = "info,netlink_proto=error,h2=error";
/// Lines that may wait to be written; further ones are lost, and counted.
const WAITING: usize = 8_192;
/// Environment variable with the levels.
const VARIABLE: &str = "BCASTD_LOG";
/// Modules whose level may be set apart: crates of bcastd, and libraries that log.
const TARGETS: [&str; 20] = [
    "bcast_domain",
    "bcastd",
    "ctl_api",
    "ctl_havip",
    "ctl_net",
    "ctl_routes",
    "ctl_server",
    "ctl_store",
    "ctl_webhook",
    "dpdk",
    "engine",
    "h2",
    "hyper",
    "hyper_util",
    "netlink",
    "netlink_proto",
    "rustls",
    "tonic",
    "tower",
    "underlay",
];

static LOST: OnceLock<ErrorCounter> = OnceLock::new();

/// Fault of `BCASTD_LOG`.
#[derive(Debug, thiserror::Error)]
#[error(
    "BCASTD_LOG: \"{part}\" {problem}; it takes a level (off, error, warn, info, debug, trace) and after commas MODULE=LEVEL, as \
     in \"info\" or \"info,ctl_server=debug\""
)]
pub struct LogError {
    part: String,
    problem: String,
}

/// Checks levels: each part is a level, or the level of a module. Returns them without blanks between the parts.
fn check(levels: &str) -> Result<String, LogError> {
    let is_level = |word: &str| word.eq_ignore_ascii_case("off") || word.parse::<Level>().is_ok();
    let parts: Vec<&str> = levels.split(',').map(str::trim).collect();
    for &part in &parts {
        let problem = match part.split_once('=') {
            None if is_level(part) => continue,
            None => "is no level".to_owned(),
            Some((target, level)) => match target.split("::").next() {
                Some(module) if !TARGETS.contains(&module) => {
                    format!("names no module of bcastd, which are {}", TARGETS.join(", "))
                }
                _ if is_level(level) => continue,
                _ => format!("has no level: \"{level}\""),
            },
        };
        return Err(LogError { part: part.to_owned(), problem });
    }
    Ok(parts.join(","))
}

/// Levels that are in force. An empty variable is none.
fn levels() -> Result<String, LogError> {
    let Some(given) = std::env::var_os(VARIABLE).filter(|levels| !levels.is_empty()) else {
        return Ok(LEVELS.to_owned());
    };
    check(&given.to_string_lossy())
}

/// Starts to log. What waits is written when the guard is dropped, within about a second.
///
/// # Errors
/// `BCASTD_LOG` is wrong.
pub fn start() -> Result<WorkerGuard, LogError> {
    let levels = levels()?;
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING).finish(std::io::stderr());
    LOST.get_or_init(|| writer.error_counter());
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(levels))
        .with_writer(writer)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    Ok(guard)
}

/// Lines of the log that were lost: more waited than the queue holds.
pub fn lost() -> u64 {
    LOST.get().map_or(0, |lost| lost.dropped_lines() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_with_a_typo_are_refused_with_the_right_forms_and_right_ones_are_taken() {
        for right in [LEVELS, "debug", "OFF", "warn, engine=trace", "info,ctl_server::commit=debug", "3"] {
            let levels = check(right).unwrap();
            assert!(EnvFilter::try_new(&levels).is_ok(), "{levels}");
        }
        for (wrong, words) in [
            ("debgu", "\"debgu\" is no level"),
            ("info,", "\"\" is no level"),
            ("info,engin=debug", "\"engin=debug\" names no module of bcastd"),
            ("engine=verbose", "\"engine=verbose\" has no level: \"verbose\""),
            ("engine", "\"engine\" is no level"),
            ("info;debug", "\"info;debug\" is no level"),
            ("[span]=debug", "names no module"),
        ] {
            let error = check(wrong).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("MODULE=LEVEL"), "{wrong}: {error}");
        }
    }
}
