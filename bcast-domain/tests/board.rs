//! Announcements on the board, as the control side reads them. The meeting of both sides is modelled in `tests/loom/`.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bcast_domain::{
    AnnouncementBoard, AnnouncementKind, AnnouncerId, HeardTags, LastAnnounced, VipId, VlanTags, limits,
};

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
fn each_kind_of_announcement_has_its_cells_and_the_latest_counts() {
    let board = AnnouncementBoard::new();
    let id = announcer(7);
    assert_eq!(board.read(id), LastAnnounced::default());
    let advert = |interval_cs, priority| AnnouncementKind::Advert { interval_cs, priority };
    let tags = VlanTags::NONE.with(0x8100, 10);
    let heard = HeardTags::Used(tags);
    let claimed =
        LastAnnounced { claim_ns: 1, mac: [1, 2, 3, 4, 5, 6], tags: heard, ..LastAnnounced::default() };
    let used = LastAnnounced { use_ns: 2, ..claimed };
    let advertised = LastAnnounced { advert_ns: 3, interval_cs: 4095, priority: 255, ..used };
    let resigned = LastAnnounced { advert_ns: 4, interval_cs: 10, priority: 0, ..advertised };
    let again = LastAnnounced { claim_ns: 5, mac: [255; 6], ..resigned };
    let arrived = LastAnnounced { arrival_ns: 6, ..again };
    let announcements = [
        (AnnouncementKind::Claim { mac: [1, 2, 3, 4, 5, 6] }, claimed),
        (AnnouncementKind::Use, used),
        (advert(4095, 255), advertised),
        (advert(10, 0), resigned),
        (AnnouncementKind::Claim { mac: [255; 6] }, again),
        (AnnouncementKind::Arrival, arrived),
        (AnnouncementKind::Presence, LastAnnounced { presence_ns: 7, ..arrived }),
    ];
    for (at_ns, (what, expected)) in (1..).zip(announcements) {
        board.note(vip(0), id, what, tags, at_ns);
        assert_eq!(board.read(id), expected, "{what:?}");
    }
    assert_eq!(board.read(announcer(6)), LastAnnounced::default(), "another's place");
    board.forget(id);
    assert_eq!(board.read(id), LastAnnounced::default());
}

#[test]
fn the_tags_of_a_claim_or_use_stay_until_the_next_and_an_advert_counts_only_before() {
    use AnnouncementKind::{Arrival, GroupAdvert, Presence, Use};
    let board = AnnouncementBoard::new();
    let vlan = |id| VlanTags::NONE.with(0x8100, id);
    let advert = AnnouncementKind::Advert { interval_cs: 100, priority: 100 };
    let of_group = GroupAdvert { interval_cs: 100, priority: 100 };
    for (what, tags, expected) in [
        (Presence, VlanTags::NONE, HeardTags::None),
        (Arrival, VlanTags::NONE, HeardTags::None),
        (of_group, VlanTags::NONE, HeardTags::None),
        (Arrival, vlan(5), HeardTags::Elsewhere),
        (Presence, VlanTags::NONE, HeardTags::Elsewhere),
        (advert, VlanTags::NONE, HeardTags::Advert(VlanTags::NONE)),
        (advert, vlan(6), HeardTags::Advert(vlan(6))),
        (of_group, vlan(7), HeardTags::Advert(vlan(6))),
        (Use, VlanTags::NONE, HeardTags::Used(VlanTags::NONE)),
        (advert, vlan(6), HeardTags::Used(VlanTags::NONE)),
        (AnnouncementKind::Claim { mac: [2; 6] }, vlan(10), HeardTags::Used(vlan(10))),
        (Presence, vlan(11), HeardTags::Used(vlan(10))),
        (of_group, vlan(11), HeardTags::Used(vlan(10))),
        (Arrival, vlan(11), HeardTags::Used(vlan(10))),
        (Use, VlanTags::TOO_MANY, HeardTags::Used(VlanTags::TOO_MANY)),
    ] {
        board.note(vip(0), announcer(1), what, tags, 1);
        assert_eq!(board.read(announcer(1)).tags, expected, "{what:?} with {tags:?}");
    }
}

#[test]
fn tagged_frames_about_another_address_leave_the_vlan_open_where_nothing_else_tells_it() {
    use HeardTags::{Advert, Elsewhere, None, Used};
    let vlan = VlanTags::NONE.with(0x8100, 5);
    let untagged = VlanTags::NONE;
    for tagged in [Elsewhere, Advert(vlan), Used(vlan)] {
        assert_eq!(None.with_elsewhere(tagged), Elsewhere);
        for known in [Elsewhere, Advert(untagged), Used(untagged), Used(vlan)] {
            assert_eq!(known.with_elsewhere(tagged), known);
        }
    }
    for plain in [None, Advert(untagged), Used(untagged)] {
        assert_eq!(None.with_elsewhere(plain), None);
        assert_eq!(Elsewhere.with_elsewhere(plain), Elsewhere);
    }
}

#[test]
fn an_instance_that_is_merely_heard_leaves_nothing_to_decide() {
    let board = AnnouncementBoard::new();
    board.note(vip(3), announcer(1), AnnouncementKind::Presence, VlanTags::NONE, 7);
    assert!(drained(&board).is_empty());
    assert_eq!(board.read(announcer(1)).presence_ns, 7);
    board.note(vip(3), announcer(1), AnnouncementKind::Arrival, VlanTags::NONE, 8);
    assert_eq!(drained(&board), [3]);
}

#[test]
fn a_drain_names_each_virtual_ip_once_that_something_was_noted_of() {
    let board = AnnouncementBoard::new();
    assert!(drained(&board).is_empty());
    let ids = [0, 1, 63, 64, 65_536, limits::MAX_VIPS - 1];
    for id in ids {
        board.note(vip(id), announcer(0), AnnouncementKind::Use, VlanTags::NONE, 1);
        board.note(
            vip(id),
            announcer(limits::MAX_ANNOUNCERS - 1),
            AnnouncementKind::Claim { mac: [0; 6] },
            VlanTags::NONE,
            2,
        );
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
                            AnnouncementKind::Claim { mac: [0; 6] },
                            VlanTags::NONE,
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
