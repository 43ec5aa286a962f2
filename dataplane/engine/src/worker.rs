//! The packet path: a worker polls its receive queue, parses and classifies each frame, and sends a copy to every other member.
//!
//! Read `Worker::poll_once` first: it is the life of a burst. Nothing here allocates, locks, makes a system call or writes a log
//! line. The bytes of headers are `wire`'s, the port puts them into packet buffers, [`crate::replicate`] gathers and counts copies,
//! `copying` chooses between copies and jobs, and large fan-outs wait in [`crate::fanout`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use arrayvec::ArrayVec;
use bcast_domain::{DomainId, MemberList, Reader, TepIndex, Vni};
use wire::encap::{Encap, FrameHeaderOf};
use wire::{DropReason, NodeAddresses, Offender, Outer, Rejection};

use crate::copying::{Admitted, Copying, Started};
use crate::counters::WorkerCells;
use crate::fanout::{Budget, Class, FanoutQueue, abort, serve};
use crate::inspect::{self, ArpInspector, Finding};
use crate::local::LocalFrames;
use crate::police::{Demand, Ticks, TokenLeases};
use crate::port::{BURST, Burst, Clock, Packet, Port};
use crate::probe::{Sample, Verdict};
use crate::punt::{PuntKind, PuntPort, Taken};
use crate::replicate::Transmitter;
use crate::runtime::{BurstConfig, RuntimeConfig};
use crate::sessions::{BFD_MAC, BfdSessions, Heard};
use crate::teps::TepArray;

/// Empty polls in a row after which a worker that may sleep does.
const IDLE_POLLS: u32 = 64;
/// Longest sleep of a worker that has BFD sessions, microseconds: a small part of the shortest interval.
const BFD_SLEEP_US: u32 = 1_000;

/// A worker and its parts.
pub struct Worker<P: Port> {
    /// Port, and the batch that waits for it.
    pub tx: Transmitter<P>,
    /// Large fan-outs that wait.
    pub queue: FanoutQueue<P>,
    /// View of the domains and TEPs.
    pub reader: Reader<TepArray<P::Encap>>,
    /// Way to the kernel and back.
    pub punt: PuntPort<P::Packet>,
    /// Addresses of the node.
    pub node: NodeAddresses,
    /// Settings in force.
    pub config: Arc<RuntimeConfig>,
    /// Token leases.
    pub leases: TokenLeases,
    /// Inspector of announcements of virtual IPs.
    pub inspector: ArpInspector,
    /// Frames that the node makes itself; one worker sends them.
    pub local: Option<Arc<LocalFrames<P::Packet>>>,
    /// BFD sessions with hypervisors.
    pub bfd: BfdSessions,
    /// Clock of all workers.
    pub clock: P::Clock,
}

/// Origin of a burst.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// Frames were received.
    Port,
    /// Frames were made by the node itself, which has nothing to learn from them.
    Node,
}

/// A frame that passed all checks of its outer headers.
pub(crate) struct Candidate<E: Encap> {
    /// Position in the burst.
    slot: usize,
    pub outer: Outer,
    pub source: TepIndex,
    /// Part of the copies' outer headers that all have in common: made here, long before they are.
    pub header: FrameHeaderOf<E>,
}

impl<P: Port> Worker<P> {
    /// Polls until `stop` is set.
    pub fn run(mut self, stop: &AtomicBool) {
        let mut empty_polls = 0_u32;
        let mut burst = P::Burst::default();
        let mut polled = self.clock.now();
        while !stop.load(Relaxed) {
            let busy = self.poll(&mut burst);
            let (begun, now) = (polled, self.clock.now());
            polled = now;
            if busy {
                let counters = self.tx.counters();
                counters.busy_polls.add(1);
                counters.busy_ns.add(self.clock.nanoseconds(now.saturating_sub(begun)));
                empty_polls = 0;
                continue;
            }
            std::hint::spin_loop();
            empty_polls = empty_polls.saturating_add(1);
            let sleep_us = self.config.idle_sleep_us();
            if sleep_us > 0 && empty_polls >= IDLE_POLLS {
                let sleep_us = if self.bfd.is_empty() { sleep_us } else { sleep_us.min(BFD_SLEEP_US) };
                let _offline = self.reader.offline();
                std::thread::sleep(Duration::from_micros(sleep_us.into()));
                polled = self.clock.now();
            }
        }
    }

