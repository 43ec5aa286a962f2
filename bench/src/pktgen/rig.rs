//! A port, and running a plan through it: the sender and the receiver in threads of their own, or in turns on one core.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use dpdk::{Burst, DeviceSpec, Eal, EalConfig, Mempool, Port, PortConfig, RxQueue, TxQueue};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use wire::MacAddr;

use super::clock::Clock;
use super::flow::Plan;
use super::outcome::Outcome;
use super::receive::Ledger;
use super::send::{Macs, Sender, Sent};
use super::settings::Settings;

/// Buffers of each receive queue: a memif ring of the largest size can be filled with them.
const RX_POOL: u32 = 32_767;
/// Buffers of the sender.
const TX_POOL: u32 = 8191;
const POOL_CACHE: u32 = 512;
/// After the last frame was sent and all copies are there: time for those that should not be.
const SETTLE: Duration = Duration::from_millis(20);
/// After the last frame was sent: silence that means no more copies come.
const SILENCE: Duration = Duration::from_secs(1);
/// The longest wait for copies.
const LAST_COPIES: Duration = Duration::from_secs(5);
/// Receive bursts between two looks at the sender, where one thread does both.
const BURSTS_A_TURN: u32 = 8;

/// Most bursts of each queue that are thrown away before a run.
const DRAINED_BURSTS: u32 = 10_000;

/// A port with its queues, and the clock.
pub struct Rig {
    eal: Eal,
    port: Port,
    rx: Vec<RxQueue>,
    tx: Vec<TxQueue>,
    pool: Mempool,
    macs: Macs,
    cores: Vec<usize>,
    run: u32,
    /// The clock of all runs.
    pub clock: Clock,
}

/// State that the threads of a run share.
#[derive(Debug, Default)]
struct Shared {
    /// Send no more.
    stop: AtomicBool,
    /// The sender has ended; `expected` is final.
    sent_all: AtomicBool,
    /// Copies that must come.
    expected: AtomicU64,
    /// Frames that the port took.
    sent: AtomicU64,
    /// Copies that came.
    received: AtomicU64,
    /// Threads that work.
    working: AtomicU32,
}

/// A run, seen from outside.
pub struct Running<'r> {
    shared: &'r Shared,
}

impl Running<'_> {
    /// True once all frames were sent and all copies awaited.
    pub fn is_over(&self) -> bool {
        self.shared.working.load(Relaxed) == 0
    }

    /// Frames that the port took so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Relaxed)
    }

    /// Waits for a time, or until the run is over by itself; shows what is counted where there is a terminal.
    pub fn wait(&self, length: Duration, what: &str) {
        let bar = ProgressBar::with_draw_target(Some(u64::MAX), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{msg:40} {wide_bar} {elapsed}") {
            bar.set_style(style);
        }
        bar.set_length(u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
        let start = Instant::now();
        while start.elapsed() < length && !self.is_over() {
            let (sent, received) = (self.sent(), self.shared.received.load(Relaxed));
            bar.set_message(format!("{what}: {sent} sent, {received} back"));
            bar.set_position(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX));
            thread::sleep(Duration::from_millis(20).min(length.saturating_sub(start.elapsed())));
        }
        bar.finish_and_clear();
    }
}

impl Rig {
    /// Starts DPDK and the port.
    pub fn open(settings: &Settings, device: &DeviceSpec) -> Result<Self> {
        let eal = Eal::init(&EalConfig {
            memory_mb: settings.memory_mb(),
            hugepages: settings.hugepages,
            args: settings.eal_args.clone(),
            ..EalConfig::default()
        })?;
        let port = Port::open(&eal, &eal.attach(device, settings.queues)?)?;
        let room = (settings.mtu + 64).max(2048);
        let pools = (0..settings.queues)
            .map(|queue| Mempool::new(&eal, &format!("rx{queue}"), RX_POOL, POOL_CACHE, room))
            .collect::<Result<Vec<_>, _>>()?;
        let config = PortConfig {
            rx_queues: settings.queues,
            tx_queues: settings.queues,
            rx_desc: 2048,
            mtu: settings.mtu,
            ..PortConfig::default()
        };
        let queues = port.configure(&config, &pools)?;
        let clock = Clock::new();
        let rig = Self {
            pool: Mempool::new(&eal, "tx", TX_POOL, POOL_CACHE, room)?,
            macs: Macs { own: MacAddr(port.mac()?), node: settings.node_mac },
            eal,
            port,
            rx: queues.rx,
            tx: queues.tx,
            cores: settings.cores.clone(),
            // Other numbers than those of an earlier process, whose copies may still be under way.
            run: u32::try_from(clock.ticks() & u64::from(u32::MAX)).unwrap_or(0),
            clock,
        };
        rig.wait_link()?;
        Ok(rig)
    }

