//! A group as one transaction: rows, log, history, outbox, answers.

use ctl_api::model::{Event, Revision};
use ctl_api::proto;
use redb::{Database, ReadableTable, WriteTransaction};

use super::{
    COMMITTED_MS, CONFIGURED, CONFIGURED_AT, DOMAINS, Failure, HAVIPS, META, REVISION, TEPS, WRITES, answers,
};
use crate::codec::{row, tep_key};
use crate::history::History;
use crate::revision_file::Mark;
use crate::{Group, log, outbox};

/// One transaction; its commit is durable when it returns, but for the revision file. Dropped on any error before, it
/// leaves no trace.
pub(super) fn write_group(database: &Database, group: &Group) -> Result<Mark, Failure> {
    let transaction = database.begin_write()?;
    let found = transaction.open_table(META)?.get(REVISION)?.map_or(0, |r| r.value());
    if found != group.base.get() {
        return Err(Failure::At(Revision::new(found)));
    }
    if let Some(last) = group.records.last() {
        write_rows(&transaction, group)?;
        log::append(&transaction, group)?;
        let mut meta = transaction.open_table(META)?;
        let revision = last.revision.get();
        let configured = if group.configures { revision } else { configured(&meta)? };
        meta.insert(CONFIGURED, configured)?;
        meta.insert(CONFIGURED_AT, revision)?;
        meta.insert(REVISION, revision)?;
        meta.insert(COMMITTED_MS, group.unix_ms)?;
    }
    outbox::write(&transaction, &group.outbox)?;
    answers::write(&transaction, group)?;
    let mark = count(&transaction)?;
    transaction.commit()?;
    Ok(mark)
}

/// The last revision that changed the configuration; where that is not known, the current one.
pub(super) fn configured(meta: &impl ReadableTable<&'static str, u64>) -> Result<u64, Failure> {
    let number = |key| Ok::<_, Failure>(meta.get(key)?.map(|number| number.value()));
    let revision = number(REVISION)?.unwrap_or(0);
    let known = number(CONFIGURED_AT)?.filter(|&at| at == revision);
    Ok(known.and(number(CONFIGURED)?).unwrap_or(revision))
}

/// Counts a durable transaction; returns the store's mark after it.
pub(crate) fn count(transaction: &WriteTransaction) -> Result<Mark, Failure> {
    let mut meta = transaction.open_table(META)?;
    let revision = meta.get(REVISION)?.map_or(0, |revision| revision.value());
    let write = meta.get(WRITES)?.map_or(0, |writes| writes.value()) + 1;
    meta.insert(WRITES, write)?;
    Ok(Mark { revision, write })
}

fn write_rows(transaction: &WriteTransaction, group: &Group) -> Result<(), Failure> {
    let mut teps = transaction.open_table(TEPS)?;
    let mut domains = transaction.open_table(DOMAINS)?;
    let mut havips = transaction.open_table(HAVIPS)?;
    let mut history = History::open(transaction)?;
    for event in group.records.iter().flat_map(|record| &record.events) {
        match event {
            Event::TepSet(tep) => {
                teps.insert(tep_key(tep.address).as_slice(), row::<proto::Tep, _>(tep).as_slice())?;
            }
            Event::TepDeleted(tep) => drop(teps.remove(tep_key(*tep).as_slice())?),
            Event::DomainSet(domain) => {
                domains.insert(domain.vni.get(), row::<proto::Domain, _>(domain).as_slice())?;
            }
            Event::DomainDeleted(vni) => drop(domains.remove(vni.get())?),
            Event::HavipSet(entry) => {
                let row = row::<proto::HavipEntry, _>(entry.as_ref());
                havips.insert(entry.havip.name.as_str(), row.as_slice())?;
            }
            Event::HavipDeleted(name) => {
                havips.remove(name.as_str())?;
                history.forget(name)?;
            }
            // The last event of a HAVIP has no history any more.
            Event::HavipEvent(event) => {
                if group.history.is_none() && havips.get(event.havip.as_str())?.is_some() {
                    history.add(event)?;
                }
            }
        }
    }
    if let Some(events) = &group.history {
        history.replace(events)?;
    }
    history.close(transaction)
}
