//! The packet path: a worker polls its receive queue, decides about each frame, and sends a copy to every other member.
//!
//! Read [`Worker::turn`] first: it is the life of a burst. Nothing here allocates, locks, makes a system call or writes a log
//! line. What the bytes of a copy look like is `wire`'s, how they get into a packet buffer is `dpdk`'s, how copies are gathered and
//! counted is in [`crate::replicate`], and how large fan-outs wait is in [`crate::fanout`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use crate::inspect::{ArpInspector, Violation};
use arrayvec::ArrayVec;
use bcast_domain::{DomainId, MemberList, Reader, TepIndex, Vni};
use dpdk::{BURST, Burst, Mbuf, RxQueue, Tsc};
use wire::{CopyDropReason, DropReason, FrameHeader, NodeAddresses, OVERHEAD, Outer, Rejection};

use crate::counters::WorkerCounters;
use crate::fanout::{Class, Job, Jobs, QUANTUM};
use crate::local::LocalFrames;
use crate::police::{Ask, Clock, Lots};
use crate::punt::PuntPort;
use crate::replicate::{Frame, Outbox};
use crate::runtime::{Live, Settings};
use crate::targets::Targets;
use crate::teps::TepArray;

/// Empty polls in a row after which a worker that may sleep does.
const IDLE_POLLS: u32 = 64;
/// How long a worker goes on with large fan-outs before it looks for new frames: 1 / this of a second, 20 us.
const SERVING: u64 = 50_000;
/// How old a job may be when somebody waits for its end: 1 / this of a second, 2 ms.
const JOB_AGE: u64 = 500;

/// The parts that a worker is made of.
pub struct Worker {
    /// Its receive queue.
    pub rx: RxQueue,
    /// Its transmit queue, and what waits for it.
    pub out: Outbox,
    /// Large fan-outs that it has begun, or shall.
    pub jobs: Jobs,
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
    /// What it hears of virtual IPs.
    pub inspector: ArpInspector,
    /// What it announces of them on the node's own account; one worker does.
    pub announcer: Option<Arc<LocalFrames>>,
    /// What time it is.
    pub tsc: Tsc,
}

/// Where frames came from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The port: somebody sent them.
    Port,
    /// The node itself, who has nothing to learn from them.
    Node,
}

/// A frame that passed all checks of its outer headers.
struct Candidate {
    /// Its place in the burst.
    place: usize,
    outer: Outer,
    source: TepIndex,
    /// What its copies' outer headers have in common: made here, long before they are.
    header: FrameHeader,
}

impl Worker {
    /// Polls until `stop` is set.
    pub fn run(mut self, stop: &AtomicBool) {
        let mut empty_polls = 0_u32;
        let mut burst = Burst::new();
        while !stop.load(Relaxed) {
            let busy = self.turn(&mut burst);
            // All references into the tables ended with the turn, and so did the batches made by them. What jobs hold, the
            // reader knows.
            self.reader.quiesce();
            if busy {
                empty_polls = 0;
                continue;
            }
            std::hint::spin_loop();
            empty_polls = empty_polls.saturating_add(1);
            let sleep_us = self.live.idle_sleep_us();
            if sleep_us > 0 && empty_polls >= IDLE_POLLS {
                let _offline = self.reader.offline();
                std::thread::sleep(Duration::from_micros(sleep_us.into()));
            }
        }
    }

    /// One look at each side: a burst from the receive queue to the transmit queue, then some of the large fan-outs that wait.
    /// Says whether there was anything to do.
    fn turn(&mut self, burst: &mut Burst) -> bool {
        self.out.counters().polls.add(1);
        let kernel_frames = self.punt.send_kernel_frames(&mut self.out);
        let own = self.announcer.as_ref().is_some_and(|announcer| announcer.fill(burst));
        if own {
            self.out.counters().announced.add(burst.len() as u64);
            self.forward(burst, Origin::Node);
        }
        let received = self.rx.receive(burst);
        if received > 0 {
            self.forward(burst, Origin::Port);
        }
        let waiting = !self.jobs.is_empty();
        if waiting && self.reader.is_awaited() {
            cut(&mut self.jobs, &mut self.out, self.reader.array(), self.tsc);
        }
        if waiting {
            let until = self.tsc.now() + self.tsc.per_second() / SERVING;
            for class in Class::ALL {
                serve(&mut self.jobs, class, until, &mut self.out, self.reader.array(), self.tsc);
            }
        }
        kernel_frames || own || received > 0 || waiting
    }

