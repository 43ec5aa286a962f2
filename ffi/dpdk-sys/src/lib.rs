//! Raw bindings to the system's libdpdk, and nothing else.
//!
//! - Functions and constants come from the installed headers by bindgen; `build.rs` lists the few that are
//!   used.
//! - `shim_*` are C functions of `shim/shim.c` for what has no symbol to bind: static inlines (bursts,
//!   mempool access), macros, thread-local variables, and structs that differ between DPDK releases. A call
//!   costs some five cycles, so the packet path makes one a burst and none a packet.
//! - [`rte_mbuf`] is written by hand, since 24.11 wraps its fields in anonymous unions; its offsets are
//!   checked at compile time against the headers, so that one source suits 22.11, 23.11, 24.11 and 25.11.
//!
//! Linking is dynamic. The drivers are plugins: the EAL loads them from [`RTE_EAL_PMD_PATH`] when it starts.

// Generated names and signatures are DPDK's.
#![allow(non_camel_case_types, missing_docs, clippy::all)]

mod mbuf;
pub use mbuf::{rte_eth_rxconf, rte_eth_txconf, rte_mbuf, rte_mempool};

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
