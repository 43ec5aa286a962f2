//! Every command but `apply`, as a person or a program sees it: exit status, standard output, standard error.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use bcast_domain::{DomainLimit, Rate, TepLimit};
use support::model;
use support::node::{Node, one_event_of_each_kind, told};

/// Version of bcastctl, as it says it.
const OWN: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("BCAST_COMMIT"), ")");

fn small() -> Node {
    let mut model = model(&[(1, "hv1"), (2, "")], &[(5001, "vpc-a", &[1, 2]), (70000, "", &[])]);
    let rate = |per_second| Rate::new(per_second).ok();
    model.tep_mut(1).limit = TepLimit { frames: rate(1_500) };
    model.domain_mut(5001).limit = DomainLimit { copies: rate(250_000), bits: None, control: rate(7) };
    Node::with(model)
}

#[test]
fn changes_say_what_they_did_and_what_was_so_already() {
    let node = small();
    for (args, words) in [
        ("tep add 198.18.0.3 --name hv3", "tep 198.18.0.3 (hv3) is registered (revision 2)\n"),
        ("tep add 198.18.0.1", "tep 198.18.0.1 is registered already\n"),
        ("tep rm 198.18.0.3", "tep 198.18.0.3 is removed (revision 3)\n"),
        ("tep rm hv3 --if-exists", "tep hv3 is not registered\n"),
        ("domain create 0x1389", "domain 5001 is there already\n"),
        ("domain create 6 --name six", "domain 6 (six) is there (revision 4)\n"),
        ("domain join 6 hv1 198.18.0.2", "domain 6: hv1, 198.18.0.2 are now members (revision 5)\n"),
        ("domain join 6 hv1", "domain 6: hv1 is already a member\n"),
        ("domain leave 6 hv1", "domain 6: hv1 is no longer a member (revision 6)\n"),
        ("domain leave 6 hv1 --if-exists", "tep hv1 is not a member of domain 6\n"),
        ("domain limit 6 --copies 250k", "domain 6: the limit is now copies 250k (revision 7)\n"),
        ("domain limit 6 --copies 250000", "domain 6: the limit is already copies 250k\n"),
        (
            "domain limit 6 --bits 1G --control 5 --default",
            "domain 6: the limit is now bits 1G, control 5, else default (revision 8)\n",
        ),
        (
            "domain limit 6",
            "LIMIT    PER SECOND\ncopies      default\nbits             1G\ncontrol           5\n",
        ),
        ("domain limit 6 --default", "domain 6: the limit is now default (revision 9)\n"),
        ("domain limit 6 --default", "domain 6: the limit is already default\n"),
        (
            "tep limit 198.18.0.2 --frames 1001",
            "tep 198.18.0.2: the limit is now frames 1001 (revision 10)\n",
        ),
        ("tep limit 198.18.0.2 --frames 1001", "tep 198.18.0.2: the limit is already frames 1001\n"),
        ("tep limit 198.18.0.2 --default", "tep 198.18.0.2: the limit is now default (revision 11)\n"),
        (
            "tep route-gateway 198.18.0.2 192.0.2.1 2001:db8::1",
            "tep 198.18.0.2: the gateway of its routes is now 192.0.2.1 and 2001:db8::1 (revision 12)\n",
        ),
        (
            "tep route-gateway 198.18.0.2 192.0.2.1",
            "tep 198.18.0.2: the gateway of its routes is already 192.0.2.1\n",
        ),
        ("tep route-gateway 198.18.0.2", "FAMILY  GATEWAY\nIPv4    192.0.2.1\nIPv6    2001:db8::1\n"),
        (
            "tep route-gateway 198.18.0.2 --none",
            "tep 198.18.0.2: the gateway of its routes is now none (revision 13)\n",
        ),
        ("domain arp-inspection 6 sticky", "domain 6: ARP inspection is now sticky (revision 14)\n"),
        ("domain arp-inspection 6 sticky", "domain 6: ARP inspection is already sticky\n"),
        ("domain arp-inspection 6", "sticky\n"),
        ("-o json domain arp-inspection 6", "{\"vni\":6,\"arp_inspection\":\"sticky\"}\n"),
        ("domain arp-inspection 6 off", "domain 6: ARP inspection is now off (revision 15)\n"),
        (
            "domain subnets 6 10.0.0.0/24 fd00::/64",
            "domain 6: the subnets are now 10.0.0.0/24 fd00::/64 (revision 16)\n",
        ),
        (
            "domain subnets 6 10.0.0.0/24 fd00::/64",
            "domain 6: the subnets are already 10.0.0.0/24 fd00::/64\n",
        ),
        (
            "domain gateway 6 10.0.0.1 52:54:00:00:00:01",
            "domain 6: 10.0.0.1 is now a gateway with 52:54:00:00:00:01 (revision 17)\n",
        ),
        (
            "domain gateway 6 10.0.0.1 52:54:00:00:00:01",
            "domain 6: 10.0.0.1 is already a gateway with 52:54:00:00:00:01\n",
        ),
        (
            "domain gateway 6 fd00::1 52:54:00:00:00:01",
            "domain 6: fd00::1 is now a gateway with 52:54:00:00:00:01 (revision 18)\n",
        ),
        ("domain gateway 6 10.0.0.1 --rm", "domain 6: 10.0.0.1 is no longer a gateway (revision 19)\n"),
        (
            "domain gateway 6 10.0.0.1 --rm --if-exists",
            "10.0.0.1 is no gateway of domain 6
",
        ),
        (
            "domain subnets 6 --none",
            "domain 6: the subnets are now none (revision 20)
",
        ),
        ("domain forget 6 10.0.0.1", "domain 6: 10.0.0.1 is free now\n"),
        ("domain forget 6 10.0.0.9 --if-exists", "domain 6: 10.0.0.9 has no owner\n"),
        ("-o json domain forget 6 10.0.0.1", "{\"vni\":6,\"address\":\"10.0.0.1\",\"had_owner\":true}\n"),
        (
            "domain learned 6",
            "ADDRESS   MAC                TEP         LAST HEARD\n\
             10.0.0.1  52:54:00:00:00:01  hv1         2025-06-15T15:06:40.000Z\n\
             10.0.0.2  52:54:00:00:00:02  198.18.0.2  2025-06-15T15:06:40.000Z\n",
        ),
        ("domain rm 6", "domain 6 is removed (revision 21)\n"),
        ("domain rm 6 --if-exists", "domain 6 is not there\n"),
        ("tep rm hv1 --force", "tep hv1 is removed (revision 22)\n"),
        (
            "-o json domain rm 6 --if-exists",
            "{\"revision\":22,\"changed\":0,\"notes\":[\"domain 6 is not there\"]}\n",
        ),
        ("-o json tep add 198.18.0.9", "{\"revision\":23,\"changed\":1,\"notes\":[]}\n"),
    ] {
        let args: Vec<&str> = args.split(' ').collect();
        assert_eq!(node.run(&args), (0, words.to_owned(), String::new()), "{args:?}");
    }
}

