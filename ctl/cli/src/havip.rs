//! HAVIPs: the commands of `bcastctl havip`, and the forms in which they show a HAVIP. Events of HAVIPs:
//! [`crate::event`].

use std::net::IpAddr;

use bcast_domain::{Mac, Vni};
use clap::Subcommand;
use ctl_api::model::{
    AttachmentFields, Change, Existing, Field, HavipFields, Name, Place, SetResource, Subnet, Target, TepRef,
};
use ctl_api::{Client, proto};
use serde::Serialize;

use crate::change::{self, Order};
use crate::event::{self, holder, why};
use crate::failure::Failure;
use crate::out::{Column, Out};
use crate::text::{self, NONE, optional_utc, or_none, utc};
use crate::values::{Attach, Refresh, Vrid, address};

mod file;

pub use file::{Entry, Export, plan_line};

/// `bcastctl havip`.
#[derive(Debug, Subcommand)]
pub enum HavipCommand {
    /// Create a HAVIP in a domain that is there
    ///
    /// Without attachments it refuses nobody. There already, with this VNI, subnet and address: attachments, VRRP ids
    /// and a refresh that are given replace the old ones.
    Create {
        /// Name, unique on the node
        name: Name,
        /// VNI of the domain
        #[arg(long)]
        vni: Vni,
        /// The network of its address, as in 10.0.0.0/24
        #[arg(long)]
        subnet: Subnet,
        /// Address, IPv4 or IPv6
        #[arg(long, value_parser = address)]
        address: IpAddr,
        /// VRRP ids whose virtual MAC addresses its holders may use (Keepalived's use_vmac)
        #[arg(long = "vrid", value_name = "VRID", value_delimiter = ',')]
        vrids: Vec<Vrid>,
        /// Announce it anew this often while its holder is heard, as in 30s, 5m or 1h
        #[arg(long, value_name = "TIME")]
        refresh: Option<Refresh>,
        /// Attach an instance in the same step; once for each
        #[arg(long = "attach", value_name = "instance=NAME,mac=MAC,tep=TEP[+TEP]")]
        attachments: Vec<Attach>,
        /// Group of HAVIPs of this domain that belong to one election, and so heal together
        #[arg(long)]
        group: Option<Name>,
    },
    /// Remove a HAVIP with its attachments and its history
    Rm {
        /// Name of the HAVIP
        name: Name,
        /// Succeed where there is no such HAVIP
        #[arg(long)]
        if_exists: bool,
    },
    /// All HAVIPs with their holders
    List,
    /// One HAVIP: holder, since when, why, when each attachment announced it, and what may be wrong
    Show {
        /// Name of the HAVIP
        name: Name,
    },
    /// Attach an instance, which may hold it from then on; one that is attached already gets this MAC and these TEPs
    Attach {
        /// The HAVIP
        name: Name,
        /// The instance's name; one name is one instance within a VNI
        #[arg(long)]
        instance: Name,
        /// The MAC address of its interface
        #[arg(long)]
        mac: Mac,
        /// TEPs of the instance, by address or name; two while it migrates
        #[arg(long = "tep", value_name = "TEP", value_delimiter = ',', required = true)]
        teps: Vec<TepRef>,
    },
    /// Detach an instance; if it is the holder, the HAVIP has none any more
    Detach {
        /// The HAVIP
        name: Name,
        /// The instance
        #[arg(long)]
        instance: Name,
        /// Succeed where it is not attached, or there is no such HAVIP
        #[arg(long)]
        if_exists: bool,
    },
    /// Bind a public address to it, which goes where it goes
    BindEip {
        /// The HAVIP
        name: Name,
        /// The address
        #[arg(value_parser = address)]
        eip: IpAddr,
    },
    /// Take its public address from it
    UnbindEip {
        /// The HAVIP
        name: Name,
        /// Succeed where it has no public address
        #[arg(long)]
        if_exists: bool,
    },
    /// Put it into a group of HAVIPs that belong to one election: a VRRP advert of one counts for all, so they heal together
    Group {
        /// The HAVIP
        name: Name,
        /// The group, in place of the one that it is in
        #[arg(required_unless_present = "rm", conflicts_with = "rm")]
        group: Option<Name>,
        /// Take it out of its group
        #[arg(long)]
        rm: bool,
        /// Succeed where it is in no group
        #[arg(long, requires = "rm")]
        if_exists: bool,
    },
    /// The last events of a HAVIP, the newest last
    History {
        /// Name of the HAVIP
        name: Name,
    },
    /// Let a HAVIP that moved too often move again
    Unfreeze {
        /// Name of the HAVIP
        name: Name,
    },
}

