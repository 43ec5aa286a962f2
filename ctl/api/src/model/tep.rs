//! TEPs: registered ones, and what a request sets of one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bcast_domain::{Rate, Tep, TepLimit};

use super::address::{ip, tep, tep_bytes, unicast};
use super::{Field, ModelError, Name};
use crate::proto;

/// A registered TEP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TepEntry {
    /// Underlay address.
    pub address: Tep,
    /// Name, unique among TEPs.
    pub name: Option<Name>,
    /// Rate of the TEP to the node.
    pub limit: TepLimit,
    /// Gateway of the routes of IPv4 HAVIPs on the TEP, where it is not on the node's link.
    pub route_gateway: Option<Ipv4Addr>,
    /// The same for IPv6 HAVIPs.
    pub route_gateway6: Option<Ipv6Addr>,
}

/// Fields of a TEP in a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TepFields {
    /// Name.
    pub name: Field<Name>,
    /// Frames a second.
    pub frames: Field<Rate>,
    /// Gateway of the routes of IPv4 HAVIPs.
    pub route_gateway: Field<Ipv4Addr>,
    /// Gateway of the routes of IPv6 HAVIPs.
    pub route_gateway6: Field<Ipv6Addr>,
}

impl TepEntry {
    /// A TEP with nothing but its address.
    #[must_use]
    pub const fn new(address: Tep) -> Self {
        let limit = TepLimit { frames: None };
        Self { address, name: None, limit, route_gateway: None, route_gateway6: None }
    }

    /// The TEP after a request.
    #[must_use]
    pub fn with(self, fields: &TepFields, replace: bool) -> Self {
        Self {
            address: self.address,
            name: fields.name.over(self.name, replace),
            limit: TepLimit { frames: fields.frames.over(self.limit.frames, replace) },
            route_gateway: fields.route_gateway.over(self.route_gateway, replace),
            route_gateway6: fields.route_gateway6.over(self.route_gateway6, replace),
        }
    }
}

/// The fields that a TEP has.
impl From<TepEntry> for TepFields {
    fn from(entry: TepEntry) -> Self {
        Self {
            name: Field::present(entry.name),
            frames: Field::present(entry.limit.frames),
            route_gateway: Field::present(entry.route_gateway),
            route_gateway6: Field::present(entry.route_gateway6),
        }
    }
}

fn gateway(bytes: Vec<u8>) -> Result<Ipv4Addr, ModelError> {
    match unicast(ip(&bytes)?)? {
        IpAddr::V4(v4) => Ok(v4),
        v6 => Err(ModelError::GatewayFamily(v6, "IPv4")),
    }
}

fn gateway6(bytes: Vec<u8>) -> Result<Ipv6Addr, ModelError> {
    match unicast(ip(&bytes)?)? {
        IpAddr::V6(v6) => Ok(v6),
        v4 => Err(ModelError::GatewayFamily(v4, "IPv6")),
    }
}

impl TryFrom<proto::Tep> for TepFields {
    type Error = ModelError;

    fn try_from(message: proto::Tep) -> Result<Self, ModelError> {
        Ok(Self {
            name: Field::parse(message.name, |name| name.parse())?,
            frames: Field::parse(message.limit.and_then(|limit| limit.frames), Rate::new)?,
            route_gateway: Field::parse(message.route_gateway, gateway)
                .map_err(ModelError::within("route_gateway"))?,
            route_gateway6: Field::parse(message.route_gateway6, gateway6)
                .map_err(ModelError::within("route_gateway6"))?,
        })
    }
}

impl From<TepFields> for proto::Tep {
    fn from(fields: TepFields) -> Self {
        let frames = fields.frames.message(Rate::per_second);
        Self {
            address: Vec::new(),
            name: fields.name.message(|name| name.to_string()),
            limit: frames.map(|frames| proto::TepRates { frames: Some(frames) }),
            route_gateway: fields.route_gateway.message(|v4| v4.octets().to_vec()),
            route_gateway6: fields.route_gateway6.message(|v6| v6.octets().to_vec()),
        }
    }
}

impl TryFrom<proto::Tep> for TepEntry {
    type Error = ModelError;

    fn try_from(message: proto::Tep) -> Result<Self, ModelError> {
        let entry = Self::new(tep(&message.address)?);
        Ok(entry.with(&message.try_into()?, true))
    }
}

impl From<TepEntry> for proto::Tep {
    fn from(entry: TepEntry) -> Self {
        Self { address: tep_bytes(entry.address), ..TepFields::from(entry).into() }
    }
}
