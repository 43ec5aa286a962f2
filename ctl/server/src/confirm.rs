//! Confirmation: a request is answered when every worker has seen what it changed, and the copies that were made
//! from what it removed have left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bcast_domain::{Epoch, Grace};
use crossbeam::channel::{Receiver, RecvTimeoutError};
use ctl_node::Node;
use ctl_store::Answer;

use crate::author::Author;
use crate::health::Health;
use crate::job::{Done, Reply};
use crate::refusal::Refusal;
use crate::summary::Summary;

/// Time that the lookup of new TEPs' next hops may add to an answer.
const NEXT_HOPS: Duration = Duration::from_millis(100);

/// Time between two turns where nothing is to be confirmed.
const BEAT_EVERY: Duration = Duration::from_millis(500);

/// Receiver of the time from a change's publication until every worker had seen it.
pub type Observer = Arc<dyn Fn(Duration) + Send + Sync>;

/// A group whose changes are in the table.
pub(crate) struct Published {
    pub epoch: Epoch,
    pub at: Instant,
    /// True if the group changed anything.
    pub changed: bool,
    /// True if the group set TEPs, whose next hops are looked up once they are published.
    pub sets_teps: bool,
    /// True if a copy that was made before the change may be sent where none is sent after it.
    pub removes: bool,
    pub waiting: Vec<Waiting>,
}

/// A request that is durable and published.
pub(crate) struct Waiting {
    pub reply: Reply,
    pub answer: Answer,
    /// Differences that a desired state made.
    pub summary: Option<Box<Summary>>,
    /// The answer says that something is gone, so it waits for the copies that are on their way.
    pub drains: bool,
    /// Author of the change, and its kinds for the log; `None`: nothing changed.
    pub logged: Option<(Author, String)>,
}

/// The confirming thread's own.
pub(crate) struct Confirmer {
    pub groups: Receiver<Published>,
    pub grace: Grace,
    pub node: Arc<dyn Node>,
    /// Time that a worker may take to report.
    pub timeout: Duration,
    pub observer: Observer,
    /// Health that gets the heartbeat.
    pub health: Arc<Health>,
}

impl Confirmer {
    /// Serves until the commit thread is gone.
    pub fn run(self) {
        // By when the copies of all that was removed so far have left the TX rings.
        let mut drained = Instant::now();
        // Something was removed, and from when on no worker makes copies to it is not known yet.
        let mut undrained = false;
        // The last group was not confirmed, and the log says so: a worker that hangs makes one line, not one for each
        // group.
        let mut unconfirmed = false;
        loop {
            self.health.confirm_beat(Instant::now());
            let group = match self.groups.recv_timeout(BEAT_EVERY) {
                Ok(group) => group,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            // From publication on, so that one stuck worker does not add its second for each group behind it.
            let epoch = match group.sets_teps {
                true => group.epoch.max(self.node.next_hops_settled(NEXT_HOPS)),
                false => group.epoch,
            };
            let left = self.timeout.saturating_sub(group.at.elapsed());
            // What is removed must not be in anyone's hands any more; what is new must only be found.
            let gone = group.removes || undrained;
            let confirmed = match gone {
                true => self.grace.wait(epoch, left),
                false => self.grace.wait_seen(epoch, left),
            };
            match confirmed {
                Ok(()) => {
                    if std::mem::take(&mut unconfirmed) {
                        tracing::info!("changes are confirmed again");
                    }
                    if group.changed {
                        (self.observer)(group.at.elapsed());
                    }
                    if gone {
                        undrained = false;
                        drained = Instant::now() + self.node.drain_time();
                    }
                    confirm(group.waiting, drained);
                }
                Err(laggards) => {
                    undrained |= group.removes;
                    if !std::mem::replace(&mut unconfirmed, true) {
                        tracing::error!(%laggards, "changes are durable and published, but not confirmed");
                    }
                    give_up(group.waiting, laggards.readers);
                }
            }
        }
    }
}

fn confirm(waiting: Vec<Waiting>, drained: Instant) {
    for Waiting { reply, answer, summary, drains, .. } in waiting {
        // Whoever asked may be gone.
        drop(reply.send(Ok(Done { answer, summary, drained: drains.then_some(drained) })));
    }
}

fn give_up(waiting: Vec<Waiting>, workers: usize) {
    for Waiting { reply, answer, .. } in waiting {
        drop(reply.send(Err(Refusal::Unconfirmed { revision: answer.revision, workers })));
    }
}
