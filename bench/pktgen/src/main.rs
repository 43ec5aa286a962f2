//! Sends overlay frames through a node, receives the copies, and accounts for every one.
//!
//! A plan ([`flow`]) says what is sent and who must get it. A [`send::Sender`] makes its frames when they are due; each inner
//! frame ends with its flow, its number and the time ([`frames::Trailer`]). A [`receive::Ledger`] holds every copy against
//! the plan. Modes ([`modes`]) make plans, run them through a [`rig::Rig`], and report.

mod clock;
mod error;
mod flow;
mod frames;
mod modes;
mod node;
mod outcome;
mod receive;
mod report;
mod rig;
mod send;
mod settings;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use error::Error;
use modes::{Mode, Session, Verdict};
use node::Node;
use rig::Rig;
use settings::Options;

/// Sends GRE broadcast and multicast frames to a node as its TEPs would, receives the copies, and tells for each member what was
/// lost, doubled, misdelivered or out of order, and how long it took.
#[derive(Parser)]
#[command(
    version,
    args_override_self = true,
    after_help = "Exit status: 0 passed, 1 something was lost or wrong, or a target was missed, 2 not run."
)]
struct CommandLine {
    /// What to measure, one after another.
    #[arg(required = true)]
    modes: Vec<Mode>,
    /// A file of options by their names, as in bench/pktgen/nic.toml; the command line wins.
    #[arg(long)]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

fn main() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        // Help and version are no errors.
        Err(words) if !words.use_stderr() => words.exit(),
        Err(error) => {
            eprintln!("pktgen: {}", in_one_line(&error.to_string()));
            return ExitCode::from(2);
        }
    };
    match run(line) {
        Ok(Verdict::Passed) => ExitCode::SUCCESS,
        Ok(Verdict::Failed) => ExitCode::from(1),
        Err(error) => {
            eprintln!("pktgen: {error}");
            ExitCode::from(2)
        }
    }
}

/// Its first paragraph: what is wrong, and what may be said instead.
fn in_one_line(error: &str) -> String {
    let first = error.split("\n\n").next().unwrap_or(error).trim_start_matches("error: ");
    first.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn run(line: CommandLine) -> Result<Verdict, Error> {
    let options = match &line.config {
        Some(file) => line.options.or_from(file)?,
        None => line.options,
    };
    let settings = options.check()?;
    let node = Node::connect(&settings)?;
    let rig = Rig::open(&settings)?;
    println!("{}", rig.describe());
    let mut session = Session { settings, rig, node };
    let mut verdict = Verdict::Passed;
    for mode in line.modes {
        let outcome = mode.run(&mut session);
        // What was made goes in any case; the first error is the one that counts.
        let cleared = session.node.clear();
        if outcome? == Verdict::Failed {
            verdict = Verdict::Failed;
        }
        cleared?;
    }
    Ok(verdict)
}
