//! A receiver's task: takes events from the queue as their turn comes, sends them, and reports what came of it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use reqwest::Response;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep_until};

use crate::backoff::Policy;
use crate::config::Endpoint;
use crate::post::{Failure, deliver, drain};
use crate::receiver::{Receiver, now_unix_ms};
use crate::settle::Settler;
use ctl_store::{DeadLetter, OutboxRow};

/// Longest wait of an idle task, unless it is woken.
const LONG: Duration = Duration::from_secs(3600);

/// Wake-up reason of a receiver's task.
#[allow(clippy::large_enum_variant, reason = "a few at a time, each in a task of its own")]
enum Done {
    /// An attempt, how it was made, and what is left of its answer.
    Landed(OutboxRow, Arc<Endpoint>, Result<(), Failure>, Option<Response>),
    /// The rest of an answer was read.
    Drained,
}

/// A receiver's task, until `stops`.
pub(crate) async fn run(
    receiver: Arc<Receiver>,
    settler: Arc<Settler>,
    policy: Policy,
    mut stops: watch::Receiver<bool>,
) {
    let mut busy: JoinSet<Done> = JoinSet::new();
    let mut sweep = interval(policy.sweep_every());
    // A receiver whose answers have no end has as many connections again at most.
    let most = 2 * policy.concurrency;
    loop {
        let now = Instant::now();
        while busy.len() < most {
            let Some(row) = receiver.queue().take(now) else { break };
            let endpoint = receiver.endpoint();
            busy.spawn(async move {
                let (result, left) = deliver(&endpoint, &row, policy.timeout).await;
                Done::Landed(row, endpoint, result, left)
            });
        }
        // Whatever is busy wakes this task when it is done; until then there may be no place for more.
        let next = (busy.len() < most).then(|| receiver.queue().wake()).flatten();
        tokio::select! {
            // Only a task that was aborted or panicked is an error, and neither happens here.
            Some(Ok(done)) = busy.join_next() => match done {
                Done::Landed(row, endpoint, result, left) => {
                    conclude(&receiver, &settler, &row, &endpoint, result);
                    left.into_iter().for_each(|left| drop(busy.spawn(async { drain(left).await; Done::Drained })));
                }
                Done::Drained => {}
            },
            () = receiver.woken() => {}
            () = sleep_until(next.unwrap_or(now + LONG).into()) => {}
            _ = sweep.tick() => bury(&receiver, &settler, policy.keep),
            _ = stops.wait_for(|&stop| stop) => break,
        }
    }
    while let Some(done) = busy.join_next().await {
        if let Ok(Done::Landed(row, endpoint, result, _)) = done {
            conclude(&receiver, &settler, &row, &endpoint, result);
        }
    }
}

fn conclude(
    receiver: &Receiver,
    settler: &Settler,
    row: &OutboxRow,
    endpoint: &Arc<Endpoint>,
    result: Result<(), Failure>,
) {
    let now = Instant::now();
    match result {
        Ok(()) => {
            // First, so that whoever finds it no longer pending finds it counted.
            receiver.figures.delivered.fetch_add(1, Relaxed);
            receiver.queue().accepted(row, now);
            settler.accepted(row.key.clone());
            let failed = receiver.last().error.is_some();
            receiver.attempted(None);
            if failed {
                tracing::info!(webhook = %receiver.name(), "events are accepted again");
            }
        }
        Err(failure) => {
            let reason: Arc<str> = failure.to_string().into();
            let before = receiver.last().error.clone();
            receiver.attempted(Some(Arc::clone(&reason)));
            receiver.figures.failed.fetch_add(1, Relaxed);
            {
                let mut queue = receiver.queue();
                queue.failed(row, failure.blame(), Arc::clone(&reason), now);
                // It was made with a secret, or by certificates, that were replaced meanwhile: that says nothing of the new ones.
                if !Arc::ptr_eq(endpoint, &receiver.endpoint()) {
                    queue.hurry(now);
                }
            }
            if before.as_deref() != Some(&*reason) {
                let (webhook, id, havip) = (receiver.name(), row.key.id, &row.havip);
                tracing::warn!(%webhook, %id, %havip, error = %reason, "an event was not accepted; it is sent again");
            }
        }
    }
}

/// Gives up what has waited too long.
fn bury(receiver: &Receiver, settler: &Settler, keep: Duration) {
    let now = now_unix_ms();
    let expired =
        receiver.queue().expire(now.saturating_sub(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX)));
    if expired.is_empty() {
        return;
    }
    let webhook = receiver.name();
    tracing::error!(%webhook, events = expired.len(), "events were not accepted in time; they are dead letters now");
    receiver.figures.dead.fetch_add(expired.len() as u64, Relaxed);
    let last = receiver.last().error.clone();
    let letter = |(row, reason): (OutboxRow, Option<Arc<str>>)| DeadLetter {
        row,
        died_unix_ms: now,
        reason: reason
            .or_else(|| last.clone())
            .map_or_else(|| "never sent".to_owned(), |reason| reason.to_string()),
    };
    settler.bury(expired.into_iter().map(letter).collect());
}
