//! The running node as the control path and the metrics see it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bcast_domain::{
    AnnouncementBoard, ArrayPublisher, DomainId, DomainLimit, Epoch, Rejected, StrictRefusal, Tep, TepIndex,
    TepLimit,
};
use ctl_node::{
    BfdSession, DomainCounters, DropOffender, Drops, Holding, Moment, NextHop, NodeStats, Standing,
    TepRefusal,
};
use ctl_server::{Counts, Server};
use dpdk::{Mbuf, Mempool, Port};
use engine::counters::{Cell, Counters, DropCounts, WorkerCounters};
use engine::inspect::Inspection;
use engine::local::LocalFrames;
use engine::offenders::Offence;
use engine::runtime::RuntimeConfig;
use engine::sessions::{BfdBoard, BfdState, NodeState};
use engine::teps::TepArray;
use ipnet::Ipv4Net;
use prometheus::Histogram;
use underlay::{TepTable, Underlay};
use wire::{CopyDropReason, CopyErrorKind, DropReason, MacAddr};

use crate::clocks::Clocks;
use crate::config::is_no_host;
use crate::conflict::LastConflict;
use crate::liveness::{Facts, Liveness, Reason};
use crate::readiness::Readiness;

/// Time at which the process started.
static STARTED: OnceLock<SystemTime> = OnceLock::new();

/// Notes that the process starts now.
pub fn note_start() {
    STARTED.get_or_init(SystemTime::now);
}

