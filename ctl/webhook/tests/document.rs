//! The receiver that docs/webhook.md shows, as it stands there.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use common::{Folder, Sender, config, hasty, isolated, until};

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn the_receiver_of_the_document_takes_what_is_signed_and_nothing_else() {
    isolated(|| {
        let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/webhook.md")).unwrap();
        let (_, script) = text.split_once("```python\n").unwrap();
        let (script, _) = script.split_once("```").unwrap();
        assert!(script.contains("/etc/noc/bcast.key"));
        let folder = Folder::new();
        let script = script.replace("/etc/noc/bcast.key", folder.path("secret").to_str().unwrap());
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", &script]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut receiver = Ended(command.spawn().unwrap());
        let mut printed = BufReader::new(receiver.0.stdout.take().unwrap()).lines();
        let url = "http://127.0.0.1:8080/";
        {
            let mut sender = Sender::start(&[config(&folder, "noc", url)], hasty(), Arc::default());
            sender.commit(42, &["web"]);
            let line = printed.next().unwrap().unwrap();
            let said = "web bcast.havip.moved 00000000000000000042 {'instance': 'vm2', 'mac': '52:54:00:00:00:02', 'tep': '198.18.0.2'}";
            assert_eq!(line, said);
            until("it is accepted", || sender.ledger.len() == 0);
        }
        let mut other = config(&folder, "other", url);
        other.secret_file = folder.path("other");
        fs::write(&other.secret_file, "whsec_YW5vdGhlciBzZWNyZXQgdGhhdCBpcyBub3QgdGhlIG9uZQ==").unwrap();
        let mut sender = Sender::start(&[other], hasty(), Arc::default());
        sender.commit(43, &["web"]);
        until("it is refused", || {
            let error = sender.webhooks().status().remove(0).last_error;
            error.as_deref() == Some("answer 401 Unauthorized")
        });
        assert_eq!(sender.webhooks().status()[0].delivered, 0);
    });
}
