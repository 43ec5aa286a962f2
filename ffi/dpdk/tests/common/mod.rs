//! Support of the tests: an EAL without hugepages, a pool, and pcap files read by hand.
// Each test binary uses some of it.
#![allow(dead_code, missing_docs, clippy::cast_possible_truncation)]

use dpdk::{BATCH, Eal, EalConfig, Heads, Mempool, Port, PortConfig, Queues};
use std::{fs, path::Path};

pub const POOL: u32 = 1023;

/// An EAL of this process, in ordinary memory.
pub fn eal() -> Eal {
    Eal::init(&EalConfig { memory_mb: 64, hugepages: false, ..EalConfig::default() }).unwrap()
}

pub fn pool(eal: &Eal) -> Mempool {
    Mempool::new(eal, "frames", POOL, 64, 2048).unwrap()
}

/// Attaches, opens and starts a device with one queue in each direction.
pub fn start(eal: &Eal, pool: &Mempool, device: &str, config: &PortConfig) -> (Port, Queues) {
    let name = eal.attach(&device.parse().unwrap(), 1).unwrap();
    let port = Port::open(eal, &name).unwrap();
    let queues = port.configure(config, std::slice::from_ref(pool)).unwrap();
    (port, queues)
}

/// A header that tells the copies apart: the six bytes ahead of the frame, then 42 bytes of `copy`, counting
/// up.
pub fn head(copy: usize) -> [u64; 6] {
    let mut bytes = [0xee_u8; 48];
    bytes[6..].copy_from_slice(&header(copy));
    let word = |i: usize| u64::from_ne_bytes(bytes[i * 8..][..8].try_into().unwrap());
    std::array::from_fn(word)
}

/// End of all headers.
const KEY: [u8; 4] = [0xc0, 0xff, 0xee, 0x01];

/// The 42 bytes that [`head`] puts before a copy's payload.
pub fn header(copy: usize) -> [u8; 42] {
    std::array::from_fn(|i| if i < 38 { (copy * 42 + i) as u8 } else { KEY[i - 38] })
}

/// Headers as copies are given them: the key is what they have in common, the checksum comes apart.
pub struct TestHeads {
    common: [u64; 4],
    own: Vec<([u64; 8], u16)>,
}

pub fn heads(head: impl Fn(usize) -> [u64; 6]) -> TestHeads {
    let own = |copy| {
        let [a, b, c, d, e, f] = head(copy).map(u64::to_ne_bytes);
        let checksum = u16::from_ne_bytes([d[6], d[7]]);
        let (d, f) = ([d[0], d[1], d[2], d[3], d[4], d[5], 0, 0], [f[0], f[1], f[2], f[3], 0, 0, 0, 0]);
        ([[0xdd; 8], [0xdd; 8], a, b, c, d, e, f].map(u64::from_ne_bytes), checksum)
    };
    let [a, b, c, d] = KEY;
    TestHeads {
        common: [0, 0, 0, u64::from_ne_bytes([0, 0, 0, 0, a, b, c, d])],
        own: (0..BATCH).map(own).collect(),
    }
}

/// The first headers alone.
pub fn few_heads(count: usize) -> TestHeads {
    let mut all = heads(head);
    all.own.truncate(count);
    all
}

impl Heads for TestHeads {
    const LEN: usize = 42;
    const CHECKSUM_AT: usize = 24;
    type Common = [u64; 4];

    fn common(&self) -> &[u64; 4] {
        &self.common
    }

    fn own(&self) -> impl Iterator<Item = (&[u64; 8], u16)> {
        self.own.iter().map(|(line, checksum)| (line, *checksum))
    }
}

/// Bytes that are no run of a header, and differ by length.
pub fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + len) as u8 ^ 0x5a).collect()
}

/// Writes frames as a pcap file.
pub fn write_pcap(path: &Path, frames: &[Vec<u8>]) {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend(word.to_le_bytes());
    }
    for frame in frames {
        let len = frame.len() as u32;
        for word in [0, 0, len, len] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    fs::write(path, file).unwrap();
}

/// The frames of a pcap file.
pub fn read_pcap(path: &Path) -> Vec<Vec<u8>> {
    let file = fs::read(path).unwrap();
    let word = |at: usize| u32::from_le_bytes(file[at..][..4].try_into().unwrap()) as usize;
    assert!(matches!(word(0), 0xa1b2_c3d4 | 0xa1b2_3c4d), "not a pcap file");
    let (mut frames, mut at) = (Vec::new(), 24);
    while at < file.len() {
        let (captured, len) = (word(at + 8), word(at + 12));
        assert_eq!(captured, len, "a frame was cut");
        frames.push(file[at + 16..][..len].to_vec());
        at += 16 + len;
    }
    frames
}

/// Checks that every mbuf of a pool at rest is back, and back once: taken all together they are as many, and
/// all different.
pub fn is_whole(pool: &Mempool) {
    assert_eq!(pool.in_use(), 0);
    let all: Vec<dpdk::Mbuf> = std::iter::from_fn(|| dpdk::Mbuf::alloc(pool)).collect();
    let different: std::collections::BTreeSet<_> = all.iter().map(|mbuf| mbuf.data().as_ptr()).collect();
    assert_eq!((all.len(), different.len()), (pool.capacity() as usize, pool.capacity() as usize));
}

/// Receives until nothing comes.
pub fn drain(queue: &mut dpdk::RxQueue) -> Vec<Vec<u8>> {
    let (mut burst, mut frames) = (dpdk::Burst::new(), Vec::new());
    while queue.receive(&mut burst) > 0 {
        frames.extend(burst.iter().map(|(_, mbuf)| mbuf.data().to_vec()));
    }
    frames
}

/// A number of `/proc/meminfo`.
pub fn hugepages(field: &str) -> u32 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
    let line = meminfo.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Sees to it that so many hugepages of 2 MiB are free; leaves those that are there alone.
pub fn reserve_hugepages(count: u32) {
    let missing = count.saturating_sub(hugepages("HugePages_Free"));
    if missing > 0 {
        let wanted = (hugepages("HugePages_Total") + missing).to_string();
        fs::write("/proc/sys/vm/nr_hugepages", wanted).unwrap();
    }
    assert!(hugepages("HugePages_Free") >= count, "the machine has no memory for hugepages");
}
