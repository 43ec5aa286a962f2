//! A store of an older schema, made into the present one by one transaction.
//!
//! Schema 1 knew TEPs and domains, 2 limits, 3 HAVIPs and webhooks. Kept are TEPs, domains, HAVIPs with their
//! bindings, their events, answers, the outbox and dead letters. The log of revisions starts anew. Integers were
//! little-endian.

use std::net::{Ipv4Addr, Ipv6Addr};

use bcast_domain::{DomainLimit, Rate, Tep, TepLimit, Vni, limits};
use ctl_api::model::{ArpInspection, DomainEntry, HavipEntry, HavipEvent, Name, Revision, TepEntry};
use ctl_api::{legacy, proto};
use prost::Message;
use redb::{Database, ReadableTable, TableDefinition, TableHandle, WriteTransaction};

use crate::codec::{Malformed, row, tep_key};
use crate::embedded::{
    DOMAINS, Failure, HAVIPS, META, REVISION, SCHEMA, SCHEMA_KEY, TEPS, count, make_tables,
};
use crate::{history, log};

/// Address -> name.
const OLD_TEPS: TableDefinition<u32, &str> = TableDefinition::new("teps");
/// Address -> frames a second.
const OLD_TEP_LIMITS: TableDefinition<u32, u64> = TableDefinition::new("tep_limits");
/// Address -> route gateway for IPv4, for IPv6; 0: none.
const OLD_TEP_HOPS: TableDefinition<u32, (u32, u128)> = TableDefinition::new("tep_hops");
/// VNI -> name, rates, ARP inspection and members.
const OLD_DOMAINS: TableDefinition<u32, &[u8]> = TableDefinition::new("domains");
/// Name -> HAVIP and binding.
const OLD_HAVIPS: TableDefinition<&str, &[u8]> = TableDefinition::new("havips");
/// HAVIP and number -> event.
const OLD_EVENTS: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("happenings");
const OLD_AGES: TableDefinition<u64, &str> = TableDefinition::new("happening_ages");
/// Key in [`META`]: number of the next event.
const OLD_NEXT: &str = "happenings";

/// All tables that go.
const OLD_TABLES: [&str; 8] =
    ["teps", "tep_limits", "tep_hops", "domains", "havips", "happenings", "happening_ages", "log"];

/// In the byte that holds the length of a name: rates or more follow it.
const WITH_MORE: u8 = 128;
/// Behind the bits of a domain's rates: ARP inspection was strict.
const STRICT: u8 = 1;

/// Migrates a store, all of it or nothing.
pub(crate) fn migrate(database: &Database) -> Result<(), Failure> {
    let transaction = database.begin_write()?;
    make_tables(&transaction)?;
    teps(&transaction)?;
    domains(&transaction)?;
    havips(&transaction)?;
    events(&transaction)?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(SCHEMA_KEY, SCHEMA)?;
        meta.remove(OLD_NEXT)?;
    }
    for table in Vec::from_iter(transaction.list_tables()?) {
        if OLD_TABLES.contains(&table.name()) {
            transaction.delete_table(table)?;
        }
    }
    let revision = transaction.open_table(META)?.get(REVISION)?.map_or(0, |revision| revision.value());
    log::clear(&transaction, Revision::new(revision).next())?;
    count(&transaction)?;
    Ok(transaction.commit()?)
}

fn teps(transaction: &WriteTransaction) -> Result<(), Failure> {
    let (old, mut new) = (transaction.open_table(OLD_TEPS)?, transaction.open_table(TEPS)?);
    let limits = transaction.open_table(OLD_TEP_LIMITS)?;
    let hops = transaction.open_table(OLD_TEP_HOPS)?;
    for entry in old.iter()? {
        let (key, text) = entry?;
        let key = key.value();
        let frames = limits.get(key)?.map(|frames| rate(frames.value())).transpose()?;
        let (hop, hop6) = hops.get(key)?.map_or((0, 0), |hops| hops.value());
        let tep = TepEntry {
            address: tep(key)?,
            name: name(text.value())?,
            limit: TepLimit { frames },
            route_gateway: Some(hop).filter(|&hop| hop != 0).map(Ipv4Addr::from_bits),
            route_gateway6: Some(hop6).filter(|&hop| hop != 0).map(Ipv6Addr::from_bits),
        };
        new.insert(tep_key(tep.address).as_slice(), row::<proto::Tep, _>(&tep).as_slice())?;
    }
    Ok(())
}

