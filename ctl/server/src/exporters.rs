//! Exporters of committed changes: webhooks for receivers, and routes for layer-3 networks.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ctl_api::model::{Event, HavipEvent, Name, RefusedAnnouncement};
use ctl_routes::{Figures, Routes, RoutesConfig, Unusable};
use ctl_store::{OutboxRows, Record, Snapshot, Store, StoreError};
use ctl_webhook::{Endpoint, Outbox, Policy, Webhooks};
use hashbrown::HashSet;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::error::ServerError;
use crate::hook::{CommitHook, Reporter};

/// Time that a report waits where too many wait already.
const REPORT_AGAIN: Duration = Duration::from_millis(100);

/// Webhook and route configuration.
#[derive(Default)]
pub struct ExporterConfig {
    /// The receivers of webhooks.
    pub webhooks: Vec<Endpoint>,
    /// Name of this node for receivers: a URI reference (CloudEvents 1.0, `source`).
    pub source: String,
    /// Policy of delivery to webhooks.
    pub policy: Policy,
    /// Configuration of routes; `None`: no routes are made, and present ones stay.
    pub routes: Option<RoutesConfig>,
}

/// Running exporters.
pub(crate) struct Exporters {
    pub webhooks: Arc<Webhooks>,
    routes: Option<Arc<Routes>>,
}

impl Exporters {
    /// Starts what is configured. Routes are made in the network namespace of the thread that calls this.
    ///
    /// # Errors
    ///
    /// The store cannot be read, or there is no netlink socket.
    pub fn start(
        config: ExporterConfig,
        store: &Arc<dyn Store>,
        runtime: &Handle,
        reporter: Reporter,
    ) -> Result<(Self, Vec<Box<dyn CommitHook>>), ServerError> {
        let ExporterConfig { webhooks, source, policy, routes } = config;
        let (outbox, webhooks) =
            Webhooks::start(webhooks, &source, Arc::new(Arc::clone(store)), policy, runtime)
                .map_err(ServerError::Webhooks)?;
        let mut listeners: Vec<Box<dyn CommitHook>> = vec![Box::new(outbox)];
        let routes = routes.map(|config| start_routes(config, runtime, reporter)).transpose()?;
        if let Some(routes) = &routes {
            listeners.push(Box::new(RoutesHook { routes: Arc::clone(routes), known: HashSet::new() }));
        }
        Ok((Self { webhooks: Arc::new(webhooks), routes }, listeners))
    }

    /// Figures of routes, if any are made.
    pub fn routes(&self) -> Option<Figures> {
        self.routes.as_ref().map(|routes| routes.figures())
    }
}

fn start_routes(config: RoutesConfig, runtime: &Handle, reporter: Reporter) -> io::Result<Arc<Routes>> {
    let _context = runtime.enter();
    let (routes, unusable, task) = Routes::new(config)?;
    runtime.spawn(task);
    runtime.spawn(report(unusable, reporter));
    Ok(Arc::new(routes))
}

/// Reports routes that cannot be installed.
async fn report(mut unusable: mpsc::Receiver<Unusable>, reporter: Reporter) {
    while let Some(Unusable { havip, route, why, .. }) = unusable.recv().await {
        let detail = format!("no route {route}: {why}");
        while !reporter.route_unusable(havip.clone(), detail.clone()) {
            tokio::time::sleep(REPORT_AGAIN).await;
        }
    }
}

impl CommitHook for Outbox {
    fn loaded(&mut self, _: &dyn Snapshot) -> Result<(), StoreError> {
        match self.reload().map_err(|error| error.downcast::<StoreError>()) {
            Err(Ok(error)) => Err(*error),
            Err(Err(error)) => {
                tracing::error!(%error, "webhook events of an unsure commit wait for the next start");
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn stage(&mut self, records: &[Record]) -> OutboxRows {
        Self::stage(self, records)
    }

    fn committed(&mut self, _: &[Record]) {
        Self::committed(self);
    }

    fn aborted(&mut self) {
        Self::aborted(self);
    }

    fn alarmed(&mut self, alarms: &[HavipEvent]) {
        self.tell(alarms);
    }

    fn refused(&mut self, refused: &[RefusedAnnouncement]) {
        self.tell_refused(refused);
    }
}

struct RoutesHook {
    routes: Arc<Routes>,
    /// HAVIPs that it was told of: what a new snapshot does not have of them is gone.
    known: HashSet<Name>,
}

impl CommitHook for RoutesHook {
    fn loaded(&mut self, snapshot: &dyn Snapshot) -> Result<(), StoreError> {
        let teps = snapshot.teps()?.map(|tep| tep.map(Event::TepSet));
        let havips = snapshot.havips()?.map(|entry| entry.map(|entry| Event::HavipSet(Box::new(entry))));
        let mut events = teps.chain(havips).collect::<Result<Vec<_>, _>>()?;
        let gone = std::mem::take(&mut self.known);
        self.know(&events);
        events.extend(gone.into_iter().filter(|name| !self.known.contains(name)).map(Event::HavipDeleted));
        self.routes.apply(&events);
        Ok(())
    }

    fn committed(&mut self, records: &[Record]) {
        for record in records {
            self.know(&record.events);
        }
        self.routes.apply(records.iter().flat_map(|record| &record.events));
    }
}

impl RoutesHook {
    fn know(&mut self, events: &[Event]) {
        for event in events {
            match event {
                Event::HavipSet(entry) => {
                    self.known.insert(entry.havip.name.clone());
                }
                Event::HavipDeleted(name) => {
                    self.known.remove(name);
                }
                _ => {}
            }
        }
    }
}
