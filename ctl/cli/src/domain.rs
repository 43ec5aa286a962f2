//! Domains: the commands of `bcastctl domain`, and the forms in which they show a domain.

use std::collections::HashMap;
use std::net::IpAddr;

use bcast_domain::{Mac, Rate, Vni};
use clap::{Args, Subcommand, ValueEnum};
use ctl_api::model::{
    ArpInspection, Change, DomainFields, Existing, Gateway, Name, SetResource, Subnet, Target, TepRef,
    ip_bytes,
};
use ctl_api::{Client, proto};
use serde::{Deserialize, Serialize};

use crate::change::{self, Order};
use crate::failure::Failure;
use crate::out::{Column, Out};
use crate::rates::{Rates, requested};
use crate::text::{self, in_brackets, or_none};

mod file;

pub use file::{Entry, export, plan_line};

/// `bcastctl domain`.
#[derive(Debug, Subcommand)]
pub enum DomainCommand {
    /// Create a domain without members; a given name replaces the one it has
    Create {
        /// VNI of the domain
        vni: Vni,
        /// A name for it
        #[arg(long)]
        name: Option<Name>,
    },
    /// Remove a domain and its memberships; refused while it has HAVIPs
    Rm {
        /// VNI of the domain
        vni: Vni,
        /// Remove its HAVIPs too, in the same revision
        #[arg(long)]
        force: bool,
        /// Succeed where there is no such domain
        #[arg(long)]
        if_exists: bool,
    },
    /// All domains with the number of their members
    List,
    /// One domain with its limit and its members
    Show {
        /// VNI of the domain
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
        /// Members, by address or name
        #[arg(required = true)]
        teps: Vec<TepRef>,
        /// Succeed where there is no such domain, or TEPs are no members
        #[arg(long)]
        if_exists: bool,
    },
    /// Change the rates of a domain, or without options show them
    Limit {
        /// VNI of the domain
        vni: Vni,
        /// Rates.
        #[command(flatten)]
        rates: RateArgs,
    },
    /// Set how a domain inspects ARP for addresses that are no HAVIP, or without a mode show it
    #[command(alias = "garp")]
    ArpInspection {
        /// VNI of the domain
        vni: Vni,
        /// The mode
        mode: Option<Mode>,
    },
    /// State the subnets of a domain; sticky ARP inspection refuses addresses outside of them, but for IPv6 link-local ones
    Subnets {
        /// VNI of the domain
        vni: Vni,
        /// All its subnets, such as 10.0.0.0/24
        #[arg(required_unless_present = "none")]
        subnets: Vec<Subnet>,
        /// State no subnet: any address may be announced
        #[arg(long, conflicts_with = "subnets")]
        none: bool,
    },
    /// Pin nodes: they come before all others in the placement of the VNI, in this order
    Pin {
        /// VNI of the domain
        vni: Vni,
        /// All its pinned nodes; they replace those that it has
        #[arg(required = true)]
        nodes: Vec<Name>,
    },
    /// Pin no node any more
    Unpin {
        /// VNI of the domain
        vni: Vni,
        /// Succeed where no node is pinned
        #[arg(long)]
        if_exists: bool,
    },
    /// Addresses that a domain with sticky ARP inspection has learned, with their owners
    Learned {
        /// VNI of the domain
        vni: Vni,
    },
    /// Take a learned address from its owner: the next announcer has it
    Forget {
        /// VNI of the domain
        vni: Vni,
        /// The address
        address: IpAddr,
        /// Succeed where the address has no owner
        #[arg(long)]
        if_exists: bool,
    },
    /// State a distributed gateway: with sticky ARP inspection all TEPs may announce its address, with this MAC and no other
    Gateway {
        /// VNI of the domain
        vni: Vni,
        /// Address of the gateway
        address: IpAddr,
        /// MAC address of the gateway; it replaces the one that it has
        #[arg(required_unless_present = "rm")]
        mac: Option<Mac>,
        /// The address is a gateway's no longer
        #[arg(long, conflicts_with = "mac")]
        rm: bool,
        /// Succeed where the address is no gateway's
        #[arg(long, requires = "rm")]
        if_exists: bool,
    },
}

/// Mode of ARP inspection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Addresses that are no HAVIP are ordinary broadcast (the default)
    #[value(alias = "open")]
    Off,
    /// They do not move from the MAC and TEP that last announced them
    #[value(alias = "strict")]
    Sticky,
}

