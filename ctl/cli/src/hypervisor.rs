//! `hypervisor flows`: the commands that set up one hypervisor's Open vSwitch for several nodes, as `docs/ovs.md` has
//! them.
//!
//! Whatever is put into a command is an address, a number, or a word of letters, digits and `. _ -`, so nothing needs
//! quotes of its own.

use std::collections::BTreeMap;

use clap::Subcommand;
use ctl_api::model::{OuterSource, TepRef, Word};
use ctl_api::{Client, proto};
use serde::Serialize;

use crate::domain;
use crate::failure::Failure;
use crate::out::Out;
use crate::placement::Nodes;
use crate::text::{self, in_brackets};

/// Most members of a domain whose hypervisors make the copies themselves when no node lives.
const MAX_FALLBACK_MEMBERS: usize = 128;
/// Cookie of the rules that name nodes or members, so that they can be replaced as a whole.
const COOKIE: &str = "cookie=0xbca57";
/// First number of the groups, and the first after them.
const GROUPS: std::ops::Range<u32> = 0xbc00_0000..0xbd00_0000;
/// Multicast and broadcast MAC addresses.
const MULTICAST: &str = "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00";
const OFCTL: &str = "ovs-ofctl -O OpenFlow15";

/// `bcastctl hypervisor`.
#[derive(Debug, Subcommand)]
pub enum HypervisorCommand {
    /// Print the commands that set up a hypervisor's Open vSwitch for the configured nodes: pipe them to sh there
    ///
    /// First a GRE port with BFD for each node, then a fast-failover group for each order of nodes, then the rules of
    /// its networks, with the fallback for when no node lives. They may be run again after any change; ports, groups
    /// and rules that are no longer needed are then removed. The rules of VMs are the controller's (docs/ovs.md).
    Flows {
        /// The hypervisor, a registered TEP by address or name
        hypervisor: TepRef,
        /// Print the commands that remove it all: rules first, then groups, then ports
        #[arg(long)]
        remove: bool,
        /// Bridge that the VMs are on
        #[arg(long, value_name = "NAME", default_value = "br-int", value_parser = interface)]
        bridge: String,
        /// GRE port whose destination comes from the rules
        #[arg(long, value_name = "NAME", default_value = "gre0", value_parser = interface)]
        tunnel: String,
    },
}

/// Name of an interface that needs no quotes in the shell, nor in `ovs-ofctl`.
fn interface(name: &str) -> Result<String, String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let starts = name.starts_with(|first: char| first.is_ascii_alphabetic());
    if starts && name.len() <= 15 && name.chars().all(legal) {
        return Ok(name.to_owned());
    }
    Err("an interface's name is 1 to 15 of A-Z a-z 0-9 . _ -, the first a letter".to_owned())
}

/// Runs a command of hypervisors.
pub async fn run(out: &mut Out, client: &mut Client, command: HypervisorCommand) -> Result<(), Failure> {
    let HypervisorCommand::Flows { hypervisor, remove, bridge, tunnel } = command;
    let tep = client.tep(hypervisor.clone()).await?.tep.unwrap_or_default();
    let reply = client.nodes().await?;
    let filter = proto::ListDomainsRequest { tep: Some(hypervisor.into()), ..Default::default() };
    let domains = client.domains(filter).await?;
    let flows = Flows::new(&tep, &reply, &domains, &tunnel)?;
    if out.is_json() {
        return out.json(&flows);
    }
    let name = in_brackets(text::name(tep.name.as_ref()));
    out.line(format_args!("# Open vSwitch of hypervisor {}{name}, bridge {bridge}", flows.hypervisor))?;
    out.line("set -e")?;
    match remove {
        true => remove_all(&bridge),
        false => flows.commands(&bridge, &tunnel),
    }
    .iter()
    .try_for_each(|line| out.line(line))
}

/// Contents of a hypervisor's Open vSwitch, and its JSON.
#[derive(Serialize)]
struct Flows {
    hypervisor: String,
    outer_source: &'static str,
    ports: Vec<Port>,
    groups: Vec<Group>,
    /// Rules of the hypervisor itself, without a cookie: the same for any nodes and networks.
    base_rules: Vec<String>,
    /// Rules of its networks.
    rules: Vec<String>,
}

/// GRE port of a node.
#[derive(Serialize)]
struct Port {
    port: String,
    node: String,
    address: String,
}

