//! Announcements in any inner frame: ARP is read as etherparse reads it, and the inspector's short way as its long one.
#![no_main]

use std::net::IpAddr;

use etherparse::{NetSlice, SlicedPacket};
use libfuzzer_sys::fuzz_target;
use wire::announcement;
use wire::announcement::{Kind, plain_arp};

fuzz_target!(|inner: &[u8]| {
    let found = announcement(inner);
    if let Some(found) = &found {
        let addresses: Vec<IpAddr> = found.addresses().collect();
        let nameless = found.cut || matches!(found.kind, Kind::Arrival | Kind::Election);
        assert!(nameless || !addresses.is_empty(), "an announcement of nothing");
        // A packet of VRRP's number, whole, and without an address.
        if found.kind == Kind::Election {
            assert!(addresses.is_empty() && !found.cut && found.bound == found.source, "{found:?}");
            assert!(inner.len() >= 14 + 20 + 8 && inner.contains(&112), "{found:?}");
        }
        let most = match found.kind {
            // Any place of a later fragment may be one.
            Kind::Fragment => inner.len() / 8,
            // Sender, target, and a redirect's destination.
            Kind::Hidden => 3,
            _ => 256,
        };
        assert!(addresses.len() <= most, "more addresses than a frame can name");
        assert!(!addresses.iter().any(|address| address.is_unspecified() || address.is_multicast()));
        if let Some(only) = found.only() {
            assert!(addresses.is_empty() || addresses == [only]);
        }
        assert_eq!(found.source.0, inner[6..12], "the frame's own source");
    }
    if let Some(short) = plain_arp(inner) {
        let long = found.as_ref().map(|long| (long.kind, long.source, long.bound, long.only()));
        match short.addresses().next() {
            Some(_) => assert_eq!(long, Some((short.kind, short.source, short.bound, short.only()))),
            None => assert!(long.is_none(), "the long way found an address that the short one did not"),
        }
    }
    // A gratuitous ARP by etherparse is a claim, and nothing else that it reads as ARP is one.
    let Ok(packet) = SlicedPacket::from_ethernet(inner) else { return };
    let Some(NetSlice::Arp(arp)) = packet.net else { return };
    if packet.link_exts.is_empty() && arp.hw_addr_type().0 == 1 && arp.sender_protocol_addr().len() == 4 {
        let answers = matches!(arp.operation().0, 1 | 2);
        let claims = answers && arp.sender_protocol_addr() == arp.target_protocol_addr();
        let probes = arp.sender_protocol_addr() == [0; 4];
        if let Some(found) = &found {
            assert_eq!(found.kind == Kind::Claim, claims && !probes, "{found:?}");
            assert_eq!(found.kind == Kind::Probe, probes, "{found:?}");
            // A probe binds nothing.
            let bound = if probes { &inner[6..12] } else { arp.sender_hw_addr() };
            assert_eq!(found.bound.0, *bound);
        }
    }
});
