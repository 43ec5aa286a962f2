//! Requests: any bytes are refused, or make a model that comes back from its message as it was.
#![no_main]

use ctl_api::model::{Apply, ApplyParts, Batch, Event};
use ctl_api::proto::{ApplyOptions, ApplyRequest, CommitRequest, Resource, SnapshotPart, WatchEvent};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|input: &[u8]| {
    let Some((kind, message)) = input.split_first() else { return };
    match kind % 3 {
        0 => batch(message),
        1 => apply(message),
        _ => backup(message),
    }
});

fn batch(bytes: &[u8]) {
    let Ok(message) = CommitRequest::decode(bytes) else { return };
    let Ok(batch) = Batch::parse(message, 0) else { return };
    let written = CommitRequest::from(batch.clone()).encode_to_vec();
    let message = CommitRequest::decode(written.as_slice()).expect("a message that was written");
    assert_eq!(Batch::parse(message, 0), Ok(batch));
}

fn apply(bytes: &[u8]) {
    let Ok(message) = ApplyRequest::decode(bytes) else { return };
    let mut apply = Apply::default();
    if apply.add(message).is_err() {
        return;
    }
    let options = ApplyOptions {
        prune: apply.prune,
        dry_run: apply.conditions.dry_run,
        expected_revision: apply.conditions.expected.map(|revision| revision.get()),
        request_id: apply.conditions.request_id.as_ref().map(|id| id.as_str().to_owned()),
        above_revision: apply.conditions.above.map(|revision| revision.get()),
        confirm_removals: Some(apply.conditions.confirmed),
        max_differences: apply.max_differences.map(|most| most as u64),
    };
    let mut again = Apply::default();
    for part in ApplyParts::new(options, apply.resources.clone().into_iter().map(Resource::from)) {
        let part = ApplyRequest::decode(part.encode_to_vec().as_slice()).expect("a message that was written");
        again.add(part).expect("a part of what was accepted");
    }
    again.is_whole = apply.is_whole;
    assert_eq!(again, apply);
}

fn backup(bytes: &[u8]) {
    let Ok(part) = SnapshotPart::decode(bytes) else { return };
    use ctl_api::proto::watch_event::Kind;
    let teps = part.teps.into_iter().map(Kind::TepSet);
    let domains = part.domains.into_iter().map(Kind::DomainSet);
    let havips = part.havips.into_iter().map(Kind::HavipSet);
    let history = part.history.into_iter().map(Kind::HavipEvent);
    for kind in teps.chain(domains).chain(havips).chain(history) {
        let Ok(event) = Event::try_from(kind) else { continue };
        let event = match event {
            Event::DomainSet(mut domain) => {
                domain.members.sort_unstable();
                Event::DomainSet(domain)
            }
            event => event,
        };
        let written = WatchEvent { revision: 7, kind: Some(event.clone().into()), ..Default::default() }.encode_to_vec();
        let message = WatchEvent::decode(written.as_slice()).expect("a message that was written");
        assert_eq!(message.kind.map(Event::try_from), Some(Ok(event)));
    }
}
