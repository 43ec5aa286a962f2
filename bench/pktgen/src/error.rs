//! Why a run ends without a result.

use std::io;
use std::net::SocketAddr;

/// One line that says what was wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An option.
    #[error(transparent)]
    Settings(#[from] crate::settings::SettingsError),
    /// A size that a mode wants and the MTU does not allow.
    #[error(transparent)]
    Size(#[from] crate::frames::SizeError),
    /// DPDK.
    #[error(transparent)]
    Eal(#[from] dpdk::EalError),
    /// The device.
    #[error(transparent)]
    Attach(#[from] dpdk::AttachError),
    /// The port.
    #[error(transparent)]
    Port(#[from] dpdk::PortError),
    /// Packet buffers.
    #[error(transparent)]
    Pool(#[from] dpdk::PoolError),
    /// The node's API.
    #[error("the node: {0}")]
    Node(#[from] ctl_api::ClientError),
    /// A domain that is somebody else's.
    #[error("domain {0} is there already: choose --first-vni, or --register false to use what there is")]
    Taken(u32),
    /// An address that no TEP can have.
    #[error("TEP {0}; see --first-tep")]
    Tep(#[from] bcast_domain::TepError),
    /// The node's metrics.
    #[error("cannot read the node's metrics at http://{0}/metrics: {1}; see --metrics")]
    Metrics(SocketAddr, io::Error),
    /// The node does not tell what the mode needs.
    #[error("the node does not tell {0}: see --metrics, and whether bcastd is of this version")]
    NoMetric(&'static str),
    /// A core that is not there.
    #[error("cannot run on core {0}; see --cores and nproc")]
    Core(usize),
    /// A thread ended early.
    #[error("a thread of the run ended early; see above")]
    Thread,
    /// The link stays down.
    #[error("{0}: no carrier after 10 s: start the other side")]
    LinkDown(String),
    /// Nothing goes out.
    #[error("the port took not one frame: is the other side of the link up, and does it receive?")]
    NothingSent,
    /// Nothing comes back.
    #[error(
        "no copy came back from {node}: is it up, does it know these TEPs, is its next hop this port? {counted}"
    )]
    Silence {
        /// The node's address.
        node: std::net::Ipv4Addr,
        /// What the node counted.
        counted: String,
    },
    /// A histogram.
    #[error("no histogram: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
    /// A file or a thread.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A plot, with what the drawer said.
    #[error("cannot draw the plot: {0}")]
    Plot(String),
    /// No second can be looked at.
    #[error("a limit is told by whole seconds: give --seconds 2 or more")]
    TooShort,
    /// A mode that changes the node's domains.
    #[error("mode {0} makes and changes domains: leave --register false out")]
    NeedsApi(&'static str),
}
