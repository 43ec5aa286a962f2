//! `watch`: changes as they commit, one JSON object a line.

use ctl_api::Client;
use ctl_api::model::Revision;
use ctl_api::proto::watch_event::Kind;

use crate::failure::Failure;
use crate::out::Out;
use crate::shapes::{Event, EventKind};

/// Prints events until the daemon or the reader ends it.
pub async fn run(out: &mut Out, client: &mut Client, from: Option<u64>) -> Result<(), Failure> {
    let mut events = client.watch(from.map(Revision::new)).await?;
    let mut next = from;
    let ended = loop {
        let event = match events.message().await {
            Ok(Some(event)) => event,
            Ok(None) => break None,
            Err(status) => break Some(Failure::of_stream(client, status)),
        };
        let revision = event.revision;
        let Some(kind) = &event.kind else { continue };
        let kind = match kind {
            Kind::Reset(_) => EventKind::Reset,
            Kind::TepSet(tep) => EventKind::TepSet { tep: tep.into() },
            Kind::TepRemoved(address) => EventKind::TepRemoved { address },
            Kind::DomainSet(domain) => EventKind::DomainSet { domain: domain.into() },
            Kind::DomainRemoved(vni) => EventKind::DomainRemoved { vni: *vni },
            Kind::Committed(commit) => EventKind::Committed { unix_ms: commit.unix_ms },
        };
        let whole = matches!(kind, EventKind::Committed { .. });
        out.json(&Event { revision, kind })?;
        if whole {
            // A revision's lines go out together.
            out.flush()?;
            next = Some(revision + 1);
        }
    };
    out.flush()?;
    match (ended, next) {
        (None, Some(next)) => Err(Failure::WatchEnded { next }),
        (Some(failure), _) => Err(failure),
        (None, None) => Ok(()),
    }
}
