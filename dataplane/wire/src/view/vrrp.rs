//! VRRP advertisements, version 2 (RFC 3768) and version 3 (RFC 9568, before it RFC 5798).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::extension::{Upper, behind_authentication};
use super::ip::{Ipv4Packet, Ipv6Packet};
use crate::checksum;
use crate::header::protocol;

/// The fixed part of both versions, 8 bytes (RFC 3768 section 5.1, RFC 9568 section 5.1).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    version_type: u8,
    virtual_router: u8,
    priority: u8,
    count: u8,
    /// Version 2: authentication type, then seconds. Version 3: 4 reserved bits, then centiseconds.
    interval: U16,
    checksum: [u8; 2],
}

/// Bytes of authentication data at the end of every version 2 message (RFC 3768 section 5.3.10).
const V2_AUTHENTICATION: usize = 8;

/// Pseudo-header that the checksum covers before the message, if any.
#[derive(Clone, Copy, Debug)]
enum Family {
    V4 { source: Ipv4Addr, destination: Ipv4Addr },
    V6 { source: Ipv6Addr, destination: Ipv6Addr },
}

/// An advertisement: who claims which addresses, with what priority.
///
/// The caller decides if it is to be believed: IP TTL 255 (RFC 9568 section 7.1) and
/// [`Self::checksum_verifies`].
#[derive(Clone, Copy, Debug)]
pub struct Vrrp<'p> {
    header: &'p Header,
    addresses: &'p [u8],
    message: &'p [u8],
    family: Family,
}

impl<'p> Vrrp<'p> {
    /// Version 2, type 1: what an advertisement starts with.
    pub(crate) const V2_ADVERTISEMENT: u8 = 0x21;
    /// Version 3, type 1: what an advertisement starts with.
    pub(crate) const V3_ADVERTISEMENT: u8 = 0x31;

    /// Reads what an IPv4 packet carries, behind an authentication header if there is one (RFC 2338 section 5.3.6). `None` if it
    /// is a fragment, another protocol, another version or type, or shorter than its address count needs.
    #[must_use]
    pub fn from_ipv4(packet: &Ipv4Packet<'p>) -> Option<Self> {
        let header = packet.header;
        let (protocol, message) = match header.protocol {
            protocol::AUTHENTICATION => behind_authentication(packet.payload)?,
            protocol => (protocol, packet.payload),
        };
        if packet.is_fragment() || protocol != protocol::VRRP {
            return None;
        }
        let family = Family::V4 { source: header.source(), destination: header.destination() };
        Self::parse(message, family)
    }

    /// Reads what an IPv6 packet carries, behind extension headers if there are any; else as [`Self::from_ipv4`]. There is
    /// no version 2.
    #[must_use]
    pub fn from_ipv6(packet: &Ipv6Packet<'p>) -> Option<Self> {
        let upper = Upper::of(packet).ok()?;
        if upper.fragment_offset.is_some() || upper.protocol != protocol::VRRP {
            return None;
        }
        let header = packet.header;
        let family = Family::V6 { source: header.source(), destination: header.destination() };
        Self::parse(upper.payload, family)
    }

    fn parse(message: &'p [u8], family: Family) -> Option<Self> {
        let (header, rest) = Header::ref_from_prefix(message).ok()?;
        let (address_len, trailer) = match (header.version_type, family) {
            (Self::V2_ADVERTISEMENT, Family::V4 { .. }) => (4, V2_AUTHENTICATION),
            (Self::V3_ADVERTISEMENT, Family::V4 { .. }) => (4, 0),
            (Self::V3_ADVERTISEMENT, Family::V6 { .. }) => (16, 0),
            _ => return None,
        };
        let (addresses, rest) = rest.split_at_checked(usize::from(header.count) * address_len)?;
        (rest.len() >= trailer).then_some(Self { header, addresses, message, family })
    }

    /// 2 or 3.
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.header.version_type >> 4
    }

    /// Virtual router id, VRID: together with the family it names a virtual router on a LAN.
    #[must_use]
    pub const fn virtual_router(&self) -> u8 {
        self.header.virtual_router
    }

    /// 255 owns the addresses, 0 gives them up now.
    #[must_use]
    pub const fn priority(&self) -> u8 {
        self.header.priority
    }

    /// Time between advertisements: whole seconds in version 2, centiseconds in version 3.
    #[must_use]
    pub fn interval(&self) -> Duration {
        let interval = self.header.interval.get();
        if self.version() == 2 {
            Duration::from_secs(u64::from(interval & 0x00ff))
        } else {
            Duration::from_millis(10 * u64::from(interval & 0x0fff))
        }
    }

    /// The addresses of the virtual router.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<'p> {
        let (v4, v6) = match self.family {
            Family::V4 { .. } => (self.addresses.as_chunks::<4>().0, [].as_slice()),
            Family::V6 { .. } => ([].as_slice(), self.addresses.as_chunks::<16>().0),
        };
        v4.iter().map(|&octets| IpAddr::from(octets)).chain(v6.iter().map(|&octets| IpAddr::from(octets)))
    }

    /// True if the checksum is right.
    ///
    /// It covers the whole message; over IPv6 also a pseudo-header (RFC 8200 section 8.1). For version 3 over
    /// IPv4 both are right: RFC 9568 section 5.2.8 leaves the pseudo-header out, and Keepalived and others,
    /// who read the older RFC 5798 otherwise, put it in.
    #[must_use]
    pub fn checksum_verifies(&self) -> bool {
        let message = checksum::sum(self.message);
        let with_pseudo_header = checksum::add(message, self.pseudo_header()) == 0xffff;
        match self.family {
            Family::V4 { .. } => message == 0xffff || self.version() == 3 && with_pseudo_header,
            Family::V6 { .. } => with_pseudo_header,
        }
    }

    /// Sum of the addresses, the protocol and the message's length.
    fn pseudo_header(&self) -> u16 {
        let addresses = match self.family {
            Family::V4 { source, destination } => {
                checksum::add(checksum::sum(&source.octets()), checksum::sum(&destination.octets()))
            }
            Family::V6 { source, destination } => {
                checksum::add(checksum::sum(&source.octets()), checksum::sum(&destination.octets()))
            }
        };
        checksum::add(addresses, checksum::pseudo_header(protocol::VRRP, self.message.len()))
    }
}
