//! Reads: watches, snapshots, and the queries.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use ctl_api::client::RefusalKind;
use ctl_api::model::{Batch, Change, Revision};
use ctl_api::proto::{self, watch_event::Kind};
use tonic::Streaming;

/// The events of the next revision, as text, `committed` left out.
fn revision(rig: &Rig, watch: &mut Streaming<proto::WatchEvent>) -> (u64, Vec<String>) {
    let mut events = Vec::new();
    loop {
        let event = rig.run(watch.message()).unwrap().expect("a watch does not end");
        match event.kind.unwrap() {
            Kind::Committed(_) => return (event.revision, events),
            Kind::Reset(_) => events.push("reset".to_owned()),
            Kind::TepSet(tep) => {
                let name = tep.name.unwrap_or_default();
                events.push(format!("+{} {name}", text(&tep.address)).trim().to_owned());
            }
            Kind::TepDeleted(address) => events.push(format!("-{}", text(&address))),
            Kind::DomainSet(domain) => {
                events.push(format!("+{} {}", domain.vni, domain.members.unwrap().ipv4.len() / 4))
            }
            Kind::DomainDeleted(vni) => events.push(format!("-{vni}")),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_watch_tells_each_revision_as_it_commits_and_resumes_where_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(folder.path());
    rig.commit(vec![add_named(1, "hv1"), add(2), set(5, &[1, 2])]);
    let mut now = rig.run(rig.client().watch(None, Default::default())).unwrap();
    rig.commit(vec![remove(1, true), create(6)]);
    rig.commit(vec![remove_domain(6)]);
    let second = (2, vec!["+5 1".to_owned(), "+6 0".to_owned(), "-198.18.0.1".to_owned()]);
    let third = (3, vec!["-6".to_owned()]);
    assert_eq!(revision(&rig, &mut now), second);
    assert_eq!(revision(&rig, &mut now), third);
    drop(now);
    rig.stop();
    drop(rig);
    let rig = Rig::new(folder.path());
    let mut resumed = rig.run(rig.client().watch(Some(Revision::new(2)), Default::default())).unwrap();
    assert_eq!(revision(&rig, &mut resumed), second);
    assert_eq!(revision(&rig, &mut resumed), third);
    rig.commit(vec![create(7)]);
    assert_eq!(revision(&rig, &mut resumed), (4, vec!["+7 0".to_owned()]));
}

#[test]
fn a_watch_from_what_this_node_never_was_starts_over_with_the_whole_state() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add(2), add(1), set(6, &[1, 2]), set(5, &[1])]);
    let mut watch = rig.run(rig.client().watch(Some(Revision::new(1_000)), Default::default())).unwrap();
    let state = ["reset", "+198.18.0.1", "+198.18.0.2", "+5 1", "+6 2"].map(str::to_owned).to_vec();
    assert_eq!(revision(&rig, &mut watch), (1, state));
    rig.commit(vec![remove_domain(5)]);
    assert_eq!(revision(&rig, &mut watch), (2, vec!["-5".to_owned()]));
}

#[test]
fn a_watch_ends_with_a_status_when_the_daemon_stops() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(folder.path());
    let client = rig.client();
    let mut watch = rig.run(client.clone().watch(None, Default::default())).unwrap();
    let next = rig.runtime.spawn(async move { watch.message().await });
    rig.stop();
    let (kind, text) = refused(client.error(rig.run(next).unwrap().unwrap_err()));
    assert_eq!(kind, RefusalKind::Unavailable, "{text}");
}

#[test]
fn watchers_up_to_their_limit_do_not_lock_out_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let mut client = rig.client();
    let _watches: Vec<_> =
        (0..ctl_server::WATCHES).map(|_| rig.run(client.watch(None, Default::default())).unwrap()).collect();
    let (kind, text) = refused(rig.run(client.watch(None, Default::default())).unwrap_err());
    assert_eq!(kind, RefusalKind::Limit);
    assert!(text.contains("128 streams of this kind are open already"), "{text}");
    let mut snapshot = rig.run(client.snapshot(Default::default())).unwrap();
    assert!(rig.run(snapshot.message()).unwrap().is_some());
}

#[test]
fn a_snapshot_is_all_of_one_revision_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit((1..=1_000).rev().map(add).collect());
    let members: Vec<u16> = (1..=1_000).rev().collect();
    let domains = Batch::new((1..=500).rev().map(|vni| set(vni, &members)).collect());
    rig.run(rig.client().commit_stream(domains)).unwrap();
    let mut stream = rig.run(rig.client().snapshot(Default::default())).unwrap();
    let (mut parts, mut teps, mut domains) = (0, Vec::new(), Vec::new());
    while let Some(part) = rig.run(stream.message()).unwrap() {
        assert_eq!(part.revision, (parts == 0).then_some(2));
        parts += 1;
        teps.extend(part.teps);
        domains.extend(part.domains);
    }
    assert!(parts > 2, "two megabytes of members come in several parts");
    assert_eq!(
        teps.iter().map(|t| text(&t.address)).collect::<Vec<_>>(),
        (1..=1_000).map(|n| address(n).to_string()).collect::<Vec<_>>()
    );
    assert_eq!(domains.iter().map(|d| d.vni).collect::<Vec<_>>(), (1..=500).collect::<Vec<_>>());
    let ascending: Vec<u8> = (1..=1_000).flat_map(|n| address(n).octets()).collect();
    assert!(domains.iter().all(|domain| domain.members.as_ref().unwrap().ipv4 == ascending));
}

