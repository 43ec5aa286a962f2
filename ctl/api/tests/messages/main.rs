//! Messages and the model: there and back, and a large batch in parts.
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use bcast_domain::{DomainLimit, Mac, Rate, Tep, TepLimit, VlanTags, Vni};
use ctl_api::model::{
    Apply, ApplyParts, ArpInspection, Attachment, AttachmentFields, Batch, BatchError, Binding, Change,
    Conditions, DomainEntry, DomainFields, Event, Existing, Field, Gateway, Havip, HavipEntry, HavipFields,
    HavipState, Holder, MAX_CHANGES, MAX_MESSAGE_BYTES, ModelError, Name, Revision, Set, SetResource,
    StatedAddresses, Subnet, Target, TepEntry, TepFields, TepRef, TepSet, Why,
};
use ctl_api::proto::{self, watch_event::Kind};
use prost::Message;

mod havips;

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
    let one = || TepRef::Name(named("hv2"));
    let teps = || [TepRef::Address(tep(1)), one()].into_iter().collect::<TepSet>();
    let fields = TepFields { frames: Field::Value(Rate::new(1).unwrap()), ..TepFields::default() };
    let gateways = TepFields {
        route_gateway: Field::Value([198, 18, 0, 9].into()),
        route_gateway6: Field::Value("fe80::9".parse().unwrap()),
        name: Field::Clear,
        ..TepFields::default()
    };
    let domain = DomainFields {
        copies: Field::Value(Rate::new(250_000).unwrap()),
        control: Field::Clear,
        arp_inspection: Some(ArpInspection::Sticky),
        ..DomainFields::default()
    };
    let place = Some(havip().place());
    let new = HavipFields {
        place,
        vrids: Some(vec![51, 52]),
        refresh_s: Field::Value(30),
        ..HavipFields::default()
    };
    let unbound = HavipFields { eip: Field::Clear, group: Field::Clear, ..HavipFields::default() };
    let attachment = AttachmentFields { instance: named("vm1"), mac: mac(1), teps: teps() };
    let all =
        Set { resource: SetResource::Domain(vni, domain.clone()), existing: Existing::Any, replace: true };
    vec![
        Change::tep(tep(1), None),
        Change::tep(tep(2), name("hv2")),
        SetResource::Tep(one(), fields).set_if(Existing::Required),
        SetResource::Tep(one(), gateways).set(),
        Change::Delete { target: Target::Tep(one()), force: true },
        Change::domain(vni, name("vpc-a")),
        SetResource::Domain(vni, domain).set_if(Existing::Required),
        Change::Set(Box::new(all)),
        Change::delete(Target::Domain(Vni::from(u32::MAX))),
        Change::members(vni, teps()),
        Change::members(vni, TepSet::default()),
        Change::Join { vni, teps: teps() },
        Change::Leave { vni: Vni::from(0), teps: TepSet::default() },
        SetResource::Havip(named("web"), new).set_if(Existing::Same),
        SetResource::Havip(named("web"), havip().into()).set(),
        SetResource::Havip(named("web"), unbound).set_if(Existing::Required),
        Change::delete(Target::Havip(named("web"))),
        Change::SetAttachment { havip: named("web"), attachment: Box::new(attachment) },
        Change::DeleteAttachment { havip: named("web"), instance: named("vm1") },
        Change::Unfreeze { havip: named("web") },
        Change::SetGateway { vni, gateway: Gateway { address: ip("fd00::1"), mac: mac(1) } },
        Change::DeleteGateway { vni, address: ip("10.0.0.1") },
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
        group: Some(named("default/web")),
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
        tags: Some(VlanTags::NONE.with(0x88a8, 7).with(0x8100, 0xe00a)),
    };
    HavipEntry { havip: havip(), binding }
}