    /// Serves each side once, and reports a quiescent point. True if there was anything to do.
    #[inline(always)]
    pub fn poll(&mut self, burst: &mut P::Burst) -> bool {
        let busy = self.poll_once(burst);
        // All references into the tables have ended, and so have the batches made by them. The reader knows the lists that jobs hold.
        self.reader.quiesce();
        busy
    }

    /// Serves each side once: a burst from the receive queue to the transmit queue, then some of the large fan-outs that wait.
    fn poll_once(&mut self, burst: &mut P::Burst) -> bool {
        self.tx.counters().polls.add(1);
        let kernel_frames = self.punt.send_kernel_frames(&mut self.tx);
        let local = self.local.is_some() && self.send_local(burst);
        let received = self.tx.port.receive(burst);
        if received > 0 {
            self.forward(burst, Origin::Port);
        }
        let clock = self.clock;
        let bfd = self.bfd.turn(&mut self.tx, self.reader.array(), || clock.clock_ns(clock.now()));
        let waiting = !self.queue.is_empty();
        if waiting && self.reader.is_awaited() {
            abort(&mut self.queue, &mut self.tx, self.reader.array(), self.clock);
        }
        if waiting {
            let budget = Budget::start(self.clock);
            for class in Class::ALL {
                serve(&mut self.queue, class, &budget, &mut self.tx, self.reader.array());
            }
        }
        kernel_frames || local || received > 0 || bfd || waiting
    }

    /// Sends what the node made itself. True if there was any.
    #[inline(always)]
    fn send_local(&mut self, burst: &mut P::Burst) -> bool {
        let Some(local) = &self.local else { return false };
        let (filled, unicast) = (local.fill(burst), local.take_unicast());
        let any = filled || unicast.is_some();
        if filled {
            self.tx.counters().local_frames.add(burst.len() as u64);
            self.forward(burst, Origin::Node);
        }
        if let Some(unicast) = unicast {
            let (teps, inner_len) = (self.reader.array(), unicast.packet.data().len());
            let inner_len = u16::try_from(inner_len).unwrap_or(u16::MAX);
            let header = FrameHeaderOf::new(self.node.first(), 0, unicast.vni.get(), inner_len);
            self.tx.send_to(unicast.packet, &header, teps.find(unicast.tep.address()), teps);
        }
        any
    }

