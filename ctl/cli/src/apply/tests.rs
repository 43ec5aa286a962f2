//! Files that are good and bad, and plans that lead where the file says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bcast_domain::{DomainLimit, Rate, Tep, TepLimit, Vni};
use ctl_api::model::{Batch, GarpMode, Name, TepEntry};
use proptest::prelude::*;

use super::file::{self, ApplyFile};
use super::inventory::Inventory;
use super::model::Model;
use super::plan::{Plan, changes};
use super::resolve::resolve;
use crate::limit::domain_or;

mod havips;

fn tep(last: u8) -> Tep {
    Tep::new([198, 18, 0, last].into()).unwrap()
}

fn name(text: &str) -> Option<Name> {
    Some(text.parse().unwrap())
}

fn model(teps: &[(u8, Option<Name>)], domains: &[(u32, Option<Name>, &[u8])]) -> Model {
    Model {
        revision: 1,
        teps: teps.iter().map(|(last, name)| (tep(*last), name.clone())).collect(),
        domains: domains
            .iter()
            .map(|(vni, name, members)| {
                (Vni::from(*vni), (name.clone(), members.iter().map(|&m| tep(m)).collect()))
            })
            .collect(),
        ..Model::default()
    }
}

fn rate(per_second: u64) -> Option<Rate> {
    Some(Rate::new(per_second).unwrap())
}

fn inventory(model: &Model) -> Inventory {
    let mut inventory = Inventory::default();
    for (&address, name) in &model.teps {
        let limit = model.tep_limits.get(&address).copied().unwrap_or_default();
        let name = name.clone();
        let (next_hop, next_hop6) = model.next_hops.get(&address).copied().unwrap_or_default();
        inventory.push_tep(TepEntry { address, name, limit, next_hop, next_hop6 });
    }
    for (vni, (name, members)) in &model.domains {
        let limit = model.domain_limits.get(vni).copied().unwrap_or_default();
        let garp = if model.strict.contains(vni) { GarpMode::Strict } else { GarpMode::Open };
        inventory.push_domain(*vni, name.clone(), limit, garp, members.iter().copied());
    }
    model.havips.values().for_each(|havip| inventory.push_havip(havip.clone(), false));
    inventory
}

/// The node's state after the file was applied to it.
fn applied(node: &Model, text: &str, prune: bool) -> Result<Model, String> {
    let file = file::parse(text.as_bytes()).map_err(|error| error.to_string())?;
    apply(node, file, prune)
}

fn apply(node: &Model, file: ApplyFile, prune: bool) -> Result<Model, String> {
    let want = resolve(&file, &inventory(node), prune).map_err(|error| error.to_string())?;
    let plan = Arc::new(Plan::new(inventory(node), want, prune));
    let mut node = node.clone();
    let batch = Batch::new(changes(&plan).collect());
    assert_eq!(batch.changes.len(), plan.len());
    let done = node.commit(batch).map_err(|refused| format!("the node refused: {refused:?}"))?;
    assert_eq!(done.changed == 0, plan.is_empty(), "{plan:?}");
    assert_eq!(done.notes, [""; 0], "a plan asks for nothing that is so already");
    Ok(node)
}

#[test]
fn a_file_without_end_is_refused_once_it_is_too_long() {
    let text = super::bounded(std::io::repeat(b' '), 4_096).unwrap_err().to_string();
    assert_eq!(text, "it has more than 4096 bytes; apply it in several parts");
    assert_eq!(super::bounded(&b"teps"[..], 4).unwrap(), b"teps");
}

