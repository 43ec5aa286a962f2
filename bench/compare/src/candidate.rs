//! Candidates: programs that take turns in each round.

use std::path::Path;

use anyhow::{Error, Result, anyhow, bail, ensure};

/// One that is measured: it runs only in its own turns.
pub trait Candidate {
    /// Name in the table.
    fn name(&self) -> &str;

    /// Forwards for about so many seconds, and gives million copies (of a hostile flood: frames) per second of CPU
    /// time of what forwards.
    fn measure(&mut self, seconds: f64) -> Result<f64>;

    /// Remark on its figures.
    fn note(&self) -> Option<String> {
        None
    }
}

/// Million a second.
pub fn rate(count: f64, cpu_ns: u64) -> f64 {
    count * 1e3 / cpu_ns as f64
}

/// Asks for counters until they stand still, and something was counted.
pub fn settled(peer: &'static str, mut counters: impl FnMut() -> Result<(f64, f64)>) -> Result<()> {
    let mut last = (0.0, 0.0);
    for _ in 0..100 {
        wait(0.3);
        let now = counters()?;
        if now == last && now.1 > 0.0 {
            return Ok(());
        }
        last = now;
    }
    bail!("{peer}: {} frames received and {} sent after 30 s", last.0, last.1)
}

/// Sleeps.
pub fn wait(seconds: f64) {
    std::thread::sleep(std::time::Duration::from_secs_f64(seconds));
}

/// Error of a candidate that did not forward all: the figure would not say what it seems to.
pub fn lost(candidate: &str, lost: f64, how: &str, of: f64) -> Error {
    anyhow!("{candidate}: {lost} lost ({how}) while {of} frames came: its figure would be wrong")
}

/// Error of a program that did not say what it says when all is well.
pub fn unexpected(peer: &str, output: &str) -> Error {
    anyhow!("{peer} ended or said what it should not: {output:?}")
}

/// Checks that a program is installed.
pub fn must_be_there(peer: &str, path: &str) -> Result<()> {
    let installs = "bench/compare/install-peers installs it";
    ensure!(Path::new(path).exists(), "{path} is not there: {installs}, --without {peer} does without");
    Ok(())
}
