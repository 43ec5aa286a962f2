//! The commit thread's side: what is written, what is deleted, and what becomes of it.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bcast_domain::Tep;
use common::{
    Folder, MemoryLedger, Receiver, Sender, config, generations, hasty, isolated, moved, record, until,
};
use ctl_api::model::{Event, HavipEvent, HavipEventKind, RefusalReason, RefusedAnnouncement, Revision};
use ctl_store::{EmbeddedStore, Group, Record, Store};
use ctl_webhook::{Ledger, Policy, WebhookConfig, Webhooks};

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:9/";

#[test]
fn each_receiver_gets_a_row_of_each_event_numbered_within_its_revision() {
    isolated(|| {
        let folder = Folder::new();
        let configs = [config(&folder, "x", NOWHERE), config(&folder, "y", NOWHERE)];
        let mut sender = Sender::start(&configs, hasty(), Arc::default());
        // What is no happening has no number.
        let mut seven = record(7, [moved("a", 7), moved("b", 7)]);
        seven.events.insert(1, Event::DomainDeleted(5001.into()));
        let rows = sender.outbox.stage(&[seven, record(8, [moved("a", 8)])]);
        let keys: Vec<String> = rows
            .insert
            .iter()
            .map(|row| format!("{} {} {}", row.key.receiver, row.key.id, row.havip))
            .collect();
        assert_eq!(keys, ["x 7-0 a", "x 7-1 b", "x 8-0 a", "y 7-0 a", "y 7-1 b", "y 8-0 a"]);
        assert_eq!(rows.delete, []);
        assert_eq!(rows.insert[0].body, rows.insert[3].body);
    });
}

#[test]
fn without_receivers_nothing_is_staged() {
    let mut sender = Sender::start(&[], hasty(), Arc::default());
    let rows = sender.outbox.stage(&[record(1, [moved("a", 1)])]);
    assert_eq!((rows.insert, rows.delete), (vec![], vec![]));
    sender.outbox.committed();
}

