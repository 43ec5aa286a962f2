//! Headers, verdicts, drop reasons and encapsulation: pure functions over bytes.
//!
//! A received frame is judged in two steps, between which the caller looks its tables up:
//!
//! 1. [`outer`] reads Ethernet, IPv4 and GRE and names the tunnel: source and key. A frame that is no overlay
//!    frame to this node comes back as [`Rejection::Punt`].
//! 2. The caller asks whether the source is a TEP, the key a domain and the one a member of the other.
//! 3. [`Outer::inner`] verifies the GRE checksum (only now: summing a stranger's frame is work) and the inner
//!    frame's addresses, and returns the inner frame.
//!
//! Checks run in the order of [`DropReason::ALL`]; the first that fails names the drop. A copy's outer header is one
//! [`Template`] for each destination and one [`FrameHeader`] for each received frame, joined by
//! [`FrameHeader::head`]. [`view`] reads what travels inside the overlay: VLAN tags, ARP, IP, VRRP.
//!
//! Nothing here does I/O, allocates or panics, whatever the bytes are. Addresses, lengths and keys in the API are
//! numbers in the machine's byte order; only header overlays hold network byte order.

#![forbid(unsafe_code)]

pub mod address;
pub mod checksum;
pub mod encapsulation;
pub mod header;
pub mod reason;
pub mod verdict;
pub mod view;

pub use address::{MacAddr, MacAddrError, NodeAddresses, NodeAddressesError};
pub use encapsulation::{FrameHeader, Head, IP_OVERHEAD, MAX_INNER_LEN, OVERHEAD, Template};
pub use reason::{CopyDropReason, DropReason, Rejection};
pub use verdict::{Outer, outer};