/// Mode of ARP inspection, by the words of the old key `garp`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OldMode {
    Open,
    Strict,
}

impl From<OldMode> for Mode {
    fn from(mode: OldMode) -> Self {
        match mode {
            OldMode::Open => Self::Off,
            OldMode::Strict => Self::Sticky,
        }
    }
}

impl From<Mode> for ArpInspection {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Off => Self::Off,
            Mode::Sticky => Self::Sticky,
        }
    }
}

fn is_sticky(domain: &proto::Domain) -> bool {
    domain.arp_inspection() == proto::ArpInspection::Sticky
}

/// Mode of a domain, as a word.
fn mode(domain: &proto::Domain) -> &'static str {
    if is_sticky(domain) { "sticky" } else { "off" }
}

/// Rates of a domain.
#[derive(Clone, Copy, Debug, Args)]
pub struct RateArgs {
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
    default: bool,
}

impl RateArgs {
    fn given(self) -> Rates<3> {
        let rates = [("copies", self.copies), ("bits", self.bits), ("control", self.control)];
        Rates(rates.map(|(name, rate)| (name, rate.map(Rate::per_second))))
    }

    fn order(self, vni: Vni) -> Order {
        let given = self.given();
        let or_default = if self.default && given.any() { ", else default" } else { "" };
        let limit = format!("{}{or_default}", given.given());
        let [copies, bits, control] =
            [self.copies, self.bits, self.control].map(|rate| requested(rate, self.default));
        let fields = DomainFields { copies, bits, control, ..Default::default() };
        Order {
            done: format!("domain {vni}: the limit is now {limit}"),
            already: format!("domain {vni}: the limit is already {limit}"),
            change: SetResource::Domain(vni, fields).set_if(Existing::Required),
        }
    }
}

/// Runs a command of domains.
pub async fn run(out: &mut Out, client: &mut Client, command: DomainCommand) -> Result<(), Failure> {
    let order = match command {
        DomainCommand::Learned { vni } => return learned(out, client, vni).await,
        DomainCommand::Forget { vni, address, if_exists } => {
            return forget(out, client, (vni, address), if_exists).await;
        }
        DomainCommand::List => return list(out, client).await,
        DomainCommand::Show { vni } => return show(out, client, vni).await,
        DomainCommand::Limit { vni, rates } if !rates.given().any() && !rates.default => {
            return show_limit(out, client, vni).await;
        }
        DomainCommand::ArpInspection { vni, mode: None } => return show_mode(out, client, vni).await,
        DomainCommand::Create { vni, name } => {
            let domain = format!("domain {vni}{}", in_brackets(name.as_ref().map(Name::as_str)));
            Order {
                done: format!("{domain} is there"),
                already: format!("{domain} is there already"),
                change: Change::domain(vni, name),
            }
        }
        DomainCommand::Rm { vni, force, if_exists } => {
            let order = Order {
                done: format!("domain {vni} is removed"),
                already: format!("domain {vni} is not there"),
                change: Change::Delete { target: Target::Domain(vni), force },
            };
            return change::remove(out, client, order, if_exists).await;
        }
        DomainCommand::Join { vni, teps } => {
            let (who, are, members) = members(&teps);
            Order {
                done: format!("domain {vni}: {who} {are} now {members}"),
                already: format!("domain {vni}: {who} {are} already {members}"),
                change: Change::Join { vni, teps: teps.into_iter().collect() },
            }
        }
        DomainCommand::Leave { vni, teps, if_exists } => {
            let (who, are, members) = members(&teps);
            let order = Order {
                done: format!("domain {vni}: {who} {are} no longer {members}"),
                already: format!("domain {vni}: {who} {are} not {members}"),
                change: Change::Leave { vni, teps: teps.into_iter().collect() },
            };
            return change::remove(out, client, order, if_exists).await;
        }
        DomainCommand::Limit { vni, rates } => rates.order(vni),
        DomainCommand::ArpInspection { vni, mode: Some(mode) } => {
            let mode = ArpInspection::from(mode);
            let fields = DomainFields { arp_inspection: Some(mode), ..Default::default() };
            Order {
                done: format!("domain {vni}: ARP inspection is now {mode}"),
                already: format!("domain {vni}: ARP inspection is already {mode}"),
                change: SetResource::Domain(vni, fields).set_if(Existing::Required),
            }
        }
        DomainCommand::Subnets { vni, mut subnets, .. } => {
            subnets.sort_unstable();
            subnets.dedup();
            let are = if subnets.is_empty() { "none".to_owned() } else { spaced(&subnets) };
            let fields = DomainFields { subnets: Some(subnets), ..Default::default() };
            Order {
                done: format!("domain {vni}: the subnets are now {are}"),
                already: format!("domain {vni}: the subnets are already {are}"),
                change: SetResource::Domain(vni, fields).set_if(Existing::Required),
            }
        }
        DomainCommand::Pin { vni, nodes } => {
            let names = spaced(&nodes);
            Order {
                done: format!("domain {vni}: the pinned nodes are now {names}"),
                already: format!("domain {vni}: the pinned nodes are already {names}"),
                change: pin(vni, nodes),
            }
        }
        DomainCommand::Unpin { vni, if_exists } => {
            let order = Order {
                done: format!("domain {vni}: no node is pinned any more"),
                already: format!("domain {vni}: no node is pinned"),
                change: pin(vni, Vec::new()),
            };
            return change::remove(out, client, order, if_exists).await;
        }
        DomainCommand::Gateway { vni, address, mac: None, if_exists, .. } => {
            return change::remove(out, client, gateway(vni, address, None), if_exists).await;
        }
        DomainCommand::Gateway { vni, address, mac, .. } => gateway(vni, address, mac),
    };
    change::commit(out, client, order).await
}

