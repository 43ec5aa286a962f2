//! Files of `apply`: what they say, and errors in them.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;

use bcast_domain::{DomainLimit, Rate, TepLimit};
use ctl_api::model::{Attachment, Havip};
use support::model::Model;
use support::node::Node;
use support::{model, tep};

/// The node's state after the file was applied to it, or the reason of the refusal.
fn applied(node: &Model, text: &str, prune: bool) -> Result<Model, String> {
    let node = Node::with(node.clone());
    let file = node.file("file", text);
    let args = ["apply", "-f", &file, "--yes", if prune { "--prune" } else { "--verbose" }];
    let (status, _, said) = node.run(&args);
    let before = format!("bcastctl: {file}: ");
    match status {
        0 => Ok(node.model()),
        _ => Err(said.strip_prefix(&before).unwrap_or(&said).trim_end().to_owned()),
    }
}

fn rate(per_second: u64) -> Option<Rate> {
    Some(Rate::new(per_second).unwrap())
}

#[test]
fn a_good_file_is_read_as_yaml_and_as_json() {
    let two = model(&[(1, "hv1"), (2, "")], &[(5001, "vpc-a", &[1, 2])]);
    let bare = model(&[(1, "")], &[(5001, "", &[]), (5002, "", &[1])]);
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
        ("tep: []", "line 1, column 1: unknown field `tep`, expected one of teps, domains, havips, revision"),
        (
            "{\"tep\":[]}",
            "line 1, column 6: unknown field `tep`, expected one of `teps`, `domains`, `havips`, `revision`",
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
            "line 2, column 27: unknown field `nam`, expected one of address, name, limit, route_gateway, route_gateway6, next_hop, next_hop6",
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
            "line 1, column 36: name \"a b\" has the character ' '; names are made of A-Z a-z 0-9 . _ - /",
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
            "line 2, column 10: VNI 4294967296 is out of range: it has 32 bits, so the largest is 4294967295 (0xffffffff)",
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
            "line 1, column 30: TEP fd00::1 is an IPv6 address; IPv6 TEPs are not supported yet, give the TEP's IPv4 underlay address",
        ),
        (
            "teps: [{address: 198.18.0.9}, {address: 198.18.0.9}]",
            "teps[1] (198.18.0.9): TEP 198.18.0.9 is named twice",
        ),
        (
            "teps: [{address: 198.18.0.8, name: a}, {address: 198.18.0.9, name: a}]",
            "bcastctl: another tep has the name a",
        ),
        ("teps: [{address: 198.18.0.9, name: hv1}]", "bcastctl: another tep has the name hv1"),
        ("domains: [{vni: 16}, {vni: 0x10}]", "domains[1] (VNI 16): VNI 16 is named twice"),
        (
            "domains: [{vni: 1, members: [hv1, 198.18.0.1, hv1]}]",
            "line 1, column 10: domain 1: member hv1 is listed twice",
        ),
        (
            "domains: [{vni: 1, members: [hv9]}]",
            "domains[0] (VNI 1): tep hv9 is not registered: add it first",
        ),
        (
            "domains: [{vni: 1}, {vni: 2, members: [198.18.0.9]}]",
            "domains[1] (VNI 2): tep 198.18.0.9 is not registered: add it first",
        ),
        (
            "teps: [{address: 198.18.0.1, name: new}]\ndomains: [{vni: 1, members: [hv1]}]",
            "domains[0] (VNI 1): tep hv1 is not registered: add it first",
        ),
    ];
    let node = model(&[(1, "hv1"), (2, "")], &[]);
    for &(text, reason) in cases.iter().chain(BAD_HAVIPS) {
        assert_eq!(applied(&node, text, false), Err(reason.to_owned()), "{text:?}");
    }
    let latin1 = Node::with(node);
    let file = latin1.file("file", "");
    std::fs::write(&file, b"teps: [] # \xe9").unwrap();
    let said = format!("bcastctl: {file}: it is not UTF-8 text: byte 11 cannot be read\n");
    assert_eq!(latin1.run(&["apply", "-f", &file]), (1, String::new(), said));
}

