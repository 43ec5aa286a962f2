//! Limits of domains and TEPs: durable, told to the data plane, and shown; limits of HAVIPs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use bcast_domain::{DomainLimit, TepLimit};
use common::havip::*;
use common::*;
use ctl_api::client::RefusalKind;
use ctl_api::model::{Batch, Change};
use ctl_api::proto::{self, watch_event::Kind};
use ctl_server::HavipLimits;

fn reset(vni: u32, limit: DomainLimit) -> Change {
    limit_domain(vni, limit, true)
}

fn reset_tep(last: u16, limit: TepLimit) -> Change {
    limit_tep_by(by(last), limit, true)
}

#[test]
fn rates_that_are_given_replace_those_before_and_a_reset_the_others_too() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(folder.path());
    rig.commit(vec![add_named(1, "hv1"), create(5), create(6)]);
    let all = |copies, bits, control| DomainLimit { copies, bits, control };
    for (change, changed, domain) in [
        (limit(5, DomainLimit::default()), 0, DomainLimit::default()),
        (limit(5, copies(7)), 1, copies(7)),
        (limit(5, copies(7)), 0, copies(7)),
        (limit(5, all(None, rate(8), rate(9))), 1, all(rate(7), rate(8), rate(9))),
        (set(5, &[1]), 1, all(rate(7), rate(8), rate(9))),
        (limit(5, copies(1)), 1, all(rate(1), rate(8), rate(9))),
        (reset(5, all(None, None, rate(2))), 1, all(None, None, rate(2))),
        (reset(5, all(None, None, rate(2))), 0, all(None, None, rate(2))),
        (reset(5, DomainLimit::default()), 1, DomainLimit::default()),
        (limit(5, copies(3)), 1, copies(3)),
    ] {
        let before = rig.server().revision().get();
        let reply = rig.commit(vec![change.clone()]);
        assert_eq!((reply.changed, reply.revision), (changed, before + changed), "{change:?}");
        assert_eq!(rig.domain_limit(5), Some(domain), "{change:?}");
    }
    for (change, changed, tep) in [
        (limit_tep(1, frames(7)), 1, frames(7)),
        (limit_tep(1, frames(7)), 0, frames(7)),
        (limit_tep(1, TepLimit::default()), 0, frames(7)),
        (add_named(1, "hv2"), 1, frames(7)),
        (reset_tep(1, TepLimit::default()), 1, TepLimit::default()),
        (limit_tep_by(named("hv2"), frames(8), true), 1, frames(8)),
    ] {
        assert_eq!(rig.commit(vec![change.clone()]).changed, changed, "{change:?}");
        assert_eq!(rig.tep_limit(1), Some(tep), "{change:?}");
    }
    assert_eq!(rig.domain_limit(6), Some(DomainLimit::default()));
    let (revision, observed) = (rig.server().revision(), [rig.domain_limit(5), rig.domain_limit(6)]);
    rig.stop();
    drop(rig);
    // The data plane refuses to be given what it has: at a start that is each limit of a node's default.
    let rig = Rig::new(folder.path());
    assert_eq!(rig.server().revision(), revision);
    assert_eq!(([rig.domain_limit(5), rig.domain_limit(6)], rig.tep_limit(1)), (observed, Some(frames(8))));
}

#[test]
fn a_limit_for_what_is_not_there_is_refused_and_a_dry_run_sets_none() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add(1), create(5)]);
    for (changes, words) in [
        (
            vec![limit(5, copies(1)), limit(7, copies(1))],
            "change 2: domain 7 does not exist; create it first",
        ),
        (
            vec![limit_tep(1, frames(1)), limit_tep(9, frames(1))],
            "change 2: TEP 198.18.0.9 is not registered",
        ),
    ] {
        let (kind, text) = rig.try_commit(Batch::new(changes)).unwrap_err();
        assert_eq!(kind, RefusalKind::NotFound);
        assert!(text.contains(words), "{text}");
    }
    let batch = Batch::new(vec![limit(5, copies(1)), limit_tep(1, frames(1))]);
    let reply = rig.try_commit(dry_run(batch)).unwrap();
    assert_eq!((reply.changed, reply.revision), (2, 1));
    assert_eq!(
        (rig.domain_limit(5), rig.tep_limit(1)),
        (Some(DomainLimit::default()), Some(TepLimit::default()))
    );
}

#[test]
fn a_limit_goes_with_its_domain_or_tep_also_within_a_batch() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let limited = || vec![add(1), create(5), limit(5, copies(1)), limit_tep(1, frames(1))];
    let gone = || vec![remove_domain(5), remove(1, true)];
    rig.commit(limited());
    rig.commit([gone(), vec![add(1), create(5)]].concat());
    assert_eq!(
        (rig.domain_limit(5), rig.tep_limit(1)),
        (Some(DomainLimit::default()), Some(TepLimit::default()))
    );
    rig.commit(limited());
    rig.commit([gone(), limited()].concat());
    assert_eq!((rig.domain_limit(5), rig.tep_limit(1)), (Some(copies(1)), Some(frames(1))));
    rig.commit(gone());
    rig.commit(vec![add(1), create(5)]);
    let domain = rig.run(rig.client().domain(5.into())).unwrap();
    let tep = rig.run(rig.client().tep(by(1))).unwrap().tep.unwrap();
    assert_eq!((domain.limit, tep.limit), (None, None));
}

