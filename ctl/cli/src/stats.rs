//! `stats` and `version`.

use bcast_domain::Vni;
use ctl_api::{Client, ClientError, proto};
use serde::ser::{Serialize, Serializer};

use crate::failure::Failure;
use crate::out::{Column, Out};
use crate::text::{self, in_brackets};

/// JSON of counters: one object, in the daemon's order.
#[derive(Debug)]
pub struct Counters<'a>(pub &'a [proto::Counter]);

impl Serialize for Counters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|counter| (&counter.name, counter.value)))
    }
}

/// JSON of the node's counters.
#[derive(serde::Serialize)]
struct Stats<'a> {
    revision: u64,
    counters: Counters<'a>,
    drops: Counters<'a>,
    copy_drops: Counters<'a>,
    port: Counters<'a>,
    address_conflict: Option<Conflict>,
}

/// JSON of another host that has an address of the node's.
#[derive(serde::Serialize)]
struct Conflict {
    address: String,
    mac: String,
    frames: u64,
    last_unix_ms: u64,
}

impl From<&proto::AddressConflict> for Conflict {
    fn from(conflict: &proto::AddressConflict) -> Self {
        Self {
            address: text::address(&conflict.address),
            mac: text::mac(&conflict.mac),
            frames: conflict.frames,
            last_unix_ms: conflict.last_unix_ms,
        }
    }
}

/// JSON of versions.
#[derive(serde::Serialize)]
struct Versions<'a> {
    bcastctl: &'a str,
    bcastctl_commit: &'a str,
    bcastd: Option<&'a str>,
    bcastd_commit: Option<&'a str>,
    dpdk: Option<&'a str>,
}

/// `stats`: the node's counters.
pub async fn node(out: &mut Out, client: &mut Client) -> Result<(), Failure> {
    let reply = client.stats().await?;
    let address_conflict = reply.address_conflict.as_ref().map(Conflict::from);
    if out.is_json() {
        return out.json(&Stats {
            revision: reply.revision,
            counters: Counters(&reply.counters),
            drops: Counters(&reply.drops),
            copy_drops: Counters(&reply.copy_drops),
            port: Counters(&reply.port),
            address_conflict,
        });
    }
    let groups = [
        ("counter", &reply.counters),
        ("drop", &reply.drops),
        ("copy_drop", &reply.copy_drops),
        ("port", &reply.port),
    ];
    let revision = ["node".to_owned(), "revision".to_owned(), reply.revision.to_string()];
    let counters = groups.iter().flat_map(|(group, counters)| {
        counters.iter().map(|counter| [(*group).to_owned(), counter.name.clone(), counter.value.to_string()])
    });
    let rows: Vec<_> = std::iter::once(revision).chain(counters).collect();
    out.table([Column::Text("KIND"), Column::Text("NAME"), Column::Number("VALUE")], &rows)?;
    if let Some(Conflict { address, mac, frames, last_unix_ms }) = address_conflict {
        let last = text::utc(last_unix_ms);
        out.line(format_args!(
            "another host has the node's address {address}: MAC {mac}, {frames} frames, last at {last}"
        ))?;
    }
    Ok(())
}

/// `stats VNI`: one domain's counters.
pub async fn domain(out: &mut Out, client: &mut Client, vni: Vni) -> Result<(), Failure> {
    let reply = client.domain_stats(vni).await?;
    if out.is_json() {
        return out.json(&reply);
    }
    let numbers = [
        ("members", reply.members),
        ("frames", reply.frames),
        ("copies", reply.copies),
        ("bytes", reply.bytes),
        ("drops", reply.drops),
    ];
    let rows = numbers.map(|(name, value)| [name.to_owned(), value.to_string()]);
    out.line(format_args!("domain {}{}", reply.vni, in_brackets(text::name(reply.name.as_ref()))))?;
    out.table([Column::Text("NAME"), Column::Number("VALUE")], &rows)?;
    dropped(out, "DROPPED FRAMES", &reply.frame_drops)?;
    dropped(out, "DROPPED COPIES", &reply.copy_drops)
}

/// Table of drops by reason, of reasons with any; nothing where there is none.
pub fn dropped(out: &mut Out, title: &'static str, drops: &[proto::Counter]) -> Result<(), Failure> {
    let counted = drops.iter().filter(|counter| counter.value > 0);
    let rows: Vec<_> = counted.map(|counter| [counter.name.clone(), counter.value.to_string()]).collect();
    if rows.is_empty() {
        return Ok(());
    }
    out.line("")?;
    out.table([Column::Text(title), Column::Number("VALUE")], &rows)
}

/// `version`: of bcastctl in any case, of the daemon if it answers.
pub async fn version(out: &mut Out, client: Result<Client, ClientError>) -> Result<(), Failure> {
    let reply = match client {
        Ok(mut client) => client.version().await,
        Err(error) => Err(error),
    };
    let bcastctl = env!("CARGO_PKG_VERSION");
    let daemon = reply.as_ref().ok();
    if out.is_json() {
        let word = |field: fn(&proto::VersionReply) -> &String| daemon.map(|reply| field(reply).as_str());
        out.json(&Versions {
            bcastctl,
            bcastctl_commit: env!("BCAST_COMMIT"),
            bcastd: word(|reply| &reply.version),
            bcastd_commit: word(|reply| &reply.commit).filter(|commit| !commit.is_empty()),
            dpdk: word(|reply| &reply.dpdk),
        })?;
    } else {
        out.line(format_args!("bcastctl {}", crate::args::VERSION))?;
        if let Some(reply) = daemon {
            let commit = text::given(&reply.commit).map_or_else(String::new, |commit| format!("{commit}, "));
            out.line(format_args!("bcastd {} ({commit}DPDK {})", reply.version, reply.dpdk))?;
        }
    }
    out.flush()?;
    Ok(reply.map(drop)?)
}
