//! Messages that would have the node's own host change its routes.

use crate::header::{ethertype, protocol};
use crate::view::{Ipv4Packet, Ipv6Packet, Upper, innermost};

/// ICMP type of a redirect (RFC 792).
const REDIRECT: u8 = 5;
/// ICMPv6 type of a redirect (RFC 4861 section 4.5).
const REDIRECT6: u8 = 137;

/// True if a frame carries an ICMP redirect for IPv4 or IPv6, to whomever: behind any VLAN tags, IP options or extension headers,
/// whole or as a first fragment (later ones are nothing without it).
///
/// Router advertisements are none: the host is told to ignore them, but routing daemons read them, as FRR does to find the
/// neighbours of BGP unnumbered.
#[must_use]
#[inline]
pub fn is_redirect(frame: &[u8]) -> bool {
    match innermost(frame) {
        Some((ethertype::IPV4, packet)) => Ipv4Packet::parse(packet).is_some_and(|ip| {
            let first = ip.fragment_offset() == 0 && ip.header.protocol == protocol::ICMP;
            first && ip.payload.first() == Some(&REDIRECT)
        }),
        Some((ethertype::IPV6, packet)) => {
            let upper = Ipv6Packet::parse(packet).and_then(|packet| Upper::of(&packet).ok());
            upper.is_some_and(|upper| {
                let first = upper.fragment_offset.is_none_or(|offset| offset == 0);
                first && upper.protocol == protocol::ICMPV6 && upper.payload.first() == Some(&REDIRECT6)
            })
        }
        _ => false,
    }
}