    fn wait_link(&self) -> Result<()> {
        let start = Instant::now();
        while !self.port.link()?.up {
            ensure!(
                start.elapsed() < Duration::from_secs(10),
                "{}: no carrier after 10 s: start the other side",
                self.port.name()
            );
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Throws away what came since the last run, and polls each queue at least once: a memif ring has no room before.
    fn drain(&mut self) {
        let mut burst = Burst::new();
        for queue in &mut self.rx {
            for _ in 0..DRAINED_BURSTS {
                if queue.receive(&mut burst) == 0 {
                    break;
                }
            }
        }
    }

    /// Port, threads and clock, in words.
    pub fn describe(&self) -> String {
        let threads = match self.cores[..] {
            [] => "sender and receiver in two threads".into(),
            [core] => format!("sender and receiver in turns on core {core}"),
            [sender, receiver, ..] => format!("sender on core {sender}, receiver on core {receiver}"),
        };
        format!(
            "{} ({}); {threads}; {}",
            self.port.name(),
            self.port.capabilities().driver,
            self.clock.name()
        )
    }

    /// Runs a plan while `meanwhile` runs in this thread. With `per_member` each member's latency is kept apart.
    pub fn run_while<R>(
        &mut self,
        plan: &Plan,
        per_member: bool,
        length: Duration,
        meanwhile: impl FnOnce(&Running) -> R,
    ) -> Result<(Outcome, R)> {
        self.run = self.run.wrapping_add(1);
        self.drain();
        let plan = Arc::new(plan.clone());
        let start = self.clock.ticks();
        let ledger = Ledger::new(plan.clone(), self.clock.clone(), self.run, start, per_member)?;
        let numbers = (self.run, start);
        let sender = Sender::new(&plan, self.clock.clone(), (&self.pool, &mut self.tx), self.macs, numbers);
        let receiver = Receiver::new(&mut self.rx, ledger, self.clock.clone());
        let shared = Shared::default();
        let running = Running { shared: &shared };
        let (eal, cores) = (&self.eal, &self.cores[..]);
        let (sent, ledger, result) = thread::scope(|scope| {
            shared.working.store(1, Relaxed);
            let both = move |shared: &Shared| -> Result<(Sent, Ledger)> {
                match *cores {
                    [core] => {
                        let _registered = settle_down(eal, Some(core))?;
                        Ok(in_turns(sender, receiver, shared))
                    }
                    _ => thread::scope(|scope| {
                        let core = |place: usize| cores.get(place).copied();
                        let sending = scope.spawn(move || {
                            let _registered = settle_down(eal, core(0)).inspect_err(|_| shared.give_up())?;
                            Ok::<_, anyhow::Error>(send(sender, shared))
                        });
                        let registered = settle_down(eal, core(1)).inspect_err(|_| shared.give_up());
                        let ledger = registered.map(|_registered| receive(receiver, shared));
                        let sent = sending
                            .join()
                            .map_err(|_| anyhow!("a thread of the run ended early; see above"))??;
                        Ok((sent, ledger?))
                    }),
                }
            };
            let working = scope.spawn(|| {
                let done = both(&shared);
                shared.working.store(0, Relaxed);
                done
            });
            let result = meanwhile(&running);
            shared.stop.store(true, Relaxed);
            let (sent, ledger) =
                working.join().map_err(|_| anyhow!("a thread of the run ended early; see above"))??;
            Ok::<_, anyhow::Error>((sent, ledger, result))
        })?;
        Ok((Outcome::new(&plan, &self.clock, (start, length), &sent, &ledger), result))
    }
}

impl Shared {
    /// A thread did not start: nobody shall wait for it.
    fn give_up(&self) {
        self.stop.store(true, Relaxed);
        self.sent_all.store(true, Relaxed);
    }
}

/// Moves this thread to its core and makes it known to DPDK, for as long as the value lives.
fn settle_down(eal: &Eal, core: Option<usize>) -> Result<dpdk::ThreadRegistration> {
    if let Some(core) = core
        && !core_affinity::set_for_current(core_affinity::CoreId { id: core })
    {
        bail!("cannot run on core {core}; see --cores and nproc");
    }
    Ok(eal.register_thread()?)
}

/// The sender's thread: nothing in it waits for the receiver.
fn send(mut sender: Sender, shared: &Shared) -> Sent {
    while !shared.stop.load(Relaxed) && sender.turn() {
        shared.sent.store(sender.accepted, Relaxed);
        std::hint::spin_loop();
    }
    let last = Instant::now();
    while !sender.flush() && last.elapsed() < Duration::from_millis(100) {}
    close(sender, shared)
}

fn close(sender: Sender, shared: &Shared) -> Sent {
    shared.sent.store(sender.accepted, Relaxed);
    let expected = sender.expected();
    let sent = sender.close();
    shared.expected.store(expected, Relaxed);
    shared.sent_all.store(true, std::sync::atomic::Ordering::Release);
    sent
}

/// The receiver's thread: it polls until the last copies are there.
fn receive(mut receiver: Receiver, shared: &Shared) -> Ledger {
    while !receiver.is_done(shared) {
        if receiver.turn(shared) == 0 {
            std::hint::spin_loop();
        }
    }
    receiver.ledger
}

/// Both in one thread: a turn sends at most a burst of each stream and receives a few, and neither waits.
fn in_turns(mut sender: Sender, mut receiver: Receiver, shared: &Shared) -> (Sent, Ledger) {
    while !shared.stop.load(Relaxed) && sender.turn() {
        shared.sent.store(sender.accepted, Relaxed);
        for _ in 0..BURSTS_A_TURN {
            if receiver.turn(shared) == 0 {
                break;
            }
        }
    }
    let last = Instant::now();
    while !sender.flush() && last.elapsed() < Duration::from_millis(100) {
        receiver.turn(shared);
    }
    let sent = close(sender, shared);
    (sent, receive(receiver, shared))
}

/// Takes what comes and enters it into the ledger.
struct Receiver<'r> {
    queues: &'r mut [RxQueue],
    burst: Burst,
    ledger: Ledger,
    clock: Clock,
    /// Arrival of the last frame.
    last: Instant,
    idle_turns: u32,
    /// End of the sender.
    ended: Option<Instant>,
}

impl<'r> Receiver<'r> {
    fn new(queues: &'r mut [RxQueue], ledger: Ledger, clock: Clock) -> Self {
        let last = Instant::now();
        Self { queues, burst: Burst::new(), ledger, clock, last, idle_turns: 0, ended: None }
    }

