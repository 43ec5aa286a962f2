//! HAVIPs and their events.

use ctl_api::model::*;
use ctl_api::proto::{self, watch_event::Kind};

use super::{attachment, entry, havip, tep};

#[test]
fn a_havip_and_its_events_come_back_from_their_messages_as_they_were() {
    let new = HavipEntry {
        havip: Havip {
            attachments: vec![],
            vrids: vec![],
            refresh_s: None,
            eip: None,
            group: None,
            ..havip()
        },
        binding: Binding::unbound(7),
    };
    for entry in [entry(), new] {
        assert_eq!(HavipEntry::try_from(proto::HavipEntry::from(entry.clone())), Ok(entry));
    }
    let offender = Some(Offender { mac: [0xff; 6], tep: tep(9), count: 100_000 });
    for &kind in HavipEventKind::ALL {
        let detail = "two masters".to_owned();
        let event = HavipEvent { offender, detail, ..HavipEvent::of(&entry(), kind, 5) };
        let Kind::HavipEvent(message) = Event::HavipEvent(Box::new(event.clone())).into() else {
            unreachable!("an event")
        };
        assert_eq!(
            message.kind().as_str_name(),
            format!("HAVIP_EVENT_KIND_{}", kind.as_str().to_uppercase())
        );
        assert_eq!(HavipEvent::try_from(message), Ok(event));
    }
    for &why in Why::ALL {
        assert_eq!(why.as_str().parse(), Ok(why));
    }
    assert!("Garp".parse::<Why>().is_err());
}

#[test]
fn a_havip_comes_sorted_and_once_each() {
    let mixed = Havip {
        attachments: vec![attachment("vm2", 2, &[3, 2, 3]), attachment("vm1", 1, &[1])],
        vrids: vec![255, 1, 255],
        ..havip()
    };
    assert_eq!(Havip::try_from(proto::Havip::from(mixed)), Ok(havip()));
}

#[test]
fn a_havip_that_cannot_be_is_refused_with_what_to_do() {
    type Spoil = fn(&mut proto::Havip);
    fn attached(havip: &mut proto::Havip, place: usize) -> &mut proto::Attachment {
        &mut havip.attachments.as_mut().unwrap().attachments[place]
    }
    fn on(havip: &mut proto::Havip, place: usize, ipv4: &[u8]) {
        attached(havip, place).teps = Some(proto::Teps { ipv4: ipv4.to_vec(), ..Default::default() });
    }
    let cases: [(Spoil, &str); 23] = [
        (
            |h| h.address = vec![10, 0, 1, 1],
            "address 10.0.1.1 is not in subnet 10.0.0.0/24; give one of that",
        ),
        (|h| h.address = [&[0xfd][..], &[0; 15]].concat(), "address fd00:: is not in subnet 10.0.0.0/24"),
        (
            |h| h.address = vec![10, 0, 0, 0],
            "address 10.0.0.0 is the network or broadcast address of 10.0.0.0/24",
        ),
        (|h| h.address = vec![10, 0, 0, 255], "address 10.0.0.255 is the network or broadcast address"),
        (|h| h.address = vec![10, 0, 0], "an address has 3 bytes; it has 4 (IPv4) or 16 (IPv6)"),
        (
            |h| (h.subnet, h.prefix_length, h.address) = (vec![0; 4], 0, vec![224, 0, 0, 18]),
            "224.0.0.18 is the address of no single host",
        ),
        (|h| h.subnet = vec![10, 0, 0, 7], "the subnet is 10.0.0.0/24"),
        (|h| h.prefix_length = 33, "the prefix of 10.0.0.0/33 is too long; at most 32 bits"),
        (|h| h.eip = Some(vec![255; 4]), "EIP 255.255.255.255 is the address of no single host"),
        (|h| h.vrids.as_mut().unwrap().ids.push(0), "VRRP id 0 is out of range; 1 to 255"),
        (|h| h.vrids.as_mut().unwrap().ids.push(256), "VRRP id 256 is out of range; 1 to 255"),
        (|h| h.refresh_s = Some(86_401), "a refresh of 86401 s is out of range; 1 to 86400 s"),
        (|h| h.name = "5001".into(), "reads as an address or a number"),
        (|h| attached(h, 0).instance = String::new(), "a name is empty"),
        (|h| attached(h, 0).mac = vec![0xff; 6], "ff:ff:ff:ff:ff:ff is every interface's MAC address"),
        (|h| attached(h, 0).mac = vec![0; 6], "is no interface's MAC address"),
        (|h| attached(h, 0).mac = vec![2; 5], "a MAC address has 5 bytes; it has 6"),
        (|h| on(h, 0, &[]), "instance vm1 is given 0 TEPs; it runs on one, or on two"),
        (
            |h| on(h, 1, &[[198, 18, 0, 2], [198, 18, 0, 3], [198, 18, 0, 4]].concat()),
            "instance vm2 is given 3 TEPs",
        ),
        (|h| on(h, 0, &[224, 0, 0, 1]), "224.0.0.1 is a multicast address"),
        (|h| attached(h, 1).instance = "vm1".into(), "instance vm1 is attached twice"),
        (|h| on(h, 0, &[198, 18, 0, 3]), "instances vm1 and vm2 are both on TEP 198.18.0.3"),
        (
            |h| {
                h.vrids = None;
                on(h, 0, &[198, 18, 0, 3]);
                attached(h, 0).mac = attached(h, 1).mac.clone();
            },
            "instances vm1 and vm2 have the same MAC 52:54:00:00:00:02 on TEP 198.18.0.3",
        ),
    ];
    for (spoil, words) in cases {
        let mut message = proto::Havip::from(havip());
        spoil(&mut message);
        let error = Havip::try_from(message).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
    let shared = Havip {
        vrids: vec![],
        attachments: vec![attachment("a", 1, &[1]), attachment("b", 2, &[1])],
        ..havip()
    };
    assert_eq!(
        shared.check(),
        Ok(()),
        "without VRRP ids two instances of one hypervisor are told by their MACs"
    );
    assert_eq!(Havip { vrids: vec![0], ..havip() }.check(), Err(HavipError::Vrid(0)));
    assert_eq!(Havip { refresh_s: Some(0), ..havip() }.check(), Err(HavipError::Refresh(0)));
}