/// Start of the process, seconds of Unix time.
pub fn started() -> f64 {
    let started = STARTED.get().copied().unwrap_or(UNIX_EPOCH);
    started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A counter that is not a worker's: its name, what it counts, and where.
pub type Named = (&'static str, &'static str, fn(&WorkerCounters) -> &Cell);

/// View of a running node.
pub struct NodeView {
    /// The workers' counters.
    pub counters: Arc<Counters>,
    /// Next hops of TEPs.
    pub underlay: Arc<Underlay>,
    /// Readiness: true if the node may and can forward.
    pub readiness: Arc<Readiness>,
    /// State of the node as BFD tells it to hypervisors.
    pub liveness: Liveness,
    /// Virtual IPs for the workers.
    pub inspection: Arc<Inspection>,
    /// Frames that the node makes itself.
    pub local_frames: Arc<LocalFrames<Mbuf>>,
    /// The workers' clock, and the kernel's.
    pub clocks: Clocks,
    /// Times that changes take to reach every worker.
    pub change_seconds: Histogram,
    /// The port.
    pub port: Arc<Port>,
    /// The packet buffer pools, by name.
    pub pools: Vec<(String, Mempool)>,
    /// The last host that had an address of the node's.
    pub conflict: LastConflict,
    /// The control path, from when the store is loaded until the daemon stops.
    pub server: Mutex<Option<Server>>,
}

impl NodeView {
    /// Counters of frames that the kernel sent by the port, and of what tells of the node's own addresses.
    pub const KERNEL_COUNTERS: [Named; 3] = [
        (
            "bcast_kernel_tx_total",
            "Frames of the kernel, and the node's ARP answers, that the port has taken.",
            |w| &w.tx_kernel,
        ),
        ("bcast_kernel_tx_drops_total", "The same that were dropped.", |w| &w.tx_kernel_drops),
        (
            "bcast_address_conflicts_total",
            "ARP frames by which another host claimed an address of the node's.",
            |w| &w.conflicts,
        ),
    ];

    /// The port's own counters: name, help, value.
    pub fn port_counters(&self) -> [(&'static str, &'static str, u64); 4] {
        let stats = self.port.stats().unwrap_or_default();
        [
            (
                "bcast_port_missed_total",
                "Frames that the port dropped: the workers were behind.",
                stats.missed,
            ),
            ("bcast_port_no_mbuf_total", "Frames that the port dropped: no packet buffer.", stats.no_mbuf),
            ("bcast_port_rx_errors_total", "Frames that the port received in error.", stats.rx_errors),
            ("bcast_port_tx_errors_total", "Frames that the port failed to send.", stats.tx_errors),
        ]
    }

    /// Packet buffers by pool: name, those in use, all.
    pub fn mbufs(&self) -> impl Iterator<Item = (&str, u32, u32)> {
        self.pools.iter().map(|(name, pool)| (name.as_str(), pool.in_use(), pool.capacity()))
    }

    /// Facts that decide whether the node can replicate.
    pub fn facts(&self, runtime_config: &RuntimeConfig) -> Facts {
        let (teps, unresolved) = self.underlay.registered();
        Facts {
            link_up: runtime_config.link_up(),
            asked: self.underlay.health().asked,
            teps,
            unresolved,
            refused: self.counters.sum(|w| &w.copy_drops[CopyDropReason::TxFull.index()]),
        }
    }

    /// The control path, or nothing.
    pub fn server(&self) -> MutexGuard<'_, Option<Server>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts of the table; all zero until the store is loaded.
    pub fn counts(&self) -> (Counts, u64) {
        self.server().as_ref().map(|server| (server.counts(), server.revision().get())).unwrap_or_default()
    }
}

/// The data plane as the control path uses it.
pub struct ControlledNode {
    /// Readable figures.
    pub view: Arc<NodeView>,
    /// Settings of the workers.
    pub runtime_config: Arc<RuntimeConfig>,
    /// Registry of TEPs.
    pub underlay: Arc<Underlay>,
    /// The node's own addresses, which no TEP can have.
    pub links: Vec<Ipv4Net>,
    /// Longest time that a copy may stay in the port's transmit ring.
    pub drain_time: Duration,
    /// Drops of an index when its TEP was registered, where another TEP had had it.
    pub earlier_drops: Mutex<HashMap<TepIndex, DropCounts>>,
    /// The same of ICMP errors.
    pub earlier_errors: Mutex<HashMap<TepIndex, IcmpErrors>>,
}

/// The array of header templates that workers send by.
pub struct Templates {
    /// Source MAC address of all frames.
    pub port_mac: MacAddr,
    /// Publisher of the array.
    pub publisher: ArrayPublisher<TepArray>,
}

impl TepTable for Templates {
    fn replace(&mut self, teps: &[Option<(Tep, Option<MacAddr>)>], gateways: &[IpAddr]) -> Epoch {
        self.publisher.reclaim();
        let array = TepArray::build(self.port_mac, teps);
        self.publisher.replace(array.with_gateways(gateways.iter().copied()))
    }

    fn reclaim(&mut self) {
        self.publisher.reclaim();
    }
}

type IcmpErrors = [u64; CopyErrorKind::ALL.len()];

impl ControlledNode {
    fn earlier_drops(&self) -> MutexGuard<'_, HashMap<TepIndex, DropCounts>> {
        self.earlier_drops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An index's ICMP errors since the daemon started, over all workers.
    fn errors_by_index(&self, tep: TepIndex) -> IcmpErrors {
        self.view.counters.workers.iter().fold(IcmpErrors::default(), |mut sum, worker| {
            sum.iter_mut().zip(worker.icmp_errors(tep)).for_each(|(sum, errors)| *sum += errors);
            sum
        })
    }

    fn earlier_errors(&self) -> MutexGuard<'_, HashMap<TepIndex, IcmpErrors>> {
        self.earlier_errors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time of an offence, of which `now` is the present.
    fn offender(&self, offence: &Offence, now: Moment) -> DropOffender {
        let age_ns = now.worker_ns.saturating_sub(self.view.clocks.tsc.clock_ns(offence.at));
        DropOffender {
            reason: offence.reason.as_str(),
            source: offence.offender.source,
            vni: offence.vni(),
            macs: offence.offender.macs.map(|macs| macs.map(|mac| mac.0)),
            outer: offence.offender.outer,
            count: offence.count,
            unix_ns: now.unix_ns.saturating_sub(age_ns),
        }
    }
}

/// Name of a BFD session's state.
pub const fn bfd_state(state: BfdState) -> &'static str {
    match state {
        BfdState::AdminDown => "admin_down",
        BfdState::Down => "down",
        BfdState::Init => "init",
        BfdState::Up => "up",
    }
}

