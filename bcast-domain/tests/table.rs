//! Promises of the table to a publisher and a reader, in one thread.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::{collections::BTreeMap, time::Duration};

use bcast_domain::{LimitError, MemberList, TepIndex, Vni, limits, table, table_with_capacity};

fn members(indices: &[u32]) -> Vec<TepIndex> {
    indices.iter().map(|&index| TepIndex::new(index).unwrap()).collect()
}

fn indices(list: &MemberList) -> Vec<u32> {
    list.members().iter().map(|member| member.get()).collect()
}

#[test]
fn a_reader_finds_what_is_set_and_not_what_is_removed() {
    let (mut domains, _array, readers) = table(());
    let mut reader = readers.reader();
    for vni in [0, 5001, u32::MAX] {
        let vni = Vni::from(vni);
        assert!(reader.lookup(vni).is_none());
        let id = domains.set(vni, &members(&[7, 3])).unwrap();
        assert_eq!(reader.lookup(vni).map(indices), Some(vec![3, 7]));
        assert_eq!(reader.lookup(vni).map(MemberList::domain), Some(id));
        assert!(domains.remove(vni));
        assert!(!domains.remove(vni), "it is gone already");
        assert!(reader.lookup(vni).is_none());
        reader.quiesce();
    }
    assert_eq!((domains.len(), domains.memberships(), domains.is_empty()), (0, 0, true));
}

#[test]
fn a_list_knows_the_position_of_each_member_be_it_short_or_long() {
    let (mut domains, _array, readers) = table(());
    let reader = readers.reader();
    for count in [0, 1, 16, 17, 1000] {
        let odd: Vec<u32> = (0..count).map(|i| 2 * i + 1).collect();
        domains.set(1.into(), &members(&odd)).unwrap();
        let list = reader.lookup(1.into()).unwrap();
        for (position, &index) in odd.iter().enumerate() {
            assert_eq!(list.position(TepIndex::new(index).unwrap()), Some(position));
            assert_eq!(list.position(TepIndex::new(index - 1).unwrap()), None);
        }
    }
}

#[test]
fn a_refused_change_names_its_fault_and_changes_nothing() {
    let (mut domains, _array, _readers) = table(());
    let vni = Vni::from(5001);
    domains.set(vni, &members(&[1, 2])).unwrap();
    let too_many: Vec<TepIndex> = (0..=16_384).map(|index| TepIndex::new(index).unwrap()).collect();
    let cases = [
        ("twice in order", members(&[1, 1]), LimitError::DuplicateMember { vni, member: members(&[1])[0] }),
        ("twice apart", members(&[9, 4, 9]), LimitError::DuplicateMember { vni, member: members(&[9])[0] }),
        ("too many", too_many, LimitError::Members { vni, count: 16_385 }),
    ];
    for (case, list, refused) in cases {
        assert_eq!(domains.set(vni, &list), Err(refused), "{case}");
        assert_eq!(domains.get(vni).map(indices), Some(vec![1, 2]), "{case}");
        assert_eq!((domains.len(), domains.memberships(), domains.retired()), (1, 2, 0), "{case}");
    }
    assert_eq!(TepIndex::new(65_535).map(TepIndex::get), Ok(65_535));
    assert_eq!(TepIndex::new(65_536), Err(LimitError::TepIndex(65_536)));
}

#[test]
fn memberships_are_limited_in_all() {
    let (mut domains, _array, _readers) = table(());
    let most: Vec<TepIndex> = (0..16_384).map(|index| TepIndex::new(index).unwrap()).collect();
    for vni in 0..2048 {
        domains.set(vni.into(), &most).unwrap();
    }
    assert_eq!(domains.memberships(), limits::MAX_MEMBERSHIPS);
    let vni = Vni::from(2048);
    let refused = LimitError::Memberships { vni, count: limits::MAX_MEMBERSHIPS + 1 };
    assert_eq!(domains.set(vni, &most[..1]), Err(refused));
    domains.set(0.into(), &most[1..]).unwrap();
    domains.set(vni, &most[..1]).unwrap();
}

