//! How rows and records lie in the file. All integers are little-endian.
//!
//! | what | bytes |
//! | --- | --- |
//! | head | length of the name (1), 128 more where rates follow; name, empty where there is none; rates |
//! | rates | a bit for each one that is there (1), and each of those (8) |
//! | domain row | head, then 4 for each member's address |
//! | record | Unix milliseconds (8), then events up to the end |
//! | event | kind (1), then by kind: TEP (4) and head; TEP (4); VNI (4), count (4), domain row; VNI (4) |
//!
//! A domain's rates are copies, bits and control, a TEP's is frames. Without any, all of it is as it was before there were limits.

use std::net::Ipv4Addr;

use bcast_domain::{DomainLimit, Rate, Tep, TepLimit, Vni, limits};
use ctl_api::model::{DomainEntry, Event, GarpMode, Name, Revision, TepEntry};

use crate::Record;

const TEP_SET: u8 = 1;
const TEP_REMOVED: u8 = 2;
const DOMAIN_SET: u8 = 3;
const DOMAIN_REMOVED: u8 = 4;
/// In the byte that holds the length of a name: rates follow it.
const WITH_RATES: u8 = 128;

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
    put_head(out, domain.name.as_ref(), [copies, bits, control]);
    out.extend(domain.members.iter().flat_map(|&m| tep_key(m).to_le_bytes()));
}

fn put_head<const N: usize>(out: &mut Vec<u8>, name: Option<&Name>, rates: [Option<Rate>; N]) {
    let text = name_text(name);
    let present = rates.iter().rev().fold(0, |bits, rate| bits << 1 | u8::from(rate.is_some()));
    // A name has at most 63 bytes.
    let length = u8::try_from(text.len()).unwrap_or(0);
    out.push(if present == 0 { length } else { length | WITH_RATES });
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
    let (name, limit) = input.domain_head()?;
    let members = input.members(input.0.len() / 4)?;
    if input.0.is_empty() {
        Ok(DomainEntry { vni: Vni::from(vni), name, limit, garp: GarpMode::Open, members })
    } else {
        Err(Malformed("a list of members"))
    }
}

/// A record as it lies in the log.
pub fn put_record(record: &Record) -> Vec<u8> {
    let mut out = record.unix_ms.to_le_bytes().to_vec();
    for event in &record.events {
        match event {
            Event::TepSet(TepEntry { address, name, limit, .. }) => {
                put_kind(&mut out, TEP_SET, tep_key(*address));
                put_head(&mut out, name.as_ref(), [limit.frames]);
            }
            Event::TepRemoved(tep) => put_kind(&mut out, TEP_REMOVED, tep_key(*tep)),
            Event::DomainSet(domain) => {
                put_kind(&mut out, DOMAIN_SET, domain.vni.get());
                // A domain has at most 16,384 members.
                out.extend(u32::try_from(domain.members.len()).unwrap_or(0).to_le_bytes());
                put_domain(&mut out, domain);
            }
            Event::DomainRemoved(vni) => put_kind(&mut out, DOMAIN_REMOVED, vni.get()),
            Event::HavipSet(_) | Event::HavipRemoved(_) | Event::Happened(_) => {}
        }
    }
    out
}

fn put_kind(out: &mut Vec<u8>, kind: u8, key: u32) {
    out.push(kind);
    out.extend(key.to_le_bytes());
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

    fn head<const N: usize>(&mut self) -> Result<(Option<Name>, [Option<Rate>; N]), Malformed> {
        let [length] = self.array()?;
        let text = self.take(usize::from(length & !WITH_RATES))?;
        let name = name(std::str::from_utf8(text).map_err(|_| Malformed("a name"))?)?;
        let mut rates = [None; N];
        if length & WITH_RATES != 0 {
            let [mut present] = self.array()?;
            for slot in &mut rates {
                if present & 1 != 0 {
                    *slot = Some(rate(u64::from_le_bytes(self.array()?))?);
                }
                present >>= 1;
            }
            if present != 0 {
                return Err(Malformed("a kind of rate"));
            }
        }
        Ok((name, rates))
    }

    fn domain_head(&mut self) -> Result<(Option<Name>, DomainLimit), Malformed> {
        let (name, [copies, bits, control]) = self.head()?;
        Ok((name, DomainLimit { copies, bits, control }))
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
            TEP_SET => {
                let (name, [frames]) = self.head()?;
                Event::TepSet(TepEntry {
                    address: tep(key)?,
                    name,
                    limit: TepLimit { frames },
                    next_hop: None,
                    next_hop6: None,
                })
            }
            TEP_REMOVED => Event::TepRemoved(tep(key)?),
            DOMAIN_SET => {
                let count = self.u32()?;
                let (name, limit) = self.domain_head()?;
                let members = self.members(usize::try_from(count).unwrap_or(usize::MAX))?;
                Event::DomainSet(DomainEntry {
                    vni: Vni::from(key),
                    name,
                    limit,
                    garp: GarpMode::Open,
                    members,
                })
            }
            DOMAIN_REMOVED => Event::DomainRemoved(Vni::from(key)),
            _ => return Err(Malformed("a kind of event")),
        })
    }
}
