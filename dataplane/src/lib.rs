//! The parts of `bcastd` that others measure as well.
#![forbid(unsafe_code)]

pub mod sniff;
