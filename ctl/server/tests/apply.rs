//! Desired states: what they change, what they are refused for, and what they say of the differences.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::havip::*;
use common::*;
use ctl_api::ClientError;
use ctl_api::client::RefusalKind;
use ctl_api::model::{
    AttachmentFields, Batch, Change, DomainFields, Existing, Field, HavipFields, Revision, SetResource,
    TepFields, TepSet,
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

fn join_named(vni: u32, name: &str) -> Change {
    Change::Join { vni: vni.into(), teps: [named(name)].into_iter().collect() }
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

/// All TEPs, domains and HAVIPs.
fn state(rig: &Rig) -> (Vec<proto::Tep>, Vec<proto::Domain>, Vec<proto::HavipEntry>) {
    let teps = rig.run(rig.client().teps(Default::default())).unwrap();
    let domains = rig.run(rig.client().domains(Default::default())).unwrap();
    (teps, domains, rig.run(rig.client().havips(Default::default())).unwrap())
}

/// Index of a TEP in the data plane's array.
fn place_of(rig: &Rig, last: u16) -> Option<usize> {
    rig.readers.reader().array().iter().position(|at| *at == Some(tep(last)))
}

#[test]
fn an_apply_without_prune_that_names_little_leaves_every_other_resource_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add_named(1, "hv1"), add(2), set(1, &[1, 2]), limit(1, copies(7)), inspect(1, true)]);
    rig.commit(vec![limit_tep(1, frames(5)), route_gateway(2, Some("198.18.0.9"), None), set(2, &[2])]);
    rig.commit(vec![create_havip("web", 1, 100), attach("web", "vm1", 1, &[1])]);
    rig.commit(vec![bind_eip("web", "203.0.113.7")]);
    let rig = rig.hold(folder.path(), "web", "vm1", 1);
    let (before, web) = (state(&rig), rig.havip("web"));
    let (differences, _) = apply(&rig, ApplyOptions::default(), vec![tep_of(3, None)]).unwrap();
    assert_eq!(differences.len(), 1);
    let mut after = state(&rig);
    assert_eq!(after.0.pop().map(|tep| text(&tep.address)), Some("198.18.0.3".to_owned()));
    assert_eq!((after, rig.havip("web")), (before, web));
    let (differences, _) = apply(&rig, ApplyOptions::default(), vec![]).unwrap();
    assert!(differences.is_empty());
}

#[test]
fn names_are_swapped_and_freed_ones_taken_within_one_apply_with_prune_and_without() {
    for options in [ApplyOptions::default(), prune()] {
        let folder = tempfile::tempdir().unwrap();
        let rig = Rig::new(folder.path());
        rig.commit(vec![add_named(1, "a"), add_named(2, "b"), add_named(3, "c"), set(1, &[1, 2, 3])]);
        let by_name = || [named("a"), named("b"), named("c")].into_iter().collect();
        let domain = || domain_of(1, by_name());
        let swapped = vec![tep_of(1, Some("b")), tep_of(2, Some("a")), tep_of(3, Some("c")), domain()];
        let (_, summary) = apply(&rig, options.clone(), swapped).unwrap();
        assert_eq!(counts(&summary), [(0, 2, 0), (0, 0, 0), (0, 0, 0)]);
        // The third one's name is freed, and a new TEP takes it; a member by name is who has it then.
        let passed = [(1, "b"), (2, "a"), (3, "d"), (4, "c")];
        let passed = passed.map(|(last, name)| tep_of(last, Some(name))).into_iter().chain([domain()]);
        let confirm_removals = Some(Removals { memberships: 1, havips: 0 });
        apply(&rig, ApplyOptions { confirm_removals, ..options }, passed.collect()).unwrap();
        let names: Vec<_> = tep_names(&rig).into_iter().map(|(_, name)| name.unwrap()).collect();
        assert_eq!((names.join(" ").as_str(), rig.members(1)), ("b a d c", addresses(&[1, 2, 4])));
    }
}

#[test]
fn a_name_that_a_prune_clears_leaves_the_tep_its_memberships_and_the_havip_its_holder() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add_named(1, "hv1"), add(2), set(1, &[1, 2]), create_havip("web", 1, 100)]);
    rig.commit(vec![attach("web", "vm1", 1, &[1])]);
    let rig = rig.hold(folder.path(), "web", "vm1", 1);
    let (web, index) = (rig.havip("web"), place_of(&rig, 1));
    let havip = SetResource::Havip(name("web"), HavipFields::from(rig.havip("web").havip));
    let desired = vec![tep_of(1, None), tep_of(2, None), domain_of(1, teps(&[1, 2])), havip];
    let (differences, summary) = apply(&rig, prune(), desired).unwrap();
    assert_eq!((differences.len(), counts(&summary)[0]), (1, (0, 1, 0)), "changed, and not made anew");
    assert_eq!(tep_names(&rig)[0], ("198.18.0.1".to_owned(), None));
    assert_eq!((rig.havip("web"), place_of(&rig, 1)), (web, index));
}

