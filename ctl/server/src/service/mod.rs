//! The remote procedures: a message is parsed here, and everything behind works on the model.

use std::sync::Arc;
use std::time::Duration;

use bcast_domain::Vni;
use ctl_api::model::{Name, Revision, TepRef, ip_bytes};
use ctl_api::proto::{self, bcast_server::Bcast};
use ctl_store::Answer;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use crate::answers::Outgoing;
use crate::author::Author;
use crate::blocking::Blocking;
use crate::budget::Claim;
use crate::clock::unix_ms;
use crate::feed::{Fed, feed};
use crate::gather::{Gather, GatheredApply, GatheredBatch, stage};
use crate::job::{Done, Job, Work};
use crate::lists;
use crate::refusal::Refusal;
use crate::restore::Backup;
use crate::shared::{Shared, Versions};
use crate::state::{State, lock};
use crate::{SNAPSHOTS, WATCHES, snapshot, watching};

mod drops;
mod havip;
mod learned;
mod node;
mod nodes;
mod webhook;

/// Time that a client may take to send the next part of a large batch.
const NEXT_PART: Duration = Duration::from_secs(30);
/// Differences in one part of an answer; the largest domain has 64 KiB of members, twice.
const DIFFERENCES: usize = 25;

/// Outcome of a procedure.
type Rpc<T> = Result<Response<T>, Status>;

/// The procedures.
#[derive(Clone)]
pub(crate) struct Service(pub Arc<Shared>);

impl Service {
    /// Hands work to the commit thread and waits for its answer.
    async fn enqueue(&self, author: Author, work: Work, claim: Claim) -> Result<Done, Status> {
        let (reply, answer) = oneshot::channel();
        self.0.jobs.send(Job { work, reply, author, _claim: claim })?;
        let done = answer.await.map_err(|_| Refusal::Stopping)??;
        // The runtime's clock ticks in milliseconds: a moment that is over is not waited for.
        if let Some(drained) = done.drained.filter(|&drained| drained > std::time::Instant::now()) {
            tokio::time::sleep_until(drained.into()).await;
        }
        Ok(done)
    }

    /// The same, with the reply to a batch or a backup.
    async fn committed(&self, author: Author, work: Work, claim: Claim) -> Rpc<proto::CommitReply> {
        Ok(Response::new(reply(self.enqueue(author, work, claim).await?.answer)))
    }

    /// The next message of a stream; `None` at its end.
    async fn next<T>(&self, parts: &mut Streaming<T>) -> Result<Option<T>, Status> {
        let mut stopping = self.0.stopping.clone();
        tokio::select! {
            part = timeout(NEXT_PART, parts.message()) => part.map_err(|_| Refusal::NoPart(NEXT_PART.as_secs()))?,
            _ = stopping.wait_for(|&stopping| stopping) => Err(Refusal::Stopping.into()),
        }
    }

    /// Receives all parts of a request.
    async fn gather<G: Gather>(&self, mut parts: Streaming<G::Part>) -> Result<(Work, Claim), Status> {
        let (mut gathered, mut claim) = (G::default(), Claim::new(&self.0.budget));
        while let Some(part) = self.next(&mut parts).await? {
            (gathered, claim) = self.add(gathered, claim, part).await?;
        }
        // A stream that the client cancelled ends here like one that is whole. Cancelled, this future is polled no
        // more once it has waited, so that a part of a batch is never committed.
        tokio::task::yield_now().await;
        Ok((gathered.finish()?, claim))
    }

    /// Takes in a part of a request. That takes milliseconds where it is a large one.
    async fn add<G: Gather>(
        &self,
        mut gathered: G,
        mut claim: Claim,
        part: G::Part,
    ) -> Result<(G, Claim), Refusal> {
        let add = move || {
            stage::<G>(&mut claim, &part)?;
            gathered.add(part)?;
            Ok((gathered, claim))
        };
        self.0.threads.parsing.run(add).await?
    }

