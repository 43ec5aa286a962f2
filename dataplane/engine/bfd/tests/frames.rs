//! Frames: what Open vSwitch sent, what scapy and tshark make of ours and we of scapy's, and each check by hand.
//!
//! Needs the Debian packages python3-scapy and tshark; their absence is a failure, not a skip.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::io::Write;
use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::process::{Command, Stdio};

use bfd::{Addresses, BFD_MAC, Diagnostic, Discard, Frame, FrameError, Packet, State, Template};
use proptest::prelude::*;
use wire::MacAddr;

const NODE: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);
/// Headers outside of the tunnel's frame: Ethernet, IPv4, GRE with a key.
const OUTER_LEN: usize = 42;

/// Frames of a capture file with microseconds, without their outer headers.
fn capture(bytes: &[u8]) -> Vec<Vec<u8>> {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    assert_eq!(word(0), 0xa1b2_c3d4, "a little-endian capture file");
    let (mut at, mut frames) = (24, vec![]);
    while at < bytes.len() {
        let len = word(at + 8) as usize;
        assert_eq!(bytes[at + 16 + OUTER_LEN - 4..][..4], [0; 4], "key 0");
        frames.push(bytes[at + 16 + OUTER_LEN..at + 16 + len].to_vec());
        at += 16 + len;
    }
    frames
}

/// Output of a program with this input.
fn output(program: &str, arguments: &[&str], input: &[u8]) -> String {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn scapy(arguments: &[&str], input: &str) -> Vec<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/frames.py");
    let output = output("/usr/bin/python3", &[&[script], arguments].concat(), input.as_bytes());
    output.lines().map(str::to_owned).collect()
}

