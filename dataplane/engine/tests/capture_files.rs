//! The table of frames on capture files (net_pcap): the counters are those of the fake port, and so are the copies, byte by byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod capture;
mod common;
mod frames;
#[path = "common/parties.rs"]
mod parties;

use common::{FakeRig, Options, Rig};
use dpdk::{Eal, EalConfig, Mempool, Port, PortConfig, Tsc};
use engine::port::dpdk::DpdkPort;
use frames::{State, broadcast};
use parties::parties;
use wire::DropReason;

/// All frames that need no state but that of a domain with a virtual IP, a good one before each, of all lengths.
fn table() -> Vec<Vec<u8>> {
    let parties = parties(0);
    let lengths = [60, 61, 200, 256, 257, 1000, 1472, 1473].into_iter().cycle();
    let cases = DropReason::ALL.into_iter().flat_map(|reason| parties.frames(reason));
    let cases = cases.filter(|case| matches!(case.state, State::Any | State::Fragments | State::VirtualIp));
    let frames = (0..).zip(lengths).zip(cases).flat_map(|((number, len), case)| {
        [parties.overlay(&broadcast(number, len)), case.frame, parties.for_the_node()]
    });
    frames.collect()
}

fn set_up<P: engine::port::Port>(rig: &mut Rig<P>) {
    rig.domain(5001, 200);
    rig.domains.set(5002.into(), &[1, 2].map(common::index)).unwrap();
    rig.virtual_ip(5001, frames::VIP);
}

#[test]
fn the_same_frames_count_the_same_on_capture_files_and_make_the_same_copies() {
    let table = table();
    let options = Options { teps: 200, ..Options::default() };
    let mut fake = FakeRig::new(options);
    set_up(&mut fake);
    table.iter().for_each(|frame| fake.receive(frame.clone()));
    let expected = fake.settle();
    assert!(expected.accepted > 40 && expected.drops.len() > 15 && expected.copy_drops.len() == 1);

    let eal = Eal::init(&EalConfig { memory_mb: 128, hugepages: false, ..EalConfig::default() }).unwrap();
    let pool = |name, size, room| Mempool::new(&eal, name, size, 0, room).unwrap();
    let (received, small, large) =
        (pool("received", 4095, 2048), pool("small", 4095, dpdk::MIN_DATA_ROOM), pool("large", 255, 2048));
    let folder = tempfile::tempdir().unwrap();
    let [from, to] = ["in.pcap", "out.pcap"].map(|name| folder.path().join(name));
    capture::write(&from, &table);
    let device = format!("pcap:{},{}", from.display(), to.display()).parse().unwrap();
    let name = eal.attach(&device, 1).unwrap();
    let port = Port::open(&eal, &name).unwrap();
    let config = PortConfig { chains: true, ..PortConfig::default() };
    let mut queues = port.configure(&config, std::slice::from_ref(&received)).unwrap();
    let (rx, tx) = (queues.rx.remove(0), queues.tx.remove(0));
    let queues = DpdkPort::new(rx, tx, small.clone(), large.clone());
    let mut rig: Rig<DpdkPort> = Rig::on(queues, Tsc::new(&eal), options);
    set_up(&mut rig);
    assert_eq!(rig.settle(), expected);
    rig.punted.for_kernel().for_each(drop);
    drop((rig, port));
    assert_eq!([&received, &small, &large].map(Mempool::in_use), [0; 3]);

    // Turns of large fan-outs end by the clock, so frames of several domains may be mixed otherwise; each member's are in order.
    let by_member = |mut frames: Vec<Vec<u8>>| {
        frames.sort_by_key(|frame| frame[30..34].to_vec());
        frames
    };
    let (seen, expected) = (by_member(capture::read(&to)), by_member(fake.sent()));
    assert_eq!(seen.len(), expected.len());
    assert!(seen == expected, "the copies differ");
}
