//! All of a store as of one revision.

use std::ops::Bound;
use std::path::PathBuf;

use bcast_domain::{Tep, Vni};
use ctl_api::model::{DomainEntry, HavipEntry, HavipEvent, Name, Revision, TepEntry};
use ctl_api::proto;
use prost::Message;
use redb::{Key, Range, ReadOnlyTable, ReadTransaction, ReadableTable, StorageError};

use super::write::configured;
use super::{DOMAINS, Failure, HAVIPS, IDENTITY, META, REVISION, TEPS};
use crate::history::{self, HistoryTable};
use crate::{Entries, Snapshot, StoreError, codec};

/// A read transaction's tables; they keep it open.
pub(super) struct EmbeddedSnapshot {
    path: PathBuf,
    revision: Revision,
    configured: Revision,
    identity: u64,
    teps: ReadOnlyTable<&'static [u8], &'static [u8]>,
    domains: ReadOnlyTable<u32, &'static [u8]>,
    havips: ReadOnlyTable<&'static str, &'static [u8]>,
    history: HistoryTable,
}

impl EmbeddedSnapshot {
    pub fn begin(transaction: &ReadTransaction, path: PathBuf) -> Result<Self, Failure> {
        let meta = transaction.open_table(META)?;
        let number = |key| Ok::<u64, Failure>(meta.get(key)?.map_or(0, |number| number.value()));
        Ok(Self {
            path,
            revision: Revision::new(number(REVISION)?),
            configured: Revision::new(configured(&meta)?),
            identity: number(IDENTITY)?,
            teps: transaction.open_table(TEPS)?,
            domains: transaction.open_table(DOMAINS)?,
            havips: transaction.open_table(HAVIPS)?,
            history: history::table(transaction)?,
        })
    }

    /// The values of these rows.
    fn values<'s, K: Key + 'static, M: Message + Default + 's, T: TryFrom<M> + 's>(
        &'s self,
        kind: &'static str,
        rows: Result<Range<'s, K, &'static [u8]>, StorageError>,
    ) -> Result<Entries<'s, T>, StoreError> {
        let rows = rows.map_err(|error| Failure::from(error).unreadable(&self.path))?;
        Ok(Box::new(rows.map(move |row| {
            let parse = |row: &[u8]| Ok(codec::value::<M, T>(kind, row)?);
            let value = row.map_err(Failure::from).and_then(|(_, row)| parse(row.value()));
            value.map_err(|failure| failure.unreadable(&self.path))
        })))
    }
}

/// The bounds of the rows behind this one.
fn behind<K>(after: Option<K>) -> (Bound<K>, Bound<K>) {
    (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}

impl Snapshot for EmbeddedSnapshot {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn configured(&self) -> Revision {
        self.configured
    }

    fn identity(&self) -> u64 {
        self.identity
    }

    fn teps_after(&self, after: Option<Tep>) -> Result<Entries<'_, TepEntry>, StoreError> {
        let key = after.map(codec::tep_key);
        let rows = self.teps.range::<&[u8]>(behind(key.as_ref().map(<[u8; 4]>::as_slice)));
        self.values::<_, proto::Tep, _>("a TEP", rows)
    }

    fn domains_after(&self, after: Option<Vni>) -> Result<Entries<'_, DomainEntry>, StoreError> {
        let rows = self.domains.range::<u32>(behind(after.map(Vni::get)));
        self.values::<_, proto::Domain, _>("a domain", rows)
    }

    fn havips_after(&self, after: Option<&Name>) -> Result<Entries<'_, HavipEntry>, StoreError> {
        let rows = self.havips.range::<&str>(behind(after.map(Name::as_str)));
        self.values::<_, proto::HavipEntry, _>("a HAVIP", rows)
    }

    fn history(&self) -> Result<Entries<'_, HavipEvent>, StoreError> {
        self.values::<_, proto::HavipEvent, _>("an event", self.history.iter())
    }
}
