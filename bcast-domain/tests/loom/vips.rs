//! Models of virtual IPs: their tables, the announcement board, and learned bindings.

use std::sync::Arc;

use bcast_domain::{
    AnnouncementBoard, AnnouncementKind, AnnouncerId, DomainPublisher, HeardTags, LastAnnounced,
    LearnedBindings, SILENCE_NS, SharedRow, StrictReason, TepIndex, VipId, VipTable, VlanTags, table,
};
use loom::thread;

use super::{A, beside, member};

/// A domain's VIP table is replaced while readers use it: they find one or the other, and each lives as long as its list.
pub(super) fn guarding(readers: usize) {
    let mut table = table(());
    table.0.set(A, &member(1)).unwrap();
    let (first, second) = (Arc::new(VipTable::new([])), Arc::new(VipTable::new([])));
    let weak = [&first, &second].map(Arc::downgrade);
    table.0.set_vip_table(A, Some(first));
    let change = |domains: &mut DomainPublisher, _: &mut _| {
        domains.set_vip_table(A, Some(second));
        domains.remove(A);
        domains.reclaim();
    };
    beside(readers, table, change, |mut reader| {
        if let Some(list) = reader.lookup(A) {
            assert_eq!(list.members(), member(1));
            assert_eq!(list.vip_table().map(|vip_table| vip_table.vips().len()), Some(0));
        }
        reader.quiesce();
    });
    assert!(weak.iter().all(|vip_table| vip_table.strong_count() == 0), "a VIP table that was never freed");
}

/// Workers note what they hear of one virtual IP, each of an announcer of its own, while the control side drains: what it knows in
/// the end is what was noted last.
pub(super) fn hearing(workers: usize) {
    let board = Arc::new(AnnouncementBoard::new());
    let vip = VipId::new(0).unwrap();
    let announcers: Vec<_> = (0_u32..).take(workers).map(|id| AnnouncerId::new(id).unwrap()).collect();
    let threads: Vec<_> = announcers
        .iter()
        .map(|&announcer| {
            let board = Arc::clone(&board);
            thread::spawn(move || {
                board.note(vip, announcer, AnnouncementKind::Claim { mac: [0; 6] }, VlanTags::NONE, 1);
                if workers == 1 {
                    board.note(
                        vip,
                        announcer,
                        AnnouncementKind::Advert { interval_cs: 100, priority: 200 },
                        VlanTags::NONE,
                        2,
                    );
                }
            })
        })
        .collect();
    let mut known = vec![LastAnnounced::default(); workers];
    let mut drain = || {
        board.drain(|marked| {
            assert_eq!(marked, vip);
            for (known, &announcer) in known.iter_mut().zip(&announcers) {
                *known = board.read(announcer);
            }
        });
    };
    drain();
    for thread in threads {
        thread.join().unwrap();
    }
    drain();
    let tags = HeardTags::Used(VlanTags::NONE);
    let claim = LastAnnounced { claim_ns: 1, tags, ..LastAnnounced::default() };
    let both = LastAnnounced { advert_ns: 2, interval_cs: 100, priority: 200, ..claim };
    assert_eq!(known, vec![if workers == 1 { both } else { claim }; workers], "noted, and never learnt");
}

/// A row is read whole while its writer replaces it twice, and its last write is read in the end.
pub(super) fn reading_a_row(_: usize) {
    let row = Arc::new(SharedRow::<2>::default());
    let writer = {
        let row = Arc::clone(&row);
        thread::spawn(move || (1..=2).for_each(|number| row.write([number; 2])))
    };
    if let Some([one, other]) = row.read() {
        assert_eq!(one, other, "words of two writes");
    }
    writer.join().unwrap();
    assert_eq!(row.read(), Some([2, 2]));
}

/// An address whose holder is silent is taken by one of two that announce it at once, and then stays with that one.
pub(super) fn taking_over(_: usize) {
    let learned = Arc::new(LearnedBindings::new());
    let address = std::net::IpAddr::from([10, 0, 0, 7]);
    let announce = move |learned: &LearnedBindings, tep: u16, now_ns| {
        learned.admit(address, [2, 0, 0, 0, 0, 1], tep.into(), now_ns, |_| false).is_ok()
    };
    assert!(announce(&learned, 1, 1));
    let later = 2 + SILENCE_NS;
    let other = Arc::clone(&learned);
    let thread = thread::spawn(move || announce(&other, 2, later));
    let mine = announce(&learned, 3, later);
    assert!(mine != thread.join().unwrap(), "taken by both, or by nobody");
    assert_eq!(announce(&learned, 3, later), mine);
}

/// An address whose owner is silent is announced by another, while the slot of that address goes to a new address: the table
/// has one slot. The slot is then of one of both, with the owner that announced it and counted once.
pub(super) fn giving_a_slot_away(_: usize) {
    let learned = Arc::new(LearnedBindings::new());
    let [old, new] = [7, 8].map(|last| std::net::IpAddr::from([10, 0, 0, last]));
    let announce = |learned: &LearnedBindings, address, tep: u16, now_ns| {
        learned.admit(address, [2, 0, 0, 0, 0, 1], tep.into(), now_ns, |_| false)
    };
    let later = 2 + SILENCE_NS;
    announce(&learned, old, 1, 1).unwrap();
    let other = Arc::clone(&learned);
    let thread = thread::spawn(move || announce(&other, new, 2, later));
    let took_old = announce(&learned, old, 3, later);
    thread.join().unwrap().unwrap();
    // What was admitted without being remembered is free, and finds no room.
    let [held] = learned.all().collect::<Vec<_>>()[..] else { panic!("{:?}", learned.all().count()) };
    let is_new = held.address == new;
    assert_eq!(held.tep, TepIndex::from(if is_new { 2 } else { 3 }), "{held:?}");
    assert!(is_new || took_old.is_ok());
    assert_eq!(announce(&learned, held.address, 4, later), Err(StrictReason::OtherOwner));
    assert_eq!((held.mac, learned.counted()), ([2, 0, 0, 0, 0, 1], 1));
}

/// An operator frees an address while its owner and another announce it: it has one owner then, or none.
pub(super) fn forgetting(_: usize) {
    let learned = Arc::new(LearnedBindings::new());
    let address = std::net::IpAddr::from([10, 0, 0, 7]);
    let announce = move |learned: &LearnedBindings, tep: u16| {
        learned.admit(address, [2, 0, 0, 0, 0, 1], tep.into(), 1, |_| false)
    };
    announce(&learned, 1).unwrap();
    let other = Arc::clone(&learned);
    let thread = thread::spawn(move || announce(&other, 2));
    assert!(learned.forget(address));
    let took = thread.join().unwrap();
    assert_eq!(learned.len(), usize::from(took.is_ok()));
    assert_eq!(learned.counted(), u64::from(took.is_ok()));
}
