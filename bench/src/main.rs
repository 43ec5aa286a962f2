//! Measures a node: loading, restarting, memory, and how fast a change is answered; and writes the README's figures.

use std::error::Error;
use std::time::{Duration, Instant};

use bcast_domain::{Tep, Vni};
use bench::report::{self, Figure, Report};
use bench::{Daemon, quantile, readme, tep};
use clap::{Parser, Subcommand};
use ctl_api::Client;
use ctl_api::model::{Batch, Change, TepRef};
use serde::Serialize;

/// Measures bcastd and prints what it measured. Build all binaries first: `cargo build --release -p dataplane -p bench`.
#[derive(Parser)]
struct Args {
    /// Take the packet buffers from hugepages.
    #[arg(long)]
    hugepages: bool,
    #[command(subcommand)]
    command: Measurement,
}

#[derive(Subcommand)]
enum Measurement {
    /// Seconds to load domains through the API, and from a restart to ready with them; and the memory that they take.
    Load {
        #[arg(long, default_value_t = 1_000_000)]
        domains: u32,
        #[arg(long, default_value_t = 16)]
        members: u32,
    },
    /// Milliseconds until a join is answered, while other changes go on.
    Join {
        /// Changes a second that go on meanwhile.
        #[arg(long, default_value_t = 1000)]
        background: u32,
        #[arg(long, default_value_t = 2000)]
        joins: u32,
    },
    /// Writes the figures of bench/results into README.md, between its markers.
    Readme,
}

type Done = Result<(), Box<dyn Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Done {
    let args = Args::parse();
    match args.command {
        Measurement::Load { domains, members } => load(domains, members, args.hugepages).await,
        Measurement::Join { background, joins } => join(background, joins, args.hugepages).await,
        Measurement::Readme => write_readme(),
    }
}

fn member(index: u32) -> Result<TepRef, Box<dyn Error>> {
    Ok(TepRef::Address(Tep::new(tep(index))?))
}

/// TEPs `0..teps`, and domains from VNI 1 on of `members` TEPs each, taken in a row from them.
fn state(teps: u32, domains: u32, members: u32) -> Result<Vec<Change>, Box<dyn Error>> {
    let mut changes = Vec::new();
    for index in 0..teps {
        changes.push(Change::tep(Tep::new(tep(index))?, None));
    }
    for domain in 0..domains {
        let members = (0..members).map(|i| member((domain + i) % teps)).collect::<Result<_, _>>()?;
        changes.push(Change::members(Vni::from(domain + 1), members));
    }
    Ok(changes)
}

/// `bench/results/load.json`.
#[derive(Serialize)]
struct LoadRow {
    domains: u32,
    members: u32,
    /// From the first change sent to the answer.
    load_s: f64,
    /// From the daemon's start to ready, with all of them.
    restart_s: f64,
    /// Resident memory of a daemon without domains. Of DPDK's, hugepages are not in it.
    empty_mb: f64,
    /// After loading.
    loaded_mb: f64,
    /// After the restart.
    restarted_mb: f64,
}

