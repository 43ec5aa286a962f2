//! The node under test: its API, by which TEPs and domains are made, and its metrics.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bcast_domain::{Tep, Vni};
use ctl_api::model::{Batch, Change, Conditions, Target, TepRef};
use ctl_api::proto::Removals;
use ctl_api::{Client, ClientError};
use testkit::metrics::Metrics;
use tokio::runtime::Runtime;

use super::flow::{Plan, Teps};
use super::settings::Settings;
use crate::harness::api;

/// Longest wait for the node's API.
const PATIENCE: Duration = Duration::from_secs(5);

/// A node that is given TEPs and domains, unless it has them already.
pub struct Node {
    runtime: Runtime,
    client: Option<Client>,
    metrics: SocketAddr,
    /// VNIs that were made here, with their members.
    made: BTreeMap<u32, Range<u32>>,
    teps: Option<Teps>,
    /// VNIs and TEPs that were there before: they are not this program's to change.
    others: (HashSet<u32>, HashSet<String>),
}

impl Node {
    /// Connects to the API, if TEPs and domains are to be registered.
    pub fn connect(settings: &Settings) -> Result<Self> {
        let (runtime, start) = (api::runtime_beside()?, Instant::now());
        let mut others = Default::default();
        let mut client = None;
        while settings.register && client.is_none() {
            match runtime.block_on(Client::connect(&settings.socket)) {
                Ok(connected) => {
                    let connected = client.insert(connected);
                    others = runtime.block_on(inventory(connected)).context("the node")?;
                }
                // It may have been started a moment ago.
                Err(ClientError::Unreachable { .. }) if start.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => return Err(error).context("the node"),
            }
        }
        let metrics = settings.metrics;
        Ok(Self { others, runtime, client, metrics, made: BTreeMap::new(), teps: None })
    }

    /// Commits changes; every worker forwards by them when this returns.
    ///
    /// # Errors
    /// The node refuses. Without an API nothing is done.
    pub fn commit(&mut self, changes: Vec<Change>) -> Result<()> {
        if let Some(client) = &mut self.client
            && !changes.is_empty()
        {
            // What is removed is what was made here.
            let confirmed = Removals { memberships: u64::MAX, havips: u64::MAX };
            let conditions = Conditions { confirmed, ..Conditions::default() };
            self.runtime.block_on(client.commit_stream(Batch { changes, conditions })).context("the node")?;
        }
        Ok(())
    }

    /// Makes the plan's TEPs, and its domains with exactly the plan's members.
    ///
    /// # Errors
    /// The node refuses, or has one of the domains already.
    pub fn arrange(&mut self, plan: &Plan) -> Result<()> {
        let mut changes = Vec::new();
        let known = self.teps.map_or(0, Teps::count);
        for place in known..plan.teps.count() {
            let address = Tep::new(plan.teps.address(place)).context("see --first-tep")?;
            changes.push(Change::tep(address, None));
        }
        if plan.teps.count() > known {
            self.teps = Some(plan.teps);
        }
        for flow in plan.registered() {
            ensure!(
                !self.others.0.contains(&flow.vni),
                "domain {} is there already: choose --first-vni, or --register false to use what there is",
                flow.vni
            );
            let places = flow.teps.start..flow.watched_from;
            if self.made.get(&flow.vni) == Some(&places) {
                continue;
            }
            let members = places.clone().map(|place| tep(plan.teps, place)).collect::<Result<_>>()?;
            changes.push(Change::members(Vni::new(flow.vni), members));
            self.made.insert(flow.vni, places);
        }
        self.commit(changes)
    }

    /// Removes the domains that were made, and then the TEPs.
    pub fn clear(&mut self) -> Result<()> {
        let vnis = std::mem::take(&mut self.made);
        let domains = vnis.into_keys().map(|vni| Change::delete(Target::Domain(Vni::new(vni))));
        self.commit(domains.collect())?;
        let Some(teps) = self.teps.take() else { return Ok(()) };
        let own = |place: &u32| !self.others.1.contains(&teps.address(*place).to_string());
        let remove = |place| Ok(Change::delete(Target::Tep(tep(teps, place)?)));
        let changes = (0..teps.count()).filter(own).map(remove).collect::<Result<_>>()?;
        self.commit(changes)
    }

    /// Copies of one domain that the node could not send, since the domain was made; `None` without an API.
    pub fn copies_dropped(&mut self, vni: u32) -> Result<Option<u64>> {
        let Some(client) = &mut self.client else { return Ok(None) };
        let stats = self.runtime.block_on(client.domain_stats(Vni::new(vni))).context("the node")?;
        Ok(Some(stats.drops))
    }

    /// Frames of a TEP that the node dropped, since the TEP was registered; 0 without an API.
    pub fn frames_dropped(&mut self, tep: &TepRef) -> Result<u64> {
        let Some(client) = &mut self.client else { return Ok(0) };
        let status = self.runtime.block_on(client.tep(tep.clone())).context("the node")?;
        Ok(status.frame_drops.iter().map(|counter| counter.value).sum())
    }

    /// The metrics as they are now; `None` where they cannot be read.
    pub fn scrape(&self) -> Option<Metrics> {
        Metrics::scrape(self.metrics).ok()
    }
}

/// VNIs and TEPs that a node has.
async fn inventory(client: &mut Client) -> Result<(HashSet<u32>, HashSet<String>), ClientError> {
    let (mut vnis, mut teps) = (HashSet::new(), HashSet::new());
    let mut parts = client.snapshot(Default::default()).await?;
    while let Some(part) = parts.message().await.map_err(|status| client.error(status))? {
        teps.extend(
            part.teps.iter().filter_map(|tep| Some(ctl_api::model::ip(&tep.address).ok()?.to_string())),
        );
        vnis.extend(part.domains.iter().map(|domain| domain.vni));
    }
    Ok((vnis, teps))
}

/// A TEP by its address.
pub fn tep(teps: Teps, place: u32) -> Result<TepRef> {
    api::tep_ref(teps.address(place)).context("see --first-tep")
}
