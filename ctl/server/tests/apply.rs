//! Desired states: what they change, what they are refused for, and what they say of the differences.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::havip::*;
use common::*;
use ctl_api::ClientError;
use ctl_api::client::RefusalKind;
use ctl_api::model::{
    Batch, DomainFields, Existing, Field, HavipFields, Revision, SetResource, TepFields, TepSet,
};
use ctl_api::proto::{self, ApplyOptions, ApplySummary, Difference, Removals};

fn tep_of(last: u16, name: Option<&str>) -> SetResource {
    let name = name.map(|name| Field::Value(name.parse().unwrap())).unwrap_or_default();
    SetResource::Tep(by(last), TepFields { name, ..TepFields::default() })
}

fn domain_of(vni: u32, members: TepSet) -> SetResource {
    SetResource::Domain(vni.into(), DomainFields { members: Some(members), ..DomainFields::default() })
}

fn prune() -> ApplyOptions {
    ApplyOptions { prune: true, ..ApplyOptions::default() }
}

type Applied = Result<(Vec<Difference>, ApplySummary), ClientError>;

fn apply(rig: &Rig, options: ApplyOptions, resources: Vec<SetResource>) -> Applied {
    rig.run(rig.client().apply(options, resources.into_iter(), |_| {}))
}

fn counts(summary: &ApplySummary) -> [(u64, u64, u64); 3] {
    let count = |count: Option<proto::Count>| count.map(|n| (n.added, n.changed, n.removed)).unwrap();
    [count(summary.teps), count(summary.domains), count(summary.havips)]
}

fn tep_names(rig: &Rig) -> Vec<(String, Option<String>)> {
    let teps = rig.run(rig.client().teps(Default::default())).unwrap();
    teps.into_iter().map(|tep| (text(&tep.address), tep.name)).collect()
}

#[test]
fn a_name_that_is_cleared_by_the_empty_text_keeps_memberships_and_havips_bound() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add_named(1, "hv1"), add(2), set(5001, &[1, 2]), create_havip("web", 5001, 100)]);
    rig.commit(vec![attach("web", "vm1", 1, &[1])]);
    let rig = rig.hold(folder.path(), "web", "vm1", 1);
    let before = rig.havip("web");
    let cleared = SetResource::Tep(named("hv1"), TepFields { name: Field::Clear, ..TepFields::default() });
    let reply = rig.commit(vec![cleared.set_if(Existing::Required)]);
    assert_eq!(reply.changed, 1);
    assert_eq!(tep_names(&rig)[0], ("198.18.0.1".to_owned(), None));
    assert_eq!((rig.havip("web"), rig.members(5001)), (before, addresses(&[1, 2])));
}

#[test]
fn names_addresses_and_eips_are_swapped_and_passed_on_in_one_batch() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add_named(1, "a"), add_named(2, "b"), add(3), set(5001, &[1])]);
    rig.commit(vec![create_havip("x", 5001, 10), create_havip("y", 5001, 20)]);
    rig.commit(vec![bind_eip("x", "203.0.113.1"), bind_eip("y", "203.0.113.2")]);
    rig.commit(vec![add_named(1, "b"), add_named(2, "a"), add_named(3, "c")]);
    let names: Vec<_> = tep_names(&rig).into_iter().map(|(_, name)| name.unwrap()).collect();
    assert_eq!(names, ["b", "a", "c"]);
    // Passed on in a circle; a member by name is whoever has the name then.
    rig.commit(vec![add_named(1, "a"), add_named(2, "c"), add_named(3, "b"), join_named(5001, "b")]);
    assert_eq!(rig.members(5001), addresses(&[1, 3]));
    let at = |name: &str, last: u8| {
        let mut havip = rig.havip(name).havip;
        havip.address = ip(last);
        set_havip(havip)
    };
    rig.commit(vec![at("x", 20), at("y", 10)]);
    rig.commit(vec![bind_eip("x", "203.0.113.2"), bind_eip("y", "203.0.113.1")]);
    let of = |name| (rig.havip(name).havip.address, rig.havip(name).havip.eip.unwrap().to_string());
    assert_eq!((of("x"), of("y")), ((ip(20), "203.0.113.2".into()), (ip(10), "203.0.113.1".into())));
    // Whoever has them now is who is told to have them.
    let taken = [
        (vec![add(4), add_named(4, "a")], "change 2: the name a is TEP 198.18.0.1's"),
        (vec![at("x", 10)], "change 1: address 10.0.0.10 in domain 5001 is HAVIP y's"),
        (vec![bind_eip("y", "203.0.113.2")], "change 1: EIP 203.0.113.2 is HAVIP x's"),
    ];
    for (changes, words) in taken {
        let (kind, text) = rig.try_commit(Batch::new(changes)).unwrap_err();
        assert_eq!(kind, RefusalKind::Exists);
        assert!(text.contains(words), "{text}");
    }
}

