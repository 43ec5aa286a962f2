//! From a frame and its targets to packets in the transmit queue; and what becomes of each is counted.

use std::ops::Range;
use std::sync::Arc;

use arrayvec::ArrayVec;
use bcast_domain::{DomainId, TepIndex};
use dpdk::{BATCH, BURST, Heads, MAX_BODY, Mbuf, Mempool, SharedPayload, TxBatch, TxQueue};
use wire::header::Tunnel;
use wire::{CopyDropReason, DropReason, FrameHeader, OVERHEAD, Outer, Template};
use zerocopy::FromBytes;

use crate::counters::{WorkerCells, WorkerCounters};
use crate::fanout::Class;
use crate::runtime::{Live, Settings};
use crate::targets::Targets;
use crate::teps::TepArray;

/// How often a full transmit ring is tried again before the rest of a batch is counted and freed, by class: some microseconds for
/// data; a hundred or two for control frames, which are few, and which a ring full of others' data must not cost a failover.
const TX_ATTEMPTS: [usize; Class::ALL.len()] = [4096, 64];

/// What a port can carry, as workers need to know it.
#[derive(Clone, Copy, Debug)]
pub struct PortLimits {
    /// Bytes of the longest inner frame whose copy fits.
    pub max_inner: usize,
    /// Whether one payload may be shared by many copies (chained buffers).
    pub can_share: bool,
}

/// A frame that shall be copied.
#[derive(Clone, Copy)]
pub struct Frame<'f> {
    /// What its outer headers say.
    pub outer: &'f Outer,
    /// What its copies' outer headers have in common.
    pub header: &'f FrameHeader,
    /// Its domain.
    pub domain: DomainId,
    /// What the burst goes by.
    pub settings: Settings,
}

/// A frame on its way to its targets.
pub struct Fanout {
    domain: DomainId,
    header: FrameHeader,
    /// Where the inner frame is in the received one.
    inner: Range<usize>,
    payload: Payload,
}

/// How the inner frame gets into the copies.
enum Payload {
    /// Byte for byte, from the received frame.
    Copied(Mbuf),
    /// By reference, behind a header buffer each.
    Shared(SharedPayload),
}

impl Fanout {
    /// Bytes of packet buffer that it holds.
    pub fn bytes(&self) -> usize {
        self.inner.len() + OVERHEAD
    }
}

/// The outer headers of a frame's copies to some targets.
///
/// By reference: moving what was just written as words costs a dozen cycles, as the compiler moves wider pieces, which the
/// processor cannot take from its store buffer.
struct CopyHeads<'t> {
    header: &'t FrameHeader,
    templates: &'t [Template],
    targets: &'t Targets<'t>,
}

impl Heads for CopyHeads<'_> {
    const LEN: usize = OVERHEAD;
    const CHECKSUM_AT: usize = wire::encap::CHECKSUM_AT;
    type Common = [u64; 4];

    #[inline(always)]
    fn common(&self) -> &[u64; 4] {
        self.header.common()
    }

    #[inline(always)]
    fn own(&self) -> impl Iterator<Item = (&[u64; 8], u16)> {
        let (templates, sum) = (self.templates, self.header.sum());
        self.targets.iter().map(move |tep| {
            let template = &templates[tep.index()];
            (template.line(), template.checksum(sum))
        })
    }
}

/// Copies of one frame that stand in the batch one after another. In few bytes: there is one for each frame.
struct Run {
    domain: DomainId,
    copies: u16,
    inner_len: u16,
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
    limits: PortLimits,
    /// Traffic class of the copies in the batch.
    class: Class,
    live: Arc<Live>,
    cells: Arc<WorkerCells>,
}

impl Outbox {
    /// For the worker that counts in `cells`, with an empty batch.
    pub fn new(
        tx: TxQueue,
        small: Mempool,
        large: Mempool,
        limits: PortLimits,
        live: Arc<Live>,
        cells: Arc<WorkerCells>,
    ) -> Self {
        let batch = TxBatch::new();
        Self { tx, batch, runs: ArrayVec::new(), small, large, limits, class: Class::Data, live, cells }
    }

    /// All that this worker counts.
    #[inline(always)]
    pub fn cells(&self) -> &WorkerCells {
        &self.cells
    }

    /// This worker's totals.
    #[inline(always)]
    pub fn counters(&self) -> &WorkerCounters {
        &self.cells().totals
    }

    /// Counts a received frame that goes no further.
    #[inline]
    pub fn drop_frame(&self, reason: DropReason) {
        self.counters().drops[reason.index()].add(1);
    }

    /// Says of which class the next copies are.
    #[inline(always)]
    pub fn class(&mut self, class: Class) {
        self.class = class;
    }

    /// Whether a copy of so many bytes of inner frame fits the port.
    #[inline(always)]
    pub fn carries(&self, inner_len: u16) -> bool {
        usize::from(inner_len) <= self.limits.max_inner
    }

