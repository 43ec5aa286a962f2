//! `havip`: virtual IPs shown, and changed one at a time.

use ctl_api::model::{Change, Name, TepRef};
use ctl_api::{Client, proto};

use crate::args::{HavipCommand, Refresh};
use crate::change::{self, Order};
use crate::failure::Failure;
use crate::out::{Column, NONE, Out, or_none, utc};
use crate::shapes;

/// The commands that change one.
pub async fn change(out: &mut Out, client: &mut Client, command: HavipCommand) -> Result<(), Failure> {
    let order = match command {
        HavipCommand::Create { name, vni, subnet, address, vrids, refresh } => Order {
            done: format!("havip {name} is there"),
            already: format!("havip {name} is there already"),
            change: Change::HavipCreate {
                name,
                vni,
                subnet,
                address,
                vrids,
                refresh_s: refresh.map(|Refresh(seconds)| seconds),
            },
        },
        HavipCommand::Rm { name } => Order {
            done: format!("havip {name} is removed"),
            already: format!("havip {name} is not there"),
            change: Change::HavipRemove { name },
        },
        HavipCommand::Attach { name, instance, mac, teps } => {
            let places: Vec<_> = teps.iter().map(TepRef::to_string).collect();
            let places = places.join(" and ");
            Order {
                done: format!("havip {name}: {instance} is attached, as {mac} on {places}"),
                already: format!("havip {name}: {instance} is attached already, as {mac} on {places}"),
                change: Change::HavipAttach { name, instance, mac, teps },
            }
        }
        HavipCommand::Detach { name, instance } => Order {
            done: format!("havip {name}: {instance} is detached"),
            already: format!("havip {name}: {instance} is not attached"),
            change: Change::HavipDetach { name, instance },
        },
        HavipCommand::BindEip { name, eip } => Order {
            done: format!("havip {name}: {eip} goes where it goes"),
            already: format!("havip {name}: {eip} is its EIP already"),
            change: Change::HavipBindEip { name, eip },
        },
        HavipCommand::UnbindEip { name } => Order {
            done: format!("havip {name} has no EIP any more"),
            already: format!("havip {name} has no EIP"),
            change: Change::HavipUnbindEip { name },
        },
        HavipCommand::Unfreeze { name } => Order {
            done: format!("havip {name} may move again"),
            already: format!("havip {name} is not frozen"),
            change: Change::HavipUnfreeze { name },
        },
        // They show, and change nothing.
        HavipCommand::List | HavipCommand::Show { .. } | HavipCommand::History { .. } => return Ok(()),
    };
    change::commit(out, client, order).await
}

fn holder(holder: Option<&proto::Holder>) -> String {
    holder.map_or_else(|| NONE.to_owned(), |holder| holder.instance.clone())
}

fn holder_in_full(holder: Option<&proto::Holder>) -> String {
    let full = |holder: &proto::Holder| format!("{}, {} on {}", holder.instance, holder.mac, holder.tep);
    holder.map_or_else(|| NONE.to_owned(), full)
}

fn or_never(unix_ms: u64) -> String {
    if unix_ms == 0 { NONE.to_owned() } else { utc(unix_ms) }
}

/// `havip list`.
pub async fn list(out: &mut Out, client: &mut Client) -> Result<(), Failure> {
    let mut parts = client.havips().await?;
    let mut havips = Vec::new();
    while let Some(part) = client.next(&mut parts).await? {
        havips.extend(part.havips.into_iter().map(|entry| {
            let proto::HavipEntry { havip, binding } = entry;
            (havip.unwrap_or_default(), binding.unwrap_or_default())
        }));
    }
    if out.is_json() {
        return out.array(havips.iter().map(|(havip, binding)| shapes::Havip::new(havip, binding)));
    }
    let row = |(havip, binding): &(proto::Havip, proto::Binding)| {
        let tep = binding.holder.as_ref().map_or_else(|| NONE.to_owned(), |holder| holder.tep.clone());
        [
            havip.name.clone(),
            havip.vni.to_string(),
            havip.address.clone(),
            binding.state.clone(),
            holder(binding.holder.as_ref()),
            tep,
            utc(binding.since_unix_ms),
            or_none(&havip.eip),
        ]
    };
    let columns = ["NAME", "VNI", "ADDRESS", "STATE", "HOLDER", "TEP", "SINCE", "EIP"].map(Column::Text);
    out.table(columns, &havips.iter().map(row).collect::<Vec<_>>())
}

