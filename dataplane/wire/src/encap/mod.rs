//! The outer header of a copy: one template for each TEP, one part for each frame, joined by OR.
//!
//! A template leaves the fields that depend on the frame zero, and the frame's part is zero everywhere else. The IPv4 checksum is the
//! complement of a sum, and the sum splits the same way: the template brings the part of its constant words, the frame the part of its
//! own, so each copy costs one addition with carry (RFC 1071, RFC 1624).
//!
//! An [`Encap`] says how the header behind IPv4 looks. [`Gre`] is the one that is used.

use core::fmt;
use core::marker::PhantomData;
use core::net::Ipv4Addr;

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::checksum;
use crate::header::{Ethernet, Ipv4, ethertype};
use bcast_domain::MacAddr;

mod gre;

pub use gre::{FrameHeader, Gre, IP_OVERHEAD, MAX_INNER_LEN, OVERHEAD, Template};

/// Bytes of a header's cache line. The header is right-aligned in it, so that the inner frame starts the next line.
pub const LINE: usize = 64;

/// A header's line as the words that it is worked on in; the bytes are the same.
pub type Words = [u64; LINE / 8];

/// Position of the IPv4 checksum in an outer header, bytes.
pub const CHECKSUM_AT: usize = Ethernet::LEN + core::mem::offset_of!(Ipv4, checksum);

/// Time to live of every copy.
const TTL: u8 = 64;

/// Bytes at the start of a template's line that hold its sum and its state. No header reaches there.
const STATE_LEN: usize = 3;

/// An encapsulation in IPv4: the header that goes before the inner frame of each copy.
pub trait Encap: Copy + fmt::Debug + Eq + Send + Sync + 'static {
    /// Bytes of outer header, Ethernet and IPv4 included: an even number, at most [`LINE`] less the template's state.
    const HEADER_LEN: usize;
    /// IP protocol number of what follows the IPv4 header.
    const PROTOCOL: u8;
    /// Last words of the line, as far back as they depend on the frame: `[u64; 4]` or `[u64; 8]`.
    type Common: AsRef<[u64]> + Copy + Send + Sync + 'static;

    /// Writes the constant fields behind the IPv4 header, into zeroes.
    fn constant(behind_ip: &mut [u8]);

    /// Words that depend on the frame: TOS and total length (`[0, tos, high, low]`), the source address, the VNI.
    fn common(tos_and_length: [u8; 4], source: [u8; 4], vni: u32) -> Self::Common;
}

/// All of the outer header that depends only on the TEP: one cache line.
///
/// The first three bytes are the folded sum of its IPv4 words, in wire order, and whether the next hop's MAC address is known. In a
/// packet they are ahead of the frame and mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct TemplateOf<E>(Words, PhantomData<E>);

impl<E: Encap> TemplateOf<E> {
    /// Makes the template of copies to `destination`. Without a next hop it is unresolved and must not be
    /// sent.
    #[must_use]
    pub fn new(port_mac: MacAddr, next_hop: Option<MacAddr>, destination: Ipv4Addr) -> Self {
        const { assert!(E::HEADER_LEN.is_multiple_of(2) && E::HEADER_LEN + STATE_LEN <= LINE) };
        let ethernet = Ethernet {
            destination: next_hop.unwrap_or(MacAddr::ZERO),
            source: port_mac,
            ethertype: U16::new(ethertype::IPV4),
        };
        let ipv4 = Ipv4 {
            version_ihl: Ipv4::VERSION_IHL,
            fragment: U16::new(Ipv4::DONT_FRAGMENT),
            ttl: TTL,
            protocol: E::PROTOCOL,
            destination: destination.octets(),
            ..Ipv4::new_zeroed()
        };
        let mut line = [0; LINE];
        let (state, header) = line.split_at_mut(LINE - E::HEADER_LEN);
        let [a, b] = checksum::sum(ipv4.as_bytes()).to_ne_bytes();
        state[..STATE_LEN].copy_from_slice(&[a, b, next_hop.is_some().into()]);
        let (outer, behind_ip) = header.split_at_mut(Ethernet::LEN + Ipv4::LEN);
        outer[..Ethernet::LEN].copy_from_slice(ethernet.as_bytes());
        outer[Ethernet::LEN..].copy_from_slice(ipv4.as_bytes());
        E::constant(behind_ip);
        Self(zerocopy::transmute!(line), PhantomData)
    }

    /// The line itself, right-aligned: its last [`Encap::HEADER_LEN`] bytes are sent.
    #[must_use]
    #[inline(always)]
    pub const fn line(&self) -> &Words {
        &self.0
    }

