//! Errors of a port, with advice.

use crate::Errno;

/// Errors of a port.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// No device of this name was attached.
    #[error("there is no port {0:?}: attach its device first")]
    Unknown(String),
    /// Someone has it.
    #[error("port {0:?} is open already")]
    Open(String),
    /// A port is configured once.
    #[error("port {0:?} is configured already: drop it with its queues, and open it anew")]
    Configured(String),
    /// More queues than it has, or none.
    #[error(
        "port {name:?} (driver {driver}) has {max} {direction} queues, not {asked}: run that many workers"
    )]
    Queues {
        /// The port.
        name: String,
        /// Driver of the port.
        driver: String,
        /// "receive" or "transmit".
        direction: &'static str,
        /// Value that was configured.
        asked: u16,
        /// Number that there is.
        max: u16,
    },
    /// Longer packets than it takes.
    #[error("port {name:?} (driver {driver}) takes an mtu of at most {max} bytes, not {asked}")]
    Mtu {
        /// The port.
        name: String,
        /// Driver of the port.
        driver: String,
        /// Value that was configured.
        asked: u16,
        /// Most that it takes.
        max: u16,
    },
    /// Chains were asked for where they would be garbled.
    #[error("port {name:?}: the driver {driver} transmits no chains: share no payloads on it")]
    Chains {
        /// The port.
        name: String,
        /// Driver of the port.
        driver: String,
    },
    /// One pool per receive queue is needed.
    #[error("port {name:?}: {pools} pools for {queues} receive queues: give one for each")]
    Pools {
        /// The port.
        name: String,
        /// Number that was given.
        pools: usize,
        /// Value that was configured.
        queues: u16,
    },
    /// A received frame would not fit.
    #[error("port {name:?}: an mbuf holds {room} bytes, and a frame at this mtu has {frame}")]
    DataRoom {
        /// The port.
        name: String,
        /// Bytes for data in an mbuf.
        room: u16,
        /// Bytes of a frame at the configured mtu.
        frame: u32,
    },
    /// DPDK or the driver refused.
    #[error("port {name:?}: cannot {action}: {errno}{log}")]
    Refused {
        /// The port.
        name: String,
        /// Action that failed.
        action: &'static str,
        /// Error that it returned.
        errno: Errno,
        /// Text that was logged, as `: text`.
        log: String,
    },
}
