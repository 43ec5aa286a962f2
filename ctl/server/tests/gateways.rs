//! Distributed gateways of domains, which several operators may state at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::havip::*;
use common::*;
use ctl_api::model::{Batch, Change, DomainFields, Existing, Gateway, SetResource};

fn gateway(last: u8) -> Gateway {
    Gateway { address: ip(last), mac: mac(last) }
}

fn gateways(rig: &Rig, vni: u32) -> Vec<String> {
    let domain = rig.run(rig.client().domain(vni.into())).unwrap();
    domain.gateways.unwrap_or_default().gateways.iter().map(|one| text(&one.address)).collect()
}

/// Each operator states or removes gateways of his own, or sets the subnets, at the same time as the others.
#[test]
fn operators_who_change_gateways_and_subnets_at_once_lose_nothing_of_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![create(5001)]);
    rig.commit(
        (1..=20).map(|last| Change::SetGateway { vni: 5001.into(), gateway: gateway(last) }).collect(),
    );
    let operators = (0..4).map(|operator| {
        let steps = (0..5).map(move |step| operator * 5 + step);
        let changes = steps.flat_map(|step| {
            let gateway = gateway(101 + step);
            let stated = Change::SetGateway { vni: 5001.into(), gateway };
            [stated, Change::DeleteGateway { vni: 5001.into(), address: ip(1 + step) }]
        });
        changes.collect::<Vec<_>>()
    });
    let fields = DomainFields { subnets: Some(vec![subnet()]), ..DomainFields::default() };
    let subnets = SetResource::Domain(5001.into(), fields).set_if(Existing::Required);
    let all = operators.chain([vec![subnets; 10]]);
    // Each change is a request of its own.
    let tasks: Vec<_> = all
        .map(|changes| {
            let mut client = rig.client();
            rig.runtime.spawn(async move {
                for change in changes {
                    client.commit(Batch::new(vec![change])).await.unwrap();
                }
            })
        })
        .collect();
    tasks.into_iter().for_each(|task| rig.run(task).unwrap());
    let expected: Vec<_> = (101..=120).map(|last| ip(last).to_string()).collect();
    assert_eq!(gateways(&rig, 5001), expected);
    let domain = rig.run(rig.client().domain(5001.into())).unwrap();
    assert_eq!(domain.subnets.unwrap().subnets.len(), 1);
}

#[test]
fn a_gateway_is_stated_and_removed_beside_the_others_within_the_bound_of_a_domain() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(folder.path());
    rig.commit(vec![create(5001)]);
    let set = |gateway: Gateway| Change::SetGateway { vni: 5001.into(), gateway };
    let delete = |last| Change::DeleteGateway { vni: 5001.into(), address: ip(last) };
    rig.commit((1..=64).rev().map(|last| set(gateway(last))).collect());
    let revision = rig.server().revision().get();
    let too_many = rig.try_commit(Batch::new(vec![set(gateway(65))])).unwrap_err().1;
    assert!(
        too_many.contains("domain 5001 has 64 gateways, as many as it may; remove one first"),
        "{too_many}"
    );
    for change in [
        Change::SetGateway { vni: 7.into(), gateway: gateway(1) },
        Change::DeleteGateway { vni: 7.into(), address: ip(1) },
    ] {
        let (kind, text) = rig.try_commit(Batch::new(vec![change])).unwrap_err();
        assert_eq!(kind, ctl_api::client::RefusalKind::NotFound, "{text}");
    }
    // Again, with another MAC address, and one that is none.
    let reply = rig.commit(vec![set(gateway(5)), delete(200)]);
    assert_eq!((reply.revision, reply.changed), (revision, 0));
    assert_eq!(reply.notes, ["change 2: 10.0.0.200 is no gateway of domain 5001"]);
    rig.commit(vec![set(Gateway { mac: mac(99), ..gateway(5) }), delete(64), set(gateway(65))]);
    rig.stop();
    drop(rig);
    let rig = Rig::new(folder.path());
    let expected: Vec<_> = (1..=63).chain([65]).map(|last| ip(last).to_string()).collect();
    assert_eq!(gateways(&rig, 5001), expected);
    let domain = rig.run(rig.client().domain(5001.into())).unwrap();
    let fifth = &domain.gateways.unwrap().gateways[4];
    assert_eq!(fifth.mac, mac(99).octets());
}
