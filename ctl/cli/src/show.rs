//! Commands that show TEPs and domains.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use bcast_domain::Vni;
use ctl_api::Client;
use ctl_api::model::{DomainEntry, TepEntry, TepRef};
use ctl_api::proto;

use crate::apply::snapshot;
use crate::failure::Failure;
use crate::limit;
use crate::out::{Column, NONE, Out, or_none, or_word, utc};
use crate::shapes::{Counters, Domain, DomainGarp, Tep, TepRoutes, TepStatus, given};

/// `tep list`.
pub async fn teps(out: &mut Out, client: &mut Client) -> Result<(), Failure> {
    let teps = all_teps(client).await?;
    if out.is_json() {
        return out.array(teps.iter().map(Tep::from));
    }
    let rows: Vec<_> = teps.iter().map(|tep| [tep.address.clone(), or_none(&tep.name)]).collect();
    out.table([Column::Text("ADDRESS"), Column::Text("NAME")], &rows)
}

/// TEPs come first in a snapshot: what follows them is not waited for.
async fn all_teps(client: &mut Client) -> Result<Vec<proto::Tep>, Failure> {
    let mut parts = client.snapshot().await?;
    let mut teps = Vec::new();
    while let Some(part) = client.next(&mut parts).await? {
        teps.extend(part.teps);
        if !part.domains.is_empty() {
            break;
        }
    }
    Ok(teps)
}

/// `tep show`.
pub async fn tep(out: &mut Out, client: &mut Client, tep: TepRef) -> Result<(), Failure> {
    let status = client.tep(tep).await?;
    let tep = status.tep.unwrap_or_default();
    if out.is_json() {
        return out.json(&TepStatus {
            tep: Tep::from(&tep),
            domains: status.domains,
            next_hop: given(&status.next_hop),
            mac: given(&status.mac),
            since_unix_ms: status.since_unix_ms,
            drops: Counters(&status.drops),
        });
    }
    let entry = TepEntry::try_from(tep.clone())?;
    let rows = [
        ["address".to_owned(), tep.address],
        ["name".to_owned(), or_none(&tep.name)],
        ["limit".to_owned(), limit::words(&limit::of_tep(entry.limit))],
        ["routes by".to_owned(), next_hops(&entry)],
        ["domains".to_owned(), status.domains.to_string()],
        ["next hop".to_owned(), or_word(&status.next_hop, "no route")],
        ["mac".to_owned(), or_word(&status.mac, "unresolved")],
        ["since".to_owned(), utc(status.since_unix_ms)],
    ];
    out.table([Column::Text("TEP"), Column::Text("")], &rows)?;
    out.line("")?;
    let drops: Vec<_> =
        status.drops.iter().map(|counter| [counter.name.clone(), counter.value.to_string()]).collect();
    out.table([Column::Text("DROPPED COPIES"), Column::Number("VALUE")], &drops)
}

/// By which gateways routes lead to HAVIPs on this TEP.
fn next_hops(tep: &TepEntry) -> String {
    let TepEntry { next_hop, next_hop6, .. } = tep;
    let words: Vec<String> =
        next_hop.iter().map(ToString::to_string).chain(next_hop6.iter().map(ToString::to_string)).collect();
    or_none(&words.join(", "))
}

/// `tep next-hop` without an address.
pub async fn tep_next_hops(out: &mut Out, client: &mut Client, tep: TepRef) -> Result<(), Failure> {
    let tep = client.tep(tep).await?.tep.unwrap_or_default();
    if out.is_json() {
        return out.json(&TepRoutes { address: &tep.address, routes: (&tep).into() });
    }
    let rows = [["IPv4", &tep.next_hop], ["IPv6", &tep.next_hop6]]
        .map(|[family, hop]| [family.to_owned(), or_none(hop)]);
    out.table([Column::Text("FAMILY"), Column::Text("NEXT HOP")], &rows)
}

/// `domain garp` without a mode.
pub async fn garp(out: &mut Out, client: &mut Client, vni: Vni) -> Result<(), Failure> {
    let garp = DomainEntry::try_from(client.domain(vni).await?)?.garp.as_str();
    if out.is_json() { out.json(&DomainGarp { vni: vni.get(), garp }) } else { out.line(garp) }
}

/// `domain list`.
pub async fn domains(out: &mut Out, client: &mut Client) -> Result<(), Failure> {
    let (_, inventory) = snapshot::read(client).await?;
    if out.is_json() {
        return out.array(inventory.domains().iter().map(|domain| Domain {
            vni: domain.vni.get(),
            name: domain.name.as_ref().map(ctl_api::model::Name::as_str),
            limit: domain.limit.into(),
            garp: domain.garp.as_str(),
            members: inventory.members(domain).iter().map(|tep| tep.address()).collect(),
        }));
    }
    let rows: Vec<_> = inventory
        .domains()
        .iter()
        .map(|domain| {
            let name = domain.name.as_ref().map_or_else(|| NONE.to_owned(), ToString::to_string);
            [domain.vni.to_string(), inventory.members(domain).len().to_string(), name]
        })
        .collect();
    out.table([Column::Number("VNI"), Column::Number("MEMBERS"), Column::Text("NAME")], &rows)
}

/// `domain show`.
pub async fn domain(out: &mut Out, client: &mut Client, vni: Vni) -> Result<(), Failure> {
    let domain = client.domain(vni).await?;
    if out.is_json() {
        return out.json(&Domain::from(&domain));
    }
    let entry = DomainEntry::try_from(domain.clone())?;
    let names: HashMap<String, String> =
        all_teps(client).await?.into_iter().map(|tep| (tep.address, tep.name)).collect();
    let rows = [
        ["vni".to_owned(), domain.vni.to_string()],
        ["name".to_owned(), or_none(&domain.name)],
        ["limit".to_owned(), limit::words(&limit::of_domain(entry.limit))],
        ["garp".to_owned(), entry.garp.to_string()],
        ["members".to_owned(), domain.members.len().to_string()],
    ];
    out.table([Column::Text("DOMAIN"), Column::Text("")], &rows)?;
    out.line("")?;
    let member = |bits: &u32| {
        let address = Ipv4Addr::from(*bits).to_string();
        let name = names.get(&address).map_or(NONE.to_owned(), |name| or_none(name));
        [address, name]
    };
    let members: Vec<_> = domain.members.iter().map(member).collect();
    out.table([Column::Text("MEMBER"), Column::Text("NAME")], &members)
}