#[test]
fn a_good_file_is_read_as_yaml_and_as_json() {
    let (hv1, vpc) = (name("hv1"), name("vpc-a"));
    let two = model(&[(1, hv1.clone()), (2, None)], &[(5001, vpc, &[1, 2])]);
    let bare = model(&[(1, None)], &[(5001, None, &[]), (5002, None, &[1])]);
    let cases: &[(&str, &str, &Model)] = &[
        (
            "YAML in flow style",
            "teps: [{address: 198.18.0.1, name: hv1}, {address: 198.18.0.2}]\n\
             domains: [{vni: 5001, name: vpc-a, members: [hv1, 198.18.0.2]}]\n",
            &two,
        ),
        (
            "YAML in block style, with comments, the VNI in hexadecimal, and domains first",
            "# one VPC\ndomains:\n  - vni: 0x1389 # 5001\n    name: vpc-a\n    members:\n      - 198.18.0.2\n      - hv1\n\
             teps:\n  - address: 198.18.0.1\n    name: hv1\n  - address: 198.18.0.2\n    name: ~\n",
            &two,
        ),
        (
            "YAML that starts with a brace, with a revision at the end",
            "{teps: [{address: 198.18.0.1}], domains: [{vni: 5001}, {vni: 5002, members: [198.18.0.1]}], revision: 7}",
            &bare,
        ),
        (
            "YAML with a list that two domains share",
            "teps: [{address: 198.18.0.1, name: hv1}, {address: 198.18.0.2}]\n\
             domains:\n  - {vni: 5001, name: vpc-a, members: &all [hv1, 198.18.0.2]}\n",
            &two,
        ),
        (
            "JSON with the VNI as text, and a byte order mark",
            "\u{feff} {\"teps\":[{\"address\":\"198.18.0.1\",\"name\":\"hv1\"},{\"address\":\"198.18.0.2\",\"name\":null}],\
             \"domains\":[{\"vni\":\"0x1389\",\"name\":\"vpc-a\",\"members\":[\"hv1\",\"198.18.0.2\"]}]}",
            &two,
        ),
        (
            "JSON with the VNI as a number, and the revision of an export",
            "{\"revision\":7,\"domains\":[{\"vni\":5001,\"members\":[]},{\"vni\":5002,\"members\":[\"198.18.0.1\"]}],\"teps\":[{\"address\":\"198.18.0.1\"}]}",
            &bare,
        ),
    ];
    for (what, text, want) in cases {
        let mut got = applied(&Model::default(), text, false).unwrap();
        got.revision = want.revision;
        assert_eq!(&got, *want, "{what}");
    }
    assert_eq!(applied(&two, "{}", true).unwrap().domains, BTreeMap::new());
}

