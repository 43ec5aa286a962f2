//! IPv4 and IPv6 packets.

use core::net::Ipv6Addr;

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum;
use crate::header::{Ipv4, protocol};

/// An IPv4 packet (RFC 791), options allowed.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4Packet<'p> {
    /// The fixed part of the header.
    pub header: &'p Ipv4,
    /// The options, 0 to 40 bytes.
    pub options: &'p [u8],
    /// Bytes within the total length behind the header: no Ethernet padding.
    pub payload: &'p [u8],
    whole_header: &'p [u8],
}

impl<'p> Ipv4Packet<'p> {
    /// Reads a packet. `None` if the version is not 4 or the lengths in it do not fit; the checksum is not
    /// verified.
    #[must_use]
    #[inline]
    pub fn parse(packet: &'p [u8]) -> Option<Self> {
        let (header, _) = Ipv4::ref_from_prefix(packet).ok()?;
        let header_len = usize::from(header.version_ihl & 0x0f) * 4;
        let packet = packet.get(..usize::from(header.total_length.get()))?;
        let (whole_header, payload) = packet.split_at_checked(header_len)?;
        let options = whole_header.get(Ipv4::LEN..)?;
        (header.version_ihl >> 4 == 4).then_some(Self { header, options, payload, whole_header })
    }

    /// True if the header checksum is right, options included.
    #[must_use]
    #[inline]
    pub fn checksum_verifies(&self) -> bool {
        checksum::verifies(self.whole_header)
    }

    /// True if this is a part of a packet, so that the payload may start anywhere and end early.
    #[must_use]
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.header.fragment.get() & Ipv4::FRAGMENT_MASK != 0
    }

    /// Offset of the payload in that of the whole packet, bytes.
    #[must_use]
    #[inline]
    pub fn fragment_offset(&self) -> usize {
        usize::from(self.header.fragment.get() & 0x1fff) * 8
    }
}

/// IPv6 header, 40 bytes (RFC 8200 section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Ipv6Header {
    /// Version (4 bits), traffic class (8 bits), flow label (20 bits).
    pub version_class_flow: U32,
    /// Bytes after this header.
    pub payload_length: U16,
    /// Type of what follows: a protocol or an extension header.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    source: [u8; 16],
    destination: [u8; 16],
}

impl Ipv6Header {
    /// The source address.
    #[must_use]
    #[inline]
    pub fn source(&self) -> Ipv6Addr {
        Ipv6Addr::from(self.source)
    }

    /// The source where it stands in the packet.
    #[must_use]
    #[inline]
    pub(crate) fn source_octets(&self) -> &[u8; 16] {
        &self.source
    }

    /// The destination address.
    #[must_use]
    #[inline]
    pub fn destination(&self) -> Ipv6Addr {
        Ipv6Addr::from(self.destination)
    }
}

/// An IPv6 packet; extension headers, if any, are part of the payload.
#[derive(Clone, Copy, Debug)]
pub struct Ipv6Packet<'p> {
    /// The fixed header.
    pub header: &'p Ipv6Header,
    /// Bytes within the payload length.
    pub payload: &'p [u8],
}

impl<'p> Ipv6Packet<'p> {
    /// Reads a packet. `None` if the version is not 6 or the payload is not all there.
    ///
    /// A payload length of 0 with hop-by-hop options: all that follows is the payload. Its length should be
    /// in an option (RFC 2675 section 3), and Linux takes the frame's where that option is missing.
    #[must_use]
    #[inline]
    pub fn parse(packet: &'p [u8]) -> Option<Self> {
        let (header, rest) = Ipv6Header::ref_from_prefix(packet).ok()?;
        let payload = match header.payload_length.get() {
            0 if header.next_header == protocol::HOP_BY_HOP => rest,
            length => rest.get(..usize::from(length))?,
        };
        (header.version_class_flow.get() >> 28 == 6).then_some(Self { header, payload })
    }

    /// True if the checksum of a message right behind the fixed header is right (RFC 8200 section 8.1).
    #[must_use]
    pub fn message_verifies(&self) -> bool {
        let header = self.header;
        let addresses = checksum::add(checksum::sum(&header.source), checksum::sum(&header.destination));
        let pseudo_header = checksum::pseudo_header(header.next_header, self.payload.len());
        checksum::add(checksum::add(addresses, pseudo_header), checksum::sum(self.payload)) == 0xffff
    }
}
