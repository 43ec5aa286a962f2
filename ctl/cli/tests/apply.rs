//! `apply` and `export`, from file to node and back.

mod support;

use std::io::Write;
use std::process::Stdio;

use ctl_api::model::{MAX_CHANGES, MAX_MESSAGE_BYTES};
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
fn json_says_the_plan_in_numbers() {
    let node = Node::with(model(&[], &[]));
    let file = node.file("domains.yaml", FILE);
    let plan = "\"plan\":{\"teps\":{\"added\":2,\"changed\":0,\"removed\":0},\"domains\":{\"added\":1,\"changed\":0,\"removed\":0},\
                \"memberships\":{\"added\":2,\"removed\":0}}}\n";
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
fn a_node_that_moved_on_refuses_the_plan() {
    let node = Node::with(model(&[], &[]));
    node.script.lock().unwrap().restless = true;
    let file = node.file("domains.yaml", FILE);
    let (status, _, said) = node.run(&["apply", "-f", &file]);
    let reason = "bcastctl: the node is no longer at revision 1, which the plan was made for: nothing was changed; run the same command again\n";
    assert_eq!((status, said.as_str()), (1, reason));
    assert!(node.model().teps.is_empty());
}

#[test]
fn a_bad_file_is_refused_in_one_line_that_names_file_and_place() {
    let node = Node::with(model(&[], &[]));
    for (text, reason) in [
        (
            "teps: [{address: 224.0.0.1}]",
            "line 1, column 18: 224.0.0.1 is a multicast address: a tunnel endpoint is one host",
        ),
        ("tepz: []", "line 1, column 1: unknown field `tepz`, expected one of teps, domains"),
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
    let from = Node::with(model(&teps, &[(0, "null", &[]), (5001, "yes", &[1, 2, 8]), (u32::MAX, "", &[3])]));
    for format in ["table", "json"] {
        let to = Node::with(model(
            &[(1, "true"), (2, "stale"), (3, "hv1"), (9, "no")],
            &[
                (0, "other", &[9]),
                (5001, "", &[1, 9]),
                (77, "gone", &[1, 2, 3]),
                (u32::MAX, "named", &[2, 3]),
            ],
        ));
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
        assert_eq!(to.run(&["export", "-o", format]).1.replace("revision 2", "revision 1"), text);
    }
}