/// Order that gives a gateway this MAC address, or removes it. The domain's other gateways stay as they are.
fn gateway(vni: Vni, address: IpAddr, mac: Option<Mac>) -> Order {
    let (done, already, change) = match mac {
        Some(mac) => (
            format!("{address} is now a gateway with {mac}"),
            format!("{address} is already a gateway with {mac}"),
            Change::SetGateway { vni, gateway: Gateway { address, mac } },
        ),
        None => (
            format!("{address} is no longer a gateway"),
            format!("{address} is no gateway"),
            Change::DeleteGateway { vni, address },
        ),
    };
    Order { done: format!("domain {vni}: {done}"), already: format!("domain {vni}: {already}"), change }
}

fn pin(vni: Vni, nodes: Vec<Name>) -> Change {
    let fields = DomainFields { pinned: Some(nodes), ..Default::default() };
    SetResource::Domain(vni, fields).set_if(Existing::Required)
}

/// Pinned nodes of a domain, in their order.
pub fn pinned(domain: &proto::Domain) -> Vec<&str> {
    domain.pinned.iter().flat_map(|all| &all.names).map(String::as_str).collect()
}

fn spaced(all: &[impl ToString]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// Subnets of a domain, as text.
fn subnets(domain: &proto::Domain) -> Vec<String> {
    let all = domain.subnets.iter().flat_map(|all| &all.subnets);
    all.map(|one| format!("{}/{}", text::address(&one.network), one.prefix_length)).collect()
}

/// Gateways of a domain with their MAC addresses, as text.
fn gateways(domain: &proto::Domain) -> Vec<(String, String)> {
    let all = domain.gateways.iter().flat_map(|all| &all.gateways);
    all.map(|one| (text::address(&one.address), text::mac(&one.mac))).collect()
}

/// Subnets, gateways and pinned nodes in one word each, as rows and plans show them; `None`: there are none.
fn stated(domain: &proto::Domain) -> [(&'static str, Option<String>); 3] {
    let gateways: Vec<_> = gateways(domain).iter().map(|(address, mac)| format!("{address} {mac}")).collect();
    let some = |all: Vec<String>, between| Some(all.join(between)).filter(|all| !all.is_empty());
    let pinned = pinned(domain).into_iter().map(str::to_owned).collect();
    [
        ("subnets", some(subnets(domain), " ")),
        ("gateways", some(gateways, ", ")),
        ("pinned nodes", some(pinned, " ")),
    ]
}

fn members(teps: &[TepRef]) -> (String, &'static str, &'static str) {
    let who = teps.iter().map(TepRef::to_string).collect::<Vec<_>>().join(", ");
    if teps.len() == 1 { (who, "is", "a member") } else { (who, "are", "members") }
}

fn rates(domain: &proto::Domain) -> Rates<3> {
    let proto::DomainRates { copies, bits, control } = domain.limit.unwrap_or_default();
    Rates([("copies", copies), ("bits", bits), ("control", control)])
}

fn size(domain: &proto::Domain) -> usize {
    text::addresses(domain.members.as_ref()).count()
}

async fn list(out: &mut Out, client: &mut Client) -> Result<(), Failure> {
    let domains = client.domains(proto::ListDomainsRequest::default()).await?;
    if out.is_json() {
        return out.array(domains.iter());
    }
    let row = |domain: &proto::Domain| {
        let name = or_none(text::name(domain.name.as_ref()));
        [domain.vni.to_string(), size(domain).to_string(), name]
    };
    let rows: Vec<_> = domains.iter().map(row).collect();
    out.table([Column::Number("VNI"), Column::Number("MEMBERS"), Column::Text("NAME")], &rows)
}

async fn show(out: &mut Out, client: &mut Client, vni: Vni) -> Result<(), Failure> {
    let domain = client.domain(vni).await?;
    if out.is_json() {
        return out.json(&domain);
    }
    let teps = client.teps(proto::ListTepsRequest { vni: Some(vni.get()), ..Default::default() }).await?;
    let names: HashMap<_, _> = teps.into_iter().filter_map(|tep| Some((tep.address, tep.name?))).collect();
    let rows = [
        ("vni", domain.vni.to_string()),
        ("name", or_none(text::name(domain.name.as_ref()))),
        ("limit", rates(&domain).words()),
        ("arp inspection", mode(&domain).to_owned()),
        ("members", size(&domain).to_string()),
    ];
    let stated = stated(&domain).into_iter().filter_map(|(what, value)| Some((what, value?)));
    let rows: Vec<_> = rows.into_iter().chain(stated).map(|(what, value)| [what.to_owned(), value]).collect();
    out.table([Column::Text("DOMAIN"), Column::Text("")], &rows)?;
    out.line("")?;
    let row = |tep: &[u8]| [text::address(tep), or_none(names.get(tep))];
    let members: Vec<_> = text::addresses(domain.members.as_ref()).map(row).collect();
    out.table([Column::Text("MEMBER"), Column::Text("NAME")], &members)
}

async fn learned(out: &mut Out, client: &mut Client, vni: Vni) -> Result<(), Failure> {
    let all = client.learned(vni).await?;
    if out.is_json() {
        return out.array(all.iter());
    }
    let teps = client.teps(proto::ListTepsRequest::default()).await?;
    let names: HashMap<_, _> = teps.into_iter().filter_map(|tep| Some((tep.address, tep.name?))).collect();
    let tep = |one: &proto::Learned| match names.get(&one.tep) {
        _ if one.tep.is_empty() => text::NONE.to_owned(),
        Some(name) => name.clone(),
        None => text::address(&one.tep),
    };
    let row = |one: &proto::Learned| {
        [text::address(&one.address), text::mac(&one.mac), tep(one), text::utc(one.heard_unix_ms)]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    out.table(["ADDRESS", "MAC", "TEP", "LAST HEARD"].map(Column::Text), &rows)
}

/// JSON of `domain forget`.
#[derive(Serialize)]
struct Forgotten {
    vni: u32,
    address: IpAddr,
    had_owner: bool,
}

async fn forget(
    out: &mut Out,
    client: &mut Client,
    (vni, address): (Vni, IpAddr),
    if_exists: bool,
) -> Result<(), Failure> {
    let request = proto::ForgetLearnedRequest { vni: vni.get(), address: ip_bytes(address) };
    let had_owner = client.forget_learned(request).await?.had_owner;
    if !had_owner && !if_exists {
        return Err(Failure::Absent(format!("domain {vni}: {address} has no owner")));
    }
    if out.is_json() {
        return out.json(&Forgotten { vni: vni.get(), address, had_owner });
    }
    out.line(format!("domain {vni}: {address} {}", if had_owner { "is free now" } else { "has no owner" }))
}

/// JSON of `domain limit`.
#[derive(Serialize)]
struct Limit {
    vni: u32,
    limit: Rates<3>,
}

async fn show_limit(out: &mut Out, client: &mut Client, vni: Vni) -> Result<(), Failure> {
    let limit = rates(&client.domain(vni).await?);
    if out.is_json() { out.json(&Limit { vni: vni.get(), limit }) } else { limit.table(out) }
}

/// JSON of `domain arp-inspection`.
#[derive(Serialize)]
struct Inspection {
    vni: u32,
    arp_inspection: &'static str,
}

async fn show_mode(out: &mut Out, client: &mut Client, vni: Vni) -> Result<(), Failure> {
    let arp_inspection = mode(&client.domain(vni).await?);
    if out.is_json() {
        out.json(&Inspection { vni: vni.get(), arp_inspection })
    } else {
        out.line(arp_inspection)
    }
}
