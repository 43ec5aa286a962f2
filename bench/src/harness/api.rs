//! The node's API, as the measurements use it.

use std::net::Ipv4Addr;

use anyhow::Result;
use bcast_domain::{Tep, Vni};
use ctl_api::model::{Batch, Change, TepRef, TepSet};
use tokio::runtime::{Builder, Runtime};

/// A runtime of the calling thread alone.
///
/// # Errors
/// The system gives no descriptors.
pub fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// A runtime with a thread of its own, which serves a connection also while nobody waits for an answer: the daemon
/// closes connections that do not answer its pings for 40 s.
///
/// # Errors
/// The system gives no descriptors, or no thread.
pub fn runtime_beside() -> Result<Runtime> {
    Ok(Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

/// A TEP by its address.
///
/// # Errors
/// No TEP can have it.
pub fn tep_ref(address: Ipv4Addr) -> Result<TepRef> {
    Ok(TepRef::Address(Tep::new(address)?))
}

/// Changes that register TEPs and make domains, each of a VNI and its members.
///
/// # Errors
/// An address that no TEP can have.
pub fn state(
    teps: impl IntoIterator<Item = Ipv4Addr>,
    domains: impl IntoIterator<Item = (u32, Vec<Ipv4Addr>)>,
) -> Result<Batch> {
    let mut changes = Vec::new();
    for address in teps {
        changes.push(Change::tep(Tep::new(address)?, None));
    }
    for (vni, members) in domains {
        let members = members.into_iter().map(tep_ref).collect::<Result<TepSet>>()?;
        changes.push(Change::members(Vni::new(vni), members));
    }
    Ok(Batch::new(changes))
}

/// The join of one TEP, or its leave.
pub fn membership(vni: u32, tep: TepRef, joins: bool) -> Batch {
    let (vni, teps) = (Vni::new(vni), TepSet::from_iter([tep]));
    Batch::new(vec![if joins { Change::Join { vni, teps } } else { Change::Leave { vni, teps } }])
}
