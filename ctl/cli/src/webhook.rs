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
        WebhookCommand::DeadLetters { receiver } => dead_letters(out, client, &receiver).await,
        WebhookCommand::Retry { receiver } => retry(out, client, &receiver).await,
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
            if webhook.backing_off { "away" } else { "ok" }.to_owned(),
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
    failing.try_for_each(|webhook| out.line(format_args!("{}: {}", webhook.name, webhook.last_error)))
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
