//! Parties of the frames that a rig's port receives.

use super::common::{NEXT_HOP, NODE, PORT_MAC, tep};
use super::frames::Parties;

/// The TEP with this number sends to the rig's node; it is a member of domain 5001, not of 5002.
pub fn parties(sender: usize) -> Parties {
    Parties {
        node: NODE,
        node_mac: PORT_MAC.0,
        tep: tep(sender).address(),
        tep_mac: NEXT_HOP.0,
        vni: 5001,
        other_vni: 5002,
    }
}
