//! What `havip` and `webhook` print, and `watch` of HAVIPs.

use ctl_api::proto;

use super::given;
use crate::out::utc;

/// Who holds, or may hold, a HAVIP.
#[derive(Debug, serde::Serialize)]
pub struct Holder<'a> {
    /// The instance.
    pub instance: &'a str,
    /// The MAC address of its interface.
    pub mac: &'a str,
    /// Its TEP's address.
    pub tep: &'a str,
}

/// An instance that may hold a HAVIP.
#[derive(Debug, serde::Serialize)]
pub struct Attachment<'a> {
    /// The instance.
    pub instance: &'a str,
    /// The MAC address of its interface.
    pub mac: &'a str,
    /// Where it runs.
    pub teps: &'a [String],
}

/// A HAVIP and where it is.
#[derive(Debug, serde::Serialize)]
pub struct Havip<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its domain.
    pub vni: u32,
    /// Its address.
    pub address: &'a str,
    /// unbound, bound, frozen or conflict.
    pub state: &'a str,
    /// Who holds it.
    pub holder: Option<Holder<'a>>,
    /// Since when state and holder are so, RFC 3339.
    pub since: String,
    /// The revision that made them so.
    pub generation: u64,
    /// Who held it before.
    pub previous: Option<Holder<'a>>,
    /// Why state and holder are so; null where nothing has happened yet.
    pub why: Option<&'a str>,
    /// How often the holder changed.
    pub moves: u64,
    /// The network of its address.
    pub subnet: &'a str,
    /// The VRRP ids that its holders may use.
    pub vrids: &'a [u32],
    /// Seconds after which it is announced anew.
    pub refresh_s: Option<u32>,
    /// Its public address.
    pub eip: Option<&'a str>,
    /// Who may hold it.
    pub attachments: Vec<Attachment<'a>>,
}

/// A HAVIP and how it is doing.
#[derive(Debug, serde::Serialize)]
pub struct HavipStatus<'a> {
    /// The HAVIP.
    #[serde(flatten)]
    pub havip: Havip<'a>,
    /// A line for each thing that may be wrong.
    pub diagnosis: &'a [String],
    /// When each attachment was last heard.
    pub heard: Vec<AnnouncementBoard<'a>>,
}

/// When an attachment last spoke of the address; null: not since the daemon started.
#[derive(Debug, serde::Serialize)]
pub struct AnnouncementBoard<'a> {
    /// The attachment, at one of its TEPs.
    #[serde(flatten)]
    pub who: Holder<'a>,
    /// Gratuitous ARP, or an unsolicited neighbour advertisement.
    pub claim: Option<String>,
    /// Other ARP and neighbour discovery.
    #[serde(rename = "use")]
    pub used: Option<String>,
    /// A VRRP advert.
    pub advert: Option<String>,
    /// Its interval in centiseconds.
    pub advert_interval_cs: Option<u32>,
    /// Its priority.
    pub advert_priority: Option<u32>,
}

/// Something that happened to a HAVIP.
#[derive(Debug, serde::Serialize)]
pub struct HavipEvent<'a> {
    /// When, RFC 3339.
    pub time: String,
    /// What: bound, moved, unbound, ...
    pub kind: &'a str,
    /// The HAVIP.
    pub havip: &'a str,
    /// Its domain.
    pub vni: u32,
    /// Its address.
    pub address: &'a str,
    /// Its public address.
    pub eip: Option<&'a str>,
    /// The revision that it is part of.
    pub generation: u64,
    /// Who holds it since.
    pub holder: Option<Holder<'a>>,
    /// Who held it before.
    pub previous: Option<Holder<'a>>,
    /// Why.
    pub why: Option<&'a str>,
    /// One line for people.
    pub detail: Option<&'a str>,
    /// Who announced it and may not.
    pub offender: Option<Offender<'a>>,
}

/// Who announced a HAVIP and may not.
#[derive(Debug, serde::Serialize)]
pub struct Offender<'a> {
    /// Its MAC address, or what it gave as such.
    pub mac: &'a str,
    /// Where it came from.
    pub tep: &'a str,
    /// How many such announcements this stands for.
    pub count: u64,
}

/// A receiver of webhooks. Counts are since the daemon started.
#[derive(Debug, serde::Serialize)]
pub struct Webhook<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it is.
    pub url: &'a str,
    /// Events that it has still to accept.
    pub pending: u64,
    /// The bound of those, beyond which they are coalesced.
    pub bound: u64,
    /// Since when the oldest of them waits, RFC 3339.
    pub oldest: Option<String>,
    /// Whether it is left alone for a while, because it does not answer.
    pub backing_off: bool,
    /// Events that it accepted.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Events that became dead letters.
    pub dead: u64,
    /// Events that were left out, as `gap` marks tell it.
    pub left_out: u64,
    /// Events that were not even stored.
    pub overflowed: u64,
    /// Why the last attempt that failed did so, unless one succeeded since.
    pub last_error: Option<&'a str>,
}