fn join_named(vni: u32, name: &str) -> ctl_api::model::Change {
    ctl_api::model::Change::Join { vni: vni.into(), teps: [named(name)].into_iter().collect() }
}

#[test]
fn an_apply_with_prune_makes_the_state_what_is_desired_and_tells_each_difference() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add_named(1, "hv1"), add_named(2, "hv2"), add(3), set(1, &[1, 2]), set(2, &[3])]);
    rig.commit(vec![limit(1, copies(7)), create_havip("web", 1, 100), attach("web", "vm1", 1, &[1])]);
    let rig = rig.hold(folder.path(), "web", "vm1", 1);
    let binding = rig.havip("web").binding;
    let web = HavipFields::from(rig.havip("web").havip);
    let desired = vec![
        tep_of(1, Some("hv2")),
        tep_of(4, Some("hv1")),
        domain_of(1, [named("hv1"), named("hv2")].into_iter().collect()),
        SetResource::Havip(name("web"), web),
    ];
    let confirm_removals = Some(Removals { memberships: 2, havips: 0 });
    let options = ApplyOptions { confirm_removals, ..prune() };
    let before = rig.server().revision();
    let (differences, summary) = apply(&rig, options.clone(), desired.clone()).unwrap();
    assert_eq!(counts(&summary), [(1, 1, 2), (0, 1, 1), (0, 0, 0)]);
    assert_eq!((summary.memberships_added, summary.memberships_removed), (1, 2));
    let reply = summary.reply.unwrap();
    assert_eq!((reply.revision, reply.changed), (before.next().get(), 6), "one revision");
    let kinds: Vec<_> = differences.iter().map(|d| (d.before.is_some(), d.after.is_some())).collect();
    assert_eq!(
        kinds,
        [(true, true), (true, false), (true, false), (false, true), (true, true), (true, false)]
    );
    assert_eq!(rig.members(1), addresses(&[1, 4]));
    assert_eq!((rig.members(2), rig.domain_limit(1)), (None, Some(Default::default())), "cleared");
    assert_eq!(rig.havip("web").binding, binding, "the holder stays");
    let (differences, summary) = apply(&rig, options, desired).unwrap();
    assert_eq!((differences.len(), summary.reply.unwrap().changed), (0, 0));
    assert_eq!(rig.server().revision(), before.next());
}

#[test]
fn an_apply_without_prune_leaves_what_it_does_not_name() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add_named(1, "hv1"), add(2), set(1, &[1]), limit(1, copies(7)), set(2, &[2])]);
    let desired = vec![tep_of(1, None), domain_of(1, teps(&[1, 2]))];
    let (_, summary) = apply(&rig, ApplyOptions::default(), desired).unwrap();
    assert_eq!(counts(&summary), [(0, 0, 0), (0, 1, 0), (0, 0, 0)]);
    assert_eq!((rig.members(1), rig.members(2)), (addresses(&[1, 2]), addresses(&[2])));
    assert_eq!((rig.domain_limit(1), tep_names(&rig)[0].1.as_deref()), (Some(copies(7)), Some("hv1")));
}

#[test]
fn more_than_a_fifth_of_memberships_or_havips_goes_only_when_it_is_confirmed() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit((1..=10).map(add).chain([set(1, &(1..=10).collect::<Vec<_>>())]).collect());
    rig.commit((1..=5).map(|n| create_havip(&format!("h{n}"), 1, n)).collect());
    let revision = rig.server().revision();
    let state = |members: u16, havips: u8| {
        let place = |n: u8| ctl_api::model::Place { vni: 1.into(), subnet: subnet(), address: ip(n) };
        let havip = move |n: u8| {
            let fields = HavipFields { place: Some(place(n)), ..HavipFields::default() };
            SetResource::Havip(name(&format!("h{n}")), fields)
        };
        let all: Vec<u16> = (1..=members).collect();
        let domain = domain_of(1, teps(&all));
        (1..=10).map(|n| tep_of(n, None)).chain([domain]).chain((1..=havips).map(havip)).collect::<Vec<_>>()
    };
    for (members, havips) in [(7, 5), (10, 3)] {
        let error = apply(&rig, prune(), state(members, havips)).unwrap_err();
        let ClientError::Refused { kind, message, reason, .. } = error else { panic!("{error}") };
        assert_eq!((kind, reason.as_str()), (RefusalKind::Precondition, "REMOVALS_UNCONFIRMED"));
        let words = format!("{} of 10 memberships and {} of 5 HAVIPs", 10 - members, 5 - havips);
        assert!(message.contains(&words), "{message}");
    }
    // Fewer than go are no confirmation, and a dry run needs none.
    let confirmed = |memberships, havips| ApplyOptions {
        confirm_removals: Some(Removals { memberships, havips }),
        ..prune()
    };
    assert!(apply(&rig, confirmed(2, 9), state(7, 5)).is_err());
    let dry = ApplyOptions { dry_run: true, ..prune() };
    let (differences, summary) = apply(&rig, dry, state(7, 3)).unwrap();
    assert_eq!((differences.len(), summary.memberships_removed, counts(&summary)[2].2), (3, 3, 2));
    assert_eq!(summary.reply.unwrap().revision, revision.get());
    assert_eq!(rig.server().revision(), revision, "nothing was changed so far");
    apply(&rig, prune(), state(8, 4)).unwrap();
    apply(&rig, confirmed(8, 4), vec![]).unwrap();
    assert_eq!((rig.server().counts().teps, rig.server().counts().havips), (0, 0));
}

