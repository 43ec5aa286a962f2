//! What workers and the control side share about BFD: settings, what holds the node back, who has which session, and each one's state.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use ::bfd::{Diagnostic, Discriminators, Frame, Session, State};
use bcast_domain::TepIndex;
use bcast_domain::limits::MAX_TEPS;
use crossbeam::queue::ArrayQueue;
use wire::MacAddr;
use zerocopy::{FromZeros, IntoBytes};

use crate::counters::{Cell, NoMemory};

/// Packets that wait for the worker that has their session, at most.
const HANDED: usize = 1024;

/// Settings of all sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BfdSettings {
    /// Interval at which a session that is Up sends, microseconds, at least 1.
    pub interval_us: u32,
    /// Intervals without a packet after which a hypervisor takes the node for lost, at least 1.
    pub detect_mult: u8,
    /// MAC address of the port: source of the frames.
    pub mac: MacAddr,
    /// Discriminators of this run.
    pub discriminators: Discriminators,
}

/// What the node says to hypervisors by its sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum NodeState {
    /// It replicates.
    #[default]
    Serving = 0,
    /// Hypervisors are to use another node: sessions carry diagnostic 6, and lose nothing.
    Leaving = 1,
    /// It does not replicate yet: sessions stay in Down.
    HeldBack = 2,
}

impl NodeState {
    const fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Serving,
            1 => Self::Leaving,
            _ => Self::HeldBack,
        }
    }
}

/// State of one session, for people and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionStatus {
    /// Address of the TEP.
    pub tep: Ipv4Addr,
    /// State of the node's side.
    pub local: State,
    /// State that the hypervisor said last.
    pub remote: State,
    /// Diagnostic that the node says.
    pub diagnostic: Diagnostic,
    /// Diagnostic that the hypervisor said last.
    pub remote_diagnostic: Diagnostic,
    /// Time since which the node's side is in its state, nanoseconds of [`Clock::clock_ns`](crate::port::Clock::clock_ns).
    pub since_ns: u64,
    /// Interval at which the node sends, microseconds, before jitter.
    pub transmit_interval_us: u32,
    /// Time without a packet after which the hypervisor is lost, microseconds.
    pub detection_time_us: u32,
    /// Times that the session left Up.
    pub flaps: u64,
}

impl SessionStatus {
    /// State of a session in one word: the address, both states and both diagnostics. Never 0, as no TEP is 0.0.0.0.
    pub(super) fn word(tep: Ipv4Addr, session: &Session) -> u64 {
        let (remote, remote_diagnostic) = session.remote();
        u64::from(tep.to_bits())
            | (session.state() as u64) << 32
            | (remote as u64) << 34
            | u64::from(session.diagnostic().code()) << 36
            | u64::from(remote_diagnostic.code()) << 41
    }
}

/// Row of a TEP index. All but `owner` is written by the worker that has the session.
#[derive(FromZeros, IntoBytes)]
#[repr(C)]
pub(super) struct Row {
    /// Number of the worker that has the session, from 1; 0: there is none.
    owner: AtomicU64,
    /// [`SessionStatus::word`]; 0: no session.
    pub word: Cell,
    pub since_ns: Cell,
    /// Transmit interval, and above it the detection time, microseconds.
    pub times: Cell,
    pub flaps: Cell,
}

/// A packet on its way to the worker that has its session.
pub(super) struct Handed {
    pub tep: TepIndex,
    pub address: Ipv4Addr,
    pub node: Ipv4Addr,
    pub frame: Frame,
}

/// Board of all sessions.
pub struct BfdBoard {
    /// Settings of all sessions.
    pub settings: BfdSettings,
    state: AtomicU8,
    flaps: AtomicU64,
    rows: Vec<Row>,
    /// By worker.
    inboxes: Box<[ArrayQueue<Handed>]>,
}

