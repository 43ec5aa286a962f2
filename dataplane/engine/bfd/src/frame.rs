//! Ethernet frame in which a Control packet travels through a tunnel, as Open vSwitch sends and takes it: Ethernet to
//! 00:23:20:00:00:01, IPv4 with TTL 255, UDP to port 3784 (RFC 5881 sections 4 and 5).

use std::net::Ipv4Addr;

use wire::MacAddr;
use wire::checksum::{add, pseudo_header, sum, verifies_header};

use crate::packet::{Discard, Packet};

/// Destination of BFD frames of Open vSwitch, in both directions.
pub const BFD_MAC: MacAddr = MacAddr([0x00, 0x23, 0x20, 0x00, 0x00, 0x01]);
/// UDP port of single-hop BFD Control packets (RFC 5881 section 4).
pub const UDP_PORT: u16 = 3784;
/// Least source port (RFC 5881 section 4); the greatest is 65,535.
pub const FIRST_SOURCE_PORT: u16 = 49_152;
/// Bytes of a frame: 14 of Ethernet, 20 of IPv4, 8 of UDP, 24 of BFD.
pub const FRAME_LEN: usize = UDP_AT + 8 + Packet::LEN;

/// TTL of a packet that no router has forwarded (RFC 5881 section 5, RFC 5082).
const TTL: u8 = 255;
const UDP: u8 = 17;
const IP_AT: usize = 14;
const UDP_AT: usize = 34;
const BFD_AT: usize = UDP_AT + 8;

/// Frame of a Control packet that has passed all checks that need no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// MAC address of the sender.
    pub source_mac: MacAddr,
    /// IPv4 address of the sender: 169.254.1.1, unless the hypervisor is configured otherwise.
    pub source: Ipv4Addr,
    /// IPv4 address that it sent to: 169.254.1.0, likewise.
    pub destination: Ipv4Addr,
    /// UDP port that it sent from.
    pub source_port: u16,
    /// Control packet.
    pub packet: Packet,
}

/// Reason for which a frame is no good BFD frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Fewer bytes than the headers and the packet need.
    #[error("{0} bytes: a BFD frame has at least {FRAME_LEN}")]
    Truncated(usize),
    /// Destination MAC.
    #[error("frame to {0}: BFD goes to {BFD_MAC}")]
    Destination(MacAddr),
    /// Source MAC of a group.
    #[error("frame from the group address {0}")]
    SourceGroup(MacAddr),
    /// Ethertype.
    #[error("ethertype {0:#06x}: BFD is in untagged IPv4 (0x0800)")]
    Ethertype(u16),
    /// IP version, or a header with options.
    #[error("IP version and header length {0:#04x}: BFD has IPv4 without options (0x45)")]
    IpHeader(u8),
    /// Checksum of the IPv4 header.
    #[error("wrong checksum of the IPv4 header")]
    IpChecksum,
    /// Total length of IPv4.
    #[error("IPv4 total length {0}: too short for BFD, or longer than the frame")]
    IpLength(u16),
    /// Fragment.
    #[error("a fragment: BFD packets are whole")]
    Fragment,
    /// Time to live (RFC 5881 section 5).
    #[error("TTL {0}: a BFD packet arrives with 255")]
    Ttl(u8),
    /// IP protocol.
    #[error("IP protocol {0}: BFD is in UDP (17)")]
    Protocol(u8),
    /// Source address.
    #[error("source address {0}: not of one station")]
    SourceAddress(Ipv4Addr),
    /// UDP destination port.
    #[error("UDP port {0}: BFD goes to {UDP_PORT}")]
    Port(u16),
    /// UDP source port (RFC 5881 section 4).
    #[error("UDP source port {0}: BFD comes from {FIRST_SOURCE_PORT} to 65535")]
    SourcePort(u16),
    /// UDP length.
    #[error("UDP length {0}: too short for BFD, or longer than the IPv4 packet")]
    UdpLength(u16),
    /// UDP checksum; 0 means that there is none.
    #[error("wrong UDP checksum")]
    UdpChecksum,
    /// The Control packet itself.
    #[error("BFD packet: {0}")]
    Packet(#[from] Discard),
}

impl Frame {
    /// Reads a frame as it was in the tunnel, and checks all of it. Bytes after the IPv4 packet are padding.
    ///
    /// # Errors
    /// The first check that fails, from the outer header to the inner.
    pub fn parse(frame: &[u8]) -> Result<Self, FrameError> {
        let Some((head, _)) = frame.split_first_chunk::<FRAME_LEN>() else {
            return Err(FrameError::Truncated(frame.len()));
        };
        let half = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let mac = |at: usize| {
            MacAddr([head[at], head[at + 1], head[at + 2], head[at + 3], head[at + 4], head[at + 5]])
        };
        let ip = |at: usize| Ipv4Addr::new(head[at], head[at + 1], head[at + 2], head[at + 3]);
        if mac(0) != BFD_MAC {
            return Err(FrameError::Destination(mac(0)));
        }
        if head[6] & 1 != 0 {
            return Err(FrameError::SourceGroup(mac(6)));
        }
        if half(12) != 0x0800 {
            return Err(FrameError::Ethertype(half(12)));
        }
        let total_len = Self::check_ip(head, frame.len())?;
        let source = ip(IP_AT + 12);
        if source.is_multicast() || source.is_broadcast() || source.is_unspecified() || source.is_loopback() {
            return Err(FrameError::SourceAddress(source));
        }
        let udp = frame.get(UDP_AT..IP_AT + total_len).unwrap_or_default();
        let packet = Self::check_udp(head, udp)?;
        Ok(Self {
            source_mac: mac(6),
            source,
            destination: ip(IP_AT + 16),
            source_port: half(UDP_AT),
            packet: Packet::parse(packet)?,
        })
    }

