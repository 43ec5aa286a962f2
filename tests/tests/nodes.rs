//! Several nodes, by the rules of `docs/ovs.md`: hypervisors find one that lives by BFD, and do without any.

use std::{collections::BTreeMap, net::Ipv4Addr};

use testkit::{
    frame::{self, Copy},
    lab::{Host, Lab, NODE},
    node::{Config, Node},
    openflow::{Places, nodes_command, nodes_network},
    overlay::{Hypervisor, Overlay, Vm},
    process::wait_for,
    sender::Sender,
    sniffer::Sniffer,
};
use toml::{Table, Value};

const VNI: u32 = 5001;
const GROUP: &str = "7";

/// Port of a node: `bcast-` and its address in hexadecimal digits.
fn port(node: Ipv4Addr) -> String {
    format!("bcast-{:08x}", u32::from(node))
}

fn forwards(hypervisor: &Hypervisor, node: Ipv4Addr) -> bool {
    hypervisor.appctl(&format!("bfd/show {}", port(node))).contains("Forwarding: true")
}

/// Waits until a session forwards, or does not, and until the hypervisor's cached flows go by it.
fn wait_forwards(hypervisor: &Hypervisor, node: Ipv4Addr, forwarding: bool) {
    wait_for(&format!("{node} to be in use: {forwarding}"), || {
        (forwards(hypervisor, node) == forwarding).then_some(())
    });
    hypervisor.appctl("revalidator/wait");
}

/// Frames of a VM, numbered from 1.
struct Numbered {
    sender: Sender,
    tag: u32,
    number: u64,
}

impl Numbered {
    fn of(vm: &Vm, tag: u32) -> Self {
        Self { sender: Sender::new(&vm.namespace, "eth0"), tag, number: 0 }
    }

    /// Sends one, and gives its number.
    fn send(&mut self) -> u64 {
        self.number += 1;
        self.sender.send(&frame::broadcast(self.tag, self.number, 60));
        self.number
    }
}

/// Lets VMs send nothing of their own accord.
fn silence(overlay: &Overlay) {
    for vm in &overlay.vms {
        vm.namespace.run("sysctl -q -w net.ipv6.conf.all.disable_ipv6=1");
    }
}

/// How often a sniffer has seen each numbered frame: in GRE, or bare.
fn counts(sniffer: &Sniffer, tag: u32) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for seen in sniffer.seen() {
        let copy = Copy::parse(&seen.bytes);
        let inner = copy.as_ref().map_or(&seen.bytes, |copy| &copy.inner);
        if let Some((_, number)) = frame::tag_and_number(inner).filter(|(other, _)| *other == tag) {
            *counts.entry(number).or_default() += 1;
        }
    }
    counts
}

fn has(sniffer: &Sniffer, tag: u32, number: u64) -> bool {
    counts(sniffer, tag).contains_key(&number)
}

/// Tunnel frames that come to a host from `from`.
fn arrivals(lab: &Lab, to: &Host, from: &Host) -> Sniffer {
    let filter = format!("proto gre and src host {} and dst host {}", from.address, to.address);
    Sniffer::start(&to.namespace, "eth0", &filter, lab.folder(), &format!("at-{}", to.address))
}

/// A switch that stands for a node: it answers the hypervisor's BFD, and makes no copies.
fn stand_in(lab: &Lab, hypervisor: &Host) -> Hypervisor {
    let node = Hypervisor::new(lab, Places::Told);
    let to = hypervisor.address;
    node.vsctl(&format!(
        "add-port br-int hv -- set interface hv type=gre options:remote_ip={to} options:key=flow \
         bfd:enable=true bfd:min_tx=300 bfd:min_rx=300 bfd:check_tnl_key=true"
    ));
    node
}

/// The page's ports, group and rules for two nodes on one hypervisor, as they stand.
fn follow_the_page(hypervisor: &Hypervisor, nodes: &[Ipv4Addr], members: &[Ipv4Addr]) {
    for node in nodes {
        let (port, node) = (port(*node), node.to_string());
        hypervisor.shell(&nodes_command("port", &[("PORT", &port), ("NODE", &node)]));
    }
    let bucket = |node: &Ipv4Addr| format!("bucket=watch_port:{0},actions=output:{0}", port(*node));
    let buckets = nodes.iter().map(bucket).collect::<Vec<_>>().join(",");
    hypervisor.shell(&nodes_command("group", &[("GROUP", GROUP), ("BUCKETS", &buckets)]));
    let copy = |member: &Ipv4Addr| format!("set_field:{member}->tun_dst,output:gre0");
    let members = members.iter().map(copy).collect::<Vec<_>>().join(",");
    let vni = VNI.to_string();
    hypervisor.load(&nodes_network(&[("VNI", &vni), ("GROUP", GROUP), ("MEMBERS", &members)]));
}

