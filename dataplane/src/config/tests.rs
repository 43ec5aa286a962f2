use std::path::Path;

use engine::police::RateLimits;
use engine::runtime::OuterSource;

use super::*;

const LEAST: &str = "[port]\ndevice = \"af_packet:eth0\"\n[underlay]\naddresses = [\"198.18.0.254/16\"]\n[workers]\ncores = [0]\n";

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(text, Path::new("b.toml")).map_err(|error| error.to_string())
}

/// [`LEAST`] with `section.key = value`.
fn with(section: &str, line: &str) -> String {
    let header = format!("[{section}]\n");
    let text = if LEAST.contains(&header) { LEAST.to_owned() } else { format!("{LEAST}{header}") };
    let key = line.split('=').next().unwrap();
    let without: String =
        text.lines().filter(|old| !old.starts_with(key)).map(|old| format!("{old}\n")).collect();
    without.replace(&header, &format!("{header}{line}\n"))
}

#[test]
fn every_key_but_device_and_addresses_has_its_default() {
    let config = parse(LEAST).unwrap();
    assert_eq!(config.port.mtu, 1500);
    assert!(!config.port.takeover);
    assert_eq!(config.underlay.tap.as_deref(), Some("bcast0"));
    assert_eq!((config.underlay.gateway, config.underlay.gateway_mac), (None, None));
    let runtime = RuntimeSettings {
        share_payload_from: 256,
        outer_source: OuterSource::Node,
        idle_sleep_us: 0,
        punt_rate: 20_000,
        allow_inner_bfd: false,
        limits: RateLimits::default(),
    };
    assert_eq!(config.runtime, runtime);
    let hold_back = std::time::Duration::from_secs(10);
    assert_eq!(config.bfd, BfdConfig { interval_us: 50_000, multiplier: 3, hold_back });
    assert_eq!(config.store_path, Path::new("/var/lib/bcastd/domains.redb"));
    assert_eq!(config.api_socket, Path::new("/run/bcastd/api.sock"));
    assert_eq!(config.metrics_listen.to_string(), "127.0.0.1:9117");
    assert_eq!((config.webhooks, config.routes), (Vec::new(), None));
    assert_eq!(config.eal, EalSection { memory_mb: 512, hugepages: true, args: Vec::new() });
}