async fn load(domains: u32, members: u32, hugepages: bool) -> Done {
    let device = "vdev:net_null0,no-rx=1";
    let daemon = Daemon::start(device, hugepages)?;
    let resident_mb = |daemon: &Daemon| -> std::io::Result<f64> { Ok(daemon.resident_bytes()? as f64 / 1e6) };
    let empty_mb = resident_mb(&daemon)?;
    let mut client = Client::connect(&daemon.socket()).await?;
    let changes = state(10_000.max(members), domains, members)?;
    let start = Instant::now();
    client.commit_stream(Batch::new(changes)).await?;
    let (load_s, loaded_mb) = (start.elapsed().as_secs_f64(), resident_mb(&daemon)?);
    let folder = daemon.stop()?;
    let start = Instant::now();
    let daemon = Daemon::start_in(folder, device, hugepages)?;
    let (restart_s, restarted_mb) = (start.elapsed().as_secs_f64(), resident_mb(&daemon)?);
    let found = daemon.metric("bcast_domains")?;
    if found != f64::from(domains) {
        return Err(format!("{found} domains after the restart").into());
    }
    daemon.stop()?;
    // What is asked is asked of a million, and of memory that is not DPDK's: its hugepages do not count as resident.
    let judged = (domains, members, hugepages) == (1_000_000, 16, true);
    let judge = |what: &str, value: f64, most: f64, unit: &str| {
        let what = format!("{domains} domains of {members} members: {what}");
        let figure = Figure::at_most(what, value, most, unit);
        if judged { figure } else { Figure { target: None, met: None, ..figure } }
    };
    let figures = vec![
        Figure::plain(
            format!("{domains} domains of {members} members: loaded through the API"),
            format!("{load_s:.1} s"),
        ),
        judge("from start to ready, from the store", restart_s, 15.0, " s"),
        judge("resident memory then, of all but the packet buffers", restarted_mb, 250.0, " MB"),
        Figure::plain("the same right after loading through the API", format!("{loaded_mb:.0} MB")),
        Figure::plain("the same without any domain", format!("{empty_mb:.0} MB")),
    ];
    keep(
        "load",
        figures,
        vec![LoadRow { domains, members, load_s, restart_s, empty_mb, loaded_mb, restarted_mb }],
    )
}

/// Prints the figures, and writes the report where the last one was.
fn keep<R: Serialize>(name: &str, figures: Vec<Figure>, rows: Vec<R>) -> Done {
    for Figure { what, measured, target, met } in &figures {
        let missed = if *met == Some(false) { ": MISSED" } else { "" };
        println!(
            "{what}: {measured}{}{missed}",
            target.iter().map(|target| format!(" ({target})")).collect::<String>()
        );
    }
    println!("{}", Report::new(name, "bench", figures, rows).write(&report::folder())?.display());
    Ok(())
}

fn write_readme() -> Done {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let reports = report::read_all(&report::folder())?;
    std::fs::write(&path, readme::with_figures(&std::fs::read_to_string(&path)?, &reports)?)?;
    Ok(())
}

/// `bench/results/join.json`: milliseconds until a join is answered.
#[derive(Serialize)]
struct JoinRow {
    joins: u32,
    /// Other changes a second, as they were.
    others_per_s: f64,
    median_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

async fn join(background: u32, joins: u32, hugepages: bool) -> Done {
    let daemon = Daemon::start("vdev:net_null0,no-rx=1", hugepages)?;
    let mut client = Client::connect(&daemon.socket()).await?;
    client.commit_stream(Batch::new(state(1000, 1000, 8)?)).await?;
    let change = |vni: u32, tep: TepRef, joins: bool| {
        let (vni, teps) = (Vni::from(vni), [tep].into_iter().collect());
        Batch::new(vec![if joins { Change::Join { vni, teps } } else { Change::Leave { vni, teps } }])
    };
    let busy = client.clone();
    let stranger = member(999)?;
    let load = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / background);
        for turn in 0_u32.. {
            ticks.tick().await;
            let (mut client, batch) =
                (busy.clone(), change(turn % 500 + 1, stranger.clone(), turn / 500 % 2 == 0));
            tokio::spawn(async move { client.commit(batch).await.map(|_| ()) });
        }
    });
    let mut times = Vec::new();
    let revision = daemon.metric("bcast_revision")?;
    let start = Instant::now();
    for turn in 0..joins {
        let batch = change(turn % 400 + 501, member(998)?, turn / 400 % 2 == 0);
        let asked = Instant::now();
        client.commit(batch).await?;
        times.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    let took = start.elapsed().as_secs_f64();
    load.abort();
    let others = daemon.metric("bcast_revision")? - revision - f64::from(joins);
    daemon.stop()?;
    let others_per_s = others / took;
    let [median_ms, p99_ms, max_ms] = [0.5, 0.99, 1.0].map(|share| quantile(&mut times, share));
    let what = format!("a join is answered while {others_per_s:.0} other changes a second go on");
    let figures = vec![Figure::plain(
        what,
        format!("median {median_ms:.2} ms, p99 {p99_ms:.2} ms, longest {max_ms:.2} ms"),
    )];
    keep("join", figures, vec![JoinRow { joins, others_per_s, median_ms, p99_ms, max_ms }])
}
