//! The outer header of a copy: one template for each TEP, one set of words for each frame, joined by OR.
//!
//! A template leaves the fields that depend on the frame zero, and the frame's words are zero everywhere
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

/// Bytes 16 to 64 of a header's cache line: the header, right-aligned, so that the inner frame starts the
/// next line.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Line {
    unused: [u8; 6],
    tunnel: Tunnel,
}

/// [`Line`] as the words it is worked on in; the bytes are the same.
type Words = [u64; 6];

/// The word that holds TOS and total length, in its last three bytes.
const LENGTH_WORD: usize = 2;
/// The word that holds the IPv4 checksum, in its last two bytes.
const CHECKSUM_WORD: usize = 3;
/// The word that holds the source address, in its first four bytes.
const SOURCE_WORD: usize = 4;
/// The word that holds the key, in its last four bytes.
const KEY_WORD: usize = 5;

const _: () = {
    assert!(size_of::<Template>() == 64 && size_of::<Line>() == 48);
    assert!(core::mem::offset_of!(Template, words) == 16);
    let ipv4 = 6 + Ethernet::LEN;
    assert!(ipv4 + core::mem::offset_of!(Ipv4, tos) == 8 * LENGTH_WORD + 5);
    assert!(ipv4 + core::mem::offset_of!(Ipv4, total_length) == 8 * LENGTH_WORD + 6);
    assert!(ipv4 + core::mem::offset_of!(Ipv4, checksum) == 8 * CHECKSUM_WORD + 6);
    assert!(ipv4 + core::mem::offset_of!(Ipv4, source) == 8 * SOURCE_WORD);
    assert!(6 + core::mem::offset_of!(Tunnel, key) == 8 * KEY_WORD + 4);
    assert!(MAX_INNER_LEN as usize == u16::MAX as usize - IP_OVERHEAD);
};

/// All of the outer header that depends only on the TEP: one cache line.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Template {
    /// Folded sum of the constant IPv4 words, in wire order.
    sum: u16,
    /// Whether the next hop's MAC is known.
    resolved: bool,
    /// Room: the words start at byte 16.
    _spare: u64,
    words: Words,
}

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
        let sum = checksum::sum(tunnel.ipv4.as_bytes());
        Self { sum, resolved: next_hop.is_some(), _spare: 0, words: words(tunnel) }
    }

    /// Whether the next hop's MAC is known; if not, the copy is dropped as `tep_unresolved`.
    #[must_use]
    #[inline(always)]
    pub const fn is_resolved(&self) -> bool {
        self.resolved
    }

    /// The MAC that copies are sent to.
    #[must_use]
    pub fn next_hop(&self) -> Option<MacAddr> {
        self.resolved.then(|| line(&self.words).tunnel.ethernet.destination)
    }

    /// The TEP's address.
    #[must_use]
    #[inline]
    pub fn destination(&self) -> Ipv4Addr {
        line(&self.words).tunnel.ipv4.destination()
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

/// All of the outer header that depends only on the received frame. Only three words of a header do, and the checksum: they
/// stay in registers from copy to copy.
#[derive(Clone, Copy)]
pub struct FrameHeader {
    /// TOS and total length, word [`LENGTH_WORD`].
    length: u64,
    /// The outer source address, word [`SOURCE_WORD`].
    source: u64,
    /// The key, word [`KEY_WORD`].
    key: u64,
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
        let words = [[0, tos], [high, low], [a, b], [c, d]].map(u16::from_ne_bytes);
        Self {
            length: u64::from_ne_bytes([0, 0, 0, 0, 0, tos, high, low]),
            source: u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0]),
            key: u64::from_ne_bytes([0, 0, 0, 0, e, f, g, h]),
            sum: words.into_iter().fold(0, checksum::add),
        }
    }

    /// The outer header of this frame's copy to `template`'s TEP.
    #[must_use]
    #[inline(always)]
    pub fn head(&self, template: &Template) -> Head {
        let [a, b] = (!checksum::add(self.sum, template.sum)).to_ne_bytes();
        let mut words = template.words;
        words[LENGTH_WORD] |= self.length;
        words[CHECKSUM_WORD] |= u64::from_ne_bytes([0, 0, 0, 0, 0, 0, a, b]);
        words[SOURCE_WORD] |= self.source;
        words[KEY_WORD] |= self.key;
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
        &line(&self.0).tunnel
    }
}

#[inline(always)]
fn words(tunnel: Tunnel) -> Words {
    zerocopy::transmute!(Line { unused: [0; 6], tunnel })
}

#[inline(always)]
fn line(words: &Words) -> &Line {
    zerocopy::transmute_ref!(words)
}
