//! A store of an older schema, made into the present one by one transaction.
//!
//! Schema 1 knew TEPs and domains, 2 limits, 3 HAVIPs and webhooks. Kept are TEPs, domains, HAVIPs with their
//! bindings, their events, answers, the outbox and dead letters. The log of revisions starts anew. Integers were
//! little-endian.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use bcast_domain::{DomainLimit, MacAddr, Rate, Tep, TepLimit, Vni, limits};
use ctl_api::model::{
    ArpInspection, Attachment, Binding, DomainEntry, Havip, HavipEntry, HavipEvent, Holder, Name, Offender,
    Revision, TepEntry,
};
use ctl_api::proto;
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
    optional(text).ok_or(Malformed("a name"))
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

/// The messages of schema 3: addresses, MACs, states and causes were text, "" where there was none.
#[derive(Clone, PartialEq, Message)]
struct OldAttachment {
    #[prost(string, tag = "1")]
    instance: String,
    #[prost(string, tag = "2")]
    mac: String,
    #[prost(string, repeated, tag = "3")]
    teps: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct OldHavip {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    vni: u32,
    #[prost(string, tag = "3")]
    subnet: String,
    #[prost(string, tag = "4")]
    address: String,
    #[prost(message, repeated, tag = "5")]
    attachments: Vec<OldAttachment>,
    #[prost(uint32, repeated, tag = "6")]
    vrids: Vec<u32>,
    #[prost(uint32, optional, tag = "7")]
    refresh_s: Option<u32>,
    #[prost(string, tag = "8")]
    eip: String,
}

#[derive(Clone, PartialEq, Message)]
struct OldHolder {
    #[prost(string, tag = "1")]
    instance: String,
    #[prost(string, tag = "2")]
    mac: String,
    #[prost(string, tag = "3")]
    tep: String,
}

#[derive(Clone, PartialEq, Message)]
struct OldBinding {
    #[prost(string, tag = "1")]
    state: String,
    #[prost(message, optional, tag = "2")]
    holder: Option<OldHolder>,
    #[prost(message, optional, tag = "3")]
    previous: Option<OldHolder>,
    #[prost(uint64, tag = "4")]
    since_unix_ms: u64,
    #[prost(string, tag = "5")]
    why: String,
    #[prost(uint64, tag = "6")]
    moves: u64,
    #[prost(uint64, tag = "7")]
    generation: u64,
}

#[derive(Clone, PartialEq, Message)]
struct OldHavipEntry {
    #[prost(message, optional, tag = "1")]
    havip: Option<OldHavip>,
    #[prost(message, optional, tag = "2")]
    binding: Option<OldBinding>,
}

#[derive(Clone, PartialEq, Message)]
struct OldOffender {
    #[prost(string, tag = "1")]
    mac: String,
    #[prost(string, tag = "2")]
    tep: String,
    #[prost(uint64, tag = "3")]
    count: u64,
}

#[derive(Clone, PartialEq, Message)]
struct OldHavipEvent {
    #[prost(string, tag = "1")]
    havip: String,
    #[prost(uint32, tag = "2")]
    vni: u32,
    #[prost(string, tag = "3")]
    address: String,
    #[prost(string, tag = "4")]
    eip: String,
    #[prost(string, tag = "5")]
    kind: String,
    #[prost(uint64, tag = "6")]
    generation: u64,
    #[prost(uint64, tag = "7")]
    unix_ms: u64,
    #[prost(message, optional, tag = "8")]
    holder: Option<OldHolder>,
    #[prost(message, optional, tag = "9")]
    previous: Option<OldHolder>,
    #[prost(string, tag = "10")]
    why: String,
    #[prost(string, tag = "11")]
    detail: String,
    #[prost(message, optional, tag = "12")]
    offender: Option<OldOffender>,
}

/// `None`: the text cannot be read.
fn optional<T: FromStr>(text: &str) -> Option<Option<T>> {
    if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) }
}

fn old_tep(text: &str) -> Option<Tep> {
    Tep::new(text.parse().ok()?).ok()
}

fn holder(old: Option<OldHolder>) -> Option<Option<Holder>> {
    let Some(OldHolder { instance, mac, tep }) = old else { return Some(None) };
    Some(Some(Holder { instance: instance.parse().ok()?, mac: mac.parse().ok()?, tep: old_tep(&tep)? }))
}

/// A row of a HAVIP.
pub(crate) fn havip(bytes: &[u8]) -> Result<HavipEntry, Malformed> {
    let old = OldHavipEntry::decode(bytes).ok();
    old.and_then(havip_entry).ok_or(Malformed("a HAVIP"))
}

/// A row of an event.
pub(crate) fn event(bytes: &[u8]) -> Result<HavipEvent, Malformed> {
    let old = OldHavipEvent::decode(bytes).ok();
    old.and_then(havip_event).ok_or(Malformed("an event"))
}

fn havip_entry(old: OldHavipEntry) -> Option<HavipEntry> {
    let (havip, binding) = (old.havip?, old.binding?);
    let attachment = |OldAttachment { instance, mac, teps }: OldAttachment| {
        let teps = teps.iter().map(|tep| old_tep(tep)).collect::<Option<_>>()?;
        Some(Attachment { instance: instance.parse().ok()?, mac: mac.parse().ok()?, teps })
    };
    let mut havip = Havip {
        name: havip.name.parse().ok()?,
        vni: Vni::from(havip.vni),
        subnet: havip.subnet.parse().ok()?,
        address: havip.address.parse().ok()?,
        attachments: havip.attachments.into_iter().map(attachment).collect::<Option<_>>()?,
        vrids: havip.vrids.into_iter().map(|id| u8::try_from(id).ok()).collect::<Option<_>>()?,
        refresh_s: havip.refresh_s,
        eip: optional(&havip.eip)?,
        group: None,
    };
    havip.sort();
    havip.check().ok()?;
    let binding = Binding {
        state: binding.state.parse().ok()?,
        holder: holder(binding.holder)?,
        previous: holder(binding.previous)?,
        since_unix_ms: binding.since_unix_ms,
        why: optional(&binding.why)?,
        moves: binding.moves,
        generation: binding.generation,
    };
    Some(HavipEntry { havip, binding })
}

/// Any six bytes of a MAC address: a sender of rejected announcements may have a group address or zeros.
fn octets(text: &str) -> Option<[u8; 6]> {
    text.parse().ok().map(|MacAddr(octets)| octets)
}

fn havip_event(old: OldHavipEvent) -> Option<HavipEvent> {
    let offender = |OldOffender { mac, tep, count }: OldOffender| {
        Some(Offender { mac: octets(&mac)?, tep: old_tep(&tep)?, count })
    };
    Some(HavipEvent {
        havip: old.havip.parse().ok()?,
        vni: Vni::from(old.vni),
        address: old.address.parse::<IpAddr>().ok()?,
        eip: optional(&old.eip)?,
        kind: old.kind.parse().ok()?,
        generation: old.generation,
        unix_ms: old.unix_ms,
        holder: holder(old.holder)?,
        previous: holder(old.previous)?,
        why: optional(&old.why)?,
        detail: old.detail,
        offender: match old.offender {
            Some(old) => Some(offender(old)?),
            None => None,
        },
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
