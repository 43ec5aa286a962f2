//! Bad input and faults: each is told, nothing changes, and the daemon goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::failing::failing;
use common::havip::*;
use common::*;
use ctl_api::client::RefusalKind;
use ctl_api::model::{
    Batch, Change, Conditions, DomainEntry, Event, MAX_CHANGES, Revision, TepEntry, TepSet,
};
use ctl_api::{Client, ClientError, proto};
use ctl_server::{Server, ServerError, SocketError};
use ctl_store::{EmbeddedStore, Group, Record, Store};
use tokio_stream::wrappers::ReceiverStream;

#[test]
fn while_the_disk_is_full_changes_are_refused_and_forwarding_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let store = EmbeddedStore::open(&folder.path().join("domains.redb")).unwrap();
    let rig = Rig::with_store(folder.path(), failing(store, &full, false));
    rig.commit(vec![add(1), set(1, &[1])]);
    full.store(true, Ordering::Relaxed);
    let (kind, text) = rig.try_commit(Batch::new(vec![remove_domain(1)])).unwrap_err();
    assert_eq!(kind, RefusalKind::Unavailable);
    assert!(text.contains("No space left on device; nothing was changed"), "{text}");
    assert_eq!(rig.members(1), addresses(&[1]));
    full.store(false, Ordering::Relaxed);
    assert_eq!(rig.commit(vec![remove_domain(1)]).revision, 2);
}

#[test]
fn after_a_commit_of_unknown_outcome_the_table_follows_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let doubt = Arc::new(AtomicBool::new(false));
    let store = EmbeddedStore::open(&folder.path().join("domains.redb")).unwrap();
    let rig = Rig::with_store(folder.path(), failing(store, &doubt, true));
    rig.commit(vec![add(1), add(2), set(1, &[1, 2]), set(2, &[1]), set(3, &[1, 2])]);
    doubt.store(true, Ordering::Relaxed);
    let changes = vec![remove_domain(2), leave(1, &[1]), add(3), join(3, &[3]), remove(2, true)];
    let (kind, text) = rig.try_commit(Batch::new(changes)).unwrap_err();
    assert_eq!(kind, RefusalKind::Unavailable);
    assert!(text.contains("whether the change is there is not known"), "{text}");
    doubt.store(false, Ordering::Relaxed);
    assert_eq!(rig.commit(vec![join(1, &[3])]).revision, 3);
    for (vni, members) in [(1, Some(&[3_u16][..])), (2, None), (3, Some(&[1, 3]))] {
        assert_eq!(rig.members(vni), members.and_then(addresses), "domain {vni}");
    }
    assert_eq!(rig.server().counts().teps, 2);
}

#[test]
fn after_a_commit_of_unknown_outcome_the_guards_follow_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let doubt = Arc::new(AtomicBool::new(false));
    let store = EmbeddedStore::open(&folder.path().join("domains.redb")).unwrap();
    let rig = Rig::with_store(folder.path(), failing(store, &doubt, true));
    rig.commit(vec![
        add(1),
        add(2),
        create(1),
        create(2),
        create_havip("web", 1, 1),
        create_havip("db", 2, 2),
    ]);
    rig.commit(vec![attach("web", "vm1", 1, &[1]), attach("db", "vm1", 1, &[1])]);
    doubt.store(true, Ordering::Relaxed);
    let changes = vec![
        attach("web", "vm2", 2, &[2]),
        remove_havip("db"),
        create_havip("new", 2, 3),
        bind_eip("new", "203.0.113.7"),
        inspect(2, true),
        route_gateway(1, Some("198.18.0.9"), None),
    ];
    assert!(rig.try_commit(Batch::new(changes)).is_err());
    doubt.store(false, Ordering::Relaxed);
    // As every other one would: it finds the store elsewhere, or itself there already.
    rig.commit(vec![attach("new", "vm1", 1, &[1])]);
    assert_eq!(rig.guarded(1), [("10.0.0.1".to_owned(), vec![(1, 1), (2, 2)])]);
    assert_eq!(rig.guarded(2), [("10.0.0.3".to_owned(), vec![(1, 1)])]);
    assert_eq!(rig.server().counts().havips, 2);
    let taken = Batch::new(vec![bind_eip("web", "203.0.113.7")]);
    assert_eq!(rig.try_commit(taken).unwrap_err().0, RefusalKind::Exists);
    rig.commit(vec![create_havip("db", 2, 2)]);
    assert_eq!(rig.run(rig.client().domain(2.into())).unwrap().arp_inspection, 2);
    assert_eq!(
        rig.run(rig.client().tep(by(1))).unwrap().tep.unwrap().route_gateway,
        Some(vec![198, 18, 0, 9])
    );
}