#[test]
fn frames_go_to_the_first_node_that_lives_by_bfd_and_without_any_to_each_member_itself() {
    let lab = Lab::new();
    let overlay = Overlay::new(&lab, Places::Told, &[&[VNI], &[VNI], &[VNI]]);
    let [one, two, three] = &overlay.hypervisors[..] else { panic!("three hypervisors") };
    let [first, mut second] = [stand_in(&lab, &one.host), stand_in(&lab, &one.host)];
    let nodes = [first.host.address, second.host.address];
    follow_the_page(one, &nodes, &[two.host.address, three.host.address]);
    nodes.iter().for_each(|node| wait_forwards(one, *node, true));
    for member in [two, three] {
        one.host.namespace.run(&format!("arping -q -i br-phy -C 1 -c 10 {}", member.host.address));
    }
    let [at_first, at_second, at_two, at_three] =
        [&first.host, &second.host, &two.host, &three.host].map(|host| arrivals(&lab, host, &one.host));
    let all = [&at_first, &at_second, &at_two, &at_three];
    silence(&overlay);
    let mut frames = Numbered::of(&overlay.vms[0], 1);
    let mut ways = BTreeMap::new();
    let mut expect = |what: &str, wanted: &[&Sniffer]| {
        let number = frames.send();
        wait_for(what, || wanted.iter().all(|sniffer| has(sniffer, 1, number)).then_some(()));
        ways.insert(number, all.map(|sniffer| wanted.iter().any(|other| std::ptr::eq(*other, sniffer))));
    };

    expect("a frame at the first node", &[&at_first]);
    // As a node does that is drained: the session stays up.
    first.vsctl("set interface hv bfd:cpath_down=true");
    wait_forwards(one, nodes[0], false);
    expect("a frame at the second node, as the first is drained", &[&at_second]);
    first.vsctl("set interface hv bfd:cpath_down=false");
    wait_forwards(one, nodes[0], true);
    expect("a frame at the first node again", &[&at_first]);
    let mut first = first;
    first.kill_switch();
    wait_forwards(one, nodes[0], false);
    expect("a frame at the second node, as the first is dead", &[&at_second]);
    second.kill_switch();
    wait_forwards(one, nodes[1], false);
    expect("a copy at each member, as both are dead", &[&at_two, &at_three]);
    expect("one more", &[&at_two, &at_three]);

    // Each frame went its way, once, and no other.
    for (number, wanted) in ways {
        let seen = all.map(|sniffer| counts(sniffer, 1).get(&number).copied().unwrap_or_default());
        assert_eq!(seen, wanted.map(usize::from), "frame {number}");
    }

    // The page's way back: then the rules for a single node hold.
    one.shell(&nodes_command("remove-rules", &[]));
    one.shell(&nodes_command("remove-group", &[("GROUP", GROUP)]));
    nodes.iter().for_each(|node| one.shell(&nodes_command("remove-port", &[("PORT", &port(*node))])));
    assert!(!one.ofctl("-O OpenFlow15 dump-groups br-int").contains("group_id"));
    assert!(!one.vsctl("list-ports br-int").contains("bcast-"));
}

/// Two nodes with the same configuration, and three hypervisors with a VM each.
struct Cell<'lab> {
    overlay: &'lab Overlay,
    nodes: [Node<'lab>; 2],
    addresses: [Ipv4Addr; 2],
}

impl<'lab> Cell<'lab> {
    fn new(lab: &'lab Lab, overlay: &'lab Overlay, machine: &'lab Host) -> Self {
        let addresses = [NODE, machine.address];
        let entry = |(name, address): (&str, Ipv4Addr)| {
            let keys = [
                ("node", name.to_owned()),
                ("zone", format!("cab-{name}")),
                ("address", address.to_string()),
            ];
            Value::Table(
                keys.map(|(key, value)| (key.to_owned(), value.into())).into_iter().collect::<Table>(),
            )
        };
        let list: Vec<_> = ["n1", "n2"].into_iter().zip(addresses).map(entry).collect();
        let folder = lab.folder().join("n2");
        std::fs::create_dir(&folder).expect("the lab's folder is ours");
        let config = |folder, address| {
            Config::new(folder)
                .set("underlay.addresses", vec![format!("{address}/16")])
                .set("replication.outer_source", overlay.places.outer_source())
                .set("cluster.nodes", list.clone())
        };
        let nodes = [
            Node::start(lab, &config(lab.folder(), NODE)),
            Node::start_on(machine, &folder, &config(&folder, machine.address)),
        ];
        for node in &nodes {
            node.serve(VNI, &overlay.teps());
            node.must(&format!("domain pin {VNI} n1"));
        }
        Self { overlay, nodes, addresses }
    }

    /// Pipes the printed commands into a shell on each hypervisor.
    fn pipe(&self, options: &str) {
        for hypervisor in &self.overlay.hypervisors {
            let line = format!("hypervisor flows {} {options}", hypervisor.host.address);
            let printed = self.nodes.each_ref().map(|node| node.must(&line));
            assert_eq!(printed[0], printed[1], "both nodes print the same");
            hypervisor.shell(&printed[0]);
        }
    }