const BAD_HAVIPS: &[(&str, &str)] = &[
    ("havips: [{name: web}]", "line 1, column 11: missing field `vni`"),
    (
        "havips: [{name: web, vni: 1, subnet: 10.0.0.1/24, address: 10.0.0.1}]",
        "line 1, column 38: 10.0.0.1/24 has bits set behind its prefix; the subnet is 10.0.0.0/24",
    ),
    (
        "havips: [{name: web, vni: 1, subnet: 10.0.0.0/24, address: 10.0.0.1, vrids: [0]}]",
        "line 1, column 78: \"0\" is not a VRRP id; give 1 to 255",
    ),
    (
        "havips: [{name: web, vni: 1, subnet: 10.0.0.0/24, address: 10.0.0.1, refresh: 2d}]",
        "line 1, column 79: \"2d\" is not a time; write whole seconds, minutes or hours, as in 30s, 5m or 1h",
    ),
    (
        "havips: [{name: web, vni: 1, subnet: 10.0.0.0/24, address: 10.0.0.1, attachments: [{instance: a, mac: 1, teps: [hv1]}]}]",
        "line 1, column 103: \"1\" is not a MAC address: write it like 52:54:00:00:00:01",
    ),
    (
        "havips: [{name: web, vni: 1, subnet: 10.0.0.0/24, address: 10.0.0.1, attachments: [{instance: a, mac: FF-FF-FF-FF-FF-FF, teps: [hv1]}]}]",
        "line 1, column 103: ff:ff:ff:ff:ff:ff is every interface's MAC address: give the one of the instance's own interface",
    ),
    (
        "havips: [{name: web, vni: 1, subnet: 10.0.0.0/24, address: 10.0.0.1}]",
        "havips[0] (web): there is no domain 1: create it first",
    ),
    (
        "domains: [{vni: 1}]\nhavips: [{name: web, vni: 1, subnet: 10.0.0.0/24, address: 10.0.1.1}]",
        "havips[0] (web): address 10.0.1.1 is not in subnet 10.0.0.0/24; give one of that subnet",
    ),
    (
        "domains: [{vni: 1}]\nhavips: [{name: web, vni: 1, subnet: 10.0.0.0/24, address: 10.0.0.1}, {name: web, vni: 1, subnet: 10.0.0.0/24, address: 10.0.0.2}]",
        "havips[1] (web): HAVIP web is named twice",
    ),
    (
        "domains: [{vni: 1}]\nhavips: [{name: web, vni: 1, subnet: 10.0.0.0/24, address: 10.0.0.1}, {name: db, vni: 1, subnet: 10.0.0.0/24, address: 10.0.0.1}]",
        "havips[0] (web): address 10.0.0.1 is that of havip db",
    ),
    (
        "domains: [{vni: 1}]\nhavips: [{name: web, vni: 1, subnet: 10.0.0.0/24, address: 10.0.0.1, attachments: [{instance: a, mac: \"52:54:00:00:00:01\", teps: [hv9]}]}]",
        "havips[0] (web): tep hv9 is not registered: add it first",
    ),
    (
        "domains: [{vni: 1}]\nhavips: [{name: web, vni: 1, subnet: 10.0.0.0/24, address: 10.0.0.1, attachments: [{instance: a, mac: \"52:54:00:00:00:01\", teps: []}]}]",
        "havips[0] (web): instance a is given 0 TEPs; it runs on one, or on two while it migrates",
    ),
    (
        "teps: [{address: 198.18.0.1, next_hop: 2001:db8::1}]",
        "line 1, column 40: invalid IPv4 address syntax",
    ),
    (
        "domains: [{vni: 1, garp: closed}]",
        "line 1, column 26: unknown variant `closed`, expected one of open, strict",
    ),
];

