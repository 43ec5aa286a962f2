//! The daemon from start to stop: what is made in which order, and taken down in the reverse one.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use bcast_domain::limits::MAX_DOMAINS;
use bcast_domain::{ArrayPublisher, DomainPublisher, Readers};
use ctl_server::{Server, ServerConfig, ServerError, Versions};
use ctl_store::{EmbeddedStore, StoreError};
use dpdk::{DeviceSpec, Eal, EalConfig, Mempool, Port, PortConfig, Queues};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::runtime::Runtime;
use tun_rs::{DeviceBuilder, Layer, SyncDevice};
use wire::{IP_OVERHEAD, MacAddr};

use crate::config::{Config, ConfigError, LiveConfig};
use crate::counters::{Counters, NoMemory};
use crate::metrics::{self, MetricsError};
use crate::netlink::{HostUse, Netlink, NetlinkError};
use crate::nexthops::{NextHops, Source};
use crate::node::{ControlledNode, NodeView};
use crate::punt::{self, PuntPort, PuntQueues};
use crate::shield::{Shield, ShieldError};
use crate::teps::TepArray;
use crate::worker::{Live, Outbox, PortLimits, Worker};

/// Packet buffers of each worker's receive pool, of its pool for short copies, and of its pool for long ones.
const POOL_SIZES: [u32; 3] = [8191, 8191, 4095];
/// Buffers that a worker keeps at hand of each pool: a smaller cache makes the pool cycle through memory.
const POOL_CACHE: u32 = 512;
/// Buffers for what the kernel sends.
const KERNEL_POOL: u32 = 2047;
/// How long the last requests may take to be answered when the daemon stops.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Why the daemon did not start, or did not stop cleanly. One line, with what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The control path.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The metrics' address.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// A metric's name.
    #[error(transparent)]
    Prometheus(#[from] prometheus::Error),
    /// DPDK itself.
    #[error(transparent)]
    Eal(#[from] dpdk::EalError),
    /// The port's device.
    #[error("port.device: {0}")]
    Attach(#[from] dpdk::AttachError),
    /// The port.
    #[error("port: {0}")]
    Port(#[from] dpdk::PortError),
    /// The packet buffers.
    #[error(transparent)]
    Pool(#[from] dpdk::PoolError),
    /// The kernel's network stack.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The shield.
    #[error(transparent)]
    Shield(#[from] ShieldError),
    /// The counters.
    #[error(transparent)]
    Counters(#[from] NoMemory),
    /// The host itself uses the port.
    #[error(
        "port.device: the host itself is using {interface} ({used}), and bcastd would cut it off; give bcastd a port of its own, or set port.takeover = true"
    )]
    PortInUse {
        /// The interface.
        interface: String,
        /// For what.
        used: String,
    },
    /// The interface carries less than `port.mtu`.
    #[error(
        "port.mtu: {wanted} is more than the MTU of {interface}, {mtu}; set port.mtu = {mtu}, or raise the interface's (`ip link set {interface} mtu {wanted}`)"
    )]
    InterfaceMtu {
        /// The interface.
        interface: String,
        /// Its MTU, bytes.
        mtu: u32,
        /// `port.mtu`, bytes.
        wanted: u16,
    },
    /// The TAP.
    #[error(
        "underlay.tap: cannot make the TAP device {name}: {error}; it takes /dev/net/tun and the capability CAP_NET_ADMIN, and a name that is free"
    )]
    Tap {
        /// Its name.
        name: String,
        /// Why.
        error: std::io::Error,
    },
    /// Threads, signals.
    #[error("the system refuses: {0}")]
    System(#[from] std::io::Error),
    /// A worker could not take its core.
    #[error("workers.cores: cannot pin a worker to core {0}; see `taskset -p $$`")]
    Pin(usize),
    /// A worker ended while it started.
    #[error("a worker ended before it polled")]
    Worker,
    /// Not all packet buffers came back.
    #[error("stopped, but {0} packet buffers did not come back")]
    Leak(u64),
}

/// Runs the daemon until SIGTERM or SIGINT.
///
/// # Errors
/// Why it did not start, or that it did not stop cleanly.
pub fn run(path: &Path) -> Result<(), StartError> {
    let mut config = Config::load(path)?;
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    // The runtime's threads are made before DPDK, and the store is opened before the port is touched.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let store = EmbeddedStore::open(&config.store_path)?;
    let daemon = Daemon::start(&config, runtime, store)?;
    tracing::info!(device = %config.port.device, workers = config.cores.len(), "forwarding");
    for signal in signals.forever() {
        if signal != SIGHUP {
            break;
        }
        config = reload(path, config, &daemon.live);
    }
    tracing::info!("stopping");
    daemon.stop()
}

/// Reads the file again: what can change live does; a broken file changes nothing. Returns what is in force.
fn reload(path: &Path, old: Config, live: &Live) -> Config {
    let new = match Config::load(path) {
        Ok(new) => new,
        Err(error) => {
            tracing::error!(%error, "not reloaded: the old configuration stays in force");
            return old;
        }
    };
    let restart = old.needs_restart(&new);
    if !restart.is_empty() {
        tracing::warn!(
            keys = restart.join(", "),
            "these changes take a restart; until then the old values stay"
        );
    }
    live.set(new.live);
    let LiveConfig { share_payload_from, outer_source, idle_sleep_us, punt_rate } = new.live;
    tracing::info!(share_payload_from, ?outer_source, idle_sleep_us, punt_rate, "reloaded");
    let mut underlay = old.underlay;
    underlay.punt_rate = punt_rate;
    Config { live: new.live, underlay, ..old }
}

/// A running daemon.
struct Daemon {
    runtime: Runtime,
    view: Arc<NodeView>,
    live: Arc<Live>,
    netlink: Option<Netlink>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// Keeps the kernel off the port.
    _shield: Option<Shield>,
}

/// The port, set up, with its pools.
struct Ready {
    port: Arc<Port>,
    queues: Queues,
    limits: PortLimits,
    drain_time: Duration,
    mac: MacAddr,
    /// Of each worker: for receiving, for short copies, for long ones.
    pools: Vec<[Mempool; 3]>,
    kernel_pool: Mempool,
}

impl Daemon {
    fn start(config: &Config, runtime: Runtime, store: EmbeddedStore) -> Result<Self, StartError> {
        let listener = runtime.block_on(metrics::listen(config.metrics_listen))?;
        let shield = runtime.block_on(prepare_interface(config))?;
        let eal = Eal::init(&eal_config(config))?;
        let mut ready = open_port(config, &eal)?;
        let (tap, netlink, source) = runtime.block_on(kernel_side(config, ready.mac))?;

        let (domains, array, readers) = bcast_domain::table_with_capacity(TepArray::empty(), MAX_DOMAINS);
        let counters = Arc::new(Counters::new(config.cores.len())?);
        let pool_names = ["rx", "copies", "large"];
        let worker_pools = ready.pools.iter().enumerate().flat_map(|(worker, pools)| {
            pool_names.iter().zip(pools).map(move |(name, pool)| (format!("{name}{worker}"), pool.clone()))
        });
        let view = Arc::new(NodeView {
            counters: counters.clone(),
            change_seconds: metrics::change_histogram()?,
            port: ready.port.clone(),
            pools: worker_pools.chain([("kernel".into(), ready.kernel_pool.clone())]).collect(),
            server: Mutex::new(None),
        });
        let live = Arc::new(Live::new(config.live));
        let mut daemon =
            Self { runtime, view, live, netlink, stop: Arc::default(), threads: Vec::new(), _shield: shield };
        let server = daemon.start_control(config, store, &ready, source, (domains, array, &readers))?;
        let punt = tap.is_some().then(PuntQueues::new);
        daemon.start_workers(config, &eal, &mut ready, &readers, punt.as_ref())?;
        if let (Some(tap), Some(queues)) = (tap, punt) {
            daemon.start_punt(tap, queues, &ready, config)?;
        }
        // From here on the node is ready.
        *daemon.view.server() = Some(server);
        daemon.runtime.spawn(metrics::serve(listener, daemon.view.clone()));
        Ok(daemon)
    }

    /// Loads the store into the table and serves the API.
    fn start_control(
        &self,
        config: &Config,
        store: EmbeddedStore,
        ready: &Ready,
        source: Source,
        (domains, array, readers): (DomainPublisher, ArrayPublisher<TepArray>, &Readers<TepArray>),
    ) -> Result<Server, StartError> {
        let _in_runtime = self.runtime.enter();
        let node = ControlledNode {
            view: self.view.clone(),
            next_hops: NextHops::start(source, ready.mac, array),
            links: config.underlay.addresses.clone(),
            drain_time: ready.drain_time,
        };
        let versions = Versions {
            daemon: env!("CARGO_PKG_VERSION").into(),
            dpdk: dpdk::version().trim_start_matches("DPDK ").to_owned(),
        };
        let mut server_config =
            ServerConfig::new(config.api_socket.clone(), self.runtime.handle().clone(), versions);
        let change_seconds = self.view.change_seconds.clone();
        server_config.observer = Arc::new(move |took: Duration| change_seconds.observe(took.as_secs_f64()));
        Ok(Server::start(server_config, store, domains, readers.grace(), Arc::new(node))?)
    }

    fn start_workers(
        &mut self,
        config: &Config,
        eal: &Eal,
        ready: &mut Ready,
        readers: &Readers<TepArray>,
        punt: Option<&Arc<PuntQueues>>,
    ) -> Result<(), StartError> {
        let workers = config.cores.len();
        let queues = ready.queues.rx.drain(..).zip(ready.queues.tx.drain(..));
        for (number, ((rx, tx), &core)) in queues.zip(&config.cores).enumerate() {
            let [_, small, large] = ready.pools[number].clone();
            let worker = Worker {
                rx,
                out: Outbox::new(tx, small, large, ready.limits, self.view.counters.clone(), number),
                reader: readers.reader(),
                punt: PuntPort::new(punt.cloned(), number, workers),
                node: config.underlay.node,
                live: self.live.clone(),
            };
            let (eal, stop) = (eal.clone(), self.stop.clone());
            let (started, wait) = mpsc::channel();
            let body = move || {
                let pinned = core_affinity::set_for_current(core_affinity::CoreId { id: core });
                let registration = eal.register_thread();
                let fine = if pinned { Ok(()) } else { Err(StartError::Pin(core)) };
                let fine = fine.and(registration.as_ref().map(|_| ()).map_err(|_| StartError::Worker));
                let go = fine.is_ok();
                // Nobody waits any more only where the start was given up.
                let _given_up = started.send(fine);
                if go {
                    worker.run(&stop);
                }
            };
            self.threads.push(std::thread::Builder::new().name(format!("worker-{number}")).spawn(body)?);
            wait.recv().map_err(|_| StartError::Worker)??;
        }
        Ok(())
    }

    fn start_punt(
        &mut self,
        tap: SyncDevice,
        queues: Arc<PuntQueues>,
        ready: &Ready,
        config: &Config,
    ) -> Result<(), StartError> {
        let (pool, stop) = (ready.kernel_pool.clone(), self.stop.clone());
        let max_frame = usize::from(config.port.mtu) + 18;
        let body = move || punt::run(&tap, &queues, &pool, max_frame, &stop);
        self.threads.push(std::thread::Builder::new().name("punt".into()).spawn(body)?);
        Ok(())
    }

    /// Answers the last requests, stops the workers, and gives everything back.
    fn stop(self) -> Result<(), StartError> {
        let server = self.view.server().take();
        if let Some(server) = server {
            server.shutdown();
        }
        self.stop.store(true, Relaxed);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread panicked");
            }
        }
        if let Some(netlink) = &self.netlink {
            self.runtime.block_on(netlink.remove_rules());
        }
        // af_xdp's driver keeps what it lent to the kernel for receiving, even when it is closed (DPDK 22.11).
        let kept = if self.view.port.capabilities().driver == "net_af_xdp" { "rx" } else { "none" };
        let pools = self.view.pools.iter().filter(|(name, _)| !name.starts_with(kept));
        let pools: Vec<Mempool> = pools.map(|(_, pool)| pool.clone()).collect();
        self.runtime.shutdown_timeout(LAST_ANSWERS);
        // The port closes with its last handle, and returns what is in its rings.
        drop(self.view);
        match pools.iter().map(|pool| u64::from(pool.in_use())).sum() {
            0 => {
                tracing::info!("stopped; all packet buffers came back");
                Ok(())
            }
            left => Err(StartError::Leak(left)),
        }
    }
}