#[test]
fn of_prunes_and_changes_that_expect_one_revision_one_is_made_and_the_others_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add(1), add(2)]);
    for round in 0..8_u16 {
        let expected = rig.server().revision();
        let own = |writer: u16| 100 * (round + 1) + writer;
        let mut writers = Vec::new();
        for writer in 0..4 {
            let mut client = rig.client();
            let options = ApplyOptions { expected_revision: Some(expected.get()), ..prune() };
            let desired = vec![tep_of(own(writer), None)].into_iter();
            let apply = async move { client.apply(options, desired, |_| {}).await.map(drop) };
            writers.push(rig.runtime.spawn(apply));
        }
        let mut client = rig.client();
        let conditions = ctl_api::model::Conditions { expected: Some(expected), ..Default::default() };
        let change = with(Batch::new(vec![add(own(4))]), conditions);
        writers.push(rig.runtime.spawn(async move { client.commit(change).await.map(drop) }));
        let outcomes: Vec<_> = writers.into_iter().map(|writer| rig.run(writer).unwrap()).collect();
        let made: Vec<u16> = (0..).zip(&outcomes).filter_map(|(n, made)| made.is_ok().then_some(n)).collect();
        assert_eq!(made.len(), 1, "{outcomes:?}");
        for error in outcomes.into_iter().filter_map(Result::err) {
            assert_eq!(refused(error).0, RefusalKind::Conflict);
        }
        assert_eq!(rig.server().revision(), expected.next());
        let teps: Vec<String> = tep_names(&rig).into_iter().map(|(address, _)| address).collect();
        assert!(teps.contains(&address(own(made[0])).to_string()), "{teps:?}");
        assert_eq!(teps.len() == 1, made[0] < 4, "a prune leaves its own alone: {teps:?}");
    }
}

#[test]
fn one_tep_by_name_and_by_address_joins_once_and_is_refused_where_each_stands_once() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add_named(1, "hv1"), add(2), create(1), create_havip("web", 1, 100)]);
    let both = || [by(1), named("hv1")].into_iter().collect::<TepSet>();
    let equal = || [by(2), by(2)].into_iter().collect::<TepSet>();
    for (teps, joined) in [(both(), addresses(&[1])), (equal(), addresses(&[1, 2]))] {
        let join = || Change::Join { vni: 1.into(), teps: teps.clone() };
        assert_eq!(rig.commit(vec![join()]).changed, 1);
        assert_eq!(rig.members(1), joined);
        assert_eq!(rig.commit(vec![join()]).changed, 0);
    }
    assert_eq!(rig.server().counts().members, 2);
    let (before, revision) = (state(&rig), rig.server().revision());
    for (teps, twice) in [(both(), "198.18.0.1"), (equal(), "198.18.0.2")] {
        let member = format!("member {twice} of domain 1 stands there twice");
        let set = vec![Change::members(1.into(), teps.clone())];
        let (kind, words) = rig.try_commit(Batch::new(set)).unwrap_err();
        assert!(kind == RefusalKind::Invalid && words.contains(&member), "{words}");
        for options in [ApplyOptions::default(), prune()] {
            let desired = vec![tep_of(1, Some("hv1")), tep_of(2, None), domain_of(1, teps.clone())];
            let error = apply(&rig, options, desired).unwrap_err();
            let ClientError::Refused { kind, message, reason, position } = error else { panic!("{error}") };
            assert_eq!((kind, reason.as_str(), position), (RefusalKind::Invalid, "TWICE", Some(3)));
            assert!(message.contains(&member), "{message}");
        }
        let attachment = Box::new(AttachmentFields { instance: name("vm1"), mac: mac(1), teps });
        let attach = vec![Change::SetAttachment { havip: name("web"), attachment }];
        let (kind, words) = rig.try_commit(Batch::new(attach)).unwrap_err();
        let tep = format!("TEP {twice} of instance vm1 stands there twice");
        assert!(kind == RefusalKind::Invalid && words.contains(&tep), "{words}");
    }
    assert_eq!((state(&rig), rig.server().revision()), (before, revision));
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
