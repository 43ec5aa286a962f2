//! The whole way: an announcement on the wire, the daemon, BIRD, a router's table, a packet from outside.

use std::{net::Ipv4Addr, path::Path, time::Instant};

use testkit::{
    bird,
    forge::FrameSender,
    lab::{Host, Lab},
    node::{Config, Metrics, Node},
    process::{Process, wait_for},
};
use wire::{
    MacAddr,
    gratuitous::{Form, garp},
};

use crate::{bgp, table};

const VNI: u32 = 5001;
const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
const EIP: &str = "203.0.113.7";

/// A node that makes routes, BIRD on it with docs/bird.conf, and BIRD on the underlay's router, which is the edge router in it; and
/// hypervisors that answer for [`EIP`] with hop limits 111 and on.
struct Scene<'lab> {
    node: Node<'lab>,
    lab: &'lab Lab,
    hypervisors: Vec<Host>,
    senders: Vec<FrameSender>,
    _birds: [Process; 2],
}

fn mac(n: usize) -> MacAddr {
    MacAddr([0x52, 0x54, 0, 0, 0, u8::try_from(n).expect("few")])
}

impl<'lab> Scene<'lab> {
    fn new(lab: &'lab Lab, config: &Config) -> Self {
        let hypervisors: Vec<Host> = (0..2).map(|_| lab.host()).collect();
        let node = Node::start(lab, config);
        node.serve(VNI, &hypervisors.iter().map(|host| host.address).collect::<Vec<_>>());
        node.must(&format!("havip create web --vni {VNI} --subnet 10.0.0.0/24 --address {VIP}"));
        node.must(&format!("havip bind-eip web {EIP}"));
        for (n, host) in hypervisors.iter().enumerate() {
            node.must(&format!("havip attach web --instance vm{n} --mac {} --tep {}", mac(n), host.address));
            host.namespace.ip(&format!("address add {EIP}/32 dev lo"));
            host.namespace.run(&format!("sysctl -q -w net.ipv4.ip_default_ttl={}", 111 + n));
        }
        let senders = hypervisors.iter().map(|host| FrameSender::new(host, VNI)).collect();
        let edge = bgp::router_config(1, &["ipv4"]);
        let path = lab.folder().join("edge.conf");
        std::fs::write(&path, edge).expect("the folder is ours");
        let birds = [
            bird::start(&lab.switch, &path, lab.folder()),
            bird::start(&lab.node, &Path::new(bgp::DOCS).join("bird.conf"), lab.folder()),
        ];
        Self { node, lab, hypervisors, senders, _birds: birds }
    }

    /// A VM on that hypervisor says that it has the address.
    fn claim(&self, n: usize) {
        self.senders[n].send(&garp(mac(n), VIP, Form::Request));
    }

    fn wait_next_hop(&self, expected: Ipv4Addr) {
        wait_for(&format!("{EIP} by {expected} at the router"), || {
            bgp::next_hop(&self.lab.switch, EIP).is_some_and(|next_hop| next_hop == expected).then_some(())
        });
    }

    /// True if that hypervisor answers a ping from the router.
    fn answers(&self, n: usize) -> bool {
        let mut ping = self.lab.switch.command("ping");
        let output = ping.args(["-n", "-c1", "-W1", EIP]).output().expect("ping runs");
        String::from_utf8_lossy(&output.stdout).contains(&format!("ttl={} ", 111 + n))
    }
}

fn config(lab: &Lab) -> Config {
    Config::new(lab.folder()).set("routes.public_table", 117)
}

#[test]
fn a_gratuitous_arp_moves_the_route_in_a_routers_table_and_packets_follow() {
    let lab = Lab::new();
    let scene = Scene::new(&lab, &config(&lab).set("havip.flap_moves", 100));
    scene.claim(0);
    scene.wait_next_hop(scene.hypervisors[0].address);
    let mut took = Vec::new();
    for round in 1..=20 {
        let to = round % 2;
        let start = Instant::now();
        scene.claim(to);
        scene.wait_next_hop(scene.hypervisors[to].address);
        took.push(start.elapsed().as_millis());
        wait_for("the holder's hypervisor to answer", || scene.answers(to).then_some(()));
    }
    took.sort_unstable();
    println!("GARP to the neighbour's kernel, 20 moves: {} ms median, {} ms at most", took[9], took[19]);
    scene.node.must("havip detach web --instance vm0");
    wait_for("it to be withdrawn", || bgp::next_hop(&lab.switch, EIP).is_none().then_some(()));
}

