//! Command line of the measurements.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use bench::{bfd, failover, harness::figures, load, micro, pktgen};
use clap::{CommandFactory, Parser};

/// Measures bcast. Build bcastd and bcastctl first: `cargo build --release`.
#[derive(Parser)]
#[command(version, after_help = "Exit status: 0 done and all targets met, 1 a target was missed, 2 not run.")]
enum Command {
    /// Seconds to load domains through the API, and from a restart to ready with them; and the memory that they take
    Load(load::Load),
    /// Milliseconds until a join is answered, while other changes go on
    Join(load::Join),
    /// Outage of a virtual IP whose master fails, and the node's share of it
    Failover(failover::Args),
    /// Share of a worker's CPU that BFD sessions with many hypervisors take
    Bfd(bfd::Args),
    /// CPU time of lookups and changes of the table, and of announcements
    Micro(micro::Args),
    /// Sends overlay frames through a node, receives the copies, and accounts for every one
    Pktgen(Box<pktgen::Args>),
    /// Writes the figures of bench/results into README.md and docs/benchmarks.md, between their markers
    Figures,
}

fn main() -> ExitCode {
    let words = pktgen::command_line();
    let name = std::env::args().nth(1).filter(|name| Command::command().find_subcommand(name).is_some());
    let name = name.unwrap_or_else(|| "bench".into());
    let command = match words.map(Command::try_parse_from) {
        Ok(Ok(command)) => command,
        // Help and version are no errors; with no command at all, the help says which there are.
        Ok(Err(words)) if !words.use_stderr() || std::env::args().len() == 1 => words.exit(),
        Ok(Err(error)) => return refuse(&name, &pktgen::in_one_line(&error)),
        Err(error) => return refuse(&name, &format!("{error:#}")),
    };
    let done = match command {
        Command::Load(args) => args.run(),
        Command::Join(args) => args.run(),
        Command::Failover(args) => args.run(),
        Command::Bfd(args) => args.run(),
        Command::Micro(args) => args.run(),
        Command::Pktgen(args) => args.run(),
        Command::Figures => figures::write().map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => refuse(&name, &format!("{error:#}")),
    }
}

fn refuse(name: &str, error: &str) -> ExitCode {
    eprintln!("{name}: {error}");
    ExitCode::from(2)
}
