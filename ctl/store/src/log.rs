//! The log of revisions, for watchers that resume: bounded in revisions and in bytes, the oldest go first.

use ctl_api::model::Revision;
use redb::{ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};

use crate::embedded::{Failure, META};
use crate::{Changes, Group, Record, codec};

/// Most revisions in the log.
pub const LOG_REVISIONS: u64 = 100_000;
/// Most bytes of records in the log.
pub const LOG_BYTES: u64 = 64 << 20;
/// Most bytes of one record. A larger revision is not kept, and empties the log: a watcher is better off with a
/// snapshot.
pub const LOG_RECORD_BYTES: u64 = 4 << 20;

/// Most bytes of records read at a time.
const READ_BYTES: usize = 128 << 10;

pub(crate) const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("records");
/// Bytes of all records in the log.
const BYTES: &str = "log_bytes";
/// The first revision that the log can resume from.
const START: &str = "log_start";

/// Empties the log: it starts with this revision.
pub(crate) fn clear(transaction: &WriteTransaction, start: Revision) -> Result<(), Failure> {
    transaction.open_table(LOG)?.retain(|_, _| false)?;
    let mut meta = transaction.open_table(META)?;
    meta.insert(BYTES, 0)?;
    meta.insert(START, start.get())?;
    Ok(())
}

/// Appends a group's records, and trims. A log has no gap: whoever would read over one starts over.
pub(crate) fn append(transaction: &WriteTransaction, group: &Group) -> Result<(), Failure> {
    if let Some(last) = group.records.last().filter(|_| group.anew) {
        return clear(transaction, last.revision.next());
    }
    let mut log = transaction.open_table(LOG)?;
    let mut meta = transaction.open_table(META)?;
    let mut next = group.base.next();
    let mut bytes = meta.get(BYTES)?.map_or(0, |b| b.value());
    let mut start = meta.get(START)?.map_or(1, |s| s.value());
    for record in &group.records {
        if record.revision != next {
            log.retain(|_, _| false)?;
            (bytes, start) = (0, record.revision.get());
        }
        next = record.revision.next();
        let encoded = codec::put_record(record);
        let length = encoded.len() as u64;
        if length > LOG_RECORD_BYTES {
            log.retain(|_, _| false)?;
            (bytes, start) = (0, record.revision.next().get());
        } else {
            log.insert(record.revision.get(), encoded.as_slice())?;
            bytes += length;
        }
    }
    trim(&mut log, &mut bytes, &mut start)?;
    meta.insert(BYTES, bytes)?;
    meta.insert(START, start)?;
    Ok(())
}

fn trim(log: &mut Table<'_, u64, &'static [u8]>, bytes: &mut u64, start: &mut u64) -> Result<(), Failure> {
    while *bytes > LOG_BYTES || redb::ReadableTableMetadata::len(log)? > LOG_REVISIONS {
        let Some((revision, record)) = log.pop_first()? else { break };
        *bytes = bytes.saturating_sub(record.value().len() as u64);
        *start = revision.value() + 1;
    }
    Ok(())
}

/// The records from `from` on, up to about [`READ_BYTES`].
pub(crate) fn read(transaction: &ReadTransaction, from: Revision) -> Result<Changes, Failure> {
    let meta = transaction.open_table(META)?;
    let start = meta.get(START)?.map_or(1, |s| s.value());
    let end = meta.get(crate::embedded::REVISION)?.map_or(0, |r| r.value()) + 1;
    if from.get() < start || from.get() > end {
        return Ok(Changes::Gone);
    }
    let mut bytes = 0;
    let mut records: Vec<Record> = Vec::new();
    for row in transaction.open_table(LOG)?.range(from.get()..)? {
        let (revision, record) = row?;
        bytes += record.value().len();
        if bytes > READ_BYTES && !records.is_empty() {
            break;
        }
        records.push(codec::record(Revision::new(revision.value()), record.value())?);
    }
    Ok(Changes::Records(records))
}
