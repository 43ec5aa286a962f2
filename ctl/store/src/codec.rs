//! How rows and records lie in the file. All integers are little-endian.
//!
//! | what | bytes |
//! | --- | --- |
//! | head | length of the name (1), 128 more where more follows; name, empty where there is none; more |
//! | more | a bit for each thing that is there (1), and each of those: rates (8 each), next hops (4, 16) |
//! | domain row | head, then 4 for each member's address |
//! | record | Unix milliseconds (8), then events up to the end |
//! | event | kind (1), then by kind: TEP (4) and head; TEP (4); VNI (4), count (4), domain row; VNI (4); length (4), what happened |
//!
//! A domain has, in the order of their bits, the rates copies, bits and control, and strictness about GARP, which is its bit alone. A TEP
//! has the rate frames, and next hops for IPv4 and IPv6. Without any, all of it is as it was before there were limits. HAVIPs and what
//! happens to them are the contract's own messages: a field that is added later is no other layout.

use std::net::{Ipv4Addr, Ipv6Addr};

use bcast_domain::{DomainLimit, Rate, Tep, TepLimit, Vni, limits};
use ctl_api::model::{DomainEntry, Event, GarpMode, HavipEntry, HavipEvent, Name, Revision, TepEntry};
use ctl_api::proto;
use prost::Message;

use crate::Record;

const TEP_SET: u8 = 1;
const TEP_REMOVED: u8 = 2;
const DOMAIN_SET: u8 = 3;
const DOMAIN_REMOVED: u8 = 4;
const HAVIP_SET: u8 = 5;
const HAVIP_REMOVED: u8 = 6;
const HAPPENED: u8 = 7;
/// In the byte that holds the length of a name: more follows it.
const WITH_MORE: u8 = 128;
/// Of a domain, behind the bits of its rates: it is strict about GARP.
const STRICT: u8 = 1;
/// Of a TEP, behind the bit of its rate: it has a next hop for IPv4.
const HOP: u8 = 1;
/// The same for IPv6.
const HOP6: u8 = 2;

/// Bytes that are no row: what they should have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

/// A TEP's key in the file; ascending like addresses.
pub fn tep_key(tep: Tep) -> u32 {
    u32::from(tep.address())
}

/// The TEP with this key.
pub fn tep(key: u32) -> Result<Tep, Malformed> {
    Tep::new(Ipv4Addr::from(key)).map_err(|_| Malformed("a TEP's address"))
}

/// A name, or none for the empty text.
pub fn name(text: &str) -> Result<Option<Name>, Malformed> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(|_| Malformed("a name")) }
}

/// The text of a name; empty for none.
pub fn name_text(name: Option<&Name>) -> &str {
    name.map_or("", Name::as_str)
}

/// Appends a domain row.
pub fn put_domain(out: &mut Vec<u8>, domain: &DomainEntry) {
    let DomainLimit { copies, bits, control } = domain.limit;
    let strict = if domain.garp == GarpMode::Strict { STRICT } else { 0 };
    put_head(out, domain.name.as_ref(), [copies, bits, control], strict);
    out.extend(domain.members.iter().flat_map(|&m| tep_key(m).to_le_bytes()));
}

fn put_tep(out: &mut Vec<u8>, tep: &TepEntry) {
    let (hop, hop6) = (tep.next_hop.map(|_| HOP), tep.next_hop6.map(|_| HOP6));
    put_head(out, tep.name.as_ref(), [tep.limit.frames], hop.unwrap_or(0) | hop6.unwrap_or(0));
    out.extend(tep.next_hop.iter().flat_map(|hop| hop.to_bits().to_le_bytes()));
    out.extend(tep.next_hop6.iter().flat_map(|hop| hop.to_bits().to_le_bytes()));
}