#[test]
fn every_change_comes_back_from_its_message_as_it_was() {
    let conditions = Conditions {
        expected: Some(Revision::new(7)),
        request_id: Some("id".parse().unwrap()),
        dry_run: true,
        above: Some(Revision::MAX_ABOVE),
        must_exist: true,
        confirmed: proto::Removals { memberships: 7, havips: 8 },
    };
    let batch = Batch { changes: each_change(), conditions };
    let bytes = proto::CommitRequest::from(batch.clone()).encode_to_vec();
    let message = proto::CommitRequest::decode(bytes.as_slice()).unwrap();
    assert_eq!(Batch::parse(message, 0), Ok(batch));
}

#[test]
fn a_revision_to_be_above_is_one_that_a_node_can_have_given() {
    for (number, is_one) in
        [(0, false), (1, true), (1 << 52, true), ((1 << 52) + 1, false), (u64::MAX, false)]
    {
        let message = proto::CommitRequest { above_revision: Some(number), ..Default::default() };
        let batch = Batch::parse(message, 0);
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
        for (route_gateway, route_gateway6) in
            [(None, None), (Some([198, 18, 0, 9].into()), Some("fd00::9".parse().unwrap()))]
        {
            let entry = TepEntry { address: tep(1), name: name("hv1"), limit, route_gateway, route_gateway6 };
            assert_eq!(TepEntry::try_from(proto::Tep::from(entry.clone())), Ok(entry));
        }
    }
    let domain = |members: &[u8]| DomainEntry {
        vni: Vni::from(5),
        name: None,
        limit: some_rates(),
        arp_inspection: ArpInspection::Sticky,
        stated: StatedAddresses {
            subnets: vec!["10.0.0.0/24".parse().unwrap()],
            gateways: vec![Gateway { address: [10, 0, 0, 1].into(), mac: mac(1) }],
        },
        pinned: vec!["n2".parse().unwrap(), "n1".parse().unwrap()],
        members: members.iter().map(|&last| tep(last)).collect(),
    };
    let Kind::DomainSet(message) = Event::DomainSet(domain(&[3, 1, 2])).into() else {
        unreachable!("a domain")
    };
    let packed = [[198, 18, 0, 1], [198, 18, 0, 2], [198, 18, 0, 3]].concat();
    assert_eq!(message.members, Some(proto::Teps { ipv4: packed, ..Default::default() }));
    assert_eq!(DomainEntry::try_from(message.clone()), Ok(domain(&[1, 2, 3])));
    let members = |ipv4: &[u8]| Some(proto::Teps { ipv4: ipv4.to_vec(), ..Default::default() });
    let wrong = proto::Domain { members: members(&[224, 0, 0, 1]), ..message.clone() };
    assert!(DomainEntry::try_from(wrong).is_err(), "224.0.0.1 is no TEP");
    let wrong = proto::Domain { members: members(&[198, 18, 0, 1, 198]), ..message.clone() };
    assert_eq!(DomainEntry::try_from(wrong).unwrap_err().field(), "members");
    let rates = Some(proto::DomainRates { bits: Some(Rate::MAX + 1), ..Default::default() });
    assert!(
        DomainEntry::try_from(proto::Domain { limit: rates, ..message }).is_err(),
        "a rate over the maximum"
    );
}

fn set_tep(tep: proto::Tep) -> proto::Change {
    let resource = Some(proto::set::Resource::Tep(tep));
    proto::Change { kind: Some(proto::change::Kind::Set(proto::Set { resource, ..Default::default() })) }
}

#[test]
fn a_rate_that_cannot_be_is_refused_with_its_range_and_0_is_the_default() {
    let with = |frames| proto::Tep {
        address: vec![198, 18, 0, 1],
        limit: Some(proto::TepRates { frames: Some(frames) }),
        ..Default::default()
    };
    for per_second in [Rate::MAX + 1, u64::MAX] {
        let refused = Change::try_from(set_tep(with(per_second))).unwrap_err();
        assert_eq!(refused.field(), "limit");
        let words = format!("a rate of {per_second} a second is out of range: 1 to 1000000000000");
        assert_eq!(refused.to_string(), words);
    }
    assert_eq!(TepFields::try_from(with(0)).unwrap().frames, Field::Clear);
}

