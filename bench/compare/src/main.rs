//! bcastd side by side with what one would use instead, in one run: all take turns, so that a machine's fast and slow
//! hours hit them alike, and what counts is the CPU time of the thread that forwards. docs/benchmarks.md says how to
//! read it.

#![forbid(unsafe_code)]

mod bcastd;
mod candidate;
mod check;
mod floor;
mod ovs;
mod peer;
mod results;
mod testpmd;
#[cfg(test)]
mod tests;
mod vxlan;
mod workload;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::{Context, Result, bail, ensure};
use bench::harness::machine::{Machine, field};
use bench::harness::plot::{self, Axis};
use bench::harness::report::{self, Figure, Report};
use bench::harness::table;
use clap::{Parser, ValueEnum};

use crate::bcastd::{Bcastd, Kind};
use crate::candidate::Candidate;
use crate::floor::Floor;
use crate::ovs::Ovs;
use crate::results::{Results, Row, Traffic};
use crate::testpmd::{Mode, Testpmd};
use crate::vxlan::Vxlan;
use crate::workload::{Point, Workload};

/// Compares bcastd with what one would use instead; wants root, two cores and some time alone.
///
/// First: `cargo build --release` and bench/compare/install-peers.
#[derive(Parser)]
struct Args {
    /// Members that each frame is copied to.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8, 32, 128, 512])]
    copies: Vec<u32>,
    /// Bytes of inner frame.
    #[arg(long, value_delimiter = ',', default_values_t = [60, 1400])]
    sizes: Vec<u16>,
    /// Rounds, after one to warm up.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Seconds of each turn.
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
    /// Peers to leave out.
    #[arg(long, value_delimiter = ',')]
    without: Vec<PeerName>,
    /// Another build of bcastd to take turns with this one; it has to speak the same contract.
    #[arg(long, value_name = "PATH")]
    against: Option<PathBuf>,
    /// Take no packet buffers from hugepages. Open vSwitch needs them and is left out.
    #[arg(long)]
    no_hugepages: bool,
    /// Small and short: shows that all works and that every frame is right. Needs no hugepages and no peers that are
    /// not installed, and keeps no results.
    #[arg(long)]
    quick: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PeerName {
    Ovs,
    Vxlan,
    Testpmd,
    TwoWorkers,
}

/// Hugepages of all candidates of a point: MB.
const HUGEPAGES_MB: u64 = 3 * 256 + 256 + 128 + 4 * 64;
/// Bytes of inner frame from which on copies share it: the daemon's `share_payload_from`.
const SHARED_FROM: u16 = 256;
/// Domains, and so frames that differ, of each point.
const DOMAINS: u32 = 512;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut args = Args::parse();
    if args.quick {
        (args.copies, args.sizes, args.rounds, args.seconds) = (vec![8], vec![60, 1400], 1, 0.1);
        args.no_hugepages = true;
        if !Path::new(testpmd::PROGRAM).exists() {
            println!("testpmd is not installed, and left out");
            args.without.push(PeerName::Testpmd);
        }
    }
    if args.no_hugepages {
        args.without.push(PeerName::Ovs);
    }
    match run(&args).await {
        Ok(done) => done,
        Err(error) => {
            eprintln!("compare: {error:#}");
            ExitCode::FAILURE
        }
    }
}

struct Run<'a> {
    args: &'a Args,
    folder: tempfile::TempDir,
    interrupted: Arc<AtomicBool>,
    rows: Vec<Row>,
}

async fn run(args: &Args) -> Result<ExitCode> {
    let machine = Machine::describe();
    ensure!(machine.cores >= 2, "two cores are wanted: one forwards, the other does the rest");
    if !args.no_hugepages {
        enough_hugepages()?;
    }
    println!("{machine}\n");
    let folder = tempfile::tempdir().context("a temporary folder")?;
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, interrupted.clone()).context("a signal handler")?;
    }
    let mut run = Run { args, folder, interrupted, rows: Vec::new() };
    let checked = run.check().await?;
    for &size in &args.sizes {
        for &copies in &args.copies {
            run.replicate(Point { size, copies }).await?;
        }
        for traffic in [Traffic::UnknownSources, Traffic::UnknownDomains] {
            run.flood(size, traffic).await?;
        }
    }
    run.tell(&machine, checked)
}

