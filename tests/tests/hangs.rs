//! A part that hangs hangs nothing else: changes and queries are answered, `/readyz` says what hangs, and SIGTERM ends the
//! daemon.

use std::{fmt::Write, fs, net::Ipv4Addr, path::Path};

use e2e::{
    frame::{broadcast, overlay},
    freeze::Frozen,
    lab::{Lab, mac_text},
    namespace::Namespace,
    node::{Config, Node, get},
    process::{output, run, wait_for},
    sender::Sender,
    sniffer::Sniffer,
};
use nix::sys::signal::Signal;

const VNI: u32 = 5001;

/// Waits until `/readyz` is not 200 and has a line that starts with this condition; gives the line.
fn wait_unready(lab: &Lab, condition: &str) -> String {
    wait_for(&format!("/readyz to say {condition}"), || {
        let reply = get(&lab.node, "/readyz").filter(|reply| reply.starts_with("HTTP/1.1 503"))?;
        reply.lines().find(|line| line.starts_with(&format!("{condition}: "))).map(str::to_owned)
    })
}

fn wait_ready(lab: &Lab) {
    wait_for("/readyz to be 200", || {
        get(&lab.node, "/readyz").filter(|reply| reply.starts_with("HTTP/1.1 200")).map(drop)
    });
}

/// More notifications than a netlink socket holds: one neighbour that keeps changing, so that the kernel's table does not fill.
fn flood(namespace: &Namespace, folder: &Path) {
    let mut batch = String::new();
    for number in 0..60_000 {
        let last = number % 2 + 1;
        writeln!(batch, "neigh replace 10.99.0.1 lladdr 02:00:00:00:99:0{last} nud permanent dev flood0")
            .unwrap();
    }
    let file = folder.join("flood");
    fs::write(&file, batch).unwrap();
    run(namespace.command("ip").arg("-batch").arg(file));
}

fn add_flooded_interface(lab: &Lab) {
    lab.node.ip("link add flood0 type veth peer name flood1");
    lab.node.ip("link set flood0 up");
}

#[test]
fn while_the_kernel_does_not_answer_changes_and_queries_are_answered_and_sigterm_ends_the_daemon() {
    let lab = Lab::new();
    let mut node = Node::plain(&lab);
    let frozen = Frozen::thread(node.process(), "next-hops");
    for number in 1..=20 {
        node.must(&format!("tep add 198.18.200.{number} --name h{number}"));
        node.must(&format!("tep show h{number}"));
    }
    node.must(&format!("domain create {VNI}"));
    node.must(&format!("domain join {VNI} h1 h2"));
    node.must("tep rm --force h1");
    let line = wait_unready(&lab, "next_hops");
    assert!(line.contains("does not answer"), "{line}");
    assert_eq!(node.metrics().labelled("bcast_condition", "condition", "next_hops"), 0);
    node.process().signal(Signal::SIGTERM);
    let status = frozen.end_of(node.process());
    assert_eq!(status.code(), Some(1), "{}", node.log());
    assert!(node.log().contains("the daemon does not stop in time"), "{}", node.log());
    node.restart();
    assert_eq!(node.must("domain show 5001").matches("198.18.200.2").count(), 1);
    assert!(node.stop().success(), "{}", node.log());
}

#[test]
fn a_kernel_that_answers_again_is_asked_for_all_that_was_missed() {
    let lab = Lab::new();
    let mut node = Node::plain(&lab);
    let (from, to) = (lab.host(), lab.host());
    let frozen = Frozen::thread(node.process(), "next-hops");
    node.must(&format!("tep add {}", from.address));
    node.must(&format!("tep add {}", to.address));
    wait_unready(&lab, "next_hops");
    drop(frozen);
    wait_ready(&lab);
    node.wait_resolved(&[from.address, to.address]);
}

#[test]
fn a_worker_that_hangs_is_named_and_sigterm_ends_the_daemon() {
    let lab = Lab::new();
    let config = Config::new(lab.folder()).set("workers.idle_sleep_us", 0);
    let mut node = Node::start(&lab, &config);
    let frozen = Frozen::thread(node.process(), "worker-0");
    let line = wait_unready(&lab, "workers");
    assert!(line.contains("worker 0 does not poll"), "{line}");
    let answer = node.ctl(&["tep", "add", "198.18.200.1"]);
    assert_eq!(answer.status, 1, "{answer:?}");
    assert!(answer.stderr.contains("not every worker has confirmed"), "{answer:?}");
    node.must("tep show 198.18.200.1");
    node.process().signal(Signal::SIGTERM);
    assert_eq!(frozen.end_of(node.process()).code(), Some(1), "{}", node.log());
}

