//! Rows by their table, read and written again: for fuzzing alone.

use ctl_api::model::{DomainEntry, HavipEntry, HavipEvent, Revision, TepEntry};
use ctl_api::proto;
use prost::Message;

use crate::codec::{put_record, record, row, value};
use crate::{migrate, outbox};

/// A table whose rows are decoded by this crate. All others hold numbers and texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// TEPs.
    Tep,
    /// Domains.
    Domain,
    /// HAVIPs with their bindings.
    Havip,
    /// Events of HAVIPs.
    Event,
    /// Records of the log.
    Record,
    /// Dead letters; receiver, HAVIP, body and reason, each but the last with a zero byte behind it.
    Letter,
    /// Domains before schema 4.
    OldDomain,
    /// HAVIPs before schema 4.
    OldHavip,
    /// Events before schema 4.
    OldEvent,
}

impl Table {
    /// All tables.
    pub const ALL: &'static [Self] = &[
        Self::Tep,
        Self::Domain,
        Self::Havip,
        Self::Event,
        Self::Record,
        Self::Letter,
        Self::OldDomain,
        Self::OldHavip,
        Self::OldEvent,
    ];
}

/// The row of these bytes, written again, and the table that it belongs to now. `None`: the bytes are no row.
#[must_use]
pub fn reencode(table: Table, bytes: &[u8]) -> Option<(Table, Vec<u8>)> {
    fn same<M: Message + Default + From<T>, T: TryFrom<M> + Clone>(bytes: &[u8]) -> Option<Vec<u8>> {
        Some(row::<M, T>(&value("", bytes).ok()?))
    }
    Some(match table {
        Table::Tep => (table, same::<proto::Tep, TepEntry>(bytes)?),
        Table::Domain => (table, same::<proto::Domain, DomainEntry>(bytes)?),
        Table::Havip => (table, same::<proto::HavipEntry, HavipEntry>(bytes)?),
        Table::Event => (table, same::<proto::HavipEvent, HavipEvent>(bytes)?),
        Table::Record => (table, put_record(&record(Revision::default(), bytes).ok()?)),
        Table::Letter => (table, outbox::reencode(bytes)?),
        Table::OldDomain => (Table::Domain, row::<proto::Domain, _>(&migrate::domain(1, bytes).ok()?)),
        Table::OldHavip => (Table::Havip, row::<proto::HavipEntry, _>(&migrate::havip(bytes).ok()?)),
        Table::OldEvent => (Table::Event, row::<proto::HavipEvent, _>(&migrate::event(bytes).ok()?)),
    })
}
