//! The underlay may do nothing to the node's own host by its TAP.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};

use testkit::{
    frame::patched,
    icmp::{link_local, redirect, redirect6, router_advertisement},
    lab::{Host, Lab},
    node::{Config, Node, binary},
    process::{Process, wait_for},
    sender::Sender,
};

/// Settings of the TAP, below `net`; all that can be set otherwise.
const SETTINGS: [(&str, &str); 24] = [
    ("ipv4.conf.TAP.forwarding", "0"),
    ("ipv4.conf.TAP.accept_redirects", "0"),
    ("ipv4.conf.TAP.accept_source_route", "0"),
    ("ipv4.conf.TAP.accept_local", "0"),
    ("ipv4.conf.TAP.route_localnet", "0"),
    ("ipv4.conf.TAP.bootp_relay", "0"),
    ("ipv4.conf.TAP.proxy_arp", "0"),
    ("ipv4.conf.TAP.proxy_arp_pvlan", "0"),
    ("ipv4.conf.TAP.arp_ignore", "1"),
    ("ipv4.conf.TAP.arp_accept", "0"),
    ("ipv6.conf.TAP.forwarding", "0"),
    ("ipv6.conf.TAP.accept_ra", "0"),
    ("ipv6.conf.TAP.accept_ra_defrtr", "0"),
    ("ipv6.conf.TAP.accept_ra_pinfo", "0"),
    ("ipv6.conf.TAP.accept_ra_rtr_pref", "0"),
    ("ipv6.conf.TAP.accept_ra_rt_info_max_plen", "0"),
    ("ipv6.conf.TAP.accept_ra_mtu", "0"),
    ("ipv6.conf.TAP.accept_ra_from_local", "0"),
    ("ipv6.conf.TAP.autoconf", "0"),
    ("ipv6.conf.TAP.accept_redirects", "0"),
    ("ipv6.conf.TAP.accept_source_route", "-1"),
    ("ipv6.conf.TAP.accept_untracked_na", "0"),
    ("ipv6.conf.TAP.proxy_ndp", "0"),
    ("ipv6.conf.TAP.seg6_enabled", "0"),
];

/// A prefix that the forged advertisement has addresses made in.
const PREFIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 0);
/// Destinations beyond the link that the node has routes to.
const FAR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
const FAR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 9);

/// Sets a setting of the node's namespace, where its kernel has it.
fn set(lab: &Lab, which: &str, key: &str, value: &str) {
    lab.node.run(&format!("sysctl -q -e -w net.{}={value}", key.replace("TAP", which)));
}

/// A host that lets everything in, on whatever interface comes next.
fn permit(lab: &Lab) {
    for (key, wanted) in SETTINGS {
        let value = match key.rsplit('.').next().expect("a name") {
            "forwarding" => continue,
            "accept_ra" => "2",
            "accept_ra_rt_info_max_plen" => "64",
            _ => {
                if wanted == "0" || wanted == "-1" {
                    "1"
                } else {
                    "0"
                }
            }
        };
        set(lab, "default", key, value);
        set(lab, "all", key, value);
    }
}

/// Addresses and routes of the host, without what changes by itself.
fn state(lab: &Lab) -> String {
    let lines =
        ["-o addr show", "route show table all", "-6 route show table all"].map(|line| lab.node.ip(line));
    let words = lines.join("\n");
    let keep = |line: &&str| !line.contains("tentative");
    let stable = words.lines().filter(keep).map(|line| line.split(" expires ").next().unwrap_or(line));
    stable.collect::<Vec<_>>().join("\n")
}

/// The way to a destination, and whether the kernel has it from a redirect.
fn way(lab: &Lab, destination: &str) -> String {
    let found = lab.node.ip(&format!("route get {destination}"));
    found.split_whitespace().take_while(|word| *word != "src").collect::<Vec<_>>().join(" ")
}

/// Waits until the node's kernel has processed all that was sent to it before: it answers in order.
fn settle(from: &Host) {
    assert!(from.namespace.succeeds("ping -c 1 -W 5 198.18.0.254"), "the node does not answer");
}