    /// Reads the state on a thread that may wait for it: the commit thread holds it while it waits for the data plane.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Shared) -> Result<T, Refusal> + Send + 'static,
    ) -> Rpc<T> {
        self.on(&self.0.threads.state, read).await
    }

    /// The same on a thread of this kind.
    async fn on<T: Send + 'static>(
        &self,
        threads: &Blocking,
        read: impl FnOnce(&Shared) -> Result<T, Refusal> + Send + 'static,
    ) -> Rpc<T> {
        let shared = Arc::clone(&self.0);
        Ok(Response::new(threads.run(move || read(&shared)).await??))
    }
}

/// The reply to a request that was carried out.
fn reply(Answer { revision, changed, notes }: Answer) -> proto::CommitReply {
    proto::CommitReply { revision: revision.get(), changed, notes }
}

/// The connection's view of the answer to this request.
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
    type ApplyStream = Fed<proto::ApplyReply>;
    type SnapshotStream = Fed<proto::SnapshotPart>;
    type WatchStream = Fed<proto::WatchEvent>;

    async fn commit(&self, request: Request<proto::CommitRequest>) -> Rpc<proto::CommitReply> {
        let author = Author::of(&request)?;
        let (batch, claim) = (GatheredBatch::default(), Claim::new(&self.0.budget));
        let (batch, claim) = self.add(batch, claim, request.into_inner()).await?;
        self.committed(author, batch.finish()?, claim).await
    }

    async fn commit_stream(
        &self,
        request: Request<Streaming<proto::CommitRequest>>,
    ) -> Rpc<proto::CommitReply> {
        let author = Author::of(&request)?;
        let (work, claim) = self.gather::<GatheredBatch>(request.into_inner()).await?;
        self.committed(author, work, claim).await
    }

    async fn apply(&self, request: Request<Streaming<proto::ApplyRequest>>) -> Rpc<Self::ApplyStream> {
        let author = Author::of(&request)?;
        let (work, claim) = self.gather::<GatheredApply>(request.into_inner()).await?;
        let Done { answer, summary, .. } = self.enqueue(author, work, claim).await?;
        let (sender, stream) = feed();
        tokio::spawn(async move {
            let mut summary = summary.unwrap_or_default();
            for part in std::mem::take(&mut summary.differences).chunks(DIFFERENCES) {
                let differences = part.iter().cloned().map(proto::Difference::from).collect();
                if sender.send(proto::ApplyReply { differences, summary: None }).await.is_err() {
                    return;
                }
            }
            let summary = Some(summary.message(reply(answer)));
            // A client that is gone by now asks again by its request id.
            drop(sender.send(proto::ApplyReply { differences: Vec::new(), summary }).await);
        });
        Ok(Response::new(stream))
    }

    async fn list_teps(&self, request: Request<proto::ListTepsRequest>) -> Rpc<proto::ListTepsReply> {
        let request = request.into_inner();
        self.on(&self.0.threads.store, move |shared| lists::teps(shared, &request)).await
    }

    async fn list_domains(
        &self,
        request: Request<proto::ListDomainsRequest>,
    ) -> Rpc<proto::ListDomainsReply> {
        let request = request.into_inner();
        self.on(&self.0.threads.store, move |shared| lists::domains(shared, request)).await
    }

    async fn list_havips(&self, request: Request<proto::ListHavipsRequest>) -> Rpc<proto::ListHavipsReply> {
        let request = request.into_inner();
        self.on(&self.0.threads.store, move |shared| lists::havips(shared, &request)).await
    }

    async fn list_learned(
        &self,
        request: Request<proto::ListLearnedRequest>,
    ) -> Rpc<proto::ListLearnedReply> {
        let request = request.into_inner();
        self.read(move |shared| learned::list(shared, &request)).await
    }

    async fn forget_learned(
        &self,
        request: Request<proto::ForgetLearnedRequest>,
    ) -> Rpc<proto::ForgetLearnedReply> {
        let author = Author::of(&request)?;
        let request = request.into_inner();
        self.read(move |shared| learned::forget(shared, &request, &author)).await
    }

    async fn list_nodes(&self, _: Request<proto::ListNodesRequest>) -> Rpc<proto::ListNodesReply> {
        self.read(|shared| Ok(nodes::list(shared))).await
    }

    async fn restore(&self, request: Request<Streaming<proto::RestoreRequest>>) -> Rpc<proto::CommitReply> {
        let author = Author::of(&request)?;
        let (work, claim) = self.gather::<Box<Backup>>(request.into_inner()).await?;
        self.committed(author, work, claim).await
    }

    async fn snapshot(&self, request: Request<proto::SnapshotRequest>) -> Rpc<Self::SnapshotStream> {
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

    async fn watch(&self, request: Request<proto::WatchRequest>) -> Rpc<Self::WatchStream> {
        let answer = answer_of(&request)?;
        answer.hold(permit(&self.0.streams.watches, WATCHES)?);
        let request = request.into_inner();
        let from = Some(request.from_revision).filter(|&from| from > 0).map(Revision::new);
        let filter = watching::Filter::parse(request)?;
        let (sender, stream) = feed();
        let shared = Arc::clone(&self.0);
        tokio::spawn(async move {
            watching::follow(shared, from, filter, sender).await;
            drop(answer);
        });
        Ok(Response::new(stream))
    }

    async fn get_tep(&self, request: Request<proto::GetTepRequest>) -> Rpc<proto::TepStatus> {
        let tep = TepRef::try_from(request.into_inner().tep).map_err(Refusal::Model)?;
        self.read(move |shared| tep_status(shared, tep)).await
    }

    async fn get_domain(&self, request: Request<proto::GetDomainRequest>) -> Rpc<proto::Domain> {
        let vni = Vni::from(request.into_inner().vni);
        self.read(move |shared| {
            let domain = lock(&shared.state).domain(vni).ok_or(Refusal::NoDomain(vni))?;
            Ok(domain.into())
        })
        .await
    }

    async fn stats(&self, _: Request<proto::StatsRequest>) -> Rpc<proto::StatsReply> {
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
            address_conflict: stats.address_conflict.map(|conflict| proto::AddressConflict {
                address: conflict.address.octets().to_vec(),
                mac: conflict.mac.to_vec(),
                frames: conflict.frames,
                last_unix_ms: unix_ms(conflict.last),
            }),
        }))
    }

    async fn domain_stats(
        &self,
        request: Request<proto::DomainStatsRequest>,
    ) -> Rpc<proto::DomainStatsReply> {
        let vni = Vni::from(request.into_inner().vni);
        self.read(move |shared| domain_stats(&lock(&shared.state), vni)).await
    }

    async fn drops(&self, request: Request<proto::DropsRequest>) -> Rpc<proto::DropsReply> {
        let reason = request.into_inner().reason;
        self.read(move |shared| drops::last(shared, &reason)).await
    }

    async fn version(&self, _: Request<proto::VersionRequest>) -> Rpc<proto::VersionReply> {
        let Versions { daemon, commit, dpdk } = self.0.versions.clone();
        Ok(Response::new(proto::VersionReply { version: daemon, dpdk, commit }))
    }

    async fn get_havip(&self, request: Request<proto::GetHavipRequest>) -> Rpc<proto::HavipStatus> {
        let name: Name = request.into_inner().name.parse().map_err(Refusal::Name)?;
        self.read(move |shared| havip::status(shared, name)).await
    }

    async fn havip_history(
        &self,
        request: Request<proto::HavipHistoryRequest>,
    ) -> Rpc<proto::HavipHistoryReply> {
        let name: Name = request.into_inner().name.parse().map_err(Refusal::Name)?;
        self.on(&self.0.threads.store, move |shared| havip::history(shared, name)).await
    }

    async fn get_node(&self, _: Request<proto::GetNodeRequest>) -> Rpc<proto::NodeStatus> {
        self.read(|shared| Ok(node::status(shared))).await
    }

    async fn drain_node(&self, request: Request<proto::DrainNodeRequest>) -> Rpc<proto::NodeStatus> {
        let author = Author::of(&request)?;
        let drained = request.into_inner().drained;
        self.read(move |shared| Ok(node::drain(shared, drained, &author))).await
    }

    async fn webhooks(&self, _: Request<proto::WebhooksRequest>) -> Rpc<proto::WebhooksReply> {
        self.read(|shared| {
            let webhooks = shared.webhooks.status().into_iter().map(webhook::status).collect();
            Ok(proto::WebhooksReply { webhooks })
        })
        .await
    }

    async fn dead_letters(
        &self,
        request: Request<proto::DeadLettersRequest>,
    ) -> Rpc<proto::DeadLettersReply> {
        let receiver: Name = request.into_inner().receiver.parse().map_err(Refusal::Name)?;
        self.on(&self.0.threads.store, move |shared| webhook::dead_letters(shared, &receiver)).await
    }

    async fn retry_dead_letters(
        &self,
        request: Request<proto::RetryDeadLettersRequest>,
    ) -> Rpc<proto::RetryDeadLettersReply> {
        let author = Author::of(&request)?;
        let receiver: Name = request.into_inner().receiver.parse().map_err(Refusal::Name)?;
        self.on(&self.0.threads.store, move |shared| webhook::retry(shared, &receiver, &author)).await
    }

    async fn drop_dead_letters(
        &self,
        request: Request<proto::DropDeadLettersRequest>,
    ) -> Rpc<proto::DropDeadLettersReply> {
        let author = Author::of(&request)?;
        let receiver: Name = request.into_inner().receiver.parse().map_err(Refusal::Name)?;
        self.on(&self.0.threads.store, move |shared| webhook::drop_dead(shared, &receiver, &author)).await
    }
}

