//! The command line.

mod havip;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use bcast_domain::{DomainLimit, Rate, Tep, TepLimit, Vni};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use ctl_api::model::{GarpMode, Name, TepRef};

pub use havip::{HavipCommand, Refresh, WebhookCommand};

/// Change and show the broadcast domains and virtual IPs of a bcast node.
#[derive(Debug, Parser)]
#[command(name = "bcastctl", version, max_term_width = 100, after_help = EXIT_STATUS, after_long_help = LONG_HELP)]
pub struct CommandLine {
    /// The daemon's socket
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "BCAST_SOCKET",
        default_value = "/run/bcastd/api.sock"
    )]
    pub socket: PathBuf,
    /// How long the daemon may give no sign, in seconds: not answer, not take or send the next part of something large;
    /// a watch waits for events as long as it takes
    #[arg(long, global = true, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub timeout: Duration,
    /// How to print: for people, or for programs
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value_t = Format::Table)]
    pub output: Format,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// A time of a millisecond or more.
fn seconds(text: &str) -> Result<Duration, String> {
    let number: Option<f64> = text.parse().ok().filter(|number| (0.001..=1e6).contains(number));
    let time = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    time.ok_or_else(|| format!("{text:?} is no number of seconds from 0.001 to 1000000"))
}

macro_rules! exit_status {
    () => {
        "\
Exit status: 0 done, 1 refused (the reason on standard error), 2 usage, 3 cannot reach the daemon or
got no answer from it in time, or a watch ended. VNIs are written 5001 or 0x1389; TEPs by their underlay address or their name;
rates are a second, written 250000 or 250k (k, M, G, T)."
    };
}

const EXIT_STATUS: &str = exit_status!();

