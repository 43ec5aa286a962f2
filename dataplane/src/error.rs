//! Why the daemon does not run.

use ctl_server::ServerError;
use ctl_store::StoreError;

use crate::config::{ConfigError, ValueError};
use crate::log::LogError;
use crate::metrics::MetricsError;
use engine::counters::NoMemory;
use underlay::{Fatal, IngressDropError, KernelError};

/// Why the daemon did not start, or did not stop cleanly. One line, with what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A value of the configuration names something else than when the file was read.
    #[error("configuration: {0}")]
    Value(#[from] ValueError),
    /// The environment's levels of the log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store, as it is checked.
    #[error(transparent)]
    StoreCheck(#[from] ctl_store::CheckError),
    /// The socket, as it is checked.
    #[error(transparent)]
    Socket(#[from] ctl_server::SocketError),
    /// af_packet carries less than `port.mtu`.
    #[error(
        "port.mtu: {wanted} is more than af_packet carries, {most}; set port.mtu = {most}, or take a port of another kind"
    )]
    AfPacketMtu {
        /// `port.mtu`, bytes.
        wanted: u16,
        /// Most that it carries, bytes.
        most: u16,
    },
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
    Kernel(#[from] KernelError),
    /// The drop at the port's ingress.
    #[error(transparent)]
    IngressDrop(#[from] IngressDropError),
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
        /// Use of the interface by the host.
        used: String,
    },
    /// The interface carries less than `port.mtu`.
    #[error(
        "port.mtu: {wanted} is more than the MTU of {interface}, {mtu}; set port.mtu = {mtu}, or raise the interface's (`ip link set {interface} mtu {wanted}`)"
    )]
    InterfaceMtu {
        /// The interface.
        interface: String,
        /// MTU of the port, bytes.
        mtu: u32,
        /// `port.mtu`, bytes.
        wanted: u16,
    },
    /// The TAP.
    #[error(
        "underlay.tap: cannot make the TAP device {name}: {error}; it takes /dev/net/tun and the capability CAP_NET_ADMIN, and a name that is free"
    )]
    Tap {
        /// Name of the interface.
        name: String,
        /// Why.
        error: std::io::Error,
    },
    /// The TAP's name is taken.
    #[error(
        "underlay.tap: there is a network interface {0} already; choose another name, or remove it (`ip link del {0}`)"
    )]
    TapTaken(String),
    /// It ran, and could not go on.
    #[error(transparent)]
    Fatal(Fatal),
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
