//! Starting DPDK, and threads that use it.
// Clippy knows tests, but not their helpers.
#![allow(clippy::unwrap_used)]

mod common;
use common::*;
use dpdk::{Eal, EalConfig, EalError, Mbuf, Mempool, PoolError, TxBatch};
use std::{fs, thread};

/// Hugepages of 2 MiB that the tests of this file use at most.
const HUGEPAGES: u32 = 64;

#[test]
fn its_version_is_one_that_this_was_written_for() {
    let version = dpdk::version();
    let year: u32 = version.strip_prefix("DPDK ").unwrap().split('.').next().unwrap().parse().unwrap();
    assert!((22..=25).contains(&year), "{version}");
}

#[test]
fn it_starts_once_in_a_process() {
    let first = eal();
    let again = Eal::init(&EalConfig::default());
    assert!(matches!(again, Err(EalError::Restarted)));
    drop(first);
    let after = Eal::init(&EalConfig::default());
    assert!(matches!(after, Err(EalError::Restarted)), "not even after the first is gone");
}

#[test]
fn it_starts_on_hugepages() {
    reserve_hugepages(HUGEPAGES);
    let eal = Eal::init(&EalConfig { memory_mb: 64, ..EalConfig::default() }).unwrap();
    let pool = pool(&eal);
    let mut batch = TxBatch::new();
    assert!(batch.copies(&pool, 64, b"frame", &heads(head)));
    assert!(hugepages("HugePages_Free") < hugepages("HugePages_Total"));
    drop(batch);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn without_enough_hugepages_it_says_so() {
    let config = EalConfig { memory_mb: 1 << 20, ..EalConfig::default() };
    let error = Eal::init(&config).err().unwrap().to_string();
    assert!(error.contains("DPDK does not start"), "{error}");
    assert!(error.contains("hugepages = false"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn an_argument_that_is_refused_is_named() {
    let args = vec!["--no-such-option".to_owned()];
    let error =
        Eal::init(&EalConfig { hugepages: false, args, ..EalConfig::default() }).err().unwrap().to_string();
    assert!(error.contains("check [eal] args"), "{error}");
    let args = vec!["--vdev=a\0b".to_owned()];
    let error = Eal::init(&EalConfig { hugepages: false, args, ..EalConfig::default() }).err().unwrap();
    assert!(matches!(error, EalError::Argument(word) if word == "--vdev=a\0b"));
}

#[test]
fn the_thread_that_starts_it_keeps_its_cores() {
    let cores = || {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        status.lines().find(|line| line.starts_with("Cpus_allowed:")).unwrap().to_owned()
    };
    let before = cores();
    let _eal = eal();
    assert_eq!(cores(), before);
    assert_eq!(thread::spawn(cores).join().unwrap(), before);
}

#[test]
fn a_thread_registers_once_and_gives_its_caches_back() {
    let eal = eal();
    let pool = Mempool::new(&eal, "cached", 255, 128, 2048).unwrap();
    let registration = eal.register_thread().unwrap();
    assert!(matches!(eal.register_thread(), Err(EalError::Registered)));
    let held = Mbuf::alloc(&pool).unwrap();
    assert_eq!(pool.in_use(), 1, "mbufs in a cache are not in use");
    let take_all = || (0..255).map_while(|_| Mbuf::alloc(&pool)).collect::<Vec<_>>().len();
    assert!(
        thread::scope(|scope| scope.spawn(take_all).join().unwrap()) < 254,
        "this thread's cache has some"
    );
    drop(registration);
    assert_eq!(thread::scope(|scope| scope.spawn(take_all).join().unwrap()), 254);
    drop(held);
    assert_eq!(pool.in_use(), 0);
    drop(eal.register_thread().unwrap());
}

#[test]
fn more_threads_register_than_a_node_has_workers() {
    let eal = eal();
    let pool = pool(&eal);
    let gate = std::sync::Barrier::new(17);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let _registration = eal.register_thread().unwrap();
                gate.wait();
                let mut batch = TxBatch::new();
                assert!(batch.copies(&pool, 8, b"frame", &heads(head)));
            });
        }
        gate.wait();
    });
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn mbufs_outlive_all_handles() {
    let eal = eal();
    let pool = pool(&eal);
    let mut mbuf = Mbuf::from_bytes(&pool, b"still here").unwrap();
    drop((eal, pool));
    assert_eq!(mbuf.data(), b"still here");
    mbuf.append(3).unwrap().copy_from_slice(b"...");
    assert_eq!(mbuf.data(), b"still here...");
}

#[test]
fn a_pool_that_cannot_be_made_says_why() {
    let eal = eal();
    let make = |name: &str, count, cache, room| Mempool::new(&eal, name, count, cache, room).map(drop);
    assert!(matches!(make("a", 1023, 64, 255), Err(PoolError::DataRoom(255))));
    assert!(matches!(make("a", 1023, 64, 65_408), Err(PoolError::DataRoom(65_408))));
    assert!(matches!(make("a", 8191, 513, 2048), Err(PoolError::Cache { cache: 513, count: 8191 })));
    assert!(matches!(make("a", 100, 68, 2048), Err(PoolError::Cache { cache: 68, count: 100 })));
    assert!(matches!(make("a\0b", 100, 0, 2048), Err(PoolError::Name(_))));
    make("a", 100, 67, 256).unwrap();
    let twice = make("a", 100, 66, 256).unwrap_err().to_string();
    assert!(twice.contains("File exists"), "{twice}");
    let huge = make("b", 10_000_000, 512, 2048).unwrap_err().to_string();
    assert!(huge.contains("22583 MiB") && huge.contains("Cannot allocate memory"), "{huge}");
}
