//! Ports: opened by name, configured and started, and then used through their queues.

use crate::{Eal, Errno, Mempool, PortError, RxQueue, TxQueue, log::Capture};
use dpdk_sys as sys;
use std::{
    ffi::{CStr, CString},
    marker::PhantomData,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Drivers that transmit chains correctly without saying so. Not advertised means not promised: for
/// benchmarks and files.
const CHAINS_BY_NAME: [&str; 2] = ["net_null", "net_pcap"];

/// Drivers whose transmit function is done with a frame when it returns: nothing waits in a ring of theirs.
const SYNCHRONOUS: [&str; 5] = ["net_af_packet", "net_null", "net_pcap", "net_ring", "net_tap"];

/// Ethernet header and checksum, which a port's mtu does not count.
const ETHERNET_OVERHEAD: u32 = 18;

/// Preamble and gap between frames, in bytes on the wire.
const WIRE_GAP: u64 = 20;

/// Speed that is assumed of a link that does not tell its own.
const UNKNOWN_SPEED_MBPS: u32 = 1_000;

/// Configuration of a port. Counts are checked against [`Capabilities`].
#[derive(Debug, Clone)]
pub struct PortConfig {
    /// Receive queues.
    pub rx_queues: u16,
    /// Transmit queues.
    pub tx_queues: u16,
    /// Descriptors of each receive queue; the driver may round.
    pub rx_desc: u16,
    /// Descriptors of each transmit queue; the driver may round.
    pub tx_desc: u16,
    /// Longest outer IP packet, in bytes.
    pub mtu: u16,
    /// Receive what is for other MAC addresses, too.
    pub promiscuous: bool,
    /// Transmit chains: needs [`Capabilities::chains`].
    pub chains: bool,
}

impl Default for PortConfig {
    fn default() -> Self {
        PortConfig {
            rx_queues: 1,
            tx_queues: 1,
            rx_desc: 1024,
            tx_desc: 1024,
            mtu: 1500,
            promiscuous: false,
            chains: false,
        }
    }
}

/// Capabilities of a port.
#[derive(Debug, Clone)]
pub struct Capabilities {
    /// The driver's name, such as `net_af_packet`.
    pub driver: String,
    /// It advertises that it transmits chains.
    pub multi_segs: bool,
    /// It is known, by its name, to transmit chains without advertising it.
    pub chains_by_name: bool,
    /// A frame is out when it is accepted: no ring of the driver's holds it.
    pub synchronous_tx: bool,
    /// Most receive queues.
    pub max_rx_queues: u16,
    /// Most transmit queues.
    pub max_tx_queues: u16,
    /// Longest frame, in bytes, Ethernet header included.
    pub max_frame: u32,
    /// Largest mtu, in bytes of outer IP packet.
    pub max_mtu: u16,
}

impl Capabilities {
    /// True if chains may be transmitted.
    pub fn chains(&self) -> bool {
        self.multi_segs || self.chains_by_name
    }
}

/// State of a port's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// There is a carrier.
    pub up: bool,
    /// Speed in Mbit/s, if known.
    pub speed_mbps: Option<u32>,
}

/// Counters of a port since it was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Frames received.
    pub rx_frames: u64,
    /// Frames transmitted.
    pub tx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes transmitted.
    pub tx_bytes: u64,
    /// Frames lost since nobody fetched them.
    pub missed: u64,
    /// Receive buffers that the pool could not give.
    pub no_mbuf: u64,
    /// Frames received with errors.
    pub rx_errors: u64,
    /// Frames that could not be transmitted.
    pub tx_errors: u64,
}

/// The queues of a configured port, one for each worker in each direction.
pub struct Queues {
    /// Receive queues, by number.
    pub rx: Vec<RxQueue>,
    /// Transmit queues, by number.
    pub tx: Vec<TxQueue>,
}

/// A port: for the control thread, while workers have its queues. It stops, closes and is detached when it
/// and the last of its queues are gone. (af_xdp of DPDK 22.11 keeps some 2,000 mbufs then, those that it had
/// given the kernel to fill.)
pub struct Port {
    open: Arc<OpenPort>,
    capabilities: Capabilities,
    configured: AtomicBool,
}

/// State that the port and its queues share.
pub(crate) struct OpenPort {
    pub(crate) number: u16,
    name: CString,
    eal: Eal,
}

