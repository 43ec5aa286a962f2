//! What a node knows (TEPs, domains and HAVIPs), and how it changed.

use std::net::{Ipv4Addr, Ipv6Addr};

use bcast_domain::{DomainLimit, RateError, Tep, TepError, TepLimit, Vni};
use thiserror::Error;

use super::convert::{garp, next_hop};
use super::limit::{domain_limit, domain_rates, tep_limit, tep_rates};
use super::{GarpMode, HavipEntry, HavipEvent, HavipMessageError, Name, NameError, TepRef, TepRefError};
use crate::proto::{self, watch_event::Kind};

/// A registered TEP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TepEntry {
    /// Its underlay address.
    pub address: Tep,
    /// Its name.
    pub name: Option<Name>,
    /// The rate of its own.
    pub limit: TepLimit,
    /// Where layer-3 networks send what is for the IPv4 addresses of HAVIPs there, if it is not on the node's link.
    pub next_hop: Option<Ipv4Addr>,
    /// The same for IPv6 addresses.
    pub next_hop6: Option<Ipv6Addr>,
}

/// A domain with all its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainEntry {
    /// Its VNI.
    pub vni: Vni,
    /// Its name.
    pub name: Option<Name>,
    /// The rates of its own.
    pub limit: DomainLimit,
    /// What addresses that are no HAVIP may do.
    pub garp: GarpMode,
    /// Its members; ascending on the wire, in any order elsewhere, never one twice.
    pub members: Vec<Tep>,
}

/// One thing that a revision changed, as it is since then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A TEP is registered, or has another name, limit or next hop.
    TepSet(TepEntry),
    /// A TEP is gone.
    TepRemoved(Tep),
    /// A domain is there, or has other members, another name, limit or GARP mode.
    DomainSet(DomainEntry),
    /// A domain is gone.
    DomainRemoved(Vni),
    /// A HAVIP is there, or is other than it was, or another holds it.
    HavipSet(Box<HavipEntry>),
    /// A HAVIP is gone.
    HavipRemoved(Name),
    /// Something happened to a HAVIP.
    Happened(Box<HavipEvent>),
}

/// Why a message is none of these: its sender is broken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RowError {
    /// An address that no TEP can have.
    #[error(transparent)]
    Tep(#[from] TepError),
    /// Text that is no TEP's address.
    #[error(transparent)]
    TepRef(#[from] TepRefError),
    /// A name where an address belongs.
    #[error("{0} stands where a TEP's address belongs")]
    NotAnAddress(Name),
    /// A name that cannot be.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A rate that cannot be.
    #[error(transparent)]
    Rate(#[from] RateError),
    /// Something about HAVIPs that cannot be.
    #[error(transparent)]
    Havip(#[from] HavipMessageError),
}

fn address(text: &str) -> Result<Tep, RowError> {
    match text.parse()? {
        TepRef::Address(tep) => Ok(tep),
        TepRef::Name(name) => Err(RowError::NotAnAddress(name)),
    }
}

fn name(text: &str) -> Result<Option<Name>, NameError> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

impl TryFrom<proto::Tep> for TepEntry {
    type Error = RowError;

    fn try_from(message: proto::Tep) -> Result<Self, RowError> {
        Ok(Self {
            address: address(&message.address)?,
            name: name(&message.name)?,
            limit: tep_limit(message.limit)?,
            next_hop: next_hop(&message.next_hop, "IPv4")?,
            next_hop6: next_hop(&message.next_hop6, "IPv6")?,
        })
    }
}

impl From<TepEntry> for proto::Tep {
    fn from(entry: TepEntry) -> Self {
        Self {
            address: entry.address.to_string(),
            name: text(entry.name),
            limit: tep_rates(entry.limit),
            next_hop: text(entry.next_hop),
            next_hop6: text(entry.next_hop6),
        }
    }
}

impl TryFrom<proto::Domain> for DomainEntry {
    type Error = RowError;

    fn try_from(message: proto::Domain) -> Result<Self, RowError> {
        let members = message.members.iter().map(|&bits| Tep::new(Ipv4Addr::from(bits)));
        Ok(Self {
            vni: Vni::from(message.vni),
            name: name(&message.name)?,
            limit: domain_limit(message.limit)?,
            garp: garp(message.garp)?,
            members: members.collect::<Result<_, _>>()?,
        })
    }
}

impl From<DomainEntry> for proto::Domain {
    fn from(entry: DomainEntry) -> Self {
        let mut members: Vec<u32> = entry.members.iter().map(|tep| u32::from(tep.address())).collect();
        members.sort_unstable();
        Self {
            vni: entry.vni.get(),
            name: text(entry.name),
            members,
            limit: domain_rates(entry.limit),
            garp: proto::GarpMode::from(entry.garp).into(),
        }
    }
}

impl From<Event> for Kind {
    fn from(event: Event) -> Self {
        match event {
            Event::TepSet(tep) => Self::TepSet(tep.into()),
            Event::TepRemoved(tep) => Self::TepRemoved(tep.to_string()),
            Event::DomainSet(domain) => Self::DomainSet(domain.into()),
            Event::DomainRemoved(vni) => Self::DomainRemoved(vni.get()),
            Event::HavipSet(entry) => Self::HavipSet((*entry).into()),
            Event::HavipRemoved(name) => Self::HavipRemoved(name.to_string()),
            Event::Happened(happening) => Self::Happened((*happening).into()),
        }
    }
}
