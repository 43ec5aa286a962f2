//! Hierarchical timing wheel (Varghese and Lauck, SOSP 1987) for timers that are numbers from 0.
//!
//! Time is cut into ticks of 131 us. Level 0 has 4,096 slots of one tick, 537 ms in all: a timer of a session that is
//! Up goes there and is never moved. Levels 1 to 4 have 64 slots each; a slot of level n is as long as all of level
//! n - 1. When the time reaches a slot of a higher level, its timers are moved down. A timer beyond the last level
//! (100 days) waits in that level's last slot and is moved again.
//!
//! The timers of a slot are a list: each timer has its own links, so [`Wheel::schedule`] and [`Wheel::cancel`] take a
//! few loads and stores, whatever the number of timers. Bits tell which slots are in use, so that empty time, however
//! long, is skipped in a few steps.

use thiserror::Error;

/// Nanoseconds of a tick, as a power of two.
const TICK_BITS: u32 = 17;
/// Slots of level 0, as a power of two.
const FIRST_BITS: u32 = 12;
/// Slots of each higher level, as a power of two.
const HIGHER_BITS: u32 = 6;
/// Levels above level 0.
const HIGHER: u32 = 4;
/// Slots of level 0.
const FIRST: usize = 1 << FIRST_BITS;
/// Slots of a higher level.
const SLOTS: usize = 1 << HIGHER_BITS;
/// Lists: all slots of all levels.
const LISTS: usize = FIRST + SLOTS * HIGHER as usize;
/// Timers that one call of [`Wheel::pop`] moves at most.
const MOVES: u32 = 64;
/// End of a list; a timer that is in none.
const NONE: u32 = u32::MAX;

/// The timer's number is not below the wheel's capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("timer {timer}: the wheel was made for timers 0 to {last}", last = .capacity.saturating_sub(1))]
pub struct UnknownTimer {
    /// Number that was given.
    pub timer: u32,
    /// Timers of the wheel.
    pub capacity: u32,
}

/// Result of [`Wheel::pop`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Popped {
    /// This timer is due; it is no longer scheduled.
    Due(u32),
    /// No timer is due.
    Nothing,
    /// The call has moved [as many timers as one call may](Wheel::pop); the next one goes on.
    Unfinished,
}

/// A timer's place in its list.
#[derive(Clone, Copy, Debug)]
struct Link {
    tick: u64,
    next: u32,
    prev: u32,
    /// List that the timer is in, or [`NONE`].
    list: u32,
}

/// Timers 0 to capacity - 1, each scheduled once or not at all.
#[derive(Clone, Debug)]
pub struct Wheel {
    links: Box<[Link]>,
    heads: Box<[u32]>,
    /// A bit for each list that is not empty.
    used: Box<[u64]>,
    /// A bit for each word of `used` of level 0 that is not 0.
    used_words: u64,
    /// Tick that is being served: all before it are done.
    tick: u64,
    /// The slots of higher levels that begin at `tick` have been moved down.
    moved: bool,
    scheduled: u32,
}

impl Wheel {
    /// Wheel for so many timers. Allocates 24 bytes for each, and 17 KiB; nothing allocates later.
    #[must_use]
    pub fn new(capacity: u32, now_ns: u64) -> Self {
        let free = Link { tick: 0, next: NONE, prev: NONE, list: NONE };
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        Self {
            links: vec![free; capacity].into_boxed_slice(),
            heads: vec![NONE; LISTS].into_boxed_slice(),
            used: vec![0; LISTS / 64].into_boxed_slice(),
            used_words: 0,
            tick: now_ns >> TICK_BITS,
            moved: true,
            scheduled: 0,
        }
    }

