//! The client of a node: thin methods over the generated one, and an error that says who is to blame.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use prost::Message;
use thiserror::Error;
use tokio::net::UnixStream;
use tonic::codegen::tokio_stream::Stream;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status, Streaming, TimeoutExpired};
use tonic_types::StatusExt;

use crate::model::{ApplyParts, Batch, MAX_MESSAGE_BYTES, Name, Reason, Revision, SetResource, TepRef};
use crate::patience::{Progress, within};
use crate::proto::{self, bcast_client::BcastClient};
use crate::{POSITION, REASON_METADATA, REVISION_TRAILER};
use bcast_domain::Vni;

/// A connection to the daemon; cheap to clone, and the clones share the connection.
///
/// Each call fails with any [`ClientError`] but `Unreachable`; then nothing changed, unless it is `Lost` or
/// [`RefusalKind::Unconfirmed`].
#[derive(Debug, Clone)]
pub struct Client {
    rpc: BcastClient<Channel>,
    socket: PathBuf,
    patience: Option<Duration>,
    reason: Option<Reason>,
}

/// Pause before a daemon is tried again that has too many connections to accept.
const CONNECT_AGAIN: Duration = Duration::from_millis(20);

/// Outcome of a call.
type Result<T> = std::result::Result<T, ClientError>;

/// Why there is no answer, or none that was wished for.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the texts name the fields")]
pub enum ClientError {
    /// Nobody answers at the socket.
    #[error("cannot reach the daemon at {socket}: {reason}", socket = .socket.display())]
    Unreachable { socket: PathBuf, reason: io::Error },
    /// The connection broke before there was an answer.
    #[error(
        "lost the daemon at {socket}: {reason}; it ended, or has too many connections (its log says so); if a change was under way, look whether it is there",
        socket = .socket.display()
    )]
    Lost { socket: PathBuf, reason: String },
    /// Nobody answers, though somebody may be there.
    #[error(
        "the daemon at {socket} gave no sign for {seconds} s: it hangs, or is stopped; look at its log, and if a change \
         was under way, whether it is there",
        socket = .socket.display(), seconds = .patience.as_secs_f64()
    )]
    Silent { socket: PathBuf, patience: Duration },
    /// The message is longer than the daemon takes; nothing was sent.
    #[error("a message of {0} bytes is over the limit of {MAX_MESSAGE_BYTES}; send the changes in parts")]
    TooLarge(usize),
    /// The daemon refused. `message` says what was wrong and what to do; `reason` is that of the error details, in
    /// upper case, "" where there is none; `position` is the number of the bad change or entry, from 1 over all parts.
    #[error("{message}")]
    Refused { kind: RefusalKind, message: String, reason: String, position: Option<u64> },
}

/// The kinds of refusal, by their status codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// `INVALID_ARGUMENT`: the request is wrong by itself.
    Invalid,
    /// `NOT_FOUND`: it names a TEP, a domain or a HAVIP that does not exist.
    NotFound,
    /// `ALREADY_EXISTS`: another TEP or HAVIP has that name, another HAVIP that address, or another request that id.
    Exists,
    /// `FAILED_PRECONDITION`: the TEP is still a member or has attachments, the domain has HAVIPs, or removals are not
    /// confirmed.
    Precondition,
    /// `ABORTED`: the node is at another revision than expected.
    Conflict,
    /// `RESOURCE_EXHAUSTED`: a limit would be exceeded.
    Limit,
    /// `DEADLINE_EXCEEDED`: durable, but a worker did not confirm in time; the revision that it made. Without a
    /// revision: the daemon itself gave up, and a change may be there or not.
    Unconfirmed(Option<Revision>),
    /// `UNAVAILABLE`: the store refuses (disk full), or the daemon is stopping.
    Unavailable,
    /// Any other code: a defect, or a daemon of another version.
    Other(Code),
}

impl RefusalKind {
    fn of(status: &Status) -> Self {
        match status.code() {
            Code::InvalidArgument => Self::Invalid,
            Code::NotFound => Self::NotFound,
            Code::AlreadyExists => Self::Exists,
            Code::FailedPrecondition => Self::Precondition,
            Code::Aborted => Self::Conflict,
            // tonic itself answers OUT_OF_RANGE to a message over the limit.
            Code::ResourceExhausted | Code::OutOfRange => Self::Limit,
            Code::DeadlineExceeded => Self::Unconfirmed(revision_of(status)),
            Code::Unavailable => Self::Unavailable,
            other => Self::Other(other),
        }
    }
}

