//! HAVIPs that move by what workers heard: committed like any change, told, announced, and bounded.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bcast_domain::{AnnouncementKind, RejectReason, Rejected, VlanTags, Vni};
use common::failing::failing;
use common::havip::*;
use common::*;
use ctl_api::model::{Batch, Existing, Field, HavipEventKind, HavipFields, HavipState, SetResource, Why};
use ctl_api::proto;
use ctl_node::Holding;
use ctl_server::{CommitHook, Reporter};
use ctl_store::{EmbeddedStore, Record};

fn rig(folder: &std::path::Path) -> Rig {
    let rig = Rig::new(folder);
    prepare(&rig);
    rig
}

/// Moves the node's clock on; returns the time.
fn pass(rig: &Rig, ns: u64) -> u64 {
    rig.node.now_ns.fetch_add(ns, Ordering::Relaxed) + ns
}

fn say(rig: &Rig, who: u8, what: AnnouncementKind) {
    let at_ns = pass(rig, 1_000);
    rig.node.board.note(rig.vip(5001), rig.announcer(5001, who, who.into()), what, VlanTags::NONE, at_ns);
}

fn refuse(rig: &Rig, who: u8, reason: RejectReason, claims: bool) {
    refuse_tagged(rig, who, reason, claims, VlanTags::NONE);
}

fn refuse_tagged(rig: &Rig, who: u8, reason: RejectReason, claims: bool, tags: VlanTags) {
    let at_ns = pass(rig, 1_000);
    let array = rig.readers.reader().array().clone();
    let index = array.iter().position(|at| *at == Some(tep(who.into()))).unwrap();
    let tep = bcast_domain::TepIndex::new(u32::try_from(index).unwrap()).unwrap();
    let mac = mac(who).octets();
    let refused = Rejected { vip: rig.vip(5001), mac, bound: mac, tep, reason, claims, tags, at_ns };
    rig.node.refused.lock().unwrap().push_back(refused);
}

/// Holder: the last byte of the MAC.
fn holder(rig: &Rig) -> Option<u8> {
    rig.havip("web").binding.holder.map(|holder| holder.mac.octets()[5])
}

fn until_held(rig: &Rig, who: Option<u8>) {
    until("held by that one", || holder(rig) == who);
}

fn kinds(rig: &Rig) -> Vec<&'static str> {
    rig.history("web").iter().map(|event| event.kind.as_str()).collect()
}

#[test]
fn what_is_heard_moves_it_durably_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = rig(folder.path());
    say(&rig, 1, AnnouncementKind::Use);
    until_held(&rig, Some(1));
    say(&rig, 2, CLAIM);
    until_held(&rig, Some(2));
    let entry = rig.havip("web");
    let binding = &entry.binding;
    assert_eq!((binding.state, binding.why, binding.moves), (HavipState::Bound, Some(Why::Garp), 1));
    assert_eq!(binding.previous.as_ref().map(|holder| holder.mac), Some(mac(1)));
    assert_eq!(binding.generation, rig.server().revision().get(), "a move is a revision");
    let history = rig.history("web");
    let told: Vec<_> = history.iter().map(|event| (event.kind, event.why)).collect();
    assert_eq!(
        told,
        [(HavipEventKind::Bound, Some(Why::Arp)), (HavipEventKind::Moved, Some(Why::Garp))],
        "and its history"
    );
    assert!(history[0].generation < history[1].generation);
    assert_eq!(*rig.node.announced.lock().unwrap(), [], "the claim itself went to all");
    rig.stop();
    drop(rig);
    let rig = Rig::new(folder.path());
    assert_eq!(rig.havip("web"), entry, "the holder keeps it over a restart");
    say(&rig, 1, CLAIM);
    until_held(&rig, Some(1));
    assert_eq!(rig.havip("web").binding.moves, 2);
}

#[test]
fn a_claim_that_came_before_its_sender_was_attached_is_replayed_and_announced() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path());
    say(&rig, 1, CLAIM);
    until_held(&rig, Some(1));
    refuse(&rig, 3, RejectReason::Unattached, true);
    until("told", || kinds(&rig).contains(&"spoof"));
    assert_eq!(holder(&rig), Some(1));
    let spoof = rig.history("web").pop().unwrap();
    assert_eq!(
        spoof.offender.map(|offender| (offender.mac, offender.tep, offender.count)),
        Some((mac(3).octets(), tep(3), 1))
    );
    rig.commit(vec![attach("web", "vm3", 3, &[3])]);
    until_held(&rig, Some(3));
    assert_eq!(rig.havip("web").binding.why, Some(Why::Replay));
    until("announced", || !rig.node.announced.lock().unwrap().is_empty());
    let (vni, address, tep) = (Vni::from(5001), ip(100), tep(3));
    let expected = Holding { vni, address, mac: mac(3).octets(), tep, tags: VlanTags::NONE };
    assert_eq!(*rig.node.announced.lock().unwrap(), [expected]);
}

