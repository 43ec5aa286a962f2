//! bcastctl: the command that changes and shows a node's broadcast domains and virtual IPs.
#![forbid(unsafe_code)]

mod apply;
mod args;
mod backup;
mod change;
mod export;
mod failure;
mod havip;
mod limit;
mod out;
mod shapes;
mod show;
mod stats;
mod watch;
mod webhook;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use ctl_api::Client;

use args::{Command, CommandLine, DomainCommand, HavipCommand, TepCommand};
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

/// Does the command; what is buffered for standard output is out when it returns.
fn run(line: CommandLine) -> Result<(), Failure> {
    let mut out = Out::new(line.output);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::Runtime)?;
    runtime.block_on(command(&mut out, line))?;
    out.flush()
}

async fn command(out: &mut Out, line: CommandLine) -> Result<(), Failure> {
    let patience = Some(line.timeout);
    let connect = Client::connect_with(&line.socket, patience);
    match line.command {
        Command::Tep(TepCommand::List) => show::teps(out, &mut connect.await?).await,
        Command::Tep(TepCommand::Show { tep }) => show::tep(out, &mut connect.await?, tep).await,
        Command::Tep(TepCommand::Limit { tep, rates }) if rates.is_empty() => {
            limit::show_tep(out, &mut connect.await?, tep).await
        }
        Command::Tep(TepCommand::NextHop { tep, next_hops, none: false }) if next_hops.is_empty() => {
            show::tep_next_hops(out, &mut connect.await?, tep).await
        }
        Command::Tep(change) => change::tep(out, &mut connect.await?, change).await,
        Command::Domain(DomainCommand::List) => show::domains(out, &mut connect.await?).await,
        Command::Domain(DomainCommand::Show { vni }) => show::domain(out, &mut connect.await?, vni).await,
        Command::Domain(DomainCommand::Limit { vni, rates }) if rates.is_empty() => {
            limit::show_domain(out, &mut connect.await?, vni).await
        }
        Command::Domain(DomainCommand::Garp { vni, mode: None }) => {
            show::garp(out, &mut connect.await?, vni).await
        }
        Command::Domain(change) => change::domain(out, &mut connect.await?, change).await,
        Command::Havip(HavipCommand::List) => havip::list(out, &mut connect.await?).await,
        Command::Havip(HavipCommand::Show { name }) => havip::show(out, &mut connect.await?, &name).await,
        Command::Havip(HavipCommand::History { name }) => {
            havip::history(out, &mut connect.await?, &name).await
        }
        Command::Havip(change) => havip::change(out, &mut connect.await?, change).await,
        Command::Webhook(command) => webhook::run(out, &mut connect.await?, command).await,
        Command::Apply(args) => apply::run(out, &line.socket, patience, args).await,
        Command::Watch { from } => watch::run(out, &mut connect.await?, from).await,
        Command::Export => export::run(out, &mut connect.await?).await,
        Command::Backup { file } => backup::backup(out, &mut connect.await?, &file).await,
        Command::Restore(args) => backup::restore(out, &line.socket, patience, args).await,
        Command::Stats { vni: None } => stats::node(out, &mut connect.await?).await,
        Command::Stats { vni: Some(vni) } => stats::domain(out, &mut connect.await?, vni).await,
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
