//! `bcastd --check`: whether the daemon would start with a configuration on this machine.
//!
//! Nothing is changed: no interface is set up, no file is made, the store is opened from a copy. DPDK is started for its memory, and
//! the packet buffers are made, without a port. What a daemon that runs by this configuration holds is not asked for.

use std::net::TcpListener;
use std::path::Path;

use dpdk::{DeviceSpec, Eal};
use tokio::runtime::Builder;
use underlay::Interfaces;

use crate::config::Config;
use crate::daemon;
use crate::error::StartError;
use crate::metrics::MetricsError;
use crate::port;

/// Checks, and says OK with a line.
///
/// # Errors
/// All that is wrong; of the configuration's text the first.
pub fn run(path: &Path) -> Result<(), Vec<StartError>> {
    let config = Config::load(path).map_err(|error| vec![error.into()])?;
    let runs = ctl_server::is_served(&config.api_socket);
    let mut faults = Vec::new();
    let mut note = |done: Result<(), StartError>| faults.extend(done.err());
    note(config.receivers().map(drop).map_err(StartError::from));
    note(check_device(&config, runs));
    if !runs {
        note(ctl_server::check_socket(&config.api_socket).map_err(StartError::from));
        note(ctl_store::check(&config.store_path).map_err(StartError::from));
        note(check_listen(&config));
        note(check_memory(&config));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let (path, device, workers) = (path.display(), &config.port.device, config.cores.len());
    let plural = if workers == 1 { "" } else { "s" };
    println!("{path}: OK: {device}, {workers} worker{plural}, store {}", config.store_path.display());
    if runs {
        let socket = config.api_socket.display();
        println!("a daemon serves {socket}: memory, store, sockets and ports that it holds were not checked");
    }
    Ok(())
}

/// The device is there, carries `port.mtu`, and is not the host's; the TAP can be made.
fn check_device(config: &Config, runs: bool) -> Result<(), StartError> {
    config.port.device.check()?;
    if matches!(config.port.device, DeviceSpec::AfPacket(_)) && config.port.mtu > dpdk::AF_PACKET_MTU {
        return Err(StartError::AfPacketMtu { wanted: config.port.mtu, most: dpdk::AF_PACKET_MTU });
    }
    if config.underlay.tap.is_some() {
        let tun = std::fs::File::options().read(true).write(true).open("/dev/net/tun");
        let name = config.underlay.tap.clone().unwrap_or_default();
        tun.map_err(|error| StartError::Tap { name, error })?;
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let requests = daemon::open_requests()?;
        let interfaces = Interfaces(&requests);
        if let Some(interface) = config.port.device.interface() {
            daemon::check_interface(config, interface, &interfaces).await?;
        }
        match &config.underlay.tap {
            Some(name) if !runs && interfaces.index(name).await.is_ok() => {
                Err(StartError::TapTaken(name.clone()))
            }
            _ => Ok(()),
        }
    })
}

/// The address of the metrics is free.
fn check_listen(config: &Config) -> Result<(), StartError> {
    let address = config.metrics_listen;
    let taken = |error| MetricsError::Listen { address, error };
    TcpListener::bind(address).map(drop).map_err(taken).map_err(StartError::from)
}

/// DPDK gets its memory, and the packet buffers of all workers fit into it.
fn check_memory(config: &Config) -> Result<(), StartError> {
    let eal = Eal::init(&port::eal_config(config))?;
    port::make_pools(config, &eal).map(drop)
}
