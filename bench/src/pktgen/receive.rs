//! The account of what comes back: each copy is looked at, and is exactly one of [`Finding`].

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;
use wire::header::{Gre, Ipv4, Tunnel, ethertype, protocol};
use wire::{IP_OVERHEAD, checksum};
use zerocopy::{FromBytes, IntoBytes};

use super::clock::Clock;
use super::flow::{Flow, Plan};
use super::frames::{TRAILER, Trailer};

/// Kinds of received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// As expected, and in order.
    Good,
    /// As expected, but a later frame of its flow was there before.
    Late,
    /// This TEP had it already.
    Doubled,
    /// The VNI is not that of the flow.
    WrongVni,
    /// It went to a TEP that is no member.
    NotMember,
    /// It went back to where it came from.
    ToSource,
    /// A header or the inner frame is not as it was sent.
    Damaged,
    /// No frame of this run.
    Foreign,
}

/// Distance from the newest frame up to which a double is told from a late copy.
const WINDOW: u64 = 256;

/// Copies of one flow at one TEP. One cache line.
#[derive(Clone, Debug, Default)]
#[repr(align(64))]
pub struct Account {
    /// One more than the highest sequence number.
    next: u64,
    /// Bit `n % WINDOW`: number `n` came, for those up to [`WINDOW`] before `next`.
    seen: [u64; 4],
    /// Different frames.
    pub received: u64,
    /// Copies of what had come.
    pub doubled: u32,
    /// Frames behind a later one.
    pub late: u32,
}

impl Account {
    /// Enters a sequence number. What is too old for the window counts as late: it cannot be told from a double.
    #[inline]
    fn enter(&mut self, sequence: u64) -> Finding {
        let place = |n: u64| (usize::from(n.to_le_bytes()[0] >> 6), 1_u64 << (n & 63));
        if sequence >= self.next {
            let skipped = (sequence - self.next).min(WINDOW);
            for missing in 1..=skipped {
                let (word, bit) = place(sequence.wrapping_sub(missing));
                self.seen[word] &= !bit;
            }
            let (word, bit) = place(sequence);
            self.seen[word] |= bit;
            self.next = sequence + 1;
            self.received += 1;
            return Finding::Good;
        }
        let (word, bit) = place(sequence);
        if self.next - sequence <= WINDOW {
            if self.seen[word] & bit != 0 {
                self.doubled += 1;
                return Finding::Doubled;
            }
            self.seen[word] |= bit;
        }
        self.late += 1;
        self.received += 1;
        Finding::Late
    }
}

/// First and last copy of a watched TEP. Times are ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    pub first_at: u64,
    pub first_sequence: u64,
    pub last_at: u64,
    pub last_sequence: u64,
    pub last_sent: u64,
    /// Copies.
    pub received: u64,
}

/// Copies of one stream by [`Finding`]; good ones of watched TEPs are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Different frames at different members: [`Finding::Good`] and [`Finding::Late`].
    pub received: u64,
    pub out_of_order: u64,
    pub doubled: u64,
    pub wrong_vni: u64,
    pub not_member: u64,
    pub to_source: u64,
    pub damaged: u64,
}

impl Counts {
    #[inline]
    fn add(&mut self, finding: Finding) {
        match finding {
            Finding::Good => self.received += 1,
            Finding::Late => {
                self.received += 1;
                self.out_of_order += 1;
            }
            Finding::Doubled => self.doubled += 1,
            Finding::WrongVni => self.wrong_vni += 1,
            Finding::NotMember => self.not_member += 1,
            Finding::ToSource => self.to_source += 1,
            Finding::Damaged => self.damaged += 1,
            Finding::Foreign => {}
        }
    }

    /// Copies at TEPs, or in domains, where they do not belong.
    pub fn misdelivered(&self) -> u64 {
        self.wrong_vni + self.not_member + self.to_source
    }