    /// A burst of each queue, stamped with the time when it was there: how many frames.
    fn turn(&mut self, shared: &Shared) -> usize {
        let mut frames = 0;
        for queue in &mut *self.queues {
            let count = queue.receive(&mut self.burst);
            if count == 0 {
                continue;
            }
            frames += count;
            let now = self.clock.ticks();
            for (_, mbuf) in self.burst.iter() {
                self.ledger.enter(mbuf.data(), now);
            }
        }
        if frames == 0 {
            self.idle_turns = self.idle_turns.saturating_add(1);
        } else {
            if self.idle_turns > 0 || self.ended.is_some() {
                self.last = Instant::now();
            }
            self.idle_turns = 0;
            shared.received.store(self.ledger.received, Relaxed);
        }
        frames
    }

    fn is_done(&mut self, shared: &Shared) -> bool {
        // The clock is asked only where nothing comes, or nothing more shall.
        if !shared.sent_all.load(std::sync::atomic::Ordering::Acquire) {
            return false;
        }
        let ended = *self.ended.get_or_insert_with(|| {
            self.last = Instant::now();
            self.last
        });
        let complete = self.ledger.received >= shared.expected.load(Relaxed);
        self.last.elapsed() > if complete { SETTLE } else { SILENCE } || ended.elapsed() > LAST_COPIES
    }
}
