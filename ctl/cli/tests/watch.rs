//! `bcastctl watch`: alarms, which are part of no revision.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use ctl_api::proto::{self, watch_event::Kind};
use support::model;
use support::node::Node;

/// Longest time that a line may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn refused(tep: &[u8], several_addresses: bool) -> Kind {
    Kind::AnnouncementRefused(proto::RefusedAnnouncement {
        vni: 5001,
        address: vec![10, 0, 0, 7],
        mac: vec![0x52, 0x54, 0, 0, 0, 9],
        tep: tep.to_vec(),
        reason: proto::RefusalReason::OtherOwner.into(),
        count: 12,
        several_addresses,
        unix_ms: 1_795_417_812_034,
    })
}

fn spoof() -> Kind {
    Kind::HavipEvent(proto::HavipEvent {
        havip: "web".to_owned(),
        kind: proto::HavipEventKind::Spoof.into(),
        ..Default::default()
    })
}

/// No revision follows, and the watch goes on: so an alarm cannot wait for the next one.
#[test]
fn an_alarm_is_printed_at_once_though_no_revision_follows_it() {
    let node = Node::with(model(&[(1, "hv1")], &[]));
    {
        let mut script = node.script.lock().unwrap();
        let kinds = [refused(&[198, 18, 0, 9], false), refused(&[], true), spoof()];
        script.events =
            kinds.map(|kind| proto::WatchEvent { revision: 4, kind: Some(kind), unix_ms: 0 }).into();
        script.stays_open = true;
    }
    let mut child = node.command(&["watch", "--from", "4"]).stdout(Stdio::piped()).spawn().unwrap();
    let (sender, lines) = mpsc::channel();
    let stdout = child.stdout.take().unwrap();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            drop(sender.send(line.unwrap()));
        }
    });
    let next = || lines.recv_timeout(PATIENCE).unwrap();
    let event = |rest: &str| {
        format!(
            "{{\"revision\":4,\"event\":\"announcement_refused\",\"vni\":5001,\"address\":\"10.0.0.7\",\
             \"mac\":\"52:54:00:00:00:09\",{rest},\"time\":\"2026-11-23T07:10:12.034Z\"}}"
        )
    };
    let of_one = "\"tep\":\"198.18.0.9\",\"reason\":\"other_owner\",\"count\":12,\"several_addresses\":false";
    let of_several = "\"tep\":null,\"reason\":\"other_owner\",\"count\":12,\"several_addresses\":true";
    assert_eq!([next(), next()], [event(of_one), event(of_several)]);
    let line = next();
    assert!(line.starts_with("{\"revision\":4,\"event\":\"havip_event\",\"havip\":\"web\""), "{line}");
    child.kill().unwrap();
    child.wait().unwrap();
}