#[test]
fn a_bad_file_is_refused_with_the_place_and_the_reason() {
    let cases = [
        ("", "it is empty: write `teps:` and `domains:`, or {} if nothing shall be"),
        ("# nothing\n\n", "it is empty: write `teps:` and `domains:`, or {} if nothing shall be"),
        ("[]", "line 1, column 1: expected keys with values"),
        ("- a\n", "line 1, column 1: expected keys with values"),
        ("teps:\n", "line 1, column 5: expected a list"),
        ("teps: [}", "line 1, column 7: mismatched bracket '[' closed by '}'"),
        ("{\"teps\":[}", "line 1, column 10: expected value"),
        ("{\"teps\":[]} x", "line 1, column 13: trailing characters"),
        ("tep: []", "line 1, column 1: unknown field `tep`, expected one of teps, domains, havips"),
        (
            "{\"tep\":[]}",
            "line 1, column 6: unknown field `tep`, expected one of `teps`, `domains`, `havips`",
        ),
        ("teps: []\nteps: []\n", "line 2, column 1: duplicate mapping key `teps` is not allowed here"),
        ("{\"teps\":[],\"teps\":[]}", "line 1, column 17: duplicate field `teps`"),
        ("{\"revision\":1,\"revision\":1}", "line 1, column 24: duplicate field `revision`"),
        (
            "teps: []\n---\nteps: []\n",
            "line 3, column 1: only single YAML document expected but multiple found",
        ),
        (
            "teps:\n  - {address: 198.18.0.1, nam: x}",
            "line 2, column 27: unknown field `nam`, expected one of address, name, limit, next_hop, next_hop6",
        ),
        (
            "teps:\n  - address: 198.18.0.1\n    address: 198.18.0.2",
            "line 3, column 5: duplicate mapping key `address` is not allowed here",
        ),
        ("teps: [{name: hv1}]", "line 1, column 9: missing field `address`"),
        (
            "teps: [{address: 224.0.0.1}]",
            "line 1, column 18: 224.0.0.1 is a multicast address: a tunnel endpoint is one host",
        ),
        (
            "teps: [{address: hv1}]",
            "line 1, column 18: \"hv1\" is not an IPv4 address: write the tunnel endpoint like 198.18.0.1",
        ),
        (
            "teps: [{address: 198.18.0.1, name: a b}]",
            "line 1, column 36: name \"a b\" has the character ' '; names are made of A-Z a-z 0-9 . _ -",
        ),
        (
            "teps: [{address: 198.18.0.1, name: 7}]",
            "line 1, column 36: name \"7\" reads as an address or a number; put a letter into it",
        ),
        ("domains: [{name: a}]", "line 1, column 12: missing field `vni`"),
        ("domains: 5", "line 1, column 10: expected a list"),
        (
            "domains: [{vni: -1}]",
            "line 1, column 12: invalid value: integer `-1`, expected a VNI: a number from 0 to 4294967295 such as 5001, or 0x1389",
        ),
        (
            "domains: [{vni: 1.5}]",
            "line 1, column 12: invalid type: floating point `1.5`, expected a VNI: a number from 0 to 4294967295 such as 5001, or 0x1389",
        ),
        (
            "domains: [{vni: 1, limit: {copies: 0}}]",
            "line 1, column 36: a rate of 0 a second is out of range: 1 to 1000000000000",
        ),
        (
            "domains: [{vni: 1, limit: {bits: 1.5G}}]",
            "line 1, column 34: \"1.5G\" is not a rate: write a whole number a second, as in 250000 or 250k",
        ),
        (
            "domains: [{vni: 1, limit: {copys: 1}}]",
            "line 1, column 28: unknown field `copys`, expected one of copies, bits, control",
        ),
        ("domains: [{vni: 1, limit: 5}]", "line 1, column 27: expected keys with values"),
        (
            "teps: [{address: 198.18.0.1, limit: {frames: -1}}]",
            "line 1, column 38: invalid value: integer `-1`, expected a rate a second: a whole number such as 250000, or 250k",
        ),
        (
            "{\"teps\":[{\"address\":\"198.18.0.1\",\"limit\":{\"frames\":\"2T\"}}]}",
            "line 1, column 55: a rate of 2000000000000 a second is out of range: 1 to 1000000000000",
        ),
        (
            "domains:\n  - vni: 4294967296",
            "line 2, column 5: invalid value: integer `4294967296`, expected a VNI: a number from 0 to 4294967295 such as 5001, or 0x1389",
        ),
        (
            "domains: [{vni: 1_000}]",
            "line 1, column 17: \"1_000\" is not a VNI: write it in decimal (5001) or hexadecimal (0x1389)",
        ),
        (
            "{\"domains\":[{\"vni\":1,\"members\":[7]}]}",
            "line 1, column 33: invalid type: integer `7`, expected text",
        ),
        ("domains: [{vni: 1, members: hv1}]", "line 1, column 29: expected a list"),
        ("domains: [{vni: 1, members: [[hv1]]}]", "line 1, column 30: expected text"),
        (
            "domains: [{vni: 1, members: [fd00::1]}]",
            "line 1, column 30: TEP fd00::1 is an IPv6 address; a TEP is known by its IPv4 underlay address",
        ),
        (
            "teps: [{address: 198.18.0.9}, {address: 198.18.0.9}]",
            "teps[1]: 198.18.0.9 stands in teps[0] already: remove one of them",
        ),
        (
            "teps: [{address: 198.18.0.8, name: a}, {address: 198.18.0.9, name: a}]",
            "teps[1]: the name a is that of teps[0] already: give each TEP its own",
        ),
        (
            "teps: [{address: 198.18.0.9, name: hv1}]",
            "teps[0]: the name hv1 belongs to 198.18.0.1 on the node: choose another, or list 198.18.0.1 too",
        ),
        (
            "domains: [{vni: 16}, {vni: 0x10}]",
            "domains[1]: VNI 16 stands in domains[0] already: merge the two",
        ),
        (
            "domains: [{vni: 1, members: [hv1, 198.18.0.1]}]",
            "domains[0] (VNI 1): member 198.18.0.1 is listed twice",
        ),
        (
            "domains: [{vni: 1, members: [hv9]}]",
            "domains[0] (VNI 1): member hv9 is neither registered nor in the file: add it to `teps`",
        ),
        (
            "domains: [{vni: 1}, {vni: 2, members: [198.18.0.9]}]",
            "domains[1] (VNI 2): member 198.18.0.9 is neither registered nor in the file: add it to `teps`",
        ),
        (
            "teps: [{address: 198.18.0.1, name: new}]\ndomains: [{vni: 1, members: [hv1]}]",
            "domains[0] (VNI 1): member hv1 is neither registered nor in the file: add it to `teps`",
        ),
    ];
    let node = model(&[(1, name("hv1")), (2, None)], &[]);
    let cases = cases.iter().chain(havips::BAD);
    for &(text, reason) in cases {
        assert_eq!(applied(&node, text, false).unwrap_err(), reason, "{text:?}");
    }
    let pruned = "domains[0] (VNI 1): member hv1 is not in the file, so --prune removes it: add it to `teps`";
    assert_eq!(applied(&node, "domains: [{vni: 1, members: [hv1]}]", true).unwrap_err(), pruned);
    let latin1 = file::parse(b"teps: [] # \xe9").unwrap_err().to_string();
    assert_eq!(latin1, "it is not UTF-8 text: byte 11 cannot be read");
}

