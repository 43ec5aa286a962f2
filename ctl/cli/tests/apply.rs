//! `apply` and `export`, from file to node and back.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::process::Stdio;

use bcast_domain::{DomainLimit, Rate, TepLimit};
use ctl_api::model::{
    ArpInspection, Attachment, Batch, Change, Havip, MAX_CHANGES, MAX_MESSAGE_BYTES, Name, TepRef,
};
use support::model;
use support::node::{Node, told};

const FILE: &str = "teps: [{address: 198.18.0.1, name: hv1}, {address: 198.18.0.2}]\n\
                    domains: [{vni: 5001, name: vpc-a, members: [hv1, 198.18.0.2]}]\n";

fn ok(words: &str) -> (i32, String, String) {
    (0, words.to_owned(), String::new())
}

#[test]
fn a_file_is_applied_in_one_revision_and_then_there_is_nothing_to_change() {
    let node = Node::with(model(&[(1, "old"), (3, "")], &[(5001, "vpc-a", &[1, 3]), (6, "", &[3])]));
    let file = node.file("domains.yaml", FILE);
    let plan = "~ tep 198.18.0.1: named hv1, was old\n+ tep 198.18.0.2\n\
                ~ domain 5001: 1 join: 198.18.0.2; 1 leave: 198.18.0.3\n\
                plan: teps +1 ~1 -0, domains +0 ~1 -0, memberships +1 -1\n";
    let before = node.model();
    let checked = format!("{plan}dry run: the node would take this; nothing was changed\n");
    assert_eq!(node.run(&["apply", "-f", &file, "--dry-run"]), ok(&checked));
    assert_eq!(node.model(), before);
    assert_eq!(node.run(&["apply", "-f", &file, "--yes"]), ok(&format!("{plan}applied (revision 2)\n")));
    assert_eq!(node.run(&["apply", "-f", &file]), ok("nothing to change (revision 2)\n"));
    let mut want = model(&[(1, "hv1"), (2, ""), (3, "")], &[(5001, "vpc-a", &[1, 2]), (6, "", &[3])]);
    want.revision = 2;
    assert_eq!(node.model(), want);
    assert_eq!(node.script.lock().unwrap().commits, [("Apply", 3); 3], "two TEPs and a domain");
}

#[test]
fn a_plan_shows_the_limits_that_it_changes_and_touches_no_others() {
    let mut had = model(&[(1, "hv1"), (2, "")], &[(6, "", &[1]), (7, "seven", &[1]), (8, "", &[])]);
    let rate = |per_second| Rate::new(per_second).ok();
    had.tep_mut(1).limit = TepLimit { frames: rate(1_500) };
    let limit = DomainLimit { copies: rate(250_000), bits: rate(1_000_000_000), control: None };
    had.domains.values_mut().for_each(|domain| domain.limit = limit);
    let node = Node::with(had);
    let text = "teps: [{address: 198.18.0.1, name: hv}, {address: 198.18.0.2, limit: {frames: 1000}}, \
                {address: 198.18.0.3, limit: {frames: 2M}}]\n\
                domains: [{vni: 5, limit: {bits: 1G}}, {vni: 6, members: [198.18.0.1], limit: {control: 5}}, \
                {vni: 7, members: [], limit: {copies: 250000, bits: 7}}]";
    let file = node.file("domains.yaml", text);
    let plan = "~ tep 198.18.0.1: named hv, was hv1\n~ tep 198.18.0.2: limit frames 1k, was default\n\
                + tep 198.18.0.3; limit frames 2M\n\
                + domain 5: 0 members; limit copies default, bits 1G, control default\n\
                ~ domain 6: limit control 5, was default\n~ domain 7: 1 leave: hv1; limit bits 7, was 1G\n\
                plan: teps +1 ~2 -0, domains +1 ~2 -0, memberships +0 -1\n";
    assert_eq!(node.run(&["apply", "-f", &file, "--yes"]), ok(&format!("{plan}applied (revision 2)\n")));
    let plan = "~ tep 198.18.0.1: limit frames default, was 1500\n\
                ~ domain 6: limit copies default, was 250k; limit bits default, was 1G\n\
                ~ domain 7: no longer named seven\n- domain 8: 0 members\n\
                plan: teps +0 ~1 -0, domains +0 ~2 -1, memberships +0 -0\n";
    let done = ok(&format!("{plan}applied (revision 3)\n"));
    assert_eq!(node.run(&["apply", "-f", &file, "--prune"]), done);
    let text = node.run(&["export"]).1;
    assert!(text.contains("{vni: 7, limit: {copies: 250k, bits: 7}, members: []}"), "{text}");
}

