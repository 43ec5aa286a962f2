//! The services on the socket: the contract's, gRPC's health and gRPC's reflection.

use std::io;
use std::sync::{Arc, mpsc};
use std::task::Context;
use std::time::{Duration, Instant};

use ctl_api::DESCRIPTOR;
use ctl_api::model::MAX_MESSAGE_BYTES;
use ctl_api::proto::bcast_server::BcastServer;
use ctl_net::Connections;
use tokio::net::UnixListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use crate::connection::Api;
use crate::health::Health;
use crate::service::Service;

/// Time between two looks at the readiness for changes.
const HEALTH_EVERY: Duration = Duration::from_millis(250);
/// The commit thread is not ready when it did not turn for so long.
const SILENT: Duration = Duration::from_secs(5);
/// Name of the contract's service; "" stands for the whole server.
const SERVICES: [&str; 2] = ["", "bcast.v1.Bcast"];

/// Serves until the service's `stopping` says so and the requests under way are answered.
pub(crate) fn serve(
    runtime: &Handle,
    listener: std::os::unix::net::UnixListener,
    service: Service,
    connections: &Arc<Connections>,
    health: &Arc<Health>,
) -> Result<(AbortHandle, mpsc::Receiver<()>), io::Error> {
    let _context = runtime.enter();
    let listener = UnixListener::from_std(listener)?;
    let stopping = service.0.stopping.clone();
    let mut stopped = stopping.clone();
    let stop = async move {
        // An error says that the server is gone: then it stops as well.
        drop(stopped.wait_for(|&stopping| stopping).await);
    };
    let (reporter, health_service) = tonic_health::server::health_reporter();
    runtime.spawn(report_health(reporter, Arc::clone(health), stopping.clone()));
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTOR)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(io::Error::other)?;
    let routes = Routes::new(BcastServer::new(service).max_decoding_message_size(MAX_MESSAGE_BYTES))
        .add_service(health_service)
        .add_service(reflection);
    let api = Api::new(routes);
    let connections = Arc::clone(connections);
    let (done, served) = mpsc::channel();
    let task = runtime.spawn(async move {
        let accept = |context: &mut Context<'_>| listener.poll_accept(context).map_ok(|(stream, _)| stream);
        let connection = |stream, admitted| api.clone().serve(stream, admitted, stopping.clone());
        ctl_net::serve(connections, accept, connection, stop).await;
        drop(done);
    });
    Ok((task.abort_handle(), served))
}

/// Makes gRPC's health follow the readiness for changes, until the server stops.
async fn report_health(reporter: HealthReporter, health: Arc<Health>, mut stopping: watch::Receiver<bool>) {
    let mut ticks = interval(HEALTH_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_stopping = tokio::select! {
            _ = ticks.tick() => false,
            _ = stopping.wait_for(|&stopping| stopping) => true,
        };
        let is_ready =
            !is_stopping && health.takes_changes().is_ok() && health.since_beat(Instant::now()) < SILENT;
        let status = if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in SERVICES {
            reporter.set_service_status(service, status).await;
        }
        if is_stopping {
            return;
        }
    }
}
