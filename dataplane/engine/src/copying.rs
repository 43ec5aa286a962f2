//! Replication of one burst: the copies of an accepted frame are sent at once, or the frame becomes a job of a large fan-out.

use bcast_domain::{DomainId, HeldList, MemberList, Reader, Vni};
use wire::encap::Encap;
use wire::{CopyDropReason, DropReason};

use crate::fanout::{Class, FanoutQueue, Job, QUANTUM};
use crate::port::{Packet, Port};
use crate::probe::{Probe, Sample, Verdict};
use crate::replicate::{Frame, Transmitter};
use crate::runtime::BurstConfig;
use crate::targets::Targets;
use crate::teps::TepArray;
use crate::worker::Candidate;

/// State of the copies of an accepted frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Started {
    /// All copies are sent, or in the batch.
    Sent,
    /// The frame is a job.
    Queued,
    /// Dropped, as the port does not carry frames of that length.
    TooLong,
}

/// A frame that passed all checks.
pub(crate) struct Admitted<'c, P: Port> {
    pub candidate: &'c Candidate<P::Encap>,
    pub domain: &'c MemberList,
    /// Position of the source among the members.
    pub position: usize,
    pub class: Class,
    pub packet: P::Packet,
}

/// State of one burst's replication.
pub(crate) struct Copying<'w, P: Port> {
    pub tx: &'w mut Transmitter<P>,
    pub queue: &'w mut FanoutQueue<P>,
    pub reader: &'w Reader<TepArray<P::Encap>>,
    pub teps: &'w TepArray<P::Encap>,
    pub config: BurstConfig,
    /// Tick at which the burst was received.
    pub received: u64,
    /// Frames that were accepted.
    pub accepted: u64,
    /// Copies of the accepted frames.
    pub wanted: u64,
}

impl<P: Port> Copying<'_, P> {
    /// Makes all copies of a frame, or makes it a job: if it has more than a quantum, or others of its domain wait. Or says why
    /// it was dropped.
    #[inline(always)]
    pub fn start(&mut self, frame: Admitted<'_, P>) -> Result<Started, DropReason> {
        let Admitted { candidate, domain, position, class, packet } = frame;
        let (id, targets) = (domain.domain(), Targets::all(domain.members(), position));
        if targets.len() > QUANTUM || self.tx.cells().domain(id).backlog(class).jobs > 0 {
            return self.enqueue(candidate, class, packet);
        }
        self.accept(id, targets.len());
        if self.tx.carries(candidate.outer.inner_len()) {
            self.tx.copy_all(packet, &self.frame(candidate, id), targets, self.teps);
            Ok(Started::Sent)
        } else {
            self.tx.drop_copies(targets, id, CopyDropReason::MtuExceeded);
            Ok(Started::TooLong)
        }
    }

    /// The same, with a sample of the frame.
    #[cold]
    #[inline(never)]
    pub fn start_probed(
        &mut self,
        (probe, sample): (&Probe, Option<Sample>),
        frame: Admitted<'_, P>,
    ) -> Result<Started, DropReason> {
        let done = self.start(frame);
        probe.offer(sample, done.map_or_else(Verdict::Dropped, |_| Verdict::Accepted));
        done
    }

    #[inline(always)]
    fn frame<'f>(&self, candidate: &'f Candidate<P::Encap>, domain: DomainId) -> Frame<'f, P> {
        Frame { outer: &candidate.outer, header: &candidate.header, domain, config: self.config }
    }

    #[inline(always)]
    fn accept(&mut self, domain: DomainId, copies: usize) {
        self.accepted += 1;
        self.wanted += copies as u64;
        self.tx.cells().domain(domain).frames.add(1);
    }

    /// Makes a frame a job, if there is room for it. It goes to the members as they are now.
    #[cold]
    fn enqueue(
        &mut self,
        candidate: &Candidate<P::Encap>,
        class: Class,
        packet: P::Packet,
    ) -> Result<Started, DropReason> {
        let outer = &candidate.outer;
        let (list, position) = match self.hold(candidate, class) {
            Ok(held) => held,
            Err((domain, reason)) => {
                candidate.drop(self.tx.cells(), packet.data(), domain, reason, self.received);
                return Err(reason);
            }
        };
        let (id, targets) = (list.domain(), Targets::all(list.members(), position));
        let copies = targets.len();
        self.accept(id, copies);
        if !self.tx.carries(outer.inner_len()) {
            self.tx.drop_copies(targets, id, CopyDropReason::MtuExceeded);
            return Ok(Started::TooLong);
        }
        let fanout = self.tx.fanout(packet, &self.frame(candidate, id), copies);
        let after = self.queue.quanta;
        let job = Job { list, position, done: 0, fanout, received: self.received, after, quanta: 0 };
        self.queue.push(class, self.tx.cells().domain(id), job);
        Ok(Started::Queued)
    }

    /// Holds the members as they are now, and gives the source's position among them; or the domain, if there is one, and why the frame
    /// cannot be a job.
    fn hold(
        &self,
        candidate: &Candidate<P::Encap>,
        class: Class,
    ) -> Result<(HeldList, usize), (Option<DomainId>, DropReason)> {
        let outer = &candidate.outer;
        let list = self.reader.hold(Vni::from(outer.key)).ok_or((None, DropReason::VniUnknown))?;
        let id = list.domain();
        let position = list.position(candidate.source).ok_or((Some(id), DropReason::TepNotMember))?;
        let copies = Targets::all(list.members(), position).len();
        let bytes = usize::from(outer.inner_len()) + P::Encap::HEADER_LEN;
        let fits = self.queue.fits(class, self.tx.cells().domain(id), copies, bytes);
        if fits { Ok((list, position)) } else { Err((Some(id), DropReason::FanoutQueueFull)) }
    }
}
