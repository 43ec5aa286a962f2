//! Options: on the command line or, by the same names, in a file; the command line wins.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{ArgAction, Parser, value_parser};
use dpdk::DeviceSpec;
use toml::Value;
use wire::{IP_OVERHEAD, MacAddr};

use super::flow::Rate;
use super::frames::Kind;
use crate::harness::{NODE, report, tep};

/// Options of all modes.
#[derive(clap::Args, Clone, Debug)]
pub struct Settings {
    /// DPDK device: af_packet:IF, af_xdp:IF, tap:IF, pci:ADDRESS, vdev:NAME,ARGS
    #[arg(long)]
    pub device: Option<DeviceSpec>,
    /// Queues of the device in each direction; flows are spread over them
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u16).range(1..=16))]
    pub queues: u16,
    /// Bytes of the longest outer IP packet
    #[arg(long, default_value_t = 1500, value_parser = value_parser!(u16).range(576..=9600))]
    pub mtu: u16,
    /// Cores: one for sending and receiving in turns, or two; none: two threads, wherever the system puts them
    #[arg(long, value_delimiter = ',', action = ArgAction::Set)]
    pub cores: Vec<usize>,
    /// Take the packet buffers from hugepages
    #[arg(long, num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = ArgAction::Set)]
    pub hugepages: bool,
    /// Memory for them, in MiB [default: 80, and 140 for each queue]
    #[arg(long)]
    pub memory_mb: Option<u32>,
    /// More EAL arguments, verbatim
    #[arg(long, allow_hyphen_values = true)]
    pub eal_args: Vec<String>,
    /// The node's address
    #[arg(long, default_value_t = NODE)]
    pub node: Ipv4Addr,
    /// MAC address of the node's port, or of the router to it
    #[arg(long, default_value = "02:00:00:00:00:02")]
    pub node_mac: MacAddr,
    /// Socket of the node's API
    #[arg(long, default_value = "/run/bcastd/api.sock")]
    pub socket: PathBuf,
    /// Address of the node's metrics
    #[arg(long, default_value = "127.0.0.1:9117")]
    pub metrics: SocketAddr,
    /// Register TEPs and domains at the node, and remove them afterwards
    #[arg(long, num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = ArgAction::Set)]
    pub register: bool,
    /// The first TEP that is played; the others follow it
    #[arg(long, default_value_t = tep(0))]
    pub first_tep: Ipv4Addr,
    /// The first VNI; the others follow it
    #[arg(long, default_value_t = 1)]
    pub first_vni: u32,
    /// Kind of inner frame
    #[arg(long, default_value = "broadcast")]
    pub kind: Kind,
    /// Bytes of inner frame [default: 60; of fair: 1400]
    #[arg(long, value_delimiter = ',', action = ArgAction::Set)]
    pub sizes: Vec<u16>,
    /// Copies that each frame makes; the default is the mode's
    #[arg(long, value_delimiter = ',', action = ArgAction::Set, value_parser = value_parser!(u32).range(1..=16_383))]
    pub fan_outs: Vec<u32>,
    /// Number of domains that are sent to; of capacity: the most that are tried [default: 16; of capacity: 100k]
    #[arg(long, value_parser = domains)]
    pub domains: Option<u32>,
    /// Frames per second, such as 500, 10k, 2M or max; of throughput: the highest that is tried [default: 1000; of
    /// throughput: max]
    #[arg(long, value_parser = rate)]
    pub rate: Option<Rate>,
    /// Length of a trial
    #[arg(long, default_value = "2", value_parser = seconds)]
    pub seconds: Duration,
    /// Number of frames that are sent in mode count [default: as many as the time allows]
    #[arg(long, value_parser = count)]
    pub frames: Option<u64>,
    /// Share of the copies that may be lost and the trial still passes
    #[arg(long, default_value = "0", value_parser = loss)]
    pub loss: f64,
    /// Copies per second that a domain may have, in mode limits; those of control frames, in mode storm
    #[arg(long, default_value = "10k", value_parser = count)]
    pub limit: u64,
    /// Folder for JSON and plots [default: bench/results]
    #[arg(long, default_value_os_t = report::folder(), hide_default_value = true)]
    pub out: PathBuf,
}

impl Settings {
    /// The device.
    pub fn check(&self) -> Result<DeviceSpec> {
        let none =
            "no device: give --device, such as af_packet:eth0 or pci:0000:3b:00.0, or --config with one";
        for &size in &self.sizes {
            self.inner(size)?;
        }
        ensure!(self.cores.len() <= 2, "--cores {:?}: give none, one or two cores", self.cores);
        self.device.clone().context(none)
    }

    /// The inner frame of this size, of the kind that is asked for.
    pub fn inner(&self, size: u16) -> Result<Vec<u8>> {
        self.kind.inner(size, self.longest_inner())
    }

