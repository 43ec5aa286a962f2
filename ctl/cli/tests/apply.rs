//! `apply` and `export`, from file to node and back.

mod support;

use std::collections::VecDeque;
use std::io::Write;
use std::process::Stdio;

use bcast_domain::{DomainLimit, Rate, TepLimit, Vni};
use ctl_api::model::{Attachment, Batch, Change, Havip, MAX_CHANGES, MAX_MESSAGE_BYTES, TepRef};
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
    assert_eq!(node.run(&["apply", "-f", &file]), ok(&format!("{plan}applied (revision 2)\n")));
    assert_eq!(node.run(&["apply", "-f", &file]), ok("nothing to change (revision 2)\n"));
    let mut want = model(&[(1, "hv1"), (2, ""), (3, "")], &[(5001, "vpc-a", &[1, 2]), (6, "", &[3])]);
    want.revision = 2;
    assert_eq!(node.model(), want);
    // The dry run went to the node as well.
    assert_eq!(node.script.lock().unwrap().commits, [("Commit", 3), ("Commit", 3)]);
}

#[test]
fn a_plan_shows_the_limits_that_it_changes_and_touches_no_others() {
    let mut had = model(&[(1, "hv1"), (2, "")], &[(6, "", &[1]), (7, "seven", &[1]), (8, "", &[])]);
    let rate = |per_second| Rate::new(per_second).ok();
    had.tep_limits.insert(support::tep(1), TepLimit { frames: rate(1_500) });
    let limit = DomainLimit { copies: rate(250_000), bits: rate(1_000_000_000), control: None };
    had.domain_limits = [6, 7, 8].map(|vni| (vni.into(), limit)).into();
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
    assert_eq!(node.run(&["apply", "-f", &file]), ok(&format!("{plan}applied (revision 2)\n")));
    assert_eq!(node.script.lock().unwrap().commits, [("Commit", 9)], "no list of members for domain 6");
    let plan = "~ tep 198.18.0.1: limit frames default, was 1500\n\
                ~ domain 6: limit copies default, was 250k; limit bits default, was 1G\n\
                ~ domain 7: no longer named seven\n- domain 8: 0 members\n\
                plan: teps +0 ~1 -0, domains +0 ~2 -1, memberships +0 -0\n";
    let done = ok(&format!("{plan}applied (revision 3)\n"));
    assert_eq!(node.run(&["apply", "-f", &file, "--prune"]), done);
    let text = node.run(&["export"]).1;
    assert!(text.contains("{vni: 7, limit: {copies: 250k, bits: 7}, members: []}"), "{text}");
}

const HAVIPS: &str = "teps: [{address: 198.18.0.1, name: hv1, next_hop: 192.0.2.1}, {address: 198.18.0.2}]\n\
    domains: [{vni: 5001, name: vpc-a, members: [hv1, 198.18.0.2], garp: strict}]\n\
    havips:\n  \
      - {name: web, vni: 5001, subnet: 10.0.0.0/24, address: 10.0.0.100, vrids: [51], refresh: 30s, eip: 203.0.113.7, \
         attachments: [{instance: vm1, mac: \"52:54:00:00:00:01\", teps: [hv1]}, {instance: vm2, mac: \"52:54:00:00:00:02\", teps: [198.18.0.2]}]}\n  \
      - {name: db, vni: 5001, subnet: \"fd00:1::/64\", address: \"fd00:1::100\"}\n";

