//! The sender: makes the plan's frames when they are due by the clock, and numbers them.

use std::ops::Range;

use arrayvec::ArrayVec;
use dpdk::{BATCH, BURST, Mbuf, Mempool, TxBatch, TxQueue};
use wire::{FrameHeader, MacAddr, OVERHEAD, Template};
use zerocopy::IntoBytes;

use super::clock::Clock;
use super::flow::{Plan, Rate, Stream};
use super::frames::{TRAILER, Trailer};

/// Parts of a tick in which frames are paced: at 10 million frames/s a tick would be too coarse.
const PART: u64 = 256;

/// Schedule of one stream. Times are parts of ticks since the start.
struct Pace {
    next: u64,
    step: u64,
    /// A sender that was held up for longer than this does not make up for it: that would be a burst of the sender's
    /// own making.
    slack: u64,
    /// Frames that were not sent because of that.
    skipped: u64,
    /// Frames still to be sent.
    left: u64,
}

impl Pace {
    fn new(stream: &Stream, clock: &Clock) -> Self {
        let second = clock.ticks_of(std::time::Duration::from_secs(1)).saturating_mul(PART);
        let step = (second / stream.rate.0.max(1)).max(1);
        Self { next: 0, step, slack: second / 1000, skipped: 0, left: stream.frames.unwrap_or(u64::MAX) }
    }

    fn is_due(&mut self, now: u64) -> bool {
        if now < self.next || self.left == 0 {
            return false;
        }
        let behind = now - self.next;
        if behind > self.slack {
            let missed = (behind - self.slack) / self.step;
            self.skipped += missed;
            self.next += missed * self.step;
        }
        self.next += self.step;
        self.left -= 1;
        true
    }
}

/// A transmit queue with what waits for it.
struct Lane<'r> {
    queue: &'r mut TxQueue,
    batch: TxBatch,
    /// Flows of the frames in the batch, in order.
    flows: ArrayVec<usize, BATCH>,
}

/// Sends one plan.
pub struct Sender<'r> {
    plan: &'r Plan,
    clock: Clock,
    pool: &'r Mempool,
    run: u32,
    start: u64,
    to_node: Template,
    lanes: Vec<Lane<'r>>,
    paces: Vec<Pace>,
    /// Flow whose turn it is, by stream.
    turns: Vec<usize>,
    /// Frames that were made, by flow.
    sent: Vec<u64>,
    /// Frames that the port took, of all streams.
    pub accepted: u64,
}

/// MAC addresses of frames.
#[derive(Clone, Copy, Debug)]
pub struct Macs {
    /// This program's port.
    pub own: MacAddr,
    /// The node's port, or the router to it.
    pub node: MacAddr,
}

impl<'r> Sender<'r> {
    /// Sender for the run of this number, which starts at this tick.
    pub fn new(
        plan: &'r Plan,
        clock: Clock,
        (pool, queues): (&'r Mempool, &'r mut [TxQueue]),
        macs: Macs,
        (run, start): (u32, u64),
    ) -> Self {
        let lane = |queue| Lane { queue, batch: TxBatch::new(), flows: ArrayVec::new() };
        Self {
            to_node: Template::new(macs.own, Some(macs.node), plan.node),
            lanes: queues.iter_mut().map(lane).collect(),
            paces: plan.streams.iter().map(|stream| Pace::new(stream, &clock)).collect(),
            turns: plan.streams.iter().map(|stream| stream.flows.start).collect(),
            sent: vec![0; plan.flows.len()],
            accepted: 0,
            plan,
            clock,
            pool,
            run,
            start,
        }
    }

    /// Sends what is due, at most a burst of each stream, and does not wait. Says whether there is more to come.
    pub fn turn(&mut self) -> bool {
        let now = self.clock.ticks().saturating_sub(self.start).saturating_mul(PART);
        for stream in 0..self.plan.streams.len() {
            for _ in 0..BURST {
                let flow = self.turns[stream];
                let lane = flow % self.lanes.len().max(1);
                if self.lanes[lane].batch.room() == 0 || !self.paces[stream].is_due(now) {
                    break;
                }
                let Range { start, end } = self.plan.streams[stream].flows;
                self.turns[stream] = if flow + 1 < end { flow + 1 } else { start };
                if !self.make(flow, lane) {
                    break;
                }
            }
        }
        self.flush();
        self.paces.iter().any(|pace| pace.left > 0) || self.lanes.iter().any(|lane| !lane.batch.is_empty())
    }

