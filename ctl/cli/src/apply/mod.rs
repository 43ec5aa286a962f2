//! `apply`: read the file, read the node, show what differs, commit it whole.

mod commit;
mod file;
mod inventory;
mod plan;
mod render;
mod resolve;
pub mod snapshot;

#[cfg(test)]
#[path = "../../tests/support/model.rs"]
mod model;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ctl_api::Client;
use ctl_api::model::Revision;
use ctl_api::proto::CommitReply;

pub use file::SyntaxError;
pub use inventory::{HavipRow, Inventory};
pub use plan::Totals;
pub use resolve::EntryError;

use crate::args::ApplyArgs;
use crate::failure::Failure;
use crate::out::Out;
use crate::shapes::{Applied, Changed};
use file::ApplyFile;
use plan::Plan;

/// Share of the memberships or HAVIPs, one in so many, over which a removal has to be confirmed.
const CONFIRM_OVER_ONE_IN: usize = 5;

/// How often a plan is made for a node that moves on under it.
const PLANS: usize = 5;

/// `apply`. The file is checked before the daemon is asked for anything.
///
/// Without `--prune` the changes hold on whatever the node has by then: what the file does not name stays. What is to
/// be removed is only known for one revision, so with it the plan is committed at that one or made anew.
pub async fn run(
    out: &mut Out,
    socket: &Path,
    patience: Option<Duration>,
    args: ApplyArgs,
) -> Result<(), Failure> {
    let unreadable = |reason| Failure::Unreadable { file: args.file.clone(), reason };
    let file = {
        let text = read(&args.file).map_err(unreadable)?;
        file::parse(&text).map_err(|reason| Failure::Syntax { file: args.file.clone(), reason })?
    };
    let mut client = Client::connect_with(socket, patience).await?;
    let (mut plans, mut confirmed) = (1, (0, 0));
    loop {
        match attempt(out, &mut client, &file, &args, &mut confirmed).await {
            Err(Failure::Moved) if plans < PLANS => plans += 1,
            done => return done,
        }
        if !out.is_json() {
            heard(out.line("the node has changed meanwhile; the plan anew:"))?;
        }
    }
}

/// One plan and its commit; `confirmed` counts the removals (of memberships, of HAVIPs) that may be without asking again.
async fn attempt(
    out: &mut Out,
    client: &mut Client,
    file: &ApplyFile,
    args: &ApplyArgs,
    confirmed: &mut (usize, usize),
) -> Result<(), Failure> {
    let (revision, have) = snapshot::read(client).await?;
    let want = resolve::resolve(file, &have, args.prune)
        .map_err(|reason| Failure::Entry { file: args.file.clone(), reason })?;
    let plan = Arc::new(Plan::new(have, want, args.prune));
    // What was exported elsewhere shall not make generations that were told there already.
    // A node at the file's revision goes on above it with its next change, also where a request may not ask for that.
    let above =
        file.revision.filter(|&above| above > revision || above == revision && above <= Revision::MAX_ABOVE);
    if plan.is_empty() && above.is_none() {
        return nothing(out, revision, args.dry_run);
    }
    heard(show(out, &plan, args.verbose))?;
    let removed = (plan.totals().memberships.removed, plan.totals().havips.removed);
    if !args.dry_run && (removed.0 > confirmed.0 || removed.1 > confirmed.1) {
        confirm(&plan, args).await?;
        *confirmed = removed;
    }
    let expected = args.prune.then_some(revision);
    let terms = commit::Terms { expected, above, dry_run: args.dry_run };
    let reply = commit::commit(client, &plan, terms).await?;
    report(out, &plan, &reply, args.dry_run)
}

/// Where nobody reads the plan (any more), that is no reason to leave the work undone.
fn heard(shown: Result<(), Failure>) -> Result<(), Failure> {
    match shown {
        Err(Failure::Closed) => Ok(()),
        shown => shown,
    }
}

/// Bytes of a file that is applied, at most: 1 GiB.
const FILE_BYTES: u64 = 1 << 30;

fn read(file: &Path) -> io::Result<Vec<u8>> {
    if file != Path::new("-") {
        return bounded(std::fs::File::open(file)?, FILE_BYTES);
    }
    bounded(io::stdin().lock(), FILE_BYTES)
}

/// All that there is to read, where it is no more than so many bytes.
fn bounded(source: impl io::Read, most: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    source.take(most.saturating_add(1)).read_to_end(&mut text)?;
    match text.len() as u64 <= most {
        true => Ok(text),
        false => Err(io::Error::other(format!("it has more than {most} bytes; apply it in several parts"))),
    }
}

fn show(out: &mut Out, plan: &Plan, verbose: bool) -> Result<(), Failure> {
    if !out.is_json() {
        render::plan(out, plan, verbose)?;
    }
    out.flush()
}

fn nothing(out: &mut Out, revision: Revision, dry_run: bool) -> Result<(), Failure> {
    if out.is_json() {
        let changed = Changed { revision: revision.get(), changed: 0, notes: &[] };
        return out.json(&Applied { changed, dry_run, plan: Totals::default() });
    }
    out.line(format_args!("nothing to change (revision {revision})"))
}

fn report(out: &mut Out, plan: &Plan, reply: &CommitReply, dry_run: bool) -> Result<(), Failure> {
    let CommitReply { revision, changed, notes } = reply;
    if out.is_json() {
        let changed = Changed { revision: *revision, changed: *changed, notes };
        return out.json(&Applied { changed, dry_run, plan: plan.totals() });
    }
    notes.iter().try_for_each(|note| out.line(note))?;
    if dry_run {
        return out.line("dry run: the node would take this; nothing was changed");
    }
    out.line(format_args!("applied (revision {revision})"))
}

/// Lets a plan pass that removes few memberships and HAVIPs, or that `--yes` or someone at a terminal confirms.
async fn confirm(plan: &Plan, args: &ApplyArgs) -> Result<(), Failure> {
    if !args.prune || args.yes {
        return Ok(());
    }
    let totals = plan.totals();
    let many = [
        ("memberships", totals.memberships.removed, plan.have().memberships()),
        ("HAVIPs", totals.havips.removed, plan.have().havips().len()),
    ];
    confirm_removals(many, args.file != Path::new("-")).await
}

/// Lets pass what removes few, of each kind so many of all, or what someone at a terminal confirms; standard input may be
/// for something else.
pub async fn confirm_removals(many: [(&'static str, usize, usize); 2], may_ask: bool) -> Result<(), Failure> {
    let Some((what, removed, all)) =
        many.into_iter().find(|(_, removed, all)| removed * CONFIRM_OVER_ONE_IN > *all)
    else {
        return Ok(());
    };
    let can_ask = may_ask && io::stdin().is_terminal() && io::stderr().is_terminal();
    if can_ask && write!(io::stderr(), "Remove {removed} of {all} {what}? [y/N] ").is_ok() {
        // On a thread of its own: the daemon wants to hear meanwhile that its client is there.
        let line = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            io::stdin().read_line(&mut line).map(|_| line)
        });
        if let Ok(Ok(line)) = line.await
            && matches!(line.trim(), "y" | "Y" | "yes")
        {
            return Ok(());
        }
    }
    Err(Failure::ManyRemovals { removed, all, what })
}
