//! Routes of a virtual IP: a pure function of its holder's TEP, the TEP's next hop, and the configuration.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bcast_domain::{Tep, Vni};
use ctl_api::model::{HavipEntry, TepEntry};

use crate::config::RoutesConfig;

/// Fields of a HAVIP that routes depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Virtual {
    /// Domain.
    pub vni: Vni,
    /// Address.
    pub address: IpAddr,
    /// Public address.
    pub eip: Option<IpAddr>,
    /// The holder's TEP. While a HAVIP is frozen or contended its binding holds still, and so do its routes.
    pub holder: Option<Tep>,
    /// Generation of the binding.
    pub generation: u64,
}

impl From<&HavipEntry> for Virtual {
    fn from(HavipEntry { havip, binding }: &HavipEntry) -> Self {
        Self {
            vni: havip.vni,
            address: havip.address,
            eip: havip.eip,
            holder: binding.holder.as_ref().map(|holder| holder.tep),
            generation: binding.generation,
        }
    }
}

/// Gateways of a TEP that is not on-link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gateways {
    /// IPv4 addresses' next hop.
    pub next_hop: Option<Ipv4Addr>,
    /// IPv6 addresses' next hop. They always need one, for a TEP has an IPv4 address only.
    pub next_hop6: Option<Ipv6Addr>,
}

impl From<&TepEntry> for Gateways {
    fn from(entry: &TepEntry) -> Self {
        Self { next_hop: entry.route_gateway, next_hop6: entry.route_gateway6 }
    }
}

/// Table and destination of a host route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Number of the routing table.
    pub table: u32,
    /// Destination: one address.
    pub address: IpAddr,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = if self.address.is_ipv4() { 32 } else { 128 };
        write!(f, "{}/{bits} table {}", self.address, self.table)
    }
}

/// Next hop of a host route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// The next hop, of the route's family.
    pub gateway: IpAddr,
    /// Index of the interface whose link it is on.
    pub interface: u32,
}

/// Why there is no route, though there should be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The TEP is reached by a router that nobody named.
    #[error(
        "TEP {0} is on no link of the node's; name a gateway to it that is: bcastctl tep route-gateway {0} ADDRESS"
    )]
    NoNextHop(Tep),
    /// A TEP has an IPv4 address only.
    #[error("TEP {0} has no IPv6 next hop; name a gateway to it: bcastctl tep route-gateway {0} ADDRESS")]
    NoNextHop6(Tep),
    /// The gateway is not a neighbour.
    #[error(
        "the next hop {gateway} of TEP {tep} is on no link of the node's; name another: bcastctl tep route-gateway {tep} ADDRESS"
    )]
    OffLink {
        /// The holder's TEP.
        tep: Tep,
        /// Configured gateway.
        gateway: IpAddr,
    },
    /// A link-local address means nothing without its interface.
    #[error(
        "the next hop {gateway} of TEP {tep} is link-local, which names no interface; name a global or unique local address"
    )]
    LinkLocal {
        /// The holder's TEP.
        tep: Tep,
        /// Configured gateway.
        gateway: Ipv6Addr,
    },
}

/// Neighbour addresses with their interface index; `None`: looked up, and no neighbour.
pub type OnLink = HashMap<IpAddr, Option<u32>>;

/// The routes that a HAVIP shall have, at most two: to its address in its VNI's table, and to its public address.
///
/// Nobody holds it, or no table is mapped: none. [`Why`] where there should be one and cannot.
pub fn routes(
    havip: &Virtual,
    gateways: Gateways,
    config: &RoutesConfig,
    on_link: &OnLink,
) -> impl Iterator<Item = (Key, Result<Hop, Why>)> {
    keys(havip, config).filter_map(move |key| {
        let tep = havip.holder?;
        Some((key, hop(key.address, tep, gateways, on_link)))
    })
}

/// Tables and destinations of a HAVIP's routes while it has a holder.
pub(crate) fn keys(havip: &Virtual, config: &RoutesConfig) -> impl Iterator<Item = Key> + use<> {
    let address = havip.address;
    let private = config.table(havip.vni).map(|table| Key { table, address });
    let public = config.public_table().zip(havip.eip).map(|(table, address)| Key { table, address });
    private.into_iter().chain(public)
}

/// The addresses of which it must be known whether they are on-link.
pub(crate) fn asks(tep: Tep, gateways: Gateways) -> impl Iterator<Item = IpAddr> {
    let next_hop6 = gateways.next_hop6.filter(|gateway| !gateway.is_unicast_link_local());
    let next_hops = [gateways.next_hop.map(IpAddr::from), next_hop6.map(IpAddr::from)];
    [Some(IpAddr::from(tep.address()))].into_iter().chain(next_hops).flatten()
}

fn hop(address: IpAddr, tep: Tep, gateways: Gateways, on_link: &OnLink) -> Result<Hop, Why> {
    let by = |gateway: IpAddr| {
        let interface = on_link.get(&gateway).copied().flatten();
        interface.map(|interface| Hop { gateway, interface })
    };
    let gateway = match address {
        IpAddr::V4(_) => {
            if let Some(hop) = by(tep.address().into()) {
                return Ok(hop);
            }
            gateways.next_hop.map(IpAddr::from).ok_or(Why::NoNextHop(tep))?
        }
        IpAddr::V6(_) => {
            let gateway = gateways.next_hop6.ok_or(Why::NoNextHop6(tep))?;
            if gateway.is_unicast_link_local() {
                return Err(Why::LinkLocal { tep, gateway });
            }
            gateway.into()
        }
    };
    by(gateway).ok_or(Why::OffLink { tep, gateway })
}
