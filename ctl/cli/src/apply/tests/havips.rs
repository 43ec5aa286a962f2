//! HAVIPs in files and plans.

use std::net::{Ipv4Addr, Ipv6Addr};

use bcast_domain::{Tep, Vni};
use ctl_api::model::{Attachment, Change, Havip, Name};

use super::*;

/// Files that are wrong, for a node with the TEPs hv1 (198.18.0.1) and 198.18.0.2 and no domain.
pub const BAD: &[(&str, &str)] = &[
    ("havips: [{name: web}]", "line 1, column 11: missing field `vni`"),
    (
        "havips: [{name: web, vni: 1, subnet: 10.0.0.1/24, address: 10.0.0.1}]",
        "line 1, column 38: 10.0.0.1/24 has bits set behind its prefix; the subnet is 10.0.0.0/24",
    ),
    (
        "havips: [{name: web, vni: 1, subnet: 10.0.0.0/24, address: 10.0.0.1, vrids: [0]}]",
        "line 1, column 78: invalid value: integer `0`, expected a VRRP id: 1 to 255",
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
        "havips: [{name: web, vni: 1, subnet: 10.0.0.0/24, address: 10.0.0.1, attachments: [{instance: a, mac: 01:00:00:00:00:01, teps: [hv1]}]}]",
        "line 1, column 103: 01:00:00:00:00:01 is a multicast MAC address: give the one of the instance's own interface",
    ),
    (
        "havips: [{name: web, vni: 1, subnet: 10.0.0.0/24, address: 10.0.0.1}]",
        "havips[0] (web): there is no domain 1: add it to `domains`",
    ),
    (
        "domains: [{vni: 1}]\nhavips: [{name: web, vni: 1, subnet: 10.0.0.0/24, address: 10.0.1.1}]",
        "havips[0] (web): address 10.0.1.1 is not in subnet 10.0.0.0/24; give one of that subnet",
    ),
    (
        "domains: [{vni: 1}]\nhavips: [{name: web, vni: 1, subnet: 10.0.0.0/24, address: 10.0.0.1}, {name: web, vni: 1, subnet: 10.0.0.0/24, address: 10.0.0.2}]",
        "havips[1]: web stands in havips[0] already: remove one of them",
    ),
    (
        "domains: [{vni: 1}]\nhavips: [{name: web, vni: 1, subnet: 10.0.0.0/24, address: 10.0.0.1}, {name: db, vni: 1, subnet: 10.0.0.0/24, address: 10.0.0.1}]",
        "havips[1] (db): 10.0.0.1 in domain 1 is that of havips[0] already: one address belongs to one HAVIP",
    ),
    (
        "domains: [{vni: 1}]\nhavips: [{name: web, vni: 1, subnet: 10.0.0.0/24, address: 10.0.0.1, attachments: [{instance: a, mac: \"52:54:00:00:00:01\", teps: [hv9]}]}]",
        "havips[0] (web): hv9, where a runs, is no TEP: add it to `teps`",
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
        "line 1, column 26: \"closed\" is no GARP mode that this version knows",
    ),
];

/// `, next_hop: ...` of a TEP.
pub fn next_hops_of(model: &Model, tep: Tep) -> String {
    let (v4, v6) = model.next_hops.get(&tep).copied().unwrap_or_default();
    let v4 = v4.map(|hop| format!(", next_hop: {hop}")).unwrap_or_default();
    v4 + &v6.map(|hop| format!(", next_hop6: \"{hop}\"")).unwrap_or_default()
}

/// The entries of `havips`.
pub fn file_of(model: &Model, tep: impl Fn(&Tep) -> String) -> String {
    let attached = |a: &Attachment| {
        let teps: Vec<String> = a.teps.iter().map(&tep).collect();
        format!("{{instance: {}, mac: \"{}\", teps: [{}]}}", a.instance, a.mac, teps.join(", "))
    };
    let entry = |havip: &Havip| {
        let Havip { name, vni, subnet, address, attachments, vrids, refresh_s, eip } = havip;
        let refresh = refresh_s.map(|seconds| format!(", refresh: {seconds}")).unwrap_or_default();
        let eip = eip.map(|eip| format!(", eip: {eip}")).unwrap_or_default();
        let attachments: Vec<String> = attachments.iter().map(attached).collect();
        format!(
            "{{name: {name}, vni: {vni}, subnet: {subnet}, address: {address}, vrids: {vrids:?}{refresh}{eip}, attachments: [{}]}}",
            attachments.join(", ")
        )
    };
    model.havips.values().map(entry).collect::<Vec<_>>().join(", ")
}

/// Out of which a HAVIP is made: its name, domain and address, EIP, refresh, and two attachments.
pub type Seed = ([u8; 5], [u8; 2], bool);