#[test]
fn domains_are_limited_and_their_numbers_are_dense() {
    let (mut domains, _array, readers) = table_with_capacity((), limits::MAX_DOMAINS);
    let mut reader = readers.reader();
    let count = u32::try_from(limits::MAX_DOMAINS).unwrap();
    for n in 0..count {
        assert_eq!(domains.set(n.wrapping_mul(0x9e37_79b9).into(), &[]).unwrap().get(), n);
    }
    let new = Vni::from(1);
    assert!(domains.get(new).is_none());
    assert_eq!(domains.set(new, &[]), Err(LimitError::Domains { vni: new }));
    // The number of a removed domain waits for the reader.
    assert!(domains.remove(0.into()));
    assert_eq!(domains.set(new, &[]), Err(LimitError::DomainIdsInGrace { vni: new }));
    reader.quiesce();
    assert_eq!(domains.set(new, &[]).unwrap().get(), 0);
    assert_eq!(domains.len(), limits::MAX_DOMAINS);
}

#[test]
fn the_number_of_a_removed_domain_is_reused_only_after_every_reader_has_moved_on() {
    let (mut domains, _array, readers) = table(());
    let mut reader = readers.reader();
    let old = domains.set(1.into(), &[]).unwrap();
    domains.remove(1.into());
    domains.reclaim();
    let while_in_use = domains.set(2.into(), &[]).unwrap();
    assert_ne!(old, while_in_use);
    reader.quiesce();
    domains.reclaim();
    assert_eq!(domains.set(3.into(), &[]).unwrap(), old);
    // A domain that lives keeps its number.
    assert_eq!(domains.set(2.into(), &members(&[1])).unwrap(), while_in_use);
}

#[test]
fn bulk_lookup_agrees_with_single_lookup() {
    let (mut domains, _array, readers) = table(());
    let reader = readers.reader();
    for vni in (0..3000).step_by(3) {
        domains.set(vni.into(), &members(&[vni % 100, 200 + vni % 7])).unwrap();
    }
    for vni in (0..3000).step_by(9) {
        domains.remove(vni.into());
    }
    let all: Vec<Vni> = (0..3000).map(Vni::from).collect();
    for burst in [0, 1, 5, 31, 32] {
        for vnis in all.chunks(burst.max(1)) {
            let vnis = &vnis[..burst.min(vnis.len())];
            let mut lists = [None; 32];
            // What was in the array before is overwritten.
            reader.lookup_bulk(&all[3..4], &mut lists);
            reader.lookup_bulk(vnis, &mut lists);
            for (at, list) in lists.into_iter().enumerate() {
                let single = vnis.get(at).and_then(|&vni| reader.lookup(vni));
                assert_eq!(list.map(std::ptr::from_ref), single.map(std::ptr::from_ref));
            }
        }
    }
}

#[test]
fn the_table_grows_and_sheds_dead_keys_and_keeps_every_domain() {
    let (mut domains, _array, readers) = table(());
    let mut reader = readers.reader();
    let mut model = BTreeMap::new();
    for n in 0..20_000_u32 {
        let vni = n.wrapping_mul(256);
        domains.set(vni.into(), &members(&[n % 1000])).unwrap();
        model.insert(vni, vec![n % 1000]);
        if n % 3 != 0 {
            let old = n.saturating_sub(50).wrapping_mul(256);
            assert_eq!(domains.remove(old.into()), model.remove(&old).is_some());
        }
    }
    let found: BTreeMap<u32, Vec<u32>> =
        domains.iter().map(|(vni, list)| (vni.get(), indices(list))).collect();
    assert_eq!(found, model);
    assert_eq!((domains.len(), domains.memberships()), (model.len(), model.len()));
    for (&vni, list) in &model {
        assert_eq!(reader.lookup(vni.into()).map(indices).as_ref(), Some(list));
    }
    domains.epoch();
    reader.quiesce();
    let retired = domains.retired();
    assert!(retired > 0);
    assert_eq!((domains.reclaim(), domains.retired()), (retired, 0));
}