#[test]
fn an_ipv6_tep_is_refused_in_plain_words_wherever_it_stands() {
    let v6 = std::net::Ipv6Addr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]).octets().to_vec();
    let teps = || Some(proto::Teps { ipv6: v6.clone(), ..Default::default() });
    let of = proto::Tep { address: v6.clone(), ..Default::default() };
    let reference = proto::TepRef { tep: Some(proto::tep_ref::Tep::Address(v6.clone())) };
    let delete = proto::Delete { resource: Some(proto::delete::Resource::Tep(reference)), force: false };
    let domain = proto::Domain { vni: 1, members: teps(), ..Default::default() };
    let set = proto::Set { resource: Some(proto::set::Resource::Domain(domain)), ..Default::default() };
    let kinds = [
        set_tep(of).kind,
        Some(proto::change::Kind::Delete(delete)),
        Some(proto::change::Kind::Set(set)),
        Some(proto::change::Kind::Join(proto::Join { vni: 1, teps: teps() })),
    ];
    for kind in kinds {
        let error = Change::try_from(proto::Change { kind }).unwrap_err().to_string();
        assert!(error.contains("TEP fd00::1: IPv6 TEPs are not supported yet"), "{error}");
    }
}

#[test]
fn a_wrong_change_says_its_position_over_all_parts_and_its_field() {
    let wrong = Some(proto::Teps { ipv4: vec![224, 0, 0, 1], ..Default::default() });
    let kind = Some(proto::change::Kind::Join(proto::Join { vni: 1, teps: wrong }));
    let changes = vec![
        set_tep(proto::Tep { address: vec![198, 18, 0, 1], ..Default::default() }),
        proto::Change { kind },
    ];
    let message = proto::CommitRequest { changes, ..Default::default() };
    let BatchError::Item { position, field, .. } = Batch::parse(message, 10_000).unwrap_err() else {
        unreachable!("a change is wrong")
    };
    assert_eq!((position, field.as_str()), (10_002, "join.teps"));
    let mut apply = Apply::default();
    let tep = proto::Tep { address: vec![198, 18, 0, 1], ..Default::default() };
    apply.add(proto::ApplyRequest { teps: vec![tep], ..Default::default() }).unwrap();
    let domain = proto::Domain { arp_inspection: 9, ..Default::default() };
    let error = apply.add(proto::ApplyRequest { domains: vec![domain], ..Default::default() }).unwrap_err();
    let BatchError::Item { part, position, field, error } = error else { unreachable!("an entry is wrong") };
    assert_eq!((part, position, field.as_str()), ("entry", 2, "domains.arp_inspection"));
    assert!(matches!(error, ModelError::In { .. }), "{error}");
}

#[test]
fn a_desired_state_comes_back_from_its_parts_with_its_options_once_and_its_end() {
    let resource = |vni: u32| {
        SetResource::Domain(
            vni.into(),
            DomainFields { members: Some(vec![tep(1); 16_000].into()), ..Default::default() },
        )
    };
    let resources: Vec<SetResource> = [SetResource::Tep(TepRef::Address(tep(1)), TepFields::default())]
        .into_iter()
        .chain((0..200).map(resource))
        .chain([SetResource::Havip(named("web"), havip().into())])
        .collect();
    let options = proto::ApplyOptions { prune: true, max_differences: Some(7), ..Default::default() };
    let parts = ApplyParts::new(options, resources.clone().into_iter().map(proto::Resource::from));
    let parts: Vec<proto::ApplyRequest> = parts.collect();
    assert!(parts.len() > 2 && parts.iter().all(|part| part.encoded_len() <= MAX_MESSAGE_BYTES));
    assert!(parts.iter().skip(1).all(|part| part.options.is_none()));
    assert_eq!(parts.iter().filter(|part| part.last).count(), 1);
    let mut apply = Apply::default();
    parts.into_iter().for_each(|part| apply.add(part).unwrap());
    assert!(apply.is_whole && apply.prune && apply.max_differences == Some(7));
    assert!(apply.resources == resources);
    assert_eq!(
        ApplyParts::new(proto::ApplyOptions::default(), std::iter::empty()).count(),
        1,
        "the end has to be said"
    );
}

