//! Limits: of HAVIPs by the configuration, and the rates that the data plane was given.
//!
//! Rates are kept by number and index, since those outlive the domains and TEPs that have them.
//!
//! Only what is not the node's default stands here, so a million domains without limits cost nothing, and one that
//! takes over the number of another is told to the data plane only where that had other limits.

use std::sync::Arc;

use bcast_domain::{DomainId, DomainLimit, TepIndex, TepLimit};
use ctl_node::Node;
use hashbrown::HashMap;

/// Bounds of HAVIPs and attachments: `[havip]` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HavipLimits {
    /// Attachments of a HAVIP.
    pub attachments: u32,
    /// HAVIPs of a domain that an instance is attached to.
    pub per_instance: u32,
    /// HAVIPs of a domain.
    pub per_vni: u32,
    /// HAVIPs of the node.
    pub total: u32,
}

impl Default for HavipLimits {
    fn default() -> Self {
        Self { attachments: 10, per_instance: 5, per_vni: 50, total: 100_000 }
    }
}

/// The rates that domains and TEPs have of their own.
pub(crate) struct OwnRates {
    node: Arc<dyn Node>,
    domains: HashMap<DomainId, DomainLimit>,
    teps: HashMap<TepIndex, TepLimit>,
}

impl OwnRates {
    pub fn new(node: Arc<dyn Node>) -> Self {
        Self { node, domains: HashMap::new(), teps: HashMap::new() }
    }

    pub fn domain(&self, domain: DomainId) -> DomainLimit {
        self.domains.get(&domain).copied().unwrap_or_default()
    }

    fn tep(&self, tep: TepIndex) -> TepLimit {
        self.teps.get(&tep).copied().unwrap_or_default()
    }

    pub fn set_domain(&mut self, domain: DomainId, limit: DomainLimit) {
        if self.domain(domain) == limit {
            return;
        }
        self.node.set_domain_limit(domain, limit);
        if limit == DomainLimit::default() {
            self.domains.remove(&domain);
        } else {
            self.domains.insert(domain, limit);
        }
    }

    pub fn set_tep(&mut self, tep: TepIndex, limit: TepLimit) {
        if self.tep(tep) == limit {
            return;
        }
        self.node.set_tep_limit(tep, limit);
        if limit == TepLimit::default() {
            self.teps.remove(&tep);
        } else {
            self.teps.insert(tep, limit);
        }
    }
}