#[test]
fn a_refusal_is_one_line_and_status_1_and_changes_nothing() {
    let node = small();
    let before = node.model();
    for (args, reason) in [
        ("domain join 5001 hv9", "bcastctl: tep hv9 is not registered: add it first\n"),
        ("domain join 1 hv1", "bcastctl: there is no domain 1: create it first\n"),
        ("tep rm hv1", "bcastctl: tep hv1 is a member of a domain: --force takes it out\n"),
        ("tep add 198.18.0.2 --name hv1", "bcastctl: another tep has the name hv1\n"),
        ("tep show 198.18.0.77", "bcastctl: tep 198.18.0.77 is not registered\n"),
        ("domain show 1", "bcastctl: there is no domain 1\n"),
        ("domain limit 1", "bcastctl: there is no domain 1\n"),
        ("domain limit 1 --default", "bcastctl: there is no domain 1: create it first\n"),
        ("tep limit hv9", "bcastctl: tep hv9 is not registered\n"),
        ("tep limit hv9 --frames 1", "bcastctl: tep hv9 is not registered: add it first\n"),
    ] {
        let args: Vec<&str> = args.split(' ').collect();
        assert_eq!(node.run(&args), (1, String::new(), reason.to_owned()), "{args:?}");
    }
    assert_eq!(node.model(), before);
}

