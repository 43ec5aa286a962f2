//! A sender over the embedded store, in a process of its own, that is killed again and again.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod common;

use std::collections::HashSet;
use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;

use common::{Folder, Receiver, config, generations, hasty, isolated, moved, record};
use ctl_store::{EmbeddedStore, Group, Store};
use ctl_webhook::{WebhookConfig, Webhooks};

/// Set for the process that is killed: the folder of its files.
const FOLDER: &str = "BCAST_TEST_FOLDER";
/// The same: where it sends to.
const URL: &str = "BCAST_TEST_URL";
/// HAVIPs whose events are counted.
const HAVIPS: [&str; 2] = ["a", "b"];

/// The process that is killed; run as a test it does nothing. It says each revision once that is durable.
#[test]
fn sender() {
    let (Ok(folder), Ok(url)) = (env::var(FOLDER), env::var(URL)) else { return };
    let store = Arc::new(EmbeddedStore::open(&std::path::Path::new(&folder).join("store.redb")).unwrap());
    let webhook = WebhookConfig {
        name: "noc".to_owned(),
        url,
        secret_file: format!("{folder}/secret").into(),
        ca_file: None,
        pending: 100_000,
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let endpoints = WebhookConfig::check(&[webhook]).unwrap();
    let ledger = Arc::new(Arc::clone(&store));
    let (mut outbox, _webhooks) =
        Webhooks::start(endpoints, "/bcast/x", ledger, hasty(), runtime.handle()).unwrap();
    loop {
        let base = store.revision().unwrap();
        let revision = base.next().get();
        let records = vec![record(revision, HAVIPS.map(|havip| moved(havip, revision)))];
        let rows = outbox.stage(&records);
        store.commit(&Group { base, records, outbox: rows, ..Group::default() }).unwrap();
        println!("committed {revision}");
        outbox.committed();
    }
}

/// Runs it until it has committed `count` revisions, and kills it. Returns the last that is sure to be durable.
fn life(folder: &Folder, url: &str, count: usize) -> u64 {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "sender", "--nocapture"]).env(FOLDER, folder.path("")).env(URL, url);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let revisions = lines.filter_map(|line| line.split("committed ").nth(1)?.parse().ok());
    let last = revisions.take(count).last();
    child.kill().unwrap();
    child.wait().unwrap();
    last.unwrap()
}

#[test]
fn every_event_arrives_in_order_however_often_the_sender_is_killed() {
    isolated(|| {
        let folder = Folder::new();
        let mut receiver = Receiver::start(&folder, "noc", r#"{"*": ["503"]}"#);
        let url = format!("http://127.0.0.1:{}/", receiver.port);
        life(&folder, &url, 20);
        receiver.plan(
            r#"{"cycle": true, "*": ["200", "200", "500", "200", "200", "close", "200", "503", "200"]}"#,
        );
        let last = (0..4).fold(0, |_, _| life(&folder, &url, 30));
        let mut requests = Vec::new();
        // One that is not killed before all has arrived.
        let store = EmbeddedStore::open(&folder.path("store.redb")).unwrap();
        let endpoints = WebhookConfig::check(&[config(&folder, "noc", &url)]).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let ledger = Arc::new(Arc::new(store));
        let (_outbox, webhooks) =
            Webhooks::start(endpoints, "/bcast/x", ledger, hasty(), runtime.handle()).unwrap();
        let mut missing: HashSet<(u64, &str)> =
            (1..=last).flat_map(|revision| HAVIPS.map(|havip| (revision, havip))).collect();
        while !missing.is_empty() {
            let request = receiver.next();
            if request["step"] == "200" {
                let event = &request["event"];
                let (generation, subject) =
                    (event["data"]["generation"].as_u64().unwrap(), &event["subject"]);
                missing.retain(|&(revision, havip)| revision != generation || subject != havip);
                requests.push(request);
            }
        }
        runtime.block_on(webhooks.stop());
        for havip in HAVIPS {
            // What comes again after a kill was there before; each event's first arrival is after that of the one before it.
            let mut seen = HashSet::new();
            let mut first: Vec<u64> = generations(&requests, havip)
                .into_iter()
                .filter(|generation| seen.insert(*generation))
                .collect();
            first.truncate(usize::try_from(last).unwrap());
            assert_eq!(first, (1..=last).collect::<Vec<_>>(), "{havip}");
        }
    });
}
