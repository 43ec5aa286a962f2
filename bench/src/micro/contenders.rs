//! Tables of domains that are read while they change: bcast's, one with crossbeam-epoch, and the floor of both.

mod bcast;
mod epoch;
mod floor;

use super::work::{BURST, List};

/// First member of each domain's list of a burst. Reading it touches the list.
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
    /// Ends a group of changes: all are visible, and what no reader needs any more is freed, as far as that is this
    /// side's job.
    fn publish(&mut self);
}

/// Both sides of one table.
pub type Sides = (Box<dyn Write>, Box<dyn Read>);

/// A table under measurement.
#[derive(Clone, Copy)]
pub struct Contender {
    /// Name in tables and results.
    pub name: &'static str,
    /// Makes an empty table that is going to hold this many domains.
    pub make: fn(u32) -> Sides,
}

/// The daemon's own table.
pub const OURS: Contender = Contender { name: "bcast-domain", make: bcast::table };

/// The same slots and lists, with crossbeam-epoch to reclaim the lists.
pub const EPOCH: Contender = Contender { name: "crossbeam-epoch", make: epoch::table };

/// The least work of both, measured in the same turns: two random cache lines of as much memory for each lookup, none
/// waiting for another. No contender: it knows no domains.
pub const FLOOR: Contender = Contender { name: "floor: two random cache lines", make: floor::two_lines };

/// Tables whose answers are checked.
pub const CHECKED: [Contender; 2] = [OURS, EPOCH];
