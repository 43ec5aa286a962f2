//! Secrets, CAs and URLs that are replaced while events are delivered.
// Clippy knows tests, but not their helpers.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::sync::Arc;

use common::{Folder, Receiver, Sender, config, generations, hasty, isolated, until};
use ctl_webhook::{Policy, WebhookConfig};

const OLD: &str = "whsec_c2VjcmV0IGVub3VnaCBmb3IgYW55Ym9keSBhdCBhbGw=\n";
const NEW: &str = "whsec_YW5vdGhlciBzZWNyZXQsIGFsc28gbG9uZyBlbm91Z2g=\n";

/// The receiver's secret stands in `secret`; the sender has a copy of its own.
fn with_copy(folder: &Folder, url: &str) -> WebhookConfig {
    fs::write(folder.path("copy"), OLD).unwrap();
    WebhookConfig { secret_file: folder.path("copy"), ..config(folder, "noc", url) }
}

fn reload(sender: &Sender, config: &WebhookConfig) {
    sender.webhooks().reload(WebhookConfig::check(std::slice::from_ref(config)).unwrap());
}

#[test]
fn a_new_secret_signs_the_next_event_and_none_is_lost_or_told_out_of_order() {
    isolated(|| {
        let folder = Folder::new();
        let mut receiver = Receiver::start(&folder, "noc", r#"{"*": ["verify"]}"#);
        let url = format!("http://127.0.0.1:{}/", receiver.port);
        let config = with_copy(&folder, &url);
        // A pause that nobody waits for: what is due comes since the secret is another.
        let policy = Policy { pause_min: std::time::Duration::from_secs(3600), ..hasty() };
        let policy = Policy { pause_max: policy.pause_min, ..policy };
        let mut sender = Sender::start(std::slice::from_ref(&config), policy, Arc::default());
        let mut accepted = Vec::new();
        for (round, secret) in (0..).zip([OLD, NEW, OLD]) {
            // The receiver has it first; what is signed with the one before is refused, and waits.
            fs::write(folder.path("secret"), secret).unwrap();
            let first = round * 10 + 1;
            for revision in first..first + 10 {
                sender.commit(revision, &["a", "b"]);
            }
            if round > 0 {
                until("it is refused", || sender.webhooks().status()[0].backing_off);
            }
            fs::write(folder.path("copy"), secret).unwrap();
            reload(&sender, &config);
            until("all is accepted", || sender.ledger.len() == 0);
            while accepted.len() < usize::try_from(round + 1).unwrap() * 20 {
                let request = receiver.next();
                assert_eq!(request["step"] == "200", request["signed"] == true);
                accepted.extend((request["step"] == "200").then_some(request));
            }
        }
        for havip in ["a", "b"] {
            assert_eq!(generations(&accepted, havip), (1..=30).collect::<Vec<_>>(), "{havip}");
        }
        assert!(sender.webhooks().status()[0].failed > 0);
    });
}

#[test]
fn a_new_ca_counts_for_the_next_event_also_where_a_connection_was_open() {
    isolated(|| {
        let folder = Folder::new();
        let other = Folder::new();
        let mut receiver = Receiver::secure(&folder, "noc", r#"{"*": ["200"]}"#, &["localhost"]);
        let url = format!("https://localhost:{}/", receiver.port);
        let own = config(&folder, "noc", &url);
        let foreign = WebhookConfig { ca_file: Some(other.path("ca.pem")), ..own.clone() };
        let mut sender = Sender::start(std::slice::from_ref(&own), hasty(), Arc::default());
        sender.commit(1, &["a"]);
        until("it is accepted", || sender.ledger.len() == 0);
        // Its connection is kept. But it was not opened by this CA, which does not know the receiver.
        reload(&sender, &foreign);
        sender.commit(2, &["a"]);
        sender.commit(3, &["a"]);
        let last_error = || sender.webhooks().status()[0].last_error.clone().unwrap_or_default();
        until("it is not trusted", || last_error().contains("TLS"));
        assert_eq!(sender.ledger.len(), 2);
        reload(&sender, &own);
        until("all is accepted", || sender.ledger.len() == 0);
        assert_eq!(generations(&receiver.take(3), "a"), [1, 2, 3]);
    });
}

#[test]
fn a_url_and_a_bound_that_change_count_from_the_next_event_on() {
    isolated(|| {
        let folder = Folder::new();
        let mut one = Receiver::start(&folder, "one", r#"{"*": ["200"]}"#);
        let mut other = Receiver::start(&folder, "other", r#"{"*": ["200"]}"#);
        let url = |receiver: &Receiver| format!("http://127.0.0.1:{}/", receiver.port);
        let config = config(&folder, "noc", &url(&one));
        let mut sender = Sender::start(std::slice::from_ref(&config), hasty(), Arc::default());
        sender.commit(1, &["a"]);
        assert_eq!(generations(&one.take(1), "a"), [1]);
        until("it is settled", || sender.ledger.len() == 0);
        reload(&sender, &WebhookConfig { url: url(&other), pending: 7, ..config.clone() });
        sender.commit(2, &["a"]);
        assert_eq!(generations(&other.take(1), "a"), [2]);
        let status = sender.webhooks().status().remove(0);
        assert_eq!((status.url, status.bound), (url(&other), 7));
        // One that was not there at start waits for the next one.
        reload(&sender, &WebhookConfig { name: "later".into(), ..config });
        assert_eq!(sender.webhooks().status().len(), 1);
    });
}

#[test]
fn a_broken_file_is_named_and_what_is_in_force_stays() {
    isolated(|| {
        let folder = Folder::new();
        let mut receiver = Receiver::secure(&folder, "noc", r#"{"*": ["verify"]}"#, &["localhost"]);
        let good = with_copy(&folder, &format!("https://localhost:{}/", receiver.port));
        let mut sender = Sender::start(std::slice::from_ref(&good), hasty(), Arc::default());
        fs::write(folder.path("broken.pem"), "-----BEGIN CERTIFICATE-----\nx\n").unwrap();
        for (secret, ca, named) in [
            (Some("short"), None, "secret_file"),
            (None, Some("broken.pem"), "broken.pem"),
            (None, Some("absent.pem"), "absent.pem"),
        ] {
            fs::write(folder.path("copy"), secret.unwrap_or(OLD)).unwrap();
            let ca_file = ca.map_or(good.ca_file.clone(), |name| Some(folder.path(name)));
            let error = WebhookConfig::check(&[WebhookConfig { ca_file, ..good.clone() }]).err().unwrap();
            let file = if secret.is_some() { "copy" } else { named };
            let text = error.to_string();
            assert!(text.starts_with("webhook \"noc\": ") && text.contains(named), "{text}");
            assert!(text.contains(&folder.path(file).display().to_string()), "{text}");
        }
        sender.commit(1, &["a"]);
        assert_eq!(receiver.next()["step"], "200");
    });
}
