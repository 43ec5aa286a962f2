//! MAC addresses as text, and the node's set of addresses.

#![allow(clippy::expect_used, reason = "tests")]

use std::net::Ipv4Addr;

use wire::{MacAddr, MacAddrError, NodeAddresses, NodeAddressesError};

#[test]
fn a_mac_address_reads_back_as_it_is_shown() {
    let rows = [
        ("02:00:00:00:00:fe", [2, 0, 0, 0, 0, 0xfe]),
        ("ff:ff:ff:ff:ff:ff", [0xff; 6]),
        ("00:00:5e:00:01:33", [0, 0, 0x5e, 0, 1, 0x33]),
    ];
    for (text, bytes) in rows {
        assert_eq!(text.parse(), Ok(MacAddr(bytes)));
        assert_eq!(text.to_uppercase().parse(), Ok(MacAddr(bytes)));
        assert_eq!(text.replace(':', "-").parse(), Ok(MacAddr(bytes)));
        assert_eq!(MacAddr(bytes).to_string(), text);
        assert_eq!(format!("{:?}", MacAddr(bytes)), text);
    }
}

#[test]
fn what_is_no_mac_address_is_refused_by_name() {
    let rows = [
        "",
        ":",
        "02",
        "02:00:00:00:00",
        "02:00:00:00:00:01:",
        "02:00:00:00:00:01:02",
        "2:0:0:0:0:1",
        "02-00-00:00-00-01",
        "02:00:00:00:00:0g",
        "+2:00:00:00:00:01",
        "02:00:00:00:00:001",
        " 02:00:00:00:00:01",
        "02:00:00:00:00:\u{e9}",
    ];
    for text in rows {
        assert_eq!(text.parse::<MacAddr>(), Err(MacAddrError(text.to_owned())));
    }
    let error = MacAddrError("eth0".to_owned()).to_string();
    assert_eq!(error, "\"eth0\" is not a MAC address: write six hexadecimal bytes, as in 02:00:00:00:00:01");
}

#[test]
fn groups_zero_and_reserved_macs_are_told_apart() {
    let rows = [
        ("ff:ff:ff:ff:ff:ff", (true, false, false)),
        ("01:00:5e:00:00:12", (true, false, false)),
        ("01:80:c2:00:00:00", (true, false, true)),
        ("01:80:c2:00:00:0f", (true, false, true)),
        ("01:80:c2:00:00:10", (true, false, false)),
        ("00:80:c2:00:00:00", (false, false, false)),
        ("00:00:00:00:00:00", (false, true, false)),
        ("00:00:00:00:00:01", (false, false, false)),
    ];
    for (text, expected) in rows {
        let mac: MacAddr = text.parse().expect("a MAC address");
        assert_eq!((mac.is_multicast(), mac.is_zero(), mac.is_link_local_reserved()), expected, "{mac}");
    }
}

#[test]
fn a_node_has_one_to_eight_addresses() {
    let nine = [Ipv4Addr::LOCALHOST; 9];
    assert_eq!(NodeAddresses::new(&[]), Err(NodeAddressesError::Empty));
    assert_eq!(NodeAddresses::new(&nine), Err(NodeAddressesError::TooMany(9)));
    assert!(NodeAddresses::new(&nine[..8]).is_ok());
    assert_eq!(NodeAddressesError::TooMany(9).to_string(), "9 addresses are too many: a node has at most 8");
}

#[test]
fn an_address_set_contains_exactly_what_it_was_given() {
    let addresses: Vec<_> = (1..=8).map(|n| Ipv4Addr::new(198, 18, 0, n)).collect();
    for len in 1..=8 {
        let set = NodeAddresses::new(&addresses[..len]).expect("one to eight");
        assert_eq!(set.first(), addresses[0]);
        assert!(set.iter().eq(addresses[..len].iter().copied()));
        for (i, &address) in addresses.iter().enumerate() {
            assert_eq!(set.contains(address), i < len, "{address} of {len}");
        }
        assert!(!set.contains(Ipv4Addr::UNSPECIFIED), "an unused place is no address");
    }
}
