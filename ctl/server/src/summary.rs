//! Differences that a desired state made.

use ctl_api::model::Difference;
use ctl_api::proto;

/// Differences between the state before and after, by kind and key, and their numbers.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    /// TEPs by address, domains by VNI, HAVIPs by name; as many as were asked for.
    pub differences: Vec<Difference>,
    pub teps: proto::Count,
    pub domains: proto::Count,
    pub havips: proto::Count,
    pub memberships_added: u64,
    pub memberships_removed: u64,
}

impl Summary {
    /// Number of resources that differ.
    pub fn changed(&self) -> u64 {
        [&self.teps, &self.domains, &self.havips].iter().map(|n| n.added + n.changed + n.removed).sum()
    }

    /// The message, without the differences.
    pub fn message(&self, reply: proto::CommitReply) -> proto::ApplySummary {
        proto::ApplySummary {
            reply: Some(reply),
            teps: Some(self.teps),
            domains: Some(self.domains),
            havips: Some(self.havips),
            memberships_added: self.memberships_added,
            memberships_removed: self.memberships_removed,
        }
    }
}
