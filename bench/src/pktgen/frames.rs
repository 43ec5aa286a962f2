//! The frames that are sent: what an inner frame of each kind looks like, and the 24 bytes at its end by which a copy
//! is known again.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use wire::checksum;
use zerocopy::byteorder::network_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// The last bytes of every inner frame. Behind an ARP or VRRP message they pass for Ethernet padding, so that the
/// message stays what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Trailer {
    /// Number of the run: excludes the frames of others and late copies of earlier runs.
    pub run: U32,
    /// Place of the flow in the plan.
    pub flow: U32,
    /// Place of the frame in its flow, from 0 on.
    pub sequence: U64,
    /// Time when it was made: ticks of [`super::clock::Clock`].
    pub ticks: U64,
}

/// Bytes of a [`Trailer`].
pub const TRAILER: usize = size_of::<Trailer>();

/// Kinds of inner frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Broadcast, of the ethertype for local experiments (IEEE 802, 88b5).
    Broadcast,
    /// ARP request.
    Arp,
    /// Gratuitous ARP: a request for the sender's own address (RFC 5227 section 3).
    Garp,
    /// UDP to an IPv4 group.
    Multicast,
    /// VRRP version 3 advertisement (RFC 9568).
    Vrrp,
}

const ETHERNET: u16 = 14;
/// Sender inside the overlay.
pub const SENDER_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
pub const SENDER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 11);
/// Address that is asked for, or claimed.
const TARGET: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
pub const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
pub const VRRP_GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
pub const VIRTUAL_ROUTER: u8 = 51;
const UDP: u8 = 17;

impl Kind {
    /// Bytes of the shortest inner frame: its headers and the [`Trailer`].
    pub fn least(self) -> u16 {
        let headers = match self {
            Self::Broadcast => ETHERNET,
            Self::Arp | Self::Garp => ETHERNET + 28,
            Self::Multicast => ETHERNET + 20 + 8,
            Self::Vrrp => ETHERNET + 20 + 12,
        };
        headers + 24
    }

    /// An inner frame of `size` bytes, Ethernet header included, with a trailer of zeros. `most` is what fits into
    /// the MTU.
    ///
    /// # Errors
    /// A `size` below [`Self::least`] or above `most`.
    pub fn inner(self, size: u16, most: u16) -> Result<Vec<u8>> {
        let least = self.least();
        ensure!(
            (least..=most).contains(&size),
            "{size} bytes is no size for a frame of kind {self:?}: {least} to {most} bytes (headers and a payload of \
             {TRAILER} bytes; encapsulated within the MTU)"
        );
        let mut frame = match self {
            Self::Broadcast => ethernet([0xff; 6], SENDER_MAC, 0x88b5),
            Self::Arp => arp(TARGET),
            Self::Garp => arp(SENDER),
            Self::Multicast => multicast(size - ETHERNET),
            Self::Vrrp => vrrp(),
        };
        // Not zeros: a copy that lost its bytes shall not pass for a good one.
        let filler = (0_u8..=255).cycle().take(usize::from(size) - frame.len() - TRAILER);
        frame.extend(filler.collect::<Vec<_>>());
        frame.extend([0; TRAILER]);
        Ok(frame)
    }
}

fn ethernet(destination: [u8; 6], source: [u8; 6], ethertype: u16) -> Vec<u8> {
    [&destination[..], &source, &ethertype.to_be_bytes()].concat()
}

/// RFC 826, a request.
fn arp(target: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet([0xff; 6], SENDER_MAC, 0x0806);
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(SENDER_MAC);
    frame.extend(SENDER.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

/// `length` bytes of IPv4 in all; the UDP checksum is left out (RFC 768).
fn multicast(length: u16) -> Vec<u8> {
    let [_, b, c, d] = GROUP.octets();
    let mut frame = ethernet([1, 0, 0x5e, b & 0x7f, c, d], SENDER_MAC, 0x0800);
    frame.extend(ipv4(length, 16, UDP, GROUP));
    for word in [5000, 5001, length - 20, 0] {
        frame.extend(word.to_be_bytes());
    }
    frame
}

/// RFC 9568 section 5.1; the interval is its least, one centisecond.
fn vrrp() -> Vec<u8> {
    let mut frame = ethernet([1, 0, 0x5e, 0, 0, 18], [0, 0, 0x5e, 0, 1, VIRTUAL_ROUTER], 0x0800);
    frame.extend(ipv4(32, 255, 112, VRRP_GROUP));
    let mut message = [&[0x31, VIRTUAL_ROUTER, 100, 1, 0, 1, 0, 0][..], &TARGET.octets()].concat();
    let pseudo_header = [&SENDER.octets()[..], &VRRP_GROUP.octets(), &[0, 112, 0, 12], &message].concat();
    message[6..8].copy_from_slice(&(!checksum::sum(&pseudo_header)).to_ne_bytes());
    frame.extend(message);
    frame
}

fn ipv4(length: u16, ttl: u8, protocol: u8, destination: Ipv4Addr) -> Vec<u8> {
    let mut header = vec![0x45, 0];
    header.extend(length.to_be_bytes());
    header.extend([0, 0, 0x40, 0, ttl, protocol, 0, 0]);
    header.extend(SENDER.octets());
    header.extend(destination.octets());
    let sum = !checksum::sum(&header);
    header[10..12].copy_from_slice(&sum.to_ne_bytes());
    header
}