#[test]
fn a_commit_thread_that_hangs_is_named_queries_are_answered_and_sigterm_ends_the_daemon() {
    let lab = Lab::new();
    let mut node = Node::plain(&lab);
    node.must("tep add 198.18.200.1 --name h1");
    let frozen = Frozen::thread(node.process(), "ctl-commit");
    let answer = node.ctl(&["--timeout", "1", "tep", "add", "198.18.200.2"]);
    assert_eq!(answer.status, 3, "{answer:?}");
    node.must("version");
    node.must("stats");
    let line = wait_unready(&lab, "commit_thread");
    assert!(line.contains("does not answer"), "{line}");
    node.process().signal(Signal::SIGTERM);
    assert_eq!(frozen.end_of(node.process()).code(), Some(1), "{}", node.log());
    node.restart();
    assert!(node.must("tep list").contains("h1"));
}

#[test]
fn a_full_disk_withdraws_no_node_and_readyz_changes_tells() {
    let lab = Lab::new();
    let node = Node::start(&lab, &Config::new(lab.folder()).small_disk(&lab));
    let filling = node.fill_disk();
    let refused = wait_for("a change to be refused", || {
        (1..200)
            .map(|n| node.ctl(&["tep", "add", &format!("198.18.201.{n}")]))
            .find(|answer| answer.status != 0)
    });
    assert_eq!(refused.status, 1, "{refused:?}");
    wait_ready(&lab);
    let changes = |status: &str| {
        wait_for(&format!("/readyz?changes to be {status}"), || {
            get(&lab.node, "/readyz?changes").filter(|reply| reply.starts_with(&format!("HTTP/1.1 {status}")))
        })
    };
    let reply = changes("503");
    assert!(reply.contains("store_changes: "), "{reply}");
    assert_eq!(node.metrics().labelled("bcast_condition", "condition", "store_changes"), 0);
    fs::remove_file(filling).unwrap();
    changes("200");
    node.must("tep add 198.18.202.1");
}

#[test]
fn a_flood_of_notifications_beside_changes_hangs_nothing() {
    let lab = Lab::new();
    let mut node = Node::plain(&lab);
    add_flooded_interface(&lab);
    let (namespace, folder) = (&lab.node, lab.folder());
    std::thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(namespace, folder));
        let mut rounds = 0;
        while !flooding.is_finished() || rounds < 50 {
            node.must("tep add 198.18.200.1");
            node.must("tep show 198.18.200.1");
            node.must("tep rm 198.18.200.1");
            rounds += 1;
        }
    });
    wait_ready(&lab);
    assert!(node.stop().success(), "{}", node.log());
}

#[test]
fn after_lost_notifications_links_neighbours_and_routes_are_read_whole() {
    let lab = Lab::new();
    let mut node = Node::plain(&lab);
    let (from, to, other) = (lab.host(), lab.host(), lab.host());
    let (behind, pinned) = (Ipv4Addr::new(203, 0, 113, 7), Ipv4Addr::new(198, 18, 0, 77));
    lab.node.ip(&format!("route add {behind}/32 via {}", other.address));
    lab.node.ip(&format!("neigh add {pinned} lladdr 02:00:00:00:00:77 nud permanent dev bcast0"));
    node.serve(VNI, &[from.address, to.address, behind, pinned]);
    add_flooded_interface(&lab);
    // Down, and the node knows; then it hears nothing, and all changes.
    lab.switch.ip("link set dev node down");
    wait_unready(&lab, "link");
    let frozen = Frozen::thread(node.process(), "next-hops");
    flood(&lab.node, lab.folder());
    lab.switch.ip("link set dev node up");
    lab.node.ip(&format!("route replace {behind}/32 via {}", to.address));
    lab.node.ip(&format!("neigh del {pinned} dev bcast0"));
    drop(frozen);
    wait_ready(&lab);
    wait_for("the route that changed", || {
        node.must(&format!("tep show {behind}")).contains(&to.address.to_string()).then_some(())
    });
    node.wait_resolved(&[behind]);
    wait_for("the neighbour that is gone to be unresolved", || {
        (!node.must(&format!("tep show {pinned}")).contains("02:00:00:00:00:77")).then_some(())
    });
    assert!(node.log().contains("notifications were lost"), "{}", node.log());
    let sniffer =
        Sniffer::start(&to.namespace, "eth0", &format!("dst host {behind}"), lab.folder(), "behind");
    Sender::new(&from.namespace, "eth0").send(&overlay(&from, VNI, &broadcast(1, 1, 60)));
    assert_eq!(sniffer.copies_until(1, 1).len(), 1);
}

