//! Requests that come in parts, from their first part to the work that they ask for.

use ctl_api::model::{Apply, Batch, Change, DomainEntry, HavipEntry, HavipEvent, Set, SetResource, TepEntry};
use ctl_api::proto::{ApplyRequest, CommitRequest, RestoreRequest};
use prost::Message;

use crate::budget::Claim;
use crate::job::Work;
use crate::refusal::Refusal;
use crate::request::RequestDigest;
use crate::restore::Backup;

/// A request that is gathered part by part.
pub(crate) trait Gather: Default + Send + 'static {
    /// A part of it.
    type Part: Message + Send + 'static;

    /// Bytes in memory of a part's entries, beside those of the message itself.
    fn entry_bytes(part: &Self::Part) -> usize;

    /// Takes in a part.
    ///
    /// # Errors
    ///
    /// It is wrong by itself, or follows the last one.
    fn add(&mut self, part: Self::Part) -> Result<(), Refusal>;

    /// The work, once all parts came.
    ///
    /// # Errors
    ///
    /// The last part is missing.
    fn finish(self) -> Result<Work, Refusal>;
}

/// Claims the bytes of one more part.
///
/// # Errors
///
/// [`Refusal::Prepared`].
pub(crate) fn stage<G: Gather>(claim: &mut Claim, part: &G::Part) -> Result<(), Refusal> {
    let bytes = part.encoded_len() + G::entry_bytes(part);
    if claim.claim(bytes) { Ok(()) } else { Err(Refusal::Prepared) }
}

/// Changes, with the digest of what came so far.
#[derive(Default)]
pub(crate) struct GatheredBatch {
    batch: Batch,
    digest: Option<RequestDigest>,
}

impl Gather for GatheredBatch {
    type Part = CommitRequest;

    fn entry_bytes(part: &CommitRequest) -> usize {
        part.changes.len() * (size_of::<Change>() + size_of::<Set>())
    }

    fn add(&mut self, part: CommitRequest) -> Result<(), Refusal> {
        let is_first = self.digest.is_none();
        self.digest.get_or_insert_with(|| RequestDigest::start(&part)).add(&part);
        let Batch { changes, conditions } = Batch::parse(part, self.batch.changes.len())?;
        if is_first {
            self.batch.conditions = conditions;
        }
        self.batch.changes.extend(changes);
        Ok(())
    }

    fn finish(self) -> Result<Work, Refusal> {
        Ok(Work::Changes(self.batch, self.digest.map(RequestDigest::finish).unwrap_or_default()))
    }
}

/// A desired state, in the same way.
#[derive(Default)]
pub(crate) struct GatheredApply {
    apply: Box<Apply>,
    digest: Option<RequestDigest>,
}

impl Gather for GatheredApply {
    type Part = ApplyRequest;

    fn entry_bytes(part: &ApplyRequest) -> usize {
        (part.teps.len() + part.domains.len() + part.havips.len()) * size_of::<SetResource>()
    }

    fn add(&mut self, part: ApplyRequest) -> Result<(), Refusal> {
        if self.apply.is_whole {
            return Err(Refusal::AfterLast);
        }
        self.digest.get_or_insert_with(|| RequestDigest::start_apply(&part)).add_desired(&part);
        Ok(self.apply.add(part)?)
    }

    fn finish(self) -> Result<Work, Refusal> {
        if !self.apply.is_whole {
            return Err(Refusal::DesiredCut);
        }
        Ok(Work::Apply(self.apply, self.digest.map(RequestDigest::finish).unwrap_or_default()))
    }
}

impl Gather for Box<Backup> {
    type Part = RestoreRequest;

    fn entry_bytes(part: &RestoreRequest) -> usize {
        part.part.as_ref().map_or(0, |part| {
            part.teps.len() * size_of::<TepEntry>()
                + part.domains.len() * size_of::<DomainEntry>()
                + part.havips.len() * size_of::<HavipEntry>()
                + part.history.len() * size_of::<HavipEvent>()
        })
    }

    fn add(&mut self, part: RestoreRequest) -> Result<(), Refusal> {
        if self.is_whole { Err(Refusal::AfterLast) } else { self.add_part(part) }
    }

    fn finish(self) -> Result<Work, Refusal> {
        if self.is_whole { Ok(Work::Restore(self)) } else { Err(Refusal::BackupCut) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::STAGED_BYTES;
    use crate::budget::Budget;

    #[test]
    fn what_is_staged_is_bounded_over_all_requests_and_given_back_with_each() {
        let budget = Budget::new(STAGED_BYTES);
        let message = CommitRequest { changes: vec![Default::default(); 10_000], ..Default::default() };
        let add = |claim: &mut Claim| stage::<GatheredBatch>(claim, &message);
        let mut first = Claim::new(&budget);
        while add(&mut first).is_ok() {}
        assert!(first.bytes() > STAGED_BYTES && first.bytes() < STAGED_BYTES + (8 << 20));
        assert!(matches!(add(&mut Claim::new(&budget)), Err(Refusal::Prepared)));
        drop(first);
        assert!(add(&mut Claim::new(&budget)).is_ok());
        assert!(Claim::new(&budget).claim(STAGED_BYTES), "all of it is free again");
    }
}
