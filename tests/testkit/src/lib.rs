//! A cloud in network namespaces: hypervisors with their own Open vSwitch, VMs, a broadcast node, and the tools to
//! send, capture and judge frames. The end-to-end tests, the measurements, the demo and `scripts/lab` build on it.
//!
//! Everything lives in namespaces named `bcast-<pid>-<n>-<role>` on 198.18.0.0/15; the root namespace gets neither
//! an interface nor an address. Each value cleans up when it is dropped, after a panic too; what a killed run left
//! behind is removed when the next lab starts.
//!
//! This is test equipment: what cannot be done panics and says which command failed.

pub mod bird;
pub mod forge;
pub mod frame;
pub mod freeze;
pub mod havip;
pub mod icmp;
pub mod keepalived;
pub mod kept;
pub mod lab;
pub mod metrics;
pub mod namespace;
pub mod node;
pub mod openflow;
pub mod overlay;
pub mod ping;
pub mod process;
pub mod sender;
pub mod sniffer;
pub mod traffic;
pub mod ucarp;
