//! Events of virtual IPs and domains, each as a CloudEvent 1.0 in JSON (structured mode).

use std::net::IpAddr;

use bcast_domain::{MacAddr, Vni};
use bytes::Bytes;
use ctl_api::model::{HavipEvent, Holder, Offender, RefusedAnnouncement, Why};
use serde::Serialize;

use ctl_store::EventId;

/// CloudEvents 1.0.2, section 3, with the extensions `sequence` and `gap`.
#[derive(Serialize)]
struct CloudEvent<'a, D> {
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
    data: D,
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
struct RefusedData {
    vni: u32,
    address: IpAddr,
    generation: u64,
    mac: String,
    tep: Option<String>,
    reason: &'static str,
    count: u64,
    several_addresses: bool,
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

fn place(Holder { instance, mac, tep }: &Holder) -> Place<'_> {
    Place { instance: instance.as_str(), mac: mac.to_string(), tep: tep.to_string() }
}

fn stranger(Offender { mac, tep, count }: &Offender) -> Stranger {
    Stranger { mac: MacAddr(*mac).to_string(), tep: tep.to_string(), count: *count }
}

/// RFC 3339, in UTC, to the millisecond.
fn time(unix_ms: u64) -> String {
    let time = i64::try_from(unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    format!("{:.3}", time.unwrap_or_default())
}

/// The event's JSON. `gap`: how many events of this virtual IP were left out before it.
pub(crate) fn encode(source: &str, id: EventId, event: &HavipEvent, gap: u64) -> Bytes {
    let HavipEvent {
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
    } = event;
    let data = Data {
        vni: vni.get(),
        address: *address,
        eip: *eip,
        generation: *generation,
        holder: holder.as_ref().map(place),
        previous: previous.as_ref().map(place),
        why: why.map(Why::as_str),
        detail,
        offender: offender.as_ref().map(stranger),
    };
    let kind = format!("bcast.havip.{}", kind.as_str());
    let envelope = CloudEvent::new(source, id, kind, havip.as_str(), (*generation, *unix_ms), data);
    // An integer of CloudEvents has 32 bits.
    json(&CloudEvent { gap: (gap > 0).then(|| i32::try_from(gap).unwrap_or(i32::MAX)), ..envelope })
}

/// Subject of refused announcements of a domain.
pub(crate) fn subject(vni: Vni) -> String {
    format!("domain/{vni}")
}

/// JSON of refused announcements.
pub(crate) fn encode_refused(source: &str, id: EventId, refused: &RefusedAnnouncement) -> Bytes {
    let data = RefusedData {
        vni: refused.vni.get(),
        address: refused.address,
        generation: refused.generation,
        mac: MacAddr(refused.mac).to_string(),
        tep: refused.tep.map(|tep| tep.to_string()),
        reason: refused.reason.as_str(),
        count: refused.count,
        several_addresses: refused.several_addresses,
    };
    let (kind, subject) = ("bcast.domain.announcement_refused".to_owned(), subject(refused.vni));
    json(&CloudEvent::new(source, id, kind, &subject, (refused.generation, refused.unix_ms), data))
}

impl<'a, D> CloudEvent<'a, D> {
    fn new(
        source: &'a str,
        id: EventId,
        kind: String,
        subject: &'a str,
        (generation, unix_ms): (u64, u64),
        data: D,
    ) -> Self {
        Self {
            specversion: "1.0",
            id: id.to_string(),
            source,
            kind,
            subject,
            time: time(unix_ms),
            datacontenttype: "application/json",
            // It shall sort as text: so all digits that a generation can have.
            sequence: format!("{generation:020}"),
            gap: None,
            data,
        }
    }
}

fn json(event: &impl Serialize) -> Bytes {
    // Strings and numbers alone: nothing in it can fail.
    serde_json::to_vec(event).map(Bytes::from).unwrap_or_default()
}