#[test]
fn another_that_uses_the_address_of_a_silent_holder_takes_it_over_and_the_reason_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path());
    say(&rig, 1, CLAIM);
    until_held(&rig, Some(1));
    // The node's clock stands still: a moment later the holder is not silent yet.
    say(&rig, 2, AnnouncementKind::Use);
    say(&rig, 1, AnnouncementKind::Use);
    pass(&rig, 4 * SECOND);
    say(&rig, 2, AnnouncementKind::Use);
    until_held(&rig, Some(2));
    let binding = rig.havip("web").binding;
    assert_eq!((binding.why, binding.moves), (Some(Why::TakenOver), 1));
    let told = rig.history("web").pop().unwrap();
    assert_eq!((told.kind, told.why), (HavipEventKind::Moved, Some(Why::TakenOver)));
    until("announced", || !rig.node.announced.lock().unwrap().is_empty());
}

#[test]
fn what_is_announced_after_a_restart_or_a_migration_has_the_vlan_tags_of_the_holders_claim() {
    let tags = VlanTags::NONE.with(0x8100, 10);
    let folder = tempfile::tempdir().unwrap();
    let mut rig = rig(folder.path());
    rig.node.board.note(rig.vip(5001), rig.announcer(5001, 1, 1), CLAIM, tags, pass(&rig, 1_000));
    until_held(&rig, Some(1));
    assert_eq!(rig.havip("web").binding.tags, Some(tags));
    let fields = HavipFields { refresh_s: Field::Value(1), ..HavipFields::default() };
    rig.commit(vec![SetResource::Havip(name("web"), fields).set_if(Existing::Required)]);
    rig.stop();
    drop(rig);

    let rig = Rig::new(folder.path());
    // Its adverts and whatever else it says go through no VLAN.
    let heard = |rig: &Rig, at: u8, what| {
        let (vip, announcer) = (rig.vip(5001), rig.announcer(5001, 1, at.into()));
        rig.node.board.note(vip, announcer, what, VlanTags::NONE, pass(rig, SECOND / 10));
    };
    let until_announced = |rig: &Rig, at: u8| {
        rig.node.announced.lock().unwrap().clear();
        let advert = AnnouncementKind::Advert { interval_cs: 100, priority: 100 };
        until("announced", || {
            heard(rig, at, advert);
            let announced = rig.node.announced.lock().unwrap();
            announced.last().is_some_and(|holding| holding.tep == tep(at.into()))
        });
        let announced = rig.node.announced.lock().unwrap();
        assert!(announced.iter().all(|holding| holding.tags == tags), "{announced:?}");
    };
    until_announced(&rig, 1);
    // It migrates: reverse ARP from its new TEP, then an attachment to that one alone.
    rig.commit(vec![attach("web", "vm1", 1, &[1, 3])]);
    heard(&rig, 3, AnnouncementKind::Arrival);
    until("moved", || rig.havip("web").binding.holder.is_some_and(|holder| holder.tep == tep(3)));
    until_announced(&rig, 3);
    rig.commit(vec![attach("web", "vm1", 1, &[3])]);
    until_announced(&rig, 3);
    assert_eq!(rig.havip("web").binding.tags, Some(tags));
    rig.commit(vec![detach("web", "vm1")]);
    assert_eq!(rig.havip("web").binding.tags, None, "nobody holds it");
}

#[test]
fn a_change_of_vlan_is_stored_and_is_no_change_of_the_binding_or_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path());
    let (vip, vm1) = (rig.vip(5001), rig.announcer(5001, 1, 1));
    rig.node.board.note(vip, vm1, CLAIM, VlanTags::NONE, pass(&rig, 1_000));
    until_held(&rig, Some(1));
    let (before, events) = (rig.havip("web"), kinds(&rig));
    let expected = rig.server().revision();
    let tags = VlanTags::NONE.with(0x88a8, 7).with(0x8100, 10);
    rig.node.board.note(vip, vm1, AnnouncementKind::Use, tags, pass(&rig, 11 * SECOND));
    until("stored", || rig.havip("web").binding.tags == Some(tags));
    let mut after = rig.havip("web");
    after.binding.tags = before.binding.tags;
    assert_eq!((after, kinds(&rig)), (before, events));
    let mut batch = Batch::new(vec![attach("web", "vm3", 3, &[3])]);
    batch.conditions.expected = Some(expected);
    assert!(rig.run(rig.client().commit(batch)).is_ok());
}

