//! What a verdict, a lookup, a change and a copy cost, and what other ways to do the same would.
//!
//! The program `micro` measures all of it in one run and writes `bench/results/micro.json`; `micro check` only looks
//! whether all contenders give the same answers. `cargo bench -p micro` measures the stages of the packet path alone, against the
//! run before: for whoever changes one of them. That is criterion, of the two common ones the one that takes
//! another clock than the wall's; on a machine that others use, only the CPU time of the thread compares.
//!
//! # How lookups are compared
//!
//! All contenders hold the same domains, of 16 members each, and stay there for the whole run. In each round each
//! has its turn: its reader looks up bursts of 32 domains in a random order, the same for all, while one thread
//! changes its lists at a given rate. Each burst is timed by the reader's own CPU clock, what the clock itself takes subtracted,
//! and each answer is verified. Rounds begin with another contender each time. So slow hours and neighbours
//! hit all alike, and time asleep is nobody's: that favours contenders with locks, whose readers may
//! sleep while a change is made.
#![deny(unsafe_code)]

pub mod announce;
pub mod check;
pub mod clock;
pub mod contenders;
pub mod cores;
pub mod lookup;
pub mod publish;
pub mod replicate;
pub mod results;
pub mod verdict;
pub mod work;