/// An event that was not accepted in time.
#[derive(Debug, serde::Serialize)]
pub struct DeadLetter<'a> {
    /// Who did not accept it.
    pub receiver: &'a str,
    /// The event's id.
    pub id: &'a str,
    /// The HAVIP that it is about.
    pub havip: &'a str,
    /// Since when it waited, RFC 3339.
    pub since: String,
    /// When it was given up, RFC 3339.
    pub died: String,
    /// Why the last attempt failed.
    pub reason: &'a str,
    /// The CloudEvent; null where it cannot be read.
    pub event: Option<serde_json::Value>,
}

/// What `webhook retry` did.
#[derive(Debug, serde::Serialize)]
pub struct Retried<'a> {
    /// The receiver.
    pub receiver: &'a str,
    /// How many dead letters are sent again.
    pub retried: u64,
}

/// A time that is 0 where there is none.
fn some_utc(unix_ms: u64) -> Option<String> {
    (unix_ms > 0).then(|| utc(unix_ms))
}

impl<'a> From<&'a proto::Holder> for Holder<'a> {
    fn from(holder: &'a proto::Holder) -> Self {
        Self { instance: &holder.instance, mac: &holder.mac, tep: &holder.tep }
    }
}

impl<'a> Havip<'a> {
    /// Out of both parts of an entry.
    pub fn new(havip: &'a proto::Havip, binding: &'a proto::Binding) -> Self {
        let attachment =
            |a: &'a proto::Attachment| Attachment { instance: &a.instance, mac: &a.mac, teps: &a.teps };
        Self {
            name: &havip.name,
            vni: havip.vni,
            address: &havip.address,
            state: &binding.state,
            holder: binding.holder.as_ref().map(Holder::from),
            since: utc(binding.since_unix_ms),
            generation: binding.generation,
            previous: binding.previous.as_ref().map(Holder::from),
            why: given(&binding.why),
            moves: binding.moves,
            subnet: &havip.subnet,
            vrids: &havip.vrids,
            refresh_s: havip.refresh_s,
            eip: given(&havip.eip),
            attachments: havip.attachments.iter().map(attachment).collect(),
        }
    }
}

impl<'a> From<&'a proto::LastHeard> for AnnouncementBoard<'a> {
    fn from(heard: &'a proto::LastHeard) -> Self {
        let adverts = heard.advert_unix_ms > 0;
        Self {
            who: Holder { instance: &heard.instance, mac: &heard.mac, tep: &heard.tep },
            claim: some_utc(heard.claim_unix_ms),
            used: some_utc(heard.use_unix_ms),
            advert: some_utc(heard.advert_unix_ms),
            advert_interval_cs: adverts.then_some(heard.advert_interval_cs),
            advert_priority: adverts.then_some(heard.advert_priority),
        }
    }
}

impl<'a> From<&'a proto::HavipEvent> for HavipEvent<'a> {
    fn from(happening: &'a proto::HavipEvent) -> Self {
        let offender = happening.offender.as_ref();
        Self {
            time: utc(happening.unix_ms),
            kind: &happening.kind,
            havip: &happening.havip,
            vni: happening.vni,
            address: &happening.address,
            eip: given(&happening.eip),
            generation: happening.generation,
            holder: happening.holder.as_ref().map(Holder::from),
            previous: happening.previous.as_ref().map(Holder::from),
            why: given(&happening.why),
            detail: given(&happening.detail),
            offender: offender.map(|o| Offender { mac: &o.mac, tep: &o.tep, count: o.count }),
        }
    }
}

impl<'a> From<&'a proto::Webhook> for Webhook<'a> {
    fn from(webhook: &'a proto::Webhook) -> Self {
        Self {
            name: &webhook.name,
            url: &webhook.url,
            pending: webhook.pending,
            bound: webhook.bound,
            oldest: some_utc(webhook.oldest_unix_ms),
            backing_off: webhook.backing_off,
            delivered: webhook.delivered,
            failed: webhook.failed,
            dead: webhook.dead,
            left_out: webhook.left_out,
            overflowed: webhook.overflowed,
            last_error: given(&webhook.last_error),
        }
    }
}

impl<'a> From<&'a proto::DeadLetter> for DeadLetter<'a> {
    fn from(letter: &'a proto::DeadLetter) -> Self {
        Self {
            receiver: &letter.receiver,
            id: &letter.id,
            havip: &letter.havip,
            since: utc(letter.since_unix_ms),
            died: utc(letter.died_unix_ms),
            reason: &letter.reason,
            event: serde_json::from_slice(&letter.body).ok(),
        }
    }
}
