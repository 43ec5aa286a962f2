//! Announcements of the node for others, byte for byte as scapy makes them, and as a worker reads them.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::net::{IpAddr, Ipv4Addr};

use common::unhex;
use wire::announcement::Kind;
use wire::gratuitous::{Form, advertisement, garp};
use wire::{MacAddr, announcement};

const MAC: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 1]);

#[test]
fn each_form_is_what_another_implementation_makes_and_claims_the_address() {
    let four = Ipv4Addr::new(10, 0, 0, 100);
    let (global, local) = ("2001:db8::100".parse().unwrap(), "fe80::100".parse().unwrap());
    let arp = "ffffffffffff 525400000001 0806 0001 0800 06 04";
    let six = "333300000001 525400000001 86dd 60000000 0020 3a ff";
    let cases: [(&str, Vec<u8>, String, IpAddr); 4] = [
        (
            "request",
            garp(MAC, four, Form::Request).to_vec(),
            format!("{arp} 0001 525400000001 0a000064 000000000000 0a000064 {}", "00".repeat(18)),
            four.into(),
        ),
        (
            "reply",
            garp(MAC, four, Form::Reply).to_vec(),
            format!("{arp} 0002 525400000001 0a000064 525400000001 0a000064 {}", "00".repeat(18)),
            four.into(),
        ),
        (
            "advertisement",
            advertisement(MAC, global).to_vec(),
            format!(
                "{six} 20010db8000000000000000000000100 ff020000000000000000000000000001 \
                 8800a6d8 20000000 20010db8000000000000000000000100 0201525400000001"
            ),
            global.into(),
        ),
        (
            "advertisement of what may be a router",
            advertisement(MAC, local).to_vec(),
            format!(
                "{six} fe800000000000000000000000000100 ff020000000000000000000000000001 \
                 88008548 a0000000 fe800000000000000000000000000100 0201525400000001"
            ),
            local.into(),
        ),
    ];
    for (what, frame, expected, address) in cases {
        assert_eq!(frame, unhex(&expected.replace(' ', "")), "{what}");
        let read = announcement(&frame).unwrap();
        assert_eq!((read.kind, read.source, read.bound), (Kind::Claim, MAC, MAC), "{what}");
        assert_eq!(Vec::from_iter(read.addresses()), [address], "{what}");
        assert!(wire::Class::of(&frame) == wire::Class::Control, "{what}");
    }
}