impl BfdBoard {
    /// Board of so many workers, without a session, held back until [`Self::set_state`] says otherwise.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(settings: BfdSettings, workers: usize) -> Result<Arc<Self>, NoMemory> {
        Ok(Arc::new(Self {
            settings,
            state: AtomicU8::new(NodeState::HeldBack as u8),
            flaps: AtomicU64::new(0),
            rows: Row::new_vec_zeroed(MAX_TEPS).map_err(|_| NoMemory)?,
            inboxes: (0..workers).map(|_| ArrayQueue::new(HANDED)).collect(),
        }))
    }

    /// What the node says to hypervisors.
    #[inline]
    pub fn state(&self) -> NodeState {
        NodeState::from_byte(self.state.load(Ordering::Relaxed))
    }

    /// Sets it: each worker tells its sessions within its next turns. Returns what it was.
    pub fn set_state(&self, state: NodeState) -> NodeState {
        NodeState::from_byte(self.state.swap(state as u8, Ordering::Relaxed))
    }

    /// Session with the TEP of this index; `None`: there is none, or it is another TEP's who had the index before.
    pub fn session(&self, index: TepIndex, tep: Ipv4Addr) -> Option<SessionStatus> {
        self.rows.get(index.index())?.status().filter(|status| status.tep == tep)
    }

    /// Times that sessions left Up, those of removed TEPs included.
    pub fn flaps(&self) -> u64 {
        self.flaps.load(Ordering::Relaxed)
    }

    /// Counts a session that left Up.
    pub(super) fn flapped(&self) {
        self.flaps.fetch_add(1, Ordering::Relaxed);
    }

    /// All sessions.
    pub fn sessions(&self) -> impl Iterator<Item = SessionStatus> {
        self.rows.iter().filter_map(Row::status)
    }

    pub(super) fn row(&self, tep: TepIndex) -> Option<&Row> {
        self.rows.get(tep.index())
    }

    pub(super) fn inbox(&self, worker: usize) -> Option<&ArrayQueue<Handed>> {
        self.inboxes.get(worker)
    }

    /// Worker that has the TEP's session; `None`: no worker.
    pub(super) fn owner(&self, tep: TepIndex) -> Option<usize> {
        let owner = self.row(tep)?.owner.load(Ordering::Acquire);
        usize::try_from(owner.checked_sub(1)?).ok()
    }

    /// Makes a worker the owner of the TEP's session, unless another one is: the owner.
    pub(super) fn claim(&self, tep: TepIndex, worker: usize) -> Option<usize> {
        let own = worker as u64 + 1;
        // Pairs with the store in `release`: the new owner writes the row after the old one's last write.
        match self.row(tep)?.owner.compare_exchange(0, own, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => Some(worker),
            Err(owner) => usize::try_from(owner - 1).ok(),
        }
    }

    /// Ends the worker's ownership, and clears the row.
    pub(super) fn release(&self, tep: TepIndex) {
        if let Some(row) = self.row(tep) {
            row.word.set(0);
            row.flaps.set(0);
            row.owner.store(0, Ordering::Release);
        }
    }
}

impl Row {
    fn status(&self) -> Option<SessionStatus> {
        let word = self.word.get();
        if word == 0 {
            return None;
        }
        let [a, b, c, d, high @ ..] = word.to_le_bytes();
        let high = u32::from_le_bytes(high);
        let bits = |shift: u32| high.wrapping_shr(shift).to_le_bytes()[0];
        let [t0, t1, t2, t3, d0, d1, d2, d3] = self.times.get().to_le_bytes();
        Some(SessionStatus {
            tep: Ipv4Addr::from_bits(u32::from_le_bytes([a, b, c, d])),
            local: State::from_bits(bits(0)),
            remote: State::from_bits(bits(2)),
            diagnostic: Diagnostic::from_bits(bits(4)),
            remote_diagnostic: Diagnostic::from_bits(bits(9)),
            since_ns: self.since_ns.get(),
            transmit_interval_us: u32::from_le_bytes([t0, t1, t2, t3]),
            detection_time_us: u32::from_le_bytes([d0, d1, d2, d3]),
            flaps: self.flaps.get(),
        })
    }
}
