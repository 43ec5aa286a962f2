//! Device strings, as they stand in a configuration file.

use std::{fmt, str::FromStr};

use crate::attach::{self, AttachError};

/// A device to be attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceSpec {
    /// `af_packet:eth0`: a kernel interface through packet sockets.
    AfPacket(String),
    /// `af_xdp:eth0`: a kernel interface through AF_XDP sockets.
    AfXdp(String),
    /// `tap:dtap0`: a kernel interface that is made, and goes with the port.
    Tap(String),
    /// `pci:0000:3b:00.0`: a PCI function.
    Pci(String),
    /// `pcap:in.pcap,out.pcap`: frames read from one file and written to another; either may be left out.
    Pcap {
        /// Frames received; none without.
        input: Option<String>,
        /// Frames transmitted; freed without.
        output: Option<String>,
    },
    /// `vdev:net_null0,no-rx=1`: a virtual device by its DPDK name and arguments, verbatim.
    Vdev(String),
}

/// Errors in a device string.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceSpecError {
    /// No colon, or an unknown word before it.
    #[error(
        "{0:?} names no kind of device: write af_packet:IF, af_xdp:IF, tap:IF, pci:ADDRESS, pcap:IN,OUT or vdev:NAME,ARGS"
    )]
    Kind(String),
    /// Not the name of a network interface.
    #[error(
        "{0:?} is no interface name: 1 to 15 characters, none of them a slash, a comma, a colon or a space"
    )]
    Interface(String),
    /// Not a PCI address.
    #[error(
        "{0:?} is no PCI address: write it as 0000:3b:00.0 (domain:bus:device.function, in hex; see `lspci -D`)"
    )]
    Pci(String),
    /// Not two file names.
    #[error("{0:?} is no pair of files: write IN,OUT, one of which may be empty")]
    Pcap(String),
    /// Not a virtual device.
    #[error("{0:?} is no virtual device: write its DPDK name and arguments, as in net_null0,no-rx=1")]
    Vdev(String),
}

impl FromStr for DeviceSpec {
    type Err = DeviceSpecError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (kind, rest) = text.split_once(':').ok_or_else(|| DeviceSpecError::Kind(text.into()))?;
        match kind {
            "af_packet" => interface(rest).map(DeviceSpec::AfPacket),
            "af_xdp" => interface(rest).map(DeviceSpec::AfXdp),
            "tap" => interface(rest).map(DeviceSpec::Tap),
            "pci" => pci(rest),
            "pcap" => pcap(rest),
            "vdev" => vdev(rest),
            _ => Err(DeviceSpecError::Kind(text.into())),
        }
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceSpec::AfPacket(interface) => write!(f, "af_packet:{interface}"),
            DeviceSpec::AfXdp(interface) => write!(f, "af_xdp:{interface}"),
            DeviceSpec::Tap(interface) => write!(f, "tap:{interface}"),
            DeviceSpec::Pci(address) => write!(f, "pci:{address}"),
            DeviceSpec::Pcap { input, output } => {
                write!(f, "pcap:{},{}", input.as_deref().unwrap_or(""), output.as_deref().unwrap_or(""))
            }
            DeviceSpec::Vdev(device) => write!(f, "vdev:{device}"),
        }
    }
}

impl DeviceSpec {
    /// Checks what can be known before DPDK is asked: the interface, function or file is there, and this process has the
    /// privileges. Makes nothing.
    ///
    /// # Errors
    /// Why it cannot be attached.
    pub fn check(&self) -> Result<(), AttachError> {
        attach::check_only(self)
    }

    /// The kernel interface behind the device, if that is what it is.
    pub fn interface(&self) -> Option<&str> {
        match self {
            DeviceSpec::AfPacket(interface) | DeviceSpec::AfXdp(interface) => Some(interface),
            _ => None,
        }
    }
}

fn interface(name: &str) -> Result<String, DeviceSpecError> {
    let legal = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ':' | ',');
    if (1..=15).contains(&name.len()) && name.chars().all(legal) && name != "." && name != ".." {
        Ok(name.into())
    } else {
        Err(DeviceSpecError::Interface(name.into()))
    }
}

