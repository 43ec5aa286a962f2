//! What a speaker said last.

/// The last of each kind that a speaker said, by when the node received it; 0: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Spoken {
    /// Nanoseconds of the last claim.
    pub claim_ns: u64,
    /// Nanoseconds of the last use.
    pub use_ns: u64,
    /// Nanoseconds of the last VRRP advert.
    pub advert_ns: u64,
    /// That advert's interval in hundredths of a second.
    pub interval_cs: u16,
    /// That advert's priority; 0: its sender resigns.
    pub priority: u8,
}