impl Port {
    /// Opens a port by the name that [`Eal::attach`] gave it (of a PCI device: its address).
    pub fn open(eal: &Eal, name: &str) -> Result<Port, PortError> {
        let unknown = || PortError::Unknown(name.into());
        let c_name = CString::new(name).map_err(|_| unknown())?;
        let mut number = 0;
        // SAFETY: FFI; the EAL runs, the name is a C string and the number a place to write to.
        if unsafe { sys::rte_eth_dev_get_port_by_name(c_name.as_ptr(), &mut number) } != 0 {
            return Err(unknown());
        }
        if !eal.0.open_ports().insert(number) {
            return Err(PortError::Open(name.into()));
        }
        let open = Arc::new(OpenPort { number, name: c_name, eal: eal.clone() });
        let capabilities = open.capabilities()?;
        Ok(Port { open, capabilities, configured: AtomicBool::new(false) })
    }

    /// Capabilities of the port.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The name under which it was opened.
    pub fn name(&self) -> String {
        self.open.name()
    }

    /// Sets the port up and starts it, once. Receive queue `i` takes its mbufs from `pools[i]`.
    pub fn configure(&self, config: &PortConfig, pools: &[Mempool]) -> Result<Queues, PortError> {
        self.check(config, pools)?;
        if self.configured.swap(true, Ordering::Relaxed) {
            return Err(PortError::Configured(self.open.name()));
        }
        let number = self.open.number;
        let wanted = sys::shim_port_config {
            tx_offloads: if config.chains && self.capabilities.multi_segs {
                sys::SHIM_TX_OFFLOAD_MULTI_SEGS
            } else {
                0
            },
            rx_queues: config.rx_queues,
            tx_queues: config.tx_queues,
            mtu: config.mtu,
        };
        // SAFETY: FFI; the port is open and stopped, and the struct is only read.
        self.open.run("configure it", || unsafe { sys::shim_port_configure(number, &wanted) })?;
        self.set_queues_up(config, pools)?;
        // SAFETY: FFI; the port is configured.
        self.open.run("start it", || unsafe { sys::rte_eth_dev_start(number) })?;
        if config.promiscuous {
            // SAFETY: FFI; the port is open.
            self.open.run("make it promiscuous", || unsafe { sys::rte_eth_promiscuous_enable(number) })?;
        }
        let port = || self.open.clone();
        let rx = |queue| RxQueue { port: port(), queue, one_user: PhantomData };
        let tx = |queue| TxQueue { port: port(), queue, takes_chains: config.chains, one_user: PhantomData };
        Ok(Queues {
            rx: (0..config.rx_queues).map(rx).collect(),
            tx: (0..config.tx_queues).map(tx).collect(),
        })
    }

    fn check(&self, config: &PortConfig, pools: &[Mempool]) -> Result<(), PortError> {
        let (name, driver) = (|| self.open.name(), || self.capabilities.driver.clone());
        for (direction, asked, max) in [
            ("receive", config.rx_queues, self.capabilities.max_rx_queues),
            ("transmit", config.tx_queues, self.capabilities.max_tx_queues),
        ] {
            if asked == 0 || asked > max {
                return Err(PortError::Queues { name: name(), driver: driver(), direction, asked, max });
            }
        }
        if config.mtu > self.capabilities.max_mtu {
            let max = self.capabilities.max_mtu;
            return Err(PortError::Mtu { name: name(), driver: driver(), asked: config.mtu, max });
        }
        if config.chains && !self.capabilities.chains() {
            return Err(PortError::Chains { name: name(), driver: driver() });
        }
        if pools.len() != usize::from(config.rx_queues) {
            return Err(PortError::Pools { name: name(), pools: pools.len(), queues: config.rx_queues });
        }
        let frame = u32::from(config.mtu) + ETHERNET_OVERHEAD;
        match pools.iter().map(Mempool::data_room).min() {
            Some(room) if u32::from(room) < frame => Err(PortError::DataRoom { name: name(), room, frame }),
            _ => Ok(()),
        }
    }

