//! The packet path: a worker polls its receive queue, decides about each frame, and sends a copy to every other member.
//!
//! Read [`Worker::turn`] first: it is the life of a burst. Nothing here allocates, locks, makes a system call or writes a log
//! line; what the bytes of a copy look like is `wire`'s, how they get into a packet buffer is `dpdk`'s.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use arrayvec::ArrayVec;
use bcast_domain::{DomainId, MemberList, Reader, TepIndex, Vni};
use dpdk::{BATCH, BURST, Body, Burst, Mbuf, Mempool, RxQueue, SharedPayload, Tsc, TxBatch, TxQueue};
use wire::header::Tunnel;
use wire::{CopyDropReason, DropReason, FrameHeader, NodeAddresses, OVERHEAD, Outer, Rejection, Template};
use zerocopy::FromBytes;

use crate::config::{LiveConfig, OuterSource};
use crate::counters::{Counters, NoMemory, WorkerCells};
use crate::limits::{Ask, Clock, Limits, Lots};
use crate::punt::PuntPort;
use crate::teps::TepArray;

/// How often a full transmit ring is tried again before the rest of a batch is counted and freed.
const TX_ATTEMPTS: usize = 64;
/// Empty polls in a row after which a worker that may sleep does.
const IDLE_POLLS: u32 = 64;

/// What of the configuration workers read while it changes.
pub struct Live {
    share_payload_from: AtomicU32,
    origin: AtomicBool,
    idle_sleep_us: AtomicU32,
    punt_rate: AtomicU32,
    /// Whether the port's link is up, where the kernel tells.
    link_up: AtomicBool,
    /// What domains and TEPs may send.
    pub limits: Limits,
}

impl Live {
    /// As configured.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(config: LiveConfig) -> Result<Self, NoMemory> {
        let live = Self {
            share_payload_from: AtomicU32::default(),
            origin: AtomicBool::default(),
            idle_sleep_us: AtomicU32::default(),
            punt_rate: AtomicU32::default(),
            link_up: AtomicBool::new(true),
            limits: Limits::new(config.limits)?,
        };
        live.set(config);
        Ok(live)
    }

    /// While the link is down nothing is handed to the port: a driver on a kernel interface would keep it, and send it when
    /// the link is back, when it may be wrong. Returns what was so before.
    pub fn set_link_up(&self, up: bool) -> bool {
        self.link_up.swap(up, Relaxed)
    }

    /// Takes effect at each worker's next burst.
    pub fn set(&self, config: LiveConfig) {
        self.share_payload_from.store(config.share_payload_from.into(), Relaxed);
        self.origin.store(config.outer_source == OuterSource::Origin, Relaxed);
        self.idle_sleep_us.store(config.idle_sleep_us, Relaxed);
        self.punt_rate.store(config.punt_rate, Relaxed);
        self.limits.set(config.limits);
    }
}

/// What a port can carry, as workers need to know it.
#[derive(Clone, Copy, Debug)]
pub struct PortLimits {
    /// Bytes of the longest inner frame whose copy fits.
    pub max_inner: usize,
    /// Whether one payload may be shared by many copies (chained buffers).
    pub can_share: bool,
}

/// The parts that a worker is made of.
pub struct Worker {
    /// Its receive queue.
    pub rx: RxQueue,
    /// Its transmit queue, and what waits for it.
    pub out: Outbox,
    /// Its view of the domains and TEPs.
    pub reader: Reader<TepArray>,
    /// The way to the kernel and back.
    pub punt: PuntPort,
    /// The node's addresses.
    pub node: NodeAddresses,
    /// What may change while it runs.
    pub live: Arc<Live>,
    /// What this worker has taken of the limits.
    pub lots: Lots,
    /// What time it is.
    pub tsc: Tsc,
}

/// A frame that passed all checks of its outer headers.
struct Candidate {
    mbuf: Mbuf,
    outer: Outer,
    source: TepIndex,
}

impl Worker {
    /// Polls until `stop` is set.
    pub fn run(mut self, stop: &AtomicBool) {
        let mut empty_polls = 0_u32;
        while !stop.load(Relaxed) {
            let busy = self.turn();
            // All references into the tables ended with the turn, and so did the batches made by them.
            self.reader.quiesce();
            if busy {
                empty_polls = 0;
                continue;
            }
            std::hint::spin_loop();
            empty_polls = empty_polls.saturating_add(1);
            let sleep_us = self.out.live.idle_sleep_us.load(Relaxed);
            if sleep_us > 0 && empty_polls >= IDLE_POLLS {
                let _offline = self.reader.offline();
                std::thread::sleep(Duration::from_micros(sleep_us.into()));
            }
        }
    }