    /// Decides about each frame of a burst, and replicates it: those that failover hangs on first.
    fn forward(&mut self, burst: &mut Burst, origin: Origin) {
        let received = self.tsc.now();
        let settings = self.live.settings();
        // 1. Decapsulate and check the outer headers; hand the kernel what is the kernel's.
        let Judged { candidates, vnis } = self.judge(burst, settings);

        // 2. Look all their domains up at once, so that the cache misses overlap.
        let mut domains = [None; BURST];
        self.reader.lookup_bulk(&vnis, &mut domains);

        // 3. Check the source's membership, the inner frame, who announces virtual IPs, and the limits.
        match crate::inspect::with_vips(&domains) {
            with_vips @ 1.. if origin == Origin::Port => {
                let now_ns = self.tsc.clock_ns(received);
                inspect(&mut self.inspector, burst, &candidates, &domains, with_vips, now_ns);
            }
            _ => self.inspector.forget(),
        }
        let clock = Clock { now: received, per_second: self.tsc.per_second() };
        let limits = Some(&self.live.limits).filter(|limits| limits.enabled());
        let mut accepted = [Places::default(); Class::ALL.len()];
        let mut positions = [0; BURST];
        for (index, (candidate, domain)) in candidates.iter().zip(&domains).enumerate() {
            let verdict = candidate.check(burst, *domain).and_then(|(domain, position, class)| {
                positions[index] = position;
                let said = self.inspector.finding(index).transpose();
                let said = said.map_err(|unheard| refuse(&self.inspector, unheard, self.out.counters()))?;
                if let Some(limits) = limits {
                    let cells = self.out.cells().domain(domain.domain());
                    limits.admit(candidate.ask(domain, class), &self.lots, cells, clock)?;
                }
                if let Some(said) = said {
                    self.inspector.note(said);
                    self.out.counters().announcements[said.kind()].add(1);
                }
                Ok(class)
            });
            match verdict {
                Ok(class) => accepted[class as usize].insert(index),
                Err(reason) => {
                    // A migrating instance may be faster than the controller: what it announces from a TEP that is
                    // about to become a member is to be remembered.
                    if reason == DropReason::TepNotMember
                        && let Some(Err(unheard)) = self.inspector.finding(index)
                    {
                        refuse(&self.inspector, unheard, self.out.counters());
                    }
                    self.out.drop_frame(reason);
                }
            }
        }

        // 4. Replicate. The array is fetched anew: one that was published before the lists has all their members, and an
        // index keeps its TEP until no worker uses a list with it.
        let mut copying = Copying {
            out: &mut self.out,
            jobs: &mut self.jobs,
            reader: &self.reader,
            teps: self.reader.array(),
            settings,
            received,
            accepted: 0,
            wanted: 0,
        };
        for (class, frames) in Class::ALL.into_iter().zip(accepted) {
            copying.out.class(class);
            let mut sent = 0;
            for index in frames {
                let frame = &candidates[index];
                if let (Some(domain), Some(mbuf)) = (domains[index], burst.take(frame.place)) {
                    sent += u64::from(copying.start(frame, domain, positions[index], class, mbuf));
                }
            }
            if sent > 0 {
                copying.out.flush(copying.teps);
                let ns = self.tsc.nanoseconds(self.tsc.since(received));
                copying.out.counters().residence[class as usize].add(sent, ns, 0);
            }
            if class == Class::Control && !copying.jobs.is_empty() {
                let until = self.tsc.now() + self.tsc.per_second() / SERVING;
                serve(copying.jobs, class, until, copying.out, copying.teps, self.tsc);
            }
        }
        copying.out.counters().rx_accepted.add(copying.accepted);
        copying.out.counters().copies_wanted.add(copying.wanted);
        // What is left in it was dropped.
        burst.clear();
    }

    /// Checks the outer headers of a burst's frames. Those that pass are returned; the others are counted, and stay in the burst to
    /// be freed.
    #[inline(always)]
    fn judge(&mut self, burst: &mut Burst, settings: Settings) -> Judged {
        let teps = self.reader.array();
        let mut judged = Judged { candidates: ArrayVec::new(), vnis: ArrayVec::new() };
        let mut punted = ArrayVec::<usize, BURST>::new();
        self.out.counters().rx_frames.add(burst.len() as u64);
        for (place, mbuf) in burst.iter() {
            // Not `wire::parse` for all: what two paths return stands in memory, and is waited for there.
            let entered = match wire::parse_fast(mbuf.data(), &self.node) {
                Some(outer) => judged.enter(place, outer, teps, settings),
                None => judged.enter_unusual(place, mbuf, &self.node, teps, settings),
            };
            match entered {
                Ok(()) => {}
                Err(Rejection::Drop(reason)) => self.out.drop_frame(reason),
                Err(Rejection::Punt) => punted.push(place),
            }
        }
        for mbuf in punted.into_iter().filter_map(|place| burst.take(place)) {
            match self.punt.offer(mbuf, self.live.punt_rate()) {
                Ok(()) => self.out.counters().punted.add(1),
                Err(reason) => self.out.drop_frame(reason),
            }
        }
        judged
    }
}