#[test]
fn a_flushed_neighbour_is_resolved_again_without_waiting_for_the_next_read_in_full() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let (from, to) = (lab.host(), lab.host());
    node.serve(VNI, &[from.address, to.address]);
    let flushed = || node.log().matches("unresolved").count();
    for round in 1..=20 {
        let before = flushed();
        // `ip` flushes until nothing is left, ten times; the daemon may be faster.
        output(lab.node.command("ip").args(["neigh", "flush", "dev", "bcast0"]));
        wait_for("the flush to be noticed", || (flushed() > before).then_some(()));
        node.wait_resolved(&[from.address, to.address]);
        // Twenty rounds of up to five seconds would not fit into what a wait may take.
        println!("round {round}");
    }
}

#[test]
fn an_ipv4_route_by_way_of_an_ipv6_next_hop_is_used() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let (from, to) = (lab.host(), lab.host());
    let behind = Ipv4Addr::new(203, 0, 113, 9);
    to.namespace.run("sysctl -q -w net.ipv6.conf.eth0.disable_ipv6=0");
    to.namespace.ip("address add fe80::77/64 dev eth0 nodad");
    lab.node.ip(&format!("route add {behind}/32 via inet6 fe80::77 dev bcast0"));
    node.serve(VNI, &[from.address, behind]);
    let shown = node.must(&format!("tep show {behind}"));
    assert!(shown.contains("fe80::77") && shown.contains(&mac_text(to.mac)), "{shown}");
    let sniffer = Sniffer::start(&to.namespace, "eth0", &format!("dst host {behind}"), lab.folder(), "via6");
    Sender::new(&from.namespace, "eth0").send(&overlay(&from, VNI, &broadcast(1, 1, 60)));
    assert_eq!(sniffer.copies_until(1, 1).len(), 1);
    // A route that moves to an ordinary next hop, and back, is followed.
    lab.node.ip(&format!("route replace {behind}/32 via {}", from.address));
    wait_for("the IPv4 next hop", || {
        node.must(&format!("tep show {behind}")).contains(&from.address.to_string()).then_some(())
    });
    lab.node.ip(&format!("route replace {behind}/32 via inet6 fe80::77 dev bcast0"));
    wait_for("the IPv6 next hop", || {
        node.must(&format!("tep show {behind}")).contains("fe80::77").then_some(())
    });
}

#[test]
fn a_next_hop_object_that_changes_moves_the_routes_that_use_it() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let (from, one, two) = (lab.host(), lab.host(), lab.host());
    let behind = Ipv4Addr::new(203, 0, 113, 11);
    lab.node.ip(&format!("nexthop add id 7 via {} dev bcast0", one.address));
    lab.node.ip(&format!("route add {behind}/32 nhid 7"));
    node.serve(VNI, &[from.address, behind]);
    let goes_by = |host: Ipv4Addr| {
        wait_for(&format!("the next hop {host}"), || {
            node.must(&format!("tep show {behind}")).contains(&host.to_string()).then_some(())
        });
    };
    goes_by(one.address);
    lab.node.ip(&format!("nexthop replace id 7 via {} dev bcast0", two.address));
    goes_by(two.address);
}

#[test]
fn a_port_that_leaves_a_bridge_is_not_gone() {
    let lab = Lab::new();
    let config = Config::new(lab.folder()).set("port.takeover", true);
    lab.node.ip("link add br9 type bridge");
    lab.node.ip("link set eth0 master br9");
    let mut node = Node::start(&lab, &config);
    lab.node.ip("link set eth0 nomaster");
    node.must("tep add 198.18.200.1");
    wait_ready(&lab);
    assert!(node.stop().success(), "{}", node.log());
}