    /// One burst, from the receive queue to the transmit queue. Says whether there was anything to do.
    fn turn(&mut self) -> bool {
        self.out.counters().polls.add(1);
        let kernel_frames = self.punt.send_kernel_frames(&mut self.out);
        let mut burst = Burst::new();
        if self.rx.receive(&mut burst) == 0 {
            return kernel_frames;
        }
        let sources = self.reader.array();

        // 1. Decapsulate and check the outer headers; hand the kernel what is the kernel's.
        let mut candidates = ArrayVec::<Candidate, BURST>::new();
        let mut vnis = ArrayVec::<Vni, BURST>::new();
        self.out.counters().rx_frames.add(burst.len() as u64);
        for mbuf in burst.drain() {
            match wire::outer(mbuf.data(), &self.node) {
                Ok(outer) => match sources.find(outer.source) {
                    Some(source) => {
                        vnis.push(Vni::from(outer.key));
                        candidates.push(Candidate { mbuf, outer, source });
                    }
                    None => self.out.drop_frame(DropReason::TepUnknown),
                },
                Err(Rejection::Drop(reason)) => self.out.drop_frame(reason),
                Err(Rejection::Punt) => match self.punt.offer(mbuf, self.out.live.punt_rate.load(Relaxed)) {
                    Ok(()) => self.out.counters().punted.add(1),
                    Err(reason) => self.out.drop_frame(reason),
                },
            }
        }

        // 2. Look all their domains up at once, so that the cache misses overlap.
        let mut domains = [None; BURST];
        self.reader.lookup_bulk(&vnis, &mut domains);

        // 3. Decide about each frame, and replicate it. The array is fetched anew: one that was published before the lists
        // has all their members, and an index keeps its TEP until every worker has passed a quiescent point.
        let teps = self.reader.array();
        let settings = Settings {
            share_payload_from: self.out.live.share_payload_from.load(Relaxed) as usize,
            origin: self.out.live.origin.load(Relaxed),
        };
        let clock = Clock { now: self.tsc.now(), per_second: self.tsc.per_second() };
        let limits = Some(&self.live.limits).filter(|limits| limits.enabled());
        for (candidate, domain) in candidates.into_iter().zip(domains) {
            let accepted = Accepted::check(candidate, domain).and_then(|frame| {
                let cells = self.out.cells().domain(frame.domain.domain());
                limits.map_or(Ok(()), |limits| limits.admit(frame.ask(), &self.lots, cells, clock))?;
                Ok(frame)
            });
            match accepted {
                Ok(frame) => self.out.replicate(frame, teps, settings),
                Err(reason) => self.out.drop_frame(reason),
            }
        }
        self.out.flush(teps);
        true
    }
}

/// What of [`Live`] one burst goes by.
#[derive(Clone, Copy)]
struct Settings {
    share_payload_from: usize,
    origin: bool,
}

/// A frame that every member but its source shall get.
struct Accepted<'d> {
    candidate: Candidate,
    domain: &'d MemberList,
    /// Where its source stands among the members.
    position: usize,
    /// Bytes of the inner frame.
    inner_len: usize,
    /// It goes before others: see [`wire::is_control`].
    control: bool,
}

impl<'d> Accepted<'d> {
    fn check(candidate: Candidate, domain: Option<&'d MemberList>) -> Result<Self, DropReason> {
        let domain = domain.ok_or(DropReason::VniUnknown)?;
        let position = domain.position(candidate.source).ok_or(DropReason::TepNotMember)?;
        let inner = candidate.outer.inner(candidate.mbuf.data())?;
        let (inner_len, control) = (inner.len(), wire::is_control(inner));
        Ok(Self { candidate, domain, position, inner_len, control })
    }

    /// What it asks of the limits.
    fn ask(&self) -> Ask {
        Ask {
            tep: self.candidate.source,
            domain: self.domain.domain(),
            copies: self.domain.members().len() as u64 - 1,
            inner_len: self.inner_len as u64,
            control: self.control,
        }
    }
}

/// Copies of one frame that stand in the batch one after another.
struct Run {
    domain: DomainId,
    copies: usize,
    inner_len: usize,
}

