//! Changes of a revision, and events of HAVIPs: told to watchers and webhooks, and kept as a HAVIP's history.

use std::net::IpAddr;

use bcast_domain::{Tep, Vni};

use super::address::{bytes, ip, octets, tep, tep_bytes};
use super::word::{Word, words};
use super::{DomainEntry, HavipEntry, Holder, ModelError, Name, TepEntry, Why};
use crate::proto::{self, watch_event::Kind};

/// One change that a revision made, as it is since then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A TEP was registered or changed.
    TepSet(TepEntry),
    /// A TEP was deleted.
    TepDeleted(Tep),
    /// A domain was created or changed.
    DomainSet(DomainEntry),
    /// A domain was deleted.
    DomainDeleted(Vni),
    /// A HAVIP was created or changed, or its binding.
    HavipSet(Box<HavipEntry>),
    /// A HAVIP was deleted.
    HavipDeleted(Name),
    /// An event of a HAVIP.
    HavipEvent(Box<HavipEvent>),
}

words! {
    /// Kind of a HAVIP's event.
    pub enum HavipEventKind("kind of event") {
        /// It has a holder, and had none.
        Bound = "bound",
        /// It went from one holder to another.
        Moved = "moved",
        /// It has no holder any more.
        Unbound = "unbound",
        /// It moved too often, and stays from now on.
        Frozen = "frozen",
        /// It follows its announcements again.
        Thawed = "thawed",
        /// It was announced by one that is not attached.
        Spoof = "spoof",
        /// Two instances claim to be master.
        Conflict = "conflict",
        /// One of them does no more.
        ConflictEnded = "conflict_ended",
        /// There is no route to its holder that layer-3 networks could be told.
        RouteUnusable = "route_unusable",
        /// It is no HAVIP any more.
        Removed = "removed",
    }
}

/// An event of a HAVIP, with all that its receivers need to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HavipEvent {
    /// The HAVIP.
    pub havip: Name,
    /// Domain.
    pub vni: Vni,
    /// Address.
    pub address: IpAddr,
    /// Public address.
    pub eip: Option<IpAddr>,
    /// Kind.
    pub kind: HavipEventKind,
    /// Revision that it is part of; it only grows, and orders all events of a HAVIP. Of a forgery, which is part of none, the
    /// last one before it.
    pub generation: u64,
    /// Unix time in milliseconds.
    pub unix_ms: u64,
    /// Holder since then.
    pub holder: Option<Holder>,
    /// Holder before.
    pub previous: Option<Holder>,
    /// Cause.
    pub why: Option<Why>,
    /// One line for people; may be empty.
    pub detail: String,
    /// Sender of rejected announcements.
    pub offender: Option<Offender>,
}

impl HavipEvent {
    /// An event of this HAVIP, as it is since then.
    #[must_use]
    pub fn of(entry: &HavipEntry, kind: HavipEventKind, unix_ms: u64) -> Self {
        let HavipEntry { havip, binding } = entry;
        Self {
            havip: havip.name.clone(),
            vni: havip.vni,
            address: havip.address,
            eip: havip.eip,
            kind,
            generation: binding.generation,
            unix_ms,
            holder: binding.holder.clone(),
            previous: binding.previous.clone(),
            why: binding.why,
            detail: String::new(),
            offender: None,
        }
    }
}

/// Sender of announcements that were rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offender {
    /// MAC address that it gave; may be any six bytes.
    pub mac: [u8; 6],
    /// TEP that it came from.
    pub tep: Tep,
    /// Rejected announcements of the HAVIP since the last such event; the last of them was from this sender.
    pub count: u64,
}

impl TryFrom<proto::Offender> for Offender {
    type Error = ModelError;

    fn try_from(message: proto::Offender) -> Result<Self, ModelError> {
        Ok(Self { mac: octets(&message.mac)?, tep: tep(&message.tep)?, count: message.count })
    }
}

impl From<Offender> for proto::Offender {
    fn from(Offender { mac, tep, count }: Offender) -> Self {
        Self { mac: mac.to_vec(), tep: tep_bytes(tep), count }
    }
}

impl TryFrom<proto::HavipEvent> for HavipEvent {
    type Error = ModelError;

    fn try_from(message: proto::HavipEvent) -> Result<Self, ModelError> {
        let holder = |holder: Option<proto::Holder>| holder.map(Holder::try_from).transpose();
        Ok(Self {
            havip: message.havip.parse()?,
            vni: Vni::from(message.vni),
            address: ip(&message.address)?,
            eip: message.eip.as_deref().map(ip).transpose()?,
            kind: HavipEventKind::from_number(message.kind)?.ok_or(ModelError::Missing("kind of event"))?,
            generation: message.generation,
            unix_ms: message.unix_ms,
            holder: holder(message.holder)?,
            previous: holder(message.previous)?,
            why: Why::from_number(message.why)?,
            detail: message.detail,
            offender: message.offender.map(Offender::try_from).transpose()?,
        })
    }
}

impl From<HavipEvent> for proto::HavipEvent {
    fn from(event: HavipEvent) -> Self {
        Self {
            havip: event.havip.to_string(),
            vni: event.vni.get(),
            address: bytes(event.address),
            eip: event.eip.map(bytes),
            kind: event.kind.number(),
            generation: event.generation,
            unix_ms: event.unix_ms,
            holder: event.holder.map(proto::Holder::from),
            previous: event.previous.map(proto::Holder::from),
            why: event.why.map_or(0, Word::number),
            detail: event.detail,
            offender: event.offender.map(proto::Offender::from),
        }
    }
}

impl From<Event> for Kind {
    fn from(event: Event) -> Self {
        match event {
            Event::TepSet(tep) => Self::TepSet(tep.into()),
            Event::TepDeleted(tep) => Self::TepDeleted(tep_bytes(tep)),
            Event::DomainSet(domain) => Self::DomainSet(domain.into()),
            Event::DomainDeleted(vni) => Self::DomainDeleted(vni.get()),
            Event::HavipSet(entry) => Self::HavipSet((*entry).into()),
            Event::HavipDeleted(name) => Self::HavipDeleted(name.to_string()),
            Event::HavipEvent(event) => Self::HavipEvent((*event).into()),
        }
    }
}

impl TryFrom<Kind> for Event {
    type Error = ModelError;

    fn try_from(kind: Kind) -> Result<Self, ModelError> {
        Ok(match kind {
            Kind::TepSet(tep) => Self::TepSet(tep.try_into()?),
            Kind::TepDeleted(bytes) => Self::TepDeleted(tep(&bytes)?),
            Kind::DomainSet(domain) => Self::DomainSet(domain.try_into()?),
            Kind::DomainDeleted(vni) => Self::DomainDeleted(vni.into()),
            Kind::HavipSet(entry) => Self::HavipSet(Box::new(entry.try_into()?)),
            Kind::HavipDeleted(name) => Self::HavipDeleted(name.parse()?),
            Kind::HavipEvent(event) => Self::HavipEvent(Box::new(event.try_into()?)),
            Kind::Reset(_) | Kind::Committed(_) | Kind::AnnouncementRefused(_) => {
                return Err(ModelError::Kind("change of a revision"));
            }
        })
    }
}
