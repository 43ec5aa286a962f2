//! A store in memory, receivers in Python, and a network of each test's own.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ctl_api::model::{Event, HavipEvent, HavipEventKind, Holder, Name, Revision, Why};
use ctl_store::{DeadLetter, OutboxKey as Key, OutboxRow as Row, OutboxRows, Record};
use ctl_webhook::{Endpoint, Ledger, LedgerError, Outbox, Policy, WebhookConfig, Webhooks};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Time limit of anything that has to happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Short pauses; for the rest as in production.
pub fn hasty() -> Policy {
    Policy {
        pause_min: Duration::from_millis(20),
        pause_max: Duration::from_millis(100),
        retry_after_max: Duration::from_millis(100),
        timeout: Duration::from_millis(500),
        settle_every: Duration::from_millis(10),
        ..Policy::default()
    }
}

/// Runs a test in a network namespace that ends with it.
pub fn isolated(test: impl FnOnce() + Send) {
    let result = thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may make network namespaces");
            let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
            assert!(up.expect("iproute2 is installed").success());
            test();
        });
        thread.join()
    });
    result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// Waits until it is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    let step = Duration::from_millis(5);
    let mut waited = Duration::ZERO;
    while !so() {
        assert!(waited < PATIENCE, "never: {what}");
        thread::sleep(step);
        waited += step;
    }
}

#[derive(Default)]
pub struct MemoryLedger {
    pub rows: Mutex<BTreeMap<Key, Row>>,
    pub dead: Mutex<BTreeMap<Key, DeadLetter>>,
    /// So many of the next writes fail.
    pub failing: AtomicU32,
}

impl MemoryLedger {
    /// Work of the commit thread's transaction.
    pub fn apply(&self, rows: OutboxRows) {
        let mut all = self.rows.lock().unwrap();
        rows.delete.iter().for_each(|key| drop(all.remove(key)));
        all.extend(rows.insert.into_iter().map(|row| (row.key.clone(), row)));
    }

    pub fn len(&self) -> usize {
        self.rows.lock().unwrap().len()
    }
}

impl Ledger for MemoryLedger {
    fn rows(&self) -> Result<Vec<Row>, LedgerError> {
        Ok(self.rows.lock().unwrap().values().cloned().collect())
    }

    fn settle(&self, gone: &[Key], dead: &[DeadLetter]) -> Result<(), LedgerError> {
        if self.failing.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err("the disk is full".into());
        }
        let mut rows = self.rows.lock().unwrap();
        gone.iter().chain(dead.iter().map(|letter| &letter.row.key)).for_each(|key| drop(rows.remove(key)));
        self.dead.lock().unwrap().extend(dead.iter().map(|letter| (letter.row.key.clone(), letter.clone())));
        Ok(())
    }

    fn dead(&self, receiver: &Name) -> Result<Vec<DeadLetter>, LedgerError> {
        let dead = self.dead.lock().unwrap();
        Ok(dead.values().filter(|letter| letter.row.key.receiver == *receiver).cloned().collect())
    }

    fn revive(&self, receiver: &Name, unix_ms: u64) -> Result<Vec<Row>, LedgerError> {
        let letters = self.dead(receiver)?;
        let rows: Vec<Row> =
            letters.into_iter().map(|letter| Row { since_unix_ms: unix_ms, ..letter.row }).collect();
        let mut dead = self.dead.lock().unwrap();
        for row in &rows {
            dead.remove(&row.key);
            self.rows.lock().unwrap().insert(row.key.clone(), row.clone());
        }
        Ok(rows)
    }

    fn drop_dead(&self, receiver: &Name) -> Result<usize, LedgerError> {
        let letters = self.dead(receiver)?;
        let mut dead = self.dead.lock().unwrap();
        letters.iter().for_each(|letter| drop(dead.remove(&letter.row.key)));
        Ok(letters.len())
    }
}

/// Files and certificates that receivers and senders share.
pub struct Folder {
    dir: TempDir,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Folder {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), "whsec_c2VjcmV0IGVub3VnaCBmb3IgYW55Ym9keSBhdCBhbGw=\n").unwrap();
        let mut ca = rcgen::CertificateParams::new([]).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        ca.distinguished_name.push(rcgen::DnType::CommonName, "a CA of this test's own");
        let key = rcgen::KeyPair::generate().unwrap();
        fs::write(dir.path().join("ca.pem"), ca.self_signed(&key).unwrap().pem()).unwrap();
        Self { dir, issuer: rcgen::Issuer::new(ca, key) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A certificate of that CA for these names, and its key.
    fn certificate(&self, names: &[&str]) -> [PathBuf; 2] {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        let paths = [self.path("server.pem"), self.path("server.key")];
        fs::write(&paths[0], certificate.pem()).unwrap();
        fs::write(&paths[1], key.serialize_pem()).unwrap();
        paths
    }
}

/// A receiver in Python; ended when it is dropped.
pub struct Receiver {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    plan: PathBuf,
    pub port: u16,
}