#[test]
fn a_reader_that_does_not_report_holds_back_what_it_may_use_and_an_offline_one_nothing() {
    let (mut domains, mut array, readers) = table(vec![1]);
    let mut reader = readers.reader();
    domains.set(1.into(), &members(&[1])).unwrap();
    let list = reader.lookup(1.into()).unwrap();
    let before = reader.array();
    domains.set(1.into(), &members(&[2])).unwrap();
    let epoch = array.replace(vec![2]);
    assert_eq!((domains.reclaim(), array.reclaim()), (0, 0));
    assert!(!readers.grace().passed(epoch));
    assert_eq!((indices(list), before), (vec![1], &vec![1]));
    assert_eq!(readers.grace().wait(epoch, Duration::from_millis(1)).unwrap_err().readers, 1);

    let away = reader.offline();
    assert!(readers.grace().passed(epoch));
    assert_eq!((domains.reclaim(), array.reclaim()), (1, 1));
    drop(away);
    assert_eq!(reader.array(), &vec![2]);
    let held = reader.lookup(1.into()).unwrap();
    domains.remove(1.into());
    assert_eq!(domains.reclaim(), 0, "it is online again");
    assert_eq!(indices(held), [2]);
    drop(reader);
    assert_eq!(domains.reclaim(), 1);
}

#[test]
fn a_leaked_offline_guard_leaves_the_reader_safe() {
    let (mut domains, _array, readers) = table(());
    let mut reader = readers.reader();
    domains.set(1.into(), &members(&[1])).unwrap();
    std::mem::forget(reader.offline());
    let list = reader.lookup(1.into()).unwrap();
    domains.remove(1.into());
    assert_eq!(domains.reclaim(), 0, "the lookup brought the reader online");
    assert_eq!(indices(list), [1]);
    std::mem::forget(reader.offline());
    reader.quiesce();
    domains.set(1.into(), &[]).unwrap();
    assert!(!readers.grace().passed(domains.epoch()), "the report brought the reader online");
}

#[test]
fn an_epoch_covers_what_was_published_before_it_and_moves_only_with_news() {
    let (mut domains, mut array, readers) = table(0);
    let (grace, mut reader) = (readers.grace(), readers.reader());
    let nothing = domains.epoch();
    assert!(grace.passed(nothing));
    domains.set(1.into(), &[]).unwrap();
    let first = domains.epoch();
    assert_eq!(first, domains.epoch());
    assert!(nothing < first && !grace.passed(first));
    let second = array.replace(1);
    assert!(first < second);
    reader.quiesce();
    assert!(grace.passed(first) && grace.passed(second));
    assert_eq!(grace.wait(second, Duration::ZERO), Ok(()));
}

#[test]
fn readers_outlive_the_publishers_and_keep_what_they_hold() {
    let (mut domains, mut array, readers) = table(String::from("old"));
    let mut reader = readers.reader();
    domains.set(1.into(), &members(&[1])).unwrap();
    let (list, text) = (reader.lookup(1.into()).unwrap(), reader.array());
    domains.set(1.into(), &members(&[2])).unwrap();
    array.replace(String::from("new"));
    drop((domains, array, readers));
    assert_eq!((indices(list), text.as_str()), (vec![1], "old"));
    reader.quiesce();
    assert_eq!(reader.lookup(1.into()).map(indices), Some(vec![2]));
    assert_eq!(reader.array(), "new");
}

