//! Messages and the model: there and back, and a large batch in parts.
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use bcast_domain::{DomainLimit, Mac, Rate, Tep, TepLimit, Vni};
use ctl_api::model::{
    Attachment, Batch, BatchError, Binding, Change, DomainEntry, Event, GarpMode, HappeningKind, Havip,
    HavipEntry, HavipError, HavipEvent, HavipState, Holder, MAX_CHANGES, MAX_MESSAGE_BYTES, Name, Offender,
    Revision, TepEntry, TepRef, Why,
};
use ctl_api::proto::{self, watch_event::Kind};
use prost::Message;

fn tep(last: u8) -> Tep {
    Tep::new([198, 18, 0, last].into()).unwrap()
}

fn name(text: &str) -> Option<Name> {
    Some(text.parse().unwrap())
}

fn rate(per_second: u64) -> Option<Rate> {
    Some(Rate::new(per_second).unwrap())
}

fn some_rates() -> DomainLimit {
    DomainLimit { copies: rate(250_000), bits: None, control: rate(Rate::MAX) }
}

fn each_change() -> Vec<Change> {
    let vni = Vni::from(5001);
    let teps = || vec![TepRef::Address(tep(1)), TepRef::Name("hv2".parse().unwrap())];
    vec![
        Change::TepAdd { address: tep(1), name: None },
        Change::TepAdd { address: tep(2), name: name("hv2") },
        Change::TepRemove { tep: teps().remove(1), force: true },
        Change::DomainCreate { vni, name: name("vpc-a") },
        Change::DomainRemove { vni: Vni::from(u32::MAX), force: true },
        Change::DomainSet { vni, name: None, members: teps() },
        Change::Join { vni, teps: teps() },
        Change::Leave { vni: Vni::from(0), teps: vec![] },
        Change::DomainLimit { vni, limit: DomainLimit::default(), reset: true },
        Change::DomainLimit { vni, limit: some_rates(), reset: false },
        Change::TepLimit { tep: teps().remove(1), limit: TepLimit { frames: rate(1) }, reset: true },
        Change::TepNextHop { tep: teps().remove(0), next_hop: None, next_hop6: None, reset: true },
        Change::TepNextHop {
            tep: teps().remove(1),
            next_hop: Some([198, 18, 0, 9].into()),
            next_hop6: Some("fe80::9".parse().unwrap()),
            reset: false,
        },
        Change::DomainGarp { vni, mode: GarpMode::Strict },
        Change::HavipCreate {
            name: named("web"),
            vni,
            subnet: "10.0.0.0/24".parse().unwrap(),
            address: ip("10.0.0.100"),
            vrids: vec![51, 52],
            refresh_s: Some(30),
        },
        Change::HavipSet(Box::new(havip())),
        Change::HavipRemove { name: named("web") },
        Change::HavipAttach { name: named("web"), instance: named("vm1"), mac: mac(1), teps: teps() },
        Change::HavipDetach { name: named("web"), instance: named("vm1") },
        Change::HavipBindEip { name: named("web"), eip: ip("203.0.113.7") },
        Change::HavipUnbindEip { name: named("web") },
        Change::HavipUnfreeze { name: named("web") },
    ]
}