/// Runs a command of HAVIPs.
pub async fn run(out: &mut Out, client: &mut Client, command: HavipCommand) -> Result<(), Failure> {
    let order = match command {
        HavipCommand::List => return list(out, client).await,
        HavipCommand::Show { name } => return show(out, client, &name).await,
        HavipCommand::History { name } => return event::history(out, client, &name).await,
        HavipCommand::Create { name, vni, subnet, address, vrids, refresh, attachments, group } => {
            let attachments: Vec<_> = attachments.into_iter().map(|Attach(fields)| fields).collect();
            let fields = HavipFields {
                place: Some(Place { vni, subnet, address }),
                vrids: (!vrids.is_empty()).then(|| vrids.iter().map(|vrid| vrid.0).collect()),
                refresh_s: refresh.map_or(Field::Absent, |Refresh(seconds)| Field::Value(seconds)),
                group: group.map_or(Field::Absent, Field::Value),
                attachments: (!attachments.is_empty()).then_some(attachments),
                ..Default::default()
            };
            Order {
                done: format!("havip {name} is there"),
                already: format!("havip {name} is there already"),
                change: SetResource::Havip(name, fields).set_if(Existing::Same),
            }
        }
        HavipCommand::Rm { name, if_exists } => {
            let order = Order {
                done: format!("havip {name} is removed"),
                already: format!("havip {name} is not there"),
                change: Change::delete(Target::Havip(name)),
            };
            return change::remove(out, client, order, if_exists).await;
        }
        HavipCommand::Attach { name, instance, mac, teps } => {
            let on = teps.iter().map(TepRef::to_string).collect::<Vec<_>>().join(" and ");
            let teps = teps.into_iter().collect();
            Order {
                done: format!("havip {name}: {instance} is attached, as {mac} on {on}"),
                already: format!("havip {name}: {instance} is attached already, as {mac} on {on}"),
                change: Change::SetAttachment {
                    havip: name,
                    attachment: Box::new(AttachmentFields { instance, mac, teps }),
                },
            }
        }
        HavipCommand::Detach { name, instance, if_exists } => {
            let order = Order {
                done: format!("havip {name}: {instance} is detached"),
                already: format!("havip {name}: {instance} is not attached"),
                change: Change::DeleteAttachment { havip: name, instance },
            };
            return change::remove(out, client, order, if_exists).await;
        }
        HavipCommand::BindEip { name, eip } => Order {
            done: format!("havip {name}: {eip} goes where it goes"),
            already: format!("havip {name}: {eip} is its EIP already"),
            // Another EIP is not replaced.
            change: set_eip(name, Field::Value(eip), Existing::Same),
        },
        HavipCommand::UnbindEip { name, if_exists } => {
            let order = Order {
                done: format!("havip {name} has no EIP any more"),
                already: format!("havip {name} has no EIP"),
                change: set_eip(name, Field::Clear, Existing::Required),
            };
            return change::remove(out, client, order, if_exists).await;
        }
        HavipCommand::Group { name, group: Some(group), .. } => Order {
            done: format!("havip {name} is in the group {group}"),
            already: format!("havip {name} is in the group {group} already"),
            change: set_group(name, Field::Value(group)),
        },
        HavipCommand::Group { name, group: None, if_exists, .. } => {
            let order = Order {
                done: format!("havip {name} is in no group any more"),
                already: format!("havip {name} is in no group"),
                change: set_group(name, Field::Clear),
            };
            return change::remove(out, client, order, if_exists).await;
        }
        HavipCommand::Unfreeze { name } => Order {
            done: format!("havip {name} may move again"),
            already: format!("havip {name} is not frozen"),
            change: Change::Unfreeze { havip: name },
        },
    };
    change::commit(out, client, order).await
}

fn set_eip(name: Name, eip: Field<IpAddr>, existing: Existing) -> Change {
    SetResource::Havip(name, HavipFields { eip, ..Default::default() }).set_if(existing)
}

