//! What a virtual IP does about what is heard of it.
//!
//! One [`Machine`] per HAVIP. It is told what its announcers said (an attached instance at one of its TEPs is a
//! *announcer*) and what was refused from strangers, and decides who holds the address. Nothing here does I/O and time
//! is an argument, nanoseconds of the node's clock; whoever runs the machines makes the decisions durable, and takes a step
//! back where that fails:
//!
//! ```
//! use bcast_domain::{AnnouncerId, LastAnnounced};
//! use ctl_api::model::{HavipState, Why};
//! use ctl_havip::{Alarms, Damping, Machine, Options, Effect};
//!
//! let (vm1, vm2) = (AnnouncerId::new(1)?, AnnouncerId::new(2)?);
//! let mut machine = Machine::new(&[vm1, vm2], (HavipState::Unbound, None), Options::default(), 0);
//! let (damping, mut alarms) = (Damping::default(), Alarms::new());
//! let heard = [(vm2, LastAnnounced { claim_ns: 5_000, ..LastAnnounced::default() })];
//! let (decisions, undo) = machine.step(&heard, 6_000, &damping, &mut alarms);
//! assert_eq!(decisions.told, [Effect::Bound { to: vm2, why: Why::Garp }]);
//! assert_eq!(machine.holder(), Some(vm2));
//! machine.take_back(undo);
//! assert_eq!(machine.holder(), None);
//! # Ok::<(), bcast_domain::LimitError>(())
//! ```
//!
//! # What moves it
//!
//! | what | does |
//! | --- | --- |
//! | a *claim* (gratuitous ARP, unsolicited neighbour advertisement) of an announcer | moves it there at once |
//! | a *use* (any other ARP from the address) or an *advert* (VRRP) | binds it where it is unbound |
//! | adverts of one announcer alone for three intervals, while another holds it | move it: *healing* |
//! | more than 5 moves in 180 s | the next one *freezes* it: nothing moves until it thaws |
//! | two announcers that advertise at the same time | a *conflict*: told, and its end as well |
//!
//! Claims are ordered by when the node received them; of those that arrive together only the last counts.
#![forbid(unsafe_code)]

mod adverts;
mod attachment;
mod damping;
mod decision;
mod diagnosis;
mod entry;
mod machine;
mod strangers;
mod undo;

pub use damping::Damping;
pub use decision::{BindingChange, Decisions, Effect, Frozen, Thaw};
pub use entry::{enact, name};
pub use machine::{Machine, Options};
pub use strangers::{Alarms, RejectedSender};
pub use undo::Undo;

/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000_000_000;