/// Fast-failover group of an order of nodes.
#[derive(Serialize)]
struct Group {
    group: u32,
    nodes: Vec<String>,
    #[serde(skip)]
    text: String,
}

impl Flows {
    fn new(
        tep: &proto::Tep,
        reply: &proto::ListNodesReply,
        domains: &[proto::Domain],
        tunnel: &str,
    ) -> Result<Self, Failure> {
        let nodes = Nodes::new(reply)?;
        let hypervisor = text::address(&tep.address);
        let outer_source = OuterSource::from_number(reply.outer_source).ok().flatten().unwrap_or_default();
        let port = |node: &proto::ClusterNode| Port {
            port: port(node),
            node: node.name.clone(),
            address: text::address(&node.address),
        };
        let mut groups = Groups::default();
        let mut rules = Vec::with_capacity(2 * domains.len());
        // Key 0 is BFD's: a domain of an older store that has it serves nobody.
        for domain in domains.iter().filter(|domain| domain.vni != 0) {
            let order = nodes.order(domain.vni, &domain::pinned(domain));
            let group = groups.of(&order, tunnel);
            let members = text::addresses(domain.members.as_ref()).filter(|member| *member != tep.address);
            let mut to: Vec<&[u8]> = members.collect();
            if to.len() > MAX_FALLBACK_MEMBERS {
                to = order.first().map(|node| node.address.as_slice()).into_iter().collect();
            }
            rules.extend(network(domain.vni, group, &to, tunnel));
        }
        Ok(Self {
            base_rules: base_rules(outer_source, &hypervisor, tunnel),
            hypervisor,
            outer_source: outer_source.as_str(),
            ports: reply.nodes.iter().map(port).collect(),
            groups: groups.0.into_values().collect(),
            rules,
        })
    }

    /// Commands that make it so: ports, groups, rules; then groups and ports that no rule uses any more go.
    fn commands(&self, bridge: &str, tunnel: &str) -> Vec<String> {
        let gre = "type=gre options:remote_ip=flow options:key=flow";
        let mut lines = vec!["# ports".to_owned()];
        lines.push(format!(
            "ovs-vsctl --may-exist add-port {bridge} {tunnel} -- set interface {tunnel} {gre}"
        ));
        for Port { port, node, address } in &self.ports {
            lines.push(format!("# node {node}"));
            lines.push(format!("ovs-vsctl {}", add_port(bridge, port, address)));
        }
        lines.push("# groups".to_owned());
        for Group { text, nodes, .. } in &self.groups {
            lines.push(format!("# nodes {}", nodes.join(" ")));
            lines.push(format!("{OFCTL} --may-create mod-group {bridge} '{text}'"));
        }
        lines.push("# rules, replaced in one step".to_owned());
        lines.push(format!("{OFCTL} --bundle add-flows {bridge} - <<'END'"));
        lines.push(format!("delete {COOKIE}/-1"));
        lines.extend(self.base_rules.iter().chain(&self.rules).map(|rule| format!("add {rule}")));
        lines.push("END".to_owned());
        lines.push("# groups and ports of before".to_owned());
        lines.push(remove_groups(bridge, self.groups.iter().map(|group| group.group.to_string())));
        lines.push(remove_ports(bridge, self.ports.iter().map(|port| port.port.clone())));
        lines
    }
}

/// Commands that remove rules, groups and ports, whichever there are.
fn remove_all(bridge: &str) -> Vec<String> {
    let rules = format!("{OFCTL} del-flows {bridge} {COOKIE}/-1");
    vec![rules, remove_groups(bridge, std::iter::empty()), remove_ports(bridge, std::iter::empty())]
}

/// Command that removes all groups of nodes but these.
fn remove_groups(bridge: &str, but: impl Iterator<Item = String>) -> String {
    let but: String = but.map(|group| format!(" && $2 != {group}")).collect();
    let (first, end) = (GROUPS.start, GROUPS.end);
    format!(
        "{OFCTL} dump-groups {bridge} |\n  \
         awk -F'[=,]' '/group_id=/ && $2 >= {first} && $2 < {end}{but} {{print $2}}' |\n  \
         while read -r group; do {OFCTL} del-groups {bridge} group_id=$group; done"
    )
}

