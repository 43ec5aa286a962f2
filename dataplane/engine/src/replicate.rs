//! Replication: from a frame and its targets to frames in the transmit ring. What becomes of each copy is counted.

use std::ops::Range;
use std::sync::Arc;

use arrayvec::ArrayVec;
use bcast_domain::{DomainId, TepIndex};
use wire::encap::{Encap, FrameHeaderOf};
use wire::header::{Ethernet, Ipv4};
use wire::{CopyDropReason, Outer};
use zerocopy::FromBytes;

use crate::counters::{WorkerCells, WorkerCounters};
use crate::fanout::Class;
use crate::port::{BATCH, BURST, CopyHeads, MAX_BODY, Packet, Port};
use crate::runtime::{BurstConfig, RuntimeConfig};
use crate::targets::Targets;
use crate::teps::TepArray;

/// Attempts at a full transmit ring before the rest of a batch is counted and freed, by class: some microseconds for data; a hundred or two
/// for the others, which are few, and which a ring full of others' data must not cost a failover.
const TX_ATTEMPTS: [usize; Class::ALL.len()] = [4096, 4096, 64];

/// Properties of a port that copies depend on.
#[derive(Clone, Copy, Debug)]
pub struct PortCapacity {
    /// Bytes of the longest inner frame whose copy fits.
    pub max_inner: usize,
    /// True if one payload may be shared by many copies (chained buffers).
    pub can_share: bool,
}

/// A frame that shall be copied.
pub struct Frame<'f, P: Port> {
    /// Fields of its outer headers.
    pub outer: &'f Outer,
    /// Part of the outer headers that all copies have in common.
    pub header: &'f FrameHeaderOf<P::Encap>,
    /// Domain of the frame.
    pub domain: DomainId,
    /// Settings of the burst.
    pub config: BurstConfig,
}

/// A frame on its way to its targets.
pub struct Fanout<P: Port> {
    domain: DomainId,
    header: FrameHeaderOf<P::Encap>,
    /// Position of the inner frame in the received one.
    inner: Range<usize>,
    payload: Payload<P::Packet>,
}

/// Source of the inner frame in the copies.
enum Payload<K: Packet> {
    /// Byte for byte, from the received frame.
    Copied(K),
    /// Payload by reference, behind a header buffer each.
    Shared(K::Shared),
}

impl<P: Port> Fanout<P> {
    /// Bytes of packet buffer that it holds.
    pub fn bytes(&self) -> usize {
        self.inner.len() + P::Encap::HEADER_LEN
    }
}

/// Copies of one frame that stand in the batch one after another. In few bytes: there is one for each frame.
struct Run {
    domain: DomainId,
    copies: u16,
    inner_len: u16,
}

/// Transmit side of a worker: a port, and the accounts of the batch that fills up for it.
pub struct Transmitter<P: Port> {
    /// The port.
    pub port: P,
    /// Frames that the copies in the batch are of, in order.
    runs: ArrayVec<Run, BATCH>,
    capacity: PortCapacity,
    /// Traffic class of the copies in the batch.
    class: Class,
    config: Arc<RuntimeConfig>,
    cells: Arc<WorkerCells>,
}

impl<P: Port> Transmitter<P> {
    /// Transmitter of the worker that counts in `cells`.
    pub fn new(port: P, capacity: PortCapacity, config: Arc<RuntimeConfig>, cells: Arc<WorkerCells>) -> Self {
        Self { port, runs: ArrayVec::new(), capacity, class: Class::Data, config, cells }
    }

    /// Cells of this worker.
    #[inline(always)]
    pub fn cells(&self) -> &WorkerCells {
        &self.cells
    }

    /// Totals of this worker.
    #[inline(always)]
    pub fn counters(&self) -> &WorkerCounters {
        &self.cells().totals
    }

    /// Sets the class of the next copies.
    #[inline(always)]
    pub fn set_class(&mut self, class: Class) {
        self.class = class;
    }

