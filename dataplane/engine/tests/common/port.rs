//! The fake port.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use engine::port::{BATCH, BURST, Burst, Clock, CopyHeads, MAX_BODY, Packet, Port};
use wire::encap::{Encap, Gre, HeadOf};

/// A pool of packet buffers: how many are free, and how many bytes each holds behind its headroom.
#[derive(Clone)]
pub struct Pool {
    free: Arc<AtomicUsize>,
    size: usize,
    room: usize,
}

/// Bytes before a received frame, as DPDK leaves them.
pub const HEADROOM: usize = 128;

impl Pool {
    pub fn new(size: usize, room: usize) -> Self {
        Self { free: Arc::new(AtomicUsize::new(size)), size, room }
    }

    pub fn packet(&self, bytes: &[u8]) -> Option<FakePacket> {
        if self.free.load(Relaxed) == 0 || bytes.len() > self.room {
            return None;
        }
        self.free.fetch_sub(1, Relaxed);
        Some(FakePacket { bytes: bytes.to_vec(), headroom: HEADROOM, plain: true, pool: self.clone() })
    }

    pub fn in_use(&self) -> usize {
        self.size - self.free.load(Relaxed)
    }

    pub fn free(&self) -> usize {
        self.free.load(Relaxed)
    }
}

pub struct FakePacket {
    bytes: Vec<u8>,
    pub headroom: usize,
    pub plain: bool,
    pool: Pool,
}

impl Drop for FakePacket {
    fn drop(&mut self) {
        self.pool.free.fetch_add(1, Relaxed);
    }
}

impl Packet for FakePacket {
    type Shared = FakeShared;

    fn data(&self) -> &[u8] {
        &self.bytes
    }

    fn append(&mut self, count: usize) -> Option<&mut [u8]> {
        let old = self.bytes.len();
        if old + count > self.pool.room {
            return None;
        }
        self.bytes.resize(old + count, 0);
        self.bytes.get_mut(old..)
    }

    fn is_plain(&self) -> bool {
        self.plain
    }

    fn share(mut self, payload: Range<usize>, references: u16) -> Result<FakeShared, Self> {
        if references == 0 || !self.plain || payload.end > self.bytes.len() {
            return Err(self);
        }
        self.bytes = self.bytes[payload].to_vec();
        Ok(FakeShared { packet: Arc::new(self), references })
    }
}

pub struct FakeShared {
    packet: Arc<FakePacket>,
    references: u16,
}

#[derive(Default)]
pub struct FakeBurst(Vec<Option<FakePacket>>);

