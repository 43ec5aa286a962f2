//! What happened to a virtual IP, as a CloudEvent 1.0 in JSON (structured mode).

use std::net::IpAddr;

use bcast_domain::{Tep, Vni};
use bytes::Bytes;
use ctl_api::model::Name;
use serde::Serialize;

use crate::ledger::EventId;

/// Who holds a virtual IP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The instance.
    pub instance: Name,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Its hypervisor.
    pub tep: Tep,
}

/// Who announced what it may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offender {
    /// The MAC address that it used.
    pub mac: [u8; 6],
    /// The hypervisor that it came from.
    pub tep: Tep,
    /// How many announcements this event stands for.
    pub count: u64,
}

/// What happened to a virtual IP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happening {
    /// The virtual IP's name.
    pub havip: Name,
    /// Its network.
    pub vni: Vni,
    /// Its address.
    pub address: IpAddr,
    /// Its public address.
    pub eip: Option<IpAddr>,
    /// What happened.
    pub kind: HappeningKind,
    /// The binding's generation.
    pub generation: u64,
    /// When, Unix time in milliseconds.
    pub unix_ms: u64,
    /// Who holds it from then on.
    pub holder: Option<Holder>,
    /// Who held it before.
    pub previous: Option<Holder>,
    /// Why.
    pub why: Option<&'static str>,
    /// One line for people, or nothing.
    pub detail: String,
    /// Who was refused.
    pub offender: Option<Offender>,
}

/// The kinds of [`Happening`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum HappeningKind {
    Bound,
    Moved,
    Unbound,
    Frozen,
    Thawed,
    Spoof,
    Conflict,
    ConflictEnded,
    RouteUnusable,
    Removed,
}

impl HappeningKind {
    /// Its word in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bound => "bound",
            Self::Moved => "moved",
            Self::Unbound => "unbound",
            Self::Frozen => "frozen",
            Self::Thawed => "thawed",
            Self::Spoof => "spoof",
            Self::Conflict => "conflict",
            Self::ConflictEnded => "conflict_ended",
            Self::RouteUnusable => "route_unusable",
            Self::Removed => "removed",
        }
    }
}

/// CloudEvents 1.0.2, section 3, with the extensions `sequence` and `gap`.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: String,
    source: &'a str,
    #[serde(rename = "type")]
    kind: String,
    subject: &'a str,
    time: String,
    datacontenttype: &'static str,
    sequence: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gap: Option<i32>,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    vni: u32,
    address: IpAddr,
    eip: Option<IpAddr>,
    generation: u64,
    holder: Option<Place<'a>>,
    previous: Option<Place<'a>>,
    why: Option<&'static str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    offender: Option<Stranger>,
}

#[derive(Serialize)]
struct Place<'a> {
    instance: &'a str,
    mac: String,
    tep: String,
}

#[derive(Serialize)]
struct Stranger {
    mac: String,
    tep: String,
    count: u64,
}

fn mac(octets: [u8; 6]) -> String {
    octets.map(|octet| format!("{octet:02x}")).join(":")
}

fn place(holder: &Holder) -> Place<'_> {
    Place { instance: holder.instance.as_str(), mac: mac(holder.mac), tep: holder.tep.to_string() }
}

/// RFC 3339, in UTC, to the millisecond.
fn time(unix_ms: u64) -> String {
    let time = i64::try_from(unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    format!("{:.3}", time.unwrap_or_default())
}

/// The event's JSON. `gap`: how many events of this virtual IP were left out before it.
pub(crate) fn encode(source: &str, id: EventId, happening: &Happening, gap: u64) -> Bytes {
    let Happening {
        havip,
        vni,
        address,
        eip,
        kind,
        generation,
        unix_ms,
        holder,
        previous,
        why,
        detail,
        offender,
    } = happening;
    let event = CloudEvent {
        specversion: "1.0",
        id: id.to_string(),
        source,
        kind: format!("bcast.havip.{}", kind.as_str()),
        subject: havip.as_str(),
        time: time(*unix_ms),
        datacontenttype: "application/json",
        // It shall sort as text: so all digits that a generation can have.
        sequence: format!("{generation:020}"),
        // An integer of CloudEvents has 32 bits.
        gap: (gap > 0).then(|| i32::try_from(gap).unwrap_or(i32::MAX)),
        data: Data {
            vni: vni.get(),
            address: *address,
            eip: *eip,
            generation: *generation,
            holder: holder.as_ref().map(place),
            previous: previous.as_ref().map(place),
            why: *why,
            detail,
            offender: offender.as_ref().map(|o| Stranger {
                mac: mac(o.mac),
                tep: o.tep.to_string(),
                count: o.count,
            }),
        },
    };
    // Strings and numbers alone: nothing in it can fail.
    serde_json::to_vec(&event).map(Bytes::from).unwrap_or_default()
}