/// Fields of a frame as frames.py prints them.
fn fields(frame: &Frame) -> String {
    let Packet { diagnostic, state, detect_mult, my_discriminator, your_discriminator, .. } = frame.packet;
    let Packet { poll, is_final, control_plane_independent, demand, .. } = frame.packet;
    let flags = u32::from(poll) << 5
        | u32::from(is_final) << 4
        | u32::from(control_plane_independent) << 3
        | u32::from(demand) << 1;
    [
        diagnostic.code().to_string(),
        (state as u8).to_string(),
        flags.to_string(),
        detect_mult.to_string(),
        my_discriminator.to_string(),
        your_discriminator.to_string(),
        frame.packet.desired_min_tx_us.to_string(),
        frame.packet.required_min_rx_us.to_string(),
        frame.packet.required_min_echo_rx_us.to_string(),
        frame.source.to_string(),
        frame.destination.to_string(),
        frame.source_port.to_string(),
    ]
    .join("\t")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> =
        text.chars().map(|digit| u8::try_from(digit.to_digit(16).unwrap()).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Open vSwitch 3.1 and a session of this crate, of 300 ms, over GRE: it comes up, has diagnostic 6 for a second, is
/// AdminDown for a second, and comes up again.
fn with_open_vswitch() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let frames = capture(include_bytes!("captures/ovs-3.1.pcap"));
    frames.into_iter().partition(|frame| frame[6..12] != NODE.0)
}

fn open_vswitchs() -> Frame {
    Frame::parse(&with_open_vswitch().0[0]).unwrap()
}

#[test]
fn what_open_vswitch_sends_is_read_and_written_again_but_for_its_missing_checksum() {
    let (frames, _) = with_open_vswitch();
    let mut seen = vec![];
    for bytes in &frames {
        let frame = Frame::parse(bytes).unwrap();
        assert_eq!((frame.source, frame.destination), ([169, 254, 1, 1].into(), [169, 254, 1, 0].into()));
        seen.push((frame.packet.state, frame.packet.is_final));
        let template = Template::new(&Addresses {
            destination_mac: BFD_MAC,
            source_mac: frame.source_mac,
            destination: frame.destination,
            source: frame.source,
            source_port: frame.source_port,
        });
        let mut ours = template.frame(&frame.packet);
        assert_eq!(ours[20], 0x40, "we set DF, Open vSwitch does not");
        // IPv4's flags and checksum, and UDP's checksum, which Open vSwitch leaves out.
        for at in [20, 24, 25, 40, 41] {
            ours[at] = bytes[at];
        }
        assert_eq!(hex(&ours), hex(bytes));
    }
    for kind in [(State::Down, false), (State::Init, false), (State::Up, false), (State::Up, true)] {
        assert!(seen.contains(&kind), "{kind:?} is in the capture");
    }
}

#[test]
fn what_open_vswitch_took_in_the_capture_is_what_is_written_today() {
    let (_, frames) = with_open_vswitch();
    assert!(frames.len() > 10);
    for bytes in frames {
        let frame = Frame::parse(&bytes).unwrap();
        let addresses = Addresses::answer(&open_vswitchs(), NODE, 50_000);
        assert_eq!(hex(&Template::new(&addresses).frame(&frame.packet)), hex(&bytes));
    }
}

#[test]
fn an_answer_goes_the_other_way() {
    let frame = open_vswitchs();
    let bytes = Template::new(&Addresses::answer(&frame, NODE, 50_000)).frame(&frame.packet);
    let answer = Frame::parse(&bytes).unwrap();
    assert_eq!((answer.source, answer.destination), (frame.destination, frame.source));
    assert_eq!((answer.source_mac, answer.source_port, answer.packet), (NODE, 50_000, frame.packet));
}

#[test]
fn scapys_frames_are_read_as_scapy_reads_them() {
    let lines = scapy(&["make", "20261128", "500"], "");
    assert_eq!(lines.len(), 500);
    for line in lines {
        let (expected, bytes) = line.rsplit_once('\t').unwrap();
        let frame = Frame::parse(&unhex(bytes)).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(fields(&frame), expected);
    }
}

#[test]
fn a_checksum_that_comes_out_as_zero_is_sent_as_all_ones() {
    let frame = open_vswitchs();
    let template = Template::new(&Addresses::answer(&frame, NODE, 50_000));
    let sums: Vec<[u8; 2]> = (0..=0xffff)
        .map(|your_discriminator| template.frame(&Packet { your_discriminator, ..frame.packet }))
        .inspect(|bytes| assert!(Frame::parse(bytes).is_ok()))
        .map(|bytes| [bytes[40], bytes[41]])
        .collect();
    assert!(!sums.contains(&[0, 0]), "0 would say that there is no checksum (RFC 768)");
    assert!(sums.contains(&[0xff, 0xff]));
}

/// Frames of ours, with all kinds of fields.
fn ours() -> Vec<Vec<u8>> {
    let mut rng = fastrand::Rng::with_seed(20_261_128);
    let states = [State::AdminDown, State::Down, State::Init, State::Up];
    let frame = |_| {
        let packet = Packet {
            diagnostic: Diagnostic::from_bits(rng.u8(..)),
            state: states[rng.usize(0..4)],
            poll: rng.bool(),
            is_final: rng.bool(),
            control_plane_independent: rng.bool(),
            demand: rng.bool(),
            detect_mult: rng.u8(1..),
            my_discriminator: NonZeroU32::new(rng.u32(1..)).unwrap(),
            your_discriminator: rng.u32(1..),
            desired_min_tx_us: rng.u32(..),
            required_min_rx_us: rng.u32(..),
            required_min_echo_rx_us: rng.u32(..),
        };
        let addresses = Addresses {
            destination_mac: BFD_MAC,
            source_mac: NODE,
            destination: Ipv4Addr::from([169, 254, rng.u8(..), 1]),
            source: Ipv4Addr::from([169, 254, rng.u8(..), 0]),
            source_port: rng.u16(49_152..),
        };
        Template::new(&addresses).frame(&packet).to_vec()
    };
    (0..500).map(frame).collect()
}

#[test]
fn scapy_reads_our_frames_as_we_do_and_computes_the_same_checksums() {
    let frames = ours();
    let input: String = frames.iter().map(|frame| hex(frame) + "\n").collect();
    let lines = scapy(&["read"], &input);
    assert_eq!(lines.len(), frames.len());
    for (frame, line) in frames.iter().zip(lines) {
        assert_eq!(fields(&Frame::parse(frame).unwrap()), line);
    }
}

#[test]
fn tshark_reads_our_frames_as_we_do_and_finds_no_wrong_checksum() {
    let frames = ours();
    let mut file = [&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0][..], &[0; 8], &[0, 0, 1, 0, 1, 0, 0, 0]].concat();
    for frame in &frames {
        let len = u32::try_from(frame.len()).unwrap().to_le_bytes();
        file.extend([&[0; 8][..], &len, &len, frame].concat());
    }
    let names = [
        "bfd.diag",
        "bfd.sta",
        "bfd.detect_time_multiplier",
        "bfd.my_discriminator",
        "bfd.your_discriminator",
        "bfd.desired_min_tx_interval",
        "bfd.required_min_rx_interval",
        "ip.checksum.status",
        "udp.checksum.status",
    ];
    let mut arguments =
        vec!["-r", "-", "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-T", "fields"];
    arguments.extend(names.iter().flat_map(|name| ["-e", name]));
    let output = output("tshark", &arguments, &file);
    assert_eq!(output.lines().count(), frames.len());
    for (frame, line) in frames.iter().zip(output.lines()) {
        let packet = Frame::parse(frame).unwrap().packet;
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).unwrap(),
            None => text.parse().unwrap(),
        };
        let read: Vec<u32> = line.split('\t').map(number).collect();
        let expected = [
            u32::from(packet.diagnostic.code()),
            packet.state as u32,
            u32::from(packet.detect_mult),
            packet.my_discriminator.get(),
            packet.your_discriminator,
            packet.desired_min_tx_us,
            packet.required_min_rx_us,
            1,
            1,
        ];
        assert_eq!(read, expected, "{line}");
    }
}

