//! tcpdump on an interface, and what it saw.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::{
    frame::{self, Copy},
    lab::Host,
    namespace::Namespace,
    process::{Process, wait_for},
};

/// A frame that an interface sent or received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Time since the Unix epoch, by the kernel's clock.
    pub at: Duration,
    /// The whole frame.
    pub bytes: Vec<u8>,
}

/// A running capture.
#[derive(Debug)]
pub struct Sniffer {
    tcpdump: Process,
    file: PathBuf,
}

impl Sniffer {
    /// Starts capturing what matches `filter` (tcpdump's language); every frame from now on is seen.
    ///
    /// `name` tells the files in `folder` apart.
    pub fn start(namespace: &Namespace, interface: &str, filter: &str, folder: &Path, name: &str) -> Self {
        let file = folder.join(format!("{name}.pcap"));
        // -Z root: by default it drops to a user who may not write here. -B: KiB of kernel buffer, in slots of the
        // longest frame that -s admits.
        let line = format!("tcpdump -i {interface} -w {} -U --immediate-mode -n -Z root", file.display());
        let line = format!("{line} -B 65536 -s 2048 --time-stamp-precision=nano {filter}");
        let mut tcpdump = namespace.start(&line, &folder.join(format!("{name}.tcpdump")));
        tcpdump.wait_for_lines("listening on", 1);
        Self { tcpdump, file }
    }

    /// Starts capturing the overlay frames that come to the host.
    pub fn copies_to(host: &Host, folder: &Path) -> Self {
        let filter = format!("proto gre and dst host {}", host.address);
        Self::start(&host.namespace, "eth0", &filter, folder, &format!("copies-to-{}", host.address))
    }

    /// Waits for the test frame ([`frame::broadcast`]) with this tag and number, and gives all copies seen so far.
    ///
    /// Frames do not overtake each other, so a frame sent last is a fence: what is not there then never comes.
    pub fn copies_until(&self, tag: u32, number: u64) -> Vec<(Duration, Copy)> {
        wait_for(&format!("frame {number} of {tag} in {}", self.file.display()), || {
            let seen = self.seen();
            let copies = seen.iter().filter_map(|seen| Some((seen.at, Copy::parse(&seen.bytes)?)));
            let copies: Vec<_> = copies.collect();
            let fence = Some((tag, number));
            copies.iter().any(|(_, copy)| frame::tag_and_number(&copy.inner) == fence).then_some(copies)
        })
    }

    /// Frames seen so far. A frame that was sent just now may be missing: see [`Sniffer::wait_for`].
    pub fn seen(&self) -> Vec<Seen> {
        parse(&fs::read(&self.file).unwrap_or_default())
    }

    /// Waits until `enough` holds of what was seen, and gives that.
    pub fn wait_for(&self, what: &str, mut enough: impl FnMut(&[Seen]) -> bool) -> Vec<Seen> {
        wait_for(what, || {
            let seen = self.seen();
            enough(&seen).then_some(seen)
        })
    }

    /// Waits for `count` frames. That there are no more is for the caller to prove, by a later frame on the same way.
    pub fn wait_for_count(&self, count: usize) -> Vec<Seen> {
        self.wait_for(&format!("{count} frames in {}", self.file.display()), |seen| seen.len() >= count)
    }

    /// Ends the capture.
    ///
    /// # Panics
    /// The kernel had to drop frames for want of buffer: then absence proves nothing.
    pub fn stop(mut self) -> Vec<Seen> {
        self.tcpdump.signal(Signal::SIGINT);
        self.tcpdump.wait();
        let log = self.tcpdump.log();
        assert!(log.contains("\n0 packets dropped by kernel"), "{log}");
        self.seen()
    }
}

/// Writes frames into a capture file, as tcpdump would, all at time 0.
pub fn write(file: &Path, frames: &[Vec<u8>]) {
    let mut bytes: Vec<u8> = [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 65_535, 1].map(u32::to_le_bytes).concat();
    for frame in frames {
        let length = u32::try_from(frame.len()).expect("frames are short");
        bytes.extend([0, 0, length, length].map(u32::to_le_bytes).concat());
        bytes.extend(frame);
    }
    fs::write(file, bytes).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}

/// Reads a capture file; libpcap's own files have microseconds, tcpdump's here nanoseconds.
pub fn read(file: &Path) -> Vec<Seen> {
    parse(&fs::read(file).unwrap_or_default())
}

/// Reads a capture file as this machine writes it; a record that is not wholly there yet is left out.
///
/// # Panics
/// The file is no little-endian capture file.
fn parse(file: &[u8]) -> Vec<Seen> {
    const MAGIC: u32 = 0xa1b2_c3d4;
    const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
    let word = |bytes: &[u8], at: usize| {
        bytes.get(at..at + 4).and_then(|word| Some(u32::from_le_bytes(word.try_into().ok()?)))
    };
    let Some(magic) = word(file, 0) else { return Vec::new() };
    assert!([MAGIC, MAGIC_NANOSECONDS].contains(&magic), "not a capture file of ours");
    let scale = if magic == MAGIC { 1000 } else { 1 };
    let mut rest = file.get(24..).unwrap_or_default();
    let mut seen = Vec::new();
    while let (Some(seconds), Some(nanos), Some(length)) = (word(rest, 0), word(rest, 4), word(rest, 8)) {
        let end = 16 + usize::try_from(length).expect("frames fit in memory");
        let Some(bytes) = rest.get(16..end) else { break };
        seen.push(Seen { at: Duration::new(seconds.into(), nanos * scale), bytes: bytes.to_vec() });
        rest = &rest[end..];
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_half_written_record_is_left_for_later() {
        let mut file = vec![0x4d, 0x3c, 0xb2, 0xa1];
        file.resize(24, 0);
        for byte in 1..=2_u8 {
            for word in [u32::from(byte), 5, 3, 3] {
                file.extend(word.to_le_bytes());
            }
            file.extend([byte; 3]);
        }
        let one = Seen { at: Duration::new(1, 5), bytes: vec![1; 3] };
        let two = Seen { at: Duration::new(2, 5), bytes: vec![2; 3] };
        assert_eq!(parse(&file), [one.clone(), two]);
        assert_eq!(parse(&file[..file.len() - 1]), [one]);
        assert_eq!(parse(&file[..3]), []);
    }
}