fn domains(transaction: &WriteTransaction) -> Result<(), Failure> {
    let (old, mut new) = (transaction.open_table(OLD_DOMAINS)?, transaction.open_table(DOMAINS)?);
    for entry in old.iter()? {
        let (vni, bytes) = entry?;
        let domain = domain(vni.value(), bytes.value())?;
        new.insert(vni.value(), row::<proto::Domain, _>(&domain).as_slice())?;
    }
    Ok(())
}

fn havips(transaction: &WriteTransaction) -> Result<(), Failure> {
    let (old, mut new) = (transaction.open_table(OLD_HAVIPS)?, transaction.open_table(HAVIPS)?);
    for entry in old.iter()? {
        let (name, bytes) = entry?;
        new.insert(name.value(), row::<proto::HavipEntry, _>(&havip(bytes.value())?).as_slice())?;
    }
    Ok(())
}

fn events(transaction: &WriteTransaction) -> Result<(), Failure> {
    let (old, ages) = (transaction.open_table(OLD_EVENTS)?, transaction.open_table(OLD_AGES)?);
    let mut new = history::History::open(transaction)?;
    // By age, the order in which they were numbered.
    for age in ages.iter()? {
        let (number, name) = age?;
        let Some(bytes) = old.get((name.value(), number.value()))? else { continue };
        new.put(&event(bytes.value())?)?;
    }
    new.close(transaction)
}

fn tep(key: u32) -> Result<Tep, Malformed> {
    Tep::new(Ipv4Addr::from(key)).map_err(|_| Malformed("a TEP's address"))
}

fn rate(per_second: u64) -> Result<Rate, Malformed> {
    Rate::new(per_second).map_err(|_| Malformed("a rate"))
}

/// A name; none for the empty text.
fn name(text: &str) -> Result<Option<Name>, Malformed> {
    let text = Some(text).filter(|text| !text.is_empty());
    text.map(str::parse).transpose().map_err(|_| Malformed("a name"))
}

/// A row of a domain: length of its name (1, and [`WITH_MORE`]), name, then a bit for each rate and for [`STRICT`]
/// (1), the rates (8 each: copies, bits, control), and 4 for each member's address.
pub(crate) fn domain(vni: u32, bytes: &[u8]) -> Result<DomainEntry, Malformed> {
    let mut input = Input(bytes);
    let [length] = input.array()?;
    let text = std::str::from_utf8(input.take(usize::from(length & !WITH_MORE))?)
        .map_err(|_| Malformed("a name"))?;
    let (mut rates, mut present) = ([None; 3], 0);
    if length & WITH_MORE != 0 {
        [present] = input.array()?;
        for slot in &mut rates {
            if present & 1 != 0 {
                *slot = Some(rate(u64::from_le_bytes(input.array()?))?);
            }
            present >>= 1;
        }
    }
    let arp_inspection = match present {
        0 => ArpInspection::Off,
        STRICT => ArpInspection::Sticky,
        _ => return Err(Malformed("a kind of rate")),
    };
    let (members, rest) = input.0.as_chunks::<4>();
    if !rest.is_empty() || members.len() > limits::MAX_MEMBERS {
        return Err(Malformed("a list of members"));
    }
    let [copies, bits, control] = rates;
    let members = members.iter().map(|&bytes| tep(u32::from_le_bytes(bytes)));
    Ok(DomainEntry {
        vni: Vni::from(vni),
        name: name(text)?,
        limit: DomainLimit { copies, bits, control },
        arp_inspection,
        stated: Default::default(),
        pinned: Vec::new(),
        members: members.collect::<Result<_, _>>()?,
    })
}

/// Bytes that are left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed("more bytes"))?;
        self.0 = rest;
        Ok(*array)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed("more bytes"))?;
        self.0 = rest;
        Ok(taken)
    }
}

/// A row of a HAVIP.
pub(crate) fn havip(bytes: &[u8]) -> Result<HavipEntry, Malformed> {
    present::<legacy::HavipEntry, proto::HavipEntry, _>(bytes).ok_or(Malformed("a HAVIP"))
}

/// A row of an event.
pub(crate) fn event(bytes: &[u8]) -> Result<HavipEvent, Malformed> {
    present::<legacy::HavipEvent, proto::HavipEvent, _>(bytes).ok_or(Malformed("an event"))
}

/// Value of an old row, by way of the present message.
fn present<Old: Message + Default, New: TryFrom<Old>, T: TryFrom<New>>(bytes: &[u8]) -> Option<T> {
    let new = New::try_from(Old::decode(bytes).ok()?).ok()?;
    T::try_from(new).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
