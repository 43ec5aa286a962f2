//! Alarms about forged announcements: told at once, part of no revision, and in nobody's way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bcast_domain::{RejectReason, Rejected, VlanTags};
use common::failing::failing;
use common::havip::*;
use common::*;
use ctl_api::model::{Existing, HavipEvent, HavipEventKind, HavipFields, Place, Revision, SetResource};
use ctl_api::proto::watch_event::Kind;
use ctl_server::CommitHook;
use ctl_store::EmbeddedStore;

/// Nanoseconds after which a HAVIP tells of the next forgery.
const NEXT_NS: u64 = 11_000_000_000;

/// Generations that a listener was told.
type Alarmed = Arc<Mutex<Vec<u64>>>;

struct Listener(Alarmed);

impl CommitHook for Listener {
    fn alarmed(&mut self, alarms: &[HavipEvent]) {
        self.0.lock().unwrap().extend(alarms.iter().map(|alarm| alarm.generation));
    }
}

fn prepare(rig: &Rig) -> u64 {
    rig.commit(vec![add(1), add(2), set(5001, &[1, 2])]);
    rig.commit(vec![create_havip("web", 5001, 100), attach("web", "vm1", 1, &[1])]).revision
}

/// One that is attached nowhere claims the address.
fn forge(rig: &Rig) {
    let at_ns = rig.node.now_ns.fetch_add(NEXT_NS, Ordering::Relaxed) + NEXT_NS;
    let (vip, tep) = (rig.vip(5001), rig.announcers(5001)[0].tep);
    let (mac, reason) = (mac(9).octets(), RejectReason::Unattached);
    let refused = Rejected { vip, mac, bound: mac, tep, reason, claims: true, tags: VlanTags::NONE, at_ns };
    rig.node.refused.lock().unwrap().push_back(refused);
}

fn alarms(rig: &Rig) -> Vec<u64> {
    let spoofs = rig.history("web").into_iter().filter(|event| event.kind == HavipEventKind::Spoof);
    spoofs.map(|event| event.generation).collect()
}

/// The next message of a watch: its revision, and whether it is an alarm.
fn next(rig: &Rig, watch: &mut tonic::Streaming<ctl_api::proto::WatchEvent>) -> (u64, &'static str) {
    let next = async { tokio::time::timeout(Duration::from_secs(60), watch.message()).await };
    let event = rig.run(next).expect("an event comes").unwrap().expect("a watch does not end");
    let kind = match event.kind.unwrap() {
        Kind::HavipEvent(alarm) => {
            assert_eq!(alarm.generation, event.revision);
            assert_eq!(HavipEventKind::Spoof as i32 >= 0, alarm.offender.is_some());
            "alarm"
        }
        Kind::Committed(_) => "committed",
        _ => "change",
    };
    (event.revision, kind)
}

#[test]
fn fragments_that_could_name_any_guarded_havip_of_their_domain_and_family_are_an_alarm_of_each_and_no_revision()
 {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let (subnet, address) = ("fd00::/64".parse().unwrap(), "fd00::1".parse().unwrap());
    let six = Place { vni: 5001.into(), subnet, address };
    let fields = HavipFields { place: Some(six), ..HavipFields::default() };
    rig.commit(vec![add(1), add(2), set(5001, &[1, 2]), set(5002, &[1])]);
    rig.commit(vec![
        create_havip("one", 5001, 100),
        create_havip("two", 5001, 101),
        create_havip("nobody", 5001, 102),
        SetResource::Havip(name("six"), fields).set_if(Existing::Same),
        create_havip("elsewhere", 5002, 100),
    ]);
    let attached = ["one", "two", "six", "elsewhere"].map(|havip| attach(havip, "vm1", 1, &[1]));
    let made = rig.commit(attached.to_vec()).revision;
    let vip = rig.vips(5001).iter().find(|vip| vip.address == ip(100)).unwrap().id;
    let cut = |any| {
        let at_ns = rig.node.now_ns.fetch_add(NEXT_NS, Ordering::Relaxed) + NEXT_NS;
        let (mac, tep, reason) = (mac(9).octets(), rig.announcers(5001)[0].tep, RejectReason::Cut { any });
        Rejected { vip, mac, bound: mac, tep, reason, claims: false, tags: VlanTags::NONE, at_ns }
    };
    let refuse = |refused: Vec<Rejected>| rig.node.refused.lock().unwrap().extend(refused);
    let counts = |havip| -> Vec<u64> {
        rig.history(havip).iter().filter_map(|event| event.offender.map(|offender| offender.count)).collect()
    };
    refuse(vec![cut(false)]);
    until("told", || counts("one") == [1]);
    let any = cut(true);
    refuse(vec![any; 5]);
    until("told of both", || [counts("one"), counts("two")].concat().iter().sum::<u64>() == 11);
    for havip in ["nobody", "six", "elsewhere"] {
        assert_eq!(counts(havip), [0; 0], "{havip}");
    }
    assert_eq!(rig.server().revision().get(), made, "nothing was committed");
    assert!(rig.history("two").pop().unwrap().detail.contains("first fragment"));
}