const HAVIPS: &str = "teps: [{address: 198.18.0.1, name: hv1, route_gateway: 192.0.2.1}, {address: 198.18.0.2}]\n\
    domains: [{vni: 5001, name: vpc-a, members: [hv1, 198.18.0.2], arp_inspection: sticky}]\n\
    havips:\n  \
      - {name: web, vni: 5001, subnet: 10.0.0.0/24, address: 10.0.0.100, vrids: [51], refresh: 30s, eip: 203.0.113.7, \
         attachments: [{instance: vm1, mac: \"52:54:00:00:00:01\", teps: [hv1]}, {instance: vm2, mac: \"52:54:00:00:00:02\", teps: [198.18.0.2]}]}\n  \
      - {name: db, vni: 5001, subnet: \"fd00:1::/64\", address: \"fd00:1::100\"}\n";

#[test]
fn havips_are_planned_line_by_line_and_a_prune_that_removes_many_wants_yes() {
    let node = Node::with(model(&[], &[]));
    let file = node.file("havips.yaml", HAVIPS);
    let plan = "+ tep 198.18.0.1 (hv1); route gateway 192.0.2.1\n+ tep 198.18.0.2\n\
                + domain 5001 (vpc-a): 2 members; ARP inspection sticky\n\
                + havip db: fd00:1::100 in domain 5001; 0 attachments\n\
                + havip web: 10.0.0.100 in domain 5001; 2 attachments; vrids 51; refresh 30 s; eip 203.0.113.7\n\
                plan: teps +2 ~0 -0, domains +1 ~0 -0, memberships +2 -0, havips +2 ~0 -0\n";
    assert_eq!(node.run(&["apply", "-f", &file]), ok(&format!("{plan}applied (revision 2)\n")));
    assert_eq!(node.run(&["apply", "-f", &file, "--prune"]), ok("nothing to change (revision 2)\n"));
    let text = "teps: [{address: 198.18.0.1, route_gateway6: \"2001:db8::1\"}]\ndomains: [{vni: 5001, arp_inspection: off}]\n\
                havips: [{name: web, vni: 5001, subnet: 10.0.0.0/24, address: 10.0.0.101, eip: 203.0.113.8, \
                attachments: [{instance: vm1, mac: \"52:54:00:00:00:01\", teps: [hv1, 198.18.0.2]}, \
                {instance: vm3, mac: \"52:54:00:00:00:03\", teps: []}]}]";
    let bad = node.file("bad.yaml", text);
    let said = format!(
        "bcastctl: {bad}: havips[0] (web): instance vm3 is given 0 TEPs; it runs on one, or on two while it migrates\n"
    );
    assert_eq!(node.run(&["apply", "-f", &bad]), (1, String::new(), said));
    let other = node
        .file("other.yaml", &text.replace("vrids", "").replace("teps: []}]}", "teps: [hv1]}], vrids: []}"));
    let plan = "~ tep 198.18.0.1: IPv6 route gateway 2001:db8::1\n~ domain 5001: ARP inspection off, was sticky\n\
                ~ havip web: address 10.0.0.101, was 10.0.0.100; \
                vm1 now as 52:54:00:00:00:01 on hv1 and 198.18.0.2; \
                attach vm3 as 52:54:00:00:00:03 on hv1; detach vm2; vrids none, was 51; eip 203.0.113.8, was 203.0.113.7\n\
                plan: teps +0 ~1 -0, domains +0 ~1 -0, memberships +0 -0, havips +0 ~1 -0\n";
    let before = node.model();
    let checked = format!("{plan}dry run: the node would take this; nothing was changed\n");
    assert_eq!(node.run(&["apply", "-f", &other, "--dry-run"]), ok(&checked));
    assert_eq!(node.model(), before);
    assert_eq!(node.run(&["apply", "-f", &other]), ok(&format!("{plan}applied (revision 3)\n")));
    // A file from before there were HAVIPs.
    let old = node.file(
        "old.yaml",
        "teps: [{address: 198.18.0.1, name: hv1}, {address: 198.18.0.2}]\n\
                                     domains: [{vni: 5001, name: vpc-a, members: [hv1, 198.18.0.2]}]",
    );
    let (status, plan, said) = node.run(&["apply", "-f", &old, "--prune"]);
    let reason = "bcastctl: this removes 2 of 2 HAVIPs, over 20 %: nothing was changed; run it again with --yes if it is meant\n";
    assert_eq!((status, said.as_str()), (1, reason));
    assert!(plan.contains("- havip db: fd00:1::100 in domain 5001\n"), "{plan}");
    assert!(plan.contains(
        "~ tep 198.18.0.1: route gateway none, was 192.0.2.1; IPv6 route gateway none, was 2001:db8::1\n"
    ));
    assert_eq!(node.run(&["apply", "-f", &old, "--prune", "--yes"]).0, 0);
    assert_eq!(node.model().havips.len(), 0);
    assert!(
        node.model().teps.values().all(|tep| tep.route_gateway.is_none() && tep.route_gateway6.is_none())
    );
}