fn set_group(name: Name, group: Field<Name>) -> Change {
    SetResource::Havip(name, HavipFields { group, ..Default::default() }).set_if(Existing::Required)
}

/// JSON of a HAVIP and its binding.
#[derive(Debug, Serialize)]
pub struct Json<'a> {
    name: &'a str,
    vni: u32,
    address: String,
    state: String,
    holder: Option<&'a proto::Holder>,
    since: String,
    generation: u64,
    previous: Option<&'a proto::Holder>,
    why: Option<String>,
    moves: u64,
    subnet: String,
    vrids: &'a [u32],
    refresh_s: Option<u32>,
    eip: Option<String>,
    group: Option<&'a str>,
    attachments: &'a [proto::Attachment],
}

impl<'a> Json<'a> {
    /// JSON of a HAVIP with this binding.
    pub fn new(havip: &'a proto::Havip, binding: &'a proto::Binding) -> Self {
        Self {
            name: &havip.name,
            vni: havip.vni,
            address: text::address(&havip.address),
            state: state(binding),
            holder: binding.holder.as_ref(),
            since: utc(binding.since_unix_ms),
            generation: binding.generation,
            previous: binding.previous.as_ref(),
            why: why(binding.why()),
            moves: binding.moves,
            subnet: subnet(havip),
            vrids: vrids(havip),
            refresh_s: refresh(havip),
            eip: eip(havip),
            group: group(havip),
            attachments: attachments(havip),
        }
    }
}

fn state(binding: &proto::Binding) -> String {
    text::word(binding.state().as_str_name(), "HAVIP_STATE_").unwrap_or_else(|| "unknown".to_owned())
}

fn subnet(havip: &proto::Havip) -> String {
    format!("{}/{}", text::address(&havip.subnet), havip.prefix_length)
}

fn vrids(havip: &proto::Havip) -> &[u32] {
    havip.vrids.as_ref().map_or(&[], |vrids| &vrids.ids)
}

fn refresh(havip: &proto::Havip) -> Option<u32> {
    havip.refresh_s.filter(|&seconds| seconds > 0)
}

fn eip(havip: &proto::Havip) -> Option<String> {
    text::optional_address(havip.eip.as_ref())
}

fn group(havip: &proto::Havip) -> Option<&str> {
    havip.group.as_deref().filter(|group| !group.is_empty())
}

fn attachments(havip: &proto::Havip) -> &[proto::Attachment] {
    havip.attachments.as_ref().map_or(&[], |attachments| &attachments.attachments)
}

/// VRRP ids in a few words; None where there are none.
fn ids_in_words(havip: &proto::Havip, comma: &str) -> Option<String> {
    let ids: Vec<_> = vrids(havip).iter().map(u32::to_string).collect();
    (!ids.is_empty()).then(|| ids.join(comma))
}

async fn list(out: &mut Out, client: &mut Client) -> Result<(), Failure> {
    let split =
        |entry: proto::HavipEntry| (entry.havip.unwrap_or_default(), entry.binding.unwrap_or_default());
    let entries = client.havips(proto::ListHavipsRequest::default()).await?;
    let havips: Vec<_> = entries.into_iter().map(split).collect();
    if out.is_json() {
        return out.array(havips.iter().map(|(havip, binding)| Json::new(havip, binding)));
    }
    let row = |(havip, binding): &(proto::Havip, proto::Binding)| {
        [
            havip.name.clone(),
            havip.vni.to_string(),
            text::address(&havip.address),
            state(binding),
            holder(binding.holder.as_ref()),
            or_none(binding.holder.as_ref().map(|holder| text::address(&holder.tep))),
            utc(binding.since_unix_ms),
            or_none(eip(havip)),
        ]
    };
    let columns = ["NAME", "VNI", "ADDRESS", "STATE", "HOLDER", "TEP", "SINCE", "EIP"].map(Column::Text);
    out.table(columns, &havips.iter().map(row).collect::<Vec<_>>())
}

/// JSON of `havip show`.
#[derive(Serialize)]
struct Status<'a> {
    #[serde(flatten)]
    havip: Json<'a>,
    diagnosis: &'a [proto::Diagnosis],
    announced: Vec<Announced<'a>>,
}

