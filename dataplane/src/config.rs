//! The configuration file: TOML in, a checked [`Config`] out, or one line that says what to mend.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use bcast_domain::RateError;
use ctl_routes::RoutesConfig;
use ctl_server::{ClusterNodes, NodesError};
use ctl_webhook::{Endpoint, WebhookConfig};
use dpdk::{DeviceSpec, DeviceSpecError};
use ipnet::Ipv4Net;
use wire::MacAddr;

use engine::runtime::RuntimeSettings;

mod bfd;
mod cluster;
mod file;
mod havip;
#[cfg(test)]
mod tests;

/// Workers that one daemon runs at most.
pub const MAX_WORKERS: usize = 16;
/// Node addresses at most.
pub const MAX_ADDRESSES: usize = wire::NodeAddresses::MAX;

pub use bfd::BfdConfig;
pub use havip::HavipConfig;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration {}: {error}; name another file with --config", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("{}: {where_}{message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// `line N: `, where it is known.
        where_: String,
        /// Fault, in the parser's words.
        message: String,
    },
    /// A key has a value that cannot be.
    #[error("{}: {key}: {problem}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key, as in `port.device`.
        key: &'static str,
        /// Fault of its value.
        problem: ValueError,
    },
}

/// Fault of one value.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// A key without a default is missing.
    #[error("missing; it has no default: set it, as in {0}")]
    Missing(&'static str),
    /// The device string names no device.
    #[error(transparent)]
    Device(#[from] DeviceSpecError),
    /// Not an address with a prefix.
    #[error("\"{0}\" is not an IPv4 address with a prefix length, as in \"198.18.0.254/16\"")]
    Address(String),
    /// Not an address that a node can have.
    #[error("{0} cannot be a node's address: it must be a unicast IPv4 address that is not loopback")]
    NotUnicast(Ipv4Addr),
    /// An address twice.
    #[error("{0} stands there twice")]
    Twice(Ipv4Addr),
    /// Not an IPv4 address.
    #[error("\"{0}\" is not an IPv4 address, as in \"198.18.0.1\"")]
    Gateway(String),
    /// The gateway is on none of the node's links.
    #[error("{0} is in none of the prefixes of underlay.addresses, so it cannot be reached")]
    GatewayOffLink(Ipv4Addr),
    /// Not a unicast MAC address.
    #[error("\"{0}\" is not a unicast MAC address, as in \"02:00:00:00:00:01\"")]
    Mac(String),
    /// No TAP, and no other way to learn next hops.
    #[error("without a TAP there is no neighbour lookup: set underlay.gateway_mac too")]
    NoNextHops,
    /// A name that the kernel would refuse.
    #[error("\"{0}\" is not a network interface name: 1 to 15 bytes, without '/' and blanks")]
    InterfaceName(String),
    /// A number out of range.
    #[error("{value} is out of range: {min} to {max}")]
    Range {
        /// The value.
        value: u64,
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// A list with too few, too many, or repeated entries.
    #[error("{count} entries; it takes {min} to {max}, each once")]
    Count {
        /// Number of the entries.
        count: usize,
        /// At least.
        min: usize,
        /// At most.
        max: usize,
    },
    /// A core that this machine does not have.
    #[error("there is no core {0} for this process; see `taskset -p $$`")]
    NoCore(usize),
    /// Not an address to listen on.
    #[error("\"{0}\" is not an address and port, as in \"127.0.0.1:9117\"")]
    Listen(String),
    /// Neither `node` nor `origin`.
    #[error("\"{0}\" is neither \"node\" nor \"origin\"")]
    OuterSource(String),
    /// Not a rate, or out of range.
    #[error(transparent)]
    Rate(#[from] RateError),
    /// A receiver that cannot be one.
    #[error(transparent)]
    Webhook(#[from] Box<ctl_webhook::ConfigError>),
    /// Nodes that cannot be.
    #[error(transparent)]
    Nodes(#[from] NodesError),
    /// This node is not among the nodes.
    #[error("no node has an address of underlay.addresses, so this node is not among them; list it, too")]
    NotANode,
    /// A path that is not absolute.
    #[error("\"{}\" is not an absolute path", .0.display())]
    Path(PathBuf),
}

/// Reads an address with the length of its link's prefix.
fn link_address(text: &str) -> Result<Ipv4Net, ValueError> {
    let link: Ipv4Net = text.parse().map_err(|_| ValueError::Address(text.into()))?;
    if link.prefix_len() == 0 {
        return Err(ValueError::Address(text.into()));
    }
    bcast_domain::Tep::new(link.addr()).map_err(|_| ValueError::NotUnicast(link.addr()))?;
    Ok(link)
}

/// True if `other` is the link's network or broadcast address. A link of two or one addresses has neither (RFC 3021).
pub fn is_no_host(link: &Ipv4Net, other: Ipv4Addr) -> bool {
    link.prefix_len() < 31 && (other == link.network() || other == link.broadcast())
}

/// The port that carries the underlay.
#[derive(Clone, Debug, PartialEq)]
pub struct PortConfig {
    /// DPDK device.
    pub device: DeviceSpec,
    /// Bytes of outer IP packet.
    pub mtu: u16,
    /// True if a port that the host itself is using may be taken.
    pub takeover: bool,
}

/// The node's place in the underlay.
#[derive(Clone, Debug, PartialEq)]
pub struct UnderlayConfig {
    /// At least one; the first is the node's own.
    pub addresses: Vec<Ipv4Net>,
    /// The same, as the packet path compares them.
    pub node: wire::NodeAddresses,
    /// Gateway to TEPs beyond the node's links.
    pub gateway: Option<Ipv4Addr>,
    /// Every next hop, without a neighbour lookup.
    pub gateway_mac: Option<MacAddr>,
    /// Name of the TAP device; `None`: there is none.
    pub tap: Option<String>,
}

/// Memory and options of DPDK's environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EalSection {
    /// MiB that DPDK takes.
    pub memory_mb: u32,
    /// True if that is in hugepages.
    pub hugepages: bool,
    /// More arguments, verbatim.
    pub args: Vec<String>,
}

/// The whole configuration, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[port]`
    pub port: PortConfig,
    /// `[underlay]`
    pub underlay: UnderlayConfig,
    /// `[workers] cores`
    pub cores: Vec<usize>,
    /// Settings that SIGHUP changes.
    pub runtime: RuntimeSettings,
    /// `[store] path`
    pub store_path: PathBuf,
    /// `[api] socket`
    pub api_socket: PathBuf,
    /// `[metrics] listen`
    pub metrics_listen: SocketAddr,
    /// `[eal]`
    pub eal: EalSection,
    /// `[bfd]`
    pub bfd: BfdConfig,
    /// `[havip]`
    pub havip: HavipConfig,
    /// `[[webhook]]`, as it is written; it was found right.
    pub webhooks: Vec<WebhookConfig>,
    /// `[[cluster.nodes]]`; none: this node is alone.
    pub nodes: ClusterNodes,
    /// `[routes]`; `None`: none are made.
    pub routes: Option<RoutesConfig>,
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// The first thing that is wrong, with the file, the key or line, and what to do.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|error| ConfigError::Read { path: path.into(), error })?;
        Self::parse(&text, path)
    }

    /// Checks the text of a configuration; `path` is for the errors.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let file: file::File = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            path: path.into(),
            where_: error.span().map_or_else(String::new, |span| {
                let before = &text.as_bytes()[..span.start.min(text.len())];
                format!("line {}: ", 1 + before.iter().filter(|&&byte| byte == b'\n').count())
            }),
            message: error.message().replace('\n', " "),
        })?;
        file.check().map_err(|(key, problem)| ConfigError::Value { path: path.into(), key, problem })
    }

    /// The receivers of webhooks, with what their files hold now.
    ///
    /// # Errors
    /// The first that cannot be one.
    pub fn receivers(&self) -> Result<Vec<Endpoint>, ValueError> {
        receivers(&self.webhooks)
    }

    /// The keys in which `new` differs and which take a restart; empty where all that differs can change live.
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        let mut keys = Vec::new();
        let mut note = |differs: bool, key| {
            if differs {
                keys.push(key);
            }
        };
        note(self.port.device != new.port.device, "port.device");
        note(self.port.mtu != new.port.mtu, "port.mtu");
        note(self.port.takeover != new.port.takeover, "port.takeover");
        note(self.underlay.addresses != new.underlay.addresses, "underlay.addresses");
        note(self.underlay.gateway != new.underlay.gateway, "underlay.gateway");
        note(self.underlay.gateway_mac != new.underlay.gateway_mac, "underlay.gateway_mac");
        note(self.underlay.tap != new.underlay.tap, "underlay.tap");
        note(self.cores != new.cores, "workers.cores");
        note(self.store_path != new.store_path, "store.path");
        note(self.api_socket != new.api_socket, "api.socket");
        note(self.metrics_listen != new.metrics_listen, "metrics.listen");
        note(self.eal != new.eal, "eal");
        note(self.bfd != new.bfd, "bfd");
        note(self.havip != new.havip, "havip");
        // What else is said of a receiver changes live.
        let names = |config: &Self| -> BTreeSet<String> {
            config.webhooks.iter().map(|webhook| webhook.name.clone()).collect()
        };
        note(names(self) != names(new), "webhook");
        note(self.nodes != new.nodes, "cluster");
        note(self.routes != new.routes, "routes");
        keys
    }
}

fn receivers(webhooks: &[WebhookConfig]) -> Result<Vec<Endpoint>, ValueError> {
    WebhookConfig::check(webhooks).map_err(|error| ValueError::Webhook(Box::new(error)))
}
