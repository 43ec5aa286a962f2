//! The remote procedures: a message is parsed here, and everything behind works on the model.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bcast_domain::Vni;
use ctl_api::model::{Batch, Name, TepRef};
use ctl_api::proto::{self, bcast_server::Bcast};
use ctl_store::{Answer, Body, Store};
use ctl_webhook::Webhooks;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use crate::answers::Outgoing;
use crate::blocking::{Blocking, Threads};
use crate::budget::{Budget, Claim};
use crate::commit::{Intake, Job, Work, lock};
use crate::feed::{Fed, feed};
use crate::node::Node;
use crate::refusal::Refusal;
use crate::request::RequestDigest;
use crate::restore::Restore;
use crate::state::{Figures, State};
use crate::{SNAPSHOTS, Versions, WATCHES, snapshot, watching};
use ctl_api::model::Revision;

mod havip;
mod webhook;

/// How long a client may take to send the next part of a large batch.
const NEXT_PART: Duration = Duration::from_secs(30);

/// What the procedures share.
pub(crate) struct Shared {
    pub state: Arc<Mutex<State>>,
    pub store: Arc<dyn Store>,
    pub node: Arc<dyn Node>,
    pub jobs: Arc<Intake>,
    /// The revision up to which watchers may read.
    pub visible: watch::Receiver<Revision>,
    /// What is published, read without the state's lock.
    pub figures: watch::Receiver<Figures>,
    /// True once the daemon stops.
    pub stopping: watch::Receiver<bool>,
    pub versions: Versions,
    /// What requests hold while they are gathered and wait.
    pub budget: Arc<Budget>,
    /// What watches have read and not yet sent.
    pub watched: Arc<Budget>,
    pub threads: Threads,
    pub streams: Streams,
    pub webhooks: Arc<Webhooks>,
}

/// One permit for each stream, kind by kind, so that watchers do not lock out those who export.
#[derive(Clone)]
pub(crate) struct Streams {
    watches: Arc<Semaphore>,
    snapshots: Arc<Semaphore>,
}

impl Default for Streams {
    fn default() -> Self {
        Self { watches: Arc::new(Semaphore::new(WATCHES)), snapshots: Arc::new(Semaphore::new(SNAPSHOTS)) }
    }
}

impl Streams {
    /// How many are under way.
    pub fn open(&self) -> usize {
        let free = self.watches.available_permits() + self.snapshots.available_permits();
        (WATCHES + SNAPSHOTS).saturating_sub(free)
    }
}

/// The procedures.
#[derive(Clone)]
pub(crate) struct Service(pub Arc<Shared>);

impl Service {
    /// Hands work to the commit thread and waits for its answer.
    async fn enqueue(&self, work: Work, claim: Claim) -> Result<Response<proto::CommitReply>, Status> {
        let (reply, answer) = oneshot::channel();
        self.0.jobs.send(Job { work, reply, _claim: claim })?;
        let (Answer { revision, changed, notes }, drained) =
            answer.await.map_err(|_| Refusal::Stopping)??;
        // The runtime's clock ticks in milliseconds: a moment that is over is not waited for.
        if let Some(drained) = drained.filter(|&drained| drained > std::time::Instant::now()) {
            tokio::time::sleep_until(drained.into()).await;
        }
        Ok(Response::new(proto::CommitReply { revision: revision.get(), changed, notes }))
    }

    /// The next message of a stream; `None` at its end.
    async fn next<T>(&self, parts: &mut Streaming<T>) -> Result<Option<T>, Status> {
        let mut stopping = self.0.stopping.clone();
        tokio::select! {
            part = timeout(NEXT_PART, parts.message()) => part.map_err(|_| Refusal::NoPart(NEXT_PART.as_secs()))?,
            _ = stopping.wait_for(|&stopping| stopping) => Err(Refusal::Stopping.into()),
        }
    }

    /// Receives all parts of a large batch.
    async fn gather(&self, mut parts: Streaming<proto::CommitRequest>) -> Result<(Work, Claim), Status> {
        let mut claim = Claim::new(&self.0.budget);
        let mut gathered: Option<(Batch, RequestDigest)> = None;
        while let Some(part) = self.next(&mut parts).await? {
            let before = gathered.as_ref().map_or(0, |(batch, _)| batch.changes.len());
            let (batch, digest) = gathered.take().unzip();
            let parsed = self.parse(part, claim, digest, before).await?;
            claim = parsed.claim;
            let batch = match batch {
                Some(batch) => append(batch, parsed.batch),
                None => parsed.batch,
            };
            gathered = Some((batch, parsed.digest));
        }
        // A stream that the client cancelled ends here like one that is whole. Cancelled, this future is polled no
        // more once it has waited, so that a part of a batch is never committed.
        tokio::task::yield_now().await;
        let work = gathered.map(|(batch, digest)| Work::Changes(batch, digest.finish()));
        Ok((work.unwrap_or_else(|| Work::Changes(Batch::default(), Body::default())), claim))
    }

