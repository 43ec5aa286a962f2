//! Lookups in a VIP table, its announcers, and the life of VIP tables in a table.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Weak},
};

use bcast_domain::{
    Announcer, AnnouncerId, LimitError, Mac, MemberList, TepIndex, Vip, VipId, VipKey, VipTable, Vni, limits,
    table,
};
use proptest::prelude::*;

const PLAIN: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
const OTHER: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];

fn announcer(mac: [u8; 6], tep: u16, id: u32) -> Announcer {
    Announcer { mac: Mac::new(mac).unwrap(), tep: tep.into(), id: AnnouncerId::new(id).unwrap() }
}

fn vip(id: u32, address: IpAddr) -> Vip {
    Vip {
        id: VipId::new(id).unwrap(),
        address,
        vrids: [].into(),
        announcers: [announcer(PLAIN, 1, id)].into(),
        group: 0,
    }
}

fn members(indices: &[u16]) -> Vec<TepIndex> {
    indices.iter().copied().map(TepIndex::from).collect()
}

fn guard_of(id: u32) -> Arc<VipTable> {
    Arc::new(VipTable::new([vip(id, Ipv4Addr::new(10, 0, 0, 100).into())]))
}

/// The numbers of the virtual IPs that a list has in its VIP table.
fn guarded(list: &MemberList) -> Option<Vec<u32>> {
    list.vip_table().map(|vip_table| vip_table.vips().iter().map(|vip| vip.id.get()).collect())
}

#[test]
fn numbers_of_virtual_ips_and_speakers_stay_below_their_limits() {
    assert_eq!(VipId::new(131_071).map(VipId::index), Ok(limits::MAX_VIPS - 1));
    assert_eq!(VipId::new(131_072), Err(LimitError::VipId(131_072)));
    assert_eq!(AnnouncerId::new(1_048_575).map(AnnouncerId::index), Ok(limits::MAX_ANNOUNCERS - 1));
    assert_eq!(AnnouncerId::new(1_048_576), Err(LimitError::AnnouncerId(1_048_576)));
}

#[test]
fn a_speaker_is_its_mac_at_its_endpoint_or_alone_there_a_virtual_mac_of_a_stated_vrid() {
    let v4 = |vrid| [0, 0, 0x5e, 0, 1, vrid];
    let v6 = |vrid| [0, 0, 0x5e, 0, 2, vrid];
    // Two on endpoint 3; an instance that migrates from 1 to 2 has an announcer at each.
    let announcers =
        [announcer(PLAIN, 1, 10), announcer(PLAIN, 2, 11), announcer(OTHER, 3, 12), announcer([2; 6], 3, 13)];
    let four = Vip {
        id: VipId::new(0).unwrap(),
        address: Ipv4Addr::new(10, 0, 0, 100).into(),
        vrids: [51, 52].into(),
        announcers: announcers.into(),
        group: 0,
    };
    let six = Vip { address: Ipv6Addr::LOCALHOST.into(), ..four.clone() };
    let cases = [
        ("its own MAC", &four, PLAIN, 1, Some(10)),
        ("its own MAC where it moves to", &four, PLAIN, 2, Some(11)),
        ("its own MAC at another's endpoint", &four, PLAIN, 3, None),
        ("another's MAC at its endpoint", &four, OTHER, 1, None),
        ("one of two at an endpoint", &four, OTHER, 3, Some(12)),
        ("a virtual MAC", &four, v4(51), 1, Some(10)),
        ("another virtual MAC", &four, v4(52), 2, Some(11)),
        ("a virtual MAC of no stated VRID", &four, v4(53), 1, None),
        ("a virtual MAC of the other family", &four, v6(51), 1, Some(10)),
        ("a virtual MAC that either of two may use", &four, v4(51), 3, None),
        ("a virtual MAC where nobody is attached", &four, v4(51), 4, None),
        ("an IPv6 virtual MAC", &six, v6(51), 1, Some(10)),
        ("an IPv4 virtual MAC for IPv6, as CARP has it", &six, v4(51), 1, Some(10)),
        ("what only resembles a virtual MAC", &four, [0, 0, 0x5e, 1, 1, 51], 1, None),
    ];
    for (case, vip, mac, tep, expected) in cases {
        assert_eq!(vip.announcer(mac, TepIndex::from(tep)).map(AnnouncerId::get), expected, "{case}");
        let vip_table = VipTable::new([vip.clone()]);
        let found = vip_table.look_up(&VipKey::new(vip.address)).unwrap();
        assert_eq!(
            found.announcer(mac, TepIndex::from(tep)).map(AnnouncerId::get),
            expected,
            "{case}, guarded"
        );
    }
}

