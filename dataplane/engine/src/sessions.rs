//! BFD sessions with hypervisors (RFC 5880): by them a hypervisor notices within some intervals that the node does not replicate.
//!
//! A hypervisor speaks first: its packet comes in its tunnel, with key 0 and to [`BFD_MAC`]. The worker that receives
//! the first good packet of a registered TEP *owns* the session from then on: it keeps the state and sends. A network card gives one
//! TEP's tunnel to one worker, so that is the worker that forwards for this TEP; if it hangs, its sessions die, and those of no
//! other worker. A packet that another worker receives (the card's table was changed) is handed to the owner by a bounded queue. The
//! owner removes the session when its TEP is gone.
//!
//! A worker does a bounded part in each turn: packets that were handed to it, timers that are due, and a sweep over its sessions,
//! by which they learn what the node says now ([`NodeState`]), and those of removed TEPs go. Nothing here allocates after the start.
//!
//! ```text
//!   key 0, BFD_MAC ─▶ rate ─▶ checks ─▶ owner? ─mine──▶ session ─▶ wheel ─▶ frame ─▶ port
//!                      │bfd_rate │bfd_malformed └another's─▶ its queue    ▲
//!                      ▼         ▼                                        └── sweep: node's state, removed TEPs
//! ```

mod board;
mod rates;

use std::net::Ipv4Addr;
use std::sync::Arc;

use ::bfd::{
    Addresses, Config, Diagnostic, FIRST_SOURCE_PORT, Frame, Hold, Popped, Session, State, Template, Wheel,
};
use arrayvec::ArrayVec;
use bcast_domain::TepIndex;
use bcast_domain::limits::MAX_TEPS;
use crossbeam::queue::ArrayQueue;
use wire::DropReason;
use wire::encap::{Encap, FrameHeaderOf};

pub use ::bfd::{BFD_MAC, Diagnostic as BfdDiagnostic, Discriminators, FRAME_LEN, State as BfdState};
use board::Handed;
pub use board::{BfdBoard, BfdSettings, NodeState, SessionStatus};
use rates::PacketRates;

use crate::port::{BATCH, Port};
use crate::replicate::Transmitter;
use crate::teps::TepArray;

/// Shortest interval at which a hypervisor may send, microseconds.
const REQUIRED_MIN_RX_US: u32 = 1_000_000;
/// Timers that one turn serves at most, and so frames that it sends: a batch.
const TIMERS: usize = BATCH;
/// Handed packets that one turn takes at most.
const HANDED: usize = 32;
/// Sessions that one turn of a sweep looks at.
const SWEPT: usize = 64;
/// Time from one sweep's start to the next, nanoseconds.
const SWEEP_EVERY_NS: u64 = 100_000_000;
/// DSCP CS6, network control, in the outer header as in the inner one.
const TOS: u8 = 0xc0;

/// A BFD frame that the node received.
#[derive(Clone, Copy, Debug)]
pub struct Heard<'f> {
    /// TEP that sent it, and its address.
    pub tep: (TepIndex, Ipv4Addr),
    /// Address of the node that it was sent to.
    pub node: Ipv4Addr,
    /// Inner frame, to [`BFD_MAC`].
    pub inner: &'f [u8],
}

/// A session, and what its frames are made of.
struct Slot {
    session: Session,
    template: Template,
    addresses: Addresses,
    tep: TepIndex,
    /// Address of the TEP; unspecified: the slot is free.
    address: Ipv4Addr,
    /// Address of the node that the hypervisor sends to.
    node: Ipv4Addr,
}

/// Sessions that a worker owns.
pub struct BfdSessions {
    board: Arc<BfdBoard>,
    worker: usize,
    /// Slot of each TEP's session, from 1; 0: none.
    by_tep: Vec<u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    wheel: Wheel,
    rates: PacketRates,
    time: Steady,
    /// What the sessions before the sweep's position were told.
    state: NodeState,
    /// Next slot that the sweep looks at; all of them: it is over.
    swept: usize,
    next_sweep_ns: u64,
}

impl BfdSessions {
    /// No session, for the worker with this number; `now_ns` as [`Clock::clock_ns`](crate::port::Clock::clock_ns) tells it.
    pub fn new(board: Arc<BfdBoard>, worker: usize, now_ns: u64) -> Self {
        Self {
            state: board.state(),
            board,
            worker,
            // Zeroed memory is there when it is used; so is capacity.
            by_tep: vec![0; MAX_TEPS],
            slots: Vec::with_capacity(MAX_TEPS),
            free: Vec::with_capacity(MAX_TEPS),
            wheel: Wheel::new(u32::try_from(MAX_TEPS).unwrap_or(u32::MAX), now_ns),
            rates: PacketRates::new(),
            time: Steady { raw_ns: now_ns, lag_ns: 0 },
            swept: 0,
            next_sweep_ns: now_ns,
        }
    }

