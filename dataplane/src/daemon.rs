//! The daemon from start to stop: what is made in which order, and taken down in the reverse one.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bcast_domain::limits::MAX_DOMAINS;
use bcast_domain::{DomainPublisher, Readers};
use ctl_server::{ExporterConfig, Server, ServerConfig, Versions};
use ctl_store::EmbeddedStore;
use dpdk::{DeviceSpec, Eal, Mbuf, Mempool, Tsc};
use engine::counters::Counters;
use engine::fanout::FanoutQueue;
use engine::hosts::{Network, STRANGERS};
use engine::inspect::{ArpInspector, Inspection};
use engine::local::LocalFrames;
use engine::police::TokenLeases;
use engine::port::dpdk::DpdkPort;
use engine::punt::{Identity, PuntPort, PuntQueues};
use engine::replicate::Transmitter;
use engine::runtime::{RuntimeConfig, RuntimeSettings};
use engine::sessions::BfdSessions;
use engine::teps::TepArray;
use engine::worker::Worker;
use netlink::Requests;
use signal_hook::consts::SIGTERM;
use tokio::runtime::Runtime;
use tun_rs::{DeviceBuilder, Layer, SyncDevice};
use underlay::{Fatal, HostUse, IngressDrop, Interfaces, Kernel, Task, Underlay};
use wire::MacAddr;

use crate::clocks::Clocks;
use crate::config::Config;
use crate::conflict::ConflictWatch;
use crate::drop_log;
use crate::error::StartError;
use crate::liveness::Liveness;
use crate::metrics;
use crate::node::{ControlledNode, NodeView, Templates};
use crate::port::{self, ReadyPort};
use crate::punt::TapThread;
use crate::readiness::Readiness;
use crate::stop::{self, Request};

/// Time that the kernel has for each request of the start.
const START_DEADLINE: Duration = Duration::from_secs(30);
/// Time that the last requests may take to be answered when the daemon stops.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Runs the daemon until SIGTERM or SIGINT.
///
/// # Errors
/// Why it did not start, or that it did not stop cleanly.
pub fn run(path: &Path) -> Result<(), StartError> {
    let mut config = Config::load(path)?;
    let requests = stop::requests()?;
    // The runtime's threads are made before DPDK, and the store is opened before the port is touched.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let store = EmbeddedStore::open(&config.store_path)?;
    let ended = Arc::new(OnceLock::new());
    let daemon = Daemon::start(&config, runtime, store, &ended)?;
    tracing::info!(device = %config.port.device, workers = config.cores.len(), "forwarding");
    while let Ok(Request::Reload) = requests.recv() {
        config = reload(path, config, &daemon);
    }
    tracing::info!("stopping");
    let stopped = daemon.stop();
    ended.get().map_or(stopped, |&fatal| Err(StartError::Fatal(fatal)))
}