/// What the long help adds: `shapes.rs` in short.
const LONG_HELP: &str = concat!(
    exit_status!(),
    "\n
What -o json prints (? marks what may be null; counters are objects of name and number; since and time
are RFC 3339):
  changes         {revision, changed, notes: [text]}
  apply           {revision, changed, notes, dry_run, plan: {teps: {added, changed, removed},
                  domains: {added, changed, removed}, memberships: {added, removed},
                  havips: {added, changed, removed}}}
  tep list        [{address, name?, limit: {frames?}, routes: {next_hop?, next_hop6?}}]; null is the
                  node's default
  tep show        {address, name?, limit, routes, domains, next_hop?, mac?, since_unix_ms, drops}
  tep limit       {address, limit}, where it shows one
  tep next-hop    {address, routes}, where it shows them
  domain list     [{vni, name?, limit: {copies?, bits?, control?}, garp, members: [address]}]
  domain show     {vni, name?, limit, garp, members: [address]}
  domain limit    {vni, limit}, where it shows one
  domain garp     {vni, garp}, where it shows it
  havip list      [{name, vni, address, state, holder?: {instance, mac, tep}, since, generation,
                  previous?, why?, moves, subnet, vrids: [number], refresh_s?, eip?,
                  attachments: [{instance, mac, teps: [address]}]}]
  havip show      the same, and {diagnosis: [text], heard: [{instance, mac, tep, claim?, use?,
                  advert?, advert_interval_cs?, advert_priority?}]}, in which the three are times
  havip history   [{time, kind, havip, vni, address, eip?, generation, holder?, previous?, why?,
                  detail?, offender?: {mac, tep, count}}]
  webhook list    [{name, url, pending, bound, oldest?, backing_off, delivered, failed, dead,
                  left_out, overflowed, last_error?}]
  webhook dead    [{receiver, id, havip, since, died, reason, event}], the event as it was sent
  webhook retry   {receiver, retried}
  watch           a line for each event (always JSON): {revision, event: reset},
                  {revision, event: tep_set, tep: {address, name?, limit, routes}},
                  {revision, event: tep_removed, address},
                  {revision, event: domain_set, domain: {vni, name?, limit, garp, members}},
                  {revision, event: domain_removed, vni},
                  {revision, event: havip_set, havip: as in havip list},
                  {revision, event: havip_removed, name},
                  {revision, event: happened, ... as in havip history},
                  {revision, event: committed, unix_ms}: all of this revision was printed
  export          {revision, teps: [{address, name, limit, next_hop, next_hop6}],
                  domains: [{vni, name, limit, garp, members}], havips: [{name, vni, subnet, address,
                  vrids, refresh, eip, attachments: [{instance, mac, teps}]}]}: an apply file; what
                  has no name, rate and so on of its own has no such field; apply makes the node's
                  revision greater than the one that it says
  backup          {revision, time, teps, domains, havips, events}; nothing with -
  restore         {revision, changed, notes, backup: as above}
  stats           {revision, counters, drops, copy_drops, port}
  stats VNI       {vni, name?, members, frames, copies, bytes, drops}
  version         {bcastctl, bcastd?, dpdk?}"
);

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Plain columns and sentences
    Table,
    /// JSON; bcastctl --help says its shapes
    Json,
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
    /// Receivers that are told over HTTP what happens to virtual IPs
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// Make the node what a file says: a plan is shown, then all or nothing
    ///
    /// Without --prune, others may change the node at the same time: what the file does not name stays as it is, and
    /// the plan shown may be out of date by what they did in between. With --prune the plan is committed only on the
    /// node that it was made for; where that has changed, a new plan is made, up to 5 times in all.
    Apply(ApplyArgs),
    /// Print changes as they commit, one JSON object a line
    Watch {
        /// Start with this revision instead of the next one; one too old to be kept starts with a reset and the
        /// whole state
        #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(u64).range(1..))]
        from: Option<u64>,
    },
    /// Print everything as an apply file: YAML, or JSON with -o json
    Export,
    /// Write everything as of one revision into a file, for `restore`; the node goes on serving
    ///
    /// What waits for webhook receivers, dead letters and request ids are not in it.
    Backup {
        /// The file, replaced where it is there; `-` for standard output
        file: PathBuf,
    },
    /// Replace everything that the node has by a backup, in one revision above all that were given
    ///
    /// The file is read whole and checked before anything changes. HAVIPs that another instance holds from then on get
    /// the new revision as their generation, and receivers of webhooks are told; watchers start over.
    Restore(RestoreArgs),
    /// Counters, drops by reason, port errors; with a VNI: that domain's frames, copies, bytes, drops
    Stats {
        /// The domain
        vni: Option<Vni>,
    },
    /// The versions of bcastctl, the daemon and its DPDK
    Version,
    /// Print a completion script
    Completions {
        /// For which shell
        shell: Shell,
    },
}

/// `bcastctl tep`.
#[derive(Debug, Subcommand)]
pub enum TepCommand {
    /// Register a TEP; a given name replaces the one it has
    Add {
        /// Its underlay IPv4 address
        address: Tep,
        /// A name for it, unique among the TEPs
        #[arg(long)]
        name: Option<Name>,
    },
    /// Remove a TEP; refused while it is a member of a domain or has attachments
    Rm {
        /// Its address or name
        tep: TepRef,
        /// Take it out of all its domains and attachments too, in the same revision
        #[arg(long)]
        force: bool,
    },
    /// All TEPs
    List,
    /// One TEP: next hop, MAC, since when, limit, drops by reason
    Show {
        /// Its address or name
        tep: TepRef,
    },
    /// Change what a TEP may send to the node, or without options show it
    Limit {
        /// Its address or name
        tep: TepRef,
        /// What it may send.
        #[command(flatten)]
        rates: TepRates,
    },
    /// Say by which gateways routes lead to the HAVIPs on a TEP that is not on the node's link, or show it
    NextHop {
        /// Its address or name
        tep: TepRef,
        /// An IPv4 gateway, an IPv6 one, or both; one that is not given stays
        #[arg(value_name = "ADDRESS", num_args = 0..=2, value_parser = havip::address)]
        next_hops: Vec<IpAddr>,
        /// Those that are not given are none any more
        #[arg(long)]
        none: bool,
    },
}

