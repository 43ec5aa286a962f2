//! `webhook`, as a person or a program sees it.

#![allow(clippy::unwrap_used)]

mod support;

use ctl_api::proto;
use support::model;
use support::node::Node;

/// 2026-11-23T01:04:05.007Z
const T: u64 = 1_795_395_845_007;

#[test]
fn webhooks_are_listed_with_why_they_fail() {
    let node = Node::with(model(&[], &[]));
    let noc = proto::Webhook {
        name: "noc".to_owned(),
        url: "https://noc.example/".to_owned(),
        bound: 10_000,
        delivered: 7,
        last_attempt_unix_ms: T - 7,
        ..Default::default()
    };
    let away = proto::Webhook {
        name: "router".to_owned(),
        url: "http://192.0.2.1/bcast".to_owned(),
        pending: 12,
        oldest_unix_ms: T,
        backing_off: true,
        failed: 3,
        dead: 1,
        skipped: 5,
        last_error: "no answer within 5 s".to_owned(),
        failing_since_unix_ms: T - 8,
        ..noc.clone()
    };
    let failing = proto::Webhook {
        name: "shop".to_owned(),
        pending: 1,
        backing_off: false,
        last_error: "answer 500 Internal Server Error".to_owned(),
        ..away.clone()
    };
    let idle =
        proto::Webhook { name: "new".to_owned(), delivered: 0, last_attempt_unix_ms: 0, ..noc.clone() };
    let event = br#"{"specversion":"1.0","id":"42-0"}"#;
    let letter = proto::DeadLetter {
        receiver: "router".to_owned(),
        id: "42-0".to_owned(),
        havip: "web".to_owned(),
        since_unix_ms: T,
        died_unix_ms: T + 86_400_000,
        reason: "answer 404 Not Found".to_owned(),
        body: event.to_vec(),
    };
    {
        let mut script = node.script.lock().unwrap();
        script.webhooks = vec![noc, away, failing, idle];
        script.letters = vec![letter];
    }
    for (args, words) in [
        (
            "webhook list",
            "NAME    STATE    SINCE                     PENDING  OLDEST                    DELIVERED  FAILED  SKIPPED  DEAD  URL
noc     ok       2026-11-23T01:04:05.000Z        0  -                                 7       0        0     0  https://noc.example/
router  away     2026-11-23T01:04:04.999Z       12  2026-11-23T01:04:05.007Z          7       3        5     1  http://192.0.2.1/bcast
shop    failing  2026-11-23T01:04:04.999Z        1  2026-11-23T01:04:05.007Z          7       3        5     1  http://192.0.2.1/bcast
new     idle     -                               0  -                                 0       0        0     0  https://noc.example/
router: fails since 2026-11-23T01:04:04.999Z, 12 events wait: no answer within 5 s
shop: fails since 2026-11-23T01:04:04.999Z, 1 event waits: answer 500 Internal Server Error
",
        ),
        (
            "webhook dead-letters router",
            "ID    HAVIP  SINCE                     GIVEN UP                  REASON
42-0  web    2026-11-23T01:04:05.007Z  2026-11-24T01:04:05.007Z  answer 404 Not Found
",
        ),
        (
            "-o json webhook dead-letters router",
            "[{\"receiver\":\"router\",\"id\":\"42-0\",\"havip\":\"web\",\"since\":\"2026-11-23T01:04:05.007Z\",\
             \"died\":\"2026-11-24T01:04:05.007Z\",\"reason\":\"answer 404 Not Found\",\
             \"event\":{\"id\":\"42-0\",\"specversion\":\"1.0\"}}]\n",
        ),
        ("webhook retry router", "webhook router: 1 dead letter is sent again\n"),
        ("webhook retry router", "webhook router has no dead letters\n"),
        ("-o json webhook retry router", "{\"receiver\":\"router\",\"retried\":0}\n"),
        ("webhook dead-letters router --drop --if-exists", "webhook router has no dead letters\n"),
        ("-o json webhook dead-letters router --drop --if-exists", "{\"receiver\":\"router\",\"dropped\":0}\n"),
    ] {
        let run = node.run(&args.split(' ').collect::<Vec<_>>());
        assert_eq!(run, (0, words.to_owned(), String::new()), "{args}");
    }
}

#[test]
fn webhooks_as_json_say_since_when_they_fail_and_dead_letters_are_dropped() {
    let node = Node::with(model(&[], &[]));
    {
        let mut script = node.script.lock().unwrap();
        script.webhooks = vec![proto::Webhook {
            name: "noc".to_owned(),
            last_error: "answer 500".to_owned(),
            failing_since_unix_ms: T,
            last_attempt_unix_ms: T + 1,
            ..Default::default()
        }];
        script.letters = vec![Default::default(); 2];
    }
    let (status, said, _) = node.run(&["-o", "json", "webhook", "list"]);
    assert_eq!(status, 0);
    let tail = "\"last_error\":\"answer 500\",\"failing_since\":\"2026-11-23T01:04:05.007Z\",\
                \"last_attempt\":\"2026-11-23T01:04:05.008Z\"}]\n";
    assert!(said.ends_with(tail), "{said}");
    let drop = ["webhook", "dead-letters", "noc", "--drop"];
    assert_eq!(node.run(&drop), (0, "webhook noc: 2 dead letters are deleted\n".to_owned(), String::new()));
    let none = "bcastctl: webhook noc has no dead letters; nothing was changed (with --if-exists this is no failure)\n";
    assert_eq!(node.run(&drop), (1, String::new(), none.to_owned()));
}
