//! bcastd itself.

use std::path::Path;

use anyhow::{Context, Result};
use bench::harness::NODE;
use bench::harness::frames::read_pcap;
use bench::harness::thread::Thread;
use ctl_api::Client;
use testkit::metrics::Metrics;
use testkit::node::{Config, NEXT_HOP, Node};
use wire::MacAddr;

use crate::candidate::{Candidate, lost, rate, settled, wait};
use crate::check::{Outer, check};
use crate::peer::{hold, resume};
use crate::workload::Workload;

/// A limit that nothing reaches (a second), and yet a limit: the greatest one stands for none.
const HIGH: i64 = 999_000_000_000;
/// MAC address of DPDK's net_pcap: "\x02pcap\0".
const PCAP_MAC: MacAddr = MacAddr([2, 0x70, 0x63, 0x61, 0x70, 0]);

/// Configuration of a candidate.
#[derive(Clone, Copy)]
pub enum Kind {
    /// One worker, limits off.
    Plain,
    /// One worker, limits in force.
    Limited,
    /// A worker on each of two cores, limits off.
    TwoWorkers,
    /// One worker, limits off; all that comes is dropped for this reason.
    Drops(&'static str),
    /// As `Plain`, another build.
    Other,
    /// As `Limited`, another build.
    OtherLimited,
}

/// Reasons to drop what is too much between the quanta of a large fan-out; the last two by their earlier names.
const OVERRUN: [&str; 4] = ["fanout_queue_full", "fanout_aborted", "job_full", "job_expired"];

/// A daemon with the workload's domains, on a port that reads a capture file for ever.
pub struct Bcastd {
    kind: Kind,
    node: Node<'static>,
    _folder: tempfile::TempDir,
    workers: Vec<Thread>,
    /// Share of the last turn's frames that were dropped since too many of large fan-outs waited.
    overrun: f64,
}

impl Bcastd {
    /// Starts it, and holds it.
    pub async fn start(
        kind: Kind,
        workload: &Workload,
        pcap: &Path,
        hugepages: bool,
        other: Option<&Path>,
    ) -> Result<Self> {
        let workers = if matches!(kind, Kind::TwoWorkers) { 2 } else { 1 };
        // A queue for each worker, and each reads the whole file.
        let queues = format!(",rx_pcap={}", pcap.display()).repeat(workers);
        let device = format!("vdev:net_pcap0{queues},infinite_rx=1");
        let folder = tempfile::tempdir()?;
        let mut config = Config::without_network(folder.path(), &device).set("eal.hugepages", hugepages);
        if let Kind::TwoWorkers = kind {
            config = config.set("workers.cores", vec![1, 0]);
        }
        if let (Kind::Other | Kind::OtherLimited, Some(program)) = (kind, other) {
            config = config.program(program);
        }
        if let Kind::Limited | Kind::OtherLimited = kind {
            config = config.set("limits.enabled", true);
            for limit in [
                "domain_copies",
                "domain_bits",
                "tep_frames",
                "node_copies",
                "control_copies",
                "failover_copies",
            ] {
                config = config.set(&format!("limits.{limit}"), HIGH);
            }
        }
        let node = Node::on_host(folder.path(), &config);
        feed(&node, workload).await?;
        let workers = (0..workers).map(|worker| Thread::find(node.id(), &format!("worker-{worker}")));
        let workers = workers.collect::<Result<_>>().context("bcastd's workers")?;
        hold(node.id())?;
        Ok(Self { kind, node, _folder: folder, workers, overrun: 0.0 })
    }

    fn sample(&self) -> Result<(Metrics, Vec<u64>)> {
        let times = self.workers.iter().map(Thread::cpu_ns).collect::<Result<_>>();
        Ok((self.node.metrics(), times.context("bcastd's CPU time")?))
    }
}

async fn feed(node: &Node<'_>, workload: &Workload) -> Result<()> {
    let mut client = Client::connect(&node.socket()).await?;
    client.commit_stream(workload.batch()?).await.context("bcastd does not take the domains")?;
    Ok(())
}

impl Candidate for Bcastd {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Plain | Kind::Drops(_) => "bcastd",
            Kind::Limited => "bcastd, limits on",
            Kind::TwoWorkers => "bcastd, two workers",
            Kind::Other => "the other bcastd",
            Kind::OtherLimited => "the other bcastd, limits on",
        }
    }

    fn measure(&mut self, seconds: f64) -> Result<f64> {
        resume(self.node.id())?;
        let (before, cpu_before) = self.sample()?;
        wait(seconds);
        let (after, cpu_after) = self.sample()?;
        hold(self.node.id())?;
        let made = |name, label: &str| after.total(name, label) - before.total(name, label);
        let frames = made("bcast_rx_frames_total", "");
        let (metric, expected): (_, &[&str]) = match self.kind {
            Kind::Drops(reason) => ("bcast_rx_frames_total", &[reason]),
            // Between the quanta of a large fan-out a worker receives, and the source has no end: what is too much it
            // drops. The cost of that is in the figure.
            _ => ("bcast_tx_copies_total", &OVERRUN),
        };
        self.overrun = made("bcast_drops_total", "\"fanout_queue_full\"") / frames;
        for name in ["bcast_drops_total", "bcast_copy_drops_total"] {
            for (reason, _) in
                after.each(name).filter(|(label, _)| !expected.iter().any(|word| label.contains(word)))
            {
                let dropped = made(name, reason);
                if dropped > 0.0 {
                    return Err(lost(self.name(), dropped, &format!("{name}{reason}"), frames));
                }
            }
        }
        let times = cpu_after.iter().zip(&cpu_before).map(|(after, before)| after - before);
        let rates = (0..)
            .zip(times)
            .map(|(worker, cpu): (u32, u64)| rate(made(metric, &format!("worker=\"{worker}\"")), cpu));
        Ok(rates.sum())
    }

    fn note(&self) -> Option<String> {
        let percent = self.overrun * 100.0;
        (percent >= 0.1).then(|| {
            format!("{percent:.0} % of the frames came while the fan-out queue was full (fanout_queue_full)")
        })
    }
}

/// Sends the workload once, into a file, and checks every frame of it. Gives how many they were.
pub async fn checked(workload: &Workload, folder: &Path) -> Result<usize> {
    let (incoming, outgoing) = (folder.join("in.pcap"), folder.join("bcastd.pcap"));
    workload.write(&incoming)?;
    // The domains are made first: a capture file is read as soon as the port is there.
    let files = tempfile::tempdir()?;
    let mut node = start(files.path(), "vdev:net_null0,no-rx=1");
    feed(&node, workload).await?;
    node.stop();
    let mut node = start(files.path(), &format!("pcap:{},{}", incoming.display(), outgoing.display()));
    settled("bcastd", || {
        let metrics = node.metrics();
        Ok((metrics.total("bcast_rx_frames_total", ""), metrics.total("bcast_tx_copies_total", "")))
    })?;
    node.stop();
    let sent = read_pcap(&outgoing).context("what bcastd sent")?;
    let outer = Outer { node: NODE, source: PCAP_MAC.0, next_hop: NEXT_HOP };
    check(workload, &outer, sent).context("bcastd")
}

fn start(folder: &Path, device: &str) -> Node<'static> {
    Node::on_host(folder, &Config::without_network(folder, device))
}
