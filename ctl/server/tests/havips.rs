//! HAVIPs through the API: what changes make of them, what is refused, and what workers go by.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bcast_domain::{AnnouncementKind, VlanTags};
use common::havip::*;
use common::*;
use ctl_api::client::RefusalKind;
use ctl_api::model::{
    AttachmentFields, Batch, Change, Existing, Field, Havip, HavipEvent, HavipEventKind, HavipFields,
    HavipState, Place, Revision, SetResource, Target, Why,
};
use ctl_api::proto;

#[test]
fn an_answered_change_is_what_workers_guard_by() {
    let folder = tempfile::tempdir().unwrap();
    let rig = havip_rig(folder.path());
    assert_eq!(rig.guarded(5001), [], "nobody is attached, so nobody is refused");
    assert_eq!(rig.guarded(5002), []);
    rig.commit(vec![attach("web", "vm1", 1, &[1]), attach("web", "vm2", 2, &[2, 1])]);
    let announcers = vec![(1, 1), (2, 1), (2, 2)];
    assert_eq!(rig.guarded(5001), [("10.0.0.100".to_owned(), announcers.clone())]);
    // Other members, other names: the guard stays.
    rig.commit(vec![leave(5001, &[2]), add_named(1, "other")]);
    assert_eq!(rig.guarded(5001), [("10.0.0.100".to_owned(), announcers)]);
    rig.commit(vec![detach("web", "vm2"), create_havip("db", 5001, 7), create_havip("web2", 5002, 100)]);
    assert_eq!(rig.guarded(5001), [("10.0.0.100".to_owned(), vec![(1, 1)])]);
    assert_eq!(rig.guarded(5002), []);
    rig.commit(vec![attach("web2", "vm3", 3, &[2])]);
    let other = ("10.0.0.100".to_owned(), vec![(3, 2)]);
    assert_eq!(rig.guarded(5002), [other], "another domain, the same address");
    rig.commit(vec![remove_havip("web"), remove_havip("db")]);
    assert_eq!(rig.guarded(5001), []);
}

#[test]
fn a_havip_survives_a_restart_as_it_was_and_is_guarded_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let rig = havip_rig(folder.path());
    rig.commit(vec![attach("web", "vm1", 1, &[1]), bind_eip("web", "203.0.113.7")]);
    let mut rig = rig.hold(folder.path(), "web", "vm1", 1);
    let (before, guarded) = (rig.havip("web"), rig.guarded(5001));
    assert_eq!(before.binding.state, HavipState::Bound);
    rig.stop();
    drop(rig);
    let rig = Rig::new(folder.path());
    assert_eq!((rig.havip("web"), rig.guarded(5001)), (before, guarded));
    assert_eq!(rig.server().counts().havips, 1);
    let kinds: Vec<_> = rig.history("web").into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [HavipEventKind::Bound]);
}

#[test]
fn what_is_so_already_changes_nothing_and_what_is_not_there_to_go_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let rig = havip_rig(folder.path());
    rig.commit(vec![attach("web", "vm1", 1, &[1]), bind_eip("web", "203.0.113.7"), inspect(5001, true)]);
    rig.commit(vec![route_gateway(1, Some("198.18.0.9"), None)]);
    let revision = rig.server().revision().get();
    for (change, note) in [
        (create_havip("web", 5001, 100), None),
        (attach("web", "vm1", 1, &[1]), None),
        (set_havip(rig.havip("web").havip), None),
        (bind_eip("web", "203.0.113.7"), None),
        (inspect(5001, true), None),
        (route_gateway(1, Some("198.18.0.9"), None), None),
        (route_gateway(1, None, None), None),
        (remove_havip("db"), Some("HAVIP db does not exist")),
        (detach("db", "vm1"), Some("HAVIP db does not exist")),
        (detach("web", "vm9"), Some("instance vm9 is not attached to HAVIP web")),
        (unfreeze("web"), Some("HAVIP web is not frozen")),
    ] {
        let reply = rig.commit(vec![change.clone()]);
        assert_eq!((reply.revision, reply.changed), (revision, 0), "{change:?}");
        let expected = note.map(|note| format!("change 1: {note}"));
        assert_eq!(reply.notes.first(), expected.as_ref(), "{change:?}");
    }
    rig.commit(vec![unbind_eip("web")]);
    assert_eq!(rig.commit(vec![unbind_eip("web")]).changed, 0, "it has none already");
    let passing = vec![create_havip("db", 5001, 7), attach("db", "vm1", 1, &[1]), remove_havip("db")];
    assert_eq!(
        rig.commit(passing).revision,
        revision + 1,
        "what came and went within a batch was never there"
    );
    let fields = HavipFields { vrids: Some(vec![51]), refresh_s: Field::Value(30), ..HavipFields::default() };
    let again = create_havip_at("web", 5001, ip(100), fields);
    rig.commit(vec![again]);
    let havip = rig.havip("web").havip;
    assert_eq!((havip.vrids, havip.refresh_s, havip.attachments.len()), (vec![51], Some(30), 1));
}

