//! Messages by which a router on the link would change a host's routes and addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{
    frame::{checksum, ethernet, ipv4},
    lab::{Host, NODE, NODE_MAC},
};

/// IP protocol numbers.
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const IPV6: u16 = 0x86dd;

/// The link-local address that a host's MAC address makes (RFC 4291 appendix A).
pub fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    let words = [[a ^ 2, b], [c, 0xff], [0xfe, d], [e, f]].map(u16::from_be_bytes);
    Ipv6Addr::new(0xfe80, 0, 0, 0, words[0], words[1], words[2], words[3])
}

/// An IPv4 redirect from a host to the node: to `destination` by way of `gateway` (RFC 792, for a host).
pub fn redirect(from: &Host, destination: Ipv4Addr, gateway: Ipv4Addr) -> Vec<u8> {
    // What the node would have sent: the kernel checks that it could have.
    let about = ipv4(NODE, destination, 17, &[0, 9, 0, 9, 0, 8, 0, 0]);
    let mut message = [&[5, 1, 0, 0], &gateway.octets()[..], &about].concat();
    let sum = checksum(&message).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    ethernet(NODE_MAC, from.mac, 0x0800, &ipv4(from.address, NODE, ICMP, &message))
}

/// The same for IPv6 (RFC 4861 section 4.5): to `destination` by way of the router with this MAC address.
pub fn redirect6(from: &Host, destination: Ipv6Addr, gateway: [u8; 6]) -> Vec<u8> {
    let target = link_local(gateway);
    let message = [&[0; 4], &target.octets()[..], &destination.octets(), &[2, 1], &gateway].concat();
    icmpv6(from, link_local(NODE_MAC), NODE_MAC, 137, &message)
}

/// A router advertisement to all nodes (RFC 4861 section 4.2): the default route with high preference, a prefix for
/// addresses, a route to 2001:db8:ffff::/48 (RFC 4191), and an MTU.
pub fn router_advertisement(from: &Host, prefix: Ipv6Addr) -> Vec<u8> {
    let router = [64, 0x08, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
    let address = [&[1, 1], &from.mac[..]].concat();
    let mtu = [5, 1, 0, 0, 0, 0, 0x05, 0x14];
    let lifetimes = [0, 1, 0x51, 0x80, 0, 0, 0x38, 0x40, 0, 0, 0, 0];
    let prefix = [&[3, 4, 64, 0xc0], &lifetimes[..], &prefix.octets()].concat();
    let route = [24, 2, 48, 0x08, 0, 0, 0x07, 0x08, 0x20, 0x01, 0x0d, 0xb8, 0xff, 0xff, 0, 0];
    let message = [&router[..], &address, &mtu, &prefix, &route].concat();
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    icmpv6(from, all_nodes, [0x33, 0x33, 0, 0, 0, 1], 134, &message)
}

/// An ICMPv6 message from the host's link-local address with hop limit 255; `body` is what follows the checksum.
fn icmpv6(from: &Host, to: Ipv6Addr, mac: [u8; 6], kind: u8, body: &[u8]) -> Vec<u8> {
    let source = link_local(from.mac);
    let mut message = [&[kind, 0, 0, 0], body].concat();
    let length = u16::try_from(message.len()).expect("it is short").to_be_bytes();
    let pseudo =
        [&source.octets()[..], &to.octets(), &[0, 0], &length, &[0, 0, 0, ICMPV6], &message].concat();
    message[2..4].copy_from_slice(&checksum(&pseudo).to_be_bytes());
    let header = [&[0x60, 0, 0, 0], &length[..], &[ICMPV6, 255], &source.octets(), &to.octets()].concat();
    ethernet(mac, from.mac, IPV6, &[header, message].concat())
}
