//! Nodes leave nothing on their machine's disk.

use std::path::PathBuf;

use testkit::{
    lab::Lab,
    node::{Config, Node},
};

/// A node that needs no more of the lab than its folder.
fn config(lab: &Lab) -> Config {
    Config::new(lab.folder())
        .set("port.device", "vdev:net_null0,no-rx=1")
        .set("underlay.tap", "")
        .set("underlay.gateway_mac", "02:00:00:00:00:aa")
}

/// DPDK's folder of the process that runs now.
fn folder(node: &mut Node) -> PathBuf {
    format!("/run/dpdk/bcast-{}", node.process().id()).into()
}

#[test]
fn of_a_node_that_was_killed_five_times_no_folder_of_dpdk_is_left() {
    let lab = Lab::new();
    let mut node = Node::start(&lab, &config(&lab));
    // Another node of the machine.
    let other_lab = Lab::new();
    let mut other = Node::start(&other_lab, &config(&other_lab));
    let others = folder(&mut other);
    for _ in 0..5 {
        let left = folder(&mut node);
        node.kill9();
        assert!(left.is_dir(), "{}", left.display());
        node.restart();
        assert!(!left.exists(), "{}", left.display());
        assert!(folder(&mut node).is_dir() && others.is_dir(), "those of running nodes stay");
    }
    for mut node in [node, other] {
        let own = folder(&mut node);
        assert!(node.stop().success(), "{}", node.log());
        assert!(!own.exists(), "{}", own.display());
    }
}
