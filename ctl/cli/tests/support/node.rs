//! A node in this process: the contract on a Unix socket over a [`Model`], and `bcastctl` run against it.

use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use ctl_api::model::{Apply, BatchError, TepRef};
use ctl_api::proto::bcast_server::{Bcast, BcastServer};
use ctl_api::proto::{self, watch_event::Kind};
use prost::Message;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::model::Model;
pub use super::script::Script;
use super::script::{at, parsed};

/// A running node; its socket goes with it.
pub struct Node {
    pub script: Arc<Mutex<Script>>,
    folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Node {
    /// A node with this state.
    pub fn with(model: Model) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let script = Arc::new(Mutex::new(Script { model, ..Script::default() }));
        let socket = {
            let _in_runtime = runtime.enter();
            UnixListener::bind(folder.path().join("api.sock")).unwrap()
        };
        let service = BcastServer::new(Service(Arc::clone(&script)));
        let server = tonic::transport::Server::builder().add_service(service);
        runtime.spawn(server.serve_with_incoming(UnixListenerStream::new(socket)));
        Self { script, folder, _runtime: runtime }
    }

    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("api.sock")
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bcastctl"));
        command.args(args).env("BCAST_SOCKET", self.socket()).stdin(Stdio::null());
        command
    }

    /// Runs bcastctl: exit status, standard output, standard error.
    pub fn run(&self, args: &[&str]) -> (i32, String, String) {
        told(self.command(args).output().unwrap())
    }

    /// The state as it is now.
    pub fn model(&self) -> Model {
        self.script.lock().unwrap().model.clone()
    }
}

