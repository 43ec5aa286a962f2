//! DPDK's testpmd: what the harness itself costs. It looks at nothing: one frame in, the same one out.

use std::io::{BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Stdio};

use anyhow::{Context, Result};
use bench::harness::thread::Thread;

use crate::candidate::{Candidate, must_be_there, rate, unexpected, wait};
use crate::floor::{eal, read_until, talk};
use crate::peer::{Peer, command};

/// Name on the command line.
pub const NAME: &str = "testpmd";
/// Path in Debian.
pub const PROGRAM: &str = "/usr/bin/dpdk-testpmd";

/// Forwarding mode.
#[derive(Clone, Copy)]
pub enum Mode {
    /// Receives and sends.
    Forward,
    /// Receives and frees.
    Receive,
}

/// A testpmd that forwards only between `start` and `stop`.
pub struct Testpmd {
    mode: Mode,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    thread: Thread,
    _peer: Peer,
}

impl Testpmd {
    /// Starts it on a port that reads a capture file for ever.
    pub fn start(mode: Mode, pcap: &Path, hugepages: bool) -> Result<Self> {
        must_be_there(NAME, PROGRAM)?;
        let forward = match mode {
            Mode::Forward => "io",
            Mode::Receive => "rxonly",
        };
        // Its output is a pipe here, and its lines are wanted one by one.
        let mut command = command("stdbuf");
        command.args(["-oL", PROGRAM]).args(eal("0,1", 128, hugepages));
        command.args(["--vdev", &format!("net_pcap0,rx_pcap={},infinite_rx=1", pcap.display())]);
        command.args(["--", "-i", "--burst=32", "--mbcache=512", "--total-num-mbufs=8192"]);
        command.arg(format!("--forward-mode={forward}")).stderr(Stdio::null());
        let (peer, input, mut output) = talk(&mut command, NAME)?;
        read_until(&mut output, NAME, |line| line.starts_with("Checking link"))?;
        let thread = Thread::find(peer.child.id(), "rte-worker-1").context("testpmd's worker")?;
        Ok(Self { mode, input, output, thread, _peer: peer })
    }
}

impl Candidate for Testpmd {
    fn name(&self) -> &str {
        match self.mode {
            Mode::Forward => "testpmd, io",
            Mode::Receive => "testpmd, rxonly",
        }
    }

    fn measure(&mut self, seconds: f64) -> Result<f64> {
        let before = self.thread.cpu_ns().context("testpmd's CPU time")?;
        writeln!(self.input, "start").context(NAME)?;
        read_until(&mut self.output, NAME, |line| line.contains("packet forwarding - ports=1"))?;
        wait(seconds);
        writeln!(self.input, "stop").context(NAME)?;
        read_until(&mut self.output, NAME, |line| line.contains("Accumulated forward statistics"))?;
        let counter = match self.mode {
            Mode::Forward => "TX-packets:",
            Mode::Receive => "RX-packets:",
        };
        let output = read_until(&mut self.output, NAME, |line| line.starts_with(counter))?;
        read_until(&mut self.output, NAME, |line| line == "Done.")?;
        let after = self.thread.cpu_ns().context("testpmd's CPU time")?;
        let frames: Option<u32> = output.split_whitespace().nth(1).and_then(|count| count.parse().ok());
        frames.map(|frames| rate(frames.into(), after - before)).ok_or_else(|| unexpected(NAME, &output))
    }
}
