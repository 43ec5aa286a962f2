//! How fast the copy loop is: million copies per CPU-second of one thread, into net_null.
//!
//! `cargo run --release -p dpdk --example replicate [ROUNDS [hugepages]]`. With hugepages it takes 128 MiB of
//! them. What is compared runs in turns, and the thread's CPU clock leaves neighbours out. `ONLY=copies`
//! leaves the others out, `FRAMES=100` makes it short (for callgrind).

// Its sizes are small.
#![allow(clippy::cast_possible_truncation)]

use dpdk::{
    BATCH, Burst, Eal, EalConfig, Heads, MIN_DATA_ROOM, Mbuf, Mempool, Port, PortConfig, RxQueue, TxBatch,
    TxQueue,
};
use std::{env, error::Error, hint::black_box, ptr};

const MEMBERS: usize = 128;
/// Frames per measurement: each makes one copy per member.
const FRAMES: usize = 20_000;

type Measure = fn(&mut Bench, usize);

/// net_ring: first in, first out.
struct Ring {
    rx: RxQueue,
    tx: TxQueue,
    burst: Burst,
    held: usize,
}

impl Ring {
    fn new(eal: &Eal, pool: &Mempool) -> Result<Ring, Box<dyn Error>> {
        let port = Port::open(eal, &eal.attach(&"vdev:net_ring0".parse()?, 1)?)?;
        let mut queues = port.configure(&PortConfig::default(), std::slice::from_ref(pool))?;
        let (rx, tx) = (queues.rx.pop().ok_or("no queue")?, queues.tx.pop().ok_or("no queue")?);
        Ok(Ring { rx, tx, burst: Burst::new(), held: 0 })
    }

    #[inline(always)]
    fn pass(&mut self, batch: &mut TxBatch) {
        self.held += self.tx.transmit(batch);
        while self.held > 896 {
            self.held -= self.rx.receive(&mut self.burst);
        }
    }
}

struct Bench {
    ring: Ring,
    /// Where frames are received; chains share these.
    rx_pool: Mempool,
    /// What copies, and the headers of chains, are made of: small, so that few pages hold many.
    pool: Mempool,
    raw_pool: *mut dpdk_sys::rte_mempool,
    port: u16,
    queue: TxQueue,
    batch: TxBatch,
    templates: Vec<[u64; 8]>,
    members: Vec<u32>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let rounds = env::args().nth(1).map_or(Ok(7), |rounds| rounds.parse::<usize>())?;
    let hugepages = env::args().nth(2).is_some_and(|word| word == "hugepages");
    let frames = env::var("FRAMES").map_or(Ok(FRAMES), |frames| frames.parse::<usize>())?;
    let only = env::var("ONLY").unwrap_or_default();
    let eal = Eal::init(&EalConfig { memory_mb: 128, hugepages, ..EalConfig::default() })?;
    let _thread = eal.register_thread()?;
    let mut bench = Bench::new(&eal)?;
    let measures: [(&str, Measure, usize); 7] = [
        ("take and free, nothing else", Bench::floor, 60),
        ("copies, 60 B", Bench::copies, 60),
        ("copies, 128 B", Bench::copies, 128),
        ("copies, 256 B", Bench::copies, 256),
        ("copies, 60 B, through a ring that holds 896", Bench::ring_copies, 60),
        ("chains, 60 B", Bench::chains, 60),
        ("chains, 1400 B", Bench::chains, 1400),
    ];
    let mut results = vec![Vec::new(); measures.len()];
    for _ in 0..rounds {
        for ((name, measure, len), results) in measures.iter().zip(&mut results) {
            if !name.contains(&only) {
                continue;
            }
            let start = cpu_seconds();
            (0..frames).for_each(|_| measure(&mut bench, *len));
            results.push(million(frames * MEMBERS) / (cpu_seconds() - start));
        }
    }
    println!("million copies per CPU-second, {MEMBERS} members, {rounds} rounds      min  median     max");
    for ((name, _, _), mut results) in measures.into_iter().zip(results) {
        results.sort_by(f64::total_cmp);
        if let (Some(min), Some(max)) = (results.first(), results.last()) {
            println!("{name:<62} {min:>7.1} {:>7.1} {max:>7.1}", results[results.len() / 2]);
        }
    }
    let Bench { pool, ring, .. } = bench;
    drop(ring);
    println!("mbufs out at the end, those in the ring left aside: {}", pool.in_use());
    Ok(())
}

