//! Share of a worker's CPU that BFD with very many hypervisors takes.
//!
//! The worker's part of BFD (`engine::sessions`) runs on a DPDK port that frees what it is given, with a clock of its own: a worker
//! that polls each 10 us, hypervisors that send once a second each. So what is measured is CPU time, and no time that others took.

use std::net::Ipv4Addr;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, ensure};
use bcast_domain::{Tep, TepIndex};
use bfd::{Addresses, BFD_MAC, Config, Diagnostic, Packet, Session, State, Template};
use dpdk::{Eal, EalConfig, Mempool, Port, PortConfig};
use engine::counters::WorkerCells;
use engine::police::RateLimits;
use engine::port::dpdk::DpdkPort;
use engine::replicate::{PortCapacity, Transmitter};
use engine::runtime::{OuterSource, RuntimeConfig, RuntimeSettings};
use engine::sessions::{BfdBoard, BfdSessions, BfdSettings, Discriminators, Heard, NodeState};
use engine::teps::TepArray;
use serde::Serialize;
use wire::MacAddr;

use crate::harness::{Figure, NODE, Report, report, tep};
use crate::micro::cpu_ns;

/// Time between two polls, nanoseconds.
const POLL_NS: u64 = 10_000;
const SECOND_NS: u64 = 1_000_000_000;
/// Share of a worker that the sessions may take, percent.
const MOST: f64 = 3.0;

/// Options of `bench bfd`.
#[derive(clap::Args)]
pub struct Args {
    /// Hypervisors
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    sessions: u32,
    /// Interval at which the node sends to each
    #[arg(long, default_value_t = 50)]
    interval_ms: u32,
    /// Seconds of the sessions' time that are measured
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// `bench/results/bfd.json`.
#[derive(Serialize)]
struct Row {
    sessions: u32,
    interval_ms: u32,
    /// Share of a worker, percent.
    share: f64,
    /// Share of a worker that the same polls take when no session is there, percent.
    idle_share: f64,
    frames_per_s: f64,
    ns_per_frame: f64,
}

/// Worker's part, and the hypervisors.
struct Bench {
    bfd: BfdSessions,
    tx: Transmitter<DpdkPort>,
    teps: TepArray,
    board: Arc<BfdBoard>,
    cells: Arc<WorkerCells>,
    now_ns: u64,
    /// Hypervisor that speaks next.
    next: u32,
    sessions: u32,
}

impl Bench {
    fn new(eal: &Eal, args: &Args) -> Result<Self> {
        let pool = |name, size, room| Mempool::new(eal, name, size, 256, room);
        let (received, small) = (pool("received", 511, 2048)?, pool("small", 4095, dpdk::MIN_DATA_ROOM)?);
        let name = eal.attach(&"vdev:net_null0,no-rx=1".parse()?, 1)?;
        let port = Port::open(eal, &name)?;
        let mut queues = port.configure(&PortConfig::default(), std::slice::from_ref(&received))?;
        let queues = DpdkPort::new(queues.rx.remove(0), queues.tx.remove(0), small, received);
        let config = Arc::new(RuntimeConfig::new(RuntimeSettings {
            share_payload_from: 256,
            outer_source: OuterSource::Node,
            idle_sleep_us: 0,
            punt_rate: 0,
            allow_inner_bfd: false,
            limits: RateLimits::default(),
        })?);
        let cells = Arc::new(WorkerCells::new()?);
        let capacity = PortCapacity { max_inner: 1472, can_share: false };
        let hop = Some(MacAddr([2, 0, 0, 0, 0, 9]));
        let teps: Result<Vec<_>> = (0..args.sessions).map(|n| Ok(Some((Tep::new(tep(n))?, hop)))).collect();
        let settings = BfdSettings {
            interval_us: args.interval_ms * 1_000,
            detect_mult: 3,
            mac: MacAddr([2; 6]),
            discriminators: discriminators(),
        };
        let board = BfdBoard::new(settings, 1)?;
        board.set_state(NodeState::Serving);
        Ok(Self {
            bfd: BfdSessions::new(board.clone(), 0, SECOND_NS),
            tx: Transmitter::new(queues, capacity, config, cells.clone()),
            teps: TepArray::build(MacAddr([2; 6]), &teps?),
            board,
            cells,
            now_ns: SECOND_NS,
            next: 0,
            sessions: args.sessions,
        })
    }

