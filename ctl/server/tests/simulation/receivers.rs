//! Receivers of webhooks that accept, refuse, hang, and accept what they then do not answer.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use ctl_webhook::{Endpoint, Policy, WebhookConfig};
use fastrand::Rng;
use serde_json::Value;

use crate::model::Told;

/// An event as a receiver sees it: its id, which names its revision, and what happened.
type Seen = (String, Told);

#[derive(Default)]
struct Heard {
    /// Events that were accepted first, in their order; by id each once.
    events: Vec<Seen>,
    ids: BTreeSet<String>,
    again: u64,
}

pub struct Receiver {
    heard: Arc<Mutex<Heard>>,
    ends: Arc<AtomicBool>,
    port: u16,
}

/// Short pauses; for the rest as in production.
pub fn policy() -> Policy {
    Policy {
        pause_min: Duration::from_millis(1),
        pause_max: Duration::from_millis(4),
        timeout: Duration::from_millis(200),
        settle_every: Duration::from_millis(5),
        ..Policy::default()
    }
}

impl Receiver {
    pub fn start(seed: u64) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (heard, ends) = (Arc::<Mutex<Heard>>::default(), Arc::new(AtomicBool::new(false)));
        let (all, is_end, rng) =
            (Arc::clone(&heard), Arc::clone(&ends), Arc::new(Mutex::new(Rng::with_seed(seed))));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if is_end.load(Ordering::Relaxed) {
                    return;
                }
                let (all, rng) = (Arc::clone(&all), Arc::clone(&rng));
                // A connection that ends in the middle of a request is nothing to tell.
                thread::spawn(move || stream.and_then(|stream| serve(stream, &all, &rng)));
            }
        });
        Self { heard, ends, port }
    }

    pub fn endpoint(&self, name: &str, secret_file: &Path) -> Endpoint {
        let url = format!("http://127.0.0.1:{}/", self.port);
        let (name, secret_file) = (name.to_owned(), secret_file.to_owned());
        let config = WebhookConfig { name, url, secret_file, ca_file: None, pending: 100_000 };
        WebhookConfig::check(&[config]).unwrap().remove(0)
    }

    /// Accepted events, by HAVIP, in their order; but for alarms.
    pub fn accepted(&self) -> BTreeMap<u8, Vec<(String, String)>> {
        let mut by_vip: BTreeMap<u8, Vec<(String, String)>> = BTreeMap::new();
        let heard = self.heard.lock().unwrap();
        for (id, (vip, kind)) in heard.events.iter().filter(|event| !is_alarm(event)) {
            by_vip.entry(*vip).or_default().push((id.clone(), kind.clone()));
        }
        by_vip
    }

    /// Number of accepted events, each once; but for alarms.
    pub fn len(&self) -> usize {
        self.heard.lock().unwrap().events.iter().filter(|event| !is_alarm(event)).count()
    }

    /// Number of accepted alarms, by HAVIP.
    pub fn alarms(&self) -> BTreeMap<u8, u64> {
        let mut by_vip = BTreeMap::new();
        for (_, (vip, _)) in self.heard.lock().unwrap().events.iter().filter(|event| is_alarm(event)) {
            *by_vip.entry(*vip).or_default() += 1;
        }
        by_vip
    }
}

/// Alarms are told as far as that goes: a crash loses them.
fn is_alarm((_, (_, kind)): &Seen) -> bool {
    kind == "spoof"
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn event(body: &[u8]) -> Seen {
    let event: Value = serde_json::from_slice(body).unwrap();
    let text = |key: &str| event[key].as_str().unwrap().to_owned();
    assert!(event.get("gap").is_none(), "an event was left out: {event}");
    let vip = text("subject").strip_prefix('h').unwrap().parse().unwrap();
    (text("id"), (vip, text("type").strip_prefix("bcast.havip.").unwrap().to_owned()))
}

fn serve(stream: TcpStream, heard: &Mutex<Heard>, rng: &Mutex<Rng>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let mood = rng.lock().unwrap().u32(0..200);
        match mood {
            0..20 => {
                writer.write_all(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")?;
                continue;
            }
            20 => {
                thread::sleep(Duration::from_millis(400));
                return Ok(());
            }
            21..25 => return Ok(()),
            _ => {}
        }
        let (id, told) = event(&body);
        let mut all = heard.lock().unwrap();
        if all.ids.insert(id.clone()) {
            all.events.push((id, told));
        } else {
            all.again += 1;
        }
        drop(all);
        match mood {
            // It took the event, and nobody learns that.
            25..30 => return Ok(()),
            _ => writer.write_all(b"HTTP/1.1 204 Fine\r\n\r\n")?,
        }
    }
}
