//! Bad input and faults: a clear error, nothing changed, nothing lost, and the daemon runs on or refuses to start.

use std::{fs, io::Write, os::unix::net::UnixStream};

use bcast_domain::{Tep, Vni};
use ctl_api::{
    client::{Client, ClientError, RefusalKind},
    model::{Batch, Change, Conditions, Revision},
};
use testkit::{
    frame::{broadcast, overlay},
    lab::{Host, Lab, NODE},
    node::{Config, Node, launch, launch_file},
    sender::Sender,
    sniffer::Sniffer,
};

const VNI: u32 = 5001;

/// One line on standard error that says what is wrong, and status 1.
fn refuses_to_start(mut process: testkit::process::Process, what: &str, word: &str) {
    let status = process.wait();
    let log = process.log();
    assert_eq!(status.code(), Some(1), "{what}: {log}");
    let last = log.lines().last().unwrap_or_default();
    assert!(last.starts_with("bcastd: ") && last.contains(word), "{what}: {log}");
}

#[test]
fn a_wrong_configuration_is_refused_with_its_line_or_key() {
    let lab = Lab::new();
    let good = || Config::new(lab.folder());
    let cases = [
        ("an unknown key", good().set("port.speed", 3), "speed"),
        ("an unknown section", good().set("prot.device", "af_packet:eth0"), "prot"),
        ("a wrong type", good().set("port.mtu", "big"), "\"big\""),
        ("a number out of range", good().set("port.mtu", 10), "port.mtu"),
        ("no such interface", good().set("port.device", "af_packet:eth9"), "eth9"),
        ("no such kind of device", good().set("port.device", "token_ring:0"), "token_ring"),
        (
            "an address of the wrong family",
            good().set("underlay.addresses", vec!["::1/64"]),
            "underlay.addresses",
        ),
        (
            "an address without a prefix",
            good().set("underlay.addresses", vec!["198.18.0.254"]),
            "underlay.addresses",
        ),
        ("a multicast address", good().set("underlay.addresses", vec!["224.0.0.1/4"]), "224.0.0.1"),
        ("no address", good().set("underlay.addresses", Vec::<String>::new()), "underlay.addresses"),
        ("a gateway on no link", good().set("underlay.gateway", "203.0.113.1"), "203.0.113.1"),
        ("no next hops", good().set("underlay.tap", ""), "gateway_mac"),
        ("an outer source of neither kind", good().set("replication.outer_source", "both"), "both"),
        ("a core that is not there", good().set("workers.cores", vec![4000]), "4000"),
        ("a relative path", good().set("store.path", "domains.redb"), "store.path"),
    ];
    for (what, config, word) in cases {
        refuses_to_start(launch(&lab, &config), what, word);
    }
    let file = lab.folder().join("broken.toml");
    fs::write(&file, "[port\n").expect("the folder is ours");
    refuses_to_start(launch_file(&lab, &file), "no TOML", "line 1");
    refuses_to_start(launch_file(&lab, &lab.folder().join("none.toml")), "no file", "none.toml");
}

#[test]
fn a_port_that_the_host_uses_is_refused_unless_it_is_meant() {
    let lab = Lab::new();
    lab.node.ip("address add 198.19.7.7/24 dev eth0");
    let config = Config::new(lab.folder());
    refuses_to_start(launch(&lab, &config), "a port with an address", "takeover");
    drop(Node::start(&lab, &config.set("port.takeover", true)));
}

#[test]
fn a_port_that_is_part_of_something_or_carries_something_is_in_use_too() {
    for (make, word) in [
        ("link add br9 type bridge", "belongs to a bridge"),
        ("link add link eth0 name v9 type macvlan", "v9 stands on it"),
    ] {
        let lab = Lab::new();
        lab.node.ip(make);
        if make.contains("bridge") {
            lab.node.ip("link set dev eth0 master br9");
        }
        refuses_to_start(launch(&lab, &Config::new(lab.folder())), make, word);
    }
}

#[test]
fn a_tap_whose_name_is_taken_is_refused_and_nothing_is_left_behind() {
    let lab = Lab::new();
    lab.node.run("ip tuntap add dev bcast0 mode tap");
    let config = || Config::new(lab.folder()).set("underlay.gateway", "198.18.0.1");
    refuses_to_start(
        launch(&lab, &config()),
        "a TAP of somebody else's",
        "there is a network interface bcast0",
    );
    lab.node.ip("link delete dev bcast0");
    refuses_to_start(
        launch(&lab, &config().set("api.socket", "/nonexistent/deeper/api.sock")),
        "no folder",
        "/nonexistent/deeper",
    );
    assert!(!lab.node.ip("rule").contains("911"), "{}", lab.node.ip("rule"));
    assert!(!lab.node.succeeds("ip link show dev bcast0"));
}