    /// Tells a hypervisor which nodes live, whatever BFD says.
    fn force(&self, hypervisor: usize, live: [bool; 2]) {
        let hypervisor = &self.overlay.hypervisors[hypervisor];
        for (address, live) in self.addresses.into_iter().zip(live) {
            hypervisor.appctl(&format!("bfd/set-forwarding {} {live}", port(address)));
            wait_forwards(hypervisor, address, live);
        }
    }

    /// Frames that each node accepted of the network.
    fn accepted(&self) -> [u64; 2] {
        self.nodes.each_ref().map(|node| {
            let stats = node.must(&format!("stats {VNI} -o json"));
            let stats: serde_json::Value = serde_json::from_str(&stats).expect("JSON");
            stats["frames"].as_u64().expect("a number")
        })
    }
}

/// State of a switch that is the same after the same commands: rules without counters, groups, ports.
fn contents(hypervisor: &Hypervisor) -> [String; 3] {
    let mut flows: Vec<_> = hypervisor
        .ofctl("--no-stats dump-flows br-int")
        .lines()
        .filter(|line| !line.contains("hard_timeout=300, priority") && !line.contains("table=20"))
        .map(str::to_owned)
        .collect();
    flows.sort();
    let groups = hypervisor.ofctl("-O OpenFlow15 dump-groups br-int");
    let groups = groups.lines().skip(1).collect::<Vec<_>>().join("\n");
    [flows.join("\n"), groups, hypervisor.vsctl("list-ports br-int")]
}

fn two_nodes_serve_hypervisors_that_follow_the_printed_commands(places: Places) {
    let lab = Lab::new();
    let machine = lab.bare_machine();
    let overlay = Overlay::new(&lab, places, &[&[VNI], &[VNI], &[VNI]]);
    silence(&overlay);
    let cell = Cell::new(&lab, &overlay, &machine);
    cell.pipe("");
    let before = overlay.hypervisors.iter().map(contents).collect::<Vec<_>>();
    cell.pipe("");
    assert_eq!(overlay.hypervisors.iter().map(contents).collect::<Vec<_>>(), before, "again changes nothing");
    (0..3).for_each(|hypervisor| cell.force(hypervisor, [true, true]));
    overlay.introduce();
    let sniffers: Vec<_> = overlay
        .vms
        .iter()
        .map(|vm| {
            let filter = format!("ether proto {}", frame::LOCAL_EXPERIMENT);
            Sniffer::start(&vm.namespace, "eth0", &filter, lab.folder(), &format!("at-{}", vm.port))
        })
        .collect();
    let mut frames = [Numbered::of(&overlay.vms[0], 1), Numbered::of(&overlay.vms[1], 2)];
    // A frame of each of two VMs, heard by all others.
    let mut round = || {
        let numbers = frames.each_mut().map(Numbered::send);
        wait_for("both frames at all other VMs", || {
            let heard = |vm: usize, tag: u32| has(&sniffers[vm], tag, numbers[tag as usize - 1]);
            (heard(1, 1) && heard(2, 1) && heard(0, 2) && heard(2, 2)).then_some(())
        });
        numbers
    };
    for (what, live, [first, second]) in [
        ("all use the first node", [true, true], [6, 0]),
        ("one hypervisor uses the second", [false, true], [3, 3]),
        ("it has fallen back, others have not", [false, false], [3, 0]),
        ("it is back at the first", [true, true], [6, 0]),
    ] {
        cell.force(0, live);
        let old = cell.accepted();
        for _ in 0..3 {
            round();
        }
        wait_for(what, || (cell.accepted() == [old[0] + first, old[1] + second]).then_some(()));
    }
    let last = round();
    for (vm, sniffer) in sniffers.iter().enumerate() {
        for tag in 1..=2 {
            // Its own frames as they leave, and not again as they come back.
            let wanted: BTreeMap<_, _> = (1..=last[tag as usize - 1]).map(|number| (number, 1)).collect();
            assert_eq!(counts(sniffer, tag), wanted, "frames of VM {tag} at VM {}: each once", vm + 1);
        }
    }
    let [one, _, three] = &overlay.vms[..] else { panic!("three VMs") };
    one.namespace.run(&format!("ping -n -c 2 -i 0.1 -w 10 {}", three.address));

    cell.pipe("--remove");
    for hypervisor in &overlay.hypervisors {
        let [flows, groups, ports] = contents(hypervisor);
        assert!(
            !flows.contains("0xbca57") && groups.is_empty() && !ports.contains("bcast-"),
            "{flows}{groups}{ports}"
        );
    }
    cell.pipe("--remove");
    // The rules for a single node are there yet.
    round();
}

#[test]
fn two_nodes_serve_hypervisors_that_follow_the_printed_commands_by_told_places() {
    two_nodes_serve_hypervisors_that_follow_the_printed_commands(Places::Told);
}

#[test]
fn two_nodes_serve_hypervisors_that_follow_the_printed_commands_by_learned_places() {
    two_nodes_serve_hypervisors_that_follow_the_printed_commands(Places::Learned);
}