#[test]
fn a_havip_that_the_node_refuses_is_named() {
    let node = Node::with(model(&[], &[]));
    let file = node.file("havips.yaml", HAVIPS);
    assert_eq!(node.run(&["apply", "-f", &file]).0, 0);
    let text = "havips: [{name: x, vni: 5001, subnet: 10.0.0.0/24, address: 10.0.0.9}, \
                {name: y, vni: 5001, subnet: 10.0.0.0/24, address: 10.0.0.100}]";
    let file = node.file("taken.yaml", text);
    let (status, _, said) = node.run(&["apply", "-f", &file]);
    let reason = format!("bcastctl: {file}: havips[1] (y): address 10.0.0.100 is that of havip web\n");
    assert_eq!((status, said), (1, reason));
}

#[test]
fn json_says_the_plan_in_numbers() {
    let node = Node::with(model(&[], &[]));
    let file = node.file("domains.yaml", FILE);
    let plan = "\"plan\":{\"teps\":{\"added\":2,\"changed\":0,\"removed\":0},\"domains\":{\"added\":1,\"changed\":0,\"removed\":0},\
                \"memberships\":{\"added\":2,\"removed\":0},\"havips\":{\"added\":0,\"changed\":0,\"removed\":0}}}\n";
    let words = format!("{{\"revision\":2,\"changed\":3,\"notes\":[],\"dry_run\":false,{plan}");
    assert_eq!(node.run(&["-o", "json", "apply", "-f", &file]), ok(&words));
}

#[test]
fn a_prune_that_removes_over_a_fifth_wants_yes_where_nobody_can_be_asked() {
    let node = Node::with(model(&[(1, "hv1"), (2, ""), (3, "")], &[(5001, "vpc-a", &[1, 2]), (6, "", &[3])]));
    let file = node.file("domains.yaml", FILE);
    let plan =
        "- tep 198.18.0.3\n- domain 6: 1 member\nplan: teps +0 ~0 -1, domains +0 ~0 -1, memberships +0 -1\n";
    let reason = "bcastctl: this removes 1 of 3 memberships, over 20 %: nothing was changed; run it again with --yes if it is meant\n";
    let before = node.model();
    assert_eq!(node.run(&["apply", "-f", &file, "--prune"]), (1, plan.to_owned(), reason.to_owned()));
    assert_eq!(node.model(), before);
    let done = format!("{plan}applied (revision 2)\n");
    assert_eq!(node.run(&["apply", "-f", &file, "--prune", "--yes"]), ok(&done));
    assert_eq!(node.model().teps.len(), 2);
}

#[test]
fn a_refused_entry_is_named_by_its_place() {
    let node = Node::with(model(&[(1, "hv1")], &[(7, "", &[])]));
    let before = node.model();
    for (text, reason) in [
        (
            "domains: [{vni: 6}, {vni: 7, members: [hv9]}]",
            "domains[1] (VNI 7): tep hv9 is not registered: add it first",
        ),
        (
            "domains: [{vni: 16}, {vni: 0x10}]\nteps: [{address: 198.18.0.9}]",
            "domains[1] (VNI 16): VNI 16 is named twice",
        ),
        (
            "teps: [{address: 198.18.0.9}, {address: 198.18.0.9}]",
            "teps[1] (198.18.0.9): TEP 198.18.0.9 is named twice",
        ),
    ] {
        let file = node.file("domains.yaml", text);
        let said = format!("bcastctl: {file}: {reason}\n");
        assert_eq!(node.run(&["apply", "-f", &file]), (1, String::new(), said), "{text}");
    }
    assert_eq!(node.model(), before);
}