#[test]
fn messages_that_are_printed_show_addresses_and_enums_as_text() {
    let entry = proto::HavipEntry::from(entry());
    let attachments = serde_json::to_value(entry.havip.unwrap().attachments.unwrap().attachments).unwrap();
    assert_eq!(attachments[1]["teps"][1], "198.18.0.3");
    let holder = serde_json::to_value(entry.binding.unwrap().holder).unwrap();
    assert_eq!((&holder["mac"], &holder["tep"]), (&"52:54:00:00:00:01".into(), &"198.18.0.1".into()));
    let event = proto::HavipEvent {
        address: vec![0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7],
        kind: proto::HavipEventKind::ConflictEnded.into(),
        unix_ms: 1_795_395_845_007,
        ..Default::default()
    };
    let json = serde_json::to_value(event).unwrap();
    assert_eq!(json["address"], "fd00::7");
    assert_eq!(json["kind"], "conflict_ended");
    assert_eq!(json["time"], "2026-11-23T01:04:05.007Z");
    let none = ["eip", "why", "detail", "holder"].map(|field| json[field].is_null());
    assert_eq!(none, [true; 4]);
    let domain = serde_json::to_value(proto::Domain { vni: 7, ..Default::default() }).unwrap();
    assert!(domain["limit"]["copies"].is_null() && domain["limit"].is_object());
    let letter = proto::DeadLetter { body: b"{\"id\":7}".to_vec(), ..Default::default() };
    assert_eq!(serde_json::to_value(letter).unwrap()["event"]["id"], 7);
}

#[test]
fn a_request_id_that_is_too_long_and_too_many_changes_are_refused() {
    let message = |changes, id: &str| proto::CommitRequest {
        changes,
        request_id: Some(id.to_owned()),
        ..proto::CommitRequest::default()
    };
    assert!(matches!(Batch::parse(message(vec![], &"x".repeat(65)), 0), Err(BatchError::RequestId(_))));
    let many = vec![proto::Change::default(); MAX_CHANGES + 1];
    assert_eq!(Batch::parse(message(many, "id"), 0), Err(BatchError::TooManyChanges(MAX_CHANGES + 1)));
}

#[test]
fn parts_keep_the_order_stay_within_the_limits_and_carry_the_conditions_once() {
    let long: Name = "x".repeat(63).parse().unwrap();
    let teps = TepSet { names: vec![long; 10_000], ..TepSet::default() };
    let heavy = |vni: u32| Change::Join { vni: Vni::from(vni), teps: teps.clone() };
    let light = |vni: u32| Change::delete(Target::Domain(Vni::from(vni)));
    for (changes, least) in [
        (vec![], 1),
        ((0..25_000).map(light).collect::<Vec<_>>(), 3),
        ((0..20).map(heavy).collect(), 4),
        ((0..20).flat_map(|n| [light(n), heavy(n)]).collect(), 4),
    ] {
        let conditions = Conditions { expected: Some(Revision::new(3)), dry_run: true, ..Default::default() };
        let batch = Batch { changes: changes.clone(), conditions };
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
            parts.into_iter().flat_map(|part| Batch::parse(part, 0).unwrap().changes).collect::<Vec<_>>();
        assert!(back == changes, "all changes in their order");
    }
}

