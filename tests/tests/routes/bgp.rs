//! Routing daemons pass the routes on, with the configurations of docs/: a router learns them, sends by them, and follows.

use std::{
    fs,
    net::IpAddr,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    time::Instant,
};

use ctl_api::model::Event;
use nix::unistd::{Group, User};
use testkit::{
    bird,
    namespace::{Namespace, join},
    process::{Process, wait_for},
};

use crate::applier::{Applier, CONFIG, havip, tep};

/// Folder of the configurations.
pub const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");

/// A node, two hypervisors and two routers on one link; a client behind each router.
///
/// The hypervisors stand for the overlay: both have every virtual IP, and answer with hop limits 111 and 112, so that an answer tells
/// where a packet went.
struct Site {
    node: Namespace,
    hypervisors: Vec<Namespace>,
    routers: Vec<Namespace>,
    clients: Vec<Namespace>,
    folder: tempfile::TempDir,
    _switch: Namespace,
}

/// Virtual addresses in this file.
const EIP: &str = "203.0.113.7";
const EIP6: &str = "2001:db8:f::7";
const VIP: &str = "10.0.0.100";
const VIP6: &str = "2001:db8:a::100";

impl Site {
    fn new() -> Self {
        let name = testkit::lab::fresh_name();
        let make = |what: &str| Namespace::new(format!("{name}-{what}"));
        let switch = make("switch");
        switch.ip("link add br0 type bridge mcast_snooping 0");
        switch.ip("link set dev br0 up");
        switch.run("sysctl -q -e -w net.bridge.bridge-nf-call-iptables=0");
        let plug = |namespace: &Namespace, port: &str, v4: &str, v6: &str| {
            join(&switch, port, namespace, "eth0");
            switch.ip(&format!("link set dev {port} master br0"));
            namespace.ip(&format!("address add {v4}/16 dev eth0"));
            namespace.ip(&format!("address add {v6}/64 dev eth0 nodad"));
        };
        let node = make("node");
        plug(&node, "node", "198.18.0.254", "2001:db8:1::254");
        let routers = vec![make("edge"), make("tenant")];
        let clients = vec![make("client1"), make("client2")];
        for (n, (router, client)) in (1..).zip(routers.iter().zip(&clients)) {
            plug(router, &format!("router{n}"), &format!("198.18.255.{n}"), &format!("2001:db8:1::{n}"));
            join(router, "eth1", client, "eth0");
            for (namespace, interface, last) in [(router, "eth1", 1), (client, "eth0", 2)] {
                namespace.ip(&format!("address add 198.19.{n}.{last}/24 dev {interface}"));
                namespace.ip(&format!("address add 2001:db8:c{n}::{last}/64 dev {interface} nodad"));
            }
            client.ip(&format!("route add default via 198.19.{n}.1"));
            client.ip(&format!("-6 route add default via 2001:db8:c{n}::1"));
            router.run("sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        }
        let hypervisors = vec![make("hv1"), make("hv2")];
        for (n, hypervisor) in (1..).zip(&hypervisors) {
            plug(hypervisor, &format!("hv{n}"), &format!("198.18.0.{n}"), &format!("2001:db8:1::1{n}"));
            for address in [EIP, VIP] {
                hypervisor.ip(&format!("address add {address}/32 dev lo"));
            }
            for address in [EIP6, VIP6] {
                hypervisor.ip(&format!("-6 address add {address}/128 dev lo"));
            }
            for router in [1, 2] {
                hypervisor.ip(&format!("route add 198.19.{router}.0/24 via 198.18.255.{router}"));
                hypervisor.ip(&format!("-6 route add 2001:db8:c{router}::/64 via 2001:db8:1::{router}"));
            }
            hypervisor.run(&format!(
                "sysctl -q -w net.ipv4.ip_default_ttl=11{n} net.ipv6.conf.eth0.hop_limit=11{n}"
            ));
        }
        let folder = tempfile::tempdir().expect("a folder");
        // FRR gives up root's rights.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        Self { node, hypervisors, routers, clients, folder, _switch: switch }
    }

    /// BIRD on both routers.
    fn start_routers(&self) -> Vec<Process> {
        let start = |(n, router): (usize, &Namespace)| {
            let path = self.folder.path().join(format!("router{n}.conf"));
            fs::write(&path, router_config(n, &["ipv4", "ipv6"])).expect("the folder is ours");
            bird::start(router, &path, self.folder.path())
        };
        (1..).zip(&self.routers).map(start).collect()
    }

    /// BIRD on the node, with docs/bird.conf.
    fn start_bird(&self) -> Process {
        bird::start(&self.node, &Path::new(DOCS).join("bird.conf"), self.folder.path())
    }

    /// zebra and bgpd on the node, with docs/frr.conf or, from FRR 10 on, docs/frr10.conf.
    fn start_frr(&self) -> Vec<Process> {
        let folder = self.folder.path().join("frr");
        fs::create_dir(&folder).expect("the folder is ours");
        let user = User::from_name("frr").ok().flatten().expect("FRR is installed: scripts/install-deps");
        let group =
            Group::from_name("frrvty").ok().flatten().expect("FRR is installed: scripts/install-deps");
        chown(&folder, Some(user.uid.as_raw()), Some(group.gid.as_raw())).expect("root may");
        let at = |what: &str| folder.join(what).display().to_string();
        let start = |program: &str| {
            // An empty configuration: all of it comes by vtysh, as FRR's own start script has it.
            fs::write(folder.join(format!("{program}.conf")), "").expect("the folder is ours");
            let line = format!(
                "/usr/lib/frr/{program} --config_file {} --socket {} --vty_socket {} --pid_file {} --vty_port 0 --log stdout",
                at(&format!("{program}.conf")),
                at("zserv.api"),
                folder.display(),
                at(&format!("{program}.pid")),
            );
            let process = self.node.start(&line, &folder.join(format!("{program}.log")));
            wait_for("FRR's terminal", || folder.join(format!("{program}.vty")).exists().then_some(()));
            process
        };
        let processes = ["zebra", "bgpd"].map(start).into();
        let version = self.node.run("/usr/lib/frr/zebra --version");
        let major = version.split_whitespace().find_map(|word| word.split('.').next()?.parse::<u32>().ok());
        let file = if major.expect("FRR says its version") < 10 { "frr.conf" } else { "frr10.conf" };
        self.node.run(&format!("vtysh --vty_socket {} --inputfile {DOCS}/{file}", folder.display()));
        processes
    }

    /// Waits until no router has a session with the node.
    fn wait_sessions_down(&self) {
        for router in &self.routers {
            wait_for("sessions to be down", || (sessions(router, self.folder.path()) == 0).then_some(()));
        }
    }

    fn next_hop(&self, router: usize, address: &str) -> Option<IpAddr> {
        next_hop(&self.routers[router], address)
    }

    fn wait_next_hop(&self, router: usize, address: &str, expected: &str) {
        let expected = Some(expected.parse().expect("an address"));
        wait_for(&format!("{address} by {expected:?} at router {router}"), || {
            (self.next_hop(router, address) == expected).then_some(())
        });
    }

    /// Hypervisor that answers a ping from a router's client; none, if none does.
    fn answers(&self, client: usize, address: &str) -> Option<usize> {
        let mut ping = self.clients[client].command("ping");
        let output = ping.args(["-n", "-c1", "-W1", address]).output().expect("ping runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // The router takes one off.
        (0..self.hypervisors.len()).find(|n| text.contains(&format!("ttl={} ", 110 + n)))
    }

    fn wait_answers(&self, client: usize, address: &str, hypervisor: usize) {
        wait_for(&format!("hypervisor {hypervisor} to answer for {address}"), || {
            (self.answers(client, address) == Some(hypervisor)).then_some(())
        });
    }
}

/// A configuration for BIRD on router 1 or 2: it takes what the node tells, and puts it into the kernel's main table.
pub fn router_config(n: usize, families: &[&str]) -> String {
    let session = |family: &&str| {
        let (own, node) = match *family {
            "ipv4" => ("198.18.255.", "198.18.0.254"),
            _ => ("2001:db8:1::", "2001:db8:1::254"),
        };
        format!(
            "protocol kernel {{ {family} {{ export all; }}; }}\n\
             protocol bgp node_{family} {{\n    local {own}{n} as 6500{n};\n    neighbor {node} as 65000;\n    passive;\n    \
             {family} {{ import all; export none; }};\n}}\n"
        )
    };
    let sessions: String = families.iter().map(session).collect();
    format!("router id 198.18.255.{n};\nlog stderr all;\nprotocol device {{ }}\n{sessions}")
}

/// Number of BGP sessions of a namespace's BIRD.
pub fn sessions(namespace: &Namespace, folder: &Path) -> usize {
    let control = folder.join(format!("{}.ctl", namespace.name()));
    let protocols = namespace.run(&format!("birdc -s {} show protocols", control.display()));
    protocols.matches("Established").count()
}

/// The next hop to an address in a router's main table; none, if it has no route of its own.
pub fn next_hop(router: &Namespace, address: &str) -> Option<IpAddr> {
    let family = if address.contains(':') { "-6" } else { "-4" };
    let route = router.ip(&format!("{family} route show {address} proto bird"));
    let mut words = route.split_whitespace().skip_while(|word| *word != "via").skip(1);
    words.next().map(|via| via.parse().expect("an address"))
}

/// Both HAVIPs of VNI 5001, held on hypervisor 1 or 2.
fn held(hypervisor: usize) -> Vec<Event> {
    let tep = format!("198.18.0.{hypervisor}");
    vec![havip("web", 5001, VIP, Some(EIP), Some(&tep)), havip("web6", 5001, VIP6, Some(EIP6), Some(&tep))]
}

/// TEPs are reached over IPv6 by their own addresses.
fn teps() -> Vec<Event> {
    let of = |n: usize| tep(&format!("198.18.0.{n}"), None, Some(&format!("2001:db8:1::1{n}")));
    vec![of(1), of(2)]
}

/// Every address, the router that shall know it, and the next hop to each hypervisor.
const ALL: [(usize, &str, [&str; 2]); 4] = [
    (0, EIP, ["198.18.0.1", "198.18.0.2"]),
    (0, EIP6, ["2001:db8:1::11", "2001:db8:1::12"]),
    (1, VIP, ["198.18.0.1", "198.18.0.2"]),
    (1, VIP6, ["2001:db8:1::11", "2001:db8:1::12"]),
];

#[test]
fn bird_tells_routers_where_virtual_ips_are_and_packets_from_outside_follow_them() {
    let site = Site::new();
    let applier = Applier::start(&site.node, CONFIG);
    let _routers = site.start_routers();
    let _bird = site.start_bird();
    applier.routes.apply(&[teps(), held(1)].concat());
    for (router, address, next_hops) in ALL {
        site.wait_next_hop(router, address, next_hops[0]);
        site.wait_answers(router, address, 0);
        assert_eq!(
            site.next_hop(1 - router, address),
            None,
            "{address} is none of the other router's business"
        );
    }
    for round in 1..=6 {
        let to = round % 2;
        let start = Instant::now();
        applier.routes.apply(&held(to + 1));
        let mut seen = Vec::new();
        for (router, address, next_hops) in ALL {
            site.wait_next_hop(router, address, next_hops[to]);
            seen.push(format!("{address} {} ms", start.elapsed().as_millis()));
        }
        println!("BIRD, move {round}, from the change to the neighbour's kernel: {}", seen.join(", "));
        for (router, address, _) in ALL {
            site.wait_answers(router, address, to);
        }
    }
    applier.routes.apply(&[Event::HavipDeleted("web".parse().expect("a name"))]);
    wait_for("IPv4 to be withdrawn", || {
        (site.next_hop(0, EIP).is_none() && site.next_hop(1, VIP).is_none()).then_some(())
    });
    assert_eq!(site.answers(0, EIP), None);
    site.wait_answers(0, EIP6, 0);
}

#[test]
fn a_routing_daemon_that_was_killed_leaves_routers_what_they_know() {
    let site = Site::new();
    let applier = Applier::start(&site.node, CONFIG);
    let _routers = site.start_routers();
    let start = || site.start_bird();
    let mut bird = start();
    applier.routes.apply(&[teps(), held(1)].concat());
    for (router, address, next_hops) in ALL {
        site.wait_next_hop(router, address, next_hops[0]);
    }
    bird.kill();
    site.wait_sessions_down();
    for (router, address, next_hops) in ALL {
        assert_eq!(
            site.next_hop(router, address),
            Some(next_hops[0].parse().expect("an address")),
            "{address}"
        );
        site.wait_answers(router, address, 0);
    }
    // What happened meanwhile is told when it is back.
    applier.routes.apply(&held(2));
    let _bird = start();
    for (router, address, next_hops) in ALL {
        site.wait_next_hop(router, address, next_hops[1]);
    }
}

#[test]
fn two_tenants_with_one_address_have_it_in_two_tables_and_each_router_knows_its_own() {
    let site = Site::new();
    let applier = Applier::start(&site.node, CONFIG);
    let _routers = site.start_routers();
    let _bird = site.start_bird();
    // VNI 5002 has a table, but nobody exports it: what is told of VNI 5001 must not change with it.
    let ours = |holder: &str| havip("ours", 5001, VIP, None, Some(holder));
    let theirs = |holder: &str| havip("theirs", 5002, VIP, None, Some(holder));
    applier.routes.apply(&[ours("198.18.0.1"), theirs("198.18.0.2")]);
    site.wait_next_hop(1, VIP, "198.18.0.1");
    assert_eq!(crate::table(&site.node, 101), ["10.0.0.100 via 198.18.0.1"]);
    assert_eq!(crate::table(&site.node, 102), ["10.0.0.100 via 198.18.0.2"]);
    applier.routes.apply(&[theirs("198.18.0.1"), ours("198.18.0.2")]);
    site.wait_next_hop(1, VIP, "198.18.0.2");
    assert_eq!(crate::table(&site.node, 102), ["10.0.0.100 via 198.18.0.1"]);
    applier.routes.apply(&[Event::HavipDeleted("theirs".parse().expect("a name"))]);
    applier.wait_for("one route", |figures| figures.routes == 1);
    site.wait_answers(1, VIP, 1);
    assert_eq!(site.next_hop(0, VIP), None, "and the edge knows neither");
}

#[test]
fn frr_tells_a_router_where_virtual_ips_are_and_packets_from_outside_follow_them() {
    let site = Site::new();
    let applier = Applier::start(&site.node, &format!("replace = false\n{CONFIG}"));
    let _routers = site.start_routers();
    let mut frr = site.start_frr();
    applier.routes.apply(&[teps(), held(1)].concat());
    site.wait_next_hop(0, EIP, "198.18.0.1");
    site.wait_answers(0, EIP, 0);
    for round in 1..=6 {
        let to = round % 2;
        let start = Instant::now();
        applier.routes.apply(&held(to + 1));
        site.wait_next_hop(0, EIP, ["198.18.0.1", "198.18.0.2"][to]);
        let elapsed = start.elapsed().as_millis();
        println!("FRR, move {round}, from the change to the neighbour's kernel: {elapsed} ms");
        site.wait_answers(0, EIP, to);
    }
    applier.routes.apply(&[Event::HavipDeleted("web".parse().expect("a name"))]);
    wait_for("it to be withdrawn", || site.next_hop(0, EIP).is_none().then_some(()));
    assert_eq!(site.answers(0, EIP), None);

    applier.routes.apply(&held(1));
    site.wait_next_hop(0, EIP, "198.18.0.1");
    for process in &mut frr {
        process.kill();
    }
    site.wait_sessions_down();
    assert!(site.next_hop(0, EIP).is_some(), "a daemon that was killed leaves the router what it knows");
}
