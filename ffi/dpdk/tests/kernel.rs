//! Ports that the kernel is behind: af_packet, af_xdp and tap. Each test has a network namespace of its own,
//! which goes with the test's process.
// Clippy knows tests, but not their helpers.
#![allow(clippy::unwrap_used)]

mod common;
use common::*;
use dpdk::{Burst, Eal, EalConfig, Mbuf, Mempool, Port, PortConfig, RxQueue, TxBatch};
use std::{
    fs,
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// Moves this thread, and what it starts from here on, to a new network namespace with two interfaces, `left`
/// and `right`, that are each other's peer.
fn veth_pair() {
    // SAFETY: FFI without pointers; it changes this thread's namespaces, which no other thread depends on.
    let code = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(code, 0, "a network namespace takes CAP_SYS_ADMIN: run as root");
    for all in ["all", "default"] {
        // Or the kernel would send frames of its own.
        fs::write(format!("/proc/thread-self/net/../../sys/net/ipv6/conf/{all}/disable_ipv6"), "1").ok();
    }
    ip("link add left type veth peer name right");
    for interface in ["left", "right"] {
        ip(&format!("link set {interface} up"));
    }
}

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status().unwrap();
    assert!(status.success(), "ip {words}");
}

/// Receives the frames that start with [`header`]'s first bytes until there are `count`; the kernel may send
/// others.
fn receive_own(queue: &mut RxQueue, count: usize) -> Vec<Vec<u8>> {
    let (mut burst, mut frames) = (Burst::new(), Vec::new());
    let deadline = Instant::now() + Duration::from_secs(10);
    while frames.len() < count && Instant::now() < deadline {
        queue.receive(&mut burst);
        let own =
            burst.iter().map(|(_, mbuf)| mbuf.data().to_vec()).filter(|frame| frame[12..14] == [0x88, 0xb5]);
        frames.extend(own);
        thread::yield_now();
    }
    frames
}

/// As [`common::head`], but an Ethernet header that a kernel lets pass: to all, from a local address, of a
/// local type.
fn ethernet_head(copy: usize) -> [u64; 6] {
    let mut bytes = [0; 48];
    bytes[6..].copy_from_slice(&ethernet_header(copy));
    std::array::from_fn(|i| u64::from_ne_bytes(bytes[i * 8..][..8].try_into().unwrap()))
}

fn ethernet_header(copy: usize) -> [u8; 42] {
    let mut header = header(copy);
    header[..14].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    header
}

/// Sends copies, and chains where they are taken, from one port, and sees them arrive at the other. The
/// copies are made of `made_of`, which need not be the sending port's pool.
fn frames_pass(eal: &Eal, from: (&str, &Mempool), to: (&str, &Mempool), made_of: &Mempool, chains: bool) {
    let config = PortConfig { chains, ..PortConfig::default() };
    let (_port, mut sender) = start(eal, from.1, from.0, &config);
    let (_other, mut receiver) = start(eal, to.1, to.0, &PortConfig::default());
    let waiting = to.1.in_use();
    let (mut batch, mut expected) = (TxBatch::new(), Vec::new());
    for (len, count) in [(18, 1), (60, 64), (256, 64)] {
        assert!(batch.copies(made_of, count, &payload(len), &heads(ethernet_head)));
        assert_eq!(sender.tx[0].transmit(&mut batch), count, "{len} bytes");
        expected.extend((0..count).map(|copy| [&ethernet_header(copy)[..], &payload(len)].concat()));
    }
    if chains {
        let mut shared = Mbuf::from_bytes(made_of, &payload(1472)).unwrap().share(0..1472, 64).ok().unwrap();
        assert!(batch.chains(made_of, 64, &mut shared, &heads(ethernet_head)));
        assert_eq!(sender.tx[0].transmit(&mut batch), 64);
        expected.extend((0..64).map(|copy| [&ethernet_header(copy)[..], &payload(1472)].concat()));
    }
    let seen = receive_own(&mut receiver.rx[0], expected.len());
    assert_eq!(seen.len(), expected.len());
    assert!(seen == expected, "frames differ");
    assert_eq!(to.1.in_use(), waiting, "mbufs of the receiving port");
}

