//! `backup` and `restore`, from node to file and back.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use ctl_api::model::{Batch, Change};
use ctl_api::proto::{self, SnapshotPart};
use support::model;
use support::node::{Node, told};

fn node() -> Node {
    let node =
        Node::with(model(&[(1, "hv1"), (2, ""), (3, "")], &[(5001, "vpc-a", &[1, 2]), (6, "", &[1, 2, 3])]));
    let happening = proto::HavipEvent { havip: "web".to_owned(), ..Default::default() };
    node.script.lock().unwrap().history = vec![happening];
    node
}

/// Messages that a node sends, without empty parts.
fn sent(node: &Node) -> Vec<SnapshotPart> {
    node.script.lock().unwrap().restored.iter().filter_map(|part| part.part.clone()).collect()
}

#[test]
fn a_backup_is_for_its_owner_alone_and_is_restored_as_it_was_taken() {
    let node = node();
    let file = node.file("domains.bcast", "what was there before");
    let words = format!("revision 1 is in {file}: 3 TEPs, 2 domains, 0 HAVIPs\n");
    assert_eq!(node.run(&["backup", &file]), (0, words, String::new()));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let folder = std::path::Path::new(&file).parent().unwrap();
    let names =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!names.into_iter().any(|name| name.contains("backup-")), "no part of it is left there");
    let piped = node.command(&["backup", "-"]).output().unwrap();
    assert_eq!((piped.status.code(), piped.stdout), (Some(0), std::fs::read(&file).unwrap()));
    // Nothing is removed, so nothing is asked.
    assert_eq!(
        node.run(&["restore", &file]),
        (0, "restored revision 1 as revision 2\n".to_owned(), String::new())
    );
    {
        let script = node.script.lock().unwrap();
        let last = script.restored.last().unwrap();
        assert!(last.last && last.part.is_none());
        assert!(script.restored.iter().rev().skip(1).all(|part| !part.last && part.part.is_some()));
        assert_eq!(script.restored[0].expected_revision, Some(1), "what was compared is what is replaced");
    }
    let all = sent(&node);
    assert_eq!((all[0].revision, all[0].store, all[0].teps.len()), (Some(1), 77, 3));
    assert_eq!(all.iter().map(|part| part.domains.len()).sum::<usize>(), 2);
    assert_eq!(all.iter().map(|part| part.history.len()).sum::<usize>(), 1);
    let restore =
        node.command(&["restore", "-", "-o", "json"]).stdin(std::fs::File::open(&file).unwrap()).output();
    let (status, out, _) = told(restore.unwrap());
    let words = "{\"revision\":2,\"changed\":3,\"notes\":[],\"backup\":{\"revision\":1,\"time\":\"2026-11-23T01:04:05.007Z\",\
                 \"teps\":3,\"domains\":2,\"havips\":0,\"events\":1}}\n";
    assert_eq!((status, out.as_str()), (0, words));
}

#[test]
fn a_restore_that_would_remove_many_memberships_wants_yes() {
    let (from, to) = (node(), Node::with(model(&[(1, ""), (2, "")], &[(5001, "", &[1, 2]), (7, "", &[1])])));
    let file = from.file("domains.bcast", "");
    assert_eq!(from.run(&["backup", &file]).0, 0);
    let (status, _, said) = to.run(&["restore", &file]);
    assert_eq!(status, 1);
    assert!(said.contains("this removes 1 of 3 memberships, over 20 %: nothing was changed"), "{said}");
    assert!(to.script.lock().unwrap().restored.is_empty());
    assert_eq!(to.run(&["restore", &file, "--yes"]).0, 0);
    assert_eq!(to.script.lock().unwrap().restored[0].expected_revision, None);
    // One that nothing is lost by is counted anew where the node has changed meanwhile.
    let more = Batch::new(vec![Change::domain(8.into(), None)]);
    let domain = Node::with(model(&[(1, "")], &[(5001, "", &[1])]));
    domain.script.lock().unwrap().others = [more].into();
    assert_eq!(domain.run(&["restore", &file]).0, 0);
    assert_eq!(domain.script.lock().unwrap().restored[0].expected_revision, Some(2));
}

