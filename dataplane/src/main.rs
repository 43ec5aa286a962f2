//! bcastd: the daemon that replicates broadcast frames.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

mod announcer;
mod clocks;
mod config;
mod counters;
mod daemon;
mod error;
mod jobs;
mod limits;
mod live;
mod log;
mod metrics;
mod node;
mod outbox;
mod punt;
mod readiness;
mod shield;
mod stop;
mod tap;
mod targets;
mod teps;
mod underlay;
mod worker;

/// Replicates the broadcast and multicast frames of overlay networks to the member hypervisors of each.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The configuration file. SIGHUP reads it again.
    #[arg(long, default_value = "/etc/bcastd/bcastd.toml")]
    config: PathBuf,
    /// Checks the configuration file, and does nothing else.
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let log = log::start();
    let done = if args.check {
        config::Config::load(&args.config).map(|_| ()).map_err(error::StartError::from)
    } else {
        daemon::run(&args.config)
    };
    drop(log);
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bcastd: {error}");
            ExitCode::FAILURE
        }
    }
}
