//! Rows of the store: the contract's messages, and the record of a revision.

use bcast_domain::Tep;
use ctl_api::model::{Event, Name, Revision};
use ctl_api::proto;
use prost::Message;

use crate::Record;

/// Bytes that are no row: what was expected there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// A record of the log.
#[derive(Clone, PartialEq, Message)]
struct StoredRecord {
    #[prost(uint64, tag = "1")]
    unix_ms: u64,
    /// Changes, as they are sent to watchers; their revision is the row's key.
    #[prost(message, repeated, tag = "2")]
    events: Vec<proto::WatchEvent>,
}

/// Key of a TEP: its address in network order.
pub fn tep_key(tep: Tep) -> [u8; 4] {
    tep.address().octets()
}

/// A name.
pub fn name(text: &str) -> Result<Name, Malformed> {
    text.parse().map_err(|_| Malformed("a name"))
}

/// The row of a TEP, a domain, a HAVIP or an event.
pub fn row<M: Message + From<T>, T: Clone>(value: &T) -> Vec<u8> {
    M::from(value.clone()).encode_to_vec()
}

/// Value of a row.
pub fn value<M: Message + Default, T: TryFrom<M>>(kind: &'static str, row: &[u8]) -> Result<T, Malformed> {
    let message = M::decode(row).map_err(|_| Malformed(kind))?;
    message.try_into().map_err(|_| Malformed(kind))
}

/// The row of a record.
pub fn put_record(record: &Record) -> Vec<u8> {
    let event = |event: &Event| proto::WatchEvent { kind: Some(event.clone().into()), ..Default::default() };
    let events = record.events.iter().map(event).collect();
    StoredRecord { unix_ms: record.unix_ms, events }.encode_to_vec()
}

/// A record out of its row.
pub fn record(revision: Revision, row: &[u8]) -> Result<Record, Malformed> {
    let malformed = || Malformed("a record");
    let StoredRecord { unix_ms, events } = StoredRecord::decode(row).map_err(|_| malformed())?;
    let event =
        |event: proto::WatchEvent| event.kind.ok_or_else(malformed)?.try_into().map_err(|_| malformed());
    Ok(Record { revision, unix_ms, events: events.into_iter().map(event).collect::<Result<_, _>>()? })
}
