//! A receiver with its queue and its figures; and all of them, running.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ctl_api::model::Name;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::backoff::Policy;
use crate::config::Endpoint;
use crate::ledger::{Ledger, LedgerError};
use crate::outbox::{self, Outbox};
use crate::queue::{MOST_LINES, Queue};
use crate::settle::Settler;
use crate::{deliver, settle};
use ctl_store::DeadLetter;

/// Time for requests and transactions under way when the daemon stops.
const STOP_WAIT: Duration = Duration::from_secs(1);

/// A receiver, as the commit thread, its task and the metrics see it.
pub(crate) struct Receiver {
    name: Name,
    /// URL, client and secret; replaced as a whole.
    endpoint: Mutex<Arc<Endpoint>>,
    queue: Mutex<Queue>,
    woken: Notify,
    pub figures: Figures,
}

/// Counters of a receiver's task.
#[derive(Default)]
pub(crate) struct Figures {
    pub delivered: AtomicU64,
    pub failed: AtomicU64,
    pub dead: AtomicU64,
    pub skipped: AtomicU64,
    pub overflowed: AtomicU64,
    pub last: Mutex<LastAttempt>,
}

/// Result of a receiver's last attempt.
#[derive(Debug, Default, Clone)]
pub(crate) struct LastAttempt {
    /// Why it failed; `None`: it did not, or there was none.
    pub error: Option<Arc<str>>,
    /// Since when each attempt failed; Unix time in milliseconds.
    pub failing_since_unix_ms: Option<u64>,
    /// End of the attempt; Unix time in milliseconds.
    pub unix_ms: Option<u64>,
}

/// Status of one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Name.
    pub name: Name,
    /// URL.
    pub url: String,
    /// Events that it has still to accept.
    pub pending: usize,
    /// Limit of pending events.
    pub bound: usize,
    /// Start of the oldest one's wait: Unix time in milliseconds.
    pub oldest_unix_ms: Option<u64>,
    /// True while nothing is sent to the receiver, because it does not answer.
    pub backing_off: bool,
    /// Events that it accepted since start.
    pub delivered: u64,
    /// Attempts that failed since start.
    pub failed: u64,
    /// Events that became dead letters since start.
    pub dead: u64,
    /// Events that were left out since start, as `gap` marks tell it.
    pub skipped: u64,
    /// Events that were not even stored since start: too many virtual IPs.
    pub overflowed: u64,
    /// Why the last attempt failed; where that was accepted, why one failed whose event waits to be sent again.
    pub last_error: Option<String>,
    /// Since when attempts fail, or that event waits: Unix time in milliseconds.
    pub failing_since_unix_ms: Option<u64>,
    /// End of the last attempt: Unix time in milliseconds.
    pub last_attempt_unix_ms: Option<u64>,
}

/// There is no receiver of this name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("there is no webhook {0}; `bcastctl webhook list` shows those that are configured")]
pub struct UnknownReceiver(pub Name);

