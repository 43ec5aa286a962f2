//! A bound on what requests and answers hold in memory, all of them together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ctl_api::model::{Change, DomainEntry, HavipEntry, HavipEvent, Set, SetResource, TepEntry};
use ctl_api::proto::{ApplyRequest, CommitRequest, RestoreRequest};
use prost::Message;

use crate::refusal::Refusal;

/// A bound in bytes, and what is claimed of it.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    most: usize,
}

impl Budget {
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), most })
    }
}

/// One request's or answer's part; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Claim {
    pub fn new(budget: &Arc<Budget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: 0 }
    }

    /// Bytes that are claimed so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Claims so many bytes more; false where that is over the budget.
    pub fn claim(&mut self, bytes: usize) -> bool {
        // A counter alone: what it guards is memory, not data, so no ordering is needed.
        let used = self.budget.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bytes += bytes;
        used <= self.budget.most
    }

    /// Claims the bytes of one more message.
    pub fn add(&mut self, message: &CommitRequest) -> Result<(), Refusal> {
        self.stage(message.encoded_len() + message.changes.len() * (size_of::<Change>() + size_of::<Set>()))
    }

    /// Claims the bytes of one more part of a desired state.
    pub fn add_desired(&mut self, message: &ApplyRequest) -> Result<(), Refusal> {
        let entries = message.teps.len() + message.domains.len() + message.havips.len();
        self.stage(message.encoded_len() + entries * size_of::<SetResource>())
    }

    /// Claims the bytes of one more part of a backup.
    pub fn add_backup(&mut self, message: &RestoreRequest) -> Result<(), Refusal> {
        let entries = message.part.as_ref().map_or(0, |part| {
            part.teps.len() * size_of::<TepEntry>()
                + part.domains.len() * size_of::<DomainEntry>()
                + part.havips.len() * size_of::<HavipEntry>()
                + part.history.len() * size_of::<HavipEvent>()
        });
        self.stage(message.encoded_len() + entries)
    }

    fn stage(&mut self, bytes: usize) -> Result<(), Refusal> {
        if self.claim(bytes) { Ok(()) } else { Err(Refusal::Prepared) }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::STAGED_BYTES;

    #[test]
    fn what_is_staged_is_bounded_over_all_requests_and_given_back_with_each() {
        let budget = Budget::new(STAGED_BYTES);
        let message = CommitRequest { changes: vec![Default::default(); 10_000], ..Default::default() };
        let mut first = Claim::new(&budget);
        while first.add(&message).is_ok() {}
        assert!(first.bytes > STAGED_BYTES && first.bytes < STAGED_BYTES + (8 << 20));
        assert!(matches!(Claim::new(&budget).add(&message), Err(Refusal::Prepared)));
        drop(first);
        assert!(Claim::new(&budget).add(&message).is_ok());
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
