//! Virtual IP addresses and their announcers.

mod board;
mod learned;
mod strict;
mod table;

use std::{fmt, net::IpAddr};

use crate::{
    Mac, MacAddr, TepIndex, VlanTags,
    limits::{LimitError, MAX_ANNOUNCERS, MAX_VIPS},
};

pub use board::{AnnouncementBoard, HeardTags, LastAnnounced};
pub use learned::{Learned, LearnedBindings, SILENCE_NS};
pub use strict::{StrictDomain, StrictReason, StrictRefusal};
pub use table::{VipEntry, VipKey, VipTable};
pub(crate) use table::{mac, tep, who};

/// Dense number of a virtual IP: index of per-address arrays.
///
/// # Legal values
/// Below [`MAX_VIPS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct VipId(pub(crate) u32);

impl VipId {
    /// Virtual IP with this number.
    ///
    /// # Errors
    /// [`LimitError::VipId`] at or over [`MAX_VIPS`].
    pub const fn new(id: u32) -> Result<Self, LimitError> {
        if (id as usize) < MAX_VIPS { Ok(Self(id)) } else { Err(LimitError::VipId(id)) }
    }

    /// Number.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Number as a slice index.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for VipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Dense number of an [`Announcer`] among all virtual IPs: index of the announcement board.
///
/// # Legal values
/// Below [`MAX_ANNOUNCERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct AnnouncerId(pub(crate) u32);

impl AnnouncerId {
    /// Announcer with this number.
    ///
    /// # Errors
    /// [`LimitError::AnnouncerId`] at or over [`MAX_ANNOUNCERS`].
    pub const fn new(id: u32) -> Result<Self, LimitError> {
        if (id as usize) < MAX_ANNOUNCERS { Ok(Self(id)) } else { Err(LimitError::AnnouncerId(id)) }
    }

    /// Number.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Number as a slice index.
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for AnnouncerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Announcer of a virtual IP: an attached instance at one of its TEPs. A migrating instance is two announcers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcer {
    /// MAC address of the instance.
    pub mac: Mac,
    /// TEP of the instance.
    pub tep: TepIndex,
    /// Number, unique among all virtual IPs.
    pub id: AnnouncerId,
}

/// A virtual IP address of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vip {
    /// Number.
    pub id: VipId,
    /// IP address.
    pub address: IpAddr,
    /// The VRRP ids whose virtual MAC addresses its announcers may use.
    pub vrids: Box<[u8]>,
    /// Instances that may announce the address, by TEP.
    pub announcers: Box<[Announcer]>,
    /// Group of the domain's virtual IPs that belong to one election: an advertisement of one counts for all. 0: none.
    pub group: u32,
}

impl Vip {
    /// Announcer with this MAC address at this endpoint.
    ///
    /// For a [virtual MAC address](Self::is_virtual) it is the only announcer at this endpoint. `None` if there are two:
    /// the MAC address does not tell which.
    #[inline]
    pub fn announcer(&self, mac: [u8; 6], tep: TepIndex) -> Option<AnnouncerId> {
        let own =
            self.announcers.iter().find(|announcer| announcer.tep == tep && announcer.mac.octets() == mac);
        match own {
            Some(announcer) => Some(announcer.id),
            None => self.virtual_announcer(mac, tep),
        }
    }

    /// Announcer whose frame has this source and binds the address to `bound`.
    ///
    /// These are its own MAC addresses and [virtual ones](Self::is_virtual): CARP's frames have the interface's MAC
    /// address as source and the virtual one inside. Instances that share a multicast MAC address are known by that, as
    /// their frames have sources of their own.
    ///
    /// # Errors
    /// [`RejectReason::Unattached`], or [`RejectReason::Unsound`] for an announcer that binds it elsewhere.
    pub fn binder(
        &self,
        source: [u8; 6],
        bound: [u8; 6],
        tep: TepIndex,
    ) -> Result<AnnouncerId, RejectReason> {
        let shared = || MacAddr(bound).is_multicast().then(|| self.announcer(bound, tep)).flatten();
        let Some(announcer) = self.announcer(source, tep) else {
            return shared().ok_or(RejectReason::Unattached);
        };
        let own = bound == source || self.is_virtual(bound) || self.announcer(bound, tep) == Some(announcer);
        if own { Ok(announcer) } else { Err(RejectReason::Unsound) }
    }

