//! HAVIPs and what happens to them, from their messages and back.

use std::net::IpAddr;
use std::str::FromStr;

use bcast_domain::{Mac, MacAddr, MacError, Tep, TepError, Vni};
use thiserror::Error;

use super::{
    Attachment, Binding, GarpMode, Havip, HavipEntry, HavipError, HavipEvent, Holder, Name, NameError,
    NotUnicast, Offender, Subnet, SubnetError, WordError,
};
use crate::proto;

/// Why a message is nothing about HAVIPs.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HavipMessageError {
    /// A name that cannot be.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A MAC address that cannot be an instance's.
    #[error(transparent)]
    Mac(#[from] MacError),
    /// A TEP that cannot be.
    #[error(transparent)]
    Tep(#[from] TepError),
    /// A subnet that cannot be.
    #[error(transparent)]
    Subnet(#[from] SubnetError),
    /// A word that is not known.
    #[error(transparent)]
    Word(#[from] WordError),
    /// A HAVIP that cannot be.
    #[error(transparent)]
    Havip(#[from] HavipError),
    /// Text that is no address.
    #[error("{0:?} is not an IP address; write it like 10.0.0.100 or fd00::100")]
    NotAnAddress(String),
    /// An address of the other family.
    #[error("next hop {0:?} is not an {1} address")]
    NextHopFamily(String, &'static str),
    /// A next hop that no host can be.
    #[error("next hop {0}")]
    NextHop(#[from] NotUnicast),
    /// A mode that is not known.
    #[error("{0} is no GARP mode that this version knows; is the client newer than the daemon?")]
    GarpMode(i32),
    /// A part that has to be there.
    #[error("the {0} is missing")]
    Missing(&'static str),
}

type Result<T> = std::result::Result<T, HavipMessageError>;

/// Any IP address.
pub(super) fn ip(text: &str) -> Result<IpAddr> {
    text.parse().map_err(|_| HavipMessageError::NotAnAddress(text.to_owned()))
}

/// What an empty text stands for is none.
fn optional<T: FromStr<Err: Into<HavipMessageError>>>(text: &str) -> Result<Option<T>> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(Into::into) }
}

fn optional_ip(text: &str) -> Result<Option<IpAddr>> {
    if text.is_empty() { Ok(None) } else { ip(text).map(Some) }
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// A next hop of one family; `family` says which in an error. The empty text is none.
pub(super) fn next_hop<A: FromStr + Into<IpAddr> + Copy>(
    text: &str,
    family: &'static str,
) -> Result<Option<A>> {
    if text.is_empty() {
        return Ok(None);
    }
    let address: A = text.parse().map_err(|_| HavipMessageError::NextHopFamily(text.to_owned(), family))?;
    super::unicast(address.into())?;
    Ok(Some(address))
}

/// Ids that a VRRP virtual router can have, in their order.
pub(super) fn vrids(ids: &[u32]) -> Result<Vec<u8>> {
    let vrid = |&id: &u32| u8::try_from(id).ok().filter(|&id| id > 0).ok_or(HavipError::Vrid(id));
    let mut vrids = ids.iter().map(vrid).collect::<std::result::Result<Vec<u8>, _>>()?;
    vrids.sort_unstable();
    vrids.dedup();
    Ok(vrids)
}

pub(super) fn garp(mode: i32) -> Result<GarpMode> {
    match proto::GarpMode::try_from(mode) {
        Ok(proto::GarpMode::GarpOpen) => Ok(GarpMode::Open),
        Ok(proto::GarpMode::GarpStrict) => Ok(GarpMode::Strict),
        Err(_) => Err(HavipMessageError::GarpMode(mode)),
    }
}

impl From<GarpMode> for proto::GarpMode {
    fn from(mode: GarpMode) -> Self {
        match mode {
            GarpMode::Open => Self::GarpOpen,
            GarpMode::Strict => Self::GarpStrict,
        }
    }
}

impl TryFrom<proto::Attachment> for Attachment {
    type Error = HavipMessageError;

    fn try_from(message: proto::Attachment) -> Result<Self> {
        let teps = message.teps.iter().map(|tep| tep.parse::<Tep>());
        Ok(Self {
            instance: message.instance.parse()?,
            mac: message.mac.parse()?,
            teps: teps.collect::<std::result::Result<_, _>>()?,
        })
    }
}

impl From<Attachment> for proto::Attachment {
    fn from(attachment: Attachment) -> Self {
        Self {
            instance: attachment.instance.to_string(),
            mac: attachment.mac.to_string(),
            teps: attachment.teps.iter().map(Tep::to_string).collect(),
        }
    }
}

impl TryFrom<proto::Havip> for Havip {
    type Error = HavipMessageError;

    fn try_from(message: proto::Havip) -> Result<Self> {
        let mut havip = Self {
            name: message.name.parse()?,
            vni: Vni::from(message.vni),
            subnet: message.subnet.parse::<Subnet>()?,
            address: ip(&message.address)?,
            attachments: message.attachments.into_iter().map(Attachment::try_from).collect::<Result<_>>()?,
            vrids: vrids(&message.vrids)?,
            refresh_s: message.refresh_s,
            eip: optional_ip(&message.eip)?,
        };
        havip.sort();
        havip.check()?;
        Ok(havip)
    }
}

impl From<Havip> for proto::Havip {
    fn from(havip: Havip) -> Self {
        Self {
            name: havip.name.to_string(),
            vni: havip.vni.get(),
            subnet: havip.subnet.to_string(),
            address: havip.address.to_string(),
            attachments: havip.attachments.into_iter().map(proto::Attachment::from).collect(),
            vrids: havip.vrids.into_iter().map(u32::from).collect(),
            refresh_s: havip.refresh_s,
            eip: text(havip.eip),
        }
    }
}

impl TryFrom<proto::Holder> for Holder {
    type Error = HavipMessageError;

    fn try_from(message: proto::Holder) -> Result<Self> {
        Ok(Self {
            instance: message.instance.parse::<Name>()?,
            mac: message.mac.parse::<Mac>()?,
            tep: message.tep.parse::<Tep>()?,
        })
    }
}

impl From<Holder> for proto::Holder {
    fn from(holder: Holder) -> Self {
        let Holder { instance, mac, tep } = holder;
        Self { instance: instance.to_string(), mac: mac.to_string(), tep: tep.to_string() }
    }
}

fn holder(message: Option<proto::Holder>) -> Result<Option<Holder>> {
    message.map(Holder::try_from).transpose()
}

impl TryFrom<proto::Binding> for Binding {
    type Error = HavipMessageError;

    fn try_from(message: proto::Binding) -> Result<Self> {
        Ok(Self {
            state: message.state.parse()?,
            holder: holder(message.holder)?,
            previous: holder(message.previous)?,
            since_unix_ms: message.since_unix_ms,
            why: optional(&message.why)?,
            moves: message.moves,
            generation: message.generation,
        })
    }
}

impl From<Binding> for proto::Binding {
    fn from(binding: Binding) -> Self {
        Self {
            state: binding.state.to_string(),
            holder: binding.holder.map(proto::Holder::from),
            previous: binding.previous.map(proto::Holder::from),
            since_unix_ms: binding.since_unix_ms,
            why: text(binding.why),
            moves: binding.moves,
            generation: binding.generation,
        }
    }
}

impl TryFrom<proto::HavipEntry> for HavipEntry {
    type Error = HavipMessageError;

    fn try_from(message: proto::HavipEntry) -> Result<Self> {
        Ok(Self {
            havip: message.havip.ok_or(HavipMessageError::Missing("HAVIP"))?.try_into()?,
            binding: message.binding.ok_or(HavipMessageError::Missing("binding"))?.try_into()?,
        })
    }
}

impl From<HavipEntry> for proto::HavipEntry {
    fn from(entry: HavipEntry) -> Self {
        Self { havip: Some(entry.havip.into()), binding: Some(entry.binding.into()) }
    }
}

/// Any six bytes, written as a MAC address.
fn octets(text: &str) -> Result<[u8; 6]> {
    match text.parse::<Mac>() {
        Ok(mac) => Ok(mac.octets()),
        Err(MacError::Multicast(MacAddr(octets))) => Ok(octets),
        Err(MacError::Zero) => Ok([0; 6]),
        Err(error) => Err(error.into()),
    }
}

impl TryFrom<proto::Offender> for Offender {
    type Error = HavipMessageError;

    fn try_from(message: proto::Offender) -> Result<Self> {
        Ok(Self { mac: octets(&message.mac)?, tep: message.tep.parse()?, count: message.count })
    }
}

impl From<Offender> for proto::Offender {
    fn from(offender: Offender) -> Self {
        let Offender { mac, tep, count } = offender;
        Self { mac: MacAddr(mac).to_string(), tep: tep.to_string(), count }
    }
}

impl TryFrom<proto::HavipEvent> for HavipEvent {
    type Error = HavipMessageError;

    fn try_from(message: proto::HavipEvent) -> Result<Self> {
        Ok(Self {
            havip: message.havip.parse()?,
            vni: Vni::from(message.vni),
            address: ip(&message.address)?,
            eip: optional_ip(&message.eip)?,
            kind: message.kind.parse()?,
            generation: message.generation,
            unix_ms: message.unix_ms,
            holder: holder(message.holder)?,
            previous: holder(message.previous)?,
            why: optional(&message.why)?,
            detail: message.detail,
            offender: message.offender.map(Offender::try_from).transpose()?,
        })
    }
}

impl From<HavipEvent> for proto::HavipEvent {
    fn from(happening: HavipEvent) -> Self {
        Self {
            havip: happening.havip.to_string(),
            vni: happening.vni.get(),
            address: happening.address.to_string(),
            eip: text(happening.eip),
            kind: happening.kind.to_string(),
            generation: happening.generation,
            unix_ms: happening.unix_ms,
            holder: happening.holder.map(proto::Holder::from),
            previous: happening.previous.map(proto::Holder::from),
            why: text(happening.why),
            detail: happening.detail,
            offender: happening.offender.map(proto::Offender::from),
        }
    }
}
