//! `micro`: measures the stages of the packet path and the table of domains, next to what else one would take.
#![forbid(unsafe_code)]

use std::{error::Error, path::PathBuf, process::ExitCode, time::Duration};

use bench::report::{self, Report};
use clap::{Parser, Subcommand, ValueEnum};
use micro::{
    announce::Announcements,
    check, clock,
    contenders::{self, Contender},
    cores::{Cores, NoSuchCore},
    lookup::{self, Turns},
    publish,
    replicate::Replicator,
    results::{self, ReplicateRow, Row, Spread, Tables, VerdictRow},
    verdict::Verdicts,
};
use wire::Rejection;

/// Measures what a verdict, a lookup, a change and a copy cost, in CPU time. Takes about four minutes and 2 GB.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only these.
    #[arg(long, value_delimiter = ',', default_values_t = Part::ALL)]
    only: Vec<Part>,
    /// Only contenders whose name begins like this.
    #[arg(long, global = true, value_delimiter = ',')]
    contender: Vec<String>,
    /// Domains that lookups are measured on.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
    domains: Vec<u32>,
    /// Changes a second while lookups are measured.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 10_000, 100_000])]
    changes: Vec<u32>,
    /// Rounds of each.
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// Milliseconds of CPU time of each turn in a round.
    #[arg(long, default_value_t = 100)]
    turn_ms: u64,
    /// Core of the thread that is measured; the one beside it gets another [default: the last].
    #[arg(long)]
    core: Option<usize>,
    /// Take the packet buffers from hugepages.
    #[arg(long)]
    hugepages: bool,
    /// Where micro.json goes [default: the source tree's bench/results].
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Measures nothing: checks that all contenders give the right answers.
    Check,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Verdict,
    Lookup,
    Publish,
    Replicate,
    Announce,
}

