//! The fan-out queue: frames with many copies are replicated a quantum at a time, so that one domain does not keep a worker from others.
//!
//! A frame for more than [`QUANTUM`] members becomes a [`Job`]. Jobs of one domain and class are a flow, in which frames stay in order.
//! Flows take turns of a quantum of copies each: deficit round robin (Shreedhar, Varghese 1995) whose packets are single copies, so
//! that no deficit is left over. Flows of a class go before those of the classes below it. A job holds the member list that it began with.
//!
//! All memory is taken at the start. A job that does not [fit](FanoutQueue::fits) is refused. A domain's [`Backlog`] names its flow, so
//! that no step depends on how many flows wait.

use std::collections::VecDeque;

use bcast_domain::HeldList;
pub use wire::Class;
use wire::CopyDropReason;

use crate::counters::{Backlog, DomainCells};
use crate::port::{Clock, Port};
use crate::replicate::{Fanout, Transmitter};
use crate::targets::Targets;
use crate::teps::TepArray;

/// Copies of one turn, and most copies that are made of a frame at once.
pub const QUANTUM: usize = 128;
/// Jobs of one worker.
pub const JOBS: u16 = 2048;
/// Jobs that frames of a class leave to those of the classes above it.
const LEFT_JOBS: [usize; Class::ALL.len()] = [0, 512, 1024];
/// Copies that wait in one flow, where there is more than one job. Data: half a millisecond's at 60 million a second. Others: as
/// many as their bucket holds, since many virtual IPs are announced at once.
const FLOW_COPIES: [u64; Class::ALL.len()] = [1 << 20, 1 << 20, 32_768];
/// Bytes of the frames that jobs hold, those of a class and of the classes above it.
const BYTES: [usize; Class::ALL.len()] = [4 << 20, 7 << 19, 3 << 20];
/// Time for large fan-outs before the worker looks for new frames: 1 / this of a second, 20 us.
const SERVING: u64 = 50_000;
/// Age of a job from which it is aborted when somebody waits for its end: 1 / this of a second, 2 ms.
const JOB_AGE: u64 = 500;
/// No job.
const NONE: u16 = u16::MAX;

/// A frame that is being copied to many members.
pub struct Job<P: Port> {
    /// Members of the domain when the frame was received.
    pub list: HeldList,
    /// Position of the source among them.
    pub position: usize,
    /// Copies that were made, or dropped.
    pub done: usize,
    /// The frame.
    pub fanout: Fanout<P>,
    /// Tick at which the frame was received.
    pub received: u64,
    /// Worker's quantum counter at enqueue time.
    pub after: u64,
    /// Quanta that the job was served.
    pub quanta: u64,
}

impl<P: Port> Job<P> {
    /// Copies that are not made yet.
    pub fn left(&self) -> usize {
        self.list.members().len() - 1 - self.done
    }

    /// Next members, at most so many; they count as done.
    pub fn next(&mut self, most: usize) -> (Targets<'_>, &mut Fanout<P>) {
        let (_, left) = Targets::all(self.list.members(), self.position).split_at(self.done);
        let (next, _) = left.split_at(most);
        self.done += next.len();
        (next, &mut self.fanout)
    }
}

struct Slot<P: Port> {
    job: Option<Job<P>>,
    /// Job behind it in its flow.
    next: u16,
}

/// Jobs of one domain and class, in the order in which they came.
#[derive(Clone, Copy)]
struct Flow {
    first: u16,
    last: u16,
}

/// A worker's jobs.
pub struct FanoutQueue<P: Port> {
    slots: Vec<Slot<P>>,
    free: Vec<u16>,
    flows: Vec<Flow>,
    free_flows: Vec<u16>,
    /// Active flows (with jobs) by class; the front one is served.
    active: [VecDeque<u16>; Class::ALL.len()],
    bytes: usize,
    /// Quanta that were served.
    pub quanta: u64,
}

impl<P: Port> Default for FanoutQueue<P> {
    fn default() -> Self {
        let flows = || VecDeque::with_capacity(usize::from(JOBS));
        Self {
            slots: (0..JOBS).map(|_| Slot { job: None, next: NONE }).collect(),
            free: (0..JOBS).rev().collect(),
            flows: vec![Flow { first: NONE, last: NONE }; usize::from(JOBS)],
            free_flows: (0..JOBS).rev().collect(),
            active: Class::ALL.map(|_| flows()),
            bytes: 0,
            quanta: 0,
        }
    }
}

impl<P: Port> FanoutQueue<P> {
    /// True if there is no job.
    pub fn is_empty(&self) -> bool {
        self.active.iter().all(VecDeque::is_empty)
    }

    /// True if there is room for a job of so many copies and bytes, in the flow of `cells`' domain and in all. A flow that is
    /// empty takes one of any size; a longer one no more than a quarter of what is free, so that no few domains take it all.
    pub fn fits(&self, class: Class, cells: &DomainCells, copies: usize, bytes: usize) -> bool {
        let waiting = u64::from(cells.backlog(class).jobs);
        let free = self.free.len().saturating_sub(LEFT_JOBS[class as usize]);
        let flow = (waiting + 1) * copies as u64 <= FLOW_COPIES[class as usize] && waiting < free as u64 / 4;
        free > 0 && self.bytes + bytes <= BYTES[class as usize] && (waiting == 0 || flow)
    }