impl Receiver {
    pub fn start(folder: &Folder, name: &str, plan: &str) -> Self {
        Self::with(folder, name, plan, &[])
    }

    /// With a certificate for these names.
    pub fn secure(folder: &Folder, name: &str, plan: &str, names: &[&str]) -> Self {
        Self::with(folder, name, plan, &folder.certificate(names))
    }

    fn with(folder: &Folder, name: &str, plan: &str, tls: &[PathBuf]) -> Self {
        let file = folder.path(&format!("{name}.json"));
        fs::write(&file, plan).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/receiver.py");
        let mut command = Command::new("/usr/bin/python3");
        command.arg(script).arg(&file).arg(folder.path("secret")).args(tls);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        Self { child, lines, plan: file, port }
    }

    /// From now on.
    pub fn plan(&self, plan: &str) {
        let new = self.plan.with_extension("new");
        fs::write(&new, plan).unwrap();
        fs::rename(new, &self.plan).unwrap();
    }

    /// The next request that came in.
    pub fn next(&mut self) -> Value {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }

    pub fn take(&mut self, count: usize) -> Vec<Value> {
        (0..count).map(|_| self.next()).collect()
    }

    /// All that come until one is about `subject` in generation `last` (and is answered 200).
    pub fn until(&mut self, subject: &str, last: u64) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let request = self.next();
            let event = &request["event"];
            let end = request["step"] == "200"
                && event["subject"] == subject
                && event["data"]["generation"] == last;
            all.push(request);
            if end {
                return all;
            }
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A `[[webhook]]` of these files.
pub fn config(folder: &Folder, name: &str, url: &str) -> WebhookConfig {
    WebhookConfig {
        name: name.to_owned(),
        url: url.to_owned(),
        secret_file: folder.path("secret"),
        ca_file: url.starts_with("https").then(|| folder.path("ca.pem")),
        pending: 10_000,
    }
}

/// The sender's side: an outbox as the commit thread has it, and the tasks.
pub struct Sender {
    pub ledger: Arc<MemoryLedger>,
    pub outbox: Outbox,
    pub webhooks: Option<Webhooks>,
    runtime: Runtime,
    revision: u64,
}

impl Sender {
    pub fn start(configs: &[WebhookConfig], policy: Policy, ledger: Arc<MemoryLedger>) -> Self {
        let endpoints: Vec<Endpoint> = WebhookConfig::check(configs).unwrap();
        let runtime = Runtime::new().unwrap();
        let (outbox, webhooks) =
            Webhooks::start(endpoints, "/bcast/198.18.0.254", ledger.clone(), policy, runtime.handle())
                .unwrap();
        Self { ledger, outbox, webhooks: Some(webhooks), runtime, revision: 0 }
    }

    /// Commits a move of each of these, in one revision with that number.
    pub fn commit(&mut self, revision: u64, havips: &[&str]) {
        self.revision = revision;
        let moves: Vec<HavipEvent> = havips.iter().map(|havip| moved(havip, revision)).collect();
        let rows = self.outbox.stage(&[record(revision, moves)]);
        self.ledger.apply(rows);
        self.outbox.committed();
    }

    pub fn webhooks(&self) -> &Webhooks {
        self.webhooks.as_ref().unwrap()
    }

    /// Stops in good order.
    pub fn stop(mut self) {
        let webhooks = self.webhooks.take().unwrap();
        self.runtime.block_on(webhooks.stop());
    }
}

/// A revision in which these happened.
pub fn record(revision: u64, events: impl IntoIterator<Item = HavipEvent>) -> Record {
    let events = events.into_iter().map(|event| Event::HavipEvent(Box::new(event)));
    Record { revision: Revision::new(revision), unix_ms: ctl_now(), events: events.collect() }
}

pub fn moved(havip: &str, generation: u64) -> HavipEvent {
    let holder = |instance: &str, last: u8| Holder {
        instance: instance.parse().unwrap(),
        mac: format!("52:54:00:00:00:0{last}").parse().unwrap(),
        tep: format!("198.18.0.{last}").parse().unwrap(),
    };
    HavipEvent {
        havip: havip.parse().unwrap(),
        vni: 5001.into(),
        address: "10.0.0.100".parse().unwrap(),
        eip: Some("203.0.113.7".parse().unwrap()),
        kind: HavipEventKind::Moved,
        generation,
        unix_ms: ctl_now(),
        holder: Some(holder("vm2", 2)),
        previous: Some(holder("vm1", 1)),
        why: Some(Why::Garp),
        detail: String::new(),
        offender: None,
    }
}

fn ctl_now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// The generations that were told of `subject`, in the order that they came.
pub fn generations(requests: &[Value], subject: &str) -> Vec<u64> {
    let of = requests.iter().map(|request| &request["event"]).filter(|event| event["subject"] == subject);
    of.map(|event| event["data"]["generation"].as_u64().unwrap()).collect()
}