#[test]
fn a_file_that_is_no_whole_backup_is_refused_before_the_node_is_asked() {
    let node = node();
    let file = node.file("domains.bcast", "");
    assert_eq!(node.run(&["backup", &file]).0, 0);
    let good = std::fs::read(&file).unwrap();
    let mut flipped = good.clone();
    flipped[20] ^= 1;
    for (bytes, words) in [
        (good[..good.len() - 1].to_vec(), "it is cut short; nothing was changed"),
        (flipped, "it is damaged"),
        ([&good[..], b"x"].concat(), "it is damaged (something follows its end)"),
        (b"teps: []\n".to_vec(), "it is no backup of bcastctl"),
        (vec![], "it is no backup of bcastctl"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        // There is not even a node.
        let mut command = Command::new(env!("CARGO_BIN_EXE_bcastctl"));
        command.args(["restore", &file, "--yes"]).env("BCAST_SOCKET", "/nowhere").stdin(Stdio::null());
        let (status, _, said) = told(command.output().unwrap());
        assert_eq!(status, 1, "{said}");
        assert!(said.contains(words) && said.contains(&file), "{said}");
    }
}

#[test]
fn a_backup_that_cannot_be_taken_leaves_the_file_as_it_was() {
    let node = node();
    let file = node.file("domains.bcast", "before");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bcastctl"));
    command.args(["backup", &file]).env("BCAST_SOCKET", "/nowhere").stdin(Stdio::null());
    assert_eq!(told(command.output().unwrap()).0, 3);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "before");
    let (status, _, said) = node.run(&["backup", "/nowhere/domains.bcast"]);
    assert_eq!(status, 1);
    assert!(said.contains("cannot write /nowhere/domains.bcast: "), "{said}");
}

#[test]
fn a_backup_follows_a_link_and_leaves_pipes_and_devices_alone() {
    let node = node();
    let file = node.file("target.bcast", "what was there before");
    let folder = std::path::Path::new(&file).parent().unwrap();
    let link = folder.join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert_eq!(node.run(&["backup", link.to_str().unwrap()]).0, 0);
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert!(std::fs::read(&file).unwrap().starts_with(b"bcastbak"));
    let pipe = folder.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (status, _, said) = node.run(&["backup", pipe.to_str().unwrap()]);
    assert!(status == 1 && said.contains("it is no regular file; use - for standard output"), "{said}");
    assert!(!std::fs::metadata(&pipe).unwrap().is_file());
    // A pipe is read as standard input is.
    let mut restore =
        node.command(&["restore", pipe.to_str().unwrap()]).stdout(Stdio::piped()).spawn().unwrap();
    std::fs::write(&pipe, std::fs::read(&file).unwrap()).unwrap();
    assert!(restore.wait().unwrap().success());
    let (status, _, said) = node.run(&["restore", "/dev/zero"]);
    assert!(status == 1 && said.contains("it is no backup"), "{said}");
}

#[test]
fn a_timeout_below_a_millisecond_is_refused() {
    let node = node();
    let (status, _, said) = node.run(&["--timeout", "0.0009", "version"]);
    assert!(status == 2 && said.contains("from 0.001 to 1000000"), "{said}");
}

#[test]
fn a_node_beyond_what_a_request_may_ask_for_takes_its_own_exports() {
    let mut model = model(&[(1, "hv1")], &[(5001, "vpc-a", &[1])]);
    model.revision = (1 << 52) + 7;
    let node = Node::with(model);
    let file = node.file("export", &node.run(&["export"]).1);
    let (status, said, error) = node.run(&["apply", "-f", &file]);
    assert!(status == 0 && said.contains("nothing to change"), "{said}{error}");
}