#[test]
fn a_commit_that_no_worker_confirmed_says_its_revision() {
    let node = small();
    node.script.lock().unwrap().unconfirmed = true;
    let reason = "bcastctl: committed as revision 2, but not every worker has confirmed within 1 s; see bcastctl stats\n";
    assert_eq!(node.run(&["tep", "add", "198.18.0.9"]), (1, String::new(), reason.to_owned()));
}

#[test]
fn wrong_usage_is_status_2() {
    let node = small();
    for (args, words) in [
        ("domain show 4294967296", "out of range"),
        ("domain show vpc-a", "is not a VNI"),
        ("tep add hv1", "is not an IPv4 address"),
        ("tep add fd00::1", "is an IPv6 address"),
        ("tep add 224.0.0.1", "is a multicast address"),
        ("domain join 5001", "required"),
        ("domain join 5001 198.18.0.300", "reads as an address or a number"),
        ("domain limit 5001 --copies 0", "a rate of 0 a second is out of range: 1 to 1000000000000"),
        (
            "domain limit 5001 --bits 1.5G",
            "is not a rate: write a whole number a second, as in 250000 or 250k",
        ),
        ("domain limit 5001 --control -1", "unexpected argument"),
        ("domain limit 5001 --frames 1", "unexpected argument"),
        ("tep limit hv1 --frames", "a value is required"),
        ("tep limit hv1 --frames 1 --default", "cannot be used with"),
        ("tep route-gateway hv1 hv2", "is not an IP address; write it like 10.0.0.100"),
        ("tep route-gateway hv1 192.0.2.1 192.0.2.2", "192.0.2.1 and 192.0.2.2 are of one family"),
        ("tep route-gateway hv1 192.0.2.1 2001:db8::1 192.0.2.2", "no more were expected"),
        ("domain subnets 5001 10.0.0.7/24", "the subnet is 10.0.0.0/24"),
        ("domain gateway 5001 10.0.0.1", "required"),
        ("domain gateway 5001 10.0.0.1 --rm 52:54:00:00:00:01", "cannot be used with"),
        ("domain arp-inspection 5001 closed", "[possible values: off, sticky]"),
        ("watch --from 0", "0 is not in 1.."),
        ("frobnicate", "unrecognized subcommand"),
        ("apply", "--file"),
    ] {
        let args: Vec<&str> = args.split(' ').collect();
        let (status, _, said) = node.run(&args);
        assert_eq!(status, 2, "{args:?}");
        assert!(said.contains(words), "{args:?}: {said}");
    }
}

#[test]
fn without_a_daemon_the_status_is_3_and_one_line_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("api.sock");
    let path = missing.to_str().unwrap();
    let bcastctl = |args: &[&str]| {
        told(
            Command::new(env!("CARGO_BIN_EXE_bcastctl"))
                .args(["--socket", path])
                .args(args)
                .output()
                .unwrap(),
        )
    };
    let reason = format!(
        "bcastctl: cannot reach the daemon at {path}: No such file or directory (os error 2): start bcastd, or name its socket with --socket\n"
    );
    for args in [&["tep", "list"][..], &["domain", "rm", "1"], &["export"], &["watch"], &["stats"]] {
        assert_eq!(bcastctl(args), (3, String::new(), reason.clone()), "{args:?}");
    }
    let own = format!("bcastctl {OWN}\n");
    assert_eq!(bcastctl(&["version"]), (3, own, reason.clone()));
    // A socket that nobody listens on any more.
    drop(std::os::unix::net::UnixListener::bind(&missing).unwrap());
    let (status, _, said) = bcastctl(&["tep", "list"]);
    assert!(
        status == 3 && said.contains("Connection refused") && said.lines().count() == 1,
        "{status}: {said}"
    );
}

