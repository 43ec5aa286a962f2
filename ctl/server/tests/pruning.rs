//! Prunes and other changes that expect a revision, while HAVIPs move all the time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bcast_domain::{RejectReason, Rejected, VlanTags};
use common::havip::*;
use common::*;
use ctl_api::model::{Batch, Conditions, DomainFields, Revision, SetResource, TepFields};
use ctl_api::proto;
use ctl_store::EmbeddedStore;

/// The instance that does not hold it claims it.
fn claim_by_other(rig: &Rig) {
    let holder = rig.havip("web").binding.holder.map(|holder| holder.mac.octets()[5]);
    let other = if holder == Some(1) { 2 } else { 1 };
    let at_ns = rig.node.now_ns.fetch_add(1_000, Ordering::Relaxed) + 1_000;
    let announcer = rig.announcer(5001, other, other.into());
    rig.node.board.note(rig.vip(5001), announcer, CLAIM, VlanTags::NONE, at_ns);
}

/// An expected revision is one of the configuration: a tenant whose HAVIP moves all the time, and who forges
/// another's, refuses nobody's compare and set. Each of fifty prunes is made at its first try, whatever the board shows.
#[test]
fn a_tenant_that_flaps_and_forges_at_full_rate_delays_no_prune_that_expects_a_revision() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&folder.path().join("domains.redb")).unwrap();
    let mut rig = Rig::start(folder.path(), store, |config| {
        config.damping = ctl_havip::Damping::of_seconds(u32::MAX, 1, 1, 1, 3);
    });
    prepare(&rig);
    let (vip, announcers) = (rig.vip(5001), [rig.announcer(5001, 1, 1), rig.announcer(5001, 2, 2)]);
    let refused = Rejected {
        vip,
        mac: mac(3).octets(),
        bound: mac(3).octets(),
        tep: rig.announcers(5001)[0].tep,
        reason: RejectReason::Unattached,
        claims: true,
        tags: VlanTags::NONE,
        at_ns: 0,
    };
    let (node, stop) = (Arc::clone(&rig.node), Arc::new(AtomicBool::new(false)));
    let stops = Arc::clone(&stop);
    let tenant = std::thread::spawn(move || {
        while !stops.load(Ordering::Relaxed) {
            for announcer in announcers {
                let at_ns = node.now_ns.fetch_add(SECOND, Ordering::Relaxed) + SECOND;
                node.refused.lock().unwrap().push_back(Rejected { at_ns, ..refused });
                node.board.note(vip, announcer, CLAIM, VlanTags::NONE, at_ns);
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
    let moved_on = |rig: &Rig, from: u64| {
        until("revisions by moves", || rig.server().revision().get() > from + 3);
    };
    for last in 10..60 {
        // What an operator read, and prunes by a while later.
        let seen = rig.server().revision().get();
        moved_on(&rig, seen);
        let havip = rig.havip("web").havip;
        let desired = [
            SetResource::Tep(by(1), TepFields::default()),
            SetResource::Tep(by(2), TepFields::default()),
            SetResource::Tep(by(3), TepFields::default()),
            SetResource::Tep(by(last), TepFields::default()),
            SetResource::Domain(
                5001.into(),
                DomainFields { members: Some(teps(&[1, 2, 3])), ..Default::default() },
            ),
            SetResource::Havip(havip.name.clone(), havip.into()),
        ];
        let options = |expected_revision| proto::ApplyOptions {
            prune: true,
            expected_revision: Some(expected_revision),
            ..Default::default()
        };
        let applied =
            rig.run(rig.client().apply(options(seen), desired.clone().into_iter(), |_| {})).unwrap();
        let made = applied.1.reply.unwrap().revision;
        assert!(made > seen + 3, "at the first try");
        // Another change since then is what counts, and a revision that is not there yet.
        moved_on(&rig, made);
        for wrong in [seen, made - 1, u64::MAX >> 12] {
            let error =
                rig.run(rig.client().apply(options(wrong), desired.clone().into_iter(), |_| {})).unwrap_err();
            assert_eq!(refused_as(error), ctl_api::client::RefusalKind::Conflict, "{wrong} of {made}");
        }
    }
    stop.store(true, Ordering::Relaxed);
    tenant.join().unwrap();
    // It is known after a restart.
    let last = rig.server().revision();
    let configured = rig.commit(vec![add(20)]).revision;
    assert!(configured > last.get());
    claim_by_other(&rig);
    until("a move", || rig.server().revision().get() > configured);
    rig.stop();
    drop(rig);
    let rig = Rig::new(folder.path());
    let expects = |expected: u64, last| {
        let conditions = Conditions { expected: Some(Revision::new(expected)), ..Default::default() };
        rig.try_commit(Batch { changes: vec![add(last)], conditions })
    };
    assert_eq!(expects(configured - 1, 21).unwrap_err().0, ctl_api::client::RefusalKind::Conflict);
    assert!(expects(configured, 21).is_ok());
}

fn refused_as(error: ctl_api::ClientError) -> ctl_api::client::RefusalKind {
    match error {
        ctl_api::ClientError::Refused { kind, .. } => kind,
        other => panic!("{other}"),
    }
}
