//! Output of a program, line by line, with the arrival time of each line.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use testkit::node::{Node, binary};

/// A running program; killed when this value is dropped.
pub struct Lines {
    child: Child,
    lines: Arc<Mutex<Vec<(Duration, String)>>>,
}

/// Time since the Unix epoch, the clock of captured frames and of ping.
pub fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl Lines {
    /// Starts a program and reads what it says.
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let lines = Arc::new(Mutex::new(Vec::new()));
        if let Some(output) = child.stdout.take() {
            let lines = Arc::clone(&lines);
            // Ends with the program.
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let at = now();
                    lines.lock().unwrap_or_else(PoisonError::into_inner).push((at, line));
                }
            });
        }
        Ok(Self { child, lines })
    }

    /// Starts `bcastctl watch`.
    pub fn watch(node: &Node) -> Result<Self> {
        Self::start(Command::new(binary("bcastctl")).arg("--socket").arg(node.socket()).arg("watch"))
    }

    /// Arrival of the first wanted line from `since` on.
    pub fn first(&self, since: Duration, mut wanted: impl FnMut(&str) -> bool) -> Option<Duration> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let from = lines.partition_point(|(at, _)| *at < since);
        lines.get(from..)?.iter().find(|(_, line)| wanted(line)).map(|(at, _)| *at)
    }

    /// Arrival of each wanted line from `since` on.
    pub fn all(&self, since: Duration, wanted: impl Fn(&str) -> bool) -> Vec<Duration> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().filter(|(at, line)| *at >= since && wanted(line)).map(|(at, _)| *at).collect()
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_since_a_time_is_found() {
        let before = now();
        let lines = Lines::start(Command::new("printf").arg("one\\ntwo\\ntwo again\\n")).unwrap();
        let at = testkit::process::wait_for("two", || lines.first(before, |line| line.starts_with("two")));
        assert!(at >= before);
        assert_eq!(lines.first(now(), |_| true), None);
        assert_eq!(lines.first(before, |line| line == "three"), None);
        testkit::process::wait_for("three lines", || (lines.all(before, |_| true).len() == 3).then_some(()));
        assert_eq!(lines.all(before, |line| line.starts_with("two")).len(), 2);
    }
}
