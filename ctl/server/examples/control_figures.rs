//! Measures the control path by itself, with a worker that only looks at the table:
//! `cargo run --release -p ctl-server --example control_figures [FOLDER] [DOMAINS]`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::*;
use ctl_api::model::{Batch, Change};

/// Members of each domain.
const MEMBERS: u16 = 16;
const TEPS: u16 = 4_096;
/// Joins and leaves of others while one is timed, a second.
const OTHERS: u32 = 1_000;
const TIMED: usize = 2_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let kept = tempfile::tempdir().unwrap();
    let folder = arguments.next().map_or_else(|| kept.path().to_owned(), Into::into);
    let domains: u32 = arguments.next().map_or(100_000, |text| text.parse().unwrap());
    load(&folder, domains);
    let started = Instant::now();
    let rig = Rig::new(&folder);
    println!(
        "restart with {domains} domains x {MEMBERS}: {:.2?}, RSS {} MB",
        started.elapsed(),
        resident_mb()
    );
    let counts = rig.server().counts();
    assert_eq!(counts.members, usize::from(MEMBERS) * counts.domains, "all is there");
    join_under_load(&rig, domains);
    scan(&rig);
}

fn load(folder: &Path, domains: u32) {
    let rig = Rig::new(folder);
    rig.commit((0..TEPS).map(add).collect());
    let started = Instant::now();
    let step = TEPS / MEMBERS;
    let members = |vni: u32| {
        (0..MEMBERS).map(|m| (u16::try_from(vni % u32::from(step)).unwrap()) + m * step).collect::<Vec<_>>()
    };
    let changes: Vec<Change> = (0..domains).map(|vni| set(vni, &members(vni))).collect();
    let made = started.elapsed();
    let reply = rig.run(rig.client().commit_stream(Batch::new(changes))).unwrap();
    println!(
        "load {} domains x {MEMBERS} in one apply: {:.2?} (and {made:.2?} to make it), RSS {} MB",
        reply.changed,
        started.elapsed() - made,
        resident_mb()
    );
}

/// Times single joins and leaves, one after the other, while others make theirs at a steady pace.
fn join_under_load(rig: &Rig, domains: u32) {
    let writers = 4;
    let pace = Duration::from_secs(1) * writers / OTHERS;
    let others: Vec<_> = (0..writers)
        .map(|writer| {
            let mut client = rig.client();
            rig.runtime.spawn(async move {
                let mut tick = tokio::time::interval(pace);
                for n in 0_u32.. {
                    tick.tick().await;
                    let vni = (n * writers + writer) % (domains / 2);
                    let batch = Batch::new(vec![flip(vni, n / (domains / 2))]);
                    client.commit(batch).await.unwrap();
                }
            })
        })
        .collect();
    let mut client = rig.client();
    let mut times: Vec<Duration> = (0..TIMED)
        .map(|n| {
            let vni = domains / 2 + u32::try_from(n).unwrap() / 2 % (domains / 2);
            let started = Instant::now();
            rig.run(client.commit(Batch::new(vec![flip(vni, u32::try_from(n).unwrap())]))).unwrap();
            started.elapsed()
        })
        .collect();
    others.iter().for_each(tokio::task::JoinHandle::abort);
    times.sort_unstable();
    let at = |part: usize| times[times.len() * part / 1_000];
    println!(
        "one join or leave beside {OTHERS}/s: median {:.2?}, p99 {:.2?}, p99.9 {:.2?}",
        at(500),
        at(990),
        at(999)
    );
}

fn flip(vni: u32, n: u32) -> Change {
    let tep = TEPS - 1;
    if n.is_multiple_of(2) { join(vni, &[tep]) } else { leave(vni, &[tep]) }
}

fn scan(rig: &Rig) {
    let started = Instant::now();
    let mut stream = rig.run(rig.client().snapshot(Default::default())).unwrap();
    let mut domains = 0;
    while let Some(part) = rig.run(stream.message()).unwrap() {
        domains += part.domains.len();
    }
    println!("snapshot of {domains} domains: {:.2?}, RSS {} MB", started.elapsed(), resident_mb());
}

/// Resident memory of this process, client included.
fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}