#[test]
fn a_domain_keeps_its_guard_when_its_members_change_and_its_members_when_its_guard_does() {
    let (mut domains, _array, readers) = table(());
    let mut reader = readers.reader();
    let vni = Vni::new(5001);
    assert!(!domains.set_vip_table(vni, Some(guard_of(0))), "there is no such domain");
    assert!(reader.lookup(vni).is_none());
    for long in [0, 1, 16, 17, 1000] {
        let first: Vec<TepIndex> = (0..long).map(TepIndex::from).collect();
        let id = domains.set(vni, &first).unwrap();
        assert!(domains.set_vip_table(vni, Some(guard_of(7))));
        let list = reader.lookup(vni).unwrap();
        assert_eq!((list.domain(), list.members(), guarded(list)), (id, &first[..], Some(vec![7])));
        assert!(first.iter().enumerate().all(|(at, &member)| list.position(member) == Some(at)));

        domains.set(vni, &members(&[9, 4])).unwrap();
        let list = reader.lookup(vni).unwrap();
        assert_eq!(
            (list.domain(), list.members(), guarded(list)),
            (id, &members(&[4, 9])[..], Some(vec![7]))
        );
        assert_eq!(domains.memberships(), 2);

        assert!(domains.set_vip_table(vni, Some(guard_of(8))));
        assert_eq!(reader.lookup(vni).and_then(guarded), Some(vec![8]));
        assert!(domains.set_vip_table(vni, None));
        let list = reader.lookup(vni).unwrap();
        assert_eq!((list.members(), guarded(list)), (&members(&[4, 9])[..], None));
        reader.quiesce();
        domains.reclaim();
    }
}

#[test]
fn a_domain_that_is_removed_and_made_again_has_no_guard() {
    let (mut domains, _array, readers) = table(());
    let reader = readers.reader();
    let vni = Vni::new(1);
    domains.set(vni, &[]).unwrap();
    domains.set_vip_table(vni, Some(guard_of(7)));
    domains.remove(vni);
    assert!(!domains.set_vip_table(vni, Some(guard_of(8))), "it is gone");
    domains.set(vni, &[]).unwrap();
    assert!(reader.lookup(vni).unwrap().vip_table().is_none());
}

#[test]
fn a_guard_is_freed_once_no_list_has_it_and_every_reader_has_left_the_last() {
    let (mut domains, _array, readers) = table(());
    let mut reader = readers.reader();
    let vni = Vni::new(1);
    let gone = |vip_table: &Weak<VipTable>| vip_table.strong_count() == 0;
    let fresh = |id| {
        let vip_table = guard_of(id);
        (Arc::downgrade(&vip_table), vip_table)
    };

    domains.set(vni, &members(&[1])).unwrap();
    let (first, vip_table) = fresh(1);
    domains.set_vip_table(vni, Some(vip_table));
    domains.set(vni, &members(&[2])).unwrap();
    let held = reader.hold(vni).unwrap();
    let (second, vip_table) = fresh(2);
    domains.set_vip_table(vni, Some(vip_table));
    reader.quiesce();
    domains.reclaim();
    assert!(!gone(&first), "a list that has it is held");
    assert_eq!(guarded(&held), Some(vec![1]));
    drop(held);
    reader.quiesce();
    domains.reclaim();
    reader.quiesce();
    domains.reclaim();
    assert!(gone(&first) && !gone(&second));

    domains.remove(vni);
    domains.reclaim();
    assert!(!gone(&second), "the reader has not reported");
    reader.quiesce();
    domains.reclaim();
    assert!(gone(&second));

    // What is published or retired when all are gone is freed with them; growing the table loses none.
    let weak: Vec<_> = (0..200_u32)
        .map(|n| {
            let (weak, vip_table) = fresh(n);
            domains.set(n.into(), &[]).unwrap();
            domains.set_vip_table(n.into(), Some(vip_table));
            weak
        })
        .collect();
    domains.set_vip_table(7.into(), None);
    assert!(weak.iter().all(|vip_table| !gone(vip_table)), "the reader has not reported");
    drop((domains, _array, readers, reader));
    assert!(weak.iter().all(gone));
}