    /// Lets seconds pass in which each hypervisor sends a packet in this state each second. Gives the CPU time, nanoseconds.
    fn run(&mut self, seconds: u64, state: Option<State>) -> Result<u64> {
        let end = self.now_ns + seconds * SECOND_NS;
        let gap_ns = SECOND_NS / u64::from(self.sessions);
        let mut due_ns = self.now_ns;
        let frames: Result<Vec<_>> =
            (0..self.sessions).map(|n| frame(n, state.unwrap_or_default())).collect();
        let frames = frames?;
        let start = cpu_ns();
        while self.now_ns < end {
            self.now_ns += POLL_NS;
            let now_ns = self.now_ns;
            while state.is_some() && due_ns <= now_ns {
                let tep = (TepIndex::new(self.next)?, tep(self.next));
                let inner = frames.get(self.next as usize).context("a frame for each hypervisor")?;
                let taken = self.bfd.receive(Heard { tep, node: NODE, inner }, now_ns);
                taken.map_err(|reason| anyhow!("a packet was dropped: {reason}"))?;
                self.next = (self.next + 1) % self.sessions;
                due_ns += gap_ns;
            }
            self.bfd.turn(&mut self.tx, &self.teps, || now_ns);
        }
        Ok(cpu_ns() - start)
    }

    fn sent(&self) -> u64 {
        self.cells.totals.tx_bfd.get()
    }
}

fn discriminators() -> Discriminators {
    Discriminators::new(NonZeroU16::MAX)
}

/// Inner frame of the hypervisor with this number, in this state.
fn frame(number: u32, state: State) -> Result<[u8; bfd::FRAME_LEN]> {
    let discriminator = NonZeroU32::MIN.saturating_add(number);
    let own = Session::new(Config::passive(discriminator), 0)?.packet();
    let your = discriminators().of(u16::try_from(number)?).get();
    let packet = Packet {
        state,
        diagnostic: Diagnostic::NONE,
        your_discriminator: if state == State::Down { 0 } else { your },
        desired_min_tx_us: 50_000,
        required_min_rx_us: 50_000,
        ..own
    };
    let addresses = Addresses {
        destination_mac: BFD_MAC,
        source_mac: MacAddr([2, 0, 0, 0, 8, 8]),
        destination: Ipv4Addr::new(169, 254, 1, 0),
        source: Ipv4Addr::new(169, 254, 1, 1),
        source_port: 49_152,
    };
    Ok(Template::new(&addresses).frame(&packet))
}

impl Args {
    /// Measures; tells whether the target is met.
    ///
    /// # Errors
    /// DPDK does not start, or sessions do not come up or stay so.
    pub fn run(self) -> Result<bool> {
        let eal = Eal::init(&EalConfig { memory_mb: 256, hugepages: false, ..EalConfig::default() })?;
        let mut bench = Bench::new(&eal, &self)?;
        let idle_ns = bench.run(self.seconds, None)?;
        bench.run(1, Some(State::Down))?;
        bench.run(2, Some(State::Init))?;
        let up = |bench: &Bench| bench.board.sessions().filter(|session| session.local == State::Up).count();
        ensure!(up(&bench) == self.sessions as usize, "only {} sessions came up", up(&bench));
        let before = bench.sent();
        let busy_ns = bench.run(self.seconds, Some(State::Up))?;
        ensure!(up(&bench) == self.sessions as usize && bench.board.flaps() == 0, "a session went down");
        let frames = bench.sent() - before;
        ensure!(bench.cells.totals.tx_bfd_drops.get() == 0, "frames were dropped");
        let percent = |ns: u64| ns as f64 / (self.seconds * SECOND_NS) as f64 * 100.0;
        let row = Row {
            sessions: self.sessions,
            interval_ms: self.interval_ms,
            share: percent(busy_ns),
            idle_share: percent(idle_ns),
            frames_per_s: frames as f64 / self.seconds as f64,
            ns_per_frame: busy_ns as f64 / frames as f64,
        };
        let of = format!("{} BFD sessions at {} ms", self.sessions, self.interval_ms);
        let figures = vec![
            Figure::at_most(format!("{of}: share of a worker's CPU"), row.share, MOST, " %"),
            Figure::plain("BFD frames sent a second", format!("{:.0}", row.frames_per_s)),
            Figure::plain("all of it for each frame sent", format!("{:.0} ns", row.ns_per_frame)),
            Figure::plain("the same polls without a session", format!("{:.3} %", row.idle_share)),
        ];
        Report::new("bfd", figures, vec![row]).keep(&report::folder())
    }
}