/// Reads the file again: what can change runtime_config does; a broken file changes nothing. Returns what is in force.
fn reload(path: &Path, old: Config, daemon: &Daemon) -> Config {
    let read = || {
        let new = Config::load(path)?;
        let receivers = new.receivers()?;
        Ok::<_, StartError>((new, receivers))
    };
    let (new, receivers) = match read() {
        Ok(read) => read,
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
    daemon.runtime_config.set(new.runtime);
    let webhooks = receivers.len();
    if let Some(server) = daemon.view.server().as_ref() {
        server.reload_webhooks(receivers);
    }
    let RuntimeSettings {
        share_payload_from,
        outer_source,
        idle_sleep_us,
        punt_rate,
        allow_inner_bfd,
        limits,
    } = new.runtime;
    tracing::info!(
        share_payload_from,
        ?outer_source,
        idle_sleep_us,
        punt_rate,
        allow_inner_bfd,
        %limits,
        webhooks,
        "reloaded"
    );
    Config { runtime: new.runtime, ..old }
}

/// A running daemon.
struct Daemon {
    runtime: Runtime,
    view: Arc<NodeView>,
    runtime_config: Arc<RuntimeConfig>,
    underlay: Arc<Underlay>,
    stop: Arc<AtomicBool>,
    /// The workers, the punt, the sampler of readiness, and the task that follows next hops.
    threads: Vec<JoinHandle<()>>,
    /// Keeps the kernel off the port.
    _ingress_drop: Option<IngressDrop>,
}

impl Daemon {
    fn start(
        config: &Config,
        runtime: Runtime,
        store: EmbeddedStore,
        ended: &Arc<OnceLock<Fatal>>,
    ) -> Result<Self, StartError> {
        let listener = runtime.block_on(metrics::listen(config.metrics_listen))?;
        // Next hops have a runtime of their own, so that nothing else holds them up.
        let netlink_runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let ingress_drop = netlink_runtime.block_on(prepare_interface(config))?;
        let eal = Eal::init(&port::eal_config(config))?;
        let mut ready = port::open_port(config, &eal)?;
        let (domains, publisher, readers) = bcast_domain::table_with_capacity(TepArray::empty(), MAX_DOMAINS);
        let runtime_config = Arc::new(RuntimeConfig::new(config.runtime)?);
        let KernelSide { mut tap, kernel, port_index } =
            netlink_runtime.block_on(kernel_side(config, ready.mac, &runtime_config))?;
        let table = Box::new(Templates { port_mac: ready.mac, publisher });
        let underlay = Underlay::new(config.underlay.gateway_mac, table, kernel.is_some());
        let view = Arc::new(node_view(config, &ready, Tsc::new(&eal), (&runtime_config, &underlay))?);
        let mut threads = Vec::new();
        if let Some(kernel) = kernel {
            let (on_link, fatal) = (follow_link(runtime_config.clone()), end_by(ended.clone()));
            underlay.follow(kernel.tap_index(), port_index, kernel.node());
            let task = Task::new(underlay.clone(), kernel, on_link, fatal);
            let follow = std::thread::Builder::new().name("next-hops".into());
            threads.push(follow.spawn(move || {
                netlink_runtime.block_on(task.run());
                // Nothing that it may still wait for is waited for.
                netlink_runtime.shutdown_background();
            })?);
        }
        runtime.spawn(metrics::serve(listener, view.clone()));
        runtime.spawn(drop_log::run(view.clone()));
        let mut daemon = Self {
            runtime,
            view,
            runtime_config,
            underlay,
            stop: Arc::default(),
            threads,
            _ingress_drop: ingress_drop,
        };
        // From here on there is something to take down.
        match daemon.bring_up(config, store, &eal, &mut ready, (domains, &readers), &mut tap) {
            Ok(()) => Ok(daemon),
            Err(error) => {
                drop((ready, readers));
                if let Err(unclean) = daemon.stop() {
                    tracing::error!(%unclean, "the start failed");
                }
                Err(error)
            }
        }
    }

    /// Loads the store, serves the API, and starts to forward.
    fn bring_up(
        &mut self,
        config: &Config,
        store: EmbeddedStore,
        eal: &Eal,
        ready: &mut ReadyPort,
        (domains, readers): (DomainPublisher, &Readers<TepArray>),
        tap: &mut Option<SyncDevice>,
    ) -> Result<(), StartError> {
        let server = self.start_control(config, store, ready, (domains, readers))?;
        self.underlay.loaded();
        let punt = if tap.is_some() { Some(punt_queues(config, ready.mac)?) } else { None };
        self.start_workers(config, eal, ready, readers, punt.as_ref())?;
        self.view.liveness.begin();
        if let (Some(tap), Some(queues)) = (tap.take(), punt) {
            self.start_punt(tap, queues, ready, config)?;
        }
        *self.view.server() = Some(server);
        self.start_sampler(config)
    }

    /// Starts the thread that samples what readiness depends on.
    fn start_sampler(&mut self, config: &Config) -> Result<(), StartError> {
        let (readiness, port, stop) =
            (self.view.readiness.clone(), self.view.port.clone(), self.stop.clone());
        // Of an interface of the kernel's the kernel tells; virtual devices are always up.
        let asks_driver = matches!(config.port.device, DeviceSpec::Pci(_));
        let link = move || asks_driver.then(|| port.link().map_or(true, |link| link.up));
        let (view, runtime_config) = (self.view.clone(), self.runtime_config.clone());
        let sample = move || view.liveness.sample(view.facts(&runtime_config), Instant::now());
        let body = move || readiness.run(&stop, link, sample);
        self.threads.push(std::thread::Builder::new().name("readiness".into()).spawn(body)?);
        Ok(())
    }

    /// Loads the store into the table and serves the API.
    fn start_control(
        &self,
        config: &Config,
        store: EmbeddedStore,
        ready: &ReadyPort,
        (domains, readers): (DomainPublisher, &Readers<TepArray>),
    ) -> Result<Server, StartError> {
        let node = ControlledNode {
            view: self.view.clone(),
            runtime_config: self.runtime_config.clone(),
            underlay: self.underlay.clone(),
            links: config.underlay.addresses.clone(),
            drain_time: ready.drain_time,
            earlier_drops: Mutex::default(),
            earlier_errors: Mutex::default(),
        };
        let versions = Versions {
            daemon: env!("CARGO_PKG_VERSION").into(),
            commit: env!("BCAST_COMMIT").into(),
            dpdk: port::dpdk_version().to_owned(),
        };
        let mut server_config =
            ServerConfig::new(config.api_socket.clone(), self.runtime.handle().clone(), versions);
        let change_seconds = self.view.change_seconds.clone();
        server_config.havips = config.havip.limits;
        server_config.damping = config.havip.damping;
        server_config.nodes = config.nodes.clone();
        server_config.exporters = ExporterConfig {
            webhooks: config.receivers()?,
            source: format!("/bcast/{}", config.underlay.node.first()),
            routes: config.routes.clone(),
            ..ExporterConfig::default()
        };
        server_config.observer = Arc::new(move |took: Duration| change_seconds.observe(took.as_secs_f64()));
        Ok(Server::start(server_config, store, domains, readers.grace(), Arc::new(node))?)
    }

    fn start_workers(
        &mut self,
        config: &Config,
        eal: &Eal,
        ready: &mut ReadyPort,
        readers: &Readers<TepArray>,
        punt: Option<&Arc<PuntQueues<Mbuf>>>,
    ) -> Result<(), StartError> {
        let queues = ready.queues.rx.drain(..).zip(ready.queues.tx.drain(..));
        for (number, ((rx, tx), &core)) in queues.zip(&config.cores).enumerate() {
            let [_, small, large] = ready.pools[number].clone();
            let worker: Worker<DpdkPort> = Worker {
                tx: Transmitter::new(
                    DpdkPort::new(rx, tx, small, large),
                    ready.capacity,
                    self.runtime_config.clone(),
                    self.view.counters.workers[number].clone(),
                ),
                queue: FanoutQueue::default(),
                reader: readers.reader(),
                punt: PuntPort::new(punt.cloned(), number),
                node: config.underlay.node,
                config: self.runtime_config.clone(),
                leases: TokenLeases::new()?,
                inspector: ArpInspector::new(self.view.inspection.clone()),
                bfd: BfdSessions::new(
                    self.view.liveness.board.clone(),
                    number,
                    self.view.clocks.tsc.clock_ns(self.view.clocks.tsc.now()),
                ),
                local: (number == 0).then(|| self.view.local_frames.clone()),
                clock: self.view.clocks.tsc,
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
        queues: Arc<PuntQueues<Mbuf>>,
        ready: &ReadyPort,
        config: &Config,
    ) -> Result<(), StartError> {
        let (stop, rounds) = (self.stop.clone(), self.view.readiness.punt_rounds.clone());
        let mut thread = TapThread {
            tap,
            queues,
            pool: ready.kernel_pool.clone(),
            clock: self.view.clocks.tsc,
            conflicts: ConflictWatch::new(self.view.counters.clone(), self.view.conflict.clone()),
            buffer: vec![0; (usize::from(config.port.mtu) + 18).max(2048)],
        };
        let body = move || thread.run(&stop, &rounds);
        self.threads.push(std::thread::Builder::new().name("punt".into()).spawn(body)?);
        Ok(())
    }

    /// Answers the last requests, stops the workers, and gives everything back.
    fn stop(self) -> Result<(), StartError> {
        stop::step("the control path");
        let server = self.view.server().take();
        if let Some(server) = server {
            server.shutdown();
        }
        // First, or the TAP's end would be news to it.
        self.underlay.stop();
        self.stop.store(true, Relaxed);
        stop::step("the workers, or the thread that follows next hops");
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread panicked");
            }
        }
        stop::step("the port");
        // af_xdp's driver keeps what it lent to the kernel for receiving, even when it is closed (DPDK 22.11).
        let keeps_rx = self.view.port.capabilities().driver == "net_af_xdp";
        let pools = self.view.pools.iter().filter(|(name, _)| !(keeps_rx && name.starts_with("rx")));
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

/// Refuses an interface that the host is using, sets it up, and keeps the kernel from answering on it.
async fn prepare_interface(config: &Config) -> Result<Option<IngressDrop>, StartError> {
    let Some(interface) = config.port.device.interface() else { return Ok(None) };
    let requests = open_requests()?;
    let interfaces = Interfaces(&requests);
    check_interface(config, interface, &interfaces).await?;
    interfaces.set_up(interface).await?;
    match config.port.device {
        DeviceSpec::AfPacket(_) => Ok(Some(IngressDrop::install(interface)?)),
        _ => Ok(None),
    }
}

/// Refuses an interface that the host is using, or that carries less than `port.mtu`.
pub async fn check_interface(
    config: &Config,
    interface: &str,
    interfaces: &Interfaces<'_>,
) -> Result<(), StartError> {
    let used = interfaces.host_use(interface).await?;
    if used != HostUse::Free && !config.port.takeover {
        return Err(StartError::PortInUse { interface: interface.into(), used: used.to_string() });
    }
    let (mtu, wanted) = (interfaces.mtu(interface).await?, config.port.mtu);
    if mtu < wanted.into() {
        // The kernel would drop longer frames silently, and they would be counted as sent.
        return Err(StartError::InterfaceMtu { interface: interface.into(), mtu, wanted });
    }
    Ok(())
}

/// Opens a connection to the kernel for the requests of the start: a full BGP table takes its time to be read.
pub fn open_requests() -> Result<Requests, StartError> {
    Ok(Requests::open(false)?.with_deadline(START_DEADLINE))
}

/// The node in the kernel's network stack.
struct KernelSide {
    tap: Option<SyncDevice>,
    /// Kernel, if there is something to follow.
    kernel: Option<Kernel>,
    /// Index of the interface behind the port.
    port_index: Option<u32>,
}

/// Makes the TAP the node's interface in the kernel.
async fn kernel_side(
    config: &Config,
    mac: MacAddr,
    runtime_config: &RuntimeConfig,
) -> Result<KernelSide, StartError> {
    let interface = config.port.device.interface();
    if interface.is_none() && config.underlay.tap.is_none() {
        return Ok(KernelSide { tap: None, kernel: None, port_index: None });
    }
    let (mut kernel, requests) = (Kernel::open()?, open_requests()?);
    let interfaces = Interfaces(&requests);
    let mut port_index = None;
    if let Some(interface) = interface {
        let (index, up) = interfaces.index(interface).await?;
        port_index = Some(index);
        runtime_config.set_link_up(up);
    }
    let Some(name) = &config.underlay.tap else {
        return Ok(KernelSide { tap: None, kernel: Some(kernel), port_index });
    };
    if interfaces.index(name).await.is_ok() {
        return Err(StartError::TapTaken(name.clone()));
    }
    let refused = |error| StartError::Tap { name: name.clone(), error };
    let tap = DeviceBuilder::new().name(name.clone()).layer(Layer::L2).inherit_enable_state();
    let tap = tap.build_sync().map_err(refused)?;
    tap.set_nonblocking(true).map_err(refused)?;
    let (index, _) = interfaces.index(name).await?;
    let (addresses, gateway) = (&config.underlay.addresses, config.underlay.gateway);
    if let Err(error) = kernel.configure_tap((name, index), (mac, config.port.mtu), addresses, gateway).await
    {
        kernel.remove_rules().await;
        return Err(error.into());
    }
    Ok(KernelSide { tap: Some(tap), kernel: Some(kernel), port_index })
}

/// Queues to the kernel and back, for a node with these addresses.
fn punt_queues(config: &Config, mac: MacAddr) -> Result<Arc<PuntQueues<Mbuf>>, StartError> {
    let links = config.underlay.addresses.iter();
    let networks =
        links.map(|link| Network { address: link.addr(), prefix_len: link.prefix_len() }).collect();
    let addresses = config.underlay.node;
    Ok(PuntQueues::new(Identity { mac, addresses, networks, strangers: STRANGERS })?)
}

/// Lets workers send only while the port's link is up.
fn follow_link(runtime_config: Arc<RuntimeConfig>) -> Box<dyn Fn(bool) + Send> {
    Box::new(move |up| {
        if runtime_config.set_link_up(up) != up {
            tracing::warn!(up, "the port's link changed");
        }
    })
}

/// Ends the daemon as SIGTERM does, and leaves word why.
fn end_by(ended: Arc<OnceLock<Fatal>>) -> Box<dyn FnOnce(Fatal) + Send> {
    Box::new(move |fatal| {
        tracing::error!(%fatal, "the daemon cannot go on");
        ended.get_or_init(|| fatal);
        if let Err(error) = signal_hook::low_level::raise(SIGTERM) {
            tracing::error!(%error, "the daemon cannot end itself");
        }
    })
}

/// View of the node before it forwards.
fn node_view(
    config: &Config,
    ready: &ReadyPort,
    tsc: Tsc,
    (runtime_config, underlay): (&Arc<RuntimeConfig>, &Arc<Underlay>),
) -> Result<NodeView, StartError> {
    let counters = Arc::new(Counters::new(config.cores.len())?);
    let kernel_pool = ready.kernel_pool.clone();
    let allocate = Box::new(move |bytes: &[u8]| Mbuf::from_bytes(&kernel_pool, bytes));
    let workers = ready.pools.iter().enumerate().flat_map(|(worker, pools)| {
        let names = ["rx", "copies", "large"].into_iter();
        names.zip(pools).map(move |(name, pool)| (format!("{name}{worker}"), pool.clone()))
    });
    Ok(NodeView {
        underlay: underlay.clone(),
        readiness: Readiness::new(runtime_config.clone(), underlay.clone(), counters.clone()),
        counters,
        liveness: Liveness::new(&config.bfd, ready.mac, config.cores.len())?,
        inspection: Inspection::new(),
        local_frames: LocalFrames::new(config.underlay.node.first(), allocate),
        clocks: Clocks::new(tsc),
        change_seconds: metrics::change_histogram()?,
        port: ready.port.clone(),
        pools: workers.chain([("kernel".into(), ready.kernel_pool.clone())]).collect(),
        conflict: Arc::default(),
        server: Mutex::new(None),
    })
}
