//! Counters and gauges for Prometheus, and whether the node is healthy and ready, over HTTP.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use ctl_net::{Connections, Figures};
use ctl_server::HavipCounts;
use ctl_webhook::Status;
use engine::counters::{Cell, Counters, ForwardingTimes, QUANTA_BOUNDS, TIME_BOUNDS_NS, WorkerCounters};
use engine::fanout::Class;
use engine::inspect::KINDS;
use engine::punt::PuntKind;
use prometheus::proto::{self, Bucket, LabelPair, MetricFamily, MetricType};
use prometheus::{
    CounterVec, Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wire::{CopyDropReason, CopyErrorKind, DropReason};

use crate::http::{self, Limits};
use crate::liveness::Reason;
use crate::log;
use crate::node::{self, NodeView, bfd_sessions};
use crate::port::dpdk_version;
use crate::readiness::Condition;

/// Seconds that a change may take to reach every worker, as the histogram's buckets.
const CHANGE_BUCKETS: [f64; 12] = [1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 0.1, 1.0];

/// Pages that are made at a time. Making one asks the port for its counters, which a driver may be slow to tell.
static PAGES: Semaphore = Semaphore::const_new(2);
/// Time that a page may take.
const PAGE_TIME: Duration = Duration::from_secs(5);

/// The metrics could not be served.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The address is taken, or not ours.
    #[error("metrics.listen: cannot listen on {address}: {error}; choose another address or port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
}

/// Seconds from a change's publication until every worker has seen it.
///
/// # Errors
/// Never, but for a mistake in the name.
pub fn change_histogram() -> Result<Histogram, prometheus::Error> {
    let help = "Seconds from a change's publication until every worker has seen it.";
    Histogram::with_opts(HistogramOpts::new("bcast_change_seconds", help).buckets(CHANGE_BUCKETS.into()))
}

/// A histogram by class that the workers have counted already: bounds, and the counts of its buckets, the last without bound.
struct Counted {
    name: &'static str,
    help: &'static str,
    bounds: Vec<f64>,
    classes: Vec<(Class, Vec<u64>, f64)>,
}

impl Counted {
    /// As the client library has no histograms of known counts, in its data model.
    fn family(&self) -> MetricFamily {
        let metrics = self.classes.iter().map(|(class, counts, sum)| {
            let mut total = 0;
            // The encoder adds the bucket without a bound, `+Inf`.
            let buckets = self.bounds.iter().copied().zip(counts).map(|(bound, count)| {
                total += count;
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(bound);
                bucket.set_cumulative_count(total);
                bucket
            });
            let mut histogram = proto::Histogram::default();
            histogram.set_bucket(buckets.collect());
            histogram.set_sample_count(counts.iter().sum());
            histogram.set_sample_sum(*sum);
            let mut label = LabelPair::default();
            label.set_name("class".into());
            label.set_value(class.as_str().into());
            let mut metric = proto::Metric::from_label(vec![label]);
            metric.set_histogram(histogram);
            metric
        });
        let mut family = MetricFamily::default();
        family.set_name(self.name.into());
        family.set_help(self.help.into());
        family.set_field_type(MetricType::HISTOGRAM);
        family.set_metric(metrics.collect());
        family
    }
}

/// Time that frames stayed with their workers, and quanta of other domains that they waited for.
fn forwarding(counters: &Counters) -> [Counted; 2] {
    let sum = |class: Class, cell: &dyn Fn(&ForwardingTimes) -> &Cell| {
        counters
            .workers
            .iter()
            .map(|worker| cell(&worker.totals.forwarding[class as usize]).get())
            .sum::<u64>()
    };
    let times = |class| {
        let counts = (0..=TIME_BOUNDS_NS.len()).map(|bucket| sum(class, &|r| &r.time[bucket])).collect();
        (class, counts, sum(class, &|r| &r.time_ns) as f64 / 1e9)
    };
    let quanta = |class| {
        let counts = (0..=QUANTA_BOUNDS.len()).map(|bucket| sum(class, &|r| &r.quanta[bucket])).collect();
        (class, counts, sum(class, &|r| &r.quanta_sum) as f64)
    };
    [
        Counted {
            name: "bcast_forwarding_seconds",
            help: "Seconds from the return of the receive call until a frame's last copy was handed to the port.",
            bounds: TIME_BOUNDS_NS.map(|ns| ns as f64 / 1e9).to_vec(),
            classes: Class::ALL.map(times).to_vec(),
        },
        Counted {
            name: "bcast_forwarding_quanta",
            help: "Quanta of other frames' large fan-outs that a frame waited for.",
            bounds: QUANTA_BOUNDS.map(|quanta| quanta as f64).to_vec(),
            classes: Class::ALL.map(quanta).to_vec(),
        },
    ]
}