#[test]
fn the_queries_tell_what_is_there_and_what_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let create = Change::domain(5001.into(), Some("vpc-a".parse().unwrap()));
    rig.commit(vec![add_named(2, "hv2"), add(1), create, join(5001, &[2, 1])]);
    let mut client = rig.client();
    let domain = rig.run(client.domain(5001.into())).unwrap();
    assert_eq!((domain.vni, domain.name.as_deref()), (5001, Some("vpc-a")));
    assert_eq!(domain.members.unwrap().ipv4, [198, 18, 0, 1, 198, 18, 0, 2]);
    let tep = rig.run(client.tep(named("hv2"))).unwrap();
    assert_eq!(
        tep.tep,
        Some(proto::Tep { address: vec![198, 18, 0, 2], name: Some("hv2".into()), ..Default::default() })
    );
    assert_eq!(
        (tep.domains, tep.next_hop, tep.mac),
        (1, Some(vec![198, 18, 0, 254]), Some(vec![2, 0, 0, 0, 0, 0xfe]))
    );
    assert_eq!((tep.since_unix_ms, tep.drops.len(), tep.icmp_errors[0].value), (1234, 1, 2));
    assert_eq!(tep.frame_drops, [proto::Counter { name: "tep_rate".into(), value: 2 }]);
    let stats = rig.run(client.stats()).unwrap();
    assert_eq!(stats.address_conflict.as_ref().unwrap().mac, [2, 0, 0, 0, 0, 0x99]);
    let counter = |name: &str| stats.counters.iter().find(|c| c.name == name).map(|c| c.value);
    assert_eq!(stats.revision, 1);
    assert_eq!(
        (counter("bcast_domains"), counter("bcast_teps"), counter("bcast_members")),
        (Some(1), Some(2), Some(2))
    );
    assert_eq!(counter("bcast_punted_total"), Some(7));
    assert_eq!(rig.run(client.version()).unwrap().version, "0.1.0");
    let kind = |error| refused(error).0;
    assert_eq!(kind(rig.run(client.domain(1.into())).unwrap_err()), RefusalKind::NotFound);
    assert_eq!(kind(rig.run(client.domain_stats(1.into())).unwrap_err()), RefusalKind::NotFound);
    assert_eq!(kind(rig.run(client.tep(named("hv9"))).unwrap_err()), RefusalKind::NotFound);
    assert_eq!(kind(rig.run(client.tep(by(9))).unwrap_err()), RefusalKind::NotFound);
}

#[test]
fn a_domains_counters_start_at_its_creation_though_its_number_was_used_before() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![create(1)]);
    // All numbers that this test can come to have counted something.
    rig.node.frames.lock().unwrap().extend((0..4).map(|number| (number, 100)));
    let frames = |vni: u32| rig.run(rig.client().domain_stats(vni.into())).unwrap().frames;
    assert_eq!(frames(1), 100);
    rig.commit(vec![create(2)]);
    assert_eq!(frames(2), 0);
    rig.node.frames.lock().unwrap().extend((0..4).map(|number| (number, 107)));
    assert_eq!((frames(1), frames(2)), (107, 7));
    rig.commit(vec![set(2, &[])]);
    assert_eq!(frames(2), 7, "other members do not start them anew");
    let stats = rig.run(rig.client().domain_stats(2.into())).unwrap();
    assert_eq!(
        stats.frame_drops,
        [proto::Counter { name: "inner_unicast".into(), value: 7 }],
        "and so do its drops"
    );
    assert_eq!(stats.copy_drops, [], "of reasons without any none is told");
}

#[test]
fn offenders_are_listed_with_the_names_of_teps_and_an_unknown_reason_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add(1), add_named(2, "hv2")]);
    let drops = |reason: Option<&'static str>| rig.run(rig.client().drops(reason));
    let all = drops(None).unwrap();
    let of = |sender: &proto::DroppedSender| {
        (sender.reason.clone(), sender.is_tep, sender.tep.clone(), sender.count)
    };
    assert_eq!(
        all.iter().map(of).collect::<Vec<_>>(),
        [
            ("tep_unknown".into(), false, None, 9),
            ("tep_rate".into(), true, Some("hv2".into()), 2),
            ("tep_rate".into(), true, None, 1),
        ]
    );
    let [_, limited, _] = &all[..] else { panic!("{all:?}") };
    assert_eq!((limited.vni, limited.unix_ms), (Some(1), 1234));
    assert_eq!(
        (limited.mac.clone(), limited.destination.clone()),
        (Some(vec![2, 0, 0, 0, 0, 7]), Some(vec![0xff; 6]))
    );
    assert_eq!(drops(Some("tep_rate")).unwrap(), all[1..]);
    assert_eq!(drops(Some("runt")).unwrap(), []);
    let (found, words) = refused(drops(Some("tep_rat")).unwrap_err());
    assert_eq!(
        (found, words.contains("\"tep_rat\" is no reason to drop a frame")),
        (RefusalKind::Invalid, true),
        "{words}"
    );
}
