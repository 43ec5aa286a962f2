//! Sender of a frame that is dropped, as far as the frame names one: for people, and whatever is wrong with the frame.
//!
//! [`parse`](crate::parse) decides; this only reads. So each field is absent where the frame ends before it.

use core::net::Ipv4Addr;

use zerocopy::FromBytes;
use zerocopy::byteorder::network_endian::U32;

use crate::MacAddr;
use crate::header::{Ethernet, Gre, Ipv4, ethertype, protocol};
use crate::view::link;

/// Bytes of the optional GRE word with checksum and Reserved1 (RFC 2784 section 2.1).
const CHECKSUM_LEN: usize = 4;
/// Offset of the sender's protocol address in an ARP message of IPv4 over Ethernet (RFC 826).
const ARP_SENDER: usize = 14;
/// Hardware type, protocol type and both lengths of such a message.
const ARP_ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// Fragment offset in the IPv4 field of flags and offset (RFC 791 section 3.1).
const OFFSET_MASK: u16 = 0x1fff;

/// Sender of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Offender {
    /// Source address of the outer IP header; of an ARP message its sender address.
    pub source: Option<Ipv4Addr>,
    /// Key of the GRE header.
    pub key: Option<u32>,
    /// Source and destination MAC address of the inner frame; of the outer one where [`Self::outer`] says so.
    pub macs: Option<[MacAddr; 2]>,
    /// True if no inner frame was found.
    pub outer: bool,
}

impl Offender {
    /// Sender of an inner frame that this TEP sent with this key.
    #[must_use]
    pub fn of_inner(source: Ipv4Addr, key: u32, inner: &[u8]) -> Self {
        Self { source: Some(source), key: Some(key), macs: macs(inner), outer: false }
    }

    /// Sender of a received frame.
    #[must_use]
    pub fn of_frame(frame: &[u8]) -> Self {
        let outer = Self { source: None, key: None, macs: macs(frame), outer: true };
        let Some(link) = link(frame) else { return outer };
        match link.ethertype {
            ethertype::IPV4 => Self::of_packet(link.payload, outer),
            ethertype::ARP if link.payload.starts_with(&ARP_ETHERNET_IPV4) => {
                let sender = link.payload.get(ARP_SENDER..).and_then(|rest| rest.first_chunk());
                Self { source: sender.map(|&octets: &[u8; 4]| octets.into()), ..outer }
            }
            _ => outer,
        }
    }

    fn of_packet(packet: &[u8], outer: Self) -> Self {
        let Ok((ip, _)) = Ipv4::ref_from_prefix(packet) else { return outer };
        let outer = Self { source: Some(ip.source()), ..outer };
        let header_len = usize::from(ip.version_ihl & 0x0f) * 4;
        if ip.protocol != protocol::GRE || ip.fragment.get() & OFFSET_MASK != 0 {
            return outer;
        }
        let Some(payload) = packet.get(header_len.max(Ipv4::LEN)..) else { return outer };
        let Ok((gre, mut options)) = Gre::ref_from_prefix(payload) else { return outer };
        let flags = gre.flags.get();
        if flags & Gre::CHECKSUM != 0 {
            options = options.get(CHECKSUM_LEN..).unwrap_or_default();
        }
        let mut key = None;
        if flags & Gre::KEY != 0 {
            let Ok((word, rest)) = U32::read_from_prefix(options) else { return outer };
            (key, options) = (Some(word.get()), rest);
        }
        if flags & Gre::SEQUENCE != 0 {
            options = options.get(size_of::<U32>()..).unwrap_or_default();
        }
        match macs(options) {
            Some(macs) if gre.protocol.get() == ethertype::ETHERNET => {
                Self { key, macs: Some(macs), outer: false, ..outer }
            }
            _ => Self { key, ..outer },
        }
    }
}

fn macs(frame: &[u8]) -> Option<[MacAddr; 2]> {
    let (ethernet, _) = Ethernet::ref_from_prefix(frame).ok()?;
    Some([ethernet.source, ethernet.destination])
}
