//! A group as one transaction: rows, log, history, outbox, answers.

use std::net::{Ipv4Addr, Ipv6Addr};

use bcast_domain::{DomainLimit, Tep, TepLimit};
use ctl_api::model::{Event, GarpMode, Revision, TepEntry};
use redb::{Database, ReadableTable, Table, WriteTransaction};

use super::{
    COMMITTED_MS, DOMAINS, Failure, HAVIPS, META, REVISION, SCHEMA, SCHEMA_KEY, SCHEMA_WITHOUT_HAVIPS,
    SCHEMA_WITHOUT_LIMITS, TEP_HOPS, TEP_LIMITS, TEPS, WRITES, answers,
};
use crate::history::History;
use crate::revision_file::Mark;
use crate::{Group, codec, log, outbox};

/// One transaction; its commit is durable when it returns, but for the revision file. Dropped on any error before, it leaves no
/// trace.
pub(super) fn write_group(database: &Database, group: &Group) -> Result<Mark, Failure> {
    let transaction = database.begin_write()?;
    let found = transaction.open_table(META)?.get(REVISION)?.map_or(0, |r| r.value());
    if found != group.base.get() {
        return Err(Failure::At(Revision::new(found)));
    }
    if let Some(last) = group.records.last() {
        write_rows(&transaction, group)?;
        write_havips(&transaction, group)?;
        log::append(&transaction, group)?;
        let mut meta = transaction.open_table(META)?;
        meta.insert(REVISION, last.revision.get())?;
        meta.insert(COMMITTED_MS, group.unix_ms)?;
        let needed = group.records.iter().flat_map(|record| &record.events).map(schema_of).max();
        let found = meta.get(SCHEMA_KEY)?.map_or(0, |schema| schema.value());
        if let Some(needed) = needed.filter(|&needed| needed > found) {
            meta.insert(SCHEMA_KEY, needed)?;
        }
    }
    if !group.outbox.is_empty() {
        outbox::write(&transaction, &group.outbox)?;
        transaction.open_table(META)?.insert(SCHEMA_KEY, SCHEMA)?;
    }
    answers::write(&transaction, group)?;
    let mark = count(&transaction)?;
    transaction.commit()?;
    Ok(mark)
}

/// Counts a durable transaction; returns the store's mark after it.
pub(crate) fn count(transaction: &WriteTransaction) -> Result<Mark, Failure> {
    let mut meta = transaction.open_table(META)?;
    let revision = meta.get(REVISION)?.map_or(0, |revision| revision.value());
    let write = meta.get(WRITES)?.map_or(0, |writes| writes.value()) + 1;
    meta.insert(WRITES, write)?;
    Ok(Mark { revision, write })
}

/// The oldest layout in which this can be said.
fn schema_of(event: &Event) -> u64 {
    match event {
        Event::TepSet(tep) if tep.next_hop.is_some() || tep.next_hop6.is_some() => SCHEMA,
        Event::DomainSet(domain) if domain.garp != GarpMode::Open => SCHEMA,
        Event::HavipSet(_) | Event::HavipRemoved(_) | Event::Happened(_) => SCHEMA,
        Event::TepSet(tep) if tep.limit != TepLimit::default() => SCHEMA_WITHOUT_HAVIPS,
        Event::DomainSet(domain) if domain.limit != DomainLimit::default() => SCHEMA_WITHOUT_HAVIPS,
        Event::TepSet(_) | Event::TepRemoved(_) | Event::DomainSet(_) | Event::DomainRemoved(_) => {
            SCHEMA_WITHOUT_LIMITS
        }
    }
}

fn is_of_a_havip(event: &&Event) -> bool {
    matches!(event, Event::HavipSet(_) | Event::HavipRemoved(_) | Event::Happened(_))
}

fn write_havips(transaction: &WriteTransaction, group: &Group) -> Result<(), Failure> {
    let mut events = group.records.iter().flat_map(|record| &record.events).filter(is_of_a_havip).peekable();
    if events.peek().is_none() && group.history.is_none() {
        return Ok(());
    }
    let mut havips = transaction.open_table(HAVIPS)?;
    let mut history = History::open(transaction)?;
    for event in events {
        match event {
            Event::HavipSet(entry) => {
                havips.insert(entry.havip.name.as_str(), codec::put_havip(entry).as_slice())?;
            }
            Event::HavipRemoved(name) => {
                havips.remove(name.as_str())?;
                history.forget(name)?;
            }
            // The last thing that happens to a HAVIP has no history any more.
            Event::Happened(happening)
                if group.history.is_none() && havips.get(happening.havip.as_str())?.is_some() =>
            {
                history.add(happening)?;
            }
            _ => {}
        }
    }
    if let Some(events) = &group.history {
        history.replace(events)?;
    }
    history.close(transaction)
}

/// The tables of those TEPs that have more than a name.
struct TepsOwn<'t> {
    limits: Table<'t, u32, u64>,
    hops: Table<'t, u32, (u32, u128)>,
}

impl<'t> TepsOwn<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, Failure> {
        Ok(Self { limits: transaction.open_table(TEP_LIMITS)?, hops: transaction.open_table(TEP_HOPS)? })
    }

    fn set(&mut self, tep: &TepEntry) -> Result<(), Failure> {
        let key = codec::tep_key(tep.address);
        match tep.limit.frames {
            Some(frames) => self.limits.insert(key, frames.per_second())?,
            None => self.limits.remove(key)?,
        };
        match (tep.next_hop.map_or(0, Ipv4Addr::to_bits), tep.next_hop6.map_or(0, Ipv6Addr::to_bits)) {
            (0, 0) => self.hops.remove(key)?,
            both => self.hops.insert(key, both)?,
        };
        Ok(())
    }

    fn remove(&mut self, tep: Tep) -> Result<(), Failure> {
        self.limits.remove(codec::tep_key(tep))?;
        self.hops.remove(codec::tep_key(tep))?;
        Ok(())
    }
}

fn write_rows(transaction: &WriteTransaction, group: &Group) -> Result<(), Failure> {
    let mut teps = transaction.open_table(TEPS)?;
    let mut own = TepsOwn::open(transaction)?;
    let mut domains = transaction.open_table(DOMAINS)?;
    let mut row = Vec::new();
    for event in group.records.iter().flat_map(|record| &record.events) {
        match event {
            Event::TepSet(tep) => {
                teps.insert(codec::tep_key(tep.address), codec::name_text(tep.name.as_ref()))?;
                own.set(tep)?;
            }
            Event::TepRemoved(tep) => {
                teps.remove(codec::tep_key(*tep))?;
                own.remove(*tep)?;
            }
            Event::DomainSet(domain) => {
                row.clear();
                codec::put_domain(&mut row, domain);
                domains.insert(domain.vni.get(), row.as_slice())?;
            }
            Event::DomainRemoved(vni) => {
                domains.remove(vni.get())?;
            }
            Event::HavipSet(_) | Event::HavipRemoved(_) | Event::Happened(_) => {}
        }
    }
    Ok(())
}