#[test]
fn a_worker_that_does_not_report_makes_the_answer_durable_but_not_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add(1), create(1)]);
    rig.worker.set_stuck(true);
    let (kind, text) = rig.try_commit(Batch::new(vec![join(1, &[1])])).unwrap_err();
    assert_eq!(kind, RefusalKind::Unconfirmed(Some(Revision::new(2))), "{text}");
    rig.worker.set_stuck(false);
    let again = rig.commit(vec![join(1, &[1])]);
    assert_eq!((again.revision, again.changed), (2, 0), "it was durable");
    assert_eq!(rig.members(1), addresses(&[1]));
}

#[test]
fn an_answered_removal_has_waited_for_the_copies_on_their_way() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add(1), add(2), set(1, &[1, 2])]);
    let drain = Duration::from_millis(300);
    *rig.node.drain.lock().unwrap() = drain;
    for (change, waits) in [(leave(1, &[1]), true), (join(1, &[1]), false), (set(1, &[2]), true)] {
        let asked = std::time::Instant::now();
        rig.commit(vec![change.clone()]);
        // Not how fast: a removal's answer cannot come before the drain time is over.
        assert!(!waits || asked.elapsed() >= drain, "{change:?}");
    }
}

#[test]
fn a_removal_asked_for_again_after_it_was_not_confirmed_waits_for_the_copies_on_their_way() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add(1), set(1, &[1])]);
    let drain = Duration::from_millis(300);
    *rig.node.drain.lock().unwrap() = drain;
    rig.worker.set_stuck(true);
    let (kind, text) = rig.try_commit(Batch::new(vec![leave(1, &[1])])).unwrap_err();
    assert_eq!(kind, RefusalKind::Unconfirmed(Some(Revision::new(2))), "{text}");
    rig.worker.set_stuck(false);
    let asked = std::time::Instant::now();
    assert_eq!(rig.commit(vec![leave(1, &[1])]).changed, 0);
    // Not how fast: it cannot come before the drain time is over.
    assert!(asked.elapsed() >= drain);
}

#[test]
fn a_stored_tep_that_the_node_refuses_now_keeps_its_domains_and_joins_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let own = bcast_domain::Tep::new(OWN).unwrap();
    let store = EmbeddedStore::open(&folder.path().join("domains.redb")).unwrap();
    let events = vec![
        Event::TepSet(TepEntry {
            address: own,
            name: None,
            limit: Default::default(),
            route_gateway: None,
            route_gateway6: None,
        }),
        Event::DomainSet(DomainEntry {
            vni: 1.into(),
            name: None,
            limit: Default::default(),
            arp_inspection: Default::default(),
            stated: Default::default(),
            pinned: Vec::new(),
            members: vec![own],
        }),
    ];
    let record = Record { revision: Revision::new(1), unix_ms: 1, events };
    store.commit(&Group { unix_ms: 1, records: vec![record], ..Group::default() }).unwrap();
    let rig = Rig::with_store(folder.path(), store);
    rig.commit(vec![add(1), create(2)]);
    let own = || TepSet::from(vec![own]);
    let set = |vni: u32, members| Change::members(vni.into(), members);
    for change in [Change::Join { vni: 2.into(), teps: own() }, set(2, own())] {
        let (kind, text) = rig.try_commit(Batch::new(vec![change])).unwrap_err();
        assert_eq!(kind, RefusalKind::Invalid);
        assert!(text.contains("is this node's own address"), "{text}");
    }
    rig.commit(vec![set(1, own().iter().chain([by(1)]).collect())]);
    assert_eq!(rig.members(1), Some([OWN, address(1)].into()));
    rig.commit(vec![remove(1, true)]);
    rig.commit(vec![Change::Leave { vni: 1.into(), teps: own() }]);
    assert_eq!(rig.members(1), addresses(&[]));
}

