//! The part of DPDK that bcast uses, safe and small.

mod attach;
mod burst;
mod device;
mod eal;
mod errno;
mod log;
mod mbuf;
mod mempool;
mod port;
mod queue;
mod replicate;
mod shared;

pub use attach::AttachError;
pub use burst::{BURST, Burst};
pub use device::{DeviceSpec, DeviceSpecError};
pub use eal::{Eal, EalConfig, EalError, ThreadRegistration};
pub use errno::Errno;
pub use mbuf::Mbuf;
pub use mempool::{HEADROOM, MAX_CACHE, MIN_DATA_ROOM, Mempool, PoolError};
pub use port::{Capabilities, Link, Port, PortConfig, PortError, PortStats, Queues};
pub use queue::{RxQueue, TxQueue};
pub use replicate::{BATCH, Body, HEADER_LEN, MAX_BODY, TxBatch};
pub use shared::SharedPayload;
