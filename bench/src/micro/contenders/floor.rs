//! No contender: what the memory alone takes for a lookup.

use std::hint::black_box;

use super::super::work::{self, BURST, List};
use super::{Found, Read, Sides, Write};

/// A cache line.
type Line = [u64; 8];

/// Memory as bcast's table takes: slots, half of them used, and lists, as they lie on the heap.
pub(super) fn two_lines(domains: u32) -> Sides {
    let lines = |bytes: usize| vec![[1; 8]; (bytes / size_of::<Line>()).max(1)];
    let domains = domains as usize;
    let (slots, lists) = (lines((2 * domains).next_power_of_two() * 16), lines(domains * 80));
    (Box::new(Nobody), Box::new(TwoLines { slots, lists }))
}

struct Nobody;

impl Write for Nobody {
    fn set(&mut self, _vni: u32, _list: &List) {}
    fn remove(&mut self, _vni: u32) {}
    fn publish(&mut self) {}
}

struct TwoLines {
    slots: Vec<Line>,
    lists: Vec<Line>,
}

impl Read for TwoLines {
    /// Reads a random line of each, the second without waiting for the first.
    fn burst(&mut self, vnis: &[u32; BURST], found: &mut Found) {
        for (found, &vni) in found.iter_mut().zip(vnis) {
            let random = u64::from(vni).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let [a, b] = [random, random.rotate_left(32)].map(|bits| bits >> 32);
            black_box(at(&self.slots, a)[0]);
            black_box(at(&self.lists, b)[0]);
            *found = Some(work::first_member(vni).into());
        }
    }
}

/// The line at so many parts in 2^32 of them.
#[inline(always)]
fn at(lines: &[Line], part: u64) -> &Line {
    let place = (part * lines.len() as u64) >> 32;
    // Below the length, which is far below 2^32: neither fallback is taken.
    &lines[usize::try_from(place).unwrap_or(0)]
}
