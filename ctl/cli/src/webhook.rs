//! Webhook receivers, and the events that they did not accept.

use clap::Subcommand;
use ctl_api::model::Name;
use ctl_api::{Client, proto};
use serde::Serialize;

use crate::failure::Failure;
use crate::out::{Column, Out};
use crate::text::{optional_utc, or_none, utc};

/// `bcastctl webhook`.
#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// The receivers of the configuration: numbers of pending, delivered and failed events
    List,
    /// Events that a receiver did not accept within 24 hours
    #[command(alias = "dead")]
    DeadLetters {
        /// The receiver
        receiver: Name,
        /// Delete them all instead of showing them; they are never sent then
        #[arg(long)]
        drop: bool,
        /// Succeed where there are none
        #[arg(long, requires = "drop")]
        if_exists: bool,
    },
    /// Send a receiver's dead letters again
    Retry {
        /// The receiver
        receiver: Name,
    },
}

/// Runs a command of webhooks.
pub async fn run(out: &mut Out, client: &mut Client, command: WebhookCommand) -> Result<(), Failure> {
    match command {
        WebhookCommand::List => list(out, client).await,
        WebhookCommand::DeadLetters { receiver, drop: true, if_exists } => {
            drop_dead(out, client, &receiver, if_exists).await
        }
        WebhookCommand::DeadLetters { receiver, .. } => dead_letters(out, client, &receiver).await,
        WebhookCommand::Retry { receiver } => retry(out, client, &receiver).await,
    }
}

/// Result of the last attempt, as a word.
fn state(webhook: &proto::Webhook) -> &'static str {
    match webhook {
        proto::Webhook { backing_off: true, .. } => "away",
        proto::Webhook { last_error, .. } if !last_error.is_empty() => "failing",
        // A daemon that was just started has sent nothing yet.
        proto::Webhook { delivered: 0, last_attempt_unix_ms: 0, .. } => "idle",
        _ => "ok",
    }
}

/// Since when each attempt fails, or else the time of the last one.
fn since(webhook: &proto::Webhook) -> u64 {
    match webhook.failing_since_unix_ms {
        0 => webhook.last_attempt_unix_ms,
        since => since,
    }
}

async fn list(out: &mut Out, client: &mut Client) -> Result<(), Failure> {
    let webhooks = client.webhooks().await?;
    if out.is_json() {
        return out.array(webhooks.iter());
    }
    let row = |webhook: &proto::Webhook| {
        [
            webhook.name.clone(),
            state(webhook).to_owned(),
            or_none(optional_utc(since(webhook))),
            webhook.pending.to_string(),
            or_none(optional_utc(webhook.oldest_unix_ms)),
            webhook.delivered.to_string(),
            webhook.failed.to_string(),
            webhook.skipped.to_string(),
            webhook.dead.to_string(),
            webhook.url.clone(),
        ]
    };
    let columns = [
        Column::Text("NAME"),
        Column::Text("STATE"),
        Column::Text("SINCE"),
        Column::Number("PENDING"),
        Column::Text("OLDEST"),
        Column::Number("DELIVERED"),
        Column::Number("FAILED"),
        Column::Number("SKIPPED"),
        Column::Number("DEAD"),
        Column::Text("URL"),
    ];
    out.table(columns, &webhooks.iter().map(row).collect::<Vec<_>>())?;
    let mut failing = webhooks.iter().filter(|webhook| !webhook.last_error.is_empty());
    failing.try_for_each(|webhook| {
        let proto::Webhook { name, last_error, pending, .. } = webhook;
        let since = optional_utc(webhook.failing_since_unix_ms)
            .map_or(String::new(), |time| format!(" since {time}"));
        let wait = if *pending == 1 { "event waits" } else { "events wait" };
        out.line(format_args!("{name}: fails{since}, {pending} {wait}: {last_error}"))
    })
}

async fn dead_letters(out: &mut Out, client: &mut Client, receiver: &Name) -> Result<(), Failure> {
    let letters = client.dead_letters(receiver).await?;
    if out.is_json() {
        return out.array(letters.iter());
    }
    let row = |letter: &proto::DeadLetter| {
        let proto::DeadLetter { id, havip, since_unix_ms, died_unix_ms, reason, .. } = letter.clone();
        [id, havip, utc(since_unix_ms), utc(died_unix_ms), reason]
    };
    let columns = ["ID", "HAVIP", "SINCE", "GIVEN UP", "REASON"].map(Column::Text);
    out.table(columns, &letters.iter().map(row).collect::<Vec<_>>())
}

/// JSON of `webhook dead-letters --drop`.
#[derive(Serialize)]
struct Dropped<'a> {
    receiver: &'a str,
    dropped: u64,
}

async fn drop_dead(
    out: &mut Out,
    client: &mut Client,
    receiver: &Name,
    if_exists: bool,
) -> Result<(), Failure> {
    let dropped = client.drop_dead_letters(receiver).await?;
    if dropped == 0 && !if_exists {
        return Err(Failure::Absent(format!("webhook {receiver} has no dead letters")));
    }
    if out.is_json() {
        return out.json(&Dropped { receiver: receiver.as_str(), dropped });
    }
    match dropped {
        0 => out.line(format_args!("webhook {receiver} has no dead letters")),
        1 => out.line(format_args!("webhook {receiver}: 1 dead letter is deleted")),
        _ => out.line(format_args!("webhook {receiver}: {dropped} dead letters are deleted")),
    }
}

/// JSON of `webhook retry`.
#[derive(Serialize)]
struct Retried<'a> {
    receiver: &'a str,
    retried: u64,
}

async fn retry(out: &mut Out, client: &mut Client, receiver: &Name) -> Result<(), Failure> {
    let retried = client.retry_dead_letters(receiver).await?;
    if out.is_json() {
        return out.json(&Retried { receiver: receiver.as_str(), retried });
    }
    match retried {
        0 => out.line(format_args!("webhook {receiver} has no dead letters")),
        1 => out.line(format_args!("webhook {receiver}: 1 dead letter is sent again")),
        _ => out.line(format_args!("webhook {receiver}: {retried} dead letters are sent again")),
    }
}
