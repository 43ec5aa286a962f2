//! The least that a copy can cost: taken and freed, in C (`floor.c`).

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result};

use crate::candidate::{Candidate, rate, unexpected};
use crate::peer::{FORWARDING_CORE, Peer, command};

/// Bursts that are tried: the best one counts.
pub const BURSTS: [u32; 3] = [32, 64, 128];

/// Beginning of the candidates' names.
pub const NAME: &str = "floor";

/// The floor of copies that share a payload by reference.
pub const SHARED: &str = "floor of a shared payload";

/// The program, at one size of burst.
pub struct Floor {
    name: String,
    burst: u32,
    shared: bool,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _peer: Peer,
}

impl Floor {
    /// Starts it on the device that all have.
    pub fn start(burst: u32, shared: bool, pcap: &Path, hugepages: bool) -> Result<Self> {
        let mut command = command(concat!(env!("OUT_DIR"), "/floor"));
        command.args(eal(&FORWARDING_CORE.to_string(), 64, hugepages));
        command.args(["--", &format!("net_pcap0,rx_pcap={},infinite_rx=1", pcap.display())]);
        let (peer, input, output) = talk(&mut command, NAME)?;
        let name = if shared { SHARED } else { NAME };
        let name = format!("{name}, bursts of {burst}");
        let mut floor = Self { name, burst, shared, input, output, _peer: peer };
        floor.line(|line| line == "ready")?;
        Ok(floor)
    }

    fn line(&mut self, wanted: impl Fn(&str) -> bool) -> Result<String> {
        read_until(&mut self.output, NAME, wanted)
    }
}

impl Candidate for Floor {
    fn name(&self) -> &str {
        &self.name
    }

    fn measure(&mut self, seconds: f64) -> Result<f64> {
        // Some 150 million a second at the best.
        let mbufs = (seconds * 1e3).round() * 1e5;
        writeln!(self.input, "{} {mbufs} {}", self.burst, u8::from(self.shared)).context(NAME)?;
        let answer = self.line(|line| line.split(' ').count() == 2)?;
        let numbers =
            answer.split_once(' ').and_then(|(mbufs, ns)| Some((mbufs.parse().ok()?, ns.parse().ok()?)));
        numbers.map(|(mbufs, ns)| rate(mbufs, ns)).ok_or_else(|| unexpected(NAME, &answer))
    }
}

/// EAL arguments for a program of its own: no files, no PCI.
pub fn eal(cores: &str, memory_mb: u32, hugepages: bool) -> Vec<String> {
    let memory = if hugepages { &["--in-memory"][..] } else { &["--no-huge", "--no-shconf"] };
    let words =
        ["-l", cores, "--no-pci", "--no-telemetry", "--log-level=error", "-m", &memory_mb.to_string()];
    words.iter().chain(memory).map(|&word| word.to_owned()).collect()
}

/// Starts a program that one talks with.
pub fn talk(
    command: &mut std::process::Command,
    name: &'static str,
) -> Result<(Peer, ChildStdin, BufReader<ChildStdout>)> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut peer = Peer::start(command)?;
    match (peer.child.stdin.take(), peer.child.stdout.take()) {
        (Some(input), Some(output)) => Ok((peer, input, BufReader::new(output))),
        _ => Err(unexpected(name, "")),
    }
}

/// Reads lines up to the one that is wanted.
pub fn read_until(
    output: &mut impl BufRead,
    peer: &'static str,
    wanted: impl Fn(&str) -> bool,
) -> Result<String> {
    let mut last = String::new();
    loop {
        let mut line = String::new();
        if output.read_line(&mut line).context(peer)? == 0 {
            return Err(unexpected(peer, &last));
        }
        if wanted(line.trim()) {
            return Ok(line.trim().to_owned());
        }
        last = line;
    }
}
