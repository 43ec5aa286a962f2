//! `placement`: the order in which hypervisors use the nodes for a VNI.

use std::collections::HashMap;

use bcast_domain::Vni;
use ctl_api::client::RefusalKind;
use ctl_api::{Client, ClientError, proto};
use ctl_placement::{Node, Placement};
use serde::Serialize;

use crate::domain;
use crate::failure::Failure;
use crate::out::{Column, Out};
use crate::text::{self, or_none};

/// Nodes of the daemon's answer, ready to be placed.
pub struct Nodes<'a> {
    placement: Placement<'a>,
    by_name: HashMap<&'a str, &'a proto::ClusterNode>,
}

impl<'a> Nodes<'a> {
    /// The nodes of an answer.
    ///
    /// # Errors
    /// There are none, or they cannot be placed.
    pub fn new(reply: &'a proto::ListNodesReply) -> Result<Self, Failure> {
        if reply.nodes.is_empty() {
            return Err(Failure::NoNodes);
        }
        let node =
            |node: &'a proto::ClusterNode| Node { name: &node.name, zone: &node.zone, weight: node.weight };
        let nodes: Vec<_> = reply.nodes.iter().map(node).collect();
        let by_name = reply.nodes.iter().map(|node| (node.name.as_str(), node)).collect();
        Ok(Self { placement: Placement::new(&nodes, 0)?, by_name })
    }

    /// All nodes in the order in which hypervisors use them for this VNI.
    pub fn order(&self, vni: u32, pinned: &[&str]) -> Vec<&'a proto::ClusterNode> {
        let order = self.placement.order(vni, pinned);
        order.iter().filter_map(|node| self.by_name.get(node.name).copied()).collect()
    }

    fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }
}

/// JSON of `placement`.
#[derive(Serialize)]
struct Placed<'a> {
    vni: u32,
    pinned: Vec<&'a str>,
    nodes: Vec<PlacedNode<'a>>,
}

#[derive(Serialize)]
struct PlacedNode<'a> {
    #[serde(flatten)]
    node: &'a proto::ClusterNode,
    role: &'static str,
    why: &'static str,
}

/// Runs `placement`.
pub async fn run(out: &mut Out, client: &mut Client, vni: Vni) -> Result<(), Failure> {
    let reply = client.nodes().await?;
    let nodes = Nodes::new(&reply)?;
    let domain = match client.domain(vni).await {
        Err(ClientError::Refused { kind: RefusalKind::NotFound, .. }) => None,
        domain => Some(domain?),
    };
    let pinned = domain.as_ref().map(domain::pinned).unwrap_or_default();
    let order = nodes.order(vni.get(), &pinned);
    let place = |(at, node): (usize, _)| PlacedNode {
        node,
        role: ["primary", "backup"].get(at).unwrap_or(&"next"),
        why: why(&order, at, &pinned),
    };
    let placed: Vec<_> = order.iter().copied().enumerate().map(place).collect();
    if out.is_json() {
        return out.json(&Placed { vni: vni.get(), pinned, nodes: placed });
    }
    let row = |one: &PlacedNode<'_>| {
        let zone = or_none(Some(&one.node.zone).filter(|zone| !zone.is_empty()));
        [
            one.role.to_owned(),
            one.node.name.clone(),
            zone,
            text::address(&one.node.address),
            one.why.to_owned(),
        ]
    };
    let rows: Vec<_> = placed.iter().map(row).collect();
    out.table(["ROLE", "NODE", "ZONE", "ADDRESS", "WHY"].map(Column::Text), &rows)?;
    let mut gone = pinned.iter().filter(|name| !nodes.has(name));
    gone.try_for_each(|name| {
        out.line(format_args!("domain {vni} pins node {name}, which is none of the configured nodes"))
    })
}

/// Reason why the node is at this place of the order.
fn why(order: &[&proto::ClusterNode], at: usize, pinned: &[&str]) -> &'static str {
    match (at, order) {
        (_, order) if order.get(at).is_some_and(|node| pinned.contains(&node.name.as_str())) => "pinned",
        (0, _) => "highest score",
        (1, [primary, backup, ..]) if primary.zone != backup.zone => "highest score in another zone",
        (1, _) => "next score, as there is no other zone",
        _ => "next score",
    }
}
