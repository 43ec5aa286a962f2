//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use bcast_domain::Vni;
use clap::{Parser, Subcommand};
use clap_complete::Shell;
use ctl_api::model::Reason;

use crate::apply::ApplyArgs;
use crate::backup::RestoreArgs;
use crate::domain::DomainCommand;
use crate::havip::HavipCommand;
use crate::hypervisor::HypervisorCommand;
use crate::node::NodeCommand;
use crate::out::Format;
use crate::tep::TepCommand;
use crate::webhook::WebhookCommand;

/// End of the short help.
const EXIT_STATUS: &str = include_str!("status.txt");
/// End of the long help: also the JSON of each command.
const LONG_HELP: &str = concat!(include_str!("status.txt"), "\n", include_str!("json.txt"));

/// Version, and the commit that it was built from.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("BCAST_COMMIT"), ")");

/// Change and show the broadcast domains and virtual IPs of a bcast node.
#[derive(Debug, Parser)]
#[command(name = "bcastctl", version = VERSION, max_term_width = 100, after_help = EXIT_STATUS, after_long_help = LONG_HELP)]
pub struct CommandLine {
    /// The daemon's socket; the environment's BCAST_SOCKET sets another default
    #[arg(long, global = true, value_name = "PATH", default_value_os_t = default_socket())]
    pub socket: PathBuf,
    /// Seconds for which the daemon may give no sign: not answer, not take or send the next part of something large;
    /// a watch waits for events as long as it takes
    #[arg(long, global = true, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub timeout: Duration,
    /// Output format: for people, or for programs
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    pub output: Format,
    /// Why the change is made: a text that the node's log tells with it, 256 bytes at most
    #[arg(long, global = true, value_name = "TEXT")]
    pub reason: Option<Reason>,
    /// Command.
    #[command(subcommand)]
    pub command: Command,
}

/// Socket where none is given. Not clap's: that shows an option which the environment sets as if it were required.
fn default_socket() -> PathBuf {
    let given = std::env::var_os("BCAST_SOCKET").filter(|path| !path.is_empty());
    given.map_or_else(|| PathBuf::from("/run/bcastd/api.sock"), PathBuf::from)
}

/// A time of a millisecond or more.
fn seconds(text: &str) -> Result<Duration, String> {
    let number: Option<f64> = text.parse().ok().filter(|number| (0.001..=1e6).contains(number));
    let time = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    time.ok_or_else(|| format!("{text:?} is no number of seconds from 0.001 to 1000000"))
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tunnel endpoints: the hypervisors and gateways that may be members
    #[command(subcommand)]
    Tep(TepCommand),
    /// Broadcast domains: a VNI and its members
    #[command(subcommand)]
    Domain(DomainCommand),
    /// Virtual IPs that instances hand over among themselves, followed by their announcements
    #[command(subcommand)]
    Havip(HavipCommand),
    /// The node as hypervisors see it by BFD, and its drain
    #[command(subcommand)]
    Node(NodeCommand),
    /// Hypervisors' own Open vSwitch, for several nodes
    #[command(subcommand)]
    Hypervisor(HypervisorCommand),
    /// Nodes in the order in which hypervisors use them for a VNI, with their zones, and why
    Placement {
        /// The VNI; it need not be a domain's
        vni: Vni,
    },
    /// Receivers that are told over HTTP what happens to virtual IPs
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// Make the node as a file says, all or nothing, and show the plan
    ///
    /// The node compares the file with its own state and commits the differences in one revision; the plan shows them.
    /// Without --prune, resources and fields that the file does not name stay as they are. Where over 20 % of the
    /// memberships or HAVIPs would be removed, the plan is shown first, and --yes or a yes at the terminal is needed.
    Apply(ApplyArgs),
    /// Print changes as they commit, one JSON object a line
    Watch {
        /// Start with this revision instead of the next one; one too old to be kept starts with a reset and the
        /// whole state; alarms about forgeries are not repeated
        #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(u64).range(1..))]
        from: Option<u64>,
    },
    /// Print everything as an apply file: YAML, or JSON with -o json
    Export,
    /// Write everything as of one revision into a file, for `restore`; the node goes on serving
    ///
    /// Events that wait for webhook receivers, dead letters and request ids are not in it.
    Backup {
        /// The file, replaced where it is there; `-` for standard output
        file: PathBuf,
    },
    /// Replace everything that the node has by a backup, in one revision above all that were given
    ///
    /// The file is read whole and checked before anything changes. HAVIPs that another instance holds from then on get
    /// the new revision as their generation, and receivers of webhooks are told; watchers start over.
    Restore(RestoreArgs),
    /// Counters, drops by reason, port errors; with a VNI: that domain's frames, copies, bytes, drops by reason
    Stats {
        /// The domain
        vni: Option<Vni>,
    },
    /// Last offenders: who sent the frames that were dropped, by reason, the latest first
    ///
    /// An offender is a source address with a VNI. Its MAC addresses are those of its latest frame; in brackets those of
    /// the outer frame, where there was no inner one. COUNT is of its frames since it is among the last offenders.
    Drops {
        /// One reason alone, such as control_rate
        #[arg(value_name = "REASON")]
        only: Option<String>,
    },
    /// The versions of bcastctl, the daemon and its DPDK
    Version,
    /// Print a completion script
    Completions {
        /// For which shell
        shell: Shell,
    },
}
