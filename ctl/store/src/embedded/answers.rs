//! Answers to requests that carried an id, and the bodies that those ids belong to.

use ctl_api::model::{RequestId, Revision};
use redb::{ReadTransaction, ReadableTableMetadata, TableDefinition, WriteTransaction};

use super::Failure;
use crate::{ANSWER_KEPT, Answer, Answered, Body, Group};

/// Request id -> Unix milliseconds, revision, changed, notes (a line each).
pub(super) const ROWS: TableDefinition<&str, (u64, u64, u64, &str)> = TableDefinition::new("answers");
/// The request ids by age.
pub(super) const AGES: TableDefinition<(u64, &str), ()> = TableDefinition::new("answer_ages");
/// Request id -> Unix milliseconds, body. A migrated store may lack the body of an answer, or have an older one of the
/// same id: a body counts only with the time of its answer.
pub(super) const BODIES: TableDefinition<&str, (u64, &Body)> = TableDefinition::new("answer_bodies");

fn oldest_kept(unix_ms: u64) -> u64 {
    unix_ms.saturating_sub(u64::try_from(ANSWER_KEPT.as_millis()).unwrap_or(u64::MAX))
}

/// The body that an id belongs to, where that is known, and its answer.
pub(super) fn read(
    transaction: &ReadTransaction,
    id: &RequestId,
    unix_ms: u64,
) -> Result<Option<(Option<Body>, Answer)>, Failure> {
    let answers = transaction.open_table(ROWS)?;
    let Some(row) = answers.get(id.as_str())? else { return Ok(None) };
    let (at, revision, changed, notes) = row.value();
    if at <= oldest_kept(unix_ms) {
        return Ok(None);
    }
    let notes = notes.lines().map(str::to_owned).collect();
    let body = transaction.open_table(BODIES)?.get(id.as_str())?.and_then(|row| {
        let (of, body) = row.value();
        (of == at).then_some(*body)
    });
    Ok(Some((body, Answer { revision: Revision::new(revision), changed, notes })))
}

/// Number of answers that will be kept once the old ones are gone.
pub(super) fn kept(transaction: &ReadTransaction, unix_ms: u64) -> Result<u64, Failure> {
    let ages = transaction.open_table(AGES)?;
    let old = ages.range(..(oldest_kept(unix_ms) + 1, ""))?.count();
    Ok(ages.len()?.saturating_sub(old as u64))
}

/// Keeps the group's answers, and lets go of those that are old.
pub(super) fn write(transaction: &WriteTransaction, group: &Group) -> Result<(), Failure> {
    let mut answers = transaction.open_table(ROWS)?;
    let mut ages = transaction.open_table(AGES)?;
    let mut bodies = transaction.open_table(BODIES)?;
    for row in ages.extract_from_if(..(oldest_kept(group.unix_ms) + 1, ""), |_, ()| true)? {
        let row = row?;
        let (_, id) = row.0.value();
        answers.remove(id)?;
        bodies.remove(id)?;
    }
    for Answered { id, body, answer } in &group.answers {
        let (id, notes) = (id.as_str(), answer.notes.join("\n"));
        // An id that was used before the last 10 minutes may be used anew.
        answers.insert(id, (group.unix_ms, answer.revision.get(), answer.changed, notes.as_str()))?;
        ages.insert((group.unix_ms, id), ())?;
        bodies.insert(id, (group.unix_ms, body))?;
    }
    Ok(())
}
