//! Lists by page, filters of watches, error details, health and reflection.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::failing::failing;
use common::havip::*;
use common::*;
use ctl_api::model::{Batch, Change};
use ctl_api::proto::{self, WatchKind, WatchRequest, bcast_client::BcastClient, watch_event::Kind};
use ctl_store::EmbeddedStore;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt;

/// A plain channel to the socket, as another client's.
fn channel(rig: &Rig) -> Channel {
    let path = rig.socket.clone();
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    rig.run(Endpoint::from_static("http://bcastd").connect_with_connector(connector)).unwrap()
}

#[test]
fn pages_have_their_size_follow_each_other_and_stay_right_while_things_change() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit((1..=250).map(add).chain((1..=20).map(|vni| set(vni, &[1, 2]))).collect());
    let mut rpc = BcastClient::new(channel(&rig));
    let mut request = proto::ListTepsRequest { page_size: 100, ..Default::default() };
    let (mut sizes, mut seen) = (Vec::new(), Vec::new());
    loop {
        let page = rig.run(rpc.list_teps(request.clone())).unwrap().into_inner();
        sizes.push(page.teps.len());
        seen.extend(page.teps.into_iter().map(|tep| text(&tep.address)));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
        // The one that the token names goes, one before it and one behind the end come.
        if sizes.len() == 1 {
            rig.commit(vec![remove(100, true), Change::tep("198.17.0.1".parse().unwrap(), None), add(900)]);
        }
    }
    assert_eq!(sizes, [100, 100, 51]);
    let expected: Vec<String> = (1..=250).chain([900]).map(|n| address(n).to_string()).collect();
    assert_eq!(seen, expected, "each that was there all the time is seen once, in order");
    let domains =
        rig.run(rig.client().domains(proto::ListDomainsRequest { page_size: 7, ..Default::default() }));
    let domains = domains.unwrap();
    assert_eq!(domains.iter().map(|domain| domain.vni).collect::<Vec<_>>(), (1..=20).collect::<Vec<_>>());
    assert!(domains.iter().all(|domain| domain.members.as_ref().unwrap().ipv4.len() == 8));
    for token in ["web", "198.18.0", "224.0.0.1"] {
        let request = proto::ListTepsRequest { page_token: token.to_owned(), ..Default::default() };
        let status = rig.run(rpc.list_teps(request)).unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert!(status.message().contains(token), "{status}");
    }
}

#[test]
fn lists_show_members_of_a_domain_domains_of_a_tep_and_havips_by_domain_and_state() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add_named(1, "hv1"), add(2), add(3), set(1, &[1, 2]), set(2, &[1]), create(3)]);
    rig.commit(vec![create_havip("a", 1, 1), create_havip("b", 2, 2), attach("a", "vm1", 1, &[1])]);
    let rig = rig.hold(folder.path(), "a", "vm1", 1);
    let mut client = rig.client();
    let teps = rig.run(client.teps(proto::ListTepsRequest { vni: Some(1), ..Default::default() })).unwrap();
    assert_eq!(teps.iter().map(|tep| text(&tep.address)).collect::<Vec<_>>(), ["198.18.0.1", "198.18.0.2"]);
    let request = proto::ListDomainsRequest {
        tep: Some(named("hv1").into()),
        without_members: true,
        page_size: 1,
        ..Default::default()
    };
    let domains = rig.run(client.domains(request)).unwrap();
    assert_eq!(
        domains.iter().map(|domain| (domain.vni, domain.members.is_none())).collect::<Vec<_>>(),
        [(1, true), (2, true)]
    );
    let names = |havips: Vec<proto::HavipEntry>| {
        havips.into_iter().map(|entry| entry.havip.unwrap().name).collect::<Vec<_>>()
    };
    let of = |vni, states: &[proto::HavipState]| proto::ListHavipsRequest {
        vni,
        states: states.iter().map(|&state| state.into()).collect(),
        ..Default::default()
    };
    let mut list = |request| names(rig.run(client.havips(request)).unwrap());
    assert_eq!(list(of(None, &[])), ["a", "b"]);
    assert_eq!(list(of(Some(2), &[])), ["b"]);
    assert_eq!(list(of(None, &[proto::HavipState::Bound])), ["a"]);
    assert_eq!(list(of(None, &[proto::HavipState::Frozen, proto::HavipState::Unbound])), ["b"]);
    let none = rig.run(client.teps(proto::ListTepsRequest { vni: Some(9), ..Default::default() }));
    assert_eq!(refused(none.unwrap_err()).0, ctl_api::client::RefusalKind::NotFound);
}

