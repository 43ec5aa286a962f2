//! Tells layer-3 networks where virtual IPs are.
//!
//! Bare metal, hybrid-cloud gateways and the internet see no gratuitous ARP. For them each virtual IP that is held is a host
//! route, /32 or /128, in a routing table of the kernel's that nobody forwards by; BIRD, FRR or GoBGP pass it on. Tenants'
//! addresses overlap, so a virtual IP's route stands only in the table that the configuration gives its VNI; public addresses
//! (EIPs) are unique and stand in one table.
//!
//! ```text
//! committed events ──▶ mailbox ──▶ plan: which routes shall be ──▶ difference ──▶ kernel
//!                   latest per HAVIP      ▲ which next hops are on-link      ▲ what is there: at start, after a link
//!                                         └────────── kernel ────────────────┘ changed, and every ten seconds
//! ```
//!
//! The next hop is the holder's TEP where that is on-link; else the TEP's own gateway, which must be. Without one there is no
//! route at all, and [`Unusable`] says so: a route to the wrong place is worse than none.
//!
//! A move replaces the route in one step: there is no moment without it. (FRR 8.4 cannot follow that; see
//! [`RoutesConfig::replace`].) What an earlier daemon left is taken over if it is
//! right, and removed if it is not. The routes outlive the daemon (but for those
//! by its own TAP), since what they lead to does.

#![forbid(unsafe_code)]

mod config;
mod kernel;
mod mailbox;
mod plan;
mod route;
mod task;

pub use config::{RoutesConfig, RoutesConfigError};
pub use plan::Plan;
pub use route::{Gateways, Hop, Key, OnLink, Virtual, Why, routes};
pub use task::{Figures, Routes, Unusable};
