//! Attaching a device, and saying what is wrong where that fails.

use crate::{DeviceSpec, Eal, Errno, log::Capture};
use std::{
    ffi::{CStr, CString, OsStr},
    fs,
    path::{Path, PathBuf},
};

/// Why a device could not be attached: each with what to do.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// There is no such interface in this network namespace.
    #[error("{device}: there is no interface {interface} in this network namespace: see `ip link`")]
    NoInterface {
        /// The device.
        device: DeviceSpec,
        /// The interface's name.
        interface: String,
    },
    /// An interface of this name exists, and a new one was to be made.
    #[error("{device}: the interface {interface} is there already: choose another name or remove it")]
    InterfaceExists {
        /// The device.
        device: DeviceSpec,
        /// The interface's name.
        interface: String,
    },
    /// The kernel does not allow it.
    #[error("{device}: not permitted: run as root, or add the capabilities {missing}")]
    NotPermitted {
        /// The device.
        device: DeviceSpec,
        /// The capabilities that it takes and this process has not, by name.
        missing: String,
    },
    /// There is no such PCI function.
    #[error("{device}: there is no such PCI device: see `dpdk-devbind.py --status-dev net`")]
    NoPciDevice {
        /// The device.
        device: DeviceSpec,
    },
    /// The PCI function has a kernel driver that leaves DPDK out, or none.
    #[error(
        "{device}: it is bound to {driver}, which DPDK cannot use: `dpdk-devbind.py -b vfio-pci {address}` \
         (mind that its kernel interface goes away)"
    )]
    PciDriver {
        /// The device.
        device: DeviceSpec,
        /// Address of the device.
        address: String,
        /// The driver, or "no driver".
        driver: String,
    },
    /// A file to be read is not there.
    #[error("{device}: cannot read {}: {error}", path.display())]
    Input {
        /// The device.
        device: DeviceSpec,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
    /// A file to be written cannot be.
    #[error("{device}: cannot write {}: {error}", path.display())]
    Output {
        /// The device.
        device: DeviceSpec,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
    /// The driver is not installed.
    #[error("{device}: DPDK's driver {driver} is not installed: `apt install {package}`")]
    NoDriver {
        /// The device.
        device: DeviceSpec,
        /// The driver's name.
        driver: String,
        /// The Debian package that has it.
        package: String,
    },
    /// DPDK's driver refused.
    #[error("{device}: DPDK's driver refused it: {errno}{log}")]
    Refused {
        /// The device.
        device: DeviceSpec,
        /// Error that it returned.
        errno: Errno,
        /// Text that it logged, as `: text`.
        log: String,
    },
    /// A name or an argument that C cannot take.
    #[error("{0}: holds a NUL byte: remove it")]
    Nul(DeviceSpec),
}

/// A device in DPDK's terms.
struct Probe {
    bus: &'static CStr,
    name: String,
    args: String,
}

/// af_packet's ring in each direction: frames of 2,048 bytes hold 1,518 with the kernel's header; 32 of them
/// a block, 2,048 in all, 4 MiB.
const AF_PACKET_RING: &str = "framesz=2048,blocksz=65536,framecnt=2048";

impl Eal {
    /// Attaches a device with `queues` queues in each direction, where that must be said beforehand
    /// (af_packet, af_xdp): the name under which [`crate::Port::open`] finds it.
    pub fn attach(&self, device: &DeviceSpec, queues: u16) -> Result<String, AttachError> {
        check(device)?;
        let probe = self.probe(device, queues);
        driver_installed(device, &probe)?;
        let nul = |_| AttachError::Nul(device.clone());
        let name = CString::new(probe.name.as_str()).map_err(nul)?;
        let args = CString::new(probe.args.as_str()).map_err(nul)?;
        let capture = Capture::begin();
        // SAFETY: FFI; the EAL runs (self proves it), and all three are C strings, which are copied.
        let code = unsafe { dpdk_sys::rte_eal_hotplug_add(probe.bus.as_ptr(), name.as_ptr(), args.as_ptr()) };
        let log = capture.end();
        if code != 0 {
            return Err(refused(device, Errno::returned(code), log));
        }
        self.0.attached(name, probe.bus);
        Ok(probe.name)
    }

    fn probe(&self, device: &DeviceSpec, queues: u16) -> Probe {
        let vdev = |driver: &str, args: String| Probe {
            bus: c"vdev",
            name: format!("{driver}{}", self.next_device()),
            args,
        };
        match device {
            DeviceSpec::AfPacket(interface) => {
                vdev("net_af_packet", format!("iface={interface},qpairs={queues},{AF_PACKET_RING}"))
            }
            DeviceSpec::AfXdp(interface) => {
                vdev("net_af_xdp", format!("iface={interface},queue_count={queues}"))
            }
            DeviceSpec::Tap(interface) => vdev("net_tap", format!("iface={interface}")),
            DeviceSpec::Pcap { input, output } => {
                let input = input.iter().map(|file| format!("rx_pcap={file}"));
                let args: Vec<String> =
                    input.chain(output.iter().map(|file| format!("tx_pcap={file}"))).collect();
                vdev("net_pcap", args.join(","))
            }
            DeviceSpec::Pci(address) => Probe { bus: c"pci", name: address.clone(), args: String::new() },
            DeviceSpec::Vdev(text) => {
                let (name, args) = text.split_once(',').unwrap_or((text, ""));
                Probe { bus: c"vdev", name: name.into(), args: args.into() }
            }
        }
    }
}

/// Largest mtu of a port on af_packet, bytes of outer IP packet: what a frame of the receive ring holds.
pub const AF_PACKET_MTU: u16 = 1500;

/// Checks a device that is not attached, and makes no file for it.
pub(crate) fn check_only(device: &DeviceSpec) -> Result<(), AttachError> {
    match device {
        DeviceSpec::Pcap { input, .. } => check(&DeviceSpec::Pcap { input: input.clone(), output: None })?,
        other => check(other)?,
    }
    match missing_capabilities(device) {
        missing if missing.is_empty() => Ok(()),
        missing => Err(AttachError::NotPermitted { device: device.clone(), missing }),
    }
}

/// Errors that are visible before DPDK is asked, which would say less.
fn check(device: &DeviceSpec) -> Result<(), AttachError> {
    let of = || device.clone();
    match device {
        DeviceSpec::AfPacket(interface) | DeviceSpec::AfXdp(interface) => {
            if interface_exists(interface) {
                Ok(())
            } else {
                Err(AttachError::NoInterface { device: of(), interface: interface.clone() })
            }
        }
        DeviceSpec::Tap(interface) if interface_exists(interface) => {
            Err(AttachError::InterfaceExists { device: of(), interface: interface.clone() })
        }
        DeviceSpec::Pci(address) => check_pci(device, address),
        DeviceSpec::Pcap { input, output } => {
            if let Some(path) = input {
                let error = |error| AttachError::Input { device: of(), path: path.into(), error };
                fs::File::open(path).map(drop).map_err(error)?;
            }
            if let Some(path) = output {
                let error = |error| AttachError::Output { device: of(), path: path.into(), error };
                fs::File::options().append(true).create(true).open(path).map(drop).map_err(error)?;
            }
            Ok(())
        }
        DeviceSpec::Tap(_) | DeviceSpec::Vdev(_) => Ok(()),
    }
}

/// The kernel drivers that let a process have a PCI function: the generic ones, and those of NICs that are
/// shared with the kernel.
const PCI_DRIVERS: [&str; 6] = ["vfio-pci", "uio_pci_generic", "igb_uio", "mlx4_core", "mlx5_core", "mana"];

fn check_pci(device: &DeviceSpec, address: &str) -> Result<(), AttachError> {
    let folder = Path::new("/sys/bus/pci/devices").join(address);
    if !folder.exists() {
        return Err(AttachError::NoPciDevice { device: device.clone() });
    }
    let link = fs::read_link(folder.join("driver")).ok();
    let driver = link.as_deref().and_then(Path::file_name).and_then(OsStr::to_str).unwrap_or("no driver");
    if PCI_DRIVERS.contains(&driver) {
        return Ok(());
    }
    Err(AttachError::PciDriver { device: device.clone(), address: address.into(), driver: driver.into() })
}

/// True if this network namespace has such an interface. (sysfs may show another namespace's.)
fn interface_exists(name: &str) -> bool {
    let Ok(name) = CString::new(name) else {
        return false;
    };
    // SAFETY: FFI; a C string, which is only read.
    unsafe { libc::if_nametoindex(name.as_ptr()) != 0 }
}

/// True if the plugin of a virtual device's driver is in the folder that the EAL loads them from.
fn driver_installed(device: &DeviceSpec, probe: &Probe) -> Result<(), AttachError> {
    if !probe.name.starts_with("net_") || probe.bus != c"vdev" {
        return Ok(());
    }
    let driver = probe.name.trim_end_matches(|c: char| c.is_ascii_digit());
    let folder = plugin_folder();
    let file = format!("librte_{driver}.so");
    let Ok(mut entries) = fs::read_dir(&folder) else {
        return Ok(());
    };
    if entries.any(|entry| entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with(&file))) {
        return Ok(());
    }
    Err(AttachError::NoDriver {
        device: device.clone(),
        driver: driver.into(),
        package: package(driver, &folder),
    })
}

