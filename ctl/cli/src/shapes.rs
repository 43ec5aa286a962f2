//! The JSON that bcastctl prints: these types and their field names stay as they are.
//!
//! | command | prints |
//! | --- | --- |
//! | `tep add`, `tep rm`, `domain create`, `rm`, `join`, `leave`, `limit` with a rate | [`Changed`] |
//! | `havip create`, `rm`, `attach`, `detach`, `bind-eip`, `unbind-eip`, `unfreeze` | [`Changed`] |
//! | `tep list`, `domain list`, `havip list` | an array of [`Tep`], of [`Domain`], of [`Havip`] |
//! | `tep show`, `domain show`, `havip show` | [`TepStatus`], [`Domain`], [`HavipStatus`] |
//! | `tep limit`, `domain limit` | [`TepLimit`], [`DomainLimit`] |
//! | `tep next-hop`, `domain garp` | [`TepRoutes`], [`DomainGarp`] |
//! | `havip history` | an array of [`HavipEvent`] |
//! | `webhook list`, `dead`, `retry` | an array of [`Webhook`], of [`DeadLetter`]; [`Retried`] |
//! | `apply` | [`Applied`] |
//! | `watch` | [`Event`], one a line |
//! | `export` | an apply file: `{"revision":N,"teps":[...],"domains":[...]}`; `apply` reads over the revision |
//! | `stats`, `stats VNI` | [`Stats`], [`DomainStats`] |
//! | `version` | [`Versions`] |

mod havip;

use std::net::Ipv4Addr;

use bcast_domain::Rate;
use ctl_api::model::GarpMode;
use ctl_api::proto;
use serde::ser::{Serialize, Serializer};

use crate::apply::Totals;

pub use havip::{AnnouncementBoard, DeadLetter, Havip, HavipEvent, HavipStatus, Retried, Webhook};

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

/// What is in a backup.
#[derive(Debug, serde::Serialize)]
pub struct BackedUp {
    /// The revision that it is of.
    pub revision: u64,
    /// When it was made, RFC 3339.
    pub time: String,
    /// TEPs.
    pub teps: u64,
    /// Domains.
    pub domains: u64,
    /// HAVIPs.
    pub havips: u64,
    /// Things that happened to HAVIPs.
    pub events: u64,
}

/// What `restore` did.
#[derive(Debug, serde::Serialize)]
pub struct Restored<'a> {
    /// The same as for single changes.
    #[serde(flatten)]
    pub changed: Changed<'a>,
    /// What was restored.
    pub backup: BackedUp,
}

/// A TEP's rates, each a second; null where it is the node's default.
#[derive(Debug, Default, serde::Serialize)]
pub struct TepRates {
    /// Frames.
    pub frames: Option<u64>,
}

/// A domain's rates, each a second; null where it is the node's default.
#[derive(Debug, Default, serde::Serialize)]
pub struct DomainRates {
    /// Copies.
    pub copies: Option<u64>,
    /// Bits of the inner frames in all copies.
    pub bits: Option<u64>,
    /// Copies of ARP, neighbour advertisements and VRRP.
    pub control: Option<u64>,
}

/// The limit of a TEP.
#[derive(Debug, serde::Serialize)]
pub struct TepLimit<'a> {
    /// Its underlay address.
    pub address: &'a str,
    /// Its rates.
    pub limit: TepRates,
}

/// The limit of a domain.
#[derive(Debug, serde::Serialize)]
pub struct DomainLimit {
    /// Its VNI.
    pub vni: u32,
    /// Its rates.
    pub limit: DomainRates,
}

/// By which gateways routes lead to the HAVIPs on a TEP; null where none is set.
#[derive(Debug, serde::Serialize)]
pub struct Routes<'a> {
    /// IPv4.
    pub next_hop: Option<&'a str>,
    /// IPv6.
    pub next_hop6: Option<&'a str>,
}

