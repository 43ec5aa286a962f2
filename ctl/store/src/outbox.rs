//! Events that webhook receivers have still to accept: written with the revision that made them, gone once it is over.

use std::fmt;

use bytes::Bytes;
use ctl_api::model::{Name, Revision};
use redb::{
    AccessGuard, Durability, ReadTransaction, ReadableTable, StorageError, Table, TableDefinition,
    WriteTransaction,
};

use crate::codec::{Malformed, name};
use crate::embedded::{Failure, count};
use crate::revision_file::Mark;

/// Most dead letters of one receiver; the oldest go first.
pub const DEAD_LETTERS: usize = 10_000;

/// An event's number: the revision that made it, and its place therein; of an alarm, which no revision made, the last
/// revision before it, and a place from [`EventId::ALARMS`] on. It grows, across restarts too, and its text is
/// the CloudEvents `id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    /// The revision.
    pub revision: Revision,
    /// Position among the revision's events, from 0.
    pub index: u32,
}

impl EventId {
    /// Place of the first alarm.
    pub const ALARMS: u32 = 1 << 31;
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.revision, self.index)
    }
}

/// An event for one receiver.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboxKey {
    /// The receiver.
    pub receiver: Name,
    /// The event.
    pub id: EventId,
}

/// An event that a receiver has still to accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Which, and for whom.
    pub key: OutboxKey,
    /// The virtual IP that it is about; the events of one go out in order.
    pub havip: Name,
    /// Start of its wait: Unix time in milliseconds.
    pub since_unix_ms: u64,
    /// Number of events of that virtual IP that were skipped before it.
    pub gap: u64,
    /// The event, as it is sent.
    pub body: Bytes,
}

/// An event that was not accepted in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The event.
    pub row: OutboxRow,
    /// Time at which it was given up: Unix time in milliseconds.
    pub died_unix_ms: u64,
    /// Why the last attempt failed; one line.
    pub reason: String,
}

/// Rows that a group writes into the outbox, and deletes from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboxRows {
    /// New rows.
    pub insert: Vec<OutboxRow>,
    /// Rows that a later event of their virtual IP stands for from now on. Those that are gone by then are no error.
    pub delete: Vec<OutboxKey>,
}

impl OutboxRows {
    /// Nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.insert.is_empty() && self.delete.is_empty()
    }
}

type StoredKey<'k> = (&'k str, u64, u32);
/// HAVIP, since when in Unix milliseconds, gap, body.
type StoredRow<'r> = (&'r str, u64, u64, &'r [u8]);
/// A row, when it died in Unix milliseconds, why.
type StoredLetter<'l> = (&'l str, u64, u64, &'l [u8], u64, &'l str);

/// Receiver, revision and place -> what is to be delivered.
const OUTBOX: TableDefinition<StoredKey<'static>, StoredRow<'static>> = TableDefinition::new("outbox");
/// The same -> what could not be.
const DEAD: TableDefinition<StoredKey<'static>, StoredLetter<'static>> = TableDefinition::new("dead_letters");

fn stored(key: &OutboxKey) -> StoredKey<'_> {
    (key.receiver.as_str(), key.id.revision.get(), key.id.index)
}

fn all_of(receiver: &Name) -> std::ops::RangeInclusive<StoredKey<'_>> {
    (receiver.as_str(), 0, 0)..=(receiver.as_str(), u64::MAX, u32::MAX)
}

fn row((receiver, revision, index): StoredKey<'_>, stored: StoredRow<'_>) -> Result<OutboxRow, Malformed> {
    let (havip, since_unix_ms, gap, body) = stored;
    let id = EventId { revision: Revision::new(revision), index };
    let key = OutboxKey { receiver: name(receiver)?, id };
    Ok(OutboxRow { key, havip: name(havip)?, since_unix_ms, gap, body: Bytes::copy_from_slice(body) })
}

fn letter(key: StoredKey<'_>, stored: StoredLetter<'_>) -> Result<DeadLetter, Malformed> {
    let (havip, since_unix_ms, gap, body, died_unix_ms, reason) = stored;
    let row = row(key, (havip, since_unix_ms, gap, body))?;
    Ok(DeadLetter { row, died_unix_ms, reason: reason.to_owned() })
}

/// A dead letter read and written again, as [`crate::rows::Table::Letter`] has it.
pub(crate) fn reencode(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut fields = bytes.splitn(4, |&byte| byte == 0);
    let [receiver, havip, body, reason] = [(); 4].map(|()| fields.next());
    let [receiver, havip, reason] = [receiver?, havip?, reason?].map(|text| std::str::from_utf8(text).ok());
    let DeadLetter { row, reason, .. } = letter((receiver?, 7, 0), (havip?, 1, 0, body?, 2, reason?)).ok()?;
    let names = [row.key.receiver.as_str(), row.havip.as_str()].map(str::as_bytes);
    Some([names[0], names[1], row.body.as_ref(), reason.as_bytes()].join(&0))
}

type Rows<'t> = Table<'t, StoredKey<'static>, StoredRow<'static>>;

