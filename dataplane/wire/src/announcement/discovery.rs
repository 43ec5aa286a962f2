//! Neighbour discovery for IPv6 (RFC 4861).

use core::slice;

use zerocopy::FromBytes;

use super::{Announcement, Kind, Names};
use crate::view::{Ipv6Packet, Upper};
use bcast_domain::MacAddr;

/// ICMPv6 types (RFC 4861 section 4).
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;

/// Options (RFC 4861 section 4.6.1).
const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;

/// Hop limit of a packet that no router has forwarded; receivers discard the rest (RFC 4861 section 7.1).
const HOP_LIMIT: u8 = 255;

/// Offset of the target in solicitations, advertisements and redirects.
const TARGET: usize = 8;

/// Offset of the destination in redirects.
const DESTINATION: usize = 24;

/// Unit of fragment offsets and of most extension headers' lengths, bytes (RFC 8200 section 4.5).
const UNIT: usize = 8;

/// Flags of a neighbour advertisement, in its fifth byte (RFC 4861 section 4.4).
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// Announcement in an ICMPv6 message.
#[inline]
pub(super) fn read<'f>(
    source: MacAddr,
    packet: &Ipv6Packet<'f>,
    upper: &Upper<'f>,
) -> Option<Announcement<'f>> {
    if upper.fragment_offset.is_some_and(|offset| offset > 0) {
        return Some(fragment(source, packet, upper.payload));
    }
    if packet.header.hop_limit != HOP_LIMIT {
        return None;
    }
    let sender = slice::from_ref(packet.header.source_octets());
    if upper.extended {
        return hidden(source, sender, upper);
    }
    let message = upper.payload;
    let (names, option, options_at) = match *message.first()? {
        ROUTER_SOLICITATION => (Names::v6(sender), SOURCE_LINK_LAYER, 8),
        ROUTER_ADVERTISEMENT => (Names::v6(sender), SOURCE_LINK_LAYER, 16),
        NEIGHBOUR_SOLICITATION => (Names::v6(sender), SOURCE_LINK_LAYER, 24),
        NEIGHBOUR_ADVERTISEMENT => (Names::v6(target(message, TARGET)), TARGET_LINK_LAYER, 24),
        // The router that it speaks for, the next hop that it names, and the destination whose traffic goes there.
        REDIRECT => {
            let (also, more) = (target(message, TARGET), target(message, DESTINATION));
            (Names { also, more, ..Names::v6(sender) }, TARGET_LINK_LAYER, 40)
        }
        _ => return None,
    };
    let option = link_layer(message.get(options_at..)?, option, source);
    let advertisement = message.first() == Some(&NEIGHBOUR_ADVERTISEMENT);
    // Hosts follow these by their sender alone: a lifetime of 0 takes its routes away (RFC 4861 section 6.3.4).
    let of_router = matches!(message.first(), Some(&(ROUTER_ADVERTISEMENT | REDIRECT)));
    let probe = message.first() == Some(&NEIGHBOUR_SOLICITATION) && packet.header.source().is_unspecified();
    if (option.is_none() && !advertisement && !probe && !of_router) || !packet.message_verifies() {
        return None;
    }
    if probe {
        let names = Names::v6(target(message, TARGET));
        return Some(Announcement { kind: Kind::Probe, source, bound: source, cut: false, names });
    }
    let bound = option.unwrap_or(source);
    let unsolicited = message.get(4).is_some_and(|flags| flags & (SOLICITED | OVERRIDE) == OVERRIDE);
    let claim = advertisement && unsolicited && option.is_some();
    let kind = if claim { Kind::Claim } else { Kind::Use };
    Some(Announcement { kind, source, bound, cut: false, names })
}

/// A later fragment: its sender, and whatever stands where a message could have an address, at multiples of 8 bytes. The hop limit
/// counts for nothing, as receivers take that of the first fragment.
#[cold]
pub(super) fn fragment<'f>(source: MacAddr, packet: &Ipv6Packet<'f>, payload: &'f [u8]) -> Announcement<'f> {
    let v6 = slice::from_ref(packet.header.source_octets());
    let behind = payload.get(UNIT..).unwrap_or_default();
    let names = Names { v6, also: payload.as_chunks().0, more: behind.as_chunks().0, ..Names::default() };
    Announcement { kind: Kind::Fragment, source, bound: source, cut: false, names }
}

/// In a first fragment or behind extension headers: the sender, and the target and a redirect's destination if they are there. The checksum is not verified, for it
/// may cover bytes of other fragments.
#[cold]
fn hidden<'f>(source: MacAddr, sender: &'f [[u8; 16]], upper: &Upper<'f>) -> Option<Announcement<'f>> {
    let message = upper.payload;
    let first = upper.fragment_offset == Some(0);
    let (also, more, missing) = match message.first() {
        Some(&(ROUTER_SOLICITATION | ROUTER_ADVERTISEMENT)) => (&[][..], &[][..], false),
        Some(&(NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT)) => {
            let target = target(message, TARGET);
            (target, &[][..], target.is_empty())
        }
        Some(&REDIRECT) => {
            let (next_hop, destination) = (target(message, TARGET), target(message, DESTINATION));
            (next_hop, destination, destination.is_empty())
        }
        None if first => (&[][..], &[][..], true),
        _ => return None,
    };
    let cut = first && missing;
    let names = Names { also, more, ..Names::v6(sender) };
    Some(Announcement { kind: Kind::Hidden, source, bound: source, cut, names })
}

/// The address at that place, if it is whole.
fn target(message: &[u8], at: usize) -> &[[u8; 16]] {
    let bytes = message.get(at..at + 16).unwrap_or_default();
    bytes.as_chunks().0
}

/// The address in the options of that type: the first one that is not `source`, else `source` itself if it is there.
///
/// An option's length counts units of 8 bytes; a receiver that follows RFC 4861 section 4.6 discards a message with an option
/// of none. Here the rest is not looked at.
fn link_layer(mut options: &[u8], wanted: u8, source: MacAddr) -> Option<MacAddr> {
    let mut found = None;
    while let [kind, units, ..] = *options {
        let Some((option, rest)) = options.split_at_checked(usize::from(units) * 8) else { break };
        let Some(Ok((address, _))) = option.get(2..).map(MacAddr::read_from_prefix) else { break };
        if kind == wanted && found.is_none_or(|found| found == source) {
            found = Some(address);
        }
        options = rest;
    }
    found
}
