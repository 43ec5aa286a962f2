//! Domains in files: the entries of `domains` in an apply file and in an export, and the lines of a plan.

use std::collections::HashSet;
use std::net::IpAddr;

use bcast_domain::{Mac, Rate, Vni};
use ctl_api::model::{ArpInspection, DomainFields, Gateway, Name, SetResource, Subnet, TepRef};
use ctl_api::proto;
use serde::{Deserialize, Serialize};

use super::{Mode, OldMode, gateways, is_sticky, mode, pinned, rates, size, stated, subnets};
use crate::rates::Exported;
use crate::tep::Names;
use crate::text::{self, differs, in_brackets, renamed};
use crate::values::{EntryError, OldKeys, Scalar, Text, field, scalar_field};

/// An entry of `domains` in an apply file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    vni: Scalar<Vni>,
    name: Option<Text<Name>>,
    limit: Option<EntryRates>,
    arp_inspection: Option<Mode>,
    /// All subnets, and all gateways; `Some` of an empty list: none.
    subnets: Option<Vec<Text<Subnet>>>,
    gateways: Option<Vec<GatewayEntry>>,
    /// All pinned nodes; `Some` of an empty list: none.
    pinned: Option<Vec<Text<Name>>>,
    /// All members; `Some` of an empty list: none.
    members: Option<Vec<Text<TepRef>>>,
    /// Old key of `arp_inspection`.
    garp: Option<OldMode>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GatewayEntry {
    address: Text<IpAddr>,
    mac: Text<Mac>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryRates {
    copies: Option<Scalar<Rate>>,
    bits: Option<Scalar<Rate>>,
    control: Option<Scalar<Rate>>,
}

impl Entry {
    /// The domain as it is desired.
    pub fn desired(self, old: &mut OldKeys) -> Result<SetResource, EntryError> {
        let mode = old.either("garp", self.garp.map(Mode::from), "arp_inspection", self.arp_inspection)?;
        let EntryRates { copies, bits, control } = self.limit.unwrap_or_default();
        let vni = self.vni.0;
        if let Some(Text(member)) = self.members.as_deref().and_then(twice) {
            return Err(EntryError::MemberTwice { vni, member: member.clone() });
        }
        let fields = DomainFields {
            name: field(self.name),
            members: self.members.map(|teps| teps.into_iter().map(|Text(tep)| tep).collect()),
            copies: scalar_field(copies),
            bits: scalar_field(bits),
            control: scalar_field(control),
            arp_inspection: mode.map(ArpInspection::from),
            subnets: self.subnets.map(|all| all.into_iter().map(|Text(subnet)| subnet).collect()),
            pinned: self.pinned.map(|all| all.into_iter().map(|Text(name)| name).collect()),
            gateways: self.gateways.map(|all| {
                all.into_iter().map(|one| Gateway { address: one.address.0, mac: one.mac.0 }).collect()
            }),
        };
        Ok(SetResource::Domain(vni, fields))
    }
}

/// First member that stands in the list a second time.
fn twice(members: &[Text<TepRef>]) -> Option<&Text<TepRef>> {
    let mut seen = HashSet::with_capacity(members.len());
    members.iter().find(|member| !seen.insert(&member.0))
}

/// An entry of `domains` in an export.
#[derive(Serialize)]
pub struct Export<'a> {
    vni: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Exported>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arp_inspection: Option<Mode>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subnets: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gateways: Vec<ExportedGateway>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pinned: Vec<&'a str>,
    members: Vec<String>,
}

#[derive(Serialize)]
struct ExportedGateway {
    address: String,
    mac: String,
}

/// The entry of a domain in an export.
pub fn export(domain: &proto::Domain, yaml: bool) -> Export<'_> {
    Export {
        vni: domain.vni,
        name: text::name(domain.name.as_ref()),
        limit: rates(domain).exported(yaml),
        arp_inspection: is_sticky(domain).then_some(Mode::Sticky),
        subnets: subnets(domain),
        gateways: gateways(domain)
            .into_iter()
            .map(|(address, mac)| ExportedGateway { address, mac })
            .collect(),
        pinned: pinned(domain),
        members: text::teps(domain.members.as_ref()),
    }
}

/// Line of a plan: a domain that is added, removed or changed. It names at most so many TEPs of each kind.
pub fn plan_line(
    before: Option<&proto::Domain>,
    after: Option<&proto::Domain>,
    names: &Names,
    most: usize,
) -> String {
    let (Some(before), Some(after)) = (before, after) else { return whole(before, after) };
    let old = text::name(before.name.as_ref());
    let mut parts: Vec<String> = renamed(old, text::name(after.name.as_ref())).into_iter().collect();
    let (had, has) = (before.members.as_ref(), after.members.as_ref());
    let set = |teps| text::addresses(teps).collect::<HashSet<_>>();
    let (old_set, new_set) = (set(had), set(has));
    let joins = text::addresses(has).filter(|tep| !old_set.contains(tep)).map(|tep| names.after(tep));
    let leaves = text::addresses(had).filter(|tep| !new_set.contains(tep)).map(|tep| names.before(tep));
    parts.extend(listed("join", &joins.collect::<Vec<_>>(), most));
    parts.extend(listed("leave", &leaves.collect::<Vec<_>>(), most));
    parts.extend(rates(after).differences(&rates(before)));
    let word = |domain| Some(mode(domain).to_owned());
    parts.extend(differs("ARP inspection", word(before), word(after)));
    for ((what, old), (_, new)) in stated(before).into_iter().zip(stated(after)) {
        parts.extend(differs(what, old, new));
    }
    format!("~ domain {}: {}", after.vni, parts.join("; "))
}

/// Line of a domain that is added or removed.
fn whole(before: Option<&proto::Domain>, after: Option<&proto::Domain>) -> String {
    let Some(domain) = after.or(before) else { return String::new() };
    let name = in_brackets(text::name(domain.name.as_ref()));
    let line = format!("domain {}{name}: {}", domain.vni, text::count(size(domain), "member"));
    if after.is_none() {
        return format!("- {line}");
    }
    let limit = rates(domain);
    let limit = if limit.any() { format!("; limit {}", limit.words()) } else { String::new() };
    let sticky = if is_sticky(domain) { "; ARP inspection sticky" } else { "" };
    let stated = stated(domain).into_iter().filter_map(|(what, value)| Some(format!("; {what} {}", value?)));
    format!("+ {line}{limit}{sticky}{}", stated.collect::<String>())
}

fn listed(verb: &str, teps: &[String], most: usize) -> Option<String> {
    let shown = teps.get(..most).unwrap_or(teps).join(" ");
    let more = if teps.len() > most { " ..." } else { "" };
    (!teps.is_empty()).then(|| format!("{} {verb}: {shown}{more}", teps.len()))
}
