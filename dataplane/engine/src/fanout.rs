//! Large fan-outs, a quantum at a time: so that one domain does not keep a worker from the others.
//!
//! A frame for more than [`QUANTUM`] members becomes a job. Jobs of one domain and class wait in a line, so that its frames stay
//! in order; lines take turns, a quantum of copies each (deficit round robin; its packets are single copies, so that no deficit
//! is ever left over). Lines of control frames go before all others. A job holds the member list that it began with.
//!
//! All memory is taken at the start. What does not fit is refused: see [`Jobs::fits`].

use std::collections::VecDeque;

use bcast_domain::{DomainId, HeldList};

use crate::counters::DomainCells;
use crate::replicate::Fanout;
use crate::targets::Targets;

/// Copies that a domain gets before another has its turn, and most copies that are made of a frame at once.
pub const QUANTUM: usize = 128;
/// Jobs of one worker.
const JOBS: u16 = 2048;
/// Of these, what only control frames may take.
const CONTROL_JOBS: usize = 1024;
/// Copies that wait in one line, where there is more than one job: of data half a millisecond's at 60 million a second; of control
/// frames as many as their bucket holds, since many virtual IPs are announced at once.
const LINE_COPIES: [u64; Class::ALL.len()] = [1 << 20, 32_768];
/// Bytes of the frames that jobs hold, and those of them that data may take.
const BYTES: usize = 4 << 20;
const DATA_BYTES: usize = 3 << 20;
/// No slot.
const NONE: u16 = u16::MAX;

/// What a frame is to its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// ARP, neighbour advertisements, VRRP: see [`wire::is_control`].
    Control,
    /// All others.
    Data,
}

impl Class {
    /// Both, the first one first.
    pub const ALL: [Self; 2] = [Self::Control, Self::Data];

    /// The value of the metrics' label `class`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Data => "data",
        }
    }
}

/// A frame that is being copied to many members.
pub struct Job {
    /// Its domain's members when it was received.
    pub list: HeldList,
    /// Where its source stands among them.
    pub position: usize,
    /// Copies that were made of it, or dropped.
    pub done: usize,
    /// The frame.
    pub fanout: Fanout,
    /// When it was received: ticks.
    pub received: u64,
    /// Quanta that its worker had served when it came.
    pub after: u64,
    /// Quanta that it was served itself.
    pub quanta: u64,
}

impl Job {
    /// Copies that are not made yet.
    pub fn left(&self) -> usize {
        self.list.members().len() - 1 - self.done
    }

    /// The members that come next, at most so many; they count as done.
    pub fn next(&mut self, most: usize) -> (Targets<'_>, &mut Fanout) {
        let (_, left) = Targets::all(self.list.members(), self.position).split_at(self.done);
        let (next, _) = left.split_at(most);
        self.done += next.len();
        (next, &mut self.fanout)
    }
}

struct Slot {
    job: Option<Job>,
    /// The one behind it in its line.
    next: u16,
}

/// The jobs of one domain and class, in the order in which they came.
struct Line {
    domain: DomainId,
    first: u16,
    last: u16,
}

/// A worker's jobs.
pub struct Jobs {
    slots: Vec<Slot>,
    free: Vec<u16>,
    /// By class. The front one has its turn.
    lines: [VecDeque<Line>; Class::ALL.len()],
    bytes: usize,
    /// Quanta that were served.
    pub quanta: u64,
}

impl Default for Jobs {
    fn default() -> Self {
        Self::new()
    }
}

impl Jobs {
    /// None, with room for all that fit.
    pub fn new() -> Self {
        let line = || VecDeque::with_capacity(usize::from(JOBS));
        Self {
            slots: (0..JOBS).map(|_| Slot { job: None, next: NONE }).collect(),
            free: (0..JOBS).rev().collect(),
            lines: [line(), line()],
            bytes: 0,
            quanta: 0,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lines.iter().all(VecDeque::is_empty)
    }

    /// Whether there is room for a job of so many copies and bytes, in the line of `cells`' domain and in all. A line that is
    /// empty takes one of any size; a longer one no more than a quarter of what is free, so that no few domains take it all.
    pub fn fits(&self, class: Class, cells: &DomainCells, copies: usize, bytes: usize) -> bool {
        let waiting = cells.waiting(class);
        let (free, most_bytes) = match class {
            Class::Control => (self.free.len(), BYTES),
            Class::Data => (self.free.len().saturating_sub(CONTROL_JOBS), DATA_BYTES),
        };
        let line = (waiting + 1) * copies as u64 <= LINE_COPIES[class as usize] && waiting < free as u64 / 4;
        free > 0 && self.bytes + bytes <= most_bytes && (waiting == 0 || line)
    }

    /// Puts a job that fits at the end of its domain's line.
    pub fn push(&mut self, class: Class, cells: &DomainCells, job: Job) {
        let Some(slot) = self.free.pop() else { return };
        let domain = job.list.domain();
        self.bytes += job.fanout.bytes();
        self.slots[usize::from(slot)] = Slot { job: Some(job), next: NONE };
        let lines = &mut self.lines[class as usize];
        let line =
            if cells.waiting(class) > 0 { lines.iter_mut().find(|line| line.domain == domain) } else { None };
        match line {
            Some(line) => {
                self.slots[usize::from(line.last)].next = slot;
                line.last = slot;
            }
            None => lines.push_back(Line { domain, first: slot, last: slot }),
        }
        cells.wait(class, true);
    }

    /// The job whose turn it is, of one class.
    pub fn front(&mut self, class: Class) -> Option<&mut Job> {
        let line = self.lines[class as usize].front()?;
        self.slots[usize::from(line.first)].job.as_mut()
    }

    /// Takes the front job out. The next of its line has its turn; says whether there is one.
    pub fn finish(&mut self, class: Class, cells: &DomainCells) -> bool {
        let lines = &mut self.lines[class as usize];
        let Some(line) = lines.front_mut() else { return false };
        let first = line.first;
        let slot = &mut self.slots[usize::from(first)];
        line.first = slot.next;
        if let Some(job) = slot.job.take() {
            self.bytes -= job.fanout.bytes();
        }
        let more = slot.next != NONE;
        if !more {
            lines.pop_front();
        }
        self.free.push(first);
        cells.wait(class, false);
        more
    }

    /// How many domains wait.
    pub fn lines(&self, class: Class) -> usize {
        self.lines[class as usize].len()
    }

    /// Gives the next domain its turn.
    pub fn rotate(&mut self, class: Class) {
        let lines = &mut self.lines[class as usize];
        if lines.len() > 1 {
            lines.rotate_left(1);
        }
    }
}
