//! The verdict on a received frame, as far as its bytes alone decide it.

use core::net::Ipv4Addr;
use core::ops::Range;

use zerocopy::byteorder::network_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

use crate::address::NodeAddresses;
use crate::bfd::carries_bfd;
use crate::checksum;
use crate::class::Class;
use crate::encap::{IP_OVERHEAD, OVERHEAD};
use crate::header::{Ethernet, Gre, Ipv4, Tunnel, ethertype, protocol};
use crate::reason::{DropReason, Rejection};
use crate::view::{Link, link};

/// Offset of the GRE header without an outer VLAN tag, bytes: options are not accepted, so it is always the same place.
const GRE_OFFSET: u8 = 34;
/// Offset of the inner frame behind that, and behind a GRE header with a key and nothing else.
const INNER_OFFSET: u8 = 42;
/// Bytes of a VLAN tag.
const TAG_LEN: u8 = 4;
const _: () = assert!(GRE_OFFSET as usize == Ethernet::LEN + Ipv4::LEN && INNER_OFFSET as usize == OVERHEAD);

/// Fields of the outer headers of an overlay frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outer {
    /// The TEP that the frame came from.
    pub source: Ipv4Addr,
    /// The node's address that it was sent to.
    pub destination: Ipv4Addr,
    /// DSCP and ECN, as received.
    pub tos: u8,
    /// The GRE key, which is the VNI.
    pub key: u32,
    /// Bytes that the GRE header carries; all of them are in the frame.
    inner_len: u16,
    /// Offset of the inner frame, bytes.
    inner_at: u8,
    /// Bytes of the GRE header if it carries a checksum, else 0.
    checksummed_len: u8,
    /// Result of the first look at the inner frame.
    known: Known,
}

/// Result of the first look at a frame. The inner header is in the same cache line as the outer one, so it is checked at once, and not
/// read again when the tables have allowed the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// Nothing.
    Nothing,
    /// Frame that passes all checks, and its class.
    Fine(Class),
}

impl Known {
    /// Checks an inner frame of so many bytes behind an outer header without options.
    #[inline(always)]
    fn of(frame: &[u8], inner_len: u16) -> Self {
        let Some((ethernet, _)) =
            frame.get(OVERHEAD..).and_then(|inner| Ethernet::ref_from_prefix(inner).ok())
        else {
            return Self::Nothing;
        };
        let long = usize::from(inner_len) >= Ethernet::LEN;
        match Class::of_type(ethernet.ethertype.get()) {
            Some(class) if long && check_addresses(ethernet).is_ok() => Self::Fine(class),
            _ => Self::Nothing,
        }
    }
}

/// Parses Ethernet, IPv4 and GRE headers: checks `runt` to `gre_no_key`.
///
/// `frame` starts at the destination MAC and may be padded. Whether a frame enters the checks at all is read
/// at fixed offsets behind up to two VLAN tags: ethertype IPv4, protocol 47, and a destination that is the node's. So a broken
/// IP header of a frame to the node is a drop, not the kernel's business. A tag with VLAN id 0 carries a priority, and is no
/// VLAN (IEEE 802.1Q section 9.6); in any other VLAN there is no node. The reserved flag of the IPv4 header is ignored.
///
/// # Errors
///
/// [`Rejection::Punt`] if it is no overlay frame to this node, else the first check that failed.
#[inline]
pub fn parse(frame: &[u8], node: &NodeAddresses) -> Result<Outer, Rejection> {
    match parse_fast(frame, node) {
        Some(outer) => Ok(outer),
        None => check_by_check(frame, node),
    }
}

/// Parses what hypervisors send: GRE with a key and no other option. All checks are done at once, in words. `None`: it is another
/// frame, or a check failed; [`parse`] tells which.
#[must_use]
#[inline(always)]
pub fn parse_fast(frame: &[u8], node: &NodeAddresses) -> Option<Outer> {
    const IPV4_GRE: [Masked; 3] = [
        // Ethertype, version and header length.
        Masked::new(12, [0x08, 0x00, Ipv4::VERSION_IHL, 0], [0xff, 0xff, 0xff, 0]),
        // No fragment; the protocol.
        Masked::new(20, [0, 0, 0, protocol::GRE], [0x3f, 0xff, 0, 0xff]),
        // Flags and protocol of GRE.
        Masked::new(34, [0x20, 0x00, 0x65, 0x58], [0xff; 4]),
    ];
    let head = frame.first_chunk::<{ Tunnel::LEN }>()?;
    let tunnel: &Tunnel = zerocopy::transmute_ref!(head);
    let (ip, total_length) = (&tunnel.ipv4, tunnel.ipv4.total_length.get());
    let (source, destination) = (ip.source(), ip.destination());
    let kind = IPV4_GRE.iter().fold(0, |other, word| other | word.differs(head)) == 0 && ip.ttl != 0;
    let lengths = (IP_OVERHEAD..=frame.len() - Ethernet::LEN).contains(&usize::from(total_length));
    // The addresses above are for `check_by_check` to tell apart.
    let possible = matches!(ip.source[0], 1..=126 | 128..=223) && !node.contains(source);
    let fine = kind && lengths && node.contains(destination) && possible;
    (fine && checksum::verifies_header(zerocopy::transmute_ref!(ip))).then(|| {
        let inner_len = total_length.saturating_sub(28);
        let (key, known) = (tunnel.key.get(), Known::of(frame, inner_len));
        Outer {
            source,
            destination,
            tos: ip.tos,
            key,
            inner_len,
            inner_at: INNER_OFFSET,
            checksummed_len: 0,
            known,
        }
    })
}