/// Runs bcastctl at a terminal, where someone types these lines.
fn at_a_terminal(node: &Node, args: &[&str], typed: &str) -> (i32, String) {
    let line = [&[env!("CARGO_BIN_EXE_bcastctl")], args].concat().join(" ");
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).env("BCAST_SOCKET", node.socket());
    let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    script.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let (status, shown, _) = told(script.wait_with_output().unwrap());
    (status, shown)
}

#[test]
fn at_a_terminal_a_prune_that_removes_many_is_confirmed_by_yes_alone() {
    for (typed, status) in [("y\n", 0), ("n\n", 1), ("\n", 1)] {
        let node =
            Node::with(model(&[(1, "hv1"), (2, ""), (3, "")], &[(5001, "vpc-a", &[1, 2]), (6, "", &[3])]));
        let file = node.file("domains.yaml", FILE);
        let (got, shown) = at_a_terminal(&node, &["apply", "-f", &file, "--prune"], typed);
        assert_eq!(got, status, "{shown}");
        assert!(
            shown.contains("- domain 6: 1 member") && shown.contains("removes 1 of 3 memberships"),
            "{shown}"
        );
        assert_eq!(node.model().teps.len(), if status == 0 { 2 } else { 3 });
    }
}

#[test]
fn a_plan_made_anew_wants_yes_again_only_where_it_removes_more() {
    let vni = 6.into();
    let tep = |last| TepRef::Address(support::tep(last));
    let join = Change::Join { vni, teps: [tep(2)].into_iter().collect() };
    for (other, typed, status) in
        [(Change::tep(support::tep(9), None), "y\n", 0), (join.clone(), "y\ny\n", 0), (join, "y\nn\n", 1)]
    {
        let node =
            Node::with(model(&[(1, "hv1"), (2, ""), (3, "")], &[(5001, "vpc-a", &[1, 2]), (6, "", &[3])]));
        node.script.lock().unwrap().others = [Batch::new(vec![other])].into();
        let file = node.file("domains.yaml", FILE);
        let (got, shown) = at_a_terminal(&node, &["apply", "-f", &file, "--prune"], typed);
        assert_eq!(got, status, "{shown}");
        assert_eq!(shown.contains("the plan anew"), typed.len() > 2, "{shown}");
        assert_eq!(shown.contains("removes 2 of 4 memberships"), typed.len() > 2, "{shown}");
    }
}

#[test]
fn old_keys_are_read_with_a_warning_and_never_beside_their_new_ones() {
    let node = Node::with(model(&[], &[]));
    let text = "teps: [{address: 198.18.0.1, next_hop: 192.0.2.1, next_hop6: \"2001:db8::1\"}, {address: 198.18.0.2, next_hop: 192.0.2.2}]\n\
                domains: [{vni: 1, garp: strict}, {vni: 2, garp: open}]";
    let file = node.file("old.yaml", text);
    let (status, _, said) = node.run(&["apply", "-f", &file]);
    assert_eq!(status, 0);
    let warned = |old, new| {
        format!("bcastctl: {file}: the key {old} is called {new} now: the next release reads {new} alone\n")
    };
    let all = [("garp", "arp_inspection"), ("next_hop", "route_gateway"), ("next_hop6", "route_gateway6")];
    assert_eq!(said, all.map(|(old, new)| warned(old, new)).concat());
    let got = node.model();
    let tep = &got.teps[&support::tep(1)];
    assert_eq!(
        (tep.route_gateway, tep.route_gateway6),
        ("192.0.2.1".parse().ok(), "2001:db8::1".parse().ok())
    );
    assert_eq!(got.teps[&support::tep(2)].route_gateway, "192.0.2.2".parse().ok());
    assert_eq!(got.domains[&1.into()].arp_inspection, ArpInspection::Sticky);
    assert_eq!(got.domains[&2.into()].arp_inspection, ArpInspection::Off);
    for (text, reason) in [
        (
            "domains: [{vni: 1, garp: open, arp_inspection: off}]",
            "garp is the old name of arp_inspection: give arp_inspection alone",
        ),
        (
            "teps: [{address: 198.18.0.1, next_hop: 192.0.2.1, route_gateway: 192.0.2.1}]",
            "next_hop is the old name of route_gateway: give route_gateway alone",
        ),
    ] {
        let file = node.file("both.yaml", text);
        let (status, _, said) = node.run(&["apply", "-f", &file]);
        assert!(status == 1 && said.contains(reason) && said.contains("line 1, column "), "{said}");
    }
}