    /// True if a copy of so many bytes of inner frame fits the port.
    #[inline(always)]
    pub fn carries(&self, inner_len: u16) -> bool {
        usize::from(inner_len) <= self.capacity.max_inner
    }

    /// Makes a frame ready to be copied so often, now and then.
    pub fn fanout(&self, packet: P::Packet, frame: &Frame<P>, copies: usize) -> Fanout<P> {
        let Frame { outer, header, domain, config } = *frame;
        let payload = match u16::try_from(copies) {
            Ok(copies) if self.shares(outer, config) => match packet.share(outer.inner_range(), copies) {
                Ok(shared) => Payload::Shared(shared),
                Err(packet) => Payload::Copied(packet),
            },
            _ => Payload::Copied(packet),
        };
        Fanout { domain, header: *header, inner: outer.inner_range(), payload }
    }

    #[inline(always)]
    fn shares(&self, outer: &Outer, config: BurstConfig) -> bool {
        self.capacity.can_share && usize::from(outer.inner_len()) >= config.share_payload_from
    }

    /// Copies a frame to all its targets, all at once. Where the payload is not shared, or there is one target, the last copy is made
    /// of the received buffer itself: the outer header is overwritten, the inner frame stays where it is.
    #[inline(always)]
    pub fn copy_all(
        &mut self,
        packet: P::Packet,
        frame: &Frame<P>,
        targets: Targets,
        teps: &TepArray<P::Encap>,
    ) {
        let Frame { outer, header, domain, config } = *frame;
        let Some(last) = targets.last() else { return };
        let alone = targets.len() == 1;
        if !packet.is_plain() || (self.shares(outer, config) && !alone) {
            let mut fanout = self.fanout(packet, frame, targets.len());
            return self.copy(&mut fanout, targets, teps);
        }
        let (others, last_one) = targets.split_at(targets.len() - 1);
        if !others.is_empty() {
            self.copy_bytes(&packet, outer.inner_range(), header, domain, others, teps);
        }
        let template = match teps.templates().get(last.index()) {
            Some(template) if template.is_resolved() => template,
            _ => return self.cells().drop_copy(Some(last), domain, CopyDropReason::TepUnresolved),
        };
        if self.port.room() == 0 {
            self.flush(teps);
        }
        // The buffer is plain, the batch has room, and the inner frame is within it: so only room before that can be missing.
        let made = self.port.in_place(packet, outer.inner_range(), &header.head(template));
        let made = if made { Ok(()) } else { Err(CopyDropReason::NoHeadroom) };
        self.account(domain, outer.inner_len(), &last_one, made);
    }

    /// Copies a frame to some of its targets.
    pub fn copy(&mut self, fanout: &mut Fanout<P>, targets: Targets, teps: &TepArray<P::Encap>) {
        let Fanout { domain, header, inner, payload } = fanout;
        match payload {
            Payload::Copied(packet) => self.copy_bytes(packet, inner.clone(), header, *domain, targets, teps),
            Payload::Shared(shared) => {
                self.copy_shared((shared, inner.len()), header, *domain, targets, teps)
            }
        }
    }

    /// Copies the inner frame, which is at `inner` of the received one, to some targets.
    #[inline(never)]
    fn copy_bytes(
        &mut self,
        packet: &P::Packet,
        inner: Range<usize>,
        header: &FrameHeaderOf<P::Encap>,
        domain: DomainId,
        targets: Targets,
        teps: &TepArray<P::Encap>,
    ) {
        let inner = packet.data().get(inner).unwrap_or_default();
        let inner_len = u16::try_from(inner.len()).unwrap_or(u16::MAX);
        let (mut rest, templates) = (targets, teps.templates());
        while !rest.is_empty() {
            let mut resolved = ArrayVec::new();
            let targets = self.next_batch(&mut rest, domain, teps, &mut resolved);
            let heads = CopyHeads { header, templates, targets: &targets };
            let made = if inner.len() <= MAX_BODY {
                or_no_mbuf(self.port.copies(inner, &heads))
            } else {
                long_copies(&mut self.port, &heads, inner)
            };
            self.account(domain, inner_len, &targets, made);
        }
    }