#[test]
fn tables_are_plain_columns() {
    let node = small();
    for (args, words) in [
        ("tep list", "ADDRESS     NAME\n198.18.0.1  hv1\n198.18.0.2  -\n"),
        ("domain list", "  VNI  MEMBERS  NAME\n 5001        2  vpc-a\n70000        0  -\n"),
        (
            "tep show hv1",
            "TEP\naddress    198.18.0.1\nname       hv1\nlimit      frames 1500\nroutes by  -\ndomains    1\nnext hop   198.18.255.1\nmac        02:00:00:00:00:01\n\
             since      2026-11-23T01:04:05.007Z\nbfd        up, diagnostic 6 (concatenated path down), since 2026-11-23T01:04:05.007Z, 2 flaps\n\
             bfd peer   down, diagnostic 1 (detection time expired)\n\
             bfd sends  each 50 ms, and detects after 3000 ms\n\nDROPPED FRAMES  VALUE\ntep_rate            4\n\nDROPPED COPIES  VALUE\ntep_unresolved     12\n\n\
             ICMP ERRORS ABOUT COPIES  VALUE\nunreachable                   2\n",
        ),
        (
            "domain show 0x1389",
            "DOMAIN\nvni             5001\nname            vpc-a\nlimit           copies 250k, bits default, control 7\narp inspection  off\nmembers         2\n\nMEMBER      NAME\n198.18.0.1  hv1\n198.18.0.2  -\n",
        ),
        (
            "domain limit 5001",
            "LIMIT    PER SECOND\ncopies         250k\nbits        default\ncontrol           7\n",
        ),
        ("tep limit 198.18.0.2", "LIMIT   PER SECOND\nframes     default\n"),
        (
            "stats",
            "KIND       NAME                   VALUE\nnode       revision                   7\n\
             counter    bcast_rx_frames_total   1000\ncounter    bcast_teps                 2\n\
             drop       runt                       0\ndrop       vni_unknown                3\n\
             copy_drop  tx_full                    0\nport       missed                     0\n\
             another host has the node's address 198.18.0.254: MAC 02:00:00:00:00:99, 20 frames, last at \
             2026-11-23T01:04:05.007Z\n",
        ),
        (
            "stats 5001",
            "domain 5001 (vpc-a)\nNAME     VALUE\nmembers      2\nframes      10\ncopies      20\nbytes     1200\ndrops        1\n\
             \nDROPPED FRAMES  VALUE\ninner_unicast       5\ncontrol_rate       70\n\nDROPPED COPIES  VALUE\ntx_full             1\n",
        ),
        (
            "drops",
            "REASON        SOURCE       TEP          VNI  MAC                  TO                   COUNT  LAST\n\
             ip_fragment   198.18.0.77  -              -  (52:54:00:00:00:02)  (52:54:00:00:00:03)      1  2026-11-23T01:04:05.007Z\n\
             control_rate  198.18.0.1   hv1         5001  52:54:00:00:00:01    ff:ff:ff:ff:ff:ff       70  2026-11-23T01:04:05.007Z\n\
             control_rate  198.18.0.2   registered  5001  52:54:00:00:00:01    ff:ff:ff:ff:ff:ff        2  2026-11-23T01:04:05.007Z\n",
        ),
        (
            "node show",
            "NODE\nstate      held_back\nreasons    hold_back, link\nheld back  2.5 s more\nsessions   0 down, 7 up\n",
        ),
        (
            "node drain",
            "NODE\nstate      leaving\nreasons    drained\nheld back  -\nsessions   0 down, 7 up\n",
        ),
        ("node undrain", "NODE\nstate      serving\nreasons    -\nheld back  -\nsessions   0 down, 7 up\n"),
        ("version", &format!("bcastctl {OWN}\nbcastd 0.1.0 (0123456789ab, DPDK 22.11.11)\n")),
    ] {
        let args: Vec<&str> = args.split(' ').collect();
        assert_eq!(node.run(&args), (0, words.to_owned(), String::new()), "{args:?}");
    }
}

