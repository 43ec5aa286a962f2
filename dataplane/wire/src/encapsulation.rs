//! The outer header of a copy: one template for each TEP, one half line for each frame, joined by OR.
//!
//! A template leaves the fields that depend on the frame zero, and the frame's half is zero everywhere
//! else. The IPv4 checksum is the complement of a sum, and the sum splits the same way: the template brings
//! the part of its constant words, the frame the part of its own, so each copy costs one addition with carry
//! (RFC 1071, RFC 1624).

use core::fmt;
use core::net::Ipv4Addr;

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::address::MacAddr;
use crate::checksum;
use crate::header::{Ethernet, Gre, Ipv4, Tunnel, ethertype, protocol};

/// Bytes that encapsulation puts before an inner frame: 14 Ethernet, 20 IPv4, 8 GRE.
pub const OVERHEAD: usize = Tunnel::LEN;

/// Bytes of [`OVERHEAD`] that count against the port's MTU: all but Ethernet.
pub const IP_OVERHEAD: usize = OVERHEAD - Ethernet::LEN;

/// The longest inner frame that an IP packet can carry.
pub const MAX_INNER_LEN: u16 = 65_507;

/// Time to live of every copy.
const TTL: u8 = 64;

/// A header's cache line: the header, right-aligned, so that the inner frame starts the next line.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Line {
    /// In a template: the folded sum of its IPv4 words, in wire order. In a packet it is ahead of the frame and means nothing.
    sum: [u8; 2],
    /// In a template: whether the next hop's MAC is known.
    resolved: u8,
    unused: [u8; 13],
    end: LineEnd,
}

/// The last 48 bytes of a line: whole words that hold the header.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct LineEnd {
    unused: [u8; 6],
    tunnel: Tunnel,
}

/// [`Line`] as the words it is worked on in; the bytes are the same.
type Words = [u64; 8];

/// All that depends on the frame is in the second half of a line.
const HALF: usize = 4;
/// The word that holds TOS and total length, in its last three bytes.
const LENGTH_WORD: usize = 4;
/// The word that holds the IPv4 checksum, in its last two bytes.
const CHECKSUM_WORD: usize = 5;
/// The word that holds the source address, in its first four bytes.
const SOURCE_WORD: usize = 6;
/// The word that holds the key, in its last four bytes.
const KEY_WORD: usize = 7;

const _: () = {
    assert!(size_of::<Template>() == 64 && size_of::<Line>() == 64);
    assert!(core::mem::offset_of!(Line, sum) == 0 && core::mem::offset_of!(Line, resolved) == 2);
    let tunnel = core::mem::offset_of!(Line, end.tunnel);
    let ipv4 = tunnel + Ethernet::LEN;
    assert!(ipv4 + core::mem::offset_of!(Ipv4, tos) == 8 * LENGTH_WORD + 5);
    assert!(ipv4 + core::mem::offset_of!(Ipv4, total_length) == 8 * LENGTH_WORD + 6);
    assert!(ipv4 + core::mem::offset_of!(Ipv4, checksum) == 8 * CHECKSUM_WORD + 6);
    assert!(ipv4 + core::mem::offset_of!(Ipv4, source) == 8 * SOURCE_WORD);
    assert!(tunnel + core::mem::offset_of!(Tunnel, key) == 8 * KEY_WORD + 4);
    assert!(MAX_INNER_LEN as usize == u16::MAX as usize - IP_OVERHEAD);
};

/// All of the outer header that depends only on the TEP: one cache line.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Template(Words);

impl Template {
    /// Makes the template of copies to `destination`. Without a next hop it is unresolved and must not be
    /// sent.
    #[must_use]
    pub fn new(port_mac: MacAddr, next_hop: Option<MacAddr>, destination: Ipv4Addr) -> Self {
        let tunnel = Tunnel {
            ethernet: Ethernet {
                destination: next_hop.unwrap_or(MacAddr::ZERO),
                source: port_mac,
                ethertype: U16::new(ethertype::IPV4),
            },
            ipv4: Ipv4 {
                version_ihl: Ipv4::VERSION_IHL,
                fragment: U16::new(Ipv4::DONT_FRAGMENT),
                ttl: TTL,
                protocol: protocol::GRE,
                destination: destination.octets(),
                ..Ipv4::new_zeroed()
            },
            gre: Gre { flags: U16::new(Gre::KEY), protocol: U16::new(ethertype::ETHERNET) },
            key: U32::ZERO,
        };
        let sum = checksum::sum(tunnel.ipv4.as_bytes()).to_ne_bytes();
        let end = LineEnd { unused: [0; 6], tunnel };
        let resolved = next_hop.is_some().into();
        Self(zerocopy::transmute!(Line { sum, resolved, unused: [0; 13], end }))
    }