#[test]
fn havips_are_planned_line_by_line_and_a_prune_that_removes_many_wants_yes() {
    let node = Node::with(model(&[], &[]));
    let file = node.file("havips.yaml", HAVIPS);
    let plan = "+ tep 198.18.0.1 (hv1); next hop 192.0.2.1\n+ tep 198.18.0.2\n\
                + domain 5001 (vpc-a): 2 members; garp strict\n\
                + havip db: fd00:1::100 in domain 5001; 0 attachments\n\
                + havip web: 10.0.0.100 in domain 5001; 2 attachments; vrids 51; refresh 30 s; eip 203.0.113.7\n\
                plan: teps +2 ~0 -0, domains +1 ~0 -0, memberships +2 -0, havips +2 ~0 -0\n";
    assert_eq!(node.run(&["apply", "-f", &file]), ok(&format!("{plan}applied (revision 2)\n")));
    assert_eq!(node.run(&["apply", "-f", &file, "--prune"]), ok("nothing to change (revision 2)\n"));
    let text = "teps: [{address: 198.18.0.1, next_hop6: \"2001:db8::1\"}]\ndomains: [{vni: 5001, garp: open}]\n\
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
    let plan = "~ tep 198.18.0.1: IPv6 next hop 2001:db8::1\n~ domain 5001: garp open, was strict\n\
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
    assert!(
        plan.contains(
            "~ tep 198.18.0.1: next hop none, was 192.0.2.1; IPv6 next hop none, was 2001:db8::1\n"
        )
    );
    assert_eq!(node.run(&["apply", "-f", &old, "--prune", "--yes"]).0, 0);
    assert_eq!(node.model().havips.len(), 0);
    assert_eq!(node.model().next_hops.len(), 0);
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
    assert_eq!((status, said.as_str()), (1, "bcastctl: havip y: address 10.0.0.100 is that of havip web\n"));
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

/// Batches of another client: each registers TEP 198.18.0.9 or gives it another name.
fn others(count: usize) -> VecDeque<Batch> {
    let names = model(&[(1, "other-0"), (2, "other-1"), (3, "other-2"), (4, "other-3"), (5, "other-4")], &[]);
    let add = |name| Batch::new(vec![Change::TepAdd { address: support::tep(9), name }]);
    names.teps.into_values().take(count).map(add).collect()
}

#[test]
fn without_prune_a_node_in_service_takes_the_file_beside_what_others_change() {
    let node = Node::with(model(&[], &[]));
    node.script.lock().unwrap().others = others(1);
    let file = node.file("domains.yaml", FILE);
    let (status, said, _) = node.run(&["apply", "-f", &file]);
    assert_eq!((status, said.lines().last()), (0, Some("applied (revision 3)")));
    let mut want = model(&[(1, "hv1"), (2, ""), (9, "other-0")], &[(5001, "vpc-a", &[1, 2])]);
    want.revision = 3;
    assert_eq!(node.model(), want);
}

#[test]
fn a_refused_entry_is_named_by_what_it_is_for() {
    let node = Node::with(model(&[(1, "hv1"), (2, "")], &[(7, "", &[])]));
    let gone = Change::TepRemove { tep: TepRef::Address(support::tep(1)), force: true };
    node.script.lock().unwrap().others = [Batch::new(vec![gone])].into();
    let file = node.file("domains.yaml", "domains: [{vni: 6}, {vni: 7, members: [hv1]}]");
    let (status, _, said) = node.run(&["apply", "-f", &file]);
    let reason = "bcastctl: domain 7: tep 198.18.0.1 is not registered: add it first\n";
    assert_eq!((status, said.as_str()), (1, reason));
}

#[test]
fn a_prune_is_planned_again_where_the_node_has_moved_on_and_given_up_after_five_plans() {
    for (changes, status, said) in [
        (4, 0, ""),
        (
            5,
            1,
            "bcastctl: the node changed each time between plan and commit: nothing was changed; \
             a --prune needs a node that nobody else is changing just now\n",
        ),
    ] {
        let node = Node::with(model(&[], &[]));
        node.script.lock().unwrap().others = others(changes);
        let file = node.file("domains.yaml", FILE);
        let (got, words, why) = node.run(&["apply", "-f", &file, "--prune"]);
        assert_eq!((got, why.as_str()), (status, said), "{changes}");
        assert_eq!(words.matches("the plan anew:\n").count(), 4, "{words}");
        assert!(words.contains("- tep 198.18.0.9 (other-"), "{words}");
        let teps = if status == 0 { 2 } else { 1 };
        assert_eq!(
            (node.model().teps.len(), node.script.lock().unwrap().commits.len()),
            (teps, 5),
            "{words}"
        );
    }
}

#[test]
fn a_plan_made_anew_wants_yes_again_only_where_it_removes_more() {
    let five: &[u8] = &[1, 2, 3, 4, 5];
    let teps: Vec<(u8, &str)> = (1..=5).map(|last| (last, "")).collect();
    let vni = 6.into();
    let join = |last| Change::Join { vni, teps: vec![TepRef::Address(support::tep(last))] };
    for (other, status) in [(Change::TepAdd { address: support::tep(9), name: None }, 0), (join(5), 1)] {
        let node = Node::with(model(&teps, &[(5001, "", five), (6, "", &[1])]));
        node.script.lock().unwrap().others = [Batch::new(vec![other])].into();
        // One of six memberships goes unasked, two of seven do not.
        let text = "teps: [{address: 198.18.0.1}, {address: 198.18.0.2}, {address: 198.18.0.3}, {address: 198.18.0.4}, \
                    {address: 198.18.0.5}]\n\
                    domains: [{vni: 5001, members: [198.18.0.1, 198.18.0.2, 198.18.0.3, 198.18.0.4, 198.18.0.5]}]";
        let file = node.file("domains.yaml", text);
        let (got, _, said) = node.run(&["apply", "-f", &file, "--prune"]);
        assert_eq!((got, said.contains("this removes 2 of 7 memberships")), (status, status == 1), "{said}");
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
        ("tepz: []", "line 1, column 1: unknown field `tepz`, expected one of teps, domains, havips"),
        (
            "domains: [{vni: 1, members: [hv9]}]",
            "domains[0] (VNI 1): member hv9 is neither registered nor in the file: add it to `teps`",
        ),
    ] {
        let file = node.file("bad.yaml", text);
        let said = format!("bcastctl: {file}: {reason}\n");
        assert_eq!(node.run(&["apply", "-f", &file]), (1, String::new(), said), "{text}");
    }
    let said = "bcastctl: cannot read /nonexistent.yaml: No such file or directory (os error 2)\n";
    assert_eq!(node.run(&["apply", "-f", "/nonexistent.yaml"]), (1, String::new(), said.to_owned()));
    assert!(node.script.lock().unwrap().commits.is_empty());
}

fn domains(count: u32, members: &str) -> String {
    let domains = (0..count).map(|vni| format!("  - {{vni: {vni}, members: [{members}]}}\n"));
    domains.fold("domains:\n".to_owned(), |text, domain| text + &domain)
}

#[test]
fn a_plan_over_the_limits_of_a_message_streams_and_commits_once() {
    let node = Node::with(model(&[(1, "hv1")], &[]));
    let file = node.file("many.yaml", &domains(25_000, "hv1"));
    let (status, said, _) = node.run(&["apply", "-f", &file]);
    let words = "25000 lines of plan are not shown: --verbose shows them\n\
                 plan: teps +0 ~0 -0, domains +25000 ~0 -0, memberships +25000 -0\napplied (revision 2)\n";
    assert_eq!((status, said.as_str()), (0, words));
    let script = node.script.lock().unwrap();
    assert_eq!(script.commits, [("CommitStream", 25_000)]);
    assert!(script.largest.0 <= MAX_MESSAGE_BYTES && script.largest.1 <= MAX_CHANGES, "{:?}", script.largest);
    assert_eq!(script.model.domains.len(), 25_000);
}

#[test]
fn few_changes_of_many_bytes_stream_as_well() {
    let addresses: Vec<String> = (0..16_384u32).map(|n| format!("198.18.{}.{}", n >> 8, n & 255)).collect();
    let node = Node::with(model(&[], &[]));
    let teps: Vec<String> = addresses.iter().map(|address| format!("{{address: {address}}}")).collect();
    let first = node.file("teps.yaml", &format!("teps: [{}]", teps.join(", ")));
    assert_eq!(node.run(&["apply", "-f", &first]).0, 0);
    let file = node.file("wide.yaml", &domains(20, &addresses.join(", ")));
    assert_eq!(node.run(&["apply", "-f", &file]).0, 0);
    let script = node.script.lock().unwrap();
    assert_eq!(script.commits, [("CommitStream", 16_384), ("CommitStream", 20)]);
    assert!(script.largest.0 <= MAX_MESSAGE_BYTES, "{:?}", script.largest);
}

#[test]
fn an_export_applied_elsewhere_with_prune_gives_the_same_state() {
    let names = ["hv1", "", "true", "no", "1e5", "9lives", "a.b-c_d", "null"];
    let teps: Vec<(u8, &str)> = (1..).zip(names).collect();
    let mut full = model(&teps, &[(0, "null", &[]), (5001, "yes", &[1, 2, 8]), (u32::MAX, "", &[3])]);
    let rate = |per_second| Rate::new(per_second).ok();
    let limit = |copies, bits, control| DomainLimit { copies, bits, control };
    full.tep_limits = [(1, 1_000), (3, 1_234)]
        .map(|(last, own)| (support::tep(last), TepLimit { frames: rate(own) }))
        .into();
    full.domain_limits.insert(5001.into(), limit(rate(250_000), rate(1_000_000_000), rate(Rate::MAX)));
    full.domain_limits.insert(u32::MAX.into(), limit(None, rate(1), None));
    full.next_hops.insert(support::tep(2), (Some([192, 0, 2, 1].into()), "2001:db8::".parse().ok()));
    full.strict.insert(5001.into());
    let havip = |name: &str, address: &str, subnet: &str| Havip {
        name: name.parse().unwrap(),
        vni: 5001.into(),
        subnet: subnet.parse().unwrap(),
        address: address.parse().unwrap(),
        attachments: vec![],
        vrids: vec![],
        refresh_s: None,
        eip: None,
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
        stale.tep_limits = [2, 3].map(|last| (support::tep(last), TepLimit { frames: rate(9) })).into();
        let limits = [0, 5001, u32::MAX].map(|vni| (vni.into(), limit(rate(250_000), rate(2), None)));
        stale.domain_limits = limits.into();
        stale.next_hops.insert(support::tep(2), (None, "2001:db8::9".parse().ok()));
        stale.strict = [0, 77].map(Vni::from).into();
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