#[test]
fn an_alarm_makes_no_revision_and_is_told_in_order_with_those_that_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let alarmed = Alarmed::default();
    let mut rig = Rig::listening(folder.path(), vec![Box::new(Listener(Arc::clone(&alarmed)))]);
    let made = prepare(&rig);
    let mut watch = rig.run(rig.client().watch(Some(Revision::new(made)), Default::default())).unwrap();
    while next(&rig, &mut watch) != (made, "committed") {}
    for count in 1..=3 {
        forge(&rig);
        until("in the history", || alarms(&rig).len() == count);
        assert_eq!(next(&rig, &mut watch), (made, "alarm"));
    }
    assert_eq!(rig.server().revision().get(), made, "nothing was committed");
    assert_eq!(rig.commit(vec![add(7)]).revision, made + 1);
    assert_eq!([(); 2].map(|()| next(&rig, &mut watch)), [(made + 1, "change"), (made + 1, "committed")]);
    forge(&rig);
    until("in the history", || alarms(&rig).len() == 4);
    assert_eq!(rig.commit(vec![add(8)]).revision, made + 2);
    assert_eq!(
        [(); 3].map(|()| next(&rig, &mut watch)),
        [(made + 1, "alarm"), (made + 2, "change"), (made + 2, "committed")]
    );
    assert_eq!(alarms(&rig), [made, made, made, made + 1]);
    assert_eq!(*alarmed.lock().unwrap(), alarms(&rig), "whoever listens is told, too");
    // One that resumes gets the revisions, and no alarm of before.
    let mut resumed = rig.run(rig.client().watch(Some(Revision::new(made + 1)), Default::default())).unwrap();
    let seen: Vec<_> = (0..4).map(|_| next(&rig, &mut resumed)).collect();
    assert!(seen.iter().all(|(_, kind)| *kind != "alarm"), "{seen:?}");
    // The newest ten are kept, until the HAVIP or the daemon goes.
    for count in 5..=12 {
        forge(&rig);
        until("told", || alarmed.lock().unwrap().len() == count);
    }
    assert_eq!(alarms(&rig).len(), 10);
    rig.commit(vec![remove_havip("web")]);
    rig.commit(vec![create_havip("web", 5001, 100), attach("web", "vm1", 1, &[1])]);
    assert!(rig.history("web").is_empty());
    forge(&rig);
    until("told", || alarmed.lock().unwrap().len() == 13);
    drop((watch, resumed));
    rig.stop();
    drop(rig);
    assert!(alarms(&Rig::new(folder.path())).is_empty());
}

#[test]
fn an_alarm_is_told_though_the_store_takes_nothing_and_keeps_no_change_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&folder.path().join("domains.redb")).unwrap();
    let fails = Arc::new(AtomicBool::new(false));
    let rig = Rig::with_store(folder.path(), failing(store, &fails, false));
    let made = prepare(&rig);
    fails.store(true, Ordering::Relaxed);
    forge(&rig);
    until("told", || alarms(&rig) == [made]);
    assert!(rig.server().store_takes_changes().is_ok(), "it was not even asked");
    fails.store(false, Ordering::Relaxed);
    assert_eq!(rig.commit(vec![add(7)]).revision, made + 1);
}

#[test]
fn every_event_of_a_watch_has_its_time_alarms_and_a_state_that_is_sent_anew_too() {
    let folder = tempfile::tempdir().unwrap();
    let begun = unix_ms();
    let rig = Rig::new(folder.path());
    let made = prepare(&rig);
    let next = |watch: &mut tonic::Streaming<ctl_api::proto::WatchEvent>| {
        let next = async { tokio::time::timeout(Duration::from_secs(60), watch.message()).await };
        rig.run(next).expect("an event comes").unwrap().expect("a watch does not end")
    };
    // From the log, and then from a revision that this node never was at: the whole state.
    for from in [made, made + 1_000] {
        let mut watch = rig.run(rig.client().watch(Some(Revision::new(from)), Default::default())).unwrap();
        loop {
            let event = next(&mut watch);
            assert!((begun..=unix_ms()).contains(&event.unix_ms), "{event:?}");
            if let Some(Kind::Committed(commit)) = event.kind {
                assert_eq!(commit.unix_ms, event.unix_ms);
                break;
            }
        }
        forge(&rig);
        let event = next(&mut watch);
        match event.kind {
            Some(Kind::HavipEvent(alarm)) => assert_eq!(alarm.unix_ms, event.unix_ms),
            other => panic!("no alarm: {other:?}"),
        }
    }
}

fn unix_ms() -> u64 {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    now.as_millis().try_into().unwrap()
}
