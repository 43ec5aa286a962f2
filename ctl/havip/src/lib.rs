//! State machine of a HAVIP: decides which announcer holds the address.
//!
//! There is one [`Machine`] per HAVIP. An *announcer* is an attached instance at one of its TEPs. Input: the
//! announcements of announcers, and the rejected announcements of other senders. Output: [`Decisions`]. The crate
//! does no I/O, and time is an argument: nanoseconds of the node's clock. The caller commits the decisions, and
//! undoes the step if the commit fails:
//! ```
//! use bcast_domain::{AnnouncerId, LastAnnounced};
//! use ctl_api::model::{HavipState, Why};
//! use ctl_havip::{Alarms, Damping, Machine, Options, Effect};
//!
//! let (vm1, vm2) = (AnnouncerId::new(1)?, AnnouncerId::new(2)?);
//! let mut machine = Machine::new(&[(vm1, 0), (vm2, 1)], (HavipState::Unbound, None), Options::default(), 0);
//! let (damping, mut alarms) = (Damping::default(), Alarms::new());
//! let heard = [(vm2, LastAnnounced { claim_ns: 5_000, ..LastAnnounced::default() })];
//! let (decisions, undo) = machine.step(&heard, 6_000, &damping, &mut alarms);
//! assert_eq!(decisions.effects, [Effect::Bound { to: vm2, why: Why::Garp }]);
//! assert_eq!(machine.holder(), Some(vm2));
//! machine.take_back(undo);
//! assert_eq!(machine.holder(), None);
//! # Ok::<(), bcast_domain::LimitError>(())
//! ```
//!
//! # Transitions
//!
//! | input | effect |
//! | --- | --- |
//! | a *claim* (gratuitous ARP, unsolicited neighbour advertisement) of an announcer | the address moves to it at
//! once |
//! | a *use* (any other ARP from the address) or an *advert* (VRRP) | an unbound address is bound to it |
//! | uses or adverts of another, while the holder is silent for 3 s | the address moves to it: *takeover* |
//! | anything of the holder's instance at another of its TEPs | the address moves there |
//! | adverts of one announcer alone for three intervals, while another holds the address | the address moves to
//! it: *healing* |
//! | more than 5 moves in 180 s | the next move *freezes* the address: it does not move until it thaws |
//! | one announcer alone announces a frozen address, and its election has settled | it *thaws*, and moves to that one |
//! | two announcers that advertise at the same time | *conflict*: its start and its end are reported |
//!
//! Claims are ordered by their receive time; of claims that arrive together only the last counts.
#![forbid(unsafe_code)]

mod adverts;
mod attachment;
mod conflict;
mod damping;
mod decision;
mod diagnosis;
mod entry;
mod evidence;
mod machine;
mod refresh;
mod rejected;
mod tags;
mod thaw;
mod undo;

pub use damping::Damping;
pub use decision::{BindingChange, Decisions, Effect, Frozen, Thaw};
pub use diagnosis::{Diagnosis, codes};
pub use entry::{enact, name};
pub use machine::{Machine, Options};
pub use rejected::{Alarms, RejectedSender, Replayed};
pub use undo::Undo;

/// Nanoseconds of a second.
pub const SECOND: u64 = 1_000_000_000;