/// Checks that as many hugepages are free as all candidates of a point take.
fn enough_hugepages() -> Result<()> {
    let memory = std::fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let number = |key| field(&memory, key).split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0_u64);
    let page_kb = number("Hugepagesize").max(1);
    let (free_mb, wanted_mb) = (number("HugePages_Free") * page_kb / 1024, HUGEPAGES_MB);
    if free_mb < wanted_mb {
        let pages = number("HugePages_Total") + (wanted_mb - free_mb) * 1024 / page_kb;
        bail!(
            "{free_mb} MB of hugepages are free, {wanted_mb} are wanted: echo {pages} > /proc/sys/vm/nr_hugepages, \
             or --no-hugepages"
        );
    }
    Ok(())
}

impl Run<'_> {
    fn with(&self, peer: PeerName) -> bool {
        !self.args.without.contains(&peer)
    }

    /// One round whose every frame is looked at.
    async fn check(&self) -> Result<Vec<Figure>> {
        let Args { sizes, copies, .. } = self.args;
        let points = sizes.iter().flat_map(|&size| copies.iter().map(move |&copies| Point { size, copies }));
        let workload = Workload::new(&points.collect::<Vec<_>>(), 8);
        let mut figures = Vec::new();
        let mut right = |name: &str, frames: usize| {
            println!("{name}: {frames} copies, each of them right to the last byte");
            let what = format!("{name}: copies of a checked round that are right to the last byte");
            figures.push(Figure::plain(what, format!("{frames} of {frames}")));
        };
        right("bcastd", bcastd::checked(&workload, self.folder.path()).await?);
        if self.with(PeerName::Ovs) {
            right("OVS-DPDK", ovs::checked(&workload, self.folder.path())?);
        }
        println!();
        Ok(figures)
    }

    async fn replicate(&mut self, point: Point) -> Result<()> {
        let hugepages = !self.args.no_hugepages;
        let workload = Workload::new(&[point], DOMAINS);
        let pcap = self.folder.path().join("point.pcap");
        workload.write(&pcap)?;
        let mut candidates = floors(&pcap, hugepages)?;
        if point.size >= SHARED_FROM {
            candidates.push(Box::new(Floor::start(64, true, &pcap, hugepages)?));
        }
        let other = self.args.against.as_deref();
        let mut kinds = vec![Kind::Plain];
        kinds.extend(other.map(|_| Kind::Other));
        kinds.push(Kind::Limited);
        kinds.extend(other.map(|_| Kind::OtherLimited));
        kinds.extend(self.with(PeerName::TwoWorkers).then_some(Kind::TwoWorkers));
        for kind in kinds {
            candidates.push(Box::new(Bcastd::start(kind, &workload, &pcap, hugepages, other).await?));
        }
        if self.with(PeerName::Ovs) {
            candidates.push(Box::new(Ovs::start(&workload, point.copies, &pcap)?));
        }
        if self.with(PeerName::Vxlan) {
            candidates.push(Box::new(Vxlan::new(&workload, point.copies)?));
        }
        if self.with(PeerName::Testpmd) {
            candidates.push(Box::new(Testpmd::start(Mode::Forward, &pcap, hugepages)?));
        }
        self.rounds(Traffic::Broadcast, point, candidates)
    }

    async fn flood(&mut self, size: u16, traffic: Traffic) -> Result<()> {
        let hugepages = !self.args.no_hugepages;
        let point = Point { size, copies: 0 };
        let pcap = self.folder.path().join("flood.pcap");
        // The node has domains, only not those that the frames are for or from.
        let workload = Workload::new(&[Point { size, copies: 8 }], DOMAINS);
        let reason = match traffic {
            Traffic::UnknownDomains => {
                workload.write_elsewhere(&pcap)?;
                "vni_unknown"
            }
            _ => {
                workload::write_flood(&pcap, size, DOMAINS)?;
                "tep_unknown"
            }
        };
        let mut candidates: Vec<Box<dyn Candidate>> = Vec::new();
        candidates
            .push(Box::new(Bcastd::start(Kind::Drops(reason), &workload, &pcap, hugepages, None).await?));
        if self.with(PeerName::Testpmd) {
            candidates.push(Box::new(Testpmd::start(Mode::Receive, &pcap, hugepages)?));
        }
        self.rounds(traffic, point, candidates)
    }

    /// All take turns; the first round is not counted.
    fn rounds(
        &mut self,
        traffic: Traffic,
        point: Point,
        mut candidates: Vec<Box<dyn Candidate>>,
    ) -> Result<()> {
        let mut rates = vec![Vec::new(); candidates.len()];
        for round in 0..=self.args.rounds {
            for (candidate, rates) in candidates.iter_mut().zip(&mut rates) {
                let rate = candidate.measure(self.args.seconds)?;
                if round > 0 {
                    rates.push(rate);
                }
                if self.interrupted.load(Relaxed) {
                    bail!("interrupted");
                }
            }
        }
        let rows = candidates.iter().zip(rates).map(|(candidate, rates)| Row {
            note: candidate.note(),
            ..Row::new(candidate.name(), traffic, point, rates)
        });
        let rows: Vec<_> = rows.collect();
        print(traffic, point, &rows);
        self.rows.extend(rows);
        Ok(())
    }

    fn tell(self, machine: &Machine, checked: Vec<Figure>) -> Result<ExitCode> {
        let results = Results(&self.rows);
        let mut figures = results.figures(machine);
        figures.extend(checked);
        let (void, tables) = (results.void(machine), results.tables());
        if self.args.quick {
            println!("All works. A quick run's figures say nothing, and are not kept.");
            return Ok(ExitCode::SUCCESS);
        }
        let curves = results.curves();
        let mut report = Report::new("compare", figures, self.rows);
        (report.void, report.tables) = (void.clone(), tables);
        let folder = report::folder();
        report.keep(&folder)?;
        for (size, curves) in curves {
            let path = folder.join(format!("compare-{size}.svg"));
            let ticks = self.args.copies.iter().copied().map(f64::from);
            let title = format!("Copies per second of CPU time, {size} B inner frames");
            let x = Axis::log("copies a frame").with_ticks(ticks);
            plot::curves(&path, &title, x, Axis::log("million copies per CPU-second"), &curves)
                .context("the plot")?;
            println!("{}", path.display());
        }
        if let Some(void) = void {
            eprintln!("compare: this run is void: {void}");
            return Ok(ExitCode::FAILURE);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn floors(pcap: &Path, hugepages: bool) -> Result<Vec<Box<dyn Candidate>>> {
    let mut floors: Vec<Box<dyn Candidate>> = Vec::new();
    for burst in floor::BURSTS {
        floors.push(Box::new(Floor::start(burst, false, pcap, hugepages)?));
    }
    Ok(floors)
}

fn print(traffic: Traffic, Point { size, copies }: Point, rows: &[Row]) {
    let what = match traffic {
        Traffic::Broadcast => format!("{size} B inner, {copies} copies a frame: million copies/CPU-s"),
        Traffic::UnknownSources => {
            format!("{size} B inner, unknown sources, all dropped: million frames/CPU-s")
        }
        Traffic::UnknownDomains => {
            format!("{size} B inner, unknown domains, all dropped: million frames/CPU-s")
        }
    };
    let mut table = table(&format!("{what}|min|median|max"));
    for row in rows {
        table.add_row([row.candidate.clone()].into_iter().chain(row.spread.cells(1.0, 2)));
    }
    println!("{table}");
    for row in rows {
        row.note.iter().for_each(|note| println!("{}: {note}", row.candidate));
    }
    println!();
}