    /// Receives all parts of a backup.
    async fn gather_backup(
        &self,
        mut parts: Streaming<proto::RestoreRequest>,
    ) -> Result<(Work, Claim), Status> {
        let mut claim = Claim::new(&self.0.budget);
        let mut restore = Box::<Restore>::default();
        while let Some(part) = self.next(&mut parts).await? {
            if restore.is_whole {
                return Err(Refusal::BackupCut.into());
            }
            let add = move || {
                claim.add_backup(&part)?;
                restore.add(part)?;
                Ok::<_, Refusal>((restore, claim))
            };
            (restore, claim) = self.0.threads.parsing.run(add).await??;
        }
        if restore.is_whole { Ok((Work::Restore(restore), claim)) } else { Err(Refusal::BackupCut.into()) }
    }

    /// Makes a batch of a message, which has so many changes before it, and of a stream this `digest`. That takes milliseconds
    /// where it is a large one.
    async fn parse(
        &self,
        message: proto::CommitRequest,
        mut claim: Claim,
        digest: Option<RequestDigest>,
        before: usize,
    ) -> Result<Parsed, Refusal> {
        let parse = move || {
            claim.add(&message)?;
            let mut digest = digest.unwrap_or_else(|| RequestDigest::start(&message));
            digest.add(&message);
            let batch = Batch::try_from(message).map_err(|error| Refusal::Batch(error.after(before)))?;
            Ok(Parsed { batch, digest, claim })
        };
        self.0.threads.parsing.run(parse).await?
    }

    /// Reads the state on a thread that may wait for it: the commit thread holds it while it waits for the data plane.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        self.on(&self.0.threads.state, read).await
    }

    /// The same on a thread of this kind.
    async fn on<T: Send + 'static>(
        &self,
        threads: &Blocking,
        read: impl FnOnce(&Shared) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let shared = Arc::clone(&self.0);
        Ok(Response::new(threads.run(move || read(&shared)).await??))
    }
}

/// A message of a batch, parsed.
struct Parsed {
    batch: Batch,
    digest: RequestDigest,
    claim: Claim,
}

/// A batch with one more part of its stream.
fn append(mut batch: Batch, part: Batch) -> Batch {
    batch.changes.extend(part.changes);
    batch
}

/// What the connection knows of the answer to this request.
fn answer_of<T>(request: &Request<T>) -> Result<Arc<Outgoing>, Status> {
    let answer = request.extensions().get::<Arc<Outgoing>>().cloned();
    answer
        .ok_or_else(|| Status::internal("the request came by no connection; this is a defect of the daemon"))
}

fn permit(streams: &Arc<Semaphore>, most: usize) -> Result<OwnedSemaphorePermit, Refusal> {
    Arc::clone(streams).try_acquire_owned().map_err(|_| Refusal::Streams(most))
}

#[tonic::async_trait]
impl Bcast for Service {
    type SnapshotStream = Fed<proto::SnapshotPart>;
    type WatchStream = Fed<proto::WatchEvent>;

    async fn commit(
        &self,
        request: Request<proto::CommitRequest>,
    ) -> Result<Response<proto::CommitReply>, Status> {
        let claim = Claim::new(&self.0.budget);
        let Parsed { batch, digest, claim } = self.parse(request.into_inner(), claim, None, 0).await?;
        self.enqueue(Work::Changes(batch, digest.finish()), claim).await
    }

    async fn commit_stream(
        &self,
        request: Request<Streaming<proto::CommitRequest>>,
    ) -> Result<Response<proto::CommitReply>, Status> {
        let (work, claim) = self.gather(request.into_inner()).await?;
        self.enqueue(work, claim).await
    }

    async fn restore(
        &self,
        request: Request<Streaming<proto::RestoreRequest>>,
    ) -> Result<Response<proto::CommitReply>, Status> {
        let (work, claim) = self.gather_backup(request.into_inner()).await?;
        self.enqueue(work, claim).await
    }