#[test]
fn a_wrong_value_is_named_with_its_key_or_line_and_what_to_do() {
    for (section, line, error) in [
        ("port", "device = \"\"", "b.toml: port.device: \"\" names no kind of device"),
        ("port", "device = 7", "b.toml: line 2: invalid type: integer `7`, expected a string"),
        ("port", "mtu = 575", "b.toml: port.mtu: 575 is out of range: 576 to 9000"),
        (
            "port",
            "mtu = -1",
            "b.toml: line 2: invalid value: integer `-1`, expected a whole number from 0 on, without quotes",
        ),
        (
            "port",
            "mtux = 1",
            "b.toml: line 2: unknown field `mtux`, expected one of `device`, `mtu`, `takeover`",
        ),
        ("underlay", "addresses = []", "b.toml: underlay.addresses: missing; it has no default"),
        (
            "underlay",
            "addresses = [\"198.18.0.254\"]",
            "\"198.18.0.254\" is not an IPv4 address with a prefix length",
        ),
        ("underlay", "addresses = [\"198.18.0.254/33\"]", "\"198.18.0.254/33\" is not an IPv4 address"),
        ("underlay", "addresses = [\"fd00::1/64\"]", "\"fd00::1/64\" is not an IPv4 address"),
        ("underlay", "addresses = [\"224.0.0.1/24\"]", "224.0.0.1 cannot be a node's address"),
        ("underlay", "addresses = [\"198.18.0.1/16\", \"198.18.0.1/16\"]", "198.18.0.1 stands there twice"),
        ("underlay", "gateway = \"198.19.0.1\"", "underlay.gateway: 198.19.0.1 is in none of the prefixes"),
        ("underlay", "gateway = \"nowhere\"", "underlay.gateway: \"nowhere\" is not an IPv4 address"),
        ("underlay", "gateway_mac = \"01:00:5e:00:00:01\"", "is not a unicast MAC address"),
        ("underlay", "tap = \"\"", "underlay.tap: without a TAP there is no neighbour lookup"),
        ("underlay", "tap = \"a-name-of-16-byte\"", "is not a network interface name"),
        ("bfd", "interval_ms = 9", "b.toml: bfd.interval_ms: 9 is out of range: 10 to 10000"),
        ("bfd", "multiplier = 1", "b.toml: bfd.multiplier: 1 is out of range: 2 to 255"),
        ("bfd", "hold_back_s = 3601", "b.toml: bfd.hold_back_s: 3601 is out of range: 0 to 3600"),
        ("workers", "cores = []", "workers.cores: 0 entries; it takes 1 to 16, each once"),
        ("workers", "cores = [0, 0]", "workers.cores: 2 entries; it takes 1 to 16, each once"),
        ("workers", "cores = [4095]", "workers.cores: there is no core 4095"),
        ("workers", "idle_sleep_us = 100001", "workers.idle_sleep_us: 100001 is out of range: 0 to 100000"),
        (
            "replication",
            "share_payload_from = 65536",
            "replication.share_payload_from: 65536 is out of range",
        ),
        ("replication", "outer_source = \"me\"", "\"me\" is neither \"node\" nor \"origin\""),
        (
            "limits",
            "domain_copies = 0",
            "b.toml: limits.domain_copies: a rate of 0 a second is out of range: 1 to 1000000000000",
        ),
        (
            "limits",
            "tep_frames = \"2T\"",
            "b.toml: limits.tep_frames: a rate of 2000000000000 a second is out",
        ),
        (
            "limits",
            "domain_bits = \"1.5G\"",
            "b.toml: limits.domain_bits: \"1.5G\" is not a rate: write a whole",
        ),
        (
            "limits",
            "node_copies = -1",
            "line 8: invalid value: integer `-1`, expected a rate a second, as in 250000 or \"250k\"",
        ),
        ("limits", "control_copies = true", "line 8: invalid type: boolean `true`, expected a rate a second"),
        ("limits", "enabled = 1", "line 8: invalid type: integer `1`, expected a boolean"),
        ("limits", "domains = 1", "unknown field `domains`, expected one of `enabled`, `domain_copies`"),
        ("store", "path = \"domains.redb\"", "store.path: \"domains.redb\" is not an absolute path"),
        ("metrics", "listen = \"9117\"", "metrics.listen: \"9117\" is not an address and port"),
        ("eal", "memory_mb = 1", "eal.memory_mb: 1 is out of range: 64 to 65536"),
        ("havip", "attachments = 0", "b.toml: havip.attachments: 0 is out of range: 1 to 64"),
        ("havip", "total = 1000000", "b.toml: havip.total: 1000000 is out of range: 1 to 131072"),
        ("havip", "flap_moves = 0", "b.toml: havip.flap_moves: 0 is out of range"),
        ("havip", "thaw_after_s = 86401", "b.toml: havip.thaw_after_s: 86401 is out of range: 1 to 86400"),
        ("havip", "takeover_quiet_s = 0", "b.toml: havip.takeover_quiet_s: 0 is out of range: 1 to 86400"),
        ("havip", "takeover_quiet_s = 86401", "havip.takeover_quiet_s: 86401 is out of range: 1 to 86400"),
        (
            "havip",
            "takeover_quiet_s = -3",
            "line 8: invalid value: integer `-3`, expected a whole number from 0 on, without quotes",
        ),
        (
            "havip",
            "takeover_quiet_s = \"3s\"",
            "line 8: invalid type: string \"3s\", expected a whole number",
        ),
        (
            "havip",
            "takeover_quiet_s = 0.5",
            "line 8: invalid type: floating point `0.5`, expected a whole number",
        ),
        ("havip", "takeover_quiet_s = 99999999999999999999", "line 8: "),
        (
            "workers",
            "idle_sleep_us = -1",
            "line 6: invalid value: integer `-1`, expected a whole number from 0 on",
        ),
        ("havip", "moves = 5", "unknown field `moves`, expected one of `attachments`, `per_instance`"),
        ("routes", "protocol = 188", "routes.protocol: 188 is FRR's; take one that nobody has, as 117"),
        ("routes", "public_table = 254", "routes.public_table: 254 is one of the host's own tables"),
        ("routes", "tables = 1", "unknown field `tables`"),
        ("[webhook]", "name = \"noc\"", "missing field `url`"),
        ("nothing", "at = 1", "unknown field `nothing`"),
    ] {
        let text = with(section, line);
        let refused = parse(&text).expect_err(&text);
        assert!(refused.contains(error), "{line}: {refused}");
        assert_eq!(refused.lines().count(), 1, "{refused}");
    }
    let missing = parse("[underlay]\naddresses = [\"198.18.0.254/16\"]\n[workers]\ncores = [0]\n");
    assert!(missing.unwrap_err().contains("port.device: missing"));
}

