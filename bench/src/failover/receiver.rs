//! A webhook's receiver: the Python server of the webhook crate's own tests, which verifies signatures and prints
//! each event as it comes.

use std::time::Duration;

use anyhow::Result;
use testkit::lab::Lab;
use testkit::node::Config;
use testkit::process::wait_for;

use super::lines::{Lines, now};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../ctl/webhook/tests/receiver.py");
/// Debian's Python, as everywhere in the tests.
const PYTHON: &str = "/usr/bin/python3";
/// Inside the node's namespace.
const PORT: u16 = 8080;
/// It keeps nothing secret.
const SECRET: &str = "whsec_c2VjcmV0IGVub3VnaCBmb3IgYW55Ym9keSBhdCBhbGw=\n";

/// A receiver at work; it accepts everything.
pub struct Receiver(Lines);

impl Receiver {
    /// Starts it in the node's namespace, and gives a configuration that has the node tell it.
    pub fn start(lab: &Lab, config: Config) -> Result<(Self, Config)> {
        let [plan, secret] = ["plan.json", "secret"].map(|name| lab.folder().join(name));
        std::fs::write(&plan, r#"{"*": ["200"]}"#)?;
        std::fs::write(&secret, SECRET)?;
        let start = now();
        let mut command = lab.node.command(PYTHON);
        let lines = Lines::start(command.arg(SCRIPT).arg(&plan).arg(&secret).env("PORT", PORT.to_string()))?;
        wait_for("the receiver to listen", || lines.first(start, |line| line == PORT.to_string()));
        let config = config.webhook("bench", &format!("http://127.0.0.1:{PORT}/"), &secret);
        Ok((Self(lines), config))
    }

    /// Arrival of the event, from `since` on, by which the instance holds the address.
    pub fn first(&self, since: Duration, instance: &str) -> Option<Duration> {
        // The previous holder is named behind the holder.
        let holder = format!("\"holder\": {{\"instance\": \"{instance}\"");
        self.0.first(since, |line| line.contains(&holder) && line.contains("\"signed\": true"))
    }
}