fn named(text: &str) -> Name {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn mac(last: u8) -> Mac {
    Mac::new([0x52, 0x54, 0, 0, 0, last]).unwrap()
}

fn attachment(instance: &str, last: u8, teps: &[u8]) -> Attachment {
    Attachment {
        instance: named(instance),
        mac: mac(last),
        teps: teps.iter().map(|&last| tep(last)).collect(),
    }
}

fn havip() -> Havip {
    Havip {
        name: named("web"),
        vni: Vni::from(5001),
        subnet: "10.0.0.0/24".parse().unwrap(),
        address: ip("10.0.0.100"),
        attachments: vec![attachment("vm1", 1, &[1]), attachment("vm2", 2, &[2, 3])],
        vrids: vec![1, 255],
        refresh_s: Some(86_400),
        eip: Some(ip("203.0.113.7")),
    }
}

fn holder(instance: &str, last: u8) -> Holder {
    Holder { instance: named(instance), mac: mac(last), tep: tep(last) }
}

fn entry() -> HavipEntry {
    let binding = Binding {
        state: HavipState::Conflict,
        holder: Some(holder("vm1", 1)),
        previous: Some(holder("vm2", 2)),
        since_unix_ms: 1_795_395_845_007,
        why: Some(Why::DoubleMaster),
        moves: 3,
        generation: 17,
    };
    HavipEntry { havip: havip(), binding }
}

#[test]
fn every_change_comes_back_from_its_message_as_it_was() {
    let batch = Batch {
        changes: each_change(),
        expected: Some(Revision::new(7)),
        request_id: Some("id".parse().unwrap()),
        dry_run: true,
        above: Some(Revision::MAX_ABOVE),
    };
    let bytes = proto::CommitRequest::from(batch.clone()).encode_to_vec();
    let message = proto::CommitRequest::decode(bytes.as_slice()).unwrap();
    assert_eq!(Batch::try_from(message), Ok(batch));
}

#[test]
fn a_revision_to_be_above_is_one_that_a_node_can_have_given() {
    for (number, is_one) in
        [(0, false), (1, true), (1 << 52, true), ((1 << 52) + 1, false), (u64::MAX, false)]
    {
        let message = proto::CommitRequest { above_revision: Some(number), ..Default::default() };
        let batch = Batch::try_from(message);
        assert_eq!(batch.is_ok(), is_one, "{number}");
        if let Err(error) = batch {
            assert!(
                error
                    .to_string()
                    .contains(&format!("revision {number} to be above is not from 1 to 4503599627370496"))
            );
        }
    }
}

#[test]
fn rows_come_back_from_their_messages_with_members_ascending() {
    for limit in [TepLimit::default(), TepLimit { frames: rate(7) }] {
        for (next_hop, next_hop6) in
            [(None, None), (Some([198, 18, 0, 9].into()), Some("fd00::9".parse().unwrap()))]
        {
            let entry = TepEntry { address: tep(1), name: name("hv1"), limit, next_hop, next_hop6 };
            assert_eq!(TepEntry::try_from(proto::Tep::from(entry.clone())), Ok(entry));
        }
    }
    let domain = |members: &[u8]| DomainEntry {
        vni: Vni::from(5),
        name: None,
        limit: some_rates(),
        garp: GarpMode::Strict,
        members: members.iter().map(|&last| tep(last)).collect(),
    };
    let Kind::DomainSet(message) = Event::DomainSet(domain(&[3, 1, 2])).into() else {
        unreachable!("a domain")
    };
    assert_eq!(message.members, [0xc612_0001, 0xc612_0002, 0xc612_0003]);
    assert_eq!(DomainEntry::try_from(message.clone()), Ok(domain(&[1, 2, 3])));
    let wrong = proto::Domain { members: vec![0xe000_0001], ..message.clone() };
    assert!(DomainEntry::try_from(wrong).is_err(), "224.0.0.1 is no TEP");
    let rates = Some(proto::DomainRates { bits: Some(0), ..Default::default() });
    assert!(DomainEntry::try_from(proto::Domain { limit: rates, ..message }).is_err(), "a rate of 0");
}

#[test]
fn a_rate_that_cannot_be_is_refused_with_its_range() {
    for per_second in [0, Rate::MAX + 1, u64::MAX] {
        let rates = Some(proto::TepRates { frames: Some(per_second) });
        let tep = Some(proto::TepRef { text: "hv1".to_owned() });
        let kind = proto::change::Kind::TepLimit(proto::TepLimit { tep, rates, reset: false });
        let refused = Change::try_from(proto::Change { kind: Some(kind) }).unwrap_err().to_string();
        let words = format!("a rate of {per_second} a second is out of range: 1 to 1000000000000");
        assert_eq!(refused, words);
    }
}

#[test]
fn a_request_id_that_is_too_long_and_too_many_changes_are_refused() {
    let message = |changes, id: &str| proto::CommitRequest {
        changes,
        request_id: Some(id.to_owned()),
        ..proto::CommitRequest::default()
    };
    assert!(matches!(Batch::try_from(message(vec![], &"x".repeat(65))), Err(BatchError::RequestId(_))));
    let many = vec![proto::Change::default(); MAX_CHANGES + 1];
    assert_eq!(Batch::try_from(message(many, "id")), Err(BatchError::TooManyChanges(MAX_CHANGES + 1)));
}

#[test]
fn parts_keep_the_order_stay_within_the_limits_and_carry_the_conditions_once() {
    let long = TepRef::Name("x".repeat(63).parse().unwrap());
    let heavy = |vni: u32| Change::Join { vni: Vni::from(vni), teps: vec![long.clone(); 10_000] };
    let light = |vni: u32| Change::DomainRemove { vni: Vni::from(vni), force: false };
    for (changes, least) in [
        (vec![], 1),
        ((0..25_000).map(light).collect::<Vec<_>>(), 3),
        ((0..20).map(heavy).collect(), 4),
        ((0..20).flat_map(|n| [light(n), heavy(n)]).collect(), 4),
    ] {
        let batch = Batch { expected: Some(Revision::new(3)), dry_run: true, ..Batch::new(changes.clone()) };
        let parts: Vec<proto::CommitRequest> = batch.into_parts().collect();
        assert!(parts.len() >= least, "{} parts", parts.len());
        assert!(
            parts
                .iter()
                .all(|part| part.encoded_len() <= MAX_MESSAGE_BYTES && part.changes.len() <= MAX_CHANGES)
        );
        assert!(
            parts.iter().skip(1).all(|part| part.expected_revision.is_none() && !part.changes.is_empty())
        );
        assert_eq!((parts[0].expected_revision, parts[0].dry_run), (Some(3), true));
        let back =
            parts.into_iter().flat_map(|part| Batch::try_from(part).unwrap().changes).collect::<Vec<_>>();
        assert!(back == changes, "all changes in their order");
    }
}

#[test]
fn a_havip_and_what_happens_to_it_come_back_from_their_messages_as_they_were() {
    let new = HavipEntry {
        havip: Havip { attachments: vec![], vrids: vec![], refresh_s: None, eip: None, ..havip() },
        binding: Binding::unbound(7),
    };
    for entry in [entry(), new] {
        assert_eq!(HavipEntry::try_from(proto::HavipEntry::from(entry.clone())), Ok(entry));
    }
    let offender = Some(Offender { mac: [0xff; 6], tep: tep(9), count: 100_000 });
    for &kind in HappeningKind::ALL {
        let detail = "two masters".to_owned();
        let happening = HavipEvent { offender, detail, ..HavipEvent::of(&entry(), kind, 5) };
        let Kind::Happened(message) = Event::Happened(Box::new(happening.clone())).into() else {
            unreachable!("a happening")
        };
        assert_eq!(message.kind, kind.as_str());
        assert_eq!(HavipEvent::try_from(message), Ok(happening));
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
    let cases: [(Spoil, &str); 22] = [
        (
            |h| h.address = "10.0.1.1".into(),
            "address 10.0.1.1 is not in subnet 10.0.0.0/24; give one of that",
        ),
        (|h| h.address = "fd00::1".into(), "address fd00::1 is not in subnet 10.0.0.0/24"),
        (
            |h| h.address = "10.0.0.0".into(),
            "address 10.0.0.0 is the network or broadcast address of 10.0.0.0/24",
        ),
        (|h| h.address = "10.0.0.255".into(), "address 10.0.0.255 is the network or broadcast address"),
        (|h| h.address = "web".into(), "\"web\" is not an IP address; write it like 10.0.0.100"),
        (
            |h| (h.subnet, h.address) = ("0.0.0.0/0".into(), "224.0.0.18".into()),
            "224.0.0.18 is the address of no single host",
        ),
        (|h| h.subnet = "10.0.0.7/24".into(), "the subnet is 10.0.0.0/24"),
        (|h| h.eip = "255.255.255.255".into(), "EIP 255.255.255.255 is the address of no single host"),
        (|h| h.vrids.push(0), "VRRP id 0 is out of range; 1 to 255"),
        (|h| h.vrids.push(256), "VRRP id 256 is out of range; 1 to 255"),
        (|h| h.refresh_s = Some(0), "a refresh of 0 s is out of range; 1 to 86400 s"),
        (|h| h.refresh_s = Some(86_401), "a refresh of 86401 s is out of range"),
        (|h| h.name = "5001".into(), "reads as an address or a number"),
        (|h| h.attachments[0].instance = String::new(), "a name is empty"),
        (
            |h| h.attachments[0].mac = "01:00:5e:00:00:01".into(),
            "01:00:5e:00:00:01 is a multicast MAC address",
        ),
        (|h| h.attachments[0].mac = "00:00:00:00:00:00".into(), "is no interface's MAC address"),
        (|h| h.attachments[0].teps.clear(), "instance vm1 is given 0 TEPs; it runs on one, or on two"),
        (|h| h.attachments[1].teps.push("198.18.0.4".into()), "instance vm2 is given 3 TEPs"),
        (|h| h.attachments[0].teps[0] = "224.0.0.1".into(), "224.0.0.1 is a multicast address"),
        (|h| h.attachments[1].instance = "vm1".into(), "instance vm1 is attached twice"),
        (
            |h| h.attachments[0].teps = vec!["198.18.0.3".into()],
            "instances vm1 and vm2 are both on TEP 198.18.0.3",
        ),
        (
            |h| {
                h.vrids.clear();
                h.attachments[0].teps = vec!["198.18.0.3".into()];
                h.attachments[0].mac = h.attachments[1].mac.clone();
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
}

#[test]
fn a_next_hop_that_cannot_be_is_refused() {
    for (next_hop, next_hop6, words) in [
        ("fe80::1", "", "next hop \"fe80::1\" is not an IPv4 address"),
        ("", "198.18.0.1", "next hop \"198.18.0.1\" is not an IPv6 address"),
        ("0.0.0.0", "", "next hop 0.0.0.0 is the address of no single host"),
        ("", "ff02::1", "next hop ff02::1 is the address of no single host"),
    ] {
        let message = proto::TepNextHop {
            tep: Some(proto::TepRef { text: "hv1".to_owned() }),
            next_hop: Some(next_hop.to_owned()),
            next_hop6: Some(next_hop6.to_owned()),
            reset: false,
        };
        let error = Change::try_from(message).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_change_of_a_domain_costs_no_more_memory_than_it_needs() {
    // A million of them are staged for the largest `apply`.
    assert!(size_of::<Change>() <= 96, "{}", size_of::<Change>());
}
