//! Properties of placements, the frozen vectors, and the second implementation in placement.py.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use ctl_placement::{MAX_NODES, MAX_WEIGHT, Node, Placement, PlacementError};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

/// The table of test vectors in the document.
const DOCUMENT: &str = include_str!("../../../docs/placement.md");

/// Name, zone, weight.
type Spec = (String, String, u32);

fn nodes(specs: &[Spec]) -> Vec<Node<'_>> {
    specs.iter().map(|(name, zone, weight)| Node { name, zone, weight: *weight }).collect()
}

fn names(specs: &[Spec], key: u64, vni: u32, pinned: &[&str]) -> Vec<String> {
    let placement = Placement::new(&nodes(specs), key).unwrap();
    placement.order(vni, pinned).iter().map(|node| node.name.to_owned()).collect()
}

fn zone<'a>(specs: &'a [Spec], name: &str) -> &'a str {
    &specs.iter().find(|(other, _, _)| other == name).unwrap().1
}

fn spec(text: &str) -> Spec {
    let [name, zone, weight] = text.split('/').collect::<Vec<_>>()[..] else {
        panic!("NAME/ZONE/WEIGHT: {text}")
    };
    (name.to_owned(), zone.to_owned(), weight.parse().unwrap())
}

/// Up to 16 nodes in up to four zones, with distinct names.
fn cells() -> impl Strategy<Value = Vec<Spec>> {
    proptest::collection::btree_map("[a-z][a-z0-9.-]{0,11}", ("cab[1-4]", 1..4_u32), 1..17)
        .prop_map(|nodes| nodes.into_iter().map(|(name, (zone, weight))| (name, zone, weight)).collect())
}

#[test]
fn the_vectors_of_the_document_hold() {
    let rows: Vec<Vec<&str>> = DOCUMENT
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains('/'))
        .map(|line| line.trim_matches(['|', ' ']).split(" | ").collect())
        .collect();
    assert!(rows.len() >= 12, "{} vectors", rows.len());
    for row in rows {
        let [key, vni, specs, order] = row[..] else { panic!("four cells: {row:?}") };
        let specs: Vec<Spec> = specs.split(' ').map(spec).collect();
        assert_eq!(
            names(&specs, key.parse().unwrap(), vni.parse().unwrap(), &[]).join(" "),
            order,
            "{row:?}"
        );
    }
}

#[test]
fn a_second_implementation_after_the_document_gives_the_same_orders() {
    let mut rng = proptest::test_runner::TestRunner::deterministic();
    let (mut input, mut orders) = (String::new(), vec![]);
    for _ in 0..1_000 {
        let strategy = (any::<u64>(), any::<u32>(), cells());
        let (key, vni, specs) = strategy.new_tree(&mut rng).unwrap().current();
        let line: Vec<String> =
            specs.iter().map(|(name, zone, weight)| format!("{name}/{zone}/{weight}")).collect();
        input += &format!("{key} {vni} {}\n", line.join(" "));
        orders.push(names(&specs, key, vni, &[]).join(" "));
    }
    let mut child = Command::new("/usr/bin/python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/placement.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    let lines: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(lines, orders);
}

#[test]
fn each_node_is_primary_of_its_share_by_weight() {
    let specs = ["a/1/1", "b/1/2", "c/2/1", "d/2/4"].map(spec);
    let mut shares = BTreeMap::new();
    let vnis = 40_000;
    for vni in 0..vnis {
        *shares.entry(names(&specs, 0, vni, &[])[0].clone()).or_insert(0) += 1;
    }
    for (name, _, weight) in &specs {
        let (share, expected) = (shares[name], vnis * weight / 8);
        // Four standard deviations are under 400.
        assert!(u32::abs_diff(share, expected) < 400, "{name}: {share} of {vnis}, expected {expected}");
    }
}

#[test]
fn pinned_nodes_come_first_and_the_backup_is_still_in_another_zone() {
    let specs = ["a/1/1", "b/1/1", "c/2/1", "d/2/1"].map(spec);
    for vni in 0..100 {
        let one = names(&specs, 0, vni, &["b"]);
        assert_eq!((one[0].as_str(), zone(&specs, &one[1])), ("b", "2"));
        assert_eq!(
            names(&specs, 0, vni, &["b", "a"])[..2],
            ["b", "a"],
            "two that are pinned stay as they are"
        );
        let absent = names(&specs, 0, vni, &["x", "c", "c"]);
        assert_eq!((absent[0].as_str(), absent.len()), ("c", 4));
    }
}

#[test]
fn bad_nodes_are_refused_with_their_reason() {
    let node = Node { name: "a", zone: "", weight: 1 };
    let refused = |nodes: &[Node<'_>]| Placement::new(nodes, 0).unwrap_err();
    assert_eq!(refused(&vec![node; MAX_NODES + 1]), PlacementError::TooMany(MAX_NODES + 1));
    assert_eq!(refused(&[Node { name: "", ..node }]), PlacementError::NoName);
    assert_eq!(refused(&[node, node]), PlacementError::NameTwice("a".into()));
    for weight in [0, MAX_WEIGHT + 1] {
        assert_eq!(refused(&[Node { weight, ..node }]), PlacementError::Weight { name: "a".into(), weight });
    }
    assert!(Placement::new(&[], 0).unwrap().order(1, &[]).is_empty());
}

proptest! {
    #[test]
    fn an_order_has_each_node_once_and_the_second_is_in_another_zone_where_there_is_one(
        specs in cells(), key in any::<u64>(), vni in any::<u32>(),
    ) {
        let order = names(&specs, key, vni, &[]);
        let mut sorted = order.clone();
        sorted.sort();
        prop_assert_eq!(&sorted, &specs.iter().map(|(name, _, _)| name.clone()).collect::<Vec<_>>());
        let zones: Vec<&str> = order.iter().map(|name| zone(&specs, name)).collect();
        if zones.iter().any(|zone| *zone != zones[0]) {
            prop_assert_ne!(zones[0], zones[1]);
        }
        let mut reversed = specs.clone();
        reversed.reverse();
        prop_assert_eq!(names(&reversed, key, vni, &[]), order, "the order of the input does not matter");
    }

    #[test]
    fn a_node_that_comes_or_goes_moves_only_what_is_its_own(
        specs in cells(), gone in any::<proptest::sample::Index>(), vni in any::<u32>(),
    ) {
        let name = specs[gone.index(specs.len())].0.clone();
        let rest: Vec<Spec> = specs.iter().filter(|spec| spec.0 != name).cloned().collect();
        let (with, without) = (names(&specs, 0, vni, &[]), names(&rest, 0, vni, &[]));
        if with[0] != name {
            prop_assert_eq!(&with[0], &without[0], "the primary stays");
            if with.get(1) != Some(&name) {
                prop_assert_eq!(with.get(1), without.get(1), "the backup stays");
            }
        }
        // Read the other way, it is a node that comes: a new primary is the newcomer, and so is a new backup of the
        // old primary.
        if !without.is_empty() && with[0] != without[0] {
            prop_assert_eq!(&with[0], &name);
        } else if with.get(1) != without.get(1) {
            prop_assert_eq!(with.get(1), Some(&name));
        }
    }

    #[test]
    fn a_heavier_node_only_gains(specs in cells(), heavier in any::<proptest::sample::Index>(), vni in any::<u32>()) {
        let at = heavier.index(specs.len());
        let mut more = specs.clone();
        more[at].2 += 1;
        let (before, after) = (names(&specs, 0, vni, &[]), names(&more, 0, vni, &[]));
        prop_assert!(before[0] == after[0] || after[0] == specs[at].0);
    }
}
