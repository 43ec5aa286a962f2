//! The port as the packet path uses it: packet buffers, bursts, and a batch of frames to be sent.
//!
//! The packet path is compiled for each implementation, so nothing is called by pointer. [`dpdk`] is the real one; the tests bring a
//! fake one whose ring, pools, link and clock they control.

use std::ops::Range;

use wire::encap::{Encap, FrameHeaderOf, HeadOf, LINE, TemplateOf};

use crate::targets::Targets;

pub mod dpdk;

/// Frames that are received at once, at most.
pub const BURST: usize = 32;
/// Frames in the batch, at most.
pub const BATCH: usize = 64;
/// Longest inner frame that [`Port::copies`] takes, bytes.
pub const MAX_BODY: usize = 256;

/// A packet buffer. It has one owner, and goes back to its pool when it is dropped.
pub trait Packet: Sized + Send {
    /// The payload of a packet, shared by many copies. Dropping it gives back the references that no chain took.
    type Shared: Send;

    /// Bytes of the frame (of its first segment, where there are more).
    fn data(&self) -> &[u8];

    /// Adds `count` bytes at the end, of any value, and returns them. `None`: the buffer has no room.
    fn append(&mut self, count: usize) -> Option<&mut [u8]>;

    /// True if it is one segment in a buffer of its own: [`Port::in_place`] takes no other.
    fn is_plain(&self) -> bool;

    /// Narrows the packet to a range of its data, and shares that among so many chains.
    ///
    /// # Errors
    /// The packet, unchanged, where it cannot be shared.
    fn share(self, payload: Range<usize>, references: u16) -> Result<Self::Shared, Self>;
}

/// Up to [`BURST`] packets by position. What is not taken is freed by the next receive, by `clear` or by drop.
#[allow(clippy::len_without_is_empty, reason = "no caller needs it")]
pub trait Burst<P>: Default {
    /// Packets in it, those included that were taken.
    fn len(&self) -> usize;

    /// The packet at a position, unless it was taken.
    fn get(&self, index: usize) -> Option<&P>;

    /// Takes the packet at a position out.
    fn take(&mut self, index: usize) -> Option<P>;

    /// Adds a packet that was not received.
    ///
    /// # Errors
    /// The packet, where the burst is full.
    fn push(&mut self, packet: P) -> Result<(), P>;

    /// Frees what was not taken.
    fn clear(&mut self);
}

/// A steady clock, in ticks. Readings may go backwards: a virtual machine can move to a host whose counter is behind.
pub trait Clock: Copy {
    /// Ticks since some moment before.
    fn now(self) -> u64;

    /// Ticks in a second.
    fn per_second(self) -> u64;

    /// Ticks as nanoseconds.
    fn nanoseconds(self, ticks: u64) -> u64;

    /// Nanoseconds from the node's start until that tick; never 0.
    fn clock_ns(self, ticks: u64) -> u64;
}

/// The queues of one worker, its pools of packet buffers, and a batch that fills up for the transmit queue.
pub trait Port {
    /// Encapsulation of the copies.
    type Encap: Encap;
    /// Packet buffers.
    type Packet: Packet;
    /// Packets that one look at the receive queue brings.
    type Burst: Burst<Self::Packet>;
    /// The workers' clock.
    type Clock: Clock;

    /// Frees what is left in the burst, and fills it with what has come in: how many.
    fn receive(&mut self, burst: &mut Self::Burst) -> usize;

    /// A fresh packet buffer for a copy of any length; `None`: the pool is empty.
    fn allocate(&mut self) -> Option<Self::Packet>;

    /// Frames that the batch still takes.
    fn room(&self) -> usize;

    /// Puts a copy of `body` for each header into the batch. False, and nothing done, if it is longer than [`MAX_BODY`], the pool has
    /// too few buffers, or the batch no room.
    fn copies(&mut self, body: &[u8], heads: &CopyHeads<Self::Encap>) -> bool;

    /// Puts a chain for each header into the batch: the header in a buffer of its own, and the payload by reference. False, and nothing
    /// done, if the pool has too few buffers, the payload too few references, or the batch no room.
    fn chains(
        &mut self,
        payload: &mut <Self::Packet as Packet>::Shared,
        heads: &CopyHeads<Self::Encap>,
    ) -> bool;

    /// Puts a packet itself into the batch: the payload stays at its place in the data, behind a new header. False, and the packet freed,
    /// if it is not plain, has no room for the header, or the batch has none.
    fn in_place(&mut self, packet: Self::Packet, payload: Range<usize>, head: &HeadOf<Self::Encap>) -> bool;

    /// Puts a packet into the batch as it is.
    ///
    /// # Errors
    /// The packet, where the batch is full.
    fn push(&mut self, packet: Self::Packet) -> Result<(), Self::Packet>;

    /// Offers the batch to the transmit ring: how many frames the ring took. The others stay in the batch, in order.
    fn transmit(&mut self) -> usize;

    /// The first segment of each frame in the batch, in order.
    fn batch(&self) -> impl Iterator<Item = &[u8]>;

    /// Frees all that is in the batch: how many.
    fn discard(&mut self) -> usize;
}

/// Outer headers of a frame's copies to some targets.
///
/// By reference: moving what was just written as words costs a dozen cycles, as the compiler moves wider pieces, which the
/// processor cannot take from its store buffer.
pub struct CopyHeads<'t, E: Encap> {
    /// Part of the headers that all copies have in common.
    pub header: &'t FrameHeaderOf<E>,
    /// Templates of all TEPs, by index.
    pub templates: &'t [TemplateOf<E>],
    /// TEPs that get a copy; each has a template.
    pub targets: &'t Targets<'t>,
}

impl<E: Encap> CopyHeads<'_, E> {
    /// Headers, finished, one for each target.
    pub fn finished(&self) -> impl Iterator<Item = HeadOf<E>> {
        self.targets.iter().map(|tep| self.header.head(&self.templates[tep.index()]))
    }

    /// Lines of the templates, and the checksum of each copy.
    #[inline(always)]
    pub fn own(&self) -> impl Iterator<Item = (&[u64; LINE / 8], u16)> {
        let (templates, sum) = (self.templates, self.header.sum());
        self.targets.iter().map(move |tep| {
            let template = &templates[tep.index()];
            (template.line(), template.checksum(sum))
        })
    }
}
