//! `apply`: the file goes to the node as the desired state; the node compares, and commits the differences whole.

mod file;
mod plan;
pub mod syntax;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use ctl_api::model::Revision;
use ctl_api::proto::{ApplyOptions, ApplySummary, CommitReply, Difference, Removals};
use ctl_api::{Client, ClientError};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::confirm;
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::out::Out;
use file::ApplyFile;

/// `bcastctl apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The file, YAML or JSON; `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Show the plan and have the node check it; change nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove what the file does not list: other TEPs, domains and HAVIPs, names, limits, gateways, modes
    #[arg(long)]
    prune: bool,
    /// Do not ask (or refuse, where there is no terminal) before removing over 20 % of the memberships or HAVIPs
    #[arg(long)]
    yes: bool,
    /// Show the whole plan, however long it is
    #[arg(long, short)]
    verbose: bool,
}

/// JSON of `apply`.
#[derive(Serialize)]
struct Json {
    #[serde(flatten)]
    reply: CommitReply,
    dry_run: bool,
    plan: plan::Json,
}

/// Reason of a refusal to remove so much.
const UNCONFIRMED: &str = "REMOVALS_UNCONFIRMED";
/// Most bytes of a file that is applied: 1 GiB.
const FILE_BYTES: u64 = 1 << 30;

/// `apply`. The file is checked before the daemon is asked for anything.
///
/// Refused removals: the plan is read by a dry run and shown, and exactly its removals are confirmed. Should the node
/// change meanwhile, so that more would be removed, it refuses again.
pub async fn run(out: &mut Out, daemon: &Daemon, args: ApplyArgs) -> Result<(), Failure> {
    let file = Arc::new(read(&args.file)?);
    let mut client = daemon.connect().await?;
    let mut options = ApplyOptions {
        prune: args.prune,
        dry_run: args.dry_run,
        above_revision: above(&mut client, &file).await?,
        confirm_removals: (args.yes || args.dry_run).then_some(confirm::ANY),
        max_differences: if out.is_json() { Some(0) } else { (!args.verbose).then_some(plan::LINES) },
        ..Default::default()
    };
    let mut shown = false;
    let done = loop {
        let refusal = match send(&mut client, &file, options.clone()).await {
            Err(Failure::Client(ClientError::Refused { message, reason, .. })) if reason == UNCONFIRMED => {
                message
            }
            done => break done.map_err(|failure| by_entry(failure, &args.file, &file))?,
        };
        if shown && !out.is_json() {
            out.line("the node has changed meanwhile; the plan anew:")?;
        }
        let check = ApplyOptions { dry_run: true, confirm_removals: Some(confirm::ANY), ..options.clone() };
        let checked = send(&mut client, &file, check).await?;
        if !out.is_json() {
            // Where nobody reads the plan any more, that is no reason to leave the work undone.
            unless_closed(show(out, &mut client, &checked, args.verbose).await)?;
            unless_closed(out.flush())?;
        }
        shown = true;
        confirm::ask(&refusal, args.file != Path::new(STANDARD)).await?;
        options.confirm_removals = Some(Removals {
            memberships: checked.summary.memberships_removed,
            havips: checked.summary.havips.unwrap_or_default().removed,
        });
    };
    if !shown && !out.is_json() && plan::size(&done.summary) > 0 {
        unless_closed(show(out, &mut client, &done, args.verbose).await)?;
    }
    report(out, &done.summary, args.dry_run)
}

/// Standard input.
const STANDARD: &str = "-";

/// Reads and checks the file. Old keys are told on standard error.
fn read(path: &Path) -> Result<ApplyFile, Failure> {
    let bytes = match path == Path::new(STANDARD) {
        true => bounded(io::stdin().lock(), FILE_BYTES),
        false => std::fs::File::open(path).and_then(|file| bounded(file, FILE_BYTES)),
    };
    let bytes = bytes.map_err(|reason| Failure::Unreadable { file: path.to_owned(), reason })?;
    let file = file::parse(&bytes).map_err(|reason| Failure::Syntax { file: path.to_owned(), reason })?;
    for (old, new) in &file.old_keys.0 {
        let path = path.display();
        // Where standard error is closed, nobody is left to tell.
        let _ = writeln!(
            io::stderr(),
            "bcastctl: {path}: the key {old} is called {new} now: the next release reads {new} alone"
        );
    }
    Ok(file)
}

