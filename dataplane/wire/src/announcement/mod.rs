//! Announcements: addresses that a frame binds to a MAC address.
//!
//! Neighbour caches believe more than gratuitous ARP: any ARP packet binds its sender, any neighbour discovery message with a
//! link-layer option binds an address, and whoever advertises by VRRP silences the others. [`announcement`] finds all of
//! these, as the most credulous of receivers would: behind any number of VLAN tags, behind SNAP, behind extension headers.
//! A frame that every receiver discards (RFC 826, RFC 4861 section 7.1) is no announcement: it is harmless, and forwarded
//! untouched.

mod advert;
mod arp;
mod discovery;

use core::net::IpAddr;
use core::slice;

use zerocopy::FromBytes;

use crate::header::{Ethernet, ethertype, protocol};
use crate::view::{BrokenChain, Ipv4Packet, Ipv6Packet, Upper, innermost};
use bcast_domain::MacAddr;

/// A frame that says who has certain addresses.
#[derive(Clone, Copy, Debug)]
pub struct Announcement<'f> {
    /// Kind of the announcement, and how far it may be believed.
    pub kind: Kind,
    /// Source of the Ethernet frame.
    pub source: MacAddr,
    /// MAC address to which the addresses are bound: the ARP sender's MAC or that of the link-layer option. Where the message has none,
    /// [`Self::source`]. Of several options one that is not the source, if there is any: receivers differ in which they take.
    pub bound: MacAddr,
    /// A first fragment that ends before all that has to be judged: amid its header chain, or before or amid the addresses that
    /// its message names. No later frame tells by itself what the receiver puts together.
    pub cut: bool,
    names: Names<'f>,
}

/// Kinds of announcements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Somebody has just taken the address. Gratuitous ARP, request or reply, whatever its target MAC (RFC 5944 section 4.6,
    /// RFC 5227 section 3); or an unsolicited neighbour advertisement that overrides and has a target link-layer address
    /// (RFC 4861 section 7.2.6).
    Claim,
    /// Somebody uses the address: any other ARP that has a sender, any other neighbour advertisement, and solicitations, router
    /// advertisements and redirects with a link-layer option. Caches believe these as well.
    Use,
    /// A VRRP advertisement.
    Advert {
        /// Virtual router id; 0 in a later fragment, which does not have it.
        vrid: u8,
        /// 255 owns the addresses, 0 gives them up now.
        priority: u8,
        /// Time between advertisements: centiseconds.
        interval_cs: u16,
        /// True if a receiver may take it: whole, of a known version, checksums right, TTL 255, to VRRP's group
        /// (RFC 9568 section 7.1). If not, the numbers above mean nothing.
        sound: bool,
    },
    /// Neighbour discovery in a first fragment or behind extension headers. Nobody needs that: receivers must ignore the former
    /// (RFC 6980 section 5), and not all do.
    Hidden,
    /// Somebody asks whether the address is free: an ARP probe (RFC 5227 section 1.1), or a solicitation from the unspecified
    /// address (RFC 4862 section 5.4.2). It binds nothing, but whoever is about to take the address gives it up.
    Probe,
    /// A later IPv6 fragment of any protocol: its fragment header may lie, and receivers go by that of the first fragment. The
    /// addresses are its sender's, and all at the places where a message could have one. By itself it announces nothing: the first
    /// fragment has the message's type and all addresses that it names, or is [cut](Announcement::cut).
    Fragment,
    /// An advertisement of an election that names no address: one of the Common Address Redundancy Protocol, or of VRRP with a
    /// count of 0. It says that its sender is there, and silences nobody at any address.
    Election,
    /// A reverse ARP request (RFC 903) of the frame's source: hypervisors send it for an instance that has just arrived. It
    /// names no address.
    Arrival,
}

/// The addresses, where they stand in the frame.
#[derive(Clone, Copy, Debug, Default)]
struct Names<'f> {
    v4: &'f [[u8; 4]],
    v6: &'f [[u8; 16]],
    /// Addresses from another place.
    also: &'f [[u8; 16]],
    /// Addresses from a third place.
    more: &'f [[u8; 16]],
}

