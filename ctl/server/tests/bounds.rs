//! Connections and streams of clients that say nothing, or take nothing: their number and their memory is bounded.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use common::wire::{SOON, Wire};
use common::*;
use ctl_api::Client;
use ctl_api::client::RefusalKind;
use ctl_api::model::Batch;
use ctl_api::proto;
use ctl_server::CONNECTIONS;

/// True if the other side closes the connection; it may have sent something before.
fn is_closed(stream: &mut UnixStream) -> bool {
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn connections_that_say_nothing_make_room_for_those_that_do() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let half = |n: usize| {
        let mut stream = UnixStream::connect(&rig.socket).unwrap();
        // Nothing at all, half a preface, a whole one.
        stream.write_all(&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..[0, 12, 24][n % 3]]).unwrap();
        stream
    };
    let mut watch = rig.run(rig.client().watch(None, Default::default())).unwrap();
    ctl_net::raise_descriptors();
    let mut silent: Vec<_> = (0..3 * CONNECTIONS).map(half).collect();
    // The kernel's queue may be full of them yet.
    let mut client = rig.run(Client::connect_with(&rig.socket, Some(SOON))).unwrap();
    assert_eq!(rig.run(client.commit(Batch::new(vec![create(1)]))).unwrap().revision, 1);
    let figures = rig.server().connections();
    assert!(figures.open <= CONNECTIONS as u64 && figures.evicted >= CONNECTIONS as u64, "{figures:?}");
    assert!(is_closed(&mut silent[0]), "the oldest went first");
    // One with a request under way is none of them.
    assert_eq!(rig.run(watch.message()).unwrap().unwrap().revision, 1);
}

#[test]
fn connections_whose_requests_are_all_answered_make_room_for_another() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    ctl_net::raise_descriptors();
    let answered = |_| {
        let mut client = rig.client();
        rig.run(client.version()).unwrap();
        client
    };
    let held: Vec<_> = (0..CONNECTIONS).map(answered).collect();
    let mut one_more = rig.run(Client::connect_with(&rig.socket, Some(SOON))).unwrap();
    assert_eq!(rig.run(one_more.commit(Batch::new(vec![create(1)]))).unwrap().revision, 1);
    let figures = rig.server().connections();
    assert_eq!((figures.evicted, figures.refused), (1, 0), "the oldest made room");
    drop(held);
}

#[test]
fn a_few_connections_with_many_requests_leave_a_share_to_each_other_one() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let (held, last) = rig.run(async {
        let mut held = Vec::new();
        // Together they ask for more requests than the server takes: none of them ends.
        for _ in 0..80 {
            let mut wire = Wire::connect(&rig.socket, 65_535).await;
            let mut requests = Vec::new();
            for _ in 0..64 {
                requests.push(wire.begin("Commit").await);
            }
            held.push((wire, requests));
        }
        let (answer, body) = held.last_mut().unwrap().1.pop().unwrap();
        (held, (tokio::time::timeout(SOON, common::wire::status(answer)).await.unwrap(), body))
    });
    let (code, text) = last.0;
    assert_eq!(code, tonic::Code::ResourceExhausted);
    assert!(
        text.contains("a%20connection%20may%20have%208") || text.contains("a connection may have 8"),
        "{text}"
    );
    assert_eq!(rig.run(rig.client().commit(Batch::new(vec![create(1)]))).unwrap().revision, 1);
    drop(held);
}

#[test]
fn a_client_that_does_not_finish_its_preface_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let mut silent = UnixStream::connect(&rig.socket).unwrap();
    let mut half = UnixStream::connect(&rig.socket).unwrap();
    half.write_all(b"PRI * HTTP/2.0").unwrap();
    assert!(is_closed(&mut silent) && is_closed(&mut half));
    assert_eq!(rig.server().connections().evicted, 0, "it was for their silence");
}

/// A state that takes many parts to send.
fn fill(rig: &Rig) {
    rig.commit((1..=1_000).map(add).collect());
    let members: Vec<u16> = (1..=1_000).collect();
    let domains = Batch::new((1..=500).map(|vni| set(vni, &members)).collect());
    rig.run(rig.client().commit_stream(domains)).unwrap();
}

#[test]
fn a_thousand_streams_that_nobody_takes_are_cut_off_and_their_places_come_back_with_their_memory() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    fill(&rig);
    let before = resident_bytes();
    let wires = rig.run(async {
        let mut wires = Vec::new();
        // Windows of nothing, of little, the usual ones, and those of a client that never reads its socket.
        for (window, deaf) in [(0, false), (1_000, false), (65_535, false), (1 << 30, true)] {
            let mut wire = match deaf {
                true => Wire::deaf(&rig.socket, window).await,
                false => Wire::connect(&rig.socket, window).await,
            };
            let mut answers = Vec::new();
            for n in 0..125 {
                let request = proto::SnapshotRequest::default();
                answers.push(wire.send("Snapshot", None, request).await);
                answers.push(
                    wire.send(
                        "Watch",
                        None,
                        proto::WatchRequest { from_revision: 1 + n % 2, ..Default::default() },
                    )
                    .await,
                );
            }
            wires.push((wire, answers));
        }
        wires
    });
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 150 << 20, "{grown} bytes more");
    // Until they are cut off no more are taken; then there is room again.
    let begun = std::time::Instant::now();
    loop {
        let mut client = rig.client();
        match rig.run(client.snapshot(Default::default())) {
            Ok(mut parts) => {
                let mut domains = 0;
                while let Some(part) = rig.run(parts.message()).unwrap() {
                    domains += part.domains.len();
                }
                assert_eq!(domains, 500);
                break;
            }
            Err(error) => {
                assert_eq!(refused(error).0, RefusalKind::Limit);
                assert!(begun.elapsed() < SOON + SOON, "they hold their places");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
    // A connection all of whose streams were refused at once leaves nothing that was not taken, and stays.
    while !wires[0].0.driver.is_finished() || rig.server().connections().open > 2 {
        assert!(begun.elapsed() < SOON + SOON, "they hold their connections");
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(wires);
}

/// This process' memory.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn a_batch_whose_parts_stop_halfway_gives_its_memory_back() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let (parts, stream) = tokio::sync::mpsc::channel(1);
    let mut client = rig.client();
    let parts_of = tokio_stream::wrappers::ReceiverStream::new(stream);
    let call = rig.runtime.spawn(async move { client.commit_parts(parts_of).await });
    rig.run(parts.send(Batch::new(vec![create(1)]).into())).unwrap();
    let (_, words) = refused(rig.run(call).unwrap().unwrap_err());
    assert!(
        words.contains("no further part of the batch came for 30 seconds; nothing was changed"),
        "{words}"
    );
    assert_eq!(rig.server().counts().domains, 0);
}
