//! What BFD tells hypervisors, and VNI 0, which is BFD's.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use ctl_api::client::RefusalKind;
use ctl_api::model::{Batch, Change, DomainFields, SetResource, Target};
use ctl_api::proto::{self, RestoreRequest, SnapshotPart};

#[test]
fn a_teps_session_and_the_nodes_state_are_told_and_a_drain_has_no_revision() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add(1), add(2)]);
    let mut client = rig.client();
    let session = rig.run(client.tep(by(1))).unwrap().bfd.unwrap();
    assert_eq!((session.local(), session.remote()), (proto::BfdState::Up, proto::BfdState::Init));
    assert_eq!((session.diagnostic, session.remote_diagnostic, session.flaps), (6, 1, 4));
    assert_eq!((session.since_unix_ms, session.transmit_interval_us), (1_234, 50_000));
    assert_eq!(session.detection_time_us, 3_000_000);
    assert_eq!(rig.run(client.tep(by(2))).unwrap().bfd, None);

    let told = |status: &proto::NodeStatus| (status.state(), status.reasons.join(" "), status.held_back_ms);
    let before = rig.run(client.node()).unwrap();
    assert_eq!(told(&before), (proto::NodeState::HeldBack, "hold_back".to_owned(), 2_500));
    let sessions: Vec<_> =
        before.bfd_sessions.iter().map(|count| (count.name.as_str(), count.value)).collect();
    assert_eq!(sessions, [("down", 0), ("up", 1)]);
    let revision = rig.server().revision();
    for _ in 0..2 {
        let drained = rig.run(client.drain(true)).unwrap();
        assert_eq!(told(&drained), (proto::NodeState::Leaving, "drained".to_owned(), 0));
    }
    assert_eq!(rig.run(client.drain(false)).unwrap(), before);
    assert_eq!(rig.server().revision(), revision);
}

#[test]
fn vni_0_is_refused_as_a_domain_and_one_of_an_older_version_is_kept_and_can_be_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add(1), add(2), create(1)]);
    for change in [create(0), set(0, &[1, 2])] {
        let (kind, text) = rig.try_commit(Batch::new(vec![change])).unwrap_err();
        assert_eq!(kind, RefusalKind::Invalid, "{text}");
        assert!(text.contains("VNI 0 is no domain's") && text.contains("choose another VNI"), "{text}");
    }
    assert!(rig.try_commit(Batch::new(vec![join(0, &[1])])).is_err(), "there is none to join");
    let file = [SetResource::Domain(0.into(), DomainFields::default())].into_iter();
    let mut client = rig.client();
    let applied = rig.run(client.apply(proto::ApplyOptions::default(), file, |_| ())).map_err(refused);
    assert!(applied.is_err_and(|(kind, _)| kind == RefusalKind::Invalid), "an apply file is refused, too");

    // A backup of an older version may have one.
    let teps =
        [1, 2].map(|last| proto::Tep { address: address(last).octets().to_vec(), ..Default::default() });
    let members =
        proto::Teps { ipv4: [address(1), address(2)].map(|tep| tep.octets()).concat(), ..Default::default() };
    let zero = proto::Domain { members: Some(members), ..Default::default() };
    let part =
        SnapshotPart { revision: Some(9), teps: teps.into(), domains: vec![zero], ..Default::default() };
    let removals = Some(proto::Removals { memberships: u64::MAX, havips: u64::MAX });
    let requests = [
        RestoreRequest { part: Some(part), confirm_removals: removals, ..Default::default() },
        RestoreRequest { last: true, ..Default::default() },
    ];
    rig.run(rig.client().restore(tokio_stream::iter(requests))).unwrap();
    assert_eq!(rig.members(0), addresses(&[1, 2]));
    // It may be changed and deleted, and then it is gone for good.
    rig.commit(vec![leave(0, &[2])]);
    drop(rig);
    let rig = Rig::new(folder.path());
    assert_eq!(rig.members(0), addresses(&[1]), "it is loaded");
    rig.commit(vec![Change::Delete { target: Target::Domain(0.into()), force: false }]);
    assert!(rig.try_commit(Batch::new(vec![create(0)])).is_err());
}