#[test]
fn more_members_than_a_domain_may_have_are_refused_by_entry() {
    let members: Vec<String> = (0..=16_384).map(|n: u32| format!("m{n}")).collect();
    let text = format!("domains: [{{vni: 1, members: [{}]}}]", members.join(", "));
    let reason = "domains[0] (VNI 1): 16385 members are more than the 16384 that a domain may have";
    assert_eq!(applied(&Model::default(), &text, false).unwrap_err(), reason);
}

#[test]
fn without_prune_what_the_file_leaves_out_stays_and_with_it_goes() {
    let node = model(
        &[(1, name("hv1")), (2, None), (3, None)],
        &[(1, name("a"), &[1, 2, 3]), (2, name("b"), &[1, 2]), (3, None, &[3])],
    );
    // Domain 1 has a new list, domain 2 is mentioned and no more, domain 3 and TEP 3 are not in the file.
    let text = "teps: [{address: 198.18.0.1}, {address: 198.18.0.2, name: hv2}]\n\
                domains: [{vni: 1, members: [198.18.0.1]}, {vni: 2}]";
    let mut kept = model(
        &[(1, name("hv1")), (2, name("hv2")), (3, None)],
        &[(1, name("a"), &[1]), (2, name("b"), &[1, 2]), (3, None, &[3])],
    );
    kept.revision = 2;
    assert_eq!(applied(&node, text, false), Ok(kept));
    let mut pruned = model(&[(1, None), (2, name("hv2"))], &[(1, None, &[1]), (2, None, &[])]);
    pruned.revision = 2;
    assert_eq!(applied(&node, text, true), Ok(pruned));
}

#[test]
fn without_prune_what_others_did_after_the_plan_stays_unless_the_file_names_it() {
    let mut planned =
        model(&[(1, name("hv1")), (2, None)], &[(1, None, &[1]), (2, name("b"), &[1]), (3, None, &[])]);
    // Others gave members, names and a TEP meanwhile.
    let mut now = model(
        &[(1, name("other")), (2, None), (3, None)],
        &[(1, name("x"), &[1, 2, 3]), (2, name("y"), &[3]), (3, name("z"), &[3]), (4, None, &[3])],
    );
    let limit = |copies, bits| DomainLimit { copies: rate(copies), bits: rate(bits), control: None };
    planned.domain_limits.insert(2.into(), limit(1, 1));
    now.domain_limits.insert(2.into(), limit(5, 5));
    let text = "teps: [{address: 198.18.0.1}, {address: 198.18.0.2, name: hv2}]\n\
                domains: [{vni: 1, name: a}, {vni: 2, members: [198.18.0.2], limit: {copies: 1, bits: 2}}, {vni: 3}, {vni: 4}]";
    let file = file::parse(text.as_bytes()).unwrap();
    let want = resolve(&file, &inventory(&planned), false).unwrap();
    let plan = Arc::new(Plan::new(inventory(&planned), want, false));
    let mut node = now;
    node.commit(Batch::new(changes(&plan).collect())).unwrap();
    let mut both = model(
        &[(1, name("other")), (2, name("hv2")), (3, None)],
        &[(1, name("a"), &[1, 2, 3]), (2, name("y"), &[2]), (3, name("z"), &[3]), (4, None, &[3])],
    );
    both.domain_limits.insert(2.into(), limit(5, 2));
    both.revision = node.revision;
    assert_eq!(node, both);
}

