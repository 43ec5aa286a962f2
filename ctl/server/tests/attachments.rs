//! Attachments, groups and names of HAVIPs, and what workers go by.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::havip::*;
use common::*;
use ctl_api::model::{AttachmentFields, Change, Existing, Field, HavipFields, SetResource};

#[test]
fn a_havip_is_guarded_from_its_first_attachment_to_its_last_and_created_with_them_in_one_revision() {
    let folder = tempfile::tempdir().unwrap();
    let rig = havip_rig(folder.path());
    let revision = rig.server().revision();
    let attached = |instance: &str, last: u8, on: &[u16]| AttachmentFields {
        instance: name(instance),
        mac: mac(last),
        teps: teps(on),
    };
    let fields = HavipFields {
        attachments: Some(vec![attached("vm1", 1, &[1]), attached("vm2", 2, &[2])]),
        ..HavipFields::default()
    };
    let reply = rig.commit(vec![create_havip_at("db", 5001, ip(7), fields)]);
    assert_eq!((reply.revision, reply.changed), (revision.next().get(), 1));
    assert_eq!(
        rig.guarded(5001),
        [("10.0.0.7".to_owned(), vec![(1, 1), (2, 2)])],
        "web has nobody, and refuses nobody"
    );
    rig.commit(vec![detach("db", "vm1"), detach("db", "vm2")]);
    assert_eq!(rig.guarded(5001), []);
}

#[test]
fn havips_of_one_group_and_domain_are_of_one_group_for_workers_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = havip_rig(folder.path());
    let grouped = |text: &str, vni, last, group: &str| {
        let fields = HavipFields { group: Field::Value(name(group)), ..HavipFields::default() };
        vec![create_havip_at(text, vni, ip(last), fields), attach(text, &format!("vm{last}"), last, &[1])]
    };
    rig.commit(grouped("a", 5001, 1, "one"));
    rig.commit(grouped("b", 5001, 2, "ns/two"));
    rig.commit(grouped("c", 5001, 3, "one"));
    rig.commit(grouped("d", 5002, 4, "one"));
    rig.commit(vec![attach("web", "vm9", 9, &[1])]);
    let groups = |rig: &Rig| {
        let vips = rig.vips(5001);
        let of = |last: u8| vips.iter().find(|vip| vip.address == ip(last)).unwrap().group;
        [1, 2, 3, 100].map(of)
    };
    let is_right = |[a, b, c, web]: [u32; 4]| a == c && a != b && a != 0 && b != 0 && web == 0;
    assert!(is_right(groups(&rig)), "{:?}", groups(&rig));
    assert!(rig.vips(5002)[0].group != 0);
    rig.stop();
    drop(rig);
    let rig = Rig::new(folder.path());
    assert!(is_right(groups(&rig)), "{:?}", groups(&rig));
    assert_eq!(rig.havip("b").havip.group, Some(name("ns/two")));
    let set = |text: &str, group| {
        let fields = HavipFields { group, ..HavipFields::default() };
        SetResource::Havip(name(text), fields).set_if(Existing::Required)
    };
    // The first of a group goes out of it, and those that are left stay one.
    rig.commit(vec![set("a", Field::Clear), set("b", Field::Value(name("one")))]);
    let [a, b, c, _] = groups(&rig);
    assert!(a == 0 && b == c && c != 0, "{:?}", groups(&rig));
    assert_eq!(rig.commit(vec![set("a", Field::Clear)]).changed, 0);
}

#[test]
fn names_with_slashes_and_shared_multicast_macs_are_kept_across_a_restart_as_they_were_given() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = havip_rig(folder.path());
    let pod = |instance: &str, mac: &str, on: &[u16]| {
        let (instance, mac) = (name(instance), mac.parse().unwrap());
        let attachment = AttachmentFields { instance, mac, teps: teps(on) };
        Change::SetAttachment { havip: name("default/web"), attachment: Box::new(attachment) }
    };
    rig.commit(vec![
        create_havip("default/web", 5001, 7),
        pod("default/web-0", "0100.5e20.0101", &[1]),
        pod("default/web-1", "01005e200101", &[2]),
        pod("default/web-2", "03-BF-0A-00-00-07", &[1]),
    ]);
    let before = rig.havip("default/web");
    let attached: Vec<String> =
        before.havip.attachments.iter().map(|a| format!("{} {}", a.instance, a.mac)).collect();
    assert_eq!(
        attached,
        [
            "default/web-0 01:00:5e:20:01:01",
            "default/web-1 01:00:5e:20:01:01",
            "default/web-2 03:bf:0a:00:00:07"
        ]
    );
    rig.stop();
    drop(rig);
    let rig = Rig::new(folder.path());
    assert_eq!(rig.havip("default/web"), before);
    rig.commit(vec![detach("default/web", "default/web-0"), remove_havip("default/web")]);
}