fn eal_config(config: &Config) -> EalConfig {
    EalConfig {
        memory_mb: config.eal.memory_mb,
        hugepages: config.eal.hugepages,
        main_core: config.cores.first().and_then(|&core| u32::try_from(core).ok()).unwrap_or(0),
        args: config.eal.args.clone(),
        ..EalConfig::default()
    }
}

/// Refuses an interface that the host is using, sets it up, and keeps the kernel from answering on it.
async fn prepare_interface(config: &Config) -> Result<Option<Shield>, StartError> {
    let Some(interface) = config.port.device.interface() else { return Ok(None) };
    let (netlink, _events) = Netlink::open()?;
    let used = netlink.host_use(interface).await?;
    if used != HostUse::Free && !config.port.takeover {
        return Err(StartError::PortInUse { interface: interface.into(), used: used.to_string() });
    }
    let (mtu, wanted) = (netlink.mtu(interface).await?, config.port.mtu);
    if mtu < wanted.into() {
        // The kernel would drop longer frames silently, and they would be counted as sent.
        return Err(StartError::InterfaceMtu { interface: interface.into(), mtu, wanted });
    }
    netlink.set_up(interface).await?;
    match config.port.device {
        DeviceSpec::AfPacket(_) => Ok(Some(Shield::raise(interface)?)),
        _ => Ok(None),
    }
}