#[test]
fn messages_over_the_limits_are_refused_and_the_connection_lives_on() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let many = Batch::new(vec![create(1); MAX_CHANGES + 1]);
    let (kind, text) = rig.try_commit(many.clone()).unwrap_err();
    assert_eq!(kind, RefusalKind::Limit);
    assert!(text.contains("10001 changes in one message, at most 10000"), "{text}");
    // The client does not send what is too long; another's message is refused by its length.
    let long = Batch::new(vec![
        Change::Join {
            vni: 1.into(),
            teps: TepSet { names: vec!["x".repeat(60).parse().unwrap(); 16_000], ..Default::default() }
        };
        5
    ]);
    let mut client = rig.client();
    assert!(matches!(rig.run(client.commit(long.clone())), Err(ClientError::TooLarge(_))));
    let whole = tokio_stream::iter([proto::CommitRequest::from(long)]);
    let (kind, text) = refused(rig.run(client.commit_parts(whole)).unwrap_err());
    assert_eq!(kind, RefusalKind::Limit);
    assert!(text.contains("the limit is: 4194304 bytes"), "{text}");
    // In parts, on the same connection, it fits.
    assert_eq!(rig.run(client.commit_stream(many)).unwrap().revision, 1);
}

#[test]
fn members_and_teps_beyond_the_limits_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let mut client = rig.client();
    let mut apply = |changes| rig.run(client.commit_stream(Batch::new(changes))).map_err(refused);
    // 65,536 is one more than u16 can name: the last one has an address of its own.
    let last = bcast_domain::Tep::new([192, 0, 2, 1].into()).unwrap();
    let last = || vec![Change::tep(last, None)];
    apply((0..=u16::MAX).map(add).collect()).unwrap();
    let (kind, text) = apply(last()).unwrap_err();
    assert_eq!(kind, RefusalKind::Limit);
    assert!(text.contains("TEP 192.0.2.1 would be one more than the 65536 that a node holds"), "{text}");
    let most: Vec<u16> = (0..16_384).collect();
    apply(vec![set(1, &most)]).unwrap();
    let (kind, text) = apply(vec![join(1, &[20_000])]).unwrap_err();
    assert_eq!(kind, RefusalKind::Limit);
    assert!(text.contains("change 1: domain 1 would have 16385 members; at most 16384"), "{text}");
    let more: Vec<u16> = (0..16_385).collect();
    let (_, text) = apply(vec![set(2, &more)]).unwrap_err();
    assert!(
        text.contains("change 1: 16385 TEPs for one domain; a domain has at most 16384 members"),
        "{text}"
    );
    assert_eq!(rig.server().counts().members, 16_384);
    // One that comes back within its batch keeps its place.
    apply(vec![remove(60_000, false), add(60_000)]).unwrap();
    assert!(apply(vec![remove(60_001, false), add(60_001), last().remove(0)]).is_err());
    // One that is gone makes room, once no worker can meet its index.
    apply(vec![remove(60_000, false)]).unwrap();
    while apply(last()).is_err() {}
    assert_eq!(rig.server().counts().teps, 65_536);
}

#[test]
fn entries_that_are_wrong_by_themselves_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let add = |address: &str, name: Option<&str>| {
        let address = match address.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(v4)) => v4.octets().to_vec(),
            Ok(std::net::IpAddr::V6(v6)) => v6.octets().to_vec(),
            Err(_) => address.as_bytes().to_vec(),
        };
        let tep = proto::Tep { address, name: name.map(str::to_owned), ..Default::default() };
        let resource = Some(proto::set::Resource::Tep(tep));
        proto::Change { kind: Some(proto::change::Kind::Set(proto::Set { resource, ..Default::default() })) }
    };
    let good = || add("198.18.0.1", None);
    for (bad, words) in [
        (add("224.0.0.1", None), "change 2: TEP 224.0.0.1 is a multicast address"),
        (add("fd00::1", None), "change 2: TEP fd00::1: IPv6 TEPs are not supported yet"),
        (add("hv1", None), "change 2: an address has 3 bytes; it has 4 (IPv4) or 16 (IPv6)"),
        (add("", None), "change 2: the TEP's address is missing"),
        (add("198.18.0.2", Some("5001")), "change 2: name \"5001\" reads as an address or a number"),
        (proto::Change { kind: None }, "change 2: no kind of change that this version knows"),
    ] {
        let message = proto::CommitRequest { changes: vec![good(), bad], ..Default::default() };
        let parts = tokio_stream::iter([message]);
        let (kind, text) = refused(rig.run(rig.client().commit_parts(parts)).unwrap_err());
        assert_eq!(kind, RefusalKind::Invalid, "{text}");
        assert!(text.contains(words), "{text}");
    }
    // In a later part the position counts from the first part's start.
    let parts = [vec![good(), good()], vec![good(), add("0.0.0.1", None)]];
    let parts = parts.map(|changes| proto::CommitRequest { changes, ..Default::default() });
    let (_, text) = refused(rig.run(rig.client().commit_parts(tokio_stream::iter(parts))).unwrap_err());
    assert!(text.contains("change 4: TEP 0.0.0.1"), "{text}");
    assert_eq!(rig.server().counts().teps, 0);
}

