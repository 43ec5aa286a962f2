//! HAVIPs in apply files: the entries of `havips`, those of an export, and the lines of a plan.

use std::net::IpAddr;

use bcast_domain::{Mac, Vni};
use ctl_api::model::{AttachmentFields, HavipFields, Name, Place, SetResource, Subnet, TepRef};
use ctl_api::proto;
use serde::{Deserialize, Serialize};

use super::{attachments, eip, group, ids_in_words, refresh, subnet, vrids};
use crate::tep::Names;
use crate::text::{self, differs};
use crate::values::{Refresh, Scalar, Text, Vrid, field, scalar_field};

/// An entry of `havips` in an apply file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    name: Text<Name>,
    vni: Scalar<Vni>,
    subnet: Text<Subnet>,
    address: Text<IpAddr>,
    vrids: Option<Vec<Scalar<Vrid>>>,
    refresh: Option<Scalar<Refresh>>,
    eip: Option<Text<IpAddr>>,
    group: Option<Text<Name>>,
    /// All attachments.
    attachments: Option<Vec<EntryAttachment>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryAttachment {
    instance: Text<Name>,
    mac: Text<Mac>,
    teps: Vec<Text<TepRef>>,
}

impl From<Entry> for SetResource {
    fn from(entry: Entry) -> Self {
        let place = Place { vni: entry.vni.0, subnet: entry.subnet.0, address: entry.address.0 };
        let attached = |EntryAttachment { instance, mac, teps }: EntryAttachment| AttachmentFields {
            instance: instance.0,
            mac: mac.0,
            teps: teps.into_iter().map(|Text(tep)| tep).collect(),
        };
        let refresh = entry.refresh.map(|Scalar(Refresh(seconds))| Scalar(seconds));
        let fields = HavipFields {
            place: Some(place),
            vrids: entry.vrids.map(|vrids| vrids.into_iter().map(|Scalar(Vrid(vrid))| vrid).collect()),
            refresh_s: scalar_field(refresh),
            eip: field(entry.eip),
            group: field(entry.group),
            attachments: entry.attachments.map(|all| all.into_iter().map(attached).collect()),
        };
        Self::Havip(entry.name.0, fields)
    }
}

/// An entry of `havips` in an export.
#[derive(Serialize)]
pub struct Export<'a> {
    name: &'a str,
    vni: u32,
    subnet: String,
    address: String,
    #[serde(skip_serializing_if = "<[u32]>::is_empty")]
    vrids: &'a [u32],
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    attachments: &'a [proto::Attachment],
}

impl<'a> From<&'a proto::Havip> for Export<'a> {
    fn from(havip: &'a proto::Havip) -> Self {
        Self {
            name: &havip.name,
            vni: havip.vni,
            subnet: subnet(havip),
            address: text::address(&havip.address),
            vrids: vrids(havip),
            refresh: refresh(havip).map(|seconds| format!("{seconds}s")),
            eip: eip(havip),
            group: group(havip),
            attachments: attachments(havip),
        }
    }
}

/// Line of a plan: a HAVIP that is added, removed or changed.
pub fn plan_line(before: Option<&proto::Havip>, after: Option<&proto::Havip>, names: &Names) -> String {
    let seconds = |havip| refresh(havip).map(|seconds| format!("{seconds} s"));
    let none = proto::Havip::default();
    let old = before.unwrap_or(&none);
    let Some(new) = after else {
        return format!("- havip {}: {} in domain {}", old.name, text::address(&old.address), old.vni);
    };
    let rest = [
        differs("vrids", ids_in_words(old, " "), ids_in_words(new, " ")),
        differs("refresh", seconds(old), seconds(new)),
        differs("eip", eip(old), eip(new)),
        differs("group", group(old).map(str::to_owned), group(new).map(str::to_owned)),
    ];
    let rest = rest.into_iter().flatten();
    if before.is_none() {
        let attached = text::count(attachments(new).len(), "attachment");
        let parts: String = std::iter::once(attached).chain(rest).map(|part| format!("; {part}")).collect();
        return format!("+ havip {}: {} in domain {}{parts}", new.name, text::address(&new.address), new.vni);
    }
    let address = |havip: &proto::Havip| Some(text::address(&havip.address));
    let first = [
        differs("domain", Some(old.vni.to_string()), Some(new.vni.to_string())),
        differs("subnet", Some(subnet(old)), Some(subnet(new))),
        differs("address", address(old), address(new)),
    ];
    let attached = attachment_differences(attachments(old), attachments(new), names);
    let parts: Vec<String> = first.into_iter().flatten().chain(attached).chain(rest).collect();
    format!("~ havip {}: {}", new.name, parts.join("; "))
}

fn attachment_differences(
    before: &[proto::Attachment],
    after: &[proto::Attachment],
    names: &Names,
) -> Vec<String> {
    let of = |all: &[proto::Attachment], instance: &str| {
        all.iter().find(|attachment| attachment.instance == instance).cloned()
    };
    let mut parts = Vec::new();
    for new in after {
        let teps: Vec<_> = text::addresses(new.teps.as_ref()).map(|tep| names.after(tep)).collect();
        let place = format!("as {} on {}", text::mac(&new.mac), teps.join(" and "));
        match of(before, &new.instance) {
            Some(old) if old == *new => {}
            Some(_) => parts.push(format!("{} now {place}", new.instance)),
            None => parts.push(format!("attach {} {place}", new.instance)),
        }
    }
    let detached = before.iter().filter(|old| of(after, &old.instance).is_none());
    parts.extend(detached.map(|old| format!("detach {}", old.instance)));
    parts
}
