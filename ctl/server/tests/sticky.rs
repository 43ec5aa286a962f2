//! Strict domains through the API: their rules, and the addresses that they learned.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;

use bcast_domain::{Mac, StrictReason};
use common::havip::*;
use common::*;
use ctl_api::model::{ArpInspection, DomainFields, Existing, Gateway, SetResource};
use ctl_api::proto;

#[test]
fn what_a_sticky_domain_learned_is_listed_by_page_and_freed_and_its_rules_reach_the_workers() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = havip_rig(folder.path());
    let mut client = rig.client();
    let forget = |last| proto::ForgetLearnedRequest { vni: 5001, address: vec![10, 0, 0, last] };
    let status = rig.run(client.learned(5001.into())).unwrap_err();
    assert!(status.to_string().contains("its ARP inspection is off; set it to sticky first"), "{status}");
    assert!(rig.run(client.forget_learned(forget(1))).is_err());
    assert!(rig.run(client.learned(9.into())).is_err(), "there is no such domain");

    let gateway = Gateway { address: [10, 0, 0, 1].into(), mac: Mac::new([2, 0, 0, 0, 0, 9]).unwrap() };
    let fields = DomainFields {
        arp_inspection: Some(ArpInspection::Sticky),
        subnets: Some(vec!["10.0.0.0/24".parse().unwrap()]),
        gateways: Some(vec![gateway]),
        ..Default::default()
    };
    rig.commit(vec![SetResource::Domain(5001.into(), fields).set_if(Existing::Required)]);
    let admit = |address: [u8; 4], last| {
        let reader = rig.readers.reader();
        let strict = reader.lookup(5001.into()).unwrap().vip_table().unwrap().strictly().unwrap();
        strict.admit(address.into(), [2, 0, 0, 0, 0, last], 0_u16.into(), 5, |_| false)
    };
    assert_eq!(admit([10, 0, 1, 2], 2), Err(StrictReason::OutsideSubnets));
    assert_eq!(admit([10, 0, 0, 1], 2), Err(StrictReason::GatewayMac));
    assert!((2..=5).all(|last| admit([10, 0, 0, last], last).is_ok()));

    let learned = rig.run(client.learned(5001.into())).unwrap();
    let addresses: Vec<_> = learned.iter().map(|one| (one.address[3], one.mac[5])).collect();
    assert_eq!(addresses, [(2, 2), (3, 3), (4, 4), (5, 5)]);
    assert_eq!(admit([10, 0, 0, 3], 7), Err(StrictReason::OtherOwner));
    assert!(rig.run(client.forget_learned(forget(3))).unwrap().had_owner);
    assert!(!rig.run(client.forget_learned(forget(3))).unwrap().had_owner);
    assert_eq!(admit([10, 0, 0, 3], 7), Ok(()));

    // The subnets are cleared; the gateway stays, and so does what was learned.
    let fields = DomainFields { subnets: Some(Vec::new()), ..Default::default() };
    rig.commit(vec![SetResource::Domain(5001.into(), fields).set_if(Existing::Required)]);
    assert_eq!((admit([10, 0, 1, 2], 2), admit([10, 0, 0, 1], 2)), (Ok(()), Err(StrictReason::GatewayMac)));
    assert_eq!(rig.run(client.learned(5001.into())).unwrap().len(), 5);
    let domain = rig.run(client.domain(5001.into())).unwrap();
    assert_eq!((domain.subnets, domain.gateways.unwrap().gateways.len()), (None, 1));
    rig.stop();
}

#[test]
fn an_address_that_becomes_a_havips_has_no_learned_owner_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let rig = havip_rig(folder.path());
    rig.commit(vec![inspect(5001, true)]);
    let learn = |last: u8| {
        let reader = rig.readers.reader();
        let strict = reader.lookup(5001.into()).unwrap().vip_table().unwrap().strictly().unwrap();
        strict.admit(ip(last), [2, 0, 0, 0, 0, last], 0_u16.into(), 5, |_| false).unwrap();
    };
    let learned = || {
        let all = rig.run(rig.client().learned(5001.into())).unwrap();
        all.iter().map(|one| one.address[3]).collect::<Vec<_>>()
    };
    learn(70);
    learn(71);
    assert_eq!(learned(), [70, 71]);
    rig.commit(vec![create_havip("late", 5001, 70)]);
    assert_eq!(learned(), [71]);
    rig.commit(vec![remove_havip("late")]);
    assert_eq!(learned(), [71], "nor once the HAVIP is gone");
}

#[test]
fn a_strict_domain_is_guarded_though_it_has_no_havips_and_an_open_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = havip_rig(folder.path());
    // Whether it has a guard, and what that has learnt: by its place in memory.
    let guard = |rig: &Rig, vni: u32| {
        let reader = rig.readers.reader();
        let guard = reader.lookup(vni.into()).unwrap().vip_table()?;
        Some(guard.strictly().map(|strict| Arc::as_ptr(&strict.learned).addr()))
    };
    assert_eq!((guard(&rig, 5001), guard(&rig, 5002)), (Some(None), None));
    rig.commit(vec![inspect(5001, true), inspect(5002, true)]);
    let learned = (guard(&rig, 5001), guard(&rig, 5002));
    assert!(matches!(learned, (Some(Some(one)), Some(Some(other))) if one != other), "{learned:?}");
    rig.commit(vec![attach("web", "vm1", 1, &[1]), create_havip("db", 5002, 7), leave(5001, &[2])]);
    assert_eq!((guard(&rig, 5001), guard(&rig, 5002)), learned, "other HAVIPs forget nothing");
    rig.commit(vec![remove_havip("db")]);
    assert_eq!(guard(&rig, 5002), learned.1);
    rig.stop();
    drop(rig);
    let rig = Rig::new(folder.path());
    assert!(matches!(guard(&rig, 5002), Some(Some(_))), "also after a restart");
    rig.commit(vec![remove_domain(5002), set(5002, &[1])]);
    assert_eq!(guard(&rig, 5002), None, "the mode went with the domain");
    rig.commit(vec![inspect(5002, true)]);
    rig.commit(vec![inspect(5002, false), remove_havip("web")]);
    assert!(matches!((guard(&rig, 5001), guard(&rig, 5002)), (Some(Some(_)), None)));
}