#[test]
fn what_is_held_outlives_reports_and_holds_back_removals_but_not_news() {
    let (mut domains, _array, readers) = table(());
    let (grace, mut reader) = (readers.grace(), readers.reader());
    domains.set(1.into(), &members(&[1])).unwrap();
    assert!(reader.hold(2.into()).is_none());
    let held = reader.hold(1.into()).unwrap();
    reader.quiesce();
    let second = reader.hold(1.into()).unwrap();
    assert!(!second.is_awaited() && !reader.is_awaited());
    domains.remove(1.into());
    let removed = domains.epoch();
    assert!(!second.is_awaited(), "nobody waits");
    assert!(grace.wait(removed, Duration::ZERO).is_err());
    assert!(held.is_awaited() && second.is_awaited() && reader.is_awaited());
    for _ in 0..3 {
        reader.quiesce();
        assert_eq!(grace.wait_seen(removed, Duration::ZERO), Ok(()), "it does not find the domain any more");
        assert!(!grace.passed(removed), "but it uses what it holds");
        assert_eq!(domains.reclaim(), 0);
    }
    assert!(reader.hold(1.into()).is_none());
    assert_eq!((indices(&held), indices(&second)), (vec![1], vec![1]));
    drop(held);
    reader.quiesce();
    assert!(!grace.passed(removed));
    drop(second);
    assert!(!grace.passed(removed), "nobody has looked");
    reader.quiesce();
    assert!(grace.passed(removed) && !reader.is_awaited());
    assert_eq!(domains.reclaim(), 1);
}

#[test]
fn whatever_holds_a_removal_back_can_tell_also_what_was_held_after_it() {
    let (mut domains, _array, readers) = table(());
    let (grace, mut reader) = (readers.grace(), readers.reader());
    for vni in [1, 2] {
        domains.set(vni.into(), &members(&[1])).unwrap();
    }
    reader.quiesce();
    let old = reader.hold(1.into()).unwrap();
    reader.quiesce();
    let young = reader.hold(1.into()).unwrap();
    domains.remove(1.into());
    let removed = domains.epoch();
    reader.quiesce();
    let after = reader.hold(2.into()).unwrap();
    assert!(grace.wait(removed, Duration::ZERO).is_err());
    drop((old, young));
    reader.quiesce();
    assert!(grace.passed(removed) || after.is_awaited(), "it holds the removal back, and does not know");
    drop(after);
    reader.quiesce();
    assert!(grace.passed(removed));
    let later = reader.hold(2.into()).unwrap();
    assert!(!later.is_awaited(), "that wait is over");
}

#[test]
fn one_hold_after_another_does_not_hold_a_removal_back_for_ever() {
    let (mut domains, _array, readers) = table(());
    let (grace, mut reader) = (readers.grace(), readers.reader());
    for vni in [1, 2] {
        domains.set(vni.into(), &members(&[1])).unwrap();
    }
    reader.quiesce();
    let mut held = vec![reader.hold(1.into()).unwrap()];
    domains.remove(1.into());
    let removed = domains.epoch();
    // There is always a hold, each of them lasts for three sections.
    let sections = (1..20).find(|_| {
        held.push(reader.hold(2.into()).unwrap());
        reader.quiesce();
        if held.len() > 3 {
            held.remove(0);
        }
        grace.passed(removed)
    });
    assert!(sections.is_some_and(|sections| sections <= 8), "{sections:?}");
}

#[test]
fn what_is_held_outlives_its_reader_the_publishers_and_a_sleep() {
    let (mut domains, array, readers) = table(());
    let mut reader = readers.reader();
    for vni in [1, 2] {
        domains.set(vni.into(), &members(&[vni])).unwrap();
    }
    let (first, second) = (reader.hold(1.into()).unwrap(), reader.hold(2.into()).unwrap());
    domains.remove(1.into());
    let away = reader.offline();
    assert_eq!(domains.reclaim(), 0, "asleep, but it holds the list");
    drop(away);
    drop(reader);
    assert_eq!(domains.reclaim(), 0, "gone, but the list is held");
    drop((domains, array, readers));
    assert_eq!((indices(&first), indices(&second)), (vec![1], vec![2]));
}