    /// Decides about each frame of a burst, and replicates it: control frames first.
    fn forward(&mut self, burst: &mut P::Burst, origin: Origin) {
        let received = self.clock.now();
        let ticks = Ticks { now: received, per_second: self.clock.per_second() };
        let clock = self.clock;
        let now_ns = || clock.clock_ns(received);
        let config = self.config.burst();
        // 1. Parse the outer headers; hand the kernel its frames.
        let Parsed { candidates, vnis } = self.parse(burst, config, ticks);

        // 2. Look all their domains up at once, so that the cache misses overlap.
        let mut domains = [None; BURST];
        self.reader.lookup_bulk(&vnis, &mut domains);

        // 3. Check the source's membership, the inner frame, announcements of virtual IPs, and the limits.
        match inspect::with_vips(&domains) {
            with_vips @ 1.. if origin == Origin::Port => {
                inspect(&mut self.inspector, burst, &candidates, &domains, with_vips, now_ns());
            }
            _ => self.inspector.forget(),
        }
        let policer = Some(&self.config.policer).filter(|policer| policer.enabled());
        // Candidates by class, a bit each.
        let mut accepted = [0_u32; Class::ALL.len()];
        let mut positions = [0; BURST];
        for (index, (candidate, domain)) in candidates.iter().zip(&domains).enumerate() {
            let verdict =
                candidate.classify(burst, *domain, &self.config).and_then(|(domain, position, class)| {
                    positions[index] = position;
                    let finding = self.inspector.finding(index);
                    if let Some(Err(violation)) = finding {
                        return Err(violation.reason());
                    }
                    // What the node itself makes are announcements on a holder's behalf.
                    let class = if class == Class::Control && (origin == Origin::Node || moves(finding)) {
                        Class::Failover
                    } else {
                        class
                    };
                    if let Some(policer) = policer {
                        let cells = self.tx.cells().domain(domain.domain());
                        policer.admit(candidate.demand(domain, class), &self.leases, cells, ticks)?;
                    }
                    Ok(class)
                });
            match verdict {
                Ok(class) => accepted[class as usize] |= 1 << index,
                Err(reason) => {
                    let sample =
                        if config.probed { self.sample(burst.get(candidate.slot), received) } else { None };
                    let finding = self.inspector.finding(index).copied();
                    let refused =
                        Refused { candidate, domain: domain.map(MemberList::domain), reason, finding };
                    self.refuse(burst.get(candidate.slot), refused, ticks);
                    if config.probed {
                        self.config.probe.offer(sample, Verdict::Dropped(reason));
                    }
                }
            }
        }

        // 4. Replicate. The array is fetched anew: one that was published before the lists has all their members, and an
        // index keeps its TEP until no worker uses a list with it.
        let mut copying = Copying {
            tx: &mut self.tx,
            queue: &mut self.queue,
            reader: &self.reader,
            teps: self.reader.array(),
            config,
            received,
            accepted: 0,
            wanted: 0,
        };
        for (class, frames) in Class::ALL.into_iter().zip(accepted) {
            copying.tx.set_class(class);
            let mut sent = 0;
            for index in inspect::bits(frames) {
                let (candidate, position) = (&candidates[index], positions[index]);
                if let (Some(domain), Some(packet)) = (domains[index], burst.take(candidate.slot)) {
                    let frame = Admitted::<P> { candidate, domain, position, class, packet };
                    let done = if config.probed {
                        let probe = &self.config.probe;
                        let sample = probe.sample(frame.packet.data(), &self.node, now_ns());
                        copying.start_probed((probe, sample), frame)
                    } else {
                        copying.start(frame)
                    };
                    // Of one that found no room the drop is counted, and its sender recorded.
                    if let Ok(started) = done {
                        sent += u64::from(started == Started::Sent);
                        // Its announcement is noted now that it is on its way.
                        if let Some(&Ok(announced)) = self.inspector.finding(index)
                            && started != Started::TooLong
                        {
                            self.inspector.note(announced);
                            let count = u64::from(announced.is_attached());
                            copying.tx.counters().announcements[announced.kind()].add(count);
                        }
                    }
                }
            }
            if sent > 0 {
                copying.tx.flush(copying.teps);
                let ns = self.clock.nanoseconds(self.clock.now().saturating_sub(received));
                copying.tx.counters().forwarding[class as usize].add(sent, ns, 0);
            }
            if class != Class::Data && !copying.queue.is_empty() {
                serve(copying.queue, class, &Budget::start(self.clock), copying.tx, copying.teps);
            }
        }
        copying.tx.counters().rx_accepted.add(copying.accepted);
        copying.tx.counters().copies_wanted.add(copying.wanted);
        // Only dropped frames are left in it.
        burst.clear();
    }

    /// Counts a frame that is refused, charges it to its TEP, and reports what it announced.
    #[cold]
    fn refuse(&self, packet: Option<&P::Packet>, refused: Refused<'_, P::Encap>, ticks: Ticks) {
        let Refused { candidate, domain, reason, finding } = refused;
        let (policer, cells) = (&self.config.policer, self.tx.cells());
        let charged = !reason.is_limit() && policer.enabled();
        let under = !charged || policer.charge(candidate.source, &self.leases, ticks);
        // A migrating instance may be faster than the controller: its announcements from a TEP that is about to become a member
        // are remembered.
        if let Some(Err(violation)) = finding
            && [DropReason::TepNotMember, violation.reason()].contains(&reason)
            && !(under && self.inspector.report(violation))
        {
            cells.totals.rejected_lost.add(1);
        }
        if let Some(Ok(announced)) = finding
            && reason == DropReason::TepNotMember
            && !announced.is_attached()
            && under
        {
            self.inspector.note(announced);
        }
        candidate.drop(cells, packet.map_or(&[], Packet::data), domain, reason, ticks.now);
    }