/// Everything that there is to read, where it is no more than so many bytes.
fn bounded(source: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    source.take(most.saturating_add(1)).read_to_end(&mut text)?;
    match text.len() as u64 <= most {
        true => Ok(text),
        false => Err(io::Error::other(format!("it has more than {most} bytes; apply it in several parts"))),
    }
}

/// Revision that the node shall be above: that of the export, so that generations which were told elsewhere are below.
///
/// A request may not ask for one above [`Revision::MAX_ABOVE`]; a node that is there already needs no such request.
async fn above(client: &mut Client, file: &ApplyFile) -> Result<Option<u64>, Failure> {
    match file.revision {
        Some(above) if above > Revision::MAX_ABOVE.get() => {
            let revision = client.stats().await?.revision;
            Ok(Some(above).filter(|&above| above > revision))
        }
        above => Ok(above),
    }
}

/// Reply to an apply.
struct Done {
    differences: Vec<Difference>,
    summary: ApplySummary,
}

/// Sends the desired state.
async fn send(client: &mut Client, file: &Arc<ApplyFile>, options: ApplyOptions) -> Result<Done, Failure> {
    let (entries, bar) = (Arc::clone(file), progress(file.entries.len() as u64));
    // Entries are copied as they are sent: all at once they would take as much memory as the file.
    let resources = (0..entries.entries.len()).filter_map(move |at| entries.entries.get(at).cloned());
    let sent = bar.clone();
    let reply = client.apply(options, resources, move |count| sent.inc(count as u64)).await;
    bar.finish_and_clear();
    let (differences, summary) = reply?;
    Ok(Done { differences, summary })
}

/// Progress on standard error, where that is a terminal.
fn progress(entries: u64) -> ProgressBar {
    let bar = ProgressBar::new(entries);
    // The template is ours: where it is wrong, the default bar does.
    if let Ok(style) =
        ProgressStyle::with_template("{msg} {bar:40} {human_pos}/{human_len} entries {elapsed}")
    {
        bar.set_style(style);
    }
    bar.set_message("sending");
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Refusal of an entry, in words of its place in the file.
fn by_entry(failure: Failure, path: &Path, file: &ApplyFile) -> Failure {
    if let Failure::Client(ClientError::Refused { message, position: Some(position), .. }) = &failure
        && let Some(entry) = file.place(*position)
    {
        let reason = message.strip_prefix(&format!("entry {position}: ")).unwrap_or(message).to_owned();
        return Failure::Entry { file: path.to_owned(), entry, reason };
    }
    failure
}

fn unless_closed(shown: Result<(), Failure>) -> Result<(), Failure> {
    if let Err(Failure::Closed) = shown { Ok(()) } else { shown }
}

async fn show(out: &mut Out, client: &mut Client, done: &Done, verbose: bool) -> Result<(), Failure> {
    let names = plan::names(client, &done.differences).await?;
    plan::show(out, &done.differences, &done.summary, &names, verbose)
}

fn report(out: &mut Out, summary: &ApplySummary, dry_run: bool) -> Result<(), Failure> {
    let reply = summary.reply.clone().unwrap_or_default();
    if out.is_json() {
        return out.json(&Json { reply, dry_run, plan: summary.into() });
    }
    reply.notes.iter().try_for_each(|note| out.line(note))?;
    match plan::size(summary) {
        0 => out.line(format_args!("nothing to change (revision {})", reply.revision)),
        _ if dry_run => out.line("dry run: the node would take this; nothing was changed"),
        _ => out.line(format_args!("applied (revision {})", reply.revision)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_end_is_refused_once_it_is_too_long() {
        let text = bounded(io::repeat(b' '), 4_096).unwrap_err().to_string();
        assert_eq!(text, "it has more than 4096 bytes; apply it in several parts");
        assert_eq!(bounded(&b"teps"[..], 4).unwrap(), b"teps");
    }
}
