//! A worker, its port, and what the control side of it would be.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;
use std::sync::Arc;

use bcast_domain::{
    Announcer, AnnouncerId, ArrayPublisher, DomainPublisher, Grace, Mac, Rate, Tep, TepIndex, Vip, VipId,
    VipTable, Vni, table,
};
use engine::counters::WorkerCells;
use engine::fanout::FanoutQueue;
use engine::hosts::{Network, STRANGERS};
use engine::inspect::{ArpInspector, Inspection};
use engine::local::LocalFrames;
use engine::police::{RateLimits, TokenLeases};
use engine::port::{Clock, Port};
use engine::punt::{Identity, PuntPort, PuntQueues};
use engine::replicate::{PortCapacity, Transmitter};
use engine::runtime::{OuterSource, RuntimeConfig, RuntimeSettings};
use engine::sessions::{BfdBoard, BfdSessions, BfdSettings, Discriminators, NodeState};
use engine::teps::TepArray;
use engine::worker::Worker;
use wire::{CopyDropReason, DropReason, MacAddr, NodeAddresses};

use super::{FakeClock, FakePacket, FakePort, Pool};

pub const NODE: Ipv4Addr = Ipv4Addr::new(198, 19, 255, 254);
pub const PORT_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 254]);
pub const NEXT_HOP: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
/// Bytes of outer IP packet.
pub const MTU: usize = 1500;

pub fn tep(index: usize) -> Tep {
    Tep::new(Ipv4Addr::from_bits(0xc612_0001 + u32::try_from(index).unwrap())).unwrap()
}

pub fn index(index: usize) -> TepIndex {
    TepIndex::new(u32::try_from(index).unwrap()).unwrap()
}

/// The node on a link with all TEPs of the tests.
pub fn identity(strangers: u64) -> Identity {
    let networks = vec![Network { address: NODE, prefix_len: 15 }];
    Identity { mac: PORT_MAC, addresses: NodeAddresses::new(&[NODE]).unwrap(), networks, strangers }
}

/// Settings without limits: a test sets those that it is about.
pub fn settings() -> RuntimeSettings {
    RuntimeSettings {
        share_payload_from: 256,
        outer_source: OuterSource::Node,
        idle_sleep_us: 0,
        punt_rate: 1_000_000,
        allow_inner_bfd: false,
        limits: no_limits(),
    }
}

pub fn no_limits() -> RateLimits {
    let most = Rate::UNLIMITED;
    RateLimits {
        enabled: true,
        domain_copies: most,
        domain_bits: most,
        tep_frames: most,
        node_copies: most,
        control_copies: most,
        failover_copies: most,
    }
}

/// Counters of a worker that do not depend on time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub received: u64,
    pub accepted: u64,
    pub punted: u64,
    pub drops: Vec<(DropReason, u64)>,
    pub wanted: u64,
    pub sent: u64,
    pub copy_drops: Vec<(CopyDropReason, u64)>,
}

impl Totals {
    pub fn of(cells: &WorkerCells) -> Self {
        let totals = &cells.totals;
        let counted = |(_, count): &(_, u64)| *count > 0;
        let drops = DropReason::ALL.map(|reason| (reason, totals.drops[reason.index()].get()));
        let copy_drops = CopyDropReason::ALL.map(|reason| (reason, totals.copy_drops[reason.index()].get()));
        Self {
            received: totals.rx_frames.get(),
            accepted: totals.rx_accepted.get(),
            punted: totals.punted.get(),
            drops: drops.into_iter().filter(counted).collect(),
            wanted: totals.copies_wanted.get(),
            sent: totals.tx_copies.get(),
            copy_drops: copy_drops.into_iter().filter(|(_, count)| *count > 0).collect(),
        }
    }

    /// Checks that the counters add up, as they do at rest.
    pub fn add_up(&self) {
        let drops: u64 = self.drops.iter().map(|(_, count)| count).sum();
        let copy_drops: u64 = self.copy_drops.iter().map(|(_, count)| count).sum();
        assert_eq!(self.received, self.accepted + drops + self.punted, "{self:?}");
        assert_eq!(self.wanted, self.sent + copy_drops, "{self:?}");
    }
}

/// A worker on a port, with domains and TEPs.
pub struct Rig<P: Port> {
    pub worker: Worker<P>,
    pub burst: P::Burst,
    pub domains: DomainPublisher,
    pub array: ArrayPublisher<TepArray<P::Encap>>,
    pub grace: Grace,
    pub cells: Arc<WorkerCells>,
    pub config: Arc<RuntimeConfig>,
    pub inspection: Arc<Inspection>,
    pub punted: Arc<PuntQueues<P::Packet>>,
    /// Board of two workers; the rig's is the first.
    pub bfd: Arc<BfdBoard>,
}

/// Settings of BFD as the configuration has them where it says nothing.
pub fn bfd_settings() -> BfdSettings {
    let discriminators = Discriminators::new(NonZeroU16::new(0xbcad).unwrap());
    BfdSettings { interval_us: 50_000, detect_mult: 3, mac: PORT_MAC, discriminators }
}

/// Settings of a test's node.
#[derive(Clone, Copy)]
pub struct Options {
    pub settings: RuntimeSettings,
    /// TEPs that are registered and resolved.
    pub teps: usize,
    pub tap: bool,
    pub can_share: bool,
    /// Strangers that may become neighbours in a minute.
    pub strangers: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { settings: settings(), teps: 8, tap: true, can_share: true, strangers: STRANGERS }
    }
}