#[test]
fn nothing_from_the_underlay_changes_the_hosts_routes_addresses_or_answers() {
    let lab = Lab::new();
    permit(&lab);
    let (gateway, other) = (lab.host(), lab.host());
    let node = Node::plain(&lab);
    for (key, wanted) in SETTINGS {
        let path = format!("/proc/sys/net/{}", key.replace('.', "/").replace("TAP", "bcast0"));
        let value = lab.node.inside(|| fs::read_to_string(&path));
        assert_eq!(value.unwrap_or_else(|_| wanted.into()).trim(), wanted, "{path}");
    }
    let tap = link_local(testkit::lab::NODE_MAC).to_string();
    wait_for("the TAP's link-local address", || {
        let line = lab.node.ip("-o -6 addr show dev bcast0 -tentative");
        line.contains(&tap).then_some(())
    });
    let router = link_local(gateway.mac);
    lab.node.ip(&format!("route add 203.0.113.0/24 via {} dev bcast0", gateway.address));
    lab.node.ip(&format!("-6 route add 2001:db8:9::/48 via {router} dev bcast0"));
    let ways = [way(&lab, &FAR.to_string()), way(&lab, &FAR6.to_string())];
    settle(&gateway);
    let (before, counted) = (state(&lab), node.metrics());

    let sender = Sender::new(&gateway.namespace, "eth0");
    let plain = redirect(&gateway, FAR, other.address);
    let mut tagged = plain.clone();
    tagged.splice(12..12, [0x81, 0, 0, 0]);
    // Record route, which a router would fill in.
    let mut options = plain.clone();
    options.splice(34..34, [7, 4, 4, 0]);
    let length = u8::try_from(options.len() - 14).expect("it is short");
    options[14] = 0x46;
    let options = sealed(patched(&options, &[(16, &[0, length])]), 24);
    let redirects = [plain.clone(), tagged, options, redirect6(&gateway, FAR6, other.mac)];
    for frame in &redirects {
        sender.send(frame);
    }
    let advertisement = router_advertisement(&gateway, PREFIX);
    sender.send(&advertisement);
    settle(&gateway);
    assert_eq!(state(&lab), before);
    assert_eq!([way(&lab, &FAR.to_string()), way(&lab, &FAR6.to_string())], ways);
    let redirected = |metrics: &testkit::node::Metrics| metrics.reason("bcast_drops_total", "punt_redirect");
    let metrics = node.wait_metrics("the redirects", |metrics| metrics.adds_up() && redirected(metrics) == 4);
    assert!(
        metrics.sum("bcast_punted_total") > counted.sum("bcast_punted_total"),
        "the advertisement is none"
    );

    // An address of another interface is nobody's business.
    lab.node.ip("address add 198.18.77.77/32 dev lo");
    assert!(!other.namespace.succeeds("ping -c 1 -W 1 198.18.77.77"), "the node answered for it");

    // All of it works on a host whose TAP is set as its other interfaces are.
    set(&lab, "bcast0", "ipv4.conf.TAP.arp_ignore", "0");
    other.namespace.ip("neigh flush dev eth0");
    assert!(other.namespace.succeeds("ping -c 1 -W 5 198.18.77.77"), "the check is none");
    for (key, value) in
        [("accept_ra", "2"), ("accept_ra_defrtr", "1"), ("accept_ra_pinfo", "1"), ("autoconf", "1")]
    {
        set(&lab, "bcast0", &format!("ipv6.conf.TAP.{key}"), value);
    }
    sender.send(&advertisement);
    wait_for("the forged default route", || {
        lab.node.ip("-6 route show default").contains(&router.to_string()).then_some(())
    });
    wait_for("an address of the forged prefix", || state(&lab).contains("2001:db8:bad:").then_some(()));
}

/// The frame with the checksum of its IPv4 header of `length` bytes right again.
fn sealed(mut frame: Vec<u8>, length: usize) -> Vec<u8> {
    frame[24..26].fill(0);
    let sum = testkit::frame::checksum(&frame[14..14 + length]).to_be_bytes();
    frame[24..26].copy_from_slice(&sum);
    frame
}

/// Starts a daemon that can read the kernel's settings and change none.
fn launch_without_settings(lab: &Lab) -> Process {
    let file = lab.folder().join("bcastd.toml");
    fs::write(&file, Config::new(lab.folder()).text()).expect("the lab's folder is ours");
    let mut command = lab.node.command("sh");
    let line = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys && exec \"$0\" --config \"$1\"";
    command.args(["-c", line]).arg(binary("bcastd")).arg(file);
    Process::start(&mut command, &lab.folder().join("bcastd.log"))
}

#[test]
fn a_daemon_that_cannot_protect_its_host_does_not_start_unless_the_host_is_protected_already() {
    let lab = Lab::new();
    permit(&lab);
    let mut process = launch_without_settings(&lab);
    let status = process.wait();
    assert_eq!(status.code(), Some(1), "{}", process.log());
    let log = process.log();
    let last = log.lines().last().unwrap_or_default();
    for words in [
        "/proc/sys/net/ipv4/conf/bcast0/accept_redirects is 1, must be 0",
        "net.ipv4.conf.default.accept_redirects",
    ] {
        assert!(last.contains(words), "{log}");
    }
    assert!(!lab.node.ip("link").contains("bcast0"), "it left its TAP behind");

    for (key, wanted) in SETTINGS {
        set(&lab, "default", key, wanted);
    }
    let mut process = launch_without_settings(&lab);
    process.wait_for_lines("forwarding", 1);
    let log = process.log();
    assert!(log.contains("base_reachable_time_ms") && log.contains("could not be made"), "{log}");
    assert!(process.stop().success(), "{}", process.log());
}
