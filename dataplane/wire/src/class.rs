//! Traffic class of frames: failover, control or data.

use crate::header::{Ethernet, ethertype, protocol};
use crate::view::{Ipv4Packet, Ipv6Header, MIN_ETHERTYPE, link};
use zerocopy::FromBytes;

/// ICMPv6 type of a neighbour advertisement (RFC 4861 section 4.4).
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// Traffic class of a frame. Each class has limits of its own, and goes before those below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Frames by which virtual IPs move: VRRP, and announcements of virtual IPs that their senders may announce.
    Failover,
    /// ARP and neighbour advertisements.
    Control,
    /// All others.
    Data,
}

impl Class {
    /// Classes, the first one first.
    pub const ALL: [Self; 3] = [Self::Failover, Self::Control, Self::Data];

    /// Value of the metrics' label `class`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failover => "failover",
            Self::Control => "control",
            Self::Data => "data",
        }
    }

    /// Class of an inner frame, behind up to two VLAN tags.
    ///
    /// The type alone decides: nothing is verified, and who may announce a virtual IP is not known here. Solicitations and
    /// router messages bind addresses as well (see [`announcement()`](crate::announcement())), but no failover waits for them: they are
    /// data. Fragments and IPv6 extension headers are not followed (RFC 6980 forbids fragmented neighbour discovery).
    #[must_use]
    #[inline(always)]
    pub fn of(inner: &[u8]) -> Self {
        match Ethernet::ref_from_prefix(inner) {
            Ok((ethernet, _)) => {
                Self::of_type(ethernet.ethertype.get()).unwrap_or_else(|| Self::of_payload(inner))
            }
            Err(_) => Self::Data,
        }
    }

    /// Class of an ethertype; `None` where the payload decides.
    #[inline(always)]
    pub(crate) const fn of_type(ethertype: u16) -> Option<Self> {
        match ethertype {
            ethertype::ARP => Some(Self::Control),
            ethertype::IPV4 | ethertype::IPV6 | ethertype::VLAN | ethertype::PROVIDER_VLAN => None,
            // A length: IP may follow behind LLC and SNAP.
            0..MIN_ETHERTYPE => None,
            _ => Some(Self::Data),
        }
    }

    fn of_payload(inner: &[u8]) -> Self {
        let Some(link) = link(inner) else { return Self::Data };
        match link.ethertype {
            ethertype::ARP => Self::Control,
            ethertype::IPV4 => match Ipv4Packet::parse(link.payload) {
                Some(packet) if carries_vrrp(&packet) && !packet.is_fragment() => Self::Failover,
                _ => Self::Data,
            },
            ethertype::IPV6 => match Ipv6Header::read_from_prefix(link.payload) {
                Ok((header, _)) if header.next_header == protocol::VRRP => Self::Failover,
                Ok((header, payload))
                    if header.next_header == protocol::ICMPV6
                        && payload.first() == Some(&NEIGHBOUR_ADVERTISEMENT) =>
                {
                    Self::Control
                }
                _ => Self::Data,
            },
            _ => Self::Data,
        }
    }
}

/// Keepalived's authentication header (RFC 2338 section 5.3.6) starts with the protocol that follows it.
fn carries_vrrp(packet: &Ipv4Packet<'_>) -> bool {
    let behind = packet.header.protocol == protocol::AUTHENTICATION;
    let named = if behind { packet.payload.first() } else { Some(&packet.header.protocol) };
    named == Some(&protocol::VRRP)
}
