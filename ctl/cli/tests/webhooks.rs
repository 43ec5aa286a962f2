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
        ..noc.clone()
    };
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
        script.webhooks = vec![noc, away];
        script.letters = vec![letter];
    }
    for (args, words) in [
        (
            "webhook list",
            "NAME    STATE  PENDING  OLDEST                    DELIVERED  FAILED  SKIPPED  DEAD  URL
noc     ok           0  -                                 7       0        0     0  https://noc.example/
router  away        12  2026-11-23T01:04:05.007Z          7       3        5     1  http://192.0.2.1/bcast
router: no answer within 5 s
",
        ),
        (
            "-o json webhook list",
            "[{\"name\":\"noc\",\"url\":\"https://noc.example/\",\"pending\":0,\"bound\":10000,\"oldest\":null,\
             \"backing_off\":false,\"delivered\":7,\"failed\":0,\"dead\":0,\"skipped\":0,\"overflowed\":0,\"last_error\":null},\n\
             {\"name\":\"router\",\"url\":\"http://192.0.2.1/bcast\",\"pending\":12,\"bound\":10000,\
             \"oldest\":\"2026-11-23T01:04:05.007Z\",\"backing_off\":true,\"delivered\":7,\"failed\":3,\"dead\":1,\
             \"skipped\":5,\"overflowed\":0,\"last_error\":\"no answer within 5 s\"}]\n",
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
    ] {
        let run = node.run(&args.split(' ').collect::<Vec<_>>());
        assert_eq!(run, (0, words.to_owned(), String::new()), "{args}");
    }
}
