//! The revision file: a small file beside the store that says the last revision which was answered.
//!
//! redb keeps two commit slots in one page, and takes the older one where the newer one is damaged. So the store alone
//! cannot tell that it is one commit behind. This file can: it is written after each durable transaction and before
//! its answer.
//!
//! | bytes | what |
//! | --- | --- |
//! | 0 to 31 | first slot |
//! | 4,096 to 4,127 | second slot, in another page, so that one damage does not reach both |
//!
//! A slot is: magic (8), revision (8), number of the durable write (8), checksum (8: the first bytes of the SHA-256 of
//! the others). Integers are little-endian. The slot that does not hold the newest mark is the one that is written.
//!
//! Both slots are written when the file is made. So a slot that cannot be read was being written at a crash, or was
//! damaged. In the first case the store had its transaction already: it is beyond the mark of the other slot.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};

/// Suffix of the revision file's name after the store's.
const SUFFIX: &str = ".revision";
const MAGIC: [u8; 8] = *b"bcastrev";
/// Bytes from one slot to the next: a page.
const STRIDE: u64 = 4096;
const SLOTS: u64 = 2;
const SLOT_BYTES: usize = 32;

/// A state of the store. A later state is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Mark {
    /// The last revision that committed.
    pub revision: u64,
    /// Number of durable transactions.
    pub write: u64,
}

/// Writes bytes at an offset; durable when it returns.
pub(crate) type WriteAt = Box<dyn Fn(&File, &[u8], u64) -> io::Result<()> + Send + Sync>;

/// One write into a file that has its length already, and one sync of the data.
pub(crate) fn write_durably() -> WriteAt {
    Box::new(|file, bytes, offset| {
        file.write_all_at(bytes, offset)?;
        file.sync_data()
    })
}

/// State of the revision file beside a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noted {
    /// No file.
    Missing,
    /// A file without any whole slot.
    Unreadable,
    /// The newest mark; both slots are whole.
    Mark(Mark),
    /// The mark of the one slot that is whole; the other one may have held a greater one.
    Half(Mark),
}

/// The path of the revision file of a store.
pub(crate) fn path_of(store: &Path) -> PathBuf {
    let mut path = store.as_os_str().to_owned();
    path.push(SUFFIX);
    path.into()
}

/// Opens what is a file: never waits for the other side of a pipe, and takes no device.
pub(crate) fn open_regular(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed()).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is no regular file; move it away")),
    }
}

