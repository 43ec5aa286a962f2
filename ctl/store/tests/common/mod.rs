//! HAVIPs and what belongs to them, for tests of stores.
#![allow(dead_code)]

use std::path::Path;

use bcast_domain::{Mac, Tep, VlanTags};
use ctl_api::model::{
    Attachment, Binding, Event, Havip, HavipEntry, HavipEvent, HavipEventKind, HavipState, Holder, Revision,
    Why,
};
use ctl_store::{EmbeddedStore, EventId, Group, OutboxKey, OutboxRow, Record};

pub fn open(folder: &Path) -> EmbeddedStore {
    EmbeddedStore::open(&folder.join("domains.redb")).unwrap()
}

pub fn tep(last: u8) -> Tep {
    Tep::new([198, 18, 0, last].into()).unwrap()
}

pub fn record(revision: u64, events: Vec<Event>) -> Record {
    Record { revision: Revision::new(revision), unix_ms: 1_000 + revision, events }
}

pub fn group(base: u64, records: Vec<Record>) -> Group {
    Group { base: Revision::new(base), unix_ms: 5_000, records, ..Group::default() }
}

/// A HAVIP that was moved by this revision.
pub fn entry(name: &str, generation: u64) -> HavipEntry {
    let mac = Mac::new([0x52, 0x54, 0, 0, 0, 1]).unwrap();
    let instance = "vm1".parse().unwrap();
    let holder = Holder { instance, mac, tep: tep(1) };
    let binding = Binding {
        state: HavipState::Bound,
        holder: Some(holder.clone()),
        previous: Some(Holder { tep: tep(2), ..holder }),
        since_unix_ms: 1_795_395_845_007,
        why: Some(Why::Garp),
        moves: 3,
        generation,
        tags: Some(VlanTags::NONE.with(0x8100, 10)),
    };
    let attachment = Attachment { instance: "vm1".parse().unwrap(), mac, teps: vec![tep(1), tep(2)] };
    let havip = Havip {
        name: name.parse().unwrap(),
        vni: 5001.into(),
        subnet: "10.0.0.0/24".parse().unwrap(),
        address: "10.0.0.100".parse().unwrap(),
        attachments: vec![attachment],
        vrids: vec![51],
        refresh_s: Some(30),
        eip: Some("203.0.113.7".parse().unwrap()),
        group: Some("default/web".parse().unwrap()),
    };
    HavipEntry { havip, binding }
}

pub fn set(entry: &HavipEntry) -> Event {
    Event::HavipSet(Box::new(entry.clone()))
}

pub fn removed(name: &str) -> Event {
    Event::HavipDeleted(name.parse().unwrap())
}

pub fn happened(name: &str, generation: u64) -> Event {
    Event::HavipEvent(Box::new(HavipEvent::of(&entry(name, generation), HavipEventKind::Moved, 1)))
}

/// An event for a receiver.
pub fn row(receiver: &str, revision: u64, index: u32) -> OutboxRow {
    let id = EventId { revision: Revision::new(revision), index };
    OutboxRow {
        key: OutboxKey { receiver: receiver.parse().unwrap(), id },
        havip: "web".parse().unwrap(),
        since_unix_ms: 1_000,
        gap: u64::from(index),
        body: format!("{{\"id\":\"{id}\"}}").into(),
    }
}
