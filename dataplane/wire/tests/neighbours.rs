//! Whatever makes Linux believe that an address is somewhere is seen as an announcement of that address, in fragments too.
//!
//! Needs root (for network namespaces) and the Debian packages iproute2 and python3-scapy; their absence is a failure, not a
//! skip.

#![allow(clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::net::IpAddr;

use common::{scapy, unhex};
use wire::announcement::Kind;
use wire::{MacAddr, announcement};

#[test]
fn no_frame_that_changes_a_neighbour_cache_goes_unseen() {
    let printed = scapy("neighbours.py", &["20261123", "600"], "");
    let (mut moved, mut moved6, mut sent) = (0, 0, 0);
    for line in printed.lines() {
        let [address, mac, frame] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("three fields: {line}")
        };
        if address == "sent" {
            sent = mac.parse().expect("a number");
            continue;
        }
        let (address, mac): (IpAddr, MacAddr) =
            (address.parse().expect("an address"), mac.parse().expect("a MAC"));
        // Linux may be told that nobody's address is somewhere, which harms nobody.
        if address.is_unspecified() {
            continue;
        }
        let bytes = unhex(frame);
        let said = announcement(&bytes).unwrap_or_else(|| panic!("{address} went to {mac} by {frame}"));
        assert!(
            said.addresses().any(|named| named == address),
            "{address} went to {mac} by {frame}: {said:?}"
        );
        // An attached sender binds its own MAC, or is found out.
        let honest = matches!(said.kind, Kind::Claim | Kind::Use) && said.bound == said.source;
        assert!(!honest || mac == said.source, "{address} went to {mac} by {frame}: {said:?}");
        if address.is_ipv4() { moved += 1 } else { moved6 += 1 }
    }
    // The host was there, and believed frames of both families. How many depends on its timers, too: some 35 and 24.
    let enough = sent >= 700 && moved >= 20 && moved6 >= 10;
    assert!(
        enough,
        "{sent} frames were sent, of which {moved} about IPv4 and {moved6} about IPv6 were believed"
    );
}

/// True for a packet that is whole, and for the first fragment of one that is not.
fn is_first(frame: &[u8]) -> bool {
    match frame[12..14] {
        [0x86, 0xdd] if frame[20] == 44 => u16::from_be_bytes([frame[56], frame[57]]) & 0xfff8 == 0,
        [0x08, 0x00] => u16::from_be_bytes([frame[20], frame[21]]) & 0x1fff == 0,
        _ => true,
    }
}

#[test]
fn no_packet_in_fragments_that_linux_believes_goes_unseen() {
    let printed = scapy("fragments.py", &[], "");
    let (mut whole, mut fragmented, mut sent) = (0, 0, 0);
    for line in printed.lines() {
        let (address, frames) = line.split_once('\t').expect("two fields");
        if address == "sent" {
            sent = frames.parse().expect("a number");
            continue;
        }
        let address: IpAddr = address.parse().expect("an address");
        let frames: Vec<Vec<u8>> = frames.split('\t').map(unhex).collect();
        // An inspector drops these where their sender is not attached; without one of its fragments a packet is nothing.
        let seen = |frame: &Vec<u8>| {
            announcement(frame).is_some_and(|said| said.cut || said.addresses().any(|named| named == address))
        };
        assert!(frames.iter().any(seen), "{address} was believed: {line}");
        // Its first fragment alone tells: dropping that is enough, whatever the later ones are.
        let first = frames.iter().find(|frame| is_first(frame)).expect("a first fragment");
        let said = announcement(first).unwrap_or_else(|| panic!("{address} was believed: {line}"));
        let is_open = matches!(said.kind, Kind::Claim | Kind::Use | Kind::Probe | Kind::Advert { .. });
        assert!(said.cut || said.kind == Kind::Hidden || is_open, "{address} was believed: {line}");
        if frames.len() == 1 { whole += 1 } else { fragmented += 1 }
    }
    // Some 30 and 650, of neighbour discovery, of VRRP in both families, and of VRRP behind authentication headers.
    let enough = sent >= 2_000 && whole >= 20 && fragmented >= 300;
    assert!(
        enough,
        "{sent} packets were sent; Linux believed {whole} whole ones and {fragmented} in fragments"
    );
}
