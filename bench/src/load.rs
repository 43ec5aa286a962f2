//! Loading, restarting and memory of a node with very many domains, and how fast a change is answered.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use ctl_api::Client;
use ctl_api::model::Batch;
use serde::Serialize;
use testkit::node::{Config, Node};

use crate::harness::thread::resident_bytes;
use crate::harness::{Figure, Report, api, quantile, report, tep};

/// A port that receives nothing and frees what it is given.
const DEVICE: &str = "vdev:net_null0,no-rx=1";

/// Options of `bench load`.
#[derive(Args)]
pub struct Load {
    #[arg(long, default_value_t = 1_000_000)]
    domains: u32,
    /// Members of each
    #[arg(long, default_value_t = 16)]
    members: u32,
    /// Take the packet buffers from hugepages
    #[arg(long)]
    hugepages: bool,
}

/// Options of `bench join`.
#[derive(Args)]
pub struct Join {
    /// Other changes a second that go on meanwhile
    #[arg(long, default_value_t = 1000)]
    background: u32,
    #[arg(long, default_value_t = 2000)]
    joins: u32,
    /// Take the packet buffers from hugepages
    #[arg(long)]
    hugepages: bool,
}

/// `bench/results/load.json`.
#[derive(Serialize)]
struct LoadRow {
    domains: u32,
    members: u32,
    /// Time from the first change sent to the answer.
    load_s: f64,
    /// Time from the daemon's start to ready, with all of them.
    restart_s: f64,
    /// Resident memory of a daemon without domains. Of DPDK's, hugepages are not in it.
    empty_mb: f64,
    /// After loading.
    loaded_mb: f64,
    /// After the restart.
    restarted_mb: f64,
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

/// TEPs as many as given, and domains from VNI 1 on of `members` TEPs each, taken in a row from them.
fn state(teps: u32, domains: u32, members: u32) -> Result<Batch> {
    let members = |domain| (0..members).map(|place| tep((domain + place) % teps)).collect();
    api::state((0..teps).map(tep), (0..domains).map(|domain| (domain + 1, members(domain))))
}

fn start(folder: &Path, hugepages: bool) -> Node<'static> {
    Node::on_host(folder, &Config::without_network(folder, DEVICE).set("eal.hugepages", hugepages))
}

impl Load {
    /// Measures; tells whether the targets are met.
    ///
    /// # Errors
    /// The node refuses, or does not have all domains after its restart.
    pub fn run(self) -> Result<bool> {
        let Self { domains, members, hugepages } = self;
        let folder = tempfile::tempdir()?;
        let mut node = start(folder.path(), hugepages);
        let resident_mb = |node: &Node| Ok::<_, anyhow::Error>(resident_bytes(node.id())? as f64 / 1e6);
        let empty_mb = resident_mb(&node)?;
        let changes = state(10_000.max(members), domains, members)?;
        let load_s = api::runtime()?.block_on(async {
            let mut client = Client::connect(&node.socket()).await?;
            let start = Instant::now();
            client.commit_stream(changes).await?;
            Ok::<_, anyhow::Error>(start.elapsed().as_secs_f64())
        })?;
        let loaded_mb = resident_mb(&node)?;
        node.stop();
        let start = Instant::now();
        node.restart();
        let (restart_s, restarted_mb) = (start.elapsed().as_secs_f64(), resident_mb(&node)?);
        let found = node.metrics().sum("bcast_domains");
        ensure!(found == u64::from(domains), "{found} domains after the restart");
        // The targets are those of a million, and of memory that is not DPDK's: its hugepages do not count as resident.
        let judged = (domains, members, hugepages) == (1_000_000, 16, true);
        let of = format!("{domains} domains of {members} members");
        let judge = |what: &str, value: f64, most: f64, unit: &str| {
            let figure = Figure::at_most(format!("{of}: {what}"), value, most, unit);
            if judged { figure } else { Figure { target: None, met: None, ..figure } }
        };
        let figures = vec![
            Figure::plain(format!("{of}: loaded through the API"), format!("{load_s:.1} s")),
            judge("from start to ready, from the store", restart_s, 15.0, " s"),
            judge("resident memory then, of all but the packet buffers", restarted_mb, 250.0, " MB"),
            Figure::plain("the same right after loading through the API", format!("{loaded_mb:.0} MB")),
            Figure::plain("the same without any domain", format!("{empty_mb:.0} MB")),
        ];
        let row = LoadRow { domains, members, load_s, restart_s, empty_mb, loaded_mb, restarted_mb };
        Report::new("load", figures, vec![row]).keep(&report::folder())
    }
}

impl Join {
    /// Measures.
    ///
    /// # Errors
    /// The node refuses.
    pub fn run(self) -> Result<bool> {
        let folder = tempfile::tempdir()?;
        let node = start(folder.path(), self.hugepages);
        let (mut times, others_per_s) = api::runtime()?.block_on(ask(&node, self.background, self.joins))?;
        let [median_ms, p99_ms, max_ms] = [0.5, 0.99, 1.0].map(|share| quantile(&mut times, share));
        let figure = Figure::plain(
            format!("a join is answered while {others_per_s:.0} other changes a second go on"),
            format!("median {median_ms:.2} ms, p99 {p99_ms:.2} ms, longest {max_ms:.2} ms"),
        );
        let row = JoinRow { joins: self.joins, others_per_s, median_ms, p99_ms, max_ms };
        Report::new("join", vec![figure], vec![row]).keep(&report::folder())
    }
}

/// Milliseconds of each answer, and other changes a second.
async fn ask(node: &Node<'_>, background: u32, joins: u32) -> Result<(Vec<f64>, f64)> {
    let mut client = Client::connect(&node.socket()).await?;
    client.commit_stream(state(1000, 1000, 8)?).await?;
    let (busy, stranger) = (client.clone(), api::tep_ref(tep(999))?);
    let others = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / background);
        for turn in 0_u32.. {
            ticks.tick().await;
            let batch = api::membership(turn % 500 + 1, stranger.clone(), turn / 500 % 2 == 0);
            let mut client = busy.clone();
            tokio::spawn(async move { client.commit(batch).await.map(|_| ()) });
        }
    });
    let revision = || node.metrics().total("bcast_revision", "");
    let (before, start, mut times) = (revision(), Instant::now(), Vec::new());
    for turn in 0..joins {
        let batch = api::membership(turn % 400 + 501, api::tep_ref(tep(998))?, turn / 400 % 2 == 0);
        let asked = Instant::now();
        client.commit(batch).await?;
        times.push(asked.elapsed().as_secs_f64() * 1e3);
    }
    let took = start.elapsed().as_secs_f64();
    others.abort();
    Ok((times, (revision() - before - f64::from(joins)) / took))
}