    fn set_queues_up(&self, config: &PortConfig, pools: &[Mempool]) -> Result<(), PortError> {
        let number = self.open.number;
        let (mut rx_desc, mut tx_desc) = (config.rx_desc, config.tx_desc);
        // SAFETY: FFI; the port is configured, and both are places to read and write.
        self.open.run("agree on ring sizes", || unsafe {
            sys::rte_eth_dev_adjust_nb_rx_tx_desc(number, &mut rx_desc, &mut tx_desc)
        })?;
        // SAFETY: FFI; returns a number.
        let socket = u32::try_from(unsafe { sys::rte_eth_dev_socket_id(number) }).unwrap_or(0);
        for (queue, pool) in (0..).zip(pools) {
            // SAFETY: FFI; the port is configured and stopped, a null config is the driver's default, and the
            // pool stays as long as the EAL does, which the open port holds.
            self.open.run("set a receive queue up", || unsafe {
                sys::rte_eth_rx_queue_setup(number, queue, rx_desc, socket, ptr::null(), pool.as_ptr())
            })?;
        }
        for queue in 0..config.tx_queues {
            // SAFETY: FFI; as above.
            self.open.run("set a transmit queue up", || unsafe {
                sys::rte_eth_tx_queue_setup(number, queue, tx_desc, socket, ptr::null())
            })?;
        }
        Ok(())
    }

    /// MAC address of the port.
    pub fn mac(&self) -> Result<[u8; 6], PortError> {
        let mut mac = sys::rte_ether_addr { addr_bytes: [0; 6] };
        // SAFETY: FFI; the port is open and the address a place to write to.
        self.open.run("read its MAC address", || unsafe {
            sys::rte_eth_macaddr_get(self.open.number, &mut mac)
        })?;
        Ok(mac.addr_bytes)
    }

    /// Changes its MAC address; the kernel interface's, where there is one behind it.
    pub fn set_mac(&self, mac: [u8; 6]) -> Result<(), PortError> {
        let mut mac = sys::rte_ether_addr { addr_bytes: mac };
        // SAFETY: FFI; the port is open and the address is only read.
        self.open.run("set its MAC address", || unsafe {
            sys::rte_eth_dev_default_mac_addr_set(self.open.number, &mut mac)
        })
    }

    /// The state of its link, without waiting for it.
    pub fn link(&self) -> Result<Link, PortError> {
        let mut link = sys::shim_link { speed_mbps: 0, up: 0 };
        // SAFETY: FFI; the port is open and the struct a place to write to.
        self.open.done("read its link state", unsafe { sys::shim_link(self.open.number, &mut link) })?;
        let known = link.speed_mbps != 0 && link.speed_mbps != u32::MAX;
        Ok(Link { up: link.up != 0, speed_mbps: known.then_some(link.speed_mbps) })
    }

    /// Longest time that an accepted frame may wait in a full ring of `descriptors` until it is out: zero where the
    /// driver is synchronous. A link that is down, or that flow control stops, holds it longer.
    pub fn drain_time(&self, config: &PortConfig) -> Duration {
        if self.capabilities.synchronous_tx {
            return Duration::ZERO;
        }
        let speed = self.link().ok().and_then(|link| link.speed_mbps).unwrap_or(UNKNOWN_SPEED_MBPS);
        let frame = u64::from(config.mtu) + u64::from(ETHERNET_OVERHEAD) + WIRE_GAP;
        // Bits over Mbit/s are microseconds.
        Duration::from_micros((u64::from(config.tx_desc) * frame * 8).div_ceil(u64::from(speed)))
    }

    /// The counters that every driver has.
    pub fn stats(&self) -> Result<PortStats, PortError> {
        // SAFETY: a C struct of integers, for which zeros are good; too long to be written out.
        let mut stats: sys::rte_eth_stats = unsafe { std::mem::zeroed() };
        // SAFETY: FFI; the port is open and the struct a place to write to.
        let code = unsafe { sys::rte_eth_stats_get(self.open.number, &mut stats) };
        self.open.done("read its counters", code)?;
        Ok(PortStats {
            rx_frames: stats.ipackets,
            tx_frames: stats.opackets,
            rx_bytes: stats.ibytes,
            tx_bytes: stats.obytes,
            missed: stats.imissed,
            no_mbuf: stats.rx_nombuf,
            rx_errors: stats.ierrors,
            tx_errors: stats.oerrors,
        })
    }