/// A claim or another announcement that was refused, and replayed once its sender was attached, reached nobody: what the node
/// then announces goes to the VLAN of the refused frame, until the holder itself announces the address in another.
#[test]
fn what_is_announced_after_a_replay_has_the_vlan_tags_of_the_refused_frame() {
    let tags = |vlan| VlanTags::NONE.with(0x8100, vlan);
    for (reason, claims) in [(RejectReason::Unattached, true), (RejectReason::Unattached, false)] {
        let folder = tempfile::tempdir().unwrap();
        let rig = rig(folder.path());
        refuse_tagged(&rig, 3, reason, claims, tags(10));
        until("told", || kinds(&rig).contains(&"spoof"));
        rig.commit(vec![attach("web", "vm3", 3, &[3])]);
        until_held(&rig, Some(3));
        let announced = || rig.node.announced.lock().unwrap().last().copied();
        until("announced", || announced().is_some_and(|holding| holding.tags == tags(10)));
        // With `--refresh` the node announces it again and again.
        let fields = HavipFields { refresh_s: Field::Value(1), ..HavipFields::default() };
        rig.commit(vec![SetResource::Havip(name("web"), fields).set_if(Existing::Required)]);
        let (vip, vm3) = (rig.vip(5001), rig.announcer(5001, 3, 3));
        rig.node.board.note(vip, vm3, AnnouncementKind::Use, tags(20), pass(&rig, 1_000));
        until("announced in the VLAN of now", || {
            pass(&rig, SECOND / 10);
            announced().is_some_and(|holding| holding.tags == tags(20))
        });
    }
}

#[test]
fn a_claim_that_workers_refused_while_its_sender_was_being_attached_is_replayed_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path());
    say(&rig, 1, CLAIM);
    until_held(&rig, Some(1));
    rig.commit(vec![attach("web", "vm3", 3, &[3])]);
    // By the guard of before; the control side finds it in the queue only now.
    refuse(&rig, 3, RejectReason::Unattached, true);
    until_held(&rig, Some(3));
    assert_eq!(rig.havip("web").binding.why, Some(Why::Replay));
    until("announced", || !rig.node.announced.lock().unwrap().is_empty());
    // What would be wrong of an attached one, too, moves nothing.
    refuse(&rig, 1, RejectReason::Unsound, true);
    until("told", || {
        rig.history("web").iter().filter(|told| told.kind == HavipEventKind::Spoof).count() == 2
    });
    assert_eq!(holder(&rig), Some(3));
}

#[test]
fn reverse_arp_that_came_before_the_attachment_of_its_tep_moves_the_holder_there_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path());
    say(&rig, 1, CLAIM);
    until_held(&rig, Some(1));
    let array = rig.readers.reader().array().clone();
    let index = array.iter().position(|at| *at == Some(tep(3))).unwrap();
    let from = bcast_domain::TepIndex::new(u32::try_from(index).unwrap()).unwrap();
    let vm1 = mac(1);
    let (mac, reason, at_ns) = (vm1.octets(), RejectReason::Arrival, pass(&rig, 1_000));
    let (vip, tags) = (rig.vip(5001), VlanTags::NONE);
    let arrived = Rejected { vip, mac, bound: mac, tep: from, reason, claims: false, tags, at_ns };
    rig.node.refused.lock().unwrap().push_back(arrived);
    until("taken", || rig.node.refused.lock().unwrap().is_empty());
    let at = || rig.havip("web").binding.holder.map(|holder| holder.tep);
    assert_eq!(at(), Some(tep(1)));
    pass(&rig, 4 * SECOND);
    rig.commit(vec![attach("web", "vm1", 1, &[1, 3])]);
    until("at its new TEP", || at() == Some(tep(3)));
    let binding = rig.havip("web").binding;
    assert_eq!((binding.why, binding.holder.map(|holder| holder.mac)), (Some(Why::Migrated), Some(vm1)));
    assert_eq!(kinds(&rig), ["bound", "moved"], "no alarm is raised");
}

