//! A router that learns by BGP where the address is: BIRD on the node with docs/bird.conf, and BIRD on the edge
//! router, whose kernel says when its route changes.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use testkit::bird;
use testkit::lab::{GATEWAY, Lab, NODE};
use testkit::node::{Config, Node};
use testkit::process::{Process, wait_for};

use super::lines::Lines;

/// The public address; one of RFC 5737.
const EIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
/// Table of docs/bird.conf.
const PUBLIC_TABLE: i64 = 117;
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/bird.conf");

/// The routers at work.
pub struct Layer3 {
    monitor: Lines,
    _birds: [Process; 2],
}

/// The node's configuration, such that BIRD finds its routes.
pub fn configured(config: Config) -> Config {
    config.set("routes.public_table", PUBLIC_TABLE)
}

impl Layer3 {
    /// Binds a public address to the HAVIP and starts the routers. The lab's switch is the edge router: it has the
    /// address that docs/bird.conf gives to that.
    pub fn start(lab: &Lab, node: &Node, havip: &str) -> Result<Self> {
        node.must(&format!("havip bind-eip {havip} {EIP}"));
        let edge = lab.folder().join("edge.conf");
        std::fs::write(
            &edge,
            format!(
                "router id {GATEWAY};\nlog stderr all;\nprotocol device {{ }}\n\
                 protocol kernel {{ ipv4 {{ export all; }}; }}\n\
                 protocol bgp node {{\n    local {GATEWAY} as 65001;\n    neighbor {NODE} as 65000;\n    passive;\n    \
                 ipv4 {{ import all; export none; }};\n}}\n"
            ),
        )?;
        let birds = [(&lab.switch, &*edge), (&lab.node, Path::new(CONFIG))]
            .map(|(namespace, config)| bird::start(namespace, config, lab.folder()));
        let monitor = Lines::start(lab.switch.command("ip").args(["-4", "-o", "monitor", "route"]))?;
        Ok(Self { monitor, _birds: birds })
    }

    /// Waits until the edge router sends by that hypervisor.
    pub fn wait_for(&self, lab: &Lab, tep: Ipv4Addr) {
        let via = format!("via {tep} ");
        wait_for(&format!("{EIP} {via} at the edge router"), || {
            lab.switch.ip(&format!("-4 route show {EIP}")).contains(&via).then_some(())
        });
    }

    /// Time of the route by that hypervisor in the edge router's kernel, from `since` on.
    pub fn first(&self, since: Duration, tep: Ipv4Addr) -> Option<Duration> {
        let (address, via) = (EIP.to_string(), format!("via {tep} "));
        self.monitor.first(since, |line| line.starts_with(&address) && line.contains(&via))
    }
}