#[test]
fn a_route_gateway_that_cannot_be_is_refused() {
    let v6 = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets().to_vec();
    for (route_gateway, route_gateway6, words) in [
        (Some(v6("fe80::1")), None, "route gateway fe80::1 is not an IPv4 address"),
        (None, Some(vec![198, 18, 0, 1]), "route gateway 198.18.0.1 is not an IPv6 address"),
        (Some(vec![0; 4]), None, "route gateway 0.0.0.0 is the address of no single host"),
        (None, Some(v6("ff02::1")), "route gateway ff02::1 is the address of no single host"),
    ] {
        let message =
            proto::Tep { address: vec![198, 18, 0, 1], route_gateway, route_gateway6, ..Default::default() };
        let error = Change::try_from(set_tep(message)).unwrap_err();
        assert!(error.to_string().contains(words) && error.field().starts_with("route_gateway"), "{error}");
    }
}

#[test]
fn a_change_of_a_domain_costs_no_more_memory_than_it_needs() {
    // A million of them are staged for the largest batch.
    assert!(size_of::<Change>() <= 96, "{}", size_of::<Change>());
}

#[test]
fn subnets_and_gateways_are_in_order_once_each_and_bad_ones_name_their_field() {
    let subnet = |network: [u8; 4], prefix_length| proto::Subnet { network: network.into(), prefix_length };
    let subnets = |subnets: Vec<proto::Subnet>| proto::Domain {
        subnets: Some(proto::Subnets { subnets }),
        ..Default::default()
    };
    let (low, high) = (subnet([10, 0, 0, 0], 24), subnet([10, 0, 1, 0], 24));
    let fields = DomainFields::try_from(subnets(vec![high.clone(), low.clone(), high.clone()])).unwrap();
    let both: Vec<Subnet> = ["10.0.0.0/24", "10.0.1.0/24"].map(|text| text.parse().unwrap()).into();
    assert_eq!(fields.subnets, Some(both));
    let gateway = |last, mac: [u8; 6]| proto::Gateway { address: vec![10, 0, 0, last], mac: mac.into() };
    let gateways = |gateways: Vec<proto::Gateway>| proto::Domain {
        gateways: Some(proto::Gateways { gateways }),
        ..Default::default()
    };
    let good = [2, 0, 0, 0, 0, 1];
    let many = (0..=255).map(|last| gateway(last, good)).collect();
    for (message, field, words) in [
        (subnets(vec![subnet([10, 0, 0, 7], 24)]), "subnets", "the subnet is 10.0.0.0/24"),
        (subnets(vec![low; 65]), "subnets", "65 subnets for one domain; a domain has at most 64"),
        (gateways(vec![gateway(1, [0; 6])]), "gateways", "MAC"),
        (
            gateways(vec![gateway(1, good), gateway(1, good)]),
            "gateways",
            "gateway 10.0.0.1 stands there twice",
        ),
        (gateways(many), "gateways", "256 gateways for one domain; a domain has at most 64"),
    ] {
        let error = DomainFields::try_from(message).unwrap_err();
        assert_eq!(error.field(), field, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn pinned_nodes_keep_their_order_and_bad_ones_name_their_field() {
    let pinned = |names: &[&str]| proto::Domain {
        pinned: Some(proto::NodeNames { names: names.iter().map(|name| (*name).to_owned()).collect() }),
        ..Default::default()
    };
    let fields = DomainFields::try_from(pinned(&["n2", "n1"])).unwrap();
    assert_eq!(fields.pinned, Some(["n2", "n1"].map(|name| name.parse().unwrap()).into()));
    for (message, words) in [
        (pinned(&["n1", "n2", "n1"]), "node n1 stands there twice"),
        (pinned(&["n1;reboot"]), "has the character ';'"),
        (pinned(&["n"; 65]), "65 nodes for one domain; there are at most 64"),
    ] {
        let error = DomainFields::try_from(message).unwrap_err();
        assert_eq!(error.field(), "pinned", "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}
