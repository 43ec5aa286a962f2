//! GRE with a key (RFC 2784, RFC 2890): 14 bytes of Ethernet, 20 of IPv4, 8 of GRE.

use zerocopy::FromBytes;

use super::{Encap, FrameHeaderOf, HeadOf, LINE, TemplateOf};
use crate::header::{self, Ethernet, Ipv4, Tunnel, ethertype, protocol};

/// Bytes that encapsulation puts before an inner frame.
pub const OVERHEAD: usize = Tunnel::LEN;

/// Bytes of [`OVERHEAD`] that count against the port's MTU: all but Ethernet.
pub const IP_OVERHEAD: usize = FrameHeader::IP_OVERHEAD;

/// The longest inner frame that an IP packet can carry.
pub const MAX_INNER_LEN: u16 = 65_507;

/// GRE with the VNI as its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gre;

/// The template of a TEP.
pub type Template = TemplateOf<Gre>;

/// The words of a frame.
pub type FrameHeader = FrameHeaderOf<Gre>;

/// Position of the IPv4 header in the line, bytes.
const IPV4_AT: usize = LINE - OVERHEAD + Ethernet::LEN;

// The words below hold these fields: TOS and total length end word 4, the source starts word 6, the key ends word 7.
const _: () = {
    assert!(IPV4_AT + core::mem::offset_of!(Ipv4, tos) == 4 * 8 + 5);
    assert!(IPV4_AT + core::mem::offset_of!(Ipv4, total_length) == 4 * 8 + 6);
    assert!(IPV4_AT + core::mem::offset_of!(Ipv4, source) == 6 * 8);
    assert!(LINE - OVERHEAD + core::mem::offset_of!(Tunnel, key) == 7 * 8 + 4);
    assert!(MAX_INNER_LEN as usize == u16::MAX as usize - IP_OVERHEAD);
};

impl Encap for Gre {
    const HEADER_LEN: usize = OVERHEAD;
    const PROTOCOL: u8 = protocol::GRE;
    type Common = [u64; 4];

    fn constant(behind_ip: &mut [u8]) {
        if let Ok((gre, _)) = header::Gre::mut_from_prefix(behind_ip) {
            gre.flags.set(header::Gre::KEY);
            gre.protocol.set(ethertype::ETHERNET);
        }
    }

    #[inline(always)]
    fn common([_, tos, high, low]: [u8; 4], [a, b, c, d]: [u8; 4], vni: u32) -> [u64; 4] {
        let [e, f, g, h] = vni.to_be_bytes();
        [[0, 0, 0, 0, 0, tos, high, low], [0; 8], [a, b, c, d, 0, 0, 0, 0], [0, 0, 0, 0, e, f, g, h]]
            .map(u64::from_ne_bytes)
    }
}

impl HeadOf<Gre> {
    /// The bytes that go before the inner frame.
    #[must_use]
    #[inline]
    pub fn to_bytes(&self) -> [u8; OVERHEAD] {
        self.bytes().last_chunk().copied().unwrap_or([0; OVERHEAD])
    }
}