/// A live migration ends with RARP, which names no address: binding and route go along with all that the instance holds.
#[test]
fn rarp_of_a_migrated_instance_moves_the_route_of_what_it_holds() {
    let lab = Lab::new();
    let scene = Scene::new(&lab, &config(&lab));
    let [old, new] = &scene.hypervisors[..] else { panic!("two hypervisors") };
    let (mac, teps) = (mac(0), format!("--tep {} --tep {}", old.address, new.address));
    scene.claim(0);
    scene.wait_next_hop(old.address);
    scene.node.must(&format!("havip attach web --instance vm0 --mac {mac} {teps}"));
    // QEMU's: operation 3 (RFC 903), for its own MAC address, 60 bytes long.
    let request = [&[0, 1, 8, 0, 6, 4, 0, 3], &mac.0[..], &[0; 4], &mac.0, &[0; 22]].concat();
    scene.senders[1].send(&testkit::frame::ethernet([0xff; 6], mac.0, 0x8035, &request));
    scene.wait_next_hop(new.address);
    let after = scene.node.havip("web");
    let holder = after.holder().expect("a holder");
    assert_eq!((holder.instance.as_str(), holder.tep), ("vm0", new.address.to_string()));
    wait_for("the new hypervisor to answer", || scene.answers(1).then_some(()));
}

#[test]
fn the_route_of_a_frozen_virtual_ip_holds_still() {
    let lab = Lab::new();
    let scene = Scene::new(&lab, &config(&lab).set("havip.flap_moves", 3));
    for round in 0..40 {
        scene.claim(round % 2);
        // Of claims that arrive together the last alone would count.
        let claimer = scene.hypervisors[round % 2].address.to_string();
        let after = scene.node.wait_havip("web", "the claim to count", |havip| {
            havip.state() == "frozen" || havip.holder().is_some_and(|holder| holder.tep == claimer)
        });
        if after.state() == "frozen" {
            break;
        }
    }
    let frozen = scene.node.havip("web");
    assert_eq!(frozen.state(), "frozen", "{}", frozen.diagnosis());
    let holder: Ipv4Addr = frozen.holder().expect("a holder").tep.parse().expect("an address");
    scene.wait_next_hop(holder);
    let other = usize::from(holder == scene.hypervisors[0].address);
    let claims = |metrics: &Metrics| metrics.labelled("bcast_announcements_total", "kind", "claim");
    let before = claims(&scene.node.metrics());
    for _ in 0..5 {
        scene.claim(other);
    }
    scene.node.wait_metrics("the claims to be heard", |now| claims(now) >= before + 5);
    assert_eq!(table(&lab.node, 117), [format!("{EIP} via {holder}")]);
    scene.node.must("havip unfreeze web");
    scene.claim(other);
    scene.wait_next_hop(scene.hypervisors[other].address);
}

#[test]
fn a_route_that_cannot_be_is_an_event_and_comes_with_its_next_hop() {
    let lab = Lab::new();
    let scene = Scene::new(&lab, &config(&lab));
    // A hypervisor behind a router that nobody has named. What it sends comes by hypervisor 1's wire.
    let far = Host {
        namespace: lab.host().namespace,
        address: Ipv4Addr::new(192, 0, 2, 1),
        mac: [2, 0, 0, 0, 0, 3],
    };
    scene.node.must("tep add 192.0.2.1");
    scene.node.must(&format!("domain join {VNI} 192.0.2.1"));
    scene.node.must(&format!("havip attach web --instance far --mac {} --tep 192.0.2.1", mac(9)));
    scene.claim(0);
    scene.wait_next_hop(scene.hypervisors[0].address);
    FrameSender::new(&far, VNI).send(&garp(mac(9), VIP, Form::Reply));
    wait_for("the route to go", || bgp::next_hop(&lab.switch, EIP).is_none().then_some(()));
    let event = wait_for("the event", || {
        scene.node.history("web").into_iter().find(|(kind, _)| kind == "route_unusable")
    });
    let detail = event.1.to_string();
    assert!(detail.contains("bcastctl tep route-gateway 192.0.2.1 ADDRESS"), "{detail}");
    scene.node.must("tep route-gateway 192.0.2.1 198.18.0.2");
    scene.wait_next_hop(Ipv4Addr::new(198, 18, 0, 2));
}

#[test]
fn a_daemon_that_is_back_has_its_routes_back_and_routers_keep_theirs_meanwhile() {
    let lab = Lab::new();
    let mut scene = Scene::new(&lab, &config(&lab));
    scene.claim(0);
    let holder = scene.hypervisors[0].address;
    scene.wait_next_hop(holder);
    scene.node.kill9();
    // The TAP went with the daemon, its routes with the TAP, and BIRD's session with them.
    wait_for("the kernel to have removed the route", || table(&lab.node, 117).is_empty().then_some(()));
    wait_for("BIRD to notice", || (bgp::sessions(&lab.node, lab.folder()) == 0).then_some(()));
    assert_eq!(bgp::next_hop(&lab.switch, EIP), Some(holder.into()), "the router keeps what it knows");
    wait_for("the holder's hypervisor to answer", || scene.answers(0).then_some(()));

    scene.node.restart();
    wait_for("the route to be back", || {
        (table(&lab.node, 117) == [format!("{EIP} via {holder}")]).then_some(())
    });
    wait_for("BIRD's session to be back", || (bgp::sessions(&lab.node, lab.folder()) == 1).then_some(()));
    scene.claim(1);
    scene.wait_next_hop(scene.hypervisors[1].address);
}
