//! A full BGP table that keeps changing beside as many TEPs as a node holds: how long until a change and a query are
//! answered.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use ctl_api::Client;
use serde::Serialize;
use testkit::lab::{Host, Lab};
use testkit::node::{Config, Node};
use testkit::process::{PATIENCE, run as must};

use crate::harness::{Figure, Report, api, quantile};

/// TEPs: all addresses of 198.19.0.0/16, as many as a node holds, less the two routers.
const TEPS: u32 = 65_534;
const VNI: u32 = 5001;
/// Routes that change a second.
const CHANGES_PER_S: u32 = 1_000;
/// One change in so many is of a /24 that 256 TEPs are in.
const OF_TEPS: u32 = 100;
/// Joins, leaves and queries that are timed.
const ASKED: u32 = 1_000;
/// Limit of the time for which routes change.
const LONGEST: Duration = Duration::from_secs(600);
/// An answer may take so long.
const ANSWER_MS: f64 = 50.0;

/// One run; answers in milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Row {
    routes: u32,
    teps: u32,
    /// Routes that changed a second, as they did.
    changes_per_s: f64,
    change_median_ms: f64,
    change_p99_ms: f64,
    change_max_ms: f64,
    query_p99_ms: f64,
    query_max_ms: f64,
}

/// Measures; tells whether the target was met.
pub fn run(routes: u32, results: &Path) -> Result<bool> {
    let lab = Lab::new();
    let routers = [lab.host(), lab.host()];
    let node = Node::start(&lab, &Config::new(lab.folder()).set("eal.memory_mb", 512));
    lab.node.ip(&format!("route add 198.19.0.0/16 via {}", routers[0].address));
    load(&lab, &routers, routes)?;
    let runtime = api::runtime()?;
    let state = api::state((1..=TEPS).map(tep), [(VNI, vec![tep(1), tep(2)])])?;
    runtime.block_on(async { Client::connect(&node.socket()).await?.commit_stream(state).await })?;
    node.wait_resolved(&[[198, 19, 255, 253].into()]);
    let mut client = runtime.block_on(Client::connect(&node.socket()))?;
    let (stop, changed) = (AtomicBool::new(false), AtomicU64::new(0));
    let addresses = routers.each_ref().map(|host| host.address);
    let row = thread::scope(|scope| {
        let mut command = lab.node.command("ip");
        let mut ip = command.args(["-batch", "-"]).stdin(Stdio::piped()).spawn()?;
        let input = ip.stdin.take().context("no standard input")?;
        let churning = scope.spawn(|| churn(input, addresses, routes, &stop, &changed));
        let (start, before) = (Instant::now(), changed.load(Relaxed));
        let asked = runtime.block_on(ask(&mut client));
        let changes = changed.load(Relaxed) - before;
        let changes_per_s = changes as f64 / start.elapsed().as_secs_f64();
        stop.store(true, Relaxed);
        end(&mut ip)?;
        churning.join().map_err(|_| anyhow!("the routes could not be changed"))??;
        let (mut change, mut query) = asked?;
        let [change_median_ms, change_p99_ms, change_max_ms] =
            [0.5, 0.99, 1.0].map(|share| quantile(&mut change, share));
        let [query_p99_ms, query_max_ms] = [0.99, 1.0].map(|share| quantile(&mut query, share));
        Ok::<_, anyhow::Error>(Row {
            routes,
            teps: TEPS,
            changes_per_s,
            change_median_ms,
            change_p99_ms,
            change_max_ms,
            query_p99_ms,
            query_max_ms,
        })
    })?;
    println!("{row:?}");
    let beside =
        format!("{} TEPs, {routes} routes, {:.0} of which change a second", row.teps, row.changes_per_s);
    let figures =
        [("a join or leave", row.change_p99_ms), ("`tep show`", row.query_p99_ms)].map(|(what, p99)| {
            Figure::at_most(format!("{beside}: {what} is answered, p99"), p99, ANSWER_MS, " ms")
        });
    Report::new("churn", figures.into(), vec![row]).keep(results)
}

/// The address of a TEP, from 1 on.
fn tep(number: u32) -> Ipv4Addr {
    (0xc613_0000 + number).into()
}

/// The destination of a route of the table: a /24 from 1.0.0.0 on.
fn destination(number: u32) -> String {
    let [a, b, c, _] = (0x0100_0000 + (number << 8)).to_be_bytes();
    format!("{a}.{b}.{c}.0/24")
}

fn load(lab: &Lab, routers: &[Host; 2], routes: u32) -> Result<()> {
    let mut batch = String::new();
    for number in 0..routes {
        // A string takes whatever is written to it.
        let _ = writeln!(batch, "route add {} via {} proto bgp", destination(number), routers[0].address);
    }
    let file = lab.folder().join("routes");
    std::fs::write(&file, batch)?;
    must(lab.node.command("ip").arg("-batch").arg(&file));
    Ok(())
}

/// Changes routes evenly until it is stopped, or [`LONGEST`] has passed.
fn churn(
    mut input: ChildStdin,
    routers: [Ipv4Addr; 2],
    routes: u32,
    stop: &AtomicBool,
    changed: &AtomicU64,
) -> Result<()> {
    let start = Instant::now();
    for number in 0_u32.. {
        if stop.load(Relaxed) || start.elapsed() > LONGEST {
            break;
        }
        let to = match number % OF_TEPS {
            0 => format!("198.19.{}.0/24", number / OF_TEPS % 256),
            _ => destination(number.wrapping_mul(7_919) % routes.max(1)),
        };
        let via = routers[usize::from(number / 2 % 2 == 0)];
        writeln!(input, "route replace {to} via {via} proto bgp")?;
        changed.fetch_add(1, Relaxed);
        thread::sleep((Duration::from_secs(1) * number / CHANGES_PER_S).saturating_sub(start.elapsed()));
    }
    Ok(())
}

/// Waits for the end of `ip`, which comes when its input is closed, and kills it if it hangs. The thread that writes to it
/// then gets an error: so it ends in any case.
fn end(ip: &mut Child) -> Result<()> {
    let start = Instant::now();
    while ip.try_wait()?.is_none() {
        if start.elapsed() > PATIENCE {
            ip.kill()?;
            ip.wait()?;
            bail!("`ip -batch` did not end within {PATIENCE:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Milliseconds of answers to joins and leaves, and to queries.
async fn ask(client: &mut Client) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut changes, mut queries) = (Vec::new(), Vec::new());
    for number in 0..ASKED {
        let tep = api::tep_ref(tep(number / 2 + 3))?;
        let change = api::membership(VNI, tep.clone(), number % 2 == 0);
        let start = Instant::now();
        client.commit(change).await?;
        changes.push(start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        client.tep(tep).await?;
        queries.push(start.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok((changes, queries))
}
