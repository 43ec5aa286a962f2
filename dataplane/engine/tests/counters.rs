//! Counters: their sums, and their memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

use bcast_domain::TepIndex;
use bcast_domain::Vni;
use engine::counters::{Counters, WorkerCells};
use engine::police;
use wire::CopyDropReason;

#[test]
fn a_million_domains_cells_and_buckets_are_not_resident_until_they_are_used() {
    let resident_pages = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap()
    };
    let before = resident_pages();
    let cells = WorkerCells::new().unwrap();
    let limits = police::Policer::new(police::RateLimits::default()).unwrap();
    let grown = resident_pages() - before;
    assert!(grown < 1024, "{grown} pages");
    drop((cells, limits));
}

#[test]
fn sums_run_over_all_workers() {
    let counters = Counters::new(2).unwrap();
    let tep = TepIndex::new(3).unwrap();
    let (mut domains, ..) = bcast_domain::table(());
    let [domain, other] = [1, 2].map(|vni| domains.set(Vni::from(vni), &[]).unwrap());
    for (worker, count) in counters.workers.iter().zip([5, 7]) {
        worker.totals.rx_frames.add(count);
        worker.domain(domain).copies.add(count);
        for _ in 0..count {
            worker.drop_copy(Some(tep), domain, CopyDropReason::TxFull);
        }
    }
    assert_eq!(counters.sum(|w| &w.rx_frames), 12);
    assert_eq!(counters.sum(|w| &w.copy_drops[CopyDropReason::TxFull.index()]), 12);
    assert_eq!(counters.domain_sum(domain, |d| &d.copies), 12);
    assert_eq!(counters.domain_sum(domain, |d| &d.drops), 12);
    assert_eq!(counters.domain_sum(other, |d| &d.drops), 0);
    assert_eq!(counters.workers[1].tep_drops(tep).of_copies(CopyDropReason::TxFull), 7);
    assert_eq!(counters.tep_drops(tep).of_copies(CopyDropReason::TxFull), 12);
    assert_eq!(counters.domain_drops(domain).of_copies(CopyDropReason::TxFull), 12);
}
