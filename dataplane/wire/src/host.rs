//! Frames for the node's own kernel: sender, content, and whether the kernel may answer.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, IntoBytes};

use bcast_domain::MacAddr;

use crate::checksum;
use crate::header::{Ethernet, Gre, Ipv4, ethertype, protocol};
use crate::view::{Arp, Ipv4Packet, Ipv6Packet, Upper, innermost};

/// TCP port of BGP (RFC 4271 section 4.2).
const BGP: u16 = 179;
/// UDP ports of BFD: one hop (RFC 5881), many hops (RFC 5883), members of a link aggregation (RFC 7130).
const BFD: [u16; 3] = [3784, 4784, 6784];
/// Bytes of an ICMP header, behind which an error quotes the packet (RFC 792).
const ICMP_HEADER_LEN: usize = 8;
/// Hop-by-hop options of multicast listener discovery, and of nothing else: router alert and padding (RFC 3810 section 5).
const LISTENER_OPTIONS: [[u8; 8]; 2] =
    [[protocol::ICMPV6, 0, 5, 2, 0, 0, 1, 0], [protocol::ICMPV6, 0, 1, 0, 5, 2, 0, 0]];

/// Types of ICMPv6 messages (RFC 4443, RFC 4861, RFC 2710, RFC 3810).
mod icmpv6 {
    pub(super) const LISTENER: [u8; 4] = [130, 131, 132, 143];
    pub(super) const ROUTER_SOLICITATION: u8 = 133;
    pub(super) const SOLICITATION: u8 = 135;
    pub(super) const ADVERTISEMENT: u8 = 136;
}

/// A frame for the node's kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostFrame<'f> {
    /// Sender of the ARP packet, or source of the IP packet; `None`: the frame has none.
    pub sender: Option<IpAddr>,
    /// Destination of an IPv4 packet.
    pub destination: Option<Ipv4Addr>,
    /// Content.
    pub content: Content<'f>,
    /// The kernel may answer the sender of the IP packet. If the sender is on the link, the kernel makes a neighbour entry of it.
    pub may_be_answered: bool,
}

/// Content of a frame for the node's kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'f> {
    /// ARP.
    Arp(&'f Arp),
    /// Neighbour solicitation or advertisement of IPv6 (RFC 4861).
    Discovery,
    /// BGP or BFD.
    Routing,
    /// An ICMP error about a GRE packet.
    CopyError(CopyError),
    /// All else.
    Other,
}

/// An ICMP error about a GRE packet with a key and nothing else, as a node's copies are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopyError {
    /// Source of the quoted packet.
    pub from: Ipv4Addr,
    /// Destination of the quoted packet.
    pub to: Ipv4Addr,
    /// Type of the error.
    pub kind: CopyErrorKind,
}

/// Type of an ICMP error about a copy (RFC 792).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyErrorKind {
    /// Destination unreachable, for another cause than the length.
    Unreachable,
    /// Fragmentation needed, but the packet must not be fragmented (RFC 1191).
    FragmentationNeeded,
    /// Time to live exceeded.
    TimeExceeded,
}

impl CopyErrorKind {
    /// All types; `ALL[k as usize] == k`.
    pub const ALL: [Self; 3] = [Self::Unreachable, Self::FragmentationNeeded, Self::TimeExceeded];

    /// Value of the metric's label `type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::FragmentationNeeded => "fragmentation_needed",
            Self::TimeExceeded => "time_exceeded",
        }
    }

    const fn of(kind: u8, code: u8) -> Option<Self> {
        match (kind, code) {
            (3, 4) => Some(Self::FragmentationNeeded),
            (3, _) => Some(Self::Unreachable),
            (11, _) => Some(Self::TimeExceeded),
            _ => None,
        }
    }
}

impl<'f> HostFrame<'f> {
    const UNKNOWN: Self =
        Self { sender: None, destination: None, content: Content::Other, may_be_answered: false };

    /// Reads a frame as Linux does: behind any VLAN tags, IP options and extension headers. Of a packet that every kernel discards (lengths
    /// that do not fit) nothing is told.
    #[must_use]
    pub fn read(frame: &'f [u8]) -> Self {
        match innermost(frame) {
            Some((ethertype::ARP, payload)) => Arp::parse(payload).map_or(Self::UNKNOWN, |arp| Self {
                sender: Some(arp.sender().into()),
                content: Content::Arp(arp),
                ..Self::UNKNOWN
            }),
            Some((ethertype::IPV4, packet)) => Ipv4Packet::parse(packet).map_or(Self::UNKNOWN, Self::ipv4),
            Some((ethertype::IPV6, packet)) => Ipv6Packet::parse(packet).map_or(Self::UNKNOWN, Self::ipv6),
            _ => Self::UNKNOWN,
        }
    }

    fn ipv4(ip: Ipv4Packet<'f>) -> Self {
        let (to, payload) = (ip.header.destination(), ip.payload);
        let content = match ip.header.protocol {
            _ if ip.fragment_offset() != 0 => Content::Other,
            protocol::ICMP => copy_error(payload).map_or(Content::Other, Content::CopyError),
            transport if is_routing(transport, payload) => Content::Routing,
            _ => Content::Other,
        };
        Self {
            sender: Some(ip.header.source().into()),
            destination: Some(to),
            content,
            // RFC 1122 section 3.2.2: no error about a packet to more than one host.
            may_be_answered: !(to.is_multicast() || to.is_broadcast() || to.is_unspecified()),
        }
    }

