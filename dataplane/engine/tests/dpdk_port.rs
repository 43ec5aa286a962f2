//! Copies that are not sent, over a real driver: net_ring, whose ring holds 1,023 frames, without hugepages. And what ffi's loop is given
//! fits in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

use std::net::Ipv4Addr;
use std::sync::Arc;

use bcast_domain::{DomainId, Tep, TepIndex, Vni};
use dpdk::{Burst, Eal, EalConfig, Mbuf, Mempool, Port, PortConfig};
use engine::counters::WorkerCells;
use engine::police::RateLimits;
use engine::port::dpdk::DpdkPort;
use engine::replicate::{Frame, PortCapacity, Transmitter};
use engine::runtime::{OuterSource, RuntimeConfig, RuntimeSettings};
use engine::targets::Targets;
use engine::teps::TepArray;
use wire::{CopyDropReason, FrameHeader, MacAddr, NodeAddresses, Template};

/// Frames that net_ring's ring holds.
const RING: usize = 1023;
/// TEPs of the domain, all of them resolved.
const TEPS: u32 = 1_100;
/// Buffers of the pool for short copies, and bytes in a buffer of the pool for long ones.
const SMALL: u32 = 1_500;
const LARGE_ROOM: u16 = 512;

/// A worker's transmit side, and what comes out of it.
struct Bench {
    tx: Transmitter<DpdkPort>,
    received: Mempool,
    small: Mempool,
    config: Arc<RuntimeConfig>,
    cells: Arc<WorkerCells>,
    domain: DomainId,
    members: Vec<TepIndex>,
    teps: TepArray,
    /// Copies that were wanted so far.
    wanted: u64,
    _port: Port,
}

impl Bench {
    fn new(eal: &Eal) -> Self {
        let pool = |name, size, room| Mempool::new(eal, name, size, 0, room).unwrap();
        let (received, small) = (pool("received", 255, 2048), pool("small", SMALL, dpdk::MIN_DATA_ROOM));
        let large = pool("large", 255, LARGE_ROOM);
        let name = eal.attach(&"vdev:net_ring0".parse().unwrap(), 1).unwrap();
        let port = Port::open(eal, &name).unwrap();
        let mut queues = port.configure(&PortConfig::default(), std::slice::from_ref(&received)).unwrap();
        let config = Arc::new(RuntimeConfig::new(settings()).unwrap());
        let cells = Arc::new(WorkerCells::new().unwrap());
        let capacity = PortCapacity { max_inner: 1472, can_share: false };
        let (tx, rx) = (queues.tx.remove(0), queues.rx.remove(0));
        let port_queues = DpdkPort::new(rx, tx, small.clone(), large);
        let tx = Transmitter::new(port_queues, capacity, config.clone(), cells.clone());
        let address = |number| Tep::new(Ipv4Addr::from_bits(0xc612_0001 + number)).unwrap();
        let hop = Some(MacAddr([2, 0, 0, 0, 0, 9]));
        let all: Vec<_> = (0..TEPS).map(|number| Some((address(number), hop))).collect();
        let members: Vec<_> = (0..TEPS).map(|number| TepIndex::new(number).unwrap()).collect();
        let (mut domains, ..) = bcast_domain::table(());
        let domain = domains.set(Vni::from(5001), &[]).unwrap();
        let teps = TepArray::build(MacAddr([2; 6]), &all);
        Self { tx, received, small, config, cells, domain, members, teps, wanted: 0, _port: port }
    }

