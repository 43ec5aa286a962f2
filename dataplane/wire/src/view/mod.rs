//! Read-only views of what travels inside the overlay: VLAN tags, ARP, IPv4, IPv6, VRRP.
//!
//! A view is `Some` when the bytes have that shape and are all there. It borrows them, copies nothing, and
//! says what they say: whether to believe it is the caller's decision. [`link`] starts from an Ethernet
//! frame, and each other view from the payload of the one below it.

mod arp;
mod extension;
mod ip;
mod link;
mod vrrp;

pub use arp::Arp;
pub use extension::{BrokenChain, Upper, behind_authentication};
pub use ip::{Ipv4Packet, Ipv6Header, Ipv6Packet};
pub use link::{Link, MAX_TAGS, MIN_ETHERTYPE, VlanTag, innermost, is_in_vlan, link, vlan_tags};
pub use vrrp::Vrrp;
