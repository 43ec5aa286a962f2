//! The packet path of a node: parse, classify, police, replicate. No tokio, no netlink, no configuration file.
#![forbid(unsafe_code)]

pub mod counters;
pub mod fanout;
pub mod inspect;
pub mod local;
pub mod police;
pub mod punt;
pub mod replicate;
pub mod runtime;
pub mod targets;
pub mod teps;
pub mod worker;