#[test]
fn a_store_that_is_damaged_or_in_use_is_refused_and_left_as_it_is() {
    let lab = Lab::new();
    let mut node = Node::plain(&lab);
    node.serve(VNI, &[lab.host().address]);
    let store = lab.folder().join("domains.redb");
    let path = |name: &str| lab.folder().join(name).display().to_string();
    let second = Config::new(lab.folder())
        .set("port.device", "vdev:net_null0,no-rx=1")
        .set("underlay.tap", "")
        .set("underlay.gateway_mac", "02:00:00:00:00:aa")
        .set("api.socket", path("second.sock"))
        .set("metrics.listen", "127.0.0.1:9118");
    refuses_to_start(launch(&lab, &second), "in use", "in use");
    node.must(&format!("domain show {VNI}"));
    assert!(node.stop().success(), "{}", node.log());

    let whole = fs::read(&store).expect("it is there");
    for (name, bytes) in [("noise", vec![0x5a; 8192]), ("truncated", whole[..whole.len() / 3].to_vec())] {
        fs::write(lab.folder().join(name), &bytes).expect("the folder is ours");
        refuses_to_start(launch(&lab, &second.clone().set("store.path", path(name))), name, name);
        assert_eq!(fs::read(lab.folder().join(name)).expect("it is there"), bytes, "{name}");
    }
}

/// A frame still gets from the first host to the second.
fn forwards(hosts: &[Host; 2], sniffer: &Sniffer, number: u64) {
    Sender::new(&hosts[0].namespace, "eth0").send(&overlay(&hosts[0], VNI, &broadcast(1, number, 60)));
    let copies = sniffer.copies_until(1, number);
    assert_eq!(copies.len() as u64, number);
}

#[test]
fn a_bad_request_is_refused_with_a_reason_and_changes_nothing() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let hosts = [lab.host(), lab.host()];
    node.serve(VNI, &hosts.each_ref().map(|host| host.address));
    let sniffer = Sniffer::copies_to(&hosts[1], lab.folder());
    let file = |name: &str, text: String| {
        let path = lab.folder().join(name);
        fs::write(&path, text).expect("the folder is ours");
        path.display().to_string()
    };
    let tep = |number: usize| format!("{{address: 10.0.{}.{}}}", number >> 8, number & 255);
    let bad_last =
        (0..9999).map(tep).chain(["{address: 224.0.0.1}".to_owned()]).collect::<Vec<_>>().join(", ");
    let bad_last = file("bad-last.yaml", format!("teps: [{bad_last}]"));
    let members = (0..16_385).map(|n| format!("10.0.{}.{}", n >> 8, n & 255)).collect::<Vec<_>>().join(", ");
    let crowd = file("crowd.yaml", format!("domains: [{{vni: 6000, members: [{members}]}}]"));
    let stranger = file("stranger.yaml", "domains: [{vni: 6000, members: [198.18.99.99]}]".to_owned());
    let own = format!("tep add {NODE}");
    let bound = format!("tep rm {}", hosts[0].address);

    let cases = [
        ("tep add ::1", 2, "IPv6"),
        ("tep add 224.0.0.1", 2, "multicast"),
        (&own, 1, "node's own"),
        ("domain create 4294967296", 2, "4294967295"),
        ("domain create vpc-a", 2, "not a VNI"),
        ("domain join 5001 198.18.99.99", 1, "not registered"),
        ("domain join 77 198.18.0.1", 1, "domain 77"),
        (&bound, 1, "member"),
        ("domain show 77", 1, "domain 77"),
        ("tep show 198.18.99.99", 1, "not registered"),
        (&format!("apply -f {bad_last}"), 1, "224.0.0.1"),
        (&format!("apply -f {crowd}"), 1, "16384"),
        (&format!("apply -f {stranger}"), 1, "198.18.99.99"),
        ("apply -f /nowhere.yaml", 1, "/nowhere.yaml"),
        ("frobnicate", 2, "frobnicate"),
    ];
    let before = node.must("export");
    let revision = node.metrics().sum("bcast_revision");
    for (line, status, word) in cases {
        let answer = node.ctl(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(answer.status, status, "{line}: {answer:?}");
        assert!(answer.stderr.contains(word), "{line}: {answer:?}");
    }
    for line in ["tep rm 198.18.99.99", "domain leave 5001 198.18.99.99", "domain rm 77"] {
        let answer = node.ctl(&line.split(' ').collect::<Vec<_>>());
        assert_eq!(answer.status, 1, "{line}: {answer:?}");
        assert!(answer.stderr.contains("--if-exists"), "{line}: {answer:?}");
        let answer = node.ctl(&format!("{line} --if-exists").split(' ').collect::<Vec<_>>());
        assert_eq!(answer.status, 0, "{line}: {answer:?}");
        assert_ne!(
            answer.stderr.clone() + &answer.stdout,
            "",
            "{line}: it says that there was nothing to do"
        );
    }
    assert_eq!(node.must("export"), before);
    assert_eq!(node.metrics().sum("bcast_revision"), revision);
    forwards(&hosts, &sniffer, 1);
}