#[test]
fn what_cannot_be_is_refused_with_what_to_do_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rig = havip_rig(folder.path());
    rig.commit(vec![
        create_havip("db", 5001, 7),
        bind_eip("db", "203.0.113.7"),
        attach("db", "vm1", 1, &[1]),
    ]);
    rig.commit(vec![bind_eip("web", "203.0.113.8")]);
    let before = (rig.server().revision(), rig.guarded(5001));
    let outside =
        |address: &str| create_havip_at("x", 5001, address.parse().unwrap(), HavipFields::default());
    let in_everything = |subnet: &str, address: &str| {
        let place =
            Place { vni: 5001.into(), subnet: subnet.parse().unwrap(), address: address.parse().unwrap() };
        let fields = HavipFields { place: Some(place), ..HavipFields::default() };
        SetResource::Havip(name("x"), fields).set_if(Existing::Same)
    };
    let with_vrid = |attachments| {
        let mut havip = rig.havip("web").havip;
        (havip.attachments, havip.vrids) = (attachments, vec![51]);
        set_havip(havip)
    };
    for (changes, refusal, words) in [
        (
            vec![outside("10.0.1.1")],
            RefusalKind::Invalid,
            "address 10.0.1.1 is not in subnet 10.0.0.0/24; give one of that subnet",
        ),
        (
            vec![bind_eip_if("web", "203.0.113.9", Existing::Same)],
            RefusalKind::Exists,
            "HAVIP web has the EIP 203.0.113.8, and has one at most; unbind that first",
        ),
        (
            vec![bind_eip_if("none", "203.0.113.9", Existing::Same)],
            RefusalKind::NotFound,
            "HAVIP none does not exist",
        ),
        (
            vec![in_everything("0.0.0.0/0", "10.0.0.1")],
            RefusalKind::Invalid,
            "subnet 0.0.0.0/0 holds every address; give the network that the address is in, like 10.0.0.0/24",
        ),
        (vec![in_everything("::/0", "fd00::1")], RefusalKind::Invalid, "subnet ::/0 holds every address"),
        (vec![outside("fd00::1")], RefusalKind::Invalid, "address fd00::1 is not in subnet 10.0.0.0/24"),
        (
            vec![outside("10.0.0.0")],
            RefusalKind::Invalid,
            "is the network or broadcast address of 10.0.0.0/24",
        ),
        (
            vec![outside("10.0.0.255")],
            RefusalKind::Invalid,
            "is the network or broadcast address of 10.0.0.0/24",
        ),
        (vec![create_havip("x", 7, 1)], RefusalKind::NotFound, "domain 7 does not exist; create it first"),
        (
            vec![create_havip("web", 5001, 101)],
            RefusalKind::Exists,
            "HAVIP web is there already, with address 10.0.0.100 in domain 5001; take another name, or remove it first",
        ),
        (vec![create_havip("web", 5002, 100)], RefusalKind::Exists, "HAVIP web is there already"),
        (
            vec![create_havip("x", 5001, 100)],
            RefusalKind::Exists,
            "address 10.0.0.100 in domain 5001 is HAVIP web's; take another, or remove that one first",
        ),
        (
            vec![create_havip("x", 5001, 3), create_havip("y", 5001, 3)],
            RefusalKind::Exists,
            "change 2: address 10.0.0.3 in domain 5001 is HAVIP x's",
        ),
        (vec![attach("x", "vm1", 1, &[1])], RefusalKind::NotFound, "HAVIP x does not exist; create it first"),
        (
            vec![attach("web", "vm1", 1, &[9])],
            RefusalKind::NotFound,
            "TEP 198.18.0.9 is not registered; add it first",
        ),
        (
            vec![with_vrid(vec![attachment("vm1", 1, &[9])])],
            RefusalKind::NotFound,
            "TEP 198.18.0.9 is not registered",
        ),
        (
            vec![attach("web", "vm1", 1, &[1, 2, 3])],
            RefusalKind::Invalid,
            "instance vm1 is given 3 TEPs; it runs on one, or on two",
        ),
        (
            vec![attach("web", "vm1", 1, &[1]), attach("web", "vm2", 1, &[1])],
            RefusalKind::Invalid,
            "change 2: instances vm1 and vm2 have the same MAC 52:54:00:00:00:01 on TEP 198.18.0.1",
        ),
        (
            vec![with_vrid(vec![]), attach("web", "vm1", 1, &[1]), attach("web", "vm2", 2, &[2, 1])],
            RefusalKind::Invalid,
            "change 3: instances vm1 and vm2 are both on TEP 198.18.0.1; with VRRP ids the holder is told by its TEP",
        ),
        (
            vec![unbind_eip("web"), bind_eip("web", "203.0.113.7")],
            RefusalKind::Exists,
            "change 2: EIP 203.0.113.7 is HAVIP db's; unbind it there first",
        ),
        (vec![bind_eip("x", "203.0.113.9")], RefusalKind::NotFound, "HAVIP x does not exist"),
        (vec![unbind_eip("x")], RefusalKind::NotFound, "HAVIP x does not exist"),
        (
            vec![unbind_eip("web"), bind_eip("web", "198.18.0.1")],
            RefusalKind::Invalid,
            "change 2: EIP 198.18.0.1 is a TEP's address, this node's, or no host's on its link",
        ),
        (
            vec![unbind_eip("web"), bind_eip("web", "169.254.0.1")],
            RefusalKind::Invalid,
            "change 2: EIP 169.254.0.1 is link-local; give one that is routed",
        ),
        (
            vec![Change::tep("203.0.113.7".parse().unwrap(), None)],
            RefusalKind::Exists,
            "203.0.113.7 is the EIP of HAVIP db; unbind it there first",
        ),
        (
            vec![Change::SetAttachment {
                havip: name("web"),
                attachment: Box::new(AttachmentFields {
                    instance: name("vm9"),
                    mac: "00:00:5e:00:02:33".parse().unwrap(),
                    teps: teps(&[1]),
                }),
            }],
            RefusalKind::Invalid,
            "MAC 00:00:5e:00:02:33 of instance vm9 is the virtual one of VRRP id 51; give the instance's own",
        ),
        (vec![unfreeze("x")], RefusalKind::NotFound, "HAVIP x does not exist"),
        (vec![inspect(7, true)], RefusalKind::NotFound, "domain 7 does not exist"),
        (
            vec![route_gateway(9, Some("198.18.0.9"), None)],
            RefusalKind::NotFound,
            "TEP 198.18.0.9 is not registered",
        ),
        (
            vec![remove_domain(5001)],
            RefusalKind::Precondition,
            "domain 5001 has 2 HAVIPs; remove them first, or the domain with --force",
        ),
        (
            vec![leave(5001, &[1]), leave(5002, &[1]), remove(1, false)],
            RefusalKind::Precondition,
            "TEP 198.18.0.1 has attachments of 1 HAVIP; detach them first, or remove it with --force",
        ),
    ] {
        let (kind, text) = rig.try_commit(Batch::new(changes.clone())).unwrap_err();
        assert_eq!(kind, refusal, "{changes:?}: {text}");
        assert!(text.contains(words), "{words}: {text}");
        assert_eq!((rig.server().revision(), rig.guarded(5001)), before, "{changes:?}");
    }
}

