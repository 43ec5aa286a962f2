//! All of a store as of one revision.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use bcast_domain::TepLimit;
use ctl_api::model::{DomainEntry, HavipEntry, HavipEvent, Revision, TepEntry};
use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, StorageError};

use super::{
    DOMAINS, Failure, HAVIPS, IDENTITY, META, REVISION, TEP_HOPS, TEP_LIMITS, TEPS, existing, is_closed,
};
use crate::history::{self, HistoryTable};
use crate::{Entries, Snapshot, StoreError, codec};

/// A read transaction's tables; they keep it open.
pub(super) struct EmbeddedSnapshot {
    path: PathBuf,
    revision: Revision,
    identity: u64,
    teps: ReadOnlyTable<u32, &'static str>,
    tep_limits: Option<ReadOnlyTable<u32, u64>>,
    tep_hops: Option<ReadOnlyTable<u32, (u32, u128)>>,
    domains: ReadOnlyTable<u32, &'static [u8]>,
    havips: Option<ReadOnlyTable<&'static str, &'static [u8]>>,
    history: Option<HistoryTable>,
}

impl EmbeddedSnapshot {
    pub fn begin(transaction: &ReadTransaction, path: PathBuf) -> Result<Self, Failure> {
        let meta = transaction.open_table(META)?;
        let number = |key| Ok::<u64, Failure>(meta.get(key)?.map_or(0, |number| number.value()));
        Ok(Self {
            path,
            revision: Revision::new(number(REVISION)?),
            identity: number(IDENTITY)?,
            teps: transaction.open_table(TEPS)?,
            tep_limits: existing(transaction.open_table(TEP_LIMITS))?,
            tep_hops: existing(transaction.open_table(TEP_HOPS))?,
            domains: transaction.open_table(DOMAINS)?,
            havips: existing(transaction.open_table(HAVIPS))?,
            history: history::table(transaction)?,
        })
    }

    fn error(&self, failure: &Failure) -> StoreError {
        let path = self.path.clone();
        match failure {
            Failure::Redb(error) if is_closed(error) => StoreError::CutShort(path),
            Failure::Malformed(_) => StoreError::Damaged { path, what: failure.to_string() },
            other => StoreError::Read { path, reason: other.to_string() },
        }
    }
}

impl Snapshot for EmbeddedSnapshot {
    fn revision(&self) -> Revision {
        self.revision
    }

    fn identity(&self) -> u64 {
        self.identity
    }

    fn teps(&self) -> Result<Entries<'_, TepEntry>, StoreError> {
        let rows = self.teps.iter().map_err(|e| self.error(&e.into()))?;
        let entry = |row: Result<(redb::AccessGuard<'_, u32>, redb::AccessGuard<'_, &str>), StorageError>| {
            let (key, name) = row?;
            let frames =
                self.tep_limits.as_ref().map(|limits| limits.get(key.value())).transpose()?.flatten();
            let hops = self.tep_hops.as_ref().map(|hops| hops.get(key.value())).transpose()?.flatten();
            let (hop, hop6) = hops.map_or((0, 0), |hops| hops.value());
            Ok(TepEntry {
                address: codec::tep(key.value())?,
                name: codec::name(name.value())?,
                limit: TepLimit { frames: frames.map(|frames| codec::rate(frames.value())).transpose()? },
                next_hop: Some(hop).filter(|&hop| hop != 0).map(Ipv4Addr::from_bits),
                next_hop6: Some(hop6).filter(|&hop| hop != 0).map(Ipv6Addr::from_bits),
            })
        };
        Ok(Box::new(rows.map(move |row| entry(row).map_err(|e: Failure| self.error(&e)))))
    }

    fn domains(&self) -> Result<Entries<'_, DomainEntry>, StoreError> {
        let rows = self.domains.iter().map_err(|e| self.error(&e.into()))?;
        let entry =
            |row: Result<(redb::AccessGuard<'_, u32>, redb::AccessGuard<'_, &[u8]>), StorageError>| {
                let (vni, domain) = row?;
                Ok(codec::domain(vni.value(), domain.value())?)
            };
        Ok(Box::new(rows.map(move |row| entry(row).map_err(|e: Failure| self.error(&e)))))
    }

    fn havips(&self) -> Result<Entries<'_, HavipEntry>, StoreError> {
        let Some(havips) = &self.havips else { return Ok(Box::new(std::iter::empty())) };
        let rows = havips.iter().map_err(|e| self.error(&e.into()))?;
        let entry = |row: Result<
            (redb::AccessGuard<'_, &str>, redb::AccessGuard<'_, &[u8]>),
            StorageError,
        >| { Ok(codec::havip(row?.1.value())?) };
        Ok(Box::new(rows.map(move |row| entry(row).map_err(|e: Failure| self.error(&e)))))
    }

    fn history(&self) -> Result<Entries<'_, HavipEvent>, StoreError> {
        let Some(history) = &self.history else { return Ok(Box::new(std::iter::empty())) };
        let rows = history.iter().map_err(|e| self.error(&e.into()))?;
        let happening = |row: Result<(_, redb::AccessGuard<'_, &[u8]>), StorageError>| {
            Ok(codec::happening(row?.1.value())?)
        };
        Ok(Box::new(rows.map(move |row| happening(row).map_err(|e: Failure| self.error(&e)))))
    }
}
