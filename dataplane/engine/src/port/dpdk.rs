//! The port over DPDK: queues, mempools and ffi's innermost loop.

use std::marker::PhantomData;
use std::ops::Range;

use dpdk::{Heads, Mbuf, Mempool, RxQueue, SharedPayload, Tsc, TxBatch, TxQueue};
use wire::encap::{CHECKSUM_AT, Encap, Gre, HeadOf};

use super::{BATCH, BURST, Burst, Clock, CopyHeads, MAX_BODY, Packet, Port};

const _: () = assert!(BURST == dpdk::BURST && BATCH == dpdk::BATCH && MAX_BODY == dpdk::MAX_BODY);

/// A worker's queues and pools.
pub struct DpdkPort<E = Gre> {
    rx: RxQueue,
    tx: TxQueue,
    batch: TxBatch,
    /// Fresh buffers for headers and for short copies.
    small: Mempool,
    /// Fresh buffers for copies of any length, where the payload cannot be shared.
    large: Mempool,
    encap: PhantomData<E>,
}

impl<E> DpdkPort<E> {
    /// With an empty batch. `small` holds headers and short copies, `large` copies of any length.
    pub fn new(rx: RxQueue, tx: TxQueue, small: Mempool, large: Mempool) -> Self {
        Self { rx, tx, batch: TxBatch::new(), small, large, encap: PhantomData }
    }
}

impl Packet for Mbuf {
    type Shared = SharedPayload;

    #[inline(always)]
    fn data(&self) -> &[u8] {
        Mbuf::data(self)
    }

    fn append(&mut self, count: usize) -> Option<&mut [u8]> {
        Mbuf::append(self, count)
    }

    #[inline(always)]
    fn is_plain(&self) -> bool {
        Mbuf::is_plain(self)
    }

    fn share(self, payload: Range<usize>, references: u16) -> Result<SharedPayload, Self> {
        Mbuf::share(self, payload, references)
    }
}

impl Burst<Mbuf> for dpdk::Burst {
    #[inline(always)]
    fn len(&self) -> usize {
        dpdk::Burst::len(self)
    }

    #[inline(always)]
    fn get(&self, index: usize) -> Option<&Mbuf> {
        dpdk::Burst::get(self, index)
    }

    #[inline(always)]
    fn take(&mut self, index: usize) -> Option<Mbuf> {
        dpdk::Burst::take(self, index)
    }

    fn push(&mut self, packet: Mbuf) -> Result<(), Mbuf> {
        dpdk::Burst::push(self, packet)
    }

    #[inline(always)]
    fn clear(&mut self) {
        dpdk::Burst::clear(self);
    }
}

impl Clock for Tsc {
    #[inline(always)]
    fn now(self) -> u64 {
        Tsc::now(self)
    }

    #[inline(always)]
    fn per_second(self) -> u64 {
        Tsc::per_second(self)
    }

    #[inline(always)]
    fn nanoseconds(self, ticks: u64) -> u64 {
        Tsc::nanoseconds(self, ticks)
    }

    #[inline(always)]
    fn clock_ns(self, ticks: u64) -> u64 {
        Tsc::clock_ns(self, ticks)
    }
}

impl<E: Encap<Common: dpdk::Common>> Heads for CopyHeads<'_, E> {
    const LEN: usize = E::HEADER_LEN;
    const CHECKSUM_AT: usize = CHECKSUM_AT;
    type Common = E::Common;

    #[inline(always)]
    fn common(&self) -> &E::Common {
        self.header.common()
    }

    #[inline(always)]
    fn own(&self) -> impl Iterator<Item = (&[u64; 8], u16)> {
        CopyHeads::own(self)
    }
}

impl<E: Encap<Common: dpdk::Common>> Port for DpdkPort<E> {
    type Encap = E;
    type Packet = Mbuf;
    type Burst = dpdk::Burst;
    type Clock = Tsc;

    #[inline(always)]
    fn receive(&mut self, burst: &mut dpdk::Burst) -> usize {
        self.rx.receive(burst)
    }

    fn allocate(&mut self) -> Option<Mbuf> {
        Mbuf::alloc(&self.large)
    }

    #[inline(always)]
    fn room(&self) -> usize {
        self.batch.room()
    }

    #[inline(always)]
    fn copies(&mut self, body: &[u8], heads: &CopyHeads<E>) -> bool {
        self.batch.copies(&self.small, heads.targets.len(), body, heads)
    }

    #[inline(always)]
    fn chains(&mut self, payload: &mut SharedPayload, heads: &CopyHeads<E>) -> bool {
        self.batch.chains(&self.small, heads.targets.len(), payload, heads)
    }

    #[inline(always)]
    fn in_place(&mut self, packet: Mbuf, payload: Range<usize>, head: &HeadOf<E>) -> bool {
        #[allow(clippy::cast_possible_truncation, reason = "a header is shorter than a line")]
        self.batch.in_place(packet, payload, const { E::HEADER_LEN as u16 }, head.words())
    }

    fn push(&mut self, packet: Mbuf) -> Result<(), Mbuf> {
        self.batch.push(packet)
    }

    #[inline(always)]
    fn transmit(&mut self) -> usize {
        self.tx.transmit(&mut self.batch)
    }

    fn batch(&self) -> impl Iterator<Item = &[u8]> {
        self.batch.frames()
    }

    fn discard(&mut self) -> usize {
        self.batch.discard_all()
    }
}
