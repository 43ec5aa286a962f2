//! `watch`: changes as they commit, one JSON object a line.

use ctl_api::model::Revision;
use ctl_api::proto::{
    Domain, HavipEvent, HavipEventKind, RefusedAnnouncement, WatchRequest, watch_event::Kind,
};
use ctl_api::{Client, ClientError};
use serde::Serialize;

use crate::failure::Failure;
use crate::out::Out;
use crate::{havip, tep, text};

/// JSON of an event.
#[derive(Serialize)]
struct Json<'a> {
    revision: u64,
    #[serde(flatten)]
    kind: KindJson<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum KindJson<'a> {
    Reset,
    TepSet { tep: tep::Json<'a> },
    TepRemoved { address: String },
    DomainSet { domain: &'a Domain },
    DomainRemoved { vni: u32 },
    HavipSet { havip: havip::Json<'a> },
    HavipRemoved { name: &'a str },
    HavipEvent(&'a HavipEvent),
    AnnouncementRefused(&'a RefusedAnnouncement),
    Committed { unix_ms: u64 },
}

impl<'a> KindJson<'a> {
    /// JSON of an event; none of a HAVIP that is not whole.
    fn new(kind: &'a Kind) -> Option<Self> {
        Some(match kind {
            Kind::Reset(_) => Self::Reset,
            Kind::TepSet(tep) => Self::TepSet { tep: tep.into() },
            Kind::TepDeleted(address) => Self::TepRemoved { address: text::address(address) },
            Kind::DomainSet(domain) => Self::DomainSet { domain },
            Kind::DomainDeleted(vni) => Self::DomainRemoved { vni: *vni },
            Kind::HavipSet(entry) => {
                Self::HavipSet { havip: havip::Json::new(entry.havip.as_ref()?, entry.binding.as_ref()?) }
            }
            Kind::HavipDeleted(name) => Self::HavipRemoved { name },
            Kind::HavipEvent(event) => Self::HavipEvent(event),
            Kind::AnnouncementRefused(refused) => Self::AnnouncementRefused(refused),
            Kind::Committed(commit) => Self::Committed { unix_ms: commit.unix_ms },
        })
    }
}

/// True for an event that says by itself when it happened.
fn has_time(kind: &KindJson<'_>) -> bool {
    matches!(kind, KindJson::HavipEvent(_) | KindJson::AnnouncementRefused(_))
}

/// True for an event that is part of no revision.
fn is_alarm(kind: &KindJson<'_>) -> bool {
    match kind {
        KindJson::AnnouncementRefused(_) => true,
        KindJson::HavipEvent(event) => event.kind() == HavipEventKind::Spoof,
        _ => false,
    }
}

/// Prints events until the daemon, the connection or the reader ends it.
pub async fn run(out: &mut Out, client: &mut Client, from: Option<u64>) -> Result<(), Failure> {
    let mut next = match from {
        Some(from) => from,
        // The next revision, should the watch end before it comes.
        None => client.stats().await?.revision + 1,
    };
    let mut events = client.watch(from.map(Revision::new), WatchRequest::default()).await?;
    let why = loop {
        let event = match events.message().await {
            Ok(Some(event)) => event,
            Ok(None) => break "the daemon ended the watch".to_owned(),
            Err(status) => break why(&client.error(status)),
        };
        let revision = event.revision;
        let Some(kind) = event.kind.as_ref().and_then(KindJson::new) else { continue };
        let (is_whole, is_alarm) = (matches!(kind, KindJson::Committed { .. }), is_alarm(&kind));
        let time = text::optional_utc(event.unix_ms).filter(|_| !has_time(&kind));
        out.json(&Json { revision, kind, time })?;
        // A revision's lines go out together. No revision may follow an alarm.
        if is_whole || is_alarm {
            out.flush()?;
        }
        if is_whole {
            next = revision + 1;
        }
    };
    out.flush()?;
    Err(Failure::WatchEnded { why, next })
}

/// Reason of an error, without its advice: that is for changes, or is given here anew.
fn why(error: &ClientError) -> String {
    let words = error.to_string();
    words.split_once("; ").map_or(words.as_str(), |(why, _)| why).to_owned()
}
