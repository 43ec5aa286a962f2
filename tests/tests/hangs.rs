//! A part that hangs hangs nothing else: changes and queries are answered, `/readyz` says what hangs, and SIGTERM ends the
//! daemon.

use std::{
    fmt::Write,
    fs,
    net::Ipv4Addr,
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use nix::sys::signal::Signal;
use testkit::{
    frame::{broadcast, overlay},
    freeze::Frozen,
    lab::{Lab, NODE, mac_text},
    namespace::Namespace,
    node::{Config, Node, get},
    process::{output, run, wait_for},
    sender::Sender,
    sniffer::Sniffer,
};

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

#[test]
fn a_changed_next_hop_reaches_the_workers_while_routes_are_looked_up_without_end() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let router = lab.host();
    lab.node.ip(&format!("route add 198.19.0.0/16 via {}", router.address));
    let teps: Vec<String> = (1..=3_000_u16)
        .map(|number| number.to_be_bytes())
        .map(|[high, low]| format!("{{address: 198.19.{high}.{low}}}"))
        .collect();
    let file = lab.folder().join("teps.yaml");
    fs::write(&file, format!("teps: [{}]\n", teps.join(", "))).unwrap();
    node.must(&format!("apply -f {}", file.display()));
    node.wait_resolved(&[[198, 19, 0, 1].into()]);
    add_flooded_interface(&lab);
    let (namespace, done) = (&lab.node, AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) {
                namespace.ip("address add 198.18.200.1/32 dev flood0");
                namespace.ip("address del 198.18.200.1/32 dev flood0");
            }
        });
        for last in 1..=5 {
            let mac = format!("02:00:00:00:77:0{last}");
            namespace.ip(&format!("neigh replace {} lladdr {mac} dev bcast0 nud permanent", router.address));
            wait_for("the new MAC address", || node.must("tep show 198.19.7.7").contains(&mac).then_some(()));
            node.must(&format!("tep add 198.18.201.{last}"));
        }
        done.store(true, Relaxed);
    });
}

#[test]
fn what_others_take_from_the_tap_and_the_daemons_rules_is_put_back() {
    let lab = Lab::new();
    let config = Config::new(lab.folder())
        .set("underlay.addresses", vec![format!("{NODE}/24")])
        .set("underlay.gateway", "198.18.0.1");
    let (gateway, _) = (lab.host(), lab.host());
    let node = Node::start(&lab, &config);
    let far = "198.18.77.1".parse().unwrap();
    node.must(&format!("tep add {far}"));
    node.wait_resolved(&[far]);
    let rules = lab.node.ip("rule show");
    let forwarding = "/proc/sys/net/ipv4/conf/bcast0/forwarding";
    for taking in [
        "address del 198.18.0.254/24 dev bcast0",
        "link set dev bcast0 down",
        "rule del pref 9116",
        "rule del pref 9117",
    ] {
        lab.node.ip(taking);
        wait_for(&format!("the mend of `ip {taking}`"), || {
            let is_back = lab.node.ip("address show dev bcast0 up").contains(&format!("{NODE}/24"));
            (is_back && lab.node.ip("rule show") == rules).then_some(())
        });
        node.wait_resolved(&[far]);
        gateway.namespace.run(&format!("ping -n -c 1 -w 30 {NODE}"));
    }
    for setting in ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"] {
        lab.node.run(&format!("sysctl -q -w {setting}"));
    }
    wait_for("the TAP not to forward", || {
        (lab.node.run(&format!("cat {forwarding}")).trim() == "0").then_some(())
    });
    wait_ready(&lab);
}

#[test]
fn a_neighbour_that_the_operator_takes_over_is_his_and_one_that_he_leaves_is_kept_again() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let (one, two) = (lab.host(), lab.host());
    for host in [&one, &two] {
        node.must(&format!("tep add {}", host.address));
    }
    node.wait_resolved(&[one.address, two.address]);
    let show = |address: Ipv4Addr| lab.node.ip(&format!("neigh show {address} dev bcast0"));
    lab.node.ip(&format!("neigh replace {} lladdr 02:00:00:00:00:77 nud permanent dev bcast0", one.address));
    node.must(&format!("tep rm {}", one.address));
    lab.node.ip(&format!("neigh replace {} lladdr {} nud stale dev bcast0", two.address, mac_text(two.mac)));
    wait_for("the kernel to keep it again", || show(two.address).contains("managed").then_some(()));
    assert!(show(one.address).contains("02:00:00:00:00:77"), "{}", show(one.address));
}

#[test]
fn routes_that_are_not_plain_are_none() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let router = lab.host();
    let (tep, probe) = (Ipv4Addr::new(203, 0, 113, 20), Ipv4Addr::new(203, 0, 113, 21));
    for address in [tep, probe] {
        lab.node.ip(&format!("route add {address}/32 via {}", router.address));
        node.must(&format!("tep add {address}"));
    }
    node.wait_resolved(&[tep, probe]);
    for route in ["blackhole", "unreachable", "prohibit", "broadcast"] {
        let device = if route == "broadcast" { "dev bcast0" } else { "" };
        lab.node.ip(&format!("route replace {route} {tep}/32 {device} table main"));
        wait_for(&format!("no next hop by a {route} route"), || {
            (!node.must(&format!("tep show {tep}")).contains(&mac_text(router.mac))).then_some(())
        });
        lab.node.ip(&format!("route replace {tep}/32 via {}", router.address));
        node.wait_resolved(&[tep]);
    }
}

#[test]
fn threads_that_hang_between_workers_and_kernel_or_confirm_changes_are_named() {
    let lab = Lab::new();
    let mut node = Node::plain(&lab);
    let frozen = Frozen::thread(node.process(), "punt");
    let line = wait_unready(&lab, "punt");
    assert!(line.contains("does not answer"), "{line}");
    drop(frozen);
    wait_ready(&lab);
    let frozen = Frozen::thread(node.process(), "ctl-confirm");
    let line = wait_unready(&lab, "commit_thread");
    assert!(line.contains("confirms changes does not answer"), "{line}");
    node.process().signal(Signal::SIGTERM);
    assert_eq!(frozen.end_of(node.process()).code(), Some(1), "{}", node.log());
}