impl Receiver {
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Present URL, client and secret.
    pub fn endpoint(&self) -> Arc<Endpoint> {
        Arc::clone(&self.endpoint.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From the next attempt on it is reached there and so. What waited for it to become better is tried at once.
    fn reach(&self, endpoint: Endpoint) {
        *self.endpoint.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(endpoint);
        self.queue().hurry(Instant::now());
        self.wake();
    }

    pub fn pending(&self) -> usize {
        self.endpoint().pending
    }

    /// The queue; also after a thread panicked while it had it, since each change of it is complete by then.
    pub fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something may be due.
    pub fn wake(&self) {
        self.woken.notify_one();
    }

    /// Waits for [`Receiver::wake`].
    pub async fn woken(&self) {
        self.woken.notified().await;
    }

    pub fn count_skipped(&self, events: usize) {
        self.figures.skipped.fetch_add(events as u64, Relaxed);
    }

    pub fn overflow(&self) {
        if self.figures.overflowed.fetch_add(1, Relaxed) == 0 {
            let (name, most) = (self.name(), self.pending() + MOST_LINES);
            tracing::error!(webhook = %name, most, "events of further virtual IPs are not stored for this receiver");
        }
    }

    /// Notes the end of an attempt. `error`: `None` where it succeeded.
    pub fn attempted(&self, error: Option<Arc<str>>) {
        let mut last = self.last();
        let now = now_unix_ms();
        let since = last.failing_since_unix_ms.unwrap_or(now);
        let failing_since_unix_ms = error.is_some().then_some(since);
        *last = LastAttempt { error, failing_since_unix_ms, unix_ms: Some(now) };
    }

    pub fn last(&self) -> MutexGuard<'_, LastAttempt> {
        self.figures.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> Status {
        let (pending, oldest_unix_ms, backing_off, failing) = {
            let queue = self.queue();
            (queue.len(), queue.oldest_unix_ms(), queue.backing_off(), queue.failing())
        };
        let LastAttempt { mut error, mut failing_since_unix_ms, unix_ms: last_attempt_unix_ms } =
            self.last().clone();
        // Events of other virtual IPs may be accepted meanwhile.
        if let (None, Some((reason, since))) = (&error, failing) {
            (error, failing_since_unix_ms) = (Some(reason), Some(since));
        }
        let Figures { delivered, failed, dead, skipped, overflowed, .. } = &self.figures;
        Status {
            name: self.name().clone(),
            url: self.endpoint().url.to_string(),
            pending,
            bound: self.pending(),
            oldest_unix_ms,
            backing_off,
            delivered: delivered.load(Relaxed),
            failed: failed.load(Relaxed),
            dead: dead.load(Relaxed),
            skipped: skipped.load(Relaxed),
            overflowed: overflowed.load(Relaxed),
            last_error: error.as_deref().map(str::to_owned),
            failing_since_unix_ms,
            last_attempt_unix_ms,
        }
    }
}

/// All receivers with their tasks. Dropping it ends the tasks at once; what is under way is sent again after the next start.
pub struct Webhooks {
    receivers: Arc<[Arc<Receiver>]>,
    settler: Arc<Settler>,
    stopping: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Webhooks {
    /// Takes up what the store holds, and starts to deliver on `runtime`. `source` is the CloudEvents `source`: a URI reference
    /// that tells this node from others.
    ///
    /// Rows and dead letters of a receiver that is not configured stay where they are, for the day it is configured again; rows
    /// that have waited longer than `policy.keep` go.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn start(
        endpoints: Vec<Endpoint>,
        source: &str,
        ledger: Arc<dyn Ledger>,
        policy: Policy,
        runtime: &Handle,
    ) -> Result<(Outbox, Self), LedgerError> {
        let receivers: Arc<[Arc<Receiver>]> = endpoints
            .into_iter()
            .map(|endpoint| {
                Arc::new(Receiver {
                    name: endpoint.name.clone(),
                    endpoint: Mutex::new(Arc::new(endpoint)),
                    queue: Mutex::new(Queue::new(policy)),
                    woken: Notify::new(),
                    figures: Figures::default(),
                })
            })
            .collect();
        let orphans = outbox::load(&receivers, ledger.rows()?);
        let (stopping, stops) = watch::channel(false);
        let settler = Arc::new(Settler::new(ledger, policy.settle_every));
        settler.forget(orphans, policy.keep);
        let mut tasks: Vec<_> = receivers
            .iter()
            .map(|receiver| {
                runtime.spawn(deliver::run(Arc::clone(receiver), Arc::clone(&settler), policy, stops.clone()))
            })
            .collect();
        tasks.push(runtime.spawn(settle::run(Arc::clone(&settler), stops)));
        let outbox = Outbox::new(source.into(), Arc::clone(&receivers), Arc::clone(&settler));
        Ok((outbox, Self { receivers, settler, stopping, tasks: Mutex::new(tasks) }))
    }

    /// Takes over what is configured now of those receivers that were configured at start: where they are, their secrets and CAs. It
    /// counts from each one's next attempt on. The others wait for the next start.
    pub fn reload(&self, endpoints: Vec<Endpoint>) {
        for endpoint in endpoints {
            if let Ok(receiver) = self.find(&endpoint.name) {
                receiver.reach(endpoint);
            }
        }
    }

    /// Status of each receiver, in the order of the configuration.
    #[must_use]
    pub fn status(&self) -> Vec<Status> {
        self.receivers.iter().map(|receiver| receiver.status()).collect()
    }

    /// A receiver's dead letters, the oldest event first. Reads the store.
    ///
    /// # Errors
    /// There is no such receiver ([`UnknownReceiver`]), or the store cannot be read.
    pub fn dead(&self, receiver: &Name) -> Result<Vec<DeadLetter>, LedgerError> {
        self.settler.ledger().dead(self.find(receiver)?.name())
    }

    /// Sends a receiver's dead letters again, for as long as new events; returns how many. They come before what waits of the same
    /// virtual IP, but after what the receiver has accepted since: it tells by `sequence`. Writes to the store.
    ///
    /// # Errors
    /// There is no such receiver ([`UnknownReceiver`]), or the store cannot be written.
    pub fn retry(&self, receiver: &Name) -> Result<usize, LedgerError> {
        let receiver = self.find(receiver)?;
        let rows = self.settler.ledger().revive(receiver.name(), now_unix_ms())?;
        let count = rows.len();
        outbox::load(std::slice::from_ref(receiver), rows);
        Ok(count)
    }

    /// Deletes a receiver's dead letters; returns how many. Writes to the store.
    ///
    /// # Errors
    /// There is no such receiver ([`UnknownReceiver`]), or the store cannot be written.
    pub fn drop_dead(&self, receiver: &Name) -> Result<usize, LedgerError> {
        self.settler.ledger().drop_dead(self.find(receiver)?.name())
    }

    fn take_tasks(&self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn find(&self, name: &Name) -> Result<&Arc<Receiver>, UnknownReceiver> {
        self.receivers
            .iter()
            .find(|receiver| receiver.name() == name)
            .ok_or_else(|| UnknownReceiver(name.clone()))
    }

    /// Stops: what is under way has a second, and what was accepted leaves the store.
    pub async fn stop(&self) {
        self.stopping.send_replace(true);
        for mut task in self.take_tasks() {
            if tokio::time::timeout(STOP_WAIT, &mut task).await.is_err() {
                task.abort();
            }
        }
        if tokio::time::timeout(STOP_WAIT, self.settler.flush()).await.is_err() {
            tracing::warn!("webhook events that were accepted last are sent again after the next start");
        }
    }
}

impl Drop for Webhooks {
    fn drop(&mut self) {
        self.take_tasks().iter().for_each(JoinHandle::abort);
    }
}

/// Unix time in milliseconds.
pub(crate) fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