/// The kinds of the events up to the next commit.
fn next_events(rig: &Rig, watch: &mut tonic::Streaming<proto::WatchEvent>) -> Vec<&'static str> {
    let mut events = Vec::new();
    loop {
        let event = rig.run(watch.message()).unwrap().unwrap();
        events.push(match event.kind.unwrap() {
            Kind::Committed(_) => return events,
            Kind::Reset(_) => "reset",
            Kind::TepSet(_) => "tep",
            Kind::TepDeleted(_) => "tep-",
            Kind::DomainSet(_) => "domain",
            Kind::DomainDeleted(_) => "domain-",
            Kind::HavipSet(_) => "havip",
            Kind::HavipDeleted(_) => "havip-",
            Kind::HavipEvent(_) => "event",
            Kind::AnnouncementRefused(_) => "refused",
        });
    }
}

#[test]
fn a_watch_tells_only_what_its_filters_pass_and_each_commit() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    rig.commit(vec![add(1), create(1), create(2), create_havip("a", 1, 1), create_havip("b", 2, 2)]);
    let of_kinds = |kinds: &[WatchKind]| WatchRequest {
        kinds: kinds.iter().map(|&kind| kind.into()).collect(),
        ..WatchRequest::default()
    };
    let of_vni = WatchRequest { vnis: vec![1], ..WatchRequest::default() };
    let of_havip = WatchRequest {
        havips: vec!["b".to_owned()],
        ..of_kinds(&[WatchKind::Havips, WatchKind::HavipEvents])
    };
    let filters = [of_kinds(&[WatchKind::Teps]), of_kinds(&[WatchKind::HavipEvents]), of_vni, of_havip];
    let mut watches: Vec<_> = filters.map(|filter| rig.run(rig.client().watch(None, filter)).unwrap()).into();
    rig.commit(vec![add(2), join(1, &[1]), join(2, &[1]), remove_havip("a")]);
    let seen: Vec<_> = watches.iter_mut().map(|watch| next_events(&rig, watch)).collect();
    assert_eq!(seen[0], ["tep"]);
    assert_eq!(seen[1], ["event"]);
    assert_eq!(seen[2], ["tep", "havip-", "domain", "event"]);
    assert_eq!(seen[3], Vec::<&str>::new(), "a commit of others is told all the same");
    rig.commit(vec![remove_havip("b")]);
    assert_eq!(next_events(&rig, &mut watches[2]), ["havip-"], "one that goes is told to all");
    let from = Some(ctl_api::model::Revision::new(1_000));
    let mut anew = rig.run(rig.client().watch(from, of_kinds(&[WatchKind::Domains]))).unwrap();
    assert_eq!(next_events(&rig, &mut anew), ["reset", "domain", "domain"]);
    let unknown = WatchRequest { kinds: vec![99], ..WatchRequest::default() };
    let (_, text) = refused(rig.run(rig.client().watch(None, unknown)).unwrap_err());
    assert!(text.contains("99 is no kind of change to watch"), "{text}");
}

#[test]
fn error_details_say_the_position_over_several_parts_the_reason_and_the_field() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let mut rpc = BcastClient::new(channel(&rig));
    let mut call = |parts: Vec<proto::CommitRequest>| {
        rig.run(rpc.commit_stream(tokio_stream::iter(parts))).unwrap_err().get_error_details()
    };
    let part = |changes: Vec<Change>| proto::CommitRequest::from(Batch::new(changes));
    let details = call(vec![part(vec![add(1), add(2)]), part(vec![create(1), join(1, &[1, 9])])]);
    let info = details.error_info().unwrap();
    assert_eq!((info.domain.as_str(), info.reason.as_str()), ("bcast", "UNREGISTERED"));
    assert_eq!(info.metadata["position"], "4");
    let mut wrong = part(vec![set(1, &[1])]);
    let Some(proto::change::Kind::Set(set)) = &mut wrong.changes[0].kind else { panic!("a set") };
    let Some(proto::set::Resource::Domain(domain)) = &mut set.resource else { panic!("a domain") };
    domain.members = Some(proto::Teps { ipv6: vec![0xfd; 16], ..Default::default() });
    let details = call(vec![part(vec![add(1), add(2)]), wrong]);
    assert_eq!(details.error_info().unwrap().reason, "IPV6_TEP");
    assert_eq!(details.error_info().unwrap().metadata["position"], "3");
    let violations = &details.bad_request().unwrap().field_violations;
    assert_eq!(violations[0].field, "changes[2].set.domain.members");
    assert!(violations[0].description.contains("IPv6 TEPs are not supported yet"));
}

