//! Addresses that a domain with sticky ARP inspection has learned.

use std::net::IpAddr;
use std::sync::Arc;

use bcast_domain::{LearnedBindings, Vni};
use ctl_api::{model, proto};

use crate::author::Author;
use crate::lists;
use crate::refusal::Refusal;
use crate::shared::Shared;
use crate::state::lock;

fn bindings(shared: &Shared, vni: Vni) -> Result<Arc<LearnedBindings>, Refusal> {
    let state = lock(&shared.state);
    if state.list(vni).is_none() {
        return Err(Refusal::NoDomain(vni));
    }
    state.learned(vni).ok_or(Refusal::NotSticky(vni))
}

/// One page of the learned addresses of a domain.
pub(super) fn list(
    shared: &Shared,
    request: &proto::ListLearnedRequest,
) -> Result<proto::ListLearnedReply, Refusal> {
    let behind = lists::after::<IpAddr>(&request.page_token)?;
    let bindings = bindings(shared, Vni::from(request.vni))?;
    let mut all: Vec<_> =
        bindings.all().filter(|one| behind.is_none_or(|behind| one.address > behind)).collect();
    // A worker that moves an address while they are read may show it twice.
    all.sort_unstable_by_key(|one| one.address);
    all.dedup_by_key(|one| one.address);
    let now = shared.node.now();
    let state = lock(&shared.state);
    let message = |one: &bcast_domain::Learned| proto::Learned {
        address: model::ip_bytes(one.address),
        mac: one.mac.to_vec(),
        tep: state.teps.address(one.tep).map(|tep| tep.address().octets().to_vec()).unwrap_or_default(),
        heard_unix_ms: now.unix_ns.saturating_sub(now.worker_ns.saturating_sub(one.at_ns)) / 1_000_000,
    };
    let entries = all.iter().map(|one| Ok(message(one)));
    let key =
        |one: &proto::Learned| model::ip(&one.address).map_or_else(|_| String::new(), |ip| ip.to_string());
    let (learned, next_page_token) = lists::page(request.page_size, entries, key)?;
    Ok(proto::ListLearnedReply { learned, next_page_token })
}

/// Takes an address from its owner.
pub(super) fn forget(
    shared: &Shared,
    request: &proto::ForgetLearnedRequest,
    author: &Author,
) -> Result<proto::ForgetLearnedReply, Refusal> {
    let address = model::ip(&request.address).map_err(Refusal::Model)?;
    let had_owner = bindings(shared, Vni::from(request.vni))?.forget(address);
    if had_owner {
        author.log_other("forget learned address", &format_args!("{address} of domain {}", request.vni), 1);
    }
    Ok(proto::ForgetLearnedReply { had_owner })
}