/// A transmit queue with the batch that fills up for it.
pub struct Outbox {
    tx: TxQueue,
    batch: TxBatch,
    /// Whose the copies in the batch are, in order.
    runs: ArrayVec<Run, BATCH>,
    /// Fresh buffers for headers and for short copies.
    small: Mempool,
    /// Fresh buffers for copies of any length, where the payload cannot be shared.
    large: Mempool,
    /// The inner frame at hand, aligned for copying.
    body: Body,
    limits: PortLimits,
    /// What may change while the worker runs.
    live: Arc<Live>,
    counters: Arc<Counters>,
    worker: usize,
}

impl Outbox {
    /// For worker number `worker`, with an empty batch.
    pub fn new(
        tx: TxQueue,
        small: Mempool,
        large: Mempool,
        limits: PortLimits,
        live: Arc<Live>,
        counters: Arc<Counters>,
        worker: usize,
    ) -> Self {
        let (batch, body) = (TxBatch::new(), Body::new());
        Self { tx, batch, runs: ArrayVec::new(), small, large, body, limits, live, counters, worker }
    }

    fn cells(&self) -> &WorkerCells {
        &self.counters.workers[self.worker]
    }

    /// This worker's totals.
    pub fn counters(&self) -> &crate::counters::WorkerCounters {
        &self.cells().totals
    }

    fn drop_frame(&self, reason: DropReason) {
        self.counters().drops[reason.index()].add(1);
    }

    /// Makes a copy for every member but the source (split horizon).
    fn replicate(&mut self, frame: Accepted, teps: &TepArray, settings: Settings) {
        let Accepted { candidate: Candidate { mbuf, outer, .. }, domain, position, inner_len, .. } = frame;
        let members = domain.members();
        let (before, after) = (&members[..position], &members[position + 1..]);
        let id = domain.domain();
        let wanted = before.len() + after.len();
        self.counters().rx_accepted.add(1);
        self.counters().copies_wanted.add(wanted as u64);
        self.cells().domain(id).frames.add(1);

        let Some(length) = u16::try_from(inner_len).ok().filter(|_| inner_len <= self.limits.max_inner)
        else {
            for &tep in before.iter().chain(after) {
                self.cells().drop_copy(Some(tep), id, CopyDropReason::MtuExceeded);
            }
            return;
        };
        let source = if settings.origin { outer.source } else { outer.destination };
        let header = FrameHeader::new(source, outer.tos, outer.key, length);
        let mut payload = self.payload(mbuf, &outer, inner_len, wanted, settings);
        for chunk in before.chunks(BURST).chain(after.chunks(BURST)) {
            self.copy_to(chunk, id, &header, inner_len, &mut payload, teps);
        }
    }

    /// How the inner frame shall get into its copies.
    fn payload(
        &mut self,
        mbuf: Mbuf,
        outer: &Outer,
        inner_len: usize,
        copies: usize,
        settings: Settings,
    ) -> Payload {
        let share = self.limits.can_share && inner_len >= settings.share_payload_from;
        let mbuf = match u16::try_from(copies) {
            Ok(copies) if share => match mbuf.share(outer.inner_range(), copies) {
                Ok(shared) => return Payload::Shared(shared),
                Err(mbuf) => mbuf,
            },
            _ => mbuf,
        };
        let fits = mbuf.data().get(outer.inner_range()).is_some_and(|inner| self.body.load(inner));
        if fits { Payload::Short } else { Payload::Long(mbuf, outer.inner_range()) }
    }

    /// Puts a copy for each of at most [`BURST`] members into the batch.
    #[inline(always)]
    fn copy_to(
        &mut self,
        members: &[TepIndex],
        domain: DomainId,
        header: &FrameHeader,
        inner_len: usize,
        payload: &mut Payload,
        teps: &TepArray,
    ) {
        let templates = teps.templates();
        let mut to = ArrayVec::<&Template, BURST>::new();
        for tep in members {
            if let Some(template) = templates.get(tep.index())
                && template.is_resolved()
            {
                to.push(template);
            }
        }
        if to.len() < members.len() {
            self.drop_unresolved(members, domain, teps);
            if to.is_empty() {
                // A run of no copies takes no room in the batch, so nothing would bound the runs.
                return;
            }
        }
        if self.batch.room() < to.len() {
            self.flush(teps);
        }
        let head = |copy: usize| header.head(to[copy]).0;
        let made = match payload {
            Payload::Shared(shared) => self.batch.chains(&self.small, to.len(), shared, head),
            Payload::Short => self.batch.copies(&self.small, to.len(), &self.body, head),
            Payload::Long(mbuf, range) => {
                let inner = mbuf.data().get(range.clone()).unwrap_or_default();
                let frames = to.iter().map(|template| header.head(template).to_bytes());
                copy_long(&mut self.batch, &self.large, frames, inner)
            }
        };
        if made {
            self.runs.push(Run { domain, copies: to.len(), inner_len });
        } else {
            for tep in members.iter().filter(|&&tep| teps.is_resolved(tep)) {
                self.cells().drop_copy(Some(*tep), domain, CopyDropReason::NoMbuf);
            }
        }
    }