#[test]
fn an_export_of_the_release_before_is_applied() {
    for (name, warnings) in [("all-fields.yaml", 3), ("all-fields.json", 3), ("export.yaml", 3)] {
        let node = Node::with(model(&[], &[]));
        let file = format!("{}/tests/fixtures/previous-release/{name}", env!("CARGO_MANIFEST_DIR"));
        let (status, shown, said) = node.run(&["apply", "-f", &file, "--prune"]);
        assert_eq!((status, said.lines().count()), (0, warnings), "{said}");
        assert!(shown.contains("applied (revision "), "{shown}");
        let web = &node.model().havips[&"web".parse::<Name>().unwrap()];
        assert_eq!((web.attachments.len(), &web.vrids, web.eip), (2, &vec![51], "203.0.113.7".parse().ok()));
        assert_eq!(node.run(&["apply", "-f", &file, "--prune"]).0, 0);
    }
}

#[test]
fn a_bad_file_is_refused_in_one_line_that_names_file_and_place() {
    let node = Node::with(model(&[], &[]));
    for (text, reason) in [
        (
            "teps: [{address: 224.0.0.1}]",
            "line 1, column 18: 224.0.0.1 is a multicast address: a tunnel endpoint is one host",
        ),
        (
            "tepz: []",
            "line 1, column 1: unknown field `tepz`, expected one of teps, domains, havips, revision",
        ),
        (
            "domains: [{vni: 1, members: [hv9]}]",
            "domains[0] (VNI 1): tep hv9 is not registered: add it first",
        ),
    ] {
        let file = node.file("bad.yaml", text);
        let said = format!("bcastctl: {file}: {reason}\n");
        assert_eq!(node.run(&["apply", "-f", &file]), (1, String::new(), said), "{text}");
    }
    let said = "bcastctl: cannot read /nonexistent.yaml: No such file or directory (os error 2)\n";
    assert_eq!(node.run(&["apply", "-f", "/nonexistent.yaml"]), (1, String::new(), said.to_owned()));
    assert_eq!(node.script.lock().unwrap().commits, [("Apply", 1)], "the others did not get so far");
}

fn domains(count: u32, members: &str) -> String {
    let domains = (0..count).map(|vni| format!("  - {{vni: {vni}, members: [{members}]}}\n"));
    domains.fold("domains:\n".to_owned(), |text, domain| text + &domain)
}

#[test]
fn a_file_over_the_limits_of_a_message_is_sent_in_parts_and_committed_once() {
    let node = Node::with(model(&[(1, "hv1")], &[]));
    let file = node.file("many.yaml", &domains(25_000, "hv1"));
    let (status, said, _) = node.run(&["apply", "-f", &file]);
    let words = "25000 lines of plan are not shown: --verbose shows them\n\
                 plan: teps +0 ~0 -0, domains +25000 ~0 -0, memberships +25000 -0\napplied (revision 2)\n";
    assert_eq!((status, said.as_str()), (0, words));
    let script = node.script.lock().unwrap();
    assert_eq!(script.commits, [("Apply", 25_000)]);
    assert!(script.largest.0 <= MAX_MESSAGE_BYTES && script.largest.1 <= MAX_CHANGES, "{:?}", script.largest);
    assert_eq!(script.model.domains.len(), 25_000);
}

#[test]
fn few_entries_of_many_bytes_are_sent_in_parts_as_well() {
    let addresses: Vec<String> = (0..16_384u32).map(|n| format!("198.18.{}.{}", n >> 8, n & 255)).collect();
    let node = Node::with(model(&[], &[]));
    let teps: Vec<String> = addresses.iter().map(|address| format!("{{address: {address}}}")).collect();
    let first = node.file("teps.yaml", &format!("teps: [{}]", teps.join(", ")));
    assert_eq!(node.run(&["apply", "-f", &first]).0, 0);
    let file = node.file("wide.yaml", &domains(20, &addresses.join(", ")));
    assert_eq!(node.run(&["apply", "-f", &file]).0, 0);
    let script = node.script.lock().unwrap();
    assert_eq!(script.commits, [("Apply", 16_384), ("Apply", 20)]);
    assert!(script.largest.0 <= MAX_MESSAGE_BYTES, "{:?}", script.largest);
}

