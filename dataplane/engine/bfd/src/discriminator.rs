//! Local discriminators: 32 bits that name a session of this node, never 0 (RFC 5880 section 6.3).

use core::num::{NonZeroU16, NonZeroU32};

/// Discriminators of a node's sessions: the salt in the upper half, the session's index in the lower. A salt that
/// changes with each start keeps packets of an earlier run from reaching a session of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discriminators {
    salt: NonZeroU16,
}

impl Discriminators {
    /// Discriminators with this salt; choose it at random at each start.
    #[must_use]
    pub const fn new(salt: NonZeroU16) -> Self {
        Self { salt }
    }

    /// Discriminator of the session with this index.
    #[must_use]
    pub fn of(self, index: u16) -> NonZeroU32 {
        NonZeroU32::from(self.salt).saturating_mul(NonZeroU32::MIN.saturating_add(0xffff)) | u32::from(index)
    }

    /// Index of the session that a received Your Discriminator names; `None` if it is of no session of this run.
    #[must_use]
    pub fn index(self, your_discriminator: u32) -> Option<u16> {
        let [a, b, c, d] = your_discriminator.to_be_bytes();
        (u16::from_be_bytes([a, b]) == self.salt.get()).then(|| u16::from_be_bytes([c, d]))
    }
}