/// `havip show`.
pub async fn show(out: &mut Out, client: &mut Client, name: &Name) -> Result<(), Failure> {
    let proto::HavipStatus { entry, diagnosis, heard } = client.havip(name).await?;
    let proto::HavipEntry { havip, binding } = entry.unwrap_or_default();
    let (havip, binding) = (havip.unwrap_or_default(), binding.unwrap_or_default());
    if out.is_json() {
        return out.json(&shapes::HavipStatus {
            havip: shapes::Havip::new(&havip, &binding),
            diagnosis: &diagnosis,
            heard: heard.iter().map(shapes::AnnouncementBoard::from).collect(),
        });
    }
    let vrids: Vec<_> = havip.vrids.iter().map(u32::to_string).collect();
    let refresh = havip.refresh_s.map_or_else(|| NONE.to_owned(), |seconds| format!("every {seconds} s"));
    let rows = [
        ("name", havip.name.clone()),
        ("vni", havip.vni.to_string()),
        ("address", format!("{} of {}", havip.address, havip.subnet)),
        ("state", binding.state.clone()),
        ("holder", holder_in_full(binding.holder.as_ref())),
        ("since", utc(binding.since_unix_ms)),
        ("why", or_none(&binding.why)),
        ("previous", holder_in_full(binding.previous.as_ref())),
        ("moves", binding.moves.to_string()),
        ("generation", binding.generation.to_string()),
        ("vrids", or_none(&vrids.join(", "))),
        ("refresh", refresh),
        ("eip", or_none(&havip.eip)),
    ]
    .map(|(what, value)| [what.to_owned(), value]);
    out.table([Column::Text("HAVIP"), Column::Text("")], &rows)?;
    out.line("")?;
    attachments(out, &havip, &heard)?;
    if !diagnosis.is_empty() {
        out.line("\nDIAGNOSIS")?;
    }
    diagnosis.iter().try_for_each(|line| out.line(line))
}

/// A row for each attachment on each of its TEPs.
fn attachments(out: &mut Out, havip: &proto::Havip, heard: &[proto::LastHeard]) -> Result<(), Failure> {
    let places = havip.attachments.iter().flat_map(|a| a.teps.iter().map(move |tep| (a, tep)));
    let row = |(attachment, tep): (&proto::Attachment, &String)| {
        let heard = heard.iter().find(|heard| heard.instance == attachment.instance && heard.tep == *tep);
        let heard = heard.cloned().unwrap_or_default();
        let advert = match heard.advert_unix_ms {
            0 => NONE.to_owned(),
            unix_ms => format!("{}, priority {}", utc(unix_ms), heard.advert_priority),
        };
        [
            attachment.instance.clone(),
            attachment.mac.clone(),
            tep.clone(),
            or_never(heard.claim_unix_ms),
            or_never(heard.use_unix_ms),
            advert,
        ]
    };
    let columns = ["INSTANCE", "MAC", "TEP", "LAST CLAIM", "LAST USE", "LAST ADVERT"].map(Column::Text);
    out.table(columns, &places.map(row).collect::<Vec<_>>())
}

/// Who was refused last, and of how many: those before it may have been others'.
fn offender(offender: &proto::Offender) -> String {
    let proto::Offender { mac, tep, count } = offender;
    if *count > 1 { format!("{mac} on {tep}, the last of {count}") } else { format!("{mac} on {tep}") }
}

/// `havip history`.
pub async fn history(out: &mut Out, client: &mut Client, name: &Name) -> Result<(), Failure> {
    let events = client.havip_history(name).await?;
    if out.is_json() {
        return out.array(events.iter().map(shapes::HavipEvent::from));
    }
    let row = |happening: &proto::HavipEvent| {
        let offender = happening.offender.as_ref().map(offender);
        let detail = Some(happening.detail.clone()).filter(|detail| !detail.is_empty());
        let detail: Vec<String> = offender.into_iter().chain(detail).collect();
        [
            utc(happening.unix_ms),
            happening.kind.clone(),
            holder(happening.holder.as_ref()),
            holder(happening.previous.as_ref()),
            or_none(&happening.why),
            happening.generation.to_string(),
            or_none(&detail.join("; ")),
        ]
    };
    let columns = ["TIME", "EVENT", "HOLDER", "PREVIOUS", "WHY", "GENERATION", "DETAIL"].map(Column::Text);
    out.table(columns, &events.iter().map(row).collect::<Vec<_>>())
}
