//! Nodes that take part in the placement of VNIs.

use super::word::words;
use super::{ModelError, Name};
use crate::proto;

/// Most nodes of a cell, as of its placement.
pub const MAX_NODES: usize = 64;

words! {
    /// Source address of copies, by the words of `replication.outer_source`.
    #[derive(Default)]
    pub enum OuterSource("outer source") {
        /// The node's.
        #[default]
        Node = "node",
        /// That of the hypervisor that sent the frame.
        Origin = "origin",
    }
}

/// Names of a message, in their order.
///
/// # Errors
/// A name that cannot be, a name that is there twice, or too many names.
pub(super) fn names(message: proto::NodeNames) -> Result<Vec<Name>, ModelError> {
    let count = message.names.len();
    if count > MAX_NODES {
        return Err(ModelError::TooManyNodes(count));
    }
    let names = message.names.iter().map(|name| name.parse());
    let names = names.collect::<Result<Vec<Name>, _>>()?;
    match names
        .iter()
        .enumerate()
        .find(|(at, name)| names.get(..*at).is_some_and(|before| before.contains(name)))
    {
        Some((_, name)) => Err(ModelError::NodeTwice(name.clone())),
        None => Ok(names),
    }
}