impl<P: Port> Rig<P> {
    pub fn on(port: P, clock: P::Clock, options: Options) -> Self {
        let Options { settings, teps, tap, can_share, strangers } = options;
        let teps: Vec<_> = (0..teps).map(|number| Some((tep(number), Some(NEXT_HOP)))).collect();
        let (domains, array, readers) = table(TepArray::build(PORT_MAC, &teps));
        let config = Arc::new(RuntimeConfig::new(settings).unwrap());
        let (cells, inspection) = (Arc::new(WorkerCells::new().unwrap()), Inspection::new());
        let punted = PuntQueues::new(identity(strangers)).unwrap();
        let bfd = BfdBoard::new(bfd_settings(), 2).unwrap();
        bfd.set_state(NodeState::Serving);
        let capacity = PortCapacity { max_inner: MTU - 28, can_share };
        let worker = Worker {
            tx: Transmitter::new(port, capacity, config.clone(), cells.clone()),
            queue: FanoutQueue::default(),
            reader: readers.reader(),
            punt: PuntPort::new(tap.then(|| punted.clone()), 0),
            node: NodeAddresses::new(&[NODE]).unwrap(),
            config: config.clone(),
            leases: TokenLeases::new().unwrap(),
            inspector: ArpInspector::new(inspection.clone()),
            local: None,
            bfd: BfdSessions::new(bfd.clone(), 0, clock.clock_ns(clock.now())),
            clock,
        };
        let (burst, grace) = (P::Burst::default(), readers.grace());
        Self { worker, burst, domains, array, grace, cells, config, inspection, punted, bfd }
    }

    /// Makes a domain with the first so many TEPs.
    pub fn domain(&mut self, vni: u32, members: usize) {
        let members: Vec<_> = (0..members).map(index).collect();
        self.domains.set(vni.into(), &members).unwrap();
    }

    /// Gives a domain a virtual IP that none of the frames' senders may announce.
    pub fn virtual_ip(&mut self, vni: u32, address: Ipv4Addr) {
        self.virtual_ip_of(vni, address, &[([0x52, 0x54, 0, 0xff, 0xff, 0xff], 0)]);
    }

    /// Gives a domain a virtual IP of these announcers, MAC address and TEP, which are numbered from 0.
    pub fn virtual_ip_of(&mut self, vni: u32, address: Ipv4Addr, announcers: &[([u8; 6], usize)]) {
        let announcer = |(id, &(mac, tep)): (u32, &([u8; 6], usize))| Announcer {
            mac: Mac::new(mac).unwrap(),
            tep: index(tep),
            id: AnnouncerId::new(id).unwrap(),
        };
        let vip = Vip {
            id: VipId::new(1).unwrap(),
            address: address.into(),
            vrids: [51].into(),
            announcers: (0..).zip(announcers).map(announcer).collect(),
            group: 0,
        };
        assert!(self.domains.set_vip_table(Vni::new(vni), Some(Arc::new(VipTable::new([vip])))));
    }

    /// Takes a turn.
    pub fn poll(&mut self) -> bool {
        self.worker.poll(&mut self.burst)
    }

    /// Takes turns until there is nothing to do, and returns the counters, which add up.
    pub fn settle(&mut self) -> Totals {
        let turns = (0..100_000).take_while(|_| self.poll()).count();
        assert!(turns < 100_000, "the worker finds no rest");
        let totals = Totals::of(&self.cells);
        totals.add_up();
        totals
    }
}

/// A worker on the fake port, and its pools.
pub type FakeRig = Rig<FakePort>;

impl FakeRig {
    pub fn new(options: Options) -> Self {
        // More than any test has in hand.
        let pools = [(4096, 2048), (4096, 384), (256, 2048)].map(|(size, room)| Pool::new(size, room));
        Self::with_pools(options, pools)
    }

    pub fn with_pools(options: Options, [received, small, large]: [Pool; 3]) -> Self {
        Rig::on(FakePort::new(received, small, large), FakeClock::new(), options)
    }

    pub fn port(&mut self) -> &mut FakePort {
        &mut self.worker.tx.port
    }

    /// Has the port receive a frame.
    pub fn receive(&mut self, frame: Vec<u8>) {
        self.port().cable.borrow_mut().to_port.push_back(frame);
    }

    /// Frames that are out since the last time.
    pub fn sent(&mut self) -> Vec<Vec<u8>> {
        self.port().cable.borrow_mut().take()
    }

    /// Lets the worker make frames of its own.
    pub fn local(&mut self) -> Arc<LocalFrames<FakePacket>> {
        let pool = self.port().received.clone();
        let local = LocalFrames::new(NODE, Box::new(move |bytes| pool.packet(bytes)));
        self.worker.local = Some(local.clone());
        local
    }

    /// Checks that no packet buffer is missing once all is sent.
    pub fn no_buffer_is_missing(&mut self) {
        self.sent();
        self.punted.for_kernel().for_each(drop);
        self.burst = Default::default();
        let port = self.port();
        assert_eq!([&port.received, &port.small, &port.large].map(Pool::in_use), [0; 3]);
    }
}
