//! Traffic class of frames: control or data.

use crate::header::{Ethernet, ethertype, protocol};
use crate::view::{Ipv4Packet, Ipv6Header, link};
use zerocopy::FromBytes;

/// ICMPv6 type of a neighbour advertisement (RFC 4861 section 4.4).
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// True if an inner frame is ARP of any kind, a neighbour advertisement or VRRP, behind up to two VLAN tags: what elections
/// and moved addresses are told by, so it goes before all else and has limits of its own.
///
/// Solicitations and router messages bind addresses as well (see [`announcement()`](crate::announcement())), but no failover waits
/// for them: they are data.
///
/// It is a matter of the type alone: nothing is verified. Fragments and IPv6 extension headers are not followed (RFC 6980
/// forbids fragmented neighbour discovery).
#[must_use]
#[inline(always)]
pub fn is_control(inner: &[u8]) -> bool {
    Ethernet::ref_from_prefix(inner).is_ok_and(|(ethernet, _)| {
        is_control_type(ethernet.ethertype.get()).unwrap_or_else(|| is_control_inside(inner))
    })
}

/// The same of an ethertype; `None` where what is behind it decides.
#[inline(always)]
pub(crate) const fn is_control_type(ethertype: u16) -> Option<bool> {
    match ethertype {
        ethertype::ARP => Some(true),
        ethertype::IPV4 | ethertype::IPV6 | ethertype::VLAN | ethertype::PROVIDER_VLAN => None,
        _ => Some(false),
    }
}

/// The same where the ethertype alone does not decide it.
fn is_control_inside(inner: &[u8]) -> bool {
    let Some(link) = link(inner) else { return false };
    match link.ethertype {
        ethertype::ARP => true,
        ethertype::IPV4 => Ipv4Packet::parse(link.payload)
            .is_some_and(|packet| carries_vrrp(&packet) && !packet.is_fragment()),
        ethertype::IPV6 => Ipv6Header::read_from_prefix(link.payload).is_ok_and(|(header, payload)| {
            header.next_header == protocol::VRRP
                || header.next_header == protocol::ICMPV6 && payload.first() == Some(&NEIGHBOUR_ADVERTISEMENT)
        }),
        _ => false,
    }
}

/// Keepalived's authentication header (RFC 2338 section 5.3.6) starts with the protocol that follows it.
fn carries_vrrp(packet: &Ipv4Packet<'_>) -> bool {
    let behind = packet.header.protocol == protocol::AUTHENTICATION;
    let named = if behind { packet.payload.first() } else { Some(&packet.header.protocol) };
    named == Some(&protocol::VRRP)
}