    /// Has a frame with an inner one of this length copied to the first TEPs, and checks that all of them are accounted for.
    fn send(&mut self, inner_len: usize, copies: usize) {
        let node = NodeAddresses::new(&[Ipv4Addr::new(198, 19, 255, 254)]).unwrap();
        let from = Template::new(MacAddr([2; 6]), Some(MacAddr([2; 6])), node.first());
        let source = Ipv4Addr::new(198, 18, 0, 1);
        let header = FrameHeader::new(source, 0, 5001, u16::try_from(inner_len).unwrap());
        let frame = [&header.head(&from).to_bytes()[..], &vec![0xff; inner_len]].concat();
        let outer = wire::parse(&frame, &node).unwrap();
        let header = FrameHeader::new(node.first(), outer.tos, outer.key, outer.inner_len());
        let mbuf = Mbuf::from_bytes(&self.received, &frame).unwrap();
        let config = self.config.burst();
        let frame = Frame { outer: &outer, header: &header, domain: self.domain, config };
        let members = self.members.get(..copies).unwrap();
        self.tx.copy_all(mbuf, &frame, Targets::all(members, usize::MAX), &self.teps);
        self.tx.flush(&self.teps);
        self.wanted += copies as u64;
        let dropped: u64 = self.drops().iter().sum();
        assert_eq!(self.sent() + dropped, self.wanted, "counters add up");
        assert_eq!(self.cells.domain(self.domain).copies.get(), self.sent());
        assert_eq!(self.cells.domain(self.domain).drops.get(), dropped);
    }

    fn sent(&self) -> u64 {
        self.cells.totals.tx_copies.get()
    }

    fn drops(&self) -> [u64; CopyDropReason::ALL.len()] {
        std::array::from_fn(|reason| self.cells.totals.copy_drops[reason].get())
    }

    /// Frames that the port was given since the last time.
    fn drain(&mut self) -> usize {
        let (mut burst, mut count) = (Burst::new(), 0);
        loop {
            match engine::port::Port::receive(&mut self.tx.port, &mut burst) {
                0 => return count,
                some => count += some,
            }
        }
    }
}

fn settings() -> RuntimeSettings {
    RuntimeSettings {
        share_payload_from: 256,
        outer_source: OuterSource::Node,
        idle_sleep_us: 0,
        punt_rate: 0,
        allow_inner_bfd: false,
        limits: RateLimits::default(),
    }
}

#[test]
fn each_copy_that_is_not_sent_is_counted_for_its_own_reason() {
    use CopyDropReason::{LinkDown, NoHeadroom, NoMbuf, TxFull};
    let eal = Eal::init(&EalConfig { memory_mb: 64, hugepages: false, ..EalConfig::default() }).unwrap();
    let mut bench = Bench::new(&eal);
    let mut expected = [0; CopyDropReason::ALL.len()];
    bench.send(60, 3);
    assert_eq!((bench.drops(), bench.drain()), (expected, 3));

    // The link is down: nothing is handed to the port, whatever the copies are made of.
    bench.config.set_link_up(false);
    for (inner_len, copies) in [(60, 200), (60, 1), (300, 5)] {
        bench.send(inner_len, copies);
        expected[LinkDown.index()] += copies as u64;
        assert_eq!((bench.drops(), bench.drain()), (expected, 0), "{copies} of {inner_len} bytes");
    }
    bench.config.set_link_up(true);

    // The ring is full: the port takes what it has room for.
    bench.send(60, TEPS as usize);
    expected[TxFull.index()] += u64::from(TEPS) - RING as u64;
    assert_eq!(bench.drops(), expected);
    bench.send(60, 1);
    expected[TxFull.index()] += 1;
    assert_eq!((bench.drops(), bench.drain()), (expected, RING));

    // Long copies go into buffers of their own, which have no room for these.
    bench.send(usize::from(LARGE_ROOM), 5);
    expected[NoHeadroom.index()] += 4;
    assert_eq!((bench.drops(), bench.drain()), (expected, 1), "the last copy is the received frame itself");

    // The pool is empty.
    let taken: Vec<Mbuf> = std::iter::from_fn(|| Mbuf::alloc(&bench.small)).collect();
    bench.send(60, 9);
    expected[NoMbuf.index()] += 8;
    assert_eq!((bench.drops(), bench.drain()), (expected, 1), "the last copy needs no buffer");
    drop(taken);
    bench.send(60, 9);
    assert_eq!((bench.drops(), bench.drain()), (expected, 9));
    assert_eq!((bench.received.in_use(), bench.small.in_use()), (0, 0), "all buffers came back");

    // By TEP the reasons are the same; the first one is in all of them.
    let of_first = bench.cells.tep_drops(bench.members[0]);
    assert_eq!([LinkDown, TxFull, NoHeadroom, NoMbuf].map(|reason| of_first.of_copies(reason)), [3, 1, 1, 1]);
}
