//! Outer headers of copies, and their place in a copy's buffer.

use crate::vectors::{Common, LINE};
use std::marker::PhantomData;

/// The payload of a copy starts here in its buffer, on a cache line: the header, right before it, has a line
/// of its own, and DPDK's headroom of 128 bytes is kept in part for drivers that prepend.
pub(crate) const BODY_OFFSET: usize = 2 * LINE;

/// Source of the outer headers of copies. Each header is right-aligned in a line of 64 bytes, and what is ahead of it there means
/// nothing. The words that all copies have in common and those of each copy are joined by OR, and a checksum is stored over that.
///
/// A trait and no closure, as the loops are compiled for wider vectors than the code around them, and made there from references:
/// what an iterator holds is then in registers, and was not moved by way of memory.
pub trait Heads {
    /// Bytes of each header, at most 64.
    const LEN: usize;
    /// Position of the checksum in the header, bytes.
    const CHECKSUM_AT: usize;
    /// Words that all copies have in common: `[u64; 4]` for bytes 32 to 64 of the line, `[u64; 8]` for all of it.
    type Common: Common;

    /// Words that all copies have in common. Best written a while before, as they are read as a vector.
    fn common(&self) -> &Self::Common;

    /// Words of each copy, and its checksum as it stands in memory, where both lines are zero. Where there are fewer than copies,
    /// no copy is made.
    fn own(&self) -> impl Iterator<Item = (&[u64; 8], u16)>;
}

/// Shape of a header: [`Heads`] as numbers.
pub(crate) struct Layout<H>(PhantomData<H>);

impl<H: Heads> Layout<H> {
    /// Bytes of header.
    #[allow(clippy::cast_possible_truncation, reason = "a line is short")]
    pub const LEN: u16 = {
        assert!(H::LEN <= LINE && H::CHECKSUM_AT + 2 <= H::LEN);
        H::LEN as u16
    };
    /// Position of a copy's first byte in its buffer: the header ends where the payload starts.
    #[allow(clippy::cast_possible_truncation, reason = "two lines are short")]
    pub const DATA_OFFSET: u16 = BODY_OFFSET as u16 - Self::LEN;
    /// Position of the checksum in the header's line.
    pub const CHECKSUM_AT: usize = LINE - H::LEN + H::CHECKSUM_AT;
}
