//! What takes its turn in each round.

use crate::error::Failure;

/// One that is measured: it runs only in its own turns.
pub trait Candidate {
    /// As the table calls it.
    fn name(&self) -> &str;

    /// Forwards for about so many seconds, and gives million copies (of a hostile flood: frames) per second of CPU time of
    /// what forwards.
    ///
    /// # Errors
    /// It ended, or lost what it should have forwarded.
    fn turn(&mut self, seconds: f64) -> Result<f64, Failure>;

    /// What one should know of its figures.
    fn note(&self) -> Option<String> {
        None
    }
}

/// Million a second.
pub fn rate(count: f64, cpu_ns: u64) -> f64 {
    count * 1e3 / cpu_ns as f64
}

/// Asks for counters until they stand still, and something was counted.
///
/// # Errors
/// They do not within half a minute, or cannot be read.
pub fn settled(
    peer: &'static str,
    mut counters: impl FnMut() -> Result<(f64, f64), Failure>,
) -> Result<(), Failure> {
    let mut last = (0.0, 0.0);
    for _ in 0..100 {
        wait(0.3);
        let now = counters()?;
        if now == last && now.1 > 0.0 {
            return Ok(());
        }
        last = now;
    }
    Err(Failure::Answer { peer, said: format!("{} frames received and {} sent after 30 s", last.0, last.1) })
}

/// Sleeps.
pub fn wait(seconds: f64) {
    std::thread::sleep(std::time::Duration::from_secs_f64(seconds));
}