/// The model with HAVIPs of few names and addresses, so that they often change hands; and a few next hops and modes.
pub fn add(mut model: Model, seeds: &[Seed], [hops, strict]: [u8; 2]) -> Model {
    let teps: Vec<Tep> = model.teps.keys().copied().collect();
    let vnis: Vec<Vni> = model.domains.keys().copied().collect();
    for &([name, vni, address, eip, refresh], places, with_vrid) in seeds {
        let Some(&vni) = vnis.get(usize::from(vni) % vnis.len().max(1)) else { continue };
        let place = |place: u8| teps.get(usize::from(place) % teps.len().max(1)).copied();
        let mut attachments: Vec<Attachment> = (1..)
            .zip(places)
            .filter_map(|(number, at)| {
                Some(Attachment {
                    instance: format!("vm{number}").parse().ok()?,
                    mac: format!("52:54:00:00:00:{number:02x}").parse().ok()?,
                    teps: vec![place(at)?],
                })
            })
            .collect();
        attachments.dedup_by(|b, a| with_vrid && a.teps == b.teps);
        let havip = Havip {
            name: ["web", "db", "mail", "x"][usize::from(name % 4)].parse().unwrap(),
            vni,
            subnet: "10.0.0.0/24".parse().unwrap(),
            address: [10, 0, 0, 1 + address % 3].into(),
            attachments,
            vrids: if with_vrid { vec![51] } else { vec![] },
            refresh_s: (refresh % 2 == 1).then_some(30),
            eip: (eip % 2 == 1).then(|| [203, 0, 113, eip % 4].into()),
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
    for (at, &tep) in teps.iter().enumerate().filter(|(at, _)| hops >> at & 1 == 1) {
        let v6 = (at % 2 == 1).then_some(Ipv6Addr::LOCALHOST.to_bits() << 8).map(Ipv6Addr::from_bits);
        model.next_hops.insert(tep, (Some(Ipv4Addr::new(192, 0, 2, 1 + hops % 2)), v6));
    }
    model.strict =
        vnis.iter().copied().enumerate().filter(|(at, _)| strict >> at & 1 == 1).map(|(_, v)| v).collect();
    model
}

/// Whether `after` has all HAVIPs, next hops and modes of `goal`, and of `node` what `goal` does not say.
pub fn merged(node: &Model, goal: &Model, after: &Model) -> Result<(), TestCaseError> {
    for name in node.havips.keys().chain(goal.havips.keys()) {
        let (had, want) = (node.havips.get(name), goal.havips.get(name));
        let merged = want.map(|want| Havip {
            refresh_s: want.refresh_s.or(had.and_then(|had| had.refresh_s)),
            eip: want.eip.or(had.and_then(|had| had.eip)),
            ..want.clone()
        });
        prop_assert_eq!(after.havips.get(name), merged.as_ref().or(had));
    }
    for tep in node.next_hops.keys().chain(goal.next_hops.keys()) {
        let of = |model: &Model| model.next_hops.get(tep).copied().unwrap_or_default();
        let (had, want) = (of(node), of(goal));
        prop_assert_eq!(of(after), (want.0.or(had.0), want.1.or(had.1)));
    }
    // The file has no word for a domain that is open, so one that was strict stays so.
    prop_assert_eq!(&after.strict, &node.strict.union(&goal.strict).copied().collect());
    Ok(())
}

const TWO: &str = "havips: [\
    {name: web, vni: 1, subnet: 10.0.0.0/24, address: 10.0.0.1, vrids: [51, 7], refresh: 5m, eip: 203.0.113.7, \
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
    }
}

fn node() -> Model {
    model(&[(1, name("hv1")), (2, None)], &[(1, None, &[1, 2])])
}

#[test]
fn havips_of_a_file_are_made_with_all_that_it_says() {
    let after = applied(&node(), TWO, false).unwrap();
    assert_eq!(after.havips.keys().map(Name::as_str).collect::<Vec<_>>(), ["db", "web"]);
    assert_eq!(after.havips[&"web".parse().unwrap()], web());
    // JSON, as an export writes it.
    let json = r#"{"havips":[{"name":"web","vni":1,"subnet":"10.0.0.0/24","address":"10.0.0.1","vrids":[7,51],"refresh":"300s","eip":"203.0.113.7",
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
    let bare = Havip { attachments: vec![], vrids: vec![], refresh_s: None, eip: None, ..web() };
    let one = Havip { attachments: web().attachments[..1].to_vec(), ..web() };
    let other = web().attachments[1..].to_vec();
    for (text, prune, want) in [
        ("", false, web()),
        (", vrids: [9]", false, Havip { vrids: vec![9], ..web() }),
        (", vrids: []", false, Havip { vrids: vec![], ..web() }),
        (", refresh: 7s", false, Havip { refresh_s: Some(7), ..web() }),
        (", eip: 203.0.113.8", false, Havip { eip: Some([203, 0, 113, 8].into()), ..web() }),
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

#[test]
fn without_prune_attachments_that_others_made_after_the_plan_stay_where_the_file_lists_none() {
    let mut planned = node();
    planned.havips = [(web().name, web())].into();
    let mut now = planned.clone();
    now.commit(Batch::new(vec![Change::HavipDetach { name: web().name, instance: "vm2".parse().unwrap() }]))
        .unwrap();
    let text =
        "havips: [{name: web, vni: 1, subnet: 10.0.0.0/24, address: 10.0.0.1, vrids: [9], eip: 203.0.113.9}]";
    let file = file::parse(text.as_bytes()).unwrap();
    let want = resolve(&file, &inventory(&planned), false).unwrap();
    let plan = Arc::new(Plan::new(inventory(&planned), want, false));
    now.commit(Batch::new(changes(&plan).collect())).unwrap();
    let want = Havip {
        attachments: web().attachments[..1].to_vec(),
        vrids: vec![9],
        eip: Some([203, 0, 113, 9].into()),
        ..web()
    };
    assert_eq!(now.havips.into_values().collect::<Vec<_>>(), [want]);
}
