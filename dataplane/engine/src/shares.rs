//! Fair shares of a bucket: a source that sends little is let through while another one uses up all that the bucket has.
//!
//! Frames that find their bucket in debt come here; no others do. Time is cut into windows. A source's share is a window's tokens divided
//! by the sources that were seen in this window or the one before. Who has borrowed less than the share may borrow, and the bucket is paid
//! back before it grants anything again: so all sources together get no more than the bucket's rate over time. What quiet sources leave is granted to
//! whoever comes first.
//!
//! The tokens that sources borrowed stand in a count-min sketch (Cormode, Muthukrishnan 2005) of two rows, hashed anew for each window: a
//! quiet source that shares both of its places with a storm, one of a billion, does so for one window.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use zerocopy::{FromZeros, IntoBytes};

use crate::counters::NoMemory;
use crate::police::Ticks;

/// Windows in a second, the shortest ones. The longest one is a second.
const WINDOWS: u64 = 16;
/// Frames that a window's tokens suffice for, if it is not the longest.
const FRAMES: u64 = 16;

/// Sources of one bucket that sent while it was in debt: window, sources in it, and sources in it or in the window before.
#[derive(Default, FromZeros, IntoBytes)]
#[repr(transparent)]
pub struct SourceCount(AtomicU64);

impl SourceCount {
    /// Sources in a window or in the one before, with one that is counted if it is new in this window, or in both.
    fn count(&self, window: u32, new: [bool; 2]) -> u64 {
        let step = |word: u64| {
            let (at, now, both) = (word >> 32, word >> 16 & 0xffff, word & 0xffff);
            let (now, both) = match u64::from(window).wrapping_sub(at) {
                0 => (now, both),
                1 => (0, now),
                _ => (0, 0),
            };
            let now = (now + u64::from(new[0])).min(0xffff);
            let both = (both + u64::from(new[0] && new[1])).min(0xffff);
            u64::from(window) << 32 | now << 16 | both
        };
        let word = match self.0.fetch_update(Relaxed, Relaxed, |word| Some(step(word))) {
            Ok(word) | Err(word) => step(word),
        };
        word & 0xffff
    }
}

/// Tokens that sources borrowed in this window, of all buckets.
pub struct Shares {
    rows: [Vec<Used>; 2],
}

/// Window, and the tokens used in it.
#[derive(Default, FromZeros, IntoBytes)]
#[repr(transparent)]
struct Used(AtomicU64);

impl Used {
    fn tokens(word: u64, window: u32) -> u64 {
        if word >> 32 == u64::from(window) { word & u64::from(u32::MAX) } else { 0 }
    }

    /// Tokens that were used by a source with these places, or some more.
    fn least(places: [&Self; 2], window: u32) -> u64 {
        let [first, second] = places.map(|place| Self::tokens(place.0.load(Relaxed), window));
        first.min(second)
    }

    fn add(&self, window: u32, tokens: u64) {
        let sum = |word| (Self::tokens(word, window) + tokens).min(u32::MAX.into());
        let _before = self.0.fetch_update(Relaxed, Relaxed, |word| Some(u64::from(window) << 32 | sum(word)));
    }
}

/// A frame's source and demand.
#[derive(Clone, Copy)]
pub struct Asked {
    /// Number of the source among those of all buckets.
    pub source: u64,
    /// Tokens that it needs.
    pub need: u64,
}

impl Shares {
    /// No source has used anything. `places`: those of each row, at least one.
    ///
    /// # Errors
    /// There is no memory.
    pub fn new(places: usize) -> Result<Self, NoMemory> {
        let row = || Used::new_vec_zeroed(places.max(1)).map_err(|_| NoMemory);
        Ok(Self { rows: [row()?, row()?] })
    }

    /// Lets a source borrow if it borrowed less than its share of a bucket with this rate. `take` takes the tokens from the bucket, which may
    /// be in debt by so many ticks; false: it is in more. A source that is alone has no share to protect, and borrows nothing.
    #[cold]
    pub fn borrow(
        &self,
        asked: Asked,
        sources: &SourceCount,
        rate: u64,
        clock: Ticks,
        take: impl FnOnce(u64) -> bool,
    ) -> bool {
        let Asked { source, need } = asked;
        let doublings = (0..WINDOWS.ilog2()).take_while(|by| (rate / WINDOWS) << by < FRAMES * need).count();
        let ticks = ((clock.per_second / WINDOWS) << doublings).max(1);
        let window = u32::try_from((clock.now / ticks) & u64::from(u32::MAX)).unwrap_or_default();
        let (places, before) = (self.places(source, window), window.wrapping_sub(1));
        let used = Used::least(places, window);
        let new = [used == 0, Used::least(self.places(source, before), before) == 0];
        let active = sources.count(window, new);
        let share = ((rate / WINDOWS) << doublings) / active.max(1);
        let debt = ticks.saturating_add(need.saturating_mul(clock.per_second) / rate.max(1));
        let borrows = active > 1 && used < share.max(1) && take(debt);
        if borrows || used == 0 {
            places.iter().for_each(|place| place.add(window, if borrows { need.max(1) } else { 1 }));
        }
        borrows
    }

    /// Places of a source in a window.
    fn places(&self, source: u64, window: u32) -> [&Used; 2] {
        let hash = mix(source ^ mix(u64::from(window)));
        let [first, second] = &self.rows;
        let place = |hash: u64| usize::try_from(hash % first.len() as u64).unwrap_or_default();
        [&first[place(hash)], &second[place(hash >> 32)]]
    }
}

/// Mixes all bits of a number into all others (the finaliser of SplitMix64; Steele, Lea, Flood 2014).
fn mix(of: u64) -> u64 {
    let of = (of ^ of >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let of = (of ^ of >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    of ^ of >> 31
}