fn revision_of(status: &Status) -> Option<Revision> {
    let number = status.metadata().get(REVISION_TRAILER)?.to_str().ok()?;
    number.parse().ok().map(Revision::new)
}

impl Client {
    /// Connects to the daemon's Unix socket, and waits for every answer as long as it takes.
    ///
    /// # Errors
    ///
    /// [`ClientError::Unreachable`].
    pub async fn connect(socket: &Path) -> Result<Self> {
        Self::connect_with(socket, None).await
    }

    /// The same, with a bound on how long the daemon may give no sign: not accept the connection, not answer, not take
    /// or send the next message of a stream. It is also the deadline that the daemon is given for an answer of one
    /// message.
    ///
    /// # Errors
    ///
    /// [`ClientError::Unreachable`], or [`ClientError::Silent`]; that may come of all that follows, too.
    pub async fn connect_with(socket: &Path, patience: Option<Duration>) -> Result<Self> {
        let path = socket.to_owned();
        let waits = patience.is_some();
        let connector = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { connect(&path, waits).await.map(TokioIo::new) }
        });
        // The authority is never looked up: the connector goes to the socket.
        let endpoint = Endpoint::from_static("http://bcastd");
        let channel = within(patience, socket, endpoint.connect_with_connector(connector)).await?;
        let unreachable = |error: tonic::transport::Error| ClientError::Unreachable {
            socket: socket.to_owned(),
            reason: io_error(&error).unwrap_or_else(|| io::Error::other(error)),
        };
        let rpc = BcastClient::new(channel.map_err(unreachable)?);
        Ok(Self { rpc, socket: socket.to_owned(), patience, reason: None })
    }

    /// The same connection, whose changes are logged with this reason.
    #[must_use]
    pub fn with_reason(self, reason: Option<Reason>) -> Self {
        Self { reason, ..self }
    }

    /// The socket that it is connected to.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Tells a refusal from a broken connection; for the items of a stream.
    #[must_use]
    pub fn error(&self, status: Status) -> ClientError {
        // Only an error that this side made has a cause; what the daemon answered has none.
        match (innermost(&status), self.patience) {
            (Some(cause), Some(patience)) if cause.is::<TimeoutExpired>() => {
                ClientError::Silent { socket: self.socket.clone(), patience }
            }
            (Some(cause), _) => ClientError::Lost { socket: self.socket.clone(), reason: cause.to_string() },
            (None, _) => {
                // tonic's own words say the limit, and not what to do.
                let help = match status.code() {
                    Code::OutOfRange => "; nothing was changed, send the changes in parts (CommitStream)",
                    _ => "",
                };
                let message = format!("{}{help}", status.message());
                let details = status.get_error_details().error_info().cloned();
                let position = details.as_ref().and_then(|info| info.metadata.get(POSITION)?.parse().ok());
                let reason = details.map(|info| info.reason).unwrap_or_default();
                ClientError::Refused { kind: RefusalKind::of(&status), message, reason, position }
            }
        }
    }

    /// Commits a batch that fits into one message; [`Client::commit_stream`] takes any.
    pub async fn commit(&mut self, batch: Batch) -> Result<proto::CommitReply> {
        let request = proto::CommitRequest::from(batch);
        match request.encoded_len() {
            0..=MAX_MESSAGE_BYTES => {
                let request = self.timed(request);
                self.answer(|mut rpc| async move { rpc.commit(request).await }).await
            }
            length => Err(ClientError::TooLarge(length)),
        }
    }

    /// Commits a batch of any size, in parts that commit once.
    pub async fn commit_stream(&mut self, batch: Batch) -> Result<proto::CommitReply> {
        self.commit_parts(tonic::codegen::tokio_stream::iter(batch.into_parts())).await
    }

    /// The same with the caller's own stream of parts, as [`Batch::into_parts`] makes them: to watch the progress.
    pub async fn commit_parts(
        &mut self,
        parts: impl Stream<Item = proto::CommitRequest> + Send + 'static,
    ) -> Result<proto::CommitReply> {
        let (progress, mut rpc) = (Progress::new(), self.rpc.clone());
        let parts = self.reasoned(progress.noting(parts));
        self.progressing(&progress, async move { rpc.commit_stream(parts).await }).await
    }

    /// The answer to a stream of parts, as long as they go on.
    async fn progressing<T>(
        &self,
        progress: &Progress,
        reply: impl Future<Output = std::result::Result<tonic::Response<T>, Status>>,
    ) -> Result<T> {
        tokio::select! {
            reply = reply => reply.map(tonic::Response::into_inner).map_err(|status| self.error(status)),
            error = progress.ceases(self.patience, &self.socket) => Err(error),
        }
    }

    /// Compares a desired state with the node's and commits the differences. `sent` is told of each part that the
    /// daemon takes: the number of its resources.
    pub async fn apply(
        &mut self,
        options: proto::ApplyOptions,
        resources: impl Iterator<Item = SetResource> + Send + 'static,
        mut sent: impl FnMut(usize) + Send + 'static,
    ) -> Result<(Vec<proto::Difference>, proto::ApplySummary)> {
        let (progress, mut rpc) = (Progress::new(), self.rpc.clone());
        let parts = ApplyParts::new(options, resources.map(proto::Resource::from)).inspect(move |part| {
            sent(part.teps.len() + part.domains.len() + part.havips.len());
        });
        let parts = self.reasoned(progress.noting(tonic::codegen::tokio_stream::iter(parts)));
        let mut replies = self.progressing(&progress, async move { rpc.apply(parts).await }).await?;
        let (mut differences, mut summary) = (Vec::new(), None);
        while let Some(reply) = self.next(&mut replies).await? {
            differences.extend(reply.differences);
            summary = reply.summary.or(summary);
        }
        let cut =
            || self.error(Status::internal("the answer ended before its summary; look at the daemon's log"));
        Ok((differences, summary.ok_or_else(cut)?))
    }

    /// All TEPs, domains and HAVIPs as of one revision, or as the request says.
    pub async fn snapshot(
        &mut self,
        request: proto::SnapshotRequest,
    ) -> Result<Streaming<proto::SnapshotPart>> {
        self.answer(|mut rpc| async move { rpc.snapshot(request).await }).await
    }

    /// Replaces everything by a backup.
    pub async fn restore(
        &mut self,
        parts: impl Stream<Item = proto::RestoreRequest> + Send + 'static,
    ) -> Result<proto::CommitReply> {
        let (progress, mut rpc) = (Progress::new(), self.rpc.clone());
        let parts = self.reasoned(progress.noting(parts));
        self.progressing(&progress, async move { rpc.restore(parts).await }).await
    }

    /// A HAVIP with its holder, and a diagnosis.
    pub async fn havip(&mut self, name: &Name) -> Result<proto::HavipStatus> {
        let request = self.timed(proto::GetHavipRequest { name: name.to_string() });
        self.answer(|mut rpc| async move { rpc.get_havip(request).await }).await
    }

    /// The events of a HAVIP, the oldest first.
    pub async fn havip_history(&mut self, name: &Name) -> Result<Vec<proto::HavipEvent>> {
        let request = self.timed(proto::HavipHistoryRequest { name: name.to_string() });
        let reply = self.answer(|mut rpc| async move { rpc.havip_history(request).await }).await?;
        Ok(reply.events)
    }

    /// The webhook receivers, by name.
    pub async fn webhooks(&mut self) -> Result<Vec<proto::Webhook>> {
        let request = self.timed(proto::WebhooksRequest {});
        let reply = self.answer(|mut rpc| async move { rpc.webhooks(request).await }).await?;
        Ok(reply.webhooks)
    }

    /// The dead letters of a receiver, the oldest first.
    pub async fn dead_letters(&mut self, receiver: &Name) -> Result<Vec<proto::DeadLetter>> {
        let request = self.timed(proto::DeadLettersRequest { receiver: receiver.to_string() });
        let reply = self.answer(|mut rpc| async move { rpc.dead_letters(request).await }).await?;
        Ok(reply.letters)
    }

    /// Puts all dead letters of a receiver back, to be delivered once more. Returns how many they are.
    pub async fn retry_dead_letters(&mut self, receiver: &Name) -> Result<u64> {
        let request = self.timed(proto::RetryDeadLettersRequest { receiver: receiver.to_string() });
        let reply = self.answer(|mut rpc| async move { rpc.retry_dead_letters(request).await }).await?;
        Ok(reply.retried)
    }

    /// Deletes all dead letters of a receiver. Returns how many they were.
    pub async fn drop_dead_letters(&mut self, receiver: &Name) -> Result<u64> {
        let request = self.timed(proto::DropDeadLettersRequest { receiver: receiver.to_string() });
        let reply = self.answer(|mut rpc| async move { rpc.drop_dead_letters(request).await }).await?;
        Ok(reply.dropped)
    }

    /// One TEP: its name, next hop, drops.
    pub async fn tep(&mut self, tep: TepRef) -> Result<proto::TepStatus> {
        let request = self.timed(proto::GetTepRequest { tep: Some(tep.into()) });
        self.answer(|mut rpc| async move { rpc.get_tep(request).await }).await
    }

    /// One domain with its members.
    pub async fn domain(&mut self, vni: Vni) -> Result<proto::Domain> {
        let request = self.timed(proto::GetDomainRequest { vni: vni.get() });
        self.answer(|mut rpc| async move { rpc.get_domain(request).await }).await
    }

    /// All TEPs by address, page by page; of `filter` all but the token counts.
    pub async fn teps(&mut self, filter: proto::ListTepsRequest) -> Result<Vec<proto::Tep>> {
        self.pages(|page_token| {
            let mut rpc = self.rpc.clone();
            let request = self.timed(proto::ListTepsRequest { page_token, ..filter.clone() });
            async move { Ok(rpc.list_teps(request).await?.map(|page| (page.teps, page.next_page_token))) }
        })
        .await
    }

    /// All domains by VNI, in the same way.
    pub async fn domains(&mut self, filter: proto::ListDomainsRequest) -> Result<Vec<proto::Domain>> {
        self.pages(|page_token| {
            let mut rpc = self.rpc.clone();
            let request = self.timed(proto::ListDomainsRequest { page_token, ..filter.clone() });
            async move { Ok(rpc.list_domains(request).await?.map(|page| (page.domains, page.next_page_token))) }
        })
        .await
    }

    /// All HAVIPs by name, in the same way.
    pub async fn havips(&mut self, filter: proto::ListHavipsRequest) -> Result<Vec<proto::HavipEntry>> {
        self.pages(|page_token| {
            let mut rpc = self.rpc.clone();
            let request = self.timed(proto::ListHavipsRequest { page_token, ..filter.clone() });
            async move { Ok(rpc.list_havips(request).await?.map(|page| (page.havips, page.next_page_token))) }
        })
        .await
    }

    /// All learned addresses of a domain with sticky ARP inspection, in the same way.
    pub async fn learned(&mut self, vni: Vni) -> Result<Vec<proto::Learned>> {
        self.pages(|page_token| {
            let mut rpc = self.rpc.clone();
            let request = proto::ListLearnedRequest { page_token, vni: vni.get(), ..Default::default() };
            let request = self.timed(request);
            async move { Ok(rpc.list_learned(request).await?.map(|page| (page.learned, page.next_page_token))) }
        })
        .await
    }

    /// The nodes that take part in the placement of VNIs, and the source address of copies.
    pub async fn nodes(&mut self) -> Result<proto::ListNodesReply> {
        let request = self.timed(proto::ListNodesRequest {});
        self.answer(|mut rpc| async move { rpc.list_nodes(request).await }).await
    }

    /// Takes a learned address from its owner.
    pub async fn forget_learned(
        &mut self,
        request: proto::ForgetLearnedRequest,
    ) -> Result<proto::ForgetLearnedReply> {
        let request = self.timed(request);
        self.answer(|mut rpc| async move { rpc.forget_learned(request).await }).await
    }

    /// The items of all pages.
    async fn pages<T, F>(&self, page: impl Fn(String) -> F) -> Result<Vec<T>>
    where
        F: Future<Output = std::result::Result<tonic::Response<(Vec<T>, String)>, Status>>,
    {
        let (mut items, mut token) = (Vec::new(), String::new());
        loop {
            let (more, next) = self.answer(|_| page(std::mem::take(&mut token))).await?;
            items.extend(more);
            if next.is_empty() {
                return Ok(items);
            }
            token = next;
        }
    }

    /// Changes as they commit, from a revision on; `None`: from now on. Of `filters` kinds, VNIs and names count.
    pub async fn watch(
        &mut self,
        from: Option<Revision>,
        filters: proto::WatchRequest,
    ) -> Result<Streaming<proto::WatchEvent>> {
        let request = proto::WatchRequest { from_revision: from.map_or(0, Revision::get), ..filters };
        self.answer(|mut rpc| async move { rpc.watch(request).await }).await
    }

    /// The node's counters.
    pub async fn stats(&mut self) -> Result<proto::StatsReply> {
        let request = self.timed(proto::StatsRequest {});
        self.answer(|mut rpc| async move { rpc.stats(request).await }).await
    }

    /// One domain's counters.
    pub async fn domain_stats(&mut self, vni: Vni) -> Result<proto::DomainStatsReply> {
        let request = self.timed(proto::DomainStatsRequest { vni: vni.get() });
        self.answer(|mut rpc| async move { rpc.domain_stats(request).await }).await
    }

    /// Last offenders of one reason to drop frames; `None`: of all.
    pub async fn drops(&mut self, reason: Option<&str>) -> Result<Vec<proto::DroppedSender>> {
        let request = self.timed(proto::DropsRequest { reason: reason.unwrap_or_default().to_owned() });
        Ok(self.answer(|mut rpc| async move { rpc.drops(request).await }).await?.senders)
    }

    /// State of the node as BFD tells it to hypervisors.
    pub async fn node(&mut self) -> Result<proto::NodeStatus> {
        let request = self.timed(proto::GetNodeRequest {});
        self.answer(|mut rpc| async move { rpc.get_node(request).await }).await
    }

    /// Drains the node, or ends that.
    pub async fn drain(&mut self, drained: bool) -> Result<proto::NodeStatus> {
        let request = self.timed(proto::DrainNodeRequest { drained });
        self.answer(|mut rpc| async move { rpc.drain_node(request).await }).await
    }

    /// The daemon's version and its DPDK's.
    pub async fn version(&mut self) -> Result<proto::VersionReply> {
        let request = self.timed(proto::VersionRequest {});
        self.answer(|mut rpc| async move { rpc.version(request).await }).await
    }

    /// The next message of a stream; `None`: it has ended.
    pub async fn next<T>(&self, stream: &mut Streaming<T>) -> Result<Option<T>> {
        within(self.patience, &self.socket, stream.message()).await?.map_err(|status| self.error(status))
    }

    /// A request with the reason of its changes.
    fn reasoned<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(reason) = &self.reason {
            let value = MetadataValue::from_bytes(reason.as_str().as_bytes());
            request.metadata_mut().insert_bin(REASON_METADATA, value);
        }
        request
    }

    /// A request that is answered by one message, in time.
    fn timed<T>(&self, message: T) -> Request<T> {
        let mut request = self.reasoned(message);
        if let Some(patience) = self.patience {
            request.set_timeout(patience);
        }
        request
    }

    async fn answer<T, F>(&self, call: impl FnOnce(BcastClient<Channel>) -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<tonic::Response<T>, Status>>,
    {
        let reply = within(self.patience, &self.socket, call(self.rpc.clone())).await?;
        reply.map(tonic::Response::into_inner).map_err(|status| self.error(status))
    }
}

/// Connects. One that `waits` tries again where the daemon has too many connections to accept.
async fn connect(path: &Path, waits: bool) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(path).await {
            Err(error) if waits && error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(CONNECT_AGAIN).await;
            }
            done => return done,
        }
    }
}

/// The innermost cause of an error, if it has any.
fn innermost<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e (dyn StdError + 'static)> {
    std::iter::successors(error.source(), |e| (*e).source()).last()
}

/// The kernel's error inside one of the transport's.
fn io_error(error: &(dyn StdError + 'static)) -> Option<io::Error> {
    let found = innermost(error)?.downcast_ref::<io::Error>()?;
    Some(
        found
            .raw_os_error()
            .map_or_else(|| io::Error::new(found.kind(), found.to_string()), io::Error::from_raw_os_error),
    )
}
