//! Messages of backup files of version 1, in which addresses, MACs and states are text.

use std::net::{IpAddr, Ipv4Addr};

use bcast_domain::MacAddr;
use ctl_api::proto::{self, ArpInspection, DomainRates, HavipEventKind, HavipState, TepRates, Why};
use prost::Message;

use crate::text::{given, octets};

/// A value that is no address, MAC, subnet or state: the text of a damaged file, or of another program.
#[derive(Debug)]
pub struct Wrong;

type Result<T> = std::result::Result<T, Wrong>;

/// Part of a snapshot. Rates have not changed since.
#[derive(Clone, PartialEq, Message)]
pub struct SnapshotPart {
    #[prost(uint64, optional, tag = "1")]
    revision: Option<u64>,
    #[prost(message, repeated, tag = "2")]
    teps: Vec<Tep>,
    #[prost(message, repeated, tag = "3")]
    domains: Vec<Domain>,
    #[prost(message, repeated, tag = "4")]
    havips: Vec<HavipEntry>,
    #[prost(message, repeated, tag = "5")]
    history: Vec<HavipEvent>,
    #[prost(fixed64, tag = "6")]
    store: u64,
    #[prost(uint64, tag = "7")]
    unix_ms: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Tep {
    #[prost(string, tag = "1")]
    address: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, optional, tag = "3")]
    limit: Option<TepRates>,
    #[prost(string, tag = "4")]
    next_hop: String,
    #[prost(string, tag = "5")]
    next_hop6: String,
}

#[derive(Clone, PartialEq, Message)]
struct Domain {
    #[prost(uint32, tag = "1")]
    vni: u32,
    #[prost(string, tag = "2")]
    name: String,
    /// Addresses as numbers.
    #[prost(fixed32, repeated, tag = "3")]
    members: Vec<u32>,
    #[prost(message, optional, tag = "4")]
    limit: Option<DomainRates>,
    /// 0: open, 1: strict.
    #[prost(int32, tag = "5")]
    garp: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Attachment {
    #[prost(string, tag = "1")]
    instance: String,
    #[prost(string, tag = "2")]
    mac: String,
    #[prost(string, repeated, tag = "3")]
    teps: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Havip {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(uint32, tag = "2")]
    vni: u32,
    #[prost(string, tag = "3")]
    subnet: String,
    #[prost(string, tag = "4")]
    address: String,
    #[prost(message, repeated, tag = "5")]
    attachments: Vec<Attachment>,
    #[prost(uint32, repeated, tag = "6")]
    vrids: Vec<u32>,
    #[prost(uint32, optional, tag = "7")]
    refresh_s: Option<u32>,
    #[prost(string, tag = "8")]
    eip: String,
}

#[derive(Clone, PartialEq, Message)]
struct Holder {
    #[prost(string, tag = "1")]
    instance: String,
    #[prost(string, tag = "2")]
    mac: String,
    #[prost(string, tag = "3")]
    tep: String,
}

#[derive(Clone, PartialEq, Message)]
struct Binding {
    #[prost(string, tag = "1")]
    state: String,
    #[prost(message, optional, tag = "2")]
    holder: Option<Holder>,
    #[prost(message, optional, tag = "3")]
    previous: Option<Holder>,
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
struct HavipEntry {
    #[prost(message, optional, tag = "1")]
    havip: Option<Havip>,
    #[prost(message, optional, tag = "2")]
    binding: Option<Binding>,
}

#[derive(Clone, PartialEq, Message)]
struct HavipEvent {
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
    holder: Option<Holder>,
    #[prost(message, optional, tag = "9")]
    previous: Option<Holder>,
    #[prost(string, tag = "10")]
    why: String,
    #[prost(string, tag = "11")]
    detail: String,
    #[prost(message, optional, tag = "12")]
    offender: Option<Offender>,
}

#[derive(Clone, PartialEq, Message)]
struct Offender {
    #[prost(string, tag = "1")]
    mac: String,
    #[prost(string, tag = "2")]
    tep: String,
    #[prost(uint64, tag = "3")]
    count: u64,
}

fn address(text: &str) -> Result<Vec<u8>> {
    text.parse::<IpAddr>().map(octets).map_err(|_| Wrong)
}

/// An address that is "" where there is none.
fn optional_address(text: &str) -> Result<Option<Vec<u8>>> {
    given(text).map(address).transpose()
}

/// Six bytes; an offender may have given any.
fn mac(text: &str) -> Result<Vec<u8>> {
    text.parse().map(|MacAddr(octets)| octets.to_vec()).map_err(|_| Wrong)
}

/// Number of an enum's value by its word; "" is unspecified.
fn number<E: Into<i32>>(word: &str, prefix: &str, value: fn(&str) -> Option<E>) -> Result<i32> {
    let word = given(word).unwrap_or("unspecified").to_ascii_uppercase();
    value(&format!("{prefix}{word}")).map(E::into).ok_or(Wrong)
}

fn why(word: &str) -> Result<i32> {
    number(word, "WHY_", Why::from_str_name)
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
            state: number(&old.state, "HAVIP_STATE_", HavipState::from_str_name)?,
            holder: optional(old.holder)?,
            previous: optional(old.previous)?,
            since_unix_ms: old.since_unix_ms,
            why: why(&old.why)?,
            moves: old.moves,
            generation: old.generation,
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
            kind: number(&old.kind, "HAVIP_EVENT_KIND_", HavipEventKind::from_str_name)?,
            generation: old.generation,
            unix_ms: old.unix_ms,
            holder: optional(old.holder)?,
            previous: optional(old.previous)?,
            why: why(&old.why)?,
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