/// The frames of a burst that passed all checks of their outer headers, and their VNIs.
struct Judged {
    candidates: ArrayVec<Candidate, BURST>,
    vnis: ArrayVec<Vni, BURST>,
}

impl Judged {
    /// Enters a frame if a TEP sent it.
    #[inline(always)]
    fn enter(
        &mut self,
        place: usize,
        outer: Outer,
        teps: &TepArray,
        settings: Settings,
    ) -> Result<(), Rejection> {
        let source = teps.find(outer.source).ok_or(DropReason::TepUnknown)?;
        let from = if settings.origin { outer.source } else { outer.destination };
        let header = FrameHeader::new(from, outer.tos, outer.key, outer.inner_len());
        self.vnis.push(Vni::from(outer.key));
        self.candidates.push(Candidate { place, outer, source, header });
        Ok(())
    }

    #[inline(never)]
    fn enter_unusual(
        &mut self,
        place: usize,
        mbuf: &Mbuf,
        node: &NodeAddresses,
        teps: &TepArray,
        settings: Settings,
    ) -> Result<(), Rejection> {
        self.enter(place, wire::parse(mbuf.data(), node)?, teps, settings)
    }
}

/// Judges what the frames of domains with virtual IPs announce.
#[inline(never)]
fn inspect(
    inspector: &mut ArpInspector,
    burst: &Burst,
    candidates: &[Candidate],
    domains: &[Option<&MemberList>; BURST],
    with_vips: u32,
    now_ns: u64,
) {
    let mut listening = inspector.inspect(now_ns);
    for index in crate::inspect::bits(with_vips) {
        if let Some(candidate) = candidates.get(index)
            && let Some(domain) = domains[index]
            && let Some(mbuf) = burst.get(candidate.place)
            && let Some(inner) = mbuf.data().get(candidate.outer.inner_range())
        {
            listening.read(index, candidate.source, domain, inner);
        }
    }
    listening.judge();
}

/// Reports what was refused: why its frame is dropped.
#[cold]
fn refuse(inspector: &ArpInspector, unheard: Violation, counters: &WorkerCounters) -> DropReason {
    if let Violation::Rejected(refused) = unheard
        && !inspector.report(refused)
    {
        counters.refused_lost.add(1);
    }
    unheard.reason()
}

impl Candidate {
    /// Checks what the tables and the inner frame decide: its domain, where its source stands among the members, its class.
    #[inline(always)]
    fn check<'d>(
        &self,
        burst: &Burst,
        domain: Option<&'d MemberList>,
    ) -> Result<(&'d MemberList, usize, Class), DropReason> {
        let domain = domain.ok_or(DropReason::VniUnknown)?;
        let position = domain.position(self.source).ok_or(DropReason::TepNotMember)?;
        let control = self.outer.classify(|| burst.get(self.place).map_or(&[], Mbuf::data))?;
        Ok((domain, position, if control { Class::Control } else { Class::Data }))
    }

    /// What it asks of the limits.
    #[inline(always)]
    fn ask(&self, domain: &MemberList, class: Class) -> Ask {
        Ask {
            tep: self.source,
            domain: domain.domain(),
            copies: domain.members().len() as u64 - 1,
            inner_len: self.outer.inner_len().into(),
            control: class == Class::Control,
        }
    }
}

/// Some of a burst's frames, by their places among its candidates: a bit each.
#[derive(Clone, Copy, Default)]
struct Places(u32);

const _: () = assert!(BURST == 32);

impl Places {
    #[inline(always)]
    fn insert(&mut self, place: usize) {
        self.0 |= 1 << place;
    }
}

impl Iterator for Places {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let place = (self.0 != 0).then(|| self.0.trailing_zeros() as usize)?;
        self.0 &= self.0 - 1;
        Some(place)
    }
}

/// What one burst's frames are copied with.
struct Copying<'w> {
    out: &'w mut Outbox,
    jobs: &'w mut Jobs,
    reader: &'w Reader<TepArray>,
    teps: &'w TepArray,
    settings: Settings,
    /// When the burst was received: ticks.
    received: u64,
    /// Frames that were accepted, and copies that they asked for.
    accepted: u64,
    wanted: u64,
}

