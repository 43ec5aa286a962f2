//! A plan to the node: all or nothing.

use std::sync::Arc;
use std::time::Duration;

use ctl_api::Client;
use ctl_api::ClientError;
use ctl_api::client::Refusal;
use ctl_api::model::{Batch, Change, MAX_CHANGES, Revision};
use ctl_api::proto::{self, CommitReply};
use indicatif::{ProgressBar, ProgressStyle};

use super::plan::{Plan, changes};
use crate::failure::Failure;

/// Bytes of changes in a part of a stream: far under the limit, so that progress shows.
const PART_BYTES: usize = 1 << 20;

/// Under which conditions a plan commits.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Only at this revision.
    pub expected: Option<Revision>,
    /// Above this revision.
    pub above: Option<Revision>,
    /// It is checked alone.
    pub dry_run: bool,
}

/// Commits the plan, or has the node check it.
///
/// # Errors
/// [`Failure::Moved`] where the node is at another revision than `expected`, and whatever else the client says.
pub async fn commit(client: &mut Client, plan: &Arc<Plan>, terms: Terms) -> Result<CommitReply, Failure> {
    let Terms { expected, above, dry_run } = terms;
    let reply = if plan.len() <= MAX_CHANGES {
        let batch = Batch { expected, above, dry_run, ..Batch::new(changes(plan).collect()) };
        match client.commit(batch).await {
            Err(ClientError::TooLarge(_)) => stream(client, plan, terms).await,
            reply => reply,
        }
    } else {
        stream(client, plan, terms).await
    };
    reply.map_err(|error| match error {
        ClientError::Refused { refusal: Refusal::Conflict, .. } => Failure::Moved,
        ClientError::Refused { refusal, message } => {
            let message = by_entry(plan, &message).unwrap_or(message);
            ClientError::Refused { refusal, message }.into()
        }
        error => error.into(),
    })
}

/// A refusal of "change 7: ..." in words of what that change is for; the plan's numbers are shown nowhere.
fn by_entry(plan: &Plan, message: &str) -> Option<String> {
    let (position, words) = message.strip_prefix("change ")?.split_once(": ")?;
    let at = position.parse::<usize>().ok()?.checked_sub(1)?;
    Some(format!("{}: {words}", plan.subject(at)?))
}

async fn stream(client: &mut Client, plan: &Arc<Plan>, terms: Terms) -> Result<CommitReply, ClientError> {
    let bar = progress(plan.len());
    let Terms { expected, above, dry_run } = terms;
    let head = proto::CommitRequest::from(Batch { expected, above, dry_run, ..Batch::default() });
    let parts = Parts { head: Some(head), changes: changes(plan), bar: bar.clone() };
    let reply = client.commit_parts(tokio_stream::iter(parts)).await;
    bar.finish_and_clear();
    reply
}

/// On standard error, and only where that is a terminal.
fn progress(changes: usize) -> ProgressBar {
    let bar = ProgressBar::new(changes as u64);
    // The template is ours: where it is wrong, the default bar does.
    if let Ok(style) =
        ProgressStyle::with_template("{msg} {bar:40} {human_pos}/{human_len} changes {elapsed}")
    {
        bar.set_style(style);
    }
    bar.set_message("sending");
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// The messages of a stream, made as the transport takes them.
struct Parts<C> {
    /// What the first part says beside its changes.
    head: Option<proto::CommitRequest>,
    changes: C,
    bar: ProgressBar,
}

impl<C: Iterator<Item = Change>> Iterator for Parts<C> {
    type Item = proto::CommitRequest;

    fn next(&mut self) -> Option<proto::CommitRequest> {
        let mut part = self.head.take().unwrap_or_default();
        let mut bytes = 0;
        // A single change is at most some 400 KB (16,384 members), so no part comes near the limit.
        while part.changes.len() < MAX_CHANGES && bytes < PART_BYTES {
            let Some(change) = self.changes.next() else { break };
            bytes += size(&change);
            part.changes.push(change.into());
        }
        self.bar.inc(part.changes.len() as u64);
        if part.changes.is_empty() {
            self.bar.set_message("committing");
            return None;
        }
        Some(part)
    }
}

/// No less than what a change takes in a message.
fn size(change: &Change) -> usize {
    /// Tags, lengths, a VNI, a name of 63 bytes.
    const FRAME: usize = 128;
    /// A TEP's address as text, with tags and lengths.
    const MEMBER: usize = 24;
    match change {
        Change::DomainSet { members, .. } => FRAME + members.len() * MEMBER,
        Change::HavipSet(havip) => {
            let attachments = havip.attachments.iter();
            2 * FRAME + attachments.map(|attachment| FRAME + attachment.teps.len() * MEMBER).sum::<usize>()
        }
        _ => FRAME,
    }
}
