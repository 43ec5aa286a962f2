//! Replication by fan-out: one frame, so many copies, into net_null, which frees them.

use std::hint::black_box;

use bench::{NODE, tep};
use dpdk::{
    AttachError, BATCH, DeviceSpecError, Eal, EalConfig, EalError, Heads, MAX_BODY, MIN_DATA_ROOM, Mbuf,
    Mempool, PoolError, Port, PortConfig, PortError, ThreadRegistration, TxBatch, TxQueue,
};
use wire::{FrameHeader, MacAddr, OVERHEAD, Template};

/// TEPs that members are taken from.
const TEPS: u32 = 4096;
/// Mbufs that DPDK keeps at hand for the thread.
const CACHE: u32 = 512;
/// Bytes of the longest inner frame.
pub const MAX_INNER: usize = 1500;

/// Why there is nothing to measure.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each is what it holds")]
pub enum ReplicateError {
    #[error(transparent)]
    Eal(#[from] EalError),
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error(transparent)]
    Port(#[from] PortError),
    #[error(transparent)]
    Device(#[from] DeviceSpecError),
    /// The port has no transmit queue.
    #[error("net_null gave no transmit queue")]
    NoQueue,
    /// The pool is empty, though nothing is in flight.
    #[error("no packet buffer is left for {0} copies: some were not given back")]
    NoMbuf(usize),
    /// net_null takes all it gets.
    #[error("net_null took {sent} of {offered} copies")]
    NotSent {
        /// What it took.
        sent: usize,
        /// What it was offered.
        offered: usize,
    },
}

/// A port that frees what it gets, and what copies are made of.
pub struct Replicator {
    batch: TxBatch,
    queue: TxQueue,
    /// Where frames are received; chains share these.
    received: Mempool,
    /// What copies, and the headers of chains, are made of.
    small: Mempool,
    templates: Vec<Template>,
    /// Room for an outer header, then the longest inner frame.
    frame: Vec<u8>,
    _thread: ThreadRegistration,
}

impl Replicator {
    /// Starts DPDK, which can be done once in a process, for the calling thread.
    ///
    /// # Errors
    /// DPDK does not start.
    pub fn new(hugepages: bool) -> Result<Self, ReplicateError> {
        let eal = Eal::init(&EalConfig { memory_mb: 64, hugepages, ..EalConfig::default() })?;
        let thread = eal.register_thread()?;
        let received = Mempool::new(&eal, "received", 2047, CACHE, 2048)?;
        let small = Mempool::new(&eal, "copies", 8191, CACHE, MIN_DATA_ROOM)?;
        let port = Port::open(&eal, &eal.attach(&"vdev:net_null0,no-rx=1".parse()?, 1)?)?;
        let config = PortConfig { chains: true, ..PortConfig::default() };
        let mut queues = port.configure(&config, std::slice::from_ref(&received))?;
        let queue = queues.tx.pop().ok_or(ReplicateError::NoQueue)?;
        let [port_mac, next_hop] = [2, 3].map(|last| MacAddr([2, 0, 0, 0, 0, last]));
        let templates = (0..TEPS).map(|i| Template::new(port_mac, Some(next_hop), tep(i))).collect();
        let mut frame = vec![0x5a; OVERHEAD + MAX_INNER];
        frame[OVERHEAD..OVERHEAD + 6].fill(0xff);
        Ok(Self { batch: TxBatch::new(), queue, received, small, templates, frame, _thread: thread })
    }

    /// `frames` frames, each with its own VNI, to `copies` members each: copied up to [`MAX_BODY`] bytes of inner
    /// frame, beyond that chained. Batches cross frames, as the daemon's do.
    ///
    /// # Errors
    /// A buffer is missing, or a copy was not taken.
    pub fn replicate(&mut self, frames: u32, copies: usize, inner_len: u16) -> Result<(), ReplicateError> {
        for frame in 0..frames {
            let members = Members { first: frame.wrapping_mul(2_654_435_761), copies };
            let header = FrameHeader::new(NODE, 0, frame, inner_len);
            if usize::from(inner_len) <= MAX_BODY {
                self.copy(members, &header, inner_len)?;
            } else {
                self.chain(members, &header, inner_len)?;
            }
        }
        self.flush()
    }

    fn copy(&mut self, members: Members, header: &FrameHeader, inner_len: u16) -> Result<(), ReplicateError> {
        for (from, count) in members.parts() {
            self.make_room(count)?;
            let inner = black_box(&self.frame[OVERHEAD..OVERHEAD + usize::from(inner_len)]);
            let heads = MemberHeads { header, templates: &self.templates, members, from };
            let made = self.batch.copies(&self.small, count, inner, &heads);
            made.then_some(()).ok_or(ReplicateError::NoMbuf(count))?;
        }
        Ok(())
    }

    fn chain(
        &mut self,
        members: Members,
        header: &FrameHeader,
        inner_len: u16,
    ) -> Result<(), ReplicateError> {
        let none = ReplicateError::NoMbuf(members.copies);
        // What a port would have received: here it is copied, once per frame.
        let range = OVERHEAD..OVERHEAD + usize::from(inner_len);
        let received = Mbuf::from_bytes(&self.received, black_box(&self.frame[..range.end]));
        let copies = u16::try_from(members.copies).unwrap_or(u16::MAX);
        let Some(mut payload) = received.and_then(|received| received.share(range, copies).ok()) else {
            return Err(none);
        };
        for (from, count) in members.parts() {
            self.make_room(count)?;
            let heads = MemberHeads { header, templates: &self.templates, members, from };
            let made = self.batch.chains(&self.small, count, &mut payload, &heads);
            made.then_some(()).ok_or(ReplicateError::NoMbuf(count))?;
        }
        Ok(())
    }

    fn make_room(&mut self, count: usize) -> Result<(), ReplicateError> {
        if self.batch.room() < count { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), ReplicateError> {
        let offered = self.batch.len();
        let sent = self.queue.transmit(&mut self.batch);
        if sent == offered { Ok(()) } else { Err(ReplicateError::NotSent { sent, offered }) }
    }

    /// Mbufs that are not in their pools: 0 when nothing is lost.
    pub fn mbufs_in_use(&self) -> u32 {
        self.small.in_use() + self.received.in_use()
    }

    /// The outer headers of one frame's copies, and its inner frame, as they would be sent; made and freed.
    ///
    /// # Errors
    /// A buffer is missing.
    pub fn sample(&mut self, copies: usize, inner_len: u16) -> Result<Vec<Vec<u8>>, ReplicateError> {
        let members = Members { first: 0, copies: copies.min(BATCH) };
        let header = FrameHeader::new(NODE, 0, 1, inner_len);
        if usize::from(inner_len) <= MAX_BODY {
            self.copy(members, &header, inner_len)?;
        } else {
            self.chain(members, &header, inner_len)?;
        }
        let frames = self.batch.frames().map(<[u8]>::to_vec).collect();
        self.flush()?;
        Ok(frames)
    }
}

/// The headers of a frame's copies to some of its members.
struct MemberHeads<'h> {
    header: &'h FrameHeader,
    templates: &'h [Template],
    members: Members,
    from: usize,
}

impl Heads for MemberHeads<'_> {
    #[inline(always)]
    fn common(&self) -> &[u64; 4] {
        self.header.half()
    }

    #[inline(always)]
    fn own(&self) -> impl Iterator<Item = (&[u64; 8], u16)> {
        let (templates, members, sum) = (self.templates, self.members, self.header.sum());
        (self.from..).map(move |member| {
            let template = &templates[members.place(member)];
            (template.line(), template.checksum(sum))
        })
    }
}

/// The members of a frame: places among the templates, from some place on, in steps.
#[derive(Clone, Copy)]
struct Members {
    first: u32,
    copies: usize,
}

impl Members {
    #[inline(always)]
    fn place(self, member: usize) -> usize {
        (self.first as usize + member * 7) % TEPS as usize
    }

    /// Parts of at most a batch: where each begins and how many they are.
    fn parts(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.copies).step_by(BATCH).map(move |from| (from, BATCH.min(self.copies - from)))
    }
}