    /// Puts a job that fits at the end of its domain's flow.
    pub fn push(&mut self, class: Class, cells: &DomainCells, job: Job<P>) {
        let Some(slot) = self.free.pop() else { return };
        self.bytes += job.fanout.bytes();
        self.slots[usize::from(slot)] = Slot { job: Some(job), next: NONE };
        let backlog = match cells.backlog(class) {
            // There are as many flows as slots, so one is free.
            Backlog { jobs: 0, .. } => {
                let flow = self.free_flows.pop().unwrap_or_default();
                self.flows[usize::from(flow)] = Flow { first: slot, last: slot };
                self.active[class as usize].push_back(flow);
                Backlog { jobs: 1, flow }
            }
            Backlog { jobs, flow } => {
                let last = std::mem::replace(&mut self.flows[usize::from(flow)].last, slot);
                self.slots[usize::from(last)].next = slot;
                Backlog { jobs: jobs + 1, flow }
            }
        };
        cells.set_backlog(class, backlog);
    }

    /// Job of one class whose turn it is.
    pub fn front(&mut self, class: Class) -> Option<&mut Job<P>> {
        let flow = *self.active[class as usize].front()?;
        self.slots[usize::from(self.flows[usize::from(flow)].first)].job.as_mut()
    }

    /// Takes the front job out. The next of its flow has its turn; says whether there is one.
    pub fn finish(&mut self, class: Class, cells: &DomainCells) -> bool {
        let Some(&flow) = self.active[class as usize].front() else { return false };
        let first = self.flows[usize::from(flow)].first;
        let slot = &mut self.slots[usize::from(first)];
        self.flows[usize::from(flow)].first = slot.next;
        let more = slot.next != NONE;
        if let Some(job) = slot.job.take() {
            self.bytes -= job.fanout.bytes();
        }
        if !more {
            self.active[class as usize].pop_front();
            self.free_flows.push(flow);
        }
        self.free.push(first);
        cells.set_backlog(class, Backlog { jobs: cells.backlog(class).jobs.saturating_sub(1), flow });
        more
    }

    /// Domains that wait.
    pub fn waiting(&self, class: Class) -> usize {
        self.active[class as usize].len()
    }

    /// Gives the next domain its turn.
    pub fn rotate(&mut self, class: Class) {
        let active = &mut self.active[class as usize];
        if active.len() > 1 {
            active.rotate_left(1);
        }
    }
}

/// Time that a worker has for large fan-outs.
pub(crate) struct Budget<C> {
    clock: C,
    start: u64,
}

impl<C: Clock> Budget<C> {
    pub(crate) fn start(clock: C) -> Self {
        Self { clock, start: clock.now() }
    }

    /// True if the time is over; also where the clock went backwards.
    fn is_over(&self) -> bool {
        self.clock.now().wrapping_sub(self.start) >= self.clock.per_second() / SERVING
    }
}

/// Lets the domains of one class take turns, until none waits or the time is over.
pub(crate) fn serve<P: Port>(
    queue: &mut FanoutQueue<P>,
    class: Class,
    budget: &Budget<P::Clock>,
    tx: &mut Transmitter<P>,
    teps: &TepArray<P::Encap>,
) {
    if queue.waiting(class) == 0 {
        return;
    }
    tx.set_class(class);
    while queue.front(class).is_some() {
        serve_one(queue, class, tx, teps, budget.clock);
        if budget.is_over() {
            break;
        }
    }
    // Between turns nothing stands in the batch: the kernel's frames have it to themselves.
    tx.flush(teps);
}

/// Serves a domain: a quantum of copies.
fn serve_one<P: Port>(
    queue: &mut FanoutQueue<P>,
    class: Class,
    tx: &mut Transmitter<P>,
    teps: &TepArray<P::Encap>,
    clock: P::Clock,
) {
    queue.quanta += 1;
    let (mut left, quanta) = (QUANTUM, queue.quanta);
    while left > 0 {
        let Some(job) = queue.front(class) else { return };
        let id = job.list.domain();
        job.quanta += 1;
        let (targets, fanout) = job.next(left);
        left -= targets.len();
        tx.copy(fanout, targets, teps);
        if job.left() > 0 {
            break;
        }
        let (received, waited) = (job.received, quanta.saturating_sub(job.after + job.quanta));
        tx.flush(teps);
        let ns = clock.nanoseconds(clock.now().saturating_sub(received));
        tx.counters().forwarding[class as usize].add(1, ns, waited);
        if !queue.finish(class, tx.cells().domain(id)) {
            return;
        }
    }
    queue.rotate(class);
}

/// Aborts old jobs whose end somebody waits for, who has removed something and must know that nothing older is on its way. Where nobody
/// waits they go on, however old: a slow port takes long for a large domain.
#[cold]
pub(crate) fn abort<P: Port>(
    queue: &mut FanoutQueue<P>,
    tx: &mut Transmitter<P>,
    teps: &TepArray<P::Encap>,
    clock: P::Clock,
) {
    let now = clock.now();
    for class in Class::ALL {
        'flows: for _ in 0..queue.waiting(class) {
            // The first in a flow is the oldest.
            while let Some(job) = queue.front(class)
                && job.list.is_awaited()
                && now.saturating_sub(job.received) > clock.per_second() / JOB_AGE
            {
                let id = job.list.domain();
                let (targets, _) = job.next(usize::MAX);
                tx.drop_copies(targets, id, CopyDropReason::FanoutAborted);
                if !queue.finish(class, tx.cells().domain(id)) {
                    continue 'flows;
                }
            }
            queue.rotate(class);
        }
    }
    // Nothing of them stands in the batch either.
    tx.flush(teps);
}