fn insert(outbox: &mut Rows<'_>, row: &OutboxRow) -> Result<(), Failure> {
    let OutboxRow { key, havip, since_unix_ms, gap, body } = row;
    outbox.insert(stored(key), (havip.as_str(), *since_unix_ms, *gap, body.as_ref()))?;
    Ok(())
}

/// Makes the tables.
pub(crate) fn make_tables(transaction: &WriteTransaction) -> Result<(), Failure> {
    transaction.open_table(OUTBOX)?;
    transaction.open_table(DEAD)?;
    Ok(())
}

/// Writes a group's part.
pub(crate) fn write(transaction: &WriteTransaction, rows: &OutboxRows) -> Result<(), Failure> {
    let mut outbox = transaction.open_table(OUTBOX)?;
    for key in &rows.delete {
        outbox.remove(stored(key))?;
    }
    rows.insert.iter().try_for_each(|row| insert(&mut outbox, row))
}

type Stored<V> = (AccessGuard<'static, StoredKey<'static>>, AccessGuard<'static, V>);

/// All rows, by receiver and age.
pub(crate) fn read(transaction: &ReadTransaction) -> Result<Vec<OutboxRow>, Failure> {
    let entry = |stored: Result<Stored<StoredRow<'static>>, StorageError>| {
        let (key, value) = stored?;
        Ok(row(key.value(), value.value())?)
    };
    transaction.open_table(OUTBOX)?.range::<StoredKey<'_>>(..)?.map(entry).collect()
}

/// A receiver's dead letters, the oldest event first.
pub(crate) fn dead(transaction: &ReadTransaction, receiver: &Name) -> Result<Vec<DeadLetter>, Failure> {
    let entry = |stored: Result<Stored<StoredLetter<'static>>, StorageError>| {
        let (key, value) = stored?;
        Ok(letter(key.value(), value.value())?)
    };
    transaction.open_table(DEAD)?.range(all_of(receiver))?.map(entry).collect()
}

/// Deletes rows, and moves others to the dead letters.
///
/// Deletions need not be durable before the next commit is: a row that comes back after a crash is delivered
/// once more. Returns the store's mark where the transaction was durable.
pub(crate) fn settle(
    mut transaction: WriteTransaction,
    gone: &[OutboxKey],
    letters: &[DeadLetter],
) -> Result<Option<Mark>, Failure> {
    if letters.is_empty() {
        transaction.set_durability(Durability::None).map_err(redb::Error::from)?;
    }
    {
        let mut outbox = transaction.open_table(OUTBOX)?;
        for key in gone.iter().chain(letters.iter().map(|letter| &letter.row.key)) {
            outbox.remove(stored(key))?;
        }
        bury(&transaction, letters)?;
    }
    let mark = if letters.is_empty() { None } else { Some(count(&transaction)?) };
    transaction.commit()?;
    Ok(mark)
}

fn bury(transaction: &WriteTransaction, letters: &[DeadLetter]) -> Result<(), Failure> {
    let mut dead = transaction.open_table(DEAD)?;
    for DeadLetter { row, died_unix_ms, reason } in letters {
        let OutboxRow { key, havip, since_unix_ms, gap, body } = row;
        let value = (havip.as_str(), *since_unix_ms, *gap, body.as_ref(), *died_unix_ms, reason.as_str());
        dead.insert(stored(key), value)?;
    }
    let mut receivers: Vec<&Name> = letters.iter().map(|letter| &letter.row.key.receiver).collect();
    receivers.sort_unstable();
    receivers.dedup();
    for receiver in receivers {
        let surplus = dead.range(all_of(receiver))?.count().saturating_sub(DEAD_LETTERS);
        let oldest = dead.range(all_of(receiver))?.take(surplus).map(|row| {
            let (_, revision, index) = row?.0.value();
            Ok((revision, index))
        });
        for (revision, index) in oldest.collect::<Result<Vec<_>, Failure>>()? {
            dead.remove((receiver.as_str(), revision, index))?;
        }
    }
    Ok(())
}

/// Deletes a receiver's dead letters; returns how many.
pub(crate) fn drop_dead(transaction: WriteTransaction, receiver: &Name) -> Result<(usize, Mark), Failure> {
    let mut dropped = 0;
    {
        let mut dead = transaction.open_table(DEAD)?;
        for stored in dead.extract_from_if(all_of(receiver), |_, _| true)? {
            stored?;
            dropped += 1;
        }
    }
    let mark = count(&transaction)?;
    transaction.commit()?;
    Ok((dropped, mark))
}

/// Makes a receiver's dead letters rows again, waiting since `unix_ms`.
pub(crate) fn revive(
    transaction: WriteTransaction,
    receiver: &Name,
    unix_ms: u64,
) -> Result<(Vec<OutboxRow>, Mark), Failure> {
    let mut rows = Vec::new();
    {
        let mut dead = transaction.open_table(DEAD)?;
        let mut outbox = transaction.open_table(OUTBOX)?;
        for stored in dead.extract_from_if(all_of(receiver), |_, _| true)? {
            let (key, value) = stored?;
            let row = OutboxRow { since_unix_ms: unix_ms, ..letter(key.value(), value.value())?.row };
            insert(&mut outbox, &row)?;
            rows.push(row);
        }
    }
    let mark = count(&transaction)?;
    transaction.commit()?;
    Ok((rows, mark))
}