fn plugin_folder() -> PathBuf {
    let path = CStr::from_bytes_until_nul(dpdk_sys::RTE_EAL_PMD_PATH).unwrap_or_default();
    PathBuf::from(path.to_string_lossy().into_owned())
}

/// Debian's name for a driver's package: the folder `pmds-23.0` belongs to librte-net-af-xdp23.
fn package(driver: &str, folder: &Path) -> String {
    let version = folder.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_prefix("pmds-"));
    let version = version.and_then(|version| version.split('.').next()).unwrap_or_default();
    format!("librte-{}{version}", driver.replace('_', "-"))
}

fn refused(device: &DeviceSpec, errno: Errno, log: String) -> AttachError {
    let device = device.clone();
    let missing = missing_capabilities(&device);
    if missing.is_empty() {
        AttachError::Refused { device, errno, log }
    } else {
        AttachError::NotPermitted { device, missing }
    }
}

/// Capabilities by their bit, as in the kernel's linux/capability.h, that drivers of kernel interfaces need.
const NET_ADMIN: (u32, &str) = (12, "CAP_NET_ADMIN");
const NET_RAW: (u32, &str) = (13, "CAP_NET_RAW");
const BPF: (u32, &str) = (39, "CAP_BPF");

/// Privileges that the device takes and this thread has not; the drivers only say that something failed.
fn missing_capabilities(device: &DeviceSpec) -> String {
    let needed: &[(u32, &str)] = match device {
        DeviceSpec::AfPacket(_) => &[NET_ADMIN, NET_RAW],
        DeviceSpec::AfXdp(_) => &[NET_ADMIN, NET_RAW, BPF],
        DeviceSpec::Tap(_) => &[NET_ADMIN],
        DeviceSpec::Pci(_) | DeviceSpec::Pcap { .. } | DeviceSpec::Vdev(_) => &[],
    };
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(effective) = effective.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()) else {
        return String::new();
    };
    let missing = needed.iter().filter(|(bit, _)| effective & (1 << bit) == 0).map(|(_, name)| *name);
    missing.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_is_named_by_the_package_that_has_it() {
        let folder = Path::new("/usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0");
        assert_eq!(package("net_af_xdp", folder), "librte-net-af-xdp23");
        assert_eq!(package("net_tap", Path::new("/usr/lib/dpdk/pmds-25.1")), "librte-net-tap25");
    }
}
