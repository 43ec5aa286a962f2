//! Deadlines: whatever hangs behind a request, it is answered in time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::wire::{SOON, Wire};
use common::*;
use ctl_api::model::Batch;
use ctl_api::proto;
use tonic::Code;

fn commit(changes: Vec<ctl_api::model::Change>) -> proto::CommitRequest {
    Batch::new(changes).into()
}

fn tep_request(address: &str) -> proto::GetTepRequest {
    proto::GetTepRequest { tep: Some(address.parse::<ctl_api::model::TepRef>().unwrap().into()) }
}

#[test]
fn a_request_whose_deadline_has_passed_is_answered_at_once_whatever_hangs_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add(1)]);
    let gate = rig.node.gate.lock().unwrap();
    let before = rig.node.waits_at_gate();
    rig.run(async {
        let mut wire = Wire::connect(&rig.socket, 65_535).await;
        // Takes the commit thread into a call that hangs, with the state locked.
        let hung = wire.send("Commit", None, commit(vec![add(2)])).await;
        while rig.node.waits_at_gate() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for (method, what) in [("GetTep", "198.18.0.1"), ("GetTep", "198.18.0.9")] {
            assert_eq!(wire.status(method, Some("100m"), tep_request(what)).await.0, Code::DeadlineExceeded);
        }
        for method in ["GetDomain", "DomainStats"] {
            let request = proto::GetDomainRequest { vni: 1 };
            assert_eq!(wire.status(method, Some("100m"), request).await.0, Code::DeadlineExceeded);
        }
        let (code, words) = wire.status("Stats", Some("100m"), proto::StatsRequest {}).await;
        assert_eq!(code, Code::DeadlineExceeded);
        assert!(
            words.contains("within%20the%20request's%20deadline")
                || words.contains("within the request's deadline"),
            "{words}"
        );
        // What has no deadline behind it, or needs nothing that hangs, is answered.
        assert_eq!(wire.status("Version", Some("10S"), proto::VersionRequest {}).await.0, Code::Ok);
        assert_eq!(
            wire.status("Version", Some("0n"), proto::VersionRequest {}).await.0,
            Code::DeadlineExceeded
        );
        drop(hung);
    });
    drop(gate);
}

#[test]
fn a_change_that_was_not_taken_before_its_deadline_is_never_carried_out() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let gate = rig.node.gate.lock().unwrap();
    let before = rig.node.waits_at_gate();
    rig.run(async {
        let mut wire = Wire::connect(&rig.socket, 65_535).await;
        let first = wire.send("Commit", None, commit(vec![add(1)])).await;
        // The first one is in the store before it hangs, so what comes now waits behind it.
        while rig.node.waits_at_gate() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(
            wire.status("Commit", Some("50m"), commit(vec![create(7)])).await.0,
            Code::DeadlineExceeded
        );
        assert_eq!(
            wire.status("Commit", Some("0m"), commit(vec![create(8)])).await.0,
            Code::DeadlineExceeded
        );
        drop(gate);
        assert_eq!(tokio::time::timeout(SOON, common::wire::status(first)).await.unwrap().0, Code::Ok);
    });
    assert_eq!(rig.commit(vec![create(9)]).revision, 2);
    assert_eq!((rig.members(7), rig.members(8)), (None, None));
}

#[test]
fn a_watch_ends_at_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.run(async {
        let mut wire = Wire::connect(&rig.socket, 65_535).await;
        let watch = proto::WatchRequest::default();
        assert_eq!(wire.status("Watch", Some("200m"), watch).await.0, Code::DeadlineExceeded);
        let (code, words) = wire.status("Version", Some("soon"), proto::VersionRequest {}).await;
        assert_eq!(code, Code::InvalidArgument);
        assert!(words.contains("grpc-timeout"), "{words}");
    });
}
