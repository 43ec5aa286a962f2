//! TEPs: the commands of `bcastctl tep`, the entries of `teps` in an apply file, and all forms in which a TEP is shown.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bcast_domain::{Rate, Tep};
use clap::{Args, Subcommand};
use ctl_api::model::{Change, Existing, Field, Name, SetResource, Target, TepFields, TepRef};
use ctl_api::{Client, ClientError, proto};
use serde::{Deserialize, Serialize};

use crate::change::{self, Order};
use crate::failure::Failure;
use crate::node::Session;
use crate::out::{Column, Out};
use crate::rates::{Exported, Rates, requested};
use crate::stats::{Counters, dropped};
use crate::text::{self, differs, in_brackets, or_none, renamed, utc};
use crate::values::{EntryError, OldKeys, Scalar, Text, address, field, scalar_field};

/// `bcastctl tep`.
#[derive(Debug, Subcommand)]
pub enum TepCommand {
    /// Register a TEP; a given name replaces the one it has
    Add {
        /// Underlay IPv4 address
        address: Tep,
        /// Name, unique among the TEPs
        #[arg(long)]
        name: Option<Name>,
    },
    /// Remove a TEP; refused while it is a member of a domain or has attachments
    Rm {
        /// Address or name of the TEP
        tep: TepRef,
        /// Take it out of all its domains and attachments too, in the same revision
        #[arg(long)]
        force: bool,
        /// Succeed where there is no such TEP
        #[arg(long)]
        if_exists: bool,
    },
    /// All TEPs
    List,
    /// One TEP: next hop, MAC and its age, limit, drops by reason
    Show {
        /// Address or name of the TEP
        tep: TepRef,
    },
    /// Change the rate of a TEP to the node, or without options show it
    Limit {
        /// Address or name of the TEP
        tep: TepRef,
        /// Rates.
        #[command(flatten)]
        rates: RateArgs,
    },
    /// Set the gateways of the routes of HAVIPs on a TEP that is not on the node's link, or show them
    #[command(alias = "next-hop")]
    RouteGateway {
        /// Address or name of the TEP
        tep: TepRef,
        /// An IPv4 gateway, an IPv6 one, or both; a family that is not given stays as it is
        #[arg(value_name = "ADDRESS", num_args = 0..=2, value_parser = address)]
        gateways: Vec<IpAddr>,
        /// Remove the gateways that are not given
        #[arg(long)]
        none: bool,
    },
}

/// Rates of a TEP.
#[derive(Clone, Copy, Debug, Args)]
pub struct RateArgs {
    /// Frames a second
    #[arg(long, value_name = "RATE")]
    frames: Option<Rate>,
    /// The node's default again
    #[arg(long, conflicts_with = "frames")]
    default: bool,
}

/// Runs a command of TEPs.
pub async fn run(out: &mut Out, client: &mut Client, command: TepCommand) -> Result<(), Failure> {
    let order = match command {
        TepCommand::List => return list(out, client).await,
        TepCommand::Show { tep } => return show(out, client, tep).await,
        TepCommand::Limit { tep, rates } if rates.frames.is_none() && !rates.default => {
            return show_limit(out, client, tep).await;
        }
        TepCommand::RouteGateway { tep, gateways, none: false } if gateways.is_empty() => {
            return show_gateways(out, client, tep).await;
        }
        TepCommand::Add { address, name } => {
            let tep = format!("tep {address}{}", in_brackets(name.as_ref().map(Name::as_str)));
            Order {
                done: format!("{tep} is registered"),
                already: format!("{tep} is registered already"),
                change: Change::tep(address, name),
            }
        }
        TepCommand::Rm { tep, force, if_exists } => {
            let order = Order {
                done: format!("tep {tep} is removed"),
                already: format!("tep {tep} is not registered"),
                change: Change::Delete { target: Target::Tep(tep), force },
            };
            return change::remove(out, client, order, if_exists).await;
        }
        TepCommand::Limit { tep, rates } => {
            let frames = requested(rates.frames, rates.default);
            let limit = Rates([("frames", rates.frames.map(Rate::per_second))]).given();
            let fields = TepFields { frames, ..Default::default() };
            Order {
                done: format!("tep {tep}: the limit is now {limit}"),
                already: format!("tep {tep}: the limit is already {limit}"),
                change: SetResource::Tep(tep, fields).set_if(Existing::Required),
            }
        }
        TepCommand::RouteGateway { tep, gateways, none } => set_gateways(tep, &gateways, none)?,
    };
    change::commit(out, client, order).await
}

