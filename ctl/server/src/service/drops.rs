//! Last offenders: who sent the frames that were dropped.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use bcast_domain::Tep;
use ctl_api::proto;
use ctl_node::DropOffender;

use crate::refusal::Refusal;
use crate::shared::Shared;
use crate::state::lock;

/// Bytes of a reason that a refusal repeats.
const SHOWN: usize = 64;
const NS_PER_MS: u64 = 1_000_000;

/// Last offenders of one reason, or of all.
pub(super) fn last(shared: &Shared, reason: &str) -> Result<proto::DropsReply, Refusal> {
    let wanted = Some(reason).filter(|reason| !reason.is_empty());
    let unknown = || Refusal::NoReason(reason.chars().take(SHOWN).collect());
    let offenders = shared.node.offenders(wanted).ok_or_else(unknown)?;
    let state = lock(&shared.state);
    // Registered TEPs among the sources, with their names.
    let mut teps = HashMap::<Ipv4Addr, Option<String>>::new();
    for source in offenders.iter().filter_map(|offender| offender.source) {
        if let Some(entry) = Tep::new(source).ok().and_then(|tep| state.tep(tep)) {
            teps.insert(source, entry.name.map(|name| name.to_string()));
        }
    }
    drop(state);
    let senders = offenders.iter().map(|offender| sender(offender, &teps)).collect();
    Ok(proto::DropsReply { senders })
}

fn sender(offender: &DropOffender, teps: &HashMap<Ipv4Addr, Option<String>>) -> proto::DroppedSender {
    let DropOffender { reason, source, vni, macs, outer, count, unix_ns } = *offender;
    let tep = source.and_then(|source| teps.get(&source));
    let [mac, destination] = macs.map_or([None, None], |macs| macs.map(|mac| Some(mac.to_vec())));
    proto::DroppedSender {
        reason: reason.to_owned(),
        source: source.map(|source| source.octets().to_vec()),
        is_tep: tep.is_some(),
        tep: tep.cloned().flatten(),
        vni: vni.map(bcast_domain::Vni::get),
        mac,
        destination,
        outer,
        count,
        unix_ms: unix_ns / NS_PER_MS,
    }
}
