//! A bound on what requests and answers hold in memory, all of them together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prost::Message;

use crate::gather::Gather;
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

    /// Claims the bytes of one more part of a request.
    ///
    /// # Errors
    ///
    /// [`Refusal::Prepared`].
    pub fn stage<G: Gather>(&mut self, part: &G::Part) -> Result<(), Refusal> {
        let bytes = part.encoded_len() + G::entry_bytes(part);
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
    use ctl_api::proto::CommitRequest;

    use super::*;
    use crate::STAGED_BYTES;
    use crate::gather::GatheredBatch;

    #[test]
    fn what_is_staged_is_bounded_over_all_requests_and_given_back_with_each() {
        let budget = Budget::new(STAGED_BYTES);
        let message = CommitRequest { changes: vec![Default::default(); 10_000], ..Default::default() };
        let mut first = Claim::new(&budget);
        while first.stage::<GatheredBatch>(&message).is_ok() {}
        assert!(first.bytes > STAGED_BYTES && first.bytes < STAGED_BYTES + (8 << 20));
        assert!(matches!(Claim::new(&budget).stage::<GatheredBatch>(&message), Err(Refusal::Prepared)));
        drop(first);
        assert!(Claim::new(&budget).stage::<GatheredBatch>(&message).is_ok());
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