/// Reads the revision file.
pub(crate) fn read(path: &Path) -> io::Result<Noted> {
    match open_regular(path, OpenOptions::new().read(true)) {
        Ok(file) => Ok(match slots(&file)? {
            [Some(one), Some(other)] => Noted::Mark(one.max(other)),
            [Some(one), None] | [None, Some(one)] => Noted::Half(one),
            [None, None] => Noted::Unreadable,
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Noted::Missing),
        Err(error) => Err(error),
    }
}

fn slots(file: &File) -> io::Result<[Option<Mark>; 2]> {
    let slot = |offset| -> io::Result<Option<Mark>> {
        let mut bytes = [0; SLOT_BYTES];
        match file.read_exact_at(&mut bytes, offset) {
            Ok(()) => Ok(parse(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    };
    Ok([slot(0)?, slot(STRIDE)?])
}

fn parse(bytes: &[u8; SLOT_BYTES]) -> Option<Mark> {
    let word = |at: usize| bytes.get(at..at + 8)?.try_into().map(u64::from_le_bytes).ok();
    let mark = Mark { revision: word(8)?, write: word(16)? };
    (slot(mark) == *bytes).then_some(mark)
}

fn slot(mark: Mark) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    let words = [MAGIC, mark.revision.to_le_bytes(), mark.write.to_le_bytes()];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word);
    }
    let (fields, checksum) = bytes.split_at_mut(24);
    let sum = digest(&SHA256, fields);
    for (place, byte) in checksum.iter_mut().zip(sum.as_ref()) {
        *place = *byte;
    }
    bytes
}

/// Makes the file, or replaces one that is there, for its owner alone and with room for both slots. It is whole
/// whenever it is there.
pub(crate) fn create(path: &Path, mark: Mark) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    let mut bytes = vec![0; usize::try_from(STRIDE * SLOTS).unwrap_or_default()];
    for half in bytes.chunks_exact_mut(usize::try_from(STRIDE).unwrap_or(usize::MAX)) {
        for (place, byte) in half.iter_mut().zip(slot(mark)) {
            *place = byte;
        }
    }
    file.write_all_at(&bytes, 0)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// The revision file, open to be written.
pub(crate) struct RevisionFile {
    file: File,
    write: WriteAt,
    noted: Mark,
    /// The slot that is written next.
    spare: u64,
}

impl RevisionFile {
    /// Opens a file that has a whole slot.
    pub fn open(path: &Path, write: WriteAt) -> io::Result<Self> {
        let file = open_regular(path, OpenOptions::new().read(true).write(true))?;
        let slots = slots(&file)?;
        let noted = slots.into_iter().flatten().max();
        let noted = noted.ok_or_else(|| io::Error::other("no slot of it can be read"))?;
        let spare = if slots.first() == Some(&Some(noted)) { 1 } else { 0 };
        Ok(Self { file, write, noted, spare })
    }

    /// The newest mark that is durable.
    pub fn noted(&self) -> Mark {
        self.noted
    }

    /// Notes a mark; durable when it returns. After an error the mark before it still stands in the other slot.
    pub fn note(&mut self, mark: Mark) -> io::Result<()> {
        if mark <= self.noted {
            return Ok(());
        }
        (self.write)(&self.file, &slot(mark), self.spare * STRIDE)?;
        self.noted = mark;
        self.spare ^= 1;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::cast_possible_truncation)]
mod tests {
    use super::*;

    fn mark(n: u64) -> Mark {
        Mark { revision: n, write: n + 1 }
    }

    #[test]
    fn any_damage_of_one_slot_leaves_the_other_mark() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r");
        create(&path, mark(1)).unwrap();
        let mut file = RevisionFile::open(&path, write_durably()).unwrap();
        (2..=5).for_each(|n| file.note(mark(n)).unwrap());
        let good = std::fs::read(&path).unwrap();
        assert_eq!((good.len(), read(&path).unwrap()), (8192, Noted::Mark(mark(5))));
        // The fifth mark stands where the first one stood.
        for (start, left) in [(0, mark(4)), (4096, mark(5))] {
            for bit in 0..SLOT_BYTES * 8 {
                let mut bad = good.clone();
                bad[start + bit / 8] ^= 1 << (bit % 8);
                std::fs::write(&path, &bad).unwrap();
                let found = read(&path).unwrap();
                assert_eq!(found, Noted::Half(left), "bit {bit}");
                // It goes on from there, and the damaged slot is the one that is written.
                let mut file = RevisionFile::open(&path, write_durably()).unwrap();
                file.note(mark(9)).unwrap();
                assert_eq!(read(&path).unwrap(), Noted::Mark(mark(9)));
                assert_eq!(slots(&file.file).unwrap().iter().flatten().count(), 2);
            }
        }
    }

    #[test]
    fn a_file_without_a_whole_slot_is_told_from_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r");
        assert_eq!(read(&path).unwrap(), Noted::Missing);
        create(&path, mark(7)).unwrap();
        let good = std::fs::read(&path).unwrap();
        for bytes in [&[][..], &[0; 8192], &good[..31], &[&[0; 4096][..], &good[..31]].concat()] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read(&path).unwrap(), Noted::Unreadable);
            assert!(RevisionFile::open(&path, write_durably()).is_err());
        }
        // Cut behind the first slot it has one yet.
        std::fs::write(&path, &good[..4096]).unwrap();
        assert_eq!(read(&path).unwrap(), Noted::Half(mark(7)));
    }

    #[test]
    fn a_mark_that_cannot_be_written_leaves_the_one_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r");
        create(&path, mark(1)).unwrap();
        let full = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let (is_full, write) = (std::sync::Arc::clone(&full), write_durably());
        let torn: WriteAt = Box::new(move |file, bytes, offset| {
            if is_full.load(std::sync::atomic::Ordering::Relaxed) {
                file.write_all_at(&bytes[..20], offset)?;
                return Err(io::Error::from_raw_os_error(28)); // ENOSPC
            }
            write(file, bytes, offset)
        });
        let mut file = RevisionFile::open(&path, torn).unwrap();
        for n in 2..5 {
            assert!(file.note(mark(n)).is_err());
            assert_eq!((file.noted(), read(&path).unwrap()), (mark(1), Noted::Half(mark(1))));
        }
        full.store(false, std::sync::atomic::Ordering::Relaxed);
        file.note(mark(5)).unwrap();
        assert_eq!(read(&path).unwrap(), Noted::Mark(mark(5)));
    }
}
