//! The verdict on a received frame, as far as its bytes alone decide it.

use core::net::Ipv4Addr;
use core::ops::Range;

use zerocopy::byteorder::network_endian::{U16, U32};
use zerocopy::{FromBytes, IntoBytes};

use crate::address::NodeAddresses;
use crate::checksum;
use crate::encapsulation::IP_OVERHEAD;
use crate::header::{Ethernet, Gre, Ipv4, Tunnel, ethertype, protocol};
use crate::reason::{DropReason, Rejection};

/// Where the GRE header starts in an accepted frame: options are not accepted, so it is always the same
/// place.
const GRE_OFFSET: usize = Ethernet::LEN + Ipv4::LEN;

/// Bytes of a GRE header with a key and nothing else.
const GRE_KEY_LEN: u8 = 8;

/// What the outer headers of an overlay frame say.
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
    /// Bytes of the IP packet; the frame has at least 14 more.
    total_length: u16,
    /// Bytes of the GRE header, 8 to 16.
    gre_len: u8,
    /// Whether the GRE header carries a checksum.
    checksummed: bool,
}

/// Judges Ethernet, IPv4 and GRE headers, from `runt` to `gre_no_key`.
///
/// `frame` starts at the destination MAC and may be padded. Whether a frame enters the checks at all is read
/// at fixed offsets: ethertype IPv4, protocol 47, and a destination that is the node's. So a broken IP header
/// of a frame to the node is a drop, not the kernel's business. The reserved flag of the IPv4 header is
/// ignored.
///
/// # Errors
///
/// [`Rejection::Punt`] if it is no overlay frame to this node (VLAN-tagged ones included), else the first
/// check that failed.
#[inline(always)]
pub fn outer(frame: &[u8], node: &NodeAddresses) -> Result<Outer, Rejection> {
    match usual(frame, node) {
        Some(outer) => Ok(outer),
        None => check_by_check(frame, node),
    }
}

/// What hypervisors send: GRE with a key and nothing else. All checks at once; `None` says nothing but that this is not such a
/// frame or that some check fails.
#[inline(always)]
fn usual(frame: &[u8], node: &NodeAddresses) -> Option<Outer> {
    let (tunnel, _) = Tunnel::ref_from_prefix(frame).ok()?;
    let (ip, total_length) = (&tunnel.ipv4, tunnel.ipv4.total_length.get());
    let kind = tunnel.ethernet.ethertype == U16::new(ethertype::IPV4)
        && ip.version_ihl == Ipv4::VERSION_IHL
        && ip.protocol == protocol::GRE
        && tunnel.gre.flags == U16::new(Gre::KEY)
        && tunnel.gre.protocol == U16::new(ethertype::ETHERNET);
    let lengths = (IP_OVERHEAD..=frame.len() - Ethernet::LEN).contains(&usize::from(total_length));
    let whole = ip.ttl != 0 && ip.fragment.get() & Ipv4::FRAGMENT_MASK == 0;
    // The addresses above are for `check_by_check` to tell apart.
    let source = matches!(ip.source[0], 1..=126 | 128..=223) && !node.contains(ip.source());
    let fine = kind && lengths && whole && node.contains(ip.destination()) && source;
    (fine && checksum::verifies(ip.as_bytes())).then(|| Outer {
        source: ip.source(),
        destination: ip.destination(),
        tos: ip.tos,
        key: tunnel.key.get(),
        total_length,
        gre_len: GRE_KEY_LEN,
        checksummed: false,
    })
}

/// The same for any frame, one check after the other.
fn check_by_check(frame: &[u8], node: &NodeAddresses) -> Result<Outer, Rejection> {
    let Ok((ethernet, packet)) = Ethernet::ref_from_prefix(frame) else {
        return Err(DropReason::Runt.into());
    };
    if ethernet.ethertype.get() != ethertype::IPV4 {
        return Err(Rejection::Punt);
    }
    let Ok((ip, _)) = Ipv4::ref_from_prefix(packet) else {
        return Err(DropReason::Runt.into());
    };
    if ip.protocol != protocol::GRE || !node.contains(ip.destination()) {
        return Err(Rejection::Punt);
    }
    let payload = ip_payload(ip, packet, node)?;
    let (gre_len, checksummed, key) = gre_key(payload)?;
    Ok(Outer {
        source: ip.source(),
        destination: ip.destination(),
        tos: ip.tos,
        key,
        total_length: ip.total_length.get(),
        gre_len,
        checksummed,
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
    /// Judges the rest, from `gre_checksum` to `inner_source`, and returns the inner frame: all of it and
    /// nothing of the padding.
    ///
    /// `frame` is the one that [`outer`] judged. With another one the answer is a drop or another frame's
    /// bytes, never a panic.
    ///
    /// # Errors
    ///
    /// The first check that failed.
    #[inline(always)]
    pub fn inner<'f>(&self, frame: &'f [u8]) -> Result<&'f [u8], DropReason> {
        let range = self.inner_range();
        if self.checksummed {
            // The checksum covers the GRE header and its payload (RFC 2784 section 2.3).
            let gre = frame.get(GRE_OFFSET..range.end).ok_or(DropReason::InnerRunt)?;
            if !checksum::verifies(gre) {
                return Err(DropReason::GreChecksum);
            }
        }
        let inner = frame.get(range).ok_or(DropReason::InnerRunt)?;
        let (ethernet, _) = Ethernet::ref_from_prefix(inner).map_err(|_| DropReason::InnerRunt)?;
        if !ethernet.destination.is_multicast() {
            return Err(DropReason::InnerUnicast);
        }
        if ethernet.destination.is_link_local_reserved() {
            return Err(DropReason::InnerReserved);
        }
        if ethernet.source.is_multicast() || ethernet.source.is_zero() {
            return Err(DropReason::InnerSource);
        }
        Ok(inner)
    }

    /// Where the inner frame is in the frame that [`outer`] judged.
    #[must_use]
    #[inline]
    pub const fn inner_range(&self) -> Range<usize> {
        let start = GRE_OFFSET + self.gre_len as usize;
        start..Ethernet::LEN + self.total_length as usize
    }

    /// Bytes of the inner frame, at most [`MAX_INNER_LEN`](crate::MAX_INNER_LEN).
    #[must_use]
    #[inline]
    pub const fn inner_len(&self) -> u16 {
        // Cannot saturate: the GRE header was found within the total length.
        self.total_length.saturating_sub(20 + self.gre_len as u16)
    }
}
