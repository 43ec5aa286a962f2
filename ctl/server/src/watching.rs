//! Watches: revisions as they commit, read from the store's log.
//!
//! No revision is queued in memory for a watcher. Each reads the log at its own pace, woken by the commit thread; one
//! that takes nothing for a while is dropped and may resume, and one whose next revision is no longer in the log
//! starts over from a snapshot.

use std::sync::Arc;

use ctl_api::model::{Event, Revision};
use ctl_api::proto::{self, watch_event::Kind};
use ctl_store::{Changes, Record, StoreError};
use tokio::runtime::Handle;

use crate::budget::Claim;
use crate::feed::Feed;
use crate::refusal::Refusal;
use crate::service::Shared;
use crate::snapshot::Stop;

type Events = Feed<proto::WatchEvent>;

/// Sends what revision `from` and those after it changed (`None`: those that follow now), until the client goes.
pub(crate) async fn follow(shared: Arc<Shared>, from: Option<Revision>, feed: Events) {
    let feed = Arc::new(feed);
    if let Err(Stop::Refused(refusal)) = follow_from(&shared, from, &feed).await {
        feed.end(refusal);
    }
}

async fn follow_from(shared: &Arc<Shared>, from: Option<Revision>, feed: &Arc<Events>) -> Result<(), Stop> {
    let mut visible = shared.visible.clone();
    let mut stopping = shared.stopping.clone();
    let mut next = from.unwrap_or_else(|| visible.borrow().next());
    if next > visible.borrow().next() {
        // It saw revisions that this node never made: what it knows is not this node's.
        next = reset(shared, feed).await?.next();
    }
    loop {
        tokio::select! {
            reached = visible.wait_for(|&revision| revision >= next) => drop(reached.map_err(|_| Refusal::Stopping)?),
            _ = stopping.wait_for(|&stopping| stopping) => return Err(Refusal::Stopping.into()),
            () = feed.closed() => return Ok(()),
        }
        let upto = *visible.borrow();
        next = match read(shared, next).await? {
            Changes::Records(records) => {
                let mut claim = Claim::new(&shared.watched);
                if !claim.claim(bytes_of(&records)) {
                    return Err(Refusal::Memory.into());
                }
                send(feed, records, next, upto).await?
            }
            Changes::Gone => reset(shared, feed).await?.next(),
        };
    }
}

async fn read(shared: &Arc<Shared>, from: Revision) -> Result<Changes, Stop> {
    let shared = Arc::clone(shared);
    let read = tokio::task::spawn_blocking(move || match shared.store.changes(from) {
        // By now the store is opened anew, or else the client is told to ask again.
        Err(StoreError::CutShort(_)) => shared.store.changes(from),
        read => read,
    });
    Ok(read.await.map_err(|_| Refusal::Stopping)??)
}

/// What records take in memory, about.
fn bytes_of(records: &[Record]) -> usize {
    /// An event with its names, addresses and attachments.
    const EVENT: usize = 512;
    let event = |event: &Event| match event {
        Event::DomainSet(domain) => EVENT + size_of_val(&domain.members[..]),
        _ => EVENT,
    };
    records.iter().flat_map(|record| &record.events).map(event).sum()
}

/// Sends the records that are published; returns the next revision to read.
async fn send(feed: &Events, records: Vec<Record>, next: Revision, upto: Revision) -> Result<Revision, Stop> {
    let mut next = next;
    for record in records.into_iter().take_while(|record| record.revision <= upto) {
        let revision = record.revision;
        for event in record.events {
            feed.send(message(revision, event.into())).await?;
        }
        feed.send(message(revision, Kind::Committed(proto::Committed { unix_ms: record.unix_ms }))).await?;
        next = revision.next();
    }
    Ok(next)
}

fn message(revision: Revision, kind: Kind) -> proto::WatchEvent {
    proto::WatchEvent { revision: revision.get(), kind: Some(kind) }
}

/// Sends the whole state; returns its revision.
async fn reset(shared: &Arc<Shared>, feed: &Arc<Events>) -> Result<Revision, Stop> {
    let (shared, feed) = (Arc::clone(shared), Arc::clone(feed));
    tokio::task::spawn_blocking(move || send_state(&shared, &feed)).await.map_err(|_| Refusal::Stopping)?
}

fn send_state(shared: &Shared, feed: &Events) -> Result<Revision, Stop> {
    let runtime = Handle::current();
    let snapshot = shared.store.snapshot()?;
    let revision = snapshot.revision();
    let send = |kind| {
        if *shared.stopping.borrow() {
            return Err(Refusal::Stopping.into());
        }
        runtime.block_on(feed.send(message(revision, kind))).map_err(Stop::from)
    };
    send(Kind::Reset(proto::Reset {}))?;
    for tep in snapshot.teps()? {
        send(Event::TepSet(tep?).into())?;
    }
    for domain in snapshot.domains()? {
        send(Event::DomainSet(domain?).into())?;
    }
    for entry in snapshot.havips()? {
        send(Event::HavipSet(Box::new(entry?)).into())?;
    }
    send(Kind::Committed(proto::Committed { unix_ms: crate::commit::now_ms() }))?;
    Ok(revision)
}