    #[cold]
    fn drop_unresolved(&self, members: &[TepIndex], domain: DomainId, teps: &TepArray) {
        for tep in members.iter().filter(|&&tep| !teps.is_resolved(tep)) {
            self.cells().drop_copy(Some(*tep), domain, CopyDropReason::TepUnresolved);
        }
    }

    /// Hands the batch to the port: what it does not take after [`TX_ATTEMPTS`] is counted and freed.
    fn flush(&mut self, teps: &TepArray) {
        let mut sent = 0;
        let attempts = if self.live.link_up.load(Relaxed) { TX_ATTEMPTS } else { 0 };
        for _ in 0..attempts {
            sent += self.tx.transmit(&mut self.batch);
            if self.batch.is_empty() {
                break;
            }
            std::hint::spin_loop();
        }
        self.counters().tx_copies.add(sent as u64);
        let mut left = sent;
        for run in &self.runs {
            let copies = run.copies.min(left);
            left -= copies;
            let cells = self.cells().domain(run.domain);
            cells.copies.add(copies as u64);
            cells.bytes.add((copies * run.inner_len) as u64);
        }
        if !self.batch.is_empty() {
            self.drop_refused(sent, teps);
        }
        self.runs.clear();
    }

    /// Counts and frees what the port did not take: all of the batch's runs beyond the first `sent` copies.
    #[cold]
    fn drop_refused(&mut self, mut sent: usize, teps: &TepArray) {
        let mut refused = self.batch.frames();
        for run in &self.runs {
            let skipped = run.copies.min(sent);
            sent -= skipped;
            for copy in refused.by_ref().take(run.copies - skipped) {
                let header = Tunnel::ref_from_prefix(copy).ok();
                let tep = header.and_then(|(header, _)| teps.find(header.ipv4.destination()));
                self.cells().drop_copy(tep, run.domain, CopyDropReason::TxFull);
            }
        }
        drop(refused);
        self.batch.discard_all();
    }

    /// Sends the kernel's own frames, which belong to no domain. What the port refuses is counted and freed.
    pub fn send_plain(&mut self, frames: impl Iterator<Item = Mbuf>) -> usize {
        let mut count = 0;
        for mbuf in frames.take(BURST) {
            if self.batch.push(mbuf).is_err() {
                break;
            }
            count += 1;
        }
        if count > 0 {
            let up = self.live.link_up.load(Relaxed);
            let sent = if up { self.tx.transmit(&mut self.batch) } else { 0 };
            self.counters().tx_kernel.add(sent as u64);
            let refused = self.batch.discard_all();
            self.counters().tx_kernel_drops.add(refused as u64);
        }
        count
    }
}

/// How the inner frame gets into the copies.
enum Payload {
    /// From the outbox's `body`.
    Short,
    /// By reference, behind a header buffer each.
    Shared(SharedPayload),
    /// From the received frame: it is too long for `body`, and the port or the configuration forbids sharing.
    Long(Mbuf, Range<usize>),
}

/// Long copies, all or none; only ports that cannot share a payload come here.
fn copy_long(
    batch: &mut TxBatch,
    pool: &Mempool,
    headers: impl ExactSizeIterator<Item = [u8; OVERHEAD]>,
    inner: &[u8],
) -> bool {
    let mut copies = ArrayVec::<Mbuf, BURST>::new();
    for header in headers {
        let Some(mut copy) = Mbuf::alloc(pool) else { return false };
        let Some(frame) = copy.append(OVERHEAD + inner.len()) else { return false };
        let (head, body) = frame.split_at_mut(OVERHEAD);
        head.copy_from_slice(&header);
        body.copy_from_slice(inner);
        copies.push(copy);
    }
    copies.into_iter().all(|copy| batch.push(copy).is_ok())
}
