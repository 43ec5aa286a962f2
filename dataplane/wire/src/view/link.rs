//! Ethernet with its VLAN tags skipped.

use zerocopy::byteorder::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use bcast_domain::VlanTags;

use crate::header::{Ethernet, ethertype};

/// The most tags that are skipped: a provider's and a customer's (IEEE 802.1ad).
pub const MAX_TAGS: usize = 2;

/// One VLAN tag, 4 bytes (IEEE 802.1Q section 9.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct VlanTag {
    /// 0x8100 or 0x88a8.
    pub tpid: U16,
    /// Priority (3 bits), drop eligible (1 bit), VLAN id (12 bits).
    pub tci: U16,
}

impl VlanTag {
    /// The VLAN id; 0 means that the tag carries a priority only.
    #[must_use]
    #[inline]
    pub fn id(self) -> u16 {
        self.tci.get() & 0x0fff
    }
}

/// An Ethernet frame, its tags, and what they wrap.
#[derive(Clone, Copy, Debug)]
pub struct Link<'f> {
    /// The MAC addresses. Its ethertype is the first tag's if there is one: see [`Self::ethertype`].
    pub ethernet: &'f Ethernet,
    /// The tags, outermost first, at most [`MAX_TAGS`].
    pub tags: &'f [VlanTag],
    /// Type of the payload, or its length if below 1536; still a tag's if there are more than [`MAX_TAGS`].
    pub ethertype: u16,
    /// Bytes behind the last ethertype, Ethernet padding included.
    pub payload: &'f [u8],
}

/// LLC and SNAP before an ethertype (RFC 1042), and the same of IEEE 802.1H.
const SNAP: [[u8; 6]; 2] = [[0xaa, 0xaa, 0x03, 0, 0, 0], [0xaa, 0xaa, 0x03, 0, 0, 0xf8]];
/// Below it an ethertype is the length of an LLC frame (IEEE 802.3 section 3.2.6).
pub const MIN_ETHERTYPE: u16 = 0x0600;

/// Ethertype and the payload behind any number of VLAN tags and behind LLC and SNAP.
///
/// [`link`] reads what a well-meant frame carries; this is for frames that are meant to be misread. Linux strips tags with VLAN
/// id 0 for as long as there are any, and Windows takes SNAP. It takes a step for every four bytes of the frame at most.
/// `None` if the frame ends before the last ethertype does.
#[must_use]
#[inline]
pub fn innermost(frame: &[u8]) -> Option<(u16, &[u8])> {
    let mut rest = frame.get(Ethernet::LEN - size_of::<U16>()..)?;
    loop {
        let (ethertype, payload) = U16::read_from_prefix(rest).ok()?;
        let skipped = match ethertype.get() {
            ethertype::VLAN | ethertype::PROVIDER_VLAN => size_of::<U16>(),
            0..MIN_ETHERTYPE if SNAP.iter().any(|snap| payload.starts_with(snap)) => SNAP[0].len(),
            other => return Some((other, payload)),
        };
        rest = payload.get(skipped..)?;
    }
}

/// The VLAN tags before what [`innermost`] finds.
#[must_use]
pub fn vlan_tags(frame: &[u8]) -> VlanTags {
    let mut tags = VlanTags::NONE;
    let Some(mut rest) = frame.get(Ethernet::LEN - size_of::<U16>()..) else { return tags };
    while let Ok((VlanTag { tpid, tci }, behind)) = VlanTag::read_from_prefix(rest) {
        rest = match tpid.get() {
            ethertype::VLAN | ethertype::PROVIDER_VLAN => {
                tags = tags.with(tpid.get(), tci.get());
                behind
            }
            0..MIN_ETHERTYPE => {
                let llc = rest.get(size_of::<U16>()..).unwrap_or_default();
                match SNAP.iter().find_map(|snap| llc.strip_prefix(snap)) {
                    Some(behind) => behind,
                    None => break,
                }
            }
            _ => break,
        };
    }
    tags
}

/// True if any of the VLAN tags before what [`innermost`] finds names a VLAN: its id is not 0.
#[must_use]
pub fn is_in_vlan(frame: &[u8]) -> bool {
    let Some(mut rest) = frame.get(Ethernet::LEN - size_of::<U16>()..) else { return false };
    while let Ok((VlanTag { tpid, tci }, behind)) = VlanTag::read_from_prefix(rest) {
        rest = match tpid.get() {
            ethertype::VLAN | ethertype::PROVIDER_VLAN if tci.get() & 0x0fff != 0 => return true,
            ethertype::VLAN | ethertype::PROVIDER_VLAN => behind,
            0..MIN_ETHERTYPE => {
                let llc = rest.get(size_of::<U16>()..).unwrap_or_default();
                match SNAP.iter().find_map(|snap| llc.strip_prefix(snap)) {
                    Some(behind) => behind,
                    None => return false,
                }
            }
            _ => return false,
        };
    }
    false
}

/// Reads an Ethernet frame and skips its VLAN tags. `None` if it ends before the last ethertype does.
#[must_use]
#[inline]
pub fn link(frame: &[u8]) -> Option<Link<'_>> {
    let (ethernet, after) = Ethernet::ref_from_prefix(frame).ok()?;
    let tagged = frame.get(Ethernet::LEN - size_of::<U16>()..)?;
    let (mut ethertype, mut payload) = (ethernet.ethertype.get(), after);
    let mut count = 0;
    while count < MAX_TAGS && matches!(ethertype, ethertype::VLAN | ethertype::PROVIDER_VLAN) {
        count += 1;
        let (inner, rest) = U16::read_from_prefix(tagged.get(count * size_of::<VlanTag>()..)?).ok()?;
        (ethertype, payload) = (inner.get(), rest);
    }
    let (tags, _) = <[VlanTag]>::ref_from_prefix_with_elems(tagged, count).ok()?;
    Some(Link { ethernet, tags, ethertype, payload })
}
