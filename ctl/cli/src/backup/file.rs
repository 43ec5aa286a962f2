//! The format of a backup file. All integers are little-endian.
//!
//! | field | bytes |
//! | --- | --- |
//! | magic `bcastbak` | 8 |
//! | version, 2 | 4 |
//! | each part: its length, above 0, then a `SnapshotPart` of the contract | 4, length |
//! | end: 0 | 4 |
//! | numbers of parts, TEPs, domains, HAVIPs, events | 8 each |
//! | SHA-256 of all before it | 32 |
//!
//! Version 1 has the messages of [`ctl_api::legacy`]; it is read, never written. Nothing follows the checksum. A file
//! that is cut anywhere lacks its end, and one that is damaged anywhere has another checksum.

use std::io::{self, Read, Write};

use ctl_api::legacy;
use ctl_api::model::MAX_MESSAGE_BYTES;
use ctl_api::proto::SnapshotPart;
use prost::Message;
use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use thiserror::Error;

const MAGIC: &[u8; 8] = b"bcastbak";
const VERSION: u32 = 2;
/// Version of the release before, which is read as well.
const OLD_VERSION: u32 = 1;
/// Most bytes of a part: it is sent on in a message that has a few bytes more.
const PART_BYTES: usize = MAX_MESSAGE_BYTES - 64;

/// Reason why a file cannot be restored.
#[derive(Debug, Error)]
pub enum BackupError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Io(io::Error),
    /// It is something else.
    #[error("it is no backup of bcastctl; give a file that `bcastctl backup` made")]
    Foreign,
    /// A later bcastctl made it.
    #[error("it has version {0}, and this bcastctl reads up to {VERSION}; use the bcastctl that made it")]
    Version(u32),
    /// It ends too early.
    #[error("it is cut short; nothing was changed, give a whole one")]
    Cut,
    /// It is not as it was written.
    #[error("it is damaged ({0}); nothing was changed, give a whole one")]
    Damaged(&'static str),
}

impl From<io::Error> for BackupError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Cut } else { Self::Io(error) }
    }
}

/// Contents of a backup, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Revision of the node.
    pub revision: u64,
    /// Time of the snapshot, Unix time in milliseconds.
    pub unix_ms: u64,
    parts: u64,
    /// TEPs.
    pub teps: u64,
    /// Domains.
    pub domains: u64,
    /// HAVIPs.
    pub havips: u64,
    /// Events of HAVIPs.
    pub events: u64,
}

impl Counts {
    fn add(&mut self, part: &SnapshotPart) {
        if let Some(revision) = part.revision {
            (self.revision, self.unix_ms) = (revision, part.unix_ms);
        }
        self.parts += 1;
        self.teps += part.teps.len() as u64;
        self.domains += part.domains.len() as u64;
        self.havips += part.havips.len() as u64;
        self.events += part.history.len() as u64;
    }

    fn numbers(&self) -> [u64; 5] {
        [self.parts, self.teps, self.domains, self.havips, self.events]
    }
}

/// Writes a backup.
pub struct Writer<W> {
    sink: W,
    sum: Context,
    counts: Counts,
}

impl<W: Write> Writer<W> {
    /// Writes the start.
    pub fn new(sink: W) -> io::Result<Self> {
        let mut writer = Self { sink, sum: Context::new(&SHA256), counts: Counts::default() };
        writer.write(MAGIC)?;
        writer.write(&VERSION.to_le_bytes())?;
        Ok(writer)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.sink.write_all(bytes)
    }

    /// Writes a part; one without anything in it is left out.
    pub fn part(&mut self, part: &SnapshotPart) -> io::Result<()> {
        let bytes = part.encode_to_vec();
        if bytes.is_empty() {
            return Ok(());
        }
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.counts.add(part);
        self.write(&length.to_le_bytes())?;
        self.write(&bytes)
    }

    /// Writes the end. Returns the numbers of what was written.
    pub fn finish(mut self) -> io::Result<Counts> {
        self.write(&0_u32.to_le_bytes())?;
        for number in self.counts.numbers() {
            self.write(&number.to_le_bytes())?;
        }
        self.sink.write_all(self.sum.finish().as_ref())?;
        self.sink.flush()?;
        Ok(self.counts)
    }
}

/// Reads a backup, a part at a time.
pub struct Reader<R> {
    source: R,
    version: u32,
    sum: Context,
    counts: Counts,
}

