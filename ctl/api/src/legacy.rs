//! Messages before the present contract, in which addresses, MACs and states were text: those of backup files of
//! version 1, and of the rows of stores of schema 3. They are read, never written. Empty text stands for no value.
#![allow(missing_docs, reason = "the fields of the present messages")]

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use bcast_domain::MacAddr;
use prost::Message;

use crate::model::{HavipEventKind, HavipState, Why, Word, ip_bytes};
use crate::proto::{self, ArpInspection, DomainRates, TepRates};

/// A value that is no address, MAC, subnet or state: the text of a damaged file, or of another program.
#[derive(Debug)]
pub struct Wrong;

type Result<T> = std::result::Result<T, Wrong>;

/// Part of a snapshot. Rates have not changed since.
#[derive(Clone, PartialEq, Message)]
pub struct SnapshotPart {
    #[prost(uint64, optional, tag = "1")]
    pub revision: Option<u64>,
    #[prost(message, repeated, tag = "2")]
    pub teps: Vec<Tep>,
    #[prost(message, repeated, tag = "3")]
    pub domains: Vec<Domain>,
    #[prost(message, repeated, tag = "4")]
    pub havips: Vec<HavipEntry>,
    #[prost(message, repeated, tag = "5")]
    pub history: Vec<HavipEvent>,
    #[prost(fixed64, tag = "6")]
    pub store: u64,
    #[prost(uint64, tag = "7")]
    pub unix_ms: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct Tep {
    #[prost(string, tag = "1")]
    pub address: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, optional, tag = "3")]
    pub limit: Option<TepRates>,
    #[prost(string, tag = "4")]
    pub next_hop: String,
    #[prost(string, tag = "5")]
    pub next_hop6: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Domain {
    #[prost(uint32, tag = "1")]
    pub vni: u32,
    #[prost(string, tag = "2")]
    pub name: String,
    /// Addresses as numbers.
    #[prost(fixed32, repeated, tag = "3")]
    pub members: Vec<u32>,
    #[prost(message, optional, tag = "4")]
    pub limit: Option<DomainRates>,
    /// 0: open, 1: strict.
    #[prost(int32, tag = "5")]
    pub garp: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct Attachment {
    #[prost(string, tag = "1")]
    pub instance: String,
    #[prost(string, tag = "2")]
    pub mac: String,
    #[prost(string, repeated, tag = "3")]
    pub teps: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Havip {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint32, tag = "2")]
    pub vni: u32,
    #[prost(string, tag = "3")]
    pub subnet: String,
    #[prost(string, tag = "4")]
    pub address: String,
    #[prost(message, repeated, tag = "5")]
    pub attachments: Vec<Attachment>,
    #[prost(uint32, repeated, tag = "6")]
    pub vrids: Vec<u32>,
    #[prost(uint32, optional, tag = "7")]
    pub refresh_s: Option<u32>,
    #[prost(string, tag = "8")]
    pub eip: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Holder {
    #[prost(string, tag = "1")]
    pub instance: String,
    #[prost(string, tag = "2")]
    pub mac: String,
    #[prost(string, tag = "3")]
    pub tep: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Binding {
    #[prost(string, tag = "1")]
    pub state: String,
    #[prost(message, optional, tag = "2")]
    pub holder: Option<Holder>,
    #[prost(message, optional, tag = "3")]
    pub previous: Option<Holder>,
    #[prost(uint64, tag = "4")]
    pub since_unix_ms: u64,
    #[prost(string, tag = "5")]
    pub why: String,
    #[prost(uint64, tag = "6")]
    pub moves: u64,
    #[prost(uint64, tag = "7")]
    pub generation: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct HavipEntry {
    #[prost(message, optional, tag = "1")]
    pub havip: Option<Havip>,
    #[prost(message, optional, tag = "2")]
    pub binding: Option<Binding>,
}

#[derive(Clone, PartialEq, Message)]
pub struct HavipEvent {
    #[prost(string, tag = "1")]
    pub havip: String,
    #[prost(uint32, tag = "2")]
    pub vni: u32,
    #[prost(string, tag = "3")]
    pub address: String,
    #[prost(string, tag = "4")]
    pub eip: String,
    #[prost(string, tag = "5")]
    pub kind: String,
    #[prost(uint64, tag = "6")]
    pub generation: u64,
    #[prost(uint64, tag = "7")]
    pub unix_ms: u64,
    #[prost(message, optional, tag = "8")]
    pub holder: Option<Holder>,
    #[prost(message, optional, tag = "9")]
    pub previous: Option<Holder>,
    #[prost(string, tag = "10")]
    pub why: String,
    #[prost(string, tag = "11")]
    pub detail: String,
    #[prost(message, optional, tag = "12")]
    pub offender: Option<Offender>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Offender {
    #[prost(string, tag = "1")]
    pub mac: String,
    #[prost(string, tag = "2")]
    pub tep: String,
    #[prost(uint64, tag = "3")]
    pub count: u64,
}

fn address(text: &str) -> Result<Vec<u8>> {
    text.parse::<IpAddr>().map(ip_bytes).map_err(|_| Wrong)
}

fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn optional_address(text: &str) -> Result<Option<Vec<u8>>> {
    given(text).map(address).transpose()
}

/// Six bytes; an offender may have given any.
fn mac(text: &str) -> Result<Vec<u8>> {
    text.parse().map(|MacAddr(octets)| octets.to_vec()).map_err(|_| Wrong)
}

/// Number of an enum's value by its word; "" is unspecified.
fn number<W: Word + FromStr>(word: &str) -> Result<i32> {
    given(word).map_or(Ok(0), |word| word.parse().map(W::number).map_err(|_| Wrong))
}

fn name(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn all<T, U: TryFrom<T, Error = Wrong>>(messages: Vec<T>) -> Result<Vec<U>> {
    messages.into_iter().map(U::try_from).collect()
}

fn optional<T, U: TryFrom<T, Error = Wrong>>(message: Option<T>) -> Result<Option<U>> {
    message.map(U::try_from).transpose()
}

impl TryFrom<SnapshotPart> for proto::SnapshotPart {
    type Error = Wrong;

    fn try_from(old: SnapshotPart) -> Result<Self> {
        let SnapshotPart { revision, store, unix_ms, .. } = old;
        let (teps, domains) = (all(old.teps)?, old.domains.into_iter().map(proto::Domain::from).collect());
        Ok(Self {
            revision,
            store,
            unix_ms,
            teps,
            domains,
            havips: all(old.havips)?,
            history: all(old.history)?,
        })
    }
}

impl TryFrom<Tep> for proto::Tep {
    type Error = Wrong;

    fn try_from(old: Tep) -> Result<Self> {
        Ok(Self {
            address: address(&old.address)?,
            name: name(old.name),
            limit: old.limit,
            route_gateway: optional_address(&old.next_hop)?,
            route_gateway6: optional_address(&old.next_hop6)?,
        })
    }
}

impl From<Domain> for proto::Domain {
    fn from(old: Domain) -> Self {
        let ipv4 = old.members.iter().flat_map(|&number| Ipv4Addr::from(number).octets()).collect();
        let mode = if old.garp == 1 { ArpInspection::Sticky } else { ArpInspection::Off };
        Self {
            vni: old.vni,
            name: name(old.name),
            members: Some(proto::Teps { ipv4, ..Default::default() }),
            limit: old.limit,
            arp_inspection: mode.into(),
            ..Default::default()
        }
    }
}

impl TryFrom<Attachment> for proto::Attachment {
    type Error = Wrong;

    fn try_from(old: Attachment) -> Result<Self> {
        let teps = old.teps.iter().map(|tep| address(tep)).collect::<Result<Vec<_>>>()?;
        let teps = proto::Teps { ipv4: teps.concat(), ..Default::default() };
        Ok(Self { instance: old.instance, mac: mac(&old.mac)?, teps: Some(teps) })
    }
}

impl TryFrom<Havip> for proto::Havip {
    type Error = Wrong;

    fn try_from(old: Havip) -> Result<Self> {
        let (network, length) = old.subnet.split_once('/').ok_or(Wrong)?;
        let vrids = (!old.vrids.is_empty()).then_some(proto::Vrids { ids: old.vrids });
        let attachments = all(old.attachments)?;
        Ok(Self {
            name: old.name,
            vni: old.vni,
            subnet: address(network)?,
            prefix_length: length.parse().map_err(|_| Wrong)?,
            address: address(&old.address)?,
            vrids,
            refresh_s: old.refresh_s,
            eip: optional_address(&old.eip)?,
            group: None,
            attachments: Some(proto::Attachments { attachments }),
        })
    }
}

impl TryFrom<Holder> for proto::Holder {
    type Error = Wrong;

    fn try_from(old: Holder) -> Result<Self> {
        Ok(Self { instance: old.instance, mac: mac(&old.mac)?, tep: address(&old.tep)? })
    }
}

impl TryFrom<Binding> for proto::Binding {
    type Error = Wrong;

    fn try_from(old: Binding) -> Result<Self> {
        Ok(Self {
            state: number::<HavipState>(&old.state)?,
            holder: optional(old.holder)?,
            previous: optional(old.previous)?,
            since_unix_ms: old.since_unix_ms,
            why: number::<Why>(&old.why)?,
            moves: old.moves,
            generation: old.generation,
            vlan_tags: None,
        })
    }
}

impl TryFrom<HavipEntry> for proto::HavipEntry {
    type Error = Wrong;

    fn try_from(old: HavipEntry) -> Result<Self> {
        Ok(Self { havip: optional(old.havip)?, binding: optional(old.binding)? })
    }
}

impl TryFrom<HavipEvent> for proto::HavipEvent {
    type Error = Wrong;

    fn try_from(old: HavipEvent) -> Result<Self> {
        Ok(Self {
            havip: old.havip,
            vni: old.vni,
            address: address(&old.address)?,
            eip: optional_address(&old.eip)?,
            kind: number::<HavipEventKind>(&old.kind)?,
            generation: old.generation,
            unix_ms: old.unix_ms,
            holder: optional(old.holder)?,
            previous: optional(old.previous)?,
            why: number::<Why>(&old.why)?,
            detail: old.detail,
            offender: optional(old.offender)?,
        })
    }
}

impl TryFrom<Offender> for proto::Offender {
    type Error = Wrong;

    fn try_from(old: Offender) -> Result<Self> {
        Ok(Self { mac: mac(&old.mac)?, tep: address(&old.tep)?, count: old.count })
    }
}