#[test]
fn json_has_the_documented_shapes() {
    let node = small();
    for (args, words) in [
        (
            "tep list",
            "[{\"address\":\"198.18.0.1\",\"name\":\"hv1\",\"limit\":{\"frames\":1500},\"routes\":{\"route_gateway\":null,\"route_gateway6\":null}},\n\
             {\"address\":\"198.18.0.2\",\"name\":null,\"limit\":{\"frames\":null},\"routes\":{\"route_gateway\":null,\"route_gateway6\":null}}]\n",
        ),
        (
            "domain list",
            "[{\"vni\":5001,\"name\":\"vpc-a\",\"members\":[\"198.18.0.1\",\"198.18.0.2\"],\
             \"limit\":{\"copies\":250000,\"bits\":null,\"control\":7},\"arp_inspection\":\"off\"},\n\
             {\"vni\":70000,\"name\":null,\"members\":[],\"limit\":{\"copies\":null,\"bits\":null,\"control\":null},\"arp_inspection\":\"off\"}]\n",
        ),
        (
            "tep show 198.18.0.2",
            "{\"address\":\"198.18.0.2\",\"name\":null,\"limit\":{\"frames\":null},\"routes\":{\"route_gateway\":null,\"route_gateway6\":null},\"domains\":1,\"next_hop\":null,\"mac\":null,\
             \"since_unix_ms\":1795395845007,\"drops\":{\"tep_unresolved\":12,\"tx_full\":0},\"frame_drops\":{\"tep_rate\":4},\
             \"icmp_errors\":{\"unreachable\":2,\"time_exceeded\":0},\"bfd\":null}\n",
        ),
        (
            "domain show 5001",
            "{\"vni\":5001,\"name\":\"vpc-a\",\"members\":[\"198.18.0.1\",\"198.18.0.2\"],\
             \"limit\":{\"copies\":250000,\"bits\":null,\"control\":7},\"arp_inspection\":\"off\"}\n",
        ),
        (
            "domain limit 70000",
            "{\"vni\":70000,\"limit\":{\"copies\":null,\"bits\":null,\"control\":null}}\n",
        ),
        (
            "node drain",
            "{\"state\":\"leaving\",\"reasons\":[\"drained\"],\"held_back_ms\":0,\"bfd_sessions\":{\"down\":0,\"up\":7}}\n",
        ),
        ("tep limit hv1", "{\"address\":\"198.18.0.1\",\"limit\":{\"frames\":1500}}\n"),
        (
            "stats",
            "{\"revision\":7,\"counters\":{\"bcast_rx_frames_total\":1000,\"bcast_teps\":2},\
             \"drops\":{\"runt\":0,\"vni_unknown\":3},\"copy_drops\":{\"tx_full\":0},\"port\":{\"missed\":0},\
             \"address_conflict\":{\"address\":\"198.18.0.254\",\"mac\":\"02:00:00:00:00:99\",\"frames\":20,\
             \"last_unix_ms\":1795395845007}}\n",
        ),
        (
            "stats 5001",
            "{\"vni\":5001,\"name\":\"vpc-a\",\"members\":2,\"frames\":10,\"copies\":20,\"bytes\":1200,\"drops\":1,\
             \"frame_drops\":{\"inner_unicast\":5,\"control_rate\":70},\"copy_drops\":{\"tx_full\":1}}\n",
        ),
        (
            "drops ip_fragment",
            "[{\"reason\":\"ip_fragment\",\"source\":\"198.18.0.77\",\"is_tep\":false,\"tep\":null,\"vni\":null,\
             \"mac\":\"52:54:00:00:00:02\",\"destination\":\"52:54:00:00:00:03\",\"outer\":true,\"count\":1,\
             \"time\":\"2026-11-23T01:04:05.007Z\"}]\n",
        ),
        (
            "version",
            concat!(
                "{\"bcastctl\":\"",
                env!("CARGO_PKG_VERSION"),
                "\",\"bcastctl_commit\":\"",
                env!("BCAST_COMMIT"),
                "\",\"bcastd\":\"0.1.0\",\"bcastd_commit\":\"0123456789ab\",\"dpdk\":\"22.11.11\"}\n"
            ),
        ),
        (
            "export",
            "{\"revision\":1,\"teps\":[\n{\"address\":\"198.18.0.1\",\"name\":\"hv1\",\"limit\":{\"frames\":1500}},\n\
             {\"address\":\"198.18.0.2\"}\n],\"domains\":[\n\
             {\"vni\":5001,\"name\":\"vpc-a\",\"limit\":{\"copies\":250000,\"control\":7},\"members\":[\"198.18.0.1\",\"198.18.0.2\"]},\n{\"vni\":70000,\"members\":[]}\n]}\n",
        ),
    ] {
        let args: Vec<&str> = args.split(' ').chain(["-o", "json"]).collect();
        assert_eq!(node.run(&args), (0, words.to_owned(), String::new()), "{args:?}");
    }
}