/// One scrape: its metrics are made anew from what the workers count.
struct Page(Registry);

type Metric = Result<(), prometheus::Error>;

impl Page {
    fn counters(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (String, u64)>,
    ) -> Metric {
        let metric = IntCounterVec::new(Opts::new(name, help), &[label])?;
        for (value, count) in values {
            metric.with_label_values(&[value]).inc_by(count);
        }
        self.0.register(Box::new(metric))
    }

    fn counter(&self, name: &str, help: &str, count: u64) -> Metric {
        let metric = prometheus::IntCounter::new(name, help)?;
        metric.inc_by(count);
        self.0.register(Box::new(metric))
    }

    fn gauges<'n>(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'n str, u64)>,
    ) -> Metric {
        let metric = IntGaugeVec::new(Opts::new(name, help), &[label])?;
        for (value, count) in values {
            metric.with_label_values(&[value]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.0.register(Box::new(metric))
    }

    fn gauge(&self, name: &str, help: &str, value: impl TryInto<i64>) -> Metric {
        let metric = IntGauge::new(name, help)?;
        metric.set(value.try_into().unwrap_or(i64::MAX));
        self.0.register(Box::new(metric))
    }
}

fn render(node: &NodeView, http: Figures) -> Result<String, prometheus::Error> {
    let page = Page(Registry::new());
    let by_worker = |name: &str, help: &str, cell: fn(&WorkerCounters) -> &Cell| {
        let workers = node.counters.workers.iter().enumerate();
        page.counters(
            name,
            help,
            "worker",
            workers.map(|(index, worker)| (index.to_string(), cell(&worker.totals).get())),
        )
    };
    by_worker("bcast_rx_frames_total", "Frames received.", |w| &w.rx_frames)?;
    by_worker("bcast_rx_accepted_total", "Frames accepted for replication.", |w| &w.rx_accepted)?;
    by_worker("bcast_worker_polls_total", "Polls of the worker.", |w| &w.polls)?;
    let help = "Polls of the worker that had something to do.";
    by_worker("bcast_worker_busy_polls_total", help, |w| &w.busy_polls)?;
    busy_seconds(&page, node)?;
    by_worker("bcast_copies_wanted_total", "Copies that accepted frames asked for.", |w| &w.copies_wanted)?;
    by_worker("bcast_tx_copies_total", "Copies that the port has taken.", |w| &w.tx_copies)?;
    let punted = "Frames for the node itself that were handed to the kernel, or answered by the node.";
    page.counter("bcast_punted_total", punted, node.counters.sum(|w| &w.punted))?;
    page.counters(
        "bcast_punted_frames_total",
        "The same by kind.",
        "kind",
        PuntKind::ALL.map(|k| (k.as_str().into(), node.counters.sum(|w| &w.punted_by[k as usize]))),
    )?;
    page.counters(
        "bcast_icmp_errors_total",
        "ICMP errors about copies to TEPs, by type.",
        "type",
        CopyErrorKind::ALL.map(|k| (k.as_str().into(), node.counters.sum(|w| &w.icmp_errors[k as usize]))),
    )?;
    page.counters(
        "bcast_drops_total",
        "Received frames that were dropped, by reason.",
        "reason",
        DropReason::ALL.map(|r| (r.as_str().into(), node.counters.sum(|w| &w.drops[r.index()]))),
    )?;
    page.counters(
        "bcast_copy_drops_total",
        "Copies that were dropped, by reason.",
        "reason",
        CopyDropReason::ALL.map(|r| (r.as_str().into(), node.counters.sum(|w| &w.copy_drops[r.index()]))),
    )?;
    page.counters(
        "bcast_announcements_total",
        "Accepted frames that announced virtual IPs, by kind.",
        "kind",
        KINDS
            .into_iter()
            .enumerate()
            .map(|(kind, name)| (name.into(), node.counters.sum(|w| &w.announcements[kind]))),
    )?;
    page.counter(
        "bcast_local_frames_total",
        "Frames that the node itself made for domains, as to announce virtual IPs; they count as received.",
        node.counters.sum(|w| &w.local_frames),
    )?;
    page.counter(
        "bcast_rejected_announcements_lost_total",
        "Rejected announcements that found no room in the queue to the control side.",
        node.counters.sum(|w| &w.rejected_lost),
    )?;
    for (name, help, cell) in NodeView::KERNEL_COUNTERS {
        page.counter(name, help, node.counters.sum(cell))?;
    }
    for (name, help, count) in node.port_counters() {
        page.counter(name, help, count)?;
    }
    pools(&page, node)?;
    process(&page)?;
    let (counts, revision) = node.counts();
    page.gauge("bcast_domains", "Broadcast domains.", counts.domains)?;
    page.gauge("bcast_teps", "Registered tunnel endpoints.", counts.teps)?;
    let help = "Registered tunnel endpoints without a known next hop.";
    page.gauge("bcast_teps_unresolved", help, node.underlay.unresolved())?;
    page.gauge("bcast_members", "Memberships in all domains.", counts.members)?;
    page.gauge("bcast_havips", "Virtual IPs.", counts.havips)?;
    havips(&page, node)?;
    bfd(&page, node)?;
    let help = "Transactions of changes that the store failed, tries while it takes none included.";
    let errors = node.server().as_ref().map(ctl_server::Server::store_errors);
    page.counter("bcast_store_errors_total", help, errors.unwrap_or_default())?;
    page.gauge("bcast_revision", "The last committed revision.", revision)?;
    page.gauge("bcast_retired_lists", "Member lists that wait for their last reader.", counts.retired)?;
    page.counter(
        "bcast_log_lost_lines_total",
        "Lines of the log that were lost: nobody took them.",
        log::lost(),
    )?;
    let conditions = IntGaugeVec::new(
        Opts::new("bcast_condition", "Whether a condition of readiness is met (1) or not (0)."),
        &["condition"],
    )?;
    for (condition, met) in node.readiness.conditions(node) {
        if condition == Condition::Link {
            page.gauge(
                "bcast_link_up",
                "Whether the port's link is up (1) or down (0).",
                u8::from(met.is_ok()),
            )?;
        }
        conditions.with_label_values(&[condition.as_str()]).set(met.is_ok().into());
    }
    page.0.register(Box::new(conditions))?;
    exporters(&page, node)?;
    connections(&page, node, http)?;
    page.0.register(Box::new(node.change_seconds.clone()))?;
    let mut families = page.0.gather();
    families.extend(forwarding(&node.counters).iter().map(Counted::family));
    TextEncoder::new().encode_to_string(&families)
}

/// HAVIPs by diagnosis and by state; each code and state has a value, 0 too, so that an alert can be built on it. Nothing
/// until the store is loaded.
fn havips(page: &Page, node: &NodeView) -> Metric {
    let counter = node.server().as_ref().map(ctl_server::Server::diagnoses);
    let HavipCounts { diagnoses, states } = counter.map(|counter| counter.count()).unwrap_or_default();
    let help = "Virtual IPs that have a diagnosis, by its code.";
    page.gauges("bcast_havip_diagnoses", help, "code", diagnoses)?;
    page.gauges("bcast_havip_states", "Virtual IPs, by state.", "state", states)
}

/// BFD sessions with hypervisors by state, and why they say that the node is to be left; each state and reason has a value, 0 too.
fn bfd(page: &Page, node: &NodeView) -> Metric {
    let board = &node.liveness.board;
    let sessions = bfd_sessions(board);
    page.gauges("bcast_bfd_sessions", "BFD sessions with hypervisors, by state.", "state", sessions)?;
    page.counter("bcast_bfd_flaps_total", "Times that a BFD session left Up.", board.flaps())?;
    let sum = |cell: fn(&WorkerCounters) -> &Cell| node.counters.sum(cell);
    page.counter("bcast_bfd_tx_total", "BFD frames that the port has taken.", sum(|w| &w.tx_bfd))?;
    page.counter("bcast_bfd_tx_drops_total", "BFD frames that were dropped.", sum(|w| &w.tx_bfd_drops))?;
    let there: Vec<_> = node.liveness.reasons().collect();
    let reasons = Reason::ALL.map(|reason| (reason.as_str(), u64::from(there.contains(&reason))));
    let help = "Whether BFD tells hypervisors for this reason to use another node (1) or not (0).";
    page.gauges("bcast_bfd_leaving", help, "reason", reasons)
}

/// Packet buffers of each pool: all, in use, free.
fn pools(page: &Page, node: &NodeView) -> Metric {
    let pools: Vec<_> = node.mbufs().collect();
    let of = |value: fn(u32, u32) -> u32| {
        pools.iter().map(move |&(pool, in_use, all)| (pool, value(in_use, all).into()))
    };
    page.gauges("bcast_mbufs", "Packet buffers in all.", "pool", of(|_, all| all))?;
    page.gauges("bcast_mbufs_in_use", "Packet buffers in use.", "pool", of(|in_use, _| in_use))?;
    let free = of(|in_use, all| all.saturating_sub(in_use));
    page.gauges("bcast_mbufs_free", "Packet buffers that are free.", "pool", free)
}

/// Time of each worker's polls that had something to do. Its rate is the part of the time that the worker is busy.
fn busy_seconds(page: &Page, node: &NodeView) -> Metric {
    let help = "Seconds of the worker's polls that had something to do.";
    let metric = CounterVec::new(Opts::new("bcast_worker_busy_seconds_total", help), &["worker"])?;
    for (index, worker) in node.counters.workers.iter().enumerate() {
        metric.with_label_values(&[index.to_string()]).inc_by(worker.totals.busy_ns.get() as f64 / 1e9);
    }
    page.0.register(Box::new(metric))
}

/// The process: what it was built from, and since when it runs.
fn process(page: &Page) -> Metric {
    let help = "1; the labels say what the daemon was built from, and which DPDK it runs with.";
    let info = IntGaugeVec::new(Opts::new("bcast_build_info", help), &["version", "commit", "dpdk"])?;
    info.with_label_values(&[env!("CARGO_PKG_VERSION"), env!("BCAST_COMMIT"), dpdk_version()]).set(1);
    page.0.register(Box::new(info))?;
    let help = "Start of the process, seconds of Unix time.";
    let start = prometheus::Gauge::new("process_start_time_seconds", help)?;
    start.set(node::started());
    page.0.register(Box::new(start))
}

/// Connections to the API and to this server.
fn connections(page: &Page, node: &NodeView, http: Figures) -> Metric {
    let api = node.server().as_ref().map(ctl_server::Server::connections).unwrap_or_default();
    let servers = [("api", api), ("metrics", http)];
    let open = IntGaugeVec::new(Opts::new("bcast_connections", "Open connections, by server."), &["server"])?;
    for (server, figures) in servers {
        open.with_label_values(&[server]).set(i64::try_from(figures.open).unwrap_or(i64::MAX));
    }
    page.0.register(Box::new(open))?;
    let counters = |name: &str, help: &str, value: fn(Figures) -> u64| {
        page.counters(name, help, "server", servers.map(|(server, figures)| (server.into(), value(figures))))
    };
    counters("bcast_connections_evicted_total", "Idle connections closed to let others in.", |f| f.evicted)?;
    counters("bcast_connections_refused_total", "Connections refused: all others were at work.", |f| {
        f.refused
    })
}

/// Figures of webhooks and routes.
fn exporters(page: &Page, node: &NodeView) -> Metric {
    let (webhooks, routes) =
        node.server().as_ref().map(|server| (server.webhooks(), server.routes())).unwrap_or_default();
    let gauges = |name: &str, help: &str, value: &dyn Fn(&Status) -> u64| {
        let metric = IntGaugeVec::new(Opts::new(name, help), &["receiver"])?;
        for webhook in &webhooks {
            let value = i64::try_from(value(webhook)).unwrap_or(i64::MAX);
            metric.with_label_values(&[webhook.name.as_str()]).set(value);
        }
        page.0.register(Box::new(metric))
    };
    let counters = |name: &str, help: &str, value: fn(&Status) -> u64| {
        let values = webhooks.iter().map(|webhook| (webhook.name.to_string(), value(webhook)));
        page.counters(name, help, "receiver", values)
    };
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now_ms = u64::try_from(now_ms).unwrap_or(u64::MAX);
    let oldest =
        |webhook: &Status| webhook.oldest_unix_ms.map_or(0, |since| now_ms.saturating_sub(since) / 1_000);
    gauges("bcast_webhook_pending", "Events that the receiver has still to accept.", &|w| w.pending as u64)?;
    gauges("bcast_webhook_oldest_seconds", "How long the oldest of them has been waiting.", &oldest)?;
    counters("bcast_webhook_delivered_total", "Events that the receiver accepted.", |w| w.delivered)?;
    counters("bcast_webhook_failed_total", "Attempts that failed.", |w| w.failed)?;
    counters("bcast_webhook_dead_total", "Events that became dead letters.", |w| w.dead)?;
    counters("bcast_webhook_skipped_total", "Events that a later one stands for.", |w| w.skipped)?;
    let Some(routes) = routes else { return Ok(()) };
    page.gauge("bcast_routes", "Host routes of virtual IPs in the kernel.", routes.routes)?;
    page.gauge("bcast_routes_unusable", "Those that cannot be, for want of a next hop.", routes.unusable)?;
    page.gauge("bcast_routes_failing", "Those that the kernel refused.", routes.failing)?;
    page.counter("bcast_routes_written_total", "Routes made, moved or removed.", routes.written)
}

/// Makes a page on a thread that may wait for the port.
async fn metrics(node: Arc<NodeView>, http: Figures) -> Response {
    let made = async {
        let permit = PAGES.acquire().await.ok()?;
        let make = move || {
            let page = render(&node, http);
            // Until then it counts, also where nobody waits for it any more.
            drop(permit);
            page
        };
        tokio::task::spawn_blocking(make).await.ok()
    };
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    match timeout(PAGE_TIME, made).await {
        Ok(Some(Ok(text))) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Ok(Some(Err(error))) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        Ok(None) => (unavailable, "the daemon is stopping\n").into_response(),
        Err(_) => (unavailable, "the port does not tell its counters\n").into_response(),
    }
}

/// `/readyz`: whether the node may and can forward. `/readyz?changes`: whether it takes changes, too. A line for each
/// condition that fails.
async fn ready(State(node): State<Arc<NodeView>>, RawQuery(query): RawQuery) -> (StatusCode, String) {
    let changes = query.is_some_and(|query| query.split('&').any(|key| key == "changes"));
    let conditions = node.readiness.conditions(&node).into_iter();
    let asked = conditions.filter(|(condition, _)| changes || condition.is_of_forwarding());
    let failed: String =
        asked.filter_map(|(condition, met)| Some(format!("{condition}: {}\n", met.err()?))).collect();
    match failed.is_empty() {
        true => (StatusCode::OK, "ready\n".into()),
        false => (StatusCode::SERVICE_UNAVAILABLE, failed),
    }
}

/// Listens; `serve` answers.
///
/// # Errors
/// The address is taken, or not ours.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, MetricsError> {
    TcpListener::bind(address).await.map_err(|error| MetricsError::Listen { address, error })
}

/// Answers `/metrics`, `/healthz` (the process runs) and `/readyz` for ever.
pub async fn serve(listener: TcpListener, node: Arc<NodeView>) {
    let connections = http::connections();
    let here = Arc::clone(&connections);
    let page = move |State(node): State<Arc<NodeView>>| metrics(node, Connections::figures(&here));
    let router = Router::new()
        .route("/metrics", get(page))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(node);
    http::serve(listener, router, connections, Limits::default()).await;
}