#[test]
fn af_packet_carries_copies_and_chains() {
    veth_pair();
    let eal = eal();
    let pool = pool(&eal);
    frames_pass(&eal, ("af_packet:left", &pool), ("af_packet:right", &pool), &pool, true);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn af_packet_takes_frames_of_1518_bytes_and_advertises_chains() {
    veth_pair();
    let eal = eal();
    let name = eal.attach(&"af_packet:left".parse().unwrap(), 2).unwrap();
    let port = Port::open(&eal, &name).unwrap();
    let can = port.capabilities();
    assert_eq!((can.driver.as_str(), can.multi_segs, can.synchronous_tx), ("net_af_packet", true, true));
    assert_eq!((can.max_frame, can.max_mtu), (1518, 1500));
    assert_eq!((can.max_rx_queues, can.max_tx_queues), (2, 2), "as many as there are workers");
    let pool = pool(&eal);
    let config = PortConfig { mtu: 1501, ..PortConfig::default() };
    let error = port.configure(&config, std::slice::from_ref(&pool)).err().unwrap().to_string();
    assert!(error.contains("takes an mtu of at most 1500 bytes, not 1501"), "{error}");
    let config = PortConfig { rx_queues: 2, tx_queues: 2, ..PortConfig::default() };
    let queues = port.configure(&config, &[pool.clone(), pool.clone()]).unwrap();
    assert_eq!((queues.rx.len(), queues.tx.len()), (2, 2));
    let mac = [2, 0, 0, 0, 0, 77];
    port.set_mac(mac).unwrap();
    assert_eq!(port.mac().unwrap(), mac);
}

fn eal_for_af_xdp() -> Eal {
    Eal::init(&EalConfig { memory_mb: 128, hugepages: false, ..EalConfig::default() }).unwrap()
}

/// The driver never gives back what it lent to the kernel, so each of its ports has a pool of its own in
/// these tests.
fn big_pool(eal: &Eal, name: &str) -> Mempool {
    Mempool::new(eal, name, 8191, 64, 2048).unwrap()
}

#[test]
fn af_xdp_carries_copies_of_another_pool() {
    veth_pair();
    let eal = eal_for_af_xdp();
    let [own, left, right] = ["own", "left", "right"].map(|name| big_pool(&eal, name));
    frames_pass(&eal, ("af_xdp:left", &left), ("af_packet:right", &own), &own, false);
    assert_eq!(own.in_use(), 0);
    frames_pass(&eal, ("af_packet:left", &own), ("af_xdp:right", &right), &own, false);
    assert_eq!(own.in_use(), 0);
}

#[test]
fn af_xdp_carries_copies_of_its_own_pool() {
    veth_pair();
    let eal = eal_for_af_xdp();
    let [own, left] = ["own", "left"].map(|name| big_pool(&eal, name));
    frames_pass(&eal, ("af_xdp:left", &left), ("af_packet:right", &own), &left, false);
    assert_eq!(own.in_use(), 0);
}

#[test]
fn af_xdp_refuses_chains_which_it_would_garble() {
    veth_pair();
    let eal = eal();
    let pool = pool(&eal);
    let port = Port::open(&eal, &eal.attach(&"af_xdp:left".parse().unwrap(), 1).unwrap()).unwrap();
    let can = port.capabilities();
    assert!(!can.chains() && !can.synchronous_tx);
    assert!(port.drain_time(&PortConfig::default()) > Duration::ZERO);
    let error = port.configure(&PortConfig { chains: true, ..PortConfig::default() }, &[pool]).err().unwrap();
    assert!(error.to_string().contains("net_af_xdp transmits no chains: share no payloads"), "{error}");
}

#[test]
fn a_tap_port_is_a_kernel_interface_while_it_is_open() {
    veth_pair();
    let eal = eal();
    // tap fills its receive ring from the start.
    let pool = Mempool::new(&eal, "frames", 4095, 64, 2048).unwrap();
    let exists =
        |name: &str| Command::new("ip").args(["link", "show", name]).output().unwrap().status.success();
    let (port, mut queues) =
        start(&eal, &pool, "tap:dtap0", &PortConfig { chains: true, ..PortConfig::default() });
    assert!(exists("dtap0"));
    ip("link set dtap0 up");
    let (other, mut watcher) = start(&eal, &pool, "af_packet:dtap0", &PortConfig::default());
    let mut batch = TxBatch::new();
    assert!(batch.copies(&pool, 64, &payload(60), &heads(ethernet_head)));
    assert_eq!(queues.tx[0].transmit(&mut batch), 64);
    let mut shared = Mbuf::from_bytes(&pool, &payload(1400)).unwrap().share(0..1400, 2).ok().unwrap();
    assert!(batch.chains(&pool, 2, &mut shared, &heads(ethernet_head)));
    assert_eq!(queues.tx[0].transmit(&mut batch), 2);
    let seen = receive_own(&mut watcher.rx[0], 66);
    assert_eq!(seen.len(), 66);
    assert_eq!(seen[63], [&ethernet_header(63)[..], &payload(60)].concat());
    assert_eq!(seen[65], [&ethernet_header(1)[..], &payload(1400)].concat());

    // And what the kernel sends out of it is received.
    assert!(batch.copies(&pool, 3, &payload(60), &heads(ethernet_head)));
    assert_eq!(watcher.tx[0].transmit(&mut batch), 3);
    assert_eq!(receive_own(&mut queues.rx[0], 3).len(), 3);
    drop((watcher, other, queues, port));
    assert!(!exists("dtap0"));
    assert_eq!(pool.in_use(), 0);
}
