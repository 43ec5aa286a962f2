//! VLAN tags, as an announcement had them.

/// Ethertypes of tags (IEEE 802.1Q table 9-1).
const CUSTOMER: u16 = 0x8100;
const PROVIDER: u16 = 0x88a8;
/// VLAN id of a tag (IEEE 802.1Q section 9.6).
const VID: u16 = 0x0fff;
/// Bits that are kept of a tag: priority and VLAN id. The drop eligible bit's place says that it is a provider's.
const KEPT: u16 = 0xefff;
const IS_PROVIDER: u16 = 0x1000;

/// The VLAN tags of a frame, two at most, outermost first. Tags with VLAN id 0 carry a priority alone, and are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VlanTags(u32);

impl VlanTags {
    /// No tag.
    pub const NONE: Self = Self(0);
    /// More tags than can be kept. 4095 is no VLAN's id.
    pub const TOO_MANY: Self = Self(u32::MAX);

    /// The same with one more tag inside: its ethertype (0x8100 or 0x88a8) and its control information.
    #[must_use]
    pub fn with(self, tpid: u16, tci: u16) -> Self {
        if tci & VID == 0 {
            return self;
        }
        let tag = tci & KEPT | if tpid == PROVIDER { IS_PROVIDER } else { 0 };
        if self.0 >> u16::BITS == 0 { Self(self.0 << u16::BITS | u32::from(tag)) } else { Self::TOO_MANY }
    }

    /// Ethertype and control information of each tag, outermost first; `None`: [too many](Self::TOO_MANY).
    #[must_use]
    pub fn tags(self) -> Option<impl Iterator<Item = (u16, u16)>> {
        let [a, b, c, d] = self.0.to_be_bytes();
        let tags = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
        let known = self != Self::TOO_MANY;
        known.then(|| {
            tags.into_iter()
                .filter(|&tag| tag != 0)
                .map(|tag| (if tag & IS_PROVIDER == 0 { CUSTOMER } else { PROVIDER }, tag & KEPT))
        })
    }

    /// The tags as one word, 0 for none.
    #[must_use]
    pub const fn to_bits(self) -> u32 {
        self.0
    }

    /// The tags of [such a word](Self::to_bits).
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(all: &[(u16, u16)]) -> Option<Vec<(u16, u16)>> {
        let tags = all.iter().fold(VlanTags::NONE, |tags, &(tpid, tci)| tags.with(tpid, tci));
        assert_eq!(VlanTags::from_bits(tags.to_bits()), tags);
        tags.tags().map(Iterator::collect)
    }

    #[test]
    fn up_to_two_tags_are_kept_with_their_priority_and_more_are_too_many() {
        for (all, kept) in [
            (&[][..], Some(&[][..])),
            (&[(0x8100, 10)], Some(&[(0x8100, 10)])),
            (&[(0x8100, 0xe00a)], Some(&[(0x8100, 0xe00a)])),
            (&[(0x88a8, 4094), (0x8100, 1)], Some(&[(0x88a8, 4094), (0x8100, 1)])),
            (&[(0x88a8, 7), (0x88a8, 7)], Some(&[(0x88a8, 7), (0x88a8, 7)])),
            // A priority alone is no VLAN.
            (&[(0x8100, 0xe000), (0x8100, 10), (0x8100, 0)], Some(&[(0x8100, 10)])),
            (&[(0x8100, 1), (0x8100, 2), (0x8100, 3)], None),
            (&[(0x8100, 1), (0x8100, 2), (0x8100, 3), (0x8100, 4), (0x8100, 5)], None),
        ] {
            assert_eq!(tags(all).as_deref(), kept, "{all:x?}");
        }
    }
}