    /// Sends some targets a header each, and the payload behind it by reference.
    #[inline(never)]
    fn copy_shared(
        &mut self,
        (payload, len): (&mut <P::Packet as Packet>::Shared, usize),
        header: &FrameHeaderOf<P::Encap>,
        domain: DomainId,
        targets: Targets,
        teps: &TepArray<P::Encap>,
    ) {
        let inner_len = u16::try_from(len).unwrap_or(u16::MAX);
        let (mut rest, templates) = (targets, teps.templates());
        while !rest.is_empty() {
            let mut resolved = ArrayVec::new();
            let targets = self.next_batch(&mut rest, domain, teps, &mut resolved);
            let heads = CopyHeads { header, templates, targets: &targets };
            let made = or_no_mbuf(self.port.chains(payload, &heads));
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
        teps: &TepArray<P::Encap>,
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
        if self.port.room() < next.len() {
            self.flush(teps);
        }
        next
    }

    #[cold]
    fn resolved<'t>(
        &self,
        targets: Targets,
        domain: DomainId,
        teps: &TepArray<P::Encap>,
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

    /// Hands the batch to the port: what it does not take after a bounded number of attempts is counted and freed. A port whose link is down is
    /// given nothing.
    #[inline(always)]
    pub fn flush(&mut self, teps: &TepArray<P::Encap>) {
        let (mut sent, link_up) = (0, self.config.link_up());
        let attempts = if link_up { TX_ATTEMPTS[self.class as usize] } else { 0 };
        for _ in 0..attempts {
            sent += self.port.transmit();
            if self.port.room() == BATCH {
                break;
            }
            std::hint::spin_loop();
        }
        self.counters().tx_copies.add(sent as u64);
        if self.port.room() < BATCH {
            let reason = if link_up { CopyDropReason::TxFull } else { CopyDropReason::LinkDown };
            self.drop_refused(sent, reason, teps);
        }
        self.runs.clear();
    }

    /// Counts and frees what the port did not take: all of the batch's runs beyond the first `sent` copies.
    #[cold]
    fn drop_refused(&mut self, mut sent: usize, reason: CopyDropReason, teps: &TepArray<P::Encap>) {
        let mut refused = self.port.batch();
        for run in &self.runs {
            let copies = usize::from(run.copies);
            let skipped = copies.min(sent);
            sent -= skipped;
            let dropped = copies - skipped;
            let cells = self.cells.domain(run.domain);
            cells.copies.spend(dropped as u64);
            cells.bytes.spend(dropped as u64 * u64::from(run.inner_len));
            for copy in refused.by_ref().take(dropped) {
                let ipv4 = copy.get(Ethernet::LEN..).and_then(|packet| Ipv4::ref_from_prefix(packet).ok());
                let tep = ipv4.and_then(|(ipv4, _)| teps.find(ipv4.destination()));
                self.cells.drop_copy(tep, run.domain, reason);
            }
        }
        drop(refused);
        self.port.discard();
    }

    /// Sends the kernel's own frames, which belong to no domain. What the port refuses is counted and freed.
    pub fn send_plain(&mut self, frames: impl Iterator<Item = P::Packet>) -> usize {
        let mut count = 0;
        for packet in frames.take(BURST) {
            if self.port.push(packet).is_err() {
                break;
            }
            count += 1;
        }
        if count > 0 {
            let (sent, refused) = self.transmit_once();
            self.counters().tx_kernel.add(sent);
            self.counters().tx_kernel_drops.add(refused);
        }
        count
    }

    /// Sends a frame of the node's own, as the kernel's are sent.
    #[cold]
    pub fn send_own(&mut self, frame: &[u8]) {
        let made = self.port.allocate().and_then(|mut packet| {
            packet.append(frame.len())?.copy_from_slice(frame);
            Some(packet)
        });
        if made.is_none() || self.send_plain(made.into_iter()) == 0 {
            self.counters().tx_kernel_drops.add(1);
        }
    }

    /// Sends a frame to one TEP: all of the packet, behind an outer header. What cannot be sent is counted and freed.
    pub fn send_to(
        &mut self,
        packet: P::Packet,
        header: &FrameHeaderOf<P::Encap>,
        tep: Option<TepIndex>,
        teps: &TepArray<P::Encap>,
    ) {
        let template = tep.and_then(|tep| teps.templates().get(tep.index()));
        let (range, fits) = (0..packet.data().len(), packet.data().len() <= self.capacity.max_inner);
        let made = template
            .filter(|template| fits && template.is_resolved())
            .is_some_and(|template| self.port.in_place(packet, range, &header.head(template)));
        let (sent, refused) = if made { self.transmit_once() } else { (0, 1) };
        self.counters().tx_unicast.add(sent);
        self.counters().tx_unicast_drops.add(refused);
    }

    /// Puts a BFD frame to a TEP into the batch. What cannot be sent is counted.
    pub fn push_bfd(
        &mut self,
        frame: &[u8],
        header: &FrameHeaderOf<P::Encap>,
        tep: TepIndex,
        teps: &TepArray<P::Encap>,
    ) {
        let (targets, templates) = ([tep], teps.templates());
        let heads = CopyHeads { header, templates, targets: &Targets::all(&targets, usize::MAX) };
        if !teps.is_resolved(tep) || !self.port.copies(frame, &heads) {
            self.counters().tx_bfd_drops.add(1);
        }
    }

    /// Hands a batch of BFD frames to the port: what it does not take after a bounded number of attempts is counted and freed.
    pub fn flush_bfd(&mut self) {
        let mut sent = 0;
        let attempts = if self.config.link_up() { TX_ATTEMPTS[Class::Data as usize] } else { 0 };
        for _ in 0..attempts {
            sent += self.port.transmit();
            if self.port.room() == BATCH {
                break;
            }
            std::hint::spin_loop();
        }
        self.counters().tx_bfd.add(sent as u64);
        let refused = self.port.discard();
        self.counters().tx_bfd_drops.add(refused as u64);
    }

    /// Offers the batch to the port once, unless its link is down, and frees the rest: frames that it took, and that it did not.
    fn transmit_once(&mut self) -> (u64, u64) {
        let sent = if self.config.link_up() { self.port.transmit() } else { 0 };
        (sent as u64, self.port.discard() as u64)
    }
}

/// Result of putting copies into the batch: all of them, or the reason why none.
type Made = Result<(), CopyDropReason>;

/// Result of copies for which the batch has room, and whose lengths and references are right: only buffers can have been missing.
#[inline(always)]
fn or_no_mbuf(made: bool) -> Made {
    if made { Ok(()) } else { Err(CopyDropReason::NoMbuf) }
}

/// Makes long copies, all or none.
#[cold]
fn long_copies<P: Port>(port: &mut P, heads: &CopyHeads<P::Encap>, inner: &[u8]) -> Made {
    let mut copies = ArrayVec::<P::Packet, BATCH>::new();
    for header in heads.finished() {
        let mut copy = port.allocate().ok_or(CopyDropReason::NoMbuf)?;
        let header = header.bytes();
        let frame = copy.append(header.len() + inner.len()).ok_or(CopyDropReason::NoHeadroom)?;
        let (head, body) = frame.split_at_mut(header.len());
        head.copy_from_slice(header);
        body.copy_from_slice(inner);
        copies.push(copy);
    }
    // The caller has made room for them.
    copies.into_iter().for_each(|copy| drop(port.push(copy)));
    Ok(())
}
