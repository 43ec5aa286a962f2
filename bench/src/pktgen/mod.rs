//! Sends overlay frames through a node, receives the copies, and accounts for every one. See docs/pktgen.md.
//!
//! A plan (`flow`) says what is sent and who must get it. A `send::Sender` makes its frames when they are due;
//! each inner frame ends with its flow, its number and the time (`frames::Trailer`). A `receive::Ledger` holds
//! every copy against the plan. Modes (`modes`) make plans, run them through a `rig::Rig`, and report.

mod clock;
mod flow;
mod frames;
mod modes;
mod node;
mod outcome;
mod receive;
mod rig;
mod send;
mod settings;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use anyhow::Result;

use self::modes::{Mode, Session};
use self::node::Node;
use self::rig::Rig;
use self::settings::Settings;
pub use self::settings::in_one_line;

/// Options of `bench pktgen`: for each member it tells what was lost, doubled, misdelivered or out of order, and how
/// long it took.
#[derive(clap::Args)]
#[command(
    args_override_self = true,
    after_help = "Exit status: 0 passed, 1 something was lost or wrong, or a target was missed, 2 not run."
)]
pub struct Args {
    /// Measurements, in this order
    #[arg(required = true)]
    modes: Vec<Mode>,
    /// A file of options by their names, as in bench/nic.toml; the command line wins
    #[arg(long)]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// The words of this program's command line; those of `bench pktgen --config FILE` with the file's options.
///
/// # Errors
/// The file cannot be read, or holds what no option is.
pub fn command_line() -> Result<Vec<String>> {
    settings::with_file(std::env::args().collect())
}

impl Args {
    /// Runs the modes; tells whether all passed.
    ///
    /// # Errors
    /// The node or the port refuse, or nothing comes back at all.
    pub fn run(self) -> Result<bool> {
        let device = self.settings.check()?;
        let node = Node::connect(&self.settings)?;
        let rig = Rig::open(&self.settings, &device)?;
        println!("{}", rig.describe());
        let mut session = Session { settings: self.settings, rig, node };
        let mut passed = true;
        for mode in self.modes {
            let outcome = mode.run(&mut session);
            // What was made is removed in any case; the first error is the one that counts.
            let cleared = session.node.clear();
            passed &= outcome?;
            cleared?;
        }
        Ok(passed)
    }
}
