//! Messages and the model: there and back, and a large batch in parts.
#![allow(clippy::unwrap_used)]

use bcast_domain::{DomainLimit, Rate, Tep, TepLimit, Vni};
use ctl_api::model::{
    Batch, BatchError, Change, DomainEntry, Event, MAX_CHANGES, MAX_MESSAGE_BYTES, Name, Revision, TepEntry,
    TepRef,
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
        Change::DomainRemove { vni: Vni::from(u32::MAX) },
        Change::DomainSet { vni, name: None, members: teps() },
        Change::Join { vni, teps: teps() },
        Change::Leave { vni: Vni::from(0), teps: vec![] },
        Change::DomainLimit { vni, limit: DomainLimit::default(), reset: true },
        Change::DomainLimit { vni, limit: some_rates(), reset: false },
        Change::TepLimit { tep: teps().remove(1), limit: TepLimit { frames: rate(1) }, reset: true },
    ]
}

#[test]
fn every_change_comes_back_from_its_message_as_it_was() {
    let batch = Batch {
        changes: each_change(),
        expected: Some(Revision::new(7)),
        request_id: Some("id".parse().unwrap()),
        dry_run: true,
    };
    let bytes = proto::CommitRequest::from(batch.clone()).encode_to_vec();
    let message = proto::CommitRequest::decode(bytes.as_slice()).unwrap();
    assert_eq!(Batch::try_from(message), Ok(batch));
}

#[test]
fn rows_come_back_from_their_messages_with_members_ascending() {
    for limit in [TepLimit::default(), TepLimit { frames: rate(7) }] {
        let entry = TepEntry { address: tep(1), name: name("hv1"), limit };
        assert_eq!(TepEntry::try_from(proto::Tep::from(entry.clone())), Ok(entry));
    }
    let domain = |members: &[u8]| DomainEntry {
        vni: Vni::from(5),
        name: None,
        limit: some_rates(),
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
    let light = |vni: u32| Change::DomainRemove { vni: Vni::from(vni) };
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