pub fn told(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

struct Service(Arc<Mutex<Script>>);

impl Service {
    /// Keeps the reason of a request.
    fn note_reason<T>(&self, request: &Request<T>) {
        let reason = request.metadata().get_bin(ctl_api::REASON_METADATA);
        self.0.lock().unwrap().reason =
            reason.map(|reason| String::from_utf8(reason.to_bytes().unwrap().to_vec()).unwrap());
    }
}

fn counters(names: &[(&str, u64)]) -> Vec<proto::Counter> {
    names.iter().map(|(name, value)| proto::Counter { name: (*name).to_owned(), value: *value }).collect()
}

/// All items, or the first page alone where the stream stalls: then the next one never comes.
async fn page<T>(script: &Mutex<Script>, token: &str, items: impl Fn(&Script) -> Vec<T>) -> (Vec<T>, String) {
    let stalls = script.lock().unwrap().stalls;
    match (stalls, token) {
        (true, "") => (Vec::new(), "more".to_owned()),
        (true, _) => std::future::pending().await,
        (false, _) => (items(&script.lock().unwrap()), String::new()),
    }
}

#[tonic::async_trait]
impl Bcast for Service {
    type SnapshotStream = Pin<Box<dyn Stream<Item = Result<proto::SnapshotPart, Status>> + Send>>;
    type ApplyStream = Pin<Box<dyn Stream<Item = Result<proto::ApplyReply, Status>> + Send>>;
    type WatchStream = Pin<Box<dyn Stream<Item = Result<proto::WatchEvent, Status>> + Send>>;

    async fn commit(
        &self,
        request: Request<proto::CommitRequest>,
    ) -> Result<Response<proto::CommitReply>, Status> {
        self.note_reason(&request);
        let mut script = self.0.lock().unwrap();
        let message = request.into_inner();
        script.weigh(message.encoded_len(), message.changes.len());
        script.commit("Commit", parsed(message, 0)?)
    }

    async fn commit_stream(
        &self,
        _: Request<Streaming<proto::CommitRequest>>,
    ) -> Result<Response<proto::CommitReply>, Status> {
        Err(Status::unimplemented("the command has no use for it"))
    }

    async fn apply(
        &self,
        request: Request<Streaming<proto::ApplyRequest>>,
    ) -> Result<Response<Self::ApplyStream>, Status> {
        self.note_reason(&request);
        let (mut parts, mut apply) = (request.into_inner(), Apply::default());
        while let Some(part) = parts.message().await? {
            if self.0.lock().unwrap().takes_no_more {
                return std::future::pending().await;
            }
            let entries = part.teps.len() + part.domains.len() + part.havips.len();
            self.0.lock().unwrap().weigh(part.encoded_len(), entries);
            apply.add(part).map_err(|error| match &error {
                BatchError::Item { position, .. } => {
                    at(*position, Status::invalid_argument(error.to_string()))
                }
                _ => Status::invalid_argument(error.to_string()),
            })?;
        }
        assert!(apply.is_whole, "no last part");
        let reply = self.0.lock().unwrap().apply(apply)?;
        Ok(Response::new(Box::pin(tokio_stream::once(Ok(reply)))))
    }

    async fn list_teps(
        &self,
        request: Request<proto::ListTepsRequest>,
    ) -> Result<Response<proto::ListTepsReply>, Status> {
        let proto::ListTepsRequest { page_token, vni, .. } = request.into_inner();
        let items = |script: &Script| {
            let members = vni.map(|vni| script.model.domains[&vni.into()].members.clone());
            let teps = script.model.teps.values();
            let wanted =
                teps.filter(|tep| members.as_ref().is_none_or(|members| members.contains(&tep.address)));
            wanted.cloned().map(proto::Tep::from).collect()
        };
        let (teps, next_page_token) = page(&self.0, &page_token, items).await;
        Ok(Response::new(proto::ListTepsReply { teps, next_page_token, revision: 0 }))
    }

    async fn list_domains(
        &self,
        request: Request<proto::ListDomainsRequest>,
    ) -> Result<Response<proto::ListDomainsReply>, Status> {
        let request = request.into_inner();
        let tep = request.tep.map(|tep| TepRef::try_from(Some(tep)).unwrap());
        let items = |script: &Script| {
            let member = tep.as_ref().and_then(|tep| script.model.find(tep));
            let all = script.model.domains.values();
            let listed =
                all.filter(|domain| tep.is_none() || member.is_some_and(|tep| domain.members.contains(&tep)));
            listed.cloned().map(proto::Domain::from).collect()
        };
        let (domains, next_page_token) = page(&self.0, &request.page_token, items).await;
        Ok(Response::new(proto::ListDomainsReply { domains, next_page_token, revision: 0 }))
    }

    async fn list_havips(
        &self,
        request: Request<proto::ListHavipsRequest>,
    ) -> Result<Response<proto::ListHavipsReply>, Status> {
        let items = |script: &Script| script.model.havips.values().map(|havip| script.havip(havip)).collect();
        let (havips, next_page_token) = page(&self.0, &request.into_inner().page_token, items).await;
        Ok(Response::new(proto::ListHavipsReply { havips, next_page_token, revision: 0 }))
    }

    async fn snapshot(
        &self,
        request: Request<proto::SnapshotRequest>,
    ) -> Result<Response<Self::SnapshotStream>, Status> {
        let mut script = self.0.lock().unwrap();
        let parts = script.snapshot(request.into_inner().with_history);
        if let Some(batch) = script.others.pop_front() {
            script.model.commit(batch).unwrap();
        }
        let stalls = script.stalls;
        let parts = tokio_stream::iter(parts.into_iter().map(Ok).collect::<Vec<_>>());
        Ok(Response::new(match stalls {
            true => Box::pin(parts.take(1).chain(tokio_stream::pending())),
            false => Box::pin(parts),
        }))
    }

    async fn restore(
        &self,
        request: Request<Streaming<proto::RestoreRequest>>,
    ) -> Result<Response<proto::CommitReply>, Status> {
        self.note_reason(&request);
        let (mut parts, mut all) = (request.into_inner(), Vec::new());
        while let Some(part) = parts.message().await? {
            all.push(part);
        }
        let mut script = self.0.lock().unwrap();
        let revision = script.model.revision;
        if let Some(expected) = all[0].expected_revision.filter(|&expected| expected != revision) {
            return Err(Status::aborted(format!("revision {expected} was expected, not {revision}")));
        }
        let revision = all[0].part.as_ref().unwrap().revision.unwrap().max(revision) + 1;
        script.restored = all;
        Ok(Response::new(proto::CommitReply { revision, changed: 3, notes: vec![] }))
    }

    async fn get_tep(
        &self,
        request: Request<proto::GetTepRequest>,
    ) -> Result<Response<proto::TepStatus>, Status> {
        let script = self.0.lock().unwrap();
        let wanted: TepRef = request.into_inner().tep.try_into().unwrap();
        let address = script.model.find(&wanted);
        let address = address.ok_or_else(|| Status::not_found(format!("tep {wanted} is not registered")))?;
        let tep = script.model.teps[&address].clone();
        let resolved = tep.name.is_some();
        let domains =
            script.model.domains.values().filter(|domain| domain.members.contains(&address)).count();
        Ok(Response::new(proto::TepStatus {
            tep: Some(tep.into()),
            domains: domains as u64,
            next_hop: resolved.then(|| vec![198, 18, 255, 1]),
            mac: resolved.then(|| vec![2, 0, 0, 0, 0, 1]),
            since_unix_ms: 1_795_395_845_007,
            drops: counters(&[("tep_unresolved", 12), ("tx_full", 0)]),
            frame_drops: counters(&[("tep_rate", 4)]),
            icmp_errors: counters(&[("unreachable", 2), ("time_exceeded", 0)]),
            bfd: resolved.then_some(proto::BfdSession {
                local: proto::BfdState::Up.into(),
                remote: proto::BfdState::Down.into(),
                diagnostic: 6,
                remote_diagnostic: 1,
                since_unix_ms: 1_795_395_845_007,
                transmit_interval_us: 50_000,
                detection_time_us: 3_000_000,
                flaps: 2,
            }),
        }))
    }

    async fn get_domain(
        &self,
        request: Request<proto::GetDomainRequest>,
    ) -> Result<Response<proto::Domain>, Status> {
        let vni = request.into_inner().vni;
        let parts = self.0.lock().unwrap().snapshot(false);
        let domain = parts.into_iter().flat_map(|part| part.domains).find(|domain| domain.vni == vni);
        domain.map(Response::new).ok_or_else(|| Status::not_found(format!("there is no domain {vni}")))
    }

    async fn watch(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let from = request.into_inner().from_revision;
        let script = self.0.lock().unwrap();
        let events = script.events.iter().filter(|event| event.revision >= from).cloned().map(Ok);
        let last_words = script.last_words.map(|words| Err(Status::unavailable(words)));
        let events = tokio_stream::iter(events.chain(last_words).collect::<Vec<_>>());
        let open = tokio_stream::pending();
        Ok(Response::new(if script.stays_open { Box::pin(events.chain(open)) } else { Box::pin(events) }))
    }

    async fn stats(&self, _: Request<proto::StatsRequest>) -> Result<Response<proto::StatsReply>, Status> {
        Ok(Response::new(proto::StatsReply {
            revision: self.0.lock().unwrap().model.revision.max(7),
            counters: counters(&[("bcast_rx_frames_total", 1000), ("bcast_teps", 2)]),
            drops: counters(&[("runt", 0), ("vni_unknown", 3)]),
            copy_drops: counters(&[("tx_full", 0)]),
            port: counters(&[("missed", 0)]),
            address_conflict: Some(proto::AddressConflict {
                address: vec![198, 18, 0, 254],
                mac: vec![2, 0, 0, 0, 0, 0x99],
                frames: 20,
                last_unix_ms: 1_795_395_845_007,
            }),
        }))
    }

    async fn domain_stats(
        &self,
        request: Request<proto::DomainStatsRequest>,
    ) -> Result<Response<proto::DomainStatsReply>, Status> {
        let vni = request.into_inner().vni;
        let name = Some("vpc-a".to_owned());
        Ok(Response::new(proto::DomainStatsReply {
            vni,
            name,
            members: 2,
            frames: 10,
            copies: 20,
            bytes: 1200,
            drops: 1,
            frame_drops: counters(&[("inner_unicast", 5), ("control_rate", 70)]),
            copy_drops: counters(&[("tx_full", 1)]),
        }))
    }

    async fn drops(
        &self,
        request: Request<proto::DropsRequest>,
    ) -> Result<Response<proto::DropsReply>, Status> {
        let reason = request.into_inner().reason;
        let mac = |last: u8| Some(vec![0x52, 0x54, 0, 0, 0, last]);
        let limited = proto::DroppedSender {
            reason: "control_rate".to_owned(),
            source: Some(vec![198, 18, 0, 1]),
            is_tep: true,
            tep: Some("hv1".to_owned()),
            vni: Some(5001),
            mac: mac(1),
            destination: Some(vec![0xff; 6]),
            outer: false,
            count: 70,
            unix_ms: 1_795_395_845_007,
        };
        let unnamed = proto::DroppedSender {
            tep: None,
            count: 2,
            source: Some(vec![198, 18, 0, 2]),
            ..limited.clone()
        };
        let stranger = proto::DroppedSender {
            reason: "ip_fragment".to_owned(),
            source: Some(vec![198, 18, 0, 77]),
            is_tep: false,
            tep: None,
            vni: None,
            mac: mac(2),
            destination: mac(3),
            outer: true,
            count: 1,
            unix_ms: 1_795_395_845_007,
        };
        let mut senders = vec![stranger, limited, unnamed];
        senders.retain(|sender| reason.is_empty() || sender.reason == reason);
        Ok(Response::new(proto::DropsReply { senders }))
    }

    async fn get_node(
        &self,
        _: Request<proto::GetNodeRequest>,
    ) -> Result<Response<proto::NodeStatus>, Status> {
        Ok(Response::new(proto::NodeStatus {
            state: proto::NodeState::HeldBack.into(),
            reasons: vec!["hold_back".to_owned(), "link".to_owned()],
            held_back_ms: 2_500,
            bfd_sessions: counters(&[("down", 0), ("up", 7)]),
        }))
    }

    async fn drain_node(
        &self,
        request: Request<proto::DrainNodeRequest>,
    ) -> Result<Response<proto::NodeStatus>, Status> {
        self.note_reason(&request);
        let drained = request.into_inner().drained;
        let state = if drained { proto::NodeState::Leaving } else { proto::NodeState::Serving };
        Ok(Response::new(proto::NodeStatus {
            state: state.into(),
            reasons: drained.then(|| "drained".to_owned()).into_iter().collect(),
            held_back_ms: 0,
            bfd_sessions: counters(&[("down", 0), ("up", 7)]),
        }))
    }

    async fn version(
        &self,
        _: Request<proto::VersionRequest>,
    ) -> Result<Response<proto::VersionReply>, Status> {
        Ok(Response::new(proto::VersionReply {
            version: "0.1.0".to_owned(),
            dpdk: "22.11.11".to_owned(),
            commit: "0123456789ab".to_owned(),
        }))
    }

    async fn get_havip(
        &self,
        request: Request<proto::GetHavipRequest>,
    ) -> Result<Response<proto::HavipStatus>, Status> {
        let (script, name) = (self.0.lock().unwrap(), request.into_inner().name);
        let found = script.model.havips.values().find(|havip| havip.name.as_str() == name);
        let havip = found.ok_or_else(|| Status::not_found(format!("there is no havip {name}")))?;
        Ok(Response::new(proto::HavipStatus {
            entry: Some(script.havip(havip)),
            diagnosis: script.diagnosis.clone(),
            announced: script.announced.clone(),
        }))
    }

    async fn havip_history(
        &self,
        request: Request<proto::HavipHistoryRequest>,
    ) -> Result<Response<proto::HavipHistoryReply>, Status> {
        let (script, name) = (self.0.lock().unwrap(), request.into_inner().name);
        if !script.model.havips.keys().any(|havip| havip.as_str() == name) {
            return Err(Status::not_found(format!("there is no havip {name}")));
        }
        Ok(Response::new(proto::HavipHistoryReply { events: script.history.clone() }))
    }

    async fn webhooks(
        &self,
        _: Request<proto::WebhooksRequest>,
    ) -> Result<Response<proto::WebhooksReply>, Status> {
        Ok(Response::new(proto::WebhooksReply { webhooks: self.0.lock().unwrap().webhooks.clone() }))
    }

    async fn list_nodes(
        &self,
        _: Request<proto::ListNodesRequest>,
    ) -> Result<Response<proto::ListNodesReply>, Status> {
        Ok(Response::new(self.0.lock().unwrap().nodes.clone()))
    }

    async fn list_learned(
        &self,
        request: Request<proto::ListLearnedRequest>,
    ) -> Result<Response<proto::ListLearnedReply>, Status> {
        let (request, script) = (request.into_inner(), self.0.lock().unwrap());
        script.model.domains.get(&request.vni.into()).ok_or_else(|| Status::not_found("no such domain"))?;
        let one = |last| proto::Learned {
            address: vec![10, 0, 0, last],
            mac: vec![0x52, 0x54, 0, 0, 0, last],
            tep: vec![198, 18, 0, last],
            heard_unix_ms: 1_750_000_000_000,
        };
        let (learned, next_page_token) = match request.page_token.as_str() {
            "" => (vec![one(1)], "10.0.0.1".to_owned()),
            _ => (vec![one(2)], String::new()),
        };
        Ok(Response::new(proto::ListLearnedReply { learned, next_page_token }))
    }

    async fn forget_learned(
        &self,
        request: Request<proto::ForgetLearnedRequest>,
    ) -> Result<Response<proto::ForgetLearnedReply>, Status> {
        let had_owner = request.into_inner().address == [10, 0, 0, 1];
        Ok(Response::new(proto::ForgetLearnedReply { had_owner }))
    }

    async fn dead_letters(
        &self,
        request: Request<proto::DeadLettersRequest>,
    ) -> Result<Response<proto::DeadLettersReply>, Status> {
        let script = self.0.lock().unwrap();
        script.receiver(&request.into_inner().receiver)?;
        Ok(Response::new(proto::DeadLettersReply { letters: script.letters.clone() }))
    }

    async fn retry_dead_letters(
        &self,
        request: Request<proto::RetryDeadLettersRequest>,
    ) -> Result<Response<proto::RetryDeadLettersReply>, Status> {
        let mut script = self.0.lock().unwrap();
        script.receiver(&request.into_inner().receiver)?;
        let retried = std::mem::take(&mut script.letters).len() as u64;
        Ok(Response::new(proto::RetryDeadLettersReply { retried }))
    }

    async fn drop_dead_letters(
        &self,
        request: Request<proto::DropDeadLettersRequest>,
    ) -> Result<Response<proto::DropDeadLettersReply>, Status> {
        let mut script = self.0.lock().unwrap();
        script.receiver(&request.into_inner().receiver)?;
        let dropped = std::mem::take(&mut script.letters).len() as u64;
        Ok(Response::new(proto::DropDeadLettersReply { dropped }))
    }
}

/// One event of each kind, of revisions 4 and 5.
pub fn one_event_of_each_kind() -> Vec<proto::WatchEvent> {
    let address = vec![198, 18, 0, 1];
    let tep = proto::Tep { address: address.clone(), name: Some("hv1".to_owned()), ..Default::default() };
    let limit = Some(proto::DomainRates { copies: Some(250_000), ..Default::default() });
    let members = Some(proto::Teps { ipv4: address.clone(), ..Default::default() });
    let arp_inspection = proto::ArpInspection::Off.into();
    let domain = proto::Domain { vni: 5001, members, limit, arp_inspection, ..Default::default() };
    let kinds = [
        (4, Kind::Reset(proto::Reset {})),
        (4, Kind::TepSet(tep)),
        (4, Kind::DomainSet(domain)),
        (4, Kind::Committed(proto::Committed { unix_ms: 17 })),
        (5, Kind::DomainDeleted(5001)),
        (5, Kind::TepDeleted(address)),
        (5, Kind::Committed(proto::Committed { unix_ms: 18 })),
    ];
    let unix_ms = 1_795_395_845_007;
    kinds.map(|(revision, kind)| proto::WatchEvent { revision, kind: Some(kind), unix_ms }).into()
}