fn tep_status(shared: &Shared, tep: TepRef) -> Result<proto::TepStatus, Refusal> {
    let state = lock(&shared.state);
    let found = state.resolve(&tep).and_then(|tep| Some((state.tep(tep)?, state.teps.index(tep)?)));
    let (entry, index) = found.ok_or(Refusal::NoTep(tep))?;
    let bfd = shared.node.bfd_session(index, entry.address).map(node::session);
    let domains = state.teps.domains(index).into();
    drop(state);
    let (hop, drops) = (shared.node.next_hop(index), shared.node.tep_drops(index));
    Ok(proto::TepStatus {
        tep: Some(entry.into()),
        domains,
        next_hop: hop.gateway.map(ip_bytes),
        mac: hop.mac.map(|mac| mac.to_vec()),
        since_unix_ms: unix_ms(hop.since),
        drops: counters(drops.copies),
        frame_drops: counters(drops.frames),
        icmp_errors: counters(shared.node.tep_icmp_errors(index)),
        bfd,
    })
}

fn domain_stats(state: &State, vni: Vni) -> Result<proto::DomainStatsReply, Refusal> {
    let list = state.list(vni).ok_or(Refusal::NoDomain(vni))?;
    let (counted, drops) = (state.counters(list.domain()), state.drops(list.domain()));
    Ok(proto::DomainStatsReply {
        vni: vni.get(),
        name: state.name(vni).map(ToString::to_string),
        members: list.members().len() as u64,
        frames: counted.frames,
        copies: counted.copies,
        bytes: counted.bytes,
        drops: counted.drops,
        frame_drops: counters(drops.frames),
        copy_drops: counters(drops.copies),
    })
}

fn counters(pairs: Vec<(impl Into<String>, u64)>) -> Vec<proto::Counter> {
    pairs.into_iter().map(|(name, value)| proto::Counter { name: name.into(), value }).collect()
}