fn set_gateways(tep: TepRef, gateways: &[IpAddr], none: bool) -> Result<Order, Failure> {
    let mut fields = TepFields::default();
    if none {
        (fields.route_gateway, fields.route_gateway6) = (Field::Clear, Field::Clear);
    }
    if let [one, other] = *gateways
        && one.is_ipv4() == other.is_ipv4()
    {
        return Err(Failure::SameFamily { one, other });
    }
    for &gateway in gateways {
        match gateway {
            IpAddr::V4(v4) => fields.route_gateway = Field::Value(v4),
            IpAddr::V6(v6) => fields.route_gateway6 = Field::Value(v6),
        }
    }
    let words = gateways.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" and ");
    let words = text::given(&words).unwrap_or("none");
    Ok(Order {
        done: format!("tep {tep}: the gateway of its routes is now {words}"),
        already: format!("tep {tep}: the gateway of its routes is already {words}"),
        change: SetResource::Tep(tep, fields).set_if(Existing::Required),
    })
}

/// JSON of a TEP.
#[derive(Debug, Serialize)]
pub struct Json<'a> {
    address: String,
    name: Option<&'a str>,
    limit: Rates<1>,
    routes: Gateways,
}

#[derive(Debug, Serialize)]
struct Gateways {
    route_gateway: Option<String>,
    route_gateway6: Option<String>,
}

impl<'a> From<&'a proto::Tep> for Json<'a> {
    fn from(tep: &'a proto::Tep) -> Self {
        let (address, name) = (text::address(&tep.address), text::name(tep.name.as_ref()));
        Self { address, name, limit: rates(tep), routes: gateways(tep) }
    }
}

fn rates(tep: &proto::Tep) -> Rates<1> {
    Rates([("frames", tep.limit.unwrap_or_default().frames)])
}

fn gateways(tep: &proto::Tep) -> Gateways {
    let (v4, v6) = (tep.route_gateway.as_ref(), tep.route_gateway6.as_ref());
    Gateways { route_gateway: text::optional_address(v4), route_gateway6: text::optional_address(v6) }
}

async fn list(out: &mut Out, client: &mut Client) -> Result<(), Failure> {
    let teps = client.teps(proto::ListTepsRequest::default()).await?;
    if out.is_json() {
        return out.array(teps.iter().map(Json::from));
    }
    let row = |tep: &proto::Tep| [text::address(&tep.address), or_none(text::name(tep.name.as_ref()))];
    let rows: Vec<_> = teps.iter().map(row).collect();
    out.table([Column::Text("ADDRESS"), Column::Text("NAME")], &rows)
}

/// JSON of `tep show`.
#[derive(Serialize)]
struct Status<'a> {
    #[serde(flatten)]
    tep: Json<'a>,
    domains: u64,
    next_hop: Option<String>,
    mac: Option<String>,
    since_unix_ms: u64,
    drops: Counters<'a>,
    frame_drops: Counters<'a>,
    icmp_errors: Counters<'a>,
    bfd: Option<Session>,
}