/// Four bytes at a fixed place that have to be these, but for the bits that are masked out.
struct Masked {
    at: usize,
    wanted: u32,
    mask: u32,
}

impl Masked {
    const fn new(at: usize, wanted: [u8; 4], mask: [u8; 4]) -> Self {
        Self { at, wanted: u32::from_ne_bytes(wanted), mask: u32::from_ne_bytes(mask) }
    }

    /// Not zero if the fields differ.
    #[inline(always)]
    const fn differs<const N: usize>(&self, head: &[u8; N]) -> u32 {
        let at = self.at;
        (u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]) ^ self.wanted) & self.mask
    }
}

/// The same for any frame, one check after the other.
fn check_by_check(frame: &[u8], node: &NodeAddresses) -> Result<Outer, Rejection> {
    if frame.len() < Ethernet::LEN {
        return Err(DropReason::Runt.into());
    }
    let Some(Link { tags, ethertype: ethertype::IPV4, payload: packet, .. }) = link(frame) else {
        return Err(Rejection::Punt);
    };
    let Ok((ip, _)) = Ipv4::ref_from_prefix(packet) else {
        return Err(DropReason::Runt.into());
    };
    if ip.protocol != protocol::GRE || !node.contains(ip.destination()) {
        return Err(Rejection::Punt);
    }
    if tags.iter().any(|tag| tag.id() != 0) {
        return Err(DropReason::OuterVlan.into());
    }
    let payload = ip_payload(ip, packet, node)?;
    let (gre_len, checksummed, key) = gre_key(payload)?;
    // Ethernet, up to two tags, and IPv4.
    let gre_at = tags.iter().fold(GRE_OFFSET, |at, _| at + TAG_LEN);
    Ok(Outer {
        source: ip.source(),
        destination: ip.destination(),
        tos: ip.tos,
        key,
        // Cannot saturate: the GRE header was found within the total length.
        inner_len: ip.total_length.get().saturating_sub(20 + u16::from(gre_len)),
        inner_at: gre_at + gre_len,
        checksummed_len: if checksummed { gre_len } else { 0 },
        known: Known::Nothing,
    })
}

/// Checks `ip_header`, `ip_fragment` and `ip_source`; returns what the IP packet carries, without Ethernet
/// padding.
#[inline]
fn ip_payload<'f>(ip: &Ipv4, packet: &'f [u8], node: &NodeAddresses) -> Result<&'f [u8], DropReason> {
    if ip.version_ihl != Ipv4::VERSION_IHL || ip.ttl == 0 || !checksum::verifies(ip.as_bytes()) {
        return Err(DropReason::IpHeader);
    }
    let payload = packet.get(Ipv4::LEN..usize::from(ip.total_length.get())).ok_or(DropReason::IpHeader)?;
    if ip.fragment.get() & Ipv4::FRAGMENT_MASK != 0 {
        return Err(DropReason::IpFragment);
    }
    if never_a_source(ip.source()) || node.contains(ip.source()) {
        return Err(DropReason::IpSource);
    }
    Ok(payload)
}

/// Addresses that nothing on the underlay may send from (RFC 1122 section 3.2.1.3).
#[inline]
const fn never_a_source(address: Ipv4Addr) -> bool {
    address.octets()[0] == 0 || address.is_loopback() || address.is_multicast() || address.is_broadcast()
}