/// Effect of a change on the binding of a HAVIP that vm1 holds at TEP 1, while it migrates to TEP 2.
#[test]
fn the_holder_stays_while_it_is_attached_and_whoever_listens_is_told_when_not() {
    type Effect = (HavipEventKind, Why);
    let unbound = |why| (None, Some((HavipEventKind::Unbound, why)));
    type Outcome = (Option<u16>, Option<Effect>);
    let stays: Outcome = (Some(1), None);
    let set_to = |attachments| {
        move |rig: &Rig| {
            let havip = rig.havip("web").havip;
            set_havip(Havip { attachments, ..havip })
        }
    };
    type Make<'a> = Box<dyn FnOnce(&Rig) -> Change + 'a>;
    let just = |change| -> Make<'static> { Box::new(move |_| change) };
    let cases: Vec<(Make<'_>, Outcome)> = vec![
        (just(detach("web", "vm2")), stays),
        (just(detach("web", "vm1")), unbound(Why::Detached)),
        (just(attach("web", "vm1", 1, &[1])), stays),
        (just(attach("web", "vm1", 1, &[2])), (Some(2), Some((HavipEventKind::Moved, Why::Migrated)))),
        (just(attach("web", "vm1", 1, &[2, 3])), unbound(Why::Detached)),
        (just(attach("web", "vm1", 9, &[1])), unbound(Why::Detached)),
        (Box::new(set_to(vec![attachment("vm1", 1, &[1])])), stays),
        (
            Box::new(set_to(vec![attachment("vm1", 1, &[2])])),
            (Some(2), Some((HavipEventKind::Moved, Why::Migrated))),
        ),
        (Box::new(set_to(vec![attachment("vm2", 2, &[1])])), unbound(Why::Detached)),
        (just(remove(3, true)), stays),
        (just(remove(2, true)), stays),
        (just(remove(1, true)), unbound(Why::TepRemoved)),
    ];
    for (number, (make, (tep, told))) in cases.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let rig = havip_rig(folder.path());
        rig.commit(vec![attach("web", "vm1", 1, &[1, 2]), attach("web", "vm2", 2, &[3])]);
        let rig = rig.hold(folder.path(), "web", "vm1", 1);
        let before = rig.havip("web").binding;
        let change = make(&rig);
        let revision = rig.commit(vec![change]).revision;
        let binding = rig.havip("web").binding;
        assert_eq!(binding.holder.as_ref().map(|holder| holder.tep), tep.map(common::tep), "case {number}");
        let happened: Option<HavipEvent> = rig.history("web").into_iter().find(|h| h.generation == revision);
        assert_eq!(happened.as_ref().map(|h| (h.kind, h.why.unwrap())), told, "case {number}");
        match happened {
            None => assert_eq!(binding, before, "case {number}"),
            Some(event) => {
                assert_eq!((binding.generation, binding.why), (revision, event.why), "case {number}");
                assert_eq!((&event.holder, &event.previous), (&binding.holder, &before.holder));
                assert_eq!(binding.previous, before.holder, "case {number}");
                assert_eq!(binding.moves, before.moves + u64::from(tep.is_some()), "case {number}");
            }
        }
    }
}