/// Few enough that random ones meet, of both families, some that differ in their high bits only.
fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0..40_u32).prop_map(|n| Ipv4Addr::from_bits(0x0a00_0000 + n).into()),
        (0..40_u32).prop_map(|n| Ipv4Addr::from_bits(n << 24).into()),
        (0..40_u128).prop_map(|n| Ipv6Addr::from_bits(0xfd00 << 112 | n).into()),
        (0..40_u128).prop_map(|n| Ipv6Addr::from_bits(n << 96 | 1).into()),
        (0..40_u32).prop_map(|n| Ipv4Addr::from_bits(0x0a00_0000 + n).to_ipv6_mapped().into()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_guard_finds_what_a_map_finds(
        addresses in prop::collection::vec(address(), 0..200),
        asked in prop::collection::vec(address(), 0..200),
    ) {
        let mut map = HashMap::new();
        let vips: Vec<Vip> = (0..).zip(&addresses).map(|(id, &address)| vip(id, address)).collect();
        for vip in &vips {
            // The first of an address counts.
            map.entry(vip.address).or_insert(vip);
        }
        let vip_table = VipTable::new(vips.iter().cloned());
        prop_assert_eq!(vip_table.vips(), &vips[..]);
        for address in addresses.iter().chain(&asked) {
            let key = VipKey::new(*address);
            prop_assert_eq!(key.address(), *address);
            vip_table.prefetch(&key);
            let found = vip_table.look_up(&key);
            prop_assert_eq!(found.map(|found| found.vip()), map.get(address).copied(), "{}", address);
            prop_assert_eq!(found.map(|found| found.id()), map.get(address).map(|vip| vip.id), "{}", address);
            prop_assert_eq!(vip_table.find(*address), map.get(address).copied(), "{}", address);
        }
    }

    #[test]
    fn who_speaks_does_not_depend_on_the_order_of_the_speakers(
        order in Just([0_usize, 1, 2, 3]).prop_shuffle(),
        teps in prop::array::uniform4(0..3_u16),
        mac in prop_oneof![Just(PLAIN), Just(OTHER), (50..53_u8).prop_map(|vrid| [0, 0, 0x5e, 0, 1, vrid])],
        from in 0..4_u16,
    ) {
        let mac_of = |n: usize| [0x52, 0x54, 0, 0, 0, u8::try_from(n).unwrap() + 1];
        let all = [0, 1, 2, 3].map(|n| announcer(mac_of(n), teps[n], u32::try_from(n).unwrap()));
        let vip = Vip {
            vrids: [51].into(),
            announcers: order.map(|n| all[n]).into(),
            group: 0,
            ..vip(0, Ipv4Addr::new(10, 0, 0, 100).into())
        };
        let there: Vec<_> = all.iter().filter(|announcer| announcer.tep == from.into()).collect();
        let expected = match there.iter().find(|announcer| announcer.mac.octets() == mac) {
            Some(own) => Some(own.id),
            None if mac == [0, 0, 0x5e, 0, 1, 51] && there.len() == 1 => Some(there[0].id),
            None => None,
        };
        prop_assert_eq!(vip.announcer(mac, from.into()), expected);
        let vip_table = VipTable::new([vip.clone()]);
        let found = vip_table.look_up(&VipKey::new(vip.address)).unwrap();
        prop_assert_eq!(found.announcer(mac, from.into()), expected);
        prop_assert_eq!(found.announcer([0; 6], TepIndex::default()), None);
    }
}