#[test]
fn rates_that_the_file_does_not_say_stay_and_with_prune_are_the_default() {
    let all = |copies, bits, control| DomainLimit { copies, bits, control };
    let mut node = model(&[(1, name("hv1")), (2, None)], &[(1, None, &[1]), (2, None, &[]), (3, None, &[])]);
    node.tep_limits = [1, 2].map(|last| (tep(last), TepLimit { frames: rate(7) })).into();
    node.domain_limits = [1, 2, 3].map(|vni| (vni.into(), all(rate(7), rate(8), None))).into();
    // TEP 2 and domain 3 are not in the file, TEP 1 and domain 2 are without a limit.
    let text = "teps: [{address: 198.18.0.1}]\n\
                domains: [{vni: 1, limit: {copies: 250k, control: \"1M\"}}, {vni: 2, limit: {bits: ~}}]";
    let mut kept = node.clone();
    kept.revision = 2;
    kept.domain_limits.insert(1.into(), all(rate(250_000), rate(8), rate(1_000_000)));
    assert_eq!(applied(&node, text, false), Ok(kept));
    let mut pruned = model(&[(1, None)], &[(1, None, &[]), (2, None, &[])]);
    pruned.revision = 2;
    pruned.domain_limits.insert(1.into(), all(rate(250_000), None, rate(1_000_000)));
    assert_eq!(applied(&node, text, true), Ok(pruned));
}

#[test]
fn names_may_change_hands_in_a_ring() {
    let node = model(&[(1, name("a")), (2, name("b")), (3, name("c"))], &[(7, None, &[1, 2, 3])]);
    let text = "teps: [{address: 198.18.0.1, name: b}, {address: 198.18.0.2, name: c}, {address: 198.18.0.3, name: a}]";
    let after = applied(&node, text, false).unwrap();
    assert_eq!(after.teps.values().cloned().collect::<Vec<_>>(), [name("b"), name("c"), name("a")]);
    assert_eq!(after.domains, node.domains);
    // The names that they pass through are nobody's, whoever has a name like them.
    let (p0, p1) = ("passing-0-198.18.0.2", "passing-1-198.18.0.1");
    let node = model(&[(1, name(p0)), (2, name(p1)), (3, name("passing-x"))], &[]);
    let text = format!("teps: [{{address: 198.18.0.1, name: {p1}}}, {{address: 198.18.0.2, name: {p0}}}]");
    let after = applied(&node, &text, false).unwrap();
    assert_eq!(after.teps.values().cloned().collect::<Vec<_>>(), [name(p1), name(p0), name("passing-x")]);
}

/// A file that says exactly what `model` is, members by name where the TEP has one.
fn file_of(model: &Model) -> String {
    let named =
        |name: &Option<Name>| name.as_ref().map(|name| format!(", name: \"{name}\"")).unwrap_or_default();
    let rates = |rates: &[(&str, Option<Rate>)]| {
        let own = rates.iter().filter_map(|(name, rate)| Some(format!("{name}: {}", (*rate)?)));
        let own: Vec<String> = own.collect();
        if own.is_empty() { String::new() } else { format!(", limit: {{{}}}", own.join(", ")) }
    };
    let limited = |tep| rates(&crate::limit::of_tep(model.tep_limits.get(tep).copied().unwrap_or_default()));
    let teps: Vec<String> = model
        .teps
        .iter()
        .map(|(tep, name)| {
            let hops = havips::next_hops_of(model, *tep);
            format!("{{address: {tep}{}{}{hops}}}", named(name), limited(tep))
        })
        .collect();
    let member = |tep: &Tep| model.teps[tep].as_ref().map_or(tep.to_string(), |name| format!("\"{name}\""));
    let domain = |(vni, (name, members)): (&Vni, &(Option<Name>, BTreeSet<Tep>))| {
        let members: Vec<String> = members.iter().map(member).collect();
        let limit = model.domain_limits.get(vni).copied().unwrap_or_default();
        let limit = rates(&crate::limit::of_domain(limit));
        let garp = if model.strict.contains(vni) { ", garp: strict" } else { "" };
        format!("{{vni: {vni}{}{limit}{garp}, members: [{}]}}", named(name), members.join(", "))
    };
    let domains: Vec<String> = model.domains.iter().map(domain).collect();
    let havips = havips::file_of(model, member);
    format!("teps: [{}]\ndomains: [{}]\nhavips: [{havips}]\n", teps.join(", "), domains.join(", "))
}