/// Number of BFD sessions in each state.
pub fn bfd_sessions(board: &BfdBoard) -> [(&'static str, u64); 4] {
    let mut counts = [BfdState::AdminDown, BfdState::Down, BfdState::Init, BfdState::Up]
        .map(|state| (bfd_state(state), 0));
    for session in board.sessions() {
        counts[session.local as usize].1 += 1;
    }
    counts
}

/// Drops by the reasons' names.
fn named(drops: &DropCounts) -> Drops {
    Drops {
        frames: drops.frames().map(|(reason, count)| (reason.as_str(), count)).collect(),
        copies: drops.copies().map(|(reason, count)| (reason.as_str(), count)).collect(),
    }
}

impl ctl_node::Node for ControlledNode {
    fn tep_allowed(&self, tep: Tep) -> Result<(), TepRefusal> {
        if self.links.iter().any(|link| link.addr() == tep.address()) {
            return Err(TepRefusal::OwnAddress(tep));
        }
        match self.links.iter().find(|link| is_no_host(link, tep.address())) {
            Some(link) => {
                Err(TepRefusal::NotAHost { tep, network: link.network(), prefix_length: link.prefix_len() })
            }
            None => Ok(()),
        }
    }

    fn set_teps(&self, added: &[(TepIndex, Tep)], removed: &[TepIndex]) -> Epoch {
        let mut errors = self.earlier_errors();
        for &(index, _) in added {
            match self.errors_by_index(index) {
                none if none == IcmpErrors::default() => errors.remove(&index),
                some => errors.insert(index, some),
            };
        }
        drop(errors);
        let mut earlier = self.earlier_drops();
        for &(index, _) in added {
            match self.view.counters.tep_drops(index) {
                drops if drops == DropCounts::default() => earlier.remove(&index),
                drops => earlier.insert(index, drops),
            };
        }
        drop(earlier);
        self.underlay.set_teps(added, removed)
    }

    fn next_hops_settled(&self, patience: Duration) -> Epoch {
        self.underlay.settle(patience)
    }

    fn set_domain_limit(&self, domain: DomainId, limit: DomainLimit) {
        self.runtime_config.policer.set_domain(domain, limit);
    }

    fn set_tep_limit(&self, tep: TepIndex, limit: TepLimit) {
        self.runtime_config.policer.set_tep(tep, limit);
    }

    fn next_hop(&self, tep: TepIndex) -> NextHop {
        let unknown = NextHop { gateway: None, mac: None, since: SystemTime::now() };
        self.underlay.get(tep).unwrap_or(unknown)
    }

    fn tep_drops(&self, tep: TepIndex) -> Drops {
        let earlier = self.earlier_drops().get(&tep).copied().unwrap_or_default();
        named(&self.view.counters.tep_drops(tep).since(&earlier))
    }

    fn tep_icmp_errors(&self, tep: TepIndex) -> Vec<(&'static str, u64)> {
        let earlier = self.earlier_errors().get(&tep).copied().unwrap_or_default();
        let errors = self.errors_by_index(tep);
        let since = |kind: CopyErrorKind| errors[kind as usize].saturating_sub(earlier[kind as usize]);
        CopyErrorKind::ALL.iter().map(|&kind| (kind.as_str(), since(kind))).collect()
    }

    fn bfd_session(&self, index: TepIndex, tep: Tep) -> Option<BfdSession> {
        let status = self.view.liveness.board.session(index, tep.address())?;
        let now = self.now();
        let age_ns = now.worker_ns.saturating_sub(status.since_ns);
        let state = |state| match state {
            BfdState::AdminDown => ctl_node::BfdState::AdminDown,
            BfdState::Down => ctl_node::BfdState::Down,
            BfdState::Init => ctl_node::BfdState::Init,
            BfdState::Up => ctl_node::BfdState::Up,
        };
        Some(BfdSession {
            local: state(status.local),
            remote: state(status.remote),
            diagnostic: status.diagnostic.code(),
            remote_diagnostic: status.remote_diagnostic.code(),
            since_unix_ns: now.unix_ns.saturating_sub(age_ns),
            transmit_interval_us: status.transmit_interval_us,
            detection_time_us: status.detection_time_us,
            flaps: status.flaps,
        })
    }

    fn standing(&self) -> Standing {
        let liveness = &self.view.liveness;
        Standing {
            state: match liveness.state() {
                NodeState::Serving => ctl_node::NodeState::Serving,
                NodeState::Leaving => ctl_node::NodeState::Leaving,
                NodeState::HeldBack => ctl_node::NodeState::HeldBack,
            },
            reasons: liveness.reasons().map(Reason::as_str).collect(),
            held_back_for: liveness.held_back_for(Instant::now()).unwrap_or_default(),
            sessions: bfd_sessions(&liveness.board).to_vec(),
        }
    }

    fn set_drained(&self, drained: bool) -> bool {
        self.view.liveness.set_drained(drained)
    }

    fn domain_counters(&self, id: DomainId) -> DomainCounters {
        let counters = &self.view.counters;
        // Most domains have none, and their memory by reason is not touched.
        let any = counters.domain_sum(id, |d| &d.drops) > 0;
        let drops = if any { counters.domain_drops(id) } else { DropCounts::default() };
        DomainCounters {
            frames: counters.domain_sum(id, |d| &d.frames),
            copies: counters.domain_sum(id, |d| &d.copies),
            bytes: counters.domain_sum(id, |d| &d.bytes),
            drops: drops.copies().map(|(_, count)| count).sum(),
            frame_drops: drops.frames().map(|(_, count)| count).sum(),
        }
    }

    fn domain_drops(&self, id: DomainId) -> Drops {
        named(&self.view.counters.domain_drops(id))
    }

    fn offenders(&self, reason: Option<&str>) -> Option<Vec<DropOffender>> {
        let is_wanted = |found: &&DropReason| reason.is_none_or(|wanted| found.as_str() == wanted);
        let mut reasons = DropReason::ALL.iter().filter(is_wanted).peekable();
        reasons.peek()?;
        let now = self.now();
        let offences = reasons.flat_map(|&reason| self.view.counters.offenders(reason));
        Some(offences.map(|offence| self.offender(&offence, now)).collect())
    }

    fn keeps_origin(&self) -> bool {
        self.runtime_config.burst().origin
    }

    fn stats(&self) -> NodeStats {
        let counters = &self.view.counters;
        let total = |name, cell: fn(&WorkerCounters) -> &Cell| (name, counters.sum(cell));
        NodeStats {
            counters: [
                total("bcast_rx_frames_total", |w| &w.rx_frames),
                total("bcast_rx_accepted_total", |w| &w.rx_accepted),
                total("bcast_punted_total", |w| &w.punted),
                total("bcast_copies_wanted_total", |w| &w.copies_wanted),
                total("bcast_tx_copies_total", |w| &w.tx_copies),
            ]
            .into_iter()
            .chain(NodeView::KERNEL_COUNTERS.map(|(name, _, cell)| total(name, cell)))
            .map(|(name, value)| (name.into(), value))
            .collect(),
            drops: DropReason::ALL.map(|r| (r.as_str(), counters.sum(|w| &w.drops[r.index()]))).to_vec(),
            copy_drops: CopyDropReason::ALL
                .map(|r| (r.as_str(), counters.sum(|w| &w.copy_drops[r.index()])))
                .to_vec(),
            port: self.view.port.xstats().unwrap_or_default(),
            address_conflict: *self.view.conflict.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    fn drain_time(&self) -> Duration {
        self.drain_time
    }

    fn board(&self) -> &AnnouncementBoard {
        &self.view.inspection.board
    }

    fn take_rejected(&self) -> Option<Rejected> {
        self.view.inspection.rejected.pop()
    }

    fn take_refused(&self) -> Option<StrictRefusal> {
        self.view.inspection.refused.pop()
    }

    fn now(&self) -> Moment {
        self.view.clocks.now()
    }

    fn announce(&self, holding: &Holding) -> bool {
        let Holding { vni, tep, mac, tags, address } = *holding;
        self.view.local_frames.announce(vni, tep, MacAddr(mac), tags, address)
    }
}
