//! TEPs: found by their addresses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail")]

use std::net::Ipv4Addr;

use bcast_domain::{Tep, TepIndex};
use engine::teps::TepArray;
use wire::MacAddr;
use wire::encap::Gre;

fn tep(text: &str) -> Tep {
    text.parse().unwrap()
}

#[test]
fn an_empty_array_knows_nobody() {
    assert_eq!(TepArray::<Gre>::empty().find(Ipv4Addr::new(198, 18, 0, 1)), None);
    assert_eq!(TepArray::<Gre>::build(MacAddr([2; 6]), &[]).find(Ipv4Addr::UNSPECIFIED), None);
    assert_eq!(TepArray::<Gre>::build(MacAddr([2; 6]), &[None]).find(Ipv4Addr::UNSPECIFIED), None);
}

#[test]
fn each_tep_is_found_by_its_address_and_strangers_are_not() {
    let hop = MacAddr([2, 0, 0, 0, 0, 9]);
    let teps: Vec<_> = (0..5_000_u32)
        .map(|i| {
            let address = Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + i);
            (i % 7 != 3).then(|| (Tep::new(address).unwrap(), (i % 2 == 0).then_some(hop)))
        })
        .collect();
    let array = TepArray::<Gre>::build(MacAddr([2; 6]), &teps);
    for (index, entry) in (0_u32..).zip(&teps) {
        let address = Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + index);
        let expected = entry.map(|_| TepIndex::new(index).unwrap());
        assert_eq!(array.find(address), expected, "{address}");
        let resolved = entry.is_some_and(|(_, hop)| hop.is_some());
        assert_eq!(array.templates()[index as usize].is_resolved(), resolved, "{address}");
    }
    assert_eq!(array.find(tep("203.0.113.1").address()), None);
}
