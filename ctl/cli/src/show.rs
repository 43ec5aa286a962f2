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
use crate::out::{Column, Out};
use crate::shapes::{Counters, Domain, Tep, TepStatus, given};

/// Stands in a table where there is nothing, so that columns keep their number.
const NONE: &str = "-";

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
    while let Some(part) = parts.message().await.map_err(|status| Failure::of_stream(client, status))? {
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

/// `domain list`.
pub async fn domains(out: &mut Out, client: &mut Client) -> Result<(), Failure> {
    let (_, inventory) = snapshot::read(client).await?;
    if out.is_json() {
        return out.array(inventory.domains().iter().map(|domain| Domain {
            vni: domain.vni.get(),
            name: domain.name.as_ref().map(ctl_api::model::Name::as_str),
            limit: domain.limit.into(),
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

fn or_none(text: &str) -> String {
    or_word(text, NONE)
}

fn or_word(text: &str, word: &str) -> String {
    given(text).unwrap_or(word).to_owned()
}

/// Unix time in milliseconds as RFC 3339 says it, in UTC.
fn utc(unix_ms: u64) -> String {
    let (days, ms_of_day) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let (seconds, ms) = (ms_of_day / 1000, ms_of_day % 1000);
    // Days are counted in eras of 400 years that start on 1 March, so that a leap day is the last of its year.
    let day = days + 719_468;
    let (era, day_of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn unix_time_is_shown_as_date_and_time_in_utc() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (1_795_395_845_007, "2026-11-23T01:04:05.007Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(utc(unix_ms), text);
        }
    }
}