async fn show(out: &mut Out, client: &mut Client, tep: TepRef) -> Result<(), Failure> {
    let status = client.tep(tep).await?;
    let tep = status.tep.clone().unwrap_or_default();
    let next_hop = text::optional_address(status.next_hop.as_ref());
    let mac = status.mac.filter(|mac| !mac.is_empty()).map(|mac| text::mac(&mac));
    let bfd = status.bfd.as_ref().map(Session::from);
    if out.is_json() {
        let (domains, since_unix_ms) = (status.domains, status.since_unix_ms);
        let (drops, frame_drops) = (Counters(&status.drops), Counters(&status.frame_drops));
        let (tep, icmp_errors) = (Json::from(&tep), Counters(&status.icmp_errors));
        let status =
            Status { tep, domains, next_hop, mac, since_unix_ms, drops, frame_drops, icmp_errors, bfd };
        return out.json(&status);
    }
    let Gateways { route_gateway, route_gateway6 } = gateways(&tep);
    let routes: Vec<String> = route_gateway.into_iter().chain(route_gateway6).collect();
    let rows = [
        ("address", text::address(&tep.address)),
        ("name", or_none(text::name(tep.name.as_ref()))),
        ("limit", rates(&tep).words()),
        ("routes by", or_none(text::given(&routes.join(", ")))),
        ("domains", status.domains.to_string()),
        ("next hop", next_hop.unwrap_or_else(|| "no route".to_owned())),
        ("mac", mac.unwrap_or_else(|| "unresolved".to_owned())),
        ("since", utc(status.since_unix_ms)),
    ];
    let none = || vec![("bfd", or_none(None::<String>))];
    let sessions = bfd.map_or_else(none, |session| session.rows().to_vec());
    let rows = rows.into_iter().chain(sessions).map(|(what, value)| [what.to_owned(), value]);
    out.table([Column::Text("TEP"), Column::Text("")], &rows.collect::<Vec<_>>())?;
    dropped(out, "DROPPED FRAMES", &status.frame_drops)?;
    dropped(out, "DROPPED COPIES", &status.drops)?;
    dropped(out, "ICMP ERRORS ABOUT COPIES", &status.icmp_errors)
}

/// JSON of `tep limit`.
#[derive(Serialize)]
struct Limit {
    address: String,
    limit: Rates<1>,
}

async fn show_limit(out: &mut Out, client: &mut Client, tep: TepRef) -> Result<(), Failure> {
    let tep = client.tep(tep).await?.tep.unwrap_or_default();
    let limit = rates(&tep);
    if out.is_json() {
        return out.json(&Limit { address: text::address(&tep.address), limit });
    }
    limit.table(out)
}

/// JSON of `tep route-gateway`.
#[derive(Serialize)]
struct Routes {
    address: String,
    routes: Gateways,
}

async fn show_gateways(out: &mut Out, client: &mut Client, tep: TepRef) -> Result<(), Failure> {
    let tep = client.tep(tep).await?.tep.unwrap_or_default();
    let routes = gateways(&tep);
    if out.is_json() {
        return out.json(&Routes { address: text::address(&tep.address), routes });
    }
    let rows = [("IPv4", routes.route_gateway), ("IPv6", routes.route_gateway6)];
    let rows = rows.map(|(family, gateway)| [family.to_owned(), or_none(gateway)]);
    out.table([Column::Text("FAMILY"), Column::Text("GATEWAY")], &rows)
}

/// An entry of `teps` in an apply file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    address: Text<Tep>,
    name: Option<Text<Name>>,
    limit: Option<EntryRates>,
    route_gateway: Option<Text<Ipv4Addr>>,
    route_gateway6: Option<Text<Ipv6Addr>>,
    /// Old key of `route_gateway`.
    next_hop: Option<Text<Ipv4Addr>>,
    /// Old key of `route_gateway6`.
    next_hop6: Option<Text<Ipv6Addr>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryRates {
    frames: Option<Scalar<Rate>>,
}

impl Entry {
    /// The TEP as it is desired.
    pub fn desired(self, old: &mut OldKeys) -> Result<SetResource, EntryError> {
        let v4 = old.either("next_hop", self.next_hop, "route_gateway", self.route_gateway)?;
        let v6 = old.either("next_hop6", self.next_hop6, "route_gateway6", self.route_gateway6)?;
        let fields = TepFields {
            name: field(self.name),
            frames: scalar_field(self.limit.and_then(|limit| limit.frames)),
            route_gateway: field(v4),
            route_gateway6: field(v6),
        };
        Ok(SetResource::Tep(TepRef::Address(self.address.0), fields))
    }
}