#[test]
fn of_two_clients_in_conflict_one_wins_and_a_client_that_goes_away_harms_nobody() {
    let lab = Lab::new();
    let node = Node::plain(&lab);
    let hosts = [lab.host(), lab.host()];
    node.serve(VNI, &hosts.each_ref().map(|host| host.address));
    let sniffer = Sniffer::copies_to(&hosts[1], lab.folder());
    let revision = Revision::new(node.metrics().sum("bcast_revision"));
    let batch = |vni: u32| Batch {
        changes: vec![Change::domain(Vni::from(vni), None)],
        conditions: Conditions { expected: Some(revision), ..Conditions::default() },
    };
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    let answers = runtime.block_on(async {
        let client = Client::connect(&node.socket()).await.expect("the daemon listens");
        let (mut one, mut two) = (client.clone(), client);
        tokio::join!(one.commit(batch(6001)), two.commit(batch(6002)))
    });
    let refused = match answers {
        (Ok(_), Err(error)) | (Err(error), Ok(_)) => error,
        both => panic!("one of the two must win: {both:?}"),
    };
    assert!(matches!(refused, ClientError::Refused { kind: RefusalKind::Conflict, .. }), "{refused:?}");

    // Half an HTTP/2 preface; then a whole request whose answer nobody waits for.
    UnixStream::connect(node.socket())
        .expect("it listens")
        .write_all(b"PRI * HTTP/2.0\r\n")
        .expect("it takes it");
    runtime.block_on(async {
        let mut client = Client::connect(&node.socket()).await.expect("the daemon listens");
        let teps = (0..5000_u32).map(|n| Tep::new((0x0a00_0000 + n).into()).expect("10/8 is unicast"));
        let changes = teps.map(|address| Change::tep(address, None)).collect();
        let commit = client.commit(Batch::new(changes));
        let _ = tokio::time::timeout(std::time::Duration::from_micros(500), commit).await;
    });
    // All of that request, or nothing of it.
    let teps = node.must("-o json tep list").matches("10.0.").count();
    assert!([0, 5000].contains(&teps), "{teps} of 5,000");
    forwards(&hosts, &sniffer, 1);
}

#[test]
fn with_a_full_disk_changes_are_refused_forwarding_goes_on_and_later_changes_are_taken_again() {
    let lab = Lab::new();
    let mut node = Node::start(&lab, &Config::new(lab.folder()).small_disk(&lab));
    let hosts = [lab.host(), lab.host()];
    node.serve(VNI, &hosts.each_ref().map(|host| host.address));
    let sniffer = Sniffer::copies_to(&hosts[1], lab.folder());
    let filling = node.fill_disk();
    let before = node.must("export");
    // Some more may fit into what the store has set aside.
    let mut taken = 0;
    let refused = (0..2000).map(|n| 7000 + n).find_map(|vni| {
        let answer = node.ctl(&["domain", "create", &vni.to_string()]);
        taken += u32::from(answer.status == 0);
        (answer.status != 0).then_some((vni, answer))
    });
    let (vni, answer) = refused.expect("the disk is full");
    assert_eq!(answer.status, 1, "{answer:?}");
    assert!(!answer.stderr.is_empty());
    forwards(&hosts, &sniffer, 1);
    if taken == 0 {
        assert_eq!(node.must("export"), before);
    }
    assert_eq!(node.ctl(&["domain", "show", &vni.to_string()]).status, 1, "what was refused is not there");

    fs::remove_file(filling).expect("it can be removed");
    node.must(&format!("domain create {vni}"));
    forwards(&hosts, &sniffer, 2);
    assert!(node.stop().success(), "{}", node.log());
}