#[test]
fn detaching_its_holder_unbinds_it_and_another_use_binds_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path());
    say(&rig, 1, CLAIM);
    until_held(&rig, Some(1));
    rig.commit(vec![detach("web", "vm1")]);
    assert_eq!(holder(&rig), None);
    say(&rig, 2, AnnouncementKind::Use);
    until_held(&rig, Some(2));
    // A new announcer is not taken for an old one that had its number.
    rig.commit(vec![detach("web", "vm2"), attach("web", "vm4", 4, &[2])]);
    assert_eq!(kinds(&rig), ["bound", "unbound", "bound", "unbound"]);
    pass(&rig, SECOND);
    rig.commit(vec![attach("web", "vm1", 1, &[1])]);
    assert_eq!(holder(&rig), None);
}

#[test]
fn flapping_freezes_it_and_it_is_thawed_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path());
    for n in 0..6_u8 {
        say(&rig, 1 + n % 2, CLAIM);
        until_held(&rig, Some(1 + n % 2));
    }
    say(&rig, 1, CLAIM);
    until("frozen", || rig.havip("web").binding.state == HavipState::Frozen);
    assert_eq!(holder(&rig), Some(2), "it stays where it was");
    let diagnosis = rig.run(rig.client().havip(&name("web"))).unwrap().diagnosis;
    assert!(diagnosis.iter().any(|found| found.text.starts_with("frozen for")), "{diagnosis:?}");
    rig.commit(vec![unfreeze("web")]);
    until_held(&rig, Some(1));
    let binding = rig.havip("web").binding;
    assert_eq!((binding.state, binding.why), (HavipState::Bound, Some(Why::Thawed)));
    let mut expected = vec!["bound"];
    expected.extend(["moved"; 5]);
    expected.extend(["frozen", "thawed", "moved"]);
    assert_eq!(kinds(&rig), expected);
}

#[test]
fn time_alone_thaws_and_refreshes() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path());
    let mut havip = rig.havip("web").havip;
    havip.refresh_s = Some(10);
    rig.commit(vec![set_havip(havip)]);
    for n in 0..7_u8 {
        say(&rig, 1 + n % 2, CLAIM);
        until("heard", || rig.history("web").len() == 1 + usize::from(n));
    }
    // The store has it a moment before it is published.
    until("frozen", || rig.havip("web").binding.state == HavipState::Frozen);
    pass(&rig, 31 * SECOND);
    until_held(&rig, Some(1));
    until("announced once it thawed", || rig.node.announced.lock().unwrap().len() == 1);
    say(&rig, 1, AnnouncementKind::Use);
    pass(&rig, 11 * SECOND);
    until("announced again", || rig.node.announced.lock().unwrap().len() == 2);
    assert_eq!(kinds(&rig)[7..], ["thawed", "moved"]);
}

#[test]
fn it_is_announced_with_the_mac_address_that_its_holder_claimed_it_with() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path());
    let mut havip = rig.havip("web").havip;
    (havip.refresh_s, havip.vrids) = (Some(10), vec![51]);
    rig.commit(vec![set_havip(havip)]);
    let own = mac(1).octets();
    let virtual_mac = [0x00, 0x00, 0x5e, 0x00, 0x01, 51];
    let other = [0x00, 0x00, 0x5e, 0x00, 0x01, 52];
    let carp = [0x00, 0x00, 0x5e, 0x00, 0x02, 51];
    let cases = [(own, own), (virtual_mac, virtual_mac), (other, own), (carp, carp)];
    for (n, (claimed, expected)) in cases.into_iter().enumerate() {
        say(&rig, 1, AnnouncementKind::Claim { mac: claimed });
        until_held(&rig, Some(1));
        pass(&rig, 11 * SECOND);
        until("announced", || rig.node.announced.lock().unwrap().len() > n);
        let announced = rig.node.announced.lock().unwrap()[n].mac;
        assert_eq!(announced, expected, "after a claim with {claimed:x?}");
    }
}

/// Notes what happens, and reports once that there is no route.
struct Router {
    reporter: Reporter,
    seen: Arc<Mutex<Vec<&'static str>>>,
}

impl CommitHook for Router {
    fn committed(&mut self, records: &[Record]) {
        for event in records.iter().flat_map(|record| &record.events) {
            if let ctl_api::model::Event::HavipEvent(event) = event {
                self.seen.lock().unwrap().push(event.kind.as_str());
                if event.kind == HavipEventKind::Bound {
                    assert!(self.reporter.route_unusable(event.havip.clone(), "no next hop".to_owned()));
                }
            }
        }
    }
}

