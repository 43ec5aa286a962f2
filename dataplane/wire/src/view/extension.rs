//! Extension headers between an IP header and its payload.

use zerocopy::FromBytes;
use zerocopy::byteorder::network_endian::U16;

use super::ip::Ipv6Packet;
use crate::header::protocol;

/// Bytes of an IPv6 fragment header (RFC 8200 section 4.5).
const FRAGMENT_LEN: usize = 8;

/// Payload of an IPv6 packet behind its extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper<'p> {
    /// The protocol; of a later fragment what its fragment header says, which may be another extension header.
    pub protocol: u8,
    /// The protocol's message, or the part of it that a fragment carries.
    pub payload: &'p [u8],
    /// True if there were extension headers at all.
    pub extended: bool,
    /// Bytes of the fragmented part before this fragment; `None`: no fragment. An atomic fragment (RFC 6946) has 0, too.
    pub fragment_offset: Option<usize>,
}

impl<'p> Upper<'p> {
    /// Walks the extension headers, each of which has 8 bytes at least, to the end of the packet at most.
    ///
    /// # Errors
    /// [`BrokenChain`] if they run past the end.
    #[inline]
    pub fn of(packet: &Ipv6Packet<'p>) -> Result<Self, BrokenChain> {
        let mut fragment_offset = None;
        Self::walk(packet, &mut fragment_offset)
            .ok_or(BrokenChain { first_fragment: fragment_offset == Some(0) })
    }

    #[inline]
    fn walk(packet: &Ipv6Packet<'p>, fragment_offset: &mut Option<usize>) -> Option<Self> {
        let (mut protocol, mut payload) = (packet.header.next_header, packet.payload);
        let mut extended = false;
        loop {
            let length = match protocol {
                protocol::HOP_BY_HOP
                | protocol::ROUTING
                | protocol::DESTINATION
                | protocol::MOBILITY
                | protocol::HIP
                | protocol::SHIM6 => 8 + usize::from(*payload.get(1)?) * 8,
                protocol::AUTHENTICATION => authentication_len(payload)?,
                protocol::FRAGMENT => FRAGMENT_LEN,
                _ => break,
            };
            let (header, rest) = payload.split_at_checked(length)?;
            let [next, _, offset_high, offset_low, ..] = *header else { return None };
            extended = true;
            let fragment = protocol == protocol::FRAGMENT;
            (protocol, payload) = (next, rest);
            if fragment {
                let offset = usize::from(U16::from([offset_high, offset_low]).get() & 0xfff8);
                *fragment_offset = Some(offset);
                if offset != 0 {
                    break;
                }
            }
        }
        Some(Self { protocol, payload, extended, fragment_offset: *fragment_offset })
    }
}

/// Extension headers that run past the end of their packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenChain {
    /// The packet is a first fragment. RFC 7112 section 5 forbids it to end amid its header chain, but receivers that put the
    /// rest behind it take it, Linux for one. Without a fragment header every receiver discards the packet.
    pub first_fragment: bool,
}

/// Bytes of an authentication header, which counts 32-bit words less two (RFC 4302 section 2.2).
#[inline]
fn authentication_len(header: &[u8]) -> Option<usize> {
    Some((usize::from(*header.get(1)?) + 2) * 4)
}

/// Payload that an IPv4 packet's authentication header protects: protocol and message. `None` if it runs past the end.
#[must_use]
#[inline]
pub fn behind_authentication(payload: &[u8]) -> Option<(u8, &[u8])> {
    let (header, message) = payload.split_at_checked(authentication_len(payload)?)?;
    let (next, _) = u8::read_from_prefix(header).ok()?;
    Some((next, message))
}
