//! Requests on their way to the commit thread, and their answers.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use crossbeam::channel::{Sender, TrySendError};
use ctl_api::model::{Apply, Batch, Conditions};
use ctl_store::{Answer, Body};
use tokio::sync::oneshot;

use crate::QUEUE;
use crate::author::Author;
use crate::budget::Claim;
use crate::refusal::Refusal;
use crate::restore::Backup;
use crate::summary::Summary;

/// A request that waits to be committed. Once the commit thread has taken it, it is carried out even where nobody
/// waits for the answer any more.
pub(crate) struct Job {
    pub work: Work,
    pub reply: Reply,
    pub author: Author,
    /// The memory that it holds, given back with it.
    pub _claim: Claim,
}

/// Content of a request.
pub(crate) enum Work {
    /// Changes, and what their request id belongs to.
    Changes(Batch, Body),
    /// A desired state, in the same way.
    Apply(Box<Apply>, Body),
    /// A backup in place of everything; it commits alone.
    Restore(Box<Backup>),
}

impl Work {
    /// Number of its changes, for the bound of a group.
    pub fn changes(&self) -> usize {
        match self {
            Self::Changes(batch, _) => batch.changes.len(),
            Self::Apply(apply, _) => apply.resources.len(),
            // Nothing joins its group.
            Self::Restore(_) => usize::MAX,
        }
    }

    /// Conditions and body of a request that may have an id.
    pub fn conditions(&self) -> Option<(&Conditions, Body)> {
        match self {
            Self::Changes(batch, body) => Some((&batch.conditions, *body)),
            Self::Apply(apply, body) => Some((&apply.conditions, *body)),
            Self::Restore(_) => None,
        }
    }
}

/// The answer to a request that was carried out.
pub(crate) struct Done {
    pub answer: Answer,
    /// Differences that a desired state made.
    pub summary: Option<Box<Summary>>,
    /// The answer goes out no sooner than this.
    pub drained: Option<Instant>,
}

/// The way back of an answer.
pub(crate) type Reply = oneshot::Sender<Result<Done, Refusal>>;

/// The way to the commit thread, until it is closed.
///
/// All senders are this one, so that closing it is an end: jobs that were sent before are received, and none is sent
/// after. (A job that stayed in the channel of a thread that has ended would keep its client waiting for ever.)
pub(crate) struct Intake(RwLock<Option<Sender<Job>>>);

impl Intake {
    pub fn new(jobs: Sender<Job>) -> Arc<Self> {
        Arc::new(Self(RwLock::new(Some(jobs))))
    }

    /// Sends a job.
    ///
    /// # Errors
    ///
    /// Too many wait, or the daemon is stopping.
    pub fn send(&self, job: Job) -> Result<(), Refusal> {
        let jobs = self.0.read().unwrap_or_else(PoisonError::into_inner);
        jobs.as_ref().ok_or(Refusal::Stopping)?.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => Refusal::Busy(QUEUE),
            TrySendError::Disconnected(_) => Refusal::Stopping,
        })
    }

    /// The commit thread ends once it has carried out the jobs that were sent.
    pub fn close(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
