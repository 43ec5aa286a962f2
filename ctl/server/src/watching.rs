//! Watches: revisions as they commit, read from the store's log.
//!
//! No revision is queued in memory for a watcher. Each reads the log at its own pace, woken by the commit thread; one
//! that takes nothing for a while is dropped and may resume, and one whose next revision is no longer in the log
//! starts over from a snapshot. Alarms are in no log: those since a watcher came are sent between revisions.

use std::sync::Arc;

use bcast_domain::Vni;
use ctl_api::model::{Event, HavipEntry, ModelError, Name, RefusedAnnouncement, Revision};
use ctl_api::proto::{self, WatchKind, watch_event::Kind};
use ctl_store::{Changes, Record, StoreError};
use hashbrown::HashSet;
use tokio::runtime::Handle;

use crate::alarms::{Alarm, Alarms};
use crate::budget::Claim;
use crate::feed::Feed;
use crate::refusal::Refusal;
use crate::shared::Shared;
use crate::snapshot::Stop;

type Events = Feed<proto::WatchEvent>;

/// Changes that a watcher asked for; an empty set asks for all.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    kinds: HashSet<WatchKind>,
    vnis: HashSet<Vni>,
    havips: HashSet<Name>,
}

impl Filter {
    /// Parses the filters of a request.
    ///
    /// # Errors
    ///
    /// A kind that is not known, or a name that cannot be.
    pub fn parse(request: proto::WatchRequest) -> Result<Self, Refusal> {
        let kind = |&number: &i32| match WatchKind::try_from(number) {
            Ok(WatchKind::Unspecified) | Err(_) => {
                Err(Refusal::Model(ModelError::Number { kind: "kind of change to watch", number }))
            }
            Ok(kind) => Ok(kind),
        };
        Ok(Self {
            kinds: request.kinds.iter().map(kind).collect::<Result<_, _>>()?,
            vnis: request.vnis.into_iter().map(Vni::from).collect(),
            havips: request.havips.iter().map(|name| name.parse()).collect::<Result<_, _>>()?,
        })
    }

    fn passes(&self, event: &Event) -> bool {
        let of_vni = |vni: Vni| self.vnis.is_empty() || self.vnis.contains(&vni);
        let of_havip = |name: &Name| self.havips.is_empty() || self.havips.contains(name);
        let (kind, is_one) = match event {
            Event::TepSet(_) | Event::TepDeleted(_) => (WatchKind::Teps, true),
            Event::DomainSet(domain) => (WatchKind::Domains, of_vni(domain.vni)),
            Event::DomainDeleted(vni) => (WatchKind::Domains, of_vni(*vni)),
            Event::HavipSet(entry) => {
                let HavipEntry { havip, .. } = entry.as_ref();
                (WatchKind::Havips, of_vni(havip.vni) && of_havip(&havip.name))
            }
            Event::HavipDeleted(name) => (WatchKind::Havips, of_havip(name)),
            Event::HavipEvent(event) => (WatchKind::HavipEvents, of_vni(event.vni) && of_havip(&event.havip)),
        };
        is_one && self.passes_kind(kind)
    }

    /// The same of refused announcements, which are of no HAVIP.
    fn passes_refused(&self, refused: &RefusedAnnouncement) -> bool {
        (self.vnis.is_empty() || self.vnis.contains(&refused.vni))
            && self.passes_kind(WatchKind::RefusedAnnouncements)
    }

    fn passes_kind(&self, kind: WatchKind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind)
    }
}

/// Sends the changes of revision `from` and of those after it (`None`: of those that follow now), until the client
/// goes.
pub(crate) async fn follow(shared: Arc<Shared>, from: Option<Revision>, filter: Filter, feed: Events) {
    let (filter, feed) = (Arc::new(filter), Arc::new(feed));
    if let Err(Stop::Refused(refusal)) = follow_from(&shared, from, &filter, &feed).await {
        feed.end(refusal);
    }
}

