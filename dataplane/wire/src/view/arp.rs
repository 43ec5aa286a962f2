//! ARP for IPv4 over Ethernet (RFC 826).

use core::net::Ipv4Addr;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::header::ethertype;
use bcast_domain::MacAddr;

/// An ARP packet for IPv4 over Ethernet, 28 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Arp {
    hardware: U16,
    protocol: U16,
    hardware_len: u8,
    protocol_len: u8,
    /// 1 is a request, 2 a reply.
    pub operation: U16,
    /// MAC of the sender, as it says.
    pub sender_mac: MacAddr,
    sender_address: [u8; 4],
    /// MAC that is asked for; of no meaning in a request.
    pub target_mac: MacAddr,
    target_address: [u8; 4],
}

impl Arp {
    /// [`Self::operation`] of a request.
    pub const REQUEST: u16 = 1;
    /// [`Self::operation`] of a reply.
    pub const REPLY: u16 = 2;
    /// [`Self::operation`] of a reverse request (RFC 903).
    pub const REVERSE_REQUEST: u16 = 3;
    /// Hardware type of Ethernet.
    const ETHERNET: u16 = 1;
    /// Hardware type of IEEE 802 networks, which Linux, FreeBSD and Windows take for Ethernet's.
    const IEEE_802: u16 = 6;

    /// Reads the payload of an ARP frame; what follows the 28 bytes is padding. `None` for other hardware,
    /// protocols or lengths of addresses.
    #[must_use]
    #[inline(always)]
    pub fn parse(payload: &[u8]) -> Option<&Self> {
        let (arp, _) = Self::ref_from_prefix(payload).ok()?;
        let kind = (arp.protocol.get(), arp.hardware_len, arp.protocol_len);
        let hardware = matches!(arp.hardware.get(), Self::ETHERNET | Self::IEEE_802);
        (hardware && kind == (ethertype::IPV4, 6, 4)).then_some(arp)
    }

    /// Answer to this request: its target is at `mac`.
    #[must_use]
    pub fn reply(&self, mac: MacAddr) -> Self {
        Self {
            hardware: Self::ETHERNET.into(),
            operation: Self::REPLY.into(),
            sender_mac: mac,
            sender_address: self.target_address,
            target_mac: self.sender_mac,
            target_address: self.sender_address,
            ..*self
        }
    }

    /// The sender's address where it stands in the packet.
    #[must_use]
    #[inline(always)]
    pub(crate) fn sender_octets(&self) -> &[u8; 4] {
        &self.sender_address
    }

    /// The target's address where it stands in the packet.
    #[must_use]
    #[inline(always)]
    pub(crate) fn target_octets(&self) -> &[u8; 4] {
        &self.target_address
    }

    /// Address of the sender; unspecified in a probe.
    #[must_use]
    #[inline(always)]
    pub fn sender(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.sender_address)
    }

    /// Address that is asked for.
    #[must_use]
    #[inline(always)]
    pub fn target(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.target_address)
    }

    /// The sender announces its own address, by request or reply (RFC 5944 section 4.6, RFC 5227 section 3).
    #[must_use]
    #[inline(always)]
    pub fn is_gratuitous(&self) -> bool {
        self.sender_address == self.target_address
            && !self.sender().is_unspecified()
            && matches!(self.operation.get(), Self::REQUEST | Self::REPLY)
    }

    /// The sender asks whether an address is free before it takes it (RFC 5227 section 1.1).
    #[must_use]
    #[inline(always)]
    pub fn is_probe(&self) -> bool {
        self.operation.get() == Self::REQUEST
            && self.sender().is_unspecified()
            && !self.target().is_unspecified()
    }
}
