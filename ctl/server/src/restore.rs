//! A backup as it comes in, part by part.

use ctl_api::model::{Conditions, DomainEntry, HavipEntry, HavipEvent, ModelError, Revision, TepEntry};
use ctl_api::proto;
use ctl_store::unknown_since;

use crate::refusal::Refusal;

/// A backup that replaces everything.
#[derive(Debug, Default)]
pub(crate) struct Backup {
    pub conditions: Conditions,
    /// Revision of the store that the backup was read from.
    revision: Revision,
    /// Number of that store.
    identity: u64,
    /// Time of the reading, Unix time in milliseconds.
    unix_ms: u64,
    pub teps: Vec<TepEntry>,
    pub domains: Vec<DomainEntry>,
    pub havips: Vec<HavipEntry>,
    pub history: Vec<HavipEvent>,
    /// The last part came.
    pub is_whole: bool,
}

impl Backup {
    /// Takes in a part.
    ///
    /// # Errors
    ///
    /// An entry that is wrong by itself, or a revision that no node gives.
    pub fn add_part(&mut self, message: proto::RestoreRequest) -> Result<(), Refusal> {
        if let Some(expected) = message.expected_revision {
            self.conditions.expected = Some(Revision::new(expected));
        }
        if let Some(confirmed) = message.confirm_removals {
            self.conditions.confirmed = confirmed;
        }
        let part = message.part.unwrap_or_default();
        if let Some(revision) = part.revision {
            if revision > Revision::MAX_SAVED.get() {
                return Err(Refusal::BackupRevision(revision));
            }
            self.revision = Revision::new(revision);
            (self.identity, self.unix_ms) = (part.store, part.unix_ms);
        }
        parse(part.teps, &mut self.teps)?;
        parse(part.domains, &mut self.domains)?;
        parse(part.havips, &mut self.havips)?;
        parse(part.history, &mut self.history)?;
        self.is_whole = message.last;
        Ok(())
    }

    /// The last revision that may have been given since the backup was made: another store may have gone on after it,
    /// and told others of that.
    pub fn last_given(&self, identity: u64, now_ms: u64) -> Revision {
        let beyond = if self.identity == identity { 0 } else { unknown_since(self.unix_ms, now_ms) };
        Revision::new(self.revision.get().saturating_add(beyond))
    }
}

fn parse<M, T: TryFrom<M, Error = ModelError>>(messages: Vec<M>, all: &mut Vec<T>) -> Result<(), Refusal> {
    for message in messages {
        all.push(message.try_into().map_err(|error: ModelError| Refusal::BackupEntry(error.to_string()))?);
    }
    Ok(())
}