/// Nodes of up to 8 TEPs and 6 domains, names from so few that they often change hands.
fn nodes() -> impl Strategy<Value = Model> {
    let a_name = || proptest::option::of(prop::sample::select(vec!["a", "b", "c", "d", "e", "true"]));
    let a_rate = || proptest::option::of((1..3u64).prop_map(|number| Rate::new(number).unwrap()));
    let limit = (a_rate(), a_rate(), a_rate());
    let limit = limit.prop_map(|(copies, bits, control)| DomainLimit { copies, bits, control });
    let teps = prop::collection::btree_map(1..9u8, (a_name(), a_rate()), 0..8);
    let domains = prop::collection::btree_map(0..6u32, (a_name(), any::<u8>(), limit), 0..6);
    let seeds = prop::collection::vec(any::<havips::Seed>(), 0..6);
    (teps, domains, seeds, any::<[u8; 2]>()).prop_map(|(teps, domains, seeds, more)| {
        let mut taken = BTreeSet::new();
        let own = teps
            .iter()
            .filter_map(|(&last, (_, rate))| rate.map(|_| (tep(last), TepLimit { frames: *rate })));
        let tep_limits = own.collect();
        let own = domains.iter().map(|(&vni, (_, _, limit))| (Vni::from(vni), *limit));
        let domain_limits = own.filter(|(_, limit)| *limit != DomainLimit::default()).collect();
        let teps: BTreeMap<Tep, Option<Name>> = teps
            .into_iter()
            .map(|(last, (text, _))| (tep(last), text.filter(|text| taken.insert(*text)).and_then(name)))
            .collect();
        let members = |mask: u8| {
            teps.keys().copied().enumerate().filter(move |(at, _)| mask >> at & 1 == 1).map(|(_, tep)| tep)
        };
        let domains = domains
            .into_iter()
            .map(|(vni, (text, mask, _))| (Vni::from(vni), (text.and_then(name), members(mask).collect())))
            .collect();
        let model =
            Model { revision: 1, teps: teps.clone(), domains, tep_limits, domain_limits, ..Model::default() };
        havips::add(model, &seeds, more)
    })
}

proptest! {
    #[test]
    fn with_prune_any_node_becomes_what_the_file_says(node in nodes(), goal in nodes()) {
        let mut after = applied(&node, &file_of(&goal), true).unwrap();
        after.revision = goal.revision;
        prop_assert_eq!(after, goal);
    }

    #[test]
    fn without_prune_all_that_the_file_says_is_so_and_the_rest_stays(node in nodes(), goal in nodes()) {
        match applied(&node, &file_of(&goal), false) {
            Ok(after) => {
                for (tep, name) in &node.teps {
                    let want = goal.teps.get(tep).cloned().flatten().or(name.clone());
                    prop_assert_eq!(&after.teps[tep], &want);
                }
                for tep in node.teps.keys().chain(goal.teps.keys()) {
                    let want = goal.tep_limits.get(tep).or(node.tep_limits.get(tep));
                    prop_assert_eq!(after.tep_limits.get(tep), want);
                }
                for vni in node.domains.keys().chain(goal.domains.keys()) {
                    let of = |model: &Model| model.domain_limits.get(vni).copied().unwrap_or_default();
                    prop_assert_eq!(of(&after), domain_or(of(&goal), of(&node)));
                }
                for (vni, domain) in &node.domains {
                    let want = goal.domains.get(vni).map(|(name, members)| (name.clone().or(domain.0.clone()), members.clone()));
                    prop_assert_eq!(&after.domains[vni], &want.unwrap_or(domain.clone()));
                }
                prop_assert!(goal.teps.keys().all(|tep| after.teps.contains_key(tep)));
                for (vni, (_, members)) in &goal.domains {
                    prop_assert_eq!(&after.domains[vni].1, members);
                }
                havips::merged(&node, &goal, &after)?;
            }
            // What two good states cannot have in common: a name, a HAVIP's address or its EIP.
            Err(reason) => prop_assert!(
                ["belongs to", "is that of havip", "that EIP is bound"].iter().any(|words| reason.contains(words)),
                "{}",
                reason
            ),
        }
    }

    #[test]
    fn what_was_applied_leaves_nothing_to_change(node in nodes(), prune: bool) {
        prop_assert_eq!(applied(&node, &file_of(&node), prune), Ok(node));
    }
}
