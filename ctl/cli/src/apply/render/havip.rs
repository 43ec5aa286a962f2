//! The lines of HAVIPs.

use bcast_domain::Tep;
use ctl_api::model::{Attachment, Havip};

use super::super::inventory::Inventory;
use super::super::plan::Plan;
use super::differs;

/// A HAVIP that comes or goes.
pub fn line(sign: char, havip: &Havip) -> String {
    let Havip { name, vni, address, attachments, vrids, refresh_s, eip, .. } = havip;
    let mut line = format!("{sign} havip {name}: {address} in domain {vni}");
    if sign == '+' {
        let attachments = match attachments.len() {
            1 => "1 attachment".to_owned(),
            count => format!("{count} attachments"),
        };
        let parts = [
            Some(attachments),
            differs("vrids", None, numbers(vrids)),
            differs("refresh", None, seconds(*refresh_s)),
            differs("eip", None, *eip),
        ];
        parts.into_iter().flatten().for_each(|part| line += &format!("; {part}"));
    }
    line
}

/// A HAVIP that is another one.
pub fn changed(plan: &Plan, had: &Havip, wanted: &Havip) -> String {
    let mut parts: Vec<String> = [
        differs("domain", Some(had.vni), Some(wanted.vni)),
        differs("subnet", Some(had.subnet), Some(wanted.subnet)),
        differs("address", Some(had.address), Some(wanted.address)),
    ]
    .into_iter()
    .flatten()
    .collect();
    for new in &wanted.attachments {
        let place = place(plan.want(), new);
        match had.attachment(&new.instance) {
            Some(old) if old == new => {}
            Some(_) => parts.push(format!("{} now {place}", new.instance)),
            None => parts.push(format!("attach {} {place}", new.instance)),
        }
    }
    let detached = had.attachments.iter().filter(|old| wanted.attachment(&old.instance).is_none());
    parts.extend(detached.map(|old| format!("detach {}", old.instance)));
    parts.extend(differs("vrids", numbers(&had.vrids), numbers(&wanted.vrids)));
    parts.extend(differs("refresh", seconds(had.refresh_s), seconds(wanted.refresh_s)));
    parts.extend(differs("eip", had.eip, wanted.eip));
    format!("~ havip {}: {}", wanted.name, parts.join("; "))
}

/// "as MAC on TEP".
fn place(inventory: &Inventory, attachment: &Attachment) -> String {
    let name = |tep: &Tep| {
        let name = inventory.tep(*tep).and_then(|tep| tep.name.as_ref());
        name.map_or_else(|| tep.to_string(), ToString::to_string)
    };
    let teps: Vec<_> = attachment.teps.iter().map(name).collect();
    format!("as {} on {}", attachment.mac, teps.join(" and "))
}

fn numbers(vrids: &[u8]) -> Option<String> {
    let numbers: Vec<_> = vrids.iter().map(u8::to_string).collect();
    (!numbers.is_empty()).then(|| numbers.join(" "))
}

fn seconds(refresh_s: Option<u32>) -> Option<String> {
    refresh_s.map(|seconds| format!("{seconds} s"))
}