    /// The line itself, right-aligned: what is not sent of it are its first 22 bytes.
    #[must_use]
    #[inline(always)]
    pub const fn line(&self) -> &[u64; 8] {
        &self.0
    }

    /// The IPv4 checksum of a copy of the frame with this [`FrameHeader::sum`], in wire order: `to_ne_bytes` is how it stands in
    /// the packet.
    #[must_use]
    #[inline(always)]
    pub fn checksum(&self, of_frame: u16) -> u16 {
        !checksum::add(of_frame, u16::from_ne_bytes(line(&self.0).sum))
    }

    /// Whether the next hop's MAC is known; if not, the copy is dropped as `tep_unresolved`.
    #[must_use]
    #[inline(always)]
    pub fn is_resolved(&self) -> bool {
        line(&self.0).resolved != 0
    }

    /// The MAC that copies are sent to.
    #[must_use]
    pub fn next_hop(&self) -> Option<MacAddr> {
        self.is_resolved().then(|| line(&self.0).end.tunnel.ethernet.destination)
    }

    /// The TEP's address.
    #[must_use]
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        line(&self.0).end.tunnel.ipv4.destination()
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template")
            .field("next_hop", &self.next_hop())
            .field("destination", &self.destination())
            .finish_non_exhaustive()
    }
}

/// All of the outer header that depends only on the received frame: the second half of a line, and what the checksum needs.
///
/// Make it long before it is used: the processor takes what it has just written as words not soon as a vector.
#[derive(Clone, Copy)]
pub struct FrameHeader {
    /// Words [`LENGTH_WORD`] (TOS and total length), [`SOURCE_WORD`] and [`KEY_WORD`].
    half: [u64; HALF],
    /// Folded sum of this frame's IPv4 words, in wire order.
    sum: u16,
}

impl FrameHeader {
    /// Makes the words for one received frame.
    ///
    /// `source` is the outer source address, `tos` the byte as received (DSCP and ECN), `key` the VNI,
    /// `inner_len` the bytes of the inner frame, at most [`MAX_INNER_LEN`], which every
    /// [`Outer::inner_len`](crate::Outer::inner_len) keeps; the total length of a longer one saturates.
    #[must_use]
    #[inline(always)]
    pub fn new(source: Ipv4Addr, tos: u8, key: u32, inner_len: u16) -> Self {
        let [high, low] = inner_len.saturating_add(u16::MAX - MAX_INNER_LEN).to_be_bytes();
        let ([a, b, c, d], [e, f, g, h]) = (source.octets(), key.to_be_bytes());
        let words = [[0, tos, high, low], [a, b, c, d]].map(u32::from_ne_bytes);
        let length = u64::from_ne_bytes([0, 0, 0, 0, 0, tos, high, low]);
        let source = u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0]);
        let key = u64::from_ne_bytes([0, 0, 0, 0, e, f, g, h]);
        Self { half: [length, 0, source, key], sum: checksum::add_words(words[0], words[1]) }
    }

    /// What all copies of the frame have in common: bytes 32 to 64 of their lines, to be joined with a
    /// [template's](Template::line) by OR.
    #[must_use]
    #[inline(always)]
    pub const fn half(&self) -> &[u64; 4] {
        &self.half
    }

    /// The part of the IPv4 checksum that depends on the frame.
    #[must_use]
    #[inline(always)]
    pub const fn sum(&self) -> u16 {
        self.sum
    }

    /// The outer header of this frame's copy to `template`'s TEP.
    #[must_use]
    #[inline(always)]
    pub fn head(&self, template: &Template) -> Head {
        let [a, b] = template.checksum(self.sum).to_ne_bytes();
        let [_, _, mut words @ ..] = template.0;
        for (word, of_frame) in words[2..].iter_mut().zip(self.half) {
            *word |= of_frame;
        }
        words[CHECKSUM_WORD - 2] |= u64::from_ne_bytes([0, 0, 0, 0, 0, 0, a, b]);
        Head(words)
    }
}

/// A finished outer header: 48 bytes in memory order, to be stored right before a 64-byte line at which the
/// inner frame starts.
///
/// The first 6 bytes lie ahead of the frame and mean nothing (they are zero).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Head(pub [u64; 6]);

impl Head {
    /// The 42 bytes that go before the inner frame.
    #[must_use]
    #[inline]
    pub fn to_bytes(&self) -> [u8; OVERHEAD] {
        zerocopy::transmute!(*self.tunnel())
    }

    /// The same, as fields.
    #[must_use]
    #[inline]
    pub fn tunnel(&self) -> &Tunnel {
        let end: &LineEnd = zerocopy::transmute_ref!(&self.0);
        &end.tunnel
    }
}

#[inline(always)]
const fn line(words: &Words) -> &Line {
    zerocopy::transmute_ref!(words)
}
