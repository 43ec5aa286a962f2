//! BFD inside the overlay, which only its hypervisors' tunnels may carry.

use crate::header::{ethertype, protocol};
use crate::view::{Ipv6Packet, Upper, innermost};

/// UDP port of single-hop BFD Control packets (RFC 5881 section 4).
pub const UDP_PORT: u16 = 3784;

/// Bytes of the shortest IPv4 header.
const IPV4_LEN: usize = 20;

/// True for an inner frame that a receiver could take for BFD: UDP to port 3784 in IPv4 or IPv6, behind any number of VLAN tags, LLC and
/// SNAP, IPv4 options and IPv6 extension headers; of a fragmented packet the fragments that begin at offset 0.
///
/// Open vSwitch 3.1 looks at ethertype, protocol and port alone, so no length and no checksum is verified for IPv4.
#[must_use]
#[inline]
pub fn carries_bfd(inner: &[u8]) -> bool {
    match innermost(inner) {
        Some((ethertype::IPV4, packet)) => is_bfd4(packet),
        Some((ethertype::IPV6, packet)) => is_bfd6(packet),
        _ => false,
    }
}

fn is_bfd4(packet: &[u8]) -> bool {
    let Some(header) = packet.first_chunk::<IPV4_LEN>() else { return false };
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
    header[0] >> 4 == 4
        && header_len >= IPV4_LEN
        && header[9] == protocol::UDP
        && offset == 0
        && packet.get(header_len..).is_some_and(goes_to_port)
}

fn is_bfd6(packet: &[u8]) -> bool {
    let upper = Ipv6Packet::parse(packet).and_then(|packet| Upper::of(&packet).ok());
    upper.is_some_and(|upper| {
        upper.protocol == protocol::UDP
            && upper.fragment_offset.unwrap_or(0) == 0
            && goes_to_port(upper.payload)
    })
}

/// True if a UDP header goes to the port of BFD.
fn goes_to_port(udp: &[u8]) -> bool {
    udp.get(2..4) == Some(&UDP_PORT.to_be_bytes())
}
