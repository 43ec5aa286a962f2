//! Record of a run, for people.

use std::collections::VecDeque;
use std::fmt::Write as _;

/// Steps that are printed where a run fails.
const LAST_STEPS: usize = 20;

/// Steps that were done, in words.
pub struct Trace {
    pub seed: u64,
    pub step: u64,
    pub last: VecDeque<String>,
    pub all: String,
}

impl Trace {
    pub fn say(&mut self, words: String) {
        let line = format!("{}: {words}", self.step);
        writeln!(self.all, "{line}").unwrap();
        self.last.push_back(line);
        if self.last.len() > LAST_STEPS {
            self.last.pop_front();
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let last: Vec<String> = self.last.drain(..).collect();
            eprintln!(
                "the simulation failed: seed {}, step {}; once more with SIMULATION_SEED={}\n{}",
                self.seed,
                self.step,
                self.seed,
                last.join("\n")
            );
        }
    }
}
