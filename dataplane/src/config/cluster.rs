//! `[cluster]`: the nodes among which VNIs are placed.

use std::net::Ipv4Addr;

use ctl_server::{ClusterNode, ClusterNodes, MAX_WEIGHT};
use serde::Deserialize;

use super::file::{Whole, number};
use super::{UnderlayConfig, ValueError};

const KEY: &str = "cluster.nodes";

/// The section as it is written.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    node: String,
    #[serde(default)]
    zone: String,
    #[serde(default = "one")]
    weight: Whole,
    address: String,
}

fn one() -> Whole {
    Whole(1)
}

impl Cluster {
    pub fn check(self, underlay: &UnderlayConfig) -> Result<ClusterNodes, (&'static str, ValueError)> {
        let nodes = self.nodes.into_iter().map(Node::check).collect::<Result<Vec<_>, _>>()?;
        let nodes = ClusterNodes::new(nodes).map_err(|error| (KEY, error.into()))?;
        let is_own = |address: Ipv4Addr| underlay.addresses.iter().any(|own| own.addr() == address);
        if nodes.iter().next().is_some() && !nodes.iter().any(|node| is_own(node.address)) {
            return Err((KEY, ValueError::NotANode));
        }
        Ok(nodes)
    }
}

impl Node {
    fn check(self) -> Result<ClusterNode, (&'static str, ValueError)> {
        let weight = number("cluster.nodes.weight", self.weight, 1_u32, MAX_WEIGHT)?;
        let address = self.address.parse();
        let address = address.map_err(|_| ("cluster.nodes.address", ValueError::Gateway(self.address)))?;
        ClusterNode::new(&self.node, &self.zone, weight, address).map_err(|error| (KEY, error.into()))
    }
}