fn put_head<const N: usize>(out: &mut Vec<u8>, name: Option<&Name>, rates: [Option<Rate>; N], more: u8) {
    let text = name_text(name);
    let present = rates.iter().rev().fold(more, |bits, rate| bits << 1 | u8::from(rate.is_some()));
    // A name has at most 63 bytes.
    let length = u8::try_from(text.len()).unwrap_or(0);
    out.push(if present == 0 { length } else { length | WITH_MORE });
    out.extend_from_slice(text.as_bytes());
    if present != 0 {
        out.push(present);
        out.extend(rates.iter().flatten().flat_map(|rate| rate.per_second().to_le_bytes()));
    }
}

/// A rate that lies in the file as its number.
pub fn rate(per_second: u64) -> Result<Rate, Malformed> {
    Rate::new(per_second).map_err(|_| Malformed("a rate"))
}

/// A domain out of its row.
pub fn domain(vni: u32, row: &[u8]) -> Result<DomainEntry, Malformed> {
    let mut input = Input(row);
    let head = input.domain_head(Vni::from(vni))?;
    let members = input.members(input.0.len() / 4)?;
    if input.0.is_empty() { Ok(DomainEntry { members, ..head }) } else { Err(Malformed("a list of members")) }
}

/// A HAVIP's row.
pub fn put_havip(entry: &HavipEntry) -> Vec<u8> {
    proto::HavipEntry::from(entry.clone()).encode_to_vec()
}

/// A HAVIP out of its row.
pub fn havip(row: &[u8]) -> Result<HavipEntry, Malformed> {
    let message = proto::HavipEntry::decode(row).map_err(|_| Malformed("a HAVIP"))?;
    message.try_into().map_err(|_| Malformed("a HAVIP"))
}

/// What happened to a HAVIP, as a row.
pub fn put_happening(happening: &HavipEvent) -> Vec<u8> {
    proto::HavipEvent::from(happening.clone()).encode_to_vec()
}

/// What happened, out of its row.
pub fn happening(row: &[u8]) -> Result<HavipEvent, Malformed> {
    let message = proto::HavipEvent::decode(row).map_err(|_| Malformed("a happening"))?;
    message.try_into().map_err(|_| Malformed("a happening"))
}

/// A record as it lies in the log.
pub fn put_record(record: &Record) -> Vec<u8> {
    let mut out = record.unix_ms.to_le_bytes().to_vec();
    for event in &record.events {
        match event {
            Event::TepSet(tep) => {
                put_kind(&mut out, TEP_SET, tep_key(tep.address));
                put_tep(&mut out, tep);
            }
            Event::TepRemoved(tep) => put_kind(&mut out, TEP_REMOVED, tep_key(*tep)),
            Event::DomainSet(domain) => {
                put_kind(&mut out, DOMAIN_SET, domain.vni.get());
                // A domain has at most 16,384 members.
                out.extend(u32::try_from(domain.members.len()).unwrap_or(0).to_le_bytes());
                put_domain(&mut out, domain);
            }
            Event::DomainRemoved(vni) => put_kind(&mut out, DOMAIN_REMOVED, vni.get()),
            Event::HavipSet(entry) => put_long(&mut out, HAVIP_SET, &put_havip(entry)),
            Event::HavipRemoved(name) => put_long(&mut out, HAVIP_REMOVED, name.as_str().as_bytes()),
            Event::Happened(happening) => put_long(&mut out, HAPPENED, &put_happening(happening)),
        }
    }
    out
}

fn put_kind(out: &mut Vec<u8>, kind: u8, key: u32) {
    out.push(kind);
    out.extend(key.to_le_bytes());
}

/// An event whose key is the length of what follows: some kilobytes at most.
fn put_long(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    put_kind(out, kind, u32::try_from(bytes.len()).unwrap_or(0));
    out.extend_from_slice(bytes);
}

/// A record out of the log.
pub fn record(revision: Revision, bytes: &[u8]) -> Result<Record, Malformed> {
    let mut input = Input(bytes);
    let unix_ms = u64::from_le_bytes(input.array()?);
    let mut events = Vec::new();
    while !input.0.is_empty() {
        events.push(input.event()?);
    }
    Ok(Record { revision, unix_ms, events })
}