/// Good frame with changed bytes and a right checksum of the IPv4 header; its UDP checksum is none.
fn changed(changes: &[(usize, u8)]) -> Vec<u8> {
    let frame = open_vswitchs();
    let mut bytes = Template::new(&Addresses::answer(&frame, NODE, 50_000)).frame(&frame.packet).to_vec();
    bytes[40..42].fill(0);
    for &(at, byte) in changes {
        bytes[at] = byte;
    }
    bytes[24..26].fill(0);
    let sum: u32 = bytes[14..34].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    bytes
}

#[test]
fn each_bad_frame_is_refused_for_its_reason() {
    let rows = [
        ("to another MAC", changed(&[(5, 2)]), FrameError::Destination(MacAddr([0, 0x23, 0x20, 0, 0, 2]))),
        ("broadcast", changed(&[(0, 0xff)]), FrameError::Destination(MacAddr([0xff, 0x23, 0x20, 0, 0, 1]))),
        ("from a group", changed(&[(6, 3)]), FrameError::SourceGroup(MacAddr([3, 0, 0, 0, 0, 0xfe]))),
        ("with a VLAN tag", changed(&[(12, 0x81)]), FrameError::Ethertype(0x8100)),
        ("IPv6", changed(&[(14, 0x65)]), FrameError::IpHeader(0x65)),
        ("with options", changed(&[(14, 0x46)]), FrameError::IpHeader(0x46)),
        ("total length short", changed(&[(17, 51)]), FrameError::IpLength(51)),
        ("total length beyond the frame", changed(&[(17, 53)]), FrameError::IpLength(53)),
        ("first fragment", changed(&[(20, 0x20)]), FrameError::Fragment),
        ("later fragment", changed(&[(21, 1)]), FrameError::Fragment),
        ("forwarded once", changed(&[(22, 254)]), FrameError::Ttl(254)),
        ("TTL 0", changed(&[(22, 0)]), FrameError::Ttl(0)),
        ("TCP", changed(&[(23, 6)]), FrameError::Protocol(6)),
        (
            "from a multicast address",
            changed(&[(26, 224)]),
            FrameError::SourceAddress([224, 254, 1, 0].into()),
        ),
        ("to the Echo port", changed(&[(37, 0xc9)]), FrameError::Port(3785)),
        ("from a low port", changed(&[(34, 0xbf), (35, 0xff)]), FrameError::SourcePort(49_151)),
        ("UDP length short", changed(&[(39, 31)]), FrameError::UdpLength(31)),
        ("UDP length beyond the packet", changed(&[(39, 33)]), FrameError::UdpLength(33)),
        ("UDP checksum wrong", changed(&[(41, 1)]), FrameError::UdpChecksum),
        ("BFD version 0", changed(&[(42, 0)]), FrameError::Packet(Discard::Version(0))),
        ("BFD length beyond UDP's", changed(&[(45, 25)]), FrameError::Packet(Discard::LengthLong(25))),
    ];
    for (name, bytes, error) in rows {
        assert_eq!(Frame::parse(&bytes), Err(error), "{name}");
    }
    let good = changed(&[]);
    assert!(Frame::parse(&good).is_ok());
    let mut bad_sum = good.clone();
    bad_sum[25] ^= 1;
    assert_eq!(Frame::parse(&bad_sum), Err(FrameError::IpChecksum));
    for len in 0..good.len() {
        assert_eq!(Frame::parse(&good[..len]), Err(FrameError::Truncated(len)));
    }
    let padded = [&good[..], &[0xff; 9]].concat();
    assert_eq!(Frame::parse(&padded), Frame::parse(&good), "padding is ignored");
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = Frame::parse(&bytes);
    }

    #[test]
    fn no_change_of_a_good_frame_panics(
        changes in proptest::collection::vec((0..66_usize, any::<u8>()), 0..4), len in 0..90_usize,
    ) {
        let mut bytes = changed(&changes);
        bytes.resize(len, 0);
        let _ = Frame::parse(&bytes);
    }
}
