//! Delivery to a real HTTP server in another language, which verifies signatures by itself.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{
    Folder, MemoryLedger, Receiver, Sender, config, generations, hasty, isolated, moved, record, until,
};
use ctl_webhook::Policy;

fn http(port: u16) -> String {
    format!("http://127.0.0.1:{port}/bcast?from=node1")
}

#[test]
fn every_event_arrives_once_in_the_order_of_its_virtual_ip_and_signed() {
    isolated(|| {
        let folder = Folder::new();
        for secure in [false, true] {
            let plan = r#"{"*": ["200"]}"#;
            let (mut receiver, host) = if secure {
                (Receiver::secure(&folder, "noc", plan, &["localhost"]), "https://localhost")
            } else {
                (Receiver::start(&folder, "noc", plan), "http://127.0.0.1")
            };
            let url = format!("{host}:{}/bcast?from=node1", receiver.port);
            let mut sender = Sender::start(&[config(&folder, "noc", &url)], hasty(), Arc::default());
            for revision in 1..=20 {
                sender.commit(revision, &["a", "b", "c"]);
            }
            let requests = receiver.take(60);
            for request in &requests {
                assert_eq!(request["signed"], true, "{request}");
                assert_eq!(request["fresh"], true, "{request}");
                assert_eq!(request["path"], "/bcast?from=node1");
                assert_eq!(request["content_type"], "application/cloudevents+json; charset=utf-8");
                assert_eq!(request["id"], request["event"]["id"]);
            }
            for havip in ["a", "b", "c"] {
                assert_eq!(generations(&requests, havip), (1..=20).collect::<Vec<_>>(), "{havip}");
            }
            until("they leave the store", || sender.ledger.len() == 0);
            let status = sender.webhooks().status().remove(0);
            assert_eq!((status.delivered, status.failed, status.pending), (60, 0, 0));
            sender.stop();
        }
    });
}