/// The name of a HAVIP.
fn havip_name(text: &[u8]) -> Result<Name, Malformed> {
    let text = std::str::from_utf8(text).map_err(|_| Malformed("a name"))?;
    text.parse().map_err(|_| Malformed("a name"))
}

/// A name, rates, and the bits of what more there is.
struct Head<const N: usize> {
    name: Option<Name>,
    rates: [Option<Rate>; N],
    more: u8,
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed("more bytes"))?;
        self.0 = rest;
        Ok(*array)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed("more bytes"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// What stands before a list of members or a TEP's next hops; of the bits behind those of the rates these are `known`.
    fn head<const N: usize>(&mut self, known: u8) -> Result<Head<N>, Malformed> {
        let [length] = self.array()?;
        let text = self.take(usize::from(length & !WITH_MORE))?;
        let name = name(std::str::from_utf8(text).map_err(|_| Malformed("a name"))?)?;
        let (mut rates, mut present) = ([None; N], 0);
        if length & WITH_MORE != 0 {
            [present] = self.array()?;
            for slot in &mut rates {
                if present & 1 != 0 {
                    *slot = Some(rate(u64::from_le_bytes(self.array()?))?);
                }
                present >>= 1;
            }
        }
        if present & !known == 0 {
            Ok(Head { name, rates, more: present })
        } else {
            Err(Malformed("a kind of rate"))
        }
    }

    /// A domain but for its members.
    fn domain_head(&mut self, vni: Vni) -> Result<DomainEntry, Malformed> {
        let Head { name, rates: [copies, bits, control], more } = self.head(STRICT)?;
        let garp = if more == STRICT { GarpMode::Strict } else { GarpMode::Open };
        let limit = DomainLimit { copies, bits, control };
        Ok(DomainEntry { vni, name, limit, garp, members: Vec::new() })
    }

    fn tep(&mut self, address: Tep) -> Result<TepEntry, Malformed> {
        let Head { name, rates: [frames], more } = self.head(HOP | HOP6)?;
        let next_hop = match more & HOP {
            0 => None,
            _ => Some(Ipv4Addr::from_bits(self.u32()?)),
        };
        let next_hop6 = match more & HOP6 {
            0 => None,
            _ => Some(Ipv6Addr::from_bits(u128::from_le_bytes(self.array()?))),
        };
        Ok(TepEntry { address, name, limit: TepLimit { frames }, next_hop, next_hop6 })
    }

    fn long(&mut self, length: u32) -> Result<&'a [u8], Malformed> {
        self.take(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn members(&mut self, count: usize) -> Result<Vec<Tep>, Malformed> {
        if count > limits::MAX_MEMBERS {
            return Err(Malformed("at most 16,384 members"));
        }
        (0..count).map(|_| self.u32().and_then(tep)).collect()
    }

    fn event(&mut self) -> Result<Event, Malformed> {
        let [kind] = self.array()?;
        let key = self.u32()?;
        Ok(match kind {
            TEP_SET => Event::TepSet(self.tep(tep(key)?)?),
            TEP_REMOVED => Event::TepRemoved(tep(key)?),
            DOMAIN_SET => {
                let count = self.u32()?;
                let head = self.domain_head(Vni::from(key))?;
                let members = self.members(usize::try_from(count).unwrap_or(usize::MAX))?;
                Event::DomainSet(DomainEntry { members, ..head })
            }
            DOMAIN_REMOVED => Event::DomainRemoved(Vni::from(key)),
            HAVIP_SET => Event::HavipSet(Box::new(havip(self.long(key)?)?)),
            HAVIP_REMOVED => Event::HavipRemoved(havip_name(self.long(key)?)?),
            HAPPENED => Event::Happened(Box::new(happening(self.long(key)?)?)),
            _ => return Err(Malformed("a kind of event")),
        })
    }
}
