//! Announcements of frames: scapy's, captured ones, and any bytes at all.
//!
//! Needs the Debian package python3-scapy; its absence is a failure, not a skip.

#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::LazyLock;

use common::{scapy, unhex};
use proptest::prelude::*;
use wire::announcement::Kind;
use wire::{MacAddr, announcement};

/// Announcement of a frame, in a form that can be compared and printed.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    kind: Kind,
    bound: MacAddr,
    cut: bool,
    addresses: Vec<IpAddr>,
}

fn seen(frame: &[u8]) -> Option<Seen> {
    announcement(frame).map(|said| {
        assert_eq!(said.source.0, frame[6..12], "the source is the frame's");
        Seen { kind: said.kind, bound: said.bound, cut: said.cut, addresses: said.addresses().collect() }
    })
}

/// Description, what is expected, frame.
type Row = (String, Option<Seen>, Vec<u8>);

/// The frames of announcements.py. Run once: every test of this file reads them.
static ROWS: LazyLock<Vec<Row>> =
    LazyLock::new(|| scapy("announcements.py", &["make"], "").lines().map(row).collect());

fn row(line: &str) -> Row {
    let [name, what, bound, addresses, frame] = line.split('\t').collect::<Vec<_>>()[..] else {
        panic!("five fields: {line}");
    };
    let (what, cut) = what.strip_prefix("cut ").map_or((what, false), |what| (what, true));
    let kind = match what.split(' ').collect::<Vec<_>>()[..] {
        ["none"] => None,
        ["claim"] => Some(Kind::Claim),
        ["use"] => Some(Kind::Use),
        ["hidden"] => Some(Kind::Hidden),
        ["probe"] => Some(Kind::Probe),
        ["fragment"] => Some(Kind::Fragment),
        ["arrival"] => Some(Kind::Arrival),
        ["election"] => Some(Kind::Election),
        ["advert", vrid, priority, interval_cs, sound] => Some(Kind::Advert {
            vrid: vrid.parse().expect("a VRID"),
            priority: priority.parse().expect("a priority"),
            interval_cs: interval_cs.parse().expect("centiseconds"),
            sound: sound == "sound",
        }),
        _ => panic!("no such kind: {what}"),
    };
    let expected = kind.map(|kind| Seen {
        kind,
        bound: bound.parse().expect("a MAC"),
        cut,
        addresses: addresses.split_whitespace().map(|address| address.parse().expect("an address")).collect(),
    });
    (name.to_owned(), expected, unhex(frame))
}

#[test]
fn scapys_frames_announce_what_scapys_script_states() {
    let mut kinds = BTreeMap::<&str, usize>::new();
    for (name, expected, frame) in ROWS.iter() {
        assert_eq!(&seen(frame), expected, "{name}");
        let kind = match expected.as_ref().map(|seen| seen.kind) {
            None => "none",
            Some(Kind::Claim) => "claim",
            Some(Kind::Use) => "use",
            Some(Kind::Advert { .. }) => "advert",
            Some(Kind::Hidden) => "hidden",
            Some(Kind::Probe) => "probe",
            Some(Kind::Fragment) => "fragment",
            Some(Kind::Arrival) => "arrival",
            Some(Kind::Election) => "election",
        };
        *kinds.entry(kind).or_default() += 1;
    }
    // The script ran to its end: no kind has fewer rows than when this was written.
    let least = [
        ("none", 83),
        ("claim", 28),
        ("use", 16),
        ("hidden", 24),
        ("advert", 34),
        ("probe", 4),
        ("fragment", 3),
        ("arrival", 2),
        ("election", 4),
    ];
    assert!(least.iter().all(|(kind, rows)| kinds[kind] >= *rows), "{kinds:?}");
}

#[test]
fn an_announcement_cut_short_names_nothing_new() {
    for (name, expected, frame) in ROWS.iter() {
        for len in 0..frame.len() {
            if let Some(said) = seen(&frame[..len]) {
                // Only padding is gone.
                assert_eq!(Some(&said), expected.as_ref(), "{name}, cut to {len}");
            }
        }
    }
}

#[test]
fn bytes_after_the_packet_change_nothing() {
    for (name, expected, frame) in ROWS.iter().filter(|(_, expected, _)| expected.is_some()) {
        let padded = [frame.as_slice(), &[0xee; 64]].concat();
        assert_eq!(&seen(&padded), expected, "{name}");
    }
}

#[test]
fn one_wrong_bit_in_neighbour_discovery_makes_no_claim_of_another_address() {
    for (name, expected, frame) in ROWS.iter() {
        let Some(Seen { kind: Kind::Claim, addresses, .. }) = expected else { continue };
        if frame[12..14] != [0x86, 0xdd] {
            continue;
        }
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Some(said) = seen(&flipped) {
                assert_eq!(&said.addresses, addresses, "{name}, bit {bit}");
            }
        }
    }
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 4_096, failure_persistence: None, ..ProptestConfig::default() }
}

/// Reads all that there is to read.
fn read(bytes: &[u8]) {
    if let Some(said) = announcement(bytes) {
        let addresses: Vec<_> = said.addresses().collect();
        // A fragment that ends before its address hides which one it is, an arrival is of a MAC address, and CARP names none.
        let is_nameless = said.cut || matches!(said.kind, Kind::Arrival | Kind::Election);
        let least = usize::from(!is_nameless);
        assert!((least..=255).contains(&addresses.len()), "{addresses:?}");
        for address in addresses {
            assert!(!address.is_unspecified() && !address.is_multicast(), "{address}");
            let octets = match address {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            assert!(
                bytes.windows(octets.len()).any(|window| window == octets),
                "{address} is not in the frame"
            );
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_bytes_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..=1_600),
        ethertype in prop::sample::select(vec![0x0800_u16, 0x0806, 0x86dd, 0x8100, 0x88a8, 0x0040]),
    ) {
        read(&bytes);
        let mut bytes = bytes;
        if let Some(place) = bytes.get_mut(12..14) {
            place.copy_from_slice(&ethertype.to_be_bytes());
        }
        read(&bytes);
    }

    #[test]
    fn no_mutation_of_an_announcement_panics_or_names_what_is_not_there(
        row in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(), grow in 0_usize..64,
    ) {
        let mut bytes = ROWS[row.index(ROWS.len())].2.clone();
        for (at, value) in edits.into_iter().filter(|_| !bytes.is_empty()).collect::<Vec<_>>() {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        read(&bytes);
        read(&bytes[..cut.index(bytes.len() + 1)]);
        bytes.resize(bytes.len() + grow, 0xa5);
        read(&bytes);
    }
}