    #[inline(always)]
    const fn bytes(&self) -> &[u8; LINE] {
        zerocopy::transmute_ref!(&self.0)
    }

    /// The IPv4 checksum of a copy of the frame with this [`FrameHeaderOf::sum`], in wire order: `to_ne_bytes` is how it stands in
    /// the packet.
    #[must_use]
    #[inline(always)]
    pub fn checksum(&self, of_frame: u16) -> u16 {
        let [a, b, ..] = *self.bytes();
        !checksum::add(of_frame, u16::from_ne_bytes([a, b]))
    }

    /// True if the next hop's MAC is known; if not, the copy is dropped as `tep_unresolved`.
    #[must_use]
    #[inline(always)]
    pub fn is_resolved(&self) -> bool {
        self.bytes()[2] != 0
    }

    /// The MAC that copies are sent to.
    #[must_use]
    pub fn next_hop(&self) -> Option<MacAddr> {
        let ethernet = Ethernet::ref_from_prefix(&self.bytes()[LINE - E::HEADER_LEN..]).ok();
        ethernet.filter(|_| self.is_resolved()).map(|(ethernet, _)| ethernet.destination)
    }

    /// The TEP's address.
    #[must_use]
    pub fn destination(&self) -> Ipv4Addr {
        let ipv4 = Ipv4::ref_from_prefix(&self.bytes()[LINE - E::HEADER_LEN + Ethernet::LEN..]);
        ipv4.map_or(Ipv4Addr::UNSPECIFIED, |(ipv4, _)| ipv4.destination())
    }
}

/// All of the outer header that depends only on the received frame: a part of a line, and what the checksum needs.
///
/// Make it long before it is used: the processor takes what it has just written as words not soon as a vector.
#[derive(Clone, Copy)]
pub struct FrameHeaderOf<E: Encap> {
    common: E::Common,
    /// Folded sum of this frame's IPv4 words, in wire order.
    sum: u16,
}

impl<E: Encap> FrameHeaderOf<E> {
    /// Bytes that count against the port's MTU: all of the header but Ethernet.
    pub const IP_OVERHEAD: usize = E::HEADER_LEN - Ethernet::LEN;

    /// Makes the words for one received frame.
    ///
    /// `source` is the outer source address, `tos` the byte as received (DSCP and ECN), `key` the VNI,
    /// `inner_len` the bytes of the inner frame; the total length of an IP packet that would be too long saturates.
    #[must_use]
    #[inline(always)]
    pub fn new(source: Ipv4Addr, tos: u8, key: u32, inner_len: u16) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "a header is shorter than a line")]
        let [high, low] = inner_len.saturating_add(const { Self::IP_OVERHEAD as u16 }).to_be_bytes();
        let (first, source) = ([0, tos, high, low], source.octets());
        let sum = checksum::add_words(u32::from_ne_bytes(first), u32::from_ne_bytes(source));
        Self { common: E::common(first, source, key), sum }
    }

    /// Words that all copies of the frame have in common, to be joined with a [template's line](TemplateOf::line) by OR.
    #[must_use]
    #[inline(always)]
    pub const fn common(&self) -> &E::Common {
        &self.common
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
    pub fn head(&self, template: &TemplateOf<E>) -> HeadOf<E> {
        let at = const { LINE - E::HEADER_LEN + CHECKSUM_AT };
        let (mut line, mut checksum) = (template.0, [0; 8]);
        // Ahead of the header is nothing.
        line[0] = 0;
        let common = self.common.as_ref();
        line[LINE / 8 - common.len()..].iter_mut().zip(common).for_each(|(word, common)| *word |= common);
        let [a, b] = template.checksum(self.sum).to_ne_bytes();
        (checksum[at % 8], checksum[at % 8 + 1]) = (a, b);
        line[at / 8] |= u64::from_ne_bytes(checksum);
        HeadOf(line, PhantomData)
    }
}

/// A finished outer header, right-aligned in a line at whose end the inner frame starts. What is ahead of it is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadOf<E>(Words, PhantomData<E>);

impl<E: Encap> HeadOf<E> {
    /// The whole words that hold the header, in memory order.
    #[must_use]
    #[inline(always)]
    pub fn words(&self) -> &[u64] {
        &self.0[const { (LINE - E::HEADER_LEN) / 8 }..]
    }

    /// The bytes that go before the inner frame.
    #[must_use]
    #[inline(always)]
    pub fn bytes(&self) -> &[u8] {
        &self.0.as_bytes()[const { LINE - E::HEADER_LEN }..]
    }
}
