//! Planned routes, for one HAVIP and for many that change.

#![allow(clippy::expect_used, reason = "tests")]

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use bcast_domain::Tep;
use ctl_api::model::Name;
use ctl_routes::{Gateways, Hop, Key, OnLink, Plan, RoutesConfig, Virtual, Why, routes};
use proptest::prelude::*;

fn config() -> RoutesConfig {
    toml::from_str("vni = [{vni = 5001, table = 101}, {vni = 5002, table = 102}]").expect("it is right")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn tep(number: u8) -> Tep {
    Tep::new([198, 18, 0, number].into()).expect("a TEP's address")
}

fn hop(gateway: &str) -> Hop {
    Hop { gateway: ip(gateway), interface: 7 }
}

/// TEPs 1 to 9, an IPv4 gateway and an IPv6 gateway are on interface 7; the rest is not, known or not.
fn on_link() -> OnLink {
    let neighbours = (1..10).map(|number| IpAddr::from(tep(number).address()));
    let gateways = [ip("198.18.255.1"), ip("2001:db8:1::1"), ip("fe80::1")];
    let others = [ip("198.18.0.10"), ip("192.0.2.1"), ip("2001:db8:2::1")].map(|address| (address, None));
    neighbours.chain(gateways).map(|address| (address, Some(7))).chain(others).collect()
}

fn virtual_ip(vni: u32, address: &str, eip: Option<&str>, holder: Option<u8>) -> Virtual {
    Virtual {
        vni: vni.into(),
        address: ip(address),
        eip: eip.map(ip),
        holder: holder.map(tep),
        generation: 1,
    }
}

fn gateways(next_hop: &str, next_hop6: &str) -> Gateways {
    Gateways { next_hop: next_hop.parse().ok(), next_hop6: next_hop6.parse().ok() }
}

/// Expected routes: table, address and hop.
type Expected = Vec<(u32, &'static str, Result<Hop, Why>)>;

#[test]
fn the_next_hop_is_the_teps_address_where_that_is_on_link_and_else_its_gateway() {
    let none = Gateways::default();
    let (v4, v6, eip, eip6) = ("10.0.0.100", "2001:db8::100", Some("203.0.113.7"), Some("2001:db8:f::7"));
    let off = |gateway: &str| Why::OffLink { tep: tep(10), gateway: ip(gateway) };
    let rows: Vec<(&str, Virtual, Gateways, Expected)> = vec![
        ("held, on-link", virtual_ip(5001, v4, None, Some(1)), none, vec![(101, v4, Ok(hop("198.18.0.1")))]),
        ("held by nobody", virtual_ip(5001, v4, eip, None), none, vec![]),
        (
            "another VNI's table",
            virtual_ip(5002, v4, None, Some(1)),
            none,
            vec![(102, v4, Ok(hop("198.18.0.1")))],
        ),
        ("no table for its VNI", virtual_ip(5003, v4, None, Some(1)), none, vec![]),
        (
            "no table for its VNI, but an EIP",
            virtual_ip(5003, v4, eip, Some(1)),
            none,
            vec![(117, "203.0.113.7", Ok(hop("198.18.0.1")))],
        ),
        (
            "both",
            virtual_ip(5001, v4, eip, Some(2)),
            none,
            vec![(101, v4, Ok(hop("198.18.0.2"))), (117, "203.0.113.7", Ok(hop("198.18.0.2")))],
        ),
        (
            "on-link is better than a gateway",
            virtual_ip(5001, v4, None, Some(1)),
            gateways("198.18.255.1", ""),
            vec![(101, v4, Ok(hop("198.18.0.1")))],
        ),
        (
            "behind a gateway",
            virtual_ip(5001, v4, None, Some(10)),
            gateways("198.18.255.1", ""),
            vec![(101, v4, Ok(hop("198.18.255.1")))],
        ),
        (
            "behind nobody knows what",
            virtual_ip(5001, v4, None, Some(10)),
            none,
            vec![(101, v4, Err(Why::NoNextHop(tep(10))))],
        ),
        (
            "behind a gateway that is off-link",
            virtual_ip(5001, v4, None, Some(10)),
            gateways("192.0.2.1", ""),
            vec![(101, v4, Err(off("192.0.2.1")))],
        ),
        (
            "behind a gateway that nobody asked about",
            virtual_ip(5001, v4, None, Some(10)),
            gateways("192.0.2.2", ""),
            vec![(101, v4, Err(off("192.0.2.2")))],
        ),
        (
            "IPv6, an on-link TEP without a gateway",
            virtual_ip(5001, v6, None, Some(1)),
            gateways("198.18.255.1", ""),
            vec![(101, v6, Err(Why::NoNextHop6(tep(1))))],
        ),
        (
            "IPv6 behind a gateway",
            virtual_ip(5001, v6, None, Some(10)),
            gateways("", "2001:db8:1::1"),
            vec![(101, v6, Ok(hop("2001:db8:1::1")))],
        ),
        (
            "IPv6 behind a gateway that is off-link",
            virtual_ip(5001, v6, None, Some(10)),
            gateways("", "2001:db8:2::1"),
            vec![(101, v6, Err(off("2001:db8:2::1")))],
        ),
        (
            "IPv6 behind a link-local address, on whatever link",
            virtual_ip(5001, v6, None, Some(10)),
            gateways("", "fe80::1"),
            vec![(101, v6, Err(Why::LinkLocal { tep: tep(10), gateway: "fe80::1".parse().expect("one") }))],
        ),
        (
            "an IPv6 EIP of an IPv4 address",
            virtual_ip(5001, v4, eip6, Some(1)),
            gateways("", "2001:db8:1::1"),
            vec![(101, v4, Ok(hop("198.18.0.1"))), (117, "2001:db8:f::7", Ok(hop("2001:db8:1::1")))],
        ),
    ];
    let (config, on_link) = (config(), on_link());
    for (what, havip, gateways, expected) in rows {
        let seen: Vec<_> = routes(&havip, gateways, &config, &on_link).collect();
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(table, address, hop)| (Key { table, address: ip(address) }, hop))
            .collect();
        assert_eq!(seen, expected, "{what}");
    }
}

#[test]
fn every_reason_says_what_to_do() {
    let (tep, gateway) = (tep(10), "fe80::1".parse().expect("an address"));
    let rows = [
        (Why::NoNextHop(tep), "name a gateway to it that is: bcastctl tep route-gateway 198.18.0.10 ADDRESS"),
        (Why::NoNextHop6(tep), "name a gateway to it: bcastctl tep route-gateway 198.18.0.10 ADDRESS"),
        (
            Why::OffLink { tep, gateway: ip("192.0.2.1") },
            "name another: bcastctl tep route-gateway 198.18.0.10 ADDRESS",
        ),
        (Why::LinkLocal { tep, gateway }, "name a global or unique local address"),
    ];
    for (why, expected) in rows {
        assert!(why.to_string().contains(expected), "{why}");
    }
}

#[test]
fn an_address_that_goes_from_one_havip_to_another_keeps_its_route() {
    let name = |text: &str| text.parse::<Name>().expect("a name");
    let public = Some("203.0.113.7");
    let key = Key { table: 117, address: ip("203.0.113.7") };
    let on_link = on_link();
    // In whatever order the two are told.
    for order in [["a", "b"], ["b", "a"]] {
        let mut plan = Plan::new(config());
        plan.set_havip(name("a"), Some(virtual_ip(1, "10.0.0.1", public, Some(1))));
        plan.set_havip(name("b"), Some(virtual_ip(1, "10.0.0.2", None, Some(2))));
        plan.settle(&on_link);
        for which in order {
            let eip = (which == "b").then_some("203.0.113.7");
            let (address, holder) = if which == "a" { ("10.0.0.1", 1) } else { ("10.0.0.2", 2) };
            plan.set_havip(name(which), Some(virtual_ip(1, address, eip, Some(holder))));
        }
        assert_eq!(plan.settle(&on_link).into_iter().collect::<Vec<_>>(), [key], "{order:?}");
        let wanted = plan.get(&key).expect("a route");
        assert_eq!((wanted.havip.as_str(), wanted.hop), ("b", Ok(hop("198.18.0.2"))), "{order:?}");
    }
}

/// Something that may happen to the plan.
#[derive(Clone, Debug)]
enum Step {
    Havip(u8, Option<(bool, bool, Option<u8>)>),
    Tep(u8, Option<bool>),
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    let havip = proptest::option::of((any::<bool>(), any::<bool>(), proptest::option::of(8_u8..12)));
    prop_oneof![
        4 => (0_u8..6, havip).prop_map(|(which, state)| Step::Havip(which, state)),
        2 => (8_u8..12, proptest::option::of(any::<bool>())).prop_map(|(which, state)| Step::Tep(which, state)),
        1 => Just(Step::Settle),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_024, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_plan_is_what_follows_from_the_state(steps in prop::collection::vec(step(), 0..60)) {
        let (config, on_link) = (config(), on_link());
        let mut plan = Plan::new(config.clone());
        let mut havips = HashMap::<u8, Virtual>::new();
        let mut teps = HashMap::<Tep, Gateways>::new();
        // What one who only follows `settle` would have in the kernel.
        let mut followed = BTreeMap::new();
        for step in steps.into_iter().chain([Step::Settle]) {
            match step {
                Step::Havip(which, state) => {
                    let state = state.map(|(mapped, eip, holder)| {
                        let eip = eip.then(|| format!("203.0.113.{which}"));
                        let vni = if mapped { 5001 } else { 7 };
                        virtual_ip(vni, &format!("10.0.0.{which}"), eip.as_deref(), holder)
                    });
                    match state {
                        Some(state) => havips.insert(which, state),
                        None => havips.remove(&which),
                    };
                    plan.set_havip(format!("h{which}").parse().expect("a name"), state);
                }
                Step::Tep(which, state) => {
                    let state = state.map(|on| gateways(if on { "198.18.255.1" } else { "192.0.2.1" }, ""));
                    teps.insert(tep(which), state.unwrap_or_default());
                    plan.set_tep(tep(which), state.unwrap_or_default());
                }
                Step::Settle => {
                    let asked = plan.asks(true);
                    for key in plan.settle(&on_link) {
                        match plan.get(&key) {
                            Some(wanted) => followed.insert(key, wanted.hop),
                            None => followed.remove(&key),
                        };
                    }
                    let gateways = |tep: Tep| teps.get(&tep).copied().unwrap_or_default();
                    let expected: BTreeMap<_, _> = havips
                        .values()
                        .flat_map(|havip| {
                            let gateways = havip.holder.map(gateways).unwrap_or_default();
                            routes(havip, gateways, &config, &on_link)
                        })
                        .collect();
                    let planned: BTreeMap<_, _> = plan.iter().map(|(key, wanted)| (*key, wanted.hop)).collect();
                    prop_assert_eq!(&planned, &expected);
                    prop_assert_eq!(&followed, &expected);
                    let used = expected.values().flatten().map(|hop| hop.gateway);
                    prop_assert!(used.collect::<Vec<_>>().iter().all(|gateway| asked.contains(gateway)));
                }
            }
        }
    }
}
