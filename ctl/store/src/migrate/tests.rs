//! Migration of a store that is written here as the release before schema 4 wrote it.

use std::path::Path;

use ctl_api::model::HavipState;

use super::*;
use crate::embedded::EmbeddedStore;
use crate::{Changes, Store};

type Key<'k> = (&'k str, u64, u32);
const OUTBOX: TableDefinition<Key<'_>, (&str, u64, u64, &[u8])> = TableDefinition::new("outbox");
type Letter<'l> = (&'l str, u64, u64, &'l [u8], u64, &'l str);
const DEAD: TableDefinition<Key<'_>, Letter<'_>> = TableDefinition::new("dead_letters");
const ANSWERS: TableDefinition<&str, (u64, u64, u64, &str)> = TableDefinition::new("answers");
const ANSWER_AGES: TableDefinition<(u64, &str), ()> = TableDefinition::new("answer_ages");
const BODIES: TableDefinition<&str, (u64, &[u8; 32])> = TableDefinition::new("answer_bodies");

fn old_holder(last: u8) -> legacy::Holder {
    legacy::Holder {
        instance: format!("vm{last}"),
        mac: format!("52:54:00:00:00:0{last}"),
        tep: format!("198.18.0.{last}"),
    }
}

fn old_havip() -> legacy::Havip {
    let attachment = |last: u8| {
        let legacy::Holder { instance, mac, tep } = old_holder(last);
        legacy::Attachment { instance, mac, teps: vec![tep] }
    };
    legacy::Havip {
        name: "web".to_owned(),
        vni: 7,
        subnet: "fd00::/64".to_owned(),
        address: "fd00::100".to_owned(),
        attachments: vec![attachment(1), attachment(2)],
        vrids: vec![51],
        refresh_s: Some(30),
        eip: "2001:db8::7".to_owned(),
    }
}

fn old_event(generation: u64, mac: &str) -> legacy::HavipEvent {
    legacy::HavipEvent {
        havip: "web".to_owned(),
        vni: 7,
        address: "fd00::100".to_owned(),
        eip: String::new(),
        kind: "spoof".to_owned(),
        generation,
        unix_ms: 9,
        holder: Some(old_holder(1)),
        previous: None,
        why: String::new(),
        detail: "text".to_owned(),
        offender: Some(legacy::Offender { mac: mac.to_owned(), tep: "198.18.0.9".to_owned(), count: 4 }),
    }
}

/// Bytes of a domain's row: name "vpc", rates copies and control, ARP inspection, two members.
fn old_domain() -> Vec<u8> {
    let mut row = vec![WITH_MORE | 3];
    row.extend(b"vpc");
    row.push(0b1101);
    row.extend([250_u64, 8].map(u64::to_le_bytes).concat());
    row.extend([0xc612_0001_u32, 0xc612_0002].map(u32::to_le_bytes).concat());
    row
}