#[test]
fn a_domain_or_tep_that_gets_the_place_of_a_limited_one_has_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add(1), create(5), limit(5, copies(1)), limit_tep(1, frames(1))]);
    let number = |vni: u32| rig.readers.reader().lookup(vni.into()).unwrap().domain();
    let index = |last| rig.readers.reader().array().iter().position(|at| *at == Some(tep(last)));
    let (limited, at) = (number(5), index(1));
    rig.commit(vec![remove_domain(5), remove(1, false)]);
    let mut reused = (false, false);
    for next in 10..1_000 {
        rig.commit(vec![create(next.into()), add(next)]);
        assert_eq!(rig.domain_limit(next.into()), Some(DomainLimit::default()));
        assert_eq!(rig.tep_limit(next), Some(TepLimit::default()));
        reused = (reused.0 || number(next.into()) == limited, reused.1 || index(next) == at);
        if reused == (true, true) {
            break;
        }
    }
    assert_eq!(reused, (true, true), "numbers are used again");
    assert!(
        rig.node.domain_limits.lock().unwrap().is_empty() && rig.node.tep_limits.lock().unwrap().is_empty()
    );
}

#[test]
fn limits_are_in_snapshots_watches_and_answers() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add(1), add(2), create(5), create(6)]);
    let mut watch = rig.run(rig.client().watch(None, Default::default())).unwrap();
    rig.commit(vec![limit_tep(2, frames(9)), limit(6, DomainLimit { control: rate(4), ..copies(3) })]);
    let tep = proto::TepRates { frames: Some(9) };
    let domain = proto::DomainRates { copies: Some(3), bits: None, control: Some(4) };
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.push(rig.run(watch.message()).unwrap().unwrap().kind.unwrap());
    }
    assert!(matches!(&seen[0], Kind::TepSet(set) if set.limit == Some(tep)), "{seen:?}");
    assert!(matches!(&seen[1], Kind::DomainSet(set) if set.limit == Some(domain)), "{seen:?}");
    assert!(matches!(&seen[2], Kind::Committed(_)), "{seen:?}");
    let mut parts = rig.run(rig.client().snapshot(Default::default())).unwrap();
    let (mut teps, mut domains) = (Vec::new(), Vec::new());
    while let Some(part) = rig.run(parts.message()).unwrap() {
        teps.extend(part.teps.into_iter().map(|tep| tep.limit));
        domains.extend(part.domains.into_iter().map(|domain| domain.limit));
    }
    assert_eq!((teps, domains), (vec![None, Some(tep)], vec![None, Some(domain)]));
    assert_eq!(rig.run(rig.client().domain(6.into())).unwrap().limit, Some(domain));
    assert_eq!(rig.run(rig.client().tep(by(2))).unwrap().tep.unwrap().limit, Some(tep));
}

#[test]
fn the_eleventh_attachment_and_each_other_limit_are_refused_by_the_setting_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let limits = HavipLimits { attachments: 3, per_instance: 2, per_vni: 4, total: 6 };
    let rig = Rig::with_havip_limits(folder.path(), limits);
    rig.commit(vec![add(1), create(5001), create(5002)]);
    rig.commit((1..=4).map(|n| create_havip(&format!("a{n}"), 5001, n)).collect());
    rig.commit((1..=2).map(|n| create_havip(&format!("b{n}"), 5002, n)).collect());
    rig.commit((1..=3).map(|n| attach("a1", &format!("vm{n}"), n, &[1])).collect());
    rig.commit(vec![attach("a2", "vm1", 1, &[1])]);
    let moved = |name: &str, vni: u32| {
        let mut havip = rig.havip(name).havip;
        havip.vni = vni.into();
        havip.address = ip(99);
        set_havip(havip)
    };
    for (change, words) in [
        (attach("a1", "vm4", 4, &[1]), "HAVIP a1 would have 4 attachments; at most 3 (havip.attachments)"),
        (
            attach("a3", "vm1", 1, &[1]),
            "instance vm1 would be attached to 3 HAVIPs of domain 5001; at most 2 (havip.per_instance)",
        ),
        (
            create_havip("a5", 5001, 5),
            "HAVIP a5 would be one more than the 4 that domain 5001 may have (havip.per_vni)",
        ),
        (moved("b1", 5001), "HAVIP b1 would be one more than the 4 that domain 5001 may have"),
        (
            create_havip("b3", 5002, 3),
            "HAVIP b3 would be one more than the 6 that the node may have (havip.total)",
        ),
    ] {
        let (kind, text) = rig.try_commit(Batch::new(vec![change.clone()])).unwrap_err();
        assert_eq!(kind, RefusalKind::Limit, "{change:?}");
        assert!(text.contains(words), "{text}");
    }
    // What makes no more of them is no question of limits; what goes makes room at once.
    rig.commit(vec![attach("a1", "vm3", 9, &[1]), attach("b1", "vm1", 1, &[1])]);
    rig.commit(vec![
        remove_havip("a4"),
        create_havip("a5", 5001, 5),
        detach("a2", "vm1"),
        attach("a3", "vm1", 1, &[1]),
    ]);
    assert_eq!(rig.server().counts().havips, 6);
}

#[test]
fn a_limit_that_was_lowered_takes_nothing_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Rig::new(folder.path());
    first.commit(vec![add(1), create(5001), create_havip("a", 5001, 1), create_havip("b", 5001, 2)]);
    first.commit(vec![attach("a", "vm1", 1, &[1]), attach("a", "vm2", 2, &[1]), attach("b", "vm1", 1, &[1])]);
    first.stop();
    drop(first);
    let limits = HavipLimits { attachments: 1, per_instance: 1, per_vni: 1, total: 1 };
    let rig = Rig::with_havip_limits(folder.path(), limits);
    rig.commit(vec![attach("a", "vm2", 3, &[1]), bind_eip("b", "203.0.113.7"), detach("b", "vm1")]);
    assert_eq!(rig.server().counts().havips, 2);
    assert!(rig.try_commit(Batch::new(vec![attach("b", "vm1", 1, &[1])])).is_err());
}