/// The gateways of a TEP.
#[derive(Debug, serde::Serialize)]
pub struct TepRoutes<'a> {
    /// Its underlay address.
    pub address: &'a str,
    /// The gateways.
    pub routes: Routes<'a>,
}

/// The mode of a domain.
#[derive(Debug, serde::Serialize)]
pub struct DomainGarp<'a> {
    /// Its VNI.
    pub vni: u32,
    /// open or strict.
    pub garp: &'a str,
}

/// A TEP.
#[derive(Debug, serde::Serialize)]
pub struct Tep<'a> {
    /// Its underlay address.
    pub address: &'a str,
    /// Its name; null where it has none.
    pub name: Option<&'a str>,
    /// What it may send to the node.
    pub limit: TepRates,
    /// By which gateways routes lead to its HAVIPs.
    pub routes: Routes<'a>,
}

/// A domain.
#[derive(Debug, serde::Serialize)]
pub struct Domain<'a> {
    /// Its VNI.
    pub vni: u32,
    /// Its name; null where it has none.
    pub name: Option<&'a str>,
    /// What it may send.
    pub limit: DomainRates,
    /// What addresses that are no HAVIP may do: open or strict.
    pub garp: &'a str,
    /// The addresses of its members, ascending.
    pub members: Vec<Ipv4Addr>,
}

/// A TEP and how it is doing.
#[derive(Debug, serde::Serialize)]
pub struct TepStatus<'a> {
    /// Address, name and limit.
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
    /// A TEP is registered, or has another name or limit.
    TepSet {
        /// The TEP.
        tep: Tep<'a>,
    },
    /// A TEP is gone.
    TepRemoved {
        /// Its address.
        address: &'a str,
    },
    /// A domain is there, or has other members, another name or limit.
    DomainSet {
        /// The domain.
        domain: Domain<'a>,
    },
    /// A domain is gone.
    DomainRemoved {
        /// Its VNI.
        vni: u32,
    },
    /// A HAVIP is there, is another one, or is somewhere else.
    HavipSet {
        /// The HAVIP.
        havip: Havip<'a>,
    },
    /// A HAVIP is gone.
    HavipRemoved {
        /// Its name.
        name: &'a str,
    },
    /// Something happened to a HAVIP.
    Happened(HavipEvent<'a>),
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
        let limit = TepRates { frames: tep.limit.unwrap_or_default().frames };
        Self { address: &tep.address, name: given(&tep.name), limit, routes: tep.into() }
    }
}

impl<'a> From<&'a proto::Tep> for Routes<'a> {
    fn from(tep: &'a proto::Tep) -> Self {
        Self { next_hop: given(&tep.next_hop), next_hop6: given(&tep.next_hop6) }
    }
}

impl<'a> From<&'a proto::Domain> for Domain<'a> {
    fn from(domain: &'a proto::Domain) -> Self {
        let members = domain.members.iter().copied().map(Ipv4Addr::from).collect();
        let proto::DomainRates { copies, bits, control } = domain.limit.unwrap_or_default();
        let limit = DomainRates { copies, bits, control };
        let garp = match domain.garp() {
            proto::GarpMode::GarpOpen => GarpMode::Open,
            proto::GarpMode::GarpStrict => GarpMode::Strict,
        };
        Self { vni: domain.vni, name: given(&domain.name), limit, garp: garp.as_str(), members }
    }
}

impl From<bcast_domain::DomainLimit> for DomainRates {
    fn from(limit: bcast_domain::DomainLimit) -> Self {
        let number = |rate: Option<Rate>| rate.map(Rate::per_second);
        Self { copies: number(limit.copies), bits: number(limit.bits), control: number(limit.control) }
    }
}

impl From<bcast_domain::TepLimit> for TepRates {
    fn from(limit: bcast_domain::TepLimit) -> Self {
        Self { frames: limit.frames.map(Rate::per_second) }
    }
}