    /// Number of timers that are scheduled.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.scheduled
    }

    /// True if no timer is scheduled.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.scheduled == 0
    }

    /// Schedules a timer, or moves it if it is scheduled. It is due in the first tick that begins at `at_ns` or
    /// later, so never early and at most 131 us late. `u64::MAX` cancels it.
    ///
    /// # Errors
    /// The number is not below the capacity.
    pub fn schedule(&mut self, timer: u32, at_ns: u64) -> Result<(), UnknownTimer> {
        self.cancel(timer)?;
        if at_ns != u64::MAX {
            let tick = at_ns.div_ceil(1 << TICK_BITS);
            self.scheduled += 1;
            self.insert(timer, tick);
        }
        Ok(())
    }

    /// Cancels a timer; one that is not scheduled stays so.
    ///
    /// # Errors
    /// The number is not below the capacity.
    pub fn cancel(&mut self, timer: u32) -> Result<(), UnknownTimer> {
        let capacity = u32::try_from(self.links.len()).unwrap_or(u32::MAX);
        if timer >= capacity {
            return Err(UnknownTimer { timer, capacity });
        }
        if self.links[index(timer)].list != NONE {
            self.scheduled -= 1;
            self.remove(timer);
        }
        Ok(())
    }

    /// Takes one timer that is due at this time; timers of one tick come in any order. A call does bounded work: at
    /// most 64 timers are moved between levels. A time before that of an earlier call is taken for that one.
    pub fn pop(&mut self, now_ns: u64) -> Popped {
        let now = now_ns >> TICK_BITS;
        let mut moves = MOVES;
        loop {
            if !self.moved && !self.descend(&mut moves) {
                return Popped::Unfinished;
            }
            let timer = self.heads[slot(self.tick, 0)];
            if timer != NONE {
                // A timer of the past was put into the tick that was being served.
                self.scheduled -= 1;
                self.remove(timer);
                return Popped::Due(timer);
            }
            if self.tick >= now {
                return Popped::Nothing;
            }
            self.tick = self.next_tick(now);
            self.moved = !self.tick.is_multiple_of(1 << FIRST_BITS);
        }
    }

    /// Moves the timers of the higher slots that begin now, highest level first. False if the moves are used up.
    fn descend(&mut self, moves: &mut u32) -> bool {
        for level in (1..=HIGHER).rev() {
            if !self.tick.is_multiple_of(1 << shift(level)) {
                continue;
            }
            let list = slot(self.tick, level);
            while self.heads[list] != NONE {
                if *moves == 0 {
                    return false;
                }
                *moves -= 1;
                let timer = self.heads[list];
                self.remove(timer);
                self.insert(timer, self.links[index(timer)].tick);
            }
        }
        self.moved = true;
        true
    }

    /// First tick after the current one that has timers or begins a slot with timers to move; at most `now`.
    fn next_tick(&self, now: u64) -> u64 {
        let from = slot(self.tick, 0) + 1;
        // Timers before the current slot are of the next turn.
        let ahead = self.next_used(from).map(|found| found - from + 1);
        let ahead = ahead.or_else(|| self.next_used(0).map(|found| FIRST - from + 1 + found));
        let mut next = ahead.map_or(now, |ticks| now.min(self.tick + ticks as u64));
        for level in 1..=HIGHER {
            let current = self.tick >> shift(level);
            let used = self.used[slot(self.tick, level) / 64];
            // Bit 0 becomes the slot after the current one, which is empty itself.
            let used = used.rotate_right(slot_bit(current + 1));
            if used != 0 {
                next = next.min((current + 1 + u64::from(used.trailing_zeros())) << shift(level));
            }
        }
        next
    }

    /// First slot of level 0 in use, from this one on to the level's end.
    fn next_used(&self, from: usize) -> Option<usize> {
        if from >= FIRST {
            return None;
        }
        let (word, bit) = (from / 64, from % 64);
        let rest = self.used[word] & (u64::MAX << bit);
        if rest != 0 {
            return Some(word * 64 + rest.trailing_zeros() as usize);
        }
        let words = if word == 63 { 0 } else { self.used_words & (u64::MAX << (word + 1)) };
        if words == 0 {
            return None;
        }
        let word = words.trailing_zeros() as usize;
        Some(word * 64 + self.used[word].trailing_zeros() as usize)
    }

    /// Puts a timer, which is in no list, into the list of its tick.
    fn insert(&mut self, timer: u32, tick: u64) {
        let tick_now = tick.max(self.tick);
        let list = self.list(tick_now);
        let head = self.heads[list];
        // The tick stays as it was asked for.
        self.links[index(timer)] =
            Link { tick, next: head, prev: NONE, list: u32::try_from(list).unwrap_or(NONE) };
        if head != NONE {
            self.links[index(head)].prev = timer;
        }
        self.heads[list] = timer;
        self.used[list / 64] |= 1 << (list % 64);
        if list < FIRST {
            self.used_words |= 1 << (list / 64);
        }
    }

    /// List for a tick that is not in the past: the lowest level on which its slot is less than a turn ahead.
    fn list(&self, tick: u64) -> usize {
        if tick - self.tick < FIRST as u64 {
            return slot(tick, 0);
        }
        for level in 1..=HIGHER {
            // Distance in slots, as the slot that is being served has been moved down.
            if (tick >> shift(level)) - (self.tick >> shift(level)) < SLOTS as u64 {
                return slot(tick, level);
            }
        }
        slot(self.tick + ((SLOTS as u64 - 1) << shift(HIGHER)), HIGHER)
    }

    fn remove(&mut self, timer: u32) {
        let Link { next, prev, list, .. } = self.links[index(timer)];
        let list = index(list);
        if prev == NONE {
            self.heads[list] = next;
        } else {
            self.links[index(prev)].next = next;
        }
        if next != NONE {
            self.links[index(next)].prev = prev;
        }
        self.links[index(timer)].list = NONE;
        if self.heads[list] == NONE {
            self.used[list / 64] &= !(1 << (list % 64));
            if list < FIRST && self.used[list / 64] == 0 {
                self.used_words &= !(1 << (list / 64));
            }
        }
    }
}

/// Ticks of a slot of this level, as a power of two.
const fn shift(level: u32) -> u32 {
    if level == 0 { 0 } else { FIRST_BITS + HIGHER_BITS * (level - 1) }
}

/// List of the slot of this level that a tick is in.
#[expect(clippy::cast_possible_truncation, reason = "masked to 12 or 6 bits")]
const fn slot(tick: u64, level: u32) -> usize {
    if level == 0 {
        return tick as usize & (FIRST - 1);
    }
    FIRST + (level as usize - 1) * SLOTS + ((tick >> shift(level)) as usize & (SLOTS - 1))
}

/// Bit of a slot of a higher level in that level's word.
#[expect(clippy::cast_possible_truncation, reason = "masked to 6 bits")]
const fn slot_bit(slot: u64) -> u32 {
    slot as u32 & (SLOTS as u32 - 1)
}

/// Index of a timer or a list; 32 bits fit.
const fn index(number: u32) -> usize {
    number as usize
}
