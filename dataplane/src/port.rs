//! The port: DPDK's environment, the device, and the pools and queues of the workers.

use std::sync::Arc;
use std::time::Duration;

use dpdk::{Eal, EalConfig, Mempool, Port, PortConfig, Queues};
use engine::replicate::PortCapacity;
use wire::{IP_OVERHEAD, MacAddr};

use crate::config::Config;
use crate::error::StartError;

/// Packet buffers of each worker's receive pool, of its pool for short copies, and of its pool for long ones.
const POOL_SIZES: [u32; 3] = [8191, 8191, 4095];
/// Buffers that a worker keeps at hand of each pool: a smaller cache makes the pool cycle through memory.
const POOL_CACHE: u32 = 512;
/// Buffers for what the kernel sends.
const KERNEL_POOL: u32 = 2047;

/// The port, set up, with its pools.
pub struct ReadyPort {
    pub port: Arc<Port>,
    pub queues: Queues,
    pub capacity: PortCapacity,
    pub drain_time: Duration,
    pub mac: MacAddr,
    /// Pools of each worker: for receiving, for short copies, for long ones.
    pub pools: Vec<[Mempool; 3]>,
    pub kernel_pool: Mempool,
}

/// Version of DPDK.
pub fn dpdk_version() -> &'static str {
    dpdk::version().trim_start_matches("DPDK ")
}

/// Settings of DPDK's environment.
pub fn eal_config(config: &Config) -> EalConfig {
    EalConfig {
        memory_mb: config.eal.memory_mb,
        hugepages: config.eal.hugepages,
        main_core: config.cores.first().and_then(|&core| u32::try_from(core).ok()).unwrap_or(0),
        args: config.eal.args.clone(),
        ..EalConfig::default()
    }
}

/// Attaches the device, and makes its pools and queues, one of each for every worker.
pub fn open_port(config: &Config, eal: &Eal) -> Result<ReadyPort, StartError> {
    let workers = u16::try_from(config.cores.len()).unwrap_or(u16::MAX);
    let name = eal.attach(&config.port.device, workers)?;
    let port = Port::open(eal, &name)?;
    let (pools, kernel_pool) = make_pools(config, eal)?;
    let port_config = PortConfig {
        rx_queues: workers,
        tx_queues: workers,
        mtu: config.port.mtu,
        chains: port.capabilities().chains(),
        ..PortConfig::default()
    };
    let rx_pools: Vec<Mempool> = pools.iter().map(|[rx, ..]| rx.clone()).collect();
    let queues = port.configure(&port_config, &rx_pools)?;
    Ok(ReadyPort {
        capacity: PortCapacity {
            max_inner: usize::from(config.port.mtu).saturating_sub(IP_OVERHEAD),
            can_share: port_config.chains,
        },
        drain_time: port.drain_time(&port_config),
        mac: MacAddr(port.mac()?),
        port: Arc::new(port),
        queues,
        pools,
        kernel_pool,
    })
}

/// Makes the pools of each worker, and the kernel's.
pub fn make_pools(config: &Config, eal: &Eal) -> Result<(Vec<[Mempool; 3]>, Mempool), StartError> {
    let room = (config.port.mtu + 64).max(2048);
    let pool = |name: String, size, room| Mempool::new(eal, &name, size, POOL_CACHE, room);
    let mut pools = Vec::with_capacity(config.cores.len());
    for worker in 0..config.cores.len() {
        let [rx, copies, large] = POOL_SIZES;
        pools.push([
            pool(format!("rx{worker}"), rx, room)?,
            pool(format!("copies{worker}"), copies, dpdk::MIN_DATA_ROOM)?,
            pool(format!("large{worker}"), large, room)?,
        ]);
    }
    Ok((pools, Mempool::new(eal, "kernel", KERNEL_POOL, 0, room)?))
}