#[test]
fn more_members_than_a_domain_may_have_are_refused_by_entry() {
    let members: Vec<String> = (0..=16_384).map(|n: u32| format!("m{n}")).collect();
    let text = format!("domains: [{{vni: 1, members: [{}]}}]", members.join(", "));
    let reason = "domains[0] (VNI 1): 16385 TEPs for one domain; a domain has at most 16384 members";
    assert_eq!(applied(&Model::default(), &text, false).unwrap_err(), reason);
}

#[test]
fn without_prune_what_the_file_leaves_out_stays_and_with_it_goes() {
    let node =
        model(&[(1, "hv1"), (2, ""), (3, "")], &[(1, "a", &[1, 2, 3]), (2, "b", &[1, 2]), (3, "", &[3])]);
    // Domain 1 has a new list, domain 2 is mentioned and no more, domain 3 and TEP 3 are not in the file.
    let text = "teps: [{address: 198.18.0.1}, {address: 198.18.0.2, name: hv2}]\n\
                domains: [{vni: 1, members: [198.18.0.1]}, {vni: 2}]";
    let mut kept =
        model(&[(1, "hv1"), (2, "hv2"), (3, "")], &[(1, "a", &[1]), (2, "b", &[1, 2]), (3, "", &[3])]);
    kept.revision = 2;
    assert_eq!(applied(&node, text, false), Ok(kept));
    let mut pruned = model(&[(1, ""), (2, "hv2")], &[(1, "", &[1]), (2, "", &[])]);
    pruned.revision = 2;
    assert_eq!(applied(&node, text, true), Ok(pruned));
}

#[test]
fn rates_that_the_file_does_not_say_stay_and_with_prune_are_the_default() {
    let all = |copies, bits, control| DomainLimit { copies, bits, control };
    let mut node = model(&[(1, "hv1"), (2, "")], &[(1, "", &[1]), (2, "", &[]), (3, "", &[])]);
    node.teps.values_mut().for_each(|tep| tep.limit = TepLimit { frames: rate(7) });
    node.domains.values_mut().for_each(|domain| domain.limit = all(rate(7), rate(8), None));
    // TEP 2 and domain 3 are not in the file, TEP 1 and domain 2 are without a limit.
    let text = "teps: [{address: 198.18.0.1}]\n\
                domains: [{vni: 1, limit: {copies: 250k, control: \"1M\"}}, {vni: 2, limit: {bits: ~}}]";
    let mut kept = node.clone();
    kept.revision = 2;
    kept.domain_mut(1).limit = all(rate(250_000), rate(8), rate(1_000_000));
    assert_eq!(applied(&node, text, false), Ok(kept));
    let mut pruned = model(&[(1, "")], &[(1, "", &[]), (2, "", &[])]);
    pruned.revision = 2;
    pruned.domain_mut(1).limit = all(rate(250_000), None, rate(1_000_000));
    assert_eq!(applied(&node, text, true), Ok(pruned));
}

#[test]
fn names_may_change_hands_in_a_ring() {
    let node = model(&[(1, "a"), (2, "b"), (3, "c")], &[(7, "", &[1, 2, 3])]);
    let text = "teps: [{address: 198.18.0.1, name: b}, {address: 198.18.0.2, name: c}, {address: 198.18.0.3, name: a}]";
    let after = applied(&node, text, false).unwrap();
    let names = after.teps.values().map(|tep| tep.name.as_ref().unwrap().as_str());
    assert_eq!(names.collect::<Vec<_>>(), ["b", "c", "a"]);
    assert_eq!(after.domains, node.domains);
}

const TWO: &str = "havips: [\
    {name: web, vni: 1, subnet: 10.0.0.0/24, address: 10.0.0.1, vrids: [51, 7], refresh: 5m, eip: 203.0.113.7, group: default/web, \
     attachments: [{instance: vm2, mac: 52:54:00:00:00:02, teps: [198.18.0.2]}, {instance: vm1, mac: \"52-54-00-00-00-01\", teps: [hv1]}]}, \
    {name: db, vni: 0x1, subnet: \"fd00:1::/64\", address: \"fd00:1::64\"}]";

