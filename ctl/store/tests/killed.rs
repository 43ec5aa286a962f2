//! A process that is killed while it commits: what it was told is durable is there, and nothing is there in part.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use common::*;
use ctl_store::{Group, OutboxRows, Store};

/// Set for the process that is to be killed: the store's folder.
const FOLDER: &str = "BCAST_STORE_TO_BE_KILLED";
const KILLS: usize = 12;

/// Moves one HAVIP for ever, says each revision that is durable, and settles what is a few revisions old.
fn commit_for_ever(folder: &Path) -> ! {
    let store = open(folder);
    loop {
        let revision = store.revision().unwrap().get() + 1;
        let events = vec![set(&entry("web", revision)), happened("web", revision)];
        let outbox = OutboxRows { insert: vec![row("noc", revision, 0)], delete: vec![] };
        store.commit(&Group { outbox, ..group(revision - 1, vec![record(revision, events)]) }).unwrap();
        println!("durable {revision}");
        if let Some(old) = revision.checked_sub(3).filter(|&old| old > 0) {
            store.settle(&[row("noc", old, 0).key], &[]).unwrap();
            println!("settled {old}");
        }
    }
}

#[test]
fn whenever_it_is_killed_a_move_is_there_with_all_that_belongs_to_it() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        commit_for_ever(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let web = "web".parse().unwrap();
    let mut before = 0;
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "whenever_it_is_killed_a_move_is_there_with_all_that_belongs_to_it",
            ])
            .env(FOLDER, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        // Each time after another line, so that it dies between other steps.
        let mut told = lines.filter(|line| line.starts_with("durable") || line.starts_with("settled"));
        let seen: Vec<String> = told.by_ref().take(5 + kill).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        let rest: Vec<String> = told.collect();
        let last = |word: &str| {
            let of = |line: &String| line.strip_prefix(word).map(|n| n.trim().parse::<u64>().unwrap());
            seen.iter().chain(&rest).filter_map(of).max()
        };
        let store = open(folder.path());
        let revision = store.revision().unwrap().get();
        let durable = last("durable").unwrap();
        assert!(revision == durable || revision == durable + 1, "{revision} where {durable} was told");
        let havip = store.snapshot().unwrap().havips().unwrap().next().unwrap().unwrap();
        assert_eq!(havip.binding.generation, revision);
        let history: Vec<u64> = store.history(&web).unwrap().iter().map(|h| h.generation).collect();
        assert_eq!(history, (revision.saturating_sub(49).max(1)..=revision).collect::<Vec<_>>());
        // Settled events may be there again, but none that was not settled is missing.
        let rows: Vec<u64> = store.outbox().unwrap().iter().map(|row| row.key.id.revision.get()).collect();
        let settled = last("settled").unwrap_or(before);
        let unsettled = (settled + 2).min(revision);
        assert!((unsettled..=revision).all(|n| rows.contains(&n)), "{rows:?}, settled up to {settled}");
        before = settled;
    }
    assert!(before > 0, "something was settled");
}
