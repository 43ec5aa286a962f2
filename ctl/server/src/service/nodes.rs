//! Nodes that take part in the placement of VNIs.

use ctl_api::model::{OuterSource, Word, ip_bytes};
use ctl_api::proto;

use crate::nodes::ClusterNode;
use crate::shared::Shared;
use crate::state::lock;

/// The configured nodes, by name.
pub(super) fn list(shared: &Shared) -> proto::ListNodesReply {
    let source = if shared.node.keeps_origin() { OuterSource::Origin } else { OuterSource::Node };
    let nodes = lock(&shared.state).nodes.iter().map(message).collect();
    proto::ListNodesReply { nodes, outer_source: source.number() }
}

fn message(node: &ClusterNode) -> proto::ClusterNode {
    proto::ClusterNode {
        name: node.name.to_string(),
        zone: node.zone.as_ref().map(ToString::to_string).unwrap_or_default(),
        weight: node.weight,
        address: ip_bytes(node.address.into()),
    }
}
