//! How long a virtual IP is away when its master fails, and what of that is the node's.
//!
//! [`failovers`] cuts off one Keepalived after the other and splits each outage; [`fanout`] times an announcement from the
//! node's port in to the last of many members out; [`burst`] announces very many addresses at once. All run a node in a lab of namespaces, as the end-to-end tests do, and time
//! by the kernel's stamps on captured frames.

mod burst;
mod churn;
mod failovers;
mod fanout;
mod layer3;
mod lines;
mod receiver;
mod times;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Freezes nothing: the default is five moves in 180 s, and here each round is one.
const FLAP_MOVES: i64 = 1_000_000;

/// Measures how virtual IPs fail over: real Keepalived on VMs behind Open vSwitch, in network namespaces. Needs root, and the
/// release build of bcastd and bcastctl.
#[derive(Parser)]
#[command(
    version,
    after_help = "The HAVIP's freeze threshold, [havip] flap_moves, is set to 1000000 in 180 s, so that nothing freezes.\n\
                  Exit status: 0 all targets met, 1 one was missed, 2 not run."
)]
struct CommandLine {
    #[command(subcommand)]
    mode: Mode,
    /// Where the report and the plot go; default: bench/results
    #[arg(long, global = true)]
    results: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Mode {
    /// Cuts off the master, again and again, while a third VM pings the address every 5 ms
    Keepalived {
        /// How often
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        count: u32,
    },
    /// Times gratuitous ARPs that move an address, from the node's port in to the last copy out and to a webhook's receiver
    Fanout {
        /// Copies that each makes
        #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u16).range(2..=4096))]
        members: u16,
        /// How many
        #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        count: u32,
    },
    /// Announces very many addresses within a second, and waits until all are bound
    Burst {
        /// How many
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
        havips: u16,
    },
    /// Times answers of the control path while a full BGP table keeps changing beside 65,534 TEPs
    Churn {
        /// Routes in the table
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
        routes: u32,
    },
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Labs are made by root.
    #[error("labs of network namespaces are made by root: run this as root")]
    NotRoot,
    /// A round that did not show all that it shall.
    #[error("round {round}: {what} was not seen")]
    Unseen {
        /// Which, from 1.
        round: u32,
        /// What.
        what: &'static str,
    },
    /// The report.
    #[error("cannot write the report: {0}")]
    Report(#[from] std::io::Error),
    /// The API.
    #[error(transparent)]
    Api(#[from] ctl_api::ClientError),
    /// The plot.
    #[error("cannot draw the plot: {0}")]
    Plot(#[from] bench::plot::PlotError),
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let results = line.results.unwrap_or_else(bench::report::folder);
    let run = match line.mode {
        _ if !is_root() => Err(Error::NotRoot),
        Mode::Keepalived { count } => failovers::run(count, &results),
        Mode::Burst { havips } => burst::run(havips, &results),
        Mode::Churn { routes } => churn::run(routes, &results),
        Mode::Fanout { members, count } => fanout::run(members, count, &results),
    };
    match run {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("failover: {error}");
            ExitCode::from(2)
        }
    }
}

/// By the owner of what this process is to the kernel.
fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}