impl Burst<FakePacket> for FakeBurst {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, index: usize) -> Option<&FakePacket> {
        self.0.get(index)?.as_ref()
    }

    fn take(&mut self, index: usize) -> Option<FakePacket> {
        self.0.get_mut(index)?.take()
    }

    fn push(&mut self, packet: FakePacket) -> Result<(), FakePacket> {
        if self.0.len() == BURST {
            return Err(packet);
        }
        self.0.push(Some(packet));
        Ok(())
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

/// A clock that moves when the test says so, and by `step` with each reading. In nanoseconds.
#[derive(Clone, Copy)]
pub struct FakeClock {
    pub now: &'static AtomicU64,
    pub step: &'static AtomicU64,
}

impl FakeClock {
    pub fn new() -> Self {
        let [now, step] = [3_600_000_000_000, 0].map(|start| &*Box::leak(Box::new(AtomicU64::new(start))));
        Self { now, step }
    }
}

impl Clock for FakeClock {
    fn now(self) -> u64 {
        self.now.fetch_add(self.step.load(Relaxed), Relaxed)
    }

    fn per_second(self) -> u64 {
        1_000_000_000
    }

    fn nanoseconds(self, ticks: u64) -> u64 {
        ticks
    }

    fn clock_ns(self, ticks: u64) -> u64 {
        ticks
    }
}

/// A frame in the batch or in the ring: its own buffer, and a shared payload behind it.
pub struct Queued {
    packet: FakePacket,
    payload: Option<Arc<FakePacket>>,
}

impl Queued {
    fn bytes(&self) -> Vec<u8> {
        let payload = self.payload.as_ref().map_or(&[][..], |payload| &payload.bytes);
        [&self.packet.bytes, payload].concat()
    }
}

/// The other end of the port's cable.
pub struct Cable {
    /// Frames on their way to the port.
    pub to_port: VecDeque<Vec<u8>>,
    /// Received buffers have this headroom, and are plain or not.
    pub headroom: usize,
    pub plain: bool,
    ring: VecDeque<Queued>,
    /// Frames that the transmit ring holds.
    pub ring_size: usize,
    /// Calls of transmit after which the ring has drained; `None`: never.
    pub drains_after: Option<usize>,
    calls: usize,
    /// Frames that are out.
    pub sent: Vec<Vec<u8>>,
}

impl Cable {
    /// Drains the transmit ring.
    pub fn drain(&mut self) {
        while let Some(frame) = self.ring.pop_front() {
            self.sent.push(frame.bytes());
        }
    }

    /// Frames that are out since the last time.
    pub fn take(&mut self) -> Vec<Vec<u8>> {
        self.drain();
        std::mem::take(&mut self.sent)
    }
}

pub struct FakePort<E = Gre> {
    pub cable: Rc<RefCell<Cable>>,
    pub received: Pool,
    pub small: Pool,
    pub large: Pool,
    batch: Vec<Queued>,
    encap: PhantomData<E>,
}

impl<E> FakePort<E> {
    /// Pools for receiving, for short copies, for long ones.
    pub fn new(received: Pool, small: Pool, large: Pool) -> Self {
        let cable = Cable {
            to_port: VecDeque::new(),
            headroom: HEADROOM,
            plain: true,
            ring: VecDeque::new(),
            ring_size: 1024,
            drains_after: Some(1),
            calls: 0,
            sent: Vec::new(),
        };
        let cable = Rc::new(RefCell::new(cable));
        Self { cable, received, small, large, batch: Vec::new(), encap: PhantomData }
    }
}

impl<E: Encap> Port for FakePort<E> {
    type Encap = E;
    type Packet = FakePacket;
    type Burst = FakeBurst;
    type Clock = FakeClock;

    fn receive(&mut self, burst: &mut FakeBurst) -> usize {
        burst.clear();
        let mut cable = self.cable.borrow_mut();
        while burst.len() < BURST
            && let Some(frame) = cable.to_port.pop_front()
        {
            let mut packet = self.received.packet(&frame).expect("a buffer to receive in");
            (packet.headroom, packet.plain) = (cable.headroom, cable.plain);
            burst.0.push(Some(packet));
        }
        burst.len()
    }

    fn allocate(&mut self) -> Option<FakePacket> {
        self.large.packet(&[])
    }

    fn room(&self) -> usize {
        BATCH - self.batch.len()
    }

    fn copies(&mut self, body: &[u8], heads: &CopyHeads<E>) -> bool {
        let count = heads.targets.len();
        if body.len() > MAX_BODY || self.small.free() < count || self.room() < count {
            return false;
        }
        for head in heads.finished() {
            // The loop over the lines comes to the same headers as the finished ones.
            let packet = self.small.packet(&[head.bytes(), body].concat()).expect("short");
            self.batch.push(Queued { packet, payload: None });
        }
        true
    }

    fn chains(&mut self, payload: &mut FakeShared, heads: &CopyHeads<E>) -> bool {
        let count = heads.targets.len();
        if self.small.free() < count || self.room() < count || usize::from(payload.references) < count {
            return false;
        }
        payload.references -= u16::try_from(count).unwrap();
        for head in heads.finished() {
            let packet = self.small.packet(head.bytes()).unwrap();
            self.batch.push(Queued { packet, payload: Some(payload.packet.clone()) });
        }
        true
    }

    fn in_place(&mut self, mut packet: FakePacket, payload: Range<usize>, head: &HeadOf<E>) -> bool {
        let room = packet.headroom + payload.start >= size_of_val(head.words());
        if self.room() == 0 || !packet.plain || payload.end > packet.bytes.len() || !room {
            return false;
        }
        packet.bytes = [head.bytes(), &packet.bytes[payload]].concat();
        self.batch.push(Queued { packet, payload: None });
        true
    }

    fn push(&mut self, packet: FakePacket) -> Result<(), FakePacket> {
        if self.room() == 0 {
            return Err(packet);
        }
        self.batch.push(Queued { packet, payload: None });
        Ok(())
    }

    fn transmit(&mut self) -> usize {
        let mut cable = self.cable.borrow_mut();
        cable.calls += 1;
        if cable.drains_after.is_some_and(|calls| cable.calls.is_multiple_of(calls)) {
            cable.drain();
        }
        let count = self.batch.len().min(cable.ring_size - cable.ring.len());
        cable.ring.extend(self.batch.drain(..count));
        count
    }

    fn batch(&self) -> impl Iterator<Item = &[u8]> {
        self.batch.iter().map(|queued| queued.packet.data())
    }

    fn discard(&mut self) -> usize {
        self.batch.drain(..).count()
    }
}
