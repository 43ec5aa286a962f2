//! All TEPs, domains and HAVIPs as of one revision, in parts. They are read from the store, whose transaction keeps the
//! revision while others commit; so the state is not held, and nothing is in memory twice.

use ctl_api::model::Event;
use ctl_api::proto::{self, watch_event::Kind};
use ctl_store::Snapshot;
use tokio::runtime::Handle;

use crate::clock::now_ms;
use crate::feed::{Feed, Over};
use crate::refusal::Refusal;
use crate::shared::Shared;

/// A part is sent when it has about this many bytes.
const PART_BYTES: usize = 64 << 10;

/// Sends all of it; on a thread that may block.
pub(crate) fn send(shared: &Shared, feed: &Feed<proto::SnapshotPart>, asked: proto::SnapshotRequest) {
    let parts =
        Parts { shared, feed, runtime: Handle::current(), part: proto::SnapshotPart::default(), bytes: 0 };
    match shared.store.snapshot() {
        Ok(snapshot) => {
            if let Err(Stop::Refused(refusal)) = parts.send_all(snapshot.as_ref(), asked) {
                feed.end(refusal);
            }
        }
        Err(error) => feed.end(error.into()),
    }
}

/// Why sending stopped.
pub(crate) enum Stop {
    /// The client is gone, or was told why already.
    Over,
    /// The client has to be told.
    Refused(Refusal),
}

impl From<Over> for Stop {
    fn from(_: Over) -> Self {
        Self::Over
    }
}

impl<R: Into<Refusal>> From<R> for Stop {
    fn from(refusal: R) -> Self {
        Self::Refused(refusal.into())
    }
}

struct Parts<'s> {
    shared: &'s Shared,
    feed: &'s Feed<proto::SnapshotPart>,
    runtime: Handle,
    part: proto::SnapshotPart,
    bytes: usize,
}

impl Parts<'_> {
    fn send_all(mut self, snapshot: &dyn Snapshot, asked: proto::SnapshotRequest) -> Result<(), Stop> {
        self.part.revision = Some(snapshot.revision().get());
        (self.part.store, self.part.unix_ms) = (snapshot.identity(), now_ms());
        if asked.only_havips {
            for entry in snapshot.havips()? {
                self.add(Event::HavipSet(Box::new(entry?)))?;
            }
        } else {
            snapshot.all()?.try_for_each(|event| self.add(event?))?;
        }
        if asked.with_history {
            for event in snapshot.history()? {
                self.add(Event::HavipEvent(Box::new(event?)))?;
            }
        }
        self.send()
    }

    fn add(&mut self, event: Event) -> Result<(), Stop> {
        let kind = Kind::from(event);
        self.bytes += kind.encoded_len();
        match kind {
            Kind::TepSet(tep) => self.part.teps.push(tep),
            Kind::DomainSet(domain) => self.part.domains.push(domain),
            Kind::HavipSet(entry) => self.part.havips.push(entry),
            Kind::HavipEvent(event) => self.part.history.push(event),
            _ => {}
        }
        if self.bytes < PART_BYTES { Ok(()) } else { self.send() }
    }

    fn send(&mut self) -> Result<(), Stop> {
        if *self.shared.stopping.borrow() {
            return Err(Refusal::Stopping.into());
        }
        self.bytes = 0;
        let part = std::mem::take(&mut self.part);
        Ok(self.runtime.block_on(self.feed.send(part))?)
    }
}