#[test]
fn a_forced_removal_takes_havips_and_attachments_along_in_one_revision() {
    let folder = tempfile::tempdir().unwrap();
    let rig = havip_rig(folder.path());
    rig.commit(vec![create_havip("db", 5001, 7), create_havip("web2", 5002, 100)]);
    rig.commit(["web", "db", "web2"].map(|name| attach(name, "vm1", 1, &[1])).to_vec());
    rig.commit(vec![attach("web", "vm2", 2, &[1, 2])]);
    let rig = rig.hold(folder.path(), "web", "vm1", 1);
    let before = rig.server().revision().get();
    let mut watch = rig.run(rig.client().watch(None, Default::default())).unwrap();
    assert_eq!(rig.commit(vec![remove(1, true)]).revision, before + 1);
    let events = rig.revision(&mut watch);
    let mut domains = events[..2].to_vec();
    domains.sort_unstable();
    assert_eq!(domains, ["+5001", "+5002"]);
    assert_eq!(events[2..], ["+db", "+web", "+web2", "-198.18.0.1", "web unbound tep_removed"]);
    let left = |name| rig.havip(name).havip.attachments;
    assert_eq!((left("web"), left("db"), left("web2")), (vec![attachment("vm2", 2, &[2])], vec![], vec![]));
    assert_eq!(rig.guarded(5002), []);
    drop(watch);
    let rig = rig.hold(folder.path(), "web", "vm2", 2);
    let mut watch = rig.run(rig.client().watch(None, Default::default())).unwrap();
    let forced = Change::Delete { target: Target::Domain(5001.into()), force: true };
    rig.commit(vec![forced]);
    assert_eq!(
        rig.revision(&mut watch),
        ["-db", "-web", "-5001", "db removed domain_removed", "web removed domain_removed"]
    );
    assert_eq!(rig.server().counts().havips, 1);
    let kind = |error| refused(error).0;
    assert_eq!(kind(rig.run(rig.client().havip(&name("web"))).unwrap_err()), RefusalKind::NotFound);
    assert_eq!(kind(rig.run(rig.client().havip_history(&name("web"))).unwrap_err()), RefusalKind::NotFound);
}

