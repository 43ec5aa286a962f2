//! Frames as hypervisors send them, and files of them.

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;

use wire::{FrameHeader, MacAddr, Template};

pub use testkit::lab::NODE;

/// The address of TEP number `index`.
pub fn tep(index: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(198, 19, 0, 1)) + index)
}

/// One received frame: broadcast, from a TEP, for a VNI, with so many bytes of inner frame that all differ by `seed`.
pub fn overlay_frame(source: Ipv4Addr, vni: u32, inner_len: u16, seed: u64) -> Vec<u8> {
    let template = Template::new(MacAddr([2, 0, 0, 0, 0, 1]), Some(MacAddr([2, 0, 0, 0, 0, 2])), NODE);
    let mut frame = FrameHeader::new(source, 0, vni, inner_len).head(&template).to_bytes().to_vec();
    frame.extend([0xff; 6]);
    frame.extend([0x52, 0x54, 0, 0, 0, 1]);
    // An EtherType for local experiments: nothing that anything has a rule for.
    frame.extend([0x88, 0xb5]);
    let mut state = seed | 1;
    frame.extend((14..inner_len).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    }));
    frame
}

/// Writes frames as a capture file (libpcap 2.4, Ethernet).
///
/// # Errors
/// The file cannot be written.
pub fn write_pcap(path: &Path, frames: &[Vec<u8>]) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.write_all(&word.to_ne_bytes())?;
    }
    for frame in frames {
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        for word in [0, 0, length, length] {
            file.write_all(&word.to_ne_bytes())?;
        }
        file.write_all(frame)?;
    }
    file.flush()
}

/// Reads the frames of a capture file as [`write_pcap`] and DPDK write them: in this machine's byte order.
///
/// # Errors
/// The file cannot be read, or ends in the middle of a frame.
pub fn read_pcap(path: &Path) -> std::io::Result<Vec<Vec<u8>>> {
    let file = std::fs::read(path)?;
    let cut = || std::io::Error::other(format!("{} ends in the middle of a frame", path.display()));
    let mut rest = file.get(24..).ok_or_else(cut)?;
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let (head, body) = rest.split_at_checked(16).ok_or_else(cut)?;
        let length = u32::from_ne_bytes([head[8], head[9], head[10], head[11]]);
        let (frame, more) = body.split_at_checked(length as usize).ok_or_else(cut)?;
        frames.push(frame.to_vec());
        rest = more;
    }
    Ok(frames)
}
