//! The procedures that show webhooks, and send dead letters again or drop them.

use ctl_api::model::Name;
use ctl_api::proto;
use ctl_store::StoreError;
use ctl_webhook::{LedgerError, Status, UnknownReceiver};

use crate::author::Author;
use crate::refusal::Refusal;
use crate::shared::Shared;

/// Status of a receiver.
pub(super) fn status(status: Status) -> proto::Webhook {
    proto::Webhook {
        name: status.name.to_string(),
        url: status.url,
        pending: status.pending as u64,
        bound: status.bound as u64,
        oldest_unix_ms: status.oldest_unix_ms.unwrap_or_default(),
        backing_off: status.backing_off,
        delivered: status.delivered,
        failed: status.failed,
        dead: status.dead,
        skipped: status.skipped,
        overflowed: status.overflowed,
        last_error: status.last_error.unwrap_or_default(),
        failing_since_unix_ms: status.failing_since_unix_ms.unwrap_or_default(),
        last_attempt_unix_ms: status.last_attempt_unix_ms.unwrap_or_default(),
    }
}

/// Events that a receiver never accepted.
pub(super) fn dead_letters(shared: &Shared, receiver: &Name) -> Result<proto::DeadLettersReply, Refusal> {
    let letters = shared.webhooks.dead(receiver).map_err(refusal)?.into_iter();
    let letters = letters.map(|letter| proto::DeadLetter {
        receiver: letter.row.key.receiver.to_string(),
        id: letter.row.key.id.to_string(),
        havip: letter.row.havip.to_string(),
        since_unix_ms: letter.row.since_unix_ms,
        died_unix_ms: letter.died_unix_ms,
        reason: letter.reason,
        body: letter.row.body.into(),
    });
    Ok(proto::DeadLettersReply { letters: letters.collect() })
}

/// Sends it all that again.
pub(super) fn retry(
    shared: &Shared,
    receiver: &Name,
    author: &Author,
) -> Result<proto::RetryDeadLettersReply, Refusal> {
    let retried = shared.webhooks.retry(receiver).map_err(refusal)?;
    if retried > 0 {
        author.log_other("retry dead letters", receiver, retried);
    }
    Ok(proto::RetryDeadLettersReply { retried: retried as u64 })
}

/// Deletes it all.
pub(super) fn drop_dead(
    shared: &Shared,
    receiver: &Name,
    author: &Author,
) -> Result<proto::DropDeadLettersReply, Refusal> {
    let dropped = shared.webhooks.drop_dead(receiver).map_err(refusal)?;
    if dropped > 0 {
        author.log_other("drop dead letters", receiver, dropped);
    }
    Ok(proto::DropDeadLettersReply { dropped: dropped as u64 })
}

/// A store's error is the store's, whoever hands it on.
fn refusal(error: LedgerError) -> Refusal {
    let error = match error.downcast::<UnknownReceiver>() {
        Ok(unknown) => return Refusal::NoWebhook(*unknown),
        Err(error) => error,
    };
    match error.downcast::<StoreError>() {
        Ok(error) => Refusal::from(*error),
        Err(error) => Refusal::Ledger(error.to_string()),
    }
}
