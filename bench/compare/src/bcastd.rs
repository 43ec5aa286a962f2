//! bcastd itself.

use std::path::Path;

use bench::daemon::{Limits, Metrics, Options, Thread};
use bench::{Daemon, NODE};
use ctl_api::Client;
use wire::MacAddr;

use crate::candidate::{Candidate, rate, settled, wait};
use crate::check::{Outer, Wrong, check};
use crate::error::{During, Failure};
use crate::peer::{hold, resume};
use crate::workload::Workload;

/// What DPDK's net_pcap says is its MAC address: "\x02pcap\0".
const PCAP_MAC: MacAddr = MacAddr([2, 0x70, 0x63, 0x61, 0x70, 0]);

/// How it is run.
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
}

/// A daemon with the workload's domains, on a port that reads a capture file for ever.
pub struct Bcastd {
    kind: Kind,
    daemon: Daemon,
    workers: Vec<Thread>,
    /// Of the frames of the last turn, those that were dropped since too many of large fan-outs waited.
    overrun: f64,
}

impl Bcastd {
    /// Starts it, and holds it.
    ///
    /// # Errors
    /// It does not start, or refuses the domains.
    pub async fn start(
        kind: Kind,
        workload: &Workload,
        pcap: &Path,
        hugepages: bool,
    ) -> Result<Self, Failure> {
        let workers = if matches!(kind, Kind::TwoWorkers) { 2 } else { 1 };
        // A queue for each worker, and each reads the whole file.
        let queues = format!(",rx_pcap={}", pcap.display()).repeat(workers);
        let mut options = Options::new(format!("vdev:net_pcap0{queues},infinite_rx=1"), hugepages);
        if let Kind::TwoWorkers = kind {
            options.cores = vec![1, 0];
        }
        if let Kind::Limited = kind {
            options.limits = Limits::High;
        }
        let daemon = start(tempfile::tempdir().during("a temporary folder")?, &options)?;
        feed(&daemon, workload).await?;
        let workers = (0..workers).map(|worker| Thread::find(daemon.id(), &format!("worker-{worker}")));
        let workers = workers.collect::<Result<_, _>>().during("bcastd's workers")?;
        hold(daemon.id())?;
        Ok(Self { kind, daemon, workers, overrun: 0.0 })
    }

    fn sample(&self) -> Result<(Metrics, Vec<u64>), Failure> {
        let metrics = self.daemon.metrics().during("bcastd's metrics")?;
        let times = self.workers.iter().map(Thread::cpu_ns).collect::<Result<_, _>>();
        Ok((metrics, times.during("bcastd's CPU time")?))
    }
}

fn start(folder: tempfile::TempDir, options: &Options) -> Result<Daemon, Failure> {
    Daemon::start_with(folder, options).during("bcastd")
}

async fn feed(daemon: &Daemon, workload: &Workload) -> Result<(), Failure> {
    let refused = |error: Box<dyn std::error::Error>| Failure::Api(error);
    let mut client = Client::connect(&daemon.socket()).await.map_err(|error| refused(error.into()))?;
    let batch = workload.batch().map_err(refused)?;
    client.commit_stream(batch).await.map(|_| ()).map_err(|error| refused(error.into()))
}

impl Candidate for Bcastd {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Plain | Kind::Drops(_) => "bcastd",
            Kind::Limited => "bcastd, limits on",
            Kind::TwoWorkers => "bcastd, two workers",
        }
    }

    fn turn(&mut self, seconds: f64) -> Result<f64, Failure> {
        resume(self.daemon.id())?;
        let (before, cpu_before) = self.sample()?;
        wait(seconds);
        let (after, cpu_after) = self.sample()?;
        hold(self.daemon.id())?;
        let made = |name, label: &str| after.of(name, label) - before.of(name, label);
        let frames = made("bcast_rx_frames_total", "");
        let (metric, expected): (_, &[&str]) = match self.kind {
            Kind::Drops(reason) => ("bcast_rx_frames_total", &[reason]),
            // Between the quanta of a large fan-out a worker receives, and the source has no end: what is too much it drops.
            // The cost of that is in the figure.
            _ => ("bcast_tx_copies_total", &["job_full", "job_expired"]),
        };
        self.overrun = made("bcast_drops_total", "\"job_full\"") / frames;
        for name in ["bcast_drops_total", "bcast_copy_drops_total"] {
            for (reason, _) in
                after.each(name).filter(|(label, _)| !expected.iter().any(|word| label.contains(word)))
            {
                let lost = made(name, reason);
                if lost > 0.0 {
                    let (candidate, how) = (self.name().to_owned(), format!("{name}{reason}"));
                    return Err(Failure::Lost { candidate, lost, of: frames, how });
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
        (percent >= 0.1)
            .then(|| format!("{percent:.0} % of the frames came while too many waited (job_full)"))
    }
}

/// Sends the workload once, into a file, and checks every frame of it. Gives how many they were.
///
/// # Errors
/// A frame is wrong, missing, or one too many.
pub async fn checked(workload: &Workload, folder: &Path) -> Result<usize, Failure> {
    let (incoming, outgoing) = (folder.join("in.pcap"), folder.join("bcastd.pcap"));
    workload.write(&incoming)?;
    // The domains are made first: a capture file is read as soon as the port is there.
    let files = tempfile::tempdir().during("a temporary folder")?;
    let daemon = start(files, &Options::new("vdev:net_null0,no-rx=1", false))?;
    feed(&daemon, workload).await?;
    let files = daemon.stop().during("bcastd")?;
    let device = format!("pcap:{},{}", incoming.display(), outgoing.display());
    let daemon = start(files, &Options::new(device, false))?;
    settled("bcastd", || {
        let metrics = daemon.metrics().during("bcastd's metrics")?;
        Ok((metrics.sum("bcast_rx_frames_total"), metrics.sum("bcast_tx_copies_total")))
    })?;
    daemon.stop().during("bcastd")?;
    let sent = bench::read_pcap(&outgoing).during("what bcastd sent")?;
    let outer = Outer { node: NODE, source: PCAP_MAC.0, next_hop: bench::daemon::NEXT_HOP.0 };
    check(workload, &outer, sent)
        .map_err(|wrong: Wrong| Failure::Wrong { candidate: "bcastd", wrong: wrong.into() })
}
