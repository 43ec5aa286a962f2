//! The one lab that outlives its maker: `scripts/lab up`, `scripts/demo --keep`.

use crate::{
    lab::{self, Lab},
    node::{Node, binary},
    overlay::Overlay,
};

/// Prefix of the names of its namespaces.
pub const NAME: &str = "bcast-lab";

/// A lab of that name, in place of the one that may be there.
pub fn make() -> Lab {
    remove();
    Lab::named(NAME.to_owned())
}

/// Removes the lab, with all that runs in it.
pub fn remove() {
    lab::remove(NAME);
}

/// Lets what runs in the lab run on, and says how to use it. [`Lab::keep`] is left to the caller.
pub fn keep(lab: &Lab, overlay: Overlay, node: Node<'_>) {
    let vni = overlay.vms[0].vni;
    let lines = [
        format!("ip netns exec {NAME}-vm1 ping {}", overlay.vms[1].address),
        format!("ip netns exec {NAME}-underlay tcpdump -ni node proto gre"),
        format!("{} --socket {} domain show {vni}", binary("bcastctl").display(), node.socket().display()),
    ];
    println!("The lab runs: VMs {NAME}-vm1 and on, the node {NAME}-node, network {vni}. Try\n");
    lines.iter().for_each(|line| println!("    {line}"));
    println!("\nLogs are in {}. To end it: scripts/lab down", lab.folder().display());
    node.keep();
    overlay.keep();
}