#[test]
fn an_export_applied_elsewhere_with_prune_gives_the_same_state() {
    let names = ["hv1", "", "true", "no", "1e5", "9lives", "a.b-c_d", "null"];
    let teps: Vec<(u8, &str)> = (1..).zip(names).collect();
    let mut full = model(&teps, &[(0, "null", &[]), (5001, "yes", &[1, 2, 8]), (u32::MAX, "", &[3])]);
    let rate = |per_second| Rate::new(per_second).ok();
    let limit = |copies, bits, control| DomainLimit { copies, bits, control };
    for (last, own) in [(1, 1_000), (3, 1_234)] {
        full.tep_mut(last).limit = TepLimit { frames: rate(own) };
    }
    full.domain_mut(5001).limit = limit(rate(250_000), rate(1_000_000_000), rate(Rate::MAX));
    full.domain_mut(u32::MAX).limit = limit(None, rate(1), None);
    full.tep_mut(2).route_gateway = Some([192, 0, 2, 1].into());
    full.tep_mut(2).route_gateway6 = "2001:db8::".parse().ok();
    full.domain_mut(5001).arp_inspection = ArpInspection::Sticky;
    let havip = |name: &str, address: &str, subnet: &str| Havip {
        name: name.parse().unwrap(),
        vni: 5001.into(),
        subnet: subnet.parse().unwrap(),
        address: address.parse().unwrap(),
        attachments: vec![],
        vrids: vec![],
        refresh_s: None,
        eip: None,
        group: None,
    };
    let attachments = [("1e5", 8), ("no", 1)].map(|(instance, last)| Attachment {
        instance: instance.parse().unwrap(),
        mac: format!("52:54:00:00:00:0{last}").parse().unwrap(),
        teps: vec![support::tep(last), support::tep(last + 1)]
            .into_iter()
            .filter(|tep| full.teps.contains_key(tep))
            .collect(),
    });
    let web = Havip {
        attachments: attachments.into(),
        vrids: vec![7, 51],
        refresh_s: Some(90),
        eip: "2001:db8::7".parse().ok(),
        group: "default/web".parse().ok(),
        ..havip("true", "10.0.0.100", "10.0.0.0/24")
    };
    let six = havip("six", "fd00:1::64", "fd00:1::/64");
    let mut stale_havips =
        vec![Havip { vni: 77.into(), ..six.clone() }, havip("gone", "10.0.0.100", "10.0.0.0/24")];
    stale_havips.push(Havip {
        address: [10, 0, 0, 7].into(),
        eip: web.eip,
        ..havip("old", "10.0.0.7", "10.0.0.0/24")
    });
    full.havips = [web, six].map(|havip| (havip.name.clone(), havip)).into();
    let from = Node::with(full);
    for format in ["table", "json"] {
        let mut stale = model(
            &[(1, "true"), (2, "stale"), (3, "hv1"), (9, "no")],
            &[
                (0, "other", &[9]),
                (5001, "", &[1, 9]),
                (77, "gone", &[1, 2, 3]),
                (u32::MAX, "named", &[2, 3]),
            ],
        );
        for last in [2, 3] {
            stale.tep_mut(last).limit = TepLimit { frames: rate(9) };
        }
        for vni in [0, 5001, u32::MAX] {
            stale.domain_mut(vni).limit = limit(rate(250_000), rate(2), None);
        }
        stale.tep_mut(2).route_gateway6 = "2001:db8::9".parse().ok();
        for vni in [0, 77] {
            stale.domain_mut(vni).arp_inspection = ArpInspection::Sticky;
        }
        stale.havips = stale_havips.iter().map(|havip| (havip.name.clone(), havip.clone())).collect();
        let to = Node::with(stale);
        let (status, text, _) = from.run(&["export", "-o", format]);
        assert_eq!(status, 0);
        let mut apply = to
            .command(&["apply", "-f", "-", "--prune", "--yes"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        apply.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let (status, _, said) = told(apply.wait_with_output().unwrap());
        assert_eq!((status, said.as_str()), (0, ""), "{text}");
        let (mut got, want) = (to.model(), from.model());
        got.revision = want.revision;
        assert_eq!(got, want, "{text}");
        let again = to.run(&["export", "-o", format]).1;
        assert_eq!(
            again.replace("revision: 2", "revision: 1").replace("\"revision\":2", "\"revision\":1"),
            text
        );
    }
}
