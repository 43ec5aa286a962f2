//! A store that takes no changes for a while: what the log, the health and later changes say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::failing::failing;
use common::log::Log;
use common::*;
use ctl_api::client::RefusalKind;
use ctl_api::model::Batch;
use ctl_store::EmbeddedStore;

/// Number of lines with these words.
fn count(log: &str, words: &str) -> usize {
    log.lines().filter(|line| line.contains(words)).count()
}

#[test]
fn a_full_disk_is_told_once_in_the_log_and_by_health_until_the_store_works_again() {
    let log = Log::default();
    tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).init();
    for late in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let fails = Arc::new(AtomicBool::new(false));
        let store = EmbeddedStore::open(&folder.path().join("domains.redb")).unwrap();
        let rig = Rig::with_store(folder.path(), failing(store, &fails, late));
        rig.commit(vec![add(1)]);
        assert_eq!(rig.server().store_takes_changes(), Ok(()));
        log.take();
        fails.store(true, Ordering::Relaxed);
        for n in 2..60 {
            let (kind, _) = rig.try_commit(Batch::new(vec![add(n)])).unwrap_err();
            assert_eq!(kind, RefusalKind::Unavailable);
            let why = rig.server().store_takes_changes().unwrap_err();
            assert!(why.contains("domains.redb") && !why.contains('\n'), "{why}");
        }
        let told = log.take();
        assert_eq!(count(&told, "the store takes no changes"), 1);
        assert_eq!(told.lines().count(), 1, "and nothing else");
        // Nobody asks for anything: it is found by itself that the store works.
        fails.store(false, Ordering::Relaxed);
        until("the store takes changes", || rig.server().store_takes_changes().is_ok());
        assert_eq!(count(&log.take(), "the store takes changes again"), 1);
        rig.commit(vec![add(100)]);
    }
}

#[test]
fn the_commit_thread_turns_while_nothing_happens_and_while_the_state_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(600));
        until("it turned", || rig.server().commit_thread_silent_for() < Duration::from_millis(600));
    }
    // Lists that a worker does not let go of are no reason to stand still.
    rig.commit(vec![add(1), set(1, &[1])]);
    rig.worker.set_stuck(true);
    drop(rig.try_commit(Batch::new(vec![leave(1, &[1])])));
    std::thread::sleep(Duration::from_millis(600));
    until("it turned", || rig.server().commit_thread_silent_for() < Duration::from_millis(600));
    rig.worker.set_stuck(false);
}