    fn ipv6(packet: Ipv6Packet<'f>) -> Self {
        let (from, to) = (packet.header.source(), packet.header.destination());
        let upper = Upper::of(&packet).ok().filter(|upper| upper.fragment_offset.is_none_or(|at| at == 0));
        let discovery = [icmpv6::SOLICITATION, icmpv6::ADVERTISEMENT];
        let content = upper.map_or(Content::Other, |upper| match upper.protocol {
            protocol::ICMPV6 if upper.payload.first().is_some_and(|kind| discovery.contains(kind)) => {
                Content::Discovery
            }
            transport if is_routing(transport, upper.payload) => Content::Routing,
            _ => Content::Other,
        });
        let may_be_answered =
            !(from.is_unspecified() || from.is_multicast() || is_never_answered(&packet, to));
        Self { sender: Some(from.into()), destination: None, content, may_be_answered }
    }
}

/// True if no kernel answers a packet of IPv6 to its sender, nor makes a neighbour entry of it: what goes to groups as a rule.
fn is_never_answered(packet: &Ipv6Packet<'_>, to: Ipv6Addr) -> bool {
    let kind = packet.payload.first().copied().unwrap_or_default();
    match packet.header.next_header {
        protocol::ICMPV6 => matches!(kind, icmpv6::ADVERTISEMENT | icmpv6::ROUTER_SOLICITATION),
        protocol::HOP_BY_HOP => packet.payload.split_first_chunk().is_some_and(|(options, message)| {
            let kind = message.first().copied().unwrap_or_default();
            LISTENER_OPTIONS.contains(options) && icmpv6::LISTENER.contains(&kind)
        }),
        protocol::UDP | protocol::OSPF => to.is_multicast(),
        _ => false,
    }
}

fn is_routing(transport: u8, payload: &[u8]) -> bool {
    let Ok(([source, destination], _)) = <[U16; 2]>::ref_from_prefix(payload) else { return false };
    match transport {
        protocol::TCP => source.get() == BGP || destination.get() == BGP,
        protocol::UDP => BFD.contains(&destination.get()),
        _ => false,
    }
}

fn copy_error(message: &[u8]) -> Option<CopyError> {
    let (header, quoted) = message.split_at_checked(ICMP_HEADER_LEN)?;
    let kind = CopyErrorKind::of(*header.first()?, *header.get(1)?)?;
    let (ip, rest) = Ipv4::ref_from_prefix(quoted).ok()?;
    let (gre, _) = Gre::ref_from_prefix(rest).ok()?;
    let is_copy = ip.version_ihl == Ipv4::VERSION_IHL
        && ip.protocol == protocol::GRE
        && (gre.flags.get(), gre.protocol.get()) == (Gre::KEY, ethertype::ETHERNET);
    (is_copy && checksum::verifies(message)).then(|| CopyError {
        from: ip.source(),
        to: ip.destination(),
        kind,
    })
}

/// Host that the node's kernel sends a frame to, or asks for: the kernel has a neighbour entry of it, if it is on the link. `None`: a frame
/// to many.
#[must_use]
pub fn receiver(frame: &[u8]) -> Option<IpAddr> {
    match innermost(frame)? {
        (ethertype::ARP, payload) => {
            let arp = Arp::parse(payload).filter(|arp| arp.operation.get() == Arp::REQUEST)?;
            (!arp.is_gratuitous()).then(|| arp.target().into())
        }
        (ethertype::IPV4, packet) => {
            let to = Ipv4Packet::parse(packet)?.header.destination();
            (!to.is_multicast() && !to.is_broadcast()).then(|| to.into())
        }
        (ethertype::IPV6, packet) => {
            let packet = Ipv6Packet::parse(packet)?;
            let target = match packet.payload.split_at_checked(ICMP_HEADER_LEN) {
                Some(([icmpv6::SOLICITATION, ..], target))
                    if packet.header.next_header == protocol::ICMPV6
                        && !packet.header.source().is_unspecified() =>
                {
                    Ipv6Addr::from(*target.first_chunk::<16>()?)
                }
                _ => packet.header.destination(),
            };
            (!target.is_multicast()).then(|| target.into())
        }
        _ => None,
    }
}

/// Answer to an ARP request: its target is at `mac`. Padded to 60 bytes.
#[must_use]
pub fn arp_reply(request: &Arp, mac: MacAddr) -> [u8; 60] {
    let mut frame = [0; 60];
    let ethernet =
        Ethernet { destination: request.sender_mac, source: mac, ethertype: ethertype::ARP.into() };
    let (head, body) = frame.split_at_mut(Ethernet::LEN);
    head.copy_from_slice(ethernet.as_bytes());
    body[..size_of::<Arp>()].copy_from_slice(request.reply(mac).as_bytes());
    frame
}
