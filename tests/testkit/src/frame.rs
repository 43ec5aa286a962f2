//! Frames as hypervisors send them, byte by byte, and the copies that come back.
//!
//! Written without the daemon's own header code, on purpose: it is the second opinion.

use std::net::Ipv4Addr;

use etherparse::{Ethernet2Slice, Ipv4HeaderSlice};

use crate::lab::{Host, NODE, NODE_MAC};

/// Offsets of the parts of an overlay frame without IP options.
pub mod at {
    /// The outer IPv4 header.
    pub const IP: usize = 14;
    /// The GRE header.
    pub const GRE: usize = IP + 20;
    /// The GRE key, where there is no checksum.
    pub const KEY: usize = GRE + 4;
    /// The inner frame, where the GRE header has a key and nothing else.
    pub const INNER: usize = GRE + 8;
}

/// The GRE header's flag for a key.
pub const KEY_PRESENT: u8 = 0x20;

/// An Ethernet frame.
pub fn ethernet(destination: [u8; 6], source: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&destination[..], &source, &ethertype.to_be_bytes(), payload].concat()
}

/// A broadcast frame of `length` bytes whose payload says who sent it (`tag`) and which one it is (`number`).
///
/// # Panics
/// `length` is under 26.
pub fn broadcast(tag: u32, number: u64, length: usize) -> Vec<u8> {
    let payload = [&tag.to_be_bytes()[..], &number.to_be_bytes()].concat();
    let mut frame = ethernet([0xff; 6], [2, 0, 0, 0, 9, 9], LOCAL_EXPERIMENT, &payload);
    assert!(length >= frame.len(), "{length} bytes are too few");
    let filling = (frame.len()..length).map(|at| u8::try_from(at % 251).expect("under 251"));
    frame.extend(filling);
    frame
}

/// IEEE's ethertype for experiments: nothing else in a lab sends it.
pub const LOCAL_EXPERIMENT: u16 = 0x88b5;

/// The tag and number of a frame that [`broadcast`] made.
pub fn tag_and_number(inner: &[u8]) -> Option<(u32, u64)> {
    if inner.get(12..14)? != LOCAL_EXPERIMENT.to_be_bytes() {
        return None;
    }
    let tag = u32::from_be_bytes(inner.get(14..18)?.try_into().ok()?);
    Some((tag, u64::from_be_bytes(inner.get(18..26)?.try_into().ok()?)))
}

/// `inner` in GRE with the key `vni`, from the host to the node, as Open vSwitch sends it: DF, id 0, TTL 64.
pub fn overlay(from: &Host, vni: u32, inner: &[u8]) -> Vec<u8> {
    overlay_from(from.address, from.mac, vni, inner)
}

/// The same from any address.
pub fn overlay_from(source: Ipv4Addr, mac: [u8; 6], vni: u32, inner: &[u8]) -> Vec<u8> {
    let gre = [&[KEY_PRESENT, 0, 0x65, 0x58], &vni.to_be_bytes()[..], inner].concat();
    ethernet(NODE_MAC, mac, 0x0800, &ipv4(source, NODE, 47, &gre))
}

/// An IPv4 packet without options: DF, id 0, TTL 64.
pub fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).expect("frames are short").to_be_bytes();
    let mut packet = vec![0x45, 0, length[0], length[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    seal(&mut packet, 20);
    packet
}

/// Sets the checksum of an IPv4 header of `length` bytes at the start of `packet`.
fn seal(packet: &mut [u8], length: usize) {
    packet[10..12].fill(0);
    let sum = checksum(&packet[..length]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

/// The Internet checksum (RFC 1071) of `bytes`.
pub fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded")
}

/// `frame` with other bytes at some offsets, and the outer IPv4 checksum right again.
pub fn patched(frame: &[u8], patches: &[(usize, &[u8])]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    for (offset, bytes) in patches {
        frame[*offset..offset + bytes.len()].copy_from_slice(bytes);
    }
    seal(&mut frame[at::IP..], 20);
    frame
}

/// A copy, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Outer Ethernet destination.
    pub destination_mac: [u8; 6],
    /// Outer Ethernet source.
    pub source_mac: [u8; 6],
    /// The TOS byte, ECN included.
    pub tos: u8,
    /// IPv4 identification.
    pub id: u16,
    /// Don't fragment.
    pub dont_fragment: bool,
    /// IPv4 time to live.
    pub ttl: u8,
    /// Outer source.
    pub source: Ipv4Addr,
    /// Outer destination.
    pub destination: Ipv4Addr,
    /// GRE flags and version.
    pub gre_flags: u16,
    /// The GRE key.
    pub key: u32,
    /// The inner frame.
    pub inner: Vec<u8>,
}

impl Copy {
    /// Frame that the node should make of an inner frame for `to`, with the node's address as the source.
    pub fn expected(to: &Host, key: u32, inner: &[u8]) -> Self {
        Self {
            destination_mac: to.mac,
            source_mac: NODE_MAC,
            tos: 0,
            id: 0,
            dont_fragment: true,
            ttl: 64,
            source: NODE,
            destination: to.address,
            gre_flags: u16::from(KEY_PRESENT) << 8,
            key,
            inner: inner.to_vec(),
        }
    }

    /// Takes a frame apart; `None` if it is not GRE over IPv4.
    ///
    /// # Panics
    /// The frame is an overlay frame, but broken: a wrong checksum or length, options, a fragment, another GRE protocol.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let ethernet = Ethernet2Slice::from_slice_without_fcs(frame).ok()?;
        if ethernet.ether_type().0 != 0x0800 || frame.get(at::IP + 9) != Some(&47) {
            return None;
        }
        let ip =
            Ipv4HeaderSlice::from_slice(ethernet.payload_slice()).expect("a copy's IPv4 header is whole");
        assert_eq!(ip.slice().len(), 20, "a copy has no IP options");
        assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum(), "a copy's checksum is right");
        assert_eq!(usize::from(ip.total_len()), frame.len() - at::IP, "a copy's length is right");
        assert!(!ip.is_fragmenting_payload(), "a copy is no fragment");
        let gre = &frame[at::GRE..];
        assert_eq!(gre[2..4], [0x65, 0x58], "a copy carries Ethernet");
        Some(Self {
            destination_mac: ethernet.destination(),
            source_mac: ethernet.source(),
            tos: ip.slice()[1],
            id: ip.identification(),
            dont_fragment: ip.dont_fragment(),
            ttl: ip.ttl(),
            source: ip.source_addr(),
            destination: ip.destination_addr(),
            gre_flags: u16::from_be_bytes([gre[0], gre[1]]),
            key: u32::from_be_bytes(gre[4..8].try_into().expect("four bytes")),
            inner: gre[8..].to_vec(),
        })
    }
}