    /// All counters that this driver has, by DPDK's names.
    pub fn xstats(&self) -> Result<Vec<(String, u64)>, PortError> {
        let number = self.open.number;
        let count = |action, code: i32| {
            u32::try_from(code).map_err(|_| self.open.refused(action, code, String::new()))
        };
        // SAFETY: FFI; a null pointer asks for the number of names.
        let room = count("count its statistics", unsafe {
            sys::rte_eth_xstats_get_names(number, ptr::null_mut(), 0)
        })?;
        // SAFETY: C structs of integers and of chars, for which zeros are good.
        let (name, value): (sys::rte_eth_xstat_name, sys::rte_eth_xstat) = unsafe { std::mem::zeroed() };
        let (mut names, mut values) = (vec![name; room as usize], vec![value; room as usize]);
        // SAFETY: FFI; `room` elements are there to be written, and the call writes no more.
        let named = unsafe { sys::rte_eth_xstats_get_names(number, names.as_mut_ptr(), room) };
        // SAFETY: FFI; as above.
        let valued = unsafe { sys::rte_eth_xstats_get(number, values.as_mut_ptr(), room) };
        let filled =
            count("name its statistics", named)?.min(count("read its statistics", valued)?).min(room);
        let pairs = values.iter().take(filled as usize).filter_map(|value| {
            let name = names.get(usize::try_from(value.id).ok()?)?;
            // SAFETY: DPDK ends each name with a NUL byte, inside its 64 bytes.
            let name = unsafe { CStr::from_ptr(name.name.as_ptr()) };
            Some((name.to_string_lossy().into_owned(), value.value))
        });
        Ok(pairs.collect())
    }
}

impl OpenPort {
    fn name(&self) -> String {
        self.name.to_string_lossy().into_owned()
    }

    /// Runs a call that returns 0 or a negative error, and gathers what is logged meanwhile.
    fn run(&self, action: &'static str, call: impl FnOnce() -> i32) -> Result<(), PortError> {
        let capture = Capture::begin();
        match call() {
            0 => Ok(()),
            code => Err(self.refused(action, code, capture.end())),
        }
    }

    /// The same for a call that is made while the port runs, and too often to gather what is logged.
    fn done(&self, action: &'static str, code: i32) -> Result<(), PortError> {
        if code == 0 { Ok(()) } else { Err(self.refused(action, code, String::new())) }
    }

    fn refused(&self, action: &'static str, code: i32, log: String) -> PortError {
        PortError::Refused { name: self.name(), action, errno: Errno::returned(code), log }
    }

    fn capabilities(&self) -> Result<Capabilities, PortError> {
        // SAFETY: a C struct of integers and a pointer, for which zeros are good.
        let mut info: sys::shim_port_info = unsafe { std::mem::zeroed() };
        // SAFETY: FFI; the port is open and the struct a place to write to.
        self.run("read what it can do", || unsafe { sys::shim_port_info(self.number, &mut info) })?;
        let driver = match info.driver_name.is_null() {
            true => String::new(),
            // SAFETY: the driver's name is a C string of its plugin, which stays loaded.
            false => unsafe { CStr::from_ptr(info.driver_name) }.to_string_lossy().into_owned(),
        };
        // As DPDK reckons: a driver that names no mtu has the longest frame less the Ethernet overhead.
        let by_frame = u16::try_from(info.max_rx_frame.saturating_sub(ETHERNET_OVERHEAD)).unwrap_or(u16::MAX);
        let max_mtu = if info.max_mtu == u16::MAX { by_frame } else { info.max_mtu };
        Ok(Capabilities {
            multi_segs: info.tx_offloads & sys::SHIM_TX_OFFLOAD_MULTI_SEGS != 0,
            chains_by_name: CHAINS_BY_NAME.contains(&driver.as_str()),
            synchronous_tx: SYNCHRONOUS.contains(&driver.as_str()),
            max_rx_queues: info.max_rx_queues,
            max_tx_queues: info.max_tx_queues,
            max_frame: info.max_rx_frame,
            max_mtu,
            driver,
        })
    }
}

impl Drop for OpenPort {
    fn drop(&mut self) {
        // SAFETY: FFI; neither the port nor any queue of it is left to use it. Stopping a port that was not
        // started does nothing; closing frees the mbufs in its rings.
        unsafe {
            sys::rte_eth_dev_stop(self.number);
            sys::rte_eth_dev_close(self.number);
        }
        self.eal.0.detach(&self.name);
        self.eal.0.open_ports().remove(&self.number);
    }
}
