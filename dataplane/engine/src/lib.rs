//! The packet path of a node: parse, classify, police, replicate. No tokio, no netlink, no configuration file.
//!
//! A [`Worker`](worker::Worker) is compiled for a [`Port`](port::Port): the real one over DPDK, or the one of the tests, which needs
//! neither privileges nor devices.
//!
//! ```text
//!  port ─▶ parse ─▶ look up ─▶ classify, inspect, police ─▶ replicate ─▶ port
//!            │punt                  │drop, probe               │large
//!            ▼                      ▼                          ▼
//!          kernel                counters                 fan-out queue
//! ```
//!
//! | module | |
//! | --- | --- |
//! | [`worker`] | life of a burst |
//! | [`inspect`] | announcements of virtual IPs |
//! | [`police`] | rates of domains, TEPs and the node |
//! | [`replicate`], [`targets`], [`teps`] | copies and their outer headers |
//! | [`fanout`] | large fan-outs, in turns |
//! | [`sessions`] | BFD with hypervisors |
//! | [`punt`], [`punt_limits`], [`hosts`], [`local`] | frames for and from the node itself |
//! | [`runtime`], [`counters`], [`offenders`], [`probe`] | settings in; counters, last offenders and samples out |
//! | [`port`] | packet buffers, queues and the clock |
#![forbid(unsafe_code)]

mod copying;
pub mod counters;
pub mod fanout;
pub mod hosts;
pub mod inspect;
pub mod local;
pub mod offenders;
pub mod police;
pub mod port;
pub mod probe;
pub mod punt;
pub mod punt_limits;
pub mod replicate;
pub mod runtime;
pub mod sessions;
pub mod shares;
pub mod targets;
pub mod teps;
pub mod worker;