/// Attaches the device, and makes its pools and queues, one of each for every worker.
fn open_port(config: &Config, eal: &Eal) -> Result<Ready, StartError> {
    let workers = u16::try_from(config.cores.len()).unwrap_or(u16::MAX);
    let name = eal.attach(&config.port.device, workers)?;
    let port = Port::open(eal, &name)?;
    let room = (config.port.mtu + 64).max(2048);
    let pool = |name: String, size, room| Mempool::new(eal, &name, size, POOL_CACHE, room);
    let mut pools = Vec::with_capacity(config.cores.len());
    for worker in 0..workers {
        let [rx, copies, large] = POOL_SIZES;
        pools.push([
            pool(format!("rx{worker}"), rx, room)?,
            pool(format!("copies{worker}"), copies, dpdk::MIN_DATA_ROOM)?,
            pool(format!("large{worker}"), large, room)?,
        ]);
    }
    let port_config = PortConfig {
        rx_queues: workers,
        tx_queues: workers,
        mtu: config.port.mtu,
        chains: port.capabilities().chains(),
        ..PortConfig::default()
    };
    let rx_pools: Vec<Mempool> = pools.iter().map(|[rx, ..]| rx.clone()).collect();
    let queues = port.configure(&port_config, &rx_pools)?;
    Ok(Ready {
        limits: PortLimits {
            max_inner: usize::from(config.port.mtu).saturating_sub(IP_OVERHEAD),
            can_share: port_config.chains,
        },
        drain_time: port.drain_time(&port_config),
        mac: MacAddr(port.mac()?),
        port: Arc::new(port),
        queues,
        pools,
        kernel_pool: Mempool::new(eal, "kernel", KERNEL_POOL, 0, room)?,
    })
}

/// Makes the TAP the node's interface in the kernel, and says how next hops are found.
async fn kernel_side(
    config: &Config,
    mac: MacAddr,
) -> Result<(Option<SyncDevice>, Option<Netlink>, Source), StartError> {
    let fixed = config.underlay.gateway_mac.map(Source::Fixed);
    let Some(name) = &config.underlay.tap else {
        // The configuration has a gateway_mac wherever it has no TAP.
        return Ok((None, None, fixed.unwrap_or(Source::Fixed(MacAddr::BROADCAST))));
    };
    let refused = |error| StartError::Tap { name: name.clone(), error };
    let tap = DeviceBuilder::new()
        .name(name.clone())
        .layer(Layer::L2)
        .inherit_enable_state()
        .build_sync()
        .map_err(refused)?;
    tap.set_nonblocking(true).map_err(refused)?;
    let (mut netlink, events) = Netlink::open()?;
    let (addresses, gateway) = (&config.underlay.addresses, config.underlay.gateway);
    netlink.configure_tap(name, mac, config.port.mtu, addresses, gateway).await?;
    let source = fixed.unwrap_or_else(|| Source::Kernel(netlink.clone(), events));
    Ok((Some(tap), Some(netlink), source))
}
