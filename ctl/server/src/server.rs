//! The server: loads the store into the table, and serves the socket.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bcast_domain::{DomainPublisher, Grace};
use crossbeam::channel::{Receiver, Sender, bounded};
use ctl_api::model::Revision;
use ctl_havip::Damping;
use ctl_net::{Activity, Connections};
use ctl_node::Node;
use ctl_store::Store;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::QUEUE;
use crate::STAGED_BYTES;
use crate::alarms::AlarmSender;
use crate::blocking::Threads;
use crate::budget::Budget;
use crate::commit::Committer;
use crate::confirm::{Confirmer, Observer};
use crate::connection::CONNECTIONS;
use crate::diagnoses::DiagnosisCounter;
use crate::error::ServerError;
use crate::exporters::{ExporterConfig, Exporters};
use crate::health::{Health, Trouble};
use crate::hook::{CommitHook, CommitHooks, REPORTS, Report, Reporter};
use crate::job::Intake;
use crate::limits::HavipLimits;
use crate::nodes::ClusterNodes;
use crate::refusals::Refusals;
use crate::service::Service;
use crate::serving::serve;
use crate::shared::{Shared, Streams, Versions};
use crate::socket::{self, SocketFile};
use crate::state::{Counts, Figures, State};

/// Time that connections may stay open once every request has its answer.
const STOP_WAIT: Duration = Duration::from_millis(500);
/// Bytes that watches have read and not yet sent, at most, all of them together.
const WATCHED_BYTES: usize = 128 << 20;

/// Settings of the server.
pub struct ServerConfig {
    /// Path of the Unix socket.
    pub socket: PathBuf,
    /// Runtime that serves requests. The two threads of the control path are the server's own; they and the runtime's
    /// inherit the affinity of the thread that starts them.
    pub runtime: Handle,
    /// Answer to `Version`.
    pub versions: Versions,
    /// Time that a worker may take to see a change before its request is answered "durable, not confirmed".
    pub confirm_timeout: Duration,
    /// Receiver of the time that each group of changes took to reach every worker.
    pub observer: Observer,
    /// Exporters of HAVIP events.
    pub exporters: ExporterConfig,
    /// Commit hooks.
    pub listeners: Vec<Box<dyn CommitHook>>,
    /// Limits by which HAVIPs freeze and thaw.
    pub damping: Damping,
    reports: (Sender<Report>, Receiver<Report>),
    /// Nodes that take part in the placement of VNIs.
    pub nodes: ClusterNodes,
    /// Rules that new HAVIPs and attachments have to keep to.
    pub havips: HavipLimits,
}

impl ServerConfig {
    /// A second for the workers, nobody told, and the limits that are the default.
    #[must_use]
    pub fn new(socket: PathBuf, runtime: Handle, versions: Versions) -> Self {
        Self {
            socket,
            runtime,
            versions,
            confirm_timeout: Duration::from_secs(1),
            observer: Arc::new(|_| {}),
            exporters: ExporterConfig::default(),
            listeners: Vec::new(),
            damping: Damping::default(),
            reports: bounded(REPORTS),
            nodes: ClusterNodes::default(),
            havips: HavipLimits::default(),
        }
    }

    /// Reporter for listeners.
    #[must_use]
    pub fn reporter(&self) -> Reporter {
        Reporter(self.reports.0.clone())
    }
}

/// The running control path. Dropping it stops it, as [`Server::shutdown`] does.
pub struct Server {
    figures: watch::Receiver<Figures>,
    jobs: Arc<Intake>,
    stopping: watch::Sender<bool>,
    /// Disconnected when nothing is served any more.
    served: mpsc::Receiver<()>,
    serving: AbortHandle,
    connections: Arc<Connections>,
    streams: Streams,
    runtime: Handle,
    exporters: Exporters,
    diagnoses: Arc<DiagnosisCounter>,
    health: Arc<Health>,
    threads: Vec<JoinHandle<()>>,
    _socket: SocketFile,
}

