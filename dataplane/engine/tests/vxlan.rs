//! Another encapsulation: VXLAN (RFC 7348). It exists here alone, and goes through the same loops as GRE does, with no change to them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

mod capture;
mod common;
mod frames;

use std::process::Command;

use common::{FakeClock, FakePort, NEXT_HOP, NODE, Options, PORT_MAC, Pool, Rig, tep};
use dpdk::{Eal, EalConfig, Mempool, Port, PortConfig, Tsc};
use engine::port::dpdk::DpdkPort;
use frames::{Parties, broadcast};
use wire::encap::Encap;

/// 14 bytes of Ethernet, 20 of IPv4, 8 of UDP without a checksum, 8 of VXLAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Vxlan;

const HEADER_LEN: usize = 50;
const UDP: u8 = 17;
/// The port of VXLAN (RFC 7348 section 5).
const PORT: [u8; 2] = 4789_u16.to_be_bytes();

impl Encap for Vxlan {
    const HEADER_LEN: usize = HEADER_LEN;
    const PROTOCOL: u8 = UDP;
    /// TOS and total length are in the first half of the line.
    type Common = [u64; 8];

    fn constant(behind_ip: &mut [u8]) {
        behind_ip[2..4].copy_from_slice(&PORT);
        // A VNI is there.
        behind_ip[8] = 0x08;
    }

    fn common([_, tos, high, low]: [u8; 4], source: [u8; 4], vni: u32) -> [u64; 8] {
        let mut header = [0; 64];
        let ip = 64 - HEADER_LEN + 14;
        header[ip + 1..ip + 4].copy_from_slice(&[tos, high, low]);
        header[ip + 12..ip + 16].copy_from_slice(&source);
        let (udp, [_, a, b, c]) = (ip + 20, vni.to_be_bytes());
        // Source ports from 49152 on spread the flows of different networks over the underlay's paths.
        header[udp..udp + 2].copy_from_slice(&[0xc0 | b, c]);
        let len = u16::from_be_bytes([high, low]) - 20;
        header[udp + 4..udp + 6].copy_from_slice(&len.to_be_bytes());
        header[udp + 12..udp + 15].copy_from_slice(&[a, b, c]);
        let (words, _) = header.as_chunks::<8>();
        std::array::from_fn(|word| u64::from_ne_bytes(words[word]))
    }
}

const VNI: u32 = 0x12_1389;
const LENGTHS: [usize; 8] = [60, 61, 128, 250, 256, 257, 700, 1400];

fn frames() -> Vec<Vec<u8>> {
    let parties = Parties {
        node: NODE,
        node_mac: PORT_MAC.0,
        tep: tep(0).address(),
        tep_mac: NEXT_HOP.0,
        vni: VNI,
        other_vni: 1,
    };
    (0..).zip(LENGTHS).map(|(number, len)| parties.overlay(&broadcast(number, len))).collect()
}

/// Members of the domain: of the third kind are enough for a batch, and none is a job.
const MEMBERS: usize = 70;

#[test]
fn vxlan_goes_through_the_same_loops_and_tshark_reads_it() {
    let options = Options { teps: MEMBERS, ..Options::default() };
    let pools = [(255, 2048), (4096, 384), (256, 2048)].map(|(size, room)| Pool::new(size, room));
    let [received, small, large] = pools;
    let port: FakePort<Vxlan> = FakePort::new(received, small, large);
    let cable = port.cable.clone();
    cable.borrow_mut().to_port.extend(frames());
    let mut fake = Rig::on(port, FakeClock::new(), options);
    fake.domain(VNI, MEMBERS);
    let expected = fake.settle();
    assert_eq!((expected.accepted, expected.sent), (8, 8 * (MEMBERS as u64 - 1)));

    let eal = Eal::init(&EalConfig { memory_mb: 64, hugepages: false, ..EalConfig::default() }).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let [from, to] = ["in.pcap", "out.pcap"].map(|name| folder.path().join(name));
    capture::write(&from, &frames());
    for (can_share, copies) in [(true, "shared"), (false, "copied")] {
        let pool =
            |name: &str, size, room| Mempool::new(&eal, &format!("{name}-{copies}"), size, 0, room).unwrap();
        let (received, small, large) =
            (pool("rx", 255, 2048), pool("small", 2047, dpdk::MIN_DATA_ROOM), pool("large", 511, 2048));
        let device = format!("pcap:{},{}", from.display(), to.display()).parse().unwrap();
        let name = eal.attach(&device, 1).unwrap();
        let port = Port::open(&eal, &name).unwrap();
        let config = PortConfig { chains: can_share, ..PortConfig::default() };
        let mut queues = port.configure(&config, std::slice::from_ref(&received)).unwrap();
        let (rx, tx) = (queues.rx.remove(0), queues.tx.remove(0));
        let queues: DpdkPort<Vxlan> = DpdkPort::new(rx, tx, small.clone(), large.clone());
        let mut rig = Rig::on(queues, Tsc::new(&eal), Options { can_share, ..options });
        rig.domain(VNI, MEMBERS);
        assert_eq!(rig.settle(), expected, "{copies}");
        drop((rig, port));
        assert_eq!([&received, &small, &large].map(Mempool::in_use), [0; 3]);
        assert!(
            capture::read(&to) == cable.borrow_mut().take(),
            "{copies}: other bytes than on the fake port"
        );
        tshark_reads(&to);
        cable.borrow_mut().sent = capture::read(&to);
    }
}

/// Has tshark read the copies: headers without a complaint, and the inner frames.
fn tshark_reads(file: &std::path::Path) {
    let fields =
        ["ip.dst", "ip.src", "ip.checksum.status", "udp.dstport", "vxlan.vni", "eth.type", "frame.len"];
    let output = Command::new("tshark")
        .args(["-r", file.to_str().unwrap(), "-o", "ip.check_checksum:TRUE", "-T", "fields"])
        .args(fields.iter().flat_map(|field| ["-e", field]))
        .output()
        .expect("install the Debian package tshark");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let members = (1..MEMBERS).map(|member| tep(member).address());
    let expected: Vec<_> = LENGTHS
        .iter()
        .flat_map(|len| members.clone().map(move |member| (len, member)))
        .map(|(len, member)| format!("{member}\t{NODE}\t1\t4789\t{VNI}\t0x0800,0x88b5\t{}", len + HEADER_LEN))
        .collect();
    assert_eq!(lines, expected);
}
