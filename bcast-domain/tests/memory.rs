//! Memory of a full table. The one test of its process, so that all that is counted is the table's.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod counting;

use bcast_domain::{TepIndex, limits, table, table_with_capacity};
use counting::{Counting, live, peak_bytes};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Resident memory of this process in bytes, as the kernel sees it.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse::<usize>().unwrap() * 1024
}

/// The harness's own thread allocates for a moment after it has started the test: waits until it is done.
fn settle() {
    let mut still = 0;
    while still < 10 {
        let before = live();
        std::thread::sleep(std::time::Duration::from_millis(10));
        still = if live() == before { still + 1 } else { 0 };
    }
}

#[test]
fn a_million_domains_of_16_members_take_at_most_150_megabytes() {
    settle();
    let (at_first, resident_at_first) = (live(), resident());

    // A table that is made for that many, before it has any: its memory is the system's until it is used.
    let preallocated = table_with_capacity((), limits::MAX_DOMAINS);
    let reserved = live().bytes - at_first.bytes;
    let reserved_resident = resident() - resident_at_first;
    drop(preallocated);

    let (mut domains, _array, readers) = table(());
    let mut reader = readers.reader();
    for n in 0..u32::try_from(limits::MAX_DOMAINS).unwrap() {
        let members: [TepIndex; 16] =
            std::array::from_fn(|i| TepIndex::new((n + 4096 * u32::try_from(i).unwrap()) % 65_536).unwrap());
        domains.set(n.into(), &members).unwrap();
        if n % 1024 == 0 {
            reader.quiesce();
            domains.reclaim();
        }
    }
    domains.epoch();
    reader.quiesce();
    domains.reclaim();
    assert_eq!((domains.len(), domains.memberships()), (1_048_576, 16_777_216));
    let bytes = live().bytes - at_first.bytes;
    let resident = resident() - resident_at_first;

    drop((domains, _array, readers, reader));
    let at_last = live();

    // Printed at the end: the harness keeps it on the heap.
    let megabytes = |bytes: usize| bytes as f64 / 1e6;
    println!("empty, preallocated: {reserved} B reserved, {reserved_resident} B resident");
    println!(
        "1,048,576 domains of 16: {:.1} MB of heap, {:.1} MB resident, {:.1} MB at most while it grew",
        megabytes(bytes),
        megabytes(resident),
        megabytes(peak_bytes() - at_first.bytes),
    );
    assert!(bytes <= 150_000_000, "{bytes} bytes");
    assert_eq!(at_last, at_first, "all of it is given back");
}