fn write_old(path: &Path) {
    let database = Database::create(path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut meta = transaction.open_table(META).unwrap();
        for (key, value) in [("schema", 3), ("revision", 40), ("log_start", 40), ("happenings", 2)] {
            meta.insert(key, value).unwrap();
        }
        let mut teps = transaction.open_table(OLD_TEPS).unwrap();
        teps.insert(0xc612_0001, "hv1").unwrap();
        teps.insert(0xc612_0002, "").unwrap();
        transaction.open_table(OLD_TEP_LIMITS).unwrap().insert(0xc612_0001, 77).unwrap();
        transaction.open_table(OLD_TEP_HOPS).unwrap().insert(0xc612_0002, (0, 9)).unwrap();
        transaction.open_table(OLD_DOMAINS).unwrap().insert(7, old_domain().as_slice()).unwrap();
        let binding = legacy::Binding {
            state: "frozen".to_owned(),
            holder: Some(old_holder(1)),
            previous: Some(old_holder(2)),
            since_unix_ms: 5,
            why: "flapping".to_owned(),
            moves: 6,
            generation: 39,
        };
        let entry = legacy::HavipEntry { havip: Some(old_havip()), binding: Some(binding) };
        let mut havips = transaction.open_table(OLD_HAVIPS).unwrap();
        havips.insert("web", entry.encode_to_vec().as_slice()).unwrap();
        let mut events = transaction.open_table(OLD_EVENTS).unwrap();
        let mut ages = transaction.open_table(OLD_AGES).unwrap();
        for (number, event) in
            [old_event(38, "ff:ff:ff:ff:ff:ff"), old_event(39, "00:00:00:00:00:00")].iter().enumerate()
        {
            events.insert(("web", number as u64), event.encode_to_vec().as_slice()).unwrap();
            ages.insert(number as u64, "web").unwrap();
        }
        let log: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
        transaction.open_table(log).unwrap().insert(40, &[0; 8][..]).unwrap();
        transaction.open_table(OUTBOX).unwrap().insert(("ops", 39, 0), ("web", 5, 2, &b"{}"[..])).unwrap();
        let letter = ("web", 5, 0, &b"{}"[..], 6, "no answer");
        transaction.open_table(DEAD).unwrap().insert(("ops", 38, 1), letter).unwrap();
        transaction.open_table(ANSWERS).unwrap().insert("id", (5_000, 40, 1, "note")).unwrap();
        transaction.open_table(ANSWER_AGES).unwrap().insert((5_000, "id"), ()).unwrap();
        transaction.open_table(BODIES).unwrap().insert("id", (5_000, &[7; 32])).unwrap();
    }
    transaction.commit().unwrap();
}

#[test]
fn all_that_schema_3_could_say_is_said_after_the_migration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("domains.redb");
    write_old(&path);
    let store = EmbeddedStore::open(&path).unwrap();
    let snapshot = store.snapshot().unwrap();
    let teps: Vec<_> = snapshot.teps().unwrap().map(Result::unwrap).collect();
    assert_eq!((teps[0].limit.frames, teps[0].route_gateway6), (Some(Rate::new(77).unwrap()), None));
    assert_eq!((teps[1].name.as_ref(), teps[1].route_gateway6), (None, Some(Ipv6Addr::from_bits(9))));
    let domain = snapshot.domains().unwrap().next().unwrap().unwrap();
    let rate = |per_second| Some(Rate::new(per_second).unwrap());
    assert_eq!(domain.limit, DomainLimit { copies: rate(250), bits: None, control: rate(8) });
    assert_eq!((domain.arp_inspection, domain.members.len()), (ArpInspection::Sticky, 2));
    let HavipEntry { havip, binding } = snapshot.havips().unwrap().next().unwrap().unwrap();
    assert_eq!((havip.address.to_string(), havip.attachments.len()), ("fd00::100".to_owned(), 2));
    assert_eq!(havip.eip.map(|eip| eip.to_string()).as_deref(), Some("2001:db8::7"));
    assert_eq!((binding.state, binding.moves, binding.generation), (HavipState::Frozen, 6, 39));
    assert_eq!(binding.holder.map(|holder| holder.instance.to_string()).as_deref(), Some("vm1"));
    let history = store.history(&"web".parse().unwrap()).unwrap();
    let offenders: Vec<_> =
        history.iter().map(|event| (event.generation, event.offender.unwrap().mac)).collect();
    assert_eq!(offenders, [(38, [0xff; 6]), (39, [0; 6])], "any six bytes");
    let outbox = store.outbox().unwrap();
    assert_eq!((outbox.len(), outbox[0].gap, outbox[0].key.id.to_string().as_str()), (1, 2, "39-0"));
    let letters = store.dead_letters(&"ops".parse().unwrap()).unwrap();
    assert_eq!((letters.len(), letters[0].reason.as_str()), (1, "no answer"));
    let (body, answer) = store.answer(&"id".parse().unwrap(), 5_001).unwrap().unwrap();
    assert_eq!((body, answer.revision.get(), answer.notes), (Some([7; 32]), 40, vec!["note".to_owned()]));
    assert_eq!(store.changes(Revision::new(40)).unwrap(), Changes::Gone);
    assert_eq!(store.changes(Revision::new(41)).unwrap(), Changes::Records(vec![]));
}
