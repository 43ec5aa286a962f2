//! Options: on the command line or, by the same names, in a file; the command line wins.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::{ArgAction, Args};
use dpdk::DeviceSpec;
use serde::{Deserialize, Deserializer};
use wire::{IP_OVERHEAD, MacAddr};

use crate::flow::Rate;
use crate::frames::{Kind, SizeError};

/// Every option, given or not.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Options {
    /// DPDK device: af_packet:IF, af_xdp:IF, tap:IF, pci:ADDRESS, vdev:NAME,ARGS.
    #[arg(long)]
    #[serde(deserialize_with = "text")]
    device: Option<DeviceSpec>,
    /// Queues of the device in each direction; flows are spread over them [default: 1].
    #[arg(long)]
    queues: Option<u16>,
    /// Bytes of the longest outer IP packet [default: 1500].
    #[arg(long)]
    mtu: Option<u16>,
    /// Cores: one for sending and receiving in turns, or two; none: two threads, wherever the system puts them.
    #[arg(long, value_delimiter = ',', action = ArgAction::Set)]
    cores: Option<Vec<usize>>,
    /// Take the packet buffers from hugepages [default: true].
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    hugepages: Option<bool>,
    /// Memory for them, in MiB [default: 80, and 140 for each queue].
    #[arg(long)]
    memory_mb: Option<u32>,
    /// More EAL arguments, verbatim.
    #[arg(long, allow_hyphen_values = true)]
    eal_args: Option<Vec<String>>,
    /// The node's address [default: 198.18.0.254].
    #[arg(long)]
    node: Option<Ipv4Addr>,
    /// MAC address of the node's port, or of the router to it.
    #[arg(long)]
    #[serde(deserialize_with = "text")]
    node_mac: Option<MacAddr>,
    /// Socket of the node's API [default: /run/bcastd/api.sock].
    #[arg(long)]
    socket: Option<PathBuf>,
    /// Where the node serves its metrics [default: 127.0.0.1:9117].
    #[arg(long)]
    metrics: Option<SocketAddr>,
    /// Register TEPs and domains at the node, and remove them afterwards [default: true].
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    register: Option<bool>,
    /// The first TEP that is played; the others follow it [default: 198.19.0.1].
    #[arg(long)]
    first_tep: Option<Ipv4Addr>,
    /// The first VNI; the others follow it [default: 1].
    #[arg(long)]
    first_vni: Option<u32>,
    /// Kind of inner frame [default: broadcast].
    #[arg(long)]
    kind: Option<Kind>,
    /// Bytes of inner frame [default: 60; of fair: 1400].
    #[arg(long, value_delimiter = ',', action = ArgAction::Set)]
    sizes: Option<Vec<u16>>,
    /// Copies that each frame makes; the default is the mode's.
    #[arg(long, value_delimiter = ',', action = ArgAction::Set)]
    fan_outs: Option<Vec<u32>>,
    /// How many domains are sent to; of capacity: the most that are tried [default: 16; of capacity: 100k].
    #[arg(long, value_parser = count)]
    #[serde(deserialize_with = "counted")]
    domains: Option<u64>,
    /// Frames per second, such as 500, 10k, 2M or max; of throughput: the highest that is tried [default: 1000; of throughput: max].
    #[arg(long, value_parser = rate)]
    #[serde(deserialize_with = "rated")]
    rate: Option<Rate>,
    /// Length of a trial [default: 2].
    #[arg(long)]
    seconds: Option<f64>,
    /// How many frames are sent in mode count [default: as many as the time allows].
    #[arg(long, value_parser = count)]
    #[serde(deserialize_with = "counted")]
    frames: Option<u64>,
    /// Share of the copies that may be lost and the trial still passes [default: 0].
    #[arg(long)]
    loss: Option<f64>,
    /// Copies per second that a domain may have, in mode limits [default: 10k].
    #[arg(long, value_parser = count)]
    #[serde(deserialize_with = "counted")]
    limit: Option<u64>,
    /// Folder for JSON and plots [default: bench/results].
    #[arg(long)]
    out: Option<PathBuf>,
}

/// An option that cannot be, or that is missing.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {}: {reason}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the kernel said.
        reason: std::io::Error,
    },
    /// The file says what no option is.
    #[error("{}: {reason}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// What is wrong, and where.
        reason: String,
    },
    /// There is no device.
    #[error("no device: give --device, such as af_packet:eth0 or pci:0000:3b:00.0, or --config with one")]
    NoDevice,
    /// A value out of its range.
    #[error("{option} {value} is out of range: {range}")]
    Range {
        /// The option.
        option: &'static str,
        /// As given.
        value: String,
        /// What it may be.
        range: &'static str,
    },
    /// A size that no frame can have.
    #[error(transparent)]
    Size(#[from] SizeError),
}

