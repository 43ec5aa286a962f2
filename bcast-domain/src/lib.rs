//! Broadcast domains, and the lock-free table that workers read them from.
//!
//! A broadcast domain is a [`Vni`] and its members, each a [`TepIndex`]: a place in an array of tunnel endpoints that
//! the daemon defines. One thread changes domains while workers look up 32 at a time, with no lock, no fence
//! and no shared write on the way of a packet.
//!
//! ```
//! use bcast_domain::{TepIndex, Vni, table};
//!
//! let (mut domains, mut array, readers) = table(vec!["198.18.0.1", "198.18.0.2"]);
//! let vni: Vni = "0x1389".parse()?;
//! domains.set(vni, &[TepIndex::new(1)?, TepIndex::new(0)?])?;
//!
//! let mut reader = readers.reader(); // one per worker
//! let mut lists = [None; 32];
//! reader.lookup_bulk(&[vni, Vni::new(7)], &mut lists); // once per burst
//! let members = lists[0].map(|list| list.members());
//! assert_eq!(members, Some(&[TepIndex::new(0)?, TepIndex::new(1)?][..]));
//! assert!(lists[1].is_none());
//! assert_eq!(reader.array()[1], "198.18.0.2"); // after the lookups, so that it is at least as new
//!
//! domains.remove(vni);
//! let removed = domains.epoch();
//! assert!(!readers.grace().passed(removed)); // the worker may still be sending to the members
//! reader.quiesce(); // once per burst
//! assert!(readers.grace().passed(removed)); // it never will again
//! assert_eq!(domains.reclaim(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it works
//!
//! ```text
//!  Domains ──> slot array            member list (one allocation, immutable)
//!              [ 5001 | list ] ────> { domain 0, length 3, [ 4, 9, 17 ] }
//!              [      |      ]                              │
//!              [ 7    | null ]  removed                     v
//!  Array   ──> A, for example the endpoints' headers: [ .., 4, .. ]
//! ```
//!
//! **Two pointers and what hangs on them.** A slot is 16 bytes: a key and a pointer to a list. A change allocates a new
//! list, stores its address in the slot, and retires the old one. A key is written once in the life of a slot array; a
//! removed domain leaves its key with a null pointer. When keys, dead ones included, fill five eighths, the publisher
//! builds another array (twice as large if live ones fill half), publishes that and retires the old one.
//! The array `A` is replaced as a whole. So whatever a reader can reach is immutable but for those pointers.
//!
//! **Who may do what.**
//!
//! | who | may | never |
//! | --- | --- | --- |
//! | [`DomainPublisher`], one | store keys, lists and slot arrays; free what all have left behind | waits for a reader |
//! | [`ArrayPublisher`], one | the same with `A`; on another thread if it likes | waits for a reader |
//! | [`Reader`], one a worker | load pointers; write its own slot | frees, locks, waits, writes what others write |
//! | [`Grace`], any number | read the slots | changes anything |
//!
//! (Making and dropping a reader takes a lock; and when publishers and readers are all gone, the last frees the rest.)
//!
//! **Virtual IPs.** A domain that has some has a [`VipTable`] with them, which hangs on its list and is published with it. What workers
//! hear of them goes back to the control side by [`AnnouncementBoard`].
//!
//! **Why a reader never meets freed memory.** What is retired is stamped with an epoch, and freed when every online reader
//! has reported that epoch or a later one from a quiescent point, a moment when it holds no reference.
//! The borrow checker sees to that moment: all that a reader hands out borrows it, and [`Reader::quiesce`] and
//! [`Reader::offline`] need it exclusively. That each reader also *sees* what was unlinked before the epoch that it reports
//! is a matter of a few pairs of orderings. They are named in `table/sync.rs`, the races are told in
//! `table/qsbr.rs`, and `tests/loom/` explores them all and shows for each ordering the model that fails without it.
//!
//! **What a reader sees.** Each change by itself, at once or a little later; those of one publisher to one domain in
//! their order; all that came before an [`Epoch`] once it has reported it. Changes to several domains are not one step
//! for it: a batch is atomic in the store, not in the air.
//!
//! # Costs
//!
//! A lookup in bulk waits for memory twice per burst, not twice per lookup: all slots are prefetched, then all lists.
//! A report is a load and a store. A change is an allocation, a store, and an entry in a queue; an epoch is
//! one fence for any number of changes. A million domains of 16 members take 118 MB; an empty table that is made for as
//! many with [`table_with_capacity`] takes two pages, and with some tens of domains all of its 32 MiB of slots: they lie in
//! pages of 2 MB, where the system has those. One reader that neither reports nor sleeps holds back all memory that is
//! retired from then on: watch [`DomainPublisher::retired`].
#![deny(unsafe_code)]

mod id;
pub mod limits;
mod mac;
mod rate;
mod table;
mod vip;
mod vlan;

pub use id::{DomainId, Tep, TepError, TepIndex, Vni, VniError};
pub use limits::LimitError;
pub use mac::{Mac, MacAddr, MacAddrError, MacError};
pub use rate::{DomainLimit, Rate, RateError, TepLimit};
pub use table::{
    ArrayPublisher, DomainPublisher, Epoch, Grace, HeldList, Laggards, MemberList, Offline, Reader, Readers,
    SharedRow, table, table_with_capacity,
};
#[cfg(loom)]
#[doc(hidden)]
pub use table::{SITES, live_allocations};
pub use vip::{
    AnnouncementBoard, AnnouncementKind, Announcer, AnnouncerId, HeardTags, LastAnnounced, Learned,
    LearnedBindings, RejectReason, Rejected, SILENCE_NS, StrictDomain, StrictReason, StrictRefusal, Vip,
    VipEntry, VipId, VipKey, VipTable, is_virtual_mac,
};
pub use vlan::VlanTags;
