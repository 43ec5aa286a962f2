//! Removals of what is not there, and reasons of changes.

#![allow(clippy::unwrap_used)]

mod support;

use support::model;
use support::node::Node;

#[test]
fn a_removal_of_what_is_not_there_fails_and_changes_nothing_unless_if_exists_is_given() {
    let node = Node::with(model(&[(1, "hv1"), (2, "hv2")], &[(5001, "", &[1])]));
    let web = "havip create web --vni 5001 --subnet 10.0.0.0/24 --address 10.0.0.7";
    assert_eq!(node.run(&web.split(' ').collect::<Vec<_>>()).0, 0);
    for (args, words) in [
        ("tep rm hv9", "tep hv9 is not registered"),
        ("tep rm 198.18.0.99 --force", "tep 198.18.0.99 is not registered"),
        ("domain rm 7", "domain 7 is not there"),
        ("domain leave 5001 hv2", "tep hv2 is not a member of domain 5001"),
        ("domain leave 5001 hv1 hv2", "tep hv2 is not a member of domain 5001"),
        ("domain gateway 5001 10.0.0.1 --rm", "10.0.0.1 is no gateway of domain 5001"),
        ("domain forget 5001 10.0.0.9", "domain 5001: 10.0.0.9 has no owner"),
        ("havip rm db", "havip db is not there"),
        ("havip detach web --instance vm9", "havip web: vm9 is not attached"),
        ("havip unbind-eip web", "havip web has no EIP"),
        ("havip group web --rm", "havip web is in no group"),
    ] {
        let before = node.model();
        let args: Vec<&str> = args.split(' ').collect();
        let line = format!("bcastctl: {words}; nothing was changed (with --if-exists this is no failure)\n");
        assert_eq!(node.run(&args), (1, String::new(), line), "{args:?}");
        assert_eq!(node.model(), before, "{args:?}");
        let (status, _, said) = node.run(&[&args[..], &["--if-exists"]].concat());
        assert_eq!((status, said.as_str()), (0, ""), "{args:?}");
    }
    assert!(node.model().domains[&5001.into()].members.is_empty(), "with --if-exists the others have left");
}

#[test]
fn the_reason_of_a_change_goes_with_it_and_one_that_cannot_be_is_wrong_usage() {
    let node = Node::with(model(&[(1, "hv1")], &[]));
    let apply = node.file("state.yaml", "domains: [{vni: 5}]\n");
    let reason = "rack 7: \u{fc}bersiedelt";
    for args in [&["domain", "create", "6"][..], &["apply", "-f", &apply]] {
        assert_eq!(node.run(&[args, &["--reason", reason]].concat()).0, 0, "{args:?}");
        assert_eq!(node.script.lock().unwrap().reason.take().as_deref(), Some(reason), "{args:?}");
    }
    for (reason, words) in [
        ("", "a reason is empty"),
        ("a\nb", "the control character '\\n'"),
        (&*"x".repeat(257), "a reason has 257 bytes; at most 256"),
    ] {
        let (status, _, said) = node.run(&["--reason", reason, "domain", "create", "7"]);
        assert!(status == 2 && said.contains(words), "{reason:?}: {status} {said}");
    }
}
