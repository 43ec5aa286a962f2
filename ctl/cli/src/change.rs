//! One change: its commit, and the sentence that reports it.

use ctl_api::model::{Batch, Change, Conditions};
use ctl_api::proto::CommitReply;
use ctl_api::{Client, ClientError};

use crate::failure::Failure;
use crate::out::Out;

/// A change and its sentences.
pub struct Order {
    /// The change.
    pub change: Change,
    /// Said when it was made.
    pub done: String,
    /// Said when nothing had to change, and the daemon has no note on it.
    pub already: String,
}

/// Reason of a refusal to remove what is not there.
const ABSENT: &str = "ABSENT";

/// Commits a change, and reports it.
pub async fn commit(out: &mut Out, client: &mut Client, order: Order) -> Result<(), Failure> {
    send(out, client, order, false).await
}

/// Commits a removal, and reports it.
///
/// # Errors
/// Also where there is nothing to remove, unless `if_exists`.
pub async fn remove(
    out: &mut Out,
    client: &mut Client,
    order: Order,
    if_exists: bool,
) -> Result<(), Failure> {
    send(out, client, order, !if_exists).await
}

async fn send(out: &mut Out, client: &mut Client, order: Order, must_exist: bool) -> Result<(), Failure> {
    let Order { change, done, already } = order;
    let conditions = Conditions { must_exist, ..Conditions::default() };
    let sent = client.commit(Batch { changes: vec![change], conditions }).await;
    let mut reply = sent.map_err(|error| match alone(error) {
        ClientError::Refused { message, reason, .. } if reason == ABSENT => {
            Failure::Absent(message.split("; ").next().unwrap_or_default().to_owned())
        }
        error => error.into(),
    })?;
    if must_exist && reply.changed == 0 {
        return Err(Failure::Absent(reply.notes.first().map_or(already, |note| of_it(note).to_owned())));
    }
    reply.notes.iter_mut().for_each(|note| *note = of_it(note).to_owned());
    if out.is_json() {
        return out.json(&reply);
    }
    let CommitReply { revision, changed, notes } = &reply;
    notes.iter().try_for_each(|note| out.line(note))?;
    match (changed, notes.is_empty()) {
        (0, false) => Ok(()),
        (0, true) => out.line(already),
        _ => out.line(format_args!("{done} (revision {revision})")),
    }
}

/// Refusal of the only change of a request, without that change's number.
fn alone(error: ClientError) -> ClientError {
    match error {
        ClientError::Refused { kind, message, reason, position } => {
            ClientError::Refused { kind, message: of_it(&message).to_owned(), reason, position }
        }
        other => other,
    }
}

fn of_it(words: &str) -> &str {
    words.strip_prefix("change 1: ").unwrap_or(words)
}
