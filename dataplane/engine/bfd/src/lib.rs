//! Bidirectional forwarding detection (RFC 5880, RFC 5881) for tunnels as Open vSwitch monitors them.
//!
//! - [`Packet`]: the Control packet, bit for bit.
//! - [`Session`]: the state machine of RFC 5880 section 6.8 in asynchronous mode, without authentication and Echo.
//! - [`Wheel`]: timers of many sessions, without allocation after its start.
//! - [`Frame`], [`Template`]: the Ethernet frame in which a Control packet travels through a tunnel.
//! - [`Discriminators`]: which session a received packet belongs to.
//!
//! The crate has no clock, no I/O and no randomness: time goes in as nanoseconds of a monotonic clock. It allocates
//! in [`Wheel::new`] alone, and never panics, whatever the bytes are. A caller does this, for each session:
//!
//! ```
//! use core::num::{NonZeroU16, NonZeroU32};
//! use bfd::{Config, Discriminators, Packet, Popped, Session, State, Wheel};
//!
//! let discriminators = Discriminators::new(NonZeroU16::MIN);
//! let mut wheel = Wheel::new(1, 0);
//! let mut session = Session::new(Config::passive(discriminators.of(0)), 0)?;
//! assert_eq!(session.deadline_ns(), u64::MAX, "a passive session is silent until it is spoken to");
//!
//! // A packet of the peer, 5 ms after the start.
//! let heard = Packet { my_discriminator: NonZeroU32::MIN, ..session.packet() };
//! session.receive(&heard, 5_000_000)?;
//! assert_eq!(session.state(), State::Init);
//! wheel.schedule(0, session.deadline_ns())?;
//!
//! // In each turn of the caller's loop.
//! let now_ns = 6_000_000;
//! while let Popped::Due(index) = wheel.pop(now_ns) {
//!     let done = session.tick(now_ns);
//!     assert_eq!(done.send.map(|packet| packet.state), Some(State::Init));
//!     wheel.schedule(index, session.deadline_ns())?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod discriminator;
mod frame;
mod packet;
mod session;
mod timing;
mod wheel;

pub use discriminator::Discriminators;
pub use frame::{Addresses, BFD_MAC, FIRST_SOURCE_PORT, FRAME_LEN, Frame, FrameError, Template, UDP_PORT};
pub use packet::{Diagnostic, Discard, Packet, State};
pub use session::{Change, Config, ConfigError, Done, Hold, Role, Session};
pub use wheel::{Popped, UnknownTimer, Wheel};
