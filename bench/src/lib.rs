//! Measurements of bcast. [`harness`] holds what they share; each other module is a scenario, and a command of the
//! program `bench`. docs/benchmarks.md says what is measured, and how.

#![deny(unsafe_code)]

pub mod bfd;
pub mod failover;
pub mod harness;
pub mod load;
pub mod micro;
pub mod pktgen;
