//! One change: its commit, and the sentence that reports it.

use ctl_api::model::{Batch, Change};
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

/// Commits a change, and reports it.
pub async fn commit(out: &mut Out, client: &mut Client, order: Order) -> Result<(), Failure> {
    let Order { change, done, already } = order;
    let mut reply = client.commit(Batch::new(vec![change])).await.map_err(alone)?;
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
