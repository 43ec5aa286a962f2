//! Any state, exported from one node and applied to another.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use bcast_domain::{DomainLimit, Rate, Tep, TepLimit, Vni};
use ctl_api::model::{
    ArpInspection, Attachment, DomainEntry, Gateway, Havip, Place, StatedAddresses, TepEntry,
};
use proptest::prelude::*;
use support::model::Model;
use support::node::Node;
use support::tep;

/// Nodes of up to 8 TEPs and 6 domains, with names, addresses and EIPs of so few that they often change hands.
fn nodes() -> impl Strategy<Value = Model> {
    let name = || proptest::option::of(prop::sample::select(vec!["a", "b", "c", "d", "e", "true"]));
    let rate = || proptest::option::of((1..3u64).prop_map(|number| Rate::new(number).unwrap()));
    let teps = prop::collection::btree_map(1..9u8, (name(), rate(), any::<[bool; 2]>()), 0..8);
    let limit = (rate(), rate(), rate());
    let domains = prop::collection::btree_map(0..6u32, (name(), any::<u8>(), limit, any::<bool>()), 0..6);
    let havips = prop::collection::vec(any::<([u8; 5], [u8; 2], bool)>(), 0..6);
    (teps, domains, havips).prop_map(|(teps, domains, havips)| {
        let mut model = Model { revision: 1, ..Model::default() };
        let mut taken = BTreeSet::new();
        for (last, (name, frames, [v4, v6])) in teps {
            let entry = TepEntry {
                name: name.filter(|name| taken.insert(*name)).map(|name| name.parse().unwrap()),
                limit: TepLimit { frames },
                route_gateway: v4.then_some(Ipv4Addr::new(192, 0, 2, 1)),
                route_gateway6: v6.then_some(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
                ..TepEntry::new(tep(last))
            };
            model.teps.insert(entry.address, entry);
        }
        let all: Vec<Tep> = model.teps.keys().copied().collect();
        for (vni, (name, mask, (copies, bits, control), sticky)) in domains {
            let members = all.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1).map(|(_, tep)| *tep);
            let entry = DomainEntry {
                name: name.map(|name| name.parse().unwrap()),
                limit: DomainLimit { copies, bits, control },
                arp_inspection: if sticky { ArpInspection::Sticky } else { ArpInspection::Off },
                stated: if sticky { stated() } else { Default::default() },
                pinned: if mask & 1 == 1 {
                    ["n2", "n1"].map(|name| name.parse().unwrap()).into()
                } else {
                    vec![]
                },
                members: members.collect(),
                ..DomainEntry::new(vni.into())
            };
            model.domains.insert(entry.vni, entry);
        }
        havips.into_iter().for_each(|seed| add_havip(&mut model, seed));
        model
    })
}

/// Adds a HAVIP, where another one has not its address or EIP.
fn add_havip(
    model: &mut Model,
    ([name, vni, address, eip, refresh], places, vrid): ([u8; 5], [u8; 2], bool),
) {
    let teps: Vec<Tep> = model.teps.keys().copied().collect();
    let vnis: Vec<Vni> = model.domains.keys().copied().collect();
    let Some(&vni) = vnis.get(usize::from(vni) % vnis.len().max(1)) else { return };
    let attachment = |(number, place): (u8, u8)| {
        let tep = *teps.get(usize::from(place) % teps.len().max(1))?;
        let mac = format!("52:54:00:00:00:{number:02x}").parse().unwrap();
        Some(Attachment { instance: format!("vm{number}").parse().unwrap(), mac, teps: vec![tep] })
    };
    let mut attachments: Vec<_> = (1..).zip(places).filter_map(attachment).collect();
    attachments.dedup_by(|b, a| vrid && a.teps == b.teps);
    let address = [10, 0, 0, 1 + address % 3].into();
    let name = ["web", "db", "mail", "x"][usize::from(name % 4)].parse().unwrap();
    let havip = Havip {
        attachments,
        vrids: if vrid { vec![51] } else { vec![] },
        refresh_s: (refresh % 2 == 1).then_some(30),
        eip: (eip % 2 == 1).then(|| [203, 0, 113, eip % 4].into()),
        group: (refresh % 4 > 1).then(|| "default/web".parse().unwrap()),
        ..Havip::new(name, Place { vni, subnet: "10.0.0.0/24".parse().unwrap(), address })
    };
    let clashes = |other: &Havip| {
        other.name != havip.name
            && ((other.vni, other.address) == (havip.vni, havip.address)
                || (havip.eip.is_some() && other.eip == havip.eip))
    };
    if !model.havips.values().any(clashes) {
        model.havips.insert(havip.name.clone(), havip);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn with_prune_any_node_becomes_what_the_file_says(node in nodes(), goal in nodes(), json: bool) {
        let (from, to) = (Node::with(goal.clone()), Node::with(node));
        let text = from.run(&["export", "-o", if json { "json" } else { "table" }]).1;
        let file = to.file("export", &text);
        let (status, _, said) = to.run(&["apply", "-f", &file, "--prune", "--yes"]);
        prop_assert_eq!((status, said.as_str()), (0, ""), "{}", text);
        let got = to.model();
        prop_assert!(got.revision > goal.revision);
        prop_assert_eq!(&Model { revision: goal.revision, ..got.clone() }, &goal, "{}", text);
        for prune in ["--prune", "--verbose"] {
            let words = format!("nothing to change (revision {})\n", got.revision);
            prop_assert_eq!(to.run(&["apply", "-f", &file, prune]), (0, words, String::new()));
        }
    }
}

/// Subnets and gateways of both families.
fn stated() -> StatedAddresses {
    let gateway = |address: &str| Gateway {
        address: address.parse().unwrap(),
        mac: bcast_domain::Mac::new([0x52, 0x54, 0, 0, 1, 1]).unwrap(),
    };
    StatedAddresses {
        subnets: ["10.0.0.0/24", "fd00::/64"].map(|subnet| subnet.parse().unwrap()).into(),
        gateways: [gateway("10.0.0.1"), gateway("fd00::1")].into(),
    }
}
