//! Addresses that the configuration of a domain states: its subnets and its distributed gateways.

use std::net::IpAddr;

use bcast_domain::{Mac, limits};

use super::address::{bytes, ip, mac, unicast};
use super::{ModelError, Subnet};
use crate::proto;

/// Stated addresses of a domain. They count while its ARP inspection is sticky.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatedAddresses {
    /// Subnets of the domain, ascending, none twice; empty: any address may be announced.
    pub subnets: Vec<Subnet>,
    /// Distributed gateways, ascending by address, none twice.
    pub gateways: Vec<Gateway>,
}

/// Distributed gateway: an address with one MAC address at all TEPs of a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gateway {
    /// Address.
    pub address: IpAddr,
    /// MAC address.
    pub mac: Mac,
}

/// Subnets of a message.
///
/// # Errors
/// A subnet that cannot be, or too many.
pub(super) fn subnets(message: proto::Subnets) -> Result<Vec<Subnet>, ModelError> {
    let count = message.subnets.len();
    if count > limits::MAX_SUBNETS {
        return Err(ModelError::TooManySubnets(count));
    }
    let subnet = |one: proto::Subnet| Ok(Subnet::new(ip(&one.network)?, one.prefix_length)?);
    let mut all = message.subnets.into_iter().map(subnet).collect::<Result<Vec<_>, ModelError>>()?;
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// Gateways of a message.
///
/// # Errors
/// An address or a MAC address that no gateway can have, an address that is there twice, or too many gateways.
pub(super) fn gateways(message: proto::Gateways) -> Result<Vec<Gateway>, ModelError> {
    let count = message.gateways.len();
    if count > limits::MAX_GATEWAYS {
        return Err(ModelError::TooManyGateways(count));
    }
    let mut all =
        message.gateways.into_iter().map(Gateway::try_from).collect::<Result<Vec<_>, ModelError>>()?;
    all.sort_unstable_by_key(|gateway| gateway.address);
    match all.windows(2).find(|pair| pair[0].address == pair[1].address) {
        Some(pair) => Err(ModelError::GatewayTwice(pair[0].address)),
        None => Ok(all),
    }
}

impl TryFrom<proto::Gateway> for Gateway {
    type Error = ModelError;

    fn try_from(message: proto::Gateway) -> Result<Self, ModelError> {
        let address = unicast(ip(&message.address)?).map_err(ModelError::DomainGateway)?;
        Ok(Self { address, mac: mac(&message.mac)? })
    }
}

impl From<Gateway> for proto::Gateway {
    fn from(Gateway { address, mac }: Gateway) -> Self {
        Self { address: bytes(address), mac: mac.octets().to_vec() }
    }
}

impl From<Vec<Subnet>> for proto::Subnets {
    fn from(subnets: Vec<Subnet>) -> Self {
        let subnet = |one: Subnet| proto::Subnet {
            network: bytes(one.address()),
            prefix_length: one.prefix_len().into(),
        };
        Self { subnets: subnets.into_iter().map(subnet).collect() }
    }
}

impl From<Vec<Gateway>> for proto::Gateways {
    fn from(gateways: Vec<Gateway>) -> Self {
        Self { gateways: gateways.into_iter().map(proto::Gateway::from).collect() }
    }
}
