//! Routes of virtual IPs: in the kernel's tables, and by BGP in a router's.

#[path = "routes/applier.rs"]
mod applier;
#[path = "routes/bgp.rs"]
mod bgp;
#[path = "routes/daemon.rs"]
mod daemon;

use ctl_api::model::Event;
use ctl_routes::Why;
use testkit::{namespace::Namespace, process::wait_for};

use applier::{Applier, CONFIG, havip, tep};

/// A node's namespace: its link is 198.18.0.0/16 and 2001:db8:1::/64, on `eth0`.
fn node(name: &str) -> (Namespace, Namespace) {
    let name = format!("{}-{name}", testkit::lab::fresh_name());
    let (node, peer) = (Namespace::new(format!("{name}-node")), Namespace::new(format!("{name}-peer")));
    testkit::namespace::join(&node, "eth0", &peer, "eth0");
    for (namespace, last) in [(&node, "254"), (&peer, "1")] {
        namespace.ip(&format!("address add 198.18.0.{last}/16 dev eth0"));
        namespace.ip(&format!("address add 2001:db8:1::{last}/64 dev eth0 nodad"));
    }
    (node, peer)
}

/// The routes of a table: prefix and next hop of each.
fn table(namespace: &Namespace, number: u32) -> Vec<String> {
    // A table that nobody has written to is no error here.
    let show = |family: &str| namespace.ip(&format!("{family} route show table all proto 117"));
    let table = format!("table {number}");
    let routes = [show("-4"), show("-6")].concat();
    let ours = routes.lines().filter(|line| line.contains(&format!("{table} ")));
    ours.map(|line| line.split_whitespace().take(3).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn routes_follow_the_holder_in_the_table_of_their_vni_alone() {
    let (node, _peer) = node("follow");
    let applier = Applier::start(&node, CONFIG);
    let both = [
        havip("a", 5001, "10.0.0.100", Some("203.0.113.7"), Some("198.18.0.1")),
        havip("b", 5002, "10.0.0.100", None, Some("198.18.0.2")),
        havip("c", 5003, "10.0.0.101", None, Some("198.18.0.2")),
        havip("d", 5001, "10.0.0.102", None, None),
    ];
    applier.routes.apply(&both);
    applier.wait_for("three routes", |figures| figures.routes == 3);
    assert_eq!(table(&node, 117), ["203.0.113.7 via 198.18.0.1"]);
    assert_eq!(table(&node, 101), ["10.0.0.100 via 198.18.0.1"]);
    assert_eq!(table(&node, 102), ["10.0.0.100 via 198.18.0.2"]);

    let monitor =
        node.start("ip monitor route", &std::env::temp_dir().join(format!("{}-monitor", node.name())));
    let mut metrics = 1..;
    wait_for("the monitor to listen", || {
        node.ip(&format!("route add 192.0.2.9/32 dev eth0 metric {}", metrics.next()?));
        monitor.log().contains("192.0.2.9").then_some(())
    });
    applier.routes.apply(&[havip("a", 5001, "10.0.0.100", Some("203.0.113.7"), Some("198.18.0.3"))]);
    applier.wait_for("five writes", |figures| figures.written == 5);
    assert_eq!(table(&node, 117), ["203.0.113.7 via 198.18.0.3"]);
    assert_eq!(table(&node, 101), ["10.0.0.100 via 198.18.0.3"]);
    assert_eq!(table(&node, 102), ["10.0.0.100 via 198.18.0.2"], "the other tenant's is where it was");
    wait_for("the moves to be seen", || (monitor.log().matches("198.18.0.3").count() == 2).then_some(()));
    assert!(!monitor.log().contains("Deleted"), "there is no moment without a route: {}", monitor.log());

    let gone = [
        havip("a", 5001, "10.0.0.100", Some("203.0.113.7"), None),
        Event::HavipDeleted("b".parse().expect("a name")),
    ];
    applier.routes.apply(&gone);
    applier.wait_for("no routes", |figures| figures.routes == 0);
    assert_eq!([117, 101, 102].map(|number| table(&node, number).len()), [0; 3]);
}

#[test]
fn what_an_earlier_daemon_left_is_kept_where_it_is_right_and_removed_where_not() {
    let (node, _peer) = node("earlier");
    for route in [
        "10.0.0.100 via 198.18.0.1 dev eth0 table 101 proto 117",
        "10.0.0.101 via 198.18.0.1 dev eth0 table 101 proto 117",
        "10.0.0.102 via 198.18.0.1 dev eth0 table 101 proto 117",
        "blackhole 10.0.0.103 table 101 proto 117",
        "10.0.0.104 via 198.18.0.1 dev eth0 table 9999 proto 117",
        "10.0.0.105 via 198.18.0.1 dev eth0 table 101 proto static",
        "10.1.0.0/24 via 198.18.0.1 dev eth0 table 101 proto 117",
    ] {
        node.ip(&format!("route add {route}"));
    }
    node.ip("-6 route add 2001:db8:a::1/128 via 2001:db8:1::9 dev eth0 table 102 proto 117");
    let applier = Applier::start(&node, CONFIG);
    // Before it was told anything it touches nothing.
    assert_eq!(table(&node, 101).len(), 5);
    applier.routes.apply(&[
        havip("right", 5001, "10.0.0.100", None, Some("198.18.0.1")),
        havip("moved", 5001, "10.0.0.101", None, Some("198.18.0.2")),
        havip("odd", 5001, "10.0.0.103", None, Some("198.18.0.3")),
    ]);
    applier.wait_for("all to be put right", |figures| figures.routes == 3 && figures.written == 5);
    let right = ["10.0.0.100 via 198.18.0.1", "10.0.0.101 via 198.18.0.2", "10.0.0.103 via 198.18.0.3"];
    let not_of_a_host = ["10.1.0.0/24 via 198.18.0.1"];
    assert_eq!(table(&node, 101), [&right[..], &not_of_a_host].concat());
    assert_eq!(table(&node, 9999), [""; 0], "of a table that is not configured any more");
    assert_eq!(table(&node, 102), [""; 0]);
    let others = node.ip("route show table 101 proto static");
    assert!(others.starts_with("10.0.0.105 via 198.18.0.1"), "others' routes are left alone: {others}");
}

#[test]
fn what_the_kernel_removes_comes_back() {
    let (node, peer) = node("restored");
    let applier = Applier::start(&node, CONFIG);
    let six = "2001:db8:a::100";
    applier.routes.apply(&[
        tep("198.18.0.1", None, Some("2001:db8:1::1")),
        havip("a", 5001, "10.0.0.100", None, Some("198.18.0.1")),
        havip("b", 5001, six, None, Some("198.18.0.1")),
    ]);
    let all = ["10.0.0.100 via 198.18.0.1", "2001:db8:a::100 via 2001:db8:1::1"];
    applier.wait_for("both", |figures| figures.routes == 2);
    assert_eq!(table(&node, 101), all);

    // A link that goes down takes its routes with it, and IPv6 addresses as well.
    node.ip("link set dev eth0 down");
    applier.wait_for("no way", |figures| figures.unusable == 2 && figures.routes == 0);
    assert_eq!(table(&node, 101), [""; 0]);
    node.ip("link set dev eth0 up");
    node.ip("address replace 2001:db8:1::254/64 dev eth0 nodad");
    applier.wait_for("both again", |figures| figures.routes == 2 && figures.unusable == 0);
    assert_eq!(table(&node, 101), all);

    // Somebody's hand, of which nobody is told.
    node.ip("route flush table 101");
    node.ip("-6 route flush table 101");
    wait_for("both to come back", || (table(&node, 101) == all).then_some(()));
    drop(peer);
}

#[test]
fn without_a_usable_next_hop_there_is_no_route_and_somebody_is_told() {
    let (node, _peer) = node("unusable");
    let mut applier = Applier::start(&node, CONFIG);
    let held = |tep: &str| havip("a", 5001, "10.0.0.100", None, Some(tep));
    applier.routes.apply(&[held("198.18.0.1")]);
    applier.wait_for("a route", |figures| figures.routes == 1);

    // To a hypervisor behind a router that nobody has named: the old route would lead to the wrong place.
    applier.routes.apply(&[held("192.0.2.1")]);
    applier.wait_for("no route", |figures| figures.routes == 0 && figures.unusable == 1);
    assert_eq!(table(&node, 101), [""; 0]);
    let told = wait_for("word of it", || applier.unusable.try_recv().ok());
    assert_eq!((told.havip.as_str(), told.generation), ("a", 7));
    assert_eq!(told.why, Why::NoNextHop("192.0.2.1".parse().expect("a TEP")));
    assert_eq!(told.route.to_string(), "10.0.0.100/32 table 101");

    // A router that is no neighbour is no better, and that is news; then one that is.
    applier.routes.apply(&[tep("192.0.2.1", Some("192.0.2.254"), None)]);
    let told = wait_for("word of it", || applier.unusable.try_recv().ok());
    let gateway = "192.0.2.254".parse().expect("an address");
    assert_eq!(told.why, Why::OffLink { tep: "192.0.2.1".parse().expect("a TEP"), gateway });
    applier.routes.apply(&[tep("192.0.2.1", Some("198.18.0.9"), None)]);
    applier.wait_for("a route", |figures| figures.routes == 1 && figures.unusable == 0);
    assert_eq!(table(&node, 101), ["10.0.0.100 via 198.18.0.9"]);
    assert!(applier.unusable.try_recv().is_err(), "and no more words");
}

#[test]
fn ten_thousand_routes_are_made_and_moved() {
    let (node, _peer) = node("many");
    let applier = Applier::start(&node, CONFIG);
    let all = |tep: &str| -> Vec<Event> {
        let address = |n: usize| format!("10.0.{}.{}", n / 250, n % 250 + 1);
        let entry = |n: usize| havip(&format!("h{n}"), 5001, &address(n), None, Some(tep));
        (0..10_000).map(entry).collect()
    };
    for (round, tep) in ["198.18.0.1", "198.18.0.2"].into_iter().enumerate() {
        let events = all(tep);
        let start = std::time::Instant::now();
        applier.routes.apply(&events);
        applier.wait_for("all of them", |figures| figures.written == 10_000 * (round as u64 + 1));
        println!("10,000 routes in {} ms", start.elapsed().as_millis());
        assert_eq!(table(&node, 101).iter().filter(|route| route.ends_with(tep)).count(), 10_000);
    }
}