/// What holds for all modes, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// See [`Options`]; so for all that follow.
    pub device: DeviceSpec,
    pub queues: u16,
    pub mtu: u16,
    pub cores: Vec<usize>,
    pub hugepages: bool,
    pub memory_mb: u32,
    pub eal_args: Vec<String>,
    pub node: Ipv4Addr,
    pub node_mac: MacAddr,
    pub socket: PathBuf,
    pub metrics: SocketAddr,
    pub register: bool,
    pub first_tep: Ipv4Addr,
    pub first_vni: u32,
    pub kind: Kind,
    pub sizes: Option<Vec<u16>>,
    pub fan_outs: Option<Vec<u32>>,
    pub domains: Option<u32>,
    pub rate: Option<Rate>,
    pub seconds: Duration,
    pub frames: Option<u64>,
    pub loss: f64,
    pub limit: u64,
    pub out: PathBuf,
}

impl Options {
    /// Fills what is not given from a file.
    ///
    /// # Errors
    /// It cannot be read or understood.
    pub fn or_from(self, file: &Path) -> Result<Self, SettingsError> {
        let text = fs::read_to_string(file)
            .map_err(|reason| SettingsError::Unreadable { file: file.into(), reason })?;
        let other: Self = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(0, |span| 1 + text[..span.start].matches('\n').count());
            let reason = format!("line {line}: {}", error.message().replace('\n', " "));
            SettingsError::Syntax { file: file.into(), reason }
        })?;
        Ok(self.or(other))
    }

    fn or(self, other: Self) -> Self {
        macro_rules! first_given {
            ($($option:ident),* $(,)?) => { Self { $($option: self.$option.or(other.$option)),* } };
        }
        first_given!(
            device, queues, mtu, cores, hugepages, memory_mb, eal_args, node, node_mac, socket, metrics,
            register, first_tep, first_vni, kind, sizes, fan_outs, domains, rate, seconds, frames, loss,
            limit, out,
        )
    }

    /// Checks the values and fills the defaults in.
    ///
    /// # Errors
    /// [`SettingsError`]
    pub fn check(self) -> Result<Settings, SettingsError> {
        let settings = Settings {
            device: self.device.ok_or(SettingsError::NoDevice)?,
            queues: self.queues.unwrap_or(1),
            mtu: self.mtu.unwrap_or(1500),
            cores: self.cores.unwrap_or_default(),
            hugepages: self.hugepages.unwrap_or(true),
            memory_mb: self.memory_mb.unwrap_or(80 + 140 * u32::from(self.queues.unwrap_or(1).min(16))),
            eal_args: self.eal_args.unwrap_or_default(),
            node: self.node.unwrap_or(bench::NODE),
            node_mac: self.node_mac.unwrap_or(MacAddr([2, 0, 0, 0, 0, 2])),
            socket: self.socket.unwrap_or_else(|| "/run/bcastd/api.sock".into()),
            metrics: self.metrics.unwrap_or_else(|| ([127, 0, 0, 1], 9117).into()),
            register: self.register.unwrap_or(true),
            first_tep: self.first_tep.unwrap_or_else(|| bench::tep(0)),
            first_vni: self.first_vni.unwrap_or(1),
            kind: self.kind.unwrap_or(Kind::Broadcast),
            sizes: self.sizes,
            fan_outs: self.fan_outs,
            domains: self.domains.map(|domains| u32::try_from(domains).unwrap_or(u32::MAX)),
            rate: self.rate,
            seconds: Duration::try_from_secs_f64(self.seconds.unwrap_or(2.0)).unwrap_or_default(),
            frames: self.frames,
            loss: self.loss.unwrap_or(0.0),
            limit: self.limit.unwrap_or(10_000),
            out: self.out.unwrap_or_else(bench::report::folder),
        };
        settings.check_ranges()?;
        Ok(settings)
    }
}

impl Settings {
    /// Bytes of the longest inner frame.
    pub fn longest_inner(&self) -> u16 {
        self.mtu.saturating_sub(u16::try_from(IP_OVERHEAD).unwrap_or(u16::MAX))
    }

    fn check_ranges(&self) -> Result<(), SettingsError> {
        let range = |good: bool, option: &'static str, value: String, range: &'static str| {
            if good { Ok(()) } else { Err(SettingsError::Range { option, value, range }) }
        };
        for &size in self.sizes.iter().flatten() {
            self.kind.inner(size, self.longest_inner())?;
        }
        for &fan_out in self.fan_outs.iter().flatten() {
            let most = bcast_domain::limits::MAX_MEMBERS;
            range(
                (1..most).contains(&(fan_out as usize)),
                "--fan-outs",
                fan_out.to_string(),
                "1 to 16383 copies",
            )?;
        }
        let domains = self.domains.unwrap_or(1);
        range((1..=1_048_576).contains(&domains), "--domains", domains.to_string(), "1 to 1048576")?;
        let seconds = self.seconds.as_secs_f64();
        range((0.05..=3600.0).contains(&seconds), "--seconds", seconds.to_string(), "0.05 to 3600")?;
        range((0.0..1.0).contains(&self.loss), "--loss", self.loss.to_string(), "0 up to, not including, 1")?;
        range((1..=16).contains(&self.queues), "--queues", self.queues.to_string(), "1 to 16")?;
        range((576..=9600).contains(&self.mtu), "--mtu", self.mtu.to_string(), "576 to 9600 bytes")?;
        range(self.cores.len() <= 2, "--cores", format!("{:?}", self.cores), "none, one or two cores")?;
        range(self.frames != Some(0), "--frames", "0".into(), "1 or more")?;
        range(self.limit > 0, "--limit", "0".into(), "1 or more copies per second")
    }
}