/// Checks `gre_header`, `gre_protocol` and `gre_no_key`; returns the header's bytes, whether it has a
/// checksum, and the key.
///
/// The optional words stand in the order checksum and Reserved1, key, sequence number, four bytes each (RFC
/// 2890 section 2). Reserved1 and the sequence number are not looked at.
#[inline]
fn gre_key(payload: &[u8]) -> Result<(u8, bool, u32), DropReason> {
    let (gre, options) = Gre::ref_from_prefix(payload).map_err(|_| DropReason::GreHeader)?;
    let flags = gre.flags.get();
    if flags & !(Gre::CHECKSUM | Gre::KEY | Gre::SEQUENCE) != 0 {
        return Err(DropReason::GreHeader);
    }
    let word = |flag: u16| if flags & flag != 0 { 4_u8 } else { 0 };
    let before_key = word(Gre::CHECKSUM);
    let options_len = before_key + word(Gre::KEY) + word(Gre::SEQUENCE);
    let options = options.get(..usize::from(options_len)).ok_or(DropReason::GreHeader)?;
    if gre.protocol.get() != ethertype::ETHERNET {
        return Err(DropReason::GreProtocol);
    }
    if flags & Gre::KEY == 0 {
        return Err(DropReason::GreNoKey);
    }
    let key = options.get(usize::from(before_key)..).and_then(|rest| U32::read_from_prefix(rest).ok());
    let (key, _) = key.ok_or(DropReason::GreHeader)?;
    Ok((4 + options_len, flags & Gre::CHECKSUM != 0, key.get()))
}

impl Outer {
    /// Checks `gre_checksum`, and returns the bytes that the GRE header carries, without the padding.
    ///
    /// # Errors
    ///
    /// The checksum is wrong, or `frame` is another one.
    #[inline(always)]
    pub fn payload<'f>(&self, frame: &'f [u8]) -> Result<&'f [u8], DropReason> {
        let range = self.inner_range();
        if self.checksummed_len > 0 {
            // The checksum covers the GRE header and its payload (RFC 2784 section 2.3).
            let start = range.start - usize::from(self.checksummed_len);
            let gre = frame.get(start..range.end).ok_or(DropReason::InnerRunt)?;
            if !checksum::verifies(gre) {
                return Err(DropReason::GreChecksum);
            }
        }
        frame.get(range).ok_or(DropReason::InnerRunt)
    }

    /// Checks the rest, from `gre_checksum` to `inner_source`, and returns the inner frame without the padding.
    ///
    /// `frame` is the one that was parsed. With another one the answer is a drop or another frame's
    /// bytes, never a panic.
    ///
    /// # Errors
    ///
    /// The first check that failed.
    #[inline(always)]
    pub fn inner<'f>(&self, frame: &'f [u8]) -> Result<&'f [u8], DropReason> {
        let inner = self.payload(frame)?;
        let (ethernet, _) = Ethernet::ref_from_prefix(inner).map_err(|_| DropReason::InnerRunt)?;
        check_addresses(ethernet)?;
        Ok(inner)
    }

    /// Classifies the frame: the checks of [`Self::inner`], `inner_bfd`, and the frame's class. Of most frames it is known from parsing,
    /// and `frame` is not called. A frame that fails `inner_bfd` is [`Class::Data`].
    ///
    /// # Errors
    ///
    /// The first check that failed.
    #[inline(always)]
    pub fn classify<'f>(&self, frame: impl FnOnce() -> &'f [u8]) -> Result<Class, DropReason> {
        match self.known {
            Known::Fine(class) => Ok(class),
            Known::Nothing => self.inner_class(frame()),
        }
    }

    #[inline(never)]
    fn inner_class(&self, frame: &[u8]) -> Result<Class, DropReason> {
        let inner = self.inner(frame)?;
        match Class::of(inner) {
            Class::Data if carries_bfd(inner) => Err(DropReason::InnerBfd),
            class => Ok(class),
        }
    }

    /// Position of the inner frame in the parsed frame, bytes.
    #[must_use]
    #[inline(always)]
    pub const fn inner_range(&self) -> Range<usize> {
        let start = self.inner_at as usize;
        start..start + self.inner_len as usize
    }

    /// Bytes of the inner frame, at most [`MAX_INNER_LEN`](crate::MAX_INNER_LEN).
    #[must_use]
    #[inline(always)]
    pub const fn inner_len(&self) -> u16 {
        self.inner_len
    }
}

/// Checks `inner_unicast`, `inner_reserved` and `inner_source`.
#[inline(always)]
fn check_addresses(ethernet: &Ethernet) -> Result<(), DropReason> {
    if !ethernet.destination.is_multicast() {
        return Err(DropReason::InnerUnicast);
    }
    if ethernet.destination.is_link_local_reserved() {
        return Err(DropReason::InnerReserved);
    }
    if ethernet.source.is_multicast() || ethernet.source.is_zero() {
        return Err(DropReason::InnerSource);
    }
    Ok(())
}