#[test]
fn another_address_is_another_virtual_ip_of_the_same_name() {
    let folder = tempfile::tempdir().unwrap();
    let rig = havip_rig(folder.path());
    rig.commit(vec![attach("web", "vm1", 1, &[1])]);
    let rig = rig.hold(folder.path(), "web", "vm1", 1);
    let (vip, announcer) = (rig.vip(5001), rig.announcer(5001, 1, 1));
    let mut watch = rig.run(rig.client().watch(None, Default::default())).unwrap();
    let mut havip = rig.havip("web").havip;
    havip.address = ip(101);
    rig.commit(vec![set_havip(havip.clone())]);
    assert_eq!(rig.revision(&mut watch), ["+web", "web removed changed"]);
    let told = rig.history("web").pop().unwrap();
    assert_eq!(
        (told.address, told.holder.unwrap().instance),
        (ip(100), name("vm1")),
        "the old address is told of"
    );
    let binding = rig.havip("web").binding;
    assert_eq!((binding.state, binding.holder, binding.moves), (HavipState::Unbound, None, 0));
    assert_eq!(rig.guarded(5001), [("10.0.0.101".to_owned(), vec![(1, 1)])]);
    assert!(
        rig.vip(5001) != vip && rig.announcer(5001, 1, 1) != announcer,
        "nor has it the old one's numbers"
    );
    // And the address is free for another, also within one batch.
    havip.address = ip(102);
    rig.commit(vec![set_havip(havip), create_havip("db", 5001, 101), attach("db", "vm2", 2, &[2])]);
    let guarded: Vec<String> = rig.guarded(5001).into_iter().map(|(address, _)| address).collect();
    assert_eq!(guarded, ["10.0.0.101", "10.0.0.102"]);
    assert_eq!(
        rig.try_commit(Batch::new(vec![create_havip("x", 5001, 101)])).unwrap_err().0,
        RefusalKind::Exists
    );
}

#[test]
fn numbers_of_speakers_stay_with_their_mac_and_tep_and_are_used_again_after_grace() {
    let folder = tempfile::tempdir().unwrap();
    let rig = havip_rig(folder.path());
    rig.commit(vec![attach("web", "vm1", 1, &[1])]);
    let (vip, old) = (rig.vip(5001), rig.announcer(5001, 1, 1));
    rig.commit(vec![attach("web", "vm1", 1, &[1, 2]), attach("web", "vm2", 2, &[1])]);
    assert_eq!((rig.vip(5001), rig.announcer(5001, 1, 1)), (vip, old));
    rig.node.board.note(vip, old, AnnouncementKind::Claim { mac: [0; 6] }, VlanTags::NONE, 7);
    rig.worker.set_stuck(true);
    let another = Batch::new(vec![attach("web", "vm1", 9, &[1, 2])]);
    assert!(rig.try_commit(another).is_err(), "durable, not confirmed");
    let unconfirmed = Batch::new(vec![attach("web", "vm1", 10, &[1, 2])]);
    assert!(rig.try_commit(unconfirmed).is_err());
    let numbers: Vec<_> = rig.announcers(5001).iter().map(|announcer| announcer.id).collect();
    assert!(!numbers.contains(&old), "a worker may still hear the old one");
    assert_eq!(rig.node.board.read(old).claim_ns, 7);
    rig.worker.set_stuck(false);
    for mac in 11..111 {
        rig.commit(vec![attach("web", "vm1", mac, &[1, 2])]);
        if rig.announcers(5001).iter().any(|announcer| announcer.id == old) {
            assert_eq!(rig.node.board.read(old).claim_ns, 0, "what the old one said is forgotten");
            return;
        }
    }
    panic!("the number was never used again");
}