impl Server {
    /// Loads the store into the table, then serves. Once it returns, the table is complete and requests are answered.
    ///
    /// # Errors
    ///
    /// [`ServerError`]; then nothing is served.
    pub fn start(
        config: ServerConfig,
        store: impl Store,
        publisher: DomainPublisher,
        grace: Grace,
        node: Arc<dyn Node>,
    ) -> Result<Self, ServerError> {
        let store: Arc<dyn Store> = Arc::new(store);
        let mut state =
            State::new(publisher, grace.clone(), Arc::clone(&node), config.havips, config.damping);
        state.nodes = config.nodes;
        let (exporters, exporter_hooks) =
            Exporters::start(config.exporters, &store, &config.runtime, Reporter(config.reports.0.clone()))?;
        let mut listeners = CommitHooks(config.listeners);
        listeners.0.extend(exporter_hooks);
        let snapshot = store.snapshot()?;
        state.load(snapshot.as_ref())?;
        listeners.loaded(snapshot.as_ref())?;
        drop(snapshot);
        let (visible, seen) = watch::channel(state.revision);
        let (tell, figures) = watch::channel(state.figures());
        let (stopping, stops) = watch::channel(false);
        let state = Arc::new(Mutex::new(state));
        let (jobs, queue) = bounded(QUEUE);
        let jobs = Intake::new(jobs);
        let (confirmer, groups) = bounded(QUEUE);

        let health = Arc::new(Health::new(Instant::now()));
        let streams = Streams::default();
        let alarms = AlarmSender::default();
        let (listener, socket) = socket::listen(&config.socket)?;
        let service = Service(Arc::new(Shared {
            state: Arc::clone(&state),
            store: Arc::clone(&store),
            node: Arc::clone(&node),
            jobs: Arc::clone(&jobs),
            visible: seen,
            alarms: alarms.clone(),
            figures: figures.clone(),
            stopping: stops,
            versions: config.versions,
            budget: Budget::new(STAGED_BYTES),
            watched: Budget::new(WATCHED_BYTES),
            threads: Threads::default(),
            streams: streams.clone(),
            webhooks: Arc::clone(&exporters.webhooks),
        }));
        let diagnoses = Arc::new(DiagnosisCounter::new(Arc::clone(&state), Arc::clone(&node)));
        let committer = Committer {
            state,
            store,
            node: Arc::clone(&node),
            jobs: queue,
            stopped: false,
            confirmer,
            visible,
            figures: tell,
            listeners,
            alarms,
            reports: config.reports.1,
            reclaimed: Instant::now(),
            health: Arc::clone(&health),
            trouble: Trouble::new(Arc::clone(&health)),
            astray: false,
            refusals: Refusals::default(),
        };
        let confirmer = Confirmer {
            groups,
            grace,
            node,
            timeout: config.confirm_timeout,
            observer: config.observer,
            health: Arc::clone(&health),
        };
        let threads = vec![
            thread::Builder::new().name("ctl-commit".to_owned()).spawn(move || committer.run())?,
            thread::Builder::new().name("ctl-confirm".to_owned()).spawn(move || confirmer.run())?,
        ];
        let connections = Connections::new(CONNECTIONS, Activity::Idle);
        let (serving, served) = serve(&config.runtime, listener, service, &connections, &health)?;
        let runtime = config.runtime;
        Ok(Self {
            figures,
            jobs,
            stopping,
            served,
            serving,
            connections,
            streams,
            runtime,
            exporters,
            diagnoses,
            health,
            threads,
            _socket: socket,
        })
    }

    /// The last revision that is published; never waits for a commit.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.figures.borrow().0
    }

    /// Counts of domains, TEPs, memberships and replaced lists; never waits for a commit.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.figures.borrow().1
    }

    /// Takes over what is configured now of the receivers of webhooks that were there at start.
    pub fn reload_webhooks(&self, webhooks: Vec<ctl_webhook::Endpoint>) {
        self.exporters.webhooks.reload(webhooks);
    }

    /// Tells if the store takes changes now; never waits for a commit. After a commit that failed it does not, until one
    /// succeeds or a small transaction does, which is tried each second.
    ///
    /// # Errors
    ///
    /// Why it does not, in one line.
    pub fn store_takes_changes(&self) -> Result<(), String> {
        self.health.takes_changes()
    }

    /// Transactions of changes that the store failed since the start, tries while it takes none included. Never waits.
    #[must_use]
    pub fn store_errors(&self) -> u64 {
        self.health.store_errors()
    }

    /// Time since the last heartbeat of the commit thread: one at least each half second, but for the time that a commit
    /// takes. What grows beyond that is a thread that hangs, or is gone. Never waits.
    #[must_use]
    pub fn commit_thread_silent_for(&self) -> Duration {
        self.health.since_beat(Instant::now())
    }

    /// Time since the last heartbeat of the confirming thread: it beats at least each half second, but for the time that
    /// workers take to see a change. Never waits.
    #[must_use]
    pub fn confirm_thread_silent_for(&self) -> Duration {
        self.health.since_confirm_beat(Instant::now())
    }

    /// The API's connections.
    #[must_use]
    pub fn connections(&self) -> ctl_net::Figures {
        self.connections.figures()
    }

    /// Figures of each receiver of webhooks.
    #[must_use]
    pub fn webhooks(&self) -> Vec<ctl_webhook::Status> {
        self.exporters.webhooks.status()
    }

    /// Figures of routes; `None`: none are made.
    #[must_use]
    pub fn routes(&self) -> Option<ctl_routes::Figures> {
        self.exporters.routes()
    }

    /// Counter of the HAVIPs that have each diagnosis.
    #[must_use]
    pub fn diagnoses(&self) -> Arc<DiagnosisCounter> {
        Arc::clone(&self.diagnoses)
    }

    /// Stops: no new request is taken, commits under way finish and are answered, streams end with a status. Blocks,
    /// for half a second at most beyond the time of the store and the workers; not for a thread of the runtime.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        self.stopping.send_replace(true);
        // What was queued before this is committed and answered; the confirming thread ends with the commit thread.
        self.jobs.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the control path had panicked");
            }
        }
        self.runtime.block_on(self.exporters.webhooks.stop());
        // Each request has its answer by now. A connection that says nothing is nothing to wait for.
        if self.served.recv_timeout(STOP_WAIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            let open = self.streams.open();
            if open > 0 {
                tracing::warn!(open, "clients do not take the end of their streams; they are cut off");
            }
            self.serving.abort();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.stop();
        }
    }
}
