//! Lines of the log that say who changed what, and why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::log::Log;
use common::*;
use ctl_api::client::RefusalKind;
use ctl_api::model::{Batch, DomainFields, SetResource};
use ctl_api::proto::{ApplyOptions, RestoreRequest, SnapshotRequest};
use ctl_api::{Client, REASON_METADATA};

/// Lines about changes since the last call.
fn changes(log: &Log) -> Vec<String> {
    let change = |line: &str| Some(line.split_once("configuration changed ")?.1.to_owned());
    log.take().lines().filter_map(change).collect()
}

fn because(rig: &Rig, reason: &str) -> Client {
    rig.client().with_reason(Some(reason.parse().unwrap()))
}

#[test]
fn each_commit_is_one_line_with_its_revision_its_kinds_the_peer_and_the_reason() {
    let log = Log::default();
    tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).init();
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let peer = format!("peer=uid {} pid {}", rustix::process::getuid().as_raw(), std::process::id());
    let batch = Batch::new(vec![add(1), add(2), create(5001), join(5001, &[1])]);
    rig.run(because(&rig, "ticket 7 \"rack\"").commit(batch)).unwrap();
    let kinds = "set TEP 2, set domain 1, join 1";
    let line = format!("revision=1 change=\"{kinds}\" changed=4 {peer} reason=\"ticket 7 \\\"rack\\\"\"");
    assert_eq!(changes(&log), [line]);
    rig.commit(vec![leave(5001, &[1])]);
    assert_eq!(changes(&log), [format!("revision=2 change=\"leave 1\" changed=1 {peer}")]);
    // What changes nothing, is refused or is only tried is no change.
    rig.commit(vec![leave(5001, &[1])]);
    rig.run(rig.client().commit(dry_run(Batch::new(vec![add(3)])))).unwrap();
    assert!(rig.try_commit(Batch::new(vec![join(5001, &[9])])).is_err());
    assert_eq!(changes(&log), Vec::<String>::new());
    let domain = SetResource::Domain(
        7.into(),
        DomainFields { members: Some(teps(&[1, 2])), ..DomainFields::default() },
    );
    let options = ApplyOptions::default();
    rig.run(because(&rig, "apply").apply(options, [domain].into_iter(), |_| {})).unwrap();
    let kinds = "apply: TEPs +0 ~0 -0, domains +1 ~0 -0, HAVIPs +0 ~0 -0, memberships +2 -0";
    assert_eq!(changes(&log), [format!("revision=3 change=\"{kinds}\" changed=1 {peer} reason=\"apply\"")]);
    let mut parts = rig.run(rig.client().snapshot(SnapshotRequest::default())).unwrap();
    let part = rig.run(parts.message()).unwrap();
    rig.commit(vec![add(4)]);
    changes(&log);
    let requests =
        [RestoreRequest { part, ..Default::default() }, RestoreRequest { last: true, ..Default::default() }];
    rig.run(because(&rig, "back").restore(tokio_stream::iter(requests))).unwrap();
    assert_eq!(changes(&log), [format!("revision=5 change=\"restore\" changed=1 {peer} reason=\"back\"")]);
    refused_reasons(&rig, &log);
}

/// Reasons that are none, as another client may send them.
fn refused_reasons(rig: &Rig, log: &Log) {
    use ctl_api::proto::{CommitRequest, bcast_client::BcastClient};
    use tonic::metadata::MetadataValue;
    for (reason, words) in [
        (&b"a\nb"[..], "the control character '\\n'"),
        (b"\x1b[31m", "the control character '\\u{1b}'"),
        (&[0xff], "not UTF-8"),
        (b"", "a reason is empty"),
        (&[b'x'; 257], "a reason has 257 bytes; at most 256"),
    ] {
        let socket = rig.client().socket().to_owned();
        let status = rig.run(async {
            let connect = tower::service_fn(move |_: tonic::transport::Uri| {
                let socket = socket.clone();
                async move {
                    Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(
                        tokio::net::UnixStream::connect(socket).await?,
                    ))
                }
            });
            let endpoint = tonic::transport::Endpoint::from_static("http://bcastd");
            let mut rpc = BcastClient::new(endpoint.connect_with_connector(connect).await.unwrap());
            let changes = Batch::new(vec![add(8)]).into_parts().flat_map(|part: CommitRequest| part.changes);
            let mut request =
                tonic::Request::new(CommitRequest { changes: changes.collect(), ..Default::default() });
            request.metadata_mut().insert_bin(REASON_METADATA, MetadataValue::from_bytes(reason));
            rpc.commit(request).await.unwrap_err()
        });
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{reason:?}");
        assert!(status.message().contains(words), "{reason:?}: {}", status.message());
    }
    assert_eq!(changes(log), Vec::<String>::new());
    let missing = rig.run(rig.client().tep(by(8))).map_err(refused).unwrap_err();
    assert_eq!(missing.0, RefusalKind::NotFound);
}