/// Alarms are part of no revision and of no transaction: nothing of them is in the store.
#[test]
fn alarms_are_sent_in_order_with_other_events_and_left_out_where_there_is_no_room() {
    isolated(|| {
        let folder = Folder::new();
        let mut receiver = Receiver::start(&folder, "noc", r#"{"*": ["200"]}"#);
        let url = format!("http://127.0.0.1:{}", receiver.port);
        let full = WebhookConfig { pending: 1, ..config(&folder, "full", NOWHERE) };
        let mut sender = Sender::start(&[config(&folder, "noc", &url), full], hasty(), Arc::default());
        sender.commit(1, &["a"]);
        let alarm = |generation| HavipEvent { kind: HavipEventKind::Spoof, ..moved("a", generation) };
        sender.outbox.tell(&[alarm(1), alarm(1)]);
        assert_eq!(sender.ledger.rows().unwrap().iter().filter(|row| row.key.id.index > 0).count(), 0);
        sender.commit(2, &["a"]);
        let all = receiver.take(4);
        assert_eq!(generations(&all, "a"), [1, 1, 1, 2]);
        until("they are accepted", || sender.webhooks().status()[0].delivered == 4);
        let [noc, full] = &sender.webhooks().status()[..] else { panic!("two receivers") };
        assert_eq!((noc.skipped, noc.pending), (0, 0));
        assert!(full.skipped >= 2, "{full:?}");
    });
}

#[test]
fn refused_announcements_of_a_domain_are_sent_as_events_of_the_domain() {
    isolated(|| {
        let folder = Folder::new();
        let mut receiver = Receiver::start(&folder, "noc", r#"{"*": ["200"]}"#);
        let url = format!("http://127.0.0.1:{}", receiver.port);
        let mut sender = Sender::start(&[config(&folder, "noc", &url)], hasty(), Arc::default());
        let refused = |count| RefusedAnnouncement {
            vni: 5001.into(),
            address: "10.0.0.7".parse().unwrap(),
            mac: [0x52, 0x54, 0, 0, 0, 9],
            tep: Tep::new([198, 18, 0, 9].into()).ok(),
            reason: RefusalReason::OutsideSubnets,
            count,
            several_addresses: false,
            generation: 42,
            unix_ms: 1_795_417_812_034,
        };
        sender.outbox.tell_refused(&[refused(1), RefusedAnnouncement { tep: None, ..refused(7) }]);
        let all = receiver.take(2);
        let expected = serde_json::json!({
            "specversion": "1.0",
            "id": all[0]["event"]["id"],
            "source": "/bcast/198.18.0.254",
            "type": "bcast.domain.announcement_refused",
            "subject": "domain/5001",
            "time": "2026-11-23T07:10:12.034Z",
            "datacontenttype": "application/json",
            "sequence": "00000000000000000042",
            "data": {
                "vni": 5001,
                "address": "10.0.0.7",
                "generation": 42,
                "mac": "52:54:00:00:00:09",
                "tep": "198.18.0.9",
                "reason": "outside_subnets",
                "count": 1,
                "several_addresses": false,
            },
        });
        assert_eq!(all[0]["event"], expected);
        let later = &all[1]["event"]["data"];
        assert_eq!((&later["tep"], &later["count"]), (&serde_json::Value::Null, &7.into()));
        assert_ne!(all[0]["event"]["id"], all[1]["event"]["id"]);
        assert_eq!(sender.ledger.len(), 0, "alarms are not stored");
    });
}

#[test]
fn what_is_staged_is_sent_only_once_it_is_committed() {
    isolated(|| {
        let folder = Folder::new();
        let mut receiver = Receiver::start(&folder, "noc", r#"{"*": ["200"]}"#);
        let url = format!("http://127.0.0.1:{}", receiver.port);
        let mut sender = Sender::start(&[config(&folder, "noc", &url)], hasty(), Arc::default());
        sender.outbox.stage(&[record(1, [moved("a", 1)])]);
        sender.outbox.aborted();
        // And what nobody said anything of before the next.
        sender.outbox.stage(&[record(1, [moved("a", 1)])]);
        sender.commit(2, &["a"]);
        assert_eq!(generations(&[receiver.next()], "a"), [2]);
        until("it is accepted", || sender.webhooks().status()[0].pending == 0);
        assert_eq!(sender.webhooks().status()[0].delivered, 1);
    });
}

#[test]
fn a_transaction_that_turns_out_to_have_committed_is_taken_up() {
    isolated(|| {
        let folder = Folder::new();
        let mut receiver = Receiver::start(&folder, "noc", r#"{"*": ["200"]}"#);
        let url = format!("http://127.0.0.1:{}", receiver.port);
        let mut sender = Sender::start(&[config(&folder, "noc", &url)], hasty(), Arc::default());
        let rows = sender.outbox.stage(&[record(1, [moved("a", 1)])]);
        sender.ledger.apply(rows);
        sender.outbox.reload().unwrap();
        assert_eq!(generations(&[receiver.next()], "a"), [1]);
        until("it leaves the store", || sender.ledger.len() == 0);
    });
}

#[test]
fn the_embedded_store_keeps_what_was_not_accepted_and_lets_go_of_what_was() {
    isolated(|| {
        let folder = Folder::new();
        let path = folder.path("domains.redb");
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let start = |url: &str, store: &Arc<EmbeddedStore>| {
            let endpoints = WebhookConfig::check(&[config(&folder, "noc", url)]).unwrap();
            Webhooks::start(endpoints, "/bcast/x", Arc::new(Arc::clone(store)), hasty(), runtime.handle())
                .unwrap()
        };
        {
            let store = Arc::new(EmbeddedStore::open(&path).unwrap());
            let (mut outbox, webhooks) = start(NOWHERE, &store);
            for revision in 1..=3 {
                let records = vec![record(revision, [moved("a", revision)])];
                let base = Revision::new(revision - 1);
                let outbox_rows = outbox.stage(&records);
                store.commit(&Group { base, records, outbox: outbox_rows, ..Group::default() }).unwrap();
                outbox.committed();
            }
            until("it was tried", || webhooks.status()[0].failed > 0);
            runtime.block_on(webhooks.stop());
        }
        let mut receiver = Receiver::start(&folder, "noc", r#"{"*": ["200"]}"#);
        {
            let store = Arc::new(EmbeddedStore::open(&path).unwrap());
            assert_eq!(store.outbox().unwrap().len(), 3);
            let (_outbox, webhooks) = start(&format!("http://127.0.0.1:{}", receiver.port), &store);
            assert_eq!(generations(&receiver.take(3), "a"), [1, 2, 3]);
            until("all is accepted", || webhooks.status()[0].pending == 0);
            runtime.block_on(webhooks.stop());
        }
        let store = EmbeddedStore::open(&path).unwrap();
        assert_eq!(store.outbox().unwrap(), []);
    });
}

#[test]
fn beyond_the_bound_the_rows_of_a_virtual_ip_become_one_in_the_same_transaction() {
    isolated(|| {
        let folder = Folder::new();
        // It has the first event under way for ever, and takes no other beside it.
        let mut slow = Receiver::start(&folder, "slow", r#"{"*": ["hang"]}"#);
        let mut bounded = config(&folder, "slow", &format!("http://127.0.0.1:{}", slow.port));
        bounded.pending = 3;
        let policy = Policy { timeout: Duration::from_secs(3600), concurrency: 1, ..hasty() };
        let mut sender = Sender::start(&[bounded], policy, Arc::default());
        sender.commit(1, &["a"]);
        slow.next();
        sender.commit(2, &["a", "a"]);
        // Event, expected: id and gap of the new row, ids of the deleted ones.
        for (revision, havip, row, deleted) in [
            (3, "a", ("3-0", 2), vec!["2-0", "2-1"]),
            (4, "b", ("4-0", 0), vec![]),
            (5, "b", ("5-0", 1), vec!["4-0"]),
            (6, "a", ("6-0", 3), vec!["3-0"]),
            (7, "c", ("7-0", 0), vec![]),
        ] {
            let rows = sender.outbox.stage(&[record(revision, [moved(havip, revision)])]);
            let found: Vec<(String, u64)> =
                rows.insert.iter().map(|row| (row.key.id.to_string(), row.gap)).collect();
            assert_eq!(found, [(row.0.to_owned(), row.1)], "{revision}");
            let gone: Vec<String> = rows.delete.iter().map(|key| key.id.to_string()).collect();
            assert_eq!(gone, deleted, "{revision}");
            let body: serde_json::Value = serde_json::from_slice(&rows.insert[0].body).unwrap();
            assert_eq!(body["gap"].as_u64().unwrap_or(0), row.1);
            sender.ledger.apply(rows);
            sender.outbox.committed();
        }
        // Within one transaction too; and what fails leaves all as it was.
        let all: Vec<Record> = (8..18).map(|revision| record(revision, [moved("c", revision)])).collect();
        for _ in 0..2 {
            let rows = sender.outbox.stage(&all);
            assert_eq!((rows.insert.len(), rows.insert[0].gap, rows.delete.len()), (1, 10, 1));
            sender.outbox.aborted();
        }
        let status = sender.webhooks().status().remove(0);
        assert_eq!((status.pending, sender.ledger.len(), status.skipped), (4, 4, 4));
    });
}

#[test]
fn a_store_that_fails_is_tried_again_until_it_takes_what_is_over() {
    isolated(|| {
        let folder = Folder::new();
        let receiver = Receiver::start(&folder, "noc", r#"{"*": ["200"]}"#);
        let url = format!("http://127.0.0.1:{}", receiver.port);
        let mut sender = Sender::start(&[config(&folder, "noc", &url)], hasty(), Arc::default());
        sender.ledger.failing.store(2, SeqCst);
        sender.commit(1, &["a", "b"]);
        until("they leave the store", || sender.ledger.len() == 0);
        assert_eq!(sender.webhooks().status()[0].delivered, 2);
    });
}

#[test]
fn rows_of_a_receiver_that_is_not_configured_stay_until_they_are_too_old() {
    isolated(|| {
        let folder = Folder::new();
        let ledger = Arc::new(MemoryLedger::default());
        let mut sender = Sender::start(&[config(&folder, "old", NOWHERE)], hasty(), Arc::clone(&ledger));
        sender.commit(1, &["a"]);
        drop(sender);
        drop(Sender::start(&[], hasty(), Arc::clone(&ledger)));
        assert_eq!(ledger.rows().unwrap().len(), 1);
        let policy = Policy { keep: Duration::ZERO, ..hasty() };
        let _sender = Sender::start(&[], policy, Arc::clone(&ledger));
        until("they go", || ledger.len() == 0);
    });
}

#[test]
fn what_is_wrong_with_a_webhook_is_said_in_one_line() {
    let folder = Folder::new();
    std::fs::write(folder.path("short"), "short\n").unwrap();
    std::fs::write(folder.path("not.pem"), "not PEM\n").unwrap();
    let good = || config(&folder, "noc", "https://noc.example/x");
    let url = |url: &str| config(&folder, "noc", url);
    let with = |change: fn(&mut WebhookConfig, &Folder)| {
        let mut webhook = good();
        change(&mut webhook, &folder);
        webhook
    };
    for (webhooks, words) in [
        (vec![WebhookConfig { name: "5001".into(), ..good() }], "reads as an address or a number"),
        (vec![good(), good()], "webhook \"noc\": its name stands there twice"),
        (
            (0..17).map(|i| WebhookConfig { name: format!("w{i}"), ..good() }).collect(),
            "webhook \"w16\": it is one too many",
        ),
        (vec![url("noc.example")], "url \"noc.example\" is not a URL such as"),
        (vec![url("")], "is not a URL"),
        (vec![url("ftp://noc.example/")], "is not a URL"),
        (vec![url("/bcast")], "is not a URL"),
        (vec![url("http://")], "is not a URL"),
        (vec![url("http://user:password@noc.example/")], "is not a URL"),
        (vec![url("http://noc.example/#there")], "is not a URL"),
        (vec![url("http://noc.example:70000/")], "is not a URL"),
        (vec![url("http://noc.example:0/")], "is not a URL"),
        (vec![url("http://noc.example:/")], "is not a URL"),
        (vec![url("http://noc.example/a b")], "is not a URL"),
        (vec![WebhookConfig { pending: 0, ..good() }], "pending = 0 is out of range: 1 to 1000000"),
        (vec![WebhookConfig { pending: 1_000_001, ..good() }], "pending = 1000001 is out of range"),
        (vec![with(|w, f| w.secret_file = f.path("none"))], "none: No such file"),
        (vec![with(|w, f| w.secret_file = f.path("short"))], "the secret has 5 bytes; it takes 24 or more"),
        (vec![with(|w, f| w.ca_file = Some(f.path("none")))], "No such file"),
        (vec![with(|w, f| w.ca_file = Some(f.path("not.pem")))], "no certificate is in it"),
        (
            vec![with(|w, _| w.url = "http://noc.example/".into())],
            "ca_file is given, but the url is not https",
        ),
        (vec![url("https://noc_.example-/")], "invalid dns name"),
    ] {
        let error = WebhookConfig::check(&webhooks).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains('\n'), "{error}");
    }
    for ok in [
        "http://noc.example",
        "https://noc.example:8443/a/b?c=d",
        "http://[fd00::1]:80/",
        "https://192.0.2.1/",
    ] {
        assert_eq!(WebhookConfig::check(&[url(ok)]).unwrap().len(), 1, "{ok}");
    }
}

#[test]
fn keys_that_a_webhook_does_not_have_are_refused_and_pending_has_a_default() {
    let file = r#"name = "noc"
url = "https://noc.example/bcast"
secret_file = "/etc/bcastd/noc.key""#;
    let webhook: WebhookConfig = toml::from_str(file).unwrap();
    assert_eq!((webhook.pending, webhook.ca_file), (10_000, None));
    for wrong in ["secret = 'x'", "pending = -1", "ca_file = 1"] {
        assert!(toml::from_str::<WebhookConfig>(&format!("{file}\n{wrong}")).is_err(), "{wrong}");
    }
    assert!(toml::from_str::<WebhookConfig>("name = 'noc'").is_err());
}