    /// Checks the IPv4 header. Returns its total length, which is within the frame.
    fn check_ip(head: &[u8; FRAME_LEN], frame_len: usize) -> Result<usize, FrameError> {
        let header = head[IP_AT..].first_chunk().unwrap_or(&[0; 20]);
        if header[0] != 0x45 {
            return Err(FrameError::IpHeader(header[0]));
        }
        if !verifies_header(header) {
            return Err(FrameError::IpChecksum);
        }
        let total = u16::from_be_bytes([header[2], header[3]]);
        let total_len = usize::from(total);
        if total_len < FRAME_LEN - IP_AT || total_len > frame_len - IP_AT {
            return Err(FrameError::IpLength(total));
        }
        // More fragments, or an offset; "don't fragment" may be set.
        if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
            return Err(FrameError::Fragment);
        }
        if header[8] != TTL {
            return Err(FrameError::Ttl(header[8]));
        }
        if header[9] != UDP {
            return Err(FrameError::Protocol(header[9]));
        }
        Ok(total_len)
    }

    /// Checks the UDP header. Returns its payload.
    fn check_udp<'frame>(head: &[u8; FRAME_LEN], udp: &'frame [u8]) -> Result<&'frame [u8], FrameError> {
        let half = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let (source_port, port, length) = (half(UDP_AT), half(UDP_AT + 2), half(UDP_AT + 4));
        if port != UDP_PORT {
            return Err(FrameError::Port(port));
        }
        if source_port < FIRST_SOURCE_PORT {
            return Err(FrameError::SourcePort(source_port));
        }
        let udp_len = usize::from(length);
        let datagram = match udp.get(..udp_len) {
            Some(datagram) if udp_len >= 8 + Packet::LEN => datagram,
            _ => return Err(FrameError::UdpLength(length)),
        };
        if half(UDP_AT + 6) != 0 {
            let addresses = sum(&head[IP_AT + 12..UDP_AT]);
            if add(sum(datagram), add(addresses, pseudo_header(UDP, udp_len))) != 0xffff {
                return Err(FrameError::UdpChecksum);
            }
        }
        Ok(&datagram[8..])
    }
}

/// Addresses of the frames of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// MAC address to send to: [`BFD_MAC`] for Open vSwitch.
    pub destination_mac: MacAddr,
    /// MAC address to send from: the node's.
    pub source_mac: MacAddr,
    /// IPv4 address to send to.
    pub destination: Ipv4Addr,
    /// IPv4 address to send from.
    pub source: Ipv4Addr,
    /// UDP port to send from, 49,152 or more (RFC 5881 section 4).
    pub source_port: u16,
}

impl Addresses {
    /// Addresses of answers to a frame: its IPv4 addresses, swapped.
    #[must_use]
    pub const fn answer(frame: &Frame, source_mac: MacAddr, source_port: u16) -> Self {
        Self {
            destination_mac: BFD_MAC,
            source_mac,
            destination: frame.source,
            source: frame.destination,
            source_port,
        }
    }
}

/// Prebuilt frame of a session: of its 66 bytes, 26 change from packet to packet, namely the Control packet and
/// the UDP checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    bytes: [u8; FRAME_LEN],
    /// Folded sum of the pseudo-header and of the UDP header with checksum 0.
    constant: u16,
}

impl Template {
    /// Template for these addresses: TOS 0xc0 (network control), id 0, DF set, TTL 255.
    #[must_use]
    pub fn new(addresses: &Addresses) -> Self {
        let Addresses { destination_mac, source_mac, destination, source, source_port } = *addresses;
        let mut bytes = [0; FRAME_LEN];
        let mut put = |at: usize, part: &[u8]| {
            for (to, from) in bytes.iter_mut().skip(at).zip(part) {
                *to = *from;
            }
        };
        put(0, &destination_mac.0);
        put(6, &source_mac.0);
        put(12, &[0x08, 0x00, 0x45, 0xc0, 0, 52, 0, 0, 0x40, 0, TTL, UDP]);
        put(IP_AT + 12, &source.octets());
        put(IP_AT + 16, &destination.octets());
        put(UDP_AT, &source_port.to_be_bytes());
        put(UDP_AT + 2, &UDP_PORT.to_be_bytes());
        put(UDP_AT + 4, &[0, 32]);
        let checksum = !sum(&bytes[IP_AT..UDP_AT]);
        [bytes[IP_AT + 10], bytes[IP_AT + 11]] = checksum.to_ne_bytes();
        let constant = add(sum(&bytes[IP_AT + 12..BFD_AT]), pseudo_header(UDP, 8 + Packet::LEN));
        Self { bytes, constant }
    }

    /// Frame with this packet.
    #[must_use]
    pub fn frame(&self, packet: &Packet) -> [u8; FRAME_LEN] {
        let mut bytes = self.bytes;
        let body = packet.to_bytes();
        for (to, from) in bytes[BFD_AT..].iter_mut().zip(body) {
            *to = from;
        }
        // RFC 768: a checksum that comes out as 0 is sent as all ones.
        let checksum = match !add(self.constant, sum(&body)) {
            0 => u16::MAX,
            checksum => checksum,
        };
        [bytes[UDP_AT + 6], bytes[UDP_AT + 7]] = checksum.to_ne_bytes();
        bytes
    }
}