#[test]
fn a_receiver_of_webhooks_is_checked_with_its_files() {
    let webhook = |url: &str, secret: &Path| {
        let line = format!("name = \"noc\"\nurl = \"{url}\"\nsecret_file = \"{}\"", secret.display());
        parse(&format!("{LEAST}[[webhook]]\n{line}\n"))
    };
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("noc.key");
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef\n").unwrap();
    let config = webhook("http://198.18.0.9/bcast", &secret).unwrap();
    assert_eq!((config.webhooks.len(), config.receivers().unwrap().len()), (1, 1));
    for (url, secret, error) in [
        (
            "ftp://198.18.0.9/",
            secret.as_path(),
            "b.toml: webhook: webhook \"noc\": url \"ftp://198.18.0.9/\" is not",
        ),
        ("http://198.18.0.9/", Path::new("/nowhere/noc.key"), "cannot read secret_file /nowhere/noc.key"),
    ] {
        let refused = webhook(url, secret).expect_err(url);
        assert!(refused.contains(error), "{refused}");
    }
}

/// [`LEAST`] with these nodes: name and address.
fn with_nodes(nodes: &[(&str, &str, &str)]) -> String {
    let node = |(name, address, rest): &(&str, &str, &str)| {
        format!("[[cluster.nodes]]\nnode = \"{name}\"\naddress = \"{address}\"\n{rest}\n")
    };
    format!("{LEAST}{}", nodes.iter().map(node).collect::<String>())
}

#[test]
fn nodes_are_checked_and_this_node_is_one_of_them() {
    let own = ("n1", "198.18.0.254", "zone = \"cab1\"");
    let config = parse(&with_nodes(&[("n2", "198.18.0.253", "weight = 2"), own])).unwrap();
    let seen: Vec<_> = config.nodes.iter().map(|node| (node.name.as_str(), node.weight)).collect();
    assert_eq!(seen, [("n1", 1), ("n2", 2)]);
    assert_eq!(config.needs_restart(&parse(LEAST).unwrap()), ["cluster"]);
    for (other, error) in [
        (("n1", "198.18.0.253", ""), "b.toml: cluster.nodes: two nodes have the name \"n1\""),
        (("n2", "198.18.0.254", ""), "cluster.nodes: two nodes have the address 198.18.0.254"),
        (("n2", "fd00::1", ""), "cluster.nodes.address: \"fd00::1\" is not an IPv4 address"),
        (("n2", "198.18.0.253", "weight = 101"), "cluster.nodes.weight: 101 is out of range: 1 to 100"),
        (("n/../2 ", "198.18.0.253", ""), "cluster.nodes: name"),
        (("n2", "198.18.0.253", "zon = \"a\""), "unknown field `zon`"),
    ] {
        let refused = parse(&with_nodes(&[own, other])).unwrap_err();
        assert!(refused.contains(error), "{refused}");
    }
    let others = parse(&with_nodes(&[("n2", "198.18.0.253", "")])).unwrap_err();
    assert!(others.contains("so this node is not among them; list it, too"), "{others}");
}

#[test]
fn limits_are_written_as_numbers_or_with_a_suffix() {
    let rate = |per_second| bcast_domain::Rate::new(per_second).unwrap();
    let lines = [
        "enabled = false",
        "domain_copies = 250_000",
        "domain_bits = \"3M\"",
        "tep_frames = \"7\"",
        "node_copies = \"1T\"",
        "control_copies = 1",
        "failover_copies = 2",
    ];
    let config = parse(&with("limits", &lines.join("\n"))).unwrap();
    let limits = RateLimits {
        enabled: false,
        domain_copies: rate(250_000),
        domain_bits: rate(3_000_000),
        tep_frames: rate(7),
        node_copies: rate(1_000_000_000_000),
        control_copies: rate(1),
        failover_copies: rate(2),
    };
    assert_eq!(config.runtime.limits, limits);
    assert_eq!(limits.to_string(), "off");
    assert_eq!(
        RateLimits { enabled: true, ..limits }.to_string(),
        "domain_copies 250000, domain_bits 3000000, tep_frames 7, node_copies 1000000000000, control_copies 1, failover_copies 2"
    );
}

