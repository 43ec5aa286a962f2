//! Nodes that take part in the placement of VNIs, as they are configured.

use std::net::Ipv4Addr;

use bcast_domain::{Tep, TepError};
use ctl_api::model::{Name, NameError};
use ctl_placement::{Node, Placement, PlacementError};

use crate::refusal::Problem;

/// Node that takes part in the placement of VNIs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterNode {
    /// Name.
    pub name: Name,
    /// Cabinet: what is lost together.
    pub zone: Option<Name>,
    /// Share of VNIs in relation to other nodes, 1 to 100.
    pub weight: u32,
    /// Underlay address, to which hypervisors send.
    pub address: Ipv4Addr,
}

/// Nodes among which VNIs are placed, by name. None: the node is alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterNodes(Vec<ClusterNode>);

/// Nodes that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum NodesError {
    /// A name or a zone that cannot be.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An address that no node can have.
    #[error("node {name:?}: address {error}")]
    Address {
        /// Name of the node.
        name: String,
        /// Error of its address.
        error: TepError,
    },
    /// Address of two nodes.
    #[error("two nodes have the address {0}; each node has its own")]
    AddressTwice(Ipv4Addr),
    /// Nodes among which no placement can be made.
    #[error(transparent)]
    Placement(#[from] PlacementError),
}

impl ClusterNode {
    /// A node by its texts. A zone of "": none.
    ///
    /// # Errors
    /// A name, a zone or an address that cannot be.
    pub fn new(name: &str, zone: &str, weight: u32, address: Ipv4Addr) -> Result<Self, NodesError> {
        let address_error = |error| NodesError::Address { name: name.to_owned(), error };
        Tep::new(address).map_err(address_error)?;
        let zone = if zone.is_empty() { None } else { Some(zone.parse()?) };
        Ok(Self { name: name.parse()?, zone, weight, address })
    }

    fn placed(&self) -> Node<'_> {
        Node {
            name: self.name.as_str(),
            zone: self.zone.as_ref().map_or("", Name::as_str),
            weight: self.weight,
        }
    }
}

impl ClusterNodes {
    /// These nodes, in whatever order they come.
    ///
    /// # Errors
    /// Too many nodes, a name or an address of two, or a weight out of range.
    pub fn new(mut nodes: Vec<ClusterNode>) -> Result<Self, NodesError> {
        Placement::new(&nodes.iter().map(ClusterNode::placed).collect::<Vec<_>>(), 0)?;
        nodes.sort_unstable_by_key(|node| node.address);
        if let Some(pair) = nodes.windows(2).find(|pair| pair[0].address == pair[1].address) {
            return Err(NodesError::AddressTwice(pair[0].address));
        }
        nodes.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(Self(nodes))
    }

    /// The nodes, by name.
    pub fn iter(&self) -> impl Iterator<Item = &ClusterNode> {
        self.0.iter()
    }

    pub(crate) fn has(&self, name: &Name) -> bool {
        self.iter().any(|node| node.name == *name)
    }

    /// Refusal of a name that is no node's.
    pub(crate) fn unknown(&self, name: Name) -> Problem {
        let names: Vec<_> = self.iter().map(|node| node.name.as_str()).collect();
        if names.is_empty() {
            Problem::NoNodes(name)
        } else {
            Problem::NoNode { name, nodes: names.join(", ") }
        }
    }
}