    /// True if the worker has no session, and so no timer.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.slots.len() == self.free.len()
    }

    /// Takes a frame of a registered TEP.
    ///
    /// # Errors
    /// It is over the rate, no good BFD frame, or of another session.
    pub fn receive(&mut self, heard: Heard<'_>, now_ns: u64) -> Result<(), DropReason> {
        let now_ns = self.time.steady(now_ns);
        let (tep, address) = heard.tep;
        if !self.rates.admits(tep, now_ns) {
            return Err(DropReason::BfdRate);
        }
        let frame = Frame::parse(heard.inner).map_err(|_| DropReason::BfdMalformed)?;
        let handed = Handed { tep, address, node: heard.node, frame };
        let owner = match self.board.owner(tep) {
            Some(owner) => owner,
            // A packet of an earlier run begins no session.
            None if frame.packet.your_discriminator != 0 => return Err(DropReason::BfdDiscarded),
            None => self.board.claim(tep, self.worker).ok_or(DropReason::BfdDiscarded)?,
        };
        if owner == self.worker {
            return self.take(&handed, now_ns);
        }
        let inbox = self.board.inbox(owner).ok_or(DropReason::BfdDiscarded)?;
        inbox.push(handed).map_err(|_| DropReason::BfdRate)
    }

    /// Takes a good frame whose session is this worker's.
    fn take(&mut self, heard: &Handed, now_ns: u64) -> Result<(), DropReason> {
        let number = match self.by_tep.get(heard.tep.index()) {
            Some(0) | None => self.open(heard, now_ns)?,
            Some(number) => number - 1,
        };
        let Some(slot) = self.slots.get_mut(number as usize) else { return Err(DropReason::BfdDiscarded) };
        if slot.address != heard.address {
            // The index has gone to another TEP, and the sweep has not come by yet.
            self.close(number);
            if heard.frame.packet.your_discriminator != 0
                || self.board.claim(heard.tep, self.worker) != Some(self.worker)
            {
                return Err(DropReason::BfdDiscarded);
            }
            return self.take(heard, now_ns);
        }
        let change =
            slot.session.receive(&heard.frame.packet, now_ns).map_err(|_| DropReason::BfdDiscarded)?;
        slot.node = heard.node;
        let addresses =
            Addresses::answer(&heard.frame, slot.addresses.source_mac, slot.addresses.source_port);
        if addresses != slot.addresses {
            (slot.addresses, slot.template) = (addresses, Template::new(&addresses));
        }
        self.settle(number, change.map(|change| change.from), now_ns);
        Ok(())
    }

    /// Makes the session of a TEP that has none. It sends nothing until it has taken a packet.
    fn open(&mut self, heard: &Handed, now_ns: u64) -> Result<u32, DropReason> {
        let settings = &self.board.settings;
        let index = u16::try_from(heard.tep.index()).map_err(|_| DropReason::BfdDiscarded)?;
        let config = Config {
            desired_min_tx_us: settings.interval_us,
            required_min_rx_us: REQUIRED_MIN_RX_US,
            detect_mult: settings.detect_mult,
            ..Config::passive(settings.discriminators.of(index))
        };
        let mut session = Session::new(config, now_ns).map_err(|_| DropReason::BfdDiscarded)?;
        session.set_hold(hold(self.board.state()), now_ns);
        // RFC 5881 section 4: the same port for all packets of a session, another for each session, where there are enough.
        let source_port = FIRST_SOURCE_PORT | index & !FIRST_SOURCE_PORT;
        let addresses = Addresses::answer(&heard.frame, settings.mac, source_port);
        let slot = Slot {
            session,
            template: Template::new(&addresses),
            addresses,
            tep: heard.tep,
            address: heard.address,
            node: heard.node,
        };
        let number = match self.free.pop() {
            Some(number) => {
                self.slots[number as usize] = slot;
                number
            }
            None => {
                // There are no more sessions than TEPs: within the capacity.
                self.slots.push(slot);
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.by_tep[heard.tep.index()] = number + 1;
        if let Some(row) = self.board.row(heard.tep) {
            row.since_ns.set(self.time.raw_ns);
        }
        Ok(number)
    }

    /// Ends a session.
    #[cold]
    fn close(&mut self, number: u32) {
        let Some(slot) = self.slots.get_mut(number as usize) else { return };
        let tep = slot.tep;
        slot.address = Ipv4Addr::UNSPECIFIED;
        self.by_tep[tep.index()] = 0;
        // The number is below the capacity.
        _ = self.wheel.cancel(number);
        self.free.push(number);
        self.board.release(tep);
    }

    /// Schedules a session's next deed, and writes its row. `left` is the state that it left.
    #[inline]
    fn settle(&mut self, number: u32, left: Option<State>, now_ns: u64) {
        let slot = &self.slots[number as usize];
        // The number is below the capacity.
        _ = self.wheel.schedule(number, slot.session.deadline_ns());
        let Some(row) = self.board.row(slot.tep) else { return };
        let word = SessionStatus::word(slot.address, &slot.session);
        if left.is_some() {
            row.since_ns.set(now_ns.saturating_sub(self.time.lag_ns));
        }
        if left == Some(State::Up) {
            row.flaps.add(1);
            self.board.flapped();
        }
        let interval_us = u64::from(slot.session.transmit_interval_us());
        let detection_us = (slot.session.detection_time_ns() / 1_000).min(u32::MAX.into());
        row.times.set(interval_us | detection_us << 32);
        row.word.set(word);
    }

    /// Does what is due. True if there was anything. The batch of `tx` is empty before and after. `now_ns` reads the clock; it is
    /// called only if there is a session.
    #[inline(always)]
    pub fn turn<P: Port>(
        &mut self,
        tx: &mut Transmitter<P>,
        teps: &TepArray<P::Encap>,
        now_ns: impl FnOnce() -> u64,
    ) -> bool {
        let nothing_handed = self.board.inbox(self.worker).is_none_or(|inbox| inbox.is_empty());
        if self.is_empty() && nothing_handed {
            return false;
        }
        self.serve(tx, teps, now_ns())
    }

    #[inline(never)]
    fn serve<P: Port>(&mut self, tx: &mut Transmitter<P>, teps: &TepArray<P::Encap>, now_ns: u64) -> bool {
        let now_ns = self.time.steady(now_ns);
        let mut busy = false;
        for _ in 0..HANDED {
            let Some(heard) = self.board.inbox(self.worker).and_then(ArrayQueue::pop) else { break };
            busy = true;
            // The owner may have closed the session since; only a TEP that is there may open one.
            let known = teps.find(heard.address) == Some(heard.tep);
            if known && self.board.claim(heard.tep, self.worker) == Some(self.worker) {
                // It was counted where it was received.
                _ = self.take(&heard, now_ns);
            }
        }
        busy |= self.sweep(teps, now_ns);
        // Two passes, so that the cache misses of all sessions overlap.
        let mut due = ArrayVec::<_, TIMERS>::new();
        while !due.is_full()
            && let Popped::Due(number) = self.wheel.pop(now_ns)
        {
            let slot = &self.slots[number as usize];
            due.push((number, teps.find(slot.address) == Some(slot.tep)));
        }
        busy |= !due.is_empty();
        let mut frames = 0;
        for (number, known) in due {
            if !known {
                self.close(number);
                continue;
            }
            let slot = &mut self.slots[number as usize];
            let done = slot.session.tick(now_ns);
            if let Some(packet) = done.send {
                let header = FrameHeaderOf::new(slot.node, TOS, 0, FRAME_LEN_U16);
                tx.push_bfd(&slot.template.frame(&packet), &header, slot.tep, teps);
                frames += 1;
            }
            let deadline_ns = slot.session.deadline_ns();
            if done.change.is_some() || deadline_ns == u64::MAX {
                self.settle(number, done.change.map(|change| change.from), now_ns);
            } else {
                // Its row is as it was.
                _ = self.wheel.schedule(number, deadline_ns);
            }
        }
        if frames > 0 {
            tx.flush_bfd();
        }
        busy
    }

    /// Looks at some sessions: is the TEP still there, and does the session say what the node says? True if there are more.
    fn sweep<E: Encap>(&mut self, teps: &TepArray<E>, now_ns: u64) -> bool {
        let state = self.board.state();
        if state != self.state || (now_ns >= self.next_sweep_ns && self.swept >= self.slots.len()) {
            (self.state, self.swept) = (state, 0);
            self.next_sweep_ns = now_ns.saturating_add(SWEEP_EVERY_NS);
        }
        let end = self.slots.len().min(self.swept.saturating_add(SWEPT));
        for number in self.swept..end {
            let slot = &mut self.slots[number];
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            if slot.address.is_unspecified() {
                continue;
            }
            if teps.find(slot.address) != Some(slot.tep) {
                self.close(number);
                continue;
            }
            let hold = hold(state);
            if slot.session.hold() != hold {
                let change = slot.session.set_hold(hold, now_ns);
                self.settle(number, change.map(|change| change.from), now_ns);
            }
        }
        self.swept = end;
        end < self.slots.len()
    }
}

/// [`FRAME_LEN`] as headers have it.
const FRAME_LEN_U16: u16 = 66;
const _: () = assert!(FRAME_LEN == FRAME_LEN_U16 as usize);
const _: () = assert!(MAX_TEPS <= 1 << 16, "the lower half of a discriminator is the TEP's index");

/// What a session does in this state of the node.
const fn hold(state: NodeState) -> Hold {
    match state {
        NodeState::Serving => Hold::Free,
        NodeState::Leaving => Hold::Concatenated,
        NodeState::HeldBack => Hold::Down(Diagnostic::CONCATENATED_PATH_DOWN),
    }
}

/// Clock that never goes back, though the workers' may: timers would wait until it is where it was.
struct Steady {
    /// Last reading.
    raw_ns: u64,
    /// Sum of all steps back.
    lag_ns: u64,
}

impl Steady {
    fn steady(&mut self, now_ns: u64) -> u64 {
        self.lag_ns = self.lag_ns.saturating_add(self.raw_ns.saturating_sub(now_ns));
        self.raw_ns = now_ns;
        now_ns.saturating_add(self.lag_ns)
    }
}