    /// Bytes of the longest inner frame.
    pub fn longest_inner(&self) -> u16 {
        self.mtu.saturating_sub(u16::try_from(IP_OVERHEAD).unwrap_or(u16::MAX))
    }

    /// MiB of packet buffers.
    pub fn memory_mb(&self) -> u32 {
        self.memory_mb.unwrap_or(80 + 140 * u32::from(self.queues))
    }
}

/// A parser of the options alone.
#[derive(Parser)]
struct Alone {
    #[command(flatten)]
    _settings: Settings,
}

/// The words of a command line `bench pktgen ...`, with the options of its `--config` file put before its own.
///
/// # Errors
/// The file cannot be read, or holds what no option is.
pub fn with_file(mut words: Vec<String>) -> Result<Vec<String>> {
    let is_given = |words: &[String], option: &str| {
        words.iter().any(|word| word == option || word.starts_with(&format!("{option}=")))
    };
    let at = words.iter().position(|word| word == "--config" || word.starts_with("--config="));
    let Some(at) = at.filter(|_| words.get(1).is_some_and(|word| word == "pktgen")) else {
        return Ok(words);
    };
    let file = words[at].strip_prefix("--config=").map(str::to_owned);
    let Some(file) = file.or_else(|| words.get(at + 1).cloned()) else { return Ok(words) };
    let options = read(Path::new(&file))?;
    Alone::try_parse_from(["pktgen".to_owned()].into_iter().chain(options.iter().cloned()))
        .map_err(|error| anyhow!("{file}: {}", in_one_line(&error)))?;
    let own = options.into_iter().filter(|option| {
        let name = option.split_once('=').map_or("", |(name, _)| name);
        !is_given(&words, name)
    });
    let own: Vec<_> = own.collect();
    words.splice(2..2, own);
    Ok(words)
}

/// The options of a TOML file, each as `--name=value`; lists are joined by commas.
fn read(file: &Path) -> Result<Vec<String>> {
    let name = file.display();
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
    let table: toml::Table = toml::from_str(&text).map_err(|error: toml::de::Error| {
        let line = error.span().map_or(0, |span| 1 + text[..span.start].matches('\n').count());
        anyhow!("{name}: line {line}: {}", error.message().replace('\n', " "))
    })?;
    let mut options = Vec::new();
    for (key, value) in table {
        let words = match &value {
            Value::Array(values) => values.iter().map(word).collect::<Option<Vec<_>>>(),
            value => word(value).map(|word| vec![word]),
        };
        match words {
            // These may hold commas of their own.
            Some(words) if key == "eal-args" => {
                options.extend(words.iter().map(|word| format!("--{key}={word}")))
            }
            Some(words) => options.push(format!("--{key}={}", words.join(","))),
            None => bail!("{name}: {key} is no option, or not of that shape"),
        }
    }
    Ok(options)
}

fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => Some(value.to_string()),
        _ => None,
    }
}

/// The first paragraph of a usage error: what is wrong, and what may be said instead.
pub fn in_one_line(error: &clap::Error) -> String {
    let error = error.to_string();
    let first = error.split("\n\n").next().unwrap_or_default().trim_start_matches("error: ");
    first.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A number of at least 1, such as 500, 10k or 2M.
pub(super) fn count(text: &str) -> Result<u64> {
    let (digits, factor) = match text.strip_suffix('k') {
        Some(digits) => (digits, 1_000),
        None => text.strip_suffix('M').map_or((text, 1), |digits| (digits, 1_000_000)),
    };
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    number.filter(|&number| number > 0).with_context(|| format!("{text:?} is no number: give 500, 10k or 2M"))
}

/// Frames per second, or `max`.
pub(super) fn rate(text: &str) -> Result<Rate> {
    match text {
        "max" => Ok(Rate::MAX),
        "0" | "0k" | "0M" => {
            bail!("a rate of 0 sends nothing: give frames per second, such as 500, 10k or 2M, or max")
        }
        _ => match count(text) {
            Ok(number) => Ok(Rate(number).min(Rate::MAX)),
            Err(_) => bail!("{text:?} is no rate: give frames per second, such as 500, 10k or 2M, or max"),
        },
    }
}

fn domains(text: &str) -> Result<u32> {
    let domains = u32::try_from(count(text)?).ok().filter(|domains| *domains <= 1_048_576);
    domains.context("out of range: 1 to 1048576")
}

fn seconds(text: &str) -> Result<Duration> {
    let seconds = text.parse().ok().filter(|seconds| (0.05..=3600.0).contains(seconds));
    Ok(Duration::from_secs_f64(seconds.context("out of range: 0.05 to 3600")?))
}

fn loss(text: &str) -> Result<f64> {
    text.parse()
        .ok()
        .filter(|loss| (0.0..1.0).contains(loss))
        .context("out of range: 0 up to, not including, 1")
}