#[test]
fn help_says_the_json_of_each_command_and_names_no_source_file() {
    let node = small();
    let (_, short, _) = node.run(&["-h"]);
    let (status, long, _) = node.run(&["--help"]);
    assert_eq!(status, 0);
    let (_, shapes) = long.split_once("What -o json prints").unwrap();
    for words in [
        "changes ",
        "apply ",
        "tep list ",
        "domain show ",
        "havip show ",
        "watch ",
        "export ",
        "stats VNI ",
        "drops ",
        "version ",
    ] {
        assert!(shapes.contains(&format!("\n  {words}")), "{words}: {long}");
    }
    assert!(!(short + &long).contains(".rs"), "{long}");
}

#[test]
fn a_watch_prints_each_kind_of_event_and_says_where_to_go_on() {
    let node = small();
    node.script.lock().unwrap().events = one_event_of_each_kind();
    let first = "{\"revision\":4,\"event\":\"reset\",\"time\":\"2026-11-23T01:04:05.007Z\"}\n\
        {\"revision\":4,\"event\":\"tep_set\",\"tep\":{\"address\":\"198.18.0.1\",\"name\":\"hv1\",\"limit\":{\"frames\":null},\
        \"routes\":{\"route_gateway\":null,\"route_gateway6\":null}},\"time\":\"2026-11-23T01:04:05.007Z\"}\n\
        {\"revision\":4,\"event\":\"domain_set\",\"domain\":{\"vni\":5001,\"name\":null,\
        \"members\":[\"198.18.0.1\"],\"limit\":{\"copies\":250000,\"bits\":null,\"control\":null},\"arp_inspection\":\"off\"},\"time\":\"2026-11-23T01:04:05.007Z\"}\n\
        {\"revision\":4,\"event\":\"committed\",\"unix_ms\":17,\"time\":\"2026-11-23T01:04:05.007Z\"}\n";
    let second = "{\"revision\":5,\"event\":\"domain_removed\",\"vni\":5001,\"time\":\"2026-11-23T01:04:05.007Z\"}\n\
        {\"revision\":5,\"event\":\"tep_removed\",\"address\":\"198.18.0.1\",\"time\":\"2026-11-23T01:04:05.007Z\"}\n\
        {\"revision\":5,\"event\":\"committed\",\"unix_ms\":18,\"time\":\"2026-11-23T01:04:05.007Z\"}\n";
    let ended = "bcastctl: the daemon ended the watch; go on with --from 6\n";
    assert_eq!(node.run(&["watch"]), (3, format!("{first}{second}"), ended.to_owned()));
    assert_eq!(node.run(&["watch", "--from", "5"]), (3, second.to_owned(), ended.to_owned()));
}

