//! Rules of a strict domain for announcements of addresses that are no virtual IPs.

use std::{net::IpAddr, sync::Arc};

use crate::{TepIndex, Vni, vip::LearnedBindings};

/// Strict domain: learned bindings, and what its configuration says about addresses.
#[derive(Debug)]
pub struct StrictDomain {
    /// VNI.
    pub vni: Vni,
    /// Owners of addresses. A table that replaces another takes over its bindings.
    pub learned: Arc<LearnedBindings>,
    /// Networks and prefix lengths, bits. Addresses outside of them are refused; empty: any address is admitted.
    pub subnets: Box<[(IpAddr, u8)]>,
    /// Distributed gateways: address and MAC address, which all TEPs of the domain share.
    pub gateways: Box<[(IpAddr, [u8; 6])]>,
}

impl StrictDomain {
    /// Strict domain without subnets and gateways.
    pub fn new(vni: Vni, learned: Arc<LearnedBindings>) -> Self {
        Self { vni, learned, subnets: [].into(), gateways: [].into() }
    }

    /// Admits an announcement that binds the address to this MAC address, from this TEP, at `now_ns` (not 0).
    ///
    /// A gateway's address goes with the gateway's MAC address, from all TEPs; it is never learned. For other addresses
    /// see [`LearnedBindings::admit`].
    ///
    /// # Errors
    /// [`StrictReason`].
    pub fn admit(
        &self,
        address: IpAddr,
        mac: [u8; 6],
        tep: TepIndex,
        now_ns: u64,
        gone: impl Fn(TepIndex) -> bool,
    ) -> Result<(), StrictReason> {
        if let Some((_, own)) = self.gateways.iter().find(|gateway| gateway.0 == address) {
            return if *own == mac { Ok(()) } else { Err(StrictReason::GatewayMac) };
        }
        if !self.is_inside(address) {
            return Err(StrictReason::OutsideSubnets);
        }
        self.learned.admit(address, mac, tep, now_ns, gone)
    }

    /// True for an address of the stated subnets, and for a link-local one of IPv6: each IPv6 network has these
    /// (RFC 4291 section 2.8).
    fn is_inside(&self, address: IpAddr) -> bool {
        let link_local = matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
        let holds = |&(network, length): &(IpAddr, u8)| is_in_network(address, network, length);
        self.subnets.is_empty() || link_local || self.subnets.iter().any(holds)
    }
}

/// True if the first `length` bits of both addresses are the same, and both are of one family.
fn is_in_network(address: IpAddr, network: IpAddr, length: u8) -> bool {
    let differ = match (address, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => u128::from(one.to_bits() ^ other.to_bits()) << 96,
        (IpAddr::V6(one), IpAddr::V6(other)) => one.to_bits() ^ other.to_bits(),
        _ => return false,
    };
    differ.leading_zeros() >= u32::from(length)
}

/// Reason for which a strict domain refuses an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StrictReason {
    /// Another MAC address or TEP has the address.
    OtherOwner,
    /// The address is outside of the domain's subnets.
    OutsideSubnets,
    /// The MAC address or the TEP has as many addresses as it may.
    OverBound,
    /// The address is a gateway's, and the MAC address is not.
    GatewayMac,
    /// Neighbour discovery in fragments or behind extension headers; no honest host sends this (RFC 6980).
    Hidden,
}

/// Refused announcement; its frame was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrictRefusal {
    /// Domain.
    pub vni: Vni,
    /// Address in the announcement.
    pub address: IpAddr,
    /// MAC address to which the announcement binds it.
    pub mac: [u8; 6],
    /// TEP that sent the frame.
    pub tep: TepIndex,
    /// Reason of the refusal.
    pub reason: StrictReason,
}
