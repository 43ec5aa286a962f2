//! Nodes that take part in the placement of VNIs, and those that a domain pins.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use ctl_api::client::RefusalKind;
use ctl_api::model::{Batch, Change, Conditions, DomainFields, Existing, Name, SetResource};
use ctl_api::proto;
use ctl_server::{ClusterNode, ClusterNodes};
use ctl_store::EmbeddedStore;

/// Nodes with these names, each in a zone of its own.
fn nodes(names: &[&str]) -> ClusterNodes {
    let node = |(at, name): (usize, &&str)| {
        ClusterNode::new(name, &format!("cab{at}"), 1, address(250 + u16::try_from(at).unwrap())).unwrap()
    };
    ClusterNodes::new(names.iter().enumerate().map(node).collect()).unwrap()
}

fn rig(folder: &std::path::Path, names: &[&str]) -> Rig {
    let store = EmbeddedStore::open(&folder.join("domains.redb")).unwrap();
    Rig::start(folder, store, |config| config.nodes = nodes(names))
}

fn pin(vni: u32, names: &[&str]) -> Change {
    let names = names.iter().map(|name| name.parse::<Name>().unwrap()).collect();
    let fields = DomainFields { pinned: Some(names), ..Default::default() };
    SetResource::Domain(vni.into(), fields).set_if(Existing::Required)
}

fn pinned(rig: &Rig, vni: u32) -> Vec<String> {
    rig.run(rig.client().domain(vni.into())).unwrap().pinned.unwrap_or_default().names
}

#[test]
fn nodes_are_listed_by_name_with_the_source_of_copies() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path(), &["n2", "n1"]);
    let reply = rig.run(rig.client().nodes()).unwrap();
    assert_eq!(reply.outer_source(), proto::OuterSource::Origin);
    let seen: Vec<_> = reply.nodes.iter().map(|node| (node.name.as_str(), node.zone.as_str())).collect();
    assert_eq!(seen, [("n1", "cab1"), ("n2", "cab0")]);
    assert_eq!(text(&reply.nodes[0].address), "198.18.0.251");
}

#[test]
fn only_configured_nodes_are_pinned_and_a_refused_pin_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path(), &["n1", "n2"]);
    rig.commit(vec![create(5001), pin(5001, &["n2", "n1"])]);
    assert_eq!(pinned(&rig, 5001), ["n2", "n1"]);
    assert_eq!(rig.commit(vec![pin(5001, &["n2", "n1"])]).changed, 0);
    for (change, kind, words) in [
        (pin(5001, &["n1", "n9"]), RefusalKind::NotFound, "node n9 is none of the configured nodes: n1, n2"),
        (pin(5002, &["n1"]), RefusalKind::NotFound, "domain 5002 does not exist"),
    ] {
        let (seen, said) = rig.try_commit(Batch::new(vec![change])).unwrap_err();
        assert!(seen == kind && said.contains(words), "{said}");
    }
    assert_eq!(pinned(&rig, 5001), ["n2", "n1"]);
    rig.commit(vec![pin(5001, &[])]);
    assert_eq!(pinned(&rig, 5001), [""; 0]);
}

#[test]
fn a_pinned_node_stays_pinned_after_a_restart_though_it_has_left_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = rig(folder.path(), &["n1", "n2"]);
    first.commit(vec![create(5001), pin(5001, &["n2"])]);
    first.stop();
    drop(first);
    let alone = rig(folder.path(), &[]);
    assert_eq!(pinned(&alone, 5001), ["n2"]);
    // What was pinned may stay, whatever else changes; what was not may not be added.
    let named =
        DomainFields { name: ctl_api::model::Field::Value("vpc".parse().unwrap()), ..Default::default() };
    alone.commit(vec![SetResource::Domain(5001.into(), named).set()]);
    alone.commit(vec![pin(5001, &["n2"])]);
    let (kind, said) = alone.try_commit(Batch::new(vec![pin(5001, &["n2", "n1"])])).unwrap_err();
    assert_eq!(kind, RefusalKind::Precondition);
    assert!(said.contains("node n1 cannot be pinned: no nodes are configured"), "{said}");
    alone.commit(vec![remove_domain(5001), create(5001)]);
    assert_eq!(pinned(&alone, 5001), [""; 0]);
}

#[test]
fn an_unpin_of_a_domain_without_pinned_nodes_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path(), &["n1"]);
    rig.commit(vec![create(5001)]);
    let batch = with(Batch::new(vec![pin(5001, &[])]), Conditions::default());
    assert_eq!(rig.try_commit(batch).unwrap().changed, 0);
}

#[test]
fn nodes_that_cannot_be_are_refused_with_what_is_wrong() {
    let node = |name: &str, last| ClusterNode::new(name, "", 1, address(last));
    let both = |one, other| ClusterNodes::new(vec![one, other]).unwrap_err().to_string();
    let (n1, n2) = (node("n1", 1).unwrap(), node("n2", 2).unwrap());
    assert!(both(n1.clone(), node("n1", 2).unwrap()).contains("two nodes have the name \"n1\""));
    assert!(both(n1.clone(), node("n3", 1).unwrap()).contains("two nodes have the address 198.18.0.1"));
    assert!(both(n1, ClusterNode { weight: 0, ..n2 }).contains("has weight 0: set 1 to 100"));
    for (name, zone, address, words) in [
        ("", "", [198, 18, 0, 1], "a name is empty"),
        ("n 1", "", [198, 18, 0, 1], "has the character ' '"),
        ("n1", "cab\n1", [198, 18, 0, 1], "has the character '\\n'"),
        ("n1", "", [224, 0, 0, 1], "node \"n1\": address 224.0.0.1"),
    ] {
        let error = ClusterNode::new(name, zone, 1, address.into()).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}