fn web() -> Havip {
    let attachment = |number: u8, tep| Attachment {
        instance: format!("vm{number}").parse().unwrap(),
        mac: format!("52:54:00:00:00:{number:02x}").parse().unwrap(),
        teps: vec![tep],
    };
    Havip {
        name: "web".parse().unwrap(),
        vni: 1.into(),
        subnet: "10.0.0.0/24".parse().unwrap(),
        address: [10, 0, 0, 1].into(),
        attachments: vec![attachment(1, tep(1)), attachment(2, tep(2))],
        vrids: vec![7, 51],
        refresh_s: Some(300),
        eip: Some([203, 0, 113, 7].into()),
        group: Some("default/web".parse().unwrap()),
    }
}

fn node() -> Model {
    model(&[(1, "hv1"), (2, "")], &[(1, "", &[1, 2])])
}

#[test]
fn havips_of_a_file_are_made_with_all_that_it_says() {
    let after = applied(&node(), TWO, false).unwrap();
    assert_eq!(after.havips.keys().map(ctl_api::model::Name::as_str).collect::<Vec<_>>(), ["db", "web"]);
    assert_eq!(after.havips[&"web".parse().unwrap()], web());
    // JSON, as an export writes it.
    let json = r#"{"havips":[{"name":"web","vni":1,"subnet":"10.0.0.0/24","address":"10.0.0.1","vrids":[7,51],"refresh":"300s","eip":"203.0.113.7","group":"default/web",
        "attachments":[{"instance":"vm1","mac":"52:54:00:00:00:01","teps":["198.18.0.1"]},{"instance":"vm2","mac":"52:54:00:00:00:02","teps":["hv1"]}]}]}"#;
    let json = json.replace(
        r#""mac":"52:54:00:00:00:02","teps":["hv1"]"#,
        r#""mac":"52:54:00:00:00:02","teps":["198.18.0.2"]"#,
    );
    assert_eq!(applied(&node(), &json, false).unwrap().havips[&"web".parse().unwrap()], web());
}

#[test]
fn what_an_entry_leaves_out_stays_and_with_prune_goes() {
    let mut node = node();
    node.havips = [(web().name, web())].into();
    let entry = "{name: web, vni: 1, subnet: 10.0.0.0/24, address: 10.0.0.1";
    let bare = Havip { attachments: vec![], vrids: vec![], refresh_s: None, eip: None, group: None, ..web() };
    let one = Havip { attachments: web().attachments[..1].to_vec(), ..web() };
    let other = web().attachments[1..].to_vec();
    for (text, prune, want) in [
        ("", false, web()),
        (", vrids: [9]", false, Havip { vrids: vec![9], ..web() }),
        (", vrids: []", false, Havip { vrids: vec![], ..web() }),
        (", refresh: 7s", false, Havip { refresh_s: Some(7), ..web() }),
        (", eip: 203.0.113.8", false, Havip { eip: Some([203, 0, 113, 8].into()), ..web() }),
        (", group: other", false, Havip { group: Some("other".parse().unwrap()), ..web() }),
        (", attachments: []", false, Havip { attachments: vec![], ..web() }),
        (", attachments: [{instance: vm1, mac: 52:54:00:00:00:01, teps: [hv1]}]", false, one),
        ("", true, bare.clone()),
        (", vrids: [9]", true, Havip { vrids: vec![9], ..bare.clone() }),
        (
            ", attachments: [{instance: vm2, mac: 52:54:00:00:00:02, teps: [198.18.0.2]}]",
            true,
            Havip { attachments: other, ..bare },
        ),
    ] {
        let rest = "teps: [{address: 198.18.0.1, name: hv1}, {address: 198.18.0.2}]\n\
                    domains: [{vni: 1, members: [hv1, 198.18.0.2]}]";
        let after = applied(&node, &format!("{rest}\nhavips: [{entry}{text}}}]"), prune).unwrap();
        assert_eq!(after.havips.into_values().collect::<Vec<_>>(), [want], "{text:?}, prune {prune}");
    }
    let after = applied(&node, "domains: [{vni: 1}]", true).unwrap();
    assert_eq!(after.havips.len(), 0);
}