    /// Parses the outer headers of a burst's frames. Those that pass are returned; the others are counted, and stay in the burst to
    /// be freed.
    #[inline(always)]
    fn parse(&mut self, burst: &mut P::Burst, config: BurstConfig, now: Ticks) -> Parsed<P::Encap> {
        let teps = self.reader.array();
        let mut parsed = Parsed { candidates: ArrayVec::new(), vnis: ArrayVec::new() };
        let mut punted = ArrayVec::<usize, BURST>::new();
        let mut without_vni = ArrayVec::<usize, BURST>::new();
        self.tx.counters().rx_frames.add(burst.len() as u64);
        for slot in 0..burst.len() {
            let Some(packet) = burst.get(slot) else { continue };
            // Not `wire::parse` for all: what two paths return stands in memory, and is waited for there.
            let entered = match wire::parse_fast(packet.data(), &self.node) {
                Some(outer) => parsed.enter(slot, outer, teps, config),
                None => parsed.enter_slow(slot, packet.data(), &self.node, teps, config),
            };
            match entered {
                Ok(()) => {}
                Err(Rejection::Drop(DropReason::VniUnknown)) => without_vni.push(slot),
                Err(Rejection::Drop(reason)) => {
                    self.tx.cells().drop_frame(reason, &Offender::of_frame(packet.data()), now.now);
                    if config.probed {
                        self.config.probe.offer(self.sample(Some(packet), now.now), Verdict::Dropped(reason));
                    }
                }
                Err(Rejection::Punt) => punted.push(slot),
            }
        }
        for slot in punted {
            self.punt(burst, slot, config, now);
        }
        for slot in without_vni {
            self.take_key_0(burst, slot, config, now);
        }
        parsed
    }

    /// Takes a TEP's frame with key 0, which is no network: BFD for the node itself, or dropped.
    #[inline(never)]
    fn take_key_0(&mut self, burst: &mut P::Burst, slot: usize, config: BurstConfig, now: Ticks) {
        let Some(packet) = burst.take(slot) else { return };
        let sample = if config.probed { self.sample(Some(&packet), now.now) } else { None };
        let found = wire::parse(packet.data(), &self.node).ok().and_then(|outer| {
            let source = self.reader.array().find(outer.source)?;
            Some((outer, source))
        });
        // Both were found in this turn, and the array is the same.
        let Some((outer, source)) = found else { return };
        let taken = match outer.payload(packet.data()) {
            Ok(inner) if inner.starts_with(&BFD_MAC.0) => {
                let (tep, now_ns) = ((source, outer.source), self.clock.clock_ns(now.now));
                self.bfd.receive(Heard { tep, node: outer.destination, inner }, now_ns)
            }
            _ => Err(DropReason::VniUnknown),
        };
        let verdict = match taken {
            Ok(()) => {
                self.tx.counters().punted.add(1);
                self.tx.counters().punted_by[PuntKind::Bfd as usize].add(1);
                Verdict::Punted
            }
            Err(reason) => {
                let header = FrameHeaderOf::new(outer.destination, outer.tos, outer.key, outer.inner_len());
                let candidate = &Candidate { slot, outer, source, header };
                let refused = Refused { candidate, domain: None, reason, finding: None };
                self.refuse(Some(&packet), refused, now);
                Verdict::Dropped(reason)
            }
        };
        if config.probed {
            self.config.probe.offer(sample, verdict);
        }
    }

    /// Hands a frame to the kernel, or answers it.
    #[inline(never)]
    fn punt(&mut self, burst: &mut P::Burst, slot: usize, config: BurstConfig, now: Ticks) {
        let Some(packet) = burst.take(slot) else { return };
        let sample = if config.probed { self.sample(Some(&packet), now.now) } else { None };
        let offender = Offender::of_frame(packet.data());
        let limits = (self.reader.array(), self.config.punt_rate());
        let (news, taken) = self.punt.offer(packet, limits, now);
        self.tx.counters().conflicts.add(news.conflict.into());
        if let Some((tep, kind)) = news.copy_error {
            self.tx.cells().icmp_error(tep, kind);
        }
        let verdict = match taken {
            Ok(Taken { kind, answer }) => {
                self.tx.counters().punted.add(1);
                self.tx.counters().punted_by[kind as usize].add(1);
                if let Some(answer) = answer {
                    self.tx.send_own(&answer);
                }
                Verdict::Punted
            }
            Err(reason) => {
                self.tx.cells().drop_frame(reason, &offender, now.now);
                Verdict::Dropped(reason)
            }
        };
        if config.probed {
            self.config.probe.offer(sample, verdict);
        }
    }

    /// Samples a frame.
    #[cold]
    fn sample(&self, packet: Option<&P::Packet>, received: u64) -> Option<Sample> {
        let frame = packet.map_or(&[][..], Packet::data);
        self.config.probe.sample(frame, &self.node, self.clock.clock_ns(received))
    }
}