/// A text that is no number of frames.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no number: write it as 500, 10k or 2M")]
pub struct CountError(String);

/// A text that is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// Nothing would be sent.
    #[error("a rate of 0 sends nothing: give frames per second, such as 500, 10k or 2M, or max")]
    Zero,
    /// Not a number.
    #[error("{0:?} is no rate: give frames per second, such as 500, 10k or 2M, or max")]
    Number(String),
}

fn count(text: &str) -> Result<u64, CountError> {
    let (digits, factor) = match text.strip_suffix('k') {
        Some(digits) => (digits, 1_000),
        None => text.strip_suffix('M').map_or((text, 1), |digits| (digits, 1_000_000)),
    };
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    number.ok_or_else(|| CountError(text.into()))
}

fn rate(text: &str) -> Result<Rate, RateError> {
    match (text, count(text)) {
        ("max", _) => Ok(Rate::MAX),
        (_, Ok(0)) => Err(RateError::Zero),
        (_, Ok(number)) => Ok(Rate(number).min(Rate::MAX)),
        (_, Err(_)) => Err(RateError::Number(text.into())),
    }
}

/// A string that is read by `FromStr`.
fn text<'de, D: Deserializer<'de>, T: FromStr<Err: std::fmt::Display>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    String::deserialize(from)?.parse().map(Some).map_err(serde::de::Error::custom)
}

/// A number, or a string with a suffix.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(u64),
    Text(String),
}

impl Number {
    fn text(self) -> String {
        match self {
            Self::Plain(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

fn counted<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    count(&Number::deserialize(from)?.text()).map(Some).map_err(serde::de::Error::custom)
}

fn rated<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Rate>, D::Error> {
    rate(&Number::deserialize(from)?.text()).map(Some).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_with_a_suffix_or_max() {
        for (text, expected) in [
            ("500", Ok(Rate(500))),
            ("10k", Ok(Rate(10_000))),
            ("2M", Ok(Rate(2_000_000))),
            ("max", Ok(Rate::MAX)),
            ("0", Err(RateError::Zero)),
            ("0k", Err(RateError::Zero)),
            ("-1", Err(RateError::Number("-1".into()))),
            ("", Err(RateError::Number(String::new()))),
            ("1.5k", Err(RateError::Number("1.5k".into()))),
            ("18446744073709551615M", Err(RateError::Number("18446744073709551615M".into()))),
        ] {
            assert_eq!(rate(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        let device = "device = 'af_packet:eth0'\n";
        for (text, words) in [
            ("", "no device"),
            ("device = 'eth0'", "line 1: \"eth0\" names no kind of device"),
            ("sizes = [37]", "37 bytes is no size for a frame of kind Broadcast: 38 to 1472"),
            ("sizes = [1473]", "1473 bytes is no size"),
            ("kind = 'vrrp'\nsizes = [69]", "70 to 1472"),
            ("rate = 0", "a rate of 0 sends nothing"),
            ("fan-outs = [0]", "--fan-outs 0 is out of range"),
            ("domains = '2M'", "--domains 2000000 is out of range"),
            ("seconds = -1.0", "--seconds 0 is out of range"),
            ("cores = [1, 2, 3]", "none, one or two cores"),
            ("speed = 1", "line 2: unknown field `speed`"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("nic.toml");
            let given = if text.starts_with("device") || text.is_empty() { "" } else { device };
            fs::write(&file, format!("{given}{text}")).unwrap();
            let error = Options::default().or_from(&file).and_then(Options::check).unwrap_err().to_string();
            assert!(error.contains(words) && error.lines().count() == 1, "{text}: {error}");
        }
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            options: Options,
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nic.toml");
        fs::write(&file, "device = 'af_packet:eth0'\nsizes = [60, 100]\nrate = '10k'\nfan-outs = [3]\n")
            .unwrap();
        let words = ["pktgen", "--sizes", "1400", "--cores", "0,1", "--rate", "max"];
        let line = <Line as clap::Parser>::try_parse_from(words).unwrap();
        let settings = line.options.or_from(&file).and_then(Options::check).unwrap();
        assert_eq!(settings.sizes, Some(vec![1400]));
        assert_eq!(settings.cores, [0, 1]);
        assert_eq!(settings.rate, Some(Rate::MAX));
        assert_eq!(settings.fan_outs, Some(vec![3]));
        assert_eq!(settings.device.to_string(), "af_packet:eth0");
    }

    #[test]
    fn the_example_for_a_real_nic_is_good() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("nic.toml");
        let settings = Options::default().or_from(&file).and_then(Options::check).unwrap();
        assert_eq!(settings.device.to_string(), "pci:0000:3b:00.0");
    }
}