    /// True if every copy was right, in order, and at its member.
    pub fn is_clean(&self) -> bool {
        self.misdelivered() + self.doubled + self.out_of_order + self.damaged == 0
    }
}

/// Copies of one stream.
#[derive(Clone, Debug)]
pub struct Tally {
    pub counts: Counts,
    /// Nanoseconds from the sender to the receiver, of each different frame.
    pub latency: Histogram<u64>,
    /// Copies by the tenth of a second in which they came, from the start on.
    pub tenths: Vec<u64>,
    /// Arrival of the last one, in ticks.
    pub last_at: u64,
}

/// Tenths of a second that are told apart: ten minutes.
const LONGEST_TENTHS: usize = 6_000;

/// The account of one run.
#[derive(Debug)]
pub struct Ledger {
    pub(super) plan: Arc<Plan>,
    pub(super) clock: Clock,
    run: u32,
    start: u64,
    /// Ticks in a tenth of a second.
    tenth: u64,
    pub(super) accounts: Vec<Account>,
    /// As many, where the plan watches any.
    pub(super) watches: Vec<Watch>,
    /// Latency by TEP, where each member's is kept.
    pub(super) latencies: Vec<Histogram<u32>>,
    /// Copies by TEP that were not for it.
    pub(super) misdelivered: Vec<u64>,
    pub(super) tallies: Vec<Tally>,
    /// Frames of others.
    pub(super) foreign: u64,
    /// Different frames at different members, of all streams.
    pub received: u64,
}

/// A copy that can be told to be one: from which flow, to whom.
struct Found {
    flow: usize,
    sequence: u64,
    sent: u64,
    /// The TEP that it went to, if it is one of the plan's.
    place: Option<u32>,
    finding: Option<Finding>,
}

impl Ledger {
    /// Receiver for the run of this number, which starts at this tick. With `per_member` each TEP's latencies are kept apart,
    /// some 16 kB each.
    pub fn new(plan: Arc<Plan>, clock: Clock, run: u32, start: u64, per_member: bool) -> Result<Self> {
        let teps = plan.teps.count() as usize;
        let tally = || {
            Ok::<_, anyhow::Error>(Tally {
                // Three digits, from 100 ns to a minute.
                latency: Histogram::new_with_bounds(100, 60_000_000_000, 3)?,
                counts: Counts::default(),
                tenths: Vec::new(),
                last_at: start,
            })
        };
        let watched = plan.flows.iter().any(|flow| flow.watched_from < flow.teps.end);
        let kept = if per_member { teps } else { 0 };
        Ok(Self {
            tenth: clock.ticks_of(Duration::from_millis(100)),
            accounts: vec![Account::default(); plan.accounts],
            watches: vec![Watch::default(); if watched { plan.accounts } else { 0 }],
            latencies: (0..kept)
                .map(|_| Histogram::new_with_bounds(100, 60_000_000_000, 2))
                .collect::<Result<_, _>>()?,
            misdelivered: vec![0; teps],
            tallies: plan.streams.iter().map(|_| tally()).collect::<Result<_, _>>()?,
            foreign: 0,
            received: 0,
            plan,
            clock,
            run,
            start,
        })
    }