/// Rates of a TEP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct TepRates {
    /// Frames a second
    #[arg(long, value_name = "RATE")]
    frames: Option<Rate>,
    /// The node's default again
    #[arg(long, conflicts_with = "frames")]
    default: bool,
}

impl TepRates {
    /// Nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.frames.is_none() && !self.default
    }

    /// The rate that is given.
    pub fn limit(&self) -> TepLimit {
        TepLimit { frames: self.frames }
    }
}

/// `bcastctl domain`.
#[derive(Debug, Subcommand)]
pub enum DomainCommand {
    /// Create a domain without members; a given name replaces the one it has
    Create {
        /// Its VNI
        vni: Vni,
        /// A name for it
        #[arg(long)]
        name: Option<Name>,
    },
    /// Remove a domain and its memberships; refused while it has HAVIPs
    Rm {
        /// Its VNI
        vni: Vni,
        /// Remove its HAVIPs too, in the same revision
        #[arg(long)]
        force: bool,
    },
    /// All domains with the number of their members
    List,
    /// One domain with its limit and its members
    Show {
        /// Its VNI
        vni: Vni,
    },
    /// Make TEPs members of a domain
    Join {
        /// The domain
        vni: Vni,
        /// Registered TEPs, by address or name
        #[arg(required = true)]
        teps: Vec<TepRef>,
    },
    /// Take TEPs out of a domain
    Leave {
        /// The domain
        vni: Vni,
        /// Its members, by address or name
        #[arg(required = true)]
        teps: Vec<TepRef>,
    },
    /// Change what a domain may send, or without options show it
    Limit {
        /// Its VNI
        vni: Vni,
        /// What it may send.
        #[command(flatten)]
        rates: DomainRates,
    },
    /// Say what addresses that are no HAVIP may do in a domain, or without a mode show it
    Garp {
        /// Its VNI
        vni: Vni,
        /// The mode
        mode: Option<Garp>,
    },
}

/// [`GarpMode`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Garp {
    /// They are ordinary broadcast (the default)
    Open,
    /// They do not move from the MAC and TEP that last announced them
    Strict,
}

impl From<Garp> for GarpMode {
    fn from(mode: Garp) -> Self {
        match mode {
            Garp::Open => Self::Open,
            Garp::Strict => Self::Strict,
        }
    }
}

/// Rates of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
pub struct DomainRates {
    /// Copies a second, but for those of ARP, neighbour advertisements and VRRP
    #[arg(long, value_name = "RATE")]
    copies: Option<Rate>,
    /// Bits a second: of the inner frames in those copies
    #[arg(long, value_name = "RATE")]
    bits: Option<Rate>,
    /// Copies a second of ARP, neighbour advertisements and VRRP
    #[arg(long, value_name = "RATE")]
    control: Option<Rate>,
    /// The rates that are not given are the node's default again; without it they stay
    #[arg(long)]
    pub default: bool,
}

impl DomainRates {
    /// Nothing is to be changed.
    pub fn is_empty(&self) -> bool {
        self.limit() == DomainLimit::default() && !self.default
    }

    /// The rates that are given.
    pub fn limit(&self) -> DomainLimit {
        DomainLimit { copies: self.copies, bits: self.bits, control: self.control }
    }
}

/// `bcastctl restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// A file that `backup` wrote; `-` for standard input
    pub file: PathBuf,
    /// Do not ask (or refuse, where there is no terminal) before removing over 20 % of the memberships or HAVIPs
    #[arg(long)]
    pub yes: bool,
}

/// `bcastctl apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The file, YAML or JSON; `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// Show the plan and have the node check it; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Remove what the file does not say: other TEPs, domains and HAVIPs, names, limits, next hops, modes
    #[arg(long)]
    pub prune: bool,
    /// Do not ask (or refuse, where there is no terminal) before removing over 20 % of the memberships or HAVIPs
    #[arg(long)]
    pub yes: bool,
    /// Show the whole plan, however long it is
    #[arg(long, short)]
    pub verbose: bool,
}
