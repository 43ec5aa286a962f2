//! Header layouts, laid over bytes as they are on the wire.
//!
//! Every field is unaligned and in network byte order; a reference to one of these costs a length check and
//! no copy.

use core::net::Ipv4Addr;

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use bcast_domain::MacAddr;

/// Ethertypes and, where they are the same number, GRE protocol types.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP (RFC 826).
    pub const ARP: u16 = 0x0806;
    /// Reverse ARP (RFC 903).
    pub const REVERSE_ARP: u16 = 0x8035;
    /// Transparent Ethernet bridging: an Ethernet frame inside GRE (RFC 1701, RFC 7637 section 3.2).
    pub const ETHERNET: u16 = 0x6558;
    /// A customer's VLAN tag (IEEE 802.1Q).
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// A provider's VLAN tag (IEEE 802.1ad).
    pub const PROVIDER_VLAN: u16 = 0x88a8;
}

/// IP protocol numbers.
pub mod protocol {
    /// IPv6 hop-by-hop options (RFC 8200 section 4.3).
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP for IPv4 (RFC 792).
    pub const ICMP: u8 = 1;
    /// TCP (RFC 9293).
    pub const TCP: u8 = 6;
    /// UDP (RFC 768).
    pub const UDP: u8 = 17;
    /// IPv6 routing header (RFC 8200 section 4.4).
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header (RFC 8200 section 4.5).
    pub const FRAGMENT: u8 = 44;
    /// GRE (RFC 2784).
    pub const GRE: u8 = 47;
    /// Authentication header (RFC 4302).
    pub const AUTHENTICATION: u8 = 51;
    /// ICMPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
    /// IPv6 destination options (RFC 8200 section 4.6).
    pub const DESTINATION: u8 = 60;
    /// OSPF (RFC 2328, RFC 5340).
    pub const OSPF: u8 = 89;
    /// VRRP (RFC 3768, RFC 9568).
    pub const VRRP: u8 = 112;
    /// Mobility header (RFC 6275 section 6.1).
    pub const MOBILITY: u8 = 135;
    /// Host identity protocol (RFC 7401 section 5.1).
    pub const HIP: u8 = 139;
    /// Shim6 (RFC 5533 section 5.1).
    pub const SHIM6: u8 = 140;
}

/// Ethernet II, 14 bytes, without the frame check sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ethernet {
    /// Destination MAC.
    pub destination: MacAddr,
    /// Source MAC.
    pub source: MacAddr,
    /// Type of what follows, or a length below 1536.
    pub ethertype: U16,
}

impl Ethernet {
    /// Bytes of this header.
    pub const LEN: usize = size_of::<Self>();
}

/// IPv4 without options, 20 bytes (RFC 791 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ipv4 {
    /// Version in the high half, header length in 32-bit words in the low half.
    pub version_ihl: u8,
    /// Type of service: DSCP and ECN.
    pub tos: u8,
    /// Bytes of header and payload.
    pub total_length: U16,
    /// Identification.
    pub id: U16,
    /// Flags in the top three bits, fragment offset in units of 8 bytes below.
    pub fragment: U16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Header checksum, as it stands in the packet.
    pub checksum: [u8; 2],
    /// Source address.
    pub source: [u8; 4],
    /// Destination address.
    pub destination: [u8; 4],
}

impl Ipv4 {
    /// Bytes of this header.
    pub const LEN: usize = size_of::<Self>();
    /// Version 4 and five 32-bit words of header.
    pub const VERSION_IHL: u8 = 0x45;
    /// Flag "don't fragment".
    pub const DONT_FRAGMENT: u16 = 0x4000;
    /// Flag "more fragments" and the fragment offset: all zero in a whole packet. The reserved top bit is not
    /// in it.
    pub const FRAGMENT_MASK: u16 = 0x3fff;

    /// The source as an address.
    #[must_use]
    #[inline]
    pub const fn source(&self) -> Ipv4Addr {
        let [a, b, c, d] = self.source;
        Ipv4Addr::new(a, b, c, d)
    }

    /// The destination as an address.
    #[must_use]
    #[inline]
    pub const fn destination(&self) -> Ipv4Addr {
        let [a, b, c, d] = self.destination;
        Ipv4Addr::new(a, b, c, d)
    }
}

/// The four bytes that every GRE header starts with (RFC 2784 section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Gre {
    /// Flags, reserved bits and, in the low three, the version.
    pub flags: U16,
    /// Type of the payload, an ethertype.
    pub protocol: U16,
}

impl Gre {
    /// Bytes of this header, without optional words.
    pub const LEN: usize = size_of::<Self>();
    /// Checksum and Reserved1 follow.
    pub const CHECKSUM: u16 = 0x8000;
    /// A key follows (RFC 2890 section 2.1).
    pub const KEY: u16 = 0x2000;
    /// A sequence number follows (RFC 2890 section 2.2).
    pub const SEQUENCE: u16 = 0x1000;
}

/// Outer header of a copy: Ethernet, IPv4, and GRE with a key; 42 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Tunnel {
    /// To the next hop, from the port.
    pub ethernet: Ethernet,
    /// From the node or the frame's origin, to the TEP.
    pub ipv4: Ipv4,
    /// Flags 0x2000, protocol 0x6558.
    pub gre: Gre,
    /// The VNI.
    pub key: U32,
}

impl Tunnel {
    /// Bytes of this header.
    pub const LEN: usize = size_of::<Self>();
}
