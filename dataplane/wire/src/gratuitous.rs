//! Announcements that the node makes on behalf of an address's holder.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::checksum;
use crate::header::{ethertype, protocol};
use bcast_domain::MacAddr;

/// Bytes of the shortest Ethernet frame, without its check sequence (IEEE 802.3 section 3.2.7).
const SHORTEST: usize = 60;
/// Bytes of an IPv6 header, of a neighbour advertisement with one option, and of both in a frame.
const IPV6_LEN: usize = 40;
const ADVERTISEMENT_LEN: u8 = 32;
const ADVERTISEMENT_FRAME: usize = 14 + IPV6_LEN + ADVERTISEMENT_LEN as usize;

/// The two forms of gratuitous ARP. Some receivers heed the one, some the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An ARP announcement (RFC 5227 sections 2.3 and 3).
    Request,
    /// An unsolicited reply (RFC 5944 section 4.6).
    Reply,
}

/// Gratuitous ARP to all: `address` is at `mac`.
#[must_use]
pub fn garp(mac: MacAddr, address: Ipv4Addr, form: Form) -> [u8; SHORTEST] {
    // A request knows nothing of its target's MAC; in a reply that is the address's new one once more.
    let (operation, target) = match form {
        Form::Request => (1, MacAddr::ZERO),
        Form::Reply => (2, mac),
    };
    // Ethernet, IPv4, and the lengths of their addresses (RFC 826).
    let arp = [0, 1, 0x08, 0x00, 6, 4, 0, operation];
    let address = address.octets();
    joined(&[
        &MacAddr::BROADCAST.0,
        &mac.0,
        &ethertype::ARP.to_be_bytes(),
        &arp,
        &mac.0,
        &address,
        &target.0,
        &address,
    ])
}

/// All nodes on the link, and their MAC address (RFC 2464 section 7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

/// An unsolicited neighbour advertisement to all, which overrides (RFC 4861 sections 4.4 and 7.2.6): `address` is at `mac`.
///
/// The router flag is set for link-local addresses alone. A host takes a neighbour whose flag is cleared off its default routers
/// (RFC 4861 section 7.2.5), and it knows those by their link-local addresses; where the flag is set and no router advertises
/// itself, that makes none.
#[must_use]
pub fn advertisement(mac: MacAddr, address: Ipv6Addr) -> [u8; ADVERTISEMENT_FRAME] {
    const TYPE: u8 = 136;
    const ROUTER: u8 = 0x80;
    const OVERRIDE: u8 = 0x20;
    /// Target link-layer address, 8 bytes.
    const OPTION: [u8; 2] = [2, 1];
    let flags = if address.is_unicast_link_local() { ROUTER | OVERRIDE } else { OVERRIDE };
    let (address, to) = (address.octets(), ALL_NODES.octets());
    let message = |sum: [u8; 2]| {
        let head = [TYPE, 0, sum[0], sum[1], flags, 0, 0, 0];
        joined::<{ ADVERTISEMENT_LEN as usize }>(&[&head, &address, &OPTION, &mac.0])
    };
    let pseudo = checksum::pseudo_header(protocol::ICMPV6, ADVERTISEMENT_LEN.into());
    let around = checksum::add(pseudo, checksum::add(checksum::sum(&address), checksum::sum(&to)));
    let sum = !checksum::add(around, checksum::sum(&message([0; 2])));
    joined(&[
        &ALL_NODES_MAC,
        &mac.0,
        &ethertype::IPV6.to_be_bytes(),
        // Version 6, the payload's length, what it is, and the hop limit that says that it is from this link.
        &[0x60, 0, 0, 0, 0, ADVERTISEMENT_LEN, protocol::ICMPV6, 255],
        &address,
        &to,
        &message(sum.to_ne_bytes()),
    ])
}

/// One part after another, then zeroes.
fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut all = [0; N];
    for (to, from) in all.iter_mut().zip(parts.iter().copied().flatten()) {
        *to = *from;
    }
    all
}