impl Copying<'_> {
    /// Makes all copies of a frame, or makes it a job: if it has more than a quantum, or others of its domain wait. Says
    /// whether it is done.
    #[inline(always)]
    fn start(
        &mut self,
        frame: &Candidate,
        domain: &MemberList,
        position: usize,
        class: Class,
        mbuf: Mbuf,
    ) -> bool {
        let (id, targets) = (domain.domain(), Targets::all(domain.members(), position));
        if targets.len() > QUANTUM || self.out.cells().domain(id).waiting(class) > 0 {
            self.enqueue(frame, class, mbuf);
            return false;
        }
        self.accept(id, targets.len());
        if self.out.carries(frame.outer.inner_len()) {
            self.out.copy_all(mbuf, &self.frame(frame, id), targets, self.teps);
        } else {
            self.out.drop_copies(targets, id, CopyDropReason::MtuExceeded);
        }
        true
    }

    #[inline(always)]
    fn frame<'f>(&self, frame: &'f Candidate, domain: DomainId) -> Frame<'f> {
        Frame { outer: &frame.outer, header: &frame.header, domain, settings: self.settings }
    }

    #[inline(always)]
    fn accept(&mut self, domain: DomainId, copies: usize) {
        self.accepted += 1;
        self.wanted += copies as u64;
        self.out.cells().domain(domain).frames.add(1);
    }

    /// Makes a frame a job, if there is room for it. It goes to the members as they are now.
    #[cold]
    fn enqueue(&mut self, frame: &Candidate, class: Class, mbuf: Mbuf) {
        let outer = &frame.outer;
        let Some(list) = self.reader.hold(Vni::from(outer.key)) else {
            return self.out.drop_frame(DropReason::VniUnknown);
        };
        let Some(position) = list.position(frame.source) else {
            return self.out.drop_frame(DropReason::TepNotMember);
        };
        let (id, targets) = (list.domain(), Targets::all(list.members(), position));
        let copies = targets.len();
        let bytes = usize::from(outer.inner_len()) + OVERHEAD;
        if !self.jobs.fits(class, self.out.cells().domain(id), copies, bytes) {
            return self.out.drop_frame(DropReason::JobFull);
        }
        self.accept(id, copies);
        if !self.out.carries(outer.inner_len()) {
            return self.out.drop_copies(targets, id, CopyDropReason::MtuExceeded);
        }
        let fanout = self.out.fanout(mbuf, &self.frame(frame, id), copies);
        let after = self.jobs.quanta;
        let job = Job { list, position, done: 0, fanout, received: self.received, after, quanta: 0 };
        self.jobs.push(class, self.out.cells().domain(id), job);
    }
}

/// Lets the domains of one class take turns, until none waits or it is time to look for new frames.
fn serve(jobs: &mut Jobs, class: Class, until: u64, out: &mut Outbox, teps: &TepArray, tsc: Tsc) {
    if jobs.lines(class) == 0 {
        return;
    }
    out.class(class);
    while jobs.front(class).is_some() {
        serve_one(jobs, class, out, teps, tsc);
        if tsc.now() >= until {
            break;
        }
    }
    // Between turns nothing stands in the batch: the kernel's frames have it to themselves.
    out.flush(teps);
}

/// A domain's turn: a quantum of copies.
fn serve_one(jobs: &mut Jobs, class: Class, out: &mut Outbox, teps: &TepArray, tsc: Tsc) {
    jobs.quanta += 1;
    let (mut left, quanta) = (QUANTUM, jobs.quanta);
    while left > 0 {
        let Some(job) = jobs.front(class) else { return };
        let id = job.list.domain();
        job.quanta += 1;
        let (targets, fanout) = job.next(left);
        left -= targets.len();
        out.copy(fanout, targets, teps);
        if job.left() > 0 {
            break;
        }
        let (received, waited) = (job.received, quanta.saturating_sub(job.after + job.quanta));
        out.flush(teps);
        let ns = tsc.nanoseconds(tsc.since(received));
        out.counters().residence[class as usize].add(1, ns, waited);
        if !jobs.finish(class, out.cells().domain(id)) {
            return;
        }
    }
    jobs.rotate(class);
}

/// Ends the old jobs that somebody waits for, who has removed something and must know that nothing older is on its way. Where nobody
/// waits they go on, however old: a slow port takes long for a large domain.
#[cold]
fn cut(jobs: &mut Jobs, out: &mut Outbox, teps: &TepArray, tsc: Tsc) {
    let now = tsc.now();
    for class in Class::ALL {
        'lines: for _ in 0..jobs.lines(class) {
            // The first in a line is the oldest.
            while let Some(job) = jobs.front(class)
                && job.list.is_awaited()
                && now.saturating_sub(job.received) > tsc.per_second() / JOB_AGE
            {
                let id = job.list.domain();
                let (targets, _) = job.next(usize::MAX);
                out.drop_copies(targets, id, CopyDropReason::JobExpired);
                if !jobs.finish(class, out.cells().domain(id)) {
                    continue 'lines;
                }
            }
            jobs.rotate(class);
        }
    }
    // Nothing of them stands in the batch either.
    out.flush(teps);
}
