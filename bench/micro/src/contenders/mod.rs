//! Ways to read a table of domains while it changes: bcast's, and what else one would take.
//!
//! Each is used as well as its documentation allows: pinned, entered or locked once per burst where it can be,
//! all maps with the same fast hasher (hashbrown's default), all lists in an allocation of their own.

mod bcast;
mod epoch;
mod floor;
mod maps;

use crate::work::{BURST, List};

/// What a burst found: the first member of each domain's list. Reading it touches the list.
pub type Found = [Option<u32>; BURST];

/// The side of a table that looks domains up.
pub trait Read: Send {
    /// Looks up a burst; from the end of the call on it holds nothing back.
    fn burst(&mut self, vnis: &[u32; BURST], found: &mut Found);
}

/// The side of a table that changes domains; there is one.
pub trait Write: Send {
    /// Creates a domain or replaces its members. Visible at once, or after [`Write::publish`].
    fn set(&mut self, vni: u32, list: &List);
    /// Removes a domain.
    fn remove(&mut self, vni: u32);
    /// Ends a lot of changes: all are visible, and what no reader needs any more is freed, as far as that is this side's job.
    fn publish(&mut self);
}

/// One lookup after the other. A plain loop: an array's `map` is unrolled for some contenders and not for others.
#[inline(always)]
fn each(vnis: &[u32; BURST], found: &mut Found, first_member: impl Fn(u32) -> Option<u32>) {
    for (found, &vni) in found.iter_mut().zip(vnis) {
        *found = first_member(vni);
    }
}

/// Both sides of one table.
pub type Sides = (Box<dyn Write>, Box<dyn Read>);

/// One way to do it.
#[derive(Clone, Copy)]
pub struct Contender {
    /// What it is called in tables and results.
    pub name: &'static str,
    /// Makes an empty table that is going to hold this many domains.
    pub make: fn(u32) -> Sides,
}

/// The name of the first, which the others are compared with.
pub const OURS: &str = "bcast-domain";

/// The name of the one whose way of reclaiming is nearest to ours.
pub const EPOCH: &str = "crossbeam-epoch";

/// All of them.
pub const ALL: [Contender; 9] = [
    Contender { name: OURS, make: bcast::in_bulk },
    Contender { name: "bcast-domain, one by one", make: bcast::one_by_one },
    Contender { name: EPOCH, make: epoch::one_by_one },
    Contender { name: "crossbeam-epoch, prefetching", make: epoch::prefetching },
    Contender { name: "papaya", make: maps::papaya },
    Contender { name: "DashMap", make: maps::dashmap },
    Contender { name: "hashbrown, RwLock", make: maps::locked },
    Contender { name: "hashbrown, rebuilt and swapped", make: maps::swapped },
    Contender { name: "left-right", make: maps::left_right },
];

/// What all of them have to do at least, measured in the same turns: two random cache lines of as much memory for each lookup,
/// none waiting for another, and nothing else. No contender: it knows no domains.
pub const FLOOR: Contender = Contender { name: "floor: two random cache lines", make: floor::two_lines };
