//! Placement: which node a VNI's hypervisors send broadcast to, which one next, and so on.
//!
//! It is rendezvous hashing (Thaler and Ravishankar, 1998): each node has a score for each VNI, and the order is that
//! of the scores. The *primary* is the node with the highest score; the *backup* is the one with the highest score in
//! another zone (cabinet), where there is one; all others follow by score. So a node that comes or goes moves only
//! the VNIs whose primary or backup it is. docs/placement.md states the hash exactly, with test vectors, so that other
//! programs can compute the same.
//!
//! ```
//! use ctl_placement::{Node, Placement};
//!
//! let nodes = [("n1", "cab1"), ("n2", "cab1"), ("n3", "cab2")].map(|(name, zone)| Node { name, zone, weight: 1 });
//! let placement = Placement::new(&nodes, 0)?;
//! let order: Vec<&str> = placement.order(5001, &[]).iter().map(|node| node.name).collect();
//! assert_eq!(order, ["n1", "n3", "n2"]);
//! # Ok::<(), ctl_placement::PlacementError>(())
//! ```
#![forbid(unsafe_code)]

use std::cmp::Reverse;

/// Most nodes of a placement.
pub const MAX_NODES: usize = 64;
/// Greatest weight of a node.
pub const MAX_WEIGHT: u32 = 100;

/// Node as the placement sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node<'a> {
    /// Name, unique, not empty.
    pub name: &'a str,
    /// Zone (cabinet): what is lost together. Nodes without a zone are in the zone with the empty name.
    pub zone: &'a str,
    /// Share of VNIs in relation to other nodes, 1 to [`MAX_WEIGHT`].
    pub weight: u32,
}

/// Nodes among which no placement can be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// More than [`MAX_NODES`].
    #[error("{0} nodes: a placement has at most {MAX_NODES}")]
    TooMany(usize),
    /// Name of no characters.
    #[error("a node without a name: name every node")]
    NoName,
    /// Name of two nodes.
    #[error("two nodes have the name {0:?}: rename one of them")]
    NameTwice(String),
    /// Weight of 0, or beyond [`MAX_WEIGHT`].
    #[error("node {name:?} has weight {weight}: set 1 to {MAX_WEIGHT}")]
    Weight {
        /// Name of the node.
        name: String,
        /// Weight that was given.
        weight: u32,
    },
}

/// Placement among these nodes.
#[derive(Clone, Debug)]
pub struct Placement<'a> {
    /// Nodes with the hashes of their names, by name.
    nodes: Vec<(Node<'a>, u64)>,
}

impl<'a> Placement<'a> {
    /// Placement among these nodes, in whatever order they come. `key` makes placements of different cells differ;
    /// 0 where there is no reason to.
    ///
    /// # Errors
    /// A node's name or weight is not allowed, or there are too many nodes.
    pub fn new(nodes: &[Node<'a>], key: u64) -> Result<Self, PlacementError> {
        if nodes.len() > MAX_NODES {
            return Err(PlacementError::TooMany(nodes.len()));
        }
        for node in nodes {
            if node.name.is_empty() {
                return Err(PlacementError::NoName);
            }
            if node.weight == 0 || node.weight > MAX_WEIGHT {
                return Err(PlacementError::Weight { name: node.name.to_owned(), weight: node.weight });
            }
        }
        let mut nodes: Vec<_> = nodes.iter().map(|node| (*node, name_hash(node.name, key))).collect();
        nodes.sort_unstable_by_key(|(node, _)| node.name);
        if let Some(pair) = nodes.windows(2).find(|pair| pair[0].0.name == pair[1].0.name) {
            return Err(PlacementError::NameTwice(pair[0].0.name.to_owned()));
        }
        Ok(Self { nodes })
    }

    /// All nodes in the order in which hypervisors use them for this VNI. `pinned` nodes come first, in their order;
    /// names that are no node's are passed over. The second node is in another zone than the first, if there is
    /// one, unless two or more are pinned.
    #[must_use]
    pub fn order(&self, vni: u32, pinned: &[&str]) -> Vec<Node<'a>> {
        let mut scored: Vec<(u64, Node<'a>)> =
            self.nodes.iter().map(|(node, hash)| (score(*hash, node.weight, vni), *node)).collect();
        // The nodes are by name, and the sort is stable: of equal scores the lesser name is first.
        scored.sort_by_key(|(score, _)| Reverse(*score));
        let mut rest: Vec<Node<'a>> = scored.into_iter().map(|(_, node)| node).collect();
        let mut order = Vec::with_capacity(rest.len());
        for name in pinned {
            if let Some(at) = rest.iter().position(|node| node.name == *name) {
                order.push(rest.remove(at));
            }
        }
        if order.is_empty() && !rest.is_empty() {
            order.push(rest.remove(0));
        }
        if let [primary] = order[..]
            && let Some(at) = rest.iter().position(|node| node.zone != primary.zone)
        {
            order.push(rest.remove(at));
        }
        order.append(&mut rest);
        order
    }
}

/// Hash of a name: FNV-1a of 64 bits over the name's UTF-8 bytes, exclusive-or the key, mixed.
fn name_hash(name: &str, key: u64) -> u64 {
    let fnv = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(fnv ^ key)
}

/// Score of a node for a VNI: the greatest of as many draws as its weight, so a node of weight 2 wins as often as
/// two of weight 1, and a change of weight moves no more VNIs than it must.
fn score(name_hash: u64, weight: u32, vni: u32) -> u64 {
    let draw = |number: u32| mix(name_hash.wrapping_add(mix(u64::from(number) << 32 | u64::from(vni))));
    (0..weight).map(draw).max().unwrap_or(0)
}

/// Finalizer of the generator SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): a bijection of 64 bits.
const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
