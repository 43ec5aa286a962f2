//! `watch`: changes as they commit, one JSON object a line.

use ctl_api::model::Revision;
use ctl_api::proto::watch_event::Kind;
use ctl_api::{Client, ClientError};

use crate::failure::Failure;
use crate::out::Out;
use crate::shapes::{Event, EventKind, Havip};

/// Prints events until the daemon, the connection or the reader ends it.
pub async fn run(out: &mut Out, client: &mut Client, from: Option<u64>) -> Result<(), Failure> {
    let mut next = match from {
        Some(from) => from,
        // The next revision, should the watch end before it comes.
        None => client.stats().await?.revision + 1,
    };
    let mut events = client.watch(from.map(Revision::new)).await?;
    let why = loop {
        let event = match events.message().await {
            Ok(Some(event)) => event,
            Ok(None) => break "the daemon ended the watch".to_owned(),
            Err(status) => break why(&client.error(status)),
        };
        let revision = event.revision;
        let Some(kind) = &event.kind else { continue };
        let kind = match kind {
            Kind::Reset(_) => EventKind::Reset,
            Kind::TepSet(tep) => EventKind::TepSet { tep: tep.into() },
            Kind::TepRemoved(address) => EventKind::TepRemoved { address },
            Kind::DomainSet(domain) => EventKind::DomainSet { domain: domain.into() },
            Kind::DomainRemoved(vni) => EventKind::DomainRemoved { vni: *vni },
            Kind::HavipSet(entry) => {
                let (Some(havip), Some(binding)) = (&entry.havip, &entry.binding) else { continue };
                EventKind::HavipSet { havip: Havip::new(havip, binding) }
            }
            Kind::HavipRemoved(name) => EventKind::HavipRemoved { name },
            Kind::Happened(happening) => EventKind::Happened(happening.into()),
            Kind::Committed(commit) => EventKind::Committed { unix_ms: commit.unix_ms },
        };
        let whole = matches!(kind, EventKind::Committed { .. });
        out.json(&Event { revision, kind })?;
        if whole {
            // A revision's lines go out together.
            out.flush()?;
            next = revision + 1;
        }
    };
    out.flush()?;
    Err(Failure::WatchEnded { why, next })
}

/// What happened, without what the error says to do about it: that is for changes, or said here anew.
fn why(error: &ClientError) -> String {
    let words = error.to_string();
    words.split_once("; ").map_or(words.as_str(), |(why, _)| why).to_owned()
}
