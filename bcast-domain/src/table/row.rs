//! A few words that one thread writes as a whole, and others read as a whole: a sequence lock (Boehm, "Can seqlocks get
//! along with programming language memory models?", 2012), with releasing stores of the words in place of fences.
//!
//! The version is odd while the words are written. A reader that meets a word of a write in progress has synchronised
//! with the store of that word, and so sees the odd version, or a later one, when it looks at the version again. A reader
//! that begins at an even version sees all words of that write, or newer ones. The writer never waits.

use super::sync::{AtomicU64, Ordering, Site, order};

/// Attempts to read a row that is being written.
const ATTEMPTS: usize = if cfg!(loom) { 2 } else { 1_000 };

/// Words with one writer and any number of readers.
#[derive(Debug)]
pub struct SharedRow<const N: usize> {
    version: AtomicU64,
    words: [AtomicU64; N],
}

impl<const N: usize> Default for SharedRow<N> {
    fn default() -> Self {
        Self { version: AtomicU64::new(0), words: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

impl<const N: usize> SharedRow<N> {
    /// Replaces all words. For the one writer.
    #[inline]
    pub fn write(&self, words: [u64; N]) {
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        for (to, word) in self.words.iter().zip(words) {
            to.store(word, order(Site::RowWord));
        }
        self.version.store(version.wrapping_add(2), order(Site::RowEnd));
    }

    /// Words as the one writer left them. For that writer.
    #[inline]
    pub fn own(&self) -> [u64; N] {
        std::array::from_fn(|at| self.words[at].load(Ordering::Relaxed))
    }

    /// All words of one write; `None` if it is written each time that it is read.
    pub fn read(&self) -> Option<[u64; N]> {
        (0..ATTEMPTS).find_map(|_| {
            let version = self.version.load(order(Site::RowStart));
            let words = std::array::from_fn(|at| self.words[at].load(order(Site::RowWordRead)));
            let whole = version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
            whole.then_some(words)
        })
    }
}
