//! Takes out of the store what is over, in batches: a transaction a tenth of a second, not one an event.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::ledger::Ledger;
use crate::receiver::now_unix_ms;
use ctl_store::{DeadLetter, OutboxKey, OutboxRow};

/// Most rows in one transaction.
const BATCH: usize = 10_000;
/// Pause after the store failed.
const AGAIN: Duration = Duration::from_secs(1);

/// Settled events that are still in the store.
#[derive(Default)]
struct Work {
    gone: Vec<OutboxKey>,
    dead: Vec<DeadLetter>,
    /// Deletions of both, and those of the transaction under way.
    unsettled: HashSet<OutboxKey>,
    /// The store took nothing when it was last tried.
    fails: bool,
}

/// Gathers what is over.
pub(crate) struct Settler {
    ledger: Arc<dyn Ledger>,
    every: Duration,
    work: Mutex<Work>,
    woken: Notify,
}

impl Settler {
    pub fn new(ledger: Arc<dyn Ledger>, every: Duration) -> Self {
        Self { ledger, every, work: Mutex::default(), woken: Notify::new() }
    }

    /// A receiver accepted it.
    pub fn accepted(&self, key: OutboxKey) {
        self.with(|work| {
            work.unsettled.insert(key.clone());
            work.gone.push(key);
        });
    }

    /// These are given up.
    pub fn bury(&self, letters: Vec<DeadLetter>) {
        self.with(|work| {
            work.unsettled.extend(letters.iter().map(|letter| letter.row.key.clone()));
            work.dead.extend(letters);
        });
    }

    /// Rows that nobody is configured to receive: they go once they are older than `keep`.
    pub fn forget(&self, rows: Vec<OutboxRow>, keep: Duration) {
        if rows.is_empty() {
            return;
        }
        let receivers: HashSet<_> = rows.iter().map(|row| row.key.receiver.to_string()).collect();
        tracing::warn!(
            events = rows.len(),
            ?receivers,
            "stored events are for webhooks that are not configured any more"
        );
        let oldest = now_unix_ms().saturating_sub(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX));
        let old = rows.into_iter().filter(|row| row.since_unix_ms <= oldest).map(|row| row.key);
        self.with(|work| work.gone.extend(old));
    }

    /// Settled events that are still in the store.
    pub fn unsettled(&self) -> HashSet<OutboxKey> {
        self.lock().unsettled.clone()
    }

    pub fn ledger(&self) -> &dyn Ledger {
        self.ledger.as_ref()
    }

    fn lock(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, change: impl FnOnce(&mut Work)) {
        change(&mut self.lock());
        self.woken.notify_one();
    }

    /// Waits until there is something, and then for more of it.
    async fn gathered(&self) {
        self.woken.notified().await;
        tokio::time::sleep(self.every).await;
    }

    /// Writes all there is; whether the store took it.
    pub async fn flush(self: &Arc<Self>) -> bool {
        loop {
            let (gone, dead) = {
                let mut work = self.lock();
                (split(&mut work.gone), split(&mut work.dead))
            };
            if gone.is_empty() && dead.is_empty() {
                return true;
            }
            let ledger = Arc::clone(&self.ledger);
            let done = tokio::task::spawn_blocking(move || {
                let done = ledger.settle(&gone, &dead);
                (gone, dead, done)
            });
            // An error: the runtime ends.
            let Ok((gone, dead, done)) = done.await else { return false };
            let mut work = self.lock();
            match done {
                Ok(()) => {
                    for key in gone.iter().chain(dead.iter().map(|letter| &letter.row.key)) {
                        work.unsettled.remove(key);
                    }
                    if std::mem::take(&mut work.fails) {
                        tracing::info!("accepted webhook events leave the store again");
                    }
                }
                Err(error) => {
                    // One line, however often it is tried.
                    if !std::mem::replace(&mut work.fails, true) {
                        tracing::error!(%error, "accepted webhook events cannot leave the store yet");
                    }
                    work.gone.extend(gone);
                    work.dead.extend(dead);
                    return false;
                }
            }
        }
    }
}

fn split<T>(all: &mut Vec<T>) -> Vec<T> {
    let rest = all.split_off(all.len().min(BATCH));
    std::mem::replace(all, rest)
}

/// Writes as things are over, until `stops`; whoever stops it flushes once all senders have stopped as well.
pub(crate) async fn run(settler: Arc<Settler>, mut stops: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            () = settler.gathered() => {}
            _ = stops.wait_for(|&stop| stop) => return,
        }
        if !settler.flush().await {
            tokio::time::sleep(AGAIN).await;
            settler.woken.notify_one();
        }
    }
}