    /// Makes a frame ready to be copied so often, now and then.
    pub fn fanout(&self, mbuf: Mbuf, frame: &Frame, copies: usize) -> Fanout {
        let Frame { outer, header, domain, settings } = *frame;
        let payload = match u16::try_from(copies) {
            Ok(copies) if self.shares(outer, settings) => match mbuf.share(outer.inner_range(), copies) {
                Ok(shared) => Payload::Shared(shared),
                Err(mbuf) => Payload::Copied(mbuf),
            },
            _ => Payload::Copied(mbuf),
        };
        Fanout { domain, header: *header, inner: outer.inner_range(), payload }
    }

    #[inline(always)]
    fn shares(&self, outer: &Outer, settings: Settings) -> bool {
        self.limits.can_share && usize::from(outer.inner_len()) >= settings.share_payload_from
    }

    /// Copies a frame to all its targets, all at once. Where the payload is not shared, or there is one target, the last copy is made
    /// of the received buffer itself: the outer header is overwritten, the inner frame stays where it is.
    #[inline(always)]
    pub fn copy_all(&mut self, mbuf: Mbuf, frame: &Frame, targets: Targets, teps: &TepArray) {
        let Frame { outer, header, domain, settings } = *frame;
        let Some(last) = targets.last() else { return };
        let alone = targets.len() == 1;
        if !mbuf.is_plain() || (self.shares(outer, settings) && !alone) {
            let mut fanout = self.fanout(mbuf, frame, targets.len());
            return self.copy(&mut fanout, targets, teps);
        }
        let (others, last_one) = targets.split_at(targets.len() - 1);
        if !others.is_empty() {
            self.copy_bytes(&mbuf, outer.inner_range(), header, domain, others, teps);
        }
        let template = match teps.templates().get(last.index()) {
            Some(template) if template.is_resolved() => template,
            _ => return self.cells().drop_copy(Some(last), domain, CopyDropReason::TepUnresolved),
        };
        if self.batch.room() == 0 {
            self.flush(teps);
        }
        // The buffer is plain, the batch has room, and the inner frame is within it: so only room before that can be missing.
        let made = self.batch.in_place(mbuf, outer.inner_range(), 42, header.head(template).words());
        let made = if made { Ok(()) } else { Err(CopyDropReason::NoHeadroom) };
        self.account(domain, outer.inner_len(), &last_one, made);
    }

    /// Copies a frame to some of its targets.
    pub fn copy(&mut self, fanout: &mut Fanout, targets: Targets, teps: &TepArray) {
        let Fanout { domain, header, inner, payload } = fanout;
        match payload {
            Payload::Copied(mbuf) => self.copy_bytes(mbuf, inner.clone(), header, *domain, targets, teps),
            Payload::Shared(shared) => self.copy_shared(shared, header, *domain, targets, teps),
        }
    }

    /// Copies the inner frame, which is at `inner` of the received one, to some targets.
    #[inline(never)]
    fn copy_bytes(
        &mut self,
        mbuf: &Mbuf,
        inner: Range<usize>,
        header: &FrameHeader,
        domain: DomainId,
        targets: Targets,
        teps: &TepArray,
    ) {
        let inner = mbuf.data().get(inner).unwrap_or_default();
        let inner_len = u16::try_from(inner.len()).unwrap_or(u16::MAX);
        let (mut rest, templates) = (targets, teps.templates());
        while !rest.is_empty() {
            let mut resolved = ArrayVec::new();
            let targets = self.next_batch(&mut rest, domain, teps, &mut resolved);
            let heads = CopyHeads { header, templates, targets: &targets };
            let made = if inner.len() <= MAX_BODY {
                or_no_mbuf(self.batch.copies(&self.small, targets.len(), inner, &heads))
            } else {
                long_copies(&mut self.batch, &self.large, &heads, inner)
            };
            self.account(domain, inner_len, &targets, made);
        }
    }

    /// Sends some targets a header each, and the payload behind it by reference.
    #[inline(never)]
    fn copy_shared(
        &mut self,
        payload: &mut SharedPayload,
        header: &FrameHeader,
        domain: DomainId,
        targets: Targets,
        teps: &TepArray,
    ) {
        let (mut rest, templates, inner_len) = (targets, teps.templates(), payload.len());
        while !rest.is_empty() {
            let mut resolved = ArrayVec::new();
            let targets = self.next_batch(&mut rest, domain, teps, &mut resolved);
            let heads = CopyHeads { header, templates, targets: &targets };
            let made = or_no_mbuf(self.batch.chains(&self.small, targets.len(), payload, &heads));
            self.account(domain, inner_len, &targets, made);
        }
    }