impl<'f> Names<'f> {
    const fn v6(v6: &'f [[u8; 16]]) -> Self {
        Self { v4: &[], v6, also: &[], more: &[] }
    }

    /// Addresses that a host can have: neither unspecified nor multicast nor broadcast.
    #[inline]
    fn iter(self) -> impl Iterator<Item = IpAddr> + use<'f> {
        let v4 = self.v4.iter().map(|&octets| IpAddr::from(octets));
        let v6 = self.v6.iter().chain(self.also).chain(self.more).map(|&octets| IpAddr::from(octets));
        v4.chain(v6).filter(|&address| is_hosts(address))
    }
}

#[inline(always)]
fn is_hosts(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    !(address.is_unspecified() || address.is_multicast() || broadcast)
}

impl<'f> Announcement<'f> {
    /// The addresses that it is about: at least one unless it is [cut](Self::cut), an [arrival](Kind::Arrival) or of an
    /// [election](Kind::Election), up to 255 of a VRRP advertisement, and up to one for each 8 bytes of a [later fragment](Kind::Fragment). None is unspecified, multicast or broadcast.
    #[inline]
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<'f> {
        self.names.iter()
    }

    /// The address that it is about, if it is about one.
    #[must_use]
    #[inline(always)]
    pub fn only(&self) -> Option<IpAddr> {
        match (self.names.v4, self.names.v6, self.names.also, self.names.more) {
            (&[octets], [], [], []) => Some(IpAddr::from(octets)),
            ([], &[octets], [], []) => Some(IpAddr::from(octets)),
            _ => None,
        }
    }
}

/// Reads what `inner`, an Ethernet frame, announces. `None` if nothing, or if no receiver would believe it.
///
/// The work is bounded by the frame's length. Whether the sender may say so is for the caller to decide.
#[must_use]
pub fn announcement(inner: &[u8]) -> Option<Announcement<'_>> {
    let (ethernet, _) = Ethernet::ref_from_prefix(inner).ok()?;
    let (ethertype, payload) = innermost(inner)?;
    let announcement = match ethertype {
        ethertype::ARP => arp::read(ethernet.source, payload),
        ethertype::REVERSE_ARP => return arp::arrival(ethernet.source, payload),
        ethertype::IPV4 => advert::over_ipv4(ethernet.source, &Ipv4Packet::parse(payload)?),
        ethertype::IPV6 => over_ipv6(ethernet.source, payload),
        _ => None,
    };
    let is_nameless = |of: &Announcement<'_>| of.cut || of.kind == Kind::Election;
    announcement.filter(|of| is_nameless(of) || of.addresses().next().is_some())
}

/// The same of ARP without a tag, which most announcements are: in line, so that nothing of it need go through memory. `None` of
/// any other frame.
#[must_use]
#[inline(always)]
pub fn plain_arp(inner: &[u8]) -> Option<Announcement<'_>> {
    let (ethernet, payload) = Ethernet::ref_from_prefix(inner).ok()?;
    if ethernet.ethertype.get() == ethertype::ARP { arp::read(ethernet.source, payload) } else { None }
}

fn over_ipv6(source: MacAddr, payload: &[u8]) -> Option<Announcement<'_>> {
    let packet = Ipv6Packet::parse(payload)?;
    let upper = match Upper::of(&packet) {
        Ok(upper) => upper,
        Err(BrokenChain { first_fragment: true }) => {
            let names = Names::v6(slice::from_ref(packet.header.source_octets()));
            return Some(Announcement { kind: Kind::Hidden, source, bound: source, cut: true, names });
        }
        Err(BrokenChain { first_fragment: false }) => return None,
    };
    match upper.protocol {
        protocol::VRRP => advert::over_ipv6(source, &packet, &upper),
        protocol::ICMPV6 => discovery::read(source, &packet, &upper),
        _ if upper.fragment_offset.is_some_and(|offset| offset > 0) => {
            Some(discovery::fragment(source, &packet, upper.payload))
        }
        _ => None,
    }
}
