//! Announcements that a domain with sticky ARP inspection refused.

use std::net::IpAddr;

use bcast_domain::{StrictReason, Tep, Vni};

use super::address::{bytes, tep_bytes};
use super::word::{Word, words};
use crate::proto::{self, watch_event::Kind};

words! {
    /// Reason for which a domain with sticky ARP inspection refuses an announcement.
    pub enum RefusalReason("reason of a refusal") {
        /// Another MAC address or TEP has the address.
        OtherOwner = "other_owner",
        /// The address is outside of the domain's subnets.
        OutsideSubnets = "outside_subnets",
        /// The MAC address or TEP of the sender has as many addresses as it may.
        OverBound = "over_bound",
        /// The address is a gateway's, and the MAC address is not.
        GatewayMac = "gateway_mac",
        /// Neighbour discovery in fragments or behind extension headers.
        HiddenDiscovery = "hidden_discovery",
    }
}

impl From<StrictReason> for RefusalReason {
    fn from(reason: StrictReason) -> Self {
        match reason {
            StrictReason::OtherOwner => Self::OtherOwner,
            StrictReason::OutsideSubnets => Self::OutsideSubnets,
            StrictReason::OverBound => Self::OverBound,
            StrictReason::GatewayMac => Self::GatewayMac,
            StrictReason::Hidden => Self::HiddenDiscovery,
        }
    }
}

impl RefusalReason {
    /// Reason in a few words, for people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::OtherOwner => "another has the address",
            Self::OutsideSubnets => "the address is outside of the domain's subnets",
            Self::OverBound => "its MAC address or TEP has as many addresses as it may",
            Self::GatewayMac => "the address is a gateway's, and the MAC address is not",
            Self::HiddenDiscovery => "neighbour discovery in fragments or behind extension headers",
        }
    }
}

/// Announcements of one address, or of several, that were refused for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedAnnouncement {
    /// Domain.
    pub vni: Vni,
    /// Address in the latest of them.
    pub address: IpAddr,
    /// MAC address to which the latest of them binds the address; any six bytes.
    pub mac: [u8; 6],
    /// TEP that sent the latest of them; `None`: one that was removed.
    pub tep: Option<Tep>,
    /// Reason.
    pub reason: RefusalReason,
    /// Number of them since the previous report.
    pub count: u64,
    /// They were of several addresses: more than are told apart.
    pub several_addresses: bool,
    /// Last revision before the report, which makes none.
    pub generation: u64,
    /// Time of the report: Unix time in milliseconds.
    pub unix_ms: u64,
}

impl From<RefusedAnnouncement> for Kind {
    fn from(refused: RefusedAnnouncement) -> Self {
        Self::AnnouncementRefused(proto::RefusedAnnouncement {
            vni: refused.vni.get(),
            address: bytes(refused.address),
            mac: refused.mac.to_vec(),
            tep: refused.tep.map(tep_bytes).unwrap_or_default(),
            reason: refused.reason.number(),
            count: refused.count,
            several_addresses: refused.several_addresses,
            unix_ms: refused.unix_ms,
        })
    }
}
