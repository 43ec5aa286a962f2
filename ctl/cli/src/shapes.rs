//! The JSON that bcastctl prints: these types and their field names stay as they are.
//!
//! | command | prints |
//! | --- | --- |
//! | `tep add`, `tep rm`, `domain create`, `rm`, `join`, `leave` | [`Changed`] |
//! | `tep list`, `domain list` | an array of [`Tep`], of [`Domain`] |
//! | `tep show`, `domain show` | [`TepStatus`], [`Domain`] |
//! | `apply` | [`Applied`] |
//! | `watch` | [`Event`], one a line |
//! | `export` | an apply file: `{"revision":N,"teps":[...],"domains":[...]}`; `apply` reads over the revision |
//! | `stats`, `stats VNI` | [`Stats`], [`DomainStats`] |
//! | `version` | [`Versions`] |

use std::net::Ipv4Addr;

use ctl_api::proto;
use serde::ser::{Serialize, Serializer};

use crate::apply::Totals;

/// What a change did.
#[derive(Debug, serde::Serialize)]
pub struct Changed<'a> {
    /// The revision that it made; the current one where nothing had to change.
    pub revision: u64,
    /// How many of its changes changed something.
    pub changed: u64,
    /// One line for each removal or leave of what was not there.
    pub notes: &'a [String],
}

/// What `apply` did, or with `dry_run` would do.
#[derive(Debug, serde::Serialize)]
pub struct Applied<'a> {
    /// The same as for single changes.
    #[serde(flatten)]
    pub changed: Changed<'a>,
    /// Whether it was only checked.
    pub dry_run: bool,
    /// The plan in numbers.
    pub plan: Totals,
}

/// A TEP.
#[derive(Debug, serde::Serialize)]
pub struct Tep<'a> {
    /// Its underlay address.
    pub address: &'a str,
    /// Its name; null where it has none.
    pub name: Option<&'a str>,
}

/// A domain.
#[derive(Debug, serde::Serialize)]
pub struct Domain<'a> {
    /// Its VNI.
    pub vni: u32,
    /// Its name; null where it has none.
    pub name: Option<&'a str>,
    /// The addresses of its members, ascending.
    pub members: Vec<Ipv4Addr>,
}

/// A TEP and how it is doing.
#[derive(Debug, serde::Serialize)]
pub struct TepStatus<'a> {
    /// Address and name.
    #[serde(flatten)]
    pub tep: Tep<'a>,
    /// How many domains it is a member of.
    pub domains: u64,
    /// Where frames to it go; null where there is no route.
    pub next_hop: Option<&'a str>,
    /// That next hop's MAC address; null where it is unresolved.
    pub mac: Option<&'a str>,
    /// Unix time in milliseconds since which both hold.
    pub since_unix_ms: u64,
    /// Copies to it that were dropped, by reason.
    pub drops: Counters<'a>,
}

/// An event of `watch`.
#[derive(Debug, serde::Serialize)]
pub struct Event<'a> {
    /// The revision that it belongs to.
    pub revision: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind<'a>,
}

/// What happened.
#[derive(Debug, serde::Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind<'a> {
    /// The whole state follows; all that was known is void.
    Reset,
    /// A TEP is registered, or has another name.
    TepSet {
        /// The TEP.
        tep: Tep<'a>,
    },
    /// A TEP is gone.
    TepRemoved {
        /// Its address.
        address: &'a str,
    },
    /// A domain is there, or has other members or another name.
    DomainSet {
        /// The domain.
        domain: Domain<'a>,
    },
    /// A domain is gone.
    DomainRemoved {
        /// Its VNI.
        vni: u32,
    },
    /// All events of this revision were printed.
    Committed {
        /// Unix time of the commit in milliseconds.
        unix_ms: u64,
    },
}

/// The node's counters.
#[derive(Debug, serde::Serialize)]
pub struct Stats<'a> {
    /// The current revision.
    pub revision: u64,
    /// Counters by their Prometheus names.
    pub counters: Counters<'a>,
    /// Received frames that were dropped, by reason.
    pub drops: Counters<'a>,
    /// Copies that were dropped, by reason.
    pub copy_drops: Counters<'a>,
    /// The port's own counters.
    pub port: Counters<'a>,
}

/// One domain's counters, since it was created or the daemon started.
#[derive(Debug, serde::Serialize)]
pub struct DomainStats<'a> {
    /// Its VNI.
    pub vni: u32,
    /// Its name; null where it has none.
    pub name: Option<&'a str>,
    /// How many members it has.
    pub members: u64,
    /// Frames accepted.
    pub frames: u64,
    /// Copies sent.
    pub copies: u64,
    /// Bytes of inner frames in the copies sent.
    pub bytes: u64,
    /// Copies dropped.
    pub drops: u64,
}

/// Versions; null where the daemon cannot be reached.
#[derive(Debug, serde::Serialize)]
pub struct Versions<'a> {
    /// Of bcastctl.
    pub bcastctl: &'a str,
    /// Of the daemon.
    pub bcastd: Option<&'a str>,
    /// Of the daemon's DPDK.
    pub dpdk: Option<&'a str>,
}

/// Counters as one object, in the daemon's order.
#[derive(Debug)]
pub struct Counters<'a>(pub &'a [proto::Counter]);

impl Serialize for Counters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|counter| (&counter.name, counter.value)))
    }
}

/// Text of the contract where "" says none.
pub fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

impl<'a> From<&'a proto::Tep> for Tep<'a> {
    fn from(tep: &'a proto::Tep) -> Self {
        Self { address: &tep.address, name: given(&tep.name) }
    }
}

impl<'a> From<&'a proto::Domain> for Domain<'a> {
    fn from(domain: &'a proto::Domain) -> Self {
        let members = domain.members.iter().copied().map(Ipv4Addr::from).collect();
        Self { vni: domain.vni, name: given(&domain.name), members }
    }
}