impl Bench {
    fn new(eal: &Eal) -> Result<Bench, Box<dyn Error>> {
        let rx_pool = Mempool::new(eal, "received", 2047, 512, 2048)?;
        let pool = Mempool::new(eal, "copies", 8191, 512, MIN_DATA_ROOM)?;
        let name = eal.attach(&"vdev:net_null0,no-rx=1".parse()?, 1)?;
        let port = Port::open(eal, &name)?;
        let config = PortConfig { chains: true, ..PortConfig::default() };
        let queue = port.configure(&config, std::slice::from_ref(&rx_pool))?.tx.pop().ok_or("no queue")?;
        let word = |member: usize, i: usize| (member as u64) << 32 | i as u64;
        let templates = (0..MEMBERS).map(|member| std::array::from_fn(|i| word(member, i))).collect();
        let members =
            (0..MEMBERS).map(|member| u32::try_from(member * 37 % MEMBERS)).collect::<Result<_, _>>()?;
        // SAFETY: FFI; the EAL runs, and the name is a C string.
        let raw_pool = unsafe { dpdk_sys::rte_pktmbuf_pool_create(c"floor".as_ptr(), 8191, 512, 0, 384, -1) };
        let port = port.number();
        let ring = Ring::new(eal, &rx_pool)?;
        Ok(Bench { ring, rx_pool, pool, raw_pool, port, queue, batch: TxBatch::new(), templates, members })
    }

    /// What no loop can be faster than: DPDK's own taking and freeing, on a pool of its own.
    #[inline(never)]
    fn floor(&mut self, _len: usize) {
        let mut mbufs = [ptr::null_mut(); BATCH];
        for _ in (0..MEMBERS).step_by(BATCH) {
            // SAFETY: FFI; the pool and the port live as long as the EAL, the array holds BATCH pointers, and
            // this thread is the only one that uses the queue. net_null frees whatever it gets.
            unsafe {
                assert_eq!(dpdk_sys::shim_mbuf_get_bulk(self.raw_pool, mbufs.as_mut_ptr(), BATCH as u32), 0);
                let sent = dpdk_sys::shim_tx_burst(self.port, 0, mbufs.as_mut_ptr(), BATCH as u16);
                assert_eq!(usize::from(sent), BATCH);
            }
        }
    }

    #[inline(never)]
    fn copies(&mut self, len: usize) {
        let inner = [0x5a_u8; 256];
        let body = black_box(&inner[..len]);
        let words = black_box([0x33, 0, 0x55, 0x66]);
        for members in self.members.chunks(BATCH) {
            let templates = &self.templates;
            let made =
                self.batch.copies(&self.pool, members.len(), body, &BenchHeads { templates, members, words });
            assert!(made);
            assert_eq!(self.queue.transmit(&mut self.batch), members.len());
        }
    }

    /// As a NIC does it: what was transmitted comes back a ring's length later, when it is not near any more.
    #[inline(never)]
    fn ring_copies(&mut self, len: usize) {
        let inner = [0x5a_u8; 256];
        let body = black_box(&inner[..len]);
        let words = black_box([0x33, 0, 0x55, 0x66]);
        for members in self.members.chunks(BATCH) {
            let templates = &self.templates;
            let made =
                self.batch.copies(&self.pool, members.len(), body, &BenchHeads { templates, members, words });
            assert!(made);
            self.ring.pass(&mut self.batch);
        }
    }

    #[inline(never)]
    fn chains(&mut self, len: usize) {
        let inner = [0x5a_u8; 1500];
        let received = Mbuf::from_bytes(&self.rx_pool, black_box(&inner[..len + 42]));
        let shared = received.and_then(|received| received.share(42..len + 42, MEMBERS as u16).ok());
        let Some(mut shared) = shared else { return };
        let words = black_box([0x33, 0, 0x55, 0x66]);
        for members in self.members.chunks(BATCH) {
            let templates = &self.templates;
            let made = self.batch.chains(
                &self.pool,
                members.len(),
                &mut shared,
                &BenchHeads { templates, members, words },
            );
            assert!(made);
            assert_eq!(self.queue.transmit(&mut self.batch), members.len());
        }
    }
}

/// About what an encapsulation does: the member's template, the frame's words, and a checksum folded from
/// both.
struct BenchHeads<'b> {
    templates: &'b [[u64; 8]],
    members: &'b [u32],
    words: [u64; 4],
}

impl Heads for BenchHeads<'_> {
    const LEN: usize = 42;
    const CHECKSUM_AT: usize = 24;
    type Common = [u64; 4];

    #[inline(always)]
    fn common(&self) -> &[u64; 4] {
        &self.words
    }

    #[inline(always)]
    fn own(&self) -> impl Iterator<Item = (&[u64; 8], u16)> {
        let (templates, sum) = (self.templates, self.words[0] as u16);
        self.members.iter().map(move |&member| {
            let line = &templates[member as usize];
            let (sum, carry) = (line[0] as u16).overflowing_add(sum);
            (line, !sum.wrapping_add(u16::from(carry)))
        })
    }
}

fn million(count: usize) -> f64 {
    count as f64 / 1e6
}

/// CPU time of this thread.
fn cpu_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: FFI; the struct is a place to write to.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
