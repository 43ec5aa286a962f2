//! What happened to a virtual IP: told to watchers and webhooks, and kept as its history.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use bcast_domain::{Tep, Vni};

use super::havip::words;
use super::{HavipEntry, Holder, Name, Why, WordError};

words! {
    /// A kind of happening.
    pub enum HappeningKind("kind of happening") {
        /// It has a holder, and had none.
        Bound = "bound",
        /// It went from one holder to another.
        Moved = "moved",
        /// It has no holder any more.
        Unbound = "unbound",
        /// It moved too often, and holds still from now on.
        Frozen = "frozen",
        /// It follows its announcements again.
        Thawed = "thawed",
        /// It was announced by one that is not attached.
        Spoof = "spoof",
        /// Two instances claim to be master.
        Conflict = "conflict",
        /// One of them does no more.
        ConflictEnded = "conflict_ended",
        /// There is no route to its holder that layer-3 networks could be told.
        RouteUnusable = "route_unusable",
        /// It is no HAVIP any more.
        Removed = "removed",
    }
}

/// Something that happened to a virtual IP, with all that one who listens needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HavipEvent {
    /// The HAVIP.
    pub havip: Name,
    /// Its domain.
    pub vni: Vni,
    /// Its address.
    pub address: IpAddr,
    /// Its public address.
    pub eip: Option<IpAddr>,
    /// What happened.
    pub kind: HappeningKind,
    /// The revision that it is part of; so it only grows, and orders all that happens to a HAVIP.
    pub generation: u64,
    /// When, Unix time in milliseconds.
    pub unix_ms: u64,
    /// Who holds it since.
    pub holder: Option<Holder>,
    /// Who held it before.
    pub previous: Option<Holder>,
    /// Why.
    pub why: Option<Why>,
    /// One line for people; may be empty.
    pub detail: String,
    /// Who announced it without being attached.
    pub offender: Option<Offender>,
}

impl HavipEvent {
    /// What just happened to this HAVIP, as it is since then.
    #[must_use]
    pub fn of(entry: &HavipEntry, kind: HappeningKind, unix_ms: u64) -> Self {
        let HavipEntry { havip, binding } = entry;
        Self {
            havip: havip.name.clone(),
            vni: havip.vni,
            address: havip.address,
            eip: havip.eip,
            kind,
            generation: binding.generation,
            unix_ms,
            holder: binding.holder.clone(),
            previous: binding.previous.clone(),
            why: binding.why,
            detail: String::new(),
            offender: None,
        }
    }
}

/// One that announced a virtual IP and may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offender {
    /// What it gave as its MAC address; may be any six bytes.
    pub mac: [u8; 6],
    /// The TEP that it came from.
    pub tep: Tep,
    /// How many such announcements this stands for, the last of which was its.
    pub count: u64,
}
