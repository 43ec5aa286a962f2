//! bcastd: the daemon that replicates broadcast frames.
#![forbid(unsafe_code)]

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

mod announcer;
mod config;
mod counters;
mod daemon;
mod error;
mod http;
mod jobs;
mod limits;
mod live;
mod metrics;
mod netlink;
mod nexthops;
mod node;
mod outbox;
mod punt;
mod shield;
mod targets;
mod teps;
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

/// What is logged unless the environment's BCASTD_LOG says otherwise. netlink_proto warns of notifications that come while the
/// daemon stops.
const LOG: &str = "info,netlink_proto=error";

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = EnvFilter::try_from_env("BCASTD_LOG").unwrap_or_else(|_| EnvFilter::new(LOG));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    ctl_net::raise_descriptors();
    let done = if args.check {
        config::Config::load(&args.config).map(|_| ()).map_err(error::StartError::from)
    } else {
        daemon::run(&args.config)
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bcastd: {error}");
            ExitCode::FAILURE
        }
    }
}