impl<R: Read> Reader<R> {
    /// Reads the start.
    pub fn new(source: R) -> Result<Self, BackupError> {
        let mut reader =
            Self { source, version: VERSION, sum: Context::new(&SHA256), counts: Counts::default() };
        let magic: [u8; 8] = reader.array().map_err(|error| match error {
            BackupError::Cut => BackupError::Foreign,
            other => other,
        })?;
        if magic != *MAGIC {
            return Err(BackupError::Foreign);
        }
        reader.version = u32::from_le_bytes(reader.array()?);
        match reader.version {
            VERSION | OLD_VERSION => Ok(reader),
            other => Err(BackupError::Version(other)),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes)?;
        self.sum.update(&bytes);
        Ok(bytes)
    }

    /// The next part; `None` at the end of a backup that is whole.
    pub fn next(&mut self) -> Result<Option<SnapshotPart>, BackupError> {
        let length = usize::try_from(u32::from_le_bytes(self.array()?)).unwrap_or(usize::MAX);
        if length == 0 {
            return self.end().map(|()| None);
        }
        if length > PART_BYTES {
            return Err(BackupError::Damaged("a part is too long"));
        }
        let mut bytes = vec![0; length];
        self.source.read_exact(&mut bytes)?;
        self.sum.update(&bytes);
        let part = self.decode(&bytes).ok_or(BackupError::Damaged("a part cannot be read"))?;
        if part.revision.is_some() != (self.counts.parts == 0) {
            return Err(BackupError::Damaged("the revision does not stand in the first part alone"));
        }
        self.counts.add(&part);
        Ok(Some(part))
    }

    fn decode(&self, bytes: &[u8]) -> Option<SnapshotPart> {
        match self.version {
            OLD_VERSION => legacy::SnapshotPart::decode(bytes).ok()?.try_into().ok(),
            _ => SnapshotPart::decode(bytes).ok(),
        }
    }

    fn end(&mut self) -> Result<(), BackupError> {
        for number in self.counts.numbers() {
            if u64::from_le_bytes(self.array()?) != number {
                return Err(BackupError::Damaged("its numbers are others than its parts"));
            }
        }
        let sum = self.sum.clone().finish();
        let mut stored = [0; SHA256_OUTPUT_LEN];
        self.source.read_exact(&mut stored)?;
        if stored != sum.as_ref() {
            return Err(BackupError::Damaged("its checksum is another"));
        }
        if self.counts.parts == 0 {
            return Err(BackupError::Damaged("it is empty"));
        }
        match self.source.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(BackupError::Damaged("something follows its end")),
        }
    }

    /// Numbers of what was read so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ctl_api::proto::{Domain, Tep};

    use super::*;

    fn backup() -> Vec<u8> {
        let first = SnapshotPart {
            revision: Some(7),
            store: 9,
            unix_ms: 5,
            teps: vec![Tep { address: vec![198, 18, 0, 1], ..Default::default() }],
            ..Default::default()
        };
        let second =
            SnapshotPart { domains: vec![Domain { vni: 5, ..Default::default() }; 3], ..Default::default() };
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes).unwrap();
        [first, second, SnapshotPart::default()].iter().for_each(|part| writer.part(part).unwrap());
        writer.finish().unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Counts, BackupError> {
        let mut reader = Reader::new(bytes)?;
        while reader.next()?.is_some() {}
        Ok(reader.counts())
    }

    #[test]
    fn a_backup_is_read_as_it_was_written() {
        let counts = read(&backup()).unwrap();
        let expected =
            Counts { revision: 7, unix_ms: 5, parts: 2, teps: 1, domains: 3, havips: 0, events: 0 };
        assert_eq!(counts, expected);
    }

    #[test]
    fn a_backup_that_is_cut_or_damaged_anywhere_is_refused() {
        let good = backup();
        for length in 0..good.len() {
            let error = read(&good[..length]).unwrap_err();
            assert!(matches!(error, BackupError::Cut | BackupError::Foreign), "{length}: {error}");
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&bad).is_err(), "bit {bit}");
        }
        let error = read(&[&good[..], b"\n"].concat()).unwrap_err();
        assert!(matches!(error, BackupError::Damaged("something follows its end")));
        let mut newer = good.clone();
        newer[8] = 3;
        assert!(matches!(read(&newer).unwrap_err(), BackupError::Version(3)));
        assert!(matches!(read(b"teps: []\ndomains: []\n").unwrap_err(), BackupError::Foreign));
    }
}
