//! Announcements that domains with sticky ARP inspection refused: told at once, rate-limited, and part of no revision.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bcast_domain::{StrictReason, StrictRefusal, TepIndex};
use common::havip::*;
use common::*;
use ctl_api::model::{RefusalReason, RefusedAnnouncement};
use ctl_api::proto::{self, WatchKind, WatchRequest, watch_event::Kind};
use ctl_server::CommitHook;
use tonic::Streaming;

/// Refusals that a listener was told.
type Heard = Arc<Mutex<Vec<RefusedAnnouncement>>>;

struct Listener(Heard);

impl CommitHook for Listener {
    fn refused(&mut self, refused: &[RefusedAnnouncement]) {
        self.0.lock().unwrap().extend(refused);
    }
}

fn refuse(rig: &Rig, vni: u32, last: u8, reason: StrictReason) {
    refuse_all(rig, &[(vni, last, reason)]);
}

/// Refusals by domain, last byte of the address, and reason; all are there at once.
fn refuse_all(rig: &Rig, all: &[(u32, u8, StrictReason)]) {
    let array = rig.readers.reader().array().clone();
    let index = array.iter().position(|at| *at == Some(tep(1))).unwrap();
    let tep = TepIndex::new(u32::try_from(index).unwrap()).unwrap();
    let refusal = |&(vni, last, reason): &(u32, u8, StrictReason)| StrictRefusal {
        vni: vni.into(),
        address: ip(last),
        mac: mac(9).octets(),
        tep,
        reason,
    };
    rig.node.strict_refused.lock().unwrap().extend(all.iter().map(refusal));
}

/// The next event: its revision, and the refusal that it tells.
fn next(rig: &Rig, watch: &mut Streaming<proto::WatchEvent>) -> (u64, Option<proto::RefusedAnnouncement>) {
    let next = async { tokio::time::timeout(Duration::from_secs(60), watch.message()).await };
    let event = rig.run(next).expect("an event comes").unwrap().expect("a watch does not end");
    match event.kind.unwrap() {
        Kind::AnnouncementRefused(refused) => (event.revision, Some(refused)),
        _ => (event.revision, None),
    }
}

#[test]
fn a_refusal_of_a_sticky_domain_is_an_event_of_a_watch_and_makes_no_revision() {
    let folder = tempfile::tempdir().unwrap();
    let heard = Heard::default();
    let rig = Rig::listening(folder.path(), vec![Box::new(Listener(Arc::clone(&heard)))]);
    rig.commit(vec![add(1), set(5001, &[1]), set(5002, &[1])]);
    let made = rig.commit(vec![inspect(5001, true), inspect(5002, true)]).revision;
    let of = |kinds: &[WatchKind], vnis: &[u32]| WatchRequest {
        kinds: kinds.iter().map(|&kind| kind.into()).collect(),
        vnis: vnis.to_vec(),
        ..Default::default()
    };
    let open = |filter| rig.run(rig.client().watch(None, filter)).unwrap();
    let [mut all, mut other_domain, mut other_kind] =
        [of(&[], &[]), of(&[WatchKind::RefusedAnnouncements], &[5002]), of(&[WatchKind::Domains], &[])]
            .map(open);
    refuse(&rig, 5001, 7, StrictReason::OtherOwner);
    let (revision, refused) = next(&rig, &mut all);
    let refused = refused.expect("a refusal");
    assert_eq!((revision, refused.vni, refused.count), (made, 5001, 1));
    assert_eq!(
        (text(&refused.address), text(&refused.tep)),
        ("10.0.0.7".to_owned(), "198.18.0.1".to_owned())
    );
    assert_eq!(refused.mac, mac(9).octets());
    assert_eq!(refused.reason(), proto::RefusalReason::OtherOwner);
    assert!(refused.unix_ms.abs_diff(now_ms()) < 600_000 && !refused.several_addresses);

    // More of the same wait for the minute, and are counted; another address or reason is told at once.
    (0..5).for_each(|_| refuse(&rig, 5001, 7, StrictReason::OtherOwner));
    refuse(&rig, 5001, 8, StrictReason::OtherOwner);
    refuse(&rig, 5001, 7, StrictReason::OutsideSubnets);
    let mut two = [next(&rig, &mut all).1.unwrap(), next(&rig, &mut all).1.unwrap()];
    two.sort_by_key(|refused| refused.reason);
    assert_eq!(
        two.each_ref().map(|refused| (text(&refused.address), refused.count)),
        [("10.0.0.8".to_owned(), 1), ("10.0.0.7".to_owned(), 1)]
    );
    rig.node.now_ns.fetch_add(60 * SECOND, Ordering::Relaxed);
    let (_, refused) = next(&rig, &mut all);
    let refused = refused.unwrap();
    assert_eq!((text(&refused.address), refused.count), ("10.0.0.7".to_owned(), 5));
    assert_eq!(rig.server().revision().get(), made, "nothing was committed");

    // It stands between the revisions, and a filter lets through what it names.
    assert_eq!(rig.commit(vec![add(2)]).revision, made + 1);
    assert_eq!([(); 2].map(|()| next(&rig, &mut all).0), [made + 1; 2]);
    refuse(&rig, 5002, 7, StrictReason::GatewayMac);
    let (revision, refused) = next(&rig, &mut all);
    assert_eq!((revision, refused.map(|refused| refused.vni)), (made + 1, Some(5002)));
    assert_eq!(next(&rig, &mut other_domain), (made + 1, None), "of other domains it tells commits alone");
    let (_, refused) = next(&rig, &mut other_domain);
    assert_eq!(refused.map(|refused| refused.reason()), Some(proto::RefusalReason::GatewayMac));
    rig.commit(vec![create(5003)]);
    let kinds: Vec<_> = (0..3).map(|_| next(&rig, &mut other_kind)).collect();
    assert_eq!(kinds, [(made + 1, None), (made + 2, None), (made + 2, None)]);

    // Whoever listens is told the same.
    let told: Vec<_> =
        heard.lock().unwrap().iter().map(|one| (one.vni.get(), one.reason, one.count)).collect();
    assert_eq!(told.len(), 5);
    assert_eq!(told[0], (5001, RefusalReason::OtherOwner, 1));
    assert_eq!(told[4], (5002, RefusalReason::GatewayMac, 1));
}

/// One who forges addresses without end fills no memory, and hides no other domain's refusal.
#[test]
fn refusals_of_many_addresses_are_told_together_and_hide_no_other_domains() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add(1), set(5001, &[1]), set(5002, &[1])]);
    rig.commit(vec![inspect(5001, true), inspect(5002, true)]);
    let mut watch = rig.run(rig.client().watch(None, WatchRequest::default())).unwrap();
    let forged = (0..=255).map(|last| (5001, last, StrictReason::OtherOwner));
    refuse_all(&rig, &forged.chain([(5002, 1, StrictReason::OtherOwner)]).collect::<Vec<_>>());
    let (mut single, mut together, mut other) = (BTreeSet::new(), 0, 0);
    for _ in 0..66 {
        let refused = next(&rig, &mut watch).1.expect("a refusal");
        match (refused.vni, refused.several_addresses) {
            (5001, true) => together += refused.count,
            (5001, false) => assert!(single.insert(refused.address), "an address twice in a minute"),
            _ => other += refused.count,
        }
    }
    assert_eq!((single.len(), together, other), (64, 192, 1));
}