/// Command that removes all ports of nodes but these.
fn remove_ports(bridge: &str, but: impl Iterator<Item = String>) -> String {
    let but: String = but.map(|port| format!(" && $0 != \"{port}\"")).collect();
    format!(
        "ovs-vsctl list-ports {bridge} | awk '/^bcast-[0-9a-f]+$/ && length($0) == 14{but}' |\n  \
         while read -r port; do ovs-vsctl --if-exists del-port {bridge} $port; done"
    )
}

/// Name of a node's port: of its address, as the node's own name may be too long for one.
fn port(node: &proto::ClusterNode) -> String {
    let digits: String = node.address.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("bcast-{digits}")
}

fn add_port(bridge: &str, port: &str, address: &str) -> String {
    format!(
        "--may-exist add-port {bridge} {port} -- set interface {port} type=gre options:remote_ip={address} \
         options:key=flow bfd:enable=true bfd:min_tx=50 bfd:min_rx=50 bfd:check_tnl_key=true"
    )
}

/// Groups by number.
#[derive(Default)]
struct Groups(BTreeMap<u32, Group>);

impl Groups {
    /// Number of the group of this order, made where it is not there. The number is a hash of the order, so that it
    /// stays the same: a rule must never point to a group that has become another.
    fn of(&mut self, order: &[&proto::ClusterNode], tunnel: &str) -> u32 {
        let nodes: Vec<_> = order.iter().map(|node| node.name.clone()).collect();
        let bytes = nodes.iter().flat_map(|name| name.bytes().chain([b',']));
        let hash =
            bytes.fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let size = GROUPS.end - GROUPS.start;
        let mut group = GROUPS.start + hash % size;
        while self.0.get(&group).is_some_and(|other| other.nodes != nodes) {
            group = GROUPS.start + (group + 1 - GROUPS.start) % size;
        }
        let bucket =
            |node: &&proto::ClusterNode| format!("bucket=watch_port:{0},actions=output:{0}", port(node));
        let buckets: Vec<_> = order.iter().map(bucket).collect();
        let text = format!(
            "group_id={group},type=ff,{},bucket=watch_port:{tunnel},actions=resubmit(,30)",
            buckets.join(",")
        );
        self.0.entry(group).or_insert(Group { group, nodes, text });
        group
    }
}

/// Rules of a hypervisor, whatever its networks and nodes are.
fn base_rules(outer_source: OuterSource, tep: &str, tunnel: &str) -> Vec<String> {
    const TO_TABLE_10: &str = "set_field:1->reg0,resubmit(,10)";
    let mut rules = vec!["table=0,priority=0,actions=drop".to_owned()];
    rules.push(match outer_source {
        OuterSource::Node => format!("table=0,priority=10,in_port={tunnel},actions={TO_TABLE_10}"),
        OuterSource::Origin => format!(
            "table=0,priority=10,in_port={tunnel},actions=learn(table=20,priority=10,hard_timeout=300,NXM_NX_TUN_ID[],\
             NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:NXM_NX_TUN_IPV4_SRC[]->NXM_NX_TUN_IPV4_DST[],\
             output:NXM_OF_IN_PORT[]),{TO_TABLE_10}"
        ),
    });
    rules.push(format!("table=0,priority=5,tun_dst={tep},{MULTICAST},actions={TO_TABLE_10}"));
    rules.push(format!("table=10,priority=30,reg0=1,{MULTICAST},actions=resubmit(,40)"));
    rules.push(format!("table=10,priority=20,{MULTICAST},actions=resubmit(,40),resubmit(,50)"));
    match outer_source {
        OuterSource::Node => rules.push("table=10,priority=0,actions=drop".to_owned()),
        OuterSource::Origin => {
            rules.push("table=10,priority=0,actions=resubmit(,20)".to_owned());
            rules.push("table=20,priority=0,actions=drop".to_owned());
        }
    }
    rules
}

/// Rules of a network: its group, and the fallback, which sends a copy to each of these addresses.
fn network(vni: u32, group: u32, to: &[&[u8]], tunnel: &str) -> [String; 2] {
    let copies = to.iter().map(|tep| format!("set_field:{}->tun_dst,output:{tunnel}", text::address(tep)));
    let copies = if to.is_empty() { "drop".to_owned() } else { copies.collect::<Vec<_>>().join(",") };
    [
        format!("{COOKIE},table=30,priority=10,tun_id={vni},actions={copies}"),
        format!("{COOKIE},table=50,priority=20,tun_id={vni},actions=group:{group}"),
    ]
}
