//! `node`: what BFD tells hypervisors of the node, and its drain; and how BFD sessions are shown.

use std::time::Duration;

use clap::Subcommand;
use ctl_api::{Client, proto};
use serde::Serialize;

use crate::failure::Failure;
use crate::out::{Column, Out};
use crate::stats::Counters;
use crate::text::{self, or_none, utc};

/// `bcastctl node`.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// State of the node as BFD tells it to hypervisors, the reasons, and the number of sessions by state
    Show,
    /// Have hypervisors use another node, without loss, until `undrain` or the daemon's end
    ///
    /// Each BFD session stays up and carries diagnostic 6, by which Open vSwitch takes the next live port of its group. The
    /// node goes on forwarding what still comes.
    Drain,
    /// End the drain: hypervisors may use the node again
    Undrain,
}

/// JSON of `node`.
#[derive(Serialize)]
struct Status<'a> {
    state: &'static str,
    reasons: &'a [String],
    held_back_ms: u64,
    bfd_sessions: Counters<'a>,
}

/// Runs a command of the node.
pub async fn run(out: &mut Out, client: &mut Client, command: NodeCommand) -> Result<(), Failure> {
    let status = match command {
        NodeCommand::Show => client.node().await?,
        NodeCommand::Drain => client.drain(true).await?,
        NodeCommand::Undrain => client.drain(false).await?,
    };
    let state = match status.state() {
        proto::NodeState::Unspecified => "unknown",
        proto::NodeState::Serving => "serving",
        proto::NodeState::Leaving => "leaving",
        proto::NodeState::HeldBack => "held_back",
    };
    if out.is_json() {
        let bfd_sessions = Counters(&status.bfd_sessions);
        let (reasons, held_back_ms) = (&status.reasons[..], status.held_back_ms);
        return out.json(&Status { state, reasons, held_back_ms, bfd_sessions });
    }
    let count = |session: &proto::Counter| format!("{} {}", session.value, session.name);
    let sessions: Vec<_> = status.bfd_sessions.iter().map(count).collect();
    let rest = Duration::from_millis(status.held_back_ms);
    let rows = [
        ("state", state.to_owned()),
        ("reasons", or_none(text::given(&status.reasons.join(", ")))),
        ("held back", or_none((!rest.is_zero()).then(|| format!("{:.1} s more", rest.as_secs_f64())))),
        ("sessions", or_none(text::given(&sessions.join(", ")))),
    ];
    out.table([Column::Text("NODE"), Column::Text("")], &rows.map(|(what, value)| [what.to_owned(), value]))
}

/// JSON of a BFD session.
#[derive(Serialize)]
pub struct Session {
    local: &'static str,
    remote: &'static str,
    diagnostic: u32,
    remote_diagnostic: u32,
    since_unix_ms: u64,
    transmit_interval_us: u64,
    detection_time_us: u64,
    flaps: u64,
}

impl From<&proto::BfdSession> for Session {
    fn from(session: &proto::BfdSession) -> Self {
        Self {
            local: word(session.local()),
            remote: word(session.remote()),
            diagnostic: session.diagnostic,
            remote_diagnostic: session.remote_diagnostic,
            since_unix_ms: session.since_unix_ms,
            transmit_interval_us: session.transmit_interval_us,
            detection_time_us: session.detection_time_us,
            flaps: session.flaps,
        }
    }
}

impl Session {
    /// Rows of a table.
    pub fn rows(&self) -> [(&'static str, String); 3] {
        let Self { local, remote, diagnostic, remote_diagnostic, since_unix_ms, flaps, .. } = self;
        let side = |state: &str, diagnostic: &u32| format!("{state}, diagnostic {}", reason(*diagnostic));
        let ms = |us: u64| format!("{} ms", us / 1_000);
        let (sends, detects) = (ms(self.transmit_interval_us), ms(self.detection_time_us));
        [
            ("bfd", format!("{}, since {}, {flaps} flaps", side(local, diagnostic), utc(*since_unix_ms))),
            ("bfd peer", side(remote, remote_diagnostic)),
            ("bfd sends", format!("each {sends}, and detects after {detects}")),
        ]
    }
}

const fn word(state: proto::BfdState) -> &'static str {
    match state {
        proto::BfdState::Unspecified => "unknown",
        proto::BfdState::AdminDown => "admin_down",
        proto::BfdState::Down => "down",
        proto::BfdState::Init => "init",
        proto::BfdState::Up => "up",
    }
}

/// Diagnostic with its meaning (RFC 5880 section 4.1).
fn reason(code: u32) -> String {
    let meaning = match code {
        0 => return "0".to_owned(),
        1 => "detection time expired",
        2 => "echo failed",
        3 => "neighbour signalled down",
        4 => "forwarding plane reset",
        5 => "path down",
        6 => "concatenated path down",
        7 => "administratively down",
        8 => "reverse concatenated path down",
        _ => "reserved",
    };
    format!("{code} ({meaning})")
}