#[test]
fn a_desired_state_that_cannot_be_is_refused_by_its_entry_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add_named(1, "hv1"), add(2), set(1, &[1, 2])]);
    let cases = [
        (vec![tep_of(1, None), domain_of(1, teps(&[1, 9]))], 2, "entry 2: TEP 198.18.0.9 is not registered"),
        (
            vec![tep_of(1, None), tep_of(2, None), tep_of(1, None)],
            3,
            "entry 3: TEP 198.18.0.1 stands there twice",
        ),
        (
            vec![tep_of(1, Some("a")), tep_of(2, Some("a"))],
            2,
            "entry 2: the name a is TEP 198.18.0.1's; names of TEPs are unique",
        ),
        (
            // The name is of a TEP that goes.
            vec![tep_of(2, None), domain_of(1, [named("hv1")].into_iter().collect())],
            2,
            "entry 2: TEP hv1 is not registered",
        ),
    ];
    for (desired, place, words) in cases {
        let error = apply(&rig, prune(), desired).unwrap_err();
        let ClientError::Refused { message, position, .. } = error else { panic!("{error}") };
        assert!(message.contains(words), "{message}");
        assert_eq!(position, Some(place), "{message}");
    }
    let (_, message) =
        refused(apply(&rig, prune(), vec![tep_of(2, None), domain_of(1, teps(&[1, 2]))]).unwrap_err());
    assert!(message.contains("TEP 198.18.0.1 is a member of 1 domain"), "{message}");
    let late = ApplyOptions { expected_revision: Some(7), ..prune() };
    assert_eq!(refused(apply(&rig, late, vec![]).unwrap_err()).0, RefusalKind::Conflict);
    assert_eq!((rig.server().revision(), rig.members(1)), (Revision::new(1), addresses(&[1, 2])));
}

#[test]
fn an_apply_that_is_repeated_with_its_id_gets_the_first_answer_and_another_with_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let options = || ApplyOptions { request_id: Some("a-1".to_owned()), ..ApplyOptions::default() };
    let (differences, first) = apply(&rig, options(), vec![tep_of(1, None)]).unwrap();
    assert_eq!(differences.len(), 1);
    rig.commit(vec![remove(1, false)]);
    let (_, again) = apply(&rig, options(), vec![tep_of(1, None)]).unwrap();
    assert_eq!(again.reply, first.reply);
    assert_eq!(rig.server().counts().teps, 0);
    let (kind, _) = refused(apply(&rig, options(), vec![tep_of(2, None)]).unwrap_err());
    assert_eq!(kind, RefusalKind::Exists);
    let above = ApplyOptions { above_revision: Some(100), max_differences: Some(1), ..prune() };
    let (differences, summary) = apply(&rig, above, vec![tep_of(1, None), tep_of(2, None)]).unwrap();
    assert_eq!((differences.len(), counts(&summary)[0].0), (1, 2), "as many differences as were asked for");
    assert_eq!(summary.reply.unwrap().revision, 101);
}

#[test]
fn a_desired_state_whose_stream_ends_before_its_last_part_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add(1)]);
    let answer = rig.run(async {
        let mut wire = common::wire::Wire::connect(&rig.socket, 65_535).await;
        let part = proto::ApplyRequest { options: Some(prune()), ..Default::default() };
        wire.status("Apply", None, part).await
    });
    assert_eq!(answer.0, tonic::Code::InvalidArgument);
    assert_eq!(rig.server().counts().teps, 1);
}
