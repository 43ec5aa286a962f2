//! bcastctl: the command that changes and shows a node's broadcast domains and virtual IPs.
#![forbid(unsafe_code)]

mod apply;
mod args;
mod backup;
mod change;
mod confirm;
mod daemon;
mod domain;
mod drops;
mod event;
mod export;
mod failure;
mod havip;
mod hypervisor;
mod node;
mod out;
mod placement;
mod rates;
mod stats;
mod tep;
mod text;
mod values;
mod watch;
mod webhook;

use std::io::Write;
use std::process::ExitCode;

use args::{Command, CommandLine};
use clap::{CommandFactory, Parser};
use daemon::Daemon;
use failure::Failure;
use out::Out;

fn main() -> ExitCode {
    match run(CommandLine::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report();
            ExitCode::from(failure.status())
        }
    }
}

/// Runs the command. Buffered output is written when it returns.
fn run(line: CommandLine) -> Result<(), Failure> {
    let mut out = Out::new(line.output);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?;
    runtime.block_on(command(&mut out, line))?;
    out.flush()
}

async fn command(out: &mut Out, line: CommandLine) -> Result<(), Failure> {
    let daemon = Daemon { socket: line.socket, patience: line.timeout, reason: line.reason };
    let connect = daemon.connect();
    match line.command {
        Command::Tep(command) => tep::run(out, &mut connect.await?, command).await,
        Command::Domain(command) => domain::run(out, &mut connect.await?, command).await,
        Command::Havip(command) => havip::run(out, &mut connect.await?, command).await,
        Command::Node(command) => node::run(out, &mut connect.await?, command).await,
        Command::Hypervisor(command) => hypervisor::run(out, &mut connect.await?, command).await,
        Command::Placement { vni } => placement::run(out, &mut connect.await?, vni).await,
        Command::Webhook(command) => webhook::run(out, &mut connect.await?, command).await,
        Command::Apply(args) => apply::run(out, &daemon, args).await,
        Command::Watch { from } => watch::run(out, &mut connect.await?, from).await,
        Command::Export => export::run(out, &mut connect.await?).await,
        Command::Backup { file } => backup::backup(out, &mut connect.await?, &file).await,
        Command::Restore(args) => backup::restore(out, &daemon, args).await,
        Command::Stats { vni: None } => stats::node(out, &mut connect.await?).await,
        Command::Stats { vni: Some(vni) } => stats::domain(out, &mut connect.await?, vni).await,
        Command::Drops { only } => drops::run(out, &mut connect.await?, only.as_deref()).await,
        Command::Version => stats::version(out, connect.await).await,
        Command::Completions { shell } => {
            // The generator panics where its writer fails, and memory does not.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut CommandLine::command(), "bcastctl", &mut script);
            Ok(out.raw().write_all(&script)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }
}