async fn follow_from(
    shared: &Arc<Shared>,
    from: Option<Revision>,
    filter: &Arc<Filter>,
    feed: &Arc<Events>,
) -> Result<(), Stop> {
    let mut alarms = shared.alarms.watch();
    let mut visible = shared.visible.clone();
    let mut stopping = shared.stopping.clone();
    let mut next = from.unwrap_or_else(|| visible.borrow().next());
    if next > visible.borrow().next() {
        // It saw revisions that this node never made: what it knows is not this node's.
        next = reset(shared, filter, feed, &mut alarms).await?.next();
    }
    loop {
        send_alarms(feed, filter, &mut alarms, next).await?;
        tokio::select! {
            () = alarms.wait() => continue,
            reached = visible.wait_for(|&revision| revision >= next) => drop(reached.map_err(|_| Refusal::Stopping)?),
            _ = stopping.wait_for(|&stopping| stopping) => return Err(Refusal::Stopping.into()),
            () = feed.closed() => return Ok(()),
        }
        let upto = *visible.borrow();
        alarms.take();
        next = match read(shared, next).await? {
            Changes::Records(records) => {
                let mut claim = Claim::new(&shared.watched);
                if !claim.claim(bytes_of(&records)) {
                    return Err(Refusal::Memory.into());
                }
                send(feed, filter, records, (next, upto), &mut alarms).await?
            }
            Changes::Gone => reset(shared, filter, feed, &mut alarms).await?.next(),
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

/// Memory that records take, about.
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
async fn send(
    feed: &Events,
    filter: &Filter,
    records: Vec<Record>,
    (mut next, upto): (Revision, Revision),
    alarms: &mut Alarms,
) -> Result<Revision, Stop> {
    for record in records.into_iter().take_while(|record| record.revision <= upto) {
        let revision = record.revision;
        send_alarms(feed, filter, alarms, revision).await?;
        for event in record.events.into_iter().filter(|event| filter.passes(event)) {
            feed.send(message(revision, record.unix_ms, event.into())).await?;
        }
        let unix_ms = record.unix_ms;
        feed.send(message(revision, unix_ms, Kind::Committed(proto::Committed { unix_ms }))).await?;
        next = revision.next();
    }
    Ok(next)
}

/// Sends the alarms from before this revision.
async fn send_alarms(
    feed: &Events,
    filter: &Filter,
    alarms: &mut Alarms,
    next: Revision,
) -> Result<(), Stop> {
    while let Some(alarm) = alarms.before(next) {
        let revision = Revision::new(alarm.generation());
        let unix_ms = alarm.unix_ms();
        let kind = match alarm.as_ref() {
            Alarm::Havip(event) => {
                let event = Event::HavipEvent(Box::new(event.clone()));
                filter.passes(&event).then(|| event.into())
            }
            Alarm::Refused(refused) => filter.passes_refused(refused).then(|| (*refused).into()),
        };
        if let Some(kind) = kind {
            feed.send(message(revision, unix_ms, kind)).await?;
        }
    }
    Ok(())
}

fn message(revision: Revision, unix_ms: u64, kind: Kind) -> proto::WatchEvent {
    proto::WatchEvent { revision: revision.get(), unix_ms, kind: Some(kind) }
}

/// Sends the whole state; returns its revision.
async fn reset(
    shared: &Arc<Shared>,
    filter: &Arc<Filter>,
    feed: &Arc<Events>,
    alarms: &mut Alarms,
) -> Result<Revision, Stop> {
    let (shared, filter, feed) = (Arc::clone(shared), Arc::clone(filter), Arc::clone(feed));
    let send = move || send_state(&shared, &filter, &feed);
    let revision = tokio::task::spawn_blocking(send).await.map_err(|_| Refusal::Stopping)??;
    alarms.forget_before(revision);
    Ok(revision)
}

fn send_state(shared: &Shared, filter: &Filter, feed: &Events) -> Result<Revision, Stop> {
    let runtime = Handle::current();
    let snapshot = shared.store.snapshot()?;
    let (revision, unix_ms) = (snapshot.revision(), crate::clock::now_ms());
    let send = |kind| {
        if *shared.stopping.borrow() {
            return Err(Refusal::Stopping.into());
        }
        runtime.block_on(feed.send(message(revision, unix_ms, kind))).map_err(Stop::from)
    };
    send(Kind::Reset(proto::Reset {}))?;
    for event in snapshot.all()? {
        let event = event?;
        if filter.passes(&event) {
            send(event.into())?;
        }
    }
    send(Kind::Committed(proto::Committed { unix_ms }))?;
    Ok(revision)
}