#[test]
fn a_client_that_goes_away_in_the_middle_of_its_parts_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let (parts, stream) = tokio::sync::mpsc::channel(1);
    let mut client = rig.client();
    let call = rig.runtime.spawn(async move { client.commit_parts(ReceiverStream::new(stream)).await });
    rig.run(async {
        for vni in 0..5 {
            let part = Batch::new(vec![create(vni)]);
            parts.send(part.into()).await.unwrap();
        }
    });
    call.abort();
    assert!(rig.run(call).unwrap_err().is_cancelled());
    drop(parts);
    // Garbage on the socket is no request either.
    let mut raw = UnixStream::connect(&rig.socket).unwrap();
    std::io::Write::write_all(&mut raw, b"GET / HTTP/1.1\r\n\r\n").unwrap();
    raw.shutdown(Shutdown::Both).unwrap();
    assert_eq!(rig.commit(vec![create(9)]).revision, 1);
    assert_eq!(rig.server().counts().domains, 1);
}

#[test]
fn of_two_writers_in_conflict_one_wins_and_the_other_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let writer = |vni| {
        let mut client = rig.client();
        let batch = with(
            Batch::new(vec![create(vni)]),
            Conditions { expected: Some(Revision::new(0)), ..Default::default() },
        );
        rig.runtime.spawn(async move { client.commit(batch).await })
    };
    let (first, second) = (writer(1), writer(2));
    let outcomes = [rig.run(first).unwrap(), rig.run(second).unwrap()];
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 1));
    let (kind, _) = refused(lost.into_iter().next().unwrap().unwrap_err());
    assert_eq!((kind, rig.server().counts().domains), (RefusalKind::Conflict, 1));
}

#[test]
fn stopping_answers_what_is_under_way_and_keeps_what_it_answered() {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(folder.path());
    let clients: Vec<_> = (0..8_u32)
        .map(|writer| {
            let mut client = rig.client();
            rig.runtime.spawn(async move {
                let mut answered = 0;
                while answered < 10_000
                    && client.commit(Batch::new(vec![create(writer * 10_000 + answered)])).await.is_ok()
                {
                    answered += 1;
                }
                answered
            })
        })
        .collect();
    // Also one that never ends by itself.
    let (parts, stream) = tokio::sync::mpsc::channel(1);
    let mut endless = rig.client();
    let endless = rig.runtime.spawn(async move { endless.commit_parts(ReceiverStream::new(stream)).await });
    rig.run(parts.send(Batch::new(vec![create(999_999)]).into())).unwrap();
    while rig.server().counts().domains < 50 {
        std::thread::yield_now();
    }
    rig.stop();
    assert!(rig.run(endless).unwrap().is_err());
    let answered: Vec<u32> = clients.into_iter().map(|client| rig.run(client).unwrap()).collect();
    assert!(!rig.socket.exists());
    drop(rig);
    let rig = Rig::new(folder.path());
    for (writer, answered) in (0..).zip(answered) {
        for n in 0..answered {
            assert!(rig.members(writer * 10_000 + n).is_some(), "writer {writer}'s domain {n} was answered");
        }
    }
    assert_eq!(rig.members(999_999), None);
}

#[test]
fn a_second_daemon_on_the_same_socket_or_store_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let store = EmbeddedStore::open(&folder.path().join("other.redb")).unwrap();
    let (publisher, _array, readers) = bcast_domain::table(Array::new());
    let config = config(&rig.socket, rig.runtime.handle().clone());
    let second = Server::start(config, store, publisher, readers.grace(), Arc::clone(&rig.node) as _);
    assert!(matches!(second.err(), Some(ServerError::Socket(SocketError::InUse(_)))));
    assert!(EmbeddedStore::open(&folder.path().join("domains.redb")).is_err());
    assert_eq!(rig.commit(vec![create(1)]).revision, 1, "the first one is not disturbed");
}

#[test]
fn a_client_is_told_when_nobody_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let path = folder.path().join("api.sock");
    let error = runtime.block_on(Client::connect(&path)).unwrap_err();
    assert!(matches!(&error, ClientError::Unreachable { .. }));
    let text = error.to_string();
    assert!(
        text.starts_with("cannot reach the daemon at /") && text.contains("No such file or directory"),
        "{text}"
    );
}