/// True if a virtual IP may move by this finding's frame, or stay where it is.
#[cold]
fn moves(finding: Option<&Finding>) -> bool {
    matches!(finding, Some(Ok(announced)) if announced.moves())
}

/// A frame of a TEP that is refused.
struct Refused<'c, E: Encap> {
    candidate: &'c Candidate<E>,
    /// Its domain, if there is one.
    domain: Option<DomainId>,
    reason: DropReason,
    /// Announcement in it.
    finding: Option<Finding>,
}

/// Frames of a burst that passed all checks of their outer headers, and their VNIs.
struct Parsed<E: Encap> {
    candidates: ArrayVec<Candidate<E>, BURST>,
    vnis: ArrayVec<Vni, BURST>,
}

impl<E: Encap> Parsed<E> {
    /// Enters a frame if a TEP sent it.
    #[inline(always)]
    fn enter(
        &mut self,
        slot: usize,
        outer: Outer,
        teps: &TepArray<E>,
        config: BurstConfig,
    ) -> Result<(), Rejection> {
        let source = teps.find(outer.source).ok_or(DropReason::TepUnknown)?;
        if outer.key == 0 {
            return Err(DropReason::VniUnknown.into());
        }
        let from = if config.origin { outer.source } else { outer.destination };
        let header = FrameHeaderOf::new(from, outer.tos, outer.key, outer.inner_len());
        self.vnis.push(Vni::from(outer.key));
        self.candidates.push(Candidate { slot, outer, source, header });
        Ok(())
    }

    #[inline(never)]
    fn enter_slow(
        &mut self,
        slot: usize,
        frame: &[u8],
        node: &NodeAddresses,
        teps: &TepArray<E>,
        config: BurstConfig,
    ) -> Result<(), Rejection> {
        self.enter(slot, wire::parse(frame, node)?, teps, config)
    }
}

/// Inspects the announcements in the frames of domains with virtual IPs.
#[inline(never)]
fn inspect<K: Packet, E: Encap>(
    inspector: &mut ArpInspector,
    burst: &impl Burst<K>,
    candidates: &[Candidate<E>],
    domains: &[Option<&MemberList>; BURST],
    with_vips: u32,
    now_ns: u64,
) {
    let mut inspected = inspector.inspect(now_ns);
    for index in inspect::bits(with_vips) {
        if let Some(candidate) = candidates.get(index)
            && let Some(domain) = domains[index]
            && let Some(packet) = burst.get(candidate.slot)
            && let Some(inner) = packet.data().get(candidate.outer.inner_range())
        {
            inspected.read(index, candidate.source, domain, inner);
        }
    }
    inspected.finish();
}

impl<E: Encap> Candidate<E> {
    /// Checks what the tables and the inner frame decide: its domain, the source's position among the members, its class.
    #[inline(always)]
    fn classify<'d, K: Packet>(
        &self,
        burst: &impl Burst<K>,
        domain: Option<&'d MemberList>,
        config: &RuntimeConfig,
    ) -> Result<(&'d MemberList, usize, Class), DropReason> {
        let domain = domain.ok_or(DropReason::VniUnknown)?;
        let position = domain.position(self.source).ok_or(DropReason::TepNotMember)?;
        let class = match self.outer.classify(|| burst.get(self.slot).map_or(&[], Packet::data)) {
            Err(DropReason::InnerBfd) if config.allows_inner_bfd() => Class::Data,
            class => class?,
        };
        Ok((domain, position, class))
    }

    /// Counts the frame as dropped, received at tick `at`.
    #[cold]
    pub(crate) fn drop(
        &self,
        cells: &WorkerCells,
        frame: &[u8],
        domain: Option<DomainId>,
        reason: DropReason,
        at: u64,
    ) {
        let inner = frame.get(self.outer.inner_range()).unwrap_or_default();
        cells.drop_frame(reason, &Offender::of_inner(self.outer.source, self.outer.key, inner), at);
        cells.charge_drop(reason, self.source, domain);
    }

    /// Tokens that the frame takes.
    #[inline(always)]
    fn demand(&self, domain: &MemberList, class: Class) -> Demand {
        Demand {
            tep: self.source,
            domain: domain.domain(),
            copies: domain.members().len() as u64 - 1,
            inner_len: self.outer.inner_len().into(),
            class,
        }
    }
}
