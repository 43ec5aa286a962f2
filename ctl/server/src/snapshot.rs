//! All TEPs, domains and HAVIPs as of one revision, in parts. They are read from the store, whose transaction keeps the
//! revision while others commit; so the state is not held, and nothing is in memory twice.

use ctl_api::proto;
use ctl_store::Snapshot;
use prost::Message;
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
        if !asked.only_havips {
            self.send_domains(snapshot)?;
        }
        for entry in snapshot.havips()? {
            let entry = proto::HavipEntry::from(entry?);
            self.bytes += entry.encoded_len();
            self.part.havips.push(entry);
            self.send_full()?;
        }
        if asked.with_history {
            self.send_history(snapshot)?;
        }
        self.send()
    }

    fn send_history(&mut self, snapshot: &dyn Snapshot) -> Result<(), Stop> {
        for event in snapshot.history()? {
            let event = proto::HavipEvent::from(event?);
            self.bytes += event.encoded_len();
            self.part.history.push(event);
            self.send_full()?;
        }
        Ok(())
    }

    fn send_domains(&mut self, snapshot: &dyn Snapshot) -> Result<(), Stop> {
        for tep in snapshot.teps()? {
            let tep = proto::Tep::from(tep?);
            self.bytes += tep.encoded_len();
            self.part.teps.push(tep);
            self.send_full()?;
        }
        for domain in snapshot.domains()? {
            let domain = proto::Domain::from(domain?);
            self.bytes += domain.encoded_len();
            self.part.domains.push(domain);
            self.send_full()?;
        }
        Ok(())
    }

    fn send_full(&mut self) -> Result<(), Stop> {
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