#[test]
fn what_differs_is_told_apart_by_whether_it_takes_a_restart() {
    let old = parse(LEAST).unwrap();
    for (section, line, restart) in [
        ("replication", "share_payload_from = 300", None),
        ("replication", "outer_source = \"origin\"", None),
        ("workers", "idle_sleep_us = 50", None),
        ("underlay", "punt_rate = 5", None),
        ("limits", "enabled = false", None),
        ("limits", "domain_copies = \"250k\"", None),
        ("port", "mtu = 1400", Some("port.mtu")),
        ("port", "device = \"af_packet:eth1\"", Some("port.device")),
        ("underlay", "addresses = [\"198.18.0.253/16\"]", Some("underlay.addresses")),
        ("underlay", "gateway = \"198.18.0.1\"", Some("underlay.gateway")),
        ("underlay", "tap = \"tap1\"", Some("underlay.tap")),
        ("store", "path = \"/tmp/other\"", Some("store.path")),
        ("eal", "hugepages = false", Some("eal")),
    ] {
        let new = parse(&with(section, line)).unwrap();
        assert_ne!(old, new, "{line}");
        assert_eq!(old.needs_restart(&new), restart.into_iter().collect::<Vec<_>>(), "{line}");
    }
}

#[test]
fn of_webhooks_only_their_names_take_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let [secret, other] = ["secret", "other"].map(|name| folder.path().join(name));
    for path in [&secret, &other] {
        std::fs::write(path, "a secret of more than 24 bytes").unwrap();
    }
    let webhook = |name: &str, url: &str, secret: &Path, rest: &str| {
        format!("[[webhook]]\nname = \"{name}\"\nurl = \"{url}\"\nsecret_file = {secret:?}\n{rest}\n")
    };
    let url = "http://198.18.0.9/";
    let (noc, soc) = (webhook("noc", url, &secret, ""), webhook("soc", url, &secret, ""));
    let old = parse(&format!("{LEAST}{noc}{soc}")).unwrap();
    for (what, text, restart) in [
        ("another order", [soc.clone(), noc.clone()], false),
        ("another URL", [webhook("noc", "http://198.18.0.8/", &secret, ""), soc.clone()], false),
        ("another secret", [webhook("noc", url, &other, ""), soc.clone()], false),
        ("another bound", [webhook("noc", url, &secret, "pending = 5"), soc.clone()], false),
        ("one less", [noc.clone(), String::new()], true),
        ("another name", [webhook("noc2", url, &secret, ""), soc.clone()], true),
    ] {
        let new = parse(&format!("{LEAST}{}", text.concat())).unwrap();
        assert_ne!(old, new, "{what}");
        assert_eq!(old.needs_restart(&new), Vec::from_iter(restart.then_some("webhook")), "{what}");
    }
}

#[test]
fn a_link_knows_who_is_on_it_and_which_of_its_addresses_are_no_hosts() {
    for (link, other, on_link, no_host) in [
        ("198.18.0.254/16", "198.18.255.254", true, false),
        ("198.18.0.254/16", "198.19.0.1", false, false),
        ("198.18.0.254/16", "198.18.0.0", true, true),
        ("198.18.0.254/16", "198.18.255.255", true, true),
        ("198.18.0.2/31", "198.18.0.3", true, false),
        ("198.18.0.2/32", "198.18.0.2", true, false),
        ("198.18.0.2/1", "203.0.113.1", true, false),
    ] {
        let link = link_address(link).unwrap();
        let other: Ipv4Addr = other.parse().unwrap();
        assert_eq!(link.contains(&other), on_link, "{link:?} {other}");
        assert_eq!(is_no_host(&link, other), no_host, "{link:?} {other}");
    }
}
