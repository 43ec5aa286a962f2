//! Frames made by hand, field by field, for every test of this crate.
//!
//! Nothing here uses the code under test: the checksum is the textbook loop over 16-bit words.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::panic, clippy::expect_used, reason = "tests")]

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use wire::{NodeAddresses, Rejection};

/// The node's own address.
pub const NODE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 254);
/// Another address of the node.
pub const NODE_TOO: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 254);
/// A TEP.
pub const TEP: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);

/// GRE flag: checksum and Reserved1 present.
pub const C: u16 = 0x8000;
/// GRE flag: key present.
pub const K: u16 = 0x2000;
/// GRE flag: sequence number present.
pub const S: u16 = 0x1000;

/// The node of every test.
pub fn node() -> NodeAddresses {
    NodeAddresses::new(&[NODE, NODE_TOO]).expect("two addresses are fine")
}

/// RFC 1071 as it is written there, over big-endian words: the value that belongs in the checksum field.
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded after each step")
}

/// An inner Ethernet frame of `len` bytes, broadcast, whose payload counts upward.
pub fn inner(len: usize) -> Vec<u8> {
    let header = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0x11, 0x08, 0x06];
    header.into_iter().chain((0_u8..=250).cycle()).take(len).collect()
}

/// [`inner`] of 60 bytes to and from other MACs.
pub fn inner_with(destination: [u8; 6], source: [u8; 6]) -> Vec<u8> {
    let mut bytes = inner(60);
    bytes[..6].copy_from_slice(&destination);
    bytes[6..12].copy_from_slice(&source);
    bytes
}

/// UDP to port 3784 from 10.0.0.1 to 10.0.0.255, with the shape of BFD.
pub fn bfd(destination: [u8; 6], source: [u8; 6]) -> Vec<u8> {
    let ip = [0x45, 0xc0, 0, 52, 0, 0, 0x40, 0, 255, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 255];
    let udp = [0xc0, 0, 0x0e, 0xc8, 0, 32, 0, 0];
    [&destination[..], &source, &[0x08, 0], &ip, &udp, &[0x20, 0x40, 3, 24], &[0; 20]].concat()
}

/// A frame to be built. The default is accepted; a test sets the fields that it is about.
#[derive(Clone, Debug)]
pub struct Frame {
    /// VLAN tags before the ethertype, as on the wire.
    pub tags: Vec<[u8; 4]>,
    pub ethertype: u16,
    pub version_ihl: u8,
    pub tos: u8,
    /// `None`: the right one.
    pub total_length: Option<u16>,
    pub id: u16,
    pub fragment: u16,
    pub ttl: u8,
    pub protocol: u8,
    /// Added to the right header checksum.
    pub checksum_error: u16,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    /// IPv4 options.
    pub options: Vec<u8>,
    /// The optional words that these flags promise are there.
    pub gre_flags: u16,
    pub gre_protocol: u16,
    /// Added to the right GRE checksum.
    pub gre_checksum_error: u16,
    pub reserved1: u16,
    pub key: u32,
    pub sequence: u32,
    pub inner: Vec<u8>,
    /// Bytes after the IP packet.
    pub padding: Vec<u8>,
    /// Bytes of the frame that arrive.
    pub cut: Option<usize>,
}

impl Default for Frame {
    fn default() -> Self {
        Self {
            tags: Vec::new(),
            ethertype: 0x0800,
            version_ihl: 0x45,
            tos: 0,
            total_length: None,
            id: 0,
            fragment: 0x4000,
            ttl: 64,
            protocol: 47,
            checksum_error: 0,
            source: TEP,
            destination: NODE,
            options: Vec::new(),
            gre_flags: K,
            gre_protocol: 0x6558,
            gre_checksum_error: 0,
            reserved1: 0,
            key: 5001,
            sequence: 0,
            inner: inner(60),
            padding: Vec::new(),
            cut: None,
        }
    }
}

impl Frame {
    /// The bytes as they arrive, from the destination MAC on.
    pub fn bytes(&self) -> Vec<u8> {
        let gre = self.gre();
        let mut bytes = vec![0x02, 0, 0, 0, 0, 0xfe, 0x02, 0, 0, 0, 0, 0x01];
        bytes.extend(self.tags.concat());
        bytes.extend(self.ethertype.to_be_bytes());
        bytes.extend(self.ip_header(gre.len()));
        bytes.extend(&self.options);
        bytes.extend(gre);
        bytes.extend(&self.padding);
        bytes.truncate(self.cut.unwrap_or(usize::MAX));
        bytes
    }

    fn ip_header(&self, payload_len: usize) -> Vec<u8> {
        let full = u16::try_from(20 + self.options.len() + payload_len).expect("an IP packet's length");
        let mut ip = vec![self.version_ihl, self.tos];
        ip.extend(self.total_length.unwrap_or(full).to_be_bytes());
        ip.extend(self.id.to_be_bytes());
        ip.extend(self.fragment.to_be_bytes());
        ip.extend([self.ttl, self.protocol, 0, 0]);
        ip.extend(self.source.octets());
        ip.extend(self.destination.octets());
        let checksum = internet_checksum(&[ip.as_slice(), &self.options].concat());
        ip[10..12].copy_from_slice(&checksum.wrapping_add(self.checksum_error).to_be_bytes());
        ip
    }

    fn gre(&self) -> Vec<u8> {
        let mut gre = [self.gre_flags.to_be_bytes(), self.gre_protocol.to_be_bytes()].concat();
        if self.gre_flags & C != 0 {
            gre.extend([0, 0]);
            gre.extend(self.reserved1.to_be_bytes());
        }
        if self.gre_flags & K != 0 {
            gre.extend(self.key.to_be_bytes());
        }
        if self.gre_flags & S != 0 {
            gre.extend(self.sequence.to_be_bytes());
        }
        gre.extend(&self.inner);
        if self.gre_flags & C != 0 {
            let checksum = internet_checksum(&gre).wrapping_add(self.gre_checksum_error);
            gre[4..6].copy_from_slice(&checksum.to_be_bytes());
        }
        gre
    }
}

/// Both steps in a row, as if the TEP and the domain were known: key and inner frame.
pub fn judge(frame: &[u8]) -> Result<(u32, &[u8]), Rejection> {
    let outer = wire::parse(frame, &node())?;
    let inner = outer.inner(frame)?;
    outer.classify(|| frame)?;
    assert_eq!(&frame[outer.inner_range()], inner, "the range and the slice are the same bytes");
    assert_eq!(usize::from(outer.inner_len()), inner.len());
    Ok((outer.key, inner))
}

/// Debian's own interpreter: another one in the PATH does not see Debian's packages.
const PYTHON: &str = "/usr/bin/python3";

/// Runs a script of this folder, which uses scapy, and returns what it printed.
pub fn scapy(script: &str, arguments: &[&str], input: &str) -> String {
    let path = format!("{}/tests/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut child = Command::new(PYTHON)
        .arg(&path)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{PYTHON}: {error}: install the Debian package python3-scapy"));
    // The input is smaller than a pipe, and the script reads it before it prints: this cannot block for ever. A script that takes
    // none may have ended by now.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("the script ends");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("the script prints ASCII")
}

/// Bytes that a script printed.
pub fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal")).collect()
}