#[test]
fn an_export_applied_on_an_empty_node_starts_above_the_exported_revision() {
    let mut model = model(&[(1, "hv1")], &[(5001, "vpc-a", &[1])]);
    model.revision = 812;
    let from = Node::with(model);
    for format in ["table", "json"] {
        let text = from.run(&["export", "-o", format]).1;
        let to = Node::with(support::model(&[], &[]));
        let file = to.file("export", &text);
        let (status, said, _) = to.run(&["apply", "-f", &file]);
        assert!(status == 0 && said.ends_with("applied (revision 813)\n"), "{said}");
        assert_eq!(to.run(&["apply", "-f", &file]).1, "nothing to change (revision 813)\n");
        // A node that has it all, and is below.
        let below = Node::with(support::model(&[(1, "hv1")], &[(5001, "vpc-a", &[1])]));
        assert_eq!(below.run(&["apply", "-f", &file]).0, 0);
        assert_eq!(below.model().revision, 813);
    }
    let absurd = from.file("absurd", "revision: 4611686018427387905\nteps: []\n");
    let (status, _, said) = from.run(&["apply", "-f", &absurd]);
    assert!(
        status == 1 && said.contains("revision 4611686018427387905 is above 4611686018427387904"),
        "{said}"
    );
}

#[test]
fn a_backup_of_the_release_before_is_restored() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/previous-release");
    let node = node();
    for (name, revision, events) in [("all-fields.backup", 812, 2), ("old.backup", 24, 0)] {
        let (status, said, error) = node.run(&["restore", &format!("{folder}/{name}"), "--yes"]);
        assert_eq!((status, &*error), (0, ""), "{said}");
        let all = sent(&node);
        assert_eq!(all[0].revision, Some(revision));
        let havips: Vec<_> = all.iter().flat_map(|part| &part.havips).collect();
        let web = havips.iter().find(|entry| entry.havip.as_ref().unwrap().name == "web").unwrap();
        let (havip, binding) = (web.havip.clone().unwrap(), web.binding.clone().unwrap());
        assert_eq!(
            (havip.address, havip.subnet, havip.prefix_length),
            (vec![10, 0, 0, 100], vec![10, 0, 0, 0], 24)
        );
        assert_eq!(havip.eip, Some(vec![203, 0, 113, 7]));
        assert_eq!(havip.vrids, Some(proto::Vrids { ids: vec![51] }));
        assert_eq!(binding.state(), proto::HavipState::Bound);
        assert_eq!(binding.why(), proto::Why::Garp);
        assert_eq!(binding.holder.unwrap().mac[..5], [0x52, 0x54, 0, 0, 0]);
        assert!(all.iter().map(|part| part.history.len()).sum::<usize>() >= events);
    }
    assert_eq!(node.run(&["restore", &format!("{folder}/all-fields.backup"), "--yes"]).0, 0);
    let all = sent(&node);
    let teps: Vec<_> = all.iter().flat_map(|part| part.teps.clone()).collect();
    let gateway6 = Some(vec![0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let first = proto::Tep {
        address: vec![198, 18, 0, 1],
        name: Some("hv1".to_owned()),
        limit: None,
        route_gateway: Some(vec![192, 0, 2, 1]),
        route_gateway6: gateway6,
    };
    assert_eq!(
        (&teps[0], teps[1].limit, &teps[1].name),
        (&first, Some(proto::TepRates { frames: Some(1500) }), &None)
    );
    let domains: Vec<_> = all.iter().flat_map(|part| part.domains.clone()).collect();
    assert_eq!(domains.iter().map(|domain| domain.vni).collect::<Vec<_>>(), [6, 5001, 70000]);
    assert_eq!(domains[1].arp_inspection(), proto::ArpInspection::Sticky);
    assert_eq!(domains[1].members.as_ref().unwrap().ipv4, [198, 18, 0, 1, 198, 18, 0, 2]);
    let history: Vec<_> = all.iter().flat_map(|part| part.history.clone()).collect();
    assert_eq!(
        (history[0].kind(), history[1].kind()),
        (proto::HavipEventKind::Moved, proto::HavipEventKind::Spoof)
    );
    let offender = proto::Offender { mac: vec![0x33, 0x33, 0, 0, 0, 1], tep: vec![198, 18, 0, 9], count: 12 };
    assert_eq!((history[1].offender.as_ref(), history[1].why()), (Some(&offender), proto::Why::Unspecified));
}