    /// Takes as many targets as make a batch, and makes room for them. Those that cannot be reached now are counted; the
    /// others are in `resolved` then.
    #[inline(always)]
    fn next_batch<'r, 't: 'r>(
        &mut self,
        rest: &mut Targets<'t>,
        domain: DomainId,
        teps: &TepArray,
        resolved: &'r mut ArrayVec<TepIndex, BATCH>,
    ) -> Targets<'r> {
        let (next, after) = rest.split_at(BATCH);
        *rest = after;
        let mut next: Targets<'r> = next;
        // The last target has the largest index.
        let known = next.last().is_none_or(|last| last.index() < teps.templates().len());
        let sure = teps.all_resolved() && known;
        // One that is not resolved, or an index that waits for another TEP, is no matter to domains without it.
        if !sure && !next.iter().all(|tep| teps.is_resolved(tep)) {
            next = self.resolved(next, domain, teps, resolved);
        }
        if self.batch.room() < next.len() {
            self.flush(teps);
        }
        next
    }

    #[cold]
    fn resolved<'t>(
        &self,
        targets: Targets,
        domain: DomainId,
        teps: &TepArray,
        resolved: &'t mut ArrayVec<TepIndex, BATCH>,
    ) -> Targets<'t> {
        for tep in targets.iter() {
            if teps.is_resolved(tep) {
                resolved.push(tep);
            } else {
                self.cells().drop_copy(Some(tep), domain, CopyDropReason::TepUnresolved);
            }
        }
        Targets::all(resolved, usize::MAX)
    }

    /// Counts copies that were put into the batch, as sent until the port refuses them; or why they were not made.
    #[inline(always)]
    fn account(&mut self, domain: DomainId, inner_len: u16, targets: &Targets, made: Made) {
        let copies = targets.len();
        if let Err(reason) = made {
            self.drop_copies(*targets, domain, reason);
        } else if copies > 0 {
            let cells = self.cells().domain(domain);
            cells.copies.add(copies as u64);
            cells.bytes.add(copies as u64 * u64::from(inner_len));
            let copies = u16::try_from(copies).unwrap_or(u16::MAX);
            self.runs.push(Run { domain, copies, inner_len });
        }
    }

    /// Counts copies that are not made.
    #[cold]
    pub fn drop_copies(&self, targets: Targets, domain: DomainId, reason: CopyDropReason) {
        for tep in targets.iter() {
            self.cells().drop_copy(Some(tep), domain, reason);
        }
    }

    /// Hands the batch to the port: what it does not take after [`TX_ATTEMPTS`] is counted and freed. A port whose link is down is
    /// given nothing.
    #[inline(always)]
    pub fn flush(&mut self, teps: &TepArray) {
        let (mut sent, link_up) = (0, self.live.link_up());
        let attempts = if link_up { TX_ATTEMPTS[self.class as usize] } else { 0 };
        for _ in 0..attempts {
            sent += self.tx.transmit(&mut self.batch);
            if self.batch.is_empty() {
                break;
            }
            std::hint::spin_loop();
        }
        self.counters().tx_copies.add(sent as u64);
        if !self.batch.is_empty() {
            let reason = if link_up { CopyDropReason::TxFull } else { CopyDropReason::LinkDown };
            self.drop_refused(sent, reason, teps);
        }
        self.runs.clear();
    }

    /// Counts and frees what the port did not take: all of the batch's runs beyond the first `sent` copies.
    #[cold]
    fn drop_refused(&mut self, mut sent: usize, reason: CopyDropReason, teps: &TepArray) {
        let mut refused = self.batch.frames();
        for run in &self.runs {
            let copies = usize::from(run.copies);
            let skipped = copies.min(sent);
            sent -= skipped;
            let dropped = copies - skipped;
            let cells = self.cells().domain(run.domain);
            cells.copies.spend(dropped as u64);
            cells.bytes.spend(dropped as u64 * u64::from(run.inner_len));
            for copy in refused.by_ref().take(dropped) {
                let header = Tunnel::ref_from_prefix(copy).ok();
                let tep = header.and_then(|(header, _)| teps.find(header.ipv4.destination()));
                self.cells().drop_copy(tep, run.domain, reason);
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
            let sent = if self.live.link_up() { self.tx.transmit(&mut self.batch) } else { 0 };
            self.counters().tx_kernel.add(sent as u64);
            let refused = self.batch.discard_all();
            self.counters().tx_kernel_drops.add(refused as u64);
        }
        count
    }
}

/// Whether copies were put into the batch, all of them, or why none was.
type Made = Result<(), CopyDropReason>;

/// Of copies for which the batch has room, and whose lengths and references are right: only buffers can have been missing.
#[inline(always)]
fn or_no_mbuf(made: bool) -> Made {
    if made { Ok(()) } else { Err(CopyDropReason::NoMbuf) }
}

/// Long copies, all or none.
#[cold]
fn long_copies(batch: &mut TxBatch, pool: &Mempool, heads: &CopyHeads, inner: &[u8]) -> Made {
    let mut copies = ArrayVec::<Mbuf, BATCH>::new();
    for tep in heads.targets.iter() {
        let header = heads.header.head(&heads.templates[tep.index()]).to_bytes();
        let mut copy = Mbuf::alloc(pool).ok_or(CopyDropReason::NoMbuf)?;
        let frame = copy.append(OVERHEAD + inner.len()).ok_or(CopyDropReason::NoHeadroom)?;
        let (head, body) = frame.split_at_mut(OVERHEAD);
        head.copy_from_slice(&header);
        body.copy_from_slice(inner);
        copies.push(copy);
    }
    // The caller has made room for them.
    copies.into_iter().for_each(|copy| drop(batch.push(copy)));
    Ok(())
}

#[cfg(test)]
mod tests;
