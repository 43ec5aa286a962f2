//! VRRP: who lists addresses takes them from the others.

use core::net::{Ipv4Addr, Ipv6Addr};

use super::{Announcement, Kind, Names};
use crate::header::protocol;
use crate::view::{Ipv4Packet, Ipv6Packet, Upper, Vrrp, behind_authentication};
use bcast_domain::MacAddr;

/// The groups that advertisements go to (RFC 9568 sections 5.1.1.2, 5.1.2.2).
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

/// Hop limit of a packet that no router has forwarded.
const TTL: u8 = 255;

/// Bytes of an advertisement before its addresses.
const HEADER_LEN: usize = 8;

/// An advertisement over IPv4, also behind IP options and an authentication header (RFC 2338 section 5.3.6).
#[inline]
pub(super) fn over_ipv4<'f>(source: MacAddr, packet: &Ipv4Packet<'f>) -> Option<Announcement<'f>> {
    let offset = packet.is_fragment().then(|| packet.fragment_offset());
    let later = offset.is_some_and(|offset| offset > 0);
    let (protocol, message) = match packet.header.protocol {
        // Its length, and so the place of the addresses, is in the first fragment: any word may be one.
        protocol::AUTHENTICATION if later => (protocol::VRRP, packet.payload),
        protocol::AUTHENTICATION => match behind_authentication(packet.payload) {
            Some(behind) => behind,
            None if offset.is_some() => (protocol::VRRP, &[][..]),
            None => return None,
        },
        protocol => (protocol, packet.payload),
    };
    if protocol != protocol::VRRP {
        return None;
    }
    if offset.is_none() && is_nameless(message) {
        return Some(election(source));
    }
    let (listed, cut) = listed(message, offset, size_of::<Ipv4Addr>())?;
    let names = Names { v4: listed.as_chunks().0, ..Names::default() };
    let advert = Vrrp::from_ipv4(packet);
    let header = packet.header;
    let arrived = header.ttl == TTL && header.destination() == GROUP && packet.checksum_verifies();
    Some(Announcement { kind: kind(message, offset, advert, arrived), source, bound: source, cut, names })
}

/// An advertisement over IPv6, also behind extension headers.
pub(super) fn over_ipv6<'f>(
    source: MacAddr,
    packet: &Ipv6Packet<'f>,
    upper: &Upper<'f>,
) -> Option<Announcement<'f>> {
    if upper.fragment_offset.is_none() && is_nameless(upper.payload) {
        return Some(election(source));
    }
    let (listed, cut) = listed(upper.payload, upper.fragment_offset, size_of::<Ipv6Addr>())?;
    let names = Names::v6(listed.as_chunks().0);
    let advert = Vrrp::from_ipv6(packet);
    let arrived = packet.header.hop_limit == TTL && packet.header.destination() == GROUP6;
    let kind = kind(upper.payload, upper.fragment_offset, advert, arrived);
    Some(Announcement { kind, source, bound: source, cut, names })
}

/// The addresses of a message, or of the part of it that a fragment carries, of `size` bytes each; and whether a first fragment
/// is cut: it ends before the last address that it states.
///
/// Of a message that is no fragment and too short all addresses that are there count, for a forger may leave out what some
/// receiver does not miss.
fn listed(message: &[u8], offset: Option<usize>, size: usize) -> Option<(&[u8], bool)> {
    // As many as the count can say.
    let most = usize::from(u8::MAX) * size;
    match offset {
        // Offsets are multiples of 8, and so are those of addresses: a later fragment starts with one or, over IPv6, in the
        // middle of one.
        Some(offset) if offset > 0 => {
            let listed = message.get((offset + size - HEADER_LEN % size) % size..)?;
            Some((listed.get(..listed.len().min(most))?, false))
        }
        _ => {
            let Some((&[version_type, _, _, count, ..], rest)) = message.split_first_chunk::<HEADER_LEN>()
            else {
                return offset.map(|_| (&[][..], true));
            };
            let known = matches!(version_type, Vrrp::V2_ADVERTISEMENT | Vrrp::V3_ADVERTISEMENT);
            if !known {
                return None;
            }
            let stated = usize::from(count) * size;
            // Receivers take of a first fragment as many bytes as a multiple of 8 has (RFC 791 section 3.1).
            let taken = rest.len().saturating_sub(message.len() % 8);
            Some((rest.get(..rest.len().min(stated))?, offset.is_some() && taken < stated))
        }
    }
}

/// True for an advertisement that is whole and names no address. Nobody believes an address of it: it is only a sign of life.
fn is_nameless(message: &[u8]) -> bool {
    let counts_none =
        matches!(message, [Vrrp::V2_ADVERTISEMENT | Vrrp::V3_ADVERTISEMENT, _, _, 0, _, _, _, _, ..]);
    counts_none || is_carp(message)
}

fn election<'f>(source: MacAddr) -> Announcement<'f> {
    Announcement { kind: Kind::Election, source, bound: source, cut: false, names: Names::default() }
}

/// The Common Address Redundancy Protocol has VRRP's number and the looks of its version 2. What would be seven addresses is a
/// counter and a hash; VRRP would have eight more bytes behind seven addresses.
fn is_carp(message: &[u8]) -> bool {
    matches!(message, [Vrrp::V2_ADVERTISEMENT, _, _, 7, ..] if message.len() == 36)
}

fn kind(message: &[u8], offset: Option<usize>, advert: Option<Vrrp<'_>>, arrived: bool) -> Kind {
    if let Some(advert) = advert {
        let interval_cs = u16::try_from(advert.interval().as_millis() / 10).unwrap_or(u16::MAX);
        let sound = arrived && advert.checksum_verifies();
        return Kind::Advert {
            vrid: advert.virtual_router(),
            priority: advert.priority(),
            interval_cs,
            sound,
        };
    }
    let (vrid, priority) = match (offset, message) {
        (None | Some(0), &[_, vrid, priority, ..]) => (vrid, priority),
        _ => (0, 0),
    };
    Kind::Advert { vrid, priority, interval_cs: 0, sound: false }
}