    async fn snapshot(
        &self,
        request: Request<proto::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let answer = answer_of(&request)?;
        answer.hold(permit(&self.0.streams.snapshots, SNAPSHOTS)?);
        let asked = request.into_inner();
        let (sender, stream) = feed();
        let shared = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || {
            snapshot::send(&shared, &sender, asked);
            drop(answer);
        });
        Ok(Response::new(stream))
    }

    async fn watch(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let answer = answer_of(&request)?;
        answer.hold(permit(&self.0.streams.watches, WATCHES)?);
        let from = Some(request.into_inner().from_revision).filter(|&from| from > 0).map(Revision::new);
        let (sender, stream) = feed();
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            watching::follow(shared, from, sender).await;
            drop(answer);
        });
        Ok(Response::new(stream))
    }

    async fn get_tep(
        &self,
        request: Request<proto::GetTepRequest>,
    ) -> Result<Response<proto::TepStatus>, Status> {
        let text = request.into_inner().tep.unwrap_or_default().text;
        let tep: TepRef = text.parse().map_err(Refusal::TepRef)?;
        self.read(move |shared| tep_status(shared, tep)).await
    }

    async fn get_domain(
        &self,
        request: Request<proto::GetDomainRequest>,
    ) -> Result<Response<proto::Domain>, Status> {
        let vni = Vni::from(request.into_inner().vni);
        self.read(move |shared| {
            let domain = lock(&shared.state).domain(vni).ok_or(Refusal::NoDomain(vni))?;
            Ok(domain.into())
        })
        .await
    }

    async fn stats(&self, _: Request<proto::StatsRequest>) -> Result<Response<proto::StatsReply>, Status> {
        let node = Arc::clone(&self.0.node);
        let stats = self.0.threads.port.run(move || node.stats()).await?;
        let (revision, counts) = *self.0.figures.borrow();
        let count = |name: &str, value: usize| proto::Counter { name: name.to_owned(), value: value as u64 };
        let mut all = counters(stats.counters);
        all.extend([
            count("bcast_domains", counts.domains),
            count("bcast_teps", counts.teps),
            count("bcast_members", counts.members),
            count("bcast_retired_lists", counts.retired),
            count("bcast_havips", counts.havips),
        ]);
        Ok(Response::new(proto::StatsReply {
            revision: revision.get(),
            counters: all,
            drops: counters(stats.drops),
            copy_drops: counters(stats.copy_drops),
            port: counters(stats.port),
        }))
    }

    async fn domain_stats(
        &self,
        request: Request<proto::DomainStatsRequest>,
    ) -> Result<Response<proto::DomainStatsReply>, Status> {
        let vni = Vni::from(request.into_inner().vni);
        self.read(move |shared| domain_stats(&lock(&shared.state), vni)).await
    }

    async fn version(
        &self,
        _: Request<proto::VersionRequest>,
    ) -> Result<Response<proto::VersionReply>, Status> {
        let Versions { daemon, dpdk } = self.0.versions.clone();
        Ok(Response::new(proto::VersionReply { version: daemon, dpdk }))
    }

    async fn get_havip(
        &self,
        request: Request<proto::GetHavipRequest>,
    ) -> Result<Response<proto::HavipStatus>, Status> {
        let name: Name = request.into_inner().name.parse().map_err(Refusal::Name)?;
        self.read(move |shared| havip::status(shared, name)).await
    }

    async fn havip_history(
        &self,
        request: Request<proto::HavipHistoryRequest>,
    ) -> Result<Response<proto::HavipHistoryReply>, Status> {
        let name: Name = request.into_inner().name.parse().map_err(Refusal::Name)?;
        self.on(&self.0.threads.store, move |shared| havip::history(shared, name)).await
    }

    async fn webhooks(
        &self,
        _: Request<proto::WebhooksRequest>,
    ) -> Result<Response<proto::WebhooksReply>, Status> {
        self.read(|shared| {
            let webhooks = shared.webhooks.status().into_iter().map(webhook::status).collect();
            Ok(proto::WebhooksReply { webhooks })
        })
        .await
    }

    async fn dead_letters(
        &self,
        request: Request<proto::DeadLettersRequest>,
    ) -> Result<Response<proto::DeadLettersReply>, Status> {
        let receiver: Name = request.into_inner().receiver.parse().map_err(Refusal::Name)?;
        self.on(&self.0.threads.store, move |shared| webhook::dead_letters(shared, &receiver)).await
    }

    async fn retry_dead_letters(
        &self,
        request: Request<proto::RetryDeadLettersRequest>,
    ) -> Result<Response<proto::RetryDeadLettersReply>, Status> {
        let receiver: Name = request.into_inner().receiver.parse().map_err(Refusal::Name)?;
        self.on(&self.0.threads.store, move |shared| webhook::retry(shared, &receiver)).await
    }
}

fn tep_status(shared: &Shared, tep: TepRef) -> Result<proto::TepStatus, Refusal> {
    let state = lock(&shared.state);
    let address = match &tep {
        TepRef::Address(address) => Some(*address),
        TepRef::Name(name) => state.teps.named(name),
    };
    let found = address.and_then(|address| Some((state.tep(address)?, state.teps.index(address)?)));
    let (entry, index) = found.ok_or(Refusal::NoTep(tep))?;
    let domains = state.teps.domains(index).into();
    drop(state);
    let hop = shared.node.next_hop(index);
    let mac = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    Ok(proto::TepStatus {
        tep: Some(entry.into()),
        domains,
        next_hop: hop.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        mac: hop.mac.map(mac).unwrap_or_default(),
        since_unix_ms: crate::commit::unix_ms(hop.since),
        drops: counters(shared.node.tep_drops(index)),
    })
}

fn domain_stats(state: &State, vni: Vni) -> Result<proto::DomainStatsReply, Refusal> {
    let list = state.list(vni).ok_or(Refusal::NoDomain(vni))?;
    let counted = state.counters(list.domain());
    Ok(proto::DomainStatsReply {
        vni: vni.get(),
        name: state.name(vni).map(ToString::to_string).unwrap_or_default(),
        members: list.members().len() as u64,
        frames: counted.frames,
        copies: counted.copies,
        bytes: counted.bytes,
        drops: counted.drops,
    })
}

fn counters(pairs: Vec<(impl Into<String>, u64)>) -> Vec<proto::Counter> {
    pairs.into_iter().map(|(name, value)| proto::Counter { name: name.into(), value }).collect()
}