/// An entry of `teps` in an export.
#[derive(Serialize)]
pub struct Export<'a> {
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Exported>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route_gateway: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route_gateway6: Option<String>,
}

/// The entry of a TEP in an export.
pub fn export(tep: &proto::Tep, yaml: bool) -> Export<'_> {
    let Gateways { route_gateway, route_gateway6 } = gateways(tep);
    Export {
        address: text::address(&tep.address),
        name: text::name(tep.name.as_ref()),
        limit: rates(tep).exported(yaml),
        route_gateway,
        route_gateway6,
    }
}

/// Line of a plan: a TEP that is added, removed or changed.
pub fn plan_line(before: Option<&proto::Tep>, after: Option<&proto::Tep>) -> String {
    let name =
        |tep: Option<&proto::Tep>| tep.and_then(|tep| text::name(tep.name.as_ref())).map(str::to_owned);
    let (old, new) = (name(before), name(after));
    let tep = after.or(before).map(|tep| text::address(&tep.address)).unwrap_or_default();
    let Some(after) = after else { return format!("- tep {tep}{}", in_brackets(old.as_deref())) };
    let none = proto::Tep::default();
    let (had, has) = (gateways(before.unwrap_or(&none)), gateways(after));
    let gateways = [
        differs("route gateway", had.route_gateway, has.route_gateway),
        differs("IPv6 route gateway", had.route_gateway6, has.route_gateway6),
    ];
    let gateways = gateways.into_iter().flatten();
    let Some(before) = before else {
        let limit = rates(after);
        let limit = limit.any().then(|| format!("limit {}", limit.words()));
        let parts: String = limit.into_iter().chain(gateways).map(|part| format!("; {part}")).collect();
        return format!("+ tep {tep}{}{parts}", in_brackets(new.as_deref()));
    };
    let name = renamed(old.as_deref(), new.as_deref());
    let limit = rates(after).differences(&rates(before)).collect::<Vec<_>>();
    let parts: Vec<String> = name.into_iter().chain(limit).chain(gateways).collect();
    format!("~ tep {tep}: {}", parts.join("; "))
}

/// Names of TEPs before and after an apply, for its plan.
#[derive(Debug, Default)]
pub struct Names {
    before: HashMap<Vec<u8>, String>,
    /// Names that the apply changes.
    changed: HashMap<Vec<u8>, Option<String>>,
}

impl Names {
    /// Names that the node has now.
    pub async fn read(client: &mut Client) -> Result<Self, ClientError> {
        let teps = client.teps(proto::ListTepsRequest::default()).await?.into_iter();
        let before = teps.filter_map(|tep| Some((tep.address, tep.name?))).collect();
        Ok(Self { before, changed: HashMap::new() })
    }

    /// Takes a difference into account.
    pub fn change(&mut self, before: Option<&proto::Tep>, after: Option<&proto::Tep>) {
        if let Some(tep) = before {
            match &tep.name {
                Some(name) => self.before.insert(tep.address.clone(), name.clone()),
                None => self.before.remove(&tep.address),
            };
        }
        if let Some(tep) = after {
            self.changed.insert(tep.address.clone(), tep.name.clone());
        }
    }

    /// Name of a TEP before the apply, or its address.
    pub fn before(&self, tep: &[u8]) -> String {
        self.before.get(tep).cloned().unwrap_or_else(|| text::address(tep))
    }

    /// Name of a TEP after the apply, or its address.
    pub fn after(&self, tep: &[u8]) -> String {
        match self.changed.get(tep) {
            Some(name) => name.clone().unwrap_or_else(|| text::address(tep)),
            None => self.before(tep),
        }
    }
}
