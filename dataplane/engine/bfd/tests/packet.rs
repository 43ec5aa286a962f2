//! Control packets bit for bit, by the figure and the tables of RFC 5880 section 4.1.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::num::{NonZeroU16, NonZeroU32};

use bfd::{Diagnostic, Discard, Discriminators, Packet, State};
use proptest::prelude::*;

/// Version 1, diagnostic 1, state Up, no flags, multiplier 3, length 24.
const GOOD: [u8; 24] = [
    0x21, 0xc0, 3, 24, 0x11, 0x12, 0x13, 0x14, 0x21, 0x22, 0x23, 0x24, 0, 0, 0xc3, 0x50, 0, 0x0f, 0x42, 0x40,
    0, 0, 0, 7,
];

fn with(changes: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = GOOD.to_vec();
    for &(at, byte) in changes {
        bytes[at] = byte;
    }
    bytes
}

fn good() -> Packet {
    Packet {
        diagnostic: Diagnostic::DETECTION_TIME_EXPIRED,
        state: State::Up,
        poll: false,
        is_final: false,
        control_plane_independent: false,
        demand: false,
        detect_mult: 3,
        my_discriminator: NonZeroU32::new(0x1112_1314).unwrap(),
        your_discriminator: 0x2122_2324,
        desired_min_tx_us: 50_000,
        required_min_rx_us: 1_000_000,
        required_min_echo_rx_us: 7,
    }
}

#[test]
fn each_field_of_a_packet_is_where_the_rfc_has_it() {
    let base = good();
    let rows = [
        ("all as in the base", with(&[]), base),
        ("no diagnostic", with(&[(0, 0x20)]), Packet { diagnostic: Diagnostic::NONE, ..base }),
        ("reserved diagnostic", with(&[(0, 0x3f)]), Packet { diagnostic: Diagnostic::from_bits(31), ..base }),
        ("AdminDown", with(&[(1, 0x00)]), Packet { state: State::AdminDown, ..base }),
        ("Down", with(&[(1, 0x40)]), Packet { state: State::Down, ..base }),
        ("Init", with(&[(1, 0x80)]), Packet { state: State::Init, ..base }),
        ("P", with(&[(1, 0xe0)]), Packet { poll: true, ..base }),
        ("F", with(&[(1, 0xd0)]), Packet { is_final: true, ..base }),
        ("C", with(&[(1, 0xc8)]), Packet { control_plane_independent: true, ..base }),
        ("D", with(&[(1, 0xc2)]), Packet { demand: true, ..base }),
        ("multiplier", with(&[(2, 255)]), Packet { detect_mult: 255, ..base }),
    ];
    for (name, bytes, packet) in rows {
        assert_eq!(Packet::parse(&bytes), Ok(packet), "{name}");
        assert_eq!(packet.to_bytes()[..], bytes, "{name}");
    }
}

#[test]
fn each_bad_packet_is_discarded_for_its_reason() {
    let rows = [
        ("nothing", vec![], Discard::Truncated(0)),
        ("a byte short", GOOD[..23].to_vec(), Discard::Truncated(23)),
        ("version 0", with(&[(0, 0x01)]), Discard::Version(0)),
        ("version 2", with(&[(0, 0x41)]), Discard::Version(2)),
        ("length 23", with(&[(3, 23)]), Discard::LengthShort(23)),
        ("length 25 with authentication", with(&[(1, 0xc4), (3, 25)]), Discard::LengthShort(25)),
        ("length beyond the payload", with(&[(3, 25)]), Discard::LengthLong(25)),
        ("multiplier 0", with(&[(2, 0)]), Discard::DetectMultZero),
        ("multipoint", with(&[(1, 0xc1)]), Discard::Multipoint),
        ("no discriminator", with(&[(4, 0), (5, 0), (6, 0), (7, 0)]), Discard::MyDiscriminatorZero),
        (
            "Up, not knowing us",
            with(&[(8, 0), (9, 0), (10, 0), (11, 0)]),
            Discard::YourDiscriminatorZero(State::Up),
        ),
        (
            "Init, not knowing us",
            with(&[(1, 0x80), (8, 0), (9, 0), (10, 0), (11, 0)]),
            Discard::YourDiscriminatorZero(State::Init),
        ),
        ("authentication", [&with(&[(1, 0xc4), (3, 26)])[..], &[0; 2]].concat(), Discard::Authentication),
    ];
    for (name, bytes, reason) in rows {
        assert_eq!(Packet::parse(&bytes), Err(reason), "{name}");
    }
    for state in [0x00, 0x40] {
        let bytes = with(&[(1, state), (8, 0), (9, 0), (10, 0), (11, 0)]);
        assert!(Packet::parse(&bytes).is_ok(), "Down and AdminDown need not know us");
    }
    let padded = [&GOOD[..], &[0xff; 40]].concat();
    assert_eq!(Packet::parse(&padded), Ok(good()), "bytes after the packet are ignored");
}

#[test]
fn a_discriminator_names_its_session_and_no_session_of_another_run() {
    let (salt, other) = (NonZeroU16::new(0xbeef).unwrap(), NonZeroU16::MIN);
    for index in [0, 1, 255, 256, u16::MAX] {
        let discriminator = Discriminators::new(salt).of(index);
        assert_eq!(discriminator.get(), 0xbeef_0000 | u32::from(index));
        assert_eq!(Discriminators::new(salt).index(discriminator.get()), Some(index));
        assert_eq!(Discriminators::new(other).index(discriminator.get()), None);
        assert_ne!(Discriminators::new(other).of(index), discriminator);
    }
    assert_eq!(Discriminators::new(salt).index(0), None);
}

proptest! {
    #[test]
    fn no_bytes_panic_and_what_is_read_is_written_again(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(packet) = Packet::parse(&bytes) {
            let mut written = packet.to_bytes();
            written[3] = bytes[3];
            prop_assert_eq!(&written[..], &bytes[..24]);
        }
    }

    #[test]
    fn bytes_that_begin_well_do_not_panic_either(
        changes in proptest::collection::vec((0..24_usize, any::<u8>()), 0..4), more in 0..40_usize,
    ) {
        let bytes = [&with(&changes)[..], &vec![0; more][..]].concat();
        if let Ok(packet) = Packet::parse(&bytes) {
            prop_assert_eq!(&Packet::parse(&packet.to_bytes()), &Ok(packet));
        }
    }
}