#[test]
fn generations_only_grow_also_when_a_havip_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = havip_rig(folder.path());
    let mut last = rig.havip("web").binding.generation;
    assert_eq!(last, 2, "the revision that made it");
    for round in 0..3 {
        rig.commit(vec![attach("web", "vm1", 1, &[1])]);
        assert_eq!(rig.havip("web").binding.generation, last, "an attachment is no move");
        rig = rig.hold(folder.path(), "web", "vm1", 1);
        let bound = rig.havip("web").binding.generation;
        rig.commit(vec![remove_havip("web")]);
        rig.commit(vec![create_havip("web", 5001, 100)]);
        let anew = rig.havip("web").binding;
        assert!(last < bound && bound < anew.generation, "round {round}");
        assert_eq!((anew.state, anew.moves, anew.previous), (HavipState::Unbound, 0, None));
        last = anew.generation;
        rig.stop();
        drop(rig);
        rig = Rig::new(folder.path());
        assert_eq!(rig.havip("web").binding.generation, last);
    }
}

#[test]
fn havips_are_in_snapshots_by_name_and_alone_where_only_they_are_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let rig = havip_rig(folder.path());
    rig.commit(vec![
        create_havip("db", 5001, 7),
        inspect(5002, true),
        route_gateway(1, Some("198.18.0.9"), Some("fd00::9")),
    ]);
    for (only, teps, domains) in [(false, 3, 2), (true, 0, 0)] {
        let mut client = rig.client();
        let mut parts = rig
            .run(client.snapshot(proto::SnapshotRequest { only_havips: only, ..Default::default() }))
            .unwrap();
        let mut all = proto::SnapshotPart::default();
        while let Some(part) = rig.run(parts.message()).unwrap() {
            all.revision = all.revision.or(part.revision);
            all.teps.extend(part.teps);
            all.domains.extend(part.domains);
            all.havips.extend(part.havips);
        }
        let names: Vec<String> = all.havips.into_iter().map(|entry| entry.havip.unwrap().name).collect();
        assert_eq!(names, ["db", "web"]);
        assert_eq!((all.teps.len(), all.domains.len(), all.revision), (teps, domains, Some(3)));
        if !only {
            let gateways = [all.teps[0].route_gateway.clone(), all.teps[0].route_gateway6.clone()];
            assert_eq!(gateways.map(|bytes| text(&bytes.unwrap())), ["198.18.0.9", "fd00::9"]);
            assert_eq!((all.domains[0].arp_inspection, all.domains[1].arp_inspection), (1, 2));
        }
    }
    let mut watch = rig.run(rig.client().watch(Some(Revision::new(1_000)), Default::default())).unwrap();
    assert!(rig.revision(&mut watch).ends_with(&["+5002", "+db", "+web"].map(str::to_owned)));
}

#[test]
fn show_says_when_each_attachment_was_last_heard_and_which_one_never_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let rig = havip_rig(folder.path());
    rig.commit(vec![attach("web", "vm1", 1, &[1]), attach("web", "vm3", 3, &[3])]);
    rig.node.now_ns.store(5_000_000_000, std::sync::atomic::Ordering::Relaxed);
    let advert = AnnouncementKind::Advert { interval_cs: 10, priority: 100 };
    let before = now_ms();
    rig.node.board.note(rig.vip(5001), rig.announcer(5001, 1, 1), advert, VlanTags::NONE, 3_000_000_000);
    while rig.havip("web").binding.holder.is_none() {
        std::thread::yield_now();
    }
    let status = rig.run(rig.client().havip(&name("web"))).unwrap();
    let [one, other] = &status.announced[..] else { panic!("{:?}", status.announced) };
    assert_eq!((one.instance.as_str(), text(&one.tep).as_str(), one.claim_unix_ms), ("vm1", "198.18.0.1", 0));
    assert!((before - 2_000..=now_ms() - 2_000).contains(&one.advert_unix_ms), "two seconds ago");
    assert_eq!((one.advert_interval_cs, one.advert_priority), (10, 100));
    assert_eq!((other.instance.as_str(), other.advert_unix_ms), ("vm3", 0));
    let lines = [
        "the holder's last advert came 2 s ago (vm1 ",
        "instance vm3 is attached at TEP 198.18.0.3, which is no member of domain 5001; let it join",
    ];
    assert_eq!(status.diagnosis.len(), lines.len());
    let all = status.diagnosis.iter().zip(lines).all(|(found, begins)| found.text.starts_with(begins));
    assert!(all, "{:?}", status.diagnosis);
}