/// `DDDD:BB:DD.F`, kept in lower case: that is how sysfs and DPDK name the device.
fn pci(address: &str) -> Result<DeviceSpec, DeviceSpecError> {
    let hex = |text: &str, digits: usize| text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
    let legal = || {
        let (domain, rest) = address.split_once(':')?;
        let (bus, rest) = rest.split_once(':')?;
        let (device, function) = rest.split_once('.')?;
        let in_range = u8::from_str_radix(device, 16).is_ok_and(|device| device < 32) && function < "8";
        (hex(domain, 4) && hex(bus, 2) && hex(device, 2) && hex(function, 1) && in_range).then_some(())
    };
    match legal() {
        Some(()) => Ok(DeviceSpec::Pci(address.to_ascii_lowercase())),
        None => Err(DeviceSpecError::Pci(address.into())),
    }
}

fn pcap(files: &str) -> Result<DeviceSpec, DeviceSpecError> {
    let file = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    match files.split_once(',').map(|(input, output)| (file(input), file(output))) {
        None | Some((None, None)) => Err(DeviceSpecError::Pcap(files.into())),
        Some((_, Some(output))) if output.contains(',') => Err(DeviceSpecError::Pcap(files.into())),
        Some((input, output)) => Ok(DeviceSpec::Pcap { input, output }),
    }
}

fn vdev(device: &str) -> Result<DeviceSpec, DeviceSpecError> {
    let name = device.split(',').next().unwrap_or_default();
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(legal) || device.contains(char::is_whitespace) {
        return Err(DeviceSpecError::Vdev(device.into()));
    }
    Ok(DeviceSpec::Vdev(device.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_device_string_reads_and_prints_back() {
        for text in [
            "af_packet:eth0",
            "af_xdp:ens1f0np0",
            "tap:dtap0",
            "pci:0000:3b:00.0",
            "pcap:in.pcap,out.pcap",
            "pcap:,out.pcap",
            "pcap:/tmp/in.pcap,",
            "vdev:net_null0,no-rx=1",
            "vdev:net_pcap0,rx_pcap=a.pcap,infinite_rx=1,tx_pcap=b.pcap",
        ] {
            assert_eq!(text.parse::<DeviceSpec>().unwrap().to_string(), text);
        }
        assert_eq!("pci:0000:3B:1F.7".parse(), Ok(DeviceSpec::Pci("0000:3b:1f.7".into())));
    }

    #[test]
    fn a_device_string_that_is_wrong_says_which_part() {
        use DeviceSpecError::*;
        for (text, error) in [
            ("", Kind("".into())),
            ("eth0", Kind("eth0".into())),
            ("afpacket:eth0", Kind("afpacket:eth0".into())),
            ("af_packet:", Interface("".into())),
            ("af_packet:a-name-of-16-byte", Interface("a-name-of-16-byte".into())),
            ("af_packet:eth0,qpairs=4", Interface("eth0,qpairs=4".into())),
            ("af_xdp:../eth0", Interface("../eth0".into())),
            ("tap:a b", Interface("a b".into())),
            ("pci:3b:00.0", Pci("3b:00.0".into())),
            ("pci:0000:3b:00.8", Pci("0000:3b:00.8".into())),
            ("pci:0000:3b:20.0", Pci("0000:3b:20.0".into())),
            ("pci:0000:3g:00.0", Pci("0000:3g:00.0".into())),
            ("pci:00000:3b:00.0", Pci("00000:3b:00.0".into())),
            ("pcap:in.pcap", Pcap("in.pcap".into())),
            ("pcap:,", Pcap(",".into())),
            ("pcap:a,b,c", Pcap("a,b,c".into())),
            ("vdev:", Vdev("".into())),
            ("vdev:,x=1", Vdev(",x=1".into())),
            ("vdev:net null", Vdev("net null".into())),
        ] {
            assert_eq!(text.parse::<DeviceSpec>(), Err(error), "{text:?}");
        }
    }
}