#[test]
fn what_a_listener_reports_is_told_like_everything_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&folder.path().join("domains.redb")).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let rig = Rig::start(folder.path(), store, |config| {
        let reporter = config.reporter();
        config.listeners.push(Box::new(Router { reporter, seen: Arc::clone(&seen) }));
    });
    prepare(&rig);
    say(&rig, 1, CLAIM);
    until("told", || kinds(&rig) == ["bound", "route_unusable"]);
    let event = rig.history("web").pop().unwrap();
    assert_eq!((event.detail.as_str(), event.generation), ("no next hop", rig.server().revision().get()));
    assert_eq!(holder(&rig), Some(1));
    until("heard by itself", || *seen.lock().unwrap() == ["bound", "route_unusable"]);
}

#[test]
fn a_move_that_the_store_does_not_take_is_made_when_it_does_and_told_once() {
    for late in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(&folder.path().join("domains.redb")).unwrap();
        let fails = Arc::new(AtomicBool::new(false));
        let rig = Rig::with_store(folder.path(), failing(store, &fails, late));
        prepare(&rig);
        say(&rig, 1, CLAIM);
        until_held(&rig, Some(1));
        fails.store(true, Ordering::Relaxed);
        let before = rig.havip("web");
        say(&rig, 2, CLAIM);
        refuse(&rig, 3, RejectReason::Advert, false);
        if late {
            until_held(&rig, Some(2));
        } else {
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(rig.havip("web"), before, "what is not durable is not so");
        }
        fails.store(false, Ordering::Relaxed);
        pass(&rig, 2 * SECOND);
        until_held(&rig, Some(2));
        until("told", || kinds(&rig).contains(&"spoof"));
        std::thread::sleep(Duration::from_millis(20));
        let moved = kinds(&rig).iter().filter(|kind| **kind == "moved").count();
        assert_eq!((moved, rig.havip("web").binding.moves), (1, 1), "{:?}", kinds(&rig));
    }
}

#[test]
fn a_move_waits_for_no_more_than_one_group_of_requests() {
    let folder = tempfile::tempdir().unwrap();
    let rig = rig(folder.path());
    // Two of these are a group.
    const CHANGES: u32 = 10_000;
    const BATCHES: u32 = 12;
    let batch = |n: u32| Batch::new((0..CHANGES).map(|vni| create(10_000 + n * CHANGES + vni)).collect());
    let before = rig.server().revision().get();
    let tasks: Vec<_> = (0..BATCHES)
        .map(|n| {
            let (client, batch) = (rig.client(), batch(n));
            rig.runtime.spawn(async move { client.clone().commit(batch).await.map(|_| ()) })
        })
        .collect();
    until("under way", || rig.server().revision().get() > before);
    say(&rig, 1, CLAIM);
    let heard = rig.server().revision().get();
    for task in tasks {
        rig.run(task).unwrap().unwrap();
    }
    until_held(&rig, Some(1));
    let moved = rig.havip("web").binding.generation;
    // The group under way, one more that was taken meanwhile, and itself.
    assert!(moved <= heard + 5, "heard at revision {heard}, moved at {moved}");
}

#[test]
fn ten_thousand_announced_within_a_second_are_all_bound() {
    const DOMAINS: u32 = 200;
    const EACH: u8 = 50;
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add(1), add(2)]);
    for vni in 1..=DOMAINS {
        let mut changes = vec![set(vni, &[1, 2])];
        for n in 1..=EACH {
            let havip = format!("v{vni}-{n}");
            changes.push(create_havip(&havip, vni, n));
            changes.push(attach(&havip, &format!("a{n}"), n, &[1]));
            changes.push(attach(&havip, &format!("b{n}"), n, &[2]));
        }
        rig.commit(changes);
    }
    let vips: Vec<_> = (1..=DOMAINS).flat_map(|vni| rig.vips(vni)).collect();
    assert_eq!(vips.len(), 10_000);
    let begun = Instant::now();
    for vip in &vips {
        rig.node.board.note(vip.id, vip.announcers[0].id, CLAIM, VlanTags::NONE, pass(&rig, 1_000));
        // Evenly over a second.
        if vip.id.get() % 100 == 0 {
            std::thread::sleep(Duration::from_millis(9));
        }
    }
    let announced = begun.elapsed();
    until("all bound", || bound(&rig) == vips.len());
    println!("10,000 announced in {announced:?}, all bound and durable after {:?}", begun.elapsed());
}

fn bound(rig: &Rig) -> usize {
    let mut bound = 0;
    let mut stream = rig.run(rig.client().snapshot(Default::default())).unwrap();
    while let Some(part) = rig.run(stream.message()).unwrap() {
        let is_bound =
            |entry: &&proto::HavipEntry| entry.binding.as_ref().unwrap().state() == proto::HavipState::Bound;
        bound += part.havips.iter().filter(is_bound).count();
    }
    bound
}