    fn virtual_announcer(&self, mac: [u8; 6], tep: TepIndex) -> Option<AnnouncerId> {
        if !self.is_virtual(mac) {
            return None;
        }
        let mut there = self.announcers.iter().filter(|announcer| announcer.tep == tep);
        match (there.next(), there.next()) {
            (Some(announcer), None) => Some(announcer.id),
            _ => None,
        }
    }

    /// True for a virtual MAC address with one of the [`vrids`](Self::vrids); see [`is_virtual_mac`].
    #[inline]
    pub fn is_virtual(&self, mac: [u8; 6]) -> bool {
        is_virtual_mac(mac, &self.vrids)
    }
}

/// True for a VRRP router's virtual MAC address with one of these VRRP ids: 00:00:5e:00:01:VRID, or 00:00:5e:00:02:VRID
/// (RFC 9568 section 7.3). The RFC has the one for IPv4 and the other for IPv6; CARP has the first for both.
#[inline]
pub fn is_virtual_mac(mac: [u8; 6], vrids: &[u8]) -> bool {
    match mac {
        [0x00, 0x00, 0x5e, 0x00, 1 | 2, vrid] => vrids.contains(&vrid),
        _ => false,
    }
}

/// Kind of an accepted announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnnouncementKind {
    /// Gratuitous ARP, or an unsolicited neighbour advertisement with the override flag.
    Claim {
        /// MAC address to which it binds the address: the announcer's own, or a virtual one.
        mac: [u8; 6],
    },
    /// Any other ARP packet, neighbour advertisement or solicitation from the address.
    Use,
    /// VRRP advertisement that lists the address.
    Advert {
        /// Advertisement interval, hundredths of a second.
        interval_cs: u16,
        /// Priority; 255: owner of the address, 0: resigns.
        priority: u8,
    },
    /// VRRP advertisement that does not list the address, but another of its group.
    GroupAdvert {
        /// Advertisement interval, hundredths of a second.
        interval_cs: u16,
        /// Priority; 255: owner of the addresses, 0: resigns.
        priority: u8,
    },
    /// Reverse ARP of the announcer's instance, which has just arrived at the announcer's TEP.
    Arrival,
    /// ARP, neighbour discovery, VRRP or CARP of the announcer's instance that says no word about a virtual IP: it is about another
    /// address or none, a probe, or not to be believed.
    Presence,
}

/// Rejected announcement; its frame was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Virtual IP in the announcement.
    pub vip: VipId,
    /// Ethernet source address.
    pub mac: [u8; 6],
    /// MAC address to which it binds the virtual IP.
    pub bound: [u8; 6],
    /// TEP that sent the frame.
    pub tep: TepIndex,
    /// Reason of the rejection.
    pub reason: RejectReason,
    /// True if it would have moved the virtual IP if its sender were attached.
    pub claims: bool,
    /// VLAN tags of the frame.
    pub tags: VlanTags,
    /// Receive time by the node's clock, nanoseconds.
    pub at_ns: u64,
}

/// Reason for which an announcement is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectReason {
    /// ARP or neighbour discovery of a sender that is not attached.
    Unattached,
    /// ARP or neighbour discovery of an attached sender that binds the address to another MAC address.
    Unsound,
    /// VRRP advertisement of a sender that is not attached.
    Advert,
    /// Neighbour discovery in fragments or behind extension headers; no honest host sends this (RFC 6980).
    Hidden,
    /// ARP probe or duplicate address detection of a sender that is not attached: it would keep an announcer from
    /// taking the address.
    Probe,
    /// First fragment that ends before all that has to be judged; whoever sends it.
    Cut {
        /// True for a fragment that names no virtual IP: any one of the domain and of this one's address family may be meant.
        any: bool,
    },
    /// Reverse ARP of an instance at an endpoint where it is not attached yet. It names no address, so its frame is not dropped for
    /// that: it is remembered only.
    Arrival,
}
