//! Virtual IP addresses, and who may speak for them.

mod board;
mod learned;
mod table;

use std::{fmt, net::IpAddr};

use crate::{
    Mac, TepIndex,
    limits::{LimitError, MAX_ANNOUNCERS, MAX_VIPS},
};

pub use board::{AnnouncementBoard, LastAnnounced};
pub use learned::{LearnedBindings, SILENCE_NS};
pub use table::{VipEntry, VipKey, VipTable};
pub(crate) use table::{tep, who};

/// The dense number of a virtual IP: a place in arrays of what was heard.
///
/// # Legal values
/// Below [`MAX_VIPS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct VipId(pub(crate) u32);

impl VipId {
    /// The virtual IP with this number.
    ///
    /// # Errors
    /// [`LimitError::VipId`] at or over [`MAX_VIPS`].
    pub const fn new(id: u32) -> Result<Self, LimitError> {
        if (id as usize) < MAX_VIPS { Ok(Self(id)) } else { Err(LimitError::VipId(id)) }
    }

    /// The number itself.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number as it is used on a slice.
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

/// The dense number of a [`Announcer`], of all virtual IPs: a place in an array of what was heard.
///
/// # Legal values
/// Below [`MAX_ANNOUNCERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct AnnouncerId(pub(crate) u32);

impl AnnouncerId {
    /// The announcer with this number.
    ///
    /// # Errors
    /// [`LimitError::AnnouncerId`] at or over [`MAX_ANNOUNCERS`].
    pub const fn new(id: u32) -> Result<Self, LimitError> {
        if (id as usize) < MAX_ANNOUNCERS { Ok(Self(id)) } else { Err(LimitError::AnnouncerId(id)) }
    }

    /// The number itself.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number as it is used on a slice.
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

/// One that may announce a virtual IP: an attached instance, at one of its tunnel endpoints. An instance that migrates has two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcer {
    /// The instance's MAC address.
    pub mac: Mac,
    /// Where it is.
    pub tep: TepIndex,
    /// Its number; no other announcer, of this virtual IP or another, has it.
    pub id: AnnouncerId,
}

/// A virtual IP address of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vip {
    /// Its number.
    pub id: VipId,
    /// The address itself.
    pub address: IpAddr,
    /// The VRRP ids whose virtual MAC addresses its announcers may use.
    pub vrids: Box<[u8]>,
    /// Who may announce it.
    pub announcers: Box<[Announcer]>,
}

impl Vip {
    /// Who it is that speaks with this MAC address from this tunnel endpoint, if one that may.
    ///
    /// That is the one with that MAC address; or, of a VRRP router's virtual MAC address (00:00:5e:00:01:VRID for IPv4,
    /// 00:00:5e:00:02:VRID for IPv6; RFC 9568 section 7.3) with one of the [`vrids`](Self::vrids), the only one there: where two
    /// share an endpoint, that MAC address does not tell which of them it is.
    #[inline]
    pub fn announcer(&self, mac: [u8; 6], tep: TepIndex) -> Option<AnnouncerId> {
        let own =
            self.announcers.iter().find(|announcer| announcer.tep == tep && announcer.mac.octets() == mac);
        match own {
            Some(announcer) => Some(announcer.id),
            None => self.virtual_announcer(mac, tep),
        }
    }

    fn virtual_announcer(&self, mac: [u8; 6], tep: TepIndex) -> Option<AnnouncerId> {
        let vrid = vrid(mac);
        if mac != virtual_mac(self.address, vrid) || !self.vrids.contains(&vrid) {
            return None;
        }
        let mut there = self.announcers.iter().filter(|announcer| announcer.tep == tep);
        match (there.next(), there.next()) {
            (Some(announcer), None) => Some(announcer.id),
            _ => None,
        }
    }
}

/// A VRRP router's virtual MAC address for an address of that family (RFC 9568 section 7.3).
#[inline]
pub const fn virtual_mac(address: IpAddr, vrid: u8) -> [u8; 6] {
    [0x00, 0x00, 0x5e, 0x00, if address.is_ipv4() { 1 } else { 2 }, vrid]
}

/// The VRRP id of a virtual MAC address of either family; 0 of all others.
#[inline]
pub const fn vrid(mac: [u8; 6]) -> u8 {
    match mac {
        [0x00, 0x00, 0x5e, 0x00, 1 | 2, vrid] => vrid,
        _ => 0,
    }
}

/// What an announcement that was accepted said about a virtual IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnnouncementKind {
    /// That it is here now: gratuitous ARP, or an unsolicited neighbour advertisement that overrides.
    Claim {
        /// Of whose virtual MAC address it said so; 0: its own MAC address.
        vrid: u8,
    },
    /// That it is here, by the way: an ARP packet, a neighbour advertisement or a solicitation from it.
    Use,
    /// A VRRP advertisement that lists it.
    Advert {
        /// Time between two of them, hundredths of a second.
        interval_cs: u16,
        /// 255 owns the address, 0 gives it up now.
        priority: u8,
    },
}

/// An announcement that was refused: its frame was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The virtual IP that it named.
    pub vip: VipId,
    /// The Ethernet source.
    pub mac: [u8; 6],
    /// Where it came from.
    pub tep: TepIndex,
    /// What it was.
    pub what: RejectReason,
    /// Whether it would have moved the virtual IP if its sender were attached.
    pub claims: bool,
    /// When, by the node's clock: nanoseconds.
    pub at_ns: u64,
}

/// What kind of announcement was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectReason {
    /// ARP or neighbour discovery from one that is not attached.
    Unattached,
    /// ARP or neighbour discovery of one that is attached, but binding the address to another MAC address than the sender's.
    Unsound,
    /// A VRRP advertisement from one that is not attached.
    Advert,
    /// Neighbour discovery in fragments or behind extension headers: nobody does that in good faith (RFC 6980).
    Hidden,
}
