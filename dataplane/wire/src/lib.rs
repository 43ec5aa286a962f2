//! Headers, verdicts, drop reasons and encapsulation: pure functions over bytes.
//!
//! A received frame is parsed and classified, and in between the caller looks its tables up:
//!
//! 1. [`parse`] reads Ethernet, IPv4 and GRE and names the tunnel: source and key. A frame that is no overlay
//!    frame to this node comes back as [`Rejection::Punt`].
//! 2. The caller asks whether the source is a TEP, the key a domain and the one a member of the other.
//! 3. [`Outer::inner`] verifies the GRE checksum (only now: summing a stranger's frame is work) and the inner
//!    frame's addresses, and returns the inner frame.
//!
//! Checks run in the order of [`DropReason::ALL`]; the first that fails names the drop. A copy's outer header
//! is one [`Template`] for each destination and one [`FrameHeader`] for each received frame, joined by
//! [`head`](encap::FrameHeaderOf::head). [`view`] reads what travels inside the overlay: VLAN tags, ARP, IP, VRRP.
//! [`announcement()`] says of an inner frame which addresses it binds to whom.
//!
//! Nothing here does I/O, allocates or panics, whatever the bytes are. Addresses, lengths and keys in the API
//! are numbers in the machine's byte order; only header overlays hold network byte order.

//!
//! A frame in, a copy out:
//!
//! ```
//! use std::net::Ipv4Addr;
//! use wire::{FrameHeader, MacAddr, NodeAddresses, Rejection, Template, parse};
//!
//! /// What goes to `member`, or why there is nothing to send.
//! fn copy(frame: &[u8], node: &NodeAddresses, member: &Template) -> Result<Vec<u8>, Rejection> {
//!     let outer = parse(frame, node)?;
//!     // Here a caller asks its tables about outer.source and outer.key.
//!     let inner = outer.inner(frame)?;
//!     let header = FrameHeader::new(node.first(), outer.tos, outer.key, outer.inner_len());
//!     Ok([&header.head(member).to_bytes(), inner].concat())
//! }
//!
//! let node = NodeAddresses::new(&[Ipv4Addr::new(198, 18, 0, 254)])?;
//! let next_hop = MacAddr([2, 0, 0, 0, 0, 2]);
//! let member = Template::new(MacAddr([2, 0, 0, 0, 0, 0xfe]), Some(next_hop), Ipv4Addr::new(198, 18, 0, 2));
//!
//! // What a hypervisor sends is made the same way.
//! let from = Ipv4Addr::new(198, 18, 0, 1);
//! let to_node = Template::new(MacAddr([2, 0, 0, 0, 0, 1]), Some(MacAddr::ZERO), node.first());
//! let inner = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 0x11], &[0x08, 0x06], &[0; 46]].concat();
//! let frame = [&FrameHeader::new(from, 0, 5001, 60).head(&to_node).to_bytes(), &inner[..]].concat();
//!
//! let sent = copy(&frame, &node, &member).expect("broadcast, and all is well");
//! assert_eq!(sent[..6], next_hop.0);
//! assert_eq!(sent[42..], inner);
//! assert_eq!(copy(&frame[..20], &node, &member), Err(Rejection::Drop(wire::DropReason::Runt)));
//! # Ok::<(), wire::NodeAddressesError>(())
//! ```

#![forbid(unsafe_code)]

pub mod address;
pub mod announcement;
pub mod bfd;
pub mod checksum;
pub mod class;
pub mod encap;
pub mod gratuitous;
pub mod header;
pub mod host;
pub mod offender;
pub mod reason;
pub mod redirect;
pub mod verdict;
pub mod view;

pub use address::{NodeAddresses, NodeAddressesError};
pub use announcement::{Announcement, announcement};
pub use bcast_domain::{MacAddr, MacAddrError};
pub use class::Class;
pub use encap::{FrameHeader, IP_OVERHEAD, MAX_INNER_LEN, OVERHEAD, Template};
pub use host::{Content, CopyErrorKind, HostFrame};
pub use offender::Offender;
pub use reason::{CopyDropReason, DropReason, Rejection};
pub use verdict::{Outer, parse, parse_fast};