#[test]
fn an_event_is_a_cloudevent() {
    isolated(|| {
        let folder = Folder::new();
        let mut receiver = Receiver::start(&folder, "noc", r#"{"*": ["200"]}"#);
        let mut sender =
            Sender::start(&[config(&folder, "noc", &http(receiver.port))], hasty(), Arc::default());
        let mut event = moved("web", 42);
        event.unix_ms = 1_795_417_812_034;
        let rows = sender.outbox.stage(&[record(42, [moved("other", 42), event])]);
        sender.ledger.apply(rows);
        sender.outbox.committed();
        let found = receiver.until("web", 42).pop().unwrap();
        let expected = serde_json::json!({
            "specversion": "1.0",
            "id": "42-1",
            "source": "/bcast/198.18.0.254",
            "type": "bcast.havip.moved",
            "subject": "web",
            "time": "2026-11-23T07:10:12.034Z",
            "datacontenttype": "application/json",
            "sequence": "00000000000000000042",
            "data": {
                "vni": 5001,
                "address": "10.0.0.100",
                "eip": "203.0.113.7",
                "generation": 42,
                "holder": {"instance": "vm2", "mac": "52:54:00:00:00:02", "tep": "198.18.0.2"},
                "previous": {"instance": "vm1", "mac": "52:54:00:00:00:01", "tep": "198.18.0.1"},
                "why": "garp",
            },
        });
        assert_eq!(found["event"], expected);
    });
}

#[test]
fn what_is_refused_is_sent_again_as_it_was_and_later_events_wait_for_it() {
    isolated(|| {
        let folder = Folder::new();
        let plan = r#"{"*": ["500", "503 retry-after=0", "429 Retry-After=Wed,_21_Oct_2015", "400", "200"]}"#;
        let mut receiver = Receiver::start(&folder, "noc", plan);
        let mut sender =
            Sender::start(&[config(&folder, "noc", &http(receiver.port))], hasty(), Arc::default());
        sender.commit(1, &["a"]);
        sender.commit(2, &["a"]);
        let requests = receiver.take(6);
        assert_eq!(generations(&requests, "a"), [1, 1, 1, 1, 1, 2]);
        for request in &requests[..5] {
            assert_eq!(request["event"], requests[0]["event"]);
            assert_eq!(request["signed"], true);
        }
        until("they leave the store", || sender.ledger.len() == 0);
        let status = sender.webhooks().status().remove(0);
        assert_eq!((status.delivered, status.failed, status.last_error), (2, 4, None));
    });
}

#[test]
fn nothing_is_lost_nor_out_of_order_when_the_sender_dies_while_the_receiver_is_away() {
    isolated(|| {
        let folder = Folder::new();
        // A port that nobody listens on any more.
        let port = Receiver::start(&folder, "gone", r#"{"*": ["200"]}"#).port;
        let ledger = Arc::new(MemoryLedger::default());
        let configs = |port| [config(&folder, "noc", &http(port))];
        for life in 0..3 {
            let mut sender = Sender::start(&configs(port), hasty(), Arc::clone(&ledger));
            for revision in 1..=10 {
                sender.commit(life * 10 + revision, &["a", "b"]);
            }
            until("it was tried", || sender.webhooks().status()[0].failed > 0);
            let status = sender.webhooks().status().remove(0);
            assert!(
                status.backing_off && status.last_error.unwrap().starts_with("cannot connect to 127.0.0.1:")
            );
            assert_eq!(status.pending, ledger.len());
            // Dropped, not stopped: as a kill would.
        }
        assert_eq!(ledger.len(), 60);
        let mut receiver = Receiver::start(&folder, "noc", r#"{"*": ["200"]}"#);
        let _sender = Sender::start(&configs(receiver.port), hasty(), Arc::clone(&ledger));
        let requests = receiver.take(60);
        for havip in ["a", "b"] {
            assert_eq!(generations(&requests, havip), (1..=30).collect::<Vec<_>>());
        }
        until("they leave the store", || ledger.len() == 0);
    });
}

#[test]
fn what_is_not_accepted_in_time_is_a_dead_letter_and_can_be_sent_again() {
    isolated(|| {
        let folder = Folder::new();
        let mut receiver = Receiver::start(&folder, "noc", r#"{"*": ["200"], "bad": ["422"]}"#);
        let policy = Policy { keep: Duration::from_millis(300), ..hasty() };
        let mut sender =
            Sender::start(&[config(&folder, "noc", &http(receiver.port))], policy, Arc::default());
        sender.commit(1, &["bad", "good"]);
        let noc = "noc".parse().unwrap();
        until("it dies", || sender.webhooks().dead(&noc).unwrap().len() == 1);
        let letter = sender.webhooks().dead(&noc).unwrap().remove(0);
        assert_eq!(letter.row.havip.as_str(), "bad");
        assert_eq!(letter.reason, "answer 422 Unprocessable Entity");
        assert!(letter.died_unix_ms >= letter.row.since_unix_ms + 300);
        until("the store is empty", || sender.ledger.len() == 0);
        let status = sender.webhooks().status().remove(0);
        assert_eq!((status.delivered, status.dead, status.pending), (1, 1, 0));

        receiver.plan(r#"{"*": ["200"]}"#);
        assert_eq!(sender.webhooks().retry(&noc).unwrap(), 1);
        let sent = receiver.until("bad", 1).pop().unwrap();
        assert_eq!(sent["event"], serde_json::from_slice::<serde_json::Value>(&letter.row.body).unwrap());
        assert!(sender.webhooks().dead(&noc).unwrap().is_empty());
        let nobody = sender.webhooks().retry(&"nobody".parse().unwrap()).unwrap_err();
        assert!(nobody.to_string().contains("no webhook nobody"), "{nobody}");
    });
}

#[test]
fn beyond_its_bound_a_receiver_gets_the_newest_event_of_each_virtual_ip_and_the_number_skipped() {
    isolated(|| {
        let folder = Folder::new();
        let mut receiver = Receiver::start(&folder, "noc", r#"{"*": ["503"]}"#);
        let mut bounded = config(&folder, "noc", &http(receiver.port));
        bounded.pending = 5;
        let mut sender = Sender::start(&[bounded], hasty(), Arc::default());
        for revision in 1..=50 {
            sender.commit(revision, &["a", "b", "c"]);
            let status = sender.webhooks().status().remove(0);
            // One more of each for what is under way, or first beyond the bound.
            assert!(status.pending <= 5 + 3, "{}", status.pending);
            assert_eq!(status.pending, sender.ledger.len());
        }
        assert!(sender.webhooks().status()[0].skipped > 100);
        receiver.plan(r#"{"*": ["200"]}"#);
        until("all is accepted", || sender.webhooks().status()[0].pending == 0);
        sender.commit(51, &["end"]);
        let accepted: Vec<_> =
            receiver.until("end", 51).into_iter().filter(|request| request["step"] == "200").collect();
        for havip in ["a", "b", "c"] {
            let told = generations(&accepted, havip);
            assert!(told.is_sorted() && told.last() == Some(&50), "{told:?}");
            // Each generation was told, or is counted in the gap before the next one that was.
            let mut expected = 0;
            for request in accepted.iter().filter(|request| request["event"]["subject"] == havip) {
                expected += 1 + request["event"]["gap"].as_u64().unwrap_or(0);
                assert_eq!(request["event"]["data"]["generation"], expected, "{told:?}");
            }
        }
        until("the last is accepted", || sender.webhooks().status()[0].pending == 0);
        let status = sender.webhooks().status().remove(0);
        assert_eq!(status.delivered + status.skipped, 151);
    });
}

#[test]
fn a_receiver_that_hangs_delays_no_other() {
    isolated(|| {
        let folder = Folder::new();
        let slow = Receiver::start(&folder, "slow", r#"{"*": ["hang"]}"#);
        let mut fast = Receiver::start(&folder, "fast", r#"{"*": ["200"]}"#);
        let configs = [config(&folder, "slow", &http(slow.port)), config(&folder, "fast", &http(fast.port))];
        // As long as in production, so that the slow one has not even timed out when the fast one is through.
        let policy = Policy { timeout: Duration::from_secs(3600), ..hasty() };
        let mut sender = Sender::start(&configs, policy, Arc::default());
        for revision in 1..=50 {
            sender.commit(revision, &["a", "b"]);
        }
        let requests = fast.take(100);
        assert_eq!(generations(&requests, "a"), (1..=50).collect::<Vec<_>>());
        until("the fast one's leave the store", || sender.ledger.len() == 100);
        let [slow, fast] = <[_; 2]>::try_from(sender.webhooks().status()).unwrap();
        assert_eq!((slow.pending, slow.delivered), (100, 0));
        assert_eq!((fast.pending, fast.delivered), (0, 100));
    });
}

#[test]
fn an_event_that_one_virtual_ip_s_receiver_refuses_for_ever_delays_no_other_virtual_ip() {
    isolated(|| {
        let folder = Folder::new();
        let mut receiver = Receiver::start(&folder, "noc", r#"{"*": ["200"], "bad": ["400"]}"#);
        let mut sender =
            Sender::start(&[config(&folder, "noc", &http(receiver.port))], hasty(), Arc::default());
        for revision in 1..=30 {
            sender.commit(revision, &["bad", "good"]);
        }
        let requests = receiver.until("good", 30);
        assert_eq!(generations(&requests, "good"), (1..=30).collect::<Vec<_>>());
        assert!(generations(&requests, "bad").iter().all(|&generation| generation == 1));
    });
}

#[test]
fn an_answer_counts_only_if_it_is_a_2xx_whatever_else_the_receiver_does() {
    isolated(|| {
        let folder = Folder::new();
        for (step, words) in [
            ("301 location=/elsewhere", "answer 301"),
            ("304", "answer 304"),
            ("404", "answer 404"),
            ("599", "answer 599"),
            ("999", "answer 999"),
            ("close", "no HTTP answer"),
            ("garbage", "no HTTP answer"),
            ("upgrade", "answer 101"),
            ("endless_hints", "no answer within 0.5 s"),
            ("slow_head", "no answer within 0.5 s"),
            ("endless_head", "no HTTP answer"),
            ("hang", "no answer within 0.5 s"),
        ] {
            let mut receiver = Receiver::start(&folder, "noc", &serde_json::json!({"*": [step]}).to_string());
            let mut sender =
                Sender::start(&[config(&folder, "noc", &http(receiver.port))], hasty(), Arc::default());
            sender.commit(1, &["a"]);
            until("it failed", || sender.webhooks().status()[0].failed > 0);
            let status = sender.webhooks().status().remove(0);
            let error = status.last_error.unwrap();
            assert!(error.contains(words), "{step}: {error}");
            assert_eq!((status.delivered, sender.ledger.len()), (0, 1), "{step}");
            receiver.plan(r#"{"*": ["200"]}"#);
            let requests = receiver.until("a", 1);
            assert!(requests.iter().all(|request| request["event"] == requests[0]["event"]), "{step}");
            until("it is accepted", || sender.ledger.len() == 0);
        }
    });
}

#[test]
fn a_2xx_counts_whatever_follows_its_head() {
    isolated(|| {
        let folder = Folder::new();
        for step in ["201", "204", "endless_body", "endless_chunks", "slow_body"] {
            let mut receiver = Receiver::start(&folder, "noc", &serde_json::json!({"*": [step]}).to_string());
            let mut sender =
                Sender::start(&[config(&folder, "noc", &http(receiver.port))], hasty(), Arc::default());
            sender.commit(1, &["a"]);
            sender.commit(2, &["a"]);
            assert_eq!(generations(&receiver.take(2), "a"), [1, 2], "{step}");
            until("both are accepted", || sender.ledger.len() == 0);
            let status = sender.webhooks().status().remove(0);
            assert_eq!((status.delivered, status.failed), (2, 0), "{step}");
        }
    });
}

#[test]
fn a_server_that_the_ca_does_not_vouch_for_gets_nothing() {
    isolated(|| {
        let folder = Folder::new();
        let (names, strangers) = (["localhost"], Folder::new());
        let plan = r#"{"*": ["200"]}"#;
        // Another CA; another name; no TLS at all.
        let other_ca = Receiver::secure(&strangers, "noc", plan, &names);
        let other_name = Receiver::secure(&folder, "noc", plan, &["example.net"]);
        let plain = Receiver::start(&folder, "plain", plan);
        for (port, words) in [
            (other_ca.port, "invalid peer certificate"),
            (other_name.port, "not valid for name"),
            (plain.port, "TLS with localhost"),
        ] {
            let url = format!("https://localhost:{port}/");
            let mut sender = Sender::start(&[config(&folder, "noc", &url)], hasty(), Arc::default());
            sender.commit(1, &["a"]);
            until("it was tried", || sender.webhooks().status()[0].failed > 0);
            let error = sender.webhooks().status()[0].last_error.clone().unwrap();
            assert!(error.contains(words), "{error}");
            assert_eq!((sender.ledger.len(), sender.webhooks().status()[0].delivered), (1, 0));
        }
    });
}
