//! Readiness of the node to forward, condition by condition.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::node::NodeView;
use engine::counters::Counters;
use engine::runtime::RuntimeConfig;
use underlay::Underlay;

/// Time between two samples.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);
/// Time without a poll after which a worker counts as stopped, and without a sample after which the sampler does.
const STOPPED_AFTER: Duration = Duration::from_secs(1);

/// Time that one commit may take: a million domains at once take some ten seconds.
const COMMITTING: Duration = Duration::from_secs(30);

/// A condition of readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The store is loaded into the table.
    StoreLoaded,
    /// The port's link is up.
    Link,
    /// Every worker polls.
    Workers,
    /// The thread between the workers and the kernel takes turns.
    Punt,
    /// The TAP is as the node needs it.
    Tap,
    /// The thread that follows next hops takes turns, and the kernel answers it.
    NextHops,
    /// The kernel was asked for the next hops of all TEPs of the store.
    NextHopsAsked,
    /// The thread that commits changes takes turns.
    CommitThread,
    /// The store takes changes. A node whose disk is full forwards: this is no condition of that.
    StoreChanges,
}

impl Condition {
    /// All conditions, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::StoreLoaded,
        Self::Link,
        Self::Workers,
        Self::Punt,
        Self::Tap,
        Self::NextHops,
        Self::NextHopsAsked,
        Self::CommitThread,
        Self::StoreChanges,
    ];

    /// The node cannot forward, or not for long, without it.
    pub fn is_of_forwarding(self) -> bool {
        self != Self::StoreChanges
    }

    /// The condition's name in metrics and in the answer of `/readyz`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StoreLoaded => "store_loaded",
            Self::Link => "link",
            Self::Workers => "workers",
            Self::Punt => "punt",
            Self::Tap => "tap",
            Self::NextHops => "next_hops",
            Self::NextHopsAsked => "next_hops_asked",
            Self::CommitThread => "commit_thread",
            Self::StoreChanges => "store_changes",
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Samples of what makes no sign by itself when it stops.
pub struct Readiness {
    runtime_config: Arc<RuntimeConfig>,
    underlay: Arc<Underlay>,
    counters: Arc<Counters>,
    started: Instant,
    /// For each worker: its polls at the last sample, and milliseconds after `started` of the last poll seen.
    polls: Vec<(AtomicU64, AtomicU64)>,
    /// The punt's turns at the last sample, and milliseconds after `started` of the last turn seen.
    punt: (AtomicU64, AtomicU64),
    /// Turns of the thread between the workers and the kernel, counted by itself; 0: there is none.
    pub punt_rounds: Arc<AtomicU64>,
    /// Milliseconds after `started` of the last sample.
    sampled_ms: AtomicU64,
}

impl Readiness {
    /// Nothing sampled yet.
    pub fn new(
        runtime_config: Arc<RuntimeConfig>,
        underlay: Arc<Underlay>,
        counters: Arc<Counters>,
    ) -> Arc<Self> {
        let polls = counters.workers.iter().map(|_| Default::default()).collect();
        Arc::new(Self {
            runtime_config,
            underlay,
            counters,
            started: Instant::now(),
            polls,
            punt: Default::default(),
            punt_rounds: Arc::default(),
            sampled_ms: AtomicU64::new(0),
        })
    }

    /// Samples until `stop`, on a thread of its own: a driver may take its time to tell the state of its link. `also` is called each time.
    pub fn run(&self, stop: &AtomicBool, link: impl Fn() -> Option<bool>, also: impl Fn()) {
        while !stop.load(Relaxed) {
            if let Some(up) = link()
                && self.runtime_config.set_link_up(up) != up
            {
                tracing::warn!(up, "the port's link changed");
            }
            self.sample(self.now_ms());
            also();
            std::thread::sleep(SAMPLE_EVERY);
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn sample(&self, now_ms: u64) {
        let workers = self.counters.workers.iter().map(|worker| worker.totals.polls.get());
        let punt = (self.punt_rounds.load(Relaxed), &self.punt);
        for (now, (last, last_ms)) in workers.zip(&self.polls).chain([punt]) {
            if last.swap(now, Relaxed) != now {
                last_ms.store(now_ms, Relaxed);
            }
        }
        self.sampled_ms.store(now_ms, Relaxed);
    }

    /// The thread between the workers and the kernel has not taken a turn for a while.
    fn punt_stopped(&self, now_ms: u64) -> bool {
        let (rounds, round_ms) = &self.punt;
        let late = Duration::from_millis(now_ms.saturating_sub(round_ms.load(Relaxed))) > STOPPED_AFTER;
        rounds.load(Relaxed) > 0 && late
    }

    /// The workers that do not poll.
    fn stopped_workers(&self, now_ms: u64) -> Vec<String> {
        let late =
            |ms: &AtomicU64| Duration::from_millis(now_ms.saturating_sub(ms.load(Relaxed))) > STOPPED_AFTER;
        if late(&self.sampled_ms) {
            return vec![
                "it is not known whether the workers poll: the sampling thread does not answer".into(),
            ];
        }
        let workers = self
            .polls
            .iter()
            .enumerate()
            .filter(|(_, (polls, polled_ms))| polls.load(Relaxed) == 0 || late(polled_ms));
        workers.map(|(number, _)| format!("worker {number} does not poll")).collect()
    }

    /// Each condition, with the reason in one line where it fails.
    pub fn conditions(&self, node: &NodeView) -> Vec<(Condition, Result<(), String>)> {
        Condition::ALL.into_iter().map(|condition| (condition, self.check(condition, node))).collect()
    }

    fn check(&self, condition: Condition, node: &NodeView) -> Result<(), String> {
        let met = |met: bool, why: &str| if met { Ok(()) } else { Err(why.to_owned()) };
        let health = self.underlay.health();
        let server = node.server();
        match condition {
            Condition::StoreLoaded => met(server.is_some(), "the store is not loaded yet"),
            Condition::Link => met(self.runtime_config.link_up(), "the port's link is down"),
            Condition::Workers => match self.stopped_workers(self.now_ms()) {
                stopped if stopped.is_empty() => Ok(()),
                stopped => Err(stopped.join(", ")),
            },
            Condition::Punt => met(
                !self.punt_stopped(self.now_ms()),
                "the thread between the workers and the kernel does not answer, so neither ARP nor routing protocols get through",
            ),
            Condition::Tap => self.underlay.tap(),
            Condition::NextHops => met(
                health.answers,
                "the thread that follows next hops does not answer, or the kernel does not answer it",
            ),
            Condition::NextHopsAsked => {
                met(health.asked, "the kernel has not been asked for the next hops of all TEPs yet")
            }
            Condition::CommitThread => {
                let silent = server
                    .as_ref()
                    .map(|server| (server.commit_thread_silent_for(), server.confirm_thread_silent_for()));
                let (commit, confirm) = silent.unwrap_or_default();
                met(commit < COMMITTING, "the thread that commits changes does not answer")
                    .and(met(confirm < COMMITTING, "the thread that confirms changes does not answer"))
            }
            Condition::StoreChanges => match server.as_ref() {
                Some(server) => server.store_takes_changes(),
                None => Err("the store is not loaded yet".into()),
            },
        }
    }
}