    /// Enters a frame that came at `now`, and says what it was.
    #[inline]
    pub fn enter(&mut self, frame: &[u8], now: u64) -> Finding {
        let Some(found) = self.find(frame) else {
            self.foreign += 1;
            return Finding::Foreign;
        };
        let flow = &self.plan.flows[found.flow];
        let tally = &mut self.tallies[flow.stream];
        let place = match (found.finding, found.place) {
            (None, Some(place)) => place,
            (finding, place) => {
                let finding = finding.unwrap_or(Finding::NotMember);
                if let Some(place) = place
                    && finding != Finding::Damaged
                {
                    self.misdelivered[place as usize] += 1;
                }
                tally.counts.add(finding);
                return finding;
            }
        };
        let account = flow.accounts + (place - flow.teps.start) as usize;
        let finding = self.accounts[account].enter(found.sequence);
        if finding == Finding::Doubled {
            tally.counts.add(finding);
            return finding;
        }
        if place < flow.watched_from {
            tally.counts.add(finding);
            self.received += 1;
        }
        if let Some(watch) = self.watches.get_mut(account) {
            watch.enter(&found, now);
        }
        let latency = self.clock.ns(found.sent, now);
        tally.latency.saturating_record(latency);
        if let Some(own) = self.latencies.get_mut(place as usize) {
            own.saturating_record(latency);
        }
        let tenth = usize::try_from(now.saturating_sub(self.start) / self.tenth).unwrap_or(usize::MAX);
        match tally.tenths.get_mut(tenth) {
            Some(count) => *count += 1,
            None if tenth < LONGEST_TENTHS => {
                tally.tenths.resize(tenth + 1, 0);
                tally.tenths[tenth] = 1;
            }
            None => {}
        }
        tally.last_at = now;
        finding
    }

    /// Reads a frame. `None`: it is no frame of this run.
    #[inline]
    fn find(&self, frame: &[u8]) -> Option<Found> {
        let (head, rest) = Tunnel::ref_from_prefix(frame).ok()?;
        let overlay = head.ethernet.ethertype.get() == ethertype::IPV4
            && head.ipv4.protocol == protocol::GRE
            && head.gre.protocol.get() == ethertype::ETHERNET;
        let length = usize::from(head.ipv4.total_length.get()).checked_sub(IP_OVERHEAD)?;
        let inner = rest.get(..length).filter(|_| overlay)?;
        let (body, trailer) = inner.split_at_checked(length.checked_sub(TRAILER)?)?;
        let trailer =
            Trailer::ref_from_bytes(trailer).ok().filter(|trailer| trailer.run.get() == self.run)?;
        let number = usize::try_from(trailer.flow.get()).ok()?;
        let flow = self.plan.flows.get(number)?;
        let place = self.plan.teps.place(head.ipv4.destination());
        let finding = if head.key.get() != flow.vni {
            Some(Finding::WrongVni)
        } else if place == Some(flow.source) {
            Some(Finding::ToSource)
        } else if !place.is_some_and(|place| flow.teps.contains(&place)) {
            Some(Finding::NotMember)
        } else if !self.whole(head, flow, body) {
            Some(Finding::Damaged)
        } else {
            None
        };
        let (sequence, sent) = (trailer.sequence.get(), trailer.ticks.get());
        Some(Found { flow: number, sequence, sent, place, finding })
    }

    /// True if headers and inner frame are as they must be; the trailer was read before.
    #[inline]
    fn whole(&self, head: &Tunnel, flow: &Flow, body: &[u8]) -> bool {
        let stream = &self.plan.streams[flow.stream];
        let compared = stream.compared.min(body.len());
        let source = head.ipv4.source();
        // The node may send copies as itself or as their origin (RFC 9574 section 9.1).
        (source == self.plan.node || source == self.plan.teps.address(flow.source))
            && head.ipv4.version_ihl == Ipv4::VERSION_IHL
            && head.ipv4.fragment.get() & Ipv4::FRAGMENT_MASK == 0
            && head.gre.flags.get() == Gre::KEY
            && checksum::verifies(head.ipv4.as_bytes())
            && stream.inner.len() == body.len() + TRAILER
            && stream.inner[..compared] == body[..compared]
    }
}

impl Watch {
    fn enter(&mut self, found: &Found, now: u64) {
        if self.received == 0 {
            (self.first_at, self.first_sequence) = (now, found.sequence);
        }
        self.received += 1;
        self.last_at = now;
        self.last_sequence = self.last_sequence.max(found.sequence);
        self.last_sent = self.last_sent.max(found.sent);
    }
}