/// JSON of an attachment's last announcements on one of its TEPs.
#[derive(Serialize)]
struct Announced<'a> {
    instance: &'a str,
    mac: String,
    tep: String,
    claim: Option<String>,
    r#use: Option<String>,
    advert: Option<String>,
    advert_interval_cs: Option<u32>,
    advert_priority: Option<u32>,
}

impl<'a> From<&'a proto::LastAnnounced> for Announced<'a> {
    fn from(last: &'a proto::LastAnnounced) -> Self {
        let adverts = last.advert_unix_ms > 0;
        Self {
            instance: &last.instance,
            mac: text::mac(&last.mac),
            tep: text::address(&last.tep),
            claim: optional_utc(last.claim_unix_ms),
            r#use: optional_utc(last.use_unix_ms),
            advert: optional_utc(last.advert_unix_ms),
            advert_interval_cs: adverts.then_some(last.advert_interval_cs),
            advert_priority: adverts.then_some(last.advert_priority),
        }
    }
}

async fn show(out: &mut Out, client: &mut Client, name: &Name) -> Result<(), Failure> {
    let proto::HavipStatus { entry, diagnosis, announced } = client.havip(name).await?;
    let proto::HavipEntry { havip, binding } = entry.unwrap_or_default();
    let (havip, binding) = (havip.unwrap_or_default(), binding.unwrap_or_default());
    if out.is_json() {
        return out.json(&Status {
            havip: Json::new(&havip, &binding),
            diagnosis: &diagnosis,
            announced: announced.iter().map(Announced::from).collect(),
        });
    }
    let in_full = |holder: &proto::Holder| {
        format!("{}, {} on {}", holder.instance, text::mac(&holder.mac), text::address(&holder.tep))
    };
    let rows = [
        ("name", havip.name.clone()),
        ("vni", havip.vni.to_string()),
        ("address", format!("{} of {}", text::address(&havip.address), subnet(&havip))),
        ("state", state(&binding)),
        ("holder", or_none(binding.holder.as_ref().map(in_full))),
        ("since", utc(binding.since_unix_ms)),
        ("why", or_none(why(binding.why()))),
        ("previous", or_none(binding.previous.as_ref().map(in_full))),
        ("moves", binding.moves.to_string()),
        ("generation", binding.generation.to_string()),
        ("vrids", or_none(ids_in_words(&havip, ", "))),
        ("refresh", or_none(refresh(&havip).map(|seconds| format!("every {seconds} s")))),
        ("eip", or_none(eip(&havip))),
        ("group", or_none(group(&havip).map(str::to_owned))),
    ]
    .map(|(what, value)| [what.to_owned(), value]);
    out.table([Column::Text("HAVIP"), Column::Text("")], &rows)?;
    out.line("")?;
    show_attachments(out, &havip, &announced)?;
    if !diagnosis.is_empty() {
        out.line("\nDIAGNOSIS")?;
    }
    diagnosis.iter().try_for_each(|found| out.line(&found.text))
}

/// Prints a row for each attachment on each of its TEPs.
fn show_attachments(
    out: &mut Out,
    havip: &proto::Havip,
    announced: &[proto::LastAnnounced],
) -> Result<(), Failure> {
    let places = attachments(havip)
        .iter()
        .flat_map(|attachment| text::addresses(attachment.teps.as_ref()).map(move |tep| (attachment, tep)));
    let row = |(attachment, tep): (&proto::Attachment, &[u8])| {
        let last = announced.iter().find(|last| last.instance == attachment.instance && last.tep == tep);
        let last = last.cloned().unwrap_or_default();
        let advert = optional_utc(last.advert_unix_ms)
            .map_or(NONE.to_owned(), |time| format!("{time}, priority {}", last.advert_priority));
        [
            attachment.instance.clone(),
            text::mac(&attachment.mac),
            text::address(tep),
            or_none(optional_utc(last.claim_unix_ms)),
            or_none(optional_utc(last.use_unix_ms)),
            advert,
        ]
    };
    let columns = ["INSTANCE", "MAC", "TEP", "LAST CLAIM", "LAST USE", "LAST ADVERT"].map(Column::Text);
    out.table(columns, &places.map(row).collect::<Vec<_>>())
}