impl Part {
    const ALL: [Self; 5] = [Self::Verdict, Self::Lookup, Self::Publish, Self::Replicate, Self::Announce];
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Verdict => "verdict",
            Self::Lookup => "lookup",
            Self::Publish => "publish",
            Self::Replicate => "replicate",
            Self::Announce => "announce",
        })
    }
}

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match args.command {
        Some(Command::Check) => check_all(&args.contenders()),
        None => measure(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("micro: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Args {
    fn contenders(&self) -> Vec<Contender> {
        let wanted = |name: &str| {
            self.contender.is_empty() || self.contender.iter().any(|start| name.starts_with(start.as_str()))
        };
        contenders::ALL.into_iter().filter(|contender| wanted(contender.name)).collect()
    }

    fn turns(&self) -> Result<Turns, NoSuchCore> {
        let cores = Cores::choose(self.core)?;
        Ok(Turns { rounds: self.rounds, turn: Duration::from_millis(self.turn_ms), cores })
    }
}

fn check_all(contenders: &[Contender]) -> Outcome {
    for contender in contenders {
        check::agrees(contender)?;
        println!("{:<32} gives the right answers", contender.name);
    }
    Ok(())
}

/// Virtual IPs in all, and in each domain, whose announcements are measured.
const ANNOUNCED: [(u32, u32); 4] = [(1_000, 50), (1_000, 1), (100_000, 50), (100_000, 1)];
/// Domains that changes are published to.
const PUBLISH_DOMAINS: u32 = 100_000;

fn measure(args: &Args) -> Outcome {
    let contenders = args.contenders();
    for contender in &contenders {
        check::agrees(contender)?;
    }
    let turns = args.turns()?;
    turns.cores.enter_measured();
    let mut rows = Vec::new();
    if args.only.contains(&Part::Verdict) {
        verdicts(turns, &mut rows)?;
    }
    if args.only.contains(&Part::Lookup) {
        let with_floor = [contenders.as_slice(), &[contenders::FLOOR]].concat();
        for &domains in &args.domains {
            let measured = lookup::measure(&with_floor, domains, &args.changes, turns)?;
            rows.extend(measured.into_iter().map(Row::Lookup));
        }
    }
    if args.only.contains(&Part::Publish) {
        let measured = publish::measure(&contenders, PUBLISH_DOMAINS, turns)?;
        rows.extend(measured.into_iter().map(Row::Publish));
    }
    if args.only.contains(&Part::Replicate) {
        replicate(turns, args.hugepages, &mut rows)?;
    }
    if args.only.contains(&Part::Announce) {
        for (havips, per_domain) in ANNOUNCED {
            let row = Announcements::new(havips, per_domain)?.measure(turns)?;
            rows.push(Row::Announce(row));
        }
    }
    println!("{}", Tables(&rows));
    let mut report = Report::new("micro", "micro", results::figures(&rows), rows);
    report.void = results::void(&report.rows);
    for figure in &report.figures {
        let met = figure.met.map_or("", |met| if met { "met" } else { "MISSED" });
        let target = figure.target.as_deref().unwrap_or("");
        println!("{:<87} {:>14} {target:>22} {met}", figure.what, figure.measured);
    }
    if let Some(void) = &report.void {
        println!("void: {void}");
    }
    println!("\n{}", report.machine);
    let path = report.write(&args.out.clone().unwrap_or_else(report::folder))?;
    println!("written: {}", path.display());
    Ok(())
}

/// Calls `step` for so much CPU time: steps in a second of it.
fn rate(turn: Duration, mut step: impl FnMut() -> Outcome) -> Result<f64, Box<dyn Error>> {
    let (start, mut steps) = (clock::cpu_ns(), 0_u32);
    loop {
        step()?;
        steps += 1;
        let spent = Duration::from_nanos(clock::cpu_ns() - start);
        if spent >= turn {
            return Ok(f64::from(steps) / spent.as_secs_f64());
        }
    }
}

fn verdicts(turns: Turns, rows: &mut Vec<Row>) -> Outcome {
    type Judge = fn(&Verdicts) -> Result<usize, Rejection>;
    let kinds: [(bool, Judge); 2] = [(true, Verdicts::judge), (false, Verdicts::judge_outer)];
    for inner_bytes in [60, 1400] {
        let verdicts = Verdicts::new(inner_bytes)?;
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..turns.rounds {
            for ((_, judge), times) in kinds.iter().zip(&mut times) {
                let rate = rate(turns.turn, || {
                    judge(&verdicts)
                        .map_err(|rejection| format!("a good frame was refused: {rejection:?}"))?;
                    Ok(())
                })?;
                times.push(1e9 / rate / verdicts.frames() as f64);
            }
        }
        rows.extend(kinds.iter().zip(times).map(|(&(inner_too, _), mut times)| {
            Row::Verdict(VerdictRow { inner_too, inner_bytes, ns_per_frame: Spread::of(&mut times) })
        }));
    }
    Ok(())
}

/// Copies in one step, about.
const COPIES_A_STEP: usize = 4096;

fn replicate(turns: Turns, hugepages: bool, rows: &mut Vec<Row>) -> Outcome {
    let mut replicator = Replicator::new(hugepages)?;
    let cases: Vec<(u16, usize)> =
        [60, 1400].into_iter().flat_map(|size| [1, 8, 32, 128, 512].map(|copies| (size, copies))).collect();
    let mut rates = vec![Vec::new(); cases.len()];
    for _ in 0..turns.rounds {
        for (&(inner_len, copies), rates) in cases.iter().zip(&mut rates) {
            let frames = u32::try_from(COPIES_A_STEP / copies)?;
            let steps = rate(turns.turn, || Ok(replicator.replicate(frames, copies, inner_len)?))?;
            rates.push(steps * f64::from(frames) * copies as f64 / 1e6);
        }
    }
    let lost = replicator.mbufs_in_use();
    if lost > 0 {
        return Err(format!("{lost} packet buffers were not given back").into());
    }
    rows.extend(cases.into_iter().zip(rates).map(|((inner_bytes, copies), mut rates)| {
        let million_copies_per_cpu_s = Spread::of(&mut rates);
        Row::Replicate(ReplicateRow { copies, inner_bytes, million_copies_per_cpu_s })
    }));
    Ok(())
}
