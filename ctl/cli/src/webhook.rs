//! `webhook`: the receivers, and what they did not accept.

use ctl_api::model::Name;
use ctl_api::{Client, proto};

use crate::args::WebhookCommand;
use crate::failure::Failure;
use crate::out::{Column, NONE, Out, utc};
use crate::shapes::{DeadLetter, Retried, Webhook};

/// All of them.
pub async fn run(out: &mut Out, client: &mut Client, command: WebhookCommand) -> Result<(), Failure> {
    match command {
        WebhookCommand::List => list(out, client).await,
        WebhookCommand::Dead { receiver } => dead(out, client, &receiver).await,
        WebhookCommand::Retry { receiver } => retry(out, client, &receiver).await,
    }
}

async fn list(out: &mut Out, client: &mut Client) -> Result<(), Failure> {
    let webhooks = client.webhooks().await?;
    if out.is_json() {
        return out.array(webhooks.iter().map(Webhook::from));
    }
    let row = |webhook: &proto::Webhook| {
        let oldest = match webhook.oldest_unix_ms {
            0 => NONE.to_owned(),
            unix_ms => utc(unix_ms),
        };
        let state = if webhook.backing_off { "away" } else { "ok" };
        [
            webhook.name.clone(),
            state.to_owned(),
            webhook.pending.to_string(),
            oldest,
            webhook.delivered.to_string(),
            webhook.failed.to_string(),
            webhook.left_out.to_string(),
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
        Column::Number("LEFT OUT"),
        Column::Number("DEAD"),
        Column::Text("URL"),
    ];
    out.table(columns, &webhooks.iter().map(row).collect::<Vec<_>>())?;
    let failing = webhooks.iter().filter(|webhook| !webhook.last_error.is_empty());
    failing
        .into_iter()
        .try_for_each(|webhook| out.line(format_args!("{}: {}", webhook.name, webhook.last_error)))
}

async fn dead(out: &mut Out, client: &mut Client, receiver: &Name) -> Result<(), Failure> {
    let letters = client.dead_letters(receiver).await?;
    if out.is_json() {
        return out.array(letters.iter().map(DeadLetter::from));
    }
    let row = |letter: &proto::DeadLetter| {
        let proto::DeadLetter { id, havip, since_unix_ms, died_unix_ms, reason, .. } = letter.clone();
        [id, havip, utc(since_unix_ms), utc(died_unix_ms), reason]
    };
    let columns = ["ID", "HAVIP", "SINCE", "GIVEN UP", "REASON"].map(Column::Text);
    out.table(columns, &letters.iter().map(row).collect::<Vec<_>>())
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
