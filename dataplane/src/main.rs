//! bcastd: the daemon that replicates broadcast frames.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ctl_store::{Accepted, EmbeddedStore};

mod check;
mod clocks;
mod config;
mod conflict;
mod daemon;
mod drop_log;
mod error;
mod http;
mod liveness;
mod log;
mod metrics;
mod node;
mod port;
mod punt;
mod readiness;
mod stop;

use config::Config;
use error::StartError;

/// Replicates the broadcast and multicast frames of overlay networks to the member hypervisors of each.
#[derive(Parser)]
#[command(name = "bcastd", version = concat!(env!("CARGO_PKG_VERSION"), " (", env!("BCAST_COMMIT"), ")"))]
struct Args {
    /// The configuration file. SIGHUP reads it again.
    #[arg(long, default_value = "/etc/bcastd/bcastd.toml")]
    config: PathBuf,
    /// Checks the configuration file, and whether the daemon would start with it on this machine; changes nothing. Status 0
    /// and a line with OK, or 1 and a line for each fault.
    #[arg(long)]
    check: bool,
    /// Checks the configuration file alone, which may be another machine's, and does nothing else.
    #[arg(long, conflicts_with = "check")]
    check_file: bool,
    /// Accepts the store as it is, where it is refused because it is older than the last revision that was answered, or
    /// gone, or its revision file is missing or damaged. Says at which revision it goes on, and does nothing else.
    #[arg(long, conflicts_with_all = ["check", "check_file"])]
    accept_store: bool,
}

/// Time that the last line on standard error may take.
const LAST_LINE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let args = Args::parse();
    node::note_start();
    let failed = |errors: &[StartError]| {
        last_line(errors.iter().map(|error| format!("bcastd: {error}\n")).collect());
        ExitCode::FAILURE
    };
    let log = match log::start() {
        Ok(log) => log,
        Err(error) => return failed(&[error.into()]),
    };
    ctl_net::raise_descriptors();
    let done = match args {
        Args { check: true, config, .. } => check::run(&config),
        Args { check_file: true, config, .. } => check_file(&config).map_err(|error| vec![error]),
        Args { accept_store: true, config, .. } => accept_store(&config).map_err(|error| vec![error]),
        Args { config, .. } => daemon::run(&config).map_err(|error| vec![error]),
    };
    drop(log);
    done.map_or_else(|errors| failed(&errors), |()| ExitCode::SUCCESS)
}

/// Checks the text of a configuration file.
fn check_file(config: &Path) -> Result<(), StartError> {
    Config::load(config)?;
    println!("{}: OK", config.display());
    Ok(())
}

/// Makes a store that is refused one that is taken, above each revision that may have been given.
fn accept_store(config: &Path) -> Result<(), StartError> {
    let path = Config::load(config)?.store_path;
    let Accepted { found, next, changed } = EmbeddedStore::accept(&path)?;
    let path = path.display();
    if changed {
        println!("the store {path} is accepted at revision {found}; it goes on with revision {next}");
    } else {
        println!("the store {path} is whole, at revision {found}; there is nothing to accept");
    }
    Ok(())
}

/// Writes lines to standard error; where nobody takes it, the end of the process does not wait for that.
fn last_line(lines: String) {
    let (done, written) = std::sync::mpsc::channel();
    let write = move || {
        eprint!("{lines}");
        // Nobody waits any more where it took too long.
        let _late = done.send(());
    };
    if std::thread::Builder::new().spawn(write).is_ok() {
        let _written_or_late = written.recv_timeout(LAST_LINE);
    }
}
