//! What workers hear of virtual IPs, as the control side learns it. How the two meet is modelled in `tests/loom.rs`.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bcast_domain::{AnnouncementBoard, AnnouncementKind, AnnouncerId, LastAnnounced, VipId, limits};

fn vip(id: usize) -> VipId {
    VipId::new(u32::try_from(id).unwrap()).unwrap()
}

fn announcer(id: usize) -> AnnouncerId {
    AnnouncerId::new(u32::try_from(id).unwrap()).unwrap()
}

fn drained(board: &AnnouncementBoard) -> Vec<usize> {
    let mut all = Vec::new();
    board.drain(|vip| all.push(vip.index()));
    all
}

#[test]
fn each_kind_of_utterance_has_its_place_and_the_latest_counts() {
    let board = AnnouncementBoard::new();
    let id = announcer(7);
    assert_eq!(board.read(id), LastAnnounced::default());
    let advert = |interval_cs, priority| AnnouncementKind::Advert { interval_cs, priority };
    let utterances = [
        (AnnouncementKind::Claim { vrid: 0 }, LastAnnounced { claim_ns: 1, ..LastAnnounced::default() }),
        (AnnouncementKind::Use, LastAnnounced { claim_ns: 1, use_ns: 2, ..LastAnnounced::default() }),
        (
            advert(4095, 255),
            LastAnnounced { claim_ns: 1, vrid: 0, use_ns: 2, advert_ns: 3, interval_cs: 4095, priority: 255 },
        ),
        (
            advert(10, 0),
            LastAnnounced { claim_ns: 1, vrid: 0, use_ns: 2, advert_ns: 4, interval_cs: 10, priority: 0 },
        ),
        (
            AnnouncementKind::Claim { vrid: 255 },
            LastAnnounced { claim_ns: 5, vrid: 255, use_ns: 2, advert_ns: 4, interval_cs: 10, priority: 0 },
        ),
    ];
    for (at_ns, (what, expected)) in (1..).zip(utterances) {
        board.note(vip(0), id, what, at_ns);
        assert_eq!(board.read(id), expected, "{what:?}");
    }
    assert_eq!(board.read(announcer(6)), LastAnnounced::default(), "another's place");
    board.forget(id);
    assert_eq!(board.read(id), LastAnnounced::default());
}

#[test]
fn a_drain_names_each_virtual_ip_once_that_something_was_noted_of() {
    let board = AnnouncementBoard::new();
    assert!(drained(&board).is_empty());
    let ids = [0, 1, 63, 64, 65_536, limits::MAX_VIPS - 1];
    for id in ids {
        board.note(vip(id), announcer(0), AnnouncementKind::Use, 1);
        board.note(vip(id), announcer(limits::MAX_ANNOUNCERS - 1), AnnouncementKind::Claim { vrid: 0 }, 2);
    }
    assert_eq!(drained(&board), ids);
    assert!(drained(&board).is_empty(), "each is taken once");
    assert_eq!(board.read(announcer(limits::MAX_ANNOUNCERS - 1)).claim_ns, 2);
}

#[test]
fn what_is_noted_by_several_workers_beside_a_drain_is_all_learnt() {
    const WORKERS: usize = 3;
    const VIPS: usize = 130;
    const ROUNDS: u64 = 2_000;
    let (board, done) = (AnnouncementBoard::new(), AtomicBool::new(false));
    let mut known = vec![0; WORKERS * VIPS];
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let board = &board;
                scope.spawn(move || {
                    for (round, id) in (1..=ROUNDS).flat_map(|round| (0..VIPS).map(move |id| (round, id))) {
                        board.note(
                            vip(id),
                            announcer(worker * VIPS + id),
                            AnnouncementKind::Claim { vrid: 0 },
                            round,
                        );
                    }
                })
            })
            .collect();
        let control = scope.spawn(|| {
            loop {
                let last = done.load(Relaxed);
                board.drain(|vip| {
                    for id in (0..WORKERS).map(|worker| worker * VIPS + vip.index()) {
                        let claim_ns = board.read(announcer(id)).claim_ns;
                        assert!(claim_ns >= known[id], "time went back");
                        known[id] = claim_ns;
                    }
                });
                if last {
                    break;
                }
            }
        });
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        done.store(true, Relaxed);
        control.join().unwrap();
    });
    assert!(known.iter().all(|&claim_ns| claim_ns == ROUNDS));
}