#[test]
fn a_watch_that_ends_says_why_and_where_to_go_on() {
    let node = small();
    let stopping = "the daemon is stopping; nothing was changed";
    let slow = "the client took nothing for 10 seconds; open the stream anew (a watch from where it was)";
    for (args, events, words, said) in [
        ("watch", 0, None, "the daemon ended the watch; go on with --from 8"),
        ("watch", 0, Some(stopping), "the daemon is stopping; go on with --from 8"),
        ("watch --from 3", 0, Some(stopping), "the daemon is stopping; go on with --from 3"),
        ("watch --from 3", 3, Some(stopping), "the daemon is stopping; go on with --from 3"),
        ("watch --from 3", 6, Some(slow), "the client took nothing for 10 seconds; go on with --from 5"),
    ] {
        {
            let mut script = node.script.lock().unwrap();
            (script.events, script.last_words) = (one_event_of_each_kind(), words);
            script.events.truncate(events);
        }
        let args: Vec<&str> = args.split(' ').collect();
        let (status, printed, why) = node.run(&args);
        let said = format!("bcastctl: {said}\n");
        assert_eq!((status, printed.lines().count(), why), (3, events, said), "{args:?}");
    }
}

#[test]
fn a_watch_of_a_daemon_that_dies_says_where_to_go_on() {
    let node = small();
    {
        let mut script = node.script.lock().unwrap();
        (script.events, script.stays_open) = (one_event_of_each_kind(), true);
    }
    let start = format!("bcastctl: lost the daemon at {}: ", node.socket().display());
    let mut watch = node.command(&["watch", "--from", "3"]);
    let mut child = watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let printed = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    // The node dies in a watch that would have stayed open.
    let mut node = Some(node);
    for line in printed {
        if line.contains("\"revision\":5,\"event\":\"committed\"") {
            node.take();
        }
    }
    let (status, _, said) = told(child.wait_with_output().unwrap());
    let end = "; go on with --from 6\n";
    assert!(status == 3 && said.starts_with(&start) && said.ends_with(end), "{status}: {said}");
}

#[test]
fn a_reader_that_stops_early_is_no_error() {
    let members: Vec<u8> = (1..=50).collect();
    let teps: Vec<(u8, &str)> = members.iter().map(|&last| (last, "")).collect();
    let domains: Vec<(u32, &str, &[u8])> = (0..3000).map(|vni| (vni, "", &members[..])).collect();
    let node = Node::with(model(&teps, &domains));
    for args in [
        &["export"][..],
        &["export", "-o", "json"],
        &["domain", "list", "-o", "json"],
        &["completions", "bash"],
    ] {
        let mut child = node.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (status, _, said) = told(child.wait_with_output().unwrap());
        assert_eq!((status, said.as_str()), (0, ""), "{args:?}");
        assert!(!line.is_empty(), "{args:?}");
    }
}

#[test]
fn every_shell_gets_its_completions() {
    let node = small();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (status, script, said) = node.run(&["completions", shell]);
        assert!(status == 0 && said.is_empty() && script.contains("bcastctl"), "{shell}");
    }
}

#[test]
fn the_words_of_the_release_before_go_on_working_and_are_not_in_the_help() {
    let node = small();
    for (args, words) in [
        ("tep next-hop hv1 192.0.2.1", "tep hv1: the gateway of its routes is now 192.0.2.1 (revision 2)\n"),
        ("domain garp 5001 strict", "domain 5001: ARP inspection is now sticky (revision 3)\n"),
        ("domain garp 5001", "sticky\n"),
        ("domain garp 5001 open", "domain 5001: ARP inspection is now off (revision 4)\n"),
    ] {
        let args: Vec<&str> = args.split(' ').collect();
        assert_eq!(node.run(&args), (0, words.to_owned(), String::new()), "{args:?}");
    }
    for (args, old) in [
        ("tep --help", "next-hop"),
        ("domain --help", "garp"),
        ("domain arp-inspection --help", "strict"),
        ("webhook --help", "\n  dead "),
    ] {
        let (status, help, _) = node.run(&args.split(' ').collect::<Vec<_>>());
        assert!(status == 0 && !help.contains(old), "{help}");
    }
}

#[test]
fn usage_lines_show_the_socket_as_the_option_that_it_is_also_where_the_environment_sets_it() {
    let node = small();
    for args in [&["tep", "rm"][..], &["domain", "leave", "5001"], &["havip", "attach", "web"]] {
        let (status, _, said) = node.run(args);
        assert!(status == 2 && said.contains("Usage: bcastctl ") && !said.contains("--socket"), "{said}");
    }
}