    /// Makes the flow's next frame. False where there is no buffer for it.
    fn make(&mut self, flow: usize, lane: usize) -> bool {
        let number = flow;
        let flow = &self.plan.flows[number];
        let inner = &self.plan.streams[flow.stream].inner;
        let Some(mut mbuf) = Mbuf::alloc(self.pool) else { return false };
        let Some(frame) = mbuf.append(OVERHEAD + inner.len()) else { return false };
        let length = u16::try_from(inner.len()).unwrap_or(u16::MAX);
        let header = FrameHeader::new(self.plan.teps.address(flow.source), 0, flow.vni, length);
        let trailer = Trailer {
            run: self.run.into(),
            flow: u32::try_from(number).unwrap_or(u32::MAX).into(),
            sequence: self.sent[number].into(),
            ticks: self.clock.ticks().into(),
        };
        let (head, body) = frame.split_at_mut(OVERHEAD);
        head.copy_from_slice(&header.head(&self.to_node).to_bytes());
        let (body, end) = body.split_at_mut(inner.len() - TRAILER);
        body.copy_from_slice(&inner[..inner.len() - TRAILER]);
        end.copy_from_slice(trailer.as_bytes());
        let lane = &mut self.lanes[lane];
        if lane.batch.push(mbuf).is_err() {
            return false;
        }
        lane.flows.push(number);
        self.sent[number] += 1;
        true
    }

    /// Offers what waits to the port, once.
    pub fn flush(&mut self) -> bool {
        for lane in self.lanes.iter_mut().filter(|lane| !lane.batch.is_empty()) {
            let accepted = lane.queue.transmit(&mut lane.batch);
            lane.flows.drain(..accepted);
            self.accepted += accepted as u64;
        }
        self.lanes.iter().all(|lane| lane.batch.is_empty())
    }

    /// Copies that must come of what was made.
    pub fn expected(&self) -> u64 {
        self.plan.flows.iter().zip(&self.sent).map(|(flow, sent)| self.plan.copies(flow) * sent).sum()
    }

    /// Frames that the port took, by flow, and those that were not made in time, by stream. What still waits is given
    /// up.
    pub fn close(mut self) -> Sent {
        for lane in &mut self.lanes {
            for &flow in &lane.flows {
                self.sent[flow] -= 1;
            }
            lane.batch.discard_all();
        }
        let skipped = self.paces.iter().zip(&self.plan.streams);
        let skipped = skipped.map(|(pace, stream)| if stream.rate == Rate::MAX { 0 } else { pace.skipped });
        Sent { skipped: skipped.collect(), by_flow: self.sent }
    }
}

/// Frames of a sender.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// Frames that the port took.
    pub by_flow: Vec<u64>,
    /// Frames that were due while the sender was held up, and never made.
    pub skipped: Vec<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_due_by_the_clock_and_a_long_delay_is_not_made_up_for() {
        let pace = || Pace { next: 0, step: 10, slack: 50, skipped: 0, left: 1000 };
        let count = |pace: &mut Pace, now| std::iter::from_fn(|| pace.is_due(now).then_some(())).count();
        for (what, times, due, skipped) in [
            ("at the start, one", &[0][..], &[1][..], 0),
            ("on time", &[0, 10, 20, 25, 30], &[1, 1, 1, 0, 1], 0),
            ("a short delay is made up for", &[0, 60], &[1, 6], 0),
            ("a long one only by the slack", &[0, 1000], &[1, 6], 94),
        ] {
            let mut pace = pace();
            let counted: Vec<_> = times.iter().map(|&now| count(&mut pace, now)).collect();
            assert_eq!((counted.as_slice(), pace.skipped), (due, skipped), "{what}");
        }
        let mut limited = Pace { left: 3, ..pace() };
        assert_eq!((count(&mut limited, 100), limited.left), (3, 0));
    }
}