#[test]
fn error_details_of_an_apply_say_the_position_of_the_bad_entry_over_all_its_parts() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let mut rpc = BcastClient::new(channel(&rig));
    let tep = |last: u16| proto::Tep { address: address(last).octets().to_vec(), ..Default::default() };
    let domain = |ipv4: Vec<u8>, ipv6: Vec<u8>| {
        let members = Some(proto::Teps { ipv4, ipv6, ..Default::default() });
        proto::Domain { vni: 1, members, ..Default::default() }
    };
    let unregistered = domain(address(9).octets().to_vec(), vec![]);
    for (wrong, reason, field) in [
        (unregistered, "UNREGISTERED", None),
        (domain(vec![], vec![0xfd; 16]), "IPV6_TEP", Some("domains.members")),
    ] {
        let (teps, domains) = (vec![tep(3)], vec![wrong]);
        let parts = vec![
            proto::ApplyRequest { teps: vec![tep(1), tep(2)], ..Default::default() },
            proto::ApplyRequest { teps, domains, last: true, ..Default::default() },
        ];
        let status = rig.run(rpc.apply(tokio_stream::iter(parts))).unwrap_err();
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.metadata["position"].as_str()), (reason, "4"));
        let violated = details.bad_request().map(|bad| bad.field_violations[0].field.as_str());
        assert_eq!(violated, field);
    }
    assert_eq!(rig.server().counts().teps, 0);
}

#[test]
fn reflection_lists_the_services_and_describes_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::new(folder.path());
    let mut reflection = ServerReflectionClient::new(channel(&rig));
    let ask = |message_request| ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message_request),
    };
    let requests = vec![
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("bcast.v1.Bcast".to_owned())),
    ];
    let (listed, file) = rig.run(async {
        let mut answers =
            reflection.server_reflection_info(tokio_stream::iter(requests)).await.unwrap().into_inner();
        let listed = answers.message().await.unwrap().unwrap().message_response.unwrap();
        (listed, answers.message().await.unwrap().unwrap().message_response.unwrap())
    });
    let MessageResponse::ListServicesResponse(listed) = listed else { panic!("{listed:?}") };
    let mut names: Vec<_> = listed.service.into_iter().map(|service| service.name).collect();
    names.sort_unstable();
    assert_eq!(names, ["bcast.v1.Bcast", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"]);
    let MessageResponse::FileDescriptorResponse(file) = file else { panic!("{file:?}") };
    assert!(!file.file_descriptor_proto[0].is_empty());
}

#[test]
fn health_serves_while_the_store_takes_changes_and_not_while_it_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let fails = Arc::new(AtomicBool::new(false));
    let store = EmbeddedStore::open(&folder.path().join("domains.redb")).unwrap();
    let rig = Rig::with_store(folder.path(), failing(store, &fails, false));
    let mut health = HealthClient::new(channel(&rig));
    let mut until = |service: &str, wanted: ServingStatus| {
        let begun = std::time::Instant::now();
        loop {
            let request = HealthCheckRequest { service: service.to_owned() };
            let status = rig.run(health.check(request)).map(|answer| answer.into_inner().status());
            if status.as_ref().is_ok_and(|status| *status == wanted) {
                return;
            }
            assert!(begun.elapsed() < common::wire::SOON, "{status:?}");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    };
    until("bcast.v1.Bcast", ServingStatus::Serving);
    until("", ServingStatus::Serving);
    fails.store(true, Ordering::Relaxed);
    assert!(rig.try_commit(Batch::new(vec![create(1)])).is_err());
    until("bcast.v1.Bcast", ServingStatus::NotServing);
    fails.store(false, Ordering::Relaxed);
    until("bcast.v1.Bcast", ServingStatus::Serving);
}
